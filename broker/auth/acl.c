/* acl.c - a rule against a client and a topic. */
#include "broker/auth/acl.h"

#include "broker/auth/credential.h"

#include <stdlib.h>

/* ---- who ---------------------------------------------------------------------------------------------------------------------- */

static bool name_matches(struct bytes pattern, struct bytes name)
{
    if (pattern.size > 0 && pattern.data[pattern.size - 1] == '*') {
        return bytes_starts_with(name, bytes_of(pattern.data, pattern.size - 1));
    }
    return bytes_equal(pattern, name);
}

static bool address_matches(const struct acl_rule *rule, const struct acl_who *who)
{
    unsigned whole = rule->prefix_bits / 8u, rest = rule->prefix_bits % 8u;
    if (!who->has_address || memcmp(rule->address, who->address, whole) != 0) {
        return false;
    }
    return rest == 0 || ((rule->address[whole] ^ who->address[whole]) >> (8 - rest)) == 0;
}

bool acl_rule_concerns(const struct acl_rule *rule, const struct acl_who *who)
{
    return (rule->user.size == 0 || (who->user.size > 0 && name_matches(rule->user, who->user))) &&
           (rule->client.size == 0 || name_matches(rule->client, who->client)) &&
           (rule->group.size == 0 || credential_in_group(who->groups, rule->group)) &&
           (!rule->has_address || address_matches(rule, who));
}

/* ---- topics ------------------------------------------------------------------------------------------------------------------- */

/* A filter or name, level by level. */
struct levels {
    struct bytes left;
    bool         more;
};

static struct levels levels_of(struct bytes text)
{
    return (struct levels){.left = text, .more = true};
}

static struct bytes level_next(struct levels *levels)
{
    struct bytes   text  = levels->left;
    const uint8_t *slash = text.size == 0 ? NULL : memchr(text.data, '/', text.size);
    size_t         size  = slash != NULL ? (size_t)(slash - text.data) : text.size;
    levels->more         = slash != NULL;
    if (slash != NULL) {
        levels->left = bytes_of(slash + 1, text.size - size - 1);
    }
    return bytes_of(text.data, size);
}

static bool level_is(struct bytes level, char c)
{
    return level.size == 1 && level.data[0] == (uint8_t)c;
}

static bool name_plain(struct bytes name)
{
    for (size_t i = 0; i < name.size; i++) {
        if (name.data[i] == '/' || name.data[i] == '+' || name.data[i] == '#') {
            return false;
        }
    }
    return name.size > 0;
}

/* Is text what pattern says, with the names in it? Any characters, levels or not. */
static bool same(struct bytes pattern, struct bytes text, const struct acl_who *who, bool strict)
{
    size_t at = 0;
    for (size_t i = 0; i < pattern.size; i++) {
        bool client = pattern.data[i] == '%' && i + 1 < pattern.size && pattern.data[i + 1] == 'c';
        bool user   = pattern.data[i] == '%' && i + 1 < pattern.size && pattern.data[i + 1] == 'u';
        if (!client && !user) {
            if (at == text.size || text.data[at++] != pattern.data[i]) {
                return false;
            }
            continue;
        }
        struct bytes name = client ? who->client : who->user;
        if ((strict && !name_plain(name)) || !bytes_starts_with(bytes_of(text.data + at, text.size - at), name)) {
            return false;
        }
        at += name.size;
        i++;
    }
    return at == text.size;
}

/* [MQTT-4.7.2-1]: a wildcard in front does not mean topics that begin with '$'. */
static bool hidden(struct bytes wildcard, struct bytes level, bool first)
{
    return first && (level_is(wildcard, '#') || level_is(wildcard, '+')) && level.size > 0 && level.data[0] == '$';
}

/* Does the pattern match every topic that filter matches? A name is a filter of one topic. */
static bool covers(struct bytes pattern, struct bytes filter, const struct acl_who *who, bool strict)
{
    struct levels p = levels_of(pattern), f = levels_of(filter);
    for (bool first = true; p.more; first = false) {
        struct bytes wanted = level_next(&p);
        if (level_is(wanted, '#')) {
            return !first || filter.size == 0 || filter.data[0] != '$';
        }
        if (!f.more) {
            return false;
        }
        struct bytes level = level_next(&f);
        if (level_is(wanted, '+') ? level_is(level, '#') || hidden(wanted, level, first)
                                  : !same(wanted, level, who, strict)) {
            return false;
        }
    }
    return !f.more;
}

