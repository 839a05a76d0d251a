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

Test(test_pace, while_nobody_is_hurt_it_grows_to_the_ceiling)
{
    struct pace p;
    uint64_t    now_ns = 7 * second_ns;
    pace_init(&p, 16 * mib, 512 * mib);
    cr_assert_lt(send_for(&p, &now_ns, second_ns / 10, PACE_ONE), 4 * mib, "it begins with the floor");
    (void)send_for(&p, &now_ns, second_ns, PACE_ONE);
    cr_assert_geq(send_for(&p, &now_ns, second_ns, PACE_LIMIT), 490 * mib);
    cr_assert_leq(send_for(&p, &now_ns, second_ns, PACE_ONE), 530 * mib, "and no further");
}

Test(test_pace, it_yields_to_those_who_wait_and_keeps_its_floor)
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
    cr_assert_lt(p.per_second, 32 * mib, "behind that it grows slowly");
}

Test(test_pace, what_is_not_used_does_not_grow)
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

Test(test_pace, it_comes_in_small_bursts)
{
    struct pace p;
    pace_init(&p, 100 * mib, 100 * mib);
    cr_assert_eq(pace_take(&p, mib / 2, second_ns), 0);
    cr_assert_gt(pace_take(&p, mib / 2, second_ns), 0, "not a second's worth at once");
}

Test(test_pace, it_rests_now_and_then_and_begins_anew_when_all_was_sent)
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

Test(test_pace, strain_is_told_against_what_is_usual)
{
    struct strain s      = {0};
    uint64_t      now_ns = 7 * second_ns;
    for (int step = 0; step < 20; step++) {
        for (int i = 0; i < 10; i++) {
            strain_note(&s, i == 3 ? 4000000 : 1000000);
        }
        now_ns += PACE_STEP_NS;
        cr_assert(strain_due(&s, now_ns));
        (void)strain_step(&s, now_ns, 0, true);
        cr_assert(!strain_due(&s, now_ns));
    }
    cr_assert_eq(s.usual_worst_ns, 4000000);
    cr_assert(s.usual_mean_ns > 1200000 && s.usual_mean_ns < 1400000);
    strain_note(&s, 1000000);
    strain_note(&s, 4000000);
    cr_assert_leq(strain_step(&s, now_ns, 0, false), PACE_ONE + 1);
    strain_note(&s, 12000000);
    cr_assert_geq(strain_step(&s, now_ns, 0, false), 3 * PACE_ONE);
    cr_assert_geq(strain_step(&s, now_ns, 400000000, false), 99 * PACE_ONE, "who waits still counts, too");
    cr_assert_eq(s.usual_worst_ns, 4000000, "what is sent meanwhile is not usual");
    cr_assert_eq(strain_step(&s, now_ns, 0, false), 0, "nobody waited");
}

Test(test_pace, a_tail_that_not_every_step_shows_is_usual)
{
    struct strain s      = {0};
    uint64_t      now_ns = 7 * second_ns;
    for (int step = 0; step < 100; step++) {
        for (int i = 0; i < 50; i++) {
            strain_note(&s, i == 3 && step % 10 == 3 ? 100000000 : 2000000);
        }
        cr_assert(step < 10 || strain_step(&s, now_ns, 0, true) <= PACE_LIMIT, "%d", step);
    }
    for (int i = 0; i < 50; i++) {
        strain_note(&s, 7000000);
    }
    cr_assert_gt(strain_step(&s, now_ns, 0, false), PACE_LIMIT, "nor may all wait three times as long");
}

Test(test_pace, without_anything_to_compare_with_nobody_is_strained)
{
    struct strain s = {0};
    strain_note(&s, second_ns);
    cr_assert_eq(strain_step(&s, second_ns, 2 * second_ns, false), 0);
}

Test(test_pace, waits_of_a_processor_are_not_told_apart)
{
    struct strain s      = {0};
    uint64_t      now_ns = second_ns;
    for (int step = 0; step < 20; step++) {
        for (int i = 0; i < 10; i++) {
            strain_note(&s, 50000);
        }
        (void)strain_step(&s, now_ns += PACE_STEP_NS, 0, true);
    }
    strain_note(&s, 1900000);
    cr_assert_leq(strain_step(&s, now_ns, 0, false), PACE_LIMIT);
}
