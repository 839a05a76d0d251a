/* copy.c - two ascending sequences, survivors and entries, into a batch; the batch, sorted, into blocks. */
#include "segstore/disk/copy.h"

#include "shared/record/record.h"
#include "shared/rpc/op.h"

#include <stdlib.h>

enum { BODY_BYTES = 64 * 1024, MOVES_MAX = 128 * 1024 }; /* entries of a run do not grow above this; of a batch */

void copy_init(struct copy *c, const struct copy_hooks *hooks, size_t file_bytes)
{
    size_t block_bytes = file_bytes < COPY_BLOCK_BYTES ? file_bytes : COPY_BLOCK_BYTES;
    *c                 = (struct copy){.hooks       = *hooks,
                                       .block_bytes = block_bytes,
                                       .image       = aligned_alloc(BLOCK_PAGE_BYTES, BLOCK_MAX_BYTES),
                                       .batch       = malloc(COPY_BATCH_BYTES),
                                       .body        = malloc(BODY_BYTES)};
    if (c->image == NULL || c->batch == NULL || c->body == NULL) {
        fatal(71, "out of memory for moving records");
    }
    survivors_init(&c->order, SURVIVORS_BY_STREAM);
}

void copy_fini(struct copy *c)
{
    free(c->image);
    free(c->batch);
    free(c->body);
    free(c->placed.them);
    free(c->noted.them);
    free(c->pieces);
    survivors_fini(&c->order);
    *c = (struct copy){0};
}

bool copy_any(const struct copy *c)
{
    return c->piece_count > 0;
}

size_t copy_length(const struct copy *c)
{
    return (c->writer.used_bytes + BLOCK_PAGE_BYTES - 1) / BLOCK_PAGE_BYTES * BLOCK_PAGE_BYTES;
}

static struct copy_move *move_push(struct copy_moves *m)
{
    if (m->count == m->capacity) {
        m->capacity = m->capacity == 0 ? 1024 : m->capacity * 2;
        m->them     = realloc(m->them, m->capacity * sizeof *m->them);
        ASSERT_MEMORY(m->them != NULL);
    }
    return &m->them[m->count++];
}

/* ---- gathering ---- */

void copy_source(struct copy *c, const uint8_t *image, const struct block_header *header)
{
    ASSERT(c->piece_from == c->piece_end);
    block_entries(&c->cursor, image, header);
    c->has_entry  = false;
    c->source_end = header->position + header->length;
}

static size_t moves_of_pieces(const struct copy *c)
{
    const struct copy_piece *last = c->piece_count == 0 ? NULL : &c->pieces[c->piece_count - 1];
    return last == NULL ? 0 : last->first_move + last->move_count;
}

