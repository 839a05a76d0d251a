/* Files of the log to come: ready in time, filled as well as can be. */
#include "segstore/disk/prepare.h"

#include "tests/unit/segstore/disk/disk_stage.h"

#include <criterion/criterion.h>

enum { TURNS_MAX = 10000 };

static struct disk_stage stage;
static struct spare      spare;
static struct prepare    prepare;

static void on_failed(void *ctx, const char *what, int error)
{
    (void)ctx;
    cr_assert_fail("%s: %d", what, error);
}

static void begin(void)
{
    disk_stage_init(&stage);
    spare = (struct spare){0};
    prepare_init(&prepare, stage.io, &stage.segments, &spare, stage.wal, 2, 0);
    prepare.failed = on_failed;
}

static void end(void)
{
    for (struct log_segment *each = segments_next(&stage.segments, 0); each != NULL;
         each                     = segments_next(&stage.segments, each->number + 1)) {
        io_file_close(each->file);
    }
    prepare_fini(&prepare);
    disk_stage_fini(&stage);
}

TestSuite(disk_prepare, .init = begin, .fini = end);

/* A turn; sleeps until something is to be done. */
static void turn(void)
{
    prepare_turn(&prepare);
    io_turn(stage.io, prepare_busy(&prepare) ? prepare_next_ns(&prepare) : 0);
}

static void until_ready(uint32_t count)
{
    for (int i = 0; prepare.ready_count < count; i++) {
        cr_assert_lt(i, TURNS_MAX);
        turn();
    }
}

/* The log writes so much at once, and waits for nothing. */
static void logged(uint64_t bytes)
{
    for (int i = 0; i < 200; i++) {
        spare_logged(&spare, bytes, io_now_ns(stage.io) - 100000, io_now_ns(stage.io));
    }
}

Test(disk_prepare, without_a_log_all_of_a_file_is_filled_at_once)
{
    until_ready(1);
    cr_assert_eq(prepare.filled_bytes, DISK_STAGE_SEGMENT_BYTES);
    cr_assert(disk_stage_has(&stage, stage.wal, 1));
    cr_assert_eq(io_file_size(segments_find(&stage.segments, 1)->file), DISK_STAGE_SEGMENT_BYTES);
}

Test(disk_prepare, a_log_with_small_writes_gets_files_that_are_filled)
{
    until_ready(1);
    prepare.begun = true;
    logged(4096);
    until_ready(2);
    cr_assert_eq(prepare.filled_bytes, DISK_STAGE_SEGMENT_BYTES);
}

Test(disk_prepare, a_log_with_large_writes_gets_files_that_have_their_room)
{
    until_ready(1);
    prepare.begun = true;
    logged(SPARE_LARGE_BYTES);
    until_ready(2);
    cr_assert(prepare.unable || prepare.filled_bytes == 0);
    cr_assert_eq(io_file_size(segments_find(&stage.segments, 2)->file), DISK_STAGE_SEGMENT_BYTES);
}

Test(disk_prepare, a_file_that_is_needed_is_used_as_far_as_it_is_filled)
{
    until_ready(1);
    prepare.begun = true;
    logged(4096);
    for (int i = 0; prepare.state != PREPARE_FILLING || (!prepare.writing && prepare.filled_bytes == 0); i++) {
        cr_assert_lt(i, TURNS_MAX);
        turn();
    }
    cr_assert_not_null(prepare_take(&prepare)); /* the last one that is ready */
    until_ready(1);
    cr_assert(prepare.unable || (prepare.filled_bytes > 0 && prepare.filled_bytes < DISK_STAGE_SEGMENT_BYTES));
    cr_assert_eq(io_file_size(segments_find(&stage.segments, 2)->file), DISK_STAGE_SEGMENT_BYTES);
}

Test(disk_prepare, nothing_is_filled_while_the_logs_writes_are_slow)
{
    until_ready(1);
    prepare.begun = true;
    logged(4096);
    spare.mean_ns = 100000000; /* there is none that would tell otherwise */
    for (int i = 0; i < 20; i++) {
        turn();
    }
    cr_assert_eq(prepare.ready_count, 1);
    cr_assert(prepare.unable || prepare.filled_bytes == 0);
    spare.mean_ns = 100000;
    until_ready(2);
    cr_assert_eq(prepare.filled_bytes, DISK_STAGE_SEGMENT_BYTES);
}

Test(disk_prepare, a_full_disk_that_has_space_again_does_not_wait_for_zeros)
{
    until_ready(1);
    prepare.begun = true;
    logged(4096);
    spare.mean_ns = 100000000; /* as it was when it became full: nothing is written until a file is ready */
    prepare.full  = true;
    until_ready(2);
    cr_assert_not(prepare.full);
    cr_assert(prepare.unable || prepare.filled_bytes == 0);
}

Test(disk_prepare, a_store_that_stops_does_not_wait_for_zeros)
{
    until_ready(1);
    prepare.begun = true;
    logged(4096);
    spare.mean_ns = 100000000;
    for (int i = 0; prepare.state != PREPARE_FILLING; i++) {
        cr_assert_lt(i, TURNS_MAX);
        turn();
    }
    prepare.stopping = true;
    for (int i = 0; prepare_busy(&prepare); i++) {
        cr_assert_lt(i, TURNS_MAX);
        turn();
    }
    cr_assert_eq(prepare.ready_count, 2);
}
