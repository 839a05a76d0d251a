/* What is put in is found, what is taken out is not, through growth and collisions. */
#include "segstore/stripe/map.h"

#include "shared/base/hash.h"
#include "shared/base/rand.h"

#include <criterion/criterion.h>
#include <stdbool.h>
#include <stdlib.h>

struct thing {
    uint64_t id;
    bool     in;
};

static uint64_t colliding(const void *entry)
{
    return ((const struct thing *)entry)->id / 4;
}

static bool is_thing(const void *entry, const void *id)
{
    return ((const struct thing *)entry)->id == *(const uint64_t *)id;
}

static struct thing *find(const struct map *map, uint64_t id)
{
    return map_find(map, id / 4, is_thing, &id);
}

Test(stripe_map, random_inserts_and_removals_are_all_seen)
{
    enum { THINGS = 500 };
    static struct thing things[THINGS];
    struct map          map;
    struct rand         r;
    rand_init(&r, 5, 5);
    map_init(&map, colliding);
    cr_assert_null(find(&map, 1));
    for (int i = 0; i < 20000; i++) {
        struct thing *thing = &things[rand_below(&r, i / 4000 % 2 == 0 ? THINGS : 20)];
        thing->id           = (uint64_t)(thing - things) * (UINT64_MAX / THINGS);
        if (thing->in) {
            map_remove(&map, thing);
        } else {
            map_insert(&map, thing);
        }
        thing->in = !thing->in;
        if (i % 16 == 0) {
            size_t count = 0;
            for (int k = 0; k < THINGS; k++) {
                things[k].id = (uint64_t)k * (UINT64_MAX / THINGS);
                cr_assert_eq(find(&map, things[k].id) == &things[k], things[k].in);
                count += things[k].in;
            }
            cr_assert_eq(map.count, count);
        }
    }
    map_fini(&map);
}

static uint64_t scattered(const void *entry)
{
    return hash_u64(((const struct thing *)entry)->id);
}

static struct thing *find_scattered(const struct map *map, uint64_t id)
{
    return map_find(map, hash_u64(id), is_thing, &id);
}

static size_t walked(const struct map *map)
{
    size_t count = 0;
    MAP_EACH(map, struct thing, thing)
    {
        cr_assert(thing->in);
        count++;
    }
    return count;
}

/* Grows to many blocks and shrinks to none, with a random one looked for at every step. */
static void grow_and_shrink(void (*init)(struct map *map, uint64_t (*hash)(const void *entry)), double full)
{
    enum { THINGS = 200000, MOVES_MAX = 24 };
    struct thing *things = calloc(THINGS, sizeof *things);
    struct map    map;
    struct rand   r;
    size_t        resized = 0;
    rand_init(&r, 6, 6);
    init(&map, scattered);
    for (uint64_t i = 0; i < 2 * THINGS; i++) {
        size_t moved = map.moved, capacity = map.now.capacity;
        size_t old_capacity = map.old.capacity;
        if (i < THINGS) {
            things[i] = (struct thing){.id = i, .in = true};
            map_insert(&map, &things[i]);
            cr_assert(i < 100 || (double)map.count >= full * (double)map.now.capacity);
        } else {
            struct thing *thing = &things[(i - THINGS) * 7919 % THINGS];
            map_remove(&map, thing);
            thing->in = false;
        }
        if (map.now.capacity != capacity) {
            cr_assert_eq(map.moved, 0u, "to begin moves nothing");
            cr_assert_leq(old_capacity - moved, (size_t)MOVES_MAX, "the last one had ended");
            resized++;
        } else if (old_capacity != 0) {
            cr_assert_leq((map.old.capacity == 0 ? old_capacity : map.moved) - moved, (size_t)MOVES_MAX);
        }
        uint64_t id = rand_below(&r, THINGS);
        cr_assert_eq(find_scattered(&map, id), things[id].in ? &things[id] : NULL);
        if (i % 20011 == 0) {
            cr_assert_eq(walked(&map), map.count);
        }
    }
    cr_assert_eq(map.count, 0u);
    cr_assert_gt(resized, 20u);
    map_fini(&map);
    free(things);
}

Test(stripe_map, a_change_moves_a_few_slots_however_large_the_map)
{
    grow_and_shrink(map_init, 0.43);
}

Test(stripe_map, a_dense_one_does_so_too_and_is_nearly_full)
{
    grow_and_shrink(map_init_dense, 0.77);
}

Test(stripe_map, a_walk_costs_what_is_there_and_not_what_room_there_is)
{
    enum { THINGS = 3 };
    static struct thing things[THINGS];
    struct map          map;
    size_t              found = 0;
    size_t              steps = 0;
    map_init(&map, colliding);
    map_reserve(&map, SIZE_MAX); /* as a damaged image may say */
    for (uint64_t i = 0; i < THINGS; i++) {
        things[i].id = i << 62 | 1;
        map_insert(&map, &things[i]);
    }
    for (size_t at = map_walk_from(&map, 0); at < map_walk_end(&map); at = map_walk_from(&map, at + 1)) {
        found += map_walk(&map, at) != NULL;
        steps++;
    }
    cr_assert_eq(found, THINGS);
    cr_assert_leq(steps, THINGS * MAP_BLOCK_SLOTS);
    map_fini(&map);
}

Test(stripe_map, a_walk_goes_on_among_the_old_slots)
{
    enum { THINGS = 2000 };
    static struct thing things[THINGS];
    struct map          map;
    map_init(&map, colliding);
    for (uint64_t i = 0; i < THINGS; i++) {
        size_t found = 0;
        things[i].id = hash_u64(i);
        map_insert(&map, &things[i]);
        MAP_EACH(&map, struct thing, thing)
        {
            found += !thing->in;
            thing->in = true;
        }
        cr_assert_eq(found, 1, "each is met once, the new one for the first time");
    }
    map_fini(&map);
}
