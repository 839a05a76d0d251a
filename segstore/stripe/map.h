/* map - pointers found by a hash of what they point to: open addressing, linear probing, no tombstones but in slots that are left behind.
 *
 *     struct thing *thing = map_find(&map, hash, is_the_one, &key);
 *
 *     slot   | 10 bits of the hash | 6 bits: how far from home | 48 bits of the pointer |
 *     home = hash * capacity / 2^64
 *
 * The bits of the hash let a search go past most others without looking at what they point to, and the distance lets a removal close its gap so. Because of that, and because
 * the capacity may be any number, it is kept nearly full.
 * It doubles, or a dense one grows by an eighth to a sixteenth, for which it moves each entry about ten times while it grows and not once. It never stops to do it: the old slots stay beside the new ones, and each insert or removal moves the entries of a few of them.
 *
 *     old slots  | moved ........ | not yet: found here |      A search looks at the new slots, then at the old ones that are not moved.
 *                0                moved
 *
 * Slots lie in blocks that are made when the first entry comes to them and freed when they are moved, so neither costs a pause, and both together are
 * hardly more than the new ones alone: those of an entry lie where the old ones lay, as far behind the first.
 * Owns its slots, not the entries. 8 bytes a slot; between 0.44 and 0.88 full while it grows, a dense one 0.78 and 0.88. Never walked in slot order where order matters.
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
    bool             dense;
    uint64_t (*hash)(const void *entry);
};

void map_init(struct map *map, uint64_t (*hash)(const void *entry));
/* For very many: slower to grow, and its slots cost least. */
void map_init_dense(struct map *map, uint64_t (*hash)(const void *entry));
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

/* Is this the entry that is looked for? */
typedef bool map_is(const void *entry, const void *key);

/* The part of map_find that is rarely there: among the old slots. */
void *map_find_old(const struct map *map, uint64_t hash, map_is *is, const void *key);

/* NULL: there is none. Always inline, and so is the question where its text is known. */
__attribute__((always_inline)) static inline void *map_find(const struct map *map, uint64_t hash, map_is *is,
                                                            const void *key)
{
    if (UNLIKELY(map->now.capacity == 0)) {
        return NULL;
    }
    size_t   at = map_home(&map->now, hash);
    uint64_t slot;
    while ((slot = map_slot(&map->now, at)) != 0) {
        if ((slot ^ map_tag(hash)) >> MAP_TAG_SHIFT == 0 && LIKELY(is(map_entry(slot), key))) {
            return map_entry(slot);
        }
        at = at + 1 == map->now.capacity ? 0 : at + 1;
    }
    return LIKELY(map->old.capacity == 0) ? NULL : map_find_old(map, hash, is, key);
}

/* Slot `at` of all: the new ones, then the old ones. NULL: empty. */
void *map_walk(const struct map *map, size_t at);

static inline size_t map_walk_end(const struct map *map)
{
    return map->now.capacity + map->old.capacity;
}

/* The first slot from `at` on that may have an entry: blocks that are empty are passed over, so that a walk costs what entries there are, and not what room. */
size_t map_walk_from(const struct map *map, size_t at);

/* Walks every entry, in no order that means anything. Nothing is inserted or removed meanwhile. */
#define MAP_EACH(map, type, entry)                                                  \
    for (size_t entry##_at = map_walk_from(map, 0); entry##_at < map_walk_end(map); \
         entry##_at        = map_walk_from(map, entry##_at + 1))                    \
        for (type *entry = map_walk(map, entry##_at); entry != NULL; entry = NULL)

#endif
