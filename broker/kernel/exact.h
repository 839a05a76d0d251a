/* exact - which shards have subscribers of a topic, by the hash of the topic: what a shard keeps of the filters without wildcards of all
 * others, 16 bytes each, where the filter tree would take 160.
 *
 *     hash ─┬─ low bits: one of 64 parts ── high bits: where to begin ──▶ | e | e |   | e | e | e |   |    linear probing
 *           └─ whole: compared                                            part: at most 4/5 full, grows by a quarter
 *
 * A part grows by itself, so that no subscription pays for moving more than a 64th of the entries. Two topics with one hash count as one topic:
 * a shard is then asked that has nobody for it, and nothing is lost, as those who count do it by the hash, too.
 * Threads: the shard. */
#ifndef KEEL_BROKER_KERNEL_EXACT_H
#define KEEL_BROKER_KERNEL_EXACT_H

#include "shared/base/assert.h"

#include <stdint.h>

enum { EXACT_PARTS = 64 };

struct exact_entry {
    uint64_t hash;         /* 0: free */
    uint32_t any;          /* subscribers of this shard, or 1 for those of another */
    uint32_t quality : 26; /* of them those that QoS 1 and 2 are owed to */
    uint32_t shard   : 6;
};
_Static_assert(sizeof(struct exact_entry) == 16, "millions of them are counted");

struct exact_part {
    struct exact_entry *entries;
    uint32_t            size;
    uint32_t            used;
};

/* Zeroed is empty. */
struct exact {
    struct exact_part parts[EXACT_PARTS];
};

void exact_fini(struct exact *exact);
/* Valid until the next change. find: NULL when there is none. make: the one that is there, or a new one whose counts are 0 and are to be
 * set; NULL when memory is out. */
struct exact_entry *exact_find(const struct exact *exact, uint64_t hash, unsigned shard);
struct exact_entry *exact_make(struct exact *exact, uint64_t hash, unsigned shard);
void                exact_drop(struct exact *exact, struct exact_entry *entry);
/* All of one shard. */
void exact_forget(struct exact *exact, unsigned shard);
/* The shards but self, a bit each, that have subscribers of the topic with this hash; quality: those that QoS 1 and 2 are owed to. */
uint64_t exact_shards(const struct exact *exact, uint64_t hash, unsigned self, bool quality);
uint64_t exact_bytes(const struct exact *exact);

#endif
