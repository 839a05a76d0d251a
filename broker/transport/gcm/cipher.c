/* cipher - see cipher.h. */
#include "broker/transport/gcm/cipher.h"

#ifdef CIPHER_BUILT

#include <intel-ipsec-mb.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

/* Of one message under one key and IV (SP 800-38D, 5.2.1.1). */
static const uint64_t message_max_bytes = (1ULL << 36) - 32;

enum { KEY_MAX_BYTES = 32, ALIGNED_BYTES = 64 };

/* What the library has for one length of keys; they keep nothing between calls but what they are handed. */
struct routines {
    size_t                     key_bytes;
    aes_gcm_pre_t              expand;
    aes_gcm_init_t             begin;
    aes_gcm_enc_dec_update_t   encrypt, decrypt;
    aes_gcm_enc_dec_finalize_t encrypted, decrypted;
    aes_gcm_enc_dec_t          seal, open; /* a whole message */
};

enum progress { PROGRESS_NONE, PROGRESS_GIVEN, PROGRESS_RUNNING, PROGRESS_SPENT };

struct cipher {
    struct gcm_context_data message;
    struct gcm_key_data    *expanded; /* NULL: nothing was encrypted or decrypted yet */
    const struct routines  *routines;
    uint64_t                data_bytes; /* of this message */
    uint64_t                records;    /* encrypted under this key with IVs counted here */
    enum progress           progress;
    bool                    encrypt;
    bool                    keyed;
    bool                    stale;   /* expanded is not of this key */
    bool                    counted; /* IVs begin with what cipher_fix_iv was told */
    uint8_t                 tag_bytes;
    uint8_t                 aad_bytes;
    uint8_t                 header_bytes; /* 0: the next piece is not a record */
    uint8_t                 key[KEY_MAX_BYTES];
    uint8_t                 iv[CIPHER_IV_BYTES];    /* the last one given, or the next one when they are counted */
    uint8_t                 nonce[CIPHER_IV_BYTES]; /* of this message */
    uint8_t                 tag[CIPHER_TAG_BYTES];
    uint8_t                 aad[CIPHER_AAD_MAX_BYTES];
    uint8_t                 header[CIPHER_HEADER_BYTES];
};

/* Written by cipher_available, before there are others. */
static struct routines routines_128, routines_256;

/* The compiler's question also asks whether the system keeps the wide registers; the library's, for what its fastest code needs. */
bool cipher_available(void)
{
    IMB_MGR *manager = NULL;
    bool     fast    = false;
    if (__builtin_cpu_supports("avx512f") && (manager = alloc_mb_mgr(0)) != NULL) {
        const uint64_t needed = IMB_CPUFLAGS_AVX512_T2 | IMB_FEATURE_SELF_TEST_PASS;
        init_mb_mgr_auto(manager, NULL);
        fast = imb_get_errno(manager) == 0 && (manager->features & needed) == needed;
    }
    if (fast) {
        routines_128 = (struct routines){.key_bytes = 16,
                                         .expand    = manager->gcm128_pre,
                                         .begin     = manager->gcm128_init,
                                         .encrypt   = manager->gcm128_enc_update,
                                         .decrypt   = manager->gcm128_dec_update,
                                         .encrypted = manager->gcm128_enc_finalize,
                                         .decrypted = manager->gcm128_dec_finalize,
                                         .seal      = manager->gcm128_enc,
                                         .open      = manager->gcm128_dec};
        routines_256 = (struct routines){.key_bytes = 32,
                                         .expand    = manager->gcm256_pre,
                                         .begin     = manager->gcm256_init,
                                         .encrypt   = manager->gcm256_enc_update,
                                         .decrypt   = manager->gcm256_dec_update,
                                         .encrypted = manager->gcm256_enc_finalize,
                                         .decrypted = manager->gcm256_dec_finalize,
                                         .seal      = manager->gcm256_enc,
                                         .open      = manager->gcm256_dec};
    }
    free_mb_mgr(manager);
    return fast;
}

/* ---- its life ---------------------------------------------------------------------------------------------------------- */

static void *allocate(size_t size)
{
    return aligned_alloc(ALIGNED_BYTES, (size + ALIGNED_BYTES - 1) / ALIGNED_BYTES * ALIGNED_BYTES);
}

struct cipher *cipher_new(size_t key_bytes)
{
    const struct routines *routines = key_bytes == 16 ? &routines_128 : &routines_256;
    struct cipher         *c        = allocate(sizeof *c);
    ASSERT(routines->key_bytes == key_bytes);
    if (c != NULL) {
        memset(c, 0, sizeof *c);
        c->routines = routines;
    }
    return c;
}

void cipher_free(struct cipher *c)
{
    if (c != NULL) {
        if (c->expanded != NULL) {
            OPENSSL_cleanse(c->expanded, sizeof *c->expanded);
            free(c->expanded);
        }
        OPENSSL_cleanse(c, sizeof *c);
        free(c);
    }
}

