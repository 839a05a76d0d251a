/* prepare.c - one file at a time, one slice at a time. */
#include "segstore/disk/prepare.h"

#include "shared/base/buggify.h"
#include "shared/base/err.h"
#include "shared/base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t RETRY_NS    = 1000000000;
static const uint64_t SLOW_NS     = 10000000;  /* until it is looked at again whether the log's writes are slow */
static const uint64_t PATIENCE_NS = 300000000; /* for the log's first file */

enum { FILL_SHARE = SPARE_ONE + SPARE_ONE / 4 }; /* so that a file is full before the one in use is */

void prepare_init(struct prepare *p, struct io *io, struct segments *segments, struct spare *spare,
                  const char *directory, uint32_t ready_wanted, uint64_t reserve_bytes)
{
    *p = (struct prepare){
        .io            = io,
        .segments      = segments,
        .spare         = spare,
        .directory     = directory,
        .reserve_bytes = reserve_bytes,
        .next_number   = 1,
        .ready_wanted  = ready_wanted < PREPARE_READY_MAX ? ready_wanted : PREPARE_READY_MAX,
        .zeros         = aligned_alloc(IO_ALIGN_BYTES, PREPARE_SLICE_BYTES),
    };
    if (p->zeros == NULL) {
        fatal(71, "out of memory at start");
    }
    memset(p->zeros, 0, PREPARE_SLICE_BYTES);
}

void prepare_fini(struct prepare *p)
{
    if (p->file != NULL) {
        io_file_close(p->file);
    }
    free(p->zeros);
    *p = (struct prepare){0};
}

static void path_of(const struct prepare *p, char path[PREPARE_PATH_BYTES], const char *suffix)
{
    char name[SEGMENT_NAME_BYTES];
    segment_name(p->next_number, name);
    snprintf(path, PREPARE_PATH_BYTES, "%s/%s%s", p->directory, name, suffix);
}

static void full_set(struct prepare *p, bool full)
{
    if (full != p->full) {
        if (full) {
            log_warn("the disk of %s is full: appends are refused until space returns, reads and trims go on",
                     p->directory);
        } else {
            log_info("the disk of %s has space again: appends are taken", p->directory);
        }
    }
    p->full = full;
}

static bool is_full(int error)
{
    return error == -ENOSPC || error == -EDQUOT;
}

static void done(struct io_op *op, int result);

static void drop(struct prepare *p)
{
    char path[PREPARE_PATH_BYTES];
    io_file_close(p->file);
    p->file  = NULL;
    p->state = PREPARE_DROPPING;
    path_of(p, path, ".tmp");
    io_unlink(p->io, &p->op, path);
}

/* Is the file to be used as far as it is filled? */
static bool cut_short(const struct prepare *p)
{
    if (p->unable) {
        return false;
    }
    if (p->stopping || p->hungry || p->full || (p->begun && p->ready_count == 0)) {
        return !(p->hungry && !p->begun && io_now_ns(p->io) < p->begun_ns + PATIENCE_NS);
    }
    return spare_large(p->spare) || BUGGIFY("prepare: cut short", 20);
}

/* The next slice, when there is one and it may go. */
static void fill(struct prepare *p)
{
    uint64_t now_ns = io_now_ns(p->io);
    uint64_t left   = p->segments->segment_bytes - p->filled_bytes;
    if (left == 0 || cut_short(p)) {
        p->state = PREPARE_SYNCING;
        io_sync(p->file, &p->op);
        return;
    }
    if (!p->unable && p->begun) {
        uint64_t wait = spare_pay(&p->account, p->spare, FILL_SHARE, now_ns);
        wait          = wait == 0 && spare_slow(p->spare, now_ns) ? SLOW_NS : wait;
        p->next_ns    = now_ns + wait;
        if (wait > 0) {
            return;
        }
    }
    uint64_t bytes = left < PREPARE_SLICE_BYTES ? left : PREPARE_SLICE_BYTES;
    p->writing     = true;
    spare_begin(p->spare, now_ns);
    spare_owe(&p->account, p->spare, bytes, now_ns);
    io_write(p->file, &p->op, p->zeros, (size_t)bytes, p->filled_bytes);
}

static void ready(struct prepare *p)
{
    struct log_segment *segment = segments_at(p->segments, p->next_number);
    segment->file               = p->file;
    segment->exists             = true;
    p->file                     = NULL;
    p->ready[p->ready_count++]  = p->next_number++;
    p->state                    = PREPARE_IDLE;
    full_set(p, p->from_reserve);
}

