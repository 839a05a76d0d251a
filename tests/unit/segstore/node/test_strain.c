#include "segstore/node/strain.h"

#include "segstore/node/pace.h"

#include <criterion/criterion.h>

static const uint64_t second_ns = 1000000000;

Test(node_strain, strain_is_told_against_what_is_usual)
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

Test(node_strain, a_tail_that_not_every_step_shows_is_usual)
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

Test(node_strain, without_anything_to_compare_with_nobody_is_strained)
{
    struct strain s = {0};
    strain_note(&s, second_ns);
    cr_assert_eq(strain_step(&s, second_ns, 2 * second_ns, false), 0);
}

Test(node_strain, waits_of_a_processor_are_not_told_apart)
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

/* A step of a hundred waits of 1 ms, but for some of so long. */
static uint32_t step_with(struct strain *s, int some, uint64_t long_ns, bool quiet)
{
    for (int i = 0; i < 100; i++) {
        strain_note(s, i < some ? long_ns : 1000000);
    }
    return strain_step(s, s->next_ns, 0, quiet);
}

Test(node_strain, more_than_one_in_a_hundred_later_than_twice_the_tail_is_too_much)
{
    struct strain s = {0};
    for (int i = 0; i < 40; i++) { /* the longest of them wait 100 ms, but one in a hundred longer than 5 */
        (void)step_with(&s, i % 20 == 3 ? 1 : 0, 100000000, true);
        (void)step_with(&s, 2, 5000000, true);
        (void)step_with(&s, 2, 5000000, true);
    }
    cr_assert(s.usual_tail_ns >= 5000000 && s.usual_tail_ns < 6500000, "%llu", (unsigned long long)s.usual_tail_ns);
    for (int i = 0; i < 20; i++) {
        cr_assert_leq(step_with(&s, 8, 9000000, false), PACE_LIMIT, "many within twice the tail are borne");
    }
    for (int i = 0; i < 20; i++) {
        cr_assert_leq(step_with(&s, 1, 40000000, false), PACE_LIMIT, "and one in a hundred of any length");
    }
    uint32_t strain = 0;
    for (int i = 0; i < 20; i++) {
        strain = step_with(&s, 3, 14000000, false);
    }
    cr_assert(strain > 2 * PACE_LIMIT && strain < 4 * PACE_LIMIT, "%u: three times as many as may be", strain);
    for (int i = 0; i < 20; i++) {
        strain = step_with(&s, 0, 0, false);
    }
    cr_assert_leq(strain, PACE_ONE, "it is over soon");
}

Test(node_strain, a_moment_in_which_much_waits_is_not_usual)
{
    struct strain s = {0};
    for (int i = 0; i < 100; i++) {
        (void)step_with(&s, 3, 3000000, true);
    }
    uint64_t tail_ns = s.usual_tail_ns;
    for (int i = 0; i < 20; i++) {
        (void)step_with(&s, 30, 50000000, true);
    }
    cr_assert_eq(s.usual_tail_ns, tail_ns);
    for (int i = 0; i < 60; i++) {
        (void)step_with(&s, 30, 50000000, true);
    }
    cr_assert_geq(s.usual_tail_ns, 50000000, "but when it stays so it is");
}

Test(node_strain, late_ones_of_now_and_then_are_usual)
{
    struct strain s      = {0};
    uint32_t      strain = 0;
    for (int i = 0; i < 100; i++) { /* a checkpoint every two seconds */
        (void)step_with(&s, i % 20 == 3 ? 9 : 0, 10000000, true);
    }
    cr_assert_lt(s.usual_tail_ns, 5000000);
    for (int i = 0; i < 100; i++) {
        cr_assert_leq(step_with(&s, i % 20 == 3 ? 9 : 0, 10000000, false), PACE_LIMIT, "%d", i);
    }
    for (int i = 0; i < 20; i++) {
        strain = step_with(&s, 9, 10000000, false);
    }
    cr_assert_gt(strain, 2 * PACE_LIMIT, "not when they are late all the time");
}

Test(node_strain, few_waits_tell_no_tail)
{
    struct strain s = {0};
    for (int i = 0; i < 10; i++) {
        for (int j = 0; j < 10; j++) {
            strain_note(&s, 3000000);
        }
        (void)strain_step(&s, s.next_ns, 0, true);
    }
    cr_assert_eq(s.usual_tail_ns, 0);
    for (int j = 0; j < 10; j++) {
        strain_note(&s, j == 0 ? 5900000 : 3000000);
    }
    cr_assert_leq(strain_step(&s, s.next_ns, 0, false), PACE_LIMIT);
}
