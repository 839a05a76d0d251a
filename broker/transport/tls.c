/* tls - see tls.h. */
#include "broker/transport/tls.h"

#include "broker/transport/seal.h"
#include "broker/transport/tls_private.h"
#include "broker/transport/tls_wire.h"
#include "shared/base/err.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

/* A piece of at least RECORD_ENOUGH_BYTES goes out as it is: to fill its record up would be a copy of all of it.
 * WIRE_MAX_BYTES: about what one send takes without TLS; with a quarter of it fewer messages share a send, and each costs a tenth more. But
 * records are a connection's own, however many get the same message: while the pool holds POOL_AMPLE_BYTES a client that does not read holds a quarter of it. */
enum {
    RECORD_BYTES        = 16 * 1024,
    RECORD_ENOUGH_BYTES = 8 * 1024,
    WIRE_MAX_BYTES      = 1024 * 1024,
    WIRE_SCARCE_BYTES   = 256 * 1024,
    POOL_AMPLE_BYTES    = 32 * 1024 * 1024,
    PIECES_MAX          = 64
};

/* ---- one connection -------------------------------------------------------------------------------------------------- */

struct tls *tls_over(SSL *ssl, struct tls_context *context, enum tls_name name)
{
    struct tls *tls = calloc(1, sizeof *tls);
    BIO        *bio = tls == NULL ? NULL : tls_wire_bio(&tls->wire);
    if (bio == NULL) {
        free(tls);
        SSL_free(ssl);
        return NULL;
    }
    SSL_set_bio(ssl, bio, bio);
    SSL_set_accept_state(ssl);
    tls->ssl     = ssl;
    tls->context = context == NULL ? NULL : tls_context_ref(context);
    tls->name    = name;
    return tls;
}

void tls_free(struct tls *tls)
{
    if (tls != NULL) {
        SSL_free(tls->ssl);
        tls_wire_fini(&tls->wire);
        tls_context_unref(tls->context);
        free(tls->why);
        free(tls->user);
        free(tls);
    }
}

/* Of other connections of this thread. Looked at first: clearing costs as much as a small record even when there are none. */
static void forget_errors(void)
{
    if (UNLIKELY(ERR_peek_error() != 0)) {
        ERR_clear_error();
    }
}

/* Without memory there is no sentence. */
static void say(struct tls *tls, const char *what, const char *between, const char *reason)
{
    free(tls->why);
    if (asprintf(&tls->why, "%s%s%s", what, between, reason) < 0) {
        tls->why = NULL;
    }
}

static int broke(struct tls *tls, const char *what)
{
    unsigned long error = ERR_get_error();
    long          trust = SSL_get_verify_result(tls->ssl);
    tls->broken         = true;
    if (trust != X509_V_OK) {
        say(tls, what, ": its certificate is refused: ", X509_verify_cert_error_string(trust));
    } else {
        const char *reason = error == 0 ? NULL : ERR_reason_error_string(error);
        say(tls, what, ": ", reason == NULL ? "the connection broke" : reason);
    }
    ERR_clear_error();
    return ERR_MALFORMED;
}

/* False: out of memory; then there must be no connection, for it would pass as one without a name. */
static bool copy_name(struct tls *tls, const ASN1_STRING *text)
{
    unsigned char *utf8 = NULL;
    int            size = ASN1_STRING_to_UTF8(&utf8, text);
    bool           done = true;
    if (size > 0 && size < TLS_NAME_MAX_BYTES && memchr(utf8, '\0', (size_t)size) == NULL) {
        tls->user = strndup((const char *)utf8, (size_t)size);
        done      = tls->user != NULL;
    }
    OPENSSL_free(utf8);
    return done;
}

static bool name_from_san(struct tls *tls, X509 *certificate)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    bool           done  = true;
    for (int i = 0; done && i < sk_GENERAL_NAME_num(names) && tls->user == NULL; i++) {
        int                type = 0;
        const ASN1_STRING *text = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names, i), &type);
        if (type == GEN_DNS || type == GEN_EMAIL || type == GEN_URI) {
            done = copy_name(tls, text);
        }
    }
    GENERAL_NAMES_free(names);
    return done;
}

