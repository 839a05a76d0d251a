/* uplink - the connection of one bridge: a socket that comes and goes, and TLS over it when the bridge asks for it.
 *
 *   bridge ──outq──▶ [TLS records ──▶ wire] ──▶ socket ──▶ the other broker
 *          ◀──────── [TLS records]  ◀────────── socket
 *
 * The bridge is told that it is connected once TLS is through; its own time limit covers the handshake.
 * Threads: the shard. */
#ifndef KEEL_BROKER_SHARD_UPLINK_H
#define KEEL_BROKER_SHARD_UPLINK_H

#include "broker/bridge/bridge.h"
#include "shared/mem/outq.h"

struct io;
struct io_socket;
struct tls;

struct uplink {
    struct io        *io;
    struct bridge    *bridge; /* set right after it was made with uplink_port */
    struct outq_pool *chunks;
    struct list      *dirty;     /* where outq reports */
    struct list       unwatched; /* where wire does: it is looked after here */
    struct io_socket *socket;    /* NULL: none */
    struct tls       *tls;       /* NULL: none */
    struct outq       out;       /* the bridge's */
    struct outq       wire;      /* with TLS: its records */
    size_t            sending_bytes;
    bool              carrying; /* inside tls_receive: tls is not freed */
};

void uplink_init(struct uplink *uplink, struct io *io, struct outq_pool *chunks, struct list *dirty);
/* Behind bridge_free. */
void               uplink_fini(struct uplink *uplink);
struct bridge_port uplink_port(struct uplink *uplink);
/* Sends what is queued unless a send is under way. */
void uplink_flush(struct uplink *uplink);

#endif
