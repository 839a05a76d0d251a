/* What op.h and stripe.h promise, one sentence at a time. The random proof is in test_stripe_model.c. */
#include "segstore/stripe/stripe.h"

#include "shared/base/err.h"
#include "shared/record/record.h"
#include "shared/rpc/op.h"
#include "shared/rpc/schema.h"
#include "tests/unit/segstore/stripe/stripe_bench.h"

#include <stdio.h>

Test(stripe, a_deleted_name_gets_a_new_id_and_followers_are_told)
{
    struct bench b;
    setup(&b);
    uint64_t first = create(&b, "s", 0);
    cr_assert_eq(stream_id_stripe(first), 1);
    cr_assert_eq(create(&b, "s", 0), first);
    cr_assert_eq(append(&b, first, 0, 0, 0), 0);
    cr_assert_eq(one(&b, (struct op){.kind = OP_STREAM_DELETE, .name = S("s")}), 0);
    cr_assert(b.told.ended == 1 && b.told.status == ERR_NOT_FOUND && b.told.released == 1);
    cr_assert_neq(create(&b, "s", 0), first);
    cr_assert_eq(append(&b, first, 0, 0, 0), 0);
    (void)wire_get_u8(&b.r);
    (void)wire_get_u32(&b.r);
    cr_assert_eq(wire_get_u64(&b.r), OP_OFFSET_NONE);
    teardown(&b);
}

Test(stripe, a_fence_drops_followers_and_old_cursors)
{
    struct bench b;
    setup(&b);
    uint64_t id = create(&b, "s", 0);
    cr_assert_eq(one(&b, (struct op){.kind = OP_FENCE, .stream_id = id, .epoch = 10}), 0);
    cr_assert(b.told.ended == 1 && b.told.below == 10 && b.told.status == ERR_FENCED);
    cr_assert_eq(one(&b, (struct op){.kind = OP_FENCE, .stream_id = id, .epoch = 9}), ERR_FENCED);
    cr_assert_eq(mark(&b, id, 0, 0, 0, CURSOR_DONE), ERR_FENCED);
    cr_assert_eq(one(&b, (struct op){.kind = OP_FENCE, .stream_id = id}), 0);
    cr_assert_eq(wire_get_u64(&b.r), 11);
    teardown(&b);
}

Test(stripe, a_retry_is_answered_with_the_first_offset_and_appends_nothing)
{
    struct bench b;
    setup(&b);
    uint64_t id = create(&b, "s", 0);
    cr_assert_eq(append(&b, id, 0, 0, 0), 0);
    cr_assert_eq(append(&b, id, 5, 1, 7), 0);
    for (int retry = 0; retry < 2; retry++) {
        cr_assert_eq(append(&b, id, 5, 1, 7), 0);
        cr_assert_eq(wire_get_u8(&b.r), 1);
        cr_assert_eq(wire_get_u32(&b.r), 1);
        cr_assert_eq(wire_get_u64(&b.r), 1);
    }
    cr_assert_eq(append(&b, id, 5, 0, 9), ERR_FENCED);
    cr_assert_eq(append(&b, id, 5, 2, 1), 0);
    cr_assert_eq(wire_get_u8(&b.r), 0);
    struct stripe_stream st;
    cr_assert(stripe_stream(b.s, id, &st) == 0 && st.next_offset == 3);
    cr_assert_eq(append(&b, id, 6, 0, 0), 0); /* two are remembered */
    cr_assert_eq(append(&b, id, 7, 0, 0), 0);
    cr_assert_eq(append(&b, id, 5, 2, 1), 0);
    cr_assert_eq(wire_get_u8(&b.r), 0);
    teardown(&b);
}

Test(stripe, a_full_stream_is_skipped_beside_another_and_refused_alone)
{
    struct bench b;
    setup_limited(
        &b, (struct stripe_limits){.table_bytes_max = 10, .streams_max = 2, .writers_max = 1, .stream_records_max = 1});
    uint64_t x = create(&b, "x", 0);
    uint64_t y = create(&b, "y", 0);
    cr_assert_eq(one(&b, (struct op){.kind = OP_STREAM_CREATE, .name = S("z")}), ERR_QUOTA);
    cr_assert_eq(append(&b, x, 0, 0, 0), 0);
    put_append(&b.ops, x, y, 0, 0, 0);
    cr_assert_eq(go(&b), 0);
    (void)wire_get_u8(&b.r);
    (void)wire_get_u32(&b.r);
    cr_assert_eq(wire_get_u64(&b.r), OP_OFFSET_NONE);
    cr_assert_eq(wire_get_u64(&b.r), 0);
    cr_assert(b.told.appended == 2 && strcmp(b.told.tag, "B") == 0);
    put_append(&b.ops, x, y, 3, 0, 0);
    cr_assert_eq(go(&b), ERR_QUOTA);
    cr_assert_eq(one(&b, (struct op){.kind = OP_TABLE_PUT, .name = S("12345"), .value = S("123456")}), ERR_QUOTA);
    cr_assert_eq(one(&b, (struct op){.kind = OP_TABLE_PUT, .name = S("12345"), .value = S("12345")}), 0);
    teardown(&b);
}

