/* scenario_torn.c - what a disk may lose and what it may not. A writer stamps sectors with versions, syncs some of them, and
 * replaces a file by rename; it is killed and its machine loses power at any moment. Then it reads everything:
 *   a sector is whole and of one version: never older than the last saved one, never one that was not written
 *   after a mere kill, never older than the last completed one
 *   a replaced file is the old or the new one, whole; the new one once its directory was synced */
#include "shared/base/err.h"
#include "tests/sim/disk.h"
#include "tests/sim/io_sim.h"
#include "tests/sim/scenarios.h"

#include <stdlib.h>

enum { SECTORS = 48, OPS = 4, RUN_SECTORS_MAX = 6, ROUNDS = 12 };

struct writer;

struct work {
    struct io_op   op; /* first: done() finds its work */
    struct writer *writer;
    enum { WORK_WRITE, WORK_WRITE_DURABLE, WORK_SYNC } kind;
    bool      under_way;
    uint32_t  first;
    uint32_t  count;
    uint64_t  covers[SECTORS]; /* of a sync: what was completed when it began */
    uint64_t *memory;
};

struct writer {
    struct world   *world;
    struct io      *io;
    struct io_file *file;
    struct io_file *next_file;
    struct io_op    replace_op;
    uint64_t       *replace_memory;
    struct work     work[OPS];
    enum { REPLACE_IDLE, REPLACE_WRITE, REPLACE_RENAME, REPLACE_SYNC } replace;
    /* The oracle; outlives the process. */
    uint64_t issued[SECTORS];    /* the newest version handed to the disk */
    uint64_t completed[SECTORS]; /* done() was called */
    uint64_t saved[SECTORS];     /* and it is known to be durable */
    bool     busy[SECTORS];
    uint64_t generation_issued;
    uint64_t generation_completed; /* the rename was done */
    uint64_t generation_saved;
    uint64_t clock;
    uint64_t ops_done;
    uint64_t older_seen; /* sectors found older than what had been completed: power failures do lose things */
    uint64_t newer_seen; /* found newer than what had been saved: and they keep things */
};

static void stamp(uint64_t *memory, uint64_t index, uint64_t version)
{
    for (size_t i = 0; i < SECTOR_BYTES / 8; i++) {
        memory[i] = (version << 16) | index;
    }
}

/* The version of a whole sector; a torn or foreign one ends the run. */
static uint64_t version_of(struct world *world, const uint64_t *memory, uint64_t index)
{
    for (size_t i = 1; i < SECTOR_BYTES / 8; i++) {
        sim_check(world, memory[i] == memory[0], "sector %lu is torn inside", (unsigned long)index);
    }
    sim_check(world, memory[0] == 0 || (memory[0] & 0xffff) == index, "sector %lu holds what was written to %lu",
              (unsigned long)index, (unsigned long)(memory[0] & 0xffff));
    return memory[0] >> 16;
}

static uint64_t *aligned(size_t size)
{
    void *memory = aligned_alloc(IO_ALIGN_BYTES, size);
    ASSERT(memory != NULL);
    return memory;
}

/* ---- the writer ---- */

static void work_done(struct io_op *op, int result)
{
    struct work   *work = (struct work *)op;
    struct writer *w    = work->writer;
    sim_check(w->world, work->under_way, "done() came twice");
    work->under_way = false;
    w->ops_done++;
    if (work->kind == WORK_SYNC) {
        sim_check(w->world, result == 0, "a sync failed with %s on a healthy disk", err_name(result));
        for (uint32_t i = 0; i < SECTORS; i++) {
            w->saved[i] = work->covers[i] > w->saved[i] ? work->covers[i] : w->saved[i];
        }
        return;
    }
    sim_check(w->world, result == (int)(work->count * SECTOR_BYTES), "a write gave %d on a healthy disk", result);
    for (uint32_t i = work->first; i < work->first + work->count; i++) {
        w->busy[i]      = false;
        w->completed[i] = w->issued[i];
        w->saved[i]     = work->kind == WORK_WRITE_DURABLE ? w->issued[i] : w->saved[i];
    }
    free(work->memory);
    work->memory = NULL;
}

