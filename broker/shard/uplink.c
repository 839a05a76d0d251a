/* uplink - see uplink.h. */
#include "broker/shard/uplink.h"

#include "broker/shard/secret.h"
#include "broker/transport/tls.h"
#include "shared/base/err.h"
#include "shared/loop/io.h"

#include <stdio.h>

enum { SEND_IOVECS_MAX = 64 };

static struct outq *sent_from(struct uplink *u)
{
    return u->tls != NULL ? &u->wire : &u->out;
}

void uplink_init(struct uplink *u, struct io *io, struct outq_pool *chunks, struct list *dirty)
{
    *u = (struct uplink){.io = io, .chunks = chunks, .dirty = dirty};
    list_init(&u->unwatched);
    outq_init(&u->out, chunks, dirty);
    outq_init(&u->wire, chunks, &u->unwatched);
}

static void tls_forget(struct uplink *u)
{
    if (!u->carrying) {
        tls_free(u->tls);
        u->tls = NULL;
    } /* else it goes when it has returned */
}

void uplink_fini(struct uplink *u)
{
    tls_forget(u);
    outq_fini(&u->out);
    outq_fini(&u->wire);
}

void uplink_flush(struct uplink *u)
{
    struct iovec iov[SEND_IOVECS_MAX];
    size_t       size = 0;
    if (u->socket == NULL || u->sending_bytes != 0 || (u->tls == NULL && u->bridge->state == BRIDGE_CONNECTING)) {
        return;
    }
    if (u->tls != NULL && tls_established(u->tls)) {
        (void)!tls_send(u->tls, &u->out, &u->wire); /* what breaks it shows in what is received */
    }
    int count = outq_gather(sent_from(u), iov, SEND_IOVECS_MAX);
    for (int i = 0; i < count; i++) {
        size += iov[i].iov_len;
    }
    if (size != 0) {
        u->sending_bytes = size;
        io_socket_send(u->socket, iov, count);
    }
}

static void forget_output(struct uplink *u)
{
    outq_fini(&u->out);
    outq_fini(&u->wire);
    outq_init(&u->out, u->chunks, u->dirty);
    outq_init(&u->wire, u->chunks, &u->unwatched);
    u->sending_bytes = 0;
    tls_forget(u);
}

/* The connection is of no use: closes it and says why. */
static void give_up(struct uplink *u, const char *why)
{
    io_socket_close(u->socket);
    u->socket = NULL;
    char text[256];
    snprintf(text, sizeof text, "%s", why); /* it may lie in what is forgotten */
    forget_output(u);
    bridge_lost(u->bridge, text);
}

/* ---- TLS ------------------------------------------------------------------------------------------------------------------------ */

static void on_plain(void *ctx, struct bytes data)
{
    struct uplink *u = ctx;
    if (u->socket != NULL) {
        bridge_receive(u->bridge, data);
    }
}

/* Bytes of the other side; none, to begin. */
static void carry(struct uplink *u, struct bytes data)
{
    const struct transport_sink sink        = {.data = on_plain, .ctx = u};
    bool                        established = tls_established(u->tls);
    u->carrying                             = true;
    int result                              = tls_receive(u->tls, data, &sink, &u->wire);
    u->carrying                             = false;
    if (u->socket == NULL) { /* the bridge has closed it meanwhile */
        tls_forget(u);
        return;
    }
    if (result < 0) {
        const char *why = tls_why(u->tls);
        give_up(u, *why != '\0' ? why : err_sentence(result));
        return;
    }
    if (!established && tls_established(u->tls)) {
        bridge_connected(u->bridge);
    }
    uplink_flush(u);
}

static void begin_tls(struct uplink *u)
{
    const struct bridge_spec *spec   = &u->bridge->spec;
    const struct tls_remote   remote = {.host        = spec->host,
                                        .authority   = spec->tls_authority,
                                        .certificate = spec->tls_certificate,
                                        .key         = spec->tls_key};
    char                      why[256];
    u->tls = tls_client_new(&remote, why, sizeof why);
    if (u->tls == NULL) {
        give_up(u, why);
        return;
    }
    carry(u, (struct bytes){0});
}

/* ---- the socket ----------------------------------------------------------------------------------------------------------------- */

static void on_connected(void *ctx, int result)
{
    struct uplink *u = ctx;
    if (result < 0) {
        u->socket = NULL;
        bridge_lost(u->bridge, err_sentence(result));
    } else if (u->bridge->spec.tls) {
        begin_tls(u);
    } else {
        bridge_connected(u->bridge);
    }
}

static void on_received(void *ctx, struct bytes data)
{
    struct uplink *u = ctx;
    if (u->tls != NULL) {
        carry(u, data);
    } else {
        bridge_receive(u->bridge, data);
    }
}

static void on_sent(void *ctx, int result)
{
    struct uplink *u = ctx;
    if (result < 0) { /* closed() follows */
        return;
    }
    outq_consume(sent_from(u), u->sending_bytes);
    u->sending_bytes = 0;
    bridge_writable(u->bridge);
    uplink_flush(u);
}

static void on_closed(void *ctx, int reason)
{
    struct uplink *u = ctx;
    u->socket        = NULL;
    forget_output(u);
    bridge_lost(u->bridge, reason == 0 ? "the other broker closed the connection" : err_sentence(reason));
}

static const struct io_handler uplink_io = {
    .connected = on_connected, .received = on_received, .sent = on_sent, .closed = on_closed};

/* ---- the port ------------------------------------------------------------------------------------------------------------------- */

static void port_connect(void *ctx)
{
    struct uplink      *u    = ctx;
    struct bridge_spec *spec = &u->bridge->spec;
    char                why[BRIDGE_TEXT_MAX + 128];
    if (spec->password_file[0] != '\0' &&
        !secret_read(spec->password_file, spec->password, sizeof spec->password, why, sizeof why)) {
        bridge_lost(u->bridge, why);
        return;
    }
    u->socket = io_connect(u->io, u->bridge->spec.host, u->bridge->spec.port, &uplink_io, u);
}

static void port_close(void *ctx)
{
    struct uplink *u = ctx;
    if (u->socket != NULL) {
        if (!u->carrying) { /* inside OpenSSL nothing may be written */
            uplink_flush(u);
        }
        io_socket_close(u->socket);
        u->socket = NULL;
    }
    forget_output(u);
}

static void port_receiving(void *ctx, bool on)
{
    struct uplink *u = ctx;
    if (u->socket != NULL) {
        io_socket_receiving(u->socket, on);
    }
}

static uint64_t port_random(void *ctx)
{
    const struct uplink *u = ctx;
    return io_random(u->io);
}

struct bridge_port uplink_port(struct uplink *u)
{
    return (struct bridge_port){
        .ctx = u, .connect = port_connect, .close = port_close, .receiving = port_receiving, .random = port_random};
}