static int put_row(struct bench *b, uint32_t table, const char *key, const char *value)
{
    return one(b, (struct op){.kind = OP_TABLE_PUT, .table = table, .name = bytes_str(key), .value = bytes_str(value)});
}

Test(stripe, one_table_has_bounds_of_its_own)
{
    struct bench b;
    setup_limited(&b, (struct stripe_limits){.table_bytes_max   = 1000,
                                             .streams_max       = 2,
                                             .writers_max       = 1,
                                             .bounded_table     = 3,
                                             .bounded_rows_max  = 2,
                                             .bounded_bytes_max = 20});
    cr_assert_eq(put_row(&b, 3, "a", "1234"), 0);
    cr_assert_eq(put_row(&b, 3, "b", "1234"), 0);
    cr_assert_eq(put_row(&b, 3, "c", "1"), ERR_QUOTA);
    cr_assert_eq(put_row(&b, 4, "c", "12345678901234567890"), 0, "others have none");
    cr_assert_eq(put_row(&b, 3, "a", "12345678901234"), 0, "20 bytes are there now");
    cr_assert_eq(put_row(&b, 3, "b", "12345"), ERR_QUOTA);
    cr_assert_eq(put_row(&b, 3, "b", "4321"), 0);
    cr_assert_eq(one(&b, (struct op){.kind = OP_TABLE_DELETE, .table = 3, .name = S("a")}), 0);
    cr_assert_eq(put_row(&b, 3, "c", "1"), 0);
    teardown(&b);
}

Test(stripe, a_queue_is_trimmed_to_its_lowest_cursor_and_done_bodies_ahead_are_released)
{
    struct bench b;
    setup(&b);
    uint64_t id = create(&b, "q", STREAM_QUEUE);
    for (int i = 0; i < 6; i++) {
        cr_assert_eq(append(&b, id, 0, 0, 0), 0);
    }
    cr_assert_eq(mark(&b, id, 1, 3, 4, CURSOR_DONE), 0);
    cr_assert_eq(b.told.released, 2);
    uint64_t positions[8];
    uint64_t first;
    cr_assert_eq(stripe_positions(b.s, id, 0, positions, 8, &first), 6);
    cr_assert(first == 0 && positions[2] != UINT64_MAX && positions[3] == UINT64_MAX && positions[4] == UINT64_MAX &&
              positions[5] != UINT64_MAX);
    cr_assert_eq(mark(&b, id, 1, 2, 2, CURSOR_RECEIVED), 0);
    cr_assert_eq(mark(&b, id, 1, 0, 1, CURSOR_DONE), 0);
    cr_assert_eq(wire_get_u64(&b.r), 2);
    cr_assert_eq(b.told.released, 4);
    cr_assert_eq(mark(&b, id, 1, 2, 2, CURSOR_DONE), 0);
    cr_assert_eq(wire_get_u64(&b.r), 5);
    cr_assert_eq(b.told.released, 5);
    cr_assert_eq(mark(&b, id, 2, 5, 5, CURSOR_DONE), 0); /* a second cursor holds what the first has not done */
    cr_assert_eq(b.told.released, 5);
    cr_assert_eq(mark(&b, id, 1, 5, UINT64_MAX, CURSOR_DONE), 0);
    cr_assert(b.told.released == 6 && b.told.retained == 6);
    teardown(&b);
}

