/* chunk.c - 64 places, the oldest goes first. */
#include "segstore/disk/chunk.h"

#include "shared/base/err.h"

#include <stdlib.h>

void chunks_init(struct chunks *c, struct io *io, struct segments *segments, uint32_t count, uint32_t depth,
                 uint64_t rate)
{
    *c = (struct chunks){
        .io = io, .segments = segments, .count = count < 8 ? 8 : count, .depth = depth == 0 ? 1 : depth, .rate = rate};
    c->slots        = calloc(c->count, sizeof *c->slots);
    uint8_t *memory = aligned_alloc(IO_ALIGN_BYTES, (size_t)c->count * CHUNK_BYTES);
    if (c->slots == NULL || memory == NULL) {
        fatal(71, "out of memory for the cache of cold reads (%u chunks)", c->count);
    }
    for (uint32_t i = 0; i < c->count; i++) {
        c->slots[i] = (struct chunk){.owner = c, .memory = memory + (size_t)i * CHUNK_BYTES};
    }
}

void chunks_fini(struct chunks *c)
{
    if (c->slots != NULL) {
        free(c->slots[0].memory);
        free(c->slots);
    }
    *c = (struct chunks){0};
}

static void read_done(struct io_op *op, int result)
{
    struct chunk  *chunk = op->ctx;
    struct chunks *c     = chunk->owner;
    ASSERT(chunk->state == CHUNK_READING);
    c->reading--;
    chunk->state = CHUNK_LOADED;
    chunk->fresh = true;
    if (result < 0) {
        chunk->state = CHUNK_FAILED;
        chunk->error = result;
    } else if ((uint64_t)result < chunk->good_bytes) {
        chunk->good_bytes = (uint64_t)result;
    }
    c->loaded(c->ctx, result);
}

static struct chunk *find(struct chunks *c, uint64_t position)
{
    for (uint32_t i = 0; i < c->count; i++) {
        uint32_t      at    = (c->hit + i) % c->count;
        struct chunk *chunk = &c->slots[at];
        if (chunk->state != CHUNK_EMPTY && chunk->position == position) {
            c->hit = at;
            return chunk;
        }
    }
    return NULL;
}

/* The place to read into: an empty one, else the one unused for longest; fresh ones only when nothing is being read. */
static struct chunk *victim(struct chunks *c)
{
    struct chunk *best = NULL;
    for (uint32_t i = 0; i < c->count; i++) {
        struct chunk *chunk = &c->slots[i];
        if (chunk->state == CHUNK_EMPTY) {
            return chunk;
        }
        if (chunk->state == CHUNK_READING || (chunk->fresh && c->reading > 0)) {
            continue;
        }
        if (best == NULL || (best->fresh && !chunk->fresh) ||
            (best->fresh == chunk->fresh && chunk->used_at < best->used_at)) {
            best = chunk;
        }
    }
    return best;
}

static int begin_read(struct chunks *c, uint64_t position, uint64_t durable_position)
{
    uint64_t            number  = segments_number(c->segments, position);
    struct log_segment *segment = segments_find(c->segments, number);
    if (segment == NULL || !segment->exists) {
        return ERR_NOT_FOUND;
    }
    if (c->reading == c->depth) {
        return 1;
    }
    if (c->rate != 0 && io_now_ns(c->io) < c->next_ns) {
        c->waits = true;
        return 1;
    }
    int result = c->open(c->ctx, segment);
    if (result < 0) {
        return result;
    }
    struct chunk *chunk = victim(c);
    if (chunk == NULL) {
        return 1;
    }
    uint64_t offset   = position - segments_position(c->segments, number);
    uint64_t left     = c->segments->segment_bytes - offset;
    uint64_t size     = left < CHUNK_BYTES ? left : CHUNK_BYTES;
    uint64_t durable  = durable_position > position ? durable_position - position : 0;
    chunk->position   = position;
    chunk->segment    = number;
    chunk->good_bytes = durable < size ? durable : size;
    chunk->state      = CHUNK_READING;
    chunk->used_at    = ++c->clock;
    chunk->op         = (struct io_op){.done = read_done, .ctx = chunk};
    c->reading++;
    c->reads++;
    if (c->rate != 0) {
        uint64_t now_ns = io_now_ns(c->io);
        c->next_ns      = now_ns + bucket_take(&c->bucket, c->rate, size, now_ns);
    }
    io_read(segment->file, &chunk->op, chunk->memory, (size_t)size, offset);
    return 1;
}

int chunk_view(struct chunks *c, uint64_t position, uint64_t durable_position, struct bytes *out)
{
    uint64_t      base  = segments_position(c->segments, segments_number(c->segments, position));
    uint64_t      start = base + (position - base) / CHUNK_BYTES * CHUNK_BYTES;
    struct chunk *chunk = find(c, start);
    if (chunk != NULL && chunk->state == CHUNK_READING) {
        return 1;
    }
    if (chunk != NULL && chunk->state == CHUNK_FAILED) { /* told once; who asks again has it read again */
        chunk->state = CHUNK_EMPTY;
        return chunk->error;
    }
    if (chunk != NULL && position - start < chunk->good_bytes) {
        chunk->fresh   = false;
        chunk->used_at = ++c->clock;
        *out           = bytes_of(chunk->memory + (position - start), chunk->good_bytes - (position - start));
        return 0;
    }
    if (chunk != NULL) { /* read before that part was written */
        chunk->state = CHUNK_EMPTY;
    }
    durable_position = segments_durable(c->segments, position, durable_position);
    if (position >= durable_position) {
        return ERR_NOT_FOUND;
    }
    return begin_read(c, start, durable_position);
}

/* So many were read and not used yet, or are being read, that what somebody waits for would not stay until it is used: half of all are for that. */
static bool is_crowded(const struct chunks *c)
{
    uint32_t coming = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        coming += c->slots[i].state == CHUNK_READING || (c->slots[i].state == CHUNK_LOADED && c->slots[i].fresh);
    }
    return coming >= c->count / 2;
}

bool chunk_ahead(struct chunks *c, uint64_t position, uint64_t durable_position)
{
    uint64_t base    = segments_position(c->segments, segments_number(c->segments, position));
    uint64_t start   = base + (position - base) / CHUNK_BYTES * CHUNK_BYTES;
    uint64_t durable = segments_durable(c->segments, position, durable_position);
    if (find(c, start) != NULL) {
        return true;
    }
    if (position >= durable || is_crowded(c) || c->reading == c->depth ||
        (c->rate != 0 && io_now_ns(c->io) < c->next_ns)) {
        return false;
    }
    return begin_read(c, start, durable) == 1;
}

void chunks_turn(struct chunks *c)
{
    if (c->waits && io_now_ns(c->io) >= c->next_ns) {
        c->waits = false;
        c->loaded(c->ctx, 0);
    }
}

uint64_t chunks_next_ns(const struct chunks *c)
{
    return c->waits ? c->next_ns : UINT64_MAX;
}

bool chunks_reading(const struct chunks *c, uint64_t segment_number)
{
    for (uint32_t i = 0; i < c->count; i++) {
        if (c->slots[i].state == CHUNK_READING && c->slots[i].segment == segment_number) {
            return true;
        }
    }
    return false;
}

void chunks_forget(struct chunks *c, uint64_t segment_number)
{
    for (uint32_t i = 0; i < c->count; i++) {
        if (c->slots[i].state >= CHUNK_LOADED && c->slots[i].segment == segment_number) {
            c->slots[i].state = CHUNK_EMPTY;
        }
    }
}
