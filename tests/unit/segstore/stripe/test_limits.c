/* What a stripe may hold is part of its log: changed by an entry, undone with it, in the image, the same on every replica. */
#include "segstore/stripe/stripe.h"

#include "shared/base/hash.h"
#include "tests/unit/segstore/stripe/stripe_bench.h"

#include <stdio.h>

static const struct stripe_limits wide = {.table_bytes_max    = 1000,
                                          .streams_max        = 10,
                                          .stream_records_max = 20,
                                          .stream_bytes_max   = 10000,
                                          .delays_max         = 10,
                                          .bounded_table      = 3,
                                          .bounded_rows_max   = 10,
                                          .bounded_bytes_max  = 200,
                                          .writers_max        = 10};

static const struct stripe_limits narrow = {.table_bytes_max    = 1,
                                            .streams_max        = 1,
                                            .stream_records_max = 1,
                                            .stream_bytes_max   = 1,
                                            .delays_max         = 1,
                                            .bounded_table      = 3,
                                            .bounded_rows_max   = 1,
                                            .bounded_bytes_max  = 1,
                                            .writers_max        = 1};

static int put_row(struct bench *b, uint32_t table, const char *key)
{
    return one(b, (struct op){.kind = OP_TABLE_PUT, .table = table, .name = bytes_str(key), .value = S("12345")});
}

static int append_topic(struct bench *b, uint64_t stream, const char *topic)
{
    struct record record = {.topic = bytes_str(topic), .payload = S("p")};
    size_t        begun  = op_append_begin(&b->ops, 0, 0, 0);
    op_append_target(&b->ops, stream, S(""));
    op_append_end(&b->ops, begun, 1, &record);
    return go(b);
}

static int delay(struct bench *b, const char *key)
{
    return one(b, (struct op){.kind = OP_TIMER_SET, .name = bytes_str(key), .delay_ns = 100});
}

static uint64_t rows(struct bench *b, uint32_t table, const char *const *keys, int count)
{
    uint64_t found = 0;
    for (int i = 0; i < count; i++) {
        cr_assert_eq(one(b, (struct op){.kind = OP_TABLE_GET, .table = table, .name = bytes_str(keys[i])}), 0);
        found += wire_get_u64(&b->r) != 0;
    }
    return found;
}

static uint64_t count_of(struct bench *b, uint64_t stream)
{
    cr_assert_eq(one(b, (struct op){.kind = OP_STREAM_STAT, .stream_id = stream}), 0);
    (void)wire_get_u64(&b->r);
    (void)wire_get_u64(&b->r);
    return wire_get_u64(&b->r);
}

/* The image of b's stripe, loaded into a new one that takes its place. */
static void reload(struct bench *b)
{
    struct wire_writer image = wire_writer_growing(1 << 20);
    stripe_save(b->s, &image);
    uint64_t hash = stripe_hash(b->s);
    stripe_free(b->s);
    b->s = stripe_new(1, NULL);
    cr_assert_eq(stripe_load(b->s, wire_written(&image), NULL), 0);
    cr_assert_eq(stripe_hash(b->s), hash);
    wire_writer_fini(&image);
}

Test(stripe_limits, a_new_stripe_has_none_and_remembers_a_fixed_number_of_writers)
{
    struct stripe             *s    = stripe_new(1, NULL);
    const struct stripe_limits none = {
        .table_bytes_max = UINT64_MAX, .streams_max = UINT64_MAX, .writers_max = STRIPE_WRITERS_AT_FIRST};
    cr_assert(stripe_limits_are(s, &none));
    cr_assert(!stripe_limits_are(s, &wide));
    stripe_free(s);
}

Test(stripe_limits, each_of_them_tells_two_stripes_apart)
{
    struct bench b;
    setup_limited(&b, wide);
    struct stripe_limits others[9];
    for (int i = 0; i < 9; i++) {
        others[i] = wide;
    }
    others[0].table_bytes_max++;
    others[1].streams_max++;
    others[2].stream_records_max++;
    others[3].delays_max++;
    others[4].bounded_table++;
    others[5].bounded_rows_max++;
    others[6].bounded_bytes_max++;
    others[7].writers_max++;
    others[8].stream_bytes_max++;
    for (int i = 0; i < 9; i++) {
        cr_assert(!stripe_limits_are(b.s, &others[i]), "%d", i);
        struct bench other;
        setup_limited(&other, others[i]);
        cr_assert_neq(stripe_hash(b.s), stripe_hash(other.s), "%d", i);
        reload(&other);
        cr_assert(stripe_limits_are(other.s, &others[i]), "%d", i);
        teardown(&other);
    }
    teardown(&b);
}

