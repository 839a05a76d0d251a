/* Records that lie elsewhere now: who is told, what is left as it was, and what a walk finds. */
#include "segstore/stripe/stripe.h"

#include "tests/unit/segstore/stripe/stripe_bench.h"

#include <stdio.h>
#include <stdlib.h>

enum { HELD_MAX = 8192 };

struct found {
    struct stripe_held held[HELD_MAX];
    size_t             count;
};

static void note(void *ctx, const struct stripe_held *held)
{
    struct found *f = ctx;
    cr_assert_lt(f->count, HELD_MAX);
    f->held[f->count++] = *held;
}

static struct found *walk(const struct stripe *s, uint32_t steps)
{
    struct found      *f     = calloc(1, sizeof *f);
    struct stripe_walk w     = {0};
    int                calls = 0;
    while (!stripe_walk(s, &w, steps, note, f)) {
        cr_assert_lt(calls++, 100000, "it comes to an end");
    }
    return f;
}

static uint64_t where(const struct stripe *s, uint64_t stream, uint64_t offset)
{
    uint64_t position = 0;
    uint64_t first;
    cr_assert_eq(stripe_positions(s, stream, offset, &position, 1, &first), 1);
    cr_assert_eq(first, offset);
    return position;
}

static void append_topic(struct bench *b, uint64_t stream, const char *topic)
{
    struct record record = {.topic = bytes_str(topic), .payload = S("p")};
    size_t        begun  = op_append_begin(&b->ops, 0, 0, 0);
    op_append_target(&b->ops, stream, S(""));
    op_append_end(&b->ops, begun, 1, &record);
    cr_assert_eq(go(b), 0);
}

Test(stripe_move, a_record_that_is_moved_is_found_there_and_the_state_is_the_same)
{
    struct bench b;
    setup(&b);
    uint64_t log = create(&b, "log", 0);
    cr_assert_eq(append(&b, log, 0, 0, 0), 0);
    cr_assert_eq(append(&b, log, 0, 0, 0), 0);
    uint64_t    hash = stripe_hash(b.s);
    uint64_t    from = where(b.s, log, 1);
    struct told told = b.told;
    cr_assert(stripe_relocate(b.s, log, 1, from, 123456));
    cr_assert_eq(where(b.s, log, 1), 123456);
    cr_assert_neq(where(b.s, log, 0), 123456);
    cr_assert_eq(stripe_hash(b.s), hash);
    cr_assert(b.told.retained == told.retained + 1 && b.told.released == told.released + 1);
    cr_assert(b.told.appended == told.appended && b.told.changed == told.changed, "nobody else hears of it");
    teardown(&b);
}

Test(stripe_move, what_is_gone_or_elsewhere_is_not_moved_and_nobody_is_told)
{
    struct bench b;
    setup(&b);
    uint64_t log   = create(&b, "log", 0);
    uint64_t queue = create(&b, "queue", STREAM_QUEUE);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(append(&b, log, 0, 0, 0), 0);
        cr_assert_eq(append(&b, queue, 0, 0, 0), 0);
    }
    uint64_t at[3]    = {where(b.s, log, 0), where(b.s, log, 1), where(b.s, log, 2)};
    uint64_t acked_at = where(b.s, queue, 1);
    cr_assert_eq(one(&b, (struct op){.kind = OP_TRIM, .stream_id = log, .offset = 1}), 0);
    uint8_t            bytes[32];
    struct wire_writer items = wire_writer_fixed(bytes, sizeof bytes);
    op_range_append(&items, (struct op_range){.first = 1, .last = 1, .mark = CURSOR_DONE});
    cr_assert_eq(
        one(&b, (struct op){.kind = OP_CURSOR_MOVE, .stream_id = queue, .count = 1, .items = wire_written(&items)}), 0);
    cr_assert(stripe_relocate(b.s, log, 2, at[2], 777));
    struct told told = b.told;
    cr_assert_not(stripe_relocate(b.s, log, 0, at[0], 888), "trimmed");
    cr_assert_not(stripe_relocate(b.s, log, 1, at[2], 888), "another record lies there");
    cr_assert_not(stripe_relocate(b.s, log, 2, at[2], 888), "it was moved before");
    cr_assert_not(stripe_relocate(b.s, log, 1, at[1], at[1]), "it is there");
    cr_assert_not(stripe_relocate(b.s, log, 3, at[2], 888), "behind the end");
    cr_assert_not(stripe_relocate(b.s, log + 100, 0, at[0], 888), "no such stream");
    cr_assert_not(stripe_relocate(b.s, queue, 1, acked_at, 888), "acknowledged ahead of the cursor");
    cr_assert_not(stripe_relocate(b.s, queue, 1, UINT64_MAX, 888), "nor does it lie nowhere");
    cr_assert_not(stripe_relocate(b.s, 0, 5, at[1], 888), "no such timer");
    cr_assert(memcmp(&told, &b.told, sizeof told) == 0);
    cr_assert(where(b.s, log, 1) == at[1] && where(b.s, log, 2) == 777);
    const struct stripe_held there = {.position = 777, .stream_id = log, .offset = 2};
    const struct stripe_held was   = {.position = at[2], .stream_id = log, .offset = 2};
    cr_assert(stripe_holds(b.s, &there) && !stripe_holds(b.s, &was));
    teardown(&b);
}

