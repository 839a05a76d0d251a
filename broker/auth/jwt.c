/* jwt.c - the header chooses among the keys that fit, libjwt checks the signature, the claims are looked at here. */
#include "broker/auth/jwt.h"

#include "broker/auth/base64.h"
#include "broker/auth/claims.h"
#include "broker/auth/jwk.h"

#include <jansson.h>
#include <jwt.h>
#include <stdlib.h>

enum { TOKEN_MAX_BYTES = 16 * 1024, KID_MAX_BYTES = 256 };

struct header {
    jwt_alg_t alg;
    char      kid[KID_MAX_BYTES]; /* empty: none */
};

bool jwt_is_token(struct bytes text)
{
    unsigned dots = 0;
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];
        bool    letter =
            (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-' || c == '_';
        dots += c == '.';
        if (!letter && c != '.') {
            return false;
        }
    }
    return dots == 2 && bytes_starts_with(text, bytes_str("eyJ")); /* {" */
}

static bool read_header(struct bytes token, struct header *out)
{
    uint8_t        text[4096];
    const uint8_t *dot = memchr(token.data, '.', token.size);
    int64_t size       = base64_decode(BASE64_URL, bytes_of(token.data, (size_t)(dot - token.data)), text, sizeof text);
    if (size < 0) {
        return false;
    }
    json_t     *json = json_loadb((const char *)text, (size_t)size, JSON_REJECT_DUPLICATES, NULL);
    const char *alg  = json_string_value(json_object_get(json, "alg"));
    const char *kid  = json_string_value(json_object_get(json, "kid"));
    bool        good = alg != NULL && (kid == NULL || strlen(kid) < sizeof out->kid);
    if (good) {
        out->alg = jwt_str_alg(alg);
        memset(out->kid, 0, sizeof out->kid);
        if (kid != NULL) {
            memcpy(out->kid, kid, strlen(kid));
        }
        good = out->alg != JWT_ALG_NONE && out->alg != JWT_ALG_INVAL;
    }
    json_decref(json);
    return good;
}

static enum jwk_kind kind_of(jwt_alg_t alg)
{
    switch (alg) {
    case JWT_ALG_HS256:
    case JWT_ALG_HS384:
    case JWT_ALG_HS512:
        return JWK_SECRET;
    case JWT_ALG_RS256:
    case JWT_ALG_RS384:
    case JWT_ALG_RS512:
        return JWK_RSA;
    case JWT_ALG_ES256:
        return JWK_EC_256;
    case JWT_ALG_ES384:
        return JWK_EC_384;
    case JWT_ALG_ES512:
        return JWK_EC_521;
    default:
        return JWK_NONE;
    }
}

/* The claims as JSON text, once a key fits; NULL when none does. */
static char *verify(const struct jwt_keys *keys, const struct header *header, const char *token)
{
    for (uint32_t i = 0; i < keys->count; i++) {
        const struct jwk *key = &keys->keys[i];
        jwt_t            *jwt = NULL;
        if (key->kind != kind_of(header->alg) ||
            (header->kid[0] != '\0' && key->kid[0] != '\0' && strcmp(header->kid, key->kid) != 0)) {
            continue;
        }
        if (jwt_decode(&jwt, token, key->data, (int)key->size) == 0) {
            char *claims = jwt_get_alg(jwt) == header->alg ? jwt_get_grants_json(jwt, NULL) : NULL;
            jwt_free(jwt);
            return claims;
        }
        jwt_free(jwt);
    }
    return NULL;
}

const char *jwt_check(const struct jwt_keys *keys, const struct jwt_wants *wants, struct bytes token, uint64_t wall_ns,
                      struct jwt_claims *out)
{
    struct header header;
    if (token.size > TOKEN_MAX_BYTES || !jwt_is_token(token)) {
        return "a password that is no token";
    }
    if (!read_header(token, &header)) {
        return "a token with an algorithm that is not taken";
    }
    char *text = malloc(token.size + 1);
    if (text == NULL) {
        return "no memory to check a token";
    }
    memcpy(text, token.data, token.size);
    text[token.size] = '\0';
    char *claims     = verify(keys, &header, text);
    free(text);
    if (claims == NULL) {
        return "a token whose signature fits no key";
    }
    json_t *json = json_loads(claims, JSON_REJECT_DUPLICATES, NULL);
    free(claims);
    const char *why = json == NULL ? "a token with claims that are not JSON" : claims_check(json, wants, wall_ns, out);
    json_decref(json);
    return why;
}

void jwt_claims_fini(struct jwt_claims *claims)
{
    for (uint32_t i = 0; i < claims->rule_count; i++) {
        acl_rule_free(claims->rules[i]);
    }
    free(claims->rules);
    claims->rules      = NULL;
    claims->rule_count = 0;
}
