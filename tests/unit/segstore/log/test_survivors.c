/* What survives comes out in the order in which it lies. */
#include "segstore/log/survivors.h"

#include <criterion/criterion.h>

static void check(size_t count, uint64_t step)
{
    struct survivors s;
    survivors_init(&s, SURVIVORS_BY_POSITION);
    for (size_t i = 0; i < count; i++) { /* every residue once, in a scrambled order */
        uint64_t position = i * step % count;
        survivors_add(&s, &(struct survivor){.position = position, .offset = position * 3});
    }
    survivors_ready(&s);
    for (size_t i = 0; i < count; i++) {
        const struct survivor *first = survivors_first(&s);
        cr_assert_eq(s.left, count - i);
        cr_assert(first->position == i && first->offset == i * 3, "%zu of %zu: %llu", i, count,
                  (unsigned long long)first->position);
        survivors_pop(&s);
    }
    cr_assert_null(survivors_first(&s));
    cr_assert_eq(s.left, 0);
    survivors_fini(&s);
}

Test(log_survivors, come_out_by_position_however_many_there_are)
{
    static const size_t counts[] = {0, 1, 2, 2047, 2048, 2049, 4096, 30011};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        check(counts[i], 1);
        check(counts[i], 7919);
    }
}

Test(log_survivors, may_be_dropped_half_way)
{
    struct survivors s;
    survivors_init(&s, SURVIVORS_BY_POSITION);
    for (uint64_t i = 0; i < 5000; i++) {
        survivors_add(&s, &(struct survivor){.position = 5000 - i});
    }
    survivors_ready(&s);
    for (int i = 0; i < 3000; i++) {
        survivors_pop(&s);
    }
    survivors_fini(&s);
    cr_assert_null(survivors_first(&s));
}