Test(stripe, leases_keep_offsets_from_others_until_they_end_or_are_given_back)
{
    struct bench b;
    uint64_t     offsets[8];
    uint32_t     deliveries[8];
    setup(&b);
    uint64_t id = create(&b, "q", STREAM_QUEUE);
    for (int i = 0; i < 5; i++) {
        cr_assert_eq(append(&b, id, 0, 0, 0), 0);
    }
    cr_assert_eq(stripe_take(b.s, id, 1, 7, 0, 100, offsets, deliveries, 8), ERR_NOT_FOUND);
    cr_assert_eq(one(&b, (struct op){.kind = OP_CURSOR_MOVE, .stream_id = id, .cursor = 1}), 0);
    cr_assert_eq(stripe_take(b.s, id, 1, 7, 0, 100, offsets, deliveries, 2), 2);
    cr_assert(offsets[0] == 0 && offsets[1] == 1 && deliveries[0] == 1);
    cr_assert_eq(mark(&b, id, 1, 3, 3, CURSOR_DONE), 0);
    cr_assert_eq(stripe_take(b.s, id, 1, 8, 0, 50, offsets, deliveries, 8), 2);
    cr_assert(offsets[0] == 2 && offsets[1] == 4);
    cr_assert_eq(stripe_take(b.s, id, 1, 9, 49, 50, offsets, deliveries, 8), 0);
    cr_assert_eq(stripe_take(b.s, id, 1, 9, 50, 50, offsets, deliveries, 8), 2);
    cr_assert(offsets[0] == 2 && deliveries[0] == 2);
    uint64_t back = 1;
    stripe_release(b.s, id, 1, 8, &back, 1); /* not his */
    cr_assert_eq(stripe_take(b.s, id, 1, 9, 51, 50, offsets, deliveries, 8), 0);
    stripe_release(b.s, id, 1, 7, &back, 1);
    cr_assert_eq(stripe_take(b.s, id, 1, 9, 51, 50, offsets, deliveries, 8), 1);
    cr_assert(offsets[0] == 1 && deliveries[0] == 2);
    stripe_release(b.s, id, 1, 0, NULL, 0);
    cr_assert_eq(stripe_take(b.s, id, 1, 9, 51, 50, offsets, deliveries, 8), 4);
    cr_assert_eq(mark(&b, id, 1, 0, 4, CURSOR_DONE), 0);
    cr_assert_eq(stripe_take(b.s, id, 1, 9, 1000, 50, offsets, deliveries, 8), 0);
    teardown(&b);
}

Test(stripe, a_timer_of_an_owner_sleeps_until_he_is_lost_and_then_publishes_the_will)
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
Test(stripe, a_take_over_leaves_the_timers_of_its_own_owner_alone)
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

Test(stripe, timers_that_run_without_an_owner_are_bounded_and_others_are_not)
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

Test(stripe, a_take_over_that_ends_what_a_timer_watched_runs_it_whatever_its_delay)
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

Test(stripe, a_stream_is_new_for_the_owner_that_made_it)
{
    struct bench b;
    setup(&b);
    const uint64_t owners[]  = {5, 5, 6, 0};
    const uint8_t  created[] = {1, 1, 0, 0};
    for (size_t i = 0; i < 4; i++) {
        cr_assert_eq(one(&b, (struct op){.kind = OP_STREAM_CREATE, .name = S("s"), .owner = owners[i]}), 0);
        (void)wire_get_u64(&b.r);
        cr_assert_eq(wire_get_u8(&b.r), created[i]);
    }
    teardown(&b);
}

Test(stripe, an_action_that_fails_is_dropped_whole_and_the_rest_goes_on)
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

Test(stripe, timers_that_run_each_other_end_at_a_bounded_depth)
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

Test(stripe, items_expire_for_readers_at_their_time_and_are_then_due)
{
    struct bench b;
    setup(&b);
    cr_assert_eq(one(&b, (struct op){.kind = OP_TABLE_PUT, .name = S("k"), .value = S("v"), .wall_ns = 50}), 0);
    b.wall = 49;
    cr_assert_eq(one(&b, (struct op){.kind = OP_TABLE_GET, .name = S("k")}), 0);
    cr_assert_neq(wire_get_u64(&b.r), 0);
    b.wall = 50;
    cr_assert_eq(one(&b, (struct op){.kind = OP_TABLE_GET, .name = S("k")}), 0);
    cr_assert_eq(wire_get_u64(&b.r), 0);
    cr_assert_eq(one(&b, (struct op){.kind = OP_CHECK, .name = S("k")}), 0);
    cr_assert(stripe_due(b.s, 50, &b.ops));
    cr_assert_eq(go(&b), 0);
    cr_assert(b.told.deleted == 1 && stripe_next_due_ns(b.s) == UINT64_MAX);
    teardown(&b);
}

Test(stripe, only_the_store_itself_may_propose_what_it_watches)
{
    const uint8_t kinds[] = {OP_OWNER_LOST, OP_TIMER_FIRE, OP_TABLE_EXPIRE, OP_STREAM_AGE};
    for (size_t i = 0; i < sizeof kinds; i++) {
        struct wire_writer w = wire_writer_growing(1000);
        op_encode(&w, &(struct op){.kind = kinds[i], .name = S("k"), .owner = 1});
        cr_assert_eq(stripe_validate(wire_written(&w), 1000, true), 0);
        cr_assert_eq(stripe_validate(wire_written(&w), 1000, false), ERR_DENIED);
        wire_writer_fini(&w);
    }
    struct wire_writer w = wire_writer_growing(1000);
    stripe_limits_op(&(struct stripe_limits){.writers_max = 1}, &w);
    cr_assert_eq(stripe_validate(wire_written(&w), 1000, true), 0);
    cr_assert_eq(stripe_validate(wire_written(&w), 1000, false), ERR_DENIED);
    wire_writer_fini(&w);
}

