/* reclaim.c - the states of a pass, each for as long as its slice or its operation takes. */
#include "segstore/disk/reclaiming.h"

#include "shared/base/buggify.h"
#include "shared/base/log.h"

#include <stdlib.h>

enum { WALK_STEPS = 4096 };

static const uint64_t LOOK_NS  = 1000000000; /* between two looks at the files */
static const uint64_t RETRY_NS = 5000000000; /* after one that found no space */

bool reclaim_holds(void *ctx, const struct survivor *survivor)
{
    struct reclaim *r = ctx;
    return r->hooks.holds(r->hooks.ctx, survivor);
}

/* What is held and cannot be read keeps its file. */
void reclaim_damaged(void *ctx, const struct survivor *survivor)
{
    struct reclaim     *r       = ctx;
    uint64_t            number  = segments_number(r->segments, survivor->position);
    struct log_segment *segment = segments_find(r->segments, number);
    r->counts.damaged++;
    if (!segment->damaged) {
        log_error("%s %012llu holds a record at offset %llu that cannot be read: the file is kept as it is; restore it "
                  "from a copy while the store is stopped",
                  segment_is_run(number) ? "the run" : "the log file", (unsigned long long)number,
                  (unsigned long long)(survivor->position - segments_position(r->segments, number)));
    }
    segment->damaged = true;
    r->hooks.damaged(r->hooks.ctx, survivor->position, 1, BLOCK_STRIPE_BIT(survivor->stripe));
}

void reclaim_init(struct reclaim *r, struct io *io, const struct reclaim_hooks *hooks)
{
    *r = (struct reclaim){.io = io, .hooks = *hooks};
    survivors_init(&r->survivors, SURVIVORS_BY_POSITION);
}

static void memory_free(struct reclaim *r)
{
    survivors_fini(&r->survivors);
    copy_fini(&r->copy);
    free(r->window);
    r->window = NULL;
}

void reclaim_fini(struct reclaim *r)
{
    memory_free(r);
    *r = (struct reclaim){0};
}

/* No step before then. */
static void reclaim_sleep(struct reclaim *r, uint64_t ns)
{
    r->next_ns = io_now_ns(r->io) + ns;
}

/* So many bytes were read or written: no more before the rate allows it. */
void reclaim_pay(struct reclaim *r, uint64_t bytes)
{
    uint64_t wait = bucket_take(&r->bucket, r->rate, bytes, io_now_ns(r->io));
    reclaim_sleep(r, wait > RECLAIM_SLICE_NS ? wait : RECLAIM_SLICE_NS);
}

void reclaim_slice(struct reclaim *r)
{
    reclaim_sleep(r, RECLAIM_SLICE_NS);
}

void reclaim_retry(struct reclaim *r)
{
    reclaim_end(r, RETRY_NS);
}

uint64_t reclaim_credit(const struct reclaim *r)
{
    uint64_t logged = save_logged(r->save);
    return logged > r->save->copied_bytes ? logged - r->save->copied_bytes : 0;
}

/* ---- a pass ---- */

/* Of files that were written to. */
static uint64_t log_size(const struct reclaim *r)
{
    uint64_t count = 0;
    for (uint64_t i = 0; i < r->segments->log.count; i++) {
        count += r->segments->log.slots[i].exists;
    }
    return (count - r->prepare->ready_count) * r->segments->segment_bytes;
}

static struct victims_view view_of(const struct reclaim *r)
{
    const struct saved *newest = &r->save->newest;
    return (struct victims_view){
        .segments     = r->segments,
        .now_ns       = io_now_ns(r->io),
        .age_ns       = r->age_ns,
        .closed_below = newest->number == 0 ? 0 : segments_number(r->segments, newest->replay_position),
        .run_number   = r->run.number,
        .logged_bytes = save_logged(r->save),
        .credit_bytes = reclaim_credit(r),
        .pressed      = log_size(r) > r->log_bytes,
        .full         = r->prepare->full,
    };
}

static void each_held(void *ctx, const struct survivor *survivor)
{
    struct reclaim *r      = ctx;
    uint64_t        number = segments_number(r->segments, survivor->position);
    if (r->survivors.left >= VICTIMS_RECORDS_MAX || BUGGIFY("reclaim: the walk misses one", 20)) {
        return;
    }
    for (uint32_t i = 0; i < r->file_count; i++) {
        if (r->files[i] == number) {
            survivors_add(&r->survivors, survivor);
            return;
        }
    }
}

/* The files are kept while they are read. */
static void pass_begin(struct reclaim *r, const struct victims *chosen)
{
    const struct copy_hooks hooks = {.ctx = r, .holds = reclaim_holds, .damaged = reclaim_damaged};
    r->file_at                    = 0;
    r->file_count                 = chosen->count;
    memcpy(r->files, chosen->numbers, sizeof r->files);
    source_begin(r);
    for (uint32_t i = 0; i < r->file_count; i++) {
        segments_retain(r->segments, reclaim_base(r, r->files[i]));
    }
    copy_init(&r->copy, &hooks, r->segments->segment_bytes);
    r->copy.weighing = chosen->weigh;
    r->window        = aligned_alloc(IO_ALIGN_BYTES, RECLAIM_WINDOW_BYTES);
    if (r->window == NULL) {
        fatal(71, "out of memory for moving records");
    }
    r->counts.passes += !chosen->weigh;
    r->walk_begins = true;
    r->state       = RECLAIM_WALKING;
}

