/* jwk - keys that tokens are checked with: as they lie in PEM and JWKS files, and as libjwt takes them.
 * Threads: constant once made. */
#ifndef KEEL_BROKER_AUTH_JWK_H
#define KEEL_BROKER_AUTH_JWK_H

#include "broker/auth/jwt.h"

enum jwk_kind { JWK_NONE, JWK_SECRET, JWK_RSA, JWK_EC_256, JWK_EC_384, JWK_EC_521 };
enum { JWK_KID_MAX_BYTES = 256, JWK_KEYS_MAX = 64 };

struct jwk {
    enum jwk_kind kind;
    char          kid[JWK_KID_MAX_BYTES]; /* empty: none */
    uint8_t      *data;                   /* the secret; or PEM, ended by a zero that is not counted */
    size_t        size;
};

struct jwt_keys {
    _Atomic uint32_t refs;
    uint32_t         count;
    struct jwk       keys[JWK_KEYS_MAX];
};

#endif
