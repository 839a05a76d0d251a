/* What a stream forgets by itself: by count, age, size, and of each topic all but the latest. */
#include "segstore/stripe/stripe.h"

#include "shared/base/err.h"
#include "shared/record/record.h"
#include "shared/rpc/op.h"
#include "tests/unit/segstore/stripe/stripe_bench.h"

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

Test(stripe_keep, a_stream_keeps_as_many_records_as_it_is_told_to)
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

Test(stripe_keep, records_go_by_age_when_the_store_proposes_it_and_not_before)
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

Test(stripe_keep, bytes_are_bounded_by_whole_parts)
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

Test(stripe_keep, the_latest_of_each_topic_stays_and_others_are_released)
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

Test(stripe_keep, a_stream_that_begins_to_forget_keeps_its_cursors)
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
