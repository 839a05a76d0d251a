/* offsets.c - one slot, one ring, many chunks. */
#include "segstore/stripe/offsets.h"

#include <stdlib.h>

enum { RING_MIN_SHAPE = 2, RING_AFTER_CHUNKS_SHAPE = 8, CHUNKS_MIN = 8 };

static uint64_t chunk_of(uint64_t offset)
{
    return offset >> OFFSETS_CHUNK_BITS;
}

static uint64_t *words(size_t count)
{
    uint64_t *memory = malloc(count * sizeof(uint64_t));
    ASSERT(memory != NULL);
    return memory;
}

static uint64_t **pointers(uint64_t count)
{
    uint64_t **memory = calloc(count + 1, sizeof(uint64_t *));
    ASSERT(memory != NULL);
    memory[0] = (uint64_t *)(uintptr_t)(count - 1); /* NOLINT(performance-no-int-to-ptr) */
    return memory;
}

static uint64_t **chunk_at(const union offsets *o, uint64_t chunk)
{
    return &o->chunks[(chunk & offsets_mask(o)) + 1];
}

void offsets_fini(union offsets *o, unsigned shape)
{
    if (shape == OFFSETS_CHUNKED) {
        for (uint64_t i = 0; i <= offsets_mask(o); i++) {
            free(o->chunks[i + 1]);
        }
        free(o->chunks);
    } else if (shape != OFFSETS_ONE) {
        free(o->ring);
    }
    *o = (union offsets){0};
}

/* Moves [from, next) into a ring of that shape. */
static unsigned to_ring(union offsets *o, unsigned shape, unsigned ring, uint64_t from, uint64_t next)
{
    ASSERT(next - from <= 1ull << ring);
    union offsets to = {.ring = words((size_t)1 << ring)};
    for (uint64_t offset = from; offset < next; offset++) {
        *offsets_slot(&to, ring, offset) = *offsets_slot(o, shape, offset);
    }
    offsets_fini(o, shape);
    *o = to;
    return ring;
}

static unsigned to_chunks(union offsets *o, unsigned shape, uint64_t held, uint64_t next)
{
    union offsets to = {.chunks = pointers(CHUNKS_MIN)};
    for (uint64_t offset = held; offset < next; offset++) {
        uint64_t **chunk = chunk_at(&to, chunk_of(offset));
        if (*chunk == NULL) {
            *chunk = words(OFFSETS_CHUNK);
        }
        (*chunk)[offset & (OFFSETS_CHUNK - 1)] = *offsets_slot(o, shape, offset);
    }
    offsets_fini(o, shape);
    *o = to;
    return OFFSETS_CHUNKED;
}

/* Chunks first to last keep their memory; there are at most that many as the new ring has room for. */
static void resize_chunks(union offsets *o, uint64_t capacity, uint64_t first, uint64_t last)
{
    union offsets to = {.chunks = pointers(capacity)};
    for (uint64_t chunk = first; chunk <= last; chunk++) {
        *chunk_at(&to, chunk) = *chunk_at(o, chunk);
        *chunk_at(o, chunk)   = NULL;
    }
    offsets_fini(o, OFFSETS_CHUNKED); /* one chunk may be left that an undone append had begun */
    *o = to;
}

unsigned offsets_grow(union offsets *o, unsigned shape, uint64_t held, uint64_t next)
{
    if (shape != OFFSETS_CHUNKED) {
        if ((next - held) >> shape == 0) {
            return shape;
        }
        if (shape < OFFSETS_CHUNK_BITS) {
            return to_ring(o, shape, shape == OFFSETS_ONE ? RING_MIN_SHAPE : shape + 1, held, next);
        }
        shape = to_chunks(o, shape, held, next);
    }
    if (chunk_of(next) - chunk_of(held) > offsets_mask(o)) {
        resize_chunks(o, (offsets_mask(o) + 1) * 2, chunk_of(held), chunk_of(next) - 1);
    }
    uint64_t **chunk = chunk_at(o, chunk_of(next));
    if (*chunk == NULL) {
        *chunk = words(OFFSETS_CHUNK);
    }
    return shape;
}

static void drop_chunks(union offsets *o, uint64_t held, uint64_t to, uint64_t next)
{
    for (uint64_t chunk = chunk_of(held); chunk < chunk_of(to); chunk++) {
        free(*chunk_at(o, chunk));
        *chunk_at(o, chunk) = NULL;
    }
    uint64_t kept     = chunk_of(next) - chunk_of(to) + 1;
    uint64_t capacity = offsets_mask(o) + 1;
    if (capacity > CHUNKS_MIN && kept < capacity / 4) {
        resize_chunks(o, capacity / 2, chunk_of(to), chunk_of(next));
    }
}

unsigned offsets_drop(union offsets *o, unsigned shape, uint64_t held, uint64_t to, uint64_t next)
{
    uint64_t count = next - to;
    if (count == 0) {
        offsets_fini(o, shape);
        return OFFSETS_ONE;
    }
    if (shape == OFFSETS_CHUNKED) {
        if (count <= 1u << (RING_AFTER_CHUNKS_SHAPE - 1)) {
            return to_ring(o, shape, RING_AFTER_CHUNKS_SHAPE, to, next);
        }
        drop_chunks(o, held, to, next);
        return shape;
    }
    unsigned smaller = shape;
    while (smaller > RING_MIN_SHAPE && count < (1ull << smaller) / 4) {
        smaller--;
    }
    return smaller == shape ? shape : to_ring(o, shape, smaller, to, next);
}

size_t offsets_bytes(const union offsets *o, unsigned shape)
{
    if (shape != OFFSETS_CHUNKED) {
        return shape == OFFSETS_ONE ? 0 : (size_t)8 << shape;
    }
    size_t bytes = (offsets_mask(o) + 2) * sizeof(uint64_t *);
    for (uint64_t i = 0; i <= offsets_mask(o); i++) {
        bytes += o->chunks[i + 1] == NULL ? 0 : OFFSETS_CHUNK * sizeof(uint64_t);
    }
    return bytes;
}
