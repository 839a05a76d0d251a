/* rewrite - rules are tried in order; most topics fail the first level of each. */
#include "broker/topic/rewrite.h"

#include "shared/base/err.h"

#include <regex.h>
#include <stdio.h>
#include <stdlib.h>

struct rule {
    struct rule *next;
    regex_t      regex;
    bool         has_regex;
    uint8_t      actions; /* enum rewrite_action, several */
    struct bytes source;
    struct bytes target;
    uint8_t      text[];
};

struct rewrite {
    struct rule  *first;
    struct rule **end;
};

struct rewrite *rewrite_new(void)
{
    struct rewrite *rewrite = calloc(1, sizeof *rewrite);
    if (rewrite != NULL) {
        rewrite->end = &rewrite->first;
    }
    return rewrite;
}

void rewrite_free(struct rewrite *rewrite)
{
    if (rewrite == NULL) {
        return;
    }
    for (struct rule *rule = rewrite->first, *next; rule != NULL; rule = next) {
        next = rule->next;
        if (rule->has_regex) {
            regfree(&rule->regex);
        }
        free(rule);
    }
    free(rewrite);
}

static uint8_t action_named(struct bytes word)
{
    return bytes_equal(word, bytes_str("all"))         ? REWRITE_PUBLISH | REWRITE_SUBSCRIBE
           : bytes_equal(word, bytes_str("publish"))   ? REWRITE_PUBLISH
           : bytes_equal(word, bytes_str("subscribe")) ? REWRITE_SUBSCRIBE
                                                       : 0;
}

/* How many wildcards a filter has; -1: it is none. */
static int wildcards(struct bytes filter)
{
    int count = 0;
    for (size_t i = 0; i < filter.size; i++) {
        uint8_t c = filter.data[i];
        if (c != '+' && c != '#') {
            continue;
        }
        bool begins = i == 0 || filter.data[i - 1] == '/';
        bool last   = i + 1 == filter.size;
        if (!begins || !(last || (c == '+' && filter.data[i + 1] == '/'))) {
            return -1;
        }
        count++;
    }
    return filter.size == 0 ? -1 : count;
}

static int refuse(const char *rule, const char *what, char *why, size_t why_size)
{
    snprintf(why, why_size, "\"%.120s\": %s", rule, what);
    return ERR_MALFORMED;
}

static bool compile(struct rule *rule, struct bytes text)
{
    char *copy = malloc(text.size + 1);
    if (copy == NULL) {
        return false;
    }
    memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    rule->has_regex = regcomp(&rule->regex, copy, REG_EXTENDED) == 0;
    free(copy);
    return rule->has_regex;
}

int rewrite_add(struct rewrite *rewrite, const char *text, char *why, size_t why_size)
{
    struct bytes words[4];
    int          count = template_words(text, words, 4);
    if (count != 3 && count != 4) {
        return refuse(text, "a rule is publish|subscribe|all SOURCE [REGEX] TARGET", why, why_size);
    }
    uint8_t actions  = action_named(words[0]);
    int     captures = wildcards(words[1]);
    if (actions == 0) {
        return refuse(text, "a rule begins with publish, subscribe or all", why, why_size);
    }
    if (captures < 0) {
        return refuse(text, "its source is not a topic filter", why, why_size);
    }
    size_t       size = strlen(text);
    struct rule *rule = calloc(1, sizeof *rule + size);
    if (rule == NULL) {
        return refuse(text, "no memory", why, why_size);
    }
    memcpy(rule->text, text, size);
    rule->actions = actions;
    rule->source  = bytes_of(rule->text + (words[1].data - (const uint8_t *)text), words[1].size);
    rule->target  = bytes_of(rule->text + (words[count - 1].data - (const uint8_t *)text), words[count - 1].size);
    if (count == 4) {
        if (!compile(rule, words[2])) {
            free(rule);
            return refuse(text, "its regular expression is not understood", why, why_size);
        }
        captures = (int)rule->regex.re_nsub;
    }
    *rewrite->end = rule; /* also when it is refused: it is freed with the others */
    rewrite->end  = &rule->next;
    if (!template_valid(rule->target, captures > TEMPLATE_CAPTURES_MAX ? TEMPLATE_CAPTURES_MAX : (unsigned)captures)) {
        return refuse(text,
                      "its target asks for what is not there: $1 to $9 are what SOURCE's wildcards or REGEX's groups "
                      "matched, %c and %u the client",
                      why, why_size);
    }
    return 0;
}

