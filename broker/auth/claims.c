/* claims.c - one claim after the other. */
#include "broker/auth/claims.h"

#include "shared/base/wire.h"

#include <stdio.h>
#include <stdlib.h>

enum { RULES_MAX = 1000 };

static const uint64_t second_ns = 1000000000u;

static bool copy_text(const json_t *json, char *out, size_t size)
{
    const char *text = json_string_value(json);
    if (text == NULL || strlen(text) >= size || strlen(text) != json_string_length(json)) {
        return false;
    }
    snprintf(out, size, "%s", text);
    return true;
}

/* Seconds since 1970, perhaps with a fraction. */
static bool time_of(const json_t *json, uint64_t *out_ns)
{
    double seconds = json_number_value(json);
    if (!json_is_number(json) || !(seconds >= 0) || seconds > 1e10) {
        return false;
    }
    *out_ns = (uint64_t)(seconds * 1e3) * 1000000u;
    return true;
}

static const char *check_time(const json_t *claims, const struct jwt_wants *wants, uint64_t wall_ns,
                              uint64_t *out_expires_ns)
{
    const json_t *exp = json_object_get(claims, "exp"), *nbf = json_object_get(claims, "nbf");
    uint64_t      at_ns, leeway_ns                           = wants->leeway_s * second_ns;
    *out_expires_ns = 0;
    if (exp != NULL) {
        if (!time_of(exp, &at_ns)) {
            return "a token with an exp that is no time";
        }
        if (wall_ns >= at_ns + leeway_ns) {
            return "a token that has expired";
        }
        *out_expires_ns = at_ns + leeway_ns;
    }
    if (nbf != NULL) {
        if (!time_of(nbf, &at_ns)) {
            return "a token with an nbf that is no time";
        }
        if (wall_ns + leeway_ns < at_ns) {
            return "a token that is not valid yet";
        }
    }
    return NULL;
}

static bool has_audience(const json_t *aud, const char *wanted)
{
    size_t  index;
    json_t *each;
    json_array_foreach((json_t *)(uintptr_t)aud, index, each)
    {
        if (json_is_string(each) && strcmp(json_string_value(each), wanted) == 0) {
            return true;
        }
    }
    return json_is_string(aud) && strcmp(json_string_value(aud), wanted) == 0;
}

/* ---- rights ------------------------------------------------------------------------------------------------------------------------ */

static bool read_groups(const json_t *groups, struct jwt_claims *out)
{
    size_t  index, size = 0;
    json_t *each;
    if (json_is_string(groups)) {
        return copy_text(groups, out->groups, sizeof out->groups);
    }
    json_array_foreach((json_t *)(uintptr_t)groups, index, each)
    {
        const char *name = json_string_value(each);
        if (name == NULL || strchr(name, ',') != NULL || size + strlen(name) + 2 > sizeof out->groups) {
            return false;
        }
        size += (size_t)snprintf(out->groups + size, sizeof out->groups - size, "%s%s", size > 0 ? "," : "", name);
    }
    return json_is_array(groups);
}

static bool add_rule(struct jwt_claims *out, struct bytes line)
{
    char why[128];
    if (out->rule_count == RULES_MAX) {
        return false;
    }
    struct acl_rule **rules = realloc(out->rules, (out->rule_count + 1) * sizeof(struct acl_rule *));
    if (rules == NULL) {
        return false;
    }
    out->rules            = rules;
    struct acl_rule *rule = acl_rule_read(line, why, sizeof why);
    if (rule == NULL) {
        return false;
    }
    out->rules[out->rule_count++] = rule;
    return true;
}

/* {"pub": [..]}: allow, each filter by itself. */
static bool add_filters(struct jwt_claims *out, const json_t *filters, const char *action)
{
    size_t  index;
    json_t *each;
    json_array_foreach((json_t *)(uintptr_t)filters, index, each)
    {
        struct wire_writer w    = wire_writer_growing(ACL_RULE_MAX_BYTES);
        const char        *text = json_string_value(each);
        wire_put_bytes(&w, bytes_str("allow all "));
        wire_put_bytes(&w, bytes_str(action));
        wire_put_bytes(&w, bytes_str(" topic \""));
        for (; text != NULL && *text != '\0'; text++) {
            if (*text == '"' || *text == '\\') {
                wire_put_u8(&w, '\\');
            }
            wire_put_u8(&w, (uint8_t)*text);
        }
        wire_put_u8(&w, '"');
        bool good = text != NULL && !w.bad && add_rule(out, wire_written(&w));
        wire_writer_fini(&w);
        if (!good) {
            return false;
        }
    }
    return filters == NULL || json_is_array(filters);
}

static bool read_acl(const json_t *acl, struct jwt_claims *out)
{
    size_t  index;
    json_t *each;
    if (json_is_object(acl)) {
        out->rules_only = true;
        return add_filters(out, json_object_get(acl, "pub"), "publish") &&
               add_filters(out, json_object_get(acl, "sub"), "subscribe") &&
               add_filters(out, json_object_get(acl, "all"), "both");
    }
    json_array_foreach((json_t *)(uintptr_t)acl, index, each)
    {
        if (!json_is_string(each) || !add_rule(out, bytes_of(json_string_value(each), json_string_length(each)))) {
            return false;
        }
    }
    return json_is_array(acl);
}

const char *claims_rights(const json_t *claims, struct jwt_claims *out)
{
    const json_t *groups = json_object_get(claims, "groups"), *acl = json_object_get(claims, "acl");
    if (groups != NULL && !read_groups(groups, out)) {
        return "groups that are not understood";
    }
    if (acl != NULL && !read_acl(acl, out)) {
        return "access rules that are not understood";
    }
    return NULL;
}

const char *claims_check(const json_t *claims, const struct jwt_wants *wants, uint64_t wall_ns, struct jwt_claims *out)
{
    const json_t *iss    = json_object_get(claims, "iss");
    const json_t *client = json_object_get(claims, "client_id");
    *out                 = (struct jwt_claims){0};
    const char *why      = check_time(claims, wants, wall_ns, &out->expires_wall_ns);
    if (why != NULL) {
        return why;
    }
    if (wants->issuer[0] != '\0' && (!json_is_string(iss) || strcmp(json_string_value(iss), wants->issuer) != 0)) {
        return "a token of another issuer (auth.jwt_issuer)";
    }
    if (wants->audience[0] != '\0' && !has_audience(json_object_get(claims, "aud"), wants->audience)) {
        return "a token for another audience (auth.jwt_audience)";
    }
    if (!copy_text(json_object_get(claims, wants->user_claim), out->user, sizeof out->user) || out->user[0] == '\0') {
        return "a token that does not say whose it is (auth.jwt_user_claim)";
    }
    if (client != NULL && (!copy_text(client, out->client_id, sizeof out->client_id) || out->client_id[0] == '\0')) {
        return "a token with a client_id that is none";
    }
    why = claims_rights(claims, out);
    if (why != NULL) {
        jwt_claims_fini(out);
    }
    return why;
}
