/* jwk.c - OpenSSL reads PEM, and writes what a JWK says as PEM. */
#include "broker/auth/jwk.h"

#include "broker/auth/base64.h"

#include <jansson.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { NUMBER_MAX_BYTES = 2048, RSA_MIN_BITS = 2048 };

static bool add(struct jwt_keys *keys, enum jwk_kind kind, const char *kid, const void *data, size_t size)
{
    struct jwk *key = &keys->keys[keys->count];
    if (keys->count == JWK_KEYS_MAX || size == 0 || (kid != NULL && strlen(kid) >= sizeof key->kid)) {
        return false;
    }
    key->data = malloc(size + 1);
    if (key->data == NULL) {
        return false;
    }
    memcpy(key->data, data, size);
    key->data[size] = '\0';
    key->size       = size;
    key->kind       = kind;
    snprintf(key->kid, sizeof key->kid, "%s", kid != NULL ? kid : "");
    keys->count++;
    return true;
}

static enum jwk_kind kind_of(EVP_PKEY *pkey)
{
    int bits = EVP_PKEY_get_bits(pkey);
    switch (EVP_PKEY_get_base_id(pkey)) {
    case EVP_PKEY_RSA:
        return bits >= RSA_MIN_BITS ? JWK_RSA : JWK_NONE;
    case EVP_PKEY_EC:
        return bits == 256 ? JWK_EC_256 : bits == 384 ? JWK_EC_384 : bits == 521 ? JWK_EC_521 : JWK_NONE;
    default:
        return JWK_NONE;
    }
}

/* Takes pkey over. NULL, or what is wrong. */
static const char *add_pkey(struct jwt_keys *keys, const char *kid, EVP_PKEY *pkey)
{
    const char   *why  = NULL;
    BIO          *bio  = BIO_new(BIO_s_mem());
    char         *text = NULL;
    enum jwk_kind kind = pkey == NULL ? JWK_NONE : kind_of(pkey);
    if (pkey == NULL || bio == NULL) {
        why = "a key that OpenSSL does not take";
    } else if (kind == JWK_NONE) {
        why = "a key that is neither RSA of 2048 bits or more nor EC on P-256, P-384 or P-521";
    } else if (PEM_write_bio_PUBKEY(bio, pkey) != 1 ||
               !add(keys, kind, kid, (BIO_get_mem_data(bio, &text), text), (size_t)BIO_get_mem_data(bio, &text))) {
        why = "too many keys, or no memory for one";
    }
    BIO_free(bio);
    EVP_PKEY_free(pkey);
    return why;
}

/* ---- PEM ---------------------------------------------------------------------------------------------------------------------------- */

static EVP_PKEY *pkey_of(const char *name, const uint8_t *data, long size)
{
    if (strcmp(name, PEM_STRING_PUBLIC) == 0) {
        return d2i_PUBKEY(NULL, &data, size);
    }
    if (strcmp(name, PEM_STRING_X509) != 0) {
        return NULL; /* private keys have no business here */
    }
    X509     *certificate = d2i_X509(NULL, &data, size);
    EVP_PKEY *pkey        = certificate == NULL ? NULL : X509_get_pubkey(certificate);
    X509_free(certificate);
    return pkey;
}

static const char *read_pem(struct jwt_keys *keys, struct bytes text)
{
    BIO        *bio  = BIO_new_mem_buf(text.data, (int)text.size);
    char       *name = NULL, *header = NULL;
    uint8_t    *data = NULL;
    long        size = 0;
    const char *why  = bio == NULL ? "no memory for a key" : NULL;
    while (why == NULL && PEM_read_bio(bio, &name, &header, &data, &size) == 1) {
        EVP_PKEY *pkey = pkey_of(name, data, size);
        why = pkey == NULL ? "a block that is neither a PUBLIC KEY nor a CERTIFICATE" : add_pkey(keys, NULL, pkey);
        OPENSSL_free(name);
        OPENSSL_free(header);
        OPENSSL_free(data);
    }
    BIO_free(bio);
    return why;
}

/* ---- JWKS --------------------------------------------------------------------------------------------------------------------------- */

/* A base64url member, or a negative number. */
static int64_t member(const json_t *json, const char *name, uint8_t *out, size_t room)
{
    const char *text = json_string_value(json_object_get(json, name));
    return text == NULL ? -1 : base64_decode(BASE64_URL, bytes_str(text), out, room);
}

static EVP_PKEY *make(const char *type, OSSL_PARAM_BLD *build)
{
    EVP_PKEY     *pkey    = NULL;
    OSSL_PARAM   *params  = OSSL_PARAM_BLD_to_param(build);
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    if (params == NULL || context == NULL || EVP_PKEY_fromdata_init(context) != 1 ||
        EVP_PKEY_fromdata(context, &pkey, EVP_PKEY_PUBLIC_KEY, params) != 1) {
        pkey = NULL;
    }
    EVP_PKEY_CTX_free(context);
    OSSL_PARAM_free(params);
    return pkey;
}