Test(stripe_move, the_newest_record_of_a_topic_is_moved_and_an_older_one_is_not)
{
    struct bench b;
    setup(&b);
    uint64_t latest = create(&b, "latest", STREAM_LATEST);
    append_topic(&b, latest, "a");
    append_topic(&b, latest, "b");
    uint64_t old = where(b.s, latest, 0);
    append_topic(&b, latest, "a");
    cr_assert_not(stripe_relocate(b.s, latest, 0, old, 555));
    uint64_t at = where(b.s, latest, 1);
    cr_assert(stripe_relocate(b.s, latest, 1, at, 555));
    cr_assert_eq(where(b.s, latest, 1), 555);
    append_topic(&b, latest, "b"); /* releases 555 */
    cr_assert_eq(b.told.retained - b.told.released, 2);
    teardown(&b);
}

Test(stripe_move, the_action_of_a_timer_is_moved_as_a_whole_and_what_it_appends_lies_in_the_copy)
{
    struct bench       b;
    struct wire_writer action = wire_writer_growing(1000);
    setup(&b);
    uint64_t log = create(&b, "log", 0);
    put_append(&action, log, 0, 0, 0, 0);
    put_append(&action, log, log, 0, 0, 0);
    set_timer(&b, "will", 7, 30, &action);
    op_encode(&action, &(struct op){.kind = OP_TABLE_PUT, .name = S("k"), .value = S("v")});
    struct found *f = walk(b.s, 100);
    cr_assert_eq(f->count, 1);
    struct stripe_held held = f->held[0];
    cr_assert(held.stream_id == 0 && held.size > 0 && stripe_holds(b.s, &held));
    uint64_t    hash = stripe_hash(b.s);
    struct told told = b.told;
    cr_assert(stripe_relocate(b.s, 0, held.offset, held.position, 500000));
    cr_assert_eq(stripe_hash(b.s), hash);
    cr_assert(b.told.retained == told.retained + 2 && b.told.released == told.released + 2, "one for each append");
    cr_assert_not(stripe_relocate(b.s, 0, held.offset, held.position, 600000), "it was moved before");
    cr_assert_eq(one(&b, (struct op){.kind = OP_OWNER_LOST, .owner = 7}), 0);
    cr_assert_eq(one(&b, (struct op){.kind = OP_TIMER_RUN, .name = S("will")}), 0);
    for (uint64_t offset = 0; offset < 3; offset++) {
        uint64_t at = where(b.s, log, offset);
        cr_assert(at >= 500000 && at < 500000 + held.size);
    }
    free(f);
    wire_writer_fini(&action);
    teardown(&b);
}

static int by_position(const void *a, const void *b)
{
    uint64_t x = ((const struct stripe_held *)a)->position;
    uint64_t y = ((const struct stripe_held *)b)->position;
    return x < y ? -1 : x > y;
}

Test(stripe_move, a_walk_in_small_steps_tells_everything_once)
{
    struct bench b;
    setup_limited(&b, (struct stripe_limits){.table_bytes_max = 1000, .streams_max = 100, .writers_max = 2});
    uint64_t streams[40];
    for (int i = 0; i < 40; i++) {
        char name[16];
        snprintf(name, sizeof name, "s%d", i);
        streams[i] = create(&b, name, i % 7 == 3 ? STREAM_LATEST : 0);
    }
    for (int i = 0; i < 2000; i++) {
        char topic[16];
        snprintf(topic, sizeof topic, "t%d", i % 50);
        append_topic(&b, streams[i % 3 == 0 ? 1 : i % 40], topic);
    }
    const uint32_t steps[] = {1, 3, 64, 1000000};
    struct found  *all     = walk(b.s, 1000000);
    qsort(all->held, all->count, sizeof all->held[0], by_position);
    cr_assert_eq(all->count, (size_t)(b.told.retained - b.told.released));
    for (size_t n = 0; n < 4; n++) {
        struct found *f = walk(b.s, steps[n]);
        cr_assert_eq(f->count, all->count, "in steps of %u", steps[n]);
        qsort(f->held, f->count, sizeof f->held[0], by_position);
        for (size_t i = 0; i < f->count; i++) {
            cr_assert_eq(f->held[i].position, all->held[i].position);
            cr_assert(stripe_holds(b.s, &f->held[i]));
        }
        free(f);
    }
    free(all);
    teardown(&b);
}

Test(stripe_move, a_walk_ends_though_streams_come_and_go_meanwhile)
{
    struct bench       b;
    struct stripe_walk w = {0};
    setup_limited(&b, (struct stripe_limits){.table_bytes_max = 1000, .streams_max = 5000, .writers_max = 2});
    struct found *f = calloc(1, sizeof *f);
    for (int i = 0; i < 3000; i++) {
        char name[16];
        snprintf(name, sizeof name, "s%d", i);
        append_topic(&b, create(&b, name, 0), "t");
    }
    int gone = 0;
    while (!stripe_walk(b.s, &w, 7, note, f)) {
        char name[16];
        snprintf(name, sizeof name, "s%d", gone++);
        cr_assert_lt(gone, 100000);
        cr_assert_eq(one(&b, (struct op){.kind = OP_STREAM_DELETE, .name = S(name)}), 0);
    }
    for (size_t i = 0; i < f->count; i++) { /* whether it is still held or not: nothing but that is moved */
        bool held = stripe_holds(b.s, &f->held[i]);
        cr_assert_eq(stripe_relocate(b.s, f->held[i].stream_id, f->held[i].offset, f->held[i].position, 9000000 + i),
                     held);
    }
    free(f);
    teardown(&b);
}
