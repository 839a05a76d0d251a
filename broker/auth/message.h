/* message - what a hook is asked, in JSON, and what its answers mean.
 *
 *   login    {"client_id", "user_name", "password", "address", "port", "listener", "certificate_user", "protocol_version"}
 *   access   {"client_id", "user_name", "address", "action": "publish" | "subscribe", "topic", "qos", "retain"}
 *   answer   200 {"result": "allow" | "deny" | "ignore"}; after a login also "user_name", "groups", "acl" (jwt.h) and "expires_in" (s)
 *            204: allow      401, 403: deny      anything else: the hook is down
 *
 * Bytes of a password that are not UTF-8 make a login that is not asked for: denied.
 * Threads: any; pure. */
#ifndef KEEL_BROKER_AUTH_MESSAGE_H
#define KEEL_BROKER_AUTH_MESSAGE_H

#include "broker/auth/acl.h"
#include "broker/auth/jwt.h"
#include "broker/auth/port.h"

enum hook_says { HOOK_ALLOW, HOOK_DENY, HOOK_IGNORE, HOOK_DOWN };

/* malloc'ed JSON and its size, or NULL: no memory, or something that is not UTF-8. */
char *message_login(const struct auth_request *request, size_t *out_size);
char *message_access(const struct acl_who *who, const char *address, const struct acl_wish *wish, size_t *out_size);
/* status: of HTTP, or an error. claims: of a login, filled with HOOK_ALLOW; NULL for access. */
enum hook_says message_answer(int status, struct bytes text, uint64_t wall_ns, struct jwt_claims *claims);

#endif
