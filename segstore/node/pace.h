/* pace - how fast a process sends other nodes what they missed: as fast as the disks take it, but so that producers hardly notice (strain.h). All shards share the rate.
 *
 *      rate   step by step: strain at most 2 ──▶ half as much again, when all of it was used                                     ceiling
 *                           strain above 2 ──▶ a quarter less; twice in a row: half. From then on a 128th of the ceiling
 *                                              more a step, and near the rate that was too much a 512th                          floor
 *
 *   while much is sent:   ──── sending, 5 s ────┬─ rest, 300 ms ─┬──── sending ..    what producers wait for meanwhile is looked at anew: it may have changed
 *
 * Several nodes send one what it missed, each what it leads, and the last of them says when it has all. Each tells the others how strained its own producers are
 * (peers/pulse.h): they yield together, and since all grow by the same amount they come to the same rate.
 *
 * What a second pays for does not come at once, as with a bucket (shared/base/rate.h), but within 5 ms at most: a burst is what producers would wait behind.
 * Threads: any (relaxed atomics: they order nothing and pair with nothing). Pure.   Units: bytes a second, ns. */
#ifndef KEEL_SEGSTORE_NODE_PACE_H
#define KEEL_SEGSTORE_NODE_PACE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { PACE_STEP_NS = 100000000, PACE_ONE = 16 /* a strain of 1: as ever */, PACE_LIMIT = 2 * PACE_ONE };

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
    _Atomic uint64_t too_much; /* the rate of the last one that was; 0: none was */
};

/* floor is at least 1 and at most ceiling. */
void pace_init(struct pace *p, uint64_t floor, uint64_t ceiling);
/* How long until more may be sent; 0: now. */
uint64_t pace_wait_ns(const struct pace *p, uint64_t now_ns);
/* Takes bytes, even if they are too many. Returns how long until more may be sent; 0: now. */
uint64_t pace_take(struct pace *p, uint64_t bytes, uint64_t now_ns);
/* Nothing was sent for a while. */
bool pace_quiet(const struct pace *p, uint64_t now_ns);
/* A shard of this process, or another node, tells how strained it is. */
void pace_tell(struct pace *p, uint32_t strain, uint64_t now_ns);

#endif
