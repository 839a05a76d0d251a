/* What a file holds is gathered out of blocks whose checksums are right, and out of no others: a record's own checksum says nothing of what points to it. */
#include "segstore/disk/reclaiming.h"

#include "shared/record/record.h"
#include "shared/rpc/op.h"
#include "tests/unit/segstore/disk/disk_stage.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { NUMBER = 3, BLOCKS = 3, STRIPE = 5, TAG_BYTES = 3, TAG_AT = OP_TARGET_HEADER_BYTES };

static struct disk_stage stage;
static struct wal       *wal;
static struct save       save;
static struct prepare    prepare;
static struct reclaim    reclaim;
static uint64_t          held[BLOCKS]; /* positions of targets, one in each block */
static uint64_t          damaged[BLOCKS];
static size_t            damaged_count;

static int on_open(void *ctx, struct log_segment *segment)
{
    (void)ctx;
    return disk_stage_open(&stage, segment);
}

static bool on_holds(void *ctx, const struct survivor *survivor)
{
    (void)ctx;
    (void)survivor;
    return true;
}

static void on_damaged(void *ctx, uint64_t position, uint64_t bytes, uint64_t stripes)
{
    (void)ctx;
    (void)bytes;
    cr_assert_eq(stripes, BLOCK_STRIPE_BIT(STRIPE));
    cr_assert_lt(damaged_count, BLOCKS);
    damaged[damaged_count++] = position;
}

/* A file with a block for each of three records. flip: a byte of the file that has changed since, counted from the target of the second one. */
static void write_file(int flip)
{
    static uint8_t      image[BLOCKS * 16384] __attribute__((aligned(4096)));
    struct block_header link   = {.position = segments_position(&stage.segments, NUMBER), .block_seq = 1};
    const struct record record = {.topic = bytes_str("a/b"), .payload = bytes_str("what it says")};
    size_t              used   = 0;
    for (int i = 0; i < BLOCKS; i++) {
        struct wire_writer  ops = wire_writer_growing(4096);
        struct block_writer w;
        size_t              begun = op_append_begin(&ops, 0, 0, 0);
        size_t              at    = ops.size;
        op_append_target(&ops, 100, bytes_str("tag"));
        op_append_end(&ops, begun, 1, &record);
        const struct log_entry entry = {.stripe = STRIPE, .kind = LOG_OPS, .ops = wire_written(&ops)};
        block_begin(&w, image + used, 16384);
        size_t within = (size_t)(block_append(&w, &entry) - image) + at;
        held[i]       = segments_position(&stage.segments, NUMBER) + within;
        size_t length = block_seal(&w, &wal->id, &link);
        link.previous = link.checksum;
        link.position += length;
        link.block_seq++;
        used += length;
        wire_writer_fini(&ops);
    }
    if (flip >= 0) {
        image[held[1] - segments_position(&stage.segments, NUMBER) + (size_t)flip] ^= 1;
    }
    char path[160], name[SEGMENT_NAME_BYTES];
    segment_name(NUMBER, name);
    snprintf(path, sizeof path, "%s/%s", stage.wal, name);
    int fd = open(path, O_WRONLY);
    cr_assert(fd >= 0 && pwrite(fd, image, used, 0) == (ssize_t)used);
    close(fd);
}

static void begin(void)
{
    disk_stage_init(&stage);
    disk_stage_segments(&stage, NUMBER, NUMBER);
    wal                              = calloc(1, sizeof *wal);
    wal->id                          = (struct wal_id){.bytes = "a log of its own"};
    damaged_count                    = 0;
    const struct reclaim_hooks hooks = {.open = on_open, .holds = on_holds, .damaged = on_damaged};
    reclaim_init(&reclaim, stage.io, &hooks);
    reclaim.segments = &stage.segments;
    reclaim.wal      = wal;
    reclaim.save     = &save;
    reclaim.prepare  = &prepare;
    reclaim.rate     = UINT64_MAX / 4;
}

static void end(void)
{
    struct log_segment *segment = segments_find(&stage.segments, NUMBER);
    if (segment->file != NULL) {
        io_file_close(segment->file);
    }
    reclaim_fini(&reclaim);
    free(wal);
    disk_stage_fini(&stage);
}

TestSuite(disk_source, .init = begin, .fini = end);

/* Until all that the file holds is gathered. */
static void gather(void)
{
    const struct copy_hooks hooks = {.ctx = &reclaim, .holds = reclaim_holds, .damaged = reclaim_damaged};
    copy_init(&reclaim.copy, &hooks, DISK_STAGE_SEGMENT_BYTES);
    reclaim.window = aligned_alloc(IO_ALIGN_BYTES, RECLAIM_WINDOW_BYTES);
    cr_assert_not_null(reclaim.window);
    for (int i = 0; i < BLOCKS; i++) {
        survivors_add(
            &reclaim.survivors,
            &(struct survivor){.position = held[i], .stream_id = 100, .offset = (uint64_t)i, .stripe = STRIPE});
    }
    survivors_ready(&reclaim.survivors);
    reclaim.files[0]   = NUMBER;
    reclaim.file_count = 1;
    reclaim.state      = RECLAIM_COPYING;
    source_begin(&reclaim);
    while (reclaim.file_at == 0) {
        if (!reclaim.busy) {
            source_step(&reclaim);
        }
        io_turn(stage.io, reclaim.busy ? 1000000 : 0);
    }
}

Test(disk_source, gathers_what_is_held_out_of_each_block)
{
    write_file(-1);
    gather();
    cr_assert_eq(reclaim.copy.piece_count, BLOCKS);
    cr_assert_eq(damaged_count, 0);
}

Test(disk_source, takes_nothing_out_of_a_block_that_has_changed_though_its_record_is_whole)
{
    for (int flip = TAG_AT; flip < TAG_AT + TAG_BYTES; flip++) {
        write_file(flip);
        gather();
        cr_assert_eq(reclaim.copy.piece_count, BLOCKS - 1);
        cr_assert_eq(damaged_count, 1);
        cr_assert_eq(damaged[0], held[1]);
        end();
        begin();
    }
}
