/* shard - one thread of a broker: its ring, its connections, its kernel, its client of the segment store. The tick is shard_turn.
 *
 *   io_turn:     bytes arrive -> peer -> mqtt_conn -> kernel -> outq of other peers, requests to the store
 *   shard_turn:  mail of other shards, timers, gathered acknowledgements, then one send per dirty peer and one per store connection
 *
 * Shards share nothing but mailboxes. Threads: its own; shard_new too is called on it.   Units: ns, bytes. */
#ifndef KEEL_BROKER_SHARD_SHARD_H
#define KEEL_BROKER_SHARD_SHARD_H

#include "broker/protocol/mqtt/conn.h"
#include "broker/shard/config.h"
#include "broker/shard/drain.h"
#include "broker/shard/sys.h"
#include "broker/transport/transport.h"
#include "shared/base/list.h"
#include "shared/base/log.h"

#include <stdatomic.h>
#include <stdint.h>

struct desk;
struct gate;
struct bridges;
struct io;
struct io_listener;
struct kernel;
struct mailbox;
struct metrics;
struct metrics_shard;
struct outq_pool;
struct store;
struct timer_wheel;
struct web;
struct census;
struct settings;
struct workers;

/* What all shards of one process share; made by main.c, outlives them. */
struct broker {
    const struct broker_config *config;
    uint64_t                    instance; /* random: this process, to the segment store */
    uint64_t                    place;    /* where it runs (shared/rpc/schema.h, HELLO); 0: no place */
    const struct settings      *settings; /* to read their files again; NULL where nobody does */
    unsigned                    shard_count;
    struct mailbox            **mailboxes; /* [from * shard_count + to], NULL where from == to */
    struct desk               **desks;     /* [shard] */
    struct gate               **gates;     /* [shard]; set while the shard sits at its desk */
    struct kernel             **kernels;   /* so are these two; NULL where nobody asks for them */
    struct bridges            **bridges;
    struct workers             *workers;
    struct census              *census;
    struct web                 *web;                    /* NULL: no hook is configured */
    _Atomic uint32_t            ports[TRANSPORT_KINDS]; /* chosen by the first shard that listens, then used by all */
    _Atomic(struct tls_context *)
                                 *tls_next; /* per shard: what its new connections use from the next turn on, or NULL */
    _Atomic(struct drain_order *) drain;    /* the last one that was given, or NULL */
    _Atomic uint32_t              ready_count;
    _Atomic bool                  stopping;
    /* The address cannot be had: a sentence for the operator. Does not return, or the shard stays without a listener. */
    void (*refused)(const char *why);
    void (*listening)(void); /* called by each shard once it lets clients in, on its thread; or NULL */
};

struct shard_counters {
    uint64_t accepted_by[TRANSPORT_KINDS]; /* of accepted */
    uint64_t accepted, received_bytes, sent_bytes, turns, handshakes_done, transport_faults, proxy_faults;
};

/* One kind of connection is accepted here. */
struct door {
    struct shard       *shard;
    enum transport_kind kind;
    struct io_listener *listener; /* NULL: not open */
};

struct shard {
    struct broker        *broker;
    unsigned              index;
    struct io            *io;
    struct timer_wheel   *timers;
    struct outq_pool     *chunks;
    struct store         *store;
    struct kernel        *kernel;
    struct bridges       *bridges;
    struct gate          *gate;
    struct mqtt_env       mqtt;
    struct mqtt_topics   *topics; /* NULL: no rules */
    struct door           doors[TRANSPORT_KINDS];
    bool                  open; /* all doors that are wanted */
    struct transport_env  transport;
    uint32_t              handshakes; /* TLS, under way */
    uint32_t              steps_left; /* of handshakes, in this turn */
    struct log_limit      transport_complaint;
    struct list           postponed; /* peers whose handshake goes on in the next turn */
    struct list           peers;
    struct list           dirty;   /* outqs with something to send */
    struct list           closing; /* peers whose protocol asked for the end */
    uint32_t              peer_count;
    bool                  stopping;
    bool                  refused;    /* its address could not be had */
    uint64_t              stop_at_ns; /* while stopping: no longer than this */
    struct sys            sys;        /* of shard 0 */
    struct drain          drain;
    struct metrics       *all_metrics;   /* of all shards, or NULL */
    struct metrics_shard *metrics;       /* or NULL: nobody asks */
    uint64_t              metrics_at_ns; /* when they were published last */
    struct shard_counters counters;
};

/* NULL when memory is out. io belongs to the caller. */
struct shard *shard_new(struct broker *broker, unsigned index, struct io *io);
void          shard_free(struct shard *shard);
/* Everything between two io_turns. Returns when it wants to run again at the latest. */
uint64_t shard_turn(struct shard *shard);
/* After broker->stopping was set: everything was said to every client and sent, or the time for it is over. */
bool shard_stopped(const struct shard *shard);

#endif
