/* acl_text.c - a rule's line taken apart. */
#include "broker/auth/acl.h"

#include "broker/kernel/topic.h"

#include <stdio.h>
#include <stdlib.h>

enum { IPV4_BITS = 32, IPV6_BITS = 128, IPV4_MAPPED_BITS = 96 };

/* ---- addresses ---------------------------------------------------------------------------------------------------------------- */

/* inet_pton is the world's header; these are sixteen bytes. */
static bool parse_ipv4(const char *text, uint8_t out[4])
{
    for (int i = 0; i < 4; i++) {
        unsigned value  = 0;
        int      digits = 0;
        for (; *text >= '0' && *text <= '9' && digits < 4; text++, digits++) {
            value = value * 10 + (unsigned)(*text - '0');
        }
        if (digits == 0 || digits > 3 || value > 255 || *text != (i < 3 ? '.' : '\0')) {
            return false;
        }
        out[i] = (uint8_t)value;
        text++;
    }
    return true;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static bool parse_ipv6(const char *text, uint8_t out[ACL_ADDRESS_BYTES])
{
    uint8_t bytes[ACL_ADDRESS_BYTES] = {0};
    int     size = 0, gap = -1;
    if (text[0] == ':' && text[1] == ':') {
        gap = 0;
        text += 2;
    }
    while (*text != '\0') {
        unsigned value  = 0;
        int      digits = 0;
        if (size <= 12 && strchr(text, ':') == NULL && strchr(text, '.') != NULL) {
            if (!parse_ipv4(text, bytes + size)) {
                return false;
            }
            size += 4;
            break;
        }
        for (; hex_digit(*text) >= 0 && digits < 5; text++, digits++) {
            value = value << 4 | (unsigned)hex_digit(*text);
        }
        if (digits == 0 || digits > 4 || size >= ACL_ADDRESS_BYTES) {
            return false;
        }
        bytes[size++] = (uint8_t)(value >> 8);
        bytes[size++] = (uint8_t)value;
        if (*text == ':' && text[1] == ':') {
            if (gap >= 0) {
                return false;
            }
            gap = size;
            text += 2;
        } else if (*text == ':' && text[1] != '\0') {
            text++;
        } else if (*text != '\0') {
            return false;
        }
    }
    if (gap < 0 ? size != ACL_ADDRESS_BYTES : size >= ACL_ADDRESS_BYTES) {
        return false;
    }
    memset(out, 0, ACL_ADDRESS_BYTES);
    gap = gap < 0 ? size : gap;
    memcpy(out, bytes, (size_t)gap);
    memcpy(out + ACL_ADDRESS_BYTES - (size - gap), bytes + gap, (size_t)(size - gap));
    return true;
}

bool acl_address(const char *text, uint8_t out[ACL_ADDRESS_BYTES])
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    uint8_t              four[4];
    if (parse_ipv4(text, four)) {
        memcpy(out, mapped, sizeof mapped);
        memcpy(out + sizeof mapped, four, sizeof four);
        return true;
    }
    return parse_ipv6(text, out);
}

static bool parse_cidr(struct bytes word, struct acl_rule *rule)
{
    char text[64];
    if (word.size >= sizeof text) {
        return false;
    }
    memcpy(text, word.data, word.size);
    text[word.size] = '\0';
    char    *slash  = strchr(text, '/');
    bool     six    = strchr(text, ':') != NULL;
    unsigned max    = six ? IPV6_BITS : IPV4_BITS;
    unsigned bits   = max;
    if (slash != NULL) {
        *slash    = '\0';
        char *end = NULL;
        bits      = (unsigned)strtoul(slash + 1, &end, 10);
        if (slash[1] < '0' || slash[1] > '9' || *end != '\0' || bits > max) {
            return false;
        }
    }
    rule->has_address = true;
    rule->prefix_bits = (uint8_t)(bits + (six ? 0 : IPV4_MAPPED_BITS));
    return acl_address(text, rule->address);
}

/* ---- words -------------------------------------------------------------------------------------------------------------------- */

