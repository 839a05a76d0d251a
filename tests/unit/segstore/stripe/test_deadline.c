/* Timers: of owners that live or are lost, and what their actions do. */
#include "segstore/stripe/stripe.h"

#include "shared/base/err.h"
#include "shared/rpc/op.h"
#include "tests/unit/segstore/stripe/stripe_bench.h"

#include <stdio.h>

Test(stripe_deadline, a_timer_of_an_owner_sleeps_until_he_is_lost_and_then_publishes_the_will)
{
    struct bench       b;
    struct wire_writer action = wire_writer_growing(1000);
    setup(&b);
    uint64_t id = create(&b, "s", 0);
    put_append(&action, id, 0, 0, 0, 0);
    set_timer(&b, "now", 5, 0, &action);
    set_timer(&b, "later", 5, 30, &action);
    cr_assert_eq(b.told.retained, 2); /* the entries that hold the wills */
    cr_assert_eq(stripe_next_due_ns(b.s), UINT64_MAX);
    b.wall = 100;
    cr_assert_eq(one(&b, (struct op){.kind = OP_OWNER_LOST, .owner = 5}), 0);
    cr_assert(b.told.appended == 1 && b.told.retained == 3 && b.told.released == 1);
    cr_assert_eq(stripe_next_due_ns(b.s), 130);
    cr_assert(!stripe_due(b.s, 129, &b.ops));
    cr_assert(stripe_due(b.s, 130, &b.ops));
    b.wall = 131;
    cr_assert_eq(go(&b), 0);
    cr_assert(b.told.appended == 2 && b.told.released == 2);
    cr_assert_eq(stripe_next_due_ns(b.s), UINT64_MAX);
    wire_writer_fini(&action);
    teardown(&b);
}

/* A transaction that is repeated because its answer was lost meets the timers and streams that it has made. */
Test(stripe_deadline, a_take_over_leaves_the_timers_of_its_own_owner_alone)
{
    struct bench       b;
    struct wire_writer action = wire_writer_growing(1000);
    setup(&b);
    op_encode(&action, &(struct op){.kind = OP_TABLE_PUT, .name = S("ran"), .value = S("v")});
    for (uint8_t flags = 0; flags <= TIMER_ENDED; flags++) {
        set_timer(&b, "t", 7, 0, &action);
        cr_assert_eq(one(&b, (struct op){.kind = OP_TIMER_TAKE_OVER, .flags = flags, .name = S("t"), .owner = 7}), 0);
        cr_assert_eq(wire_get_u8(&b.r), 1);
        cr_assert_eq(one(&b, (struct op){.kind = OP_TABLE_GET, .name = S("ran")}), 0);
        cr_assert_eq(wire_get_u64(&b.r), 0);
    }
    cr_assert_eq(one(&b, (struct op){.kind = OP_TIMER_TAKE_OVER, .name = S("t"), .owner = 8}), 0);
    cr_assert_eq(one(&b, (struct op){.kind = OP_TABLE_GET, .name = S("ran")}), 0);
    cr_assert_neq(wire_get_u64(&b.r), 0);
    wire_writer_fini(&action);
    teardown(&b);
}

