/* hashmap - a hash table of things that carry their own link: 16 bytes each, of which 4 are free for the owner.
 * Finding is a walk over one chain: the caller compares what it keeps.
 *
 *   old     | moved, empty ......... | not yet: chains hang here |          It doubles without a pause: each insert moves a few
 *           0                        moved                                  chains of the old buckets, in order. Where a hash lies
 *   buckets | low half of moved | .. | not set | high half of moved | ..|   follows from its old bucket alone, so finding looks at
 *                                                                           one chain, as ever.
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
    struct hashmap_node **old;          /* half as many, while it grows; else NULL */
    uint32_t              bucket_count; /* a power of two, 0 at first */
    uint32_t              count;
    uint32_t              moved;  /* old buckets that are empty now */
    uint32_t              any_at; /* chains before this one are empty, as far as hashmap_any knows */
};

/* Zeroed is empty. Forgets all nodes without looking at them. */
void hashmap_fini(struct hashmap *map);
/* 0, or ERR_FULL when memory is out for the first buckets; a map that cannot grow gets slower, not full. */
MUST_CHECK int hashmap_insert(struct hashmap *map, struct hashmap_node *node, uint64_t hash);
void           hashmap_remove(struct hashmap *map, struct hashmap_node *node);
/* Any node, NULL when empty: to take all out. */
struct hashmap_node *hashmap_any(struct hashmap *map);
/* To walk over all nodes: first of chain 0 .. hashmap_chains - 1. While nothing is inserted nodes stay in their chains. */
uint32_t             hashmap_chains(const struct hashmap *map);
struct hashmap_node *hashmap_chain(const struct hashmap *map, uint32_t chain);

static inline struct hashmap_node *hashmap_same(struct hashmap_node *node, uint32_t hash)
{
    while (node != NULL && node->hash != hash) {
        node = node->next;
    }
    return node;
}

/* Where the chain of a hash begins. Not for a map without buckets. */
static inline struct hashmap_node **hashmap_bucket(const struct hashmap *map, uint64_t hash)
{
    if (UNLIKELY(map->old != NULL)) {
        uint32_t bucket = (uint32_t)hash & (map->bucket_count / 2 - 1);
        if (bucket >= map->moved) {
            return &map->old[bucket];
        }
    }
    return &map->buckets[hash & (map->bucket_count - 1)];
}

/* The nodes with this hash, one after the other. */
static inline struct hashmap_node *hashmap_first(const struct hashmap *map, uint64_t hash)
{
    return map->bucket_count == 0 ? NULL : hashmap_same(*hashmap_bucket(map, hash), (uint32_t)hash);
}

static inline struct hashmap_node *hashmap_next(struct hashmap_node *node)
{
    return hashmap_same(node->next, node->hash);
}

#endif
