/* tls_wire - see tls_wire.h. */
#include "broker/transport/tls_wire.h"

#include "broker/transport/gcm/gcm.h"
#include "shared/base/err.h"

#include <linux/tls.h>
#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/ssl.h>
#include <string.h>

static int wire_read(BIO *bio, char *out, int size)
{
    struct tls_wire *wire = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (wire->in.size == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    size_t part = wire->in.size < (size_t)size ? wire->in.size : (size_t)size;
    memcpy(out, wire->in.data, part);
    wire->in = bytes_of(wire->in.data + part, wire->in.size - part);
    return (int)part;
}

static int wire_write(BIO *bio, const char *data, int size)
{
    struct tls_wire *wire  = BIO_get_data(bio);
    struct bytes     bytes = bytes_of(data, (size_t)size);
    int              done  = ERR_FULL;
    BIO_clear_retry_flags(bio);
    if (wire->out != NULL && wire->seal != NULL) {
        done = seal_put(wire->seal, wire->type, bytes, wire->out);
    } else if (wire->out != NULL && outq_put(wire->out, bytes) == 0) {
        done = size;
    }
    if (done < 0) {
        BIO_set_retry_write(bio);
        return -1;
    }
    return done;
}

/* Of OpenSSL's internal/bio.h; what bio.h says of it is a comment. */
enum { SET_KTLS = 72, SET_KTLS_TYPE = 74 };

/* "SERVER_TRAFFIC_SECRET_N random secret": from now on OpenSSL sends under the key that follows from it. When there is no memory for it the
 * seal is without a key, and nothing is sent any more. */
static void on_secret(const SSL *ssl, const char *line)
{
    const char      *label = SSL_is_server(ssl) ? "SERVER_TRAFFIC_SECRET_N " : "CLIENT_TRAFFIC_SECRET_N ";
    struct tls_wire *wire  = BIO_get_data(SSL_get_wbio(ssl));
    if (wire->seal != NULL && strncmp(line, label, strlen(label)) == 0) {
        uint8_t secret[EVP_MAX_MD_SIZE];
        size_t  size = 0;
        (void)OPENSSL_hexstr2buf_ex(secret, sizeof secret, &size, strrchr(line, ' ') + 1, '\0');
        (void)!seal_secret(wire->seal, bytes_of(secret, size), gcm_library());
        OPENSSL_cleanse(secret, sizeof secret);
    }
}

void tls_wire_offload(SSL_CTX *context)
{
    if (gcm_library() != NULL && OPENSSL_version_major() == 3 && OPENSSL_version_minor() < 2) {
        SSL_CTX_set_options(context, SSL_OP_ENABLE_KTLS);
        SSL_CTX_set_keylog_callback(context, on_secret);
    }
}

/* key is wiped: OpenSSL leaves it where it was. */
static bool begin_seal(struct tls_wire *wire, uint8_t *key, size_t key_bytes, const uint8_t *salt, const uint8_t *iv,
                       const uint8_t *number)
{
    uint8_t  whole[CIPHER_IV_BYTES];
    uint64_t next = 0;
    memcpy(whole, salt, CIPHER_FIXED_BYTES);
    memcpy(whole + CIPHER_FIXED_BYTES, iv, CIPHER_EXPLICIT_BYTES);
    for (int i = 0; i < 8; i++) {
        next = next << 8 | number[i];
    }
    wire->seal = seal_new(key_bytes);
    if (wire->seal != NULL && !seal_key(wire->seal, key, whole, next)) {
        tls_wire_fini(wire);
    }
    OPENSSL_cleanse(key, key_bytes);
    OPENSSL_cleanse(whole, sizeof whole);
    return wire->seal != NULL;
}

/* False: OpenSSL goes on by itself. */
static bool take_key(struct tls_wire *wire, struct tls_crypto_info *info)
{
    if (info->version != TLS_1_3_VERSION || wire->seal != NULL) {
        return false;
    }
    if (info->cipher_type == TLS_CIPHER_AES_GCM_128) {
        struct tls12_crypto_info_aes_gcm_128 *gcm = (void *)info;
        return begin_seal(wire, gcm->key, sizeof gcm->key, gcm->salt, gcm->iv, gcm->rec_seq);
    }
    if (info->cipher_type == TLS_CIPHER_AES_GCM_256) {
        struct tls12_crypto_info_aes_gcm_256 *gcm = (void *)info;
        return begin_seal(wire, gcm->key, sizeof gcm->key, gcm->salt, gcm->iv, gcm->rec_seq);
    }
    return false;
}

static long wire_control(BIO *bio, int command, long number, void *pointer)
{
    struct tls_wire *wire = BIO_get_data(bio);
    switch (command) {
    case BIO_CTRL_FLUSH:
        return 1;
    case SET_KTLS: /* number: for sending */
        return number != 0 && take_key(wire, pointer);
    case BIO_CTRL_GET_KTLS_SEND:
        return wire->seal != NULL;
    case SET_KTLS_TYPE: /* in front of each record of its own, and it has no others */
        wire->type = (uint8_t)number;
        return 0;
    default:
        return 0;
    }
}

/* Made once, before the shards run (tls_context_new), and kept. */
static BIO_METHOD *wire_method(void)
{
    static BIO_METHOD *method;
    if (method == NULL) {
        method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "keel wire");
        ASSERT_MEMORY(method != NULL);
        BIO_meth_set_read(method, wire_read);
        BIO_meth_set_write(method, wire_write);
        BIO_meth_set_ctrl(method, wire_control);
    }
    return method;
}

void tls_wire_prepare(void)
{
    (void)wire_method();
}

BIO *tls_wire_bio(struct tls_wire *wire)
{
    BIO *bio = BIO_new(wire_method());
    if (bio != NULL) {
        BIO_set_data(bio, wire);
        BIO_set_init(bio, 1);
    }
    return bio;
}

void tls_wire_fini(struct tls_wire *wire)
{
    seal_free(wire->seal);
    wire->seal = NULL;
}
