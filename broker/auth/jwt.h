/* jwt - tokens in place of passwords (RFC 7519), signed with a secret, an RSA or an EC key.
 *
 *   keys      a secret; a PEM file with one or more public keys or certificates; or a JWKS file {"keys": [{"kty": "RSA" | "EC" | "oct", ..}]}
 *   claims    exp, nbf          bounds of time (leeway allowed)
 *             iss, aud          as configured
 *             sub               the user name (auth.jwt_user_claim); another one in CONNECT is refused
 *             client_id         when it is there: no other client may come with this token
 *             groups            ["a", "b"] or "a,b"
 *             acl               ["allow all publish up/#", ..]: rules of acl.h that come before all others; or {"pub": [filter ..], "sub": [..], "all": [..]}:
 *                               nothing else is allowed
 *
 * The algorithm that a token names must fit the kind of key: a public key is never taken for a secret, "none" for nothing at all.
 * Threads: jwt_keys are constant once made; jwt_check may run on any thread, without system calls. */
#ifndef KEEL_BROKER_AUTH_JWT_H
#define KEEL_BROKER_AUTH_JWT_H

#include "broker/auth/acl.h"
#include "broker/auth/credential.h"

struct jwt_keys;

/* secret: of HS256 and its like, size 0: none. file: text of a PEM or JWKS file, size 0: none. NULL with a sentence in why. */
struct jwt_keys *jwt_keys_new(struct bytes secret, struct bytes file, char *why, size_t why_size);
struct jwt_keys *jwt_keys_ref(struct jwt_keys *keys);  /* one more share; accepts NULL */
void             jwt_keys_free(struct jwt_keys *keys); /* gives a share up; accepts NULL */

struct jwt_wants {
    const char *issuer; /* empty: any */
    const char *audience;
    const char *user_claim;
    uint32_t    leeway_s;
};

struct jwt_claims {
    char              user[CREDENTIAL_NAME_MAX_BYTES + 1];
    char              client_id[CREDENTIAL_NAME_MAX_BYTES + 1]; /* empty: any */
    char              groups[CREDENTIAL_GROUPS_MAX_BYTES];
    struct acl_rule **rules; /* malloc'ed, each and all */
    uint32_t          rule_count;
    bool              rules_only;
    uint64_t          expires_wall_ns; /* leeway included; 0: never */
};

/* Has it the form of a token? */
bool jwt_is_token(struct bytes text);
/* NULL and *out, or why the token does not count (a constant sentence). */
const char *jwt_check(const struct jwt_keys *keys, const struct jwt_wants *wants, struct bytes token, uint64_t wall_ns,
                      struct jwt_claims *out);
/* Frees the rules that nobody took. */
void jwt_claims_fini(struct jwt_claims *claims);

#endif
