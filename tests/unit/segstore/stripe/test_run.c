/* What a run promises beyond what the model of test_stripe_model.c proves: who is told, and what happens in the middle of it. */
#include "segstore/stripe/stripe.h"

#include "shared/base/err.h"
#include "shared/record/record.h"
#include "shared/rpc/op.h"
#include "tests/unit/segstore/stripe/stripe_bench.h"

static void put_run(struct bench *b, uint64_t writer, uint64_t sequence, const uint64_t *streams, uint32_t count)
{
    struct record record = {.topic = S("t"), .payload = S("p")};
    size_t        begun  = op_run_begin(&b->ops, writer, 1, sequence);
    for (uint32_t i = 0; i < count; i++) {
        op_run_add(&b->ops, streams[i], S("R"), &record);
    }
    op_run_end(&b->ops, begun, count);
}

static int run(struct bench *b, uint64_t writer, uint64_t sequence, const uint64_t *streams, uint32_t count)
{
    put_run(b, writer, sequence, streams, count);
    return go(b);
}

static void answered(struct bench *b, uint32_t duplicates, uint32_t ranges)
{
    cr_assert_eq(wire_get_u32(&b->r), duplicates);
    cr_assert_eq(wire_get_u32(&b->r), ranges);
}

static void answered_range(struct bench *b, uint64_t offset, uint32_t records)
{
    cr_assert_eq(wire_get_u64(&b->r), offset);
    cr_assert_eq(wire_get_u32(&b->r), records);
}

Test(stripe_run, is_answered_with_ranges_and_tells_of_each_record)
{
    struct bench b;
    setup(&b);
    uint64_t x = create(&b, "x", 0), y = create(&b, "y", 0);
    cr_assert_eq(run(&b, 9, 1, (uint64_t[]){x, x, x, y, x, 77, 77}, 7), 0);
    answered(&b, 0, 4);
    answered_range(&b, 0, 3);
    answered_range(&b, 0, 1);
    answered_range(&b, 3, 1);
    answered_range(&b, OP_OFFSET_NONE, 2);
    cr_assert(b.told.retained == 5 && b.told.appended == 5 && strcmp(b.told.tag, "R") == 0);
    teardown(&b);
}

Test(stripe_run, that_is_repeated_with_more_behind_it_appends_only_that)
{
    struct bench b;
    setup(&b);
    uint64_t x = create(&b, "x", 0);
    cr_assert_eq(run(&b, 9, 1, (uint64_t[]){x, x, x}, 3), 0);
    cr_assert_eq(run(&b, 9, 2, (uint64_t[]){x, x, x, x}, 4), 0);
    answered(&b, 2, 2);
    answered_range(&b, OP_OFFSET_NONE, 2);
    answered_range(&b, 3, 2);
    cr_assert_eq(run(&b, 9, 2, (uint64_t[]){x, x, x, x}, 4), 0);
    answered(&b, 4, 1);
    cr_assert_eq(append(&b, x, 9, 1, 5), 0); /* as an APPEND it is known by its offset */
    cr_assert_eq(wire_get_u8(&b.r), 1);
    cr_assert_eq(wire_get_u32(&b.r), 1);
    cr_assert_eq(wire_get_u64(&b.r), 4);
    cr_assert(b.told.appended == 5);
    teardown(&b);
}

Test(stripe_run, that_fills_a_stream_leaves_nothing_behind)
{
    struct bench b;
    setup_limited(
        &b, (struct stripe_limits){.table_bytes_max = 10, .streams_max = 2, .writers_max = 4, .stream_records_max = 3});
    uint64_t x = create(&b, "x", 0), y = create(&b, "y", 0);
    cr_assert_eq(run(&b, 9, 1, (uint64_t[]){y, x, x, x, x}, 5), ERR_QUOTA);
    struct stripe_stream stream;
    cr_assert(stripe_stream(b.s, x, &stream) == 0 && stream.next_offset == 0);
    cr_assert(b.told.retained == 0 && b.told.appended == 0);
    cr_assert_eq(run(&b, 9, 1, (uint64_t[]){y, x, x, x}, 4), 0); /* its sequence was not taken */
    answered(&b, 0, 2);
    teardown(&b);
}

static bool nobody(void *ctx, uint64_t stream_id)
{
    (void)stream_id;
    ((struct told *)ctx)->status++;
    return false;
}

Test(stripe_run, tells_nobody_of_records_of_a_stream_that_is_not_followed)
{
    struct bench b;
    setup(&b);
    stripe_free(b.s);
    b.s        = stripe_new(1, &(struct stripe_observer){
                                   .ctx = &b.told, .retained = on_retained, .appended = on_appended, .followed = nobody});
    b.told     = (struct told){0};
    uint64_t x = create(&b, "x", 0);
    cr_assert_eq(run(&b, 0, 0, (uint64_t[]){x, x, x}, 3), 0);
    cr_assert(b.told.retained == 3 && b.told.appended == 0 && b.told.status == 1, "it is asked once");
    teardown(&b);
}

Test(stripe_run, whose_records_are_fewer_than_it_says_or_damaged_is_not_taken)
{
    struct bench b;
    setup(&b);
    uint64_t x    = create(&b, "x", 0);
    uint32_t more = 4;
    put_run(&b, 9, 1, (uint64_t[]){x, x, x}, 3);
    memcpy(b.ops.data + OP_HEADER_BYTES + 24, &more, sizeof more);
    cr_assert_eq(stripe_validate(wire_written(&b.ops), 1000, false), ERR_MALFORMED);
    b.ops.size = 0;
    put_run(&b, 9, 1, (uint64_t[]){x, x, x}, 3);
    cr_assert_eq(stripe_validate(wire_written(&b.ops), 1000, false), 0);
    cr_assert_eq(stripe_validate(wire_written(&b.ops), 40, false), ERR_TOO_BIG);
    b.ops.data[b.ops.size - 1] ^= 1;
    cr_assert_eq(stripe_validate(wire_written(&b.ops), 1000, false), ERR_CORRUPT);
    b.ops.size = 0;
    teardown(&b);
}