/* The next word into out (room: what is left), without its quotes. 1: a word, 0: the end, -1: a quote that does not end. */
static int next_word(struct bytes *left, uint8_t *out, struct bytes *word, bool *quoted)
{
    size_t at = 0, size = 0;
    while (at < left->size && (left->data[at] == ' ' || left->data[at] == '\t')) {
        at++;
    }
    if (at == left->size) {
        return 0;
    }
    *quoted = left->data[at] == '"';
    if (!*quoted) {
        while (at < left->size && left->data[at] != ' ' && left->data[at] != '\t') {
            out[size++] = left->data[at++];
        }
    } else {
        at++;
        while (at < left->size && left->data[at] != '"') {
            at += left->data[at] == '\\' && at + 1 < left->size;
            out[size++] = left->data[at++];
        }
        if (at == left->size) {
            return -1;
        }
        at++;
    }
    *word = bytes_of(out, size);
    *left = bytes_of(left->data + at, left->size - at);
    return 1;
}

static bool is(struct bytes word, const char *text)
{
    return bytes_equal(word, bytes_str(text));
}

static bool parse_qos(struct bytes word, uint8_t *out)
{
    uint8_t mask = 0;
    for (size_t i = 0; i < word.size; i++) {
        if (i % 2 == 1 ? word.data[i] != ',' : word.data[i] < '0' || word.data[i] > '2') {
            return false;
        }
        if (i % 2 == 0) {
            mask = (uint8_t)(mask | 1u << (word.data[i] - '0'));
        }
    }
    *out = mask;
    return word.size % 2 == 1;
}

static bool has_names(struct bytes filter)
{
    for (size_t i = 0; i + 1 < filter.size; i++) {
        if (filter.data[i] == '%' && (filter.data[i + 1] == 'c' || filter.data[i + 1] == 'u')) {
            return true;
        }
    }
    return false;
}

struct parse {
    struct acl_rule *rule;
    struct bytes     left;
    uint8_t         *room; /* for the words */
    char            *why;
    size_t           why_size;
    bool             qos_set, who_set;
};

static bool fail(struct parse *p, const char *what, struct bytes word)
{
    snprintf(p->why, p->why_size, "%s \"%.*s\"", what, (int)(word.size < 100 ? word.size : 100),
             (const char *)word.data);
    return false;
}

/* The word behind `after`. */
static bool value(struct parse *p, struct bytes after, struct bytes *out)
{
    bool quoted;
    int  found = next_word(&p->left, p->room, out, &quoted);
    if (found <= 0 || out->size == 0) {
        return fail(p, "a rule wants a word behind", after);
    }
    p->room += out->size;
    return true;
}

static bool add_topic(struct parse *p, struct bytes filter, bool literal)
{
    struct acl_rule *rule = p->rule;
    if (!literal && !topic_filter_valid(filter)) {
        return fail(p, "a rule has a topic filter that is not valid:", filter);
    }
    if (rule->topic_count == ACL_TOPICS_MAX) {
        return fail(p, "a rule has more topic filters than are allowed, from", filter);
    }
    rule->topics[rule->topic_count++] =
        (struct acl_topic){.filter = filter, .literal = literal, .substitutes = has_names(filter)};
    return true;
}

