/* offsets.c - one slot, one ring, many chunks. */
#include "segstore/stripe/offsets.h"

#include "shared/base/assert.h"

#include <stdlib.h>

enum { RING_MIN = 4, RING_AFTER_CHUNKS = 256, CHUNKS_MIN = 8 };

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

static uint64_t **pointers(size_t count)
{
    uint64_t **memory = calloc(count, sizeof(uint64_t *));
    ASSERT(memory != NULL);
    return memory;
}

void offsets_init(struct offsets *o)
{
    *o      = (struct offsets){0};
    o->ring = &o->one;
}

void offsets_fini(struct offsets *o)
{
    if (o->chunked) {
        for (uint32_t i = 0; i <= o->mask; i++) {
            free(o->chunks[i]);
        }
        free(o->chunks);
    } else if (o->ring != &o->one) {
        free(o->ring);
    }
    offsets_init(o);
}

/* Moves [from, next) into a ring of that many slots; 1 is the one inside. */
static void to_ring(struct offsets *o, uint32_t capacity, uint64_t from, uint64_t next)
{
    ASSERT(next - from <= capacity);
    uint64_t  one  = 0;
    uint64_t *ring = capacity == 1 ? &one : words(capacity);
    for (uint64_t offset = from; offset < next; offset++) {
        ring[offset & (capacity - 1)] = *offsets_slot(o, offset);
    }
    offsets_fini(o);
    o->one  = one;
    o->ring = capacity == 1 ? &o->one : ring;
    o->mask = capacity - 1;
}

static void to_chunks(struct offsets *o, uint64_t held, uint64_t next)
{
    struct offsets chunked = {.chunks = pointers(CHUNKS_MIN), .mask = CHUNKS_MIN - 1, .chunked = true};
    for (uint64_t offset = held; offset < next; offset++) {
        uint64_t **chunk = &chunked.chunks[chunk_of(offset) & chunked.mask];
        if (*chunk == NULL) {
            *chunk = words(OFFSETS_CHUNK);
        }
        (*chunk)[offset & (OFFSETS_CHUNK - 1)] = *offsets_slot(o, offset);
    }
    offsets_fini(o);
    *o = chunked;
}

/* Chunks first to last keep their memory; there are at most that many as the new ring has room for. */
static void resize_chunks(struct offsets *o, uint32_t capacity, uint64_t first, uint64_t last)
{
    uint64_t **chunks = pointers(capacity);
    for (uint64_t chunk = first; chunk <= last; chunk++) {
        chunks[chunk & (capacity - 1)] = o->chunks[chunk & o->mask];
        o->chunks[chunk & o->mask]     = NULL;
    }
    for (uint32_t i = 0; i <= o->mask; i++) { /* one may be left that an undone append had begun */
        free(o->chunks[i]);
    }
    free(o->chunks);
    o->chunks = chunks;
    o->mask   = capacity - 1;
}

void offsets_grow(struct offsets *o, uint64_t held, uint64_t next)
{
    uint64_t count = next - held;
    if (!o->chunked) {
        uint32_t capacity = o->mask + 1;
        if (count < capacity) {
            return;
        }
        if (capacity < OFFSETS_CHUNK) {
            to_ring(o, capacity == 1 ? RING_MIN : capacity * 2, held, next);
            return;
        }
        to_chunks(o, held, next);
    }
    if (chunk_of(next) - chunk_of(held) > o->mask) {
        resize_chunks(o, (o->mask + 1) * 2, chunk_of(held), chunk_of(next) - 1);
    }
    uint64_t **chunk = &o->chunks[chunk_of(next) & o->mask];
    if (*chunk == NULL) {
        *chunk = words(OFFSETS_CHUNK);
    }
}

static void drop_chunks(struct offsets *o, uint64_t held, uint64_t to, uint64_t next)
{
    for (uint64_t chunk = chunk_of(held); chunk < chunk_of(to); chunk++) {
        free(o->chunks[chunk & o->mask]);
        o->chunks[chunk & o->mask] = NULL;
    }
    uint64_t kept = chunk_of(next) - chunk_of(to) + 1;
    if (o->mask + 1 > CHUNKS_MIN && kept < (o->mask + 1) / 4) {
        resize_chunks(o, (o->mask + 1) / 2, chunk_of(to), chunk_of(next));
    }
}

void offsets_drop(struct offsets *o, uint64_t held, uint64_t to, uint64_t next)
{
    uint64_t count = next - to;
    if (count == 0) {
        offsets_fini(o);
        return;
    }
    if (o->chunked) {
        if (count <= RING_AFTER_CHUNKS / 2) {
            to_ring(o, RING_AFTER_CHUNKS, to, next);
        } else {
            drop_chunks(o, held, to, next);
        }
        return;
    }
    uint32_t capacity = o->mask + 1;
    while (capacity > RING_MIN && count < capacity / 4) {
        capacity /= 2;
    }
    if (capacity != o->mask + 1) {
        to_ring(o, capacity, to, next);
    }
}

size_t offsets_bytes(const struct offsets *o)
{
    if (!o->chunked) {
        return o->ring == &o->one ? 0 : ((size_t)o->mask + 1) * sizeof(uint64_t);
    }
    size_t bytes = ((size_t)o->mask + 1) * sizeof(uint64_t *);
    for (uint32_t i = 0; i <= o->mask; i++) {
        bytes += o->chunks[i] == NULL ? 0 : OFFSETS_CHUNK * sizeof(uint64_t);
    }
    return bytes;
}
