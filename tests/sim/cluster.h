/* cluster - a whole Keel in the simulator: a segment store of one node or three, and one or two brokers, as they run, each on a machine of its own.
 *
 *     10.x store, store2, store3  keel-segstore's shards on cores, one disk each
 *     10.x broker, broker2        keel-broker's shards on cores
 *
 * Each may be killed and started again, and a store's machine may lose power; one of three may be cut off and stand still as well. Threads: one. */
#ifndef KEEL_TESTS_SIM_CLUSTER_H
#define KEEL_TESTS_SIM_CLUSTER_H

#include "broker/shard/config.h"
#include "broker/shard/shard.h"
#include "segstore/node/config.h"
#include "shared/config/settings.h"
#include "tests/sim/process.h"

enum {
    CLUSTER_SHARDS_MAX  = 2,
    CLUSTER_BROKERS_MAX = 2,
    CLUSTER_STORES_MAX  = 3,
    CLUSTER_MQTT_PORT   = 1883,
    CLUSTER_RPC_PORT    = 7400
};
#define CLUSTER_PASSWORD "sim" /* of every client, where names are wanted */

struct node;
struct cluster;

/* One node of the segment store. */
struct cluster_store {
    struct cluster        *cluster;
    struct segstore_config config;
    struct machine        *machine;
    struct process        *process;
    struct node           *nodes[CLUSTER_SHARDS_MAX];
    struct mailbox        *boxes[CLUSTER_SHARDS_MAX * CLUSTER_SHARDS_MAX];
    struct mailbox        *inboxes[CLUSTER_SHARDS_MAX][CLUSTER_SHARDS_MAX];
    struct mailbox        *outboxes[CLUSTER_SHARDS_MAX][CLUSTER_SHARDS_MAX];
};

/* One broker process. */
struct cluster_broker {
    struct cluster *cluster;
    struct machine *machine;
    struct process *process;
    struct broker   state; /* what main.c holds */
    struct shard   *shards[CLUSTER_SHARDS_MAX];
    struct mailbox *boxes[CLUSTER_SHARDS_MAX * CLUSTER_SHARDS_MAX];
    struct desk    *desks[CLUSTER_SHARDS_MAX];
    struct gate    *gates[CLUSTER_SHARDS_MAX];
};

struct cluster {
    struct world         *world;
    uint32_t              store_shards;
    uint32_t              broker_shards;
    struct cluster_store  stores[CLUSTER_STORES_MAX];
    uint32_t              store_count;
    struct cluster_broker brokers[CLUSTER_BROKERS_MAX];
    uint32_t              broker_count;
    bool                  placed;   /* brokers are known by their places */
    struct settings       settings; /* texts of the configuration lie there */
    struct broker_config  broker_config;
    char                  passwords[512];
    uint32_t              crashes;
    uint64_t              crashed_ns; /* the last one */
    uint32_t              broker_crashes;
    uint64_t              broker_crashed_ns; /* the last one */
    bool                  supervised; /* a store that ends itself or refuses to start is started again: its disk errs */
    uint32_t              deaths;
    bool                  ended;
};

/* How many brokers the next cluster has: set by a scenario, 1 again once it is started. */
extern uint32_t cluster_brokers;
/* .. and how many stores: 1 or 3. */
extern uint32_t cluster_stores;
/* .. and how many records a queue of it takes, 0: no limit. 0 again once it is started. */
extern uint64_t cluster_queue_max;
/* A machine that a client may connect to now, by lot. */
const char *cluster_broker_name(struct world *world);

/* All machines, all processes started. Sizes are small, so that segments roll and checkpoints are made within seconds. */
void cluster_start(struct cluster *cluster, struct world *world);
/* The same, where clients are "sub", "pub0" and "pub1", need the password CLUSTER_PASSWORD and may only do what the scenario mqtt does. */
void cluster_start_named(struct cluster *cluster, struct world *world);
/* kill -9, and started again after a random moment. Of several brokers one, or all. */
void cluster_crash_broker(struct cluster *cluster);
void cluster_crash_store(struct cluster *cluster);
/* The store's machine loses power: what was not synced may be gone or torn. */
void cluster_power_failure(struct cluster *cluster);
/* One of the three, by lot. Where there are several stores it is one of them, or all; and one may be cut off, or stand still, long enough for others to take its lead over. */
void cluster_accident(struct cluster *cluster);
/* Both processes end; nothing of them remains. */
void cluster_end(struct cluster *cluster);

#endif