static void done(struct io_op *op, int result)
{
    struct prepare *p = op->ctx;
    char            from[PREPARE_PATH_BYTES];
    char            to[PREPARE_PATH_BYTES];
    if (p->writing) {
        p->writing = false;
        spare_end(p->spare, io_now_ns(p->io));
    }
    if (p->state == PREPARE_DROPPING) {
        p->state    = PREPARE_IDLE;
        p->retry_ns = io_now_ns(p->io) + RETRY_NS;
        return;
    }
    if (result < 0 && is_full(result)) {
        full_set(p, true);
        drop(p);
        return;
    }
    if (result == -EOPNOTSUPP && p->state == PREPARE_ALLOCATING) {
        p->unable = true;
        p->state  = PREPARE_FILLING;
        fill(p);
        return;
    }
    if (result < 0) {
        p->failed(p->ctx, "preparing a log segment", result);
        return;
    }
    switch ((enum prepare_state)p->state) {
    case PREPARE_FILLING:
        p->filled_bytes += (uint64_t)result;
        fill(p);
        return;
    case PREPARE_ALLOCATING:
        p->state = PREPARE_FILLING;
        fill(p);
        return;
    case PREPARE_SYNCING:
        p->state = PREPARE_RENAMING;
        path_of(p, from, ".tmp");
        path_of(p, to, "");
        io_rename(p->io, &p->op, from, to);
        return;
    case PREPARE_RENAMING:
        p->state = PREPARE_SYNCING_DIRECTORY;
        io_sync_directory(p->io, &p->op, p->directory);
        return;
    case PREPARE_SYNCING_DIRECTORY:
        ready(p);
        return;
    case PREPARE_IDLE:
    case PREPARE_DROPPING:
        break;
    }
    ASSERT(false);
}

bool prepare_adopt(struct prepare *p, uint64_t number, struct io_file *file)
{
    if (p->ready_count == p->ready_wanted) {
        return false;
    }
    struct log_segment *segment = segments_at(p->segments, number);
    segment->file               = file;
    segment->exists             = true;
    p->ready[p->ready_count++]  = number;
    return true;
}

static uint64_t free_bytes_after(const struct prepare *p, uint64_t free_bytes)
{
    uint64_t segment_bytes = p->segments->segment_bytes;
    return free_bytes < segment_bytes ? 0 : free_bytes - segment_bytes;
}

static void begin(struct prepare *p)
{
    int64_t  free_bytes  = io_free_bytes(p->io, p->directory);
    uint64_t after_bytes = free_bytes < 0 ? UINT64_MAX : free_bytes_after(p, (uint64_t)free_bytes);
    p->from_reserve      = after_bytes < p->reserve_bytes;
    if (after_bytes < (p->starving ? p->reserve_bytes / 2 : p->reserve_bytes)) {
        full_set(p, true);
        p->retry_ns = io_now_ns(p->io) + RETRY_NS;
        return;
    }
    char path[PREPARE_PATH_BYTES];
    path_of(p, path, ".tmp");
    int result = io_file_open(p->io, path, IO_OPEN_CREATE | IO_OPEN_DIRECT, &p->file);
    if (result < 0 && is_full(result)) {
        full_set(p, true);
        p->retry_ns = io_now_ns(p->io) + RETRY_NS;
        return;
    }
    if (result < 0) {
        p->failed(p->ctx, "making a log segment", result);
        return;
    }
    p->op           = (struct io_op){.done = done, .ctx = p};
    p->filled_bytes = 0;
    p->begun_ns     = io_now_ns(p->io);
    if (p->unable) {
        p->state = PREPARE_FILLING;
        fill(p);
    } else {
        p->state = PREPARE_ALLOCATING;
        io_allocate(p->file, &p->op, p->segments->segment_bytes);
    }
}

void prepare_turn(struct prepare *p)
{
    if (p->state == PREPARE_FILLING && !p->writing && (io_now_ns(p->io) >= p->next_ns || cut_short(p))) {
        fill(p);
    }
    if (p->state == PREPARE_IDLE && !p->stopping && p->ready_count < p->ready_wanted &&
        (!p->full || io_now_ns(p->io) >= p->retry_ns)) {
        begin(p);
    }
}

uint64_t prepare_next_ns(const struct prepare *p)
{
    if (p->state == PREPARE_FILLING && !p->writing) {
        return p->next_ns;
    }
    return p->state == PREPARE_IDLE && !p->stopping && p->ready_count < p->ready_wanted ? (p->full ? p->retry_ns : 0)
                                                                                        : UINT64_MAX;
}

struct log_segment *prepare_take(struct prepare *p)
{
    if (p->ready_count == 0) {
        return NULL;
    }
    uint64_t number = p->ready[0];
    p->ready_count--;
    memmove(p->ready, p->ready + 1, p->ready_count * sizeof p->ready[0]);
    return segments_find(p->segments, number);
}

bool prepare_busy(const struct prepare *p)
{
    return p->state != PREPARE_IDLE;
}