Test(stripe_limits, what_is_there_stays_when_they_are_lowered_and_only_more_is_refused)
{
    static const char *const keys[] = {"a", "b", "c", "d", "e"};
    struct bench             b;
    setup_limited(&b, wide);
    uint64_t log    = create(&b, "log", 0);
    uint64_t latest = create(&b, "latest", STREAM_LATEST);
    for (int i = 0; i < 5; i++) {
        cr_assert_eq(append(&b, log, 0, 0, 0), 0);
        cr_assert_eq(append_topic(&b, latest, keys[i]), 0);
        cr_assert_eq(put_row(&b, 3, keys[i]), 0);
        cr_assert_eq(put_row(&b, 4, keys[i]), 0);
        cr_assert_eq(delay(&b, keys[i]), 0);
    }
    limit(&b, narrow);
    for (int again = 0; again < 2; again++) {
        cr_assert_eq(b.told.released, 0);
        cr_assert_eq(count_of(&b, log), 5);
        cr_assert_eq(count_of(&b, latest), 5);
        cr_assert_eq(rows(&b, 3, keys, 5), 5);
        cr_assert_eq(rows(&b, 4, keys, 5), 5);
        cr_assert_eq(append(&b, log, 0, 0, 0), ERR_QUOTA);
        cr_assert_eq(put_row(&b, 3, "f"), ERR_QUOTA);
        cr_assert_eq(put_row(&b, 4, "f"), ERR_QUOTA);
        cr_assert_eq(put_row(&b, 3, "a"), 0, "no larger than before");
        cr_assert_eq(delay(&b, "f"), ERR_QUOTA);
        cr_assert_eq(one(&b, (struct op){.kind = OP_STREAM_CREATE, .name = S("more")}), ERR_QUOTA);
        cr_assert_eq(append_topic(&b, latest, "a"), 0);
        cr_assert_eq(count_of(&b, latest), 5, "a topic that was there takes no other one's place");
        reload(&b);
        b.told.released = 0;
    }
    cr_assert_eq(append_topic(&b, latest, "new"), 0);
    cr_assert_eq(count_of(&b, latest), 5, "one came, one went");
    cr_assert_eq(one(&b, (struct op){.kind = OP_STREAM_KEEP, .stream_id = latest}), 0);
    cr_assert_eq(count_of(&b, latest), 5);
    limit(&b, wide);
    cr_assert_eq(append(&b, log, 0, 0, 0), 0);
    cr_assert_eq(put_row(&b, 3, "f"), 0);
    cr_assert_eq(append_topic(&b, latest, "newer"), 0);
    cr_assert_eq(count_of(&b, latest), 6);
    teardown(&b);
}

static bool is_duplicate(struct bench *b, uint64_t stream, uint64_t writer)
{
    cr_assert_eq(append(b, stream, writer, 1, 1), 0);
    return wire_get_u8(&b->r) == 1;
}

Test(stripe_limits, writers_that_are_too_many_are_forgotten_by_the_entry_the_least_used_first)
{
    struct bench b;
    setup_limited(&b, wide);
    uint64_t log = create(&b, "log", 0);
    for (uint64_t writer = 1; writer <= 5; writer++) {
        cr_assert(!is_duplicate(&b, log, writer));
    }
    cr_assert(is_duplicate(&b, log, 2)); /* used again: the last to go */

    struct stripe_limits fewer = wide;
    fewer.writers_max          = 3;
    stripe_limits_op(b.s, &fewer, &b.ops);
    op_encode(&b.ops, &(struct op){.kind = OP_CHECK, .name = S("k"), .version = 1});
    cr_assert_eq(go(&b), ERR_CONFLICT);
    cr_assert(stripe_limits_are(b.s, &wide), "undone");
    limit(&b, fewer);
    for (uint64_t writer = 2; writer <= 5; writer++) {
        if (writer != 3) {
            cr_assert(is_duplicate(&b, log, writer));
        }
    }
    cr_assert(!is_duplicate(&b, log, 1));
    cr_assert(!is_duplicate(&b, log, 3));
    teardown(&b);
}

