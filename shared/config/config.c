/* config.c - the table, the command line, and which key was meant. */
#include "shared/config/config.h"

#include "shared/base/err.h"
#include "shared/config/value.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_BYTES_MAX = 1 << 20, NAME_MAX_BYTES = 64 };

unsigned config_distance(const char *a, const char *b)
{
    unsigned before[NAME_MAX_BYTES + 1] = {0}, last[NAME_MAX_BYTES + 1], row[NAME_MAX_BYTES + 1];
    size_t   a_size = strnlen(a, NAME_MAX_BYTES), b_size = strnlen(b, NAME_MAX_BYTES);
    for (size_t j = 0; j <= b_size; j++) {
        last[j] = (unsigned)j;
    }
    for (size_t i = 1; i <= a_size; i++) {
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b_size; j++) {
            unsigned least = last[j - 1] + (a[i - 1] != b[j - 1]);
            least          = least < last[j] + 1 ? least : last[j] + 1;
            least          = least < row[j - 1] + 1 ? least : row[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && before[j - 2] + 1 < least) {
                least = before[j - 2] + 1;
            }
            row[j] = least;
        }
        memcpy(before, last, sizeof before);
        memcpy(last, row, (b_size + 1) * sizeof *last);
    }
    return last[b_size];
}

bool config_is_near(const char *written, unsigned distance)
{
    size_t size = strlen(written);
    return distance <= (size < 8 ? 2u : 3u) && distance < size;
}

/* The key (or flag) whose name is nearest to the one written, or NULL when none is near; its last word alone counts too, so `receive_max` finds mqtt.receive_max. */
static const char *nearest(const struct config_table *table, const char *written, bool flags)
{
    const char *best = "help";
    unsigned    min  = flags ? config_distance(written, best) : UINT32_MAX;
    for (size_t i = 0; i < table->count; i++) {
        const char *name = flags ? table->keys[i].flag : table->keys[i].key;
        if (name == NULL) {
            continue;
        }
        const char *dot     = strrchr(name, '.');
        unsigned    whole   = config_distance(written, name);
        unsigned    by_tail = dot != NULL ? config_distance(written, dot + 1) + 1 : whole;
        unsigned    cost    = whole < by_tail ? whole : by_tail;
        if (cost < min) {
            min  = cost;
            best = name;
        }
    }
    return config_is_near(written, min) ? best : NULL;
}

static const struct config_key *find(const struct config_table *table, const char *name, bool flags)
{
    for (size_t i = 0; i < table->count; i++) {
        const char *own = flags ? table->keys[i].flag : table->keys[i].key;
        if (own != NULL && strcmp(own, name) == 0) {
            return &table->keys[i];
        }
    }
    return NULL;
}

void config_defaults(const struct config_table *table, void *out)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct config_key *key = &table->keys[i];
        char                     why[CONFIG_ERROR_MAX];
        if (key->type == CONFIG_LIST) {
            *(struct config_list *)(void *)((char *)out + key->field) = (struct config_list){0};
            continue;
        }
        if (key->initial == NULL) {
            memset((char *)out + key->field, 0, CONFIG_TEXT_MAX);
            continue;
        }
        int result = value_parse(key, key->initial, out, why, sizeof why);
        ASSERT(result == 0); /* the table is ours */
    }
}

int config_set(const struct config_table *table, const char *key, const char *value, void *out, const char *where,
               char *error)
{
    const struct config_key *found = find(table, key, false);
    if (found == NULL) {
        const char *meant = nearest(table, key, false);
        int         size  = snprintf(error, CONFIG_ERROR_MAX, "%s: unknown key \"%.80s\"", where, key);
        if (meant != NULL && size < CONFIG_ERROR_MAX) {
            snprintf(error + size, (size_t)(CONFIG_ERROR_MAX - size), "; did you mean \"%s\"?", meant);
        }
        return ERR_MALFORMED;
    }
    char why[320];
    if (value_parse(found, value, out, why, sizeof why) != 0) {
        snprintf(error, CONFIG_ERROR_MAX, "%s: %s %s", where, key, why);
        return ERR_MALFORMED;
    }
    return 0;
}

