/* offsets - where the records of one stream lie: offset to position in the log, 8 bytes each.
 *
 *   1 record      in the word itself, no memory of its own
 *   up to 512     one ring, a power of two, slot = offset & mask
 *   more          a ring of pointers to chunks of 512, chunk = offset / 512; a chunk goes when its last offset is dropped. Before the pointers stands their mask
 *
 * The owner knows which offsets are there, [held, next), and passes them in; so it does the shape, four bits for which it has a better place than a word of
 * their own: 0 for a new one, then what offsets_grow and offsets_drop say. Memory: while a queue grows at most 16 bytes a
 * record; while it drains at most 32, and nothing once it is empty.
 * Threads: those of the owner. */
#ifndef KEEL_SEGSTORE_STRIPE_OFFSETS_H
#define KEEL_SEGSTORE_STRIPE_OFFSETS_H

#include "shared/base/assert.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { OFFSETS_CHUNK_BITS = 9, OFFSETS_CHUNK = 1 << OFFSETS_CHUNK_BITS };

enum offsets_shape {
    OFFSETS_ONE     = 0,                      /* else the logarithm of how many slots a ring has */
    OFFSETS_CHUNKED = OFFSETS_CHUNK_BITS + 1, /* .. or this */
};

union offsets {
    uint64_t   one;
    uint64_t  *ring;
    uint64_t **chunks;
};

void offsets_fini(union offsets *o, unsigned shape);
/* Makes the slot of next usable while [held, next) is kept. Returns the shape from now on. */
MUST_CHECK unsigned offsets_grow(union offsets *o, unsigned shape, uint64_t held, uint64_t next);
/* Forgets [held, to); [to, next) stays. Returns the shape from now on. */
MUST_CHECK unsigned offsets_drop(union offsets *o, unsigned shape, uint64_t held, uint64_t to, uint64_t next);

/* Of the ring of chunk pointers, which stands before the first of them. */
static inline uint64_t offsets_mask(const union offsets *o)
{
    return (uint64_t)(uintptr_t)o->chunks[0];
}

static inline uint64_t *offsets_slot(const union offsets *o, unsigned shape, uint64_t offset)
{
    if (shape == OFFSETS_CHUNKED) {
        return &o->chunks[((offset >> OFFSETS_CHUNK_BITS) & offsets_mask(o)) + 1][offset & (OFFSETS_CHUNK - 1)];
    }
    uint64_t *ring = shape == OFFSETS_ONE ? (uint64_t *)(uintptr_t)&o->one : o->ring;
    return &ring[offset & ((1ull << shape) - 1)];
}

/* How many slots, of as many at most, follow each other in memory from that of offset on. */
static inline size_t offsets_run(unsigned shape, uint64_t offset, uint64_t most)
{
    uint64_t slots = shape == OFFSETS_CHUNKED ? OFFSETS_CHUNK : 1ull << shape;
    uint64_t run   = slots - (offset & (slots - 1));
    return (size_t)(run < most ? run : most);
}

/* Is there a slot for next without offsets_grow? */
static inline bool offsets_fits(unsigned shape, uint64_t held, uint64_t next)
{
    if (shape == OFFSETS_CHUNKED) { /* the record before lies in the same chunk */
        return next > held && (next & (OFFSETS_CHUNK - 1)) != 0;
    }
    return (next - held) >> shape == 0;
}

/* Bytes held beside the word. */
size_t offsets_bytes(const union offsets *o, unsigned shape);

#endif
