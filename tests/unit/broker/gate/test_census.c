#include "broker/gate/census.h"

#include <criterion/criterion.h>
#include <stdio.h>

static enum census_verdict enter(struct census *c, const char *name, const char *client, struct census_limit limit,
                                 uint64_t now_ns)
{
    bool                counted;
    enum census_verdict verdict =
        census_enter(c, BAN_USER, bytes_str(name), bytes_str(client), limit, now_ns, &counted);
    cr_assert_eq(counted, verdict == CENSUS_IN);
    return verdict;
}

static void leave(struct census *c, const char *name, const char *client)
{
    census_leave(c, BAN_USER, bytes_str(name), bytes_str(client));
}

Test(gate_census, as_many_as_are_allowed_are_let_in)
{
    struct census      *c   = census_new();
    struct census_limit two = {.connections = 2};
    cr_assert_eq(enter(c, "ann", "1", two, 0), CENSUS_IN);
    cr_assert_eq(enter(c, "ann", "2", two, 0), CENSUS_IN);
    cr_assert_eq(enter(c, "ann", "3", two, 0), CENSUS_FULL);
    cr_assert_eq(enter(c, "bob", "3", two, 0), CENSUS_IN);
    cr_assert_eq(enter(c, "ann", "1", two, 0), CENSUS_IN, "it takes its own place over");
    leave(c, "ann", "1");
    cr_assert_eq(enter(c, "ann", "3", two, 0), CENSUS_FULL);
    leave(c, "ann", "1");
    cr_assert_eq(enter(c, "ann", "3", two, 0), CENSUS_IN);
    census_free(c);
}

Test(gate_census, all_together_are_as_many_as_there_may_be)
{
    struct census *c = census_new();
    cr_assert(census_enter_all(c, 2));
    cr_assert(census_enter_all(c, 2));
    cr_assert_not(census_enter_all(c, 2));
    census_leave_all(c);
    cr_assert(census_enter_all(c, 2));
    cr_assert_not(census_enter_all(c, 1), "the limit may be lowered");
    census_free(c);
}

Test(gate_census, who_comes_more_often_than_is_allowed_flaps_until_the_window_ends)
{
    struct census      *c     = census_new();
    struct census_limit three = {.comings = 3, .window_ns = 100};
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(enter(c, "ann", "1", three, 1000), CENSUS_IN);
        leave(c, "ann", "1");
    }
    cr_assert_eq(enter(c, "ann", "1", three, 1099), CENSUS_FLAPS);
    cr_assert_eq(enter(c, "ann", "1", three, 1100), CENSUS_IN);
    leave(c, "ann", "1");
    census_free(c);
}

Test(gate_census, those_who_are_gone_are_forgotten_and_those_who_are_here_are_not)
{
    struct census      *c = census_new();
    struct census_limit l = {.connections = 1, .comings = 10, .window_ns = 50};
    cr_assert_eq(enter(c, "stays", "s", l, 0), CENSUS_IN);
    for (unsigned i = 0; i < 10000; i++) {
        char name[32];
        snprintf(name, sizeof name, "%u", i);
        cr_assert_eq(enter(c, name, "x", l, i), CENSUS_IN);
        leave(c, name, "x");
    }
    cr_assert_eq(enter(c, "stays", "t", l, 20000), CENSUS_FULL);
    leave(c, "stays", "s");
    census_free(c);
}
