/* What is held in a block of the log, and nothing that is damaged, lies in a run's block afterwards, and is found where it is said to lie. */
#include "segstore/disk/copy.h"

#include "shared/record/record.h"
#include "shared/rpc/op.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static const struct wal_id id = {.bytes = "a log of its own"};

enum { POSITION = 7 << 20, RUN_POSITION = 1 << 30 };

struct world {
    uint8_t            *image;
    struct block_writer writer;
    struct block_header header;
    struct copy         copy;
    struct survivors    survivors;
    uint64_t            dead[8]; /* positions of what is held no longer */
    size_t              dead_count;
    uint64_t            damaged[8];
    size_t              damaged_count;
    uint64_t            at[512]; /* of targets, in the order in which they were written */
    size_t              count;
};

static bool holds(void *ctx, const struct survivor *s)
{
    const struct world *w = ctx;
    for (size_t i = 0; i < w->dead_count; i++) {
        if (w->dead[i] == s->position) {
            return false;
        }
    }
    return true;
}

static void damaged(void *ctx, const struct survivor *s)
{
    struct world *w = ctx;
    cr_assert_lt(w->damaged_count, 8);
    w->damaged[w->damaged_count++] = s->position;
}

static void setup_files(struct world *w, size_t file_bytes)
{
    *w        = (struct world){.image = aligned_alloc(4096, BLOCK_MAX_BYTES)};
    w->header = (struct block_header){.position = POSITION, .block_seq = 9};
    block_begin(&w->writer, w->image, BLOCK_MAX_BYTES);
    copy_init(&w->copy, &(struct copy_hooks){.ctx = w, .holds = holds, .damaged = damaged}, file_bytes);
    survivors_init(&w->survivors, SURVIVORS_BY_POSITION);
}

static void setup(struct world *w)
{
    setup_files(w, 64 << 20);
}

static void teardown(struct world *w)
{
    copy_fini(&w->copy);
    survivors_fini(&w->survivors);
    free(w->image);
}

/* An entry with one record for so many streams: 100, 101 .. */
static void append(struct world *w, uint16_t stripe, int streams, size_t payload_bytes)
{
    static uint8_t     payload[700000];
    struct wire_writer ops    = wire_writer_growing(1 << 20);
    struct record      record = {.topic = bytes_str("a/b"), .payload = bytes_of(payload, payload_bytes)};
    size_t             begun  = op_append_begin(&ops, 0, 0, 0);
    size_t             at[8];
    for (int i = 0; i < streams; i++) {
        at[i] = ops.size;
        op_append_target(&ops, 100u + (unsigned)i, bytes_str("tag"));
    }
    memset(payload, (int)w->count + 1, sizeof payload);
    op_append_end(&ops, begun, (uint32_t)streams, &record);
    const struct log_entry entry = {.stripe = stripe, .kind = LOG_OPS, .ops = wire_written(&ops)};
    const uint8_t         *copy  = block_append(&w->writer, &entry);
    for (int i = 0; i < streams; i++) {
        w->at[w->count++] = POSITION + (uint64_t)(copy - w->image) + at[i];
    }
    wire_writer_fini(&ops);
}

static void survive(struct world *w, uint16_t stripe, uint64_t position, uint64_t stream)
{
    survivors_add(&w->survivors, &(struct survivor){.position = position, .stream_id = stream, .stripe = stripe});
}

static void seal(struct world *w)
{
    (void)block_seal(&w->writer, &id, &w->header);
    survivors_ready(&w->survivors);
    copy_source(&w->copy, w->image, &w->header);
}

static void run_to_end(struct world *w, uint32_t steps)
{
    enum copy_result result;
    while ((result = copy_step(&w->copy, &w->survivors, steps)) == COPY_MORE) {
    }
    cr_assert_eq(result, COPY_DONE);
    copy_drain(&w->copy);
    cr_assert(copy_fill(&w->copy));
}

/* The run's block, read again, has the target at the place of a move, and its whole record behind it. */
static void check_moves(struct world *w)
{
    struct block_header link = {.position = RUN_POSITION, .block_seq = 1};
    struct block_header read;
    size_t              length = copy_length(&w->copy);
    cr_assert_eq(block_seal(&w->copy.writer, &id, &link), length);
    cr_assert_eq(block_check(bytes_of(w->copy.image, length), &id, RUN_POSITION, 4096, &read), BLOCK_VALID);
    for (size_t i = 0; i < w->copy.placed.count; i++) {
        const struct copy_move *m = &w->copy.placed.them[i];
        struct op_target        target;
        struct bytes            bytes;
        struct op_target        old;
        struct bytes            old_bytes;
        struct record           record;
        cr_assert_gt(op_target_at(bytes_of(w->copy.image + m->to, length - m->to), &target, &bytes), 0);
        size_t from = (size_t)(m->survivor.position - POSITION);
        cr_assert_gt(op_target_at(bytes_of(w->image + from, BLOCK_MAX_BYTES - from), &old, &old_bytes), 0);
        cr_assert_eq(target.stream_id, m->survivor.stream_id);
        cr_assert_eq(record_decode(bytes, &record), (int64_t)bytes.size);
        cr_assert(bytes_equal(bytes, old_bytes) && bytes_equal(target.tag, old.tag));
    }
}