Test(stripe, records_are_checked_where_they_enter_in_actions_too)
{
    for (int in_action = 0; in_action < 2; in_action++) {
        struct wire_writer w    = wire_writer_growing(1000);
        struct wire_writer list = wire_writer_growing(1000);
        put_append(&w, 1, 0, 0, 0, 0);
        op_encode(&list, &(struct op){.kind = OP_TIMER_SET, .name = S("k"), .value = wire_written(&w)});
        struct wire_writer *checked = in_action ? &list : &w;
        cr_assert_eq(stripe_validate(wire_written(checked), 1000, false), 0);
        cr_assert_eq(stripe_validate(wire_written(checked), 41, false), ERR_TOO_BIG);
        checked->data[checked->size - 1] ^= 1;
        cr_assert_eq(stripe_validate(wire_written(checked), 1000, false), ERR_CORRUPT);
        wire_writer_fini(&w);
        wire_writer_fini(&list);
    }
}

/* Every op that changes something, and after each number of them one that fails. */
Test(stripe, a_failing_op_leaves_no_trace_wherever_it_stands)
{
    enum { CHANGES = 14, FAILURES = 6 };
    struct wire_writer action = wire_writer_growing(1000);
    struct bench       b;
    uint8_t            memory[17];
    struct wire_writer range = wire_writer_fixed(memory, sizeof memory);
    setup(&b);
    uint64_t q = create(&b, "q", STREAM_QUEUE);
    uint64_t z = create(&b, "z", 0);
    for (uint64_t i = 0; i < 40; i++) {
        put_append(&b.ops, q, z, 1 + i % 2, 1, i);
        cr_assert_eq(go(&b), 0);
    }
    put_append(&action, q, 0, 0, 0, 0);
    set_timer(&b, "mine", 5, 0, &action);
    set_timer(&b, "mine too", 5, 7, &action);
    set_timer(&b, "free", 0, 7, &action);
    cr_assert_eq(one(&b, (struct op){.kind = OP_TABLE_PUT, .name = S("k"), .value = S("v"), .wall_ns = 99}), 0);
    cr_assert_eq(mark(&b, q, 1, 3, 5, CURSOR_RECEIVED), 0);
    cr_assert_eq(one(&b, (struct op){.kind = OP_FENCE, .stream_id = q, .epoch = 3}), 0);
    op_range_append(&range, (struct op_range){0, 7, CURSOR_DONE});
    struct op changes[CHANGES] = {
        {.kind      = OP_CURSOR_MOVE,
         .stream_id = q,
         .cursor    = 1,
         .epoch     = 4,
         .sent      = 20,
         .count     = 1,
         .items     = wire_written(&range)},
        {.kind = OP_TIMER_START, .name = S("mine too"), .owner = 5},
        {.kind = OP_STREAM_CREATE, .name = S("new")},
        {.kind = OP_FENCE, .stream_id = q},
        {.kind = OP_TRIM, .stream_id = z, .offset = 38},
        {.kind      = OP_CURSOR_MOVE,
         .stream_id = z,
         .cursor    = 9,
         .epoch     = 4,
         .sent      = 20,
         .count     = 1,
         .items     = wire_written(&range)},
        {.kind = OP_TABLE_PUT, .name = S("k"), .value = S("w")},
        {.kind = OP_TABLE_PUT, .name = S("l"), .value = S("w"), .wall_ns = 7},
        {.kind = OP_TIMER_RUN, .name = S("free")},
        {.kind = OP_OWNER_LOST, .owner = 5},
        {.kind = OP_TIMER_SET, .name = S("mine too"), .owner = 6, .value = wire_written(&action)},
        {.kind = OP_TABLE_DELETE_PREFIX, .name = S("k")},
        {.kind = OP_STREAM_DELETE, .name = S("q")},
        {.kind = OP_TIMER_CANCEL, .name = S("mine too")},
    };
    struct op failures[FAILURES] = {
        {.kind = OP_CHECK, .name = S("k"), .version = 12345},
        {.kind = OP_FENCE, .stream_id = 99, .epoch = 1},
        {.kind = OP_TRIM, .stream_id = OP_STREAM_LAST - 1},
        {.kind = OP_CURSOR_GET, .stream_id = 0},
        {.kind = OP_TABLE_PUT, .name = S("k"), .value = bytes_of(b.results.data, 0)},
        {.kind = OP_FENCE, .stream_id = z, .epoch = 0},
    };
    static const int     status[FAILURES] = {ERR_CONFLICT,  ERR_NOT_FOUND, ERR_NOT_FOUND,
                                             ERR_NOT_FOUND, ERR_QUOTA,     ERR_NOT_FOUND};
    static const uint8_t large[2000];
    failures[4].value = bytes_of(large, sizeof large);
    failures[5]       = (struct op){.kind = OP_CURSOR_MOVE, .stream_id = 1234};
    for (int before = 0; before <= CHANGES; before++) {
        for (int f = 0; f < FAILURES; f++) {
            for (int i = 0; i < before; i++) {
                op_encode(&b.ops, &changes[i]);
                put_append(&b.ops, q, OP_STREAM_LAST, 3 + (uint64_t)i, 1, 100);
            }
            op_encode(&b.ops, &failures[f]);
            struct told told = b.told;
            /* the index is part of the hash: compare with a stripe that applied an entry which fails at once */
            struct wire_writer image = wire_writer_growing(1 << 20);
            stripe_save(b.s, &image);
            struct stripe *other = stripe_new(1, NULL);
            cr_assert_eq(stripe_load(other, wire_written(&image), NULL), 0);
            struct wire_writer check = wire_writer_growing(100);
            op_encode(&check, &failures[0]);
            struct stripe_entry entry = {.index = stripe_applied(other) + 1, .ops = wire_written(&check)};
            cr_assert_eq(stripe_apply(other, &entry, true, NULL), ERR_CONFLICT);
            cr_assert_eq(go(&b), status[f], "before %d failure %d", before, f); /* by the last op, not an earlier one */
            cr_assert_eq(stripe_hash(b.s), stripe_hash(other), "before %d failure %d", before, f);
            cr_assert_eq(b.results.size, 0);
            cr_assert_eq(memcmp(&told, &b.told, sizeof told), 0);
            stripe_free(other);
            wire_writer_fini(&image);
            wire_writer_fini(&check);
        }
    }
    wire_writer_fini(&action);
    teardown(&b);
}

