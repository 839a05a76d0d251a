/* offsets - where the records of one stream lie: offset to position in the log, 8 bytes each.
 *
 *   1 record      inside the struct, no memory of its own
 *   up to 512     one ring, a power of two, slot = offset & mask
 *   more          a ring of pointers to chunks of 512, chunk = offset / 512; a chunk goes when its last offset is dropped
 *
 * The owner knows which offsets are there, [held, next), and passes them in. Memory: while a queue grows at most 16 bytes a
 * record; while it drains at most 32, and nothing once it is empty.
 * The struct must not move (a ring of one points into it).   Threads: those of the owner. */
#ifndef KEEL_SEGSTORE_STRIPE_OFFSETS_H
#define KEEL_SEGSTORE_STRIPE_OFFSETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { OFFSETS_CHUNK_BITS = 9, OFFSETS_CHUNK = 1 << OFFSETS_CHUNK_BITS };

struct offsets {
    union {
        uint64_t  *ring;
        uint64_t **chunks;
    };
    uint64_t one;
    uint32_t mask; /* of the ring, or of the ring of chunk pointers */
    bool     chunked;
};

void offsets_init(struct offsets *o);
void offsets_fini(struct offsets *o);
/* Makes the slot of next usable while [held, next) is kept. */
void offsets_grow(struct offsets *o, uint64_t held, uint64_t next);
/* Forgets [held, to); [to, next) stays. */
void offsets_drop(struct offsets *o, uint64_t held, uint64_t to, uint64_t next);

static inline uint64_t *offsets_slot(const struct offsets *o, uint64_t offset)
{
    if (o->chunked) {
        return &o->chunks[(offset >> OFFSETS_CHUNK_BITS) & o->mask][offset & (OFFSETS_CHUNK - 1)];
    }
    return &o->ring[offset & o->mask];
}

/* Is there a slot for next without offsets_grow? */
static inline bool offsets_fits(const struct offsets *o, uint64_t held, uint64_t next)
{
    if (o->chunked) { /* the record before lies in the same chunk */
        return next > held && (next & (OFFSETS_CHUNK - 1)) != 0;
    }
    return next - held <= o->mask;
}

/* Bytes held beside the struct. */
size_t offsets_bytes(const struct offsets *o);

#endif
