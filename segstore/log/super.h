/* super - what a data directory is: which log, of which cluster, cut into how many shards and stripes.
 * Four equal copies of one page in the file `super`; two that agree are enough. Written once, when the directory is formatted.
 *
 *   copy:  magic u32 "KSUP" | version u16 | zero u16 | wal id, 16 bytes | cluster u64 | segment_bytes u64 |
 *          shard u32 | shard_count u32 | stripe_count u32 | node u16 | member_count u16 | formatted_wall_ns u64 |
 *          from version 2 on: members u16 x 8 | checksum u64 | zeros to 4 KiB
 *
 * Version 1 is a node that stands alone. The wal id is the node's incarnation: a node whose disk was lost comes back with another one.
 *
 * Threads: any; pure. */
#ifndef KEEL_SEGSTORE_LOG_SUPER_H
#define KEEL_SEGSTORE_LOG_SUPER_H

#include "segstore/log/block.h"

enum {
    SUPER_VERSION       = 2,
    SUPER_VERSION_FIRST = 1,
    SUPER_MEMBERS       = 8,
    SUPER_COPIES        = 4,
    SUPER_COPY_BYTES    = 4096,
    SUPER_BYTES         = SUPER_COPIES * SUPER_COPY_BYTES
};

struct super {
    struct wal_id id;
    uint64_t      cluster;
    uint64_t      segment_bytes;
    uint64_t      formatted_wall_ns;
    uint32_t      shard;
    uint32_t      shard_count;
    uint32_t      stripe_count;
    uint16_t      node;         /* this one's number */
    uint16_t      member_count; /* of the cluster, when it was formed; 0: it is to be taken in by one */
    uint16_t      members[SUPER_MEMBERS];
};

enum super_state {
    SUPER_EMPTY,         /* all zero: never formatted */
    SUPER_VALID,         /* *out is set */
    SUPER_UNREADABLE,    /* fewer than two copies agree: refuse to start */
    SUPER_VERSION_OTHER, /* written by a program that keeps another format */
};

void             super_encode(const struct super *super, uint8_t out[SUPER_BYTES]);
enum super_state super_decode(struct bytes file, struct super *out);

#endif
