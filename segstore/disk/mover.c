/* mover.c - a run, block by block; a block is durable before anything is said to lie in it. */
#include "segstore/disk/reclaiming.h"

#include "shared/base/buggify.h"
#include "shared/base/log.h"

#include <errno.h>
#include <stdio.h>

enum { MOVE_STEPS = 512 };

static struct log_segment *run_segment(const struct reclaim *r)
{
    return segments_find(r->segments, r->run.number);
}

/* No more comes to it. */
static void run_close(struct reclaim *r)
{
    if (r->run.number != 0) {
        segments_release(r->segments, reclaim_base(r, r->run.number));
        r->run = (struct run){0};
    }
}

static bool is_full(int error)
{
    return error == -ENOSPC || error == -EDQUOT;
}

static void no_space(struct reclaim *r)
{
    if (!r->told) {
        log_warn("no space in %s to move what is held in an old file: it is tried again; until then space comes back "
                 "only as consumers catch up",
                 r->run_directory);
        r->told = true;
    }
    run_close(r);
    reclaim_retry(r);
}

/* What is left stays for a checkpoint: without one nothing is freed. */
static bool has_space(const struct reclaim *r, uint64_t bytes)
{
    int64_t  free_bytes = io_free_bytes(r->io, r->run_directory);
    uint64_t kept       = r->prepare->reserve_bytes / 4;
    uint64_t image      = r->save->newest_bytes + r->save->newest_bytes / 4;
    kept                = image > kept && image < r->prepare->reserve_bytes ? image : kept;
    return free_bytes < 0 || (uint64_t)free_bytes >= bytes + kept;
}

/* Makes a run for a block of this length. False: it is being made, or cannot be. */
static bool run_make(struct reclaim *r)
{
    const struct segment_table *runs = &r->segments->runs;
    char                        name[SEGMENT_NAME_BYTES];
    char                        path[PREPARE_PATH_BYTES];
    struct io_file             *file;
    uint64_t                    number = runs->count == 0 ? SEGMENT_RUN_FIRST + 1 : runs->first + runs->count;
    segment_name(number, name);
    snprintf(path, sizeof path, "%s/%s", r->run_directory, name);
    int result = io_file_open(r->io, path, IO_OPEN_CREATE | IO_OPEN_DIRECT, &file);
    if (is_full(result)) {
        no_space(r);
        return false;
    }
    if (result < 0) {
        r->hooks.failed(r->hooks.ctx, "making a run", result);
        return false;
    }
    struct log_segment *segment = segments_at(r->segments, number);
    segment->file               = file;
    segment->exists             = true;
    segments_retain(r->segments, reclaim_base(r, number));
    r->run   = (struct run){.number = number};
    r->state = RECLAIM_MAKING;
    r->busy  = true;
    r->op    = (struct io_op){.done = reclaim_step_done, .ctx = r};
    io_sync_directory(r->io, &r->op, r->run_directory);
    return false;
}

/* Never more than was ever logged, whatever the files were taken for (victims.h); but for a disk that is full. */
static bool has_credit(const struct reclaim *r)
{
    return r->prepare->full || r->length <= reclaim_credit(r);
}

void mover_write(struct reclaim *r)
{
    r->length = copy_length(&r->copy);
    if (!has_credit(r)) {
        r->counts.stopped++;
        reclaim_postpone(r);
        return;
    }
    if (!has_space(r, r->length)) {
        no_space(r);
        return;
    }
    bool ends = BUGGIFY("reclaim: a run ends early", 10) && r->run.seq > 0;
    if (r->run.number != 0 && (ends || run_segment(r)->bytes + r->length > r->segments->segment_bytes)) {
        run_close(r);
    }
    if (r->run.number == 0 && !run_make(r)) {
        return;
    }
    struct log_segment *run  = run_segment(r);
    struct block_header link = {
        .position         = reclaim_base(r, run->number) + run->bytes,
        .block_seq        = r->run.seq + 1,
        .previous         = r->run.checksum,
        .previous_stripes = r->run.stripes,
        .run_id           = r->wal->run_id,
    };
    size_t length = block_seal(&r->copy.writer, &r->wal->id, &link);
    ASSERT(length == r->length);
    r->run.seq        = link.block_seq;
    r->run.checksum   = link.checksum;
    r->run.stripes    = link.stripes;
    r->block_position = link.position;
    r->state          = RECLAIM_WRITING;
    r->busy           = true;
    r->op             = (struct io_op){.done = reclaim_step_done, .ctx = r};
    io_write_durable(run->file, &r->op, r->copy.image, length, run->bytes);
}

void mover_step(struct reclaim *r)
{
    reclaim_slice(r);
    for (uint32_t i = 0; i < MOVE_STEPS && r->moved < r->copy.placed.count; i++, r->moved++) {
        const struct copy_move *m = &r->copy.placed.them[r->moved];
        r->counts.records += r->hooks.move(r->hooks.ctx, &m->survivor, r->block_position + m->to);
    }
    if (r->moved == r->copy.placed.count) {
        r->state = RECLAIM_COPYING;
    }
}

void mover_done(struct reclaim *r, int result)
{
    if (is_full(result)) {
        no_space(r);
        return;
    }
    if (result < 0) {
        r->hooks.failed(r->hooks.ctx, "writing a run", result);
        return;
    }
    if (r->state == RECLAIM_MAKING) {
        mover_write(r);
        return;
    }
    if ((uint64_t)result != r->length) {
        no_space(r);
        return;
    }
    run_segment(r)->bytes += r->length;
    run_segment(r)->moved =
        save_holding(r->save); /* it stays until that tells what was copied, though all in it may die before */
    r->counts.written_bytes += r->length;
    r->counts.full_bytes += r->prepare->full ? r->length : 0;
    r->save->copied_bytes += r->length;
    r->state = RECLAIM_MOVING;
    r->moved = 0;
    reclaim_pay(r, r->length);
}
