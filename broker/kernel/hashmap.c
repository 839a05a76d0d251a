/* hashmap - doubles when there are as many nodes as buckets. */
#include "broker/kernel/hashmap.h"

#include "shared/base/err.h"

#include <stdlib.h>

enum { BUCKETS_MIN = 16 };

static void grow(struct hashmap *map, uint32_t count)
{
    struct hashmap_node **buckets = calloc(count, sizeof(struct hashmap_node *));
    if (buckets == NULL) {
        return;
    }
    for (uint32_t i = 0; i < map->bucket_count; i++) {
        for (struct hashmap_node *node = map->buckets[i]; node != NULL;) {
            struct hashmap_node *next         = node->next;
            node->next                        = buckets[node->hash & (count - 1)];
            buckets[node->hash & (count - 1)] = node;
            node                              = next;
        }
    }
    free(map->buckets);
    map->buckets      = buckets;
    map->bucket_count = count;
}

void hashmap_fini(struct hashmap *map)
{
    free(map->buckets);
    *map = (struct hashmap){0};
}

int hashmap_insert(struct hashmap *map, struct hashmap_node *node, uint64_t hash)
{
    if (map->count >= map->bucket_count) {
        grow(map, map->bucket_count == 0 ? BUCKETS_MIN : map->bucket_count * 2);
    }
    if (map->bucket_count == 0) {
        return ERR_FULL;
    }
    struct hashmap_node **bucket = &map->buckets[hash & (map->bucket_count - 1)];
    node->hash                   = (uint32_t)hash;
    node->next                   = *bucket;
    *bucket                      = node;
    map->count++;
    return 0;
}

void hashmap_remove(struct hashmap *map, struct hashmap_node *node)
{
    struct hashmap_node **place = &map->buckets[node->hash & (map->bucket_count - 1)];
    while (*place != node) {
        ASSERT(*place != NULL);
        place = &(*place)->next;
    }
    *place = node->next;
    map->count--;
}

struct hashmap_node *hashmap_any(const struct hashmap *map)
{
    for (uint32_t i = 0; i < map->bucket_count; i++) {
        if (map->buckets[i] != NULL) {
            return map->buckets[i];
        }
    }
    return NULL;
}