static void begin_work(struct writer *w, struct work *work)
{
    *work           = (struct work){.op.done = work_done, .writer = w, .under_way = true};
    uint64_t choice = io_random(w->io) % 8;
    if (choice == 0) {
        work->kind = WORK_SYNC;
        memcpy(work->covers, w->completed, sizeof work->covers);
        io_sync(w->file, &work->op);
        return;
    }
    work->first    = (uint32_t)(io_random(w->io) % SECTORS);
    uint32_t limit = 1 + (uint32_t)(io_random(w->io) % RUN_SECTORS_MAX);
    while (work->count < limit && work->first + work->count < SECTORS && !w->busy[work->first + work->count]) {
        work->count++;
    }
    if (work->count == 0) {
        work->under_way = false;
        return;
    }
    work->memory = aligned(work->count * SECTOR_BYTES);
    for (uint32_t i = 0; i < work->count; i++) {
        uint32_t index   = work->first + i;
        w->busy[index]   = true;
        w->issued[index] = ++w->clock;
        stamp(work->memory + i * SECTOR_BYTES / 8, index, w->clock);
    }
    work->kind = choice < 3 ? WORK_WRITE_DURABLE : WORK_WRITE;
    (choice < 3 ? io_write_durable : io_write)(w->file, &work->op, work->memory, work->count * SECTOR_BYTES,
                                               (uint64_t)work->first * SECTOR_BYTES);
}

static void replace_done(struct io_op *op, int result)
{
    struct writer *w = op->ctx;
    sim_check(w->world, result >= 0, "replacing a file failed with %s on a healthy disk", err_name(result));
    switch (w->replace) {
    case REPLACE_WRITE:
        io_file_close(w->next_file);
        w->next_file = NULL;
        w->replace   = REPLACE_RENAME;
        io_rename(w->io, op, "/data/next", "/data/current");
        break;
    case REPLACE_RENAME:
        w->generation_completed = w->generation_issued;
        w->replace              = REPLACE_SYNC;
        io_sync_directory(w->io, op, "/data/");
        break;
    default:
        w->generation_saved = w->generation_issued;
        w->replace          = REPLACE_IDLE;
        break;
    }
}

static void begin_replace(struct writer *w)
{
    sim_check(w->world, io_file_open(w->io, "data/next", IO_OPEN_CREATE, &w->next_file) == 0, "a file opens");
    w->generation_issued++;
    stamp(w->replace_memory, 1, w->generation_issued);
    stamp(w->replace_memory + SECTOR_BYTES / 8, 1, w->generation_issued);
    w->replace_op = (struct io_op){.done = replace_done, .ctx = w};
    w->replace    = REPLACE_WRITE;
    io_write_durable(w->next_file, &w->replace_op, w->replace_memory, 2 * SECTOR_BYTES, 0);
}

static uint64_t writer_turn(void *shard)
{
    struct writer *w = shard;
    for (int i = 0; i < OPS; i++) {
        if (!w->work[i].under_way && io_random(w->io) % 2 == 0) {
            begin_work(w, &w->work[i]);
        }
    }
    if (w->replace == REPLACE_IDLE) {
        begin_replace(w);
    }
    return io_now_ns(w->io) + SIM_MS;
}

/* ---- what is found after a start: read while the start waits in io_turn ---- */

struct waited {
    struct io_op op;
    bool         done;
    int          result;
};

static void waited_done(struct io_op *op, int result)
{
    struct waited *waited = (struct waited *)op;
    waited->done          = true;
    waited->result        = result;
}

static int read_waiting(struct io *io, struct io_file *file, void *memory, size_t size, uint64_t offset)
{
    struct waited waited = {.op.done = waited_done};
    io_read(file, &waited.op, memory, size, offset);
    while (!waited.done) {
        io_turn(io, UINT64_MAX);
    }
    return waited.result;
}

static void check_sectors(struct writer *w, bool power_lost)
{
    uint64_t *memory = aligned(SECTOR_BYTES);
    for (uint32_t i = 0; i < SECTORS; i++) {
        int result = read_waiting(w->io, w->file, memory, SECTOR_BYTES, (uint64_t)i * SECTOR_BYTES);
        sim_check(w->world, result >= 0 && result % SECTOR_BYTES == 0, "reading sector %u gives %d", i, result);
        uint64_t version = result == 0 ? 0 : version_of(w->world, memory, i);
        uint64_t least   = power_lost ? w->saved[i] : w->completed[i];
        sim_check(w->world, version >= least, "sector %u has version %lu although %lu was %s", i,
                  (unsigned long)version, (unsigned long)least, power_lost ? "saved" : "completed");
        sim_check(w->world, version <= w->issued[i], "sector %u has version %lu, the newest written is %lu", i,
                  (unsigned long)version, (unsigned long)w->issued[i]);
        w->older_seen += version < w->completed[i];
        w->newer_seen += version > w->saved[i];
        w->completed[i] = version;
        w->saved[i]     = power_lost ? version : w->saved[i];
        w->busy[i]      = false;
    }
    free(memory);
}