/* Is there a topic that both match? */
static bool overlaps(struct bytes pattern, struct bytes filter, const struct acl_who *who)
{
    struct levels p = levels_of(pattern), f = levels_of(filter);
    for (bool first = true; p.more && f.more; first = false) {
        struct bytes a = level_next(&p), b = level_next(&f);
        if (hidden(a, b, first) || hidden(b, a, first)) {
            return false;
        }
        if (level_is(a, '#') || level_is(b, '#')) {
            return true;
        }
        if (!level_is(a, '+') && !level_is(b, '+') && !same(a, b, who, false)) {
            return false;
        }
    }
    /* What is left may be "#": it means the level above too. */
    return (!p.more || level_is(level_next(&p), '#')) && (!f.more || level_is(level_next(&f), '#'));
}

static bool topic_meant(const struct acl_rule *rule, const struct acl_topic *topic, const struct acl_who *who,
                        const struct acl_wish *wish, struct bytes subject)
{
    if (topic->literal) {
        return same(topic->filter, subject, who, rule->allow);
    }
    if (rule->allow || wish->action == ACL_PUBLISH) {
        return covers(topic->filter, subject, who, rule->allow);
    }
    return overlaps(topic->filter, subject, who);
}

static struct bytes behind_level(struct bytes text)
{
    const uint8_t *slash = text.size == 0 ? NULL : memchr(text.data, '/', text.size);
    if (slash == NULL) {
        return (struct bytes){0};
    }
    return bytes_of(slash + 1, text.size - (size_t)(slash - text.data) - 1);
}

/* The topic or filter without $share/group/, $exclusive/ or $delayed/N/. */
static struct bytes acl_subject(enum acl_action action, struct bytes topic)
{
    struct bytes rest = {0};
    if (LIKELY(topic.size == 0 || topic.data[0] != '$')) {
        return topic;
    }
    if (action == ACL_SUBSCRIBE && bytes_starts_with(topic, bytes_str("$share/"))) {
        rest = behind_level(behind_level(topic));
    } else if (action == ACL_SUBSCRIBE && bytes_starts_with(topic, bytes_str("$exclusive/"))) {
        rest = behind_level(topic);
    } else if (action == ACL_PUBLISH && bytes_starts_with(topic, bytes_str("$delayed/"))) {
        rest = behind_level(behind_level(topic));
    }
    return rest.size > 0 ? rest : topic;
}

enum acl_verdict acl_rule_says(const struct acl_rule *rule, const struct acl_who *who, const struct acl_wish *wish)
{
    if ((rule->actions & wish->action) == 0 || (rule->qos >> wish->qos & 1) == 0) {
        return ACL_SILENT;
    }
    if (rule->retain != ACL_RETAIN_ANY &&
        (wish->action != ACL_PUBLISH || wish->retain != (rule->retain == ACL_RETAIN_YES))) {
        return ACL_SILENT;
    }
    struct bytes subject = acl_subject((enum acl_action)wish->action, wish->topic);
    for (uint32_t i = 0; i < rule->topic_count; i++) {
        if (topic_meant(rule, &rule->topics[i], who, wish, subject)) {
            return rule->allow ? ACL_ALLOW : ACL_DENY;
        }
    }
    return ACL_SILENT;
}

/* ---- sets --------------------------------------------------------------------------------------------------------------------- */

struct acl *acl_new(struct acl_rule *const *rules, uint32_t count)
{
    struct acl *acl = malloc(sizeof *acl + count * sizeof acl->rules[0]);
    if (acl != NULL) {
        acl->refs  = 1;
        acl->count = count;
        if (count > 0) {
            memcpy(acl->rules, rules, count * sizeof acl->rules[0]);
        }
    }
    return acl;
}

struct acl *acl_ref(struct acl *acl)
{
    acl->refs++;
    return acl;
}

void acl_unref(struct acl *acl)
{
    if (acl == NULL || --acl->refs > 0) {
        return;
    }
    for (uint32_t i = 0; i < acl->count; i++) {
        acl_rule_free(acl->rules[i]);
    }
    free(acl);
}