struct cipher *cipher_copy(const struct cipher *c)
{
    struct cipher *copy = allocate(sizeof *copy);
    if (copy != NULL) {
        *copy          = *c;
        copy->expanded = NULL;
        copy->stale    = c->keyed;
    }
    return copy;
}

size_t cipher_key_bytes(const struct cipher *c)
{
    return c->routines->key_bytes;
}

/* ---- a message --------------------------------------------------------------------------------------------------------- */

static void take_nonce(struct cipher *c)
{
    memcpy(c->nonce, c->iv, CIPHER_IV_BYTES);
    c->aad_bytes  = 0;
    c->data_bytes = 0;
    c->progress   = PROGRESS_GIVEN;
}

void cipher_start(struct cipher *c, bool encrypt, const uint8_t *key, const uint8_t *iv)
{
    if ((key != NULL || encrypt != c->encrypt) && c->progress == PROGRESS_RUNNING) {
        c->progress = PROGRESS_SPENT;
    }
    if (encrypt != c->encrypt) {
        c->tag_bytes    = 0; /* made here is not one to be expected */
        c->header_bytes = 0;
    }
    c->encrypt = encrypt;
    if (key != NULL) {
        memcpy(c->key, key, c->routines->key_bytes);
        c->keyed   = true;
        c->stale   = true;
        c->records = 0;
    }
    if (iv != NULL) {
        memcpy(c->iv, iv, CIPHER_IV_BYTES);
        take_nonce(c);
    }
}

const uint8_t *cipher_iv(const struct cipher *c)
{
    return c->progress == PROGRESS_NONE ? NULL : c->iv;
}

bool cipher_expand(struct cipher *c)
{
    if (UNLIKELY(c->stale)) {
        c->expanded = c->expanded == NULL ? allocate(sizeof *c->expanded) : c->expanded;
        if (c->expanded == NULL) {
            return false;
        }
        c->routines->expand(c->key, c->expanded);
        c->stale = false;
    }
    return c->keyed;
}

/* The library takes IV and AAD together: when they are complete. */
static bool running(struct cipher *c)
{
    if (c->progress == PROGRESS_GIVEN && cipher_expand(c)) {
        c->routines->begin(c->expanded, &c->message, c->nonce, c->aad, c->aad_bytes);
        c->progress = PROGRESS_RUNNING;
    }
    return c->progress == PROGRESS_RUNNING && cipher_expand(c);
}

bool cipher_aad(struct cipher *c, const uint8_t *aad, size_t size)
{
    if (c->progress != PROGRESS_GIVEN || !c->keyed || size > CIPHER_AAD_MAX_BYTES - (size_t)c->aad_bytes) {
        return false;
    }
    memcpy(c->aad + c->aad_bytes, aad, size);
    c->aad_bytes = (uint8_t)(c->aad_bytes + size);
    return true;
}

bool cipher_data(struct cipher *c, uint8_t *out, const uint8_t *in, size_t size)
{
    if (!running(c) || size > message_max_bytes - c->data_bytes) {
        return false;
    }
    c->data_bytes += size;
    if (size > 0) {
        (c->encrypt ? c->routines->encrypt : c->routines->decrypt)(c->expanded, &c->message, out, in, size);
    }
    return true;
}

bool cipher_finish(struct cipher *c)
{
    uint8_t made[CIPHER_TAG_BYTES];
    if ((!c->encrypt && c->tag_bytes == 0) || !running(c)) {
        return false;
    }
    c->progress = PROGRESS_SPENT;
    if (c->encrypt) {
        c->routines->encrypted(c->expanded, &c->message, c->tag, CIPHER_TAG_BYTES);
        c->tag_bytes = CIPHER_TAG_BYTES;
        return true;
    }
    c->routines->decrypted(c->expanded, &c->message, made, CIPHER_TAG_BYTES);
    bool same = CRYPTO_memcmp(made, c->tag, c->tag_bytes) == 0;
    OPENSSL_cleanse(made, sizeof made); /* of a forged message it would be the answer */
    return same;
}

bool cipher_set_tag(struct cipher *c, const uint8_t *tag, size_t size)
{
    if (c->encrypt || size == 0 || size > CIPHER_TAG_BYTES) {
        return false;
    }
    memcpy(c->tag, tag, size);
    c->tag_bytes = (uint8_t)size;
    return true;
}

bool cipher_get_tag(const struct cipher *c, uint8_t *tag, size_t size)
{
    if (!c->encrypt || c->progress != PROGRESS_SPENT || size == 0 || size > c->tag_bytes) {
        return false;
    }
    memcpy(tag, c->tag, size);
    return true;
}

/* ---- records of TLS 1.2 -------------------------------------------------------------------------------------------------- */

