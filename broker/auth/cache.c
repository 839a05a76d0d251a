/* cache.c - a hash table and a list through the same entries. */
#include "broker/auth/cache.h"

#include "shared/base/hash.h"

#include <stdlib.h>

struct entry {
    struct hashmap_node by_key; /* extra: size of key */
    struct list         used;
    uint64_t            until_ns;
    uint8_t             value;
    uint8_t             key[];
};

void cache_init(struct cache *cache, uint32_t entries_max, uint64_t life_ns)
{
    *cache = (struct cache){.max = entries_max, .life_ns = life_ns};
    list_init(&cache->used);
}

static void drop(struct cache *cache, struct entry *entry)
{
    hashmap_remove(&cache->map, &entry->by_key);
    list_remove(&entry->used);
    free(entry);
}

void cache_fini(struct cache *cache)
{
    while (!list_empty(&cache->used)) {
        drop(cache, CONTAINER_OF(cache->used.next, struct entry, used));
    }
    hashmap_fini(&cache->map);
}

static struct entry *find(const struct cache *cache, struct bytes key)
{
    for (struct hashmap_node *n = hashmap_first(&cache->map, hash_bytes(key)); n != NULL; n = hashmap_next(n)) {
        struct entry *entry = CONTAINER_OF(n, struct entry, by_key);
        if (bytes_equal(bytes_of(entry->key, n->extra), key)) {
            return entry;
        }
    }
    return NULL;
}

bool cache_find(struct cache *cache, struct bytes key, uint64_t now_ns, uint8_t *out)
{
    struct entry *entry = find(cache, key);
    if (entry == NULL) {
        return false;
    }
    if (now_ns >= entry->until_ns) {
        drop(cache, entry);
        return false;
    }
    list_remove(&entry->used);
    list_push_back(&cache->used, &entry->used);
    *out = entry->value;
    return true;
}

void cache_put(struct cache *cache, struct bytes key, uint64_t now_ns, uint8_t value)
{
    struct entry *entry = find(cache, key);
    if (cache->max == 0 || cache->life_ns == 0) {
        return;
    }
    if (entry == NULL) {
        if (cache->map.count >= cache->max) {
            drop(cache, CONTAINER_OF(cache->used.next, struct entry, used));
        }
        entry = calloc(1, sizeof *entry + key.size);
        if (entry == NULL || hashmap_insert(&cache->map, &entry->by_key, hash_bytes(key)) != 0) {
            free(entry);
            return;
        }
        entry->by_key.extra = (uint32_t)key.size;
        memcpy(entry->key, key.data, key.size);
    } else {
        list_remove(&entry->used);
    }
    list_push_back(&cache->used, &entry->used);
    entry->until_ns = now_ns + cache->life_ns;
    entry->value    = value;
}
