/* How many bytes may wait in a queue: what is refused, what makes room again, and that it is the same after every image and every undoing. */
#include "segstore/stripe/stripe.h"

#include "shared/base/err.h"
#include "shared/base/rand.h"
#include "shared/record/record.h"
#include "shared/rpc/op.h"
#include "tests/unit/segstore/stripe/stripe_bench.h"

enum { RECORD_BYTES = 42, LIMIT = 1680 }; /* a record without a payload has 41 */

static struct stripe_limits bytes_max(uint64_t bytes)
{
    return (struct stripe_limits){
        .table_bytes_max = 1000, .streams_max = 10, .writers_max = 2, .stream_bytes_max = bytes};
}

static uint64_t setup_queue(struct bench *b, uint64_t bytes)
{
    setup_limited(b, bytes_max(bytes));
    return create(b, "q", STREAM_QUEUE);
}

static const uint8_t zeros[1000];

static struct record sized(size_t record_bytes)
{
    return (struct record){.topic = S("t"), .payload = bytes_of(zeros, record_bytes - (RECORD_BYTES - 1))};
}

static int append_sized(struct bench *b, uint64_t stream, size_t record_bytes)
{
    struct record record = sized(record_bytes);
    size_t        begun  = op_append_begin(&b->ops, 0, 0, 0);
    op_append_target(&b->ops, stream, S(""));
    op_append_end(&b->ops, begun, 1, &record);
    return go(b);
}

static int run_of(struct bench *b, const uint64_t *streams, uint32_t count)
{
    struct record record = sized(RECORD_BYTES);
    size_t        begun  = op_run_begin(&b->ops, 0, 0, 0);
    for (uint32_t i = 0; i < count; i++) {
        op_run_add(&b->ops, streams[i], S(""), &record);
    }
    op_run_end(&b->ops, begun, count);
    return go(b);
}

static uint64_t waiting(const struct bench *b, uint64_t stream)
{
    struct stripe_stream out;
    cr_assert_eq(stripe_stream(b->s, stream, &out), 0);
    return out.next_offset - out.start_offset;
}

/* Appends until it is refused; returns how many were taken. */
static uint64_t fill(struct bench *b, uint64_t stream, size_t record_bytes)
{
    uint64_t taken = 0;
    int      status;
    while ((status = append_sized(b, stream, record_bytes)) == 0) {
        taken++;
        cr_assert_lt(taken, 10000u);
    }
    cr_assert_eq(status, ERR_QUOTA);
    return taken;
}

static void take(struct bench *b, uint64_t stream, uint64_t records)
{
    struct stripe_stream out;
    cr_assert_eq(stripe_stream(b->s, stream, &out), 0);
    cr_assert_eq(mark(b, stream, 1, out.start_offset, out.start_offset + records - 1, CURSOR_DONE), 0);
}

/* The image of b's stripe, loaded into a new one that takes its place. */
static void reload(struct bench *b)
{
    struct wire_writer image = wire_writer_growing(1 << 20);
    struct wire_writer again = wire_writer_growing(1 << 20);
    stripe_save(b->s, &image);
    uint64_t hash = stripe_hash(b->s);
    stripe_free(b->s);
    b->s = stripe_new(1, NULL);
    cr_assert_eq(stripe_load(b->s, wire_written(&image), NULL), 0);
    cr_assert_eq(stripe_hash(b->s), hash);
    stripe_save(b->s, &again);
    cr_assert(bytes_equal(wire_written(&image), wire_written(&again)));
    wire_writer_fini(&image);
    wire_writer_fini(&again);
}

static uint16_t image_version(const struct bench *b)
{
    struct wire_writer image = wire_writer_growing(1 << 20);
    stripe_save(b->s, &image);
    uint16_t version = 0;
    memcpy(&version, image.data + 4, sizeof version);
    wire_writer_fini(&image);
    return version;
}

