/* Streams: their names, who made them, fences, retries, bounds. */
#include "segstore/stripe/stripe.h"

#include "shared/base/err.h"
#include "shared/rpc/op.h"
#include "tests/unit/segstore/stripe/stripe_bench.h"

Test(stripe_stream, a_deleted_name_gets_a_new_id_and_followers_are_told)
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

Test(stripe_stream, a_stream_is_new_for_the_owner_that_made_it)
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

Test(stripe_stream, a_fence_drops_followers_and_old_cursors)
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

Test(stripe_stream, a_retry_is_answered_with_the_first_offset_and_appends_nothing)
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

Test(stripe_stream, a_full_stream_is_skipped_beside_another_and_refused_alone)
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

static uint64_t create_long(struct bench *b, size_t size, char last)
{
    static char name[65535];
    memset(name, 'n', sizeof name);
    name[size - 1] = last;
    cr_assert_eq(one(b, (struct op){.kind = OP_STREAM_CREATE, .name = bytes_of(name, size)}), 0);
    return wire_get_u64(&b->r);
}

/* 254 bytes are the most whose size has room beside the other small things of a stream. */
Test(stripe_stream, names_of_any_length_are_told_apart)
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
