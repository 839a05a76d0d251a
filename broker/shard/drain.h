/* drain - empties this broker for maintenance: new clients are refused, those who are here are sent away a few at a time, so that a load balancer moves
 * them without a storm.
 *
 *   PUT /drain  "SECONDS temporary|permanent [HOST:PORT]" ──▶ order ──▶ every shard, in its next turn:
 *        /ready is 503;  CONNECT gets 0x9C (permanent: 0x9D) and the Server Reference;  within SECONDS, evenly spread, every client gets DISCONNECT with
 *        the same (before MQTT 5: return code 3, or the end)
 *   DELETE /drain ──▶ all is as before;  GET /drain ──▶ how many are left
 *
 * Orders are kept until the broker ends: shards look at them without a lock.
 * Threads: as marked. */
#ifndef KEEL_BROKER_SHARD_DRAIN_H
#define KEEL_BROKER_SHARD_DRAIN_H

#include "broker/protocol/mqtt/env.h"

struct broker;
struct shard;

enum { DRAIN_REFERENCE_MAX_BYTES = 255, DRAIN_SECONDS_MAX = 86400 };

struct drain_order {
    struct drain_order *older;
    bool                on;
    uint32_t            seconds;
    struct mqtt_moved   moved;
    char                reference[DRAIN_REFERENCE_MAX_BYTES + 1];
};

/* What a shard has of it. */
struct drain {
    const struct drain_order *order; /* NULL: none yet */
    uint64_t                  begun_ns;
    uint32_t                  clients; /* when it began */
    uint32_t                  told;
};

/* Each turn of the shard. Returns when it wants another. */
uint64_t drain_turn(struct shard *shard);
/* A request below /drain: its HTTP status, *out_text malloc'ed. Any admin thread. */
int drain_handle(struct broker *broker, const char *method, struct bytes body, char **out_text);
/* Is it on, for /ready? Any thread. */
bool drain_on(const struct broker *broker);
/* Behind the shards. */
void drain_free(struct broker *broker);

#endif