/* The piece into the batch; false: there is no room. */
static bool put_piece(struct copy *c)
{
    size_t size = (size_t)(c->piece_end - c->piece_from);
    size_t from = moves_of_pieces(c);
    if (size == 0) {
        return true;
    }
    if (c->weighing) {
        c->weight += size;
        c->noted.count = 0;
        c->piece_from = c->piece_end = 0;
        return true;
    }
    if (c->batch_size + size > COPY_BATCH_BYTES || (c->piece_count > 0 && c->noted.count > MOVES_MAX)) {
        return false;
    }
    if (c->piece_count == c->piece_capacity) {
        c->piece_capacity = c->piece_capacity == 0 ? 1024 : c->piece_capacity * 2;
        c->pieces         = realloc(c->pieces, c->piece_capacity * sizeof *c->pieces);
        ASSERT_MEMORY(c->pieces != NULL);
    }
    struct survivor first = c->noted.them[from].survivor;
    first.position        = c->piece_count;
    survivors_add(&c->order, &first);
    c->pieces[c->piece_count++] = (struct copy_piece){.at         = c->batch_size,
                                                      .size       = (uint32_t)size,
                                                      .first_move = from,
                                                      .move_count = (uint32_t)(c->noted.count - from)};
    memcpy(c->batch + c->batch_size, c->entry.ops.data + (c->piece_from - c->entry.position), size);
    c->batch_size += size;
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

/* Is it part of the piece that is being made, as another stream's target of the same record? */
static bool joins(const struct copy *c, const struct survivor *s)
{
    return c->piece_from != c->piece_end && s->position < c->piece_end &&
           s->position < c->entry.position + c->entry.ops.size;
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
    c->piece_end          = s->position + size > c->piece_end ? s->position + size : c->piece_end;
    *move_push(&c->noted) = (struct copy_move){.survivor = *s, .to = s->position - c->piece_from};
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

/* ---- writing ---- */

void copy_drain(struct copy *c)
{
    survivors_ready(&c->order);
    c->draining = true;
}

/* All is out, but for the survivors of a piece that is being made. */
static void batch_empty(struct copy *c)
{
    size_t done = moves_of_pieces(c);
    c->noted.count -= done;
    if (c->noted.count > 0) {
        memmove(c->noted.them, c->noted.them + done, c->noted.count * sizeof *c->noted.them);
    }
    c->batch_size  = 0;
    c->piece_count = 0;
    c->draining    = false;
    survivors_fini(&c->order);
    survivors_init(&c->order, SURVIVORS_BY_STREAM);
}

/* It lies in the entry that is being put together, `within` it; where that lies is not known yet. */
static void place(struct copy *c, const struct copy_piece *piece, size_t within)
{
    for (size_t i = 0; i < piece->move_count; i++) {
        const struct copy_move *noted = &c->noted.them[piece->first_move + i];
        *move_push(&c->placed)        = (struct copy_move){.survivor = noted->survivor, .to = within + noted->to};
    }
}

static void append(struct copy *c, uint16_t stripe, struct bytes ops, size_t first_move)
{
    const struct log_entry entry = {.stripe = stripe, .kind = LOG_BODY, .ops = ops};
    const uint8_t         *at    = block_append(&c->writer, &entry);
    for (size_t i = first_move; i < c->placed.count; i++) {
        c->placed.them[i].to += (uint64_t)(at - c->image);
    }
}

/* One that is too large to be put together with others, or for a block of the usual size. False: there is no room. */
static bool fill_alone(struct copy *c, uint16_t stripe, const struct copy_piece *piece)
{
    size_t first = c->placed.count;
    if (!block_fits(&c->writer, piece->size)) {
        if (c->writer.entry_count > 0) {
            return false;
        }
        block_begin(&c->writer, c->image, block_size_for(piece->size));
    }
    place(c, piece, 0);
    append(c, stripe, bytes_of(c->batch + piece->at, piece->size), first);
    survivors_pop(&c->order);
    return true;
}

/* The next entry: pieces of one stripe, as many as fit. False: there is no room for even one, or none is left. */
static bool fill_entry(struct copy *c)
{
    const struct survivor   *s      = survivors_first(&c->order);
    size_t                   first  = c->placed.count;
    size_t                   size   = 0;
    const uint16_t           stripe = s == NULL ? 0 : s->stripe;
    const struct copy_piece *piece  = s == NULL ? NULL : &c->pieces[s->position];
    if (piece != NULL && (piece->size > BODY_BYTES || !block_fits(&c->writer, piece->size))) {
        return fill_alone(c, stripe, piece);
    }
    for (; s != NULL && s->stripe == stripe; s = survivors_first(&c->order)) {
        piece = &c->pieces[s->position];
        if (size + piece->size > BODY_BYTES || !block_fits(&c->writer, size + piece->size)) {
            break;
        }
        memcpy(c->body + size, c->batch + piece->at, piece->size);
        place(c, piece, size);
        size += piece->size;
        survivors_pop(&c->order);
    }
    if (size > 0) {
        append(c, stripe, bytes_of(c->body, size), first);
    }
    return size > 0;
}

bool copy_fill(struct copy *c)
{
    ASSERT(c->draining);
    c->placed.count = 0;
    block_begin(&c->writer, c->image, c->block_bytes);
    while (fill_entry(c)) {
    }
    if (c->writer.entry_count > 0) {
        return true;
    }
    ASSERT(survivors_first(&c->order) == NULL);
    batch_empty(c);
    return false;
}
