/* message.c - jansson both ways. */
#include "broker/auth/message.h"

#include "broker/auth/claims.h"

#include <jansson.h>
#include <stdio.h>

static const uint64_t second_ns = 1000000000u;

/* False: it is not UTF-8. */
static bool set(json_t *json, const char *key, struct bytes text)
{
    json_t *value = json_stringn((const char *)text.data, text.size);
    return text.data != NULL ? value != NULL && json_object_set_new(json, key, value) == 0 : (json_decref(value), true);
}

static struct bytes text_of(const char *text)
{
    return text == NULL ? (struct bytes){0} : bytes_str(text);
}

static char *print(json_t *json, bool good, size_t *out_size)
{
    char *text = good ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    *out_size = text == NULL ? 0 : strlen(text);
    return text;
}

char *message_login(const struct auth_request *request, size_t *out_size)
{
    json_t *json = json_object();
    bool    good = json != NULL && set(json, "client_id", request->client_id) &&
                (!request->has_user_name || set(json, "user_name", request->user_name)) &&
                (!request->has_password || set(json, "password", request->password)) &&
                set(json, "address", text_of(request->address)) && set(json, "listener", text_of(request->listener)) &&
                set(json, "certificate_user", text_of(request->certificate_user)) &&
                json_object_set_new(json, "port", json_integer(request->port)) == 0 &&
                json_object_set_new(json, "protocol_version", json_integer(request->protocol_version)) == 0;
    return print(json, good, out_size);
}

char *message_access(const struct acl_who *who, const char *address, const struct acl_wish *wish, size_t *out_size)
{
    json_t *json = json_object();
    bool    good = json != NULL && set(json, "client_id", who->client) &&
                (who->user.size == 0 || set(json, "user_name", who->user)) && set(json, "address", text_of(address)) &&
                set(json, "action", bytes_str(wish->action == ACL_PUBLISH ? "publish" : "subscribe")) &&
                set(json, "topic", wish->topic) && json_object_set_new(json, "qos", json_integer(wish->qos)) == 0 &&
                json_object_set_new(json, "retain", json_boolean(wish->retain)) == 0;
    return print(json, good, out_size);
}

static enum hook_says read_answer(const json_t *json, uint64_t wall_ns, struct jwt_claims *claims)
{
    const char   *result = json_string_value(json_object_get(json, "result"));
    const char   *user   = json_string_value(json_object_get(json, "user_name"));
    const json_t *left   = json_object_get(json, "expires_in");
    if (result == NULL) {
        return HOOK_DOWN;
    }
    if (strcmp(result, "allow") != 0) {
        return strcmp(result, "deny") == 0 ? HOOK_DENY : strcmp(result, "ignore") == 0 ? HOOK_IGNORE : HOOK_DOWN;
    }
    if (claims == NULL) {
        return HOOK_ALLOW;
    }
    if (user != NULL && strlen(user) < sizeof claims->user) {
        snprintf(claims->user, sizeof claims->user, "%s", user);
    }
    if (json_is_integer(left) && json_integer_value(left) > 0) {
        claims->expires_wall_ns = wall_ns + (uint64_t)json_integer_value(left) * second_ns;
    }
    if ((user != NULL && strlen(user) >= sizeof claims->user) || claims_rights(json, claims) != NULL) {
        jwt_claims_fini(claims);
        return HOOK_DOWN;
    }
    return HOOK_ALLOW;
}

enum hook_says message_answer(int status, struct bytes text, uint64_t wall_ns, struct jwt_claims *claims)
{
    if (claims != NULL) {
        *claims = (struct jwt_claims){0};
    }
    if (status == 204) {
        return HOOK_ALLOW;
    }
    if (status == 401 || status == 403) {
        return HOOK_DENY;
    }
    if (status != 200) {
        return HOOK_DOWN;
    }
    json_t        *json = json_loadb((const char *)text.data, text.size, JSON_REJECT_DUPLICATES, NULL);
    enum hook_says says = read_answer(json, wall_ns, claims);
    json_decref(json);
    return says;
}