Test(stripe_backlog, takes_as_many_bytes_as_it_may_and_more_as_soon_as_some_are_acknowledged)
{
    struct bench b;
    uint64_t     q = setup_queue(&b, LIMIT);
    cr_assert_eq(fill(&b, q, RECORD_BYTES), LIMIT / RECORD_BYTES, "exactly");
    uint64_t size = LIMIT / 16 / RECORD_BYTES + 1; /* records of a part */
    cr_assert_eq(size, 3);
    for (int round = 0; round < 100; round++) {
        uint64_t left = LIMIT / RECORD_BYTES - waiting(&b, q);
        cr_assert_leq(left, size - 1, "what is gone counts for less than a part");
        uint64_t done = 1 + (uint64_t)round % 7;
        take(&b, q, done);
        uint64_t taken = fill(&b, q, RECORD_BYTES);
        cr_assert(taken <= left + done && taken + size - 1 >= left + done, "round %d: %lu", round, taken);
    }
    take(&b, q, waiting(&b, q));
    cr_assert_eq(fill(&b, q, RECORD_BYTES), LIMIT / RECORD_BYTES, "empty is empty");
    cr_assert_eq(one(&b, (struct op){.kind = OP_TRIM, .stream_id = q, .offset = UINT64_MAX}), 0);
    cr_assert_eq(fill(&b, q, RECORD_BYTES), LIMIT / RECORD_BYTES, "trimmed is empty, too");
    teardown(&b);
}

/* Whatever their sizes: never more than the limit waits, and a refusal means that all but a sixteenth of it is in use. */
Test(stripe_backlog, of_large_and_small_records_is_limited_as_well)
{
    struct bench b;
    uint64_t     q = setup_queue(&b, 4000);
    struct rand  r;
    uint64_t     bytes = 0, refused = 0, first = 0, next = 0;
    uint64_t     sizes[4000];
    rand_init(&r, 7, 0);
    while (next < 4000) {
        uint64_t size   = RECORD_BYTES + (rand_chance(&r, 4) ? rand_below(&r, 900) : rand_below(&r, 20));
        int      status = append_sized(&b, q, size);
        if (status == 0) {
            cr_assert(bytes + size <= 4000 || first == next);
            sizes[next++] = size;
            bytes += size;
            continue;
        }
        cr_assert_eq(status, ERR_QUOTA);
        cr_assert_gt(bytes + size + 4000 / 16, 4000);
        refused++;
        uint64_t done = 1 + rand_below(&r, next - first);
        take(&b, q, done);
        for (; done > 0; done--) {
            bytes -= sizes[first++];
        }
    }
    cr_assert_gt(refused, 100);
    teardown(&b);
}

Test(stripe_backlog, that_is_empty_takes_one_record_whatever_its_size)
{
    struct bench b;
    uint64_t     q = setup_queue(&b, 100);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(append_sized(&b, q, 900), 0);
        cr_assert_eq(append_sized(&b, q, RECORD_BYTES), ERR_QUOTA);
        take(&b, q, 1);
    }
    teardown(&b);
}

Test(stripe_backlog, of_what_is_no_queue_is_not_limited_in_bytes)
{
    struct bench b;
    setup_limited(&b, bytes_max(100));
    uint64_t log = create(&b, "log", 0), latest = create(&b, "latest", STREAM_LATEST);
    uint64_t all[] = {log, log, log, log, latest, latest, log};
    for (int i = 0; i < 10; i++) {
        cr_assert_eq(append_sized(&b, log, RECORD_BYTES), 0);
        cr_assert_eq(append_sized(&b, latest, RECORD_BYTES), 0);
        cr_assert_eq(run_of(&b, all, 7), 0);
    }
    cr_assert_eq(one(&b, (struct op){.kind = OP_STREAM_KEEP, .stream_id = log, .max_count = 3}), 0);
    cr_assert_eq(append_sized(&b, log, RECORD_BYTES), 0);
    cr_assert_eq(waiting(&b, log), 3);
    teardown(&b);
}

Test(stripe_backlog, that_is_full_is_passed_over_when_another_stream_takes_the_record)
{
    struct bench b;
    uint64_t     q     = setup_queue(&b, 100);
    uint64_t     other = create(&b, "other", STREAM_QUEUE);
    cr_assert_eq(fill(&b, q, RECORD_BYTES), 2);
    put_append(&b.ops, q, other, 0, 0, 0);
    cr_assert_eq(go(&b), 0);
    (void)wire_get_u8(&b.r);
    cr_assert_eq(wire_get_u32(&b.r), 2);
    cr_assert_eq(wire_get_u64(&b.r), OP_OFFSET_NONE);
    cr_assert_eq(wire_get_u64(&b.r), 0);
    cr_assert(waiting(&b, q) == 2 && waiting(&b, other) == 1);
    put_append(&b.ops, q, other, 0, 0, 0);
    cr_assert_eq(go(&b), 0);
    put_append(&b.ops, q, other, 0, 0, 0);
    cr_assert_eq(go(&b), ERR_QUOTA);
    teardown(&b);
}