Test(disk_copy, takes_what_is_held_and_leaves_what_is_dead)
{
    struct world w;
    setup(&w);
    for (int i = 0; i < 20; i++) {
        append(&w, 5, 1, 1000);
    }
    for (int i = 0; i < 20; i += 4) {
        survive(&w, 5, w.at[i], 100);
    }
    w.dead[w.dead_count++] = w.at[8]; /* since they were collected */
    seal(&w);
    run_to_end(&w, 1);
    cr_assert_eq(w.copy.placed.count, 4);
    cr_assert_eq(w.copy.writer.entry_count, 1);
    cr_assert_lt(w.copy.writer.used_bytes, 4096 + 4 * 1200);
    check_moves(&w);
    teardown(&w);
}

Test(disk_copy, a_record_of_several_streams_is_copied_once)
{
    struct world w;
    setup(&w);
    append(&w, 5, 4, 5000);
    append(&w, 5, 3, 5000);
    survive(&w, 5, w.at[1], 101);
    survive(&w, 5, w.at[3], 103);
    survive(&w, 5, w.at[4], 100);
    seal(&w);
    run_to_end(&w, 100);
    cr_assert_eq(w.copy.placed.count, 3);
    cr_assert_eq(w.copy.writer.entry_count, 1);
    cr_assert_lt(w.copy.writer.used_bytes, 4096 + 2 * 5400);
    check_moves(&w);
    teardown(&w);
}

Test(disk_copy, the_action_of_a_timer_comes_whole)
{
    struct world w;
    setup(&w);
    append(&w, 5, 1, 300);
    append(&w, 5, 1, 300);
    uint64_t begin = w.at[1] - 7;
    survivors_add(&w.survivors, &(struct survivor){.position = begin, .size = 200, .offset = 77, .stripe = 5});
    seal(&w);
    run_to_end(&w, 100);
    cr_assert_eq(w.copy.placed.count, 1);
    cr_assert(memcmp(w.copy.image + w.copy.placed.them[0].to, w.image + (begin - POSITION), 200) == 0);
    teardown(&w);
}

/* All of it, block by block; how many survivors were placed. */
static size_t write_all(struct world *w, int *out_blocks, size_t limit_bytes)
{
    size_t           moved = 0;
    enum copy_result result;
    *out_blocks = 0;
    while ((result = copy_step(&w->copy, &w->survivors, 3)) == COPY_MORE) {
    }
    cr_assert_eq(result, COPY_DONE);
    copy_drain(&w->copy);
    while (copy_fill(&w->copy)) {
        cr_assert_leq(copy_length(&w->copy), limit_bytes);
        check_moves(w);
        moved += w->copy.placed.count;
        ++*out_blocks;
    }
    cr_assert_not(copy_any(&w->copy));
    return moved;
}

Test(disk_copy, what_does_not_fit_one_block_comes_in_the_next_and_nothing_is_lost_between)
{
    struct world w;
    int          blocks;
    setup(&w);
    for (int i = 0; i < 12; i++) {
        append(&w, 5, 1, 60000);
        survive(&w, 5, w.at[i], 100);
    }
    seal(&w);
    cr_assert_eq(write_all(&w, &blocks, 256 * 1024), 12);
    cr_assert_gt(blocks, 1);
    teardown(&w);
}

Test(disk_copy, no_block_is_larger_than_the_files_are)
{
    struct world w;
    int          blocks;
    setup_files(&w, 68 * 1024);
    for (int i = 0; i < 12; i++) {
        append(&w, 5, 1, 60000);
        survive(&w, 5, w.at[i], 100);
    }
    seal(&w);
    cr_assert_eq(write_all(&w, &blocks, 68 * 1024), 12);
    cr_assert_eq(blocks, 12);
    teardown(&w);
}