static void check_replaced(struct writer *w, bool power_lost)
{
    struct io_file *file;
    uint64_t        least  = power_lost ? w->generation_saved : w->generation_completed;
    int             result = io_file_open(w->io, "/data/current", IO_OPEN_READ_ONLY, &file);
    if (result == -2) {
        sim_check(w->world, least == 0, "the file of generation %lu has no name any more", (unsigned long)least);
        w->generation_completed = 0;
        return;
    }
    sim_check(w->world, result == 0, "opening gives %s", err_name(result));
    uint64_t *memory = aligned(2 * SECTOR_BYTES);
    result           = read_waiting(w->io, file, memory, 2 * SECTOR_BYTES, 0);
    sim_check(w->world, result == 2 * SECTOR_BYTES, "the replaced file has %d bytes", result);
    uint64_t generation = version_of(w->world, memory, 1);
    sim_check(w->world, generation == version_of(w->world, memory + SECTOR_BYTES / 8, 1), "the replaced file is torn");
    sim_check(w->world, generation >= least && generation <= w->generation_issued,
              "generation %lu is found, %lu was there", (unsigned long)generation, (unsigned long)least);
    w->generation_completed = generation;
    w->generation_saved     = power_lost ? generation : w->generation_saved;
    free(memory);
    io_file_close(file);
}

static int writer_start(struct process *process, void *ctx)
{
    struct writer   *w      = ctx;
    struct io_config config = {.sockets_max = 1, .recv_buffers = 1, .recv_buffer_bytes = 1, .cpu = -1};
    char             why[100];
    struct core     *core   = core_new(process);
    int              result = io_open(&config, &w->io, why, sizeof why);
    if (result < 0) {
        return result;
    }
    bool power_lost = w->clock == 0 || process->machine->boot_ns == w->world->now_ns;
    result          = io_file_open(w->io, "/data/sectors", IO_OPEN_DIRECT, &w->file);
    sim_check(w->world, result == 0, "the synced file opens with %s", err_name(result));
    sim_check(w->world, io_file_lock(w->file, "lock") == 0, "the lock of a dead process is free");
    check_sectors(w, power_lost);
    check_replaced(w, power_lost);
    w->replace_memory = aligned(2 * SECTOR_BYTES);
    core_run(core, w, writer_turn);
    return 0;
}

static void writer_destroy(void *ctx)
{
    struct writer *w = ctx;
    for (int i = 0; i < OPS; i++) {
        free(w->work[i].memory);
    }
    memset(w->work, 0, sizeof w->work);
    free(w->replace_memory);
    w->replace_memory = NULL;
    w->replace        = REPLACE_IDLE;
    io_file_close(w->file); /* nothing happens: it is dead */
}

/* Makes the directory and the file, and saves both. */
static int maker_start(struct process *process, void *ctx)
{
    struct io       *io;
    struct io_file  *file;
    struct io_config config = {.sockets_max = 1, .recv_buffers = 1, .recv_buffer_bytes = 1, .cpu = -1};
    char             why[100];
    (void)ctx;
    (void)core_new(process);
    int result = io_open(&config, &io, why, sizeof why);
    result     = result < 0 ? result : io_mkdir(io, "/data");
    result     = result < 0 ? result : io_file_open(io, "/data/sectors", IO_OPEN_CREATE | IO_OPEN_EXCLUSIVE, &file);
    if (result < 0) {
        return result;
    }
    const char *const directories[] = {"/", "/data"};
    for (int i = 0; i < 2; i++) {
        struct waited waited = {.op.done = waited_done};
        io_sync_directory(io, &waited.op, directories[i]);
        while (!waited.done) {
            io_turn(io, UINT64_MAX);
        }
        result = result < 0 ? result : waited.result;
    }
    io_file_close(file);
    return result;
}

static void maker_destroy(void *ctx)
{
    (void)ctx;
}

void scenario_torn(struct world *world)
{
    struct writer             w          = {.world = world};
    struct machine           *machine    = machine_new(world, "store", 64 << 20);
    const struct process_spec maker_spec = {"maker", maker_start, maker_destroy, NULL, NULL};
    const struct process_spec spec       = {"writer", writer_start, writer_destroy, NULL, &w};
    struct process           *maker      = process_new(machine, &maker_spec);
    struct process           *process    = process_new(machine, &spec);
    sim_check(world, process_start(maker) == 0, "the directory is made");
    process_crash(maker);
    machine_power_off(machine);
    machine_power_on(machine);
    for (int round = 0; round < ROUNDS; round++) {
        sim_check(world, process_start(process) == 0, "the writer starts");
        world_run_ns(world, world_between(world, SALT_SCENARIO, 0, 40 * SIM_MS));
        if (world_chance(world, SALT_SCENARIO, 2)) {
            machine_power_off(machine);
            machine_power_on(machine);
        } else {
            process_crash(process);
            world_run_ns(world, 1); /* not the moment of the boot */
        }
        sim_check(world, disk_busy_count(machine->disk) == 0, "operations of a dead process are under way");
    }
    sim_check(world, w.ops_done > 0, "the writer did nothing");
}
