/* client - the kernel's store port (broker/kernel/store.h), fulfilled over RPC.
 *
 *   kernel ──store_txn, scan, watch, follow──▶ client ──one link per segment-store shard──▶ keel-segstore
 *
 * The first link learns how many shards and stripes there are, then the others are made. A link that breaks comes back by itself: requests
 * without an answer are sent again in their order, follows go on behind the last record seen, watches show everything anew.
 * Threads: the broker shard that made it. */
#ifndef KEEL_BROKER_STORE_CLIENT_H
#define KEEL_BROKER_STORE_CLIENT_H

#include "broker/kernel/store.h"

struct io;
struct timer_wheel;

struct store_client_config {
    const char *address; /* outlives the client */
    uint16_t    port;
    uint64_t    instance; /* this broker process */
    uint64_t    owner;    /* this shard of it, not 0 */
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