Test(stripe_backlog, that_a_run_would_fill_takes_none_of_it)
{
    struct bench b;
    uint64_t     q     = setup_queue(&b, 130);
    uint64_t     other = create(&b, "other", STREAM_QUEUE);
    uint64_t     hash  = stripe_hash(b.s);
    uint64_t     run[] = {q, q, other, q, q};
    cr_assert_eq(run_of(&b, run, 5), ERR_QUOTA);
    cr_assert(waiting(&b, q) == 0 && waiting(&b, other) == 0 && b.told.retained == 0);
    cr_assert_neq(hash, stripe_hash(b.s), "an entry more");
    cr_assert_eq(run_of(&b, run, 4), 0);
    cr_assert_eq(run_of(&b, run, 1), ERR_QUOTA);
    cr_assert_eq(run_of(&b, run + 2, 1), 0);
    teardown(&b);
}

/* One stripe appends, trims and fails; the other fails without having done anything: no trace of it is left. */
Test(stripe_backlog, is_as_it_was_when_a_transaction_is_undone)
{
    struct bench  b, other;
    struct bench *both[] = {&b, &other};
    uint64_t      q      = 0;
    for (int i = 0; i < 2; i++) {
        q = setup_queue(both[i], 200);
        cr_assert_eq(create(both[i], "empty", STREAM_QUEUE), q + 1);
        for (int n = 0; n < 3; n++) {
            cr_assert_eq(append_sized(both[i], q, RECORD_BYTES), 0);
        }
    }
    for (int what = 0; what < 5; what++) {
        if (what == 0) {
            put_append(&b.ops, q, q + 1, 0, 0, 0);
        }
        if (what == 1 || what == 2) {
            op_encode(&b.ops, &(struct op){.kind = OP_TRIM, .stream_id = q, .offset = what == 1 ? 2 : 3});
            put_append(&b.ops, q, q, 0, 0, 0);
        }
        if (what == 3) {
            op_encode(&b.ops, &(struct op){.kind = OP_STREAM_BYTES});
            put_append(&b.ops, q, q + 1, 0, 0, 0);
        }
        if (what == 4) {
            op_encode(&b.ops, &(struct op){.kind = OP_STREAM_DELETE, .name = S("q")});
        }
        for (int i = 0; i < 2; i++) {
            cr_assert_eq(one(both[i], (struct op){.kind = OP_CHECK, .name = S("k"), .version = 1}), ERR_CONFLICT);
        }
        cr_assert_eq(stripe_hash(b.s), stripe_hash(other.s), "%d", what);
    }
    cr_assert_eq(append_sized(&b, q, RECORD_BYTES), 0);
    cr_assert_eq(append_sized(&b, q, RECORD_BYTES), ERR_QUOTA);
    teardown(&b);
    teardown(&other);
}

/* Emptied and filled more than once by one entry: what counted is gone at its end, or is not. */
Test(stripe_backlog, may_be_emptied_and_filled_by_one_transaction)
{
    for (int last = 0; last < 2; last++) {
        struct bench b;
        uint64_t     q = setup_queue(&b, 100);
        cr_assert_eq(append_sized(&b, q, RECORD_BYTES), 0);
        for (uint64_t i = 1; i <= 3; i++) {
            op_encode(&b.ops, &(struct op){.kind = OP_TRIM, .stream_id = q, .offset = i});
            if (last == 0 || i < 3) {
                put_append(&b.ops, q, 0, 0, 0, 0);
            }
        }
        cr_assert_eq(go(&b), 0);
        cr_assert_eq(waiting(&b, q), last == 0 ? 1 : 0);
        reload(&b);
        cr_assert_eq(fill(&b, q, RECORD_BYTES), last == 0 ? 1 : 2);
        teardown(&b);
    }
}