static int read_file(const char *path, const struct config_table *table, void *out, char *error)
{
    int   result = ERR_MALFORMED;
    char *text   = NULL;
    FILE *file   = fopen(path, "re");
    if (file == NULL) {
        snprintf(error, CONFIG_ERROR_MAX, "%.200s: cannot be read: %s", path, strerror(errno));
        return ERR_MALFORMED;
    }
    text = malloc(FILE_BYTES_MAX);
    if (text == NULL) {
        snprintf(error, CONFIG_ERROR_MAX, "%.200s: no memory to read it", path);
        goto done;
    }
    size_t size = fread(text, 1, FILE_BYTES_MAX, file);
    if (ferror(file) != 0 || size == FILE_BYTES_MAX) {
        snprintf(error, CONFIG_ERROR_MAX, "%.200s: %s", path,
                 size == FILE_BYTES_MAX ? "larger than 1 MiB" : strerror(errno));
        goto done;
    }
    result = config_read_yaml(path, text, size, table, out, error);
done:
    free(text);
    fclose(file);
    return result;
}

/* One argument taken apart: "--name=value", or "--name" and the next argument. */
struct argument {
    char        name[NAME_MAX_BYTES];
    const char *value;
};

/* Takes the argument at *index and moves *index behind it. */
static int next_argument(int argc, char *const *argv, int *index, struct argument *out, char *error)
{
    const char *text  = argv[*index];
    const char *equal = strchr(text, '=');
    size_t      size  = equal != NULL ? (size_t)(equal - text) : strlen(text);
    if (strncmp(text, "--", 2) != 0 || size <= 2 || size - 2 >= sizeof out->name) {
        snprintf(error, CONFIG_ERROR_MAX, "%.80s: unexpected argument; flags begin with -- (see --help)", text);
        return ERR_MALFORMED;
    }
    memcpy(out->name, text + 2, size - 2);
    out->name[size - 2] = '\0';
    out->value          = equal != NULL ? equal + 1 : NULL;
    *index += 1;
    if (out->value == NULL && strcmp(out->name, "help") != 0 && *index < argc) {
        out->value = argv[*index];
        *index += 1;
    }
    return 0;
}

/* --set key=value */
static int set_pair(const struct config_table *table, const char *pair, void *out, char *error)
{
    char        key[NAME_MAX_BYTES];
    const char *equal = strchr(pair, '=');
    if (equal == NULL || equal == pair || (size_t)(equal - pair) >= sizeof key) {
        snprintf(error, CONFIG_ERROR_MAX, "--set %.80s: wants key=value", pair);
        return ERR_MALFORMED;
    }
    memcpy(key, pair, (size_t)(equal - pair));
    key[equal - pair] = '\0';
    return config_set(table, key, equal + 1, out, "--set", error);
}

static int apply_flag(const struct config_table *table, const struct argument *argument, bool files, void *out,
                      char *error)
{
    bool                     set = strcmp(argument->name, "set") == 0;
    const struct config_key *key = set ? NULL : find(table, argument->name, true);
    if (!set && key == NULL) {
        const char *meant = nearest(table, argument->name, true);
        snprintf(error, CONFIG_ERROR_MAX,
                 meant != NULL ? "--%s: unknown flag; did you mean --%s?" : "--%s: unknown flag", argument->name,
                 meant);
        return ERR_MALFORMED;
    }
    if (argument->value == NULL) {
        snprintf(error, CONFIG_ERROR_MAX, "--%s: a value is missing", argument->name);
        return ERR_MALFORMED;
    }
    bool is_file = key != NULL && key->type == CONFIG_FILE;
    if (is_file != files) {
        return 0; /* its turn is in the other pass */
    }
    if (set) {
        return set_pair(table, argument->value, out, error);
    }
    char why[320];
    if (value_parse(key, argument->value, out, why, sizeof why) != 0) {
        snprintf(error, CONFIG_ERROR_MAX, "--%s: %s", argument->name, why);
        return ERR_MALFORMED;
    }
    return is_file ? read_file(argument->value, table, out, error) : 0;
}