static bool learn_user(struct tls *tls)
{
    X509 *certificate = SSL_get1_peer_certificate(tls->ssl);
    bool  done        = true;
    if (certificate == NULL || tls->name == TLS_NAME_NONE) {
        X509_free(certificate);
        return true;
    }
    if (tls->name == TLS_NAME_CN) {
        X509_NAME *subject = X509_get_subject_name(certificate);
        int        at      = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
        if (at >= 0) {
            done = copy_name(tls, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
        }
    } else {
        done = name_from_san(tls, certificate);
    }
    X509_free(certificate);
    return done;
}

/* 1: through, 0: waits for the client, or an error. */
static int handshake(struct tls *tls)
{
    int result = SSL_do_handshake(tls->ssl);
    if (result == 1 && tls->established) { /* a KeyUpdate that waited for memory */
        return 1;
    }
    if (result == 1) {
        tls->established = true;
        return learn_user(tls) ? 1 : broke(tls, "TLS handshake, out of memory");
    }
    int error = SSL_get_error(tls->ssl, result);
    return error == SSL_ERROR_WANT_READ ? 0 : broke(tls, "TLS handshake");
}

/* Between calls OpenSSL holds no buffers but what a record that is not whole needs; within one they serve for all of its records. */
static void rest(struct tls *tls)
{
    if (!tls->broken) {
        (void)SSL_free_buffers(tls->ssl);
    }
}

static int read_all(struct tls *tls, const struct transport_sink *sink)
{
    uint8_t plain[RECORD_BYTES];
    for (;;) {
        size_t size = 0;
        if (SSL_read_ex(tls->ssl, plain, sizeof plain, &size) == 1) {
            sink->data(sink->ctx, bytes_of(plain, size));
            continue;
        }
        switch (SSL_get_error(tls->ssl, 0)) {
        case SSL_ERROR_WANT_READ:
            return 0;
        case SSL_ERROR_ZERO_RETURN:
            say(tls, "the client ended TLS", "", "");
            return ERR_CLOSED;
        default:
            return broke(tls, "TLS");
        }
    }
}

int tls_receive(struct tls *tls, struct bytes in, const struct transport_sink *sink, struct outq *wire)
{
    if (tls->broken) {
        return ERR_MALFORMED;
    }
    forget_errors();
    tls->wire.in  = in;
    tls->wire.out = wire;
    int result    = SSL_is_init_finished(tls->ssl) ? 1 : handshake(tls);
    if (result == 1) {
        result = read_all(tls, sink);
    }
    tls->wire.in  = (struct bytes){0};
    tls->wire.out = NULL;
    rest(tls);
    return result;
}

/* What the next record is made of: the first piece where it lies, or small ones gathered in room. */
static struct bytes next_record(const struct outq *plain, uint8_t room[RECORD_BYTES])
{
    struct iovec iov[PIECES_MAX];
    size_t       size = 0;
    (void)outq_gather(plain, iov, 1);
    if (iov[0].iov_len >= RECORD_ENOUGH_BYTES || iov[0].iov_len == plain->size_bytes) {
        return bytes_of(iov[0].iov_base, iov[0].iov_len < RECORD_BYTES ? iov[0].iov_len : RECORD_BYTES);
    }
    int count = outq_gather(plain, iov, PIECES_MAX);
    for (int i = 0; i < count && size < RECORD_BYTES; i++) {
        size_t part = iov[i].iov_len < RECORD_BYTES - size ? iov[i].iov_len : RECORD_BYTES - size;
        memcpy(room + size, iov[i].iov_base, part);
        size += part;
    }
    return bytes_of(room, size);
}

static int through_openssl(struct tls *tls, struct outq *plain)
{
    uint8_t      room[RECORD_BYTES];
    struct bytes record  = next_record(plain, room);
    size_t       written = 0;
    if (SSL_write_ex(tls->ssl, record.data, record.size, &written) != 1) {
        return SSL_get_error(tls->ssl, 0) == SSL_ERROR_WANT_WRITE ? ERR_FULL : broke(tls, "TLS");
    }
    outq_consume(plain, written);
    return 0;
}

/* What OpenSSL would look at before it writes: the key is updated when the other side has asked for it, or when it is worn; and an update that
 * did not fit on the wire is ended. */
static int renew_key(struct tls *tls)
{
    SSL *ssl = tls->ssl;
    if (LIKELY(SSL_is_init_finished(ssl) && SSL_get_key_update_type(ssl) == SSL_KEY_UPDATE_NONE &&
               !seal_worn(tls->wire.seal))) {
        return 0;
    }
    if (SSL_is_init_finished(ssl) && SSL_key_update(ssl, SSL_KEY_UPDATE_NOT_REQUESTED) != 1) {
        return broke(tls, "TLS");
    }
    int result = SSL_do_handshake(ssl);
    return result == 1 ? 0 : SSL_get_error(ssl, result) == SSL_ERROR_WANT_WRITE ? ERR_FULL : broke(tls, "TLS");
}

static int sealed(struct tls *tls, struct outq *plain)
{
    if ((SSL_get_shutdown(tls->ssl) & SSL_SENT_SHUTDOWN) != 0) {
        return broke(tls, "TLS");
    }
    int result = renew_key(tls);
    return result != 0 ? result : seal_move(tls->wire.seal, plain, tls->wire.out);
}

int tls_send(struct tls *tls, struct outq *plain, struct outq *wire)
{
    if (tls->broken || !tls->established) {
        return 0;
    }
    forget_errors();
    tls->wire.out = wire;
    int    result = 0;
    size_t most   = outq_pool_used_bytes(wire->pool) < POOL_AMPLE_BYTES ? WIRE_MAX_BYTES : WIRE_SCARCE_BYTES;
    while (plain->size_bytes > 0 && wire->size_bytes < most && result == 0) {
        result = tls->wire.seal != NULL ? sealed(tls, plain) : through_openssl(tls, plain);
    }
    tls->wire.out = NULL;
    rest(tls);
    return result;
}

void tls_end(struct tls *tls, struct outq *wire)
{
    if (!tls->broken && tls->established) {
        forget_errors();
        tls->wire.out = wire;
        (void)SSL_shutdown(tls->ssl);
        tls->wire.out = NULL;
    }
}

bool tls_established(const struct tls *tls)
{
    return tls->established;
}

const char *tls_why(const struct tls *tls)
{
    return tls->why == NULL ? "" : tls->why;
}

const char *tls_user(const struct tls *tls)
{
    return tls->user == NULL ? "" : tls->user;
}
