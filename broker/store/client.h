/* client - the kernel's store port (broker/kernel/store.h), fulfilled over RPC.
 *
 *   kernel ──store_txn, scan, watch, follow──▶ client ──one link per node and shard──▶ keel-segstore, on one node or several
 *
 * The first link learns how many shards and stripes there are, who the other nodes are and who leads which stripe, then the others are made
 * (nodes.h). A link that breaks comes back by itself: requests without an answer are sent again in their order, follows go on behind the last record
 * seen, watches show everything anew. So do those of a stripe that another node leads from now on (route.h).
 * Threads: the broker shard that made it. */
#ifndef KEEL_BROKER_STORE_CLIENT_H
#define KEEL_BROKER_STORE_CLIENT_H

#include "broker/kernel/store.h"

struct io;
struct timer_wheel;

enum { STORE_SEEDS_MAX = 8, STORE_ADDRESS_MAX = 64 };

struct store_client_config {
    struct {
        char     address[STORE_ADDRESS_MAX];
        uint16_t port;
    } seeds[STORE_SEEDS_MAX]; /* nodes that are called first */
    uint32_t seed_count;
    uint64_t instance; /* this broker process */
    uint64_t owner;    /* this shard of it, not 0 */
    uint64_t place;    /* where it runs (schema.h, HELLO); 0: no place */
};

struct store *store_client_new(struct io *io, struct timer_wheel *timers, const struct store_client_config *config);
/* Drops everything without a callback. */
void store_client_free(struct store *store);
/* Last thing of a turn: what was asked during it leaves in one send per link. */
void store_client_turn(struct store *store);

struct store_client_counters {
    uint64_t links_up;      /* now */
    uint64_t requests_open; /* now, without an answer */
    uint64_t reconnects;
    uint64_t corrupt_frames;
};
void store_client_counters(const struct store *store, struct store_client_counters *out);

#endif
