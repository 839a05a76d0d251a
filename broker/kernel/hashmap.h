/* hashmap - a hash table of things that carry their own link: 16 bytes each, of which 4 are free for the owner.
 * Finding is a walk over one chain: the caller compares what it keeps.
 * Threads: those of the owner. */
#ifndef KEEL_BROKER_KERNEL_HASHMAP_H
#define KEEL_BROKER_KERNEL_HASHMAP_H

#include "shared/base/assert.h"

#include <stddef.h>
#include <stdint.h>

struct hashmap_node {
    struct hashmap_node *next;
    uint32_t             hash;
    uint32_t             extra; /* the owner's */
};

struct hashmap {
    struct hashmap_node **buckets;
    uint32_t              bucket_count; /* a power of two, 0 at first */
    uint32_t              count;
};

/* Zeroed is empty. Forgets all nodes without looking at them. */
void hashmap_fini(struct hashmap *map);
/* 0, or ERR_FULL when memory is out for the first buckets; a map that cannot grow gets slower, not full. */
MUST_CHECK int hashmap_insert(struct hashmap *map, struct hashmap_node *node, uint64_t hash);
void           hashmap_remove(struct hashmap *map, struct hashmap_node *node);
/* Any node, NULL when empty: to take all out. */
struct hashmap_node *hashmap_any(const struct hashmap *map);

static inline struct hashmap_node *hashmap_same(struct hashmap_node *node, uint32_t hash)
{
    while (node != NULL && node->hash != hash) {
        node = node->next;
    }
    return node;
}

/* The nodes with this hash, one after the other. */
static inline struct hashmap_node *hashmap_first(const struct hashmap *map, uint64_t hash)
{
    return map->bucket_count == 0 ? NULL : hashmap_same(map->buckets[hash & (map->bucket_count - 1)], (uint32_t)hash);
}

static inline struct hashmap_node *hashmap_next(struct hashmap_node *node)
{
    return hashmap_same(node->next, node->hash);
}

#endif
