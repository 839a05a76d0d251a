/* test_hashmap - what is put in is found, at every moment of growing, and growing never stops the world. */
#include "broker/kernel/hashmap.h"

#include "shared/base/hash.h"
#include "shared/base/rand.h"

#include <criterion/criterion.h>
#include <stdlib.h>

struct thing {
    struct hashmap_node node;
    uint64_t            id;
    bool                in;
};

static struct thing *thing_of(struct hashmap_node *node)
{
    return (struct thing *)((char *)node - offsetof(struct thing, node));
}

static struct thing *find(const struct hashmap *map, uint64_t id, uint64_t hash)
{
    for (struct hashmap_node *n = hashmap_first(map, hash); n != NULL; n = hashmap_next(n)) {
        if (thing_of(n)->id == id) {
            return thing_of(n);
        }
    }
    return NULL;
}

static uint64_t colliding(uint64_t id)
{
    return hash_u64(id / 3);
}

static uint32_t walked(const struct hashmap *map)
{
    uint32_t count = 0;
    for (uint32_t chain = 0; chain < hashmap_chains(map); chain++) {
        for (struct hashmap_node *n = hashmap_chain(map, chain); n != NULL; n = n->next) {
            cr_assert(thing_of(n)->in);
            count++;
        }
    }
    return count;
}

Test(kernel_hashmap, random_inserts_and_removals_are_all_seen_while_it_grows)
{
    enum { THINGS = 700 };
    static struct thing things[THINGS];
    struct hashmap      map = {0};
    struct rand         r;
    bool                seen_growing = false;
    rand_init(&r, 7, 7);
    cr_assert_null(find(&map, 1, colliding(1)));
    for (uint32_t i = 0; i < 20000; i++) {
        uint64_t      id    = rand_below(&r, 50 + (i < 10000 ? i / 16 : 0));
        struct thing *thing = &things[id];
        thing->id           = id;
        if (thing->in) {
            hashmap_remove(&map, &thing->node);
        } else {
            cr_assert_eq(hashmap_insert(&map, &thing->node, colliding(id)), 0);
        }
        thing->in    = !thing->in;
        seen_growing = seen_growing || map.old != NULL;
        if (i % 16 == 0) {
            uint32_t count = 0;
            for (uint64_t k = 0; k < THINGS; k++) {
                cr_assert_eq(find(&map, k, colliding(k)), things[k].in ? &things[k] : NULL);
                count += things[k].in;
            }
            cr_assert_eq(map.count, count);
            cr_assert_eq(walked(&map), count);
        }
    }
    cr_assert(seen_growing);
    uint32_t left = map.count;
    for (struct hashmap_node *n; (n = hashmap_any(&map)) != NULL; left--) {
        hashmap_remove(&map, n);
    }
    cr_assert_eq(left, 0u);
    hashmap_fini(&map);
}

Test(kernel_hashmap, an_insert_moves_a_few_chains_however_large_the_map)
{
    enum { THINGS = 300000, CHAINS_MAX = 8 };
    struct thing  *things = calloc(THINGS, sizeof *things);
    struct hashmap map    = {0};
    uint32_t       grown  = 0;
    for (uint32_t i = 0; i < THINGS; i++) {
        things[i].id    = i;
        uint32_t before = map.moved, buckets = map.bucket_count;
        bool     growing = map.old != NULL;
        cr_assert_eq(hashmap_insert(&map, &things[i].node, hash_u64(i)), 0);
        if (map.bucket_count != buckets) {
            cr_assert(!growing, "it had finished before");
            cr_assert(map.old == NULL || map.moved == 0, "to begin moves nothing");
            grown++;
        } else if (growing) {
            cr_assert_leq(map.moved - before, (uint32_t)CHAINS_MAX);
        }
    }
    cr_assert_gt(grown, 10u);
    for (uint32_t i = 0; i < THINGS; i++) {
        cr_assert_eq(find(&map, i, hash_u64(i)), &things[i]);
    }
    hashmap_fini(&map);
    free(things);
}