/* What was forgotten and brought back by undoing stands in its old order. */
Test(stripe_limits, undone_forgetting_leaves_no_trace)
{
    struct bench b;
    struct bench other;
    setup_limited(&b, wide);
    setup_limited(&other, wide);
    struct bench *benches[] = {&b, &other};
    for (int i = 0; i < 2; i++) {
        uint64_t log = create(benches[i], "log", 0);
        for (uint64_t writer = 1; writer <= 5; writer++) {
            cr_assert_eq(append(benches[i], log, writer, 1, 1), 0);
        }
    }
    stripe_limits_op(b.s, &narrow, &b.ops);
    op_encode(&b.ops, &(struct op){.kind = OP_CHECK, .name = S("k"), .version = 1});
    cr_assert_eq(go(&b), ERR_CONFLICT);
    cr_assert_eq(one(&other, (struct op){.kind = OP_CHECK, .name = S("k"), .version = 1}), ERR_CONFLICT);
    cr_assert_eq(stripe_hash(b.s), stripe_hash(other.s));
    teardown(&b);
    teardown(&other);
}

Test(stripe_limits, no_writers_at_all_is_malformed)
{
    struct wire_writer w = wire_writer_growing(1000);
    stripe_limits_op(NULL, &(struct stripe_limits){.writers_max = 0}, &w);
    cr_assert_eq(stripe_validate(wire_written(&w), 1000, true), ERR_MALFORMED);
    wire_writer_fini(&w);
}

/* An image does not say which tables were used once: one that is empty must be like one that never was. */
Test(stripe_limits, a_bounded_table_that_was_emptied_is_like_one_that_was_never_used)
{
    struct op row = {.kind = OP_TABLE_PUT, .table = 3, .name = S("a"), .value = S("123456")};
    for (int used = 0; used < 3; used++) {
        struct bench         b;
        struct stripe_limits limits = wide;
        limits.bounded_bytes_max    = 6;
        setup_limited(&b, limits);
        if (used > 0) {
            cr_assert_eq(one(&b, (struct op){.kind = OP_TABLE_PUT, .table = 3, .name = S("b")}), 0);
            cr_assert_eq(one(&b, (struct op){.kind = OP_TABLE_DELETE, .table = 3, .name = S("b")}), 0);
        }
        if (used > 1) {
            reload(&b);
        }
        cr_assert_eq(one(&b, row), ERR_QUOTA, "used %d", used);
        teardown(&b);
    }
}

Test(stripe_limits, an_image_from_before_there_were_limits_has_those_of_a_new_stripe)
{
    enum { LIMITS_AT = 48 };
    static const char *const keys[] = {"a", "b"};
    struct bench             b;
    struct stripe_limits     past = wide;
    past.stream_bytes_max         = 0; /* an image of this version has no place for it */
    setup_limited(&b, past);
    uint64_t log = create(&b, "log", 0);
    cr_assert_eq(append(&b, log, 1, 1, 1), 0);
    cr_assert_eq(one(&b, (struct op){.kind = OP_TRIM, .stream_id = log, .offset = 1}),
                 0); /* positions were others then: test_packing */
    cr_assert_eq(put_row(&b, 3, "a"), 0);
    struct wire_writer image = wire_writer_growing(1 << 20);
    stripe_save(b.s, &image);
    size_t size = image.size - OP_LIMITS_BYTES;
    memmove(image.data + LIMITS_AT, image.data + LIMITS_AT + OP_LIMITS_BYTES, size - LIMITS_AT);
    image.data[4]     = 4;
    uint64_t checksum = hash_bytes(bytes_of(image.data, size - 8));
    memcpy(image.data + size - 8, &checksum, 8);
    stripe_free(b.s);
    b.s = stripe_new(1, NULL);
    cr_assert_eq(stripe_load(b.s, bytes_of(image.data, size), NULL), 0);
    const struct stripe_limits none = {
        .table_bytes_max = UINT64_MAX, .streams_max = UINT64_MAX, .writers_max = STRIPE_WRITERS_AT_FIRST};
    cr_assert(stripe_limits_are(b.s, &none));
    cr_assert_eq(rows(&b, 3, keys, 1), 1);
    cr_assert(is_duplicate(&b, log, 1));
    wire_writer_fini(&image);
    teardown(&b);
}
