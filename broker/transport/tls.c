/* tls - see tls.h. */
#include "broker/transport/tls.h"

#include "broker/transport/tls_private.h"
#include "shared/base/err.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

/* A piece of at least RECORD_ENOUGH_BYTES goes out as it is: to fill its record up would be a copy of all of it. */
enum { RECORD_BYTES = 16 * 1024, RECORD_ENOUGH_BYTES = 8 * 1024, WIRE_MAX_BYTES = 256 * 1024, PIECES_MAX = 64 };

struct tls {
    SSL                *ssl;
    struct tls_context *context; /* the choice of a certificate may still look into it */
    struct bytes        in;      /* while tls_receive runs */
    struct outq        *wire;    /* while a call runs */
    enum tls_name       name;
    bool                broken; /* nothing more may be asked of OpenSSL */
    char               *why;    /* NULL until there is something to say, which most never have */
    char               *user;   /* NULL: none */
};

/* ---- OpenSSL's view of the wire: reads where the bytes lie, writes into the queue ------------------------------------ */

static int wire_read(BIO *bio, char *out, int size)
{
    struct tls *tls = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (tls->in.size == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    size_t part = tls->in.size < (size_t)size ? tls->in.size : (size_t)size;
    memcpy(out, tls->in.data, part);
    tls->in = bytes_of(tls->in.data + part, tls->in.size - part);
    return (int)part;
}

static int wire_write(BIO *bio, const char *data, int size)
{
    struct tls *tls = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (tls->wire == NULL || outq_put(tls->wire, bytes_of(data, (size_t)size)) != 0) {
        BIO_set_retry_write(bio);
        return -1;
    }
    return size;
}

static long wire_control(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH;
}

/* Made once, before the shards run (tls_context_new), and kept. */
static BIO_METHOD *wire_method(void)
{
    static BIO_METHOD *method;
    if (method == NULL) {
        method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "keel wire");
        ASSERT(method != NULL); /* out of memory */
        BIO_meth_set_read(method, wire_read);
        BIO_meth_set_write(method, wire_write);
        BIO_meth_set_ctrl(method, wire_control);
    }
    return method;
}

void *tls_wire_method(void)
{
    return wire_method();
}

/* ---- one connection -------------------------------------------------------------------------------------------------- */

struct tls *tls_over(SSL *ssl, struct tls_context *context, enum tls_name name)
{
    struct tls *tls = calloc(1, sizeof *tls);
    BIO        *bio = tls == NULL ? NULL : BIO_new(wire_method());
    if (bio == NULL) {
        free(tls);
        SSL_free(ssl);
        return NULL;
    }
    BIO_set_data(bio, tls);
    BIO_set_init(bio, 1);
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
    if (result == 1) {
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
    tls->in    = in;
    tls->wire  = wire;
    int result = SSL_is_init_finished(tls->ssl) ? 1 : handshake(tls);
    if (result == 1) {
        result = read_all(tls, sink);
    }
    tls->in   = (struct bytes){0};
    tls->wire = NULL;
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

int tls_send(struct tls *tls, struct outq *plain, struct outq *wire)
{
    uint8_t room[RECORD_BYTES];
    if (tls->broken || !SSL_is_init_finished(tls->ssl)) {
        return 0;
    }
    forget_errors();
    tls->wire  = wire;
    int result = 0;
    while (plain->size_bytes > 0 && wire->size_bytes < WIRE_MAX_BYTES && result == 0) {
        struct bytes record  = next_record(plain, room);
        size_t       written = 0;
        if (SSL_write_ex(tls->ssl, record.data, record.size, &written) == 1) {
            outq_consume(plain, written);
        } else {
            result = SSL_get_error(tls->ssl, 0) == SSL_ERROR_WANT_WRITE ? ERR_FULL : broke(tls, "TLS");
        }
    }
    tls->wire = NULL;
    rest(tls);
    return result;
}

void tls_end(struct tls *tls, struct outq *wire)
{
    if (!tls->broken && SSL_is_init_finished(tls->ssl)) {
        forget_errors();
        tls->wire = wire;
        (void)SSL_shutdown(tls->ssl);
        tls->wire = NULL;
    }
}

bool tls_established(const struct tls *tls)
{
    return SSL_is_init_finished(tls->ssl) != 0;
}

const char *tls_why(const struct tls *tls)
{
    return tls->why == NULL ? "" : tls->why;
}

const char *tls_user(const struct tls *tls)
{
    return tls->user == NULL ? "" : tls->user;
}
