/* scram.c - attributes one by one, then the proof. */
#include "broker/auth/scram.h"

#include "broker/auth/base64.h"
#include "broker/auth/prep.h"
#include "shared/base/wire.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>

static const char malformed[] = "a SCRAM message that is malformed";
static const char wrong[]     = "a wrong name or password";

/* Up to the next comma; *left goes behind it. */
static struct bytes part_next(struct bytes *left)
{
    const uint8_t *comma = left->size == 0 ? NULL : memchr(left->data, ',', left->size);
    size_t         size  = comma == NULL ? left->size : (size_t)(comma - left->data);
    size_t         gone  = comma == NULL ? size : size + 1;
    struct bytes   part  = bytes_of(left->data, size);
    *left                = bytes_of(left->data + gone, left->size - gone);
    return part;
}

/* "x=value" of the next part; false when it is another. */
static bool attribute(struct bytes *left, char name, struct bytes *out)
{
    struct bytes part = part_next(left);
    if (part.size < 2 || part.data[0] != (uint8_t)name || part.data[1] != '=') {
        return false;
    }
    *out = bytes_of(part.data + 2, part.size - 2);
    return true;
}

/* "=2C" is a comma, "=3D" an equals sign. */
static bool unescape(struct bytes text, char *out, uint32_t *out_size)
{
    uint32_t size = 0;
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] != '=') {
            out[size++] = (char)text.data[i];
        } else if (text.size - i >= 3 && memcmp(text.data + i, "=2C", 3) == 0) {
            out[size++] = ',';
            i += 2;
        } else if (text.size - i >= 3 && memcmp(text.data + i, "=3D", 3) == 0) {
            out[size++] = '=';
            i += 2;
        } else {
            return false;
        }
    }
    *out_size = size;
    return true;
}

/* printable characters but comma (RFC 5802, 7) */
static bool nonce_valid(struct bytes nonce)
{
    for (size_t i = 0; i < nonce.size; i++) {
        if (nonce.data[i] < 0x21 || nonce.data[i] > 0x7e || nonce.data[i] == ',') {
            return false;
        }
    }
    return nonce.size > 0 && nonce.size <= SCRAM_NONCE_MAX_BYTES;
}

const char *scram_first(struct scram *scram, struct bytes message)
{
    struct bytes left = message, user, nonce;
    if (message.size > SCRAM_MESSAGE_MAX_BYTES) {
        return "a SCRAM message that is too long";
    }
    struct bytes binding = part_next(&left);
    if (binding.size > 0 && binding.data[0] == 'p') {
        return "a channel binding, which is not offered";
    }
    if (binding.size != 1 || (binding.data[0] != 'n' && binding.data[0] != 'y')) {
        return malformed;
    }
    struct bytes authority = part_next(&left);
    scram->header_size     = (uint32_t)(message.size - left.size);
    memcpy(scram->header, message.data, scram->header_size);
    memcpy(scram->bare, left.data, left.size);
    scram->bare_size = (uint32_t)left.size;
    if (!attribute(&left, 'n', &user) || !attribute(&left, 'r', &nonce) || !nonce_valid(nonce) ||
        !unescape(user, scram->user, &scram->user_size)) {
        return malformed; /* an extension that is mandatory (m=) too */
    }
    if (prep_check(bytes_of(scram->user, scram->user_size)) != NULL) {
        return "a user name with characters that SASLprep prohibits";
    }
    if (authority.size > 0 && (authority.size < 2 || memcmp(authority.data, "a=", 2) != 0 ||
                               !bytes_equal(bytes_of(authority.data + 2, authority.size - 2), user))) {
        return "a name to act as that is not its own";
    }
    memcpy(scram->nonce, nonce.data, nonce.size);
    scram->nonce_size = (uint32_t)nonce.size;
    return NULL;
}

