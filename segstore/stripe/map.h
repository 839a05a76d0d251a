/* map - pointers found by a hash of what they point to: open addressing, linear probing, no tombstones but in slots that are left behind.
 *
 *     struct map_probe probe = map_probe(&map, hash);
 *     for (struct thing *t; (t = map_probe_next(&map, &probe)) != NULL;) { if (it is the one) ... }
 *
 *     slot   | 10 bits of the hash | 6 bits: how far from home | 48 bits of the pointer |
 *     home = hash * capacity / 2^64
 *
 * The bits of the hash let a probe go past most others without looking at what they point to, and the distance lets a removal close its gap so. Because of that, and because
 * the capacity may be any number, it is kept nearly full.
 * It grows by an eighth to a sixteenth and never stops to do it: the old slots stay beside the new ones, and each insert or removal moves the entries of a few of them.
 *
 *     old slots  | moved ........ | not yet: found here |      A probe looks at the new slots, then at the old ones that are not moved.
 *                0                moved
 *
 * Slots lie in blocks that are made when the first entry comes to them and freed when they are moved, so neither costs a pause, and both together are
 * hardly more than the new ones alone: those of an entry lie where the old ones lay, as far behind the first.
 * Owns its slots, not the entries. 8 bytes a slot; between 0.78 and 0.88 full while it grows. Never walked in slot order where order matters.
 * Threads: those of the owner. */
#ifndef KEEL_SEGSTORE_STRIPE_MAP_H
#define KEEL_SEGSTORE_STRIPE_MAP_H

#include "shared/base/assert.h"

#include <stddef.h>
#include <stdint.h>

enum {
    MAP_BLOCK_SLOTS  = 512,
    MAP_POINTER_BITS = 48,
    MAP_FAR_BITS     = 6,
    MAP_TAG_SHIFT    = MAP_POINTER_BITS + MAP_FAR_BITS
};

/* Slots in blocks; a block that is NULL is empty. */
struct map_slots {
    uint64_t **blocks;
    size_t     capacity; /* 8 to 15 times a power of two, less while it is small, or 0 */
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
    return hash << MAP_TAG_SHIFT;
}

struct map_probe {
    const uint64_t *slot; /* the next new one to be looked at; NULL: there is none */
    const uint64_t *end;  /* of its block */
    size_t          block;
    size_t          at;       /* of the old ones */
    size_t          old_left; /* old ones that may still be looked at, once the new ones are through */
    uint64_t        hash;
};

/* Stands for a block that is NULL. */
extern const uint64_t map_empty;

static inline void map_probe_block(const struct map *map, struct map_probe *probe, size_t block, size_t in_block)
{
    const uint64_t *slots = map->now.blocks[block];
    size_t          left  = map->now.capacity - block * MAP_BLOCK_SLOTS;
    probe->block          = block;
    probe->slot           = LIKELY(slots != NULL) ? slots + in_block : &map_empty;
    probe->end            = slots + (left < MAP_BLOCK_SLOTS ? left : MAP_BLOCK_SLOTS);
}

static inline struct map_probe map_probe(const struct map *map, uint64_t hash)
{
    struct map_probe probe = {.hash = hash};
    if (LIKELY(map->now.capacity != 0)) {
        size_t home = map_home(&map->now, hash);
        map_probe_block(map, &probe, home / MAP_BLOCK_SLOTS, home % MAP_BLOCK_SLOTS);
    }
    return probe;
}

/* The parts of a probe that are rarely there. */
void  map_probe_on(const struct map *map, struct map_probe *probe);
void *map_probe_old(const struct map *map, struct map_probe *probe);

/* Candidates of that hash one by one, NULL after the last. */
static inline void *map_probe_next(const struct map *map, struct map_probe *probe)
{
    if (LIKELY(probe->slot != NULL)) {
        uint64_t slot;
        while ((slot = *probe->slot) != 0) {
            if (UNLIKELY(++probe->slot == probe->end)) {
                map_probe_on(map, probe);
            }
            if (LIKELY((slot ^ map_tag(probe->hash)) >> MAP_TAG_SHIFT == 0)) {
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
