/* prepare.c - one file at a time, one slice at a time. */
#include "segstore/disk/prepare.h"

#include "shared/base/buggify.h"
#include "shared/base/err.h"
#include "shared/base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t RETRY_NS = 1000000000;

void prepare_init(struct prepare *p, struct io *io, struct segments *segments, const char *directory,
                  uint32_t ready_wanted, uint64_t reserve_bytes)
{
    *p = (struct prepare){
        .io            = io,
        .segments      = segments,
        .directory     = directory,
        .reserve_bytes = reserve_bytes,
        .next_number   = 1,
        .lasted_ns     = UINT64_MAX,
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

static void fill(struct prepare *p)
{
    uint64_t left = p->segments->segment_bytes - p->filled_bytes;
    io_write(p->file, &p->op, p->zeros, left < PREPARE_SLICE_BYTES ? (size_t)left : PREPARE_SLICE_BYTES,
             p->filled_bytes);
}

static void ready(struct prepare *p)
{
    struct log_segment *segment = segments_at(p->segments, p->next_number);
    segment->file               = p->file;
    segment->exists             = true;
    p->file                     = NULL;
    p->ready[p->ready_count++]  = p->next_number++;
    p->state                    = PREPARE_IDLE;
    if (p->filled_bytes > 0) {
        p->fill_ns = io_now_ns(p->io) - p->begun_ns;
    }
    full_set(p, p->from_reserve);
}

static void done(struct io_op *op, int result)
{
    struct prepare *p = op->ctx;
    char            from[PREPARE_PATH_BYTES];
    char            to[PREPARE_PATH_BYTES];
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
        if (p->filled_bytes < p->segments->segment_bytes) {
            fill(p);
            return;
        }
        p->state = PREPARE_SYNCING;
        io_sync(p->file, &p->op);
        return;
    case PREPARE_ALLOCATING:
        p->state = PREPARE_SYNCING;
        io_sync(p->file, &p->op);
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

static bool hurried(const struct prepare *p)
{
    return !p->unable && (p->lasted_ns / 2 < p->fill_ns || BUGGIFY("prepare: in a hurry", 10));
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
    if (hurried(p)) {
        p->state = PREPARE_ALLOCATING;
        io_allocate(p->file, &p->op, p->segments->segment_bytes);
    } else {
        p->state = PREPARE_FILLING;
        fill(p);
    }
}

void prepare_turn(struct prepare *p)
{
    if (p->state == PREPARE_IDLE && !p->stopping && p->ready_count < p->ready_wanted &&
        (!p->full || io_now_ns(p->io) >= p->retry_ns)) {
        begin(p);
    }
}

uint64_t prepare_next_ns(const struct prepare *p)
{
    return p->state == PREPARE_IDLE && !p->stopping && p->ready_count < p->ready_wanted ? (p->full ? p->retry_ns : 0)
                                                                                        : UINT64_MAX;
}

struct log_segment *prepare_take(struct prepare *p)
{
    if (p->ready_count == 0) {
        return NULL;
    }
    uint64_t number = p->ready[0];
    uint64_t now_ns = io_now_ns(p->io);
    p->lasted_ns    = p->taken_ns == 0 ? UINT64_MAX : now_ns - p->taken_ns;
    p->taken_ns     = now_ns;
    p->ready_count--;
    memmove(p->ready, p->ready + 1, p->ready_count * sizeof p->ready[0]);
    return segments_find(p->segments, number);
}

bool prepare_busy(const struct prepare *p)
{
    return p->state != PREPARE_IDLE;
}
