/* seal - see seal.h. */
#include "broker/transport/seal.h"

#include "shared/base/err.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/ssl3.h>
#include <openssl/tls1.h>
#include <stdlib.h>
#include <string.h>

/* FEW_PIECES: what mostly fills a record, so that of a long queue no more is looked at. */
enum { FEW_PIECES = 3, PIECES_MAX = 64, KEY_MAX_BYTES = 32 };

#ifdef CIPHER_BUILT

/* ---- its life and its keys --------------------------------------------------------------------------------------------- */

struct seal *seal_new(size_t key_bytes)
{
    struct seal *s = calloc(1, sizeof *s);
    if (s != NULL && (s->cipher = cipher_new(key_bytes)) == NULL) {
        free(s);
        return NULL;
    }
    return s;
}

void seal_free(struct seal *s)
{
    if (s != NULL) {
        cipher_free(s->cipher);
        OPENSSL_cleanse(s, sizeof *s);
        free(s);
    }
}

bool seal_key(struct seal *s, const uint8_t *key, const uint8_t iv[CIPHER_IV_BYTES], uint64_t number)
{
    cipher_start(s->cipher, true, key, NULL);
    memcpy(s->iv, iv, CIPHER_IV_BYTES);
    s->number  = number;
    s->records = 0;
    s->keyed   = cipher_expand(s->cipher);
    return s->keyed;
}

/* HKDF-Expand-Label(secret, label, "", size). */
static bool expand(EVP_KDF_CTX *kdf, struct bytes secret, const char *label, uint8_t *out, size_t size)
{
    int         mode     = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
    const char *digest   = secret.size == 32 ? "SHA256" : "SHA384";
    OSSL_PARAM  params[] = {OSSL_PARAM_int(OSSL_KDF_PARAM_MODE, &mode),
                            OSSL_PARAM_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)digest, 0),
                            OSSL_PARAM_octet_string(OSSL_KDF_PARAM_KEY, (void *)secret.data, secret.size),
                            OSSL_PARAM_octet_string(OSSL_KDF_PARAM_PREFIX, (char *)"tls13 ", 6),
                            OSSL_PARAM_octet_string(OSSL_KDF_PARAM_LABEL, (char *)label, strlen(label)),
                            OSSL_PARAM_END};
    return EVP_KDF_derive(kdf, out, size, params) == 1;
}

bool seal_secret(struct seal *s, struct bytes secret, OSSL_LIB_CTX *library)
{
    uint8_t      key[KEY_MAX_BYTES], iv[CIPHER_IV_BYTES];
    size_t       key_bytes = cipher_key_bytes(s->cipher);
    EVP_KDF     *method    = EVP_KDF_fetch(library, OSSL_KDF_NAME_TLS1_3_KDF, NULL);
    EVP_KDF_CTX *kdf       = method == NULL ? NULL : EVP_KDF_CTX_new(method);
    s->keyed = kdf != NULL && secret.size == key_bytes + 16 && expand(kdf, secret, "key", key, key_bytes) &&
               expand(kdf, secret, "iv", iv, sizeof iv) && seal_key(s, key, iv, 0);
    EVP_KDF_CTX_free(kdf);
    EVP_KDF_free(method);
    OPENSSL_cleanse(key, sizeof key);
    OPENSSL_cleanse(iv, sizeof iv);
    return s->keyed;
}

bool seal_worn(const struct seal *s)
{
    return s->records >= SEAL_RECORDS_MAX;
}

/* ---- a record ---------------------------------------------------------------------------------------------------------- */

static void begin(struct seal *s, const uint8_t *header)
{
    uint8_t nonce[CIPHER_IV_BYTES];
    memcpy(nonce, s->iv, CIPHER_IV_BYTES);
    for (unsigned i = 0; i < sizeof s->number; i++) {
        nonce[CIPHER_IV_BYTES - 1 - i] ^= (uint8_t)(s->number >> (8 * i));
    }
    cipher_start(s->cipher, true, NULL, nonce);
    bool done = cipher_aad(s->cipher, header, SEAL_HEADER_BYTES);
    ASSERT(done);
}

