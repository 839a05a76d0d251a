/* test_clock.c - whose clock counts. */
#include "segstore/node/peers/clock.h"

#include <criterion/criterion.h>

static const int64_t S = 1000000000, HOUR = 3600000000000;

Test(peers_clock, one_that_is_alone_or_agrees_is_right)
{
    cr_assert_eq(clock_correction(NULL, 0), 0);
    cr_assert_eq(clock_correction((int64_t[]){S, -S}, 2), 0);
    cr_assert_eq(clock_correction((int64_t[]){S, S, S, S}, 4), 0);
}

Test(peers_clock, another_that_is_wrong_changes_nothing)
{
    cr_assert_eq(clock_correction((int64_t[]){HOUR, S}, 2), 0);
    cr_assert_eq(clock_correction((int64_t[]){-HOUR, S}, 2), 0);
    cr_assert_eq(clock_correction((int64_t[]){-HOUR, HOUR}, 2), 0);
}

Test(peers_clock, one_that_is_wrong_follows_the_others)
{
    cr_assert_eq(clock_correction((int64_t[]){-HOUR, -HOUR - S}, 2), -HOUR);
    cr_assert_eq(clock_correction((int64_t[]){HOUR, HOUR + S}, 2), HOUR);
    cr_assert_eq(clock_correction((int64_t[]){2 * HOUR, HOUR, S, HOUR}, 4), HOUR);
}

Test(peers_clock, of_two_the_earlier_one_counts)
{
    cr_assert_eq(clock_correction((int64_t[]){-HOUR}, 1), -HOUR);
    cr_assert_eq(clock_correction((int64_t[]){HOUR}, 1), 0);
}