bool rewrite_any(const struct rewrite *rewrite, enum rewrite_action action)
{
    for (const struct rule *rule = rewrite->first; rule != NULL; rule = rule->next) {
        if ((rule->actions & action) != 0) {
            return true;
        }
    }
    return false;
}

bool rewrite_wants_user(const struct rewrite *rewrite)
{
    for (const struct rule *rule = rewrite->first; rule != NULL; rule = rule->next) {
        if (template_wants_user(rule->target)) {
            return true;
        }
    }
    return false;
}

static struct bytes level_of(struct bytes text, size_t at)
{
    const uint8_t *slash = at == text.size ? NULL : memchr(text.data + at, '/', text.size - at);
    return bytes_of(text.data + at, slash == NULL ? text.size - at : (size_t)(slash - text.data) - at);
}

static void capture(struct template_values *v, struct bytes what)
{
    if (v->capture_count < TEMPLATE_CAPTURES_MAX) {
        v->captures[v->capture_count++] = what;
    }
}

static bool matches(struct bytes source, struct bytes topic, struct template_values *v)
{
    size_t t = 0; /* topic.size + 1: it has ended */
    for (size_t s = 0; s <= source.size;) {
        struct bytes wanted = level_of(source, s);
        if (wanted.size == 1 && *wanted.data == '#') {
            capture(v, t > topic.size ? (struct bytes){0} : bytes_of(topic.data + t, topic.size - t));
            return s != 0 || topic.data[0] != '$';
        }
        if (t > topic.size) {
            return false;
        }
        struct bytes level = level_of(topic, t);
        if (wanted.size == 1 && *wanted.data == '+') {
            if (s == 0 && topic.data[0] == '$') {
                return false;
            }
            capture(v, level);
        } else if (!bytes_equal(wanted, level)) {
            return false;
        }
        s += wanted.size + 1;
        t += level.size + 1;
    }
    return t > topic.size;
}

static bool matches_regex(const struct rule *rule, struct bytes topic, struct template_values *v)
{
    regmatch_t found[TEMPLATE_CAPTURES_MAX + 1] = {{.rm_so = 0, .rm_eo = (regoff_t)topic.size}};
    if (regexec(&rule->regex, (const char *)topic.data, TEMPLATE_CAPTURES_MAX + 1, found, REG_STARTEND) != 0) {
        return false;
    }
    v->capture_count = 0;
    for (size_t i = 1; i <= rule->regex.re_nsub && i <= TEMPLATE_CAPTURES_MAX; i++) {
        capture(v, found[i].rm_so < 0
                       ? (struct bytes){0}
                       : bytes_of(topic.data + found[i].rm_so, (size_t)(found[i].rm_eo - found[i].rm_so)));
    }
    return true;
}

/* The bytes in front of the filter proper, in a shared or exclusive one. */
static size_t prefix_bytes(struct bytes filter)
{
    if (bytes_starts_with(filter, bytes_str("$exclusive/"))) {
        return 11;
    }
    if (!bytes_starts_with(filter, bytes_str("$share/"))) {
        return 0;
    }
    return 7 + level_of(filter, 7).size + 1;
}

struct bytes rewrite_apply(const struct rewrite *rewrite, enum rewrite_action action, struct bytes whole,
                           struct bytes client_id, struct bytes user, uint8_t *out)
{
    size_t prefix = action == REWRITE_SUBSCRIBE ? prefix_bytes(whole) : 0;
    if (prefix >= whole.size) {
        return whole;
    }
    struct bytes topic = bytes_of(whole.data + prefix, whole.size - prefix);
    for (const struct rule *rule = rewrite->first; rule != NULL; rule = rule->next) {
        struct template_values values = {.client_id = client_id, .user = user};
        if ((rule->actions & action) == 0 || !matches(rule->source, topic, &values) ||
            (rule->has_regex && !matches_regex(rule, topic, &values))) {
            continue;
        }
        size_t size;
        if (!template_fill(rule->target, &values, out + prefix, &size) || prefix + size > TEMPLATE_RESULT_MAX) {
            return whole;
        }
        memcpy(out, whole.data, prefix);
        return bytes_of(out, prefix + size);
    }
    return whole;
}
