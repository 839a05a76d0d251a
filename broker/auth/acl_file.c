/* acl_file.c - YAML's events; a map is written as a line first, so there is one grammar. */
#include "broker/auth/acl_file.h"

#include "shared/base/wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <yaml.h>

struct file {
    yaml_parser_t      parser;
    yaml_event_t       event; /* the one under way */
    bool               held;
    char              *why;
    size_t             why_size;
    struct acl_rule  **rules;
    uint32_t           count;
    uint32_t           capacity;
    struct wire_writer line;
};

static bool fail(struct file *f, const char *sentence)
{
    size_t line = f->held ? f->event.start_mark.line : f->parser.problem_mark.line;
    snprintf(f->why, f->why_size, "%zu: %s", line + 1, sentence);
    return false;
}

static bool step(struct file *f)
{
    if (f->held) {
        yaml_event_delete(&f->event);
        f->held = false;
    }
    if (yaml_parser_parse(&f->parser, &f->event) == 0) {
        return fail(f, f->parser.problem != NULL ? f->parser.problem : "it is not YAML");
    }
    f->held = true;
    return true;
}

static struct bytes scalar(const struct file *f)
{
    return bytes_of(f->event.data.scalar.value, f->event.data.scalar.length);
}

static bool keep_rule(struct file *f, struct bytes line)
{
    char why[256];
    if (f->count == ACL_FILE_RULES_MAX) {
        return fail(f, "there are more rules than a file may have");
    }
    if (f->count == f->capacity) {
        uint32_t          capacity = f->capacity == 0 ? 64 : f->capacity * 2;
        struct acl_rule **rules    = realloc(f->rules, capacity * sizeof(struct acl_rule *));
        if (rules == NULL) {
            return fail(f, "no memory for a rule");
        }
        f->rules    = rules;
        f->capacity = capacity;
    }
    struct acl_rule *rule = acl_rule_read(line, why, sizeof why);
    if (rule == NULL) {
        return fail(f, why);
    }
    f->rules[f->count++] = rule;
    return true;
}

/* A word of the line, in quotes. */
static void put_quoted(struct wire_writer *w, struct bytes word)
{
    wire_put_u8(w, ' ');
    wire_put_u8(w, '"');
    for (size_t i = 0; i < word.size; i++) {
        if (word.data[i] == '"' || word.data[i] == '\\') {
            wire_put_u8(w, '\\');
        }
        wire_put_u8(w, word.data[i]);
    }
    wire_put_u8(w, '"');
}

static void put_word(struct wire_writer *w, const char *word)
{
    wire_put_u8(w, ' ');
    wire_put_bytes(w, bytes_str(word));
}

static void put_topic(struct wire_writer *w, struct bytes topic)
{
    bool literal = bytes_starts_with(topic, bytes_str("eq "));
    put_word(w, literal ? "eq" : "topic");
    put_quoted(w, literal ? bytes_of(topic.data + 3, topic.size - 3) : topic);
}

/* What a key of the map has: one scalar, or for topic and qos a list. */
static bool read_values(struct file *f, const char *key, struct wire_writer *to)
{
    bool topic = strcmp(key, "topic") == 0, list = false;
    if (!step(f)) {
        return false;
    }
    if (f->event.type == YAML_SEQUENCE_START_EVENT && (topic || strcmp(key, "qos") == 0)) {
        list = true;
        if (!step(f)) {
            return false;
        }
    }
    bool first = true;
    for (; f->event.type == YAML_SCALAR_EVENT; first = false) {
        if (topic) {
            put_topic(to, scalar(f));
        } else if (strcmp(key, "qos") == 0) {
            wire_put_bytes(to, bytes_str(first ? " qos " : ","));
            wire_put_bytes(to, scalar(f));
        } else {
            put_word(to, key);
            put_quoted(to, scalar(f));
        }
        if (!list) {
            return true;
        }
        if (!step(f)) {
            return false;
        }
    }
    return (list && f->event.type == YAML_SEQUENCE_END_EVENT && !first) ||
           fail(f, "a value is a text, and a list only with topic and qos");
}

