/* timer - hierarchical timer wheel: arm, cancel and expire in constant time, for hundreds of thousands of timers.
 * Four levels of 256 slots; the finest tick is 1 ms, so a timer fires at most 1 ms late and never early.
 * A struct timer lives inside the thing it times (32 bytes or less, zeroed = not armed) and must be cancelled before that is freed.
 * Soft deadlines of one process only (keep alive, back-off); deadlines that must survive are the store's timers.
 * Threads: the shard that owns the wheel.   Units: *_ns on the clock that the caller uses throughout. */
#ifndef KEEL_SHARED_BASE_TIMER_H
#define KEEL_SHARED_BASE_TIMER_H

#include "shared/base/list.h"

#include <stdbool.h>
#include <stdint.h>

struct timer {
    struct list link;
    uint64_t    deadline_ns; /* read it, never write it */
    void (*expired)(struct timer *timer, uint64_t now_ns);
};

struct timer_wheel; /* about 16 KiB */

/* NULL when memory is out. */
struct timer_wheel *timer_wheel_new(uint64_t now_ns);
/* Timers that are still armed are forgotten, not fired; accepts NULL. */
void timer_wheel_free(struct timer_wheel *wheel);

/* Arms or re-arms. expired() may arm, cancel or free any timer, itself too. A deadline that has passed fires at the next call
 * of timer_expire in a later millisecond, never within the one that is running (deadline_ns then says when). */
void               timer_arm(struct timer_wheel *wheel, struct timer *timer, uint64_t deadline_ns,
                             void (*expired)(struct timer *, uint64_t));
void               timer_cancel(struct timer_wheel *wheel, struct timer *timer);
static inline bool timer_armed(const struct timer *timer)
{
    return list_linked(&timer->link);
}
/* Fires all that are due. */
void timer_expire(struct timer_wheel *wheel, uint64_t now_ns);
/* A time at or before which the wheel wants to be called again; UINT64_MAX when nothing is armed. May be early, never late. */
uint64_t timer_next_ns(const struct timer_wheel *wheel);

#endif