static void encrypt(struct seal *s, uint8_t *out, const uint8_t *in, size_t size)
{
    bool done = cipher_data(s->cipher, out, in, size);
    ASSERT(done);
}

static void end(struct seal *s, uint8_t *tag)
{
    bool done = cipher_finish(s->cipher) && cipher_get_tag(s->cipher, tag, CIPHER_TAG_BYTES);
    ASSERT(done);
}

/* size: of the pieces together, or less. */
static int record(struct seal *s, uint8_t type, const struct iovec *pieces, size_t size, struct outq *wire)
{
    const size_t length = size + SEAL_AROUND_BYTES - SEAL_HEADER_BYTES;
    uint8_t *out = s->keyed && s->records < 2 * SEAL_RECORDS_MAX ? outq_reserve(wire, size + SEAL_AROUND_BYTES) : NULL;
    if (out == NULL) {
        return ERR_FULL;
    }
    const uint8_t header[SEAL_HEADER_BYTES] = {SSL3_RT_APPLICATION_DATA, TLS1_2_VERSION_MAJOR, TLS1_2_VERSION_MINOR,
                                               (uint8_t)(length >> 8), (uint8_t)length};
    memcpy(out, header, SEAL_HEADER_BYTES);
    begin(s, out);
    out += SEAL_HEADER_BYTES;
    for (size_t left = size, part; left > 0; left -= part, out += part, pieces++) {
        part = pieces->iov_len < left ? pieces->iov_len : left;
        encrypt(s, out, pieces->iov_base, part);
    }
    encrypt(s, out, &type, 1);
    end(s, out + 1);
    s->number++;
    s->records++;
    outq_commit(wire, size + SEAL_AROUND_BYTES);
    return 0;
}

int seal_put(struct seal *s, uint8_t type, struct bytes data, struct outq *wire)
{
    size_t       size   = data.size < SEAL_PAYLOAD_BYTES ? data.size : SEAL_PAYLOAD_BYTES;
    struct iovec piece  = {.iov_base = (void *)data.data, .iov_len = size};
    int          result = record(s, type, &piece, size, wire);
    return result == 0 ? (int)size : result;
}

/* Of the first pieces of plain, as much as one record takes. */
static size_t gather(const struct outq *plain, struct iovec pieces[PIECES_MAX], int most)
{
    size_t size  = 0;
    int    count = outq_gather(plain, pieces, most);
    for (int i = 0; i < count; i++) {
        size += pieces[i].iov_len;
    }
    return size < SEAL_PAYLOAD_BYTES ? size : SEAL_PAYLOAD_BYTES;
}

int seal_move(struct seal *s, struct outq *plain, struct outq *wire)
{
    struct iovec pieces[PIECES_MAX];
    size_t       size = gather(plain, pieces, FEW_PIECES);
    if (size < SEAL_PAYLOAD_BYTES && size < plain->size_bytes) {
        size = gather(plain, pieces, PIECES_MAX);
    }
    int result = record(s, SSL3_RT_APPLICATION_DATA, pieces, size, wire);
    if (result == 0) {
        outq_consume(plain, size);
    }
    return result;
}

#else /* nobody gets one */

struct seal *seal_new(size_t key_bytes)
{
    (void)key_bytes;
    return NULL;
}

void seal_free(struct seal *s)
{
    ASSERT(s == NULL);
}

bool seal_key(struct seal *s, const uint8_t *key, const uint8_t iv[CIPHER_IV_BYTES], uint64_t number)
{
    (void)s;
    (void)key;
    (void)iv;
    (void)number;
    return false;
}

bool seal_secret(struct seal *s, struct bytes secret, OSSL_LIB_CTX *library)
{
    (void)s;
    (void)secret;
    (void)library;
    return false;
}

bool seal_worn(const struct seal *s)
{
    (void)s;
    return true;
}

int seal_put(struct seal *s, uint8_t type, struct bytes data, struct outq *wire)
{
    (void)s;
    (void)type;
    (void)data;
    (void)wire;
    return ERR_FULL;
}

int seal_move(struct seal *s, struct outq *plain, struct outq *wire)
{
    (void)s;
    (void)plain;
    (void)wire;
    return ERR_FULL;
}

#endif