Test(stripe_deadline, timers_that_run_without_an_owner_are_bounded_and_others_are_not)
{
    struct bench       b;
    struct wire_writer action = wire_writer_growing(1000);
    setup_limited(
        &b, (struct stripe_limits){.table_bytes_max = 1000, .streams_max = 10, .writers_max = 2, .delays_max = 2});
    uint64_t id = create(&b, "s", 0);
    put_append(&action, id, 0, 0, 0, 0);
    struct op more = {.kind = OP_TIMER_SET, .name = S("c"), .delay_ns = 30, .value = wire_written(&action)};
    set_timer(&b, "a", 0, 10, &action);
    set_timer(&b, "b", 0, 20, &action);
    set_timer(&b, "will", 5, 30, &action);
    cr_assert_eq(one(&b, more), ERR_QUOTA);
    set_timer(&b, "b", 0, 25, &action); /* again */
    cr_assert_eq(one(&b, (struct op){.kind = OP_OWNER_LOST, .owner = 5}), 0);
    cr_assert_eq(one(&b, more), ERR_QUOTA);

    struct wire_writer image = wire_writer_growing(1 << 20);
    stripe_save(b.s, &image);
    stripe_free(b.s);
    b.s = stripe_new(1, &(struct stripe_observer){.ctx = &b.told});
    cr_assert_eq(stripe_load(b.s, wire_written(&image), NULL), 0);
    cr_assert_eq(one(&b, more), ERR_QUOTA);
    b.wall = 11;
    cr_assert(stripe_due(b.s, 11, &b.ops));
    cr_assert_eq(go(&b), 0);
    cr_assert_eq(one(&b, more), 0);
    cr_assert_eq(one(&b, (struct op){.kind = OP_TIMER_CANCEL, .name = S("c")}), 0);
    static uint8_t big[930];
    cr_assert_eq(
        one(&b, (struct op){.kind = OP_TABLE_PUT, .table = 1, .name = S("k"), .value = bytes_of(big, sizeof big)}), 0);
    cr_assert_eq(one(&b, more), ERR_QUOTA); /* for want of memory */
    wire_writer_fini(&image);
    wire_writer_fini(&action);
    teardown(&b);
}

Test(stripe_deadline, a_take_over_that_ends_what_a_timer_watched_runs_it_whatever_its_delay)
{
    struct bench       b;
    struct wire_writer action = wire_writer_growing(1000);
    setup(&b);
    op_encode(&action, &(struct op){.kind = OP_TABLE_PUT, .name = S("ran"), .value = S("v")});
    set_timer(&b, "t", 7, 1000, &action);
    cr_assert_eq(one(&b, (struct op){.kind = OP_TIMER_TAKE_OVER, .flags = TIMER_ENDED, .name = S("t"), .owner = 8}), 0);
    cr_assert_eq(one(&b, (struct op){.kind = OP_TABLE_GET, .name = S("ran")}), 0);
    cr_assert_neq(wire_get_u64(&b.r), 0);
    wire_writer_fini(&action);
    teardown(&b);
}

Test(stripe_deadline, an_action_that_fails_is_dropped_whole_and_the_rest_goes_on)
{
    struct bench       b;
    struct wire_writer action = wire_writer_growing(1000);
    setup(&b);
    op_encode(&action, &(struct op){.kind = OP_TABLE_PUT, .name = S("k"), .value = S("v")});
    op_encode(&action, &(struct op){.kind = OP_CHECK, .name = S("k"), .version = 1000});
    set_timer(&b, "t", 0, 10, &action);
    op_encode(&b.ops, &(struct op){.kind = OP_TIMER_RUN, .name = S("t")});
    op_encode(&b.ops, &(struct op){.kind = OP_TABLE_GET, .name = S("k")});
    cr_assert_eq(go(&b), 0);
    cr_assert_eq(wire_get_u8(&b.r), 1);
    cr_assert_eq(wire_get_u64(&b.r), 0);
    cr_assert(stripe_actions_failed(b.s) == 1 && b.told.changed == 0);
    wire_writer_fini(&action);
    teardown(&b);
}

Test(stripe_deadline, timers_that_run_each_other_end_at_a_bounded_depth)
{
    struct bench b;
    setup(&b);
    for (int i = 0; i < 20; i++) {
        char               key[16];
        char               next[16];
        struct wire_writer action = wire_writer_growing(1000);
        snprintf(key, sizeof key, "%d", i);
        snprintf(next, sizeof next, "%d", i + 1);
        op_encode(&action, &(struct op){.kind = OP_TIMER_RUN, .name = S(next)});
        op_encode(&action, &(struct op){.kind = OP_TABLE_PUT, .name = S(key), .value = S("ran")});
        set_timer(&b, key, 0, 10, &action);
        wire_writer_fini(&action);
    }
    cr_assert_eq(one(&b, (struct op){.kind = OP_TIMER_RUN, .name = S("0")}), 0);
    cr_assert_eq(b.told.changed, 8);
    cr_assert_eq(stripe_actions_failed(b.s), 1);
    teardown(&b);
}
