/* survivors - what is still held in files that are to go, collected in any order, given out in the order in which it lies there, or by stream.
 *
 *   add, add, ..  ──▶ chunks of 2048, each sorted when it is full ──ready──▶ first, pop, first, pop ..      (a heap over the chunks' heads)
 *
 * So no single call takes longer than a fraction of a millisecond, however many there are.
 * Threads: any; pure.   Memory: 32 bytes each, in chunks of 64 KiB. */
#ifndef KEEL_SEGSTORE_LOG_SURVIVORS_H
#define KEEL_SEGSTORE_LOG_SURVIVORS_H

#include "shared/base/assert.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A record that a stripe holds, or the action of a timer. The stripe knows what stream_id and offset mean (stripe.h, stripe_held). */
struct survivor {
    uint64_t position;
    uint64_t stream_id;
    uint64_t offset;
    uint32_t size; /* 0: a record, which tells its size itself */
    uint16_t stripe;
};

struct survivor_chunk;

/* By position; or by stripe, stream, offset, then position. */
enum survivors_order { SURVIVORS_BY_POSITION, SURVIVORS_BY_STREAM };

struct survivors {
    struct survivor_chunk **chunks; /* while they are given out: a heap by the first one left */
    size_t                  chunk_count;
    size_t                  chunk_capacity;
    size_t                  left; /* all together */
    enum survivors_order    order;
};

void survivors_init(struct survivors *s, enum survivors_order order);
void survivors_fini(struct survivors *s);
void survivors_add(struct survivors *s, const struct survivor *survivor);
/* All are there. */
void survivors_ready(struct survivors *s);
/* The first in that order, until it is popped; NULL: none is left. */
const struct survivor *survivors_first(const struct survivors *s);
void                   survivors_pop(struct survivors *s);

#endif
