/* What the log says that it has room for it takes, wherever the head of its ring is: nothing is written there, blocks are called delivered.
 * What it has handed on is durable: there it writes a real file, and hears of a write when the test says so. */
#include "segstore/disk/wal.h"

#include "shared/base/err.h"
#include "shared/base/rand.h"
#include "tests/unit/segstore/disk/disk_stage.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static struct segments segments;
static struct prepare  prepare;
static struct wal      wal;
static uint8_t         body[BLOCK_ENTRY_MAX_OPS];

static void begin(void)
{
    static const struct wal_hooks none = {0};
    static const struct wal_id    id   = {0};
    segments_init(&segments, 64 << 20);
    prepare = (struct prepare){.segments = &segments};
    wal_init(&wal, NULL, &prepare, &none, &id, 1, 0, 2);
    wal_start(&wal, &(struct wal_end){0}, 0);
}

static void end(void)
{
    wal_fini(&wal);
    segments_fini(&segments);
}

static int append(size_t size)
{
    const struct log_entry entry = {.kind = LOG_OPS, .index = 1, .term = 1, .ops = bytes_of(body, size)};
    return wal_append(&wal, &entry, NULL);
}

/* As if so many blocks had been written. */
static void written(uint64_t blocks)
{
    for (; blocks > 0 && wal.deliver < wal.end; blocks--) {
        wal.blocks[wal.deliver % wal.capacity].state = WAL_DELIVERED;
        wal.deliver++;
        wal.submit++;
    }
}

/* Entries of one message, as another node sends them. */
static size_t draw(struct rand *r, size_t *sizes, size_t max)
{
    size_t most  = rand_chance(r, 4) ? 700000 : rand_chance(r, 2) ? 20000 : 300;
    size_t bytes = 0;
    size_t count = 0;
    if (rand_chance(r, 20)) {
        sizes[0] = BLOCK_GROUP_BYTES / 2 + rand_below(r, BLOCK_ENTRY_MAX_OPS - BLOCK_GROUP_BYTES / 2 + 1);
        return 1;
    }
    for (uint64_t wanted = 1 + rand_below(r, 8); count < wanted && count < max && bytes < 512 * 1024; count++) {
        sizes[count] = 1 + rand_below(r, most);
        bytes += sizes[count];
    }
    return count;
}

Test(disk_wal, takes_whatever_it_has_said_to_have_room_for)
{
    uint64_t refused = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct rand r;
        rand_init(&r, seed, 1);
        begin();
        for (int message = 0; message < 400; message++) {
            size_t sizes[8];
            size_t bytes = 0;
            size_t count = draw(&r, sizes, 8);
            for (size_t i = 0; i < count; i++) {
                bytes += sizes[i] + BLOCK_ENTRY_BYTES;
            }
            if (!wal_roomy(&wal, bytes)) {
                refused++;
                written(1 + rand_below(&r, 8));
                continue;
            }
            for (size_t i = 0; i < count; i++) {
                cr_assert_eq(append(sizes[i]), 0, "seed %lu message %d: %zu of %zu bytes", seed, message, sizes[i],
                             bytes);
            }
        }
        end();
    }
    cr_assert(refused > 300, "%lu", refused);
}

Test(disk_wal, has_room_for_the_largest_entry_when_nothing_waits)
{
    begin();
    for (size_t before = 0; before < 40; before++) { /* the head comes to lie anywhere */
        cr_assert_eq(append(before * 10000), 0);
        cr_assert_eq(append(BLOCK_GROUP_BYTES), 0);
        cr_assert_eq(append(BLOCK_GROUP_BYTES), 0);
        written(UINT64_MAX);
        cr_assert(wal_roomy(&wal, BLOCK_ENTRY_MAX_OPS + BLOCK_ENTRY_BYTES), "%zu", before);
        cr_assert_eq(append(BLOCK_ENTRY_MAX_OPS), 0);
        written(UINT64_MAX);
    }
    end();
}

/* ---- what is handed on ---- */

enum { ENTRY_BYTES = 100, HANDED_MAX = 8 };

