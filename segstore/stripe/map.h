/* map - pointers found by a hash of what they point to: open addressing, linear probing, no tombstones but in slots that are left behind.
 *
 *     struct map_probe probe = map_probe(&map, hash);
 *     for (struct thing *t; (t = map_probe_next(&map, &probe)) != NULL;) { if (it is the one) ... }
 *
 * It never stops to resize: the old slots stay beside the new ones, and each insert or removal moves the entries of a few of them.
 *
 *     old slots  | moved ........ | not yet: found here |      A probe looks at the new slots, then at the old ones that are not moved.
 *                0                moved
 *
 * Slots lie in blocks that are made when the first entry comes to them and freed when they are moved, so neither costs a pause.
 * Owns its slots, not the entries. 8 bytes a slot; between 3/8 and 3/4 full while it grows. Never walked in slot order where order matters.
 * Threads: those of the owner. */
#ifndef KEEL_SEGSTORE_STRIPE_MAP_H
#define KEEL_SEGSTORE_STRIPE_MAP_H

#include "shared/base/assert.h"

#include <stddef.h>
#include <stdint.h>

enum { MAP_BLOCK_SLOTS = 4096 };

/* Slots in blocks; a block that is NULL is empty. */
struct map_slots {
    void ***blocks;
    size_t  capacity; /* a power of two, or 0 */
};

struct map {
    struct map_slots now;
    struct map_slots old;   /* capacity 0 unless entries are being moved */
    size_t           moved; /* slots of old */
    size_t           count;
    uint64_t (*hash)(const void *entry);
};

void map_init(struct map *map, uint64_t (*hash)(const void *entry));
void map_fini(struct map *map);
/* The caller knows that no equal entry is there. */
void map_insert(struct map *map, void *entry);
/* The entry must be there. */
void map_remove(struct map *map, const void *entry);

/* In old slots, for an entry that was removed: not the end of a run. */
extern const char map_gone;

static inline void *map_slot(const struct map_slots *slots, size_t at)
{
    void **block = slots->blocks[at / MAP_BLOCK_SLOTS];
    return block == NULL ? NULL : block[at % MAP_BLOCK_SLOTS];
}

struct map_probe {
    size_t   at;
    size_t   old_left; /* old slots that may still be looked at, once the new ones are through */
    uint64_t hash;
};

static inline struct map_probe map_probe(const struct map *map, uint64_t hash)
{
    return (struct map_probe){.at = (size_t)hash & (map->now.capacity - 1), .hash = hash};
}

/* The part of a probe that is rarely there. */
void *map_probe_old(const struct map *map, struct map_probe *probe);

/* Candidates of that hash one by one, NULL after the last. */
static inline void *map_probe_next(const struct map *map, struct map_probe *probe)
{
    if (LIKELY(probe->old_left == 0)) {
        if (map->now.capacity == 0) {
            return NULL;
        }
        void *entry = map_slot(&map->now, probe->at);
        probe->at   = (probe->at + 1) & (map->now.capacity - 1);
        if (entry != NULL || LIKELY(map->old.capacity == 0)) {
            return entry;
        }
    }
    return map_probe_old(map, probe);
}

/* Slot `at` of all: the new ones, then the old ones. NULL: empty. */
void *map_walk(const struct map *map, size_t at);

static inline size_t map_walk_end(const struct map *map)
{
    return map->now.capacity + map->old.capacity;
}

/* Walks every entry, in no order that means anything. Nothing is inserted or removed meanwhile. */
#define MAP_EACH(map, type, entry)                                            \
    for (size_t entry##_at = 0; entry##_at < map_walk_end(map); entry##_at++) \
        for (type *entry = map_walk(map, entry##_at); entry != NULL; entry = NULL)

#endif