/* One clause: its first word is read. */
static bool clause(struct parse *p, struct bytes word, bool quoted)
{
    struct acl_rule *rule = p->rule;
    struct bytes     text;
    if (quoted) {
        return rule->actions != 0 ? add_topic(p, word, false)
                                  : fail(p, "a rule has a word in quotes that nothing asks for:", word);
    }
    if (is(word, "user") || is(word, "client") || is(word, "group")) {
        p->who_set = true;
        return value(p, word, is(word, "user") ? &rule->user : is(word, "client") ? &rule->client : &rule->group);
    }
    if (is(word, "address")) {
        p->who_set = true;
        return value(p, word, &text) &&
               (parse_cidr(text, rule) || fail(p, "a rule has an address that is neither IPv4 nor IPv6:", text));
    }
    if (is(word, "all") && rule->actions == 0) {
        p->who_set = true;
        return true;
    }
    if (is(word, "qos")) {
        return value(p, word, &text) &&
               (parse_qos(text, &rule->qos) || fail(p, "a rule has a qos that is not of 0, 1 and 2:", text));
    }
    if (is(word, "retain")) {
        if (!value(p, word, &text)) {
            return false;
        }
        rule->retain = is(text, "yes") || is(text, "true") ? ACL_RETAIN_YES : ACL_RETAIN_NO;
        return rule->retain == ACL_RETAIN_YES || is(text, "no") || is(text, "false") ||
               fail(p, "a rule's retain is neither yes nor no:", text);
    }
    if ((is(word, "publish") || is(word, "subscribe") || is(word, "both")) && rule->actions == 0) {
        rule->actions = is(word, "publish")     ? ACL_PUBLISH
                        : is(word, "subscribe") ? ACL_SUBSCRIBE
                                                : ACL_PUBLISH | ACL_SUBSCRIBE;
        return true;
    }
    if (is(word, "eq")) {
        return value(p, word, &text) && add_topic(p, text, true);
    }
    if (is(word, "topic")) {
        bool literal_quoted;
        int  found = next_word(&p->left, p->room, &text, &literal_quoted);
        if (found <= 0) {
            return fail(p, "a rule wants a word behind", word);
        }
        p->room += text.size;
        if (is(text, "eq") && !literal_quoted) {
            return value(p, word, &text) && add_topic(p, text, true);
        }
        return add_topic(p, text, false);
    }
    return rule->actions != 0 ? add_topic(p, word, false) : fail(p, "a rule has a word that is not understood:", word);
}

static bool read_rule(struct parse *p)
{
    struct bytes word;
    bool         quoted = false;
    int          found;
    for (bool first = true; (found = next_word(&p->left, p->room, &word, &quoted)) > 0; first = false) {
        p->room += word.size;
        if (first) {
            p->rule->allow = is(word, "allow");
            if (!p->rule->allow && !is(word, "deny")) {
                return fail(p, "a rule begins with allow or deny, not", word);
            }
        } else if (!clause(p, word, quoted)) {
            return false;
        }
    }
    if (found < 0) {
        return fail(p, "a rule has a quote that does not end:", p->rule->text);
    }
    if (p->rule->actions == 0) {
        return fail(p, "a rule lacks publish, subscribe or both:", p->rule->text);
    }
    if (p->rule->topic_count == 0) {
        return fail(p, "a rule lacks a topic filter:", p->rule->text);
    }
    return p->who_set ||
           fail(p, "a rule does not say whom it means (user, client, group, address, or all):", p->rule->text);
}

struct acl_rule *acl_rule_read(struct bytes text, char *why, size_t why_size)
{
    while (text.size > 0 && (text.data[text.size - 1] == '\n' || text.data[text.size - 1] == '\r')) {
        text.size--;
    }
    if (text.size > ACL_RULE_MAX_BYTES) {
        snprintf(why, why_size, "a rule is longer than %d bytes", ACL_RULE_MAX_BYTES);
        return NULL;
    }
    size_t topics = 1; /* at most a word each */
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] == 0 || text.data[i] == '\n') {
            snprintf(why, why_size, "a rule has a zero or a line break in it");
            return NULL;
        }
        topics += text.data[i] == ' ' || text.data[i] == '\t' || text.data[i] == '"';
    }
    size_t           words = (topics < ACL_TOPICS_MAX ? topics : ACL_TOPICS_MAX) * sizeof(struct acl_topic);
    struct acl_rule *rule  = calloc(1, sizeof *rule + words + 2 * text.size + 1);
    if (rule == NULL) {
        snprintf(why, why_size, "no memory for a rule");
        return NULL;
    }
    uint8_t *kept = (uint8_t *)rule + sizeof *rule + words;
    if (text.size > 0) {
        memcpy(kept, text.data, text.size);
    }
    rule->text     = bytes_of(kept, text.size);
    rule->qos      = 7;
    struct parse p = {.rule = rule, .left = rule->text, .room = kept + text.size, .why = why, .why_size = why_size};
    if (!read_rule(&p)) {
        free(rule);
        return NULL;
    }
    return rule;
}

void acl_rule_free(struct acl_rule *rule)
{
    free(rule);
}
