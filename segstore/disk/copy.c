/* copy.c - two ascending sequences, survivors and entries; pieces grow until there is a gap. */
#include "segstore/disk/copy.h"

#include "shared/record/record.h"
#include "shared/rpc/op.h"

#include <stdlib.h>

enum { PIECE_BYTES = 64 * 1024 }; /* pieces that only touch do not grow together above this */

void copy_init(struct copy *c, const struct copy_hooks *hooks, size_t file_bytes)
{
    size_t block_bytes = file_bytes < COPY_BLOCK_BYTES ? file_bytes : COPY_BLOCK_BYTES;
    *c                 = (struct copy){
                        .hooks = *hooks, .block_bytes = block_bytes, .image = aligned_alloc(BLOCK_PAGE_BYTES, BLOCK_MAX_BYTES)};
    if (c->image == NULL) {
        fatal(71, "out of memory for moving records");
    }
    copy_empty(c);
}

void copy_fini(struct copy *c)
{
    free(c->image);
    free(c->moves);
    *c = (struct copy){0};
}

void copy_empty(struct copy *c)
{
    c->count -= c->placed;
    if (c->count > 0) {
        memmove(c->moves, c->moves + c->placed, c->count * sizeof *c->moves);
    }
    c->placed = 0;
    block_begin(&c->writer, c->image, c->block_bytes);
}

bool copy_any(const struct copy *c)
{
    return c->writer.entry_count > 0;
}

size_t copy_length(const struct copy *c)
{
    return (c->writer.used_bytes + BLOCK_PAGE_BYTES - 1) / BLOCK_PAGE_BYTES * BLOCK_PAGE_BYTES;
}

void copy_source(struct copy *c, const uint8_t *image, const struct block_header *header)
{
    ASSERT(c->piece_from == c->piece_end);
    block_entries(&c->cursor, image, header);
    c->has_entry  = false;
    c->source_end = header->position + header->length;
}

static void note(struct copy *c, const struct survivor *survivor)
{
    if (c->count == c->capacity) {
        c->capacity = c->capacity == 0 ? 1024 : c->capacity * 2;
        c->moves    = realloc(c->moves, c->capacity * sizeof *c->moves);
        ASSERT(c->moves != NULL); /* out of memory */
    }
    c->moves[c->count++] = (struct copy_move){.survivor = *survivor};
}

/* The piece into the block; false: there is no room. */
static bool put_piece(struct copy *c)
{
    size_t size = (size_t)(c->piece_end - c->piece_from);
    if (size == 0) {
        return true;
    }
    if (!block_fits(&c->writer, size)) {
        if (copy_any(c)) {
            return false;
        }
        block_begin(&c->writer, c->image, block_size_for(size));
    }
    const struct log_entry piece = {
        .stripe = c->entry.stripe,
        .kind   = LOG_BODY,
        .ops    = bytes_of(c->entry.ops.data + (c->piece_from - c->entry.position), size),
    };
    const uint8_t *at = block_append(&c->writer, &piece);
    for (; c->placed < c->count; c->placed++) {
        struct copy_move *move = &c->moves[c->placed];
        move->to               = (uint64_t)(at - c->image) + (move->survivor.position - c->piece_from);
    }
    c->piece_from = c->piece_end = 0;
    return true;
}

/* Goes to the entry in which the position may lie: the first that ends behind it. False: the block has none. */
static bool find_entry(struct copy *c, uint64_t position)
{
    while (!c->has_entry || c->entry.position + c->entry.ops.size <= position) {
        c->has_entry = block_next(&c->cursor, &c->entry);
        if (!c->has_entry) {
            return false;
        }
    }
    return true;
}

/* How many bytes it takes, 0: what lies there is not what it should be. */
static size_t measure(const struct copy *c, const struct survivor *survivor)
{
    size_t skip = (size_t)(survivor->position - c->entry.position);
    size_t room = c->entry.ops.size - skip;
    if (survivor->size != 0) {
        return survivor->size <= room ? survivor->size : 0;
    }
    struct bytes     view = bytes_of(c->entry.ops.data + skip, room);
    struct bytes     bytes;
    struct op_target target;
    struct record    record;
    int64_t          size = op_target_at(view, &target, &bytes);
    if (size <= 0 || (uint64_t)size > room || record_decode(bytes, &record) != (int64_t)bytes.size ||
        (target.stream_id != survivor->stream_id && target.stream_id != OP_STREAM_LAST)) {
        return 0;
    }
    return (size_t)size;
}

/* Can it be part of the piece that is being made? */
static bool joins(const struct copy *c, const struct survivor *s)
{
    if (c->piece_from == c->piece_end || s->position >= c->entry.position + c->entry.ops.size) {
        return false;
    }
    return s->position < c->piece_end ||
           (s->position - c->piece_end <= BLOCK_ENTRY_BYTES && c->piece_end - c->piece_from < PIECE_BYTES);
}

static void take(struct copy *c, const struct survivor *s)
{
    size_t size = 0;
    if (find_entry(c, s->position) && s->position >= c->entry.position && s->stripe == c->entry.stripe) {
        size = measure(c, s);
    }
    if (size == 0) {
        c->hooks.damaged(c->hooks.ctx, s);
        return;
    }
    if (c->piece_from == c->piece_end) {
        c->piece_from = c->piece_end = s->position;
    }
    c->piece_end = s->position + size > c->piece_end ? s->position + size : c->piece_end;
    note(c, s);
}

enum copy_result copy_step(struct copy *c, struct survivors *survivors, uint32_t steps)
{
    for (; steps > 0; steps--) {
        const struct survivor *s    = survivors_first(survivors);
        bool                   over = s == NULL || s->position >= c->source_end;
        if ((over || !joins(c, s)) && !put_piece(c)) {
            return COPY_FULL;
        }
        if (over) {
            return COPY_DONE;
        }
        if (c->hooks.holds(c->hooks.ctx, s)) {
            take(c, s);
        }
        survivors_pop(survivors);
    }
    return COPY_MORE;
}
