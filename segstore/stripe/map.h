/* map - pointers found by a hash of what they point to: open addressing, linear probing, no tombstones.
 *
 *     struct map_probe probe = map_probe(&map, hash);
 *     for (struct thing *t; (t = map_probe_next(&map, &probe)) != NULL;) { if (it is the one) ... }
 *
 * Owns its slots, not the entries. 8 bytes a slot; between 3/8 and 3/4 full while it grows. Never walked in slot order where order matters.
 * Threads: those of the owner. */
#ifndef KEEL_SEGSTORE_STRIPE_MAP_H
#define KEEL_SEGSTORE_STRIPE_MAP_H

#include "shared/base/assert.h"

#include <stddef.h>
#include <stdint.h>

struct map {
    void **slots;
    size_t capacity; /* a power of two, or 0 */
    size_t count;
    uint64_t (*hash)(const void *entry);
};

void map_init(struct map *map, uint64_t (*hash)(const void *entry));
void map_fini(struct map *map);
/* The caller knows that no equal entry is there. */
void map_insert(struct map *map, void *entry);
/* The entry must be there. */
void map_remove(struct map *map, const void *entry);

struct map_probe {
    size_t at;
};

static inline struct map_probe map_probe(const struct map *map, uint64_t hash)
{
    return (struct map_probe){.at = (size_t)hash & (map->capacity - 1)};
}

/* Candidates of that hash one by one, NULL after the last. */
static inline void *map_probe_next(const struct map *map, struct map_probe *probe)
{
    if (map->capacity == 0) {
        return NULL;
    }
    void *entry = map->slots[probe->at];
    probe->at   = (probe->at + 1) & (map->capacity - 1);
    return entry;
}

/* Walks every entry, in no order that means anything. */
#define MAP_EACH(map, type, entry)                                          \
    for (size_t entry##_at = 0; entry##_at < (map)->capacity; entry##_at++) \
        for (type *entry = (map)->slots[entry##_at]; entry != NULL; entry = NULL)

#endif
