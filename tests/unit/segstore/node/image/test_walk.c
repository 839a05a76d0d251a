/* A file of the log, block by block: none is missed, and what is read is not moved again and again. */
#include "segstore/node/image/walk.h"

#include "tests/unit/segstore/disk/disk_stage.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { FILE_BYTES = 24 * 1024 * 1024, BASE = 1 << 30 };

static struct disk_stage   stage;
static struct walk         walk;
static const struct wal_id id = {.bytes = {1, 2, 3}};
static struct io_file     *file;
static uint8_t            *image;

static void on_done(void *ctx)
{
    (void)ctx;
}

static void begin(void)
{
    disk_stage_init(&stage);
    walk  = (struct walk){.done = on_done};
    image = aligned_alloc(BLOCK_PAGE_BYTES, FILE_BYTES);
    cr_assert_not_null(image);
}

static void end(void)
{
    walk_fini(&walk);
    io_file_close(file);
    free(image);
    disk_stage_fini(&stage);
}

TestSuite(image_walk, .init = begin, .fini = end);

/* Blocks with one entry of so many bytes each, until the file is full. Returns how many. */
static uint64_t fill(size_t ops_bytes)
{
    uint64_t seq = 0;
    size_t   at  = 0;
    uint8_t *ops = calloc(1, ops_bytes);
    for (size_t size = block_size_for(ops_bytes); at + size <= FILE_BYTES; seq++) {
        struct block_writer    writer;
        struct block_header    link  = {.position = BASE + at, .block_seq = seq + 1};
        const struct log_entry entry = {.index = seq + 1, .ops = bytes_of(ops, ops_bytes)};
        block_begin(&writer, image + at, size);
        (void)block_append(&writer, &entry);
        at += block_seal(&writer, &id, &link);
    }
    char path[128];
    snprintf(path, sizeof path, "%s/walked", stage.root);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    cr_assert(fd >= 0 && write(fd, image, at) == (ssize_t)at);
    close(fd);
    free(ops);
    cr_assert_eq(io_file_open(stage.io, path, IO_OPEN_DIRECT | IO_OPEN_READ_ONLY, &file), 0);
    walk_begin(&walk, file, BASE, at);
    return seq;
}

/* Goes through the file; slow: every read has long ended before the next block is wanted, so that the window is full all the time. */
static uint64_t pass(bool slow)
{
    struct block_header header;
    const uint8_t      *block;
    uint64_t            seq = 0;
    for (;;) {
        while (slow && walk.busy) {
            io_turn(stage.io, UINT64_MAX);
        }
        int result = walk_next(&walk, &id, 4096, &header, &block);
        if (result < 0) {
            cr_assert_eq(walk.offset, walk.end);
            return seq;
        }
        if (result == 1) {
            cr_assert_eq(header.block_seq, ++seq);
        } else {
            io_turn(stage.io, UINT64_MAX);
        }
    }
}

Test(image_walk, small_blocks_of_a_full_window_are_not_moved_with_each_of_them)
{
    uint64_t count = fill(1000);
    cr_assert_eq(pass(true), count);
    cr_assert_leq(walk.moved, 2 * (uint64_t)FILE_BYTES, "%llu bytes were moved", (unsigned long long)walk.moved);
}

Test(image_walk, the_largest_blocks_fit_whoever_is_faster)
{
    cr_assert_eq(fill(BLOCK_ENTRY_MAX_OPS), FILE_BYTES / BLOCK_MAX_BYTES);
    cr_assert_eq(pass(true), FILE_BYTES / BLOCK_MAX_BYTES);
    io_file_close(file);
    cr_assert_eq(fill(BLOCK_ENTRY_MAX_OPS), FILE_BYTES / BLOCK_MAX_BYTES);
    cr_assert_eq(pass(false), FILE_BYTES / BLOCK_MAX_BYTES);
}
