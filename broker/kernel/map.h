/* map - a hash table of things that carry their own link: 16 bytes each, of which 4 are free for the owner.
 * Finding is a walk over one chain: the caller compares what it keeps.
 * Threads: those of the owner. */
#ifndef KEEL_BROKER_KERNEL_MAP_H
#define KEEL_BROKER_KERNEL_MAP_H

#include "shared/base/assert.h"

#include <stddef.h>
#include <stdint.h>

struct map_node {
    struct map_node *next;
    uint32_t         hash;
    uint32_t         extra; /* the owner's */
};

struct map {
    struct map_node **buckets;
    uint32_t          bucket_count; /* a power of two, 0 at first */
    uint32_t          count;
};

/* Zeroed is empty. Forgets all nodes without looking at them. */
void map_fini(struct map *map);
/* 0, or ERR_FULL when memory is out for the first buckets; a map that cannot grow gets slower, not full. */
MUST_CHECK int map_insert(struct map *map, struct map_node *node, uint64_t hash);
void           map_remove(struct map *map, struct map_node *node);
/* Any node, NULL when empty: to take all out. */
struct map_node *map_any(const struct map *map);

static inline struct map_node *map_same(struct map_node *node, uint32_t hash)
{
    while (node != NULL && node->hash != hash) {
        node = node->next;
    }
    return node;
}

/* The nodes with this hash, one after the other. */
static inline struct map_node *map_first(const struct map *map, uint64_t hash)
{
    return map->bucket_count == 0 ? NULL : map_same(map->buckets[hash & (map->bucket_count - 1)], (uint32_t)hash);
}

static inline struct map_node *map_next(struct map_node *node)
{
    return map_same(node->next, node->hash);
}

#endif
