#include "segstore/node/pace.h"

#include <criterion/criterion.h>

static const uint64_t second_ns = 1000000000;
static const uint64_t mib       = 1 << 20;

/* Takes all that it may for so long, 64 KiB at a time, while everyone is that strained. Returns how many bytes that were. */
static uint64_t send_for(struct pace *p, uint64_t *now_ns, uint64_t for_ns, uint32_t strain)
{
    uint64_t until = *now_ns + for_ns;
    uint64_t sent  = 0;
    while (*now_ns < until) {
        while (pace_wait_ns(p, *now_ns) == 0) {
            (void)pace_take(p, 65536, *now_ns);
            sent += 65536;
        }
        *now_ns += 1000000;
        pace_tell(p, strain, *now_ns);
    }
    return sent;
}

Test(node_pace, while_nobody_is_hurt_it_grows_to_the_ceiling)
{
    struct pace p;
    uint64_t    now_ns = 7 * second_ns;
    pace_init(&p, 16 * mib, 512 * mib);
    cr_assert_lt(send_for(&p, &now_ns, second_ns / 10, PACE_ONE), 4 * mib, "it begins with the floor");
    (void)send_for(&p, &now_ns, second_ns, PACE_ONE);
    cr_assert_geq(send_for(&p, &now_ns, second_ns, PACE_LIMIT), 490 * mib);
    cr_assert_leq(send_for(&p, &now_ns, second_ns, PACE_ONE), 530 * mib, "and no further");
}

Test(node_pace, it_yields_to_those_who_wait_and_keeps_its_floor)
{
    struct pace p;
    uint64_t    now_ns = 7 * second_ns;
    pace_init(&p, 16 * mib, 512 * mib);
    (void)send_for(&p, &now_ns, 2 * second_ns, PACE_ONE);
    uint64_t before = p.per_second;
    (void)send_for(&p, &now_ns, second_ns / 10, PACE_LIMIT + 1);
    cr_assert_eq(p.per_second, before - before / 4);
    (void)send_for(&p, &now_ns, second_ns / 10, PACE_LIMIT + 1);
    cr_assert_leq(p.per_second, (before - before / 4) / 2 + 1, "twice in a row: half");
    (void)send_for(&p, &now_ns, second_ns, PACE_LIMIT + 1);
    uint64_t sent = send_for(&p, &now_ns, second_ns, 1000 * PACE_ONE);
    cr_assert(sent > 15 * mib && sent < 18 * mib, "%llu", (unsigned long long)sent);
    (void)send_for(&p, &now_ns, second_ns / 2, PACE_ONE);
    cr_assert_lt(p.per_second, 40 * mib, "behind that it grows slowly");
}

Test(node_pace, near_the_rate_that_was_too_much_it_grows_a_little_at_a_time)
{
    struct pace p;
    uint64_t    now_ns = 7 * second_ns;
    pace_init(&p, 16 * mib, 512 * mib);
    (void)send_for(&p, &now_ns, 2 * second_ns, PACE_ONE);
    for (int i = 0; i < 3; i++) {
        (void)send_for(&p, &now_ns, second_ns / 10, PACE_LIMIT + 1);
    }
    (void)send_for(&p, &now_ns, second_ns / 10, PACE_ONE); /* what was told in the step before counts for this one */
    uint64_t low      = p.per_second;
    uint64_t too_much = p.too_much;
    cr_assert_lt(low, too_much * 3 / 4);
    (void)send_for(&p, &now_ns, second_ns / 10, PACE_ONE);
    cr_assert_eq(p.per_second, low + 4 * mib + 1);
    while (p.per_second < too_much * 3 / 4) {
        (void)send_for(&p, &now_ns, second_ns / 10, PACE_ONE);
    }
    uint64_t near = p.per_second;
    (void)send_for(&p, &now_ns, second_ns / 10, PACE_ONE);
    cr_assert_eq(p.per_second, near + mib + 1);
}

Test(node_pace, two_that_yield_together_come_to_the_same_rate)
{
    struct pace a, b;
    uint64_t    now_ns = 7 * second_ns;
    uint32_t    strain = PACE_ONE;
    pace_init(&a, 16 * mib, 512 * mib);
    pace_init(&b, 16 * mib, 512 * mib);
    (void)send_for(&a, &now_ns, 2 * second_ns, PACE_ONE); /* the other one begins later */
    cr_assert_geq(a.per_second, 512 * mib);
    for (int i = 0; i < 300; i++) { /* half a minute on a disk that has 200 MiB a second for both */
        uint64_t then = now_ns;
        (void)send_for(&a, &now_ns, second_ns / 10, strain);
        (void)send_for(&b, &then, second_ns / 10, strain);
        strain = a.per_second + b.per_second > 200 * mib ? PACE_LIMIT + 1 : PACE_ONE;
    }
    cr_assert(a.per_second < b.per_second + b.per_second / 4 && b.per_second < a.per_second + a.per_second / 4,
              "%llu and %llu MiB/s", (unsigned long long)(a.per_second / mib),
              (unsigned long long)(b.per_second / mib));
    cr_assert_gt(a.per_second + b.per_second, 80 * mib);
}

Test(node_pace, what_is_not_used_does_not_grow)
{
    struct pace p;
    uint64_t    now_ns = 7 * second_ns;
    pace_init(&p, 16 * mib, 512 * mib);
    for (int i = 0; i < 1000; i++) {
        (void)pace_take(&p, 1024, now_ns);
        now_ns += second_ns / 100;
        pace_tell(&p, 0, now_ns);
    }
    cr_assert_eq(p.per_second, 16 * mib);
}

Test(node_pace, it_comes_in_small_bursts)
{
    struct pace p;
    pace_init(&p, 100 * mib, 100 * mib);
    cr_assert_eq(pace_take(&p, mib / 2, second_ns), 0);
    cr_assert_gt(pace_take(&p, mib / 2, second_ns), 0, "not a second's worth at once");
}

Test(node_pace, it_rests_now_and_then_and_begins_anew_when_all_was_sent)
{
    struct pace p;
    uint64_t    now_ns  = 7 * second_ns;
    uint64_t    longest = 0;
    bool        quiet   = false;
    pace_init(&p, 16 * mib, 512 * mib);
    cr_assert(pace_quiet(&p, now_ns), "nothing was sent yet");
    for (int i = 0; i < 60; i++) {
        (void)send_for(&p, &now_ns, second_ns / 10, PACE_ONE);
        uint64_t wait = pace_wait_ns(&p, now_ns);
        longest       = wait > longest ? wait : longest;
        quiet         = quiet || pace_quiet(&p, now_ns);
    }
    cr_assert(longest > second_ns / 10 && longest < second_ns / 2, "%llu", (unsigned long long)longest);
    cr_assert(quiet, "what producers wait for without it can be seen");
    cr_assert(!pace_quiet(&p, now_ns));
    cr_assert_gt(p.per_second, 256 * mib, "it goes on as before");
    (void)pace_take(&p, mib, now_ns + 10 * second_ns);
    cr_assert_eq(p.per_second, 16 * mib, "after long it begins with the floor");
}
