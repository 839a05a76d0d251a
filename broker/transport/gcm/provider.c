/* provider - see provider.h. What libssl asks is answered as the default provider answers it. */
#include "broker/transport/gcm/provider.h"

#include "broker/transport/gcm/cipher.h"

#ifdef CIPHER_BUILT

#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/proverr.h>
#include <string.h>

/* OpenSSL's tables hold functions of all kinds as this one. */
#define ENTRY(id, function)            \
    {                                  \
        id, (void (*)(void))(function) \
    }

static int refused(int reason)
{
    ERR_raise(ERR_LIB_PROV, reason);
    return 0;
}

/* ---- one key ----------------------------------------------------------------------------------------------------------- */

static void *new_128(void *context)
{
    (void)context;
    return cipher_new(16);
}

static void *new_256(void *context)
{
    (void)context;
    return cipher_new(32);
}

static void release(void *c)
{
    cipher_free(c);
}

static void *duplicate(void *c)
{
    return cipher_copy(c);
}

static int set_params(void *context, const OSSL_PARAM params[]);

static int start(struct cipher *c, bool encrypt, const unsigned char *key, size_t key_size, const unsigned char *iv,
                 size_t iv_size, const OSSL_PARAM params[])
{
    if (key != NULL && key_size != cipher_key_bytes(c)) {
        return refused(PROV_R_INVALID_KEY_LENGTH);
    }
    if (iv != NULL && iv_size != CIPHER_IV_BYTES) {
        return refused(PROV_R_INVALID_IV_LENGTH);
    }
    cipher_start(c, encrypt, key, iv);
    return set_params(c, params);
}

static int start_encrypt(void *c, const unsigned char *key, size_t key_size, const unsigned char *iv, size_t iv_size,
                         const OSSL_PARAM params[])
{
    return start(c, true, key, key_size, iv, iv_size, params);
}

static int start_decrypt(void *c, const unsigned char *key, size_t key_size, const unsigned char *iv, size_t iv_size,
                         const OSSL_PARAM params[])
{
    return start(c, false, key, key_size, iv, iv_size, params);
}

/* ---- data: AAD without an output, a record of TLS 1.2 behind its header, or a piece of a message ----------------------------- */

static bool piece(struct cipher *c, unsigned char *out, size_t *out_size, const unsigned char *in, size_t size)
{
    *out_size = 0;
    if (cipher_in_records(c)) {
        return out == in && cipher_record(c, out, size, out_size);
    }
    if (out == NULL ? !cipher_aad(c, in, size) : !cipher_data(c, out, in, size)) {
        return false;
    }
    *out_size = size;
    return true;
}

static int update(void *c, unsigned char *out, size_t *out_size, size_t room, const unsigned char *in, size_t size)
{
    if (size == 0) {
        *out_size = 0;
        return 1;
    }
    if (room < size) {
        return refused(PROV_R_OUTPUT_BUFFER_TOO_SMALL);
    }
    return piece(c, out, out_size, in, size) ? 1 : refused(PROV_R_CIPHER_OPERATION_FAILED);
}

static int finish(void *c, unsigned char *out, size_t *out_size, size_t room)
{
    (void)out;
    (void)room;
    *out_size = 0;
    return cipher_finish(c);
}

/* EVP_Cipher: without an input it is the end. */
static int once(void *c, unsigned char *out, size_t *out_size, size_t room, const unsigned char *in, size_t size)
{
    if (in == NULL) {
        return finish(c, out, out_size, room);
    }
    if (room < size) {
        return refused(PROV_R_OUTPUT_BUFFER_TOO_SMALL);
    }
    return piece(c, out, out_size, in, size);
}

/* ---- parameters ---------------------------------------------------------------------------------------------------------- */

static bool is(const OSSL_PARAM *param, const char *key)
{
    return strcmp(param->key, key) == 0;
}

static bool octets(const OSSL_PARAM *param)
{
    return param->data_type == OSSL_PARAM_OCTET_STRING && param->data != NULL;
}

/* The whole IV stands for a length of -1. */
static bool fix_iv(struct cipher *c, const OSSL_PARAM *param)
{
    if (param->data_size == (size_t)-1) {
        cipher_restore_iv(c, param->data);
        return true;
    }
    return cipher_fix_iv(c, param->data, param->data_size);
}

static bool same_length(const OSSL_PARAM *param, size_t length)
{
    size_t wanted = 0;
    return OSSL_PARAM_get_size_t(param, &wanted) == 1 && wanted == length;
}

