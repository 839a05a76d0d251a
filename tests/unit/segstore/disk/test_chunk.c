/* Cold reads have a depth and a rate of their own. */
#include "segstore/disk/chunk.h"

#include "shared/base/err.h"
#include "tests/unit/segstore/disk/disk_stage.h"

#include <criterion/criterion.h>

enum { COUNT = 4, PER_SECOND = 50 * CHUNK_BYTES, TURN_NS = 20000000 /* what a chunk costs at that rate */ };

static struct disk_stage stage;
static struct chunks     chunks;
static int               loaded;

static void on_loaded(void *ctx, int result)
{
    (void)ctx;
    cr_assert_geq(result, 0);
    loaded++;
}

static int on_open(void *ctx, struct log_segment *segment)
{
    (void)ctx;
    return disk_stage_open(&stage, segment);
}

static void begin_with(uint32_t depth, uint64_t rate)
{
    disk_stage_init(&stage);
    disk_stage_segments(&stage, 1, 2);
    chunks_init(&chunks, stage.io, &stage.segments, COUNT, depth, rate);
    chunks.loaded = on_loaded;
    chunks.open   = on_open;
    loaded        = 0;
}

static void end(void)
{
    for (struct log_segment *s = segments_next(&stage.segments, 0); s != NULL;
         s                     = segments_next(&stage.segments, s->number + 1)) {
        if (s->file != NULL) {
            io_file_close(s->file);
        }
    }
    chunks_fini(&chunks);
    disk_stage_fini(&stage);
}

TestSuite(disk_chunk, .fini = end);

static uint64_t nth(uint64_t i)
{
    return segments_position(&stage.segments, 1) + i * CHUNK_BYTES;
}

static int view(uint64_t position)
{
    struct bytes out;
    return chunk_view(&chunks, position, UINT64_MAX, &out);
}

static void read_all(void)
{
    while (chunks.reading > 0) {
        io_turn(stage.io, UINT64_MAX);
    }
}

Test(disk_chunk, is_a_view_once_it_was_read)
{
    struct bytes out;
    begin_with(4, 0);
    cr_assert_eq(view(nth(1) + 100), 1);
    read_all();
    cr_assert_eq(loaded, 1);
    cr_assert_eq(chunk_view(&chunks, nth(1) + 100, UINT64_MAX, &out), 0);
    cr_assert_eq(out.size, CHUNK_BYTES - 100);
    cr_assert_eq(chunks.reads, 1);
    cr_assert_eq(view(segments_position(&stage.segments, 3)), ERR_NOT_FOUND);
}

Test(disk_chunk, no_more_reads_are_under_way_than_the_depth)
{
    begin_with(2, 0);
    for (uint64_t i = 0; i < 4; i++) {
        cr_assert_eq(view(nth(i)), 1);
    }
    cr_assert_eq(chunks.reads, 2);
    read_all();
    cr_assert_eq(view(nth(2)), 1);
    cr_assert_eq(chunks.reads, 3);
    read_all();
}

Test(disk_chunk, without_a_rate_nothing_waits)
{
    begin_with(4, 0);
    for (uint64_t i = 0; i < 4; i++) {
        cr_assert_eq(view(nth(i)), 1);
    }
    cr_assert_eq(chunks.reads, 4);
    cr_assert_eq(chunks_next_ns(&chunks), UINT64_MAX);
    read_all();
}

Test(disk_chunk, what_a_second_pays_for_may_come_at_once)
{
    begin_with(4, 4 * CHUNK_BYTES);
    for (uint64_t i = 0; i < 4; i++) {
        cr_assert_eq(view(nth(i)), 1);
    }
    cr_assert_eq(chunks.reads, 4);
    read_all();
    cr_assert_eq(view(segments_position(&stage.segments, 2)),
                 1); /* a second's worth has been taken, and one read is let in: .. */
    read_all();
    uint64_t reads = chunks.reads;
    cr_assert_eq(view(segments_position(&stage.segments, 2) + CHUNK_BYTES), 1); /* .. it is paid for afterwards */
    cr_assert_eq(chunks.reads, reads);
}

Test(disk_chunk, beyond_the_rate_it_waits_and_whoever_asked_is_told)
{
    begin_with(4, PER_SECOND);
    chunks.bucket.due_ns = io_now_ns(stage.io) + BUCKET_BURST_NS; /* the second's worth is taken */
    cr_assert_eq(view(nth(0)), 1);
    cr_assert_eq(view(nth(1)), 1);
    cr_assert_eq(chunks.reads, 1, "the second one waits");
    uint64_t at_ns = chunks_next_ns(&chunks);
    cr_assert_eq(at_ns, io_now_ns(stage.io) + TURN_NS);
    read_all();
    cr_assert_eq(loaded, 1);
    cr_assert_eq(view(nth(0)), 0, "what is in memory needs no rate");
    if (io_now_ns(stage.io) < at_ns) { /* unless this machine was slower than that */
        chunks_turn(&chunks);
        cr_assert_eq(loaded, 1);
    }
    while (io_now_ns(stage.io) < at_ns) {
        io_turn(stage.io, at_ns);
    }
    chunks_turn(&chunks);
    cr_assert_eq(loaded, 2);
    chunks_turn(&chunks);
    cr_assert_eq(loaded, 2, "once");
    cr_assert_eq(view(nth(1)), 1);
    cr_assert_eq(chunks.reads, 2);
    read_all();
}
