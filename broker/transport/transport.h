/* transport - the layers between a socket and its protocol. No socket in here: bytes in, bytes out.
 *
 *     socket ──wire bytes──▶ transport_receive ──▶ [TLS records] ──▶ [WebSocket frames] ──▶ data() ──▶ protocol
 *     socket ◀──wire outq── transport_send     ◀── [TLS records] ◀── [WebSocket frames] ◀── the protocol's outq
 *
 * A plain TCP connection, and one over a Unix socket, has no transport: its peer passes bytes on itself.
 * Errors are answered on the wire where the layer has an answer (HTTP status, close frame, TLS alert) before they are returned.
 * Memory: an idle WebSocket takes 4.5 KiB (wslay's frame buffer), a TLS connection what OpenSSL needs, about 16 KiB.
 * Threads: the shard of the connection.   Units: bytes. */
#ifndef KEEL_BROKER_TRANSPORT_TRANSPORT_H
#define KEEL_BROKER_TRANSPORT_TRANSPORT_H

#include "shared/base/assert.h"
#include "shared/base/bytes.h"
#include "shared/mem/outq.h"

enum transport_kind { TRANSPORT_TCP, TRANSPORT_TLS, TRANSPORT_WS, TRANSPORT_WSS, TRANSPORT_UNIX, TRANSPORT_KINDS };

struct tls_context;
struct transport;

/* What the connections of a shard share. */
struct transport_env {
    struct tls_context *tls; /* of new connections; NULL: there is none */
    struct outq_pool   *chunks;
    const char         *ws_path;
};

/* What a connection gives up to its owner. */
struct transport_sink {
    void (*data)(void *ctx, struct bytes data);
    void *ctx;
};

/* Bytes as they are? */
static inline bool transport_plain(enum transport_kind kind)
{
    return kind == TRANSPORT_TCP || kind == TRANSPORT_UNIX;
}

/* kind: not a plain one. NULL: out of memory. */
struct transport *transport_new(const struct transport_env *env, enum transport_kind kind);
void              transport_free(struct transport *transport);

/* Bytes from the socket. 0; ERR_CLOSED: the peer said goodbye; or an error, with its sentence in transport_why. After anything but
 * 0 what transport_wire holds is sent and the connection closed. */
MUST_CHECK int transport_receive(struct transport *transport, struct bytes in, const struct transport_sink *sink);
/* Moves what the protocol has queued to the wire, as much as is worth one send. 0 or ERR_FULL: no memory now. */
MUST_CHECK int transport_send(struct transport *transport, struct outq *plain);
/* Says goodbye, behind what transport_send has moved. */
void         transport_end(struct transport *transport);
struct outq *transport_wire(struct transport *transport);

/* The handshakes of all layers are through. */
bool transport_established(const struct transport *transport);
/* Why the connection ended, a sentence; never NULL. */
const char *transport_why(const struct transport *transport);
/* The name in the client's certificate, as configured; empty when there is none. */
const char *transport_user(const struct transport *transport);

#endif
