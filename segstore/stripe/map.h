/* map - pointers found by a hash of what they point to: open addressing, linear probing, no tombstones but in slots that are left behind.
 *
 *     struct map_probe probe = map_probe(&map, hash);
 *     for (struct thing *t; (t = map_probe_next(&map, &probe)) != NULL;) { if (it is the one) ... }
 *
 *     slot   | 16 bits of the hash | 48 bits of the pointer |      so a probe goes past most others without looking at what they point to
 *     home = hash * capacity / 2^64                                so the capacity is any number, and larger slots are filled in the order of the old ones
 *
 * It grows by a quarter to a seventh and never stops to do it: the old slots stay beside the new ones, and each insert or removal moves the entries of a few of them.
 *
 *     old slots  | moved ........ | not yet: found here |      A probe looks at the new slots, then at the old ones that are not moved.
 *                0                moved
 *
 * Slots lie in blocks that are made when the first entry comes to them and freed when they are moved, so neither costs a pause, and both together are
 * hardly more than the new ones alone.
 * Owns its slots, not the entries. 8 bytes a slot; between 0.64 and 0.8 full while it grows. Never walked in slot order where order matters.
 * Threads: those of the owner. */
#ifndef KEEL_SEGSTORE_STRIPE_MAP_H
#define KEEL_SEGSTORE_STRIPE_MAP_H

#include "shared/base/assert.h"

#include <stddef.h>
#include <stdint.h>

enum { MAP_BLOCK_SLOTS = 4096, MAP_POINTER_BITS = 48 };

/* Slots in blocks; a block that is NULL is empty. */
struct map_slots {
    uint64_t **blocks;
    size_t     capacity; /* 4 to 7 times a power of two, or 0 */
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
/* An empty one will have so many entries: it grows no more until then. */
void map_reserve(struct map *map, size_t count);
/* The caller knows that no equal entry is there. */
void map_insert(struct map *map, void *entry);
/* The entry must be there. */
void map_remove(struct map *map, const void *entry);

/* In old slots, for an entry that was removed: not the end of a run. */
static const uint64_t MAP_GONE = 1;

static inline uint64_t map_slot(const struct map_slots *slots, size_t at)
{
    const uint64_t *block = slots->blocks[at / MAP_BLOCK_SLOTS];
    return block == NULL ? 0 : block[at % MAP_BLOCK_SLOTS];
}

static inline size_t map_home(const struct map_slots *slots, uint64_t hash)
{
    return (size_t)((unsigned __int128)hash * slots->capacity >> 64);
}

static inline void *map_entry(uint64_t slot)
{
    return (void *)(uintptr_t)(slot & ((1ull << MAP_POINTER_BITS) - 1)); /* NOLINT(performance-no-int-to-ptr) */
}

static inline uint64_t map_tag(uint64_t hash)
{
    return hash << MAP_POINTER_BITS;
}

struct map_probe {
    size_t   at;
    size_t   old_left; /* old slots that may still be looked at, once the new ones are through */
    uint64_t hash;
};

static inline struct map_probe map_probe(const struct map *map, uint64_t hash)
{
    return (struct map_probe){.at = map_home(&map->now, hash), .hash = hash};
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
        uint64_t slot;
        while ((slot = map_slot(&map->now, probe->at)) != 0) {
            probe->at = probe->at + 1 == map->now.capacity ? 0 : probe->at + 1;
            if (LIKELY((slot ^ map_tag(probe->hash)) >> MAP_POINTER_BITS == 0)) {
                return map_entry(slot);
            }
        }
        if (LIKELY(map->old.capacity == 0)) {
            return NULL;
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