Test(disk_copy, records_of_a_stream_lie_together_in_their_order_however_they_came)
{
    struct world    w;
    struct survivor last = {0};
    setup(&w);
    for (int i = 0; i < 300; i++) {
        uint16_t stripe = (uint16_t)(i % 2);
        append(&w, stripe, 1, 100);
        survivors_add(&w.survivors,
                      &(struct survivor){
                          .position = w.at[i], .stream_id = 100, .offset = (uint64_t)(i * 7 % 300), .stripe = stripe});
    }
    seal(&w);
    enum copy_result result;
    while ((result = copy_step(&w.copy, &w.survivors, 50)) == COPY_MORE) {
    }
    copy_drain(&w.copy);
    cr_assert(copy_fill(&w.copy));
    check_moves(&w);
    cr_assert_eq(w.copy.placed.count, 300);
    cr_assert_eq(w.copy.writer.entry_count, 2, "a stripe's records share an entry");
    for (size_t i = 0; i < 300; i++) {
        const struct copy_move *m = &w.copy.placed.them[i];
        cr_assert(i == 0 || m->to > w.copy.placed.them[i - 1].to);
        cr_assert(i == 0 || m->survivor.stripe > last.stripe || m->survivor.offset > last.offset);
        last = m->survivor;
    }
    teardown(&w);
}

Test(disk_copy, a_record_larger_than_a_block_of_the_usual_size_gets_one_of_its_own)
{
    struct world w;
    setup(&w);
    append(&w, 5, 1, 600000);
    uint64_t big = w.at[0];
    survivors_add(&w.survivors, &(struct survivor){.position = big, .stream_id = 100, .stripe = 5});
    seal(&w);
    run_to_end(&w, 100);
    check_moves(&w);
    cr_assert_eq(w.copy.placed.count, 1);
    teardown(&w);
}

Test(disk_copy, what_is_not_what_it_should_be_is_told_and_not_copied)
{
    struct world w;
    setup(&w);
    for (int i = 0; i < 6; i++) {
        append(&w, 5, 1, 1000);
    }
    survive(&w, 5, w.at[0], 100);
    survive(&w, 5, w.at[1], 100);     /* its record will be damaged */
    survive(&w, 6, w.at[2], 100);     /* another stripe's */
    survive(&w, 5, w.at[3], 555);     /* another stream's */
    survive(&w, 5, w.at[4] + 3, 100); /* no target lies there */
    survivors_add(&w.survivors,
                  &(struct survivor){.position = w.at[5], .size = 100000, .stripe = 5}); /* longer than its entry */
    w.image[w.at[1] - POSITION + 500] ^= 1; /* before it is sealed: the block's own checksums are right */
    seal(&w);
    run_to_end(&w, 100);
    cr_assert_eq(w.copy.placed.count, 1);
    cr_assert_eq(w.copy.placed.them[0].survivor.position, w.at[0]);
    cr_assert_eq(w.damaged_count, 5);
    cr_assert_eq(w.copy.writer.entry_count, 1);
    teardown(&w);
}

Test(disk_copy, a_hole_between_records_stays_where_it_is)
{
    static const uint8_t   zeros[OP_TARGET_HEADER_BYTES];
    const struct log_entry hole = {.stripe = 5, .kind = LOG_BODY, .ops = bytes_of(zeros, sizeof zeros)};
    struct world           w;
    setup(&w);
    for (int i = 0; i < 3; i++) {
        append(&w, 5, 1, 1000);
        survive(&w, 5, w.at[w.count - 1], 100);
        const uint8_t *copy = block_append(&w.writer, &hole);
        w.at[w.count++]     = POSITION + (uint64_t)(copy - w.image);
        survive(&w, 5, w.at[w.count - 1], 100);
    }
    seal(&w);
    run_to_end(&w, 1);
    cr_assert_eq(w.copy.placed.count, 3);
    cr_assert_eq(w.damaged_count, 3);
    for (size_t i = 0; i < 3; i++) {
        cr_assert_eq(w.copy.placed.them[i].survivor.position, w.at[2 * i]);
        cr_assert_eq(w.damaged[i], w.at[2 * i + 1]);
    }
    check_moves(&w);
    teardown(&w);
}

Test(disk_copy, weighing_adds_up_what_copying_would_take_and_keeps_nothing)
{
    struct world w;
    setup(&w);
    append(&w, 5, 3, 5000);
    append(&w, 5, 1, 64);
    append(&w, 5, 1, 600000);
    for (int i = 0; i < 5; i++) {
        survive(&w, 5, w.at[i], 100u + (i < 3 ? (unsigned)i : 0));
    }
    w.dead[w.dead_count++] = w.at[3];
    w.copy.weighing        = true;
    seal(&w);
    enum copy_result result;
    while ((result = copy_step(&w.copy, &w.survivors, 1)) == COPY_MORE) {
    }
    cr_assert_eq(result, COPY_DONE);
    cr_assert_not(copy_any(&w.copy));
    cr_assert(w.copy.weight > 605000 && w.copy.weight < 605200, "%llu: a record of three streams counts once",
              (unsigned long long)w.copy.weight);
    teardown(&w);
}
