/* hashmap - doubles when there are as many nodes as buckets. */
#include "broker/kernel/hashmap.h"

#include "shared/base/err.h"

#include <stdlib.h>

/* Buckets that an insert moves while the map grows: growing is over long before it has to begin again. */
enum { BUCKETS_MIN = 16, MOVES_PER_INSERT = 8 };

static void grow(struct hashmap *map)
{
    ASSERT(map->old == NULL);
    if (map->bucket_count == 0) {
        map->buckets      = calloc(BUCKETS_MIN, sizeof *map->buckets);
        map->bucket_count = map->buckets == NULL ? 0 : BUCKETS_MIN;
        return;
    }
    if (map->bucket_count > UINT32_MAX / 2) {
        return;
    }
    /* Not zeroed: a bucket is set when its half is moved, and not looked at before. */
    struct hashmap_node **buckets = malloc(2 * (size_t)map->bucket_count * sizeof *buckets);
    if (buckets == NULL) {
        return;
    }
    map->old     = map->buckets;
    map->buckets = buckets;
    map->moved   = 0;
    map->bucket_count *= 2;
}

static void move_some(struct hashmap *map)
{
    uint32_t half = map->bucket_count / 2;
    for (int i = 0; i < MOVES_PER_INSERT && map->moved < half; i++) {
        struct hashmap_node *node = map->old[map->moved];
        struct hashmap_node *low  = NULL;
        struct hashmap_node *high = NULL;
        while (node != NULL) {
            struct hashmap_node  *next = node->next;
            struct hashmap_node **to   = (node->hash & half) == 0 ? &low : &high;
            node->next                 = *to;
            *to                        = node;
            node                       = next;
        }
        map->buckets[map->moved]        = low;
        map->buckets[map->moved + half] = high;
        map->moved++;
    }
    if (map->moved == half) {
        free(map->old);
        map->old = NULL;
    }
}

void hashmap_fini(struct hashmap *map)
{
    free(map->buckets);
    free(map->old);
    *map = (struct hashmap){0};
}

int hashmap_insert(struct hashmap *map, struct hashmap_node *node, uint64_t hash)
{
    if (UNLIKELY(map->old != NULL)) {
        move_some(map);
    } else if (map->count >= map->bucket_count) {
        grow(map);
    }
    if (map->bucket_count == 0) {
        return ERR_FULL;
    }
    struct hashmap_node **bucket = hashmap_bucket(map, hash);
    node->hash                   = (uint32_t)hash;
    node->next                   = *bucket;
    *bucket                      = node;
    map->any_at                  = 0;
    map->count++;
    return 0;
}

void hashmap_remove(struct hashmap *map, struct hashmap_node *node)
{
    struct hashmap_node **place = hashmap_bucket(map, node->hash);
    while (*place != node) {
        ASSERT(*place != NULL);
        place = &(*place)->next;
    }
    *place = node->next;
    map->count--;
}

uint32_t hashmap_chains(const struct hashmap *map)
{
    return map->bucket_count;
}

/* Chain i < half, while it grows: the old bucket or the low half of it; behind: the high half, empty until it is moved. */
struct hashmap_node *hashmap_chain(const struct hashmap *map, uint32_t chain)
{
    uint32_t half = map->bucket_count / 2;
    if (map->old == NULL || (chain & (half - 1)) < map->moved) {
        return map->buckets[chain];
    }
    return chain < half ? map->old[chain] : NULL;
}

struct hashmap_node *hashmap_any(struct hashmap *map)
{
    for (; map->any_at < hashmap_chains(map); map->any_at++) {
        struct hashmap_node *node = hashmap_chain(map, map->any_at);
        if (node != NULL) {
            return node;
        }
    }
    return NULL;
}
