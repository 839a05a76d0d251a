/* config - what an operator may choose for a segment store. Every limit is fixed at start.
 * Threads: written by main.c before threads start, read by all.   Units: bytes, ns. */
#ifndef KEEL_SEGSTORE_NODE_CONFIG_H
#define KEEL_SEGSTORE_NODE_CONFIG_H

#include "shared/base/assert.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SEGSTORE_NODES_MAX = 24, SEGSTORE_FOUNDERS_MAX = 7, SEGSTORE_RACK_MAX = 32 };

/* Where brokers and the other nodes find a node. */
struct segstore_node {
    uint16_t id; /* from 1 */
    uint16_t port;
    char     address[64];
    char     rack[SEGSTORE_RACK_MAX]; /* empty: a rack of its own */
};

struct pace;

struct segstore_config {
    const char *data_directory;
    const char *listen_address;
    uint16_t    listen_port; /* 0 picks a free one */
    uint32_t    shards;      /* threads; fixed when the directory is formatted */
    uint32_t    stripes;     /* of the cluster; fixed when it is formatted */

    uint16_t             node;       /* this one's number; fixed when the directory is formatted */
    uint32_t             node_count; /* 0: it stands alone */
    struct segstore_node nodes[SEGSTORE_NODES_MAX];
    bool                 join;         /* a new directory is of no cluster until that takes it in */
    const char          *cluster;      /* its name: nodes of another one are turned away. NULL when it stands alone */
    uint64_t             heartbeat_ns; /* between nodes */
    uint32_t             replicas;     /* of each stripe, at most */
    uint64_t             replace_after_ns; /* a node that is away for so long is replaced; 0: never */
    uint64_t transfer_rate;     /* bytes a second that others get at most so that they catch up, all shards together */
    uint64_t transfer_rate_min; /* .. and at least, whatever producers feel of it */
    /* That all shards of the process keep; made by whoever starts them. NULL: each keeps its part of it. */
    struct pace *transfer;
    uint64_t     election_ns; /* without a leader for so long, at most twice as long, a node wants to be it */
    /* Applied ones, of all stripes, that stay known for followers that lag; behind them they get an image. */
    uint64_t kept_entries;

    uint64_t segment_bytes;    /* of a log file; fixed when the directory is formatted */
    uint64_t checkpoint_bytes; /* of log between checkpoints */
    uint64_t checkpoint_ns;    /* between checkpoints, when something changed */
    /* Of the image of a stripe that are made in one turn of the loop: some hundred microseconds. */
    uint32_t checkpoint_slice_bytes;
    uint64_t tail_bytes;         /* memory: the end of the log, for readers that keep up */
    uint32_t cold_chunks;        /* memory: 256 KiB each, for readers that do not */
    uint32_t cold_depth;         /* their reads under way at once */
    uint64_t cold_rate;          /* bytes a second that they read, all shards together; 0: any */
    uint32_t wal_depth;          /* durable writes under way at once, 1 or 2 */
    uint32_t segments_ready;     /* prepared ahead */
    uint64_t disk_reserve_bytes; /* free space kept for checkpoints; below it the disk counts as full */
    uint32_t disk_sector_bytes;  /* what the device writes at once: 4096, or 512 where it does not promise more */
    uint64_t log_bytes;          /* above this much log per shard, files of which little is held are emptied at once */
    uint64_t reclaim_ns;         /* else when they are older than this */
    uint64_t reclaim_rate;       /* bytes a second read and written for it, all shards together; 0: never */
    uint64_t scrub_ns;           /* in which all of the log is read again in the background; 0: never */
    bool     accept_damage;      /* go on without entries that damage took */

    uint32_t record_max_bytes;
    uint32_t credit_bytes;       /* requests of one connection without an answer */
    uint32_t output_bytes;       /* pushes wait while more is unsent on a connection */
    uint64_t table_bytes_max;    /* per stripe */
    uint64_t retained_max;       /* rows of the table of retained messages, per stripe; 0: no limit */
    uint64_t retained_bytes_max; /* their bytes */
    uint64_t streams_max;        /* per stripe */
    uint64_t delays_max;         /* messages that wait for their time, per stripe */
    uint64_t stream_records_max; /* backlog of one stream, 0: no limit */
    uint64_t stream_bytes_max;   /* likewise, of one that is a queue */
    uint32_t writers_max;        /* idempotent writers remembered per stripe */
    uint64_t owner_lease_ns;     /* a broker shard that lost its connection may come back within this */
    uint64_t owner_grace_ns;     /* the same after a restart of the store */
};

/* All but data_directory; what a start without a configuration uses. */
static inline struct segstore_config segstore_config_default(void)
{
    return (struct segstore_config){
        .listen_address         = "127.0.0.1",
        .listen_port            = 7400,
        .shards                 = 1,
        .stripes                = 64,
        .node                   = 1,
        .heartbeat_ns           = 100ull * 1000000,
        .replicas               = 3,
        .replace_after_ns       = 900ull * 1000000000,
        .transfer_rate          = 1ull << 30,
        .transfer_rate_min      = 32ull << 20,
        .election_ns            = 600ull * 1000000,
        .kept_entries           = 1ull << 20,
        .segment_bytes          = 64ull << 20,
        .checkpoint_bytes       = 256ull << 20,
        .checkpoint_ns          = 60ull * 1000000000,
        .checkpoint_slice_bytes = 256u << 10,
        .tail_bytes             = 16ull << 20,
        .cold_chunks            = 64,
        .cold_depth             = 4,
        .cold_rate              = 1ull << 30,
        .wal_depth              = 2,
        .segments_ready         = 2,
        .disk_reserve_bytes     = 256ull << 20,
        .disk_sector_bytes      = 4096,
        .log_bytes              = 16ull << 30,
        .reclaim_ns             = 600ull * 1000000000,
        .reclaim_rate           = 64ull << 20,
        .scrub_ns               = 7ull * 86400 * 1000000000,
        .record_max_bytes       = 2u << 20,
        .credit_bytes           = 8u << 20,
        .output_bytes           = 1u << 20,
        .table_bytes_max        = 1ull << 30,
        .streams_max            = 1ull << 20,
        .delays_max             = 1ull << 20,
        .stream_records_max     = 0,
        .writers_max            = 1u << 18,
        .owner_lease_ns         = 2ull * 1000000000,
        .owner_grace_ns         = 10ull * 1000000000,
    };
}

struct settings;
/* Who the nodes are, from segstore.node, segstore.nodes and segstore.cluster. 0, or ERR_MALFORMED and a sentence. cluster is borrowed from the settings. */
MUST_CHECK int segstore_config_nodes(struct segstore_config *config, const struct settings *settings, char *why,
                                     size_t why_size);

/* Who forms a new cluster: the first nodes of the list; the others, and one that joins, wait to be given a place (0). Returns how many. */
uint16_t segstore_config_founders(const struct segstore_config *config, uint16_t out[SEGSTORE_FOUNDERS_MAX]);
/* The number of a node's rack, the same for all that name the same; 0: a rack of its own. */
uint16_t segstore_config_rack(const struct segstore_config *config, uint16_t id);

#endif
