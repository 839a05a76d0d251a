/* pace - how fast a process sends other nodes what they missed: as fast as the disks take it, but so that producers hardly notice.
 *
 *   strain   per shard: how long producers wait for their entries now, against how long they wait when nothing is sent (the longest of a step each)
 *   pace     per process: a rate that all shards share
 *
 *      rate   step by step: strain at most 2 ──▶ half as much again, behind the first strain an eighth more, when all of it was used      ceiling
 *                           strain above 2 ──▶ a quarter less; twice in a row: half                                                       floor
 *
 *   while much is sent:   ──── sending, 5 s ────┬─ rest, 300 ms ─┬──── sending ..    what producers wait for meanwhile is looked at anew: it may have changed
 *
 * What a second pays for does not come at once, as with a bucket (shared/base/rate.h), but within 5 ms at most: a burst is what producers would wait behind.
 * Threads: struct pace any (relaxed atomics: they order nothing and pair with nothing); struct strain that of the shard. Pure.   Units: bytes a second, ns. */
#ifndef KEEL_SEGSTORE_NODE_PACE_H
#define KEEL_SEGSTORE_NODE_PACE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { PACE_STEP_NS = 100000000, PACE_ONE = 16 /* a strain of 1: as ever */, PACE_LIMIT = 2 * PACE_ONE };

/* ---- what producers feel ---- */

/* Waits have a long tail that some steps show and others do not. So what is usual of it is the longest of the last seconds, which is forgotten slowly; of the mean, their mean. */
struct strain {
    uint64_t usual_worst_ns;
    uint64_t usual_mean_ns; /* 0: not known yet */
    uint64_t worst_ns;
    uint64_t sum_ns;
    uint32_t count;
    uint64_t next_ns; /* when the step ends */
};

/* A producer waited so long. */
void strain_note(struct strain *s, uint64_t waited_ns);
/* Is the step over? Then strain_step is called. */
static inline bool strain_due(const struct strain *s, uint64_t now_ns)
{
    return now_ns >= s->next_ns;
}
/* Ends a step. pending_ns: how long the one has waited so far that has waited longest; quiet: nothing was sent to others meanwhile, so that this is how long
 * it takes. Returns how many times as long the longest took as usual, or the mean if that is more, times PACE_ONE; 0: nobody waited.
 * Who has one request under way at a time gets behind for good when he waits twice as long as at half of his speed. */
uint32_t strain_step(struct strain *s, uint64_t now_ns, uint64_t pending_ns, bool quiet);

/* ---- the rate ---- */

struct pace {
    uint64_t         floor; /* the two never change */
    uint64_t         ceiling;
    _Atomic uint64_t per_second;
    _Atomic uint64_t due_ns;   /* when all that was taken is paid for */
    _Atomic uint64_t taken;    /* since the last step */
    _Atomic uint64_t used_ns;  /* when something was taken last; 0: never */
    _Atomic uint64_t begun_ns; /* of what is sent without a rest since */
    _Atomic uint64_t step_ns;  /* when the rate was looked at last */
    _Atomic uint32_t strain;   /* the highest that was told since then */
    _Atomic uint32_t hurt;     /* steps in a row that were too fast */
    _Atomic bool     careful;  /* one was */
};

/* floor is at least 1 and at most ceiling. */
void pace_init(struct pace *p, uint64_t floor, uint64_t ceiling);
/* How long until more may be sent; 0: now. */
uint64_t pace_wait_ns(const struct pace *p, uint64_t now_ns);
/* Takes bytes, even if they are too many. Returns how long until more may be sent; 0: now. */
uint64_t pace_take(struct pace *p, uint64_t bytes, uint64_t now_ns);
/* Nothing was sent for a while. */
bool pace_quiet(const struct pace *p, uint64_t now_ns);
/* A shard of this process, or a node that takes what is sent, tells how strained it is. */
void pace_tell(struct pace *p, uint32_t strain, uint64_t now_ns);

#endif
