/* wants - which other shards want what a key stands for, 16 bytes for each shard and key, where the filter tree would take 160.
 *
 *     key ─┬─ low bits: one of 64 parts ── high bits: where to begin ──▶ | e | e |   | e | e | e |   |    linear probing
 *          └─ whole: compared                                            part: at most 4/5 full, grows by a quarter or less
 *
 * A key is a hash of 64 bits: of a topic, or of what is fixed in a filter with wildcards (shapes.h). A part grows by itself, so that no
 * subscription pays for moving more than a 64th of the entries. Filters that have one key by chance share an entry and are counted, so that
 * it stays when one of them goes: a shard may be asked that has nobody for a topic, and none is passed over that has.
 * Threads: the shard. */
#ifndef KEEL_BROKER_KERNEL_WANTS_H
#define KEEL_BROKER_KERNEL_WANTS_H

#include "shared/base/assert.h"

#include <stdint.h>

enum { WANTS_PARTS = 64 };

struct want {
    uint64_t key;          /* 0: free */
    uint32_t any;          /* filters of that shard that have subscribers */
    uint32_t quality : 26; /* of them those with subscribers that QoS 1 and 2 are owed to */
    uint32_t shard   : 6;
};
_Static_assert(sizeof(struct want) == 16, "millions of them are counted");

struct wants_part {
    struct want *entries;
    uint32_t     size;
    uint32_t     used;
};

/* Zeroed is empty. */
struct wants {
    struct wants_part parts[WANTS_PARTS];
    uint32_t          count; /* entries of all */
};

void wants_fini(struct wants *wants);
/* Valid until the next change. find: NULL when there is none. make: the one that is there, or a new one whose counts are 0 and are to be
 * set; NULL when memory is out. */
struct want *wants_find(const struct wants *wants, uint64_t key, unsigned shard);
struct want *wants_make(struct wants *wants, uint64_t key, unsigned shard);
void         wants_drop(struct wants *wants, struct want *want);
/* All of one shard. */
void wants_forget(struct wants *wants, unsigned shard);
/* Begins to bring a key into the cache. */
void wants_fetch(const struct wants *wants, uint64_t key);
/* The shards, a bit each, that want it; quality: those that have subscribers to whom QoS 1 and 2 are owed. */
uint64_t wants_shards(const struct wants *wants, uint64_t key, bool quality);
uint64_t wants_bytes(const struct wants *wants);

#endif
