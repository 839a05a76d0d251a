/* reclaim.c - the states of a pass, each for as long as its slice or its operation takes. */
#include "segstore/disk/reclaim.h"

#include "shared/base/buggify.h"
#include "shared/base/err.h"
#include "shared/base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { READ_BYTES = 256 * 1024, WINDOW_BYTES = BLOCK_MAX_BYTES + READ_BYTES };
enum { WALK_STEPS = 4096, COPY_STEPS = 512, MOVE_STEPS = 512, FIND_STEPS = 64 };

static const uint64_t LOOK_NS  = 1000000000;  /* between two looks at the files */
static const uint64_t SLICE_NS = 1000000;     /* between two slices */
static const uint64_t RETRY_NS = 5000000000;  /* after one that found no space */
static const uint64_t AGAIN_NS = 60000000000; /* the same file: a walk may have missed something, or another holds it */

static bool on_holds(void *ctx, const struct survivor *survivor)
{
    struct reclaim *r = ctx;
    return r->hooks.holds(r->hooks.ctx, survivor);
}

/* What is held and cannot be read keeps its file. */
static void on_damaged(void *ctx, const struct survivor *survivor)
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

static void sleep_for(struct reclaim *r, uint64_t ns)
{
    r->next_ns = io_now_ns(r->io) + ns;
}

/* So many bytes were read or written: no more before the rate allows it. */
static void pay(struct reclaim *r, uint64_t bytes)
{
    uint64_t wait = bucket_take(&r->bucket, r->rate, bytes, io_now_ns(r->io));
    sleep_for(r, wait > SLICE_NS ? wait : SLICE_NS);
}

static uint64_t base_of(const struct reclaim *r, uint64_t number)
{
    return segments_position(r->segments, number);
}

/* ---- a pass ---- */