static bool read_map(struct file *f)
{
    static const char *const keys[]   = {"user", "client", "group", "address", "qos", "retain", "topic"};
    char                     head[64] = "";
    struct wire_writer       topics   = wire_writer_growing(ACL_RULE_MAX_BYTES);
    struct wire_writer      *line     = &f->line;
    bool                     good     = true;
    line->size                        = 0;
    line->bad                         = false;
    while (good && (good = step(f)) && f->event.type == YAML_SCALAR_EVENT) {
        struct bytes key   = scalar(f);
        const char  *known = NULL;
        if (bytes_equal(key, bytes_str("allow")) || bytes_equal(key, bytes_str("deny"))) {
            bool allow = key.data[0] == 'a';
            good       = (head[0] == '\0' || fail(f, "a rule has one of allow and deny")) && step(f) &&
                   (f->event.type == YAML_SCALAR_EVENT ||
                    fail(f, "allow and deny have an action: publish, subscribe or both"));
            if (good) {
                snprintf(head, sizeof head, "%s all %.20s", allow ? "allow" : "deny", (const char *)scalar(f).data);
            }
            continue;
        }
        for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
            known = bytes_equal(key, bytes_str(keys[i])) ? keys[i] : known;
        }
        if (known == NULL) {
            good = fail(
                f, "a rule has a key that is none of allow, deny, user, client, group, address, qos, retain and topic");
            break;
        }
        good = read_values(f, known, strcmp(known, "topic") == 0 ? &topics : line);
    }
    good = good && (f->event.type == YAML_MAPPING_END_EVENT || fail(f, "a rule is not a map in a map"));
    good = good && (head[0] != '\0' || fail(f, "a rule has neither allow nor deny"));
    if (good) {
        struct wire_writer whole = wire_writer_growing(ACL_RULE_MAX_BYTES);
        wire_put_bytes(&whole, bytes_str(head));
        wire_put_bytes(&whole, wire_written(line));
        wire_put_bytes(&whole, wire_written(&topics));
        good = (!whole.bad && !line->bad && !topics.bad) ? keep_rule(f, wire_written(&whole))
                                                         : fail(f, "a rule is too long");
        wire_writer_fini(&whole);
    }
    wire_writer_fini(&topics);
    return good;
}

static bool read_rules(struct file *f)
{
    if (!step(f)) {
        return false;
    }
    if (f->event.type == YAML_SCALAR_EVENT && scalar(f).size == 0) {
        return true; /* `rules:` with nothing below it */
    }
    if (f->event.type != YAML_SEQUENCE_START_EVENT) {
        return fail(f, "rules is a list");
    }
    while (step(f)) {
        if (f->event.type == YAML_SEQUENCE_END_EVENT) {
            return true;
        }
        if (f->event.type == YAML_MAPPING_START_EVENT ? !read_map(f)
            : f->event.type == YAML_SCALAR_EVENT      ? !keep_rule(f, scalar(f))
                                                      : !fail(f, "a rule is a line or a map")) {
            return false;
        }
    }
    return false;
}

static bool read_file(struct file *f)
{
    bool top = false;
    while (step(f)) {
        switch (f->event.type) {
        case YAML_STREAM_END_EVENT:
            return true;
        case YAML_MAPPING_START_EVENT:
            top = true;
            break;
        case YAML_SCALAR_EVENT:
            if (!top) {
                return scalar(f).size == 0 || fail(f, "it wants `rules:` and a list below it");
            }
            if (!bytes_equal(scalar(f), bytes_str("rules"))) {
                return fail(f, "the only key is rules");
            }
            if (!read_rules(f)) {
                return false;
            }
            break;
        case YAML_SEQUENCE_START_EVENT:
        case YAML_ALIAS_EVENT:
            return fail(f, "it wants `rules:` and a list below it");
        default:
            break;
        }
    }
    return false;
}

void acl_file_free(struct acl_rule **rules, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        acl_rule_free(rules[i]);
    }
    free(rules);
}

bool acl_file_read(struct bytes text, struct acl_rule ***out_rules, uint32_t *out_count, char *why, size_t why_size)
{
    struct file f = {.why = why, .why_size = why_size, .line = wire_writer_growing(ACL_RULE_MAX_BYTES)};
    if (yaml_parser_initialize(&f.parser) == 0) {
        snprintf(why, why_size, "1: no memory to parse it");
        return false;
    }
    yaml_parser_set_input_string(&f.parser, text.data, text.size);
    bool good = read_file(&f);
    if (f.held) {
        yaml_event_delete(&f.event);
    }
    yaml_parser_delete(&f.parser);
    wire_writer_fini(&f.line);
    if (!good) {
        acl_file_free(f.rules, f.count);
        return false;
    }
    *out_rules = f.rules;
    *out_count = f.count;
    return true;
}
