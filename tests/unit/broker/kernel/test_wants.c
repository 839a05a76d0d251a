#include "broker/kernel/wants.h"
#include "shared/base/rand.h"

#include <criterion/criterion.h>

static uint32_t *counts; /* [topic][shard]: what should be there; 0: nothing */

enum { TOPICS = 3000, SHARDS = 3 };

/* Half of them share their home with others, as the high bits say where it is. */
static uint64_t key_of(unsigned topic)
{
    return topic % 2 == 0 ? (uint64_t)topic << 40 | topic : topic * 0x9e3779b97f4a7c15u;
}

static uint64_t model_shards(unsigned topic, bool quality)
{
    uint64_t shards = 0;
    for (unsigned s = 0; s < SHARDS; s++) {
        uint32_t count = counts[topic * SHARDS + s];
        if (count != 0 && (!quality || count % 2 == 0)) {
            shards |= 1ull << s;
        }
    }
    return shards;
}

Test(kernel_wants, holds_what_a_model_of_arrays_holds)
{
    struct wants x = {0};
    struct rand  r;
    rand_init(&r, 7, 1);
    counts = calloc((size_t)TOPICS * SHARDS, sizeof *counts);
    for (unsigned step = 0; step < 200000; step++) {
        unsigned  growing = step / 50000 % 2 == 0 ? 70 : 20; /* fills, empties, fills .. */
        unsigned  topic   = (unsigned)rand_below(&r, TOPICS);
        unsigned  shard   = (unsigned)rand_below(&r, SHARDS);
        uint32_t *count   = &counts[topic * SHARDS + shard];
        if (rand_below(&r, 100) < growing) {
            struct want *e = wants_make(&x, key_of(topic), shard);
            cr_assert_not_null(e);
            *count     = 1 + (uint32_t)rand_below(&r, 9);
            e->any     = *count;
            e->quality = *count % 2 == 0;
        } else if (*count != 0) {
            wants_drop(&x, wants_find(&x, key_of(topic), shard));
            *count = 0;
        }
        unsigned look = (unsigned)rand_below(&r, TOPICS);
        cr_assert_eq(wants_shards(&x, key_of(look), step % 2 == 0), model_shards(look, step % 2 == 0));
    }
    for (unsigned i = 0; i < TOPICS * SHARDS; i++) {
        struct want *e = wants_find(&x, key_of(i / SHARDS), i % SHARDS);
        cr_assert_eq(e == NULL ? 0 : e->any, counts[i]);
    }
    wants_fini(&x);
    free(counts);
}

Test(kernel_wants, a_key_of_0_is_one_like_others)
{
    struct wants x = {0};
    cr_assert_null(wants_find(&x, 0, 2));
    struct want *e = wants_make(&x, 0, 2);
    e->any         = 1;
    cr_expect_eq(wants_shards(&x, 0, false), 4);
    cr_expect_eq(wants_shards(&x, 0, true), 0);
    wants_drop(&x, wants_find(&x, 0, 2));
    cr_expect_eq(wants_shards(&x, 0, false), 0);
    wants_fini(&x);
}

Test(kernel_wants, a_million_topics_take_at_most_25_bytes_each_and_go_again)
{
    enum { MANY = 1000000 };
    struct wants x = {0};
    struct rand  r;
    rand_init(&r, 1, 1);
    for (unsigned i = 0; i < MANY; i++) {
        wants_make(&x, rand_u64(&r), 1)->any = 1;
    }
    cr_expect_leq(wants_bytes(&x), 25ull * MANY, "%f", (double)wants_bytes(&x) / MANY);
    rand_init(&r, 1, 1);
    for (unsigned i = 0; i < MANY; i++) {
        wants_drop(&x, wants_find(&x, rand_u64(&r), 1));
    }
    cr_expect_eq(wants_bytes(&x), sizeof x);
    wants_fini(&x);
}