/* Nothing is left to do with a file; it is kept until all that was copied has moved. */
static void file_release(struct reclaim *r, uint32_t nth)
{
    bool                      done    = nth < r->file_at;
    struct log_segment       *segment = segments_find(r->segments, r->files[nth]);
    const struct victims_view view    = view_of(r);
    segments_release(r->segments, reclaim_base(r, segment->number));
    if (r->copy.weighing) {
        /* Of more than a walk tells of, the others may be as long. */
        double parts = segment->live > VICTIMS_RECORDS_MAX ? (double)segment->live / VICTIMS_RECORDS_MAX : 1;
        if (done) {
            victims_weighed(&view, segment, (uint64_t)((double)r->weights[nth] * parts));
        }
        return;
    }
    segment->next_ns = done ? view.now_ns + VICTIMS_AGAIN_NS : 0;
    if (segment->moved != 0 && segment->live == 0) {
        r->counts.files++;
        r->save->moved_bytes += victims_file_bytes(r->segments, segment);
    }
}

void reclaim_end(struct reclaim *r, uint64_t wait_ns)
{
    bool done = r->file_at == r->file_count && !r->copy.weighing;
    for (uint32_t i = 0; i < r->file_count; i++) {
        file_release(r, i);
    }
    memory_free(r);
    r->state   = RECLAIM_IDLE;
    r->copying = false;
    if (r->prepare->full && done) { /* nothing is free before a checkpoint says where its records are */
        r->save->wanted = true;
    }
    reclaim_sleep(r, wait_ns);
}

void reclaim_postpone(struct reclaim *r)
{
    reclaim_end(r, LOOK_NS);
    for (uint32_t i = 0; i < r->file_count; i++) {
        segments_find(r->segments, r->files[i])->next_ns = io_now_ns(r->io) + VICTIMS_AGAIN_NS;
    }
}

static void look(struct reclaim *r)
{
    const struct victims_view view = view_of(r);
    struct victims            chosen;
    reclaim_sleep(r, LOOK_NS);
    victims_choose(&view, &chosen);
    if (chosen.count > 0) {
        r->told = r->told && chosen.weigh;
        pass_begin(r, &chosen);
    } else if (r->prepare->full && !r->told) {
        r->told = true;
        log_warn("no file in %s can be freed by moving what is held in it: of each more than nine tenths are held, or "
                 "the newest checkpoint needs it. Let consumers catch up, trim streams, or make the disk larger",
                 r->run_directory);
    }
}

static void walk(struct reclaim *r)
{
    bool all       = r->hooks.walk(r->hooks.ctx, r->walk_begins, WALK_STEPS, each_held, r);
    r->walk_begins = false;
    reclaim_slice(r);
    if (all) {
        survivors_ready(&r->survivors);
        r->state = RECLAIM_COPYING;
    }
}

/* ---- the turn ---- */

void reclaim_step_done(struct io_op *op, int result)
{
    struct reclaim *r = op->ctx;
    r->busy           = false;
    switch ((enum reclaim_state)r->state) {
    case RECLAIM_READING:
        source_read_done(r, result);
        return;
    case RECLAIM_MAKING:
    case RECLAIM_WRITING:
        mover_done(r, result);
        return;
    case RECLAIM_IDLE:
    case RECLAIM_WALKING:
    case RECLAIM_COPYING:
    case RECLAIM_MOVING:
        break;
    }
    ASSERT(false);
}

void reclaim_turn(struct reclaim *r)
{
    if (r->rate == 0 || r->busy || r->save->suspended || io_now_ns(r->io) < r->next_ns) {
        return;
    }
    if (r->stopping) {
        if (r->state != RECLAIM_IDLE) {
            reclaim_end(r, LOOK_NS);
        }
        return;
    }
    switch ((enum reclaim_state)r->state) {
    case RECLAIM_IDLE:
        look(r);
        return;
    case RECLAIM_WALKING:
        walk(r);
        return;
    case RECLAIM_COPYING:
        source_step(r);
        return;
    case RECLAIM_MOVING:
        mover_step(r);
        return;
    case RECLAIM_READING:
    case RECLAIM_MAKING:
    case RECLAIM_WRITING:
        break;
    }
    ASSERT(false);
}

uint64_t reclaim_next_ns(const struct reclaim *r)
{
    return r->rate == 0 || r->busy || r->stopping || r->save->suspended ? UINT64_MAX : r->next_ns;
}

bool reclaim_busy(const struct reclaim *r)
{
    return r->busy;
}
