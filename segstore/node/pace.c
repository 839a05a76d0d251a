/* pace.c - grows while nobody is hurt, yields when somebody is. */
#include "segstore/node/pace.h"

#include "shared/base/assert.h"

#define RELAXED memory_order_relaxed

enum { BURST_NS = 5000000, REST_NS = 300000000, DRAIN_NS = 100000000 };
static const uint64_t FORGET_NS     = 5000000000; /* without anything sent: the rate begins anew */
static const uint64_t REST_EVERY_NS = 5000000000;
/* Shorter waits than this are not told apart: they are those of a processor, not of a disk. */
static const uint64_t USUAL_MIN_NS = 1000000;
enum { COUNT_MIN = 4, MEAN_WEIGHT = 8, WORST_WEIGHT = 32, STRAIN_MAX = 1 << 16, GROW_FAST = 2, GROW = 8 };

/* ---- what producers feel ---- */

void strain_note(struct strain *s, uint64_t waited_ns)
{
    s->worst_ns = waited_ns > s->worst_ns ? waited_ns : s->worst_ns;
    s->sum_ns += waited_ns;
    s->count++;
}

static uint64_t times(uint64_t now_ns, uint64_t usual_ns)
{
    return now_ns * PACE_ONE / (usual_ns > USUAL_MIN_NS ? usual_ns : USUAL_MIN_NS);
}

static void learn(struct strain *s, uint64_t worst_ns, uint64_t mean_ns)
{
    uint64_t before   = s->usual_worst_ns - s->usual_worst_ns / WORST_WEIGHT;
    s->usual_worst_ns = worst_ns > before ? worst_ns : before;
    s->usual_mean_ns =
        s->usual_mean_ns == 0 ? mean_ns : s->usual_mean_ns - s->usual_mean_ns / MEAN_WEIGHT + mean_ns / MEAN_WEIGHT;
}

uint32_t strain_step(struct strain *s, uint64_t now_ns, uint64_t pending_ns, bool quiet)
{
    uint64_t worst = s->worst_ns > pending_ns ? s->worst_ns : pending_ns;
    uint64_t mean  = s->count == 0 ? 0 : s->sum_ns / s->count;
    uint64_t ratio = 0;
    if (s->usual_mean_ns != 0) { /* else there is nothing to compare with */
        ratio            = times(worst, s->usual_worst_ns);
        uint64_t of_mean = s->count < COUNT_MIN ? 0 : times(mean, s->usual_mean_ns);
        ratio            = ratio > of_mean ? ratio : of_mean;
    }
    if (quiet && s->count >= COUNT_MIN) {
        learn(s, worst, mean + 1);
    }
    s->sum_ns   = 0;
    s->worst_ns = 0;
    s->count    = 0;
    s->next_ns  = now_ns + PACE_STEP_NS;
    return ratio < STRAIN_MAX ? (uint32_t)ratio : STRAIN_MAX;
}

/* ---- the rate ---- */

void pace_init(struct pace *p, uint64_t floor, uint64_t ceiling)
{
    ASSERT(floor > 0 && floor <= ceiling);
    *p = (struct pace){.floor = floor, .ceiling = ceiling, .per_second = floor};
}

/* Behind the time that it may send without a rest; it rests at most so long. */
static uint64_t rest_ns(const struct pace *p, uint64_t now_ns)
{
    uint64_t begun = atomic_load_explicit(&p->begun_ns, RELAXED);
    uint64_t rest  = begun + REST_EVERY_NS;
    return begun != 0 && now_ns >= rest && now_ns < rest + REST_NS ? rest + REST_NS - now_ns : 0;
}

uint64_t pace_wait_ns(const struct pace *p, uint64_t now_ns)
{
    uint64_t due_ns = atomic_load_explicit(&p->due_ns, RELAXED);
    uint64_t rest   = rest_ns(p, now_ns);
    uint64_t wait   = due_ns > now_ns + BURST_NS ? due_ns - now_ns - BURST_NS : 0;
    return wait > rest ? wait : rest;
}

uint64_t pace_take(struct pace *p, uint64_t bytes, uint64_t now_ns)
{
    uint64_t used = atomic_load_explicit(&p->used_ns, RELAXED);
    if (used == 0 || now_ns > used + FORGET_NS) {
        atomic_store_explicit(&p->begun_ns, now_ns, RELAXED);
        atomic_store_explicit(&p->per_second, p->floor, RELAXED);
        atomic_store_explicit(&p->careful, false, RELAXED);
    } else if (now_ns >= atomic_load_explicit(&p->begun_ns, RELAXED) + REST_EVERY_NS + REST_NS) {
        atomic_store_explicit(&p->begun_ns, now_ns, RELAXED);
    }
    atomic_store_explicit(&p->used_ns, now_ns, RELAXED);
    atomic_fetch_add_explicit(&p->taken, bytes, RELAXED);
    uint64_t rate   = atomic_load_explicit(&p->per_second, RELAXED);
    uint64_t cost   = (uint64_t)((unsigned __int128)bytes * 1000000000u / rate);
    uint64_t before = atomic_load_explicit(&p->due_ns, RELAXED);
    while (!atomic_compare_exchange_weak_explicit(&p->due_ns, &before, (before > now_ns ? before : now_ns) + cost,
                                                  RELAXED, RELAXED)) {
    }
    return pace_wait_ns(p, now_ns);
}

bool pace_quiet(const struct pace *p, uint64_t now_ns)
{
    uint64_t used = atomic_load_explicit(&p->used_ns, RELAXED);
    return used == 0 || now_ns >= used + DRAIN_NS + PACE_STEP_NS;
}

/* One step of the rate: the one who moved the time does it. */
static void step(struct pace *p, uint64_t passed_ns)
{
    uint64_t rate   = atomic_load_explicit(&p->per_second, RELAXED);
    uint64_t taken  = atomic_exchange_explicit(&p->taken, 0, RELAXED);
    uint32_t strain = atomic_exchange_explicit(&p->strain, 0, RELAXED);
    bool     used   = (unsigned __int128)taken * 1000000000u >= (unsigned __int128)rate * passed_ns / 4 * 3;
    if (strain > PACE_LIMIT) {
        uint32_t hurt = atomic_fetch_add_explicit(&p->hurt, 1, RELAXED);
        rate -= hurt > 0 ? rate / 2 : rate / 4;
        rate = rate > p->floor ? rate : p->floor;
        atomic_store_explicit(&p->careful, true, RELAXED);
    } else {
        atomic_store_explicit(&p->hurt, 0, RELAXED);
        rate += !used ? 0 : atomic_load_explicit(&p->careful, RELAXED) ? rate / GROW + 1 : rate / GROW_FAST + 1;
        rate = rate < p->ceiling ? rate : p->ceiling;
    }
    atomic_store_explicit(&p->per_second, rate, RELAXED);
}

void pace_tell(struct pace *p, uint32_t strain, uint64_t now_ns)
{
    uint32_t highest = atomic_load_explicit(&p->strain, RELAXED);
    while (strain > highest && !atomic_compare_exchange_weak_explicit(&p->strain, &highest, strain, RELAXED, RELAXED)) {
    }
    uint64_t last = atomic_load_explicit(&p->step_ns, RELAXED);
    if (now_ns >= last + PACE_STEP_NS &&
        atomic_compare_exchange_strong_explicit(&p->step_ns, &last, now_ns, RELAXED, RELAXED)) {
        step(p, now_ns - last);
    }
}
