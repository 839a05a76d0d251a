/* status - what a shard of the segment store says of itself, for operators: plain numbers, and how each of its stripes is.
 *
 *   shard thread ──node_status──▶ struct shard_status ──board.h──▶ HTTP thread ──▶ metrics_text (Prometheus), cluster_text (JSON)
 *
 * Taken when somebody asks, not while messages pass. Numbers of several shards may be from slightly different moments.
 * Lifetime: the owner's; stripes is an array that the owner made.   Threads: a value belongs to one; nothing here is shared.   Units: in the names. */
#ifndef KEEL_SEGSTORE_STATUS_STATUS_H
#define KEEL_SEGSTORE_STATUS_STATUS_H

#include "segstore/placement/placement.h"
#include "segstore/raft/raft.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { STATUS_NODES_MAX = PLAN_NODES_MAX, STATUS_FOLLOWERS_MAX = 3 * RAFT_MEMBERS_MAX };

/* clang-format off */
/*    slot               name                                    kind     over shards  help */
#define STATUS_TABLE(X)                                                                                                                    \
    X(CONNECTIONS,       "keel_segstore_connections",            gauge,   SUM, "Connections of broker shards.")                            \
    X(REQUESTS,          "keel_segstore_requests_total",         counter, SUM, "Requests of brokers.")                                     \
    X(TRANSACTIONS,      "keel_segstore_transactions_total",     counter, SUM, "Transactions of brokers that were committed and answered here.") \
    X(COMMITTED,         "keel_segstore_committed_total",        counter, SUM, "Entries that were committed and took effect here, whoever leads.") \
    X(RECORDS_PUSHED,    "keel_segstore_records_pushed_total",   counter, SUM, "Records handed to brokers that follow streams.")           \
    X(LOG_WRITES,        "keel_segstore_log_writes_total",       counter, SUM, "Durable writes of the log.")                               \
    X(LOG_BYTES,         "keel_segstore_log_bytes_total",        counter, SUM, "Bytes written to the log.")                                \
    X(LOG_ENTRIES,       "keel_segstore_log_entries_total",      counter, SUM, "Entries written to the log.")                              \
    X(COLD_READS,        "keel_segstore_cold_reads_total",       counter, SUM, "Reads of the log from disk, for readers that lag.")        \
    X(CHECKPOINTS,       "keel_segstore_checkpoints_total",      counter, SUM, "Checkpoints written.")                                     \
    X(RECLAIM_FILES,     "keel_segstore_reclaim_files_total",    counter, SUM, "Files of the log and runs that were emptied by moving what was held in them.") \
    X(RECLAIM_RECORDS,   "keel_segstore_reclaim_records_total",  counter, SUM, "Records moved to runs.")                               \
    X(RECLAIM_READ,      "keel_segstore_reclaim_read_bytes_total", counter, SUM, "Bytes read to weigh and move records.")                        \
    X(RECLAIM_WRITTEN,   "keel_segstore_reclaim_written_bytes_total", counter, SUM, "Bytes written to runs: beside log_bytes_total, what is written twice; over the life of a store never more than that.") \
    X(RECLAIM_CREDIT,    "keel_segstore_reclaim_credit_bytes",   gauge,   SUM, "Bytes that may be copied to runs before as many are copied as were ever logged; then old files wait.") \
    X(RECLAIM_DAMAGED,   "keel_segstore_reclaim_damaged_total",  counter, SUM, "Records that could not be moved because they could not be read.") \
    X(LOG_FILE_BYTES,    "keel_segstore_log_file_bytes",         gauge,   SUM, "Bytes of files of the log.")                           \
    X(RUN_BYTES,         "keel_segstore_run_bytes",              gauge,   SUM, "Bytes of runs.")                                        \
    X(DISK_FULL,         "keel_segstore_disk_full",              gauge,   SUM, "Shards whose disk counts as full: appends are refused.")   \
    X(STRIPES,           "keel_segstore_stripes",                gauge,   SUM, "Stripes that this node keeps.")                            \
    X(STRIPES_LED,       "keel_segstore_stripes_led",            gauge,   SUM, "Of these, led by this node.")                              \
    X(STRIPES_UNLED,     "keel_segstore_stripes_without_leader", gauge,   SUM, "Of these, led by nobody that this node knows of.")         \
    X(STRIPES_DAMAGED,   "keel_segstore_stripes_damaged",        gauge,   SUM, "Of these, damaged here: they do not count for a majority until they are whole.") \
    X(STRIPES_REPAIRING, "keel_segstore_stripes_repairing",      gauge,   SUM, "Of these, with a damaged log here: they wait for another node's image.") \
    X(RECORDS_MISSED,    "keel_segstore_records_damaged",        gauge,   SUM, "Records that may be damaged here: they are looked at, or asked for at other nodes.") \
    X(RECORDS_LOST,      "keel_segstore_records_lost",           gauge,   SUM, "Of these, records that no node can read: whoever wants one is told so.") \
    X(IMAGES_WITHHELD,   "keel_segstore_images_withheld",        gauge,   SUM, "Stripes led here of which a node gets no image, because records of it are damaged and do not come back: the log says what to do.") \
    X(RECORDS_REPAIRED,  "keel_segstore_records_repaired_total", counter, SUM, "Records that were damaged here and were written anew, mostly from another node.") \
    X(STRIPES_STOPPED,   "keel_segstore_stripes_stopped",        gauge,   SUM, "Of these, stopped by damage: they serve nobody.")          \
    X(ELECTIONS,         "keel_segstore_elections_total",        counter, SUM, "Times that a stripe entered another term.")                \
    X(FOLLOWER_LAG,      "keel_segstore_follower_lag_entries",   gauge,   MAX, "Committed entries that the slowest follower of a stripe led here does not have.") \
    X(IMAGES_SENT,       "keel_segstore_images_sent_total",      counter, SUM, "Images of stripes that arrived at another node.")          \
    X(IMAGES_TAKEN,      "keel_segstore_images_taken_total",     counter, SUM, "Images of stripes that came from another node and took their place here.") \
    X(RELAYED,           "keel_segstore_relayed_total",          counter, SUM, "Packets of broker shards that were handed on to others.")  \
    X(RELAYS_DROPPED,    "keel_segstore_relays_dropped_total",   counter, SUM, "The same, not handed on: their receiver was not connected, or did not keep up.")