Test(stripe, an_image_cut_or_changed_anywhere_is_malformed)
{
    struct bench       b;
    struct wire_writer action = wire_writer_growing(1000);
    struct wire_writer image  = wire_writer_growing(1 << 20);
    setup(&b);
    uint64_t id = create(&b, "q", STREAM_QUEUE);
    cr_assert_eq(append(&b, id, 3, 0, 0), 0);
    cr_assert_eq(append(&b, id, 3, 0, 1), 0);
    cr_assert_eq(mark(&b, id, 1, 1, 1, CURSOR_RECEIVED), 0);
    put_append(&action, id, 0, 0, 0, 0);
    set_timer(&b, "t", 1, 1, &action);
    cr_assert_eq(one(&b, (struct op){.kind = OP_TABLE_PUT, .name = S("k"), .value = S("v")}), 0);
    stripe_save(b.s, &image);
    for (size_t at = 0; at < image.size; at++) {
        struct stripe *s = stripe_new(1, NULL);
        cr_assert_eq(stripe_load(s, bytes_of(image.data, at), NULL), ERR_MALFORMED);
        stripe_free(s);
        s = stripe_new(1, NULL);
        image.data[at] ^= 0x10;
        cr_assert_eq(stripe_load(s, wire_written(&image), NULL), ERR_MALFORMED);
        image.data[at] ^= 0x10;
        stripe_free(s);
    }
    wire_writer_fini(&action);
    wire_writer_fini(&image);
    teardown(&b);
}

/* Given up at any moment, it has told nobody of what it holds, or has taken that back. */
Test(stripe, an_image_that_is_loaded_in_slices_may_be_given_up_at_any_moment)
{
    struct bench       b;
    struct wire_writer action = wire_writer_growing(1000);
    struct wire_writer image  = wire_writer_growing(1 << 20);
    setup(&b);
    uint64_t id = create(&b, "q", STREAM_QUEUE);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(append(&b, id, (uint64_t)i, 0, 0), 0);
    }
    put_append(&action, id, 0, 0, 0, 0);
    set_timer(&b, "t", 1, 1, &action);
    set_timer(&b, "u", 1, 1, &action);
    cr_assert_eq(mark(&b, id, 1, 1, 1, CURSOR_RECEIVED), 0);
    cr_assert_eq(one(&b, (struct op){.kind = OP_TABLE_PUT, .name = S("k"), .value = S("v")}), 0);
    stripe_save(b.s, &image);
    int  slices = 0;
    bool done   = false;
    while (!done) {
        struct told    told = {0};
        struct stripe *s =
            stripe_new(1, &(struct stripe_observer){.ctx = &told, .retained = on_retained, .released = on_released});
        struct stripe_loading *loading = stripe_load_begin(s, NULL);
        size_t                 at      = 0;
        slices++;
        for (int i = 0; i < slices && !done; i++) {
            size_t used;
            done = stripe_load_more(loading, bytes_of(image.data + at, image.size - at), 1, &used) == 0;
            at += used;
        }
        stripe_load_end(loading);
        cr_assert_eq(told.retained - told.released, done ? 5 : 0, "after %d slices", slices);
        stripe_free(s);
    }
    cr_assert_gt(slices, 10);
    wire_writer_fini(&action);
    wire_writer_fini(&image);
    teardown(&b);
}