int config_load(int argc, char *const *argv, const struct config_table *table, void *out, char *error)
{
    config_defaults(table, out);
    for (int pass = 0; pass < 2; pass++) { /* files first: the command line wins wherever --config stands in it */
        for (int i = 1; i < argc;) {
            struct argument argument;
            int             result = next_argument(argc, argv, &i, &argument, error);
            if (result == 0 && strcmp(argument.name, "help") == 0) {
                return CONFIG_HELP;
            }
            result = result != 0 ? result : apply_flag(table, &argument, pass == 0, out, error);
            if (result != 0) {
                return result;
            }
        }
    }
    return 0;
}

static bool is_among(const char *const *names, const char *name)
{
    while (names != NULL && *names != NULL && strcmp(*names, name) != 0) {
        names++;
    }
    return names != NULL && *names != NULL;
}

void config_print_flags(const struct config_table *table, const char *const *left_out, FILE *to)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct config_key *key = &table->keys[i];
        if (key->flag == NULL || is_among(left_out, key->flag)) {
            continue;
        }
        char left[64];
        snprintf(left, sizeof left, "--%s %s", key->flag,
                 key->type == CONFIG_ADDRESS     ? "ADDR:PORT"
                 : key->type == CONFIG_ADDRESSES ? "ADDR:PORT,.."
                 : key->type == CONFIG_NUMBER    ? "N"
                                                 : key->unit);
        fprintf(to, "  %-24s %s%s%s%s\n", left, key->sentence,
                key->initial != NULL && *key->initial != '\0' ? " (default " : "",
                key->initial != NULL ? key->initial : "", key->initial != NULL && *key->initial != '\0' ? ")" : "");
    }
    fprintf(to, "  %-24s %s\n", "--set KEY=VALUE", "Any key of the configuration file; may be given many times.");
    fprintf(to, "  %-24s %s\n", "--help", "This text.");
}

void config_print_yaml(const struct config_table *table, FILE *to)
{
    char group[NAME_MAX_BYTES] = "";
    fputs("# Every setting of Keel with its default, for keel dev, keel-broker and keel-segstore (--config FILE); "
          "flags win over the file.\n"
          "# Printed by `keel config`.\n",
          to);
    for (size_t i = 0; i < table->count; i++) {
        const struct config_key *key = &table->keys[i];
        if (key->key == NULL) {
            continue;
        }
        const char *dot    = strchr(key->key, '.');
        size_t      size   = dot != NULL ? (size_t)(dot - key->key) : 0;
        bool        inside = dot != NULL && strlen(group) == size && memcmp(group, key->key, size) == 0;
        if (!inside) {
            snprintf(group, sizeof group, "%.*s", (int)size, key->key);
            fprintf(to, dot != NULL ? "\n%s:\n" : "\n%s", group);
        }
        const char *indent = dot != NULL ? "  " : "";
        fprintf(to, "%s# %s\n%s#", indent, key->sentence, indent);
        if (key->type == CONFIG_NUMBER) {
            fprintf(to, " %s%s%llu to %llu", key->unit != NULL ? key->unit : "", key->unit != NULL ? ", " : "",
                    (unsigned long long)key->min, (unsigned long long)key->max);
        } else if (key->type == CONFIG_LIST) {
            fprintf(to, " a list of \"%s\"", key->unit);
        } else {
            fprintf(to, " %s",
                    key->type == CONFIG_BOOL        ? "true or false"
                    : key->type == CONFIG_ADDRESS   ? "ADDRESS:PORT"
                    : key->type == CONFIG_ADDRESSES ? "ADDRESS:PORT, .."
                                                    : key->unit);
        }
        fprintf(to, "%s%s\n", key->flag != NULL ? "; flag --" : "", key->flag != NULL ? key->flag : "");
        fprintf(to, "%s%s: %s\n", indent, dot != NULL ? dot + 1 : key->key,
                key->type == CONFIG_LIST                        ? "[]"
                : key->initial != NULL && *key->initial != '\0' ? key->initial
                                                                : "\"\"");
    }
}

const char *config_address_text(const struct config_address *address, char *text, size_t size)
{
    bool six = strchr(address->host, ':') != NULL;
    snprintf(text, size, "%s%s%s:%u", six ? "[" : "", address->host, six ? "]" : "", address->port);
    return text;
}