static int set_params(void *context, const OSSL_PARAM params[])
{
    struct cipher *c = context;
    for (const OSSL_PARAM *p = params; p != NULL && p->key != NULL; p++) {
        if (is(p, OSSL_CIPHER_PARAM_AEAD_TAG)) {
            if (!octets(p) || !cipher_set_tag(c, p->data, p->data_size)) {
                return refused(PROV_R_INVALID_TAG);
            }
        } else if (is(p, OSSL_CIPHER_PARAM_AEAD_TLS1_AAD)) {
            if (!octets(p) || !cipher_record_header(c, p->data, p->data_size)) {
                return refused(PROV_R_INVALID_AAD);
            }
        } else if (is(p, OSSL_CIPHER_PARAM_AEAD_TLS1_IV_FIXED)) {
            if (!octets(p) || !fix_iv(c, p)) {
                return refused(PROV_R_FAILED_TO_GET_PARAMETER);
            }
        } else if (is(p, OSSL_CIPHER_PARAM_AEAD_TLS1_SET_IV_INV)) {
            if (!octets(p) || !cipher_given_iv(c, p->data, p->data_size)) {
                return 0;
            }
        } else if (is(p, OSSL_CIPHER_PARAM_IVLEN) || is(p, OSSL_CIPHER_PARAM_AEAD_IVLEN)) {
            if (!same_length(p, CIPHER_IV_BYTES)) {
                return refused(PROV_R_INVALID_IV_LENGTH);
            }
        } else if (is(p, OSSL_CIPHER_PARAM_KEYLEN)) {
            if (!same_length(p, cipher_key_bytes(c))) {
                return refused(PROV_R_INVALID_KEY_LENGTH);
            }
        }
    }
    return 1;
}

static bool get_iv(const struct cipher *c, OSSL_PARAM *param)
{
    const uint8_t *iv = cipher_iv(c);
    return iv != NULL && (OSSL_PARAM_set_octet_string(param, iv, CIPHER_IV_BYTES) == 1 ||
                          OSSL_PARAM_set_octet_ptr(param, iv, CIPHER_IV_BYTES) == 1);
}

static int get_params(void *context, OSSL_PARAM params[])
{
    struct cipher *c = context;
    for (OSSL_PARAM *p = params; p != NULL && p->key != NULL; p++) {
        bool done = true;
        if (is(p, OSSL_CIPHER_PARAM_AEAD_TAG)) {
            done           = octets(p) && cipher_get_tag(c, p->data, p->data_size);
            p->return_size = p->data_size;
        } else if (is(p, OSSL_CIPHER_PARAM_IVLEN)) {
            done = OSSL_PARAM_set_size_t(p, CIPHER_IV_BYTES);
        } else if (is(p, OSSL_CIPHER_PARAM_KEYLEN)) {
            done = OSSL_PARAM_set_size_t(p, cipher_key_bytes(c));
        } else if (is(p, OSSL_CIPHER_PARAM_AEAD_TAGLEN)) {
            done = OSSL_PARAM_set_size_t(p, CIPHER_TAG_BYTES);
        } else if (is(p, OSSL_CIPHER_PARAM_AEAD_TLS1_AAD_PAD)) {
            done = OSSL_PARAM_set_size_t(p, cipher_in_records(c) ? CIPHER_TAG_BYTES : 0);
        } else if (is(p, OSSL_CIPHER_PARAM_AEAD_TLS1_GET_IV_GEN)) {
            done = octets(p) && cipher_next_iv(c, p->data, p->data_size);
        } else if (is(p, OSSL_CIPHER_PARAM_IV) || is(p, OSSL_CIPHER_PARAM_UPDATED_IV)) {
            done = get_iv(c, p);
        }
        if (!done) {
            return refused(PROV_R_FAILED_TO_SET_PARAMETER);
        }
    }
    return 1;
}

static const OSSL_PARAM *settable(void *c, void *context)
{
    static const OSSL_PARAM list[] = {OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, NULL, 0),
                                      OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TLS1_AAD, NULL, 0),
                                      OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TLS1_IV_FIXED, NULL, 0),
                                      OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TLS1_SET_IV_INV, NULL, 0),
                                      OSSL_PARAM_size_t(OSSL_CIPHER_PARAM_AEAD_IVLEN, NULL),
                                      OSSL_PARAM_size_t(OSSL_CIPHER_PARAM_KEYLEN, NULL),
                                      OSSL_PARAM_END};
    (void)c;
    (void)context;
    return list;
}

static const OSSL_PARAM *gettable(void *c, void *context)
{
    static const OSSL_PARAM list[] = {OSSL_PARAM_size_t(OSSL_CIPHER_PARAM_KEYLEN, NULL),
                                      OSSL_PARAM_size_t(OSSL_CIPHER_PARAM_IVLEN, NULL),
                                      OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_IV, NULL, 0),
                                      OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_UPDATED_IV, NULL, 0),
                                      OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, NULL, 0),
                                      OSSL_PARAM_size_t(OSSL_CIPHER_PARAM_AEAD_TAGLEN, NULL),
                                      OSSL_PARAM_size_t(OSSL_CIPHER_PARAM_AEAD_TLS1_AAD_PAD, NULL),
                                      OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TLS1_GET_IV_GEN, NULL, 0),
                                      OSSL_PARAM_END};
    (void)c;
    (void)context;
    return list;
}