static bool on_key(void *ctx, const struct stripe_item *item)
{
    struct wire_writer *keys = ctx;
    wire_put_bytes(keys, item->key);
    wire_put_u8(keys, ' ');
    return item->key.size != 0;
}

Test(stripe, scans_go_on_behind_a_key_and_hide_what_has_expired)
{
    static const char *const names[] = {"a", "a/b", "a/b/c", "ab", "b", "c"};
    struct bench             b;
    setup(&b);
    for (size_t i = 0; i < 6; i++) {
        cr_assert_eq(
            one(&b, (struct op){.kind = OP_TABLE_PUT, .table = 4, .name = S(names[i]), .wall_ns = i == 4 ? 10 : 0}), 0);
    }
    struct {
        uint8_t     kind;
        const char *pattern, *after, *keys;
    } cases[] = {{RPC_SCAN_KEY, "ab", "", "ab "},
                 {RPC_SCAN_KEY, "ab", "ab", ""},
                 {RPC_SCAN_PREFIX, "", "", "a a/b a/b/c ab c "},
                 {RPC_SCAN_PREFIX, "a/", "", "a/b a/b/c "},
                 {RPC_SCAN_PREFIX, "a/", "a/b", "a/b/c "},
                 {RPC_SCAN_PREFIX, "a/", "b", ""},
                 {RPC_SCAN_FILTER, "a/#", "", "a a/b a/b/c "},
                 {RPC_SCAN_FILTER, "a/#", "a", "a/b a/b/c "},
                 {RPC_SCAN_FILTER, "+", "", "a ab c "},
                 {RPC_SCAN_FILTER, "+/b", "", "a/b "},
                 {RPC_SCAN_FILTER, "#", "ab", "c "}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct wire_writer keys = wire_writer_growing(1000);
        wire_put_u8(&keys, 0);
        keys.size = 0;
        cr_assert(stripe_scan(b.s, 4, cases[i].kind, S(cases[i].pattern), S(cases[i].after), 10, NULL, on_key, &keys));
        cr_assert(bytes_equal(wire_written(&keys), S(cases[i].keys)), "%s after %s: %.*s", cases[i].pattern,
                  cases[i].after, (int)keys.size, (char *)keys.data);
        wire_writer_fini(&keys);
    }
    teardown(&b);
}

/* ---- what a stream forgets by itself ---- */

static void append_topic(struct bench *b, uint64_t stream, const char *topic)
{
    struct record record = {.topic = S(topic), .payload = S("p")};
    size_t        begun  = op_append_begin(&b->ops, 0, 0, 0);
    op_append_target(&b->ops, stream, S(""));
    op_append_end(&b->ops, begun, 1, &record);
    cr_assert_eq(go(b), 0);
}

struct stat {
    uint64_t start, next, count, bytes, first_ns, last_ns, found;
};

static struct stat stat_of(struct bench *b, uint64_t stream, uint64_t wall_ns)
{
    cr_assert_eq(one(b, (struct op){.kind = OP_STREAM_STAT, .stream_id = stream, .wall_ns = wall_ns}), 0);
    struct stat st = {.start = wire_get_u64(&b->r)};
    st.next        = wire_get_u64(&b->r);
    st.count       = wire_get_u64(&b->r);
    st.bytes       = wire_get_u64(&b->r);
    st.first_ns    = wire_get_u64(&b->r);
    st.last_ns     = wire_get_u64(&b->r);
    st.found       = wire_get_u64(&b->r);
    return st;
}

Test(stripe, a_stream_keeps_as_many_records_as_it_is_told_to)
{
    struct bench b;
    setup_limited(
        &b, (struct stripe_limits){.table_bytes_max = 10, .streams_max = 2, .writers_max = 1, .stream_records_max = 2});
    uint64_t id = create(&b, "s", 0);
    cr_assert_eq(one(&b, (struct op){.kind = OP_STREAM_KEEP, .stream_id = id, .max_count = 3}), 0);
    for (int i = 0; i < 10; i++) {
        cr_assert_eq(append(&b, id, 0, 0, 0), 0); /* the backlog's limit is not its own */
    }
    struct stat st = stat_of(&b, id, 0);
    cr_assert(st.start == 7 && st.next == 10 && st.count == 3 && b.told.released == 7);
    uint64_t queue = create(&b, "q", STREAM_QUEUE);
    cr_assert_eq(one(&b, (struct op){.kind = OP_STREAM_KEEP, .stream_id = queue, .max_count = 3}), ERR_DENIED);
    teardown(&b);
}

