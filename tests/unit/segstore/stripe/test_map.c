/* What is put in is found, what is taken out is not, through growth and collisions. */
#include "segstore/stripe/map.h"

#include "shared/base/rand.h"

#include <criterion/criterion.h>
#include <stdbool.h>

struct thing {
    uint64_t id;
    bool     in;
};

static uint64_t colliding(const void *entry)
{
    return ((const struct thing *)entry)->id / 4;
}

static struct thing *find(const struct map *map, uint64_t id)
{
    struct map_probe probe = map_probe(map, id / 4);
    for (struct thing *thing; (thing = map_probe_next(map, &probe)) != NULL;) {
        if (thing->id == id) {
            return thing;
        }
    }
    return NULL;
}

Test(map, random_inserts_and_removals_are_all_seen)
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
