/* pace.c - grows while nobody is hurt, yields when somebody is. */
#include "segstore/node/pace.h"

#include "shared/base/assert.h"

#define RELAXED memory_order_relaxed

enum { BURST_NS = 5000000, REST_NS = 300000000, DRAIN_NS = 100000000 };
static const uint64_t FORGET_NS     = 5000000000; /* without anything sent: the rate begins anew */
static const uint64_t REST_EVERY_NS = 5000000000;
enum { GROW_FAST = 2 /* a part of the rate */, GROW = 128, GROW_NEAR = 512 /* parts of the ceiling */ };

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
        atomic_store_explicit(&p->too_much, 0, RELAXED);
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

/* How much more it may be in a step. Of the rate itself only until somebody is hurt: of two who yield together, the faster one would stay the faster. */
static uint64_t growth(const struct pace *p, uint64_t rate)
{
    uint64_t too_much = atomic_load_explicit(&p->too_much, RELAXED);
    if (too_much == 0) {
        return rate / GROW_FAST + 1;
    }
    return p->ceiling / (rate < too_much - too_much / 4 ? GROW : GROW_NEAR) + 1;
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
        atomic_store_explicit(&p->too_much, rate, RELAXED);
        rate -= hurt > 0 ? rate / 2 : rate / 4;
        rate = rate > p->floor ? rate : p->floor;
    } else {
        atomic_store_explicit(&p->hurt, 0, RELAXED);
        rate += used ? growth(p, rate) : 0;
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
