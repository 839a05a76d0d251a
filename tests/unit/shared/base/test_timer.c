/* test_timer - the wheel against a model that only compares deadlines. */
#include "shared/base/timer.h"

#include "shared/base/rand.h"

#include <criterion/criterion.h>
#include <stdlib.h>

enum { TIMERS = 200 };
static const uint64_t ms = 1000000;

struct model_timer {
    struct timer timer;     /* first */
    uint64_t     fire_tick; /* the call of timer_expire that must fire it: the first with now >= fire_tick ms */
    uint64_t     fired_ns;
    int          fired_count;
};

static void count_fired(struct timer *timer, uint64_t now_ns)
{
    struct model_timer *model = (struct model_timer *)timer;
    model->fired_ns           = now_ns;
    model->fired_count++;
}

static uint64_t tick_of(uint64_t deadline_ns, uint64_t now_ns)
{
    uint64_t tick = deadline_ns / ms + (deadline_ns % ms != 0);
    return tick > now_ns / ms ? tick : now_ns / ms + 1;
}

static void run_model(uint64_t seed)
{
    struct rand r;
    rand_init(&r, seed, 1);
    uint64_t            now    = rand_u64(&r) >> (8 + rand_below(&r, 40));
    struct timer_wheel *wheel  = timer_wheel_new(now);
    struct model_timer *timers = calloc(TIMERS, sizeof *timers);
    for (int step = 0; step < 1500; step++) {
        struct model_timer *t    = &timers[rand_below(&r, TIMERS)];
        uint64_t            what = rand_below(&r, 10);
        if (what < 6) {
            uint64_t ahead    = rand_u64(&r) >> (11 + rand_below(&r, 50)); /* from nanoseconds to 100 days */
            uint64_t deadline = rand_chance(&r, 20) ? now - rand_below(&r, now + 1) : now + ahead;
            deadline          = rand_chance(&r, 4) ? deadline / (256 * ms) * (256 * ms) : deadline; /* slot edges */
            timer_arm(wheel, &t->timer, deadline, count_fired);
            t->fire_tick   = tick_of(deadline, now);
            t->fired_count = 0;
        } else if (what < 7) {
            timer_cancel(wheel, &t->timer);
            cr_assert(!timer_armed(&t->timer));
        } else {
            uint64_t next = timer_next_ns(wheel);
            for (int i = 0; i < TIMERS; i++) {
                if (timer_armed(&timers[i].timer)) {
                    cr_assert_leq(next, timers[i].fire_tick * ms, "called too late, seed %lu", seed);
                }
            }
            bool jump = rand_chance(&r, 2) && next != UINT64_MAX && next > now;
            now       = jump ? next : now + (rand_u64(&r) >> (12 + rand_below(&r, 50)));
            bool was_armed[TIMERS];
            for (int i = 0; i < TIMERS; i++) {
                was_armed[i] = timer_armed(&timers[i].timer);
            }
            timer_expire(wheel, now);
            for (int i = 0; i < TIMERS; i++) {
                bool due = was_armed[i] && timers[i].fire_tick <= now / ms;
                cr_assert_eq(timers[i].fired_count, due ? 1 : 0, "timer %d, seed %lu", i, seed);
                cr_assert_eq(timer_armed(&timers[i].timer), was_armed[i] && !due);
                cr_assert(!due || timers[i].fired_ns == now);
                timers[i].fired_count = 0;
            }
        }
    }
    for (int i = 0; i < TIMERS; i++) {
        timer_cancel(wheel, &timers[i].timer);
    }
    cr_assert_eq(timer_next_ns(wheel), UINT64_MAX, "an empty wheel wants nothing");
    timer_wheel_free(wheel);
    free(timers);
}

Test(base_timer, fires_what_a_naive_model_fires_for_many_seeds)
{
    for (uint64_t seed = 1; seed <= 60; seed++) {
        run_model(seed);
    }
}

Test(base_timer, fires_exactly_at_both_sides_of_every_cascade_boundary)
{
    for (int shift = 8; shift <= 32; shift += 8) {
        for (int64_t off = -2; off <= 2; off++) {
            for (uint64_t start = 0; start < 3; start++) {
                struct timer_wheel *wheel    = timer_wheel_new(start * 255 * ms);
                struct model_timer  t        = {0};
                uint64_t            deadline = ((1ull << shift) + (uint64_t)off) * ms;
                if (deadline <= start * 255 * ms) {
                    timer_wheel_free(wheel);
                    continue;
                }
                timer_arm(wheel, &t.timer, deadline, count_fired);
                timer_expire(wheel, deadline - 1);
                cr_assert_eq(t.fired_count, 0, "early at 2^%d %+ld", shift, (long)off);
                timer_expire(wheel, deadline);
                cr_assert_eq(t.fired_count, 1, "late at 2^%d %+ld", shift, (long)off);
                timer_wheel_free(wheel);
            }
        }
    }
}

Test(base_timer, a_deadline_beyond_the_last_wheel_fires_on_time)
{
    struct timer_wheel *wheel    = timer_wheel_new(5);
    struct model_timer  t        = {0};
    uint64_t            deadline = 1000ull * 24 * 3600 * 1000 * ms; /* 1000 days */
    timer_arm(wheel, &t.timer, deadline, count_fired);
    int calls = 0;
    for (uint64_t next; (next = timer_next_ns(wheel)) < deadline; calls++) {
        timer_expire(wheel, next);
        cr_assert_eq(t.fired_count, 0);
    }
    timer_expire(wheel, deadline);
    cr_assert_eq(t.fired_count, 1);
    cr_assert_lt(calls, 40);
    timer_wheel_free(wheel);
}

struct chain {
    struct timer        timer; /* first */
    struct timer_wheel *wheel;
    struct timer       *victim;
    int                 count;
};

static void rearm_in_the_past(struct timer *timer, uint64_t now_ns)
{
    struct chain *chain = (struct chain *)timer;
    chain->count++;
    timer_arm(chain->wheel, timer, now_ns / 2, rearm_in_the_past);
}

Test(base_timer, a_timer_that_rearms_in_the_past_fires_once_per_expire)
{
    struct chain chain = {.wheel = timer_wheel_new(0)};
    timer_arm(chain.wheel, &chain.timer, 1 * ms, rearm_in_the_past);
    timer_expire(chain.wheel, 700 * ms);
    cr_assert_eq(chain.count, 1);
    timer_expire(chain.wheel, 701 * ms);
    cr_assert_eq(chain.count, 2);
    timer_wheel_free(chain.wheel);
}

static void cancel_and_free_victim(struct timer *timer, uint64_t now_ns)
{
    (void)now_ns;
    struct chain *chain = (struct chain *)timer;
    chain->count++;
    timer_cancel(chain->wheel, chain->victim);
    free(chain->victim);
}

Test(base_timer, a_callback_may_cancel_and_free_a_timer_due_in_the_same_tick)
{
    struct chain  chain  = {.wheel = timer_wheel_new(0)};
    struct timer *victim = calloc(1, sizeof *victim);
    chain.victim         = victim;
    timer_arm(chain.wheel, &chain.timer, 3 * ms, cancel_and_free_victim);
    timer_arm(chain.wheel, victim, 3 * ms, count_fired);
    timer_expire(chain.wheel, 10 * ms);
    cr_assert_eq(chain.count, 1);
    cr_assert_eq(timer_next_ns(chain.wheel), UINT64_MAX);
    timer_wheel_free(chain.wheel);
}