struct bytes scram_challenge(struct scram *scram, const struct scram_keys *keys, const uint8_t secret[32],
                             uint32_t iterations, const uint8_t own_nonce[SCRAM_OWN_NONCE_BYTES])
{
    char salt[BASE64_ROOM(SCRAM_SALT_MAX_BYTES)];
    scram->nobody = keys == NULL || keys->iterations == 0;
    if (!scram->nobody) {
        scram->keys = *keys;
    } else {
        uint8_t  made[EVP_MAX_MD_SIZE];
        unsigned size = 0;
        if (HMAC(EVP_sha256(), secret, 32, (const uint8_t *)scram->user, scram->user_size, made, &size) == NULL) {
            return (struct bytes){0};
        }
        scram->keys =
            (struct scram_keys){.iterations = iterations < SCRAM_ITERATIONS_MIN ? SCRAM_ITERATIONS_MIN : iterations,
                                .salt_size  = CREDENTIAL_SALT_BYTES};
        memcpy(scram->keys.salt, made, CREDENTIAL_SALT_BYTES);
    }
    scram->nonce_size += (uint32_t)base64_encode(BASE64_PLAIN, bytes_of(own_nonce, SCRAM_OWN_NONCE_BYTES),
                                                 scram->nonce + scram->nonce_size);
    base64_encode(BASE64_PADDED, bytes_of(scram->keys.salt, scram->keys.salt_size), salt);
    int size = snprintf(scram->challenge, sizeof scram->challenge, "r=%.*s,s=%s,i=%u", (int)scram->nonce_size,
                        scram->nonce, salt, scram->keys.iterations);
    ASSERT(size > 0 && (size_t)size < sizeof scram->challenge);
    scram->challenge_size = (uint32_t)size;
    return bytes_of(scram->challenge, scram->challenge_size);
}

/* HMAC over client-first-bare, server-first and client-final without its proof. */
static bool sign(const struct scram *scram, const uint8_t key[SCRAM_KEY_BYTES], struct bytes without_proof,
                 uint8_t out[SCRAM_KEY_BYTES])
{
    uint8_t            text[3 * SCRAM_MESSAGE_MAX_BYTES];
    uint8_t            made[EVP_MAX_MD_SIZE];
    unsigned           size = 0;
    struct wire_writer w    = wire_writer_fixed(text, sizeof text);
    wire_put(&w, scram->bare, scram->bare_size);
    wire_put_u8(&w, ',');
    wire_put(&w, scram->challenge, scram->challenge_size);
    wire_put_u8(&w, ',');
    wire_put_bytes(&w, without_proof);
    if (w.bad || HMAC(EVP_sha256(), key, SCRAM_KEY_BYTES, text, w.size, made, &size) == NULL) {
        return false;
    }
    memcpy(out, made, SCRAM_KEY_BYTES);
    return true;
}

const char *scram_final(struct scram *scram, struct bytes message, char out[64], size_t *out_size)
{
    struct bytes left = message, binding, nonce, proof_text;
    uint8_t      header[SCRAM_MESSAGE_MAX_BYTES], proof[SCRAM_KEY_BYTES], signature[SCRAM_KEY_BYTES];
    uint8_t      stored[EVP_MAX_MD_SIZE];
    unsigned     size = 0;
    if (message.size > SCRAM_MESSAGE_MAX_BYTES - 2) {
        return "a SCRAM message that is too long";
    }
    if (!attribute(&left, 'c', &binding) || !attribute(&left, 'r', &nonce)) {
        return malformed;
    }
    struct bytes without_proof = message;
    bool         found         = false;
    while (left.size > 0 && !found) { /* extensions that need not be understood may stand before the proof */
        without_proof = bytes_of(message.data, message.size - left.size - 1);
        found         = attribute(&left, 'p', &proof_text);
    }
    int64_t header_size = base64_decode(BASE64_PADDED, binding, header, sizeof header);
    if (!found || left.size > 0 || header_size < 0 ||
        base64_decode(BASE64_PADDED, proof_text, proof, sizeof proof) != SCRAM_KEY_BYTES) {
        return malformed;
    }
    if (!bytes_equal(bytes_of(header, (size_t)header_size), bytes_of(scram->header, scram->header_size)) ||
        !bytes_equal(nonce, bytes_of(scram->nonce, scram->nonce_size))) {
        return "a SCRAM message that does not belong to this exchange";
    }
    if (!sign(scram, scram->keys.stored, without_proof, signature)) {
        return wrong;
    }
    for (int i = 0; i < SCRAM_KEY_BYTES; i++) { /* ClientKey = ClientProof XOR ClientSignature */
        proof[i] ^= signature[i];
    }
    if (EVP_Digest(proof, sizeof proof, stored, &size, EVP_sha256(), NULL) != 1 ||
        CRYPTO_memcmp(stored, scram->keys.stored, SCRAM_KEY_BYTES) != 0 || scram->nobody) {
        return wrong;
    }
    if (!sign(scram, scram->keys.server, without_proof, signature)) {
        return wrong;
    }
    memcpy(out, "v=", 2);
    *out_size = 2 + base64_encode(BASE64_PADDED, bytes_of(signature, sizeof signature), out + 2);
    return NULL;
}