Test(stripe, records_go_by_age_when_the_store_proposes_it_and_not_before)
{
    struct bench   b;
    const uint64_t s = 1000000000;
    setup(&b);
    uint64_t id = create(&b, "s", 0);
    cr_assert_eq(one(&b, (struct op){.kind = OP_STREAM_KEEP, .stream_id = id, .max_age_ns = 100 * s}), 0);
    for (uint64_t i = 0; i < 10; i++) {
        b.wall = (100 + 10 * i) * s;
        cr_assert_eq(append(&b, id, 0, 0, 0), 0);
    }
    cr_assert_eq(stripe_next_due_ns(b.s), 200 * s);
    cr_assert_not(stripe_due(b.s, 200 * s - 1, &b.ops));
    b.wall = 221 * s;
    cr_assert(stripe_due(b.s, b.wall, &b.ops));
    cr_assert_eq(go(&b), 0);
    struct stat st = stat_of(&b, id, 145 * s);
    cr_assert(st.start == 3 && st.first_ns == 130 * s && st.last_ns == 190 * s && st.found == 5);
    cr_assert_eq(stripe_next_due_ns(b.s), 230 * s);
    teardown(&b);
}

Test(stripe, bytes_are_bounded_by_whole_parts)
{
    struct bench b;
    setup(&b);
    uint64_t id = create(&b, "s", 0);
    cr_assert_eq(one(&b, (struct op){.kind = OP_STREAM_KEEP, .stream_id = id, .max_bytes = 42 * 160}), 0);
    for (int i = 0; i < 1000; i++) {
        cr_assert_eq(append(&b, id, 0, 0, 0), 0); /* 42 bytes each */
        struct stat st = stat_of(&b, id, 0);
        cr_assert(st.bytes <= 42 * 160 && st.bytes == 42 * st.count);
        cr_assert(i < 160 || st.count >= 149, "%lu", st.count);
    }
    teardown(&b);
}

Test(stripe, the_latest_of_each_topic_stays_and_others_are_released)
{
    struct bench b;
    setup(&b);
    uint64_t id = create(&b, "s", STREAM_LATEST);
    for (int i = 0; i < 300; i++) {
        append_topic(&b, id, i == 0 ? "cold" : i % 2 != 0 ? "a" : "b");
    }
    struct stat st = stat_of(&b, id, 0);
    cr_assert(st.count == 3 && st.next == 300 && b.told.retained - b.told.released == 3);
    uint64_t positions[4];
    uint64_t first;
    cr_assert(stripe_positions(b.s, id, 0, positions, 4, &first) == 1 && first == 0);
    cr_assert(stripe_positions(b.s, id, 1, positions, 4, &first) == 2 && first == 298);
    cr_assert_eq(one(&b, (struct op){.kind = OP_STREAM_KEEP, .stream_id = id, .max_count = 2}), 0);
    st = stat_of(&b, id, 0);
    cr_assert(st.count == 2 && st.start == 1);
    cr_assert_eq(one(&b, (struct op){.kind = OP_STREAM_DELETE, .name = S("s")}), 0);
    cr_assert_eq(b.told.retained, b.told.released);
    teardown(&b);
}

Test(stripe, a_scan_that_gives_way_shows_the_same_as_one_that_does_not)
{
    static const char *const patterns[] = {"#", "+/x", "a/+/c", "+/+/+", "nothing/#"};
    struct bench             b;
    char                     name[32];
    setup(&b);
    for (int i = 0; i < 60; i++) {
        snprintf(name, sizeof name, i % 3 == 0 ? "%c/x" : i % 3 == 1 ? "%c/%d/c" : "%c", 'a' + i / 3, i);
        cr_assert_eq(one(&b, (struct op){.kind = OP_TABLE_PUT, .table = 4, .name = S(name)}), 0);
    }
    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
        struct wire_writer whole  = wire_writer_growing(1000);
        struct wire_writer pieces = wire_writer_growing(1000);
        wire_put_u8(&whole, ' ');
        wire_put_u8(&pieces, ' ');
        cr_assert(stripe_scan(b.s, 4, RPC_SCAN_FILTER, S(patterns[i]), S(""), 10, NULL, on_key, &whole));
        struct stripe_pace pace  = {.steps_left = 3};
        struct bytes       after = {0};
        int                turns = 1;
        while (!stripe_scan(b.s, 4, RPC_SCAN_FILTER, S(patterns[i]), after, 10, &pace, on_key, &pieces)) {
            cr_assert_eq(pace.steps_left, 0);
            after = pace.at;
            pace  = (struct stripe_pace){.steps_left = 3};
            turns++;
        }
        cr_assert(bytes_equal(wire_written(&whole), wire_written(&pieces)), "%s", patterns[i]);
        cr_assert(turns > 1 || i == 4, "%s looked at all in one go", patterns[i]);
        wire_writer_fini(&whole);
        wire_writer_fini(&pieces);
    }
    teardown(&b);
}

