/* bucket - a rate with room for a burst, in one number: the time at which what was taken so far would be paid for (the generic cell rate
 * algorithm; ITU-T I.371, annex A). A bucket that is full has a time that is not in the future.
 *
 *      now                          now + burst
 *   ────┬───────────────┬──────────────┬──────────▶
 *       │               due            │  further: over the rate; wait for the difference
 *
 * Pure. Threads: those of the owner.   Units: ns. */
#ifndef KEEL_SHARED_BASE_BUCKET_H
#define KEEL_SHARED_BASE_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

enum { BUCKET_BURST_NS = 1000 * 1000 * 1000 }; /* what a second pays for may come at once */

struct bucket {
    uint64_t due_ns; /* zeroed: full */
};

static inline bool bucket_full(const struct bucket *b, uint64_t now_ns)
{
    return b->due_ns <= now_ns;
}

/* Takes units of per_second (1 at least); they are taken even if they are too many. Returns how long to wait until the rate is kept again, 0: it is. */
static inline uint64_t bucket_take(struct bucket *b, uint64_t per_second, uint64_t units, uint64_t now_ns)
{
    uint64_t begin = b->due_ns > now_ns ? b->due_ns : now_ns;
    b->due_ns      = begin + (uint64_t)((unsigned __int128)units * 1000000000u / per_second);
    return b->due_ns - now_ns > BUCKET_BURST_NS ? b->due_ns - now_ns - BUCKET_BURST_NS : 0;
}

/* Takes one if the rate allows it. */
static inline bool bucket_try(struct bucket *b, uint64_t per_second, uint64_t now_ns)
{
    struct bucket tried = *b;
    if (bucket_take(&tried, per_second, 1, now_ns) != 0) {
        return false;
    }
    *b = tried;
    return true;
}

#endif
