/* scenario_full.c - a disk that fills up and one that errs: a full disk refuses what is new, keeps what it has, still overwrites,
 * and has room again after an unlink; failed reads, writes and syncs say so; what a failed sync lost stays lost. */
#include "shared/base/err.h"
#include "tests/sim/disk.h"
#include "tests/sim/io_sim.h"
#include "tests/sim/scenarios.h"

#include <errno.h>

enum { FIT = 10 };

struct waited {
    struct io_op op;
    bool         done;
    int          result;
};

struct user {
    struct world *world;
    struct disk  *disk;
    struct io    *io;
    uint8_t       block[SECTOR_BYTES]; /* what is written */
    uint8_t       back[SECTOR_BYTES];  /* what is read */
};

static void waited_done(struct io_op *op, int result)
{
    struct waited *waited = (struct waited *)op;
    waited->done          = true;
    waited->result        = result;
}

static int wait_for(struct io *io, struct waited *waited)
{
    while (!waited->done) {
        io_turn(io, UINT64_MAX);
    }
    return waited->result;
}

static int write_block(struct user *user, struct io_file *file, uint64_t index, uint8_t value, bool durable)
{
    struct waited waited = {.op.done = waited_done};
    memset(user->block, value, sizeof user->block);
    (durable ? io_write_durable : io_write)(file, &waited.op, user->block, sizeof user->block, index * SECTOR_BYTES);
    return wait_for(user->io, &waited);
}

static int read_block(struct user *user, struct io_file *file, uint64_t index)
{
    struct waited waited = {.op.done = waited_done};
    io_read(file, &waited.op, user->back, sizeof user->back, index * SECTOR_BYTES);
    return wait_for(user->io, &waited);
}

static int sync_file(struct io *io, struct io_file *file)
{
    struct waited waited = {.op.done = waited_done};
    io_sync(file, &waited.op);
    return wait_for(io, &waited);
}

static int unlink_file(struct io *io, const char *path)
{
    struct waited waited = {.op.done = waited_done};
    io_unlink(io, &waited.op, path);
    return wait_for(io, &waited);
}

static int sync_directory(struct io *io, const char *path)
{
    struct waited waited = {.op.done = waited_done};
    io_sync_directory(io, &waited.op, path);
    return wait_for(io, &waited);
}

static void count_names(void *ctx, const char *name)
{
    uint32_t *count = ctx;
    *count += name[0] == "ab"[*count] ? 1 : 100; /* in order */
}

static void fill_up(struct user *user, struct io *io)
{
    struct world   *world = user->world;
    struct io_file *a;
    struct io_file *b;
    uint32_t        count = 0;
    sim_check(world, io_file_open(io, "/a", 0, &a) == -ENOENT, "a file that is missing opens");
    sim_check(world, io_file_open(io, "/no/a", IO_OPEN_CREATE, &a) == -ENOENT, "a file in no directory is made");
    sim_check(world, io_file_open(io, "/a", IO_OPEN_CREATE, &a) == 0 && io_file_open(io, "/b", IO_OPEN_CREATE, &b) == 0,
              "files open");
    sim_check(world, io_list(io, "/", count_names, &count) == 0 && count == 2, "two names are listed in order");
    for (uint64_t i = 0; i < FIT / 2; i++) {
        sim_check(world, write_block(user, a, i, 'a', i % 2 == 0) == SECTOR_BYTES, "there is room");
        sim_check(world, write_block(user, b, i, 'b', i % 2 == 0) == SECTOR_BYTES, "there is room");
    }
    sim_check(world, io_free_bytes(io, "/") == 0, "the disk is full");
    sim_check(world, write_block(user, a, FIT, 'x', false) == -ENOSPC, "a full disk took a block");
    sim_check(world, write_block(user, a, FIT, 'x', true) == -ENOSPC, "a full disk took a durable block");
    sim_check(world, io_file_size(a) == FIT / 2 * SECTOR_BYTES, "a refused write changed the size");
    sim_check(world, write_block(user, a, 1, 'c', true) == SECTOR_BYTES, "a full disk does not overwrite");
    sim_check(world, read_block(user, a, 1) == SECTOR_BYTES && user->back[7] == 'c', "what was overwritten reads back");
    sim_check(world, read_block(user, b, 4) == SECTOR_BYTES && user->back[7] == 'b', "what was there is still there");
    struct io_file *c;
    sim_check(world, io_file_open(io, "/c", IO_OPEN_CREATE, &c) == -ENOSPC, "a full disk made a file");
    sim_check(world, unlink_file(io, "/b") == 0 && unlink_file(io, "/b") == -ENOENT, "a file is unlinked once");
    sim_check(world, io_free_bytes(io, "/") == 0, "an unlinked file that is open gave its room back");
    io_file_close(b);
    sim_check(world, io_free_bytes(io, "/") == 0, "room came back while a power failure may still bring the name back");
    sim_check(world, sync_directory(io, "/") == 0, "the directory is synced");
    sim_check(world, io_free_bytes(io, "/") == FIT / 2 * SECTOR_BYTES, "room came back");
    sim_check(world, write_block(user, a, FIT, 'd', true) == SECTOR_BYTES, "there is room again");
    io_file_close(a);
}