bool cipher_fix_iv(struct cipher *c, const uint8_t *fixed, size_t size)
{
    if (size < CIPHER_FIXED_BYTES || size > CIPHER_IV_BYTES - CIPHER_EXPLICIT_BYTES) {
        return false;
    }
    if (c->encrypt && RAND_bytes(c->iv + size, (int)(CIPHER_IV_BYTES - size)) != 1) {
        return false;
    }
    memcpy(c->iv, fixed, size);
    c->counted = true;
    take_nonce(c);
    return true;
}

void cipher_restore_iv(struct cipher *c, const uint8_t *iv)
{
    memcpy(c->iv, iv, CIPHER_IV_BYTES);
    c->counted = true;
    take_nonce(c);
}

static void count(uint8_t *number)
{
    for (int i = CIPHER_EXPLICIT_BYTES - 1; i >= 0 && ++number[i] == 0; i--) {
    }
}

bool cipher_next_iv(struct cipher *c, uint8_t *out, size_t size)
{
    if (!c->counted || !c->keyed || !c->encrypt) {
        return false;
    }
    size = size == 0 || size > CIPHER_IV_BYTES ? CIPHER_IV_BYTES : size;
    memcpy(out, c->iv + CIPHER_IV_BYTES - size, size);
    take_nonce(c);
    count(c->iv + CIPHER_FIXED_BYTES);
    return true;
}

bool cipher_given_iv(struct cipher *c, const uint8_t *explicit_iv, size_t size)
{
    if (!c->counted || !c->keyed || c->encrypt || size > CIPHER_IV_BYTES) {
        return false;
    }
    memcpy(c->iv + CIPHER_IV_BYTES - size, explicit_iv, size);
    take_nonce(c);
    return true;
}

bool cipher_record_header(struct cipher *c, const uint8_t *header, size_t size)
{
    c->header_bytes = 0;
    if (size != CIPHER_HEADER_BYTES) {
        return false;
    }
    size_t wire = (size_t)(header[CIPHER_HEADER_BYTES - 2] << 8 | header[CIPHER_HEADER_BYTES - 1]);
    size_t more = CIPHER_EXPLICIT_BYTES + (c->encrypt ? 0 : CIPHER_TAG_BYTES);
    if (wire < more) {
        return false;
    }
    /* What is authenticated is the payload's length. */
    memcpy(c->header, header, size);
    c->header[CIPHER_HEADER_BYTES - 2] = (uint8_t)((wire - more) >> 8);
    c->header[CIPHER_HEADER_BYTES - 1] = (uint8_t)(wire - more);
    c->header_bytes                    = CIPHER_HEADER_BYTES;
    return true;
}

bool cipher_in_records(const struct cipher *c)
{
    return c->header_bytes != 0;
}

/* The record's IV and its payload, whole: both ends of the message are here. */
static bool record(struct cipher *c, uint8_t *data, size_t payload_bytes)
{
    uint8_t *payload = data + CIPHER_EXPLICIT_BYTES;
    uint8_t *tag     = payload + payload_bytes;
    if (!cipher_expand(c)) {
        return false;
    }
    if (c->encrypt) {
        if (c->records == UINT64_MAX || !cipher_next_iv(c, data, CIPHER_EXPLICIT_BYTES)) {
            return false;
        }
        c->records++;
        c->routines->seal(c->expanded, &c->message, payload, payload, payload_bytes, c->nonce, c->header,
                          CIPHER_HEADER_BYTES, tag, CIPHER_TAG_BYTES);
        return true;
    }
    uint8_t made[CIPHER_TAG_BYTES];
    if (!cipher_given_iv(c, data, CIPHER_EXPLICIT_BYTES)) {
        return false;
    }
    c->routines->open(c->expanded, &c->message, payload, payload, payload_bytes, c->nonce, c->header,
                      CIPHER_HEADER_BYTES, made, CIPHER_TAG_BYTES);
    bool same = CRYPTO_memcmp(made, tag, CIPHER_TAG_BYTES) == 0;
    OPENSSL_cleanse(made, sizeof made);
    if (!same) {
        OPENSSL_cleanse(payload, payload_bytes);
    }
    return same;
}

bool cipher_record(struct cipher *c, uint8_t *data, size_t size, size_t *out_size)
{
    const size_t around   = CIPHER_EXPLICIT_BYTES + CIPHER_TAG_BYTES;
    size_t       expected = (size_t)(c->header[CIPHER_HEADER_BYTES - 2] << 8 | c->header[CIPHER_HEADER_BYTES - 1]);
    bool         whole    = c->header_bytes != 0 && size >= around && size - around == expected;
    bool         done     = whole && record(c, data, size - around);
    c->header_bytes       = 0;
    c->progress           = PROGRESS_SPENT;
    if (done) {
        *out_size = c->encrypt ? size : size - around;
    }
    return done;
}

#else

bool cipher_available(void)
{
    return false;
}

#endif
