/* What op.h and stripe.h promise of a transaction as a whole, one sentence at a time. The random proof is in test_stripe_model.c. */
#include "segstore/stripe/stripe.h"

#include "shared/base/err.h"
#include "shared/rpc/op.h"
#include "tests/unit/segstore/stripe/stripe_bench.h"

#include <stdio.h>

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
    stripe_limits_op(NULL, &(struct stripe_limits){.writers_max = 1}, &w);
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
