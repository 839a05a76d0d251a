/* map.c - growing, shrinking, and taking out by shifting back. */
#include "segstore/stripe/map.h"

#include <stdlib.h>

/* Old slots that an insert or removal moves. The entries of a table that was three quarters full are moved long before the next is, and
 * those of one that became an eighth full before the smaller one is. */
enum { CAPACITY_MIN = 8, MOVES_PER_CHANGE = 16 };

const char map_gone;

static size_t block_count(size_t capacity)
{
    return (capacity + MAP_BLOCK_SLOTS - 1) / MAP_BLOCK_SLOTS;
}

static void slots_init(struct map_slots *slots, size_t capacity)
{
    *slots = (struct map_slots){.capacity = capacity, .blocks = calloc(block_count(capacity), sizeof(void **))};
    ASSERT(slots->blocks != NULL); /* out of memory */
}

static void slots_fini(struct map_slots *slots)
{
    for (size_t i = 0; i < block_count(slots->capacity); i++) {
        free(slots->blocks[i]);
    }
    free(slots->blocks);
    *slots = (struct map_slots){0};
}

static void slot_set(struct map_slots *slots, size_t at, void *entry)
{
    void ***block = &slots->blocks[at / MAP_BLOCK_SLOTS];
    if (*block == NULL) {
        *block = calloc(slots->capacity < MAP_BLOCK_SLOTS ? slots->capacity : MAP_BLOCK_SLOTS, sizeof(void *));
        ASSERT(*block != NULL); /* out of memory */
    }
    (*block)[at % MAP_BLOCK_SLOTS] = entry;
}

void map_init(struct map *map, uint64_t (*hash)(const void *entry))
{
    *map = (struct map){.hash = hash};
}

void map_fini(struct map *map)
{
    slots_fini(&map->now);
    slots_fini(&map->old);
    *map = (struct map){.hash = map->hash};
}

static void place(struct map *map, void *entry)
{
    size_t at = (size_t)map->hash(entry) & (map->now.capacity - 1);
    while (map_slot(&map->now, at) != NULL) {
        at = (at + 1) & (map->now.capacity - 1);
    }
    slot_set(&map->now, at, entry);
}

static void move_some(struct map *map)
{
    for (int i = 0; i < MOVES_PER_CHANGE && map->moved < map->old.capacity; i++) {
        size_t at    = map->moved++;
        void  *entry = map_slot(&map->old, at);
        if (entry != NULL && entry != &map_gone) {
            place(map, entry);
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
    size_t at = (size_t)hash & (map->old.capacity - 1);
    return at < map->moved ? map->moved : at; /* the run of its home may reach behind what is moved */
}

void *map_probe_old(const struct map *map, struct map_probe *probe)
{
    if (probe->old_left == 0) {
        probe->at       = old_home(map, probe->hash);
        probe->old_left = map->old.capacity - map->moved + 1;
    }
    while (probe->old_left > 1) {
        void *entry = map_slot(&map->old, probe->at);
        probe->at   = old_next(map, probe->at);
        probe->old_left--;
        if (entry == NULL) {
            break;
        }
        if (entry != &map_gone) {
            return entry;
        }
    }
    probe->old_left = 1; /* stays at the end */
    return NULL;
}

void *map_walk(const struct map *map, size_t at)
{
    if (at < map->now.capacity) {
        return map_slot(&map->now, at);
    }
    at -= map->now.capacity;
    void *entry = at < map->moved ? NULL : map_slot(&map->old, at);
    return entry == &map_gone ? NULL : entry;
}

void map_insert(struct map *map, void *entry)
{
    if (map->old.capacity != 0) {
        move_some(map);
    }
    if ((map->count + 1) * 4 > map->now.capacity * 3) {
        if (map->now.capacity == 0) {
            slots_init(&map->now, CAPACITY_MIN);
        } else {
            resize(map, map->now.capacity * 2);
        }
    }
    place(map, entry);
    map->count++;
}

/* True when it was among the old slots. */
static bool remove_old(struct map *map, const void *entry)
{
    size_t at = old_home(map, map->hash(entry));
    for (size_t left = map->old.capacity - map->moved; left > 0; left--) {
        void *found = map_slot(&map->old, at);
        if (found == entry) {
            slot_set(&map->old, at, (void *)(uintptr_t)&map_gone);
            return true;
        }
        if (found == NULL) {
            return false;
        }
        at = old_next(map, at);
    }
    return false;
}

static void remove_now(struct map *map, const void *entry)
{
    const struct map_slots *slots = &map->now;
    size_t                  mask  = slots->capacity - 1;
    size_t                  hole  = (size_t)map->hash(entry) & mask;
    while (map_slot(slots, hole) != entry) {
        ASSERT(map_slot(slots, hole) != NULL);
        hole = (hole + 1) & mask;
    }
    /* Whoever stands behind the hole and was pushed past it moves into it. */
    void *each;
    for (size_t at = (hole + 1) & mask; (each = map_slot(slots, at)) != NULL; at = (at + 1) & mask) {
        size_t home = (size_t)map->hash(each) & mask;
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            slot_set(&map->now, hole, each);
            hole = at;
        }
    }
    slot_set(&map->now, hole, NULL);
}

void map_remove(struct map *map, const void *entry)
{
    if (map->old.capacity != 0) {
        move_some(map);
    }
    if (map->old.capacity == 0 || !remove_old(map, entry)) {
        remove_now(map, entry);
    }
    map->count--;
    if (map->old.capacity == 0 && map->now.capacity > CAPACITY_MIN && map->count * 8 < map->now.capacity) {
        resize(map, map->now.capacity / 2);
    }
}
