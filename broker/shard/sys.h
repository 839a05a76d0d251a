/* sys - the numbers of all shards, as Mosquitto names them under $SYS/broker: gathered by the first shard at an interval from what the shards publish
 * for the admin thread, and handed to its kernel.
 * Threads: shard 0.   Units: load/.. is per minute, averaged over 1, 5 and 15 minutes. */
#ifndef KEEL_BROKER_SHARD_SYS_H
#define KEEL_BROKER_SHARD_SYS_H

#include <stdint.h>

struct kernel;
struct metrics;

enum sys_rate {
    SYS_MESSAGES_RECEIVED,
    SYS_MESSAGES_SENT,
    SYS_PUBLISH_RECEIVED,
    SYS_PUBLISH_SENT,
    SYS_PUBLISH_DROPPED,
    SYS_BYTES_RECEIVED,
    SYS_BYTES_SENT,
    SYS_CONNECTIONS,
    SYS_RATES
};

struct sys {
    uint64_t interval_ns; /* 0: off */
    uint64_t started_ns;
    uint64_t last_ns; /* 0: nothing was told yet */
    uint64_t next_ns;
    uint64_t totals[SYS_RATES];
    double   loads[SYS_RATES][3];
    uint64_t connected_most;
    uint64_t heap_most;
};

void sys_init(struct sys *sys, uint64_t interval_ns, uint64_t now_ns);
/* Tells what there is to tell when its time has come. Returns when it wants to run again, UINT64_MAX: never. */
uint64_t sys_turn(struct sys *sys, const struct metrics *metrics, struct kernel *kernel, uint64_t now_ns);

#endif