Test(stripe_backlog, counts_the_same_whenever_it_was_loaded)
{
    struct bench b, loaded;
    uint64_t     q = setup_queue(&b, 1000);
    struct rand  r;
    rand_init(&r, 3, 0);
    (void)setup_queue(&loaded, 1000);
    for (int i = 0; i < 500; i++) {
        uint64_t size   = RECORD_BYTES + rand_below(&r, 100);
        int      status = append_sized(&b, q, size);
        cr_assert_eq(append_sized(&loaded, q, size), status);
        if (rand_chance(&r, 3) && waiting(&b, q) != 0) {
            uint64_t done = 1 + rand_below(&r, waiting(&b, q));
            take(&b, q, done);
            take(&loaded, q, done);
        }
        reload(&loaded);
        cr_assert_eq(stripe_hash(b.s), stripe_hash(loaded.s));
    }
    teardown(&b);
    teardown(&loaded);
}

Test(stripe_backlog, limit_that_is_raised_gives_room_and_lowered_keeps_what_is_there)
{
    struct bench b;
    uint64_t     q = setup_queue(&b, 420);
    cr_assert_eq(fill(&b, q, RECORD_BYTES), 10);
    limit(&b, bytes_max(840));
    cr_assert_eq(fill(&b, q, RECORD_BYTES), 10);
    limit(&b, bytes_max(420));
    reload(&b);
    cr_assert_eq(waiting(&b, q), 20);
    take(&b, q, 10);
    cr_assert_eq(append_sized(&b, q, RECORD_BYTES), ERR_QUOTA);
    take(&b, q, 2); /* a part of the higher limit */
    cr_assert_neq(fill(&b, q, RECORD_BYTES), 0);
    teardown(&b);
}

Test(stripe_backlog, without_a_limit_counts_nothing_and_begins_anew_with_one)
{
    struct bench b;
    uint64_t     q = setup_queue(&b, 0);
    for (int i = 0; i < 5; i++) {
        cr_assert_eq(append_sized(&b, q, 500), 0);
    }
    cr_assert_eq(image_version(&b), 6);
    for (int again = 0; again < 2; again++) {
        limit(&b, bytes_max(420));
        cr_assert_eq(image_version(&b), 7);
        cr_assert_eq(fill(&b, q, RECORD_BYTES), 10, "what was there counts as nothing");
        reload(&b);
        cr_assert_eq(append_sized(&b, q, RECORD_BYTES), ERR_QUOTA);
        limit(&b, bytes_max(0));
        cr_assert_eq(image_version(&b), 6, "as if there had been none");
        cr_assert_eq(append_sized(&b, q, RECORD_BYTES), 0);
        reload(&b);
    }
    take(&b, q, waiting(&b, q));
    teardown(&b);
}

Test(stripe_backlog, is_limited_in_records_at_the_same_time)
{
    struct bench         b;
    struct stripe_limits limits = bytes_max(10000);
    limits.stream_records_max   = 3;
    setup_limited(&b, limits);
    uint64_t q = create(&b, "q", STREAM_QUEUE), log = create(&b, "log", 0);
    cr_assert_eq(fill(&b, q, RECORD_BYTES), 3);
    cr_assert_eq(fill(&b, log, RECORD_BYTES), 3);
    limits.stream_records_max = 0;
    limit(&b, limits);
    cr_assert_gt(fill(&b, q, RECORD_BYTES), 200u);
    teardown(&b);
}

/* Where nobody limits bytes, programs of before meet nothing that they do not know. */
Test(stripe_backlog, limit_of_bytes_is_asked_for_only_where_it_is_another_one)
{
    struct bench         b;
    struct wire_writer   w      = wire_writer_growing(1000);
    struct stripe_limits limits = bytes_max(0);
    setup_limited(&b, limits);
    limits.streams_max++;
    stripe_limits_op(b.s, &limits, &w);
    cr_assert_eq(w.size, OP_HEADER_BYTES + OP_LIMITS_BYTES);
    limits = bytes_max(5);
    limit(&b, limits);
    w.size = 0;
    limits.streams_max++;
    stripe_limits_op(b.s, &limits, &w);
    cr_assert_eq(w.size, OP_HEADER_BYTES + OP_LIMITS_BYTES);
    limit(&b, limits); /* bytes stay what they are */
    w.size = 0;
    op_encode(&w, &(struct op){.kind = OP_STREAM_BYTES, .max_bytes = 7});
    cr_assert_eq(stripe_validate(wire_written(&w), 1000, false), ERR_DENIED);
    cr_assert_eq(stripe_validate(wire_written(&w), 1000, true), 0);
    wire_writer_fini(&w);
    teardown(&b);
}
