/* source.c - a file that is read for what is held in it; what is no whole block is passed over, and what should have been held there is damaged. */
#include "segstore/disk/reclaiming.h"

#include "shared/base/err.h"
#include "shared/base/log.h"

enum { COPY_STEPS = 512, FIND_STEPS = 64 };

void source_begin(struct reclaim *r)
{
    r->window_bytes = 0;
    r->at           = 0;
    r->offset       = 0;
    r->copying      = false;
}

static uint64_t file_bytes(const struct reclaim *r)
{
    return victims_file_bytes(r->segments, segments_find(r->segments, r->files[r->file_at]));
}

/* What is held before `end` and was not met on the way there cannot be read. */
static void pass_over(struct reclaim *r, uint64_t end)
{
    const struct survivor *s;
    while ((s = survivors_first(&r->survivors)) != NULL && s->position < end) {
        if (reclaim_holds(r, s)) {
            reclaim_damaged(r, s);
        }
        survivors_pop(&r->survivors);
    }
}

/* It is through, as far as it can be read. */
static void source_end(struct reclaim *r)
{
    uint64_t number = r->files[r->file_at];
    pass_over(r, reclaim_base(r, number) + r->segments->segment_bytes);
    r->weights[r->file_at++] = r->copy.weight;
    r->copy.weight           = 0;
    source_begin(r);
    if (r->file_at < r->file_count) {
        return;
    }
    if (copy_any(&r->copy)) {
        copy_drain(&r->copy);
    } else {
        reclaim_end(r, RECLAIM_SLICE_NS);
    }
}

static void read_more(struct reclaim *r)
{
    uint64_t            number  = r->files[r->file_at];
    struct log_segment *segment = segments_find(r->segments, number);
    int                 result  = r->hooks.open(r->hooks.ctx, segment);
    if (result < 0) {
        reclaim_retry(r);
        return;
    }
    memmove(r->window, r->window + r->at, r->window_bytes - r->at);
    r->window_bytes -= r->at;
    r->at       = 0;
    size_t from = r->offset + r->window_bytes;
    size_t left = (size_t)file_bytes(r) - from;
    size_t room = RECLAIM_WINDOW_BYTES - r->window_bytes;
    size_t size = left < RECLAIM_READ_BYTES ? left : RECLAIM_READ_BYTES;
    size        = size < room ? size : room;
    ASSERT(size > 0);
    r->state = RECLAIM_READING;
    r->busy  = true;
    r->op    = (struct io_op){.done = reclaim_step_done, .ctx = r};
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
    size_t                 end      = (size_t)file_bytes(r);
    const struct survivor *first    = survivors_first(&r->survivors);
    uint64_t               position = reclaim_base(r, number) + r->offset;
    struct block_header    h;
    if (first == NULL || first->position >= reclaim_base(r, number) + end || r->offset + BLOCK_PAGE_BYTES > end) {
        source_end(r);
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
        mover_write(r);
    } else if (r->file_at == r->file_count) {
        reclaim_end(r, RECLAIM_SLICE_NS);
    }
}

void source_step(struct reclaim *r)
{
    reclaim_slice(r);
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

void source_read_done(struct reclaim *r, int result)
{
    r->state = RECLAIM_COPYING;
    if (result <= 0 || result % BLOCK_PAGE_BYTES != 0) { /* what is held there shows as damaged */
        log_error("a file of the log cannot be read to move what is held in it: %s",
                  result < 0 ? err_sentence(result) : "it is too short");
        source_end(r);
        return;
    }
    r->window_bytes += (size_t)result;
    r->counts.read_bytes += (uint64_t)result;
    reclaim_pay(r, (uint64_t)result);
}
