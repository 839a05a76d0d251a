/* claims - what a token or a hook says of a client, in JSON: bounds of time, names, rules (jwt.h).
 * Threads: any; pure. */
#ifndef KEEL_BROKER_AUTH_CLAIMS_H
#define KEEL_BROKER_AUTH_CLAIMS_H

#include "broker/auth/jwt.h"

#include <jansson.h>

/* Of a token. NULL and *out, or why it does not count. */
const char *claims_check(const json_t *claims, const struct jwt_wants *wants, uint64_t wall_ns, struct jwt_claims *out);
/* "groups" and "acl" alone. */
const char *claims_rights(const json_t *claims, struct jwt_claims *out);

#endif
