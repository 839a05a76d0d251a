/* test_pool - objects of one size. */
#include "shared/mem/pool.h"

#include <criterion/criterion.h>
#include <string.h>

Test(mem_pool, gives_distinct_zeroed_aligned_objects_up_to_the_limit)
{
    enum { LIMIT = 5000 };
    struct pool *pool = pool_new(40, LIMIT);
    void        *objects[LIMIT];
    for (int round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < LIMIT; i++) {
            objects[i] = pool_take(pool);
            cr_assert_not_null(objects[i]);
            cr_assert_eq((uintptr_t)objects[i] % 16, 0);
            for (int b = 0; b < 40; b++) {
                cr_assert_eq(((uint8_t *)objects[i])[b], 0);
            }
            memset(objects[i], 0xee, 40); /* overlapping objects would not be zero */
        }
        cr_assert_null(pool_take(pool));
        cr_assert_eq(pool_used_count(pool), LIMIT);
        for (uint32_t i = 0; i < LIMIT; i++) {
            pool_give(pool, objects[i]);
        }
        cr_assert_eq(pool_used_count(pool), 0);
    }
    cr_assert_lt(pool_slab_bytes(pool), LIMIT * 48 + 16 * 64);
    pool_free(pool);
}

Test(mem_pool, takes_the_object_given_back_last)
{
    struct pool *pool = pool_new(100, 10);
    void        *a    = pool_take(pool);
    void        *b    = pool_take(pool);
    pool_give(pool, a);
    cr_assert_eq(pool_take(pool), a);
    pool_give(pool, b);
    cr_assert_eq(pool_take(pool), b);
    pool_give(pool, NULL);
    pool_free(pool);
    pool_free(NULL);
}

Test(mem_pool, an_object_larger_than_a_slab_has_a_slab_of_its_own)
{
    struct pool *pool = pool_new(100000, 3);
    uint8_t     *a    = pool_take(pool);
    uint8_t     *b    = pool_take(pool);
    memset(a, 1, 100000);
    memset(b, 2, 100000);
    cr_assert_eq(a[99999], 1);
    pool_free(pool);
}
