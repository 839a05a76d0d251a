/* rate - a bucket (bucket.h) that several threads share: what they take together keeps the rate, with room for a burst of a second.
 *
 * One number, the time at which all that was taken would be paid for. It is moved by compare-and-swap, relaxed: it orders nothing and pairs with nothing.
 * Meant for some hundred kilobytes at a time, not for every message.
 * Threads: any.   Units: ns of a clock that all of them read. */
#ifndef KEEL_SHARED_BASE_RATE_H
#define KEEL_SHARED_BASE_RATE_H

#include "shared/base/bucket.h"

#include <stdatomic.h>

struct rate {
    _Atomic uint64_t due_ns; /* zeroed: full */
    uint64_t         per_second;
};

/* How long until the rate is kept again; 0: it is. */
static inline uint64_t rate_wait_ns(const struct rate *rate, uint64_t now_ns)
{
    uint64_t due_ns = atomic_load_explicit(&rate->due_ns, memory_order_relaxed);
    return due_ns > now_ns + BUCKET_BURST_NS ? due_ns - now_ns - BUCKET_BURST_NS : 0;
}

/* Takes units, even if they are too many. Returns how long to wait until the rate is kept again, 0: it is. */
static inline uint64_t rate_take(struct rate *rate, uint64_t units, uint64_t now_ns)
{
    uint64_t      before = atomic_load_explicit(&rate->due_ns, memory_order_relaxed);
    struct bucket bucket;
    uint64_t      wait_ns;
    do {
        bucket  = (struct bucket){.due_ns = before};
        wait_ns = bucket_take(&bucket, rate->per_second, units, now_ns);
    } while (!atomic_compare_exchange_weak_explicit(&rate->due_ns, &before, bucket.due_ns, memory_order_relaxed,
                                                    memory_order_relaxed));
    return wait_ns;
}

#endif