/* clang-format on */

enum status_value {
#define STATUS_ENUM(slot, name, kind, over, help) STATUS_##slot,
    STATUS_TABLE(STATUS_ENUM)
#undef STATUS_ENUM
        STATUS_VALUES,
};

/* What a leader knows of another member. */
struct follower_status {
    struct raft_progress progress;
    uint16_t             node;
};

struct stripe_status {
    uint64_t               term;
    uint64_t               commit;
    uint64_t               applied;
    uint64_t               last;
    struct raft_members    members;
    struct follower_status followers[STATUS_FOLLOWERS_MAX]; /* of a leader */
    uint8_t                follower_count;
    uint8_t                role; /* enum raft_role */
    bool                   led;  /* by this node, and it serves */
    bool                   damaged;
    bool                   repairing;
    uint32_t               missed;   /* records that may be damaged here */
    uint32_t               lost;     /* of them, those that no node has */
    bool                   withheld; /* .. and a follower gets no image because of them: an operator has to see to it */
    bool                   stopped;
    uint16_t               id;
    uint16_t               leader; /* RAFT_NONE: not known */
    struct placement       place;  /* where it belongs; count 0: not known */
};

struct peer_status {
    uint16_t node;
    bool     up;    /* this shard's connection to it */
    uint64_t for_s; /* for how long */
};

struct shard_status {
    uint32_t    shard;
    bool        fresh; /* taken for this question; else the shard did not answer, and this is what it said before */
    uint64_t    cluster_id; /* 0: not known yet */
    uint64_t    values[STATUS_VALUES];
    struct plan plan; /* epoch 0: not known */
    /* Of the leader of stripe 0: the cluster is to have this node, and segstore.nodes here does not name it. 0: none. */
    uint16_t              unnamed;
    struct peer_status    peers[STATUS_NODES_MAX];
    uint32_t              peer_count;
    uint32_t              stripe_count; /* those that are set */
    struct stripe_status *stripes;      /* room for all of this shard's */
};

/* Who the nodes are, as the configuration says. */
struct nodes_status {
    const char *cluster; /* its name, empty when the node stands alone */
    uint16_t    self;
    uint32_t    count;
    struct {
        uint16_t node;
        char     address[80]; /* host:port */
        char     rack[32];    /* empty: one of its own */
    } at[STATUS_NODES_MAX];
};

/* How many committed entries the slowest follower of a stripe that is led here lacks; 0 when it is led elsewhere. */
uint64_t stripe_status_lag(const struct stripe_status *stripe);
/* Sets the values that follow from the stripes: STRIPES .. and FOLLOWER_LAG. */
void shard_status_sum(struct shard_status *shard);

/* Both: allocated with malloc, ended by '\0'; NULL when there is no memory.
 * Prometheus' text format: per value the sum (or the largest) without labels, then one line per shard; one line per other node. */
char *status_metrics(const struct shard_status *shards, uint32_t count, size_t *out_size);
/* JSON, drawn in cluster.c. */
char *status_cluster(const struct nodes_status *nodes, const struct shard_status *shards, uint32_t count,
                     size_t *out_size);

#endif
