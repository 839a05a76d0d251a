/* recall - topics that were matched before, and the nodes that were found: what lies in front of the filter tree (match.h).
 *
 * A slot per hash, the newest topic stays. What is remembered is old when the version of everything, or of its region (the topics with
 * a first level of that hash), has moved on.
 * Threads: the shard that owns the tree. */
#ifndef KEEL_BROKER_KERNEL_RECALL_H
#define KEEL_BROKER_KERNEL_RECALL_H

#include "shared/base/assert.h"
#include "shared/base/bytes.h"

enum { RECALL_REGIONS = 1024 }; /* of first levels, for forgetting topics */

struct recall_slot {
    uint64_t  hash;
    uint32_t *nodes; /* room for capacity bytes: the nodes, then the topic */
    uint32_t  capacity;
    uint32_t  all_version;
    uint32_t  region_version;
    uint16_t  region;
    uint16_t  topic_size;
    uint32_t  count;
};

struct recall {
    struct recall_slot *slots;
    uint32_t            slot_count; /* 0: nothing is remembered */
    uint32_t            all_version;
    uint32_t            region_versions[RECALL_REGIONS];
    uint64_t            memory_bytes; /* behind the slots */
};

/* slot_count: a power of two, or 0. False when memory is out; to be ended all the same. */
MUST_CHECK bool recall_init(struct recall *recall, uint32_t slot_count);
void            recall_fini(struct recall *recall);

/* What is remembered of topic, or NULL. */
static inline const struct recall_slot *recall_find(const struct recall *c, struct bytes topic, uint64_t hash)
{
    const struct recall_slot *slot = &c->slots[hash & (c->slot_count - 1)];
    bool                      good = slot->hash == hash && slot->all_version == c->all_version &&
                slot->region_version == c->region_versions[slot->region] &&
                bytes_equal(bytes_of(slot->nodes + slot->count, slot->topic_size), topic);
    return good ? slot : NULL;
}
void recall_store(struct recall *c, struct bytes topic, uint64_t hash, const uint32_t *nodes, uint32_t count);
/* A filter came or went: what is remembered about the topics it may match is old. */
void recall_forget(struct recall *c, struct bytes filter);
void recall_forget_all(struct recall *c);

#endif