static EVP_PKEY *make_rsa(const json_t *json)
{
    uint8_t n_bytes[NUMBER_MAX_BYTES], e_bytes[16];
    int64_t n_size = member(json, "n", n_bytes, sizeof n_bytes), e_size = member(json, "e", e_bytes, sizeof e_bytes);
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    BIGNUM         *n     = n_size > 0 ? BN_bin2bn(n_bytes, (int)n_size, NULL) : NULL;
    BIGNUM         *e     = e_size > 0 ? BN_bin2bn(e_bytes, (int)e_size, NULL) : NULL;
    EVP_PKEY       *pkey  = NULL;
    if (build != NULL && n != NULL && e != NULL && OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n) == 1 &&
        OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, e) == 1) {
        pkey = make("RSA", build);
    }
    BN_free(n);
    BN_free(e);
    OSSL_PARAM_BLD_free(build);
    return pkey;
}

static EVP_PKEY *make_ec(const json_t *json)
{
    static const struct {
        const char *curve, *group;
        int64_t     size;
    } curves[]            = {{"P-256", "prime256v1", 32}, {"P-384", "secp384r1", 48}, {"P-521", "secp521r1", 66}};
    const char     *curve = json_string_value(json_object_get(json, "crv"));
    uint8_t         point[1 + 2 * 66] = {4}; /* uncompressed */
    EVP_PKEY       *pkey              = NULL;
    OSSL_PARAM_BLD *build             = OSSL_PARAM_BLD_new();
    for (size_t i = 0; build != NULL && curve != NULL && i < sizeof curves / sizeof *curves; i++) {
        int64_t size = curves[i].size;
        if (strcmp(curve, curves[i].curve) == 0 && member(json, "x", point + 1, (size_t)size) == size &&
            member(json, "y", point + 1 + size, (size_t)size) == size &&
            OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, curves[i].group, 0) == 1 &&
            OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, point, (size_t)(1 + 2 * size)) == 1) {
            pkey = make("EC", build);
        }
    }
    OSSL_PARAM_BLD_free(build);
    return pkey;
}

static const char *add_jwk(struct jwt_keys *keys, const json_t *json)
{
    const char *type = json_string_value(json_object_get(json, "kty"));
    const char *kid  = json_string_value(json_object_get(json, "kid"));
    const char *use  = json_string_value(json_object_get(json, "use"));
    uint8_t     secret[NUMBER_MAX_BYTES];
    if (type == NULL) {
        return "a key without kty";
    }
    if (use != NULL && strcmp(use, "sig") != 0) {
        return NULL; /* for other purposes */
    }
    if (strcmp(type, "RSA") == 0) {
        return add_pkey(keys, kid, make_rsa(json));
    }
    if (strcmp(type, "EC") == 0) {
        return add_pkey(keys, kid, make_ec(json));
    }
    if (strcmp(type, "oct") == 0) {
        int64_t size = member(json, "k", secret, sizeof secret);
        return size > 0 && add(keys, JWK_SECRET, kid, secret, (size_t)size) ? NULL : "a secret that is not understood";
    }
    return NULL; /* of a kind that no token here is signed with */
}

static const char *read_jwks(struct jwt_keys *keys, struct bytes text)
{
    json_t     *json = json_loadb((const char *)text.data, text.size, JSON_REJECT_DUPLICATES, NULL);
    json_t     *list = json_object_get(json, "keys"), *each;
    const char *why  = json_is_array(list) ? NULL : "neither PEM nor {\"keys\": [..]}";
    size_t      index;
    json_array_foreach(list, index, each)
    {
        why = why != NULL ? why : add_jwk(keys, each);
    }
    json_decref(json);
    return why;
}

/* ---- both --------------------------------------------------------------------------------------------------------------------------- */

struct jwt_keys *jwt_keys_new(struct bytes secret, struct bytes file, char *why, size_t why_size)
{
    struct jwt_keys *keys = calloc(1, sizeof *keys);
    if (keys != NULL) {
        atomic_init(&keys->refs, 1);
    }
    const char *wrong = keys == NULL ? "no memory for keys" : NULL;
    if (wrong == NULL && secret.size > 0 && !add(keys, JWK_SECRET, NULL, secret.data, secret.size)) {
        wrong = "no memory for a secret";
    }
    if (wrong == NULL && file.size > 0) {
        wrong = memmem(file.data, file.size, "-----BEGIN ", 11) != NULL ? read_pem(keys, file) : read_jwks(keys, file);
    }
    if (wrong == NULL && keys->count == 0) {
        wrong = "no key in it";
    }
    if (wrong != NULL) {
        snprintf(why, why_size, "%s", wrong);
        jwt_keys_free(keys);
        return NULL;
    }
    return keys;
}

struct jwt_keys *jwt_keys_ref(struct jwt_keys *keys)
{
    if (keys != NULL) {
        atomic_fetch_add_explicit(&keys->refs, 1, memory_order_relaxed);
    }
    return keys;
}

void jwt_keys_free(struct jwt_keys *keys)
{
    if (keys == NULL || atomic_fetch_sub_explicit(&keys->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    for (uint32_t i = 0; i < keys->count; i++) {
        OPENSSL_cleanse(keys->keys[i].data, keys->keys[i].size);
        free(keys->keys[i].data);
    }
    free(keys);
}