static void err(struct user *user, struct io *io)
{
    struct world       *world  = user->world;
    struct disk_faults *faults = disk_faults(user->disk);
    struct io_file     *file;
    uint8_t             durable[SECTOR_BYTES];
    sim_check(world, io_file_open(io, "/a", 0, &file) == 0, "the file opens");
    faults->read_error_one_in = 1;
    sim_check(world, read_block(user, file, 0) == -EIO, "a bad read succeeded");
    faults->read_error_one_in  = 0;
    faults->write_error_one_in = 1;
    sim_check(world, write_block(user, file, 0, 'e', true) == -EIO, "a bad write succeeded");
    faults->write_error_one_in = 0;
    sim_check(world, write_block(user, file, 0, 'f', true) == SECTOR_BYTES, "a good write failed");
    /* A sync that fails leaves nothing to save for the next one. What it did save is by lot, so ask for a case where it did not. */
    bool lost = false;
    for (int i = 0; i < 64 && !lost; i++) {
        uint8_t value = (uint8_t)('A' + i % 26);
        sim_check(world, write_block(user, file, 0, value, false) == SECTOR_BYTES, "a good write failed");
        faults->sync_error_one_in = 1;
        sim_check(world, sync_file(io, file) == -EIO, "a bad sync succeeded");
        faults->sync_error_one_in = 0;
        sim_check(world, sync_file(io, file) == 0, "a good sync failed");
        sim_check(world, read_block(user, file, 0) == SECTOR_BYTES && user->back[0] == value,
                  "the page cache lost a write");
        sim_check(world, disk_peek_durable(user->disk, "/a", durable, sizeof durable, 0) == SECTOR_BYTES,
                  "the durable image is there");
        lost = durable[0] != value;
    }
    sim_check(world, lost, "a failed sync lost nothing in 64 attempts");
    sim_check(world, disk_rot(user->disk, "/a", 100), "there is something to rot");
    sim_check(world, read_block(user, file, 0) == SECTOR_BYTES && user->back[100] != user->back[99],
              "rot does not show");
    io_file_close(file);
}

static int user_start(struct process *process, void *ctx)
{
    struct user     *user = ctx;
    struct io       *io;
    struct io_config config = {.sockets_max = 1, .recv_buffers = 1, .recv_buffer_bytes = 1, .cpu = -1};
    char             why[100];
    (void)core_new(process);
    int result = io_open(&config, &io, why, sizeof why);
    if (result == 0) {
        user->io = io;
        fill_up(user, io);
        err(user, io);
    }
    return result;
}

static void user_destroy(void *ctx)
{
    (void)ctx;
}

void scenario_full(struct world *world)
{
    struct machine           *machine = machine_new(world, "store", FIT * SECTOR_BYTES);
    struct user               user    = {.world = world, .disk = machine->disk};
    const struct process_spec spec    = {"user", user_start, user_destroy, NULL, &user};
    struct process           *process = process_new(machine, &spec);
    sim_check(world, process_start(process) == 0, "the process starts");
    process_crash(process);
}
