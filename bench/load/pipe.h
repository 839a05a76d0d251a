/* pipe - a socket under TLS that is read and written in large pieces, as one without TLS is. libssl's own socket asks for every record in two
 * calls and writes each alone: the load generator would be the limit of what is measured.
 *
 *     SSL_read  ◀──records── in  ◀──recv, as much as is there
 *     SSL_write ──records──▶ out ──pipe_flush──▶ send
 *
 * Owner: the client, which frees it behind its SSL. Threads: one. */
#ifndef KEEL_BENCH_LOAD_PIPE_H
#define KEEL_BENCH_LOAD_PIPE_H

#include <errno.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { PIPE_IN_BYTES = 128 * 1024, PIPE_OUT_BYTES = 256 * 1024 };

struct pipe {
    int     fd;
    bool    waits; /* while the handshake goes on */
    size_t  in_at, in_used, out_at, out_used;
    uint8_t in[PIPE_IN_BYTES], out[PIPE_OUT_BYTES];
};

/* True when nothing is left to be written; else errno says why: EAGAIN, or the connection broke. */
static inline bool pipe_flush(struct pipe *p)
{
    while (p->out_at < p->out_used) {
        ssize_t sent =
            send(p->fd, p->out + p->out_at, p->out_used - p->out_at, MSG_NOSIGNAL | (p->waits ? 0 : MSG_DONTWAIT));
        if (sent < 0) {
            return false;
        }
        p->out_at += (size_t)sent;
    }
    p->out_at = p->out_used = 0;
    return true;
}

static inline int pipe_read(BIO *bio, char *out, int size)
{
    struct pipe *p = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (p->in_at == p->in_used) {
        ssize_t got = recv(p->fd, p->in, sizeof p->in, p->waits ? 0 : MSG_DONTWAIT);
        if (got <= 0) {
            if (got < 0 && errno == EAGAIN) {
                BIO_set_retry_read(bio);
            }
            return (int)got;
        }
        p->in_at   = 0;
        p->in_used = (size_t)got;
    }
    size_t part = p->in_used - p->in_at < (size_t)size ? p->in_used - p->in_at : (size_t)size;
    memcpy(out, p->in + p->in_at, part);
    p->in_at += part;
    return (int)part;
}

static inline int pipe_write(BIO *bio, const char *data, int size)
{
    struct pipe *p = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (p->out_used + (size_t)size > sizeof p->out && !pipe_flush(p)) {
        if (errno == EAGAIN) {
            BIO_set_retry_write(bio);
        }
        return -1;
    }
    memcpy(p->out + p->out_used, data, (size_t)size);
    p->out_used += (size_t)size;
    return size;
}

/* Behind the handshake the client flushes, once a turn. */
static inline long pipe_control(BIO *bio, int command, long number, void *pointer)
{
    struct pipe *p = BIO_get_data(bio);
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH && (!p->waits || pipe_flush(p));
}

static inline BIO_METHOD *pipe_method(void)
{
    static BIO_METHOD *method;
    if (method == NULL && (method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "pipe")) != NULL) {
        BIO_meth_set_read(method, pipe_read);
        BIO_meth_set_write(method, pipe_write);
        BIO_meth_set_ctrl(method, pipe_control);
    }
    return method;
}

/* What ssl reads from and writes to from now on, over fd; NULL: out of memory. */
static inline struct pipe *pipe_under(SSL *ssl, int fd)
{
    BIO_METHOD  *method = pipe_method();
    BIO         *bio    = method == NULL ? NULL : BIO_new(method);
    struct pipe *p      = bio == NULL ? NULL : calloc(1, sizeof *p);
    if (p == NULL) {
        BIO_free(bio);
        return NULL;
    }
    p->fd = fd;
    BIO_set_data(bio, p);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio);
    return p;
}

#endif
