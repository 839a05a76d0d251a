/* Which files stay, and for how long: what a restart could still begin with decides. */
#include "segstore/disk/save.h"

#include "tests/unit/segstore/disk/disk_stage.h"

#include <criterion/criterion.h>

enum { SEGMENTS = 6, TURNS_MAX = 1000, POLLS_MAX = 20000 };

static struct disk_stage stage;
static struct chunks     chunks;
static struct wal        wal;
static struct spare      spare;
static struct save       save;
static uint64_t          needs; /* what the next images name; UINT64_MAX: nothing */
static int               saved;
static int               slices;      /* of the image under way */
static size_t            image_bytes; /* of a slice, beside four */

static bool on_image(void *ctx, uint32_t nth, struct wire_writer *w, struct checkpoint_section *out)
{
    (void)ctx;
    wire_put_u32(w, nth);
    for (size_t i = 0; i < image_bytes; i += 8) {
        wire_put_u64(w, i);
    }
    if (needs != UINT64_MAX) {
        save_needs(&save, needs);
    }
    *out = (struct checkpoint_section){0};
    return ++slices % 2 == 1;
}

static void on_saved(void *ctx)
{
    (void)ctx;
    saved++;
}

static void on_failed(void *ctx, const char *what, int error)
{
    (void)ctx;
    cr_assert_fail("%s: %d", what, error);
}

static uint64_t position(uint64_t segment)
{
    return segments_position(&stage.segments, segment) + 4096;
}

static void begin(void)
{
    const struct save_hooks hooks = {.image = on_image, .saved = on_saved, .failed = on_failed};
    disk_stage_init(&stage);
    disk_stage_segments(&stage, 1, SEGMENTS);
    chunks_init(&chunks, stage.io, &stage.segments, 1, 1, 0);
    wal         = (struct wal){.segment_number = SEGMENTS, .delivered = {.position = position(1)}};
    spare       = (struct spare){0};
    save        = (struct save){.wal           = &wal,
                                .spare         = &spare,
                                .segments      = &stage.segments,
                                .chunks        = &chunks,
                                .wal_directory = stage.wal,
                                .run_directory = stage.runs,
                                .directory     = stage.checkpoints,
                                .stripe_count  = 2,
                                .every_bytes   = UINT64_MAX,
                                .every_ns      = UINT64_MAX / 16};
    needs       = UINT64_MAX;
    saved       = 0;
    image_bytes = 0;
    save_init(&save, stage.io, &hooks);
}

static void end(void)
{
    save_fini(&save);
    chunks_fini(&chunks);
    disk_stage_fini(&stage);
}

TestSuite(disk_save, .init = begin, .fini = end);

/* Until nothing is under way and nothing is left to forget. */
static void settle(bool disk_full)
{
    save.forget_ns = 0;
    for (int i = 0; save_busy(&save) || save.wanted || save.forget_ns == 0; i++) {
        cr_assert_lt(i, TURNS_MAX);
        save_turn(&save, disk_full);
        io_turn(stage.io, save_busy(&save) && !save.taking ? UINT64_MAX : 0);
    }
}

/* One that a replay behind it begins with in this segment. */
static void checkpoint(uint64_t segment)
{
    int before             = saved;
    wal.delivered.position = position(segment);
    save.wanted            = true;
    while (saved == before) {
        save_turn(&save, false);
        io_turn(stage.io, save_busy(&save) && !save.taking ? UINT64_MAX : 0);
    }
}

/* The first segment whose file is there; all behind it are. */
static uint64_t first_left(void)
{
    uint64_t first = 1;
    while (!disk_stage_has(&stage, stage.wal, first)) {
        first++;
    }
    for (uint64_t number = first; number <= SEGMENTS; number++) {
        cr_assert(disk_stage_has(&stage, stage.wal, number), "%d is gone, %d is not", (int)number, (int)first);
    }
    return first;
}

Test(disk_save, files_before_the_older_of_two_checkpoints_go)
{
    checkpoint(3);
    settle(false);
    cr_assert_eq(first_left(), 1); /* a damaged first checkpoint must not cost anything */
    checkpoint(5);
    settle(false);
    cr_assert_eq(first_left(), 3);
    checkpoint(6);
    settle(false);
    cr_assert_eq(first_left(), 5);
    cr_assert(!disk_stage_has(&stage, stage.checkpoints, 1));
    cr_assert(disk_stage_has(&stage, stage.checkpoints, 2) && disk_stage_has(&stage, stage.checkpoints, 3));
}

Test(disk_save, while_the_disk_is_full_the_newer_one_alone_counts)
{
    checkpoint(3);
    checkpoint(5);
    settle(true);
    cr_assert_eq(first_left(), 5);
}

Test(disk_save, what_is_held_keeps_its_file)
{
    segments_add(&stage.segments, position(2));
    checkpoint(5);
    checkpoint(6);
    settle(false);
    cr_assert(!disk_stage_has(&stage, stage.wal, 1) && disk_stage_has(&stage, stage.wal, 2));
    cr_assert(!disk_stage_has(&stage, stage.wal, 3));
    segments_release(&stage.segments, position(2));
    settle(false);
    cr_assert(!disk_stage_has(&stage, stage.wal, 2));
}

Test(disk_save, a_file_stays_as_long_as_the_older_checkpoint_needs_an_entry_in_it)
{
    needs = position(2);
    checkpoint(4);
    needs = UINT64_MAX;
    checkpoint(5);
    settle(false);
    cr_assert_eq(first_left(), 2);
    checkpoint(6);
    settle(false);
    cr_assert_eq(first_left(), 5);
}

