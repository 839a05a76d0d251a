/* map.c - growing, shrinking, and taking out by shifting back. */
#include "segstore/stripe/map.h"

#include <stdbool.h>
#include <stdlib.h>

/* Old slots that an insert or removal moves. The entries of a table that was full are moved before the next is, which is an eighteenth of its slots
 * later, and those of one that became an eighth full before the smaller one is. */
enum { CAPACITY_MIN = 8, MOVES_PER_CHANGE = 24, FAR_MAX = (1 << MAP_FAR_BITS) - 1 };

/* Nobody has so many; an image that says so is damaged. */
static const size_t RESERVE_MAX = 1u << 26;

static size_t block_count(size_t capacity)
{
    return (capacity + MAP_BLOCK_SLOTS - 1) / MAP_BLOCK_SLOTS;
}

static bool too_full(size_t count, size_t capacity)
{
    return count * 8 > capacity * 7;
}

/* The next larger of 8, 9, 10 .. 15, 16, 18, 20 .. 30, 32, 36 .. */
static size_t larger(size_t capacity)
{
    size_t step = 1;
    while (capacity / step >= 16) {
        step *= 2;
    }
    return capacity + step;
}

static void slots_init(struct map_slots *slots, size_t capacity)
{
    *slots = (struct map_slots){.capacity = capacity, .blocks = calloc(block_count(capacity), sizeof(uint64_t *))};
    ASSERT_MEMORY(slots->blocks != NULL);
}

static void slots_fini(struct map_slots *slots)
{
    for (size_t i = 0; i < block_count(slots->capacity); i++) {
        free(slots->blocks[i]);
    }
    free(slots->blocks);
    *slots = (struct map_slots){0};
}

static void slot_set(struct map_slots *slots, size_t at, uint64_t slot)
{
    uint64_t **block = &slots->blocks[at / MAP_BLOCK_SLOTS];
    if (*block == NULL) {
        size_t left = slots->capacity - at / MAP_BLOCK_SLOTS * MAP_BLOCK_SLOTS;
        *block      = calloc(left < MAP_BLOCK_SLOTS ? left : MAP_BLOCK_SLOTS, sizeof(uint64_t));
        ASSERT_MEMORY(*block != NULL);
    }
    (*block)[at % MAP_BLOCK_SLOTS] = slot;
}

static size_t slot_after(const struct map_slots *slots, size_t at)
{
    return at + 1 == slots->capacity ? 0 : at + 1;
}

/* How far it is from one slot on to another. */
static size_t slots_between(const struct map_slots *slots, size_t from, size_t to)
{
    return to >= from ? to - from : to + slots->capacity - from;
}

void map_init(struct map *map, uint64_t (*hash)(const void *entry))
{
    *map = (struct map){.hash = hash};
}

void map_init_dense(struct map *map, uint64_t (*hash)(const void *entry))
{
    *map = (struct map){.hash = hash, .dense = true};
}

void map_fini(struct map *map)
{
    slots_fini(&map->now);
    slots_fini(&map->old);
    *map = (struct map){.hash = map->hash, .dense = map->dense};
}

void map_reserve(struct map *map, size_t count)
{
    size_t capacity = CAPACITY_MIN;
    ASSERT(map->count == 0 && map->now.capacity == 0);
    while (too_full(count < RESERVE_MAX ? count : RESERVE_MAX, capacity)) {
        capacity = larger(capacity);
    }
    slots_init(&map->now, capacity);
}

/* What is in the slot, so far from its home. */
static uint64_t at_distance(uint64_t slot, size_t far)
{
    return (slot & ~((uint64_t)FAR_MAX << MAP_POINTER_BITS)) | (uint64_t)(far < FAR_MAX ? far : FAR_MAX)
                                                                   << MAP_POINTER_BITS;
}

static size_t distance(const struct map *map, size_t at, uint64_t slot)
{
    size_t far = (size_t)(slot >> MAP_POINTER_BITS) & FAR_MAX;
    return far < FAR_MAX ? far : slots_between(&map->now, map_home(&map->now, map->hash(map_entry(slot))), at);
}

static void place(struct map *map, void *entry)
{
    uint64_t hash = map->hash(entry);
    size_t   at   = map_home(&map->now, hash);
    size_t   far  = 0;
    ASSERT((uint64_t)(uintptr_t)entry >> MAP_POINTER_BITS == 0);
    for (; map_slot(&map->now, at) != 0; far++) {
        at = slot_after(&map->now, at);
    }
    slot_set(&map->now, at, at_distance(map_tag(hash) | (uint64_t)(uintptr_t)entry, far));
}

/* What is moved is looked at for its hash: asked for together, it comes sooner. */
static void prefetch(const struct map *map)
{
    for (size_t i = 0; i < MOVES_PER_CHANGE && map->moved + i < map->old.capacity; i++) {
        const uintptr_t entry = (uintptr_t)map_entry(map_slot(&map->old, map->moved + i)); /* 0: none */
        __builtin_prefetch((const void *)entry);
        __builtin_prefetch((const void *)(entry + 64));
    }
}

