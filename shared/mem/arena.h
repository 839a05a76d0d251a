/* arena - memory of one lifetime: taken piece by piece, given back all at once.
 *
 *     block  [piece][piece][piece][ room ]  ->  block  [piece][ room ]
 *
 *     struct arena arena;
 *     arena_init(&arena, 4096, 1 << 20);      a block holds 4 KiB, all of them at most 1 MiB
 *     struct thing *t = arena_take(&arena, sizeof *t);
 *     arena_reset(&arena);                    every piece is gone, the first block is kept for the next round
 *
 * An arena that was never used holds no memory. Under asan, what is not taken is poisoned, also after a reset.
 * Threads: those of the owner.   Units: bytes. */
#ifndef KEEL_SHARED_MEM_ARENA_H
#define KEEL_SHARED_MEM_ARENA_H

#include "shared/base/bytes.h"

struct arena_block;

struct arena {
    struct arena_block *first;
    struct arena_block *current;
    size_t              block_bytes;
    size_t              limit_bytes;
    size_t              held_bytes; /* in blocks, their heads included */
};

void arena_init(struct arena *arena, size_t block_bytes, size_t limit_bytes);
/* Gives every block back to the system; the arena may be used again. Accepts a zeroed arena. */
void arena_fini(struct arena *arena);

/* size bytes aligned to 16, contents undefined; NULL when the limit or memory is reached, then nothing changed.
 * A piece larger than block_bytes gets a block of its own. */
void *arena_take(struct arena *arena, size_t size);
/* A copy of data inside the arena, with a zero byte behind it; NULL as above. */
uint8_t *arena_copy(struct arena *arena, struct bytes data);
/* All pieces are gone. Keeps the first block when it has the usual size. */
void arena_reset(struct arena *arena);

#endif