Test(disk_save, a_file_stays_as_long_as_the_newer_checkpoint_needs_an_entry_in_it)
{
    checkpoint(4);
    needs = position(3);
    checkpoint(5);
    settle(false);
    cr_assert_eq(first_left(), 3);
    settle(true);
    cr_assert_eq(first_left(), 3); /* a full disk is no reason */
}

Test(disk_save, what_one_checkpoint_needed_the_next_one_does_not_need_unasked)
{
    needs = position(2);
    checkpoint(4);
    cr_assert_eq(save.newest.needs, position(2));
    needs = UINT64_MAX;
    checkpoint(5);
    cr_assert_eq(save.newest.needs, UINT64_MAX);
    cr_assert_eq(save.previous.needs, position(2));
}

Test(disk_save, what_is_let_go_of_stays_until_no_checkpoint_speaks_of_it)
{
    segments_add(&stage.segments, position(2));
    checkpoint(5);
    checkpoint(6);
    settle(false);
    save_keep(&save);
    segments_release(&stage.segments, position(2));
    checkpoint(6); /* number 3; the one before it still says that something is held there */
    save.forget_ns = UINT64_MAX;
    cr_assert(disk_stage_has(&stage, stage.wal, 2));
    cr_assert(save.wanted, "the next one is made at once");
    save.wanted = false;
    settle(false);
    cr_assert(disk_stage_has(&stage, stage.wal, 2));
    checkpoint(6);
    cr_assert(!save.wanted);
    settle(false);
    cr_assert(!disk_stage_has(&stage, stage.wal, 2));
}

Test(disk_save, the_checkpoints_that_free_it_are_made_without_being_asked_for)
{
    segments_add(&stage.segments, position(2));
    checkpoint(5);
    checkpoint(6);
    settle(false);
    save_keep(&save);
    segments_release(&stage.segments, position(2));
    settle(false);
    cr_assert_eq(saved, 4);
    cr_assert(!disk_stage_has(&stage, stage.wal, 2));
}

Test(disk_save, one_that_is_being_made_may_speak_of_it_still)
{
    segments_add(&stage.segments, position(2));
    checkpoint(5);
    checkpoint(6);
    settle(false);
    save.wanted = true;
    save_turn(&save, false); /* number 3 begins */
    cr_assert(save_busy(&save));
    save_keep(&save);
    segments_release(&stage.segments, position(2));
    cr_assert_eq(segments_find(&stage.segments, 2)->moved, 4);
    settle(false);
    cr_assert_eq(save.previous.number, 4); /* 3 counts no more */
    cr_assert(!disk_stage_has(&stage, stage.wal, 2));
}

Test(disk_save, files_in_which_nothing_is_held_are_not_kept)
{
    checkpoint(3);
    checkpoint(5);
    save_keep(&save);
    save.wanted = false;
    settle(false);
    cr_assert_eq(first_left(), 3);
}

Test(disk_save, what_was_replayed_is_checkpointed_when_a_full_disk_wants_its_files_back)
{
    checkpoint(2);
    save.previous          = (struct saved){0}; /* as after a restart: nothing was appended yet, and nothing can be */
    save.begun_ns          = 0;
    wal.delivered.position = position(5);
    settle(false);
    cr_assert_eq(saved, 1);
    cr_assert_eq(first_left(), 1);
    settle(true);
    cr_assert_eq(saved, 2);
    cr_assert_eq(first_left(), 5);
    save.begun_ns = 0;
    settle(true);
    cr_assert_eq(saved, 2, "once");
}

/* The log writes so much. */
static void logged(uint64_t bytes)
{
    spare_logged(&spare, bytes, io_now_ns(stage.io), io_now_ns(stage.io));
}

/* Until something is done, a millisecond at most: on a busy machine that may take many. */
static void wait(void)
{
    io_turn(stage.io, io_now_ns(stage.io) + 1000000);
}

/* One begins because of the clock, and goes on until it waits for the log. */
static void begin_large(void)
{
    image_bytes            = 1 << 20;
    wal.delivered.position = position(3);
    save.every_ns          = 0;
    wal.counts.entries++;
    for (int i = 0; !save.paused; i++) {
        cr_assert_lt(i, POLLS_MAX);
        logged(1);
        save_turn(&save, false);
        wait();
    }
    save.every_ns = UINT64_MAX / 16;
}

Test(disk_save, a_large_one_goes_on_as_the_log_pays_for_it)
{
    begin_large();
    cr_assert_eq(save.unsynced_bytes, 0, "what was written is on the disk");
    uint64_t size = save.file_size;
    cr_assert(size >= 1 << 20 && size <= 3 << 20);
    for (int i = 0; i < 3; i++) {
        logged(1);
        save_turn(&save, false);
        cr_assert(save.paused && save.file_size == size);
    }
    cr_assert_leq(save_next_ns(&save), io_now_ns(stage.io) + 10000000);
    for (int i = 0; saved == 0; i++) {
        cr_assert_lt(i, POLLS_MAX);
        logged(1 << 20);
        save.pause_ns = 0;
        save_turn(&save, false);
        wait();
    }
    cr_assert_gt(save.newest_bytes, 4 << 20);
    cr_assert_eq(spare.beside_count, 0);
}

Test(disk_save, one_that_somebody_waits_for_does_not_wait_for_the_log)
{
    begin_large();
    save.wanted = true;
    for (int i = 0; saved == 0; i++) {
        cr_assert_lt(i, POLLS_MAX);
        logged(1);
        save_turn(&save, false);
        wait();
        cr_assert_not(save.paused);
    }
}

Test(disk_save, a_full_disk_does_not_wait_for_the_log)
{
    begin_large();
    for (int i = 0; saved == 0; i++) {
        cr_assert_lt(i, POLLS_MAX);
        logged(1);
        save_turn(&save, true);
        wait();
    }
}