static uint64_t create_long(struct bench *b, size_t size, char last)
{
    static char name[65535];
    memset(name, 'n', sizeof name);
    name[size - 1] = last;
    cr_assert_eq(one(b, (struct op){.kind = OP_STREAM_CREATE, .name = bytes_of(name, size)}), 0);
    return wire_get_u64(&b->r);
}

/* 254 bytes are the most whose size has room beside the other small things of a stream. */
Test(stripe, names_of_any_length_are_told_apart)
{
    static const size_t sizes[] = {1, 253, 254, 255, 256, 257, 65535};
    struct bench        b;
    setup_limited(&b, (struct stripe_limits){.table_bytes_max = 10, .streams_max = 100, .writers_max = 1});
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            cr_assert_eq(create_long(&b, sizes[i], 'a') & 0xffff, 2 * i + 1);
            cr_assert_eq(create_long(&b, sizes[i], 'b') & 0xffff, 2 * i + 2);
        }
        struct wire_writer image = wire_writer_growing(1 << 20); /* and once more by a stripe that was loaded */
        stripe_save(b.s, &image);
        stripe_free(b.s);
        b.s = stripe_new(1, &(struct stripe_observer){0});
        cr_assert_eq(stripe_load(b.s, wire_written(&image), NULL), 0);
        wire_writer_fini(&image);
    }
    teardown(&b);
}

Test(stripe, a_stream_that_begins_to_forget_keeps_its_cursors)
{
    struct bench b;
    setup(&b);
    uint64_t id = create(&b, "log", 0);
    for (int i = 0; i < 6; i++) {
        cr_assert_eq(append(&b, id, 0, 0, 0), 0);
    }
    cr_assert_eq(mark(&b, id, 1, 0, 1, CURSOR_DONE), 0);
    for (int undone = 1; undone >= 0; undone--) {
        op_encode(&b.ops, &(struct op){.kind = OP_STREAM_KEEP, .stream_id = id, .max_count = 3});
        if (undone) {
            op_encode(&b.ops, &(struct op){.kind = OP_FENCE, .stream_id = id + 77});
        }
        cr_assert_eq(go(&b), undone ? ERR_NOT_FOUND : 0);
        cr_assert_eq(one(&b, (struct op){.kind = OP_CURSOR_GET, .stream_id = id, .cursor = 1}), 0);
        cr_assert_eq(wire_get_u64(&b.r), undone ? 2 : 3, "3 records are left of those that are limited");
    }
    teardown(&b);
}

/* What is trimmed away stays known until all of it stands: the slot of an offset is not used for another one before. */
Test(stripe, many_streams_trimmed_and_appended_to_in_one_transaction_are_as_before_when_it_is_undone)
{
    enum { STREAMS = 40, RECORDS = 4 };
    struct bench b;
    uint64_t     ids[STREAMS];
    uint64_t     before[STREAMS][RECORDS];
    uint64_t     first;
    setup_limited(&b, (struct stripe_limits){.table_bytes_max = 10, .streams_max = STREAMS, .writers_max = 1});
    for (int i = 0; i < STREAMS; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d", i);
        ids[i] = create(&b, name, 0);
        for (int k = 0; k < RECORDS; k++) {
            cr_assert_eq(append(&b, ids[i], 0, 0, 0), 0);
        }
        cr_assert_eq(stripe_positions(b.s, ids[i], 0, before[i], RECORDS, &first), RECORDS);
    }
    for (int undone = 1; undone >= 0; undone--) {
        for (uint64_t trim = 1; trim <= 2; trim++) {
            for (int i = 0; i < STREAMS; i++) {
                op_encode(&b.ops, &(struct op){.kind = OP_TRIM, .stream_id = ids[i * 7 % STREAMS], .offset = trim});
                put_append(&b.ops, ids[i * 7 % STREAMS], 0, 0, 0, 0);
            }
        }
        if (undone) {
            op_encode(&b.ops, &(struct op){.kind = OP_FENCE, .stream_id = 1});
        }
        b.told.released = 0;
        cr_assert_eq(go(&b), undone ? ERR_NOT_FOUND : 0);
        cr_assert_eq(b.told.released, undone ? 0 : 2 * STREAMS);
        for (int i = 0; i < STREAMS; i++) {
            uint64_t now[RECORDS + 1];
            cr_assert_eq(stripe_positions(b.s, ids[i], 0, now, RECORDS + 1, &first), RECORDS);
            cr_assert_eq(first, undone ? 0 : 2);
            cr_assert_arr_eq(now, &before[i][first], (RECORDS - first) * sizeof now[0]);
        }
    }
    teardown(&b);
}