static void move_some(struct map *map)
{
    prefetch(map);
    for (int i = 0; i < MOVES_PER_CHANGE && map->moved < map->old.capacity; i++) {
        size_t   at   = map->moved++;
        uint64_t slot = map_slot(&map->old, at);
        if (slot != 0 && slot != MAP_GONE) {
            place(map, map_entry(slot));
        }
        if (map->moved % MAP_BLOCK_SLOTS == 0) {
            free(map->old.blocks[at / MAP_BLOCK_SLOTS]);
            map->old.blocks[at / MAP_BLOCK_SLOTS] = NULL;
        }
    }
    if (map->moved == map->old.capacity) {
        slots_fini(&map->old);
        map->moved = 0;
    }
}

static void resize(struct map *map, size_t capacity)
{
    ASSERT(map->old.capacity == 0);
    map->old   = map->now;
    map->moved = 0;
    slots_init(&map->now, capacity);
}

/* The next old slot that is not moved; a run that comes to the end goes on at the first of them. */
static size_t old_next(const struct map *map, size_t at)
{
    at++;
    return at == map->old.capacity ? map->moved : at;
}

static size_t old_home(const struct map *map, uint64_t hash)
{
    size_t at = map_home(&map->old, hash);
    return at < map->moved ? map->moved : at; /* the run of its home may reach behind what is moved */
}

void *map_find_old(const struct map *map, uint64_t hash, map_is *is, const void *key)
{
    size_t at = old_home(map, hash);
    for (size_t left = map->old.capacity - map->moved; left > 0; left--) {
        uint64_t slot = map_slot(&map->old, at);
        if (slot == 0) {
            break;
        }
        if (slot != MAP_GONE && (slot ^ map_tag(hash)) >> MAP_TAG_SHIFT == 0 && is(map_entry(slot), key)) {
            return map_entry(slot);
        }
        at = old_next(map, at);
    }
    return NULL;
}

void *map_walk(const struct map *map, size_t at)
{
    if (at < map->now.capacity) {
        return map_entry(map_slot(&map->now, at));
    }
    at -= map->now.capacity;
    uint64_t slot = at < map->moved ? 0 : map_slot(&map->old, at);
    return slot == MAP_GONE ? NULL : map_entry(slot);
}

static size_t walk_slots(const struct map_slots *slots, size_t at)
{
    while (at < slots->capacity && slots->blocks[at / MAP_BLOCK_SLOTS] == NULL) {
        at = (at / MAP_BLOCK_SLOTS + 1) * MAP_BLOCK_SLOTS;
    }
    return at < slots->capacity ? at : slots->capacity;
}

size_t map_walk_from(const struct map *map, size_t at)
{
    if (at < map->now.capacity) {
        at = walk_slots(&map->now, at);
    }
    return at < map->now.capacity ? at : map->now.capacity + walk_slots(&map->old, at - map->now.capacity);
}

void map_insert(struct map *map, void *entry)
{
    if (map->old.capacity != 0) {
        move_some(map);
    }
    if (too_full(map->count + 1, map->now.capacity)) {
        if (map->now.capacity == 0) {
            slots_init(&map->now, CAPACITY_MIN);
        } else {
            resize(map, map->dense ? larger(map->now.capacity) : map->now.capacity * 2);
        }
    }
    place(map, entry);
    map->count++;
}

/* True when it was among the old slots. */
static bool remove_old(struct map *map, const void *entry, uint64_t hash)
{
    size_t at = old_home(map, hash);
    for (size_t left = map->old.capacity - map->moved; left > 0; left--) {
        uint64_t slot = map_slot(&map->old, at);
        if (map_entry(slot) == entry) {
            slot_set(&map->old, at, MAP_GONE);
            return true;
        }
        if (slot == 0) {
            return false;
        }
        at = old_next(map, at);
    }
    return false;
}

static void remove_now(struct map *map, const void *entry, uint64_t hash)
{
    struct map_slots *slots = &map->now;
    size_t            hole  = map_home(slots, hash);
    while (map_entry(map_slot(slots, hole)) != entry) {
        ASSERT(map_slot(slots, hole) != 0);
        hole = slot_after(slots, hole);
    }
    /* Whoever stands behind the hole and was pushed past it moves into it. */
    uint64_t each;
    for (size_t at = slot_after(slots, hole); (each = map_slot(slots, at)) != 0; at = slot_after(slots, at)) {
        size_t far  = distance(map, at, each);
        size_t back = slots_between(slots, hole, at);
        if (far >= back) {
            slot_set(slots, hole, at_distance(each, far - back));
            hole = at;
        }
    }
    slot_set(slots, hole, 0);
}

void map_remove(struct map *map, const void *entry)
{
    uint64_t hash = map->hash(entry);
    if (map->old.capacity != 0) {
        move_some(map);
    }
    if (map->old.capacity == 0 || !remove_old(map, entry, hash)) {
        remove_now(map, entry, hash);
    }
    map->count--;
    if (map->old.capacity == 0 && map->now.capacity > CAPACITY_MIN && map->count * 8 < map->now.capacity) {
        resize(map, map->now.capacity / 2);
    }
}
