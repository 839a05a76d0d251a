/* map.c - growing, shrinking, and taking out by shifting back. */
#include "segstore/stripe/map.h"

#include <stdlib.h>

enum { CAPACITY_MIN = 8 };

void map_init(struct map *map, uint64_t (*hash)(const void *entry))
{
    *map = (struct map){.hash = hash};
}

void map_fini(struct map *map)
{
    free(map->slots);
    *map = (struct map){.hash = map->hash};
}

static void place(struct map *map, void *entry)
{
    size_t at = (size_t)map->hash(entry) & (map->capacity - 1);
    while (map->slots[at] != NULL) {
        at = (at + 1) & (map->capacity - 1);
    }
    map->slots[at] = entry;
}

static void resize(struct map *map, size_t capacity)
{
    void **old          = map->slots;
    size_t old_capacity = map->capacity;
    map->slots          = calloc(capacity, sizeof *map->slots);
    ASSERT(map->slots != NULL);
    map->capacity = capacity;
    for (size_t i = 0; i < old_capacity; i++) {
        if (old[i] != NULL) {
            place(map, old[i]);
        }
    }
    free(old);
}

void map_insert(struct map *map, void *entry)
{
    if ((map->count + 1) * 4 > map->capacity * 3) {
        resize(map, map->capacity == 0 ? CAPACITY_MIN : map->capacity * 2);
    }
    place(map, entry);
    map->count++;
}

void map_remove(struct map *map, const void *entry)
{
    size_t mask = map->capacity - 1;
    size_t hole = (size_t)map->hash(entry) & mask;
    while (map->slots[hole] != entry) {
        ASSERT(map->slots[hole] != NULL);
        hole = (hole + 1) & mask;
    }
    /* Whoever stands behind the hole and was pushed past it moves into it. */
    for (size_t at = (hole + 1) & mask; map->slots[at] != NULL; at = (at + 1) & mask) {
        size_t home = (size_t)map->hash(map->slots[at]) & mask;
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            map->slots[hole] = map->slots[at];
            hole             = at;
        }
    }
    map->slots[hole] = NULL;
    map->count--;
    if (map->capacity > CAPACITY_MIN && map->count * 8 < map->capacity) {
        resize(map, map->capacity / 2);
    }
}
