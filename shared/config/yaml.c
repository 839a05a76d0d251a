/* yaml.c - a YAML file as a walk over libyaml's events: maps nest, scalars are values, a sequence of scalars is a list, all else is refused with its line. */
#include "shared/config/config.h"

#include "shared/base/err.h"

#include <stdbool.h>
#include <string.h>
#include <yaml.h>

enum { DEPTH_MAX = 8, KEY_MAX_BYTES = 128, KEYS_MAX = 512 };

struct walk {
    const char                *name;
    const struct config_table *table;
    void                      *out;
    char                      *error;
    char                       path[KEY_MAX_BYTES]; /* the key under way, with dots */
    size_t                     starts[DEPTH_MAX];   /* where in path the words of each open map begin */
    unsigned                   depth;
    bool                       key_read;        /* the next event is the value of path */
    bool                       in_list;         /* the next scalars are its items */
    bool                       list_begun;      /* line of the key is taken down already */
    unsigned                   lines[KEYS_MAX]; /* by key: where it was set, to find doubles */
};

static int refuse(struct walk *walk, size_t line, const char *sentence)
{
    snprintf(walk->error, CONFIG_ERROR_MAX, "%.200s:%zu: %s", walk->name, line, sentence);
    return ERR_MALFORMED;
}

static int take_key(struct walk *walk, const char *word, size_t size, size_t line)
{
    size_t start = walk->starts[walk->depth - 1];
    if (start + size + 2 >= sizeof walk->path) {
        return refuse(walk, line, "the key is too long");
    }
    if (start > 0) {
        walk->path[start - 1] = '.';
    }
    memcpy(walk->path + start, word, size);
    walk->path[start + size] = '\0';
    walk->key_read           = true;
    return 0;
}

/* `mqtt:` with nothing below it, as when every line of a group is a comment. */
static bool is_empty_group(const struct walk *walk, const char *value)
{
    size_t size = strlen(walk->path);
    for (size_t i = 0; *value == '\0' && i < walk->table->count; i++) {
        const char *key = walk->table->keys[i].key;
        if (key != NULL && strncmp(key, walk->path, size) == 0 && key[size] == '.') {
            return true;
        }
    }
    return false;
}

static int take_value(struct walk *walk, const char *value, size_t line)
{
    if (is_empty_group(walk, value)) {
        walk->key_read = false;
        return 0;
    }
    char where[256];
    snprintf(where, sizeof where, "%.200s:%zu", walk->name, line);
    walk->key_read = false;
    int result     = config_set(walk->table, walk->path, value, walk->out, where, walk->error);
    for (size_t i = 0; result == 0 && i < walk->table->count; i++) {
        const char *key = walk->table->keys[i].key;
        if (key == NULL || strcmp(key, walk->path) != 0) {
            continue;
        }
        if (walk->list_begun) {
            continue;
        }
        if (walk->lines[i] != 0) {
            snprintf(walk->error, CONFIG_ERROR_MAX, "%s: %s is already set in line %u", where, key, walk->lines[i]);
            return ERR_MALFORMED;
        }
        walk->lines[i] = (unsigned)line;
    }
    return result;
}

static const struct config_key *list_key(const struct walk *walk)
{
    for (size_t i = 0; i < walk->table->count; i++) {
        const struct config_key *key = &walk->table->keys[i];
        if (key->key != NULL && strcmp(key->key, walk->path) == 0 && key->type == CONFIG_LIST) {
            return key;
        }
    }
    return NULL;
}

/* The first thing an item does is to be entered; a list without items is entered as an empty text, which forgets what was there. */
static int open_list(struct walk *walk, size_t line)
{
    if (!walk->key_read || walk->in_list || list_key(walk) == NULL) {
        return refuse(walk, line, "a list is not expected here");
    }
    walk->in_list    = true;
    walk->list_begun = false;
    int result       = take_value(walk, "", line);
    walk->list_begun = true;
    walk->key_read   = true;
    return result;
}

static int take_item(struct walk *walk, const char *text, size_t line)
{
    if (*text == '\0') {
        return refuse(walk, line, "an item of a list is empty");
    }
    int result     = take_value(walk, text, line);
    walk->key_read = true;
    return result;
}

static int close_list(struct walk *walk)
{
    walk->in_list = walk->list_begun = walk->key_read = false;
    return 0;
}

static int open_map(struct walk *walk, size_t line)
{
    if (walk->in_list) {
        return refuse(walk, line, "an item of a list must be a text");
    }
    if (walk->depth == DEPTH_MAX) {
        return refuse(walk, line, "maps are nested too deeply");
    }
    if (walk->depth > 0 && !walk->key_read) {
        return refuse(walk, line, "a key must be a word");
    }
    walk->starts[walk->depth] = walk->depth == 0 ? 0 : strlen(walk->path) + 1;
    walk->depth++;
    walk->key_read = false;
    return 0;
}

static int step(struct walk *walk, const yaml_event_t *event)
{
    size_t line = event->start_mark.line + 1;
    switch (event->type) {
    case YAML_MAPPING_START_EVENT:
        return open_map(walk, line);
    case YAML_MAPPING_END_EVENT:
        walk->depth--;
        walk->key_read = false;
        return 0;
    case YAML_SCALAR_EVENT: {
        const char *text = (const char *)event->data.scalar.value;
        size_t      size = event->data.scalar.length;
        if (walk->depth == 0) {
            return size == 0 ? 0 : refuse(walk, line, "wants keys and values, such as `mqtt:`");
        }
        if (memchr(text, '\0', size) != NULL) {
            return refuse(walk, line, "a zero byte");
        }
        if (walk->in_list) {
            return take_item(walk, text, line);
        }
        if (walk->key_read && list_key(walk) != NULL) {
            return refuse(walk, line, "a list is expected here: [..], or lines that begin with \"- \"");
        }
        return walk->key_read ? take_value(walk, text, line) : take_key(walk, text, size, line);
    }
    case YAML_SEQUENCE_START_EVENT:
        return open_list(walk, line);
    case YAML_SEQUENCE_END_EVENT:
        return close_list(walk);
    case YAML_ALIAS_EVENT:
        return refuse(walk, line, "aliases are not understood");
    default:
        return 0;
    }
}

int config_read_yaml(const char *name, const char *text, size_t size, const struct config_table *table, void *out,
                     char *error)
{
    struct walk   walk = {.name = name, .table = table, .out = out, .error = error};
    yaml_parser_t parser;
    bool          ended  = false;
    int           result = 0;
    ASSERT(table->count <= KEYS_MAX);
    if (yaml_parser_initialize(&parser) == 0) {
        return refuse(&walk, 1, "no memory to parse it");
    }
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, size);
    while (result == 0 && !ended) {
        yaml_event_t event;
        if (yaml_parser_parse(&parser, &event) == 0) {
            result = refuse(&walk, parser.problem_mark.line + 1, parser.problem != NULL ? parser.problem : "not YAML");
            break;
        }
        result = step(&walk, &event);
        ended  = event.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    for (char *at = error; result < 0 && *at != '\0'; at++) { /* a value of several lines is quoted in one */
        *at = (unsigned char)*at < ' ' ? ' ' : *at;
    }
    return result;
}
