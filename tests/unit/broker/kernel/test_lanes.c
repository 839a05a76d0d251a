/* The lanes of a session. */
#include "broker/kernel/lanes.h"

#include <criterion/criterion.h>

enum { MANY = 1000 };

Test(kernel_lanes, the_lowest_one_that_nobody_holds_is_taken)
{
    struct lanes lanes = {0};
    uint32_t     lane;
    for (uint32_t i = 0; i < MANY; i++) {
        cr_assert(lanes_take(&lanes, &lane));
        cr_assert_eq(lane, i);
    }
    for (uint32_t i = 0; i < MANY; i += 2) {
        lanes_let_go(&lanes, MANY - 2 - i);
    }
    for (uint32_t i = 0; i < MANY; i += 2) {
        cr_assert(lanes_take(&lanes, &lane));
        cr_assert_eq(lane, i);
    }
    cr_assert(lanes_take(&lanes, &lane));
    cr_assert_eq(lane, MANY);
    lanes_fini(&lanes);
}

Test(kernel_lanes, one_that_several_hold_is_free_when_all_have_let_it_go)
{
    struct lanes lanes = {0};
    uint32_t     lane;
    cr_assert(lanes_hold(&lanes, 0));
    cr_assert(lanes_hold(&lanes, 0));
    lanes_let_go(&lanes, 0);
    cr_assert(lanes_take(&lanes, &lane));
    cr_assert_eq(lane, 1);
    lanes_let_go(&lanes, 0);
    cr_assert(lanes_take(&lanes, &lane));
    cr_assert_eq(lane, 0);
    lanes_fini(&lanes);
}

Test(kernel_lanes, there_is_a_last_one)
{
    struct lanes lanes = {0};
    cr_assert(lanes_hold(&lanes, LANES_MAX - 1));
    cr_assert_not(lanes_hold(&lanes, LANES_MAX));
    lanes_let_go(&lanes, LANES_MAX - 1);
    lanes_fini(&lanes);
}