static struct disk_stage stage;
static struct spare      spare;
static uint64_t          handed[HANDED_MAX]; /* indexes of entries, as they came */
static int               handed_count;
static uint32_t          on_disk;             /* writes that the port has completed */
static int               results[HANDED_MAX]; /* of flights[i] */
static void (*tell_log)(struct io_op *op, int result);

static void on_durable(void *ctx, const struct log_entry *entry)
{
    (void)ctx;
    cr_assert_lt(handed_count, HANDED_MAX);
    handed[handed_count++] = entry->index;
}

static void on_failed(void *ctx, const char *what, int error)
{
    (void)ctx;
    cr_assert_fail("%s: %d", what, error);
}

/* The port says that a write is durable; the log is not told yet. */
static void on_written(struct io_op *op, int result)
{
    const struct wal_flight *flight = op->ctx;
    results[flight - wal.flights]   = result;
    on_disk++;
}

static void begin_writing(void)
{
    static const struct wal_hooks hooks = {.durable = on_durable, .failed = on_failed};
    static const struct wal_id    id    = {.bytes = {1}};
    disk_stage_init(&stage);
    disk_stage_segments(&stage, 1, 1);
    struct log_segment *first = segments_find(&stage.segments, 1);
    cr_assert_eq(disk_stage_open(&stage, first), 0);
    spare = (struct spare){0};
    prepare_init(&prepare, stage.io, &stage.segments, &spare, stage.wal, 1, 0);
    cr_assert(prepare_adopt(&prepare, 1, first->file));
    wal_init(&wal, stage.io, &prepare, &hooks, &id, 1, 0, 2);
    wal_start(&wal, &(struct wal_end){0}, 0);
    handed_count = 0;
    on_disk      = 0;
}

static void end_writing(void)
{
    io_file_close(segments_find(&stage.segments, 1)->file);
    wal_fini(&wal);
    prepare_fini(&prepare);
    disk_stage_fini(&stage);
}

static void turn(void)
{
    wal_turn(&wal, io_now_ns(stage.io));
    for (int i = 0; i < WAL_DEPTH_MAX; i++) {
        struct io_op *op = &wal.flights[i].op;
        if (wal.flights[i].busy && op->done != on_written) {
            tell_log = op->done;
            op->done = on_written;
        }
    }
}

/* An entry, whose write begins at once. */
static void write_entry(uint64_t index)
{
    const struct log_entry entry  = {.kind = LOG_OPS, .index = index, .term = 1, .ops = bytes_of(body, ENTRY_BYTES)};
    uint32_t               before = wal.flying;
    cr_assert_eq(wal_append(&wal, &entry, NULL), 0);
    turn();
    cr_assert_eq(wal.flying, before + 1);
}

static void until_on_disk(uint32_t writes)
{
    while (on_disk < writes) {
        io_turn(stage.io, UINT64_MAX);
    }
}

static void hear_of(int flight)
{
    tell_log(&wal.flights[flight].op, results[flight]);
}

Test(disk_wal, hands_an_entry_on_when_its_write_has_completed_and_not_before)
{
    begin_writing();
    write_entry(1);
    turn();
    cr_assert_eq(handed_count, 0, "handed on while its write is under way");
    until_on_disk(1);
    turn();
    cr_assert_eq(handed_count, 0, "handed on before its write has completed");
    cr_assert_eq(wal_durable_position(&wal), 0);
    hear_of(0);
    turn();
    cr_assert_eq(handed_count, 1);
    cr_assert_eq(handed[0], 1);
    cr_assert_eq(wal_durable_position(&wal), wal.last.position);
    end_writing();
}

Test(disk_wal, hands_entries_on_in_order_when_a_later_write_completes_first)
{
    begin_writing();
    write_entry(1);
    write_entry(2);
    until_on_disk(2);
    hear_of(1);
    turn();
    cr_assert_eq(handed_count, 0, "entry %lu was handed on before 1 is durable", handed[0]);
    cr_assert_eq(wal.stable_seq, 0, "block %lu is said to be durable, and all before it", wal.stable_seq);
    hear_of(0);
    cr_assert_eq(wal.stable_seq, 2);
    turn();
    cr_assert_eq(handed_count, 2);
    cr_assert(handed[0] == 1 && handed[1] == 2);
    end_writing();
}
