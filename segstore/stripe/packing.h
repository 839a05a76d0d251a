/* packing - where the records of a stream lie, as few bytes: in the log they mostly follow each other at the same distance, all of a batch.
 *
 *   position   100  1100  2100  3100  90000  none  none  91000
 *   token      +100 +1000 again x 2   +86900 none x 2    +1000         a token is a number in base 128, the low seven bits first; its two lowest bits say of what kind it is
 *
 *   kind 0     the distance to the record before, zigzag: 0, -1, 1, -2, .. (the first one: to position 0; the distance for `again` is this one from now on)
 *        1     again: so many records more, each at that distance from the one before, 1 to PACKING_AT_ONCE
 *        2     none: so many records that are not needed any more, 1 to PACKING_AT_ONCE
 *        3     a position u64 follows, the number is 0: a distance that kind 0 has no place for
 *
 * A queue of a million records of one size in batches takes some hundred KB instead of 8 MB, one of records of any size 2 to 4 MB.
 * Threads: any; pure. */
#ifndef KEEL_SEGSTORE_STRIPE_PACKING_H
#define KEEL_SEGSTORE_STRIPE_PACKING_H

#include "shared/base/wire.h"

enum { PACKING_AT_ONCE = 1024 };

enum packing_kind { PACKING_STEP, PACKING_AGAIN, PACKING_NONE, PACKING_RAW };

/* A stream begins with an empty one. */
struct packing {
    uint64_t last;
    uint64_t step;  /* modulo 2^64 */
    uint32_t count; /* put and not written yet, */
    uint8_t  kind;  /* .. of this kind: AGAIN or NONE */
};

/* The next position, UINT64_MAX: none. */
void packing_put(struct packing *p, struct wire_writer *w, uint64_t position);
/* The next so many: the same tokens, in half the time where many are at one distance. */
void packing_put_all(struct packing *p, struct wire_writer *w, const uint64_t *positions, size_t count);
/* Behind the last one. */
void packing_flush(struct packing *p, struct wire_writer *w);

/* The next token: into p->kind and p->count, how many positions it is. 0; 1: not all of it is there; ERR_MALFORMED. */
MUST_CHECK int packing_token(struct packing *p, struct wire_reader *r);
/* Each of them in turn, p->count times. */
static inline uint64_t packing_next(struct packing *p)
{
    p->count--;
    if (p->kind == PACKING_NONE) {
        return UINT64_MAX;
    }
    p->last += p->step;
    return p->last;
}

#endif
