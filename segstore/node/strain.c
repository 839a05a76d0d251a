/* strain.c - waits counted by their length. */
#include "segstore/node/strain.h"

#include "segstore/node/pace.h"

#include <string.h>

/* Shorter waits than this are not told apart: they are those of a processor, not of a disk. */
static const uint64_t USUAL_MIN_NS = 1000000;
enum { COUNT_MIN = 4, MEAN_WEIGHT = 8, WORST_WEIGHT = 32, STRAIN_MAX = 1 << 16 };
/* Of the tail: how many waits and steps tell one, how many of them what is usual; one late one of so many is as many as there may be. */
enum { TAIL_COUNT_MIN = 200, TAIL_STEPS_MIN = 5, TAILS_MIN = 3, TAIL_ONE_IN = 100 };
enum { SHARE_ONE = 256, SHARE_WEIGHT = 8, USUAL_SHARE_WEIGHT = 64 };
/* Of all waits those that are late, in parts of 65,536: fewer than this are not told apart, and more are never usual. */
enum { ALL = 1 << 16, USUAL_SHARE_MIN = ALL / 2 / TAIL_ONE_IN, USUAL_SHARE_MAX = ALL / 25 };
enum { OCTAVE_FIRST = 16, PER_OCTAVE_BITS = 2, PER_OCTAVE = 1 << PER_OCTAVE_BITS };

static unsigned bucket_of(uint64_t ns)
{
    if (ns < 1ull << OCTAVE_FIRST) {
        return 0;
    }
    unsigned octave = 63u - (unsigned)__builtin_clzll(ns);
    unsigned bucket = (octave - OCTAVE_FIRST) * PER_OCTAVE + (ns >> (octave - PER_OCTAVE_BITS) & (PER_OCTAVE - 1));
    return bucket < STRAIN_BUCKETS ? bucket : STRAIN_BUCKETS - 1;
}

/* The longest wait that belongs there. */
static uint64_t bucket_ns(unsigned bucket)
{
    unsigned octave = OCTAVE_FIRST + bucket / PER_OCTAVE;
    return (1ull << octave) + ((uint64_t)(bucket % PER_OCTAVE + 1) << (octave - PER_OCTAVE_BITS)) - 1;
}

static uint64_t usual_or_least(uint64_t ns)
{
    return ns > USUAL_MIN_NS ? ns : USUAL_MIN_NS;
}

void strain_note(struct strain *s, uint64_t waited_ns)
{
    s->worst_ns = waited_ns > s->worst_ns ? waited_ns : s->worst_ns;
    s->sum_ns += waited_ns;
    s->count++;
    s->step[bucket_of(waited_ns)]++;
    s->late += s->usual_tail_ns != 0 && waited_ns > 2 * usual_or_least(s->usual_tail_ns);
}

static uint64_t times(uint64_t now_ns, uint64_t usual_ns)
{
    return now_ns * PACE_ONE / usual_or_least(usual_ns);
}

static uint64_t tail_of(const struct strain *s)
{
    uint32_t beyond = 0;
    unsigned bucket = STRAIN_BUCKETS;
    while (bucket > 0 && beyond <= s->usual_count / TAIL_ONE_IN) {
        beyond += s->usual[--bucket];
    }
    return bucket_ns(bucket);
}

static uint64_t middle(const struct strain *s)
{
    uint64_t sorted[STRAIN_TAILS] = {0};
    uint32_t count                = s->tail_count < STRAIN_TAILS ? s->tail_count : STRAIN_TAILS;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t at = i;
        for (; at > 0 && sorted[at - 1] > s->tails_ns[i]; at--) {
            sorted[at] = sorted[at - 1];
        }
        sorted[at] = s->tails_ns[i];
    }
    return sorted[count / 2];
}

static void learn_tail(struct strain *s)
{
    for (unsigned i = 0; i < STRAIN_BUCKETS; i++) {
        s->usual[i] += s->step[i];
    }
    s->usual_count += s->count;
    s->usual_steps++;
    if (s->usual_count < TAIL_COUNT_MIN || s->usual_steps < TAIL_STEPS_MIN) {
        return;
    }
    s->tails_ns[s->tail_count++ % STRAIN_TAILS] = tail_of(s);
    s->usual_tail_ns                            = s->tail_count < TAILS_MIN ? 0 : middle(s);
    memset(s->usual, 0, sizeof s->usual);
    s->usual_count = 0;
    s->usual_steps = 0;
}

static void learn(struct strain *s, uint64_t worst_ns, uint64_t mean_ns)
{
    uint64_t before   = s->usual_worst_ns - s->usual_worst_ns / WORST_WEIGHT;
    s->usual_worst_ns = worst_ns > before ? worst_ns : before;
    s->usual_mean_ns =
        s->usual_mean_ns == 0 ? mean_ns : s->usual_mean_ns - s->usual_mean_ns / MEAN_WEIGHT + mean_ns / MEAN_WEIGHT;
    learn_tail(s);
}

/* How many of the last second's are late. 0: too few waits to say. */
static uint64_t share_late(struct strain *s)
{
    s->late_share += (uint64_t)s->late * SHARE_ONE - s->late_share / SHARE_WEIGHT;
    s->all_share += (uint64_t)s->count * SHARE_ONE - s->all_share / SHARE_WEIGHT;
    return s->all_share < (uint64_t)TAIL_COUNT_MIN * SHARE_ONE ? 0 : s->late_share * ALL / s->all_share;
}

/* Disks have moments, a checkpoint now and then: the most that it was is usual, not the mean. */
static void learn_share(struct strain *s, uint64_t share)
{
    uint64_t before = s->usual_share - s->usual_share / USUAL_SHARE_WEIGHT;
    s->usual_share  = share > before ? share : before;
    s->usual_share  = s->usual_share < USUAL_SHARE_MAX ? s->usual_share : USUAL_SHARE_MAX;
}

static uint64_t most(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

uint32_t strain_step(struct strain *s, uint64_t now_ns, uint64_t pending_ns, bool quiet)
{
    uint64_t worst = most(s->worst_ns, pending_ns);
    uint64_t mean  = s->count == 0 ? 0 : s->sum_ns / s->count;
    uint64_t share = share_late(s);
    uint64_t ratio = 0;
    if (s->usual_mean_ns != 0 && worst != 0) { /* else there is nothing to compare with */
        ratio = times(worst, s->usual_worst_ns);
        ratio = most(ratio, s->count < COUNT_MIN ? 0 : times(mean, s->usual_mean_ns));
        ratio = most(ratio, share * PACE_ONE / most(s->usual_share, USUAL_SHARE_MIN));
    }
    if (quiet && s->count >= COUNT_MIN) {
        learn_share(s, share);
        learn(s, worst, mean + 1);
    }
    memset(s->step, 0, sizeof s->step);
    s->sum_ns   = 0;
    s->worst_ns = 0;
    s->count    = 0;
    s->late     = 0;
    s->next_ns  = now_ns + PACE_STEP_NS;
    return ratio < STRAIN_MAX ? (uint32_t)ratio : STRAIN_MAX;
}