static void each_held(void *ctx, const struct survivor *survivor)
{
    struct reclaim *r      = ctx;
    uint64_t        number = segments_number(r->segments, survivor->position);
    if (r->survivors.left >= RECLAIM_RECORDS_MAX || BUGGIFY("reclaim: the walk misses one", 20)) {
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
static void pass_begin(struct reclaim *r)
{
    const struct copy_hooks hooks = {.ctx = r, .holds = on_holds, .damaged = on_damaged};
    for (uint32_t i = 0; i < r->file_count; i++) {
        segments_retain(r->segments, base_of(r, r->files[i]));
    }
    copy_init(&r->copy, &hooks, r->segments->segment_bytes);
    r->window = aligned_alloc(IO_ALIGN_BYTES, WINDOW_BYTES);
    if (r->window == NULL) {
        fatal(71, "out of memory for moving records");
    }
    r->counts.passes++;
    r->walk_begins = true;
    r->state       = RECLAIM_WALKING;
}

/* Nothing is left to do with a file; it is kept until all that was copied has moved. */
static void file_release(struct reclaim *r, uint64_t number, bool done)
{
    struct log_segment *segment = segments_find(r->segments, number);
    segments_release(r->segments, base_of(r, number));
    segment->next_ns = done ? io_now_ns(r->io) + AGAIN_NS : 0;
    if (segment->moved != 0 && segment->live == 0) {
        r->counts.files++;
        r->save->moved_bytes += segment_is_run(number) ? segment->bytes : r->segments->segment_bytes;
    }
}

/* Over, done or given up. */
static void pass_end(struct reclaim *r, uint64_t wait_ns)
{
    bool done = r->file_at == r->file_count;
    for (uint32_t i = 0; i < r->file_count; i++) {
        file_release(r, r->files[i], i < r->file_at);
    }
    memory_free(r);
    r->state   = RECLAIM_IDLE;
    r->copying = false;
    if (r->prepare->full && done) { /* nothing is free before a checkpoint says where its records are */
        r->save->wanted = true;
    }
    sleep_for(r, wait_ns);
}

static void file_begin(struct reclaim *r)
{
    r->window_bytes = 0;
    r->at           = 0;
    r->offset       = 0;
    r->copying      = false;
}

static void look(struct reclaim *r)
{
    sleep_for(r, LOOK_NS);
    reclaim_choose(r);
    if (r->file_count > 0) {
        r->told = false;
        file_begin(r);
        pass_begin(r);
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
    sleep_for(r, SLICE_NS);
    if (all) {
        survivors_ready(&r->survivors);
        r->state = RECLAIM_COPYING;
    }
}

/* ---- writing a run ---- */

static struct log_segment *run_segment(const struct reclaim *r)
{
    return segments_find(r->segments, r->run.number);
}

/* No more comes to it. */
static void run_close(struct reclaim *r)
{
    if (r->run.number != 0) {
        segments_release(r->segments, base_of(r, r->run.number));
        r->run = (struct run){0};
    }
}

static void step_done(struct io_op *op, int result);

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
    pass_end(r, RETRY_NS);
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
    segments_retain(r->segments, base_of(r, number));
    r->run   = (struct run){.number = number};
    r->state = RECLAIM_MAKING;
    r->busy  = true;
    r->op    = (struct io_op){.done = step_done, .ctx = r};
    io_sync_directory(r->io, &r->op, r->run_directory);
    return false;
}

/* The block goes to the run, which may have to be made first. */
static void write_block(struct reclaim *r)
{
    r->length = copy_length(&r->copy);
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
        .position         = base_of(r, run->number) + run->bytes,
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
    r->op             = (struct io_op){.done = step_done, .ctx = r};
    io_write_durable(run->file, &r->op, r->copy.image, length, run->bytes);
}

/* What was copied lies in the run now; a slice. */
static void move(struct reclaim *r)
{
    sleep_for(r, SLICE_NS);
    for (uint32_t i = 0; i < MOVE_STEPS && r->moved < r->copy.placed.count; i++, r->moved++) {
        const struct copy_move *m = &r->copy.placed.them[r->moved];
        r->counts.records += r->hooks.move(r->hooks.ctx, &m->survivor, r->block_position + m->to);
    }
    if (r->moved == r->copy.placed.count) {
        r->state = RECLAIM_COPYING;
    }
}

/* ---- reading a file ---- */

static uint64_t file_bytes(const struct reclaim *r, uint64_t number)
{
    return segment_is_run(number) ? segments_find(r->segments, number)->bytes : r->segments->segment_bytes;
}

/* What is held before `end` and was not met on the way there cannot be read. */
static void pass_over(struct reclaim *r, uint64_t end)
{
    const struct survivor *s;
    while ((s = survivors_first(&r->survivors)) != NULL && s->position < end) {
        if (on_holds(r, s)) {
            on_damaged(r, s);
        }
        survivors_pop(&r->survivors);
    }
}

static void file_next(struct reclaim *r)
{
    pass_over(r, base_of(r, r->files[r->file_at]) + r->segments->segment_bytes);
    r->file_at++;
    file_begin(r);
    if (r->file_at < r->file_count) {
        return;
    }
    if (copy_any(&r->copy)) {
        copy_drain(&r->copy);
    } else {
        pass_end(r, SLICE_NS);
    }
}

static void read_more(struct reclaim *r)
{
    uint64_t            number  = r->files[r->file_at];
    struct log_segment *segment = segments_find(r->segments, number);
    int                 result  = r->hooks.open(r->hooks.ctx, segment);
    if (result < 0) {
        pass_end(r, RETRY_NS);
        return;
    }
    memmove(r->window, r->window + r->at, r->window_bytes - r->at);
    r->window_bytes -= r->at;
    r->at       = 0;
    size_t from = r->offset + r->window_bytes;
    size_t left = (size_t)file_bytes(r, number) - from;
    size_t room = WINDOW_BYTES - r->window_bytes;
    size_t size = left < READ_BYTES ? left : READ_BYTES;
    size        = size < room ? size : room;
    ASSERT(size > 0);
    r->state = RECLAIM_READING;
    r->busy  = true;
    r->op    = (struct io_op){.done = step_done, .ctx = r};
    io_read(segment->file, &r->op, r->window + r->window_bytes, size, from);
}

static void skip(struct reclaim *r, size_t bytes)
{
    r->at += bytes;
    r->offset += bytes;
}

/* The next block of the file, when it is in the window and whole; what is neither is passed over, page by page. */
static void find_block(struct reclaim *r)
{
    uint64_t               number   = r->files[r->file_at];
    size_t                 end      = (size_t)file_bytes(r, number);
    const struct survivor *first    = survivors_first(&r->survivors);
    uint64_t               position = base_of(r, number) + r->offset;
    struct block_header    h;
    if (first == NULL || first->position >= base_of(r, number) + end || r->offset + BLOCK_PAGE_BYTES > end) {
        file_next(r);
        return;
    }
    size_t       have = r->window_bytes - r->at;
    struct bytes room = bytes_of(r->window + r->at, end - r->offset);
    bool         good = have >= BLOCK_PAGE_BYTES && block_header_at(room, &r->wal->id, position, &h);
    if (have < BLOCK_PAGE_BYTES || (good && h.length > have)) {
        read_more(r);
        return;
    }
    if (good && first->position >= position + h.length) { /* nothing in it is held */
        skip(r, h.length);
        return;
    }
    if (!good || block_check(bytes_of(r->window + r->at, h.length), &r->wal->id, position, BLOCK_PAGE_BYTES, &h) !=
                     BLOCK_VALID) {
        skip(r, BLOCK_PAGE_BYTES);
        return;
    }
    pass_over(r, position);
    copy_source(&r->copy, r->window + r->at, &h);
    skip(r, h.length);
    r->copying = true;
}

/* The next block of what was gathered. */
static void drain(struct reclaim *r)
{
    if (copy_fill(&r->copy)) {
        write_block(r);
    } else if (r->file_at == r->file_count) {
        pass_end(r, SLICE_NS);
    }
}

static void copy(struct reclaim *r)
{
    sleep_for(r, SLICE_NS);
    if (r->copy.draining) {
        drain(r);
        return;
    }
    for (int i = 0; i < FIND_STEPS && !r->copying && !r->busy && !r->copy.draining && r->state == RECLAIM_COPYING;
         i++) {
        find_block(r);
    }
    if (!r->copying || r->busy || r->copy.draining || r->state != RECLAIM_COPYING) {
        return;
    }
    switch (copy_step(&r->copy, &r->survivors, COPY_STEPS)) {
    case COPY_MORE:
        return;
    case COPY_DONE:
        r->copying = false;
        return;
    case COPY_FULL:
        copy_drain(&r->copy);
        return;
    }
}

/* ---- the turn ---- */

static void step_done(struct io_op *op, int result)
{
    struct reclaim *r = op->ctx;
    r->busy           = false;
    switch ((enum reclaim_state)r->state) {
    case RECLAIM_READING:
        r->state = RECLAIM_COPYING;
        if (result <= 0 || result % BLOCK_PAGE_BYTES != 0) { /* what is held there shows as damaged */
            log_error("a file of the log cannot be read to move what is held in it: %s",
                      result < 0 ? err_sentence(result) : "it is too short");
            file_next(r);
            return;
        }
        r->window_bytes += (size_t)result;
        r->counts.read_bytes += (uint64_t)result;
        pay(r, (uint64_t)result);
        return;
    case RECLAIM_MAKING:
    case RECLAIM_WRITING:
        break;
    case RECLAIM_IDLE:
    case RECLAIM_WALKING:
    case RECLAIM_COPYING:
    case RECLAIM_MOVING:
        ASSERT(false);
    }
    if (is_full(result)) {
        no_space(r);
        return;
    }
    if (result < 0) {
        r->hooks.failed(r->hooks.ctx, "writing a run", result);
        return;
    }
    if (r->state == RECLAIM_MAKING) {
        write_block(r);
        return;
    }
    if ((uint64_t)result != r->length) {
        no_space(r);
        return;
    }
    run_segment(r)->bytes += r->length;
    r->counts.written_bytes += r->length;
    r->state = RECLAIM_MOVING;
    r->moved = 0;
    pay(r, r->length);
}

void reclaim_turn(struct reclaim *r)
{
    if (r->rate == 0 || r->busy || r->save->suspended || io_now_ns(r->io) < r->next_ns) {
        return;
    }
    if (r->stopping) {
        if (r->state != RECLAIM_IDLE) {
            pass_end(r, LOOK_NS);
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
        copy(r);
        return;
    case RECLAIM_MOVING:
        move(r);
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
