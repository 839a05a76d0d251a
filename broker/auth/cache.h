/* cache - what the hook said lately: a bounded number of answers, each for a bounded time; the one that was not asked for longest goes first.
 * Threads: those of the owner. */
#ifndef KEEL_BROKER_AUTH_CACHE_H
#define KEEL_BROKER_AUTH_CACHE_H

#include "broker/kernel/hashmap.h"
#include "shared/base/bytes.h"
#include "shared/base/list.h"

struct cache {
    struct hashmap map;
    struct list    used; /* the last one used is at the back */
    uint32_t       max;
    uint64_t       life_ns;
};

void cache_init(struct cache *cache, uint32_t entries_max, uint64_t life_ns);
void cache_fini(struct cache *cache);
/* True and *out, or false: it is not known, or not any more. */
bool cache_find(struct cache *cache, struct bytes key, uint64_t now_ns, uint8_t *out);
/* Adds or replaces; without memory nothing is remembered. */
void cache_put(struct cache *cache, struct bytes key, uint64_t now_ns, uint8_t value);

#endif