/* ---- what the algorithms are ------------------------------------------------------------------------------------------------ */

static int describe(OSSL_PARAM params[], size_t key_bytes)
{
    for (OSSL_PARAM *p = params; p != NULL && p->key != NULL; p++) {
        bool done = true;
        if (is(p, OSSL_CIPHER_PARAM_MODE)) {
            done = OSSL_PARAM_set_uint(p, EVP_CIPH_GCM_MODE);
        } else if (is(p, OSSL_CIPHER_PARAM_AEAD) || is(p, OSSL_CIPHER_PARAM_CUSTOM_IV)) {
            done = OSSL_PARAM_set_int(p, 1);
        } else if (is(p, OSSL_CIPHER_PARAM_CTS) || is(p, OSSL_CIPHER_PARAM_TLS1_MULTIBLOCK) ||
                   is(p, OSSL_CIPHER_PARAM_HAS_RAND_KEY)) {
            done = OSSL_PARAM_set_int(p, 0);
        } else if (is(p, OSSL_CIPHER_PARAM_KEYLEN)) {
            done = OSSL_PARAM_set_size_t(p, key_bytes);
        } else if (is(p, OSSL_CIPHER_PARAM_BLOCK_SIZE)) {
            done = OSSL_PARAM_set_size_t(p, 1);
        } else if (is(p, OSSL_CIPHER_PARAM_IVLEN)) {
            done = OSSL_PARAM_set_size_t(p, CIPHER_IV_BYTES);
        }
        if (!done) {
            return refused(PROV_R_FAILED_TO_SET_PARAMETER);
        }
    }
    return 1;
}

static int describe_128(OSSL_PARAM params[])
{
    return describe(params, 16);
}

static int describe_256(OSSL_PARAM params[])
{
    return describe(params, 32);
}

#define CIPHER_ENTRIES(bits)                                                                                           \
    {                                                                                                                  \
        ENTRY(OSSL_FUNC_CIPHER_NEWCTX, new_##bits), ENTRY(OSSL_FUNC_CIPHER_FREECTX, release),                          \
            ENTRY(OSSL_FUNC_CIPHER_DUPCTX, duplicate), ENTRY(OSSL_FUNC_CIPHER_ENCRYPT_INIT, start_encrypt),            \
            ENTRY(OSSL_FUNC_CIPHER_DECRYPT_INIT, start_decrypt), ENTRY(OSSL_FUNC_CIPHER_UPDATE, update),               \
            ENTRY(OSSL_FUNC_CIPHER_FINAL, finish), ENTRY(OSSL_FUNC_CIPHER_CIPHER, once),                               \
            ENTRY(OSSL_FUNC_CIPHER_GET_PARAMS, describe_##bits), ENTRY(OSSL_FUNC_CIPHER_GET_CTX_PARAMS, get_params),   \
            ENTRY(OSSL_FUNC_CIPHER_SET_CTX_PARAMS, set_params), ENTRY(OSSL_FUNC_CIPHER_GETTABLE_CTX_PARAMS, gettable), \
            ENTRY(OSSL_FUNC_CIPHER_SETTABLE_CTX_PARAMS, settable),                                                     \
        {                                                                                                              \
            0, NULL                                                                                                    \
        }                                                                                                              \
    }

static const OSSL_ALGORITHM *query(void *context, int operation, int *no_cache)
{
    static const OSSL_DISPATCH  entries_128[] = CIPHER_ENTRIES(128), entries_256[] = CIPHER_ENTRIES(256);
    static const OSSL_ALGORITHM ciphers[] = {
        {"AES-128-GCM:id-aes128-GCM:2.16.840.1.101.3.4.1.6", "provider=keel", entries_128, NULL},
        {"AES-256-GCM:id-aes256-GCM:2.16.840.1.101.3.4.1.46", "provider=keel", entries_256, NULL},
        {NULL, NULL, NULL, NULL}};
    (void)context;
    *no_cache = 0;
    return operation == OSSL_OP_CIPHER ? ciphers : NULL;
}

int gcm_provider_init(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in, const OSSL_DISPATCH **out,
                      void **out_context)
{
    static const OSSL_DISPATCH functions[] = {ENTRY(OSSL_FUNC_PROVIDER_QUERY_OPERATION, query), {0, NULL}};
    (void)in;
    *out         = functions;
    *out_context = (void *)(uintptr_t)handle; /* OpenSSL wants one that is not NULL; nobody looks into it */
    return 1;
}

#endif
