/* strain - how long producers wait for their entries while other nodes are sent what they missed, against how long they wait when nothing is sent.
 *
 *   all waits of the last seconds, nothing was sent     ▁▃█▅▂▁    ▁          usual: their mean, the wait that one in a hundred is longer than (the tail), the longest
 *                                                           tail
 *   waits of a step now                                 ▁▂▅█▃▂▁▁ ▁▁▁    ▁    strain 2, which is as much as producers bear: the mean is twice the usual one, or later than
 *                                                           │    └ late      twice the usual tail (of the last second, about) are one in a hundred and twice as many as
 *                                                         tail   twice       usual, or the longest waits twice as long as the longest did
 *
 * Who has one request under way at a time gets behind for good when he waits twice as long as at half of his speed: so the mean. What is promised to users is a tail, and
 * it is longer by far than the mean of what disks do: so the tail. The longest wait is there at once, and says the same of few waits.
 * Threads: the shard. Pure.   Units: ns. */
#ifndef KEEL_SEGSTORE_NODE_STRAIN_H
#define KEEL_SEGSTORE_NODE_STRAIN_H

#include <stdbool.h>
#include <stdint.h>

enum { STRAIN_BUCKETS = 64 /* four an octave, from 65 us to 4 s */, STRAIN_TAILS = 15 /* of half a second at least */ };

struct strain {
    uint32_t usual[STRAIN_BUCKETS]; /* waits when nothing was sent, since a tail was told last */
    uint32_t usual_count;
    uint32_t usual_steps;
    uint32_t tail_count;
    uint64_t tails_ns[STRAIN_TAILS]; /* the last ones, in turn */
    uint64_t usual_tail_ns; /* the middle one of them: a moment in which much waits is not usual. 0: not known yet */
    uint64_t usual_worst_ns;
    uint64_t usual_mean_ns; /* 0: not known yet */
    uint32_t step[STRAIN_BUCKETS];
    uint64_t worst_ns;
    uint64_t sum_ns;
    uint32_t count;
    uint32_t late;       /* of the step */
    uint64_t late_share; /* of the last second, about: late ones and all, as sums that fade */
    uint64_t all_share;
    uint64_t usual_share; /* the most that were late when nothing was sent, of 65,536; fades */
    uint64_t next_ns;     /* when the step ends */
};

/* A producer waited so long. */
void strain_note(struct strain *s, uint64_t waited_ns);
/* Is the step over? Then strain_step is called. */
static inline bool strain_due(const struct strain *s, uint64_t now_ns)
{
    return now_ns >= s->next_ns;
}
/* Ends a step. pending_ns: how long the one has waited so far that has waited longest; quiet: nothing was sent to others meanwhile, so that this is how long
 * it takes. Returns the strain times PACE_ONE; 0: nobody waited, or there is nothing to compare with. */
uint32_t strain_step(struct strain *s, uint64_t now_ns, uint64_t pending_ns, bool quiet);

#endif
