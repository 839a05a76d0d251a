/* peer - where a socket meets a protocol: one connection of this shard.
 *
 *   socket --received--> [transport] --> mqtt_conn --outq--> end of turn: [transport] --> one gathered send --> socket
 *
 *   open --(the protocol wants to close, or the shard stops)--> closing: what is queued is sent, then the socket is closed
 *     '----(the client is gone)--> the protocol is told and everything is freed at once
 *
 * Memory: one allocation per TCP connection; an idle one holds no buffer. Threads: the shard that accepted it. */
#ifndef KEEL_BROKER_SHARD_PEER_H
#define KEEL_BROKER_SHARD_PEER_H

#include "broker/protocol/mqtt/identity.h"
#include "shared/base/list.h"
#include "broker/transport/transport.h"
#include "shared/base/timer.h"
#include "shared/mem/outq.h"

struct io_socket;
struct mqtt_conn;
struct proxy;
struct shard;

struct peer {
    struct shard        *shard;
    struct io_socket    *socket;
    struct mqtt_conn    *conn;      /* NULL once the protocol is done with it */
    struct proxy        *proxy;     /* its header is still to come; NULL: none, or it has come */
    struct transport    *transport; /* between socket and protocol; NULL: none, TCP */
    struct outq          out;
    struct list          link;         /* in shard->peers */
    struct list          closing_link; /* in shard->closing, until the end of this turn */
    struct timer         linger;       /* while closing: when to stop waiting for the client to read */
    uint32_t             sending_bytes;
    uint32_t             postponed_bytes;
    uint8_t             *postponed; /* came while the shard had done enough handshakes for one turn */
    struct list          postponed_link;
    uint8_t              kind; /* enum transport_kind */
    bool                 closing;
    bool                 shaking;  /* counted in shard->handshakes */
    bool                 mute;     /* the transport is over: what the protocol wants to say cannot be said */
    char                 name[56]; /* "address:port" of the client */
    struct peer_identity identity;
};

/* A freshly accepted socket: makes its protocol, or closes it when memory is out or the shard stops. */
void peer_accept(struct shard *shard, struct io_socket *socket, enum transport_kind kind);
/* Goes on with handshakes that were put off; once per turn. */
void peer_handshakes(struct shard *shard);
/* Sends what is queued unless a send is under way. */
void peer_flush(struct peer *peer);
/* Ends the protocols of peers that asked for their close during this turn. */
void peer_reap(struct shard *shard);
/* Every client is told that the broker stops. */
void peer_stop_all(struct shard *shard);
/* Sends up to so many clients elsewhere (drain.h); returns how many. */
uint32_t peers_move(struct shard *shard, uint32_t most);
/* Frees all of them without a word: their sockets are gone with the io. */
void peer_free_all(struct shard *shard);

/* What a protocol may ask of its peer. */
void peer_close(void *peer);
void peer_receiving(void *peer, bool on);

#endif
