#include "segstore/placement/plan.h"

#include <criterion/criterion.h>

/* A cluster as its leader sees it. */
struct scene {
    struct plan      plan;
    struct plan_wish wish;
    struct plan_seen seen[8];
    char             why[PLAN_WHY_BYTES];
};

/* Configured are 1 to configured, wished for 1 to wished, all alive. */
static struct scene scene(uint8_t configured, uint8_t wished)
{
    struct scene s = {.wish = {.count = wished, .replicas = 3, .basis = 1}};
    for (uint16_t i = 0; i < configured; i++) {
        s.seen[i] = (struct plan_seen){.node = (uint16_t)(i + 1), .alive = true};
    }
    for (uint16_t i = 0; i < wished; i++) {
        s.wish.nodes[i] = (uint16_t)(i + 1);
    }
    for (uint16_t i = configured; i < 8; i++) {
        s.seen[i].node = (uint16_t)(100 + i);
    }
    return s;
}

static bool step(struct scene *s)
{
    struct plan next;
    bool        changed = plan_next(&s->plan, &s->wish, s->seen, 8, &next, s->why);
    s->plan             = next;
    return changed;
}

static void settle(struct scene *s)
{
    for (int steps = 0; step(s); steps++) {
        cr_assert_lt(steps, 20, "it comes to no end: %s", s->why);
    }
}

static void gone(struct scene *s, uint16_t node)
{
    s->seen[node - 1].alive = false;
    s->seen[node - 1].gone  = true;
}

#define HOLDS(s, ...) \
    holds((s), (const uint16_t[]){__VA_ARGS__}, sizeof((const uint16_t[]){__VA_ARGS__}) / sizeof(uint16_t))

static void holds(const struct scene *s, const uint16_t *nodes, size_t count)
{
    cr_assert_eq(s->plan.count, count, "%u places", s->plan.count);
    for (size_t i = 0; i < count; i++) {
        cr_assert_not_null(plan_find(&s->plan, nodes[i]), "node %u has no place", nodes[i]);
    }
}

Test(placement_plan, the_first_plan_is_what_was_wished_for)
{
    struct scene s = scene(5, 3);
    cr_assert(step(&s));
    cr_assert_str_eq(s.why, "3 nodes hold the streams from now on, 3 replicas of each");
    cr_assert_eq(s.plan.epoch, 1);
    HOLDS(&s, 1, 2, 3);
    cr_assert(!step(&s), "it is at rest");
}

Test(placement_plan, without_a_wish_nothing_happens)
{
    struct scene s = scene(3, 0);
    cr_assert(!step(&s));
}

Test(placement_plan, who_is_named_instead_takes_the_key_of_who_is_not)
{
    struct scene s = scene(5, 3);
    settle(&s);
    s.wish.nodes[1] = 5;
    s.wish.basis    = 2;
    settle(&s);
    HOLDS(&s, 1, 5, 3);
    cr_assert_eq(plan_find(&s.plan, 5)->key, 2);
}

Test(placement_plan, of_two_new_ones_each_takes_the_key_of_its_rack)
{
    struct scene s = scene(6, 4);
    for (uint16_t i = 0; i < 6; i++) {
        s.seen[i].rack = (uint16_t)(1 + i % 2);
    }
    settle(&s);
    s.wish.nodes[0] = 6; /* rack 2 */
    s.wish.nodes[1] = 5; /* rack 1 */
    s.wish.basis    = 2;
    settle(&s);
    cr_assert_eq(plan_find(&s.plan, 6)->key, 2);
    cr_assert_eq(plan_find(&s.plan, 5)->key, 1);
}

Test(placement_plan, a_dead_node_is_replaced_by_a_spare_of_its_rack_and_is_a_spare_when_it_is_back)
{
    struct scene s = scene(6, 3);
    s.seen[1].rack = s.seen[5].rack = 7;
    settle(&s);
    gone(&s, 2);
    cr_assert(step(&s));
    cr_assert_str_eq(s.why, "node 6 takes the place of node 2, which has been away for too long");
    HOLDS(&s, 1, 3, 6);
    cr_assert_eq(plan_find(&s.plan, 6)->key, 2);
    s.seen[1] = (struct plan_seen){.node = 2, .rack = 7, .alive = true};
    cr_assert(!step(&s));
}

Test(placement_plan, a_dead_node_without_a_spare_gives_its_place_up_when_there_are_more_than_replicas)
{
    struct scene s = scene(5, 5);
    settle(&s);
    gone(&s, 4);
    cr_assert(step(&s));
    HOLDS(&s, 1, 2, 3, 5);
    gone(&s, 1);
    cr_assert(step(&s));
    HOLDS(&s, 2, 3, 5);
    gone(&s, 2);
    cr_assert(!step(&s), "three replicas, three places");
    s.seen[3] = (struct plan_seen){.node = 4, .alive = true};
    settle(&s);
    cr_assert_null(plan_find(&s.plan, 2), "the one that is back takes the place of the one that is not");
    HOLDS(&s, 3, 4, 5);
    s.seen[0] = (struct plan_seen){.node = 1, .alive = true};
    settle(&s);
    HOLDS(&s, 1, 3, 4, 5);
}

Test(placement_plan, one_that_was_never_seen_is_no_spare)
{
    struct scene s  = scene(4, 3);
    s.seen[3].alive = false;
    settle(&s);
    gone(&s, 2);
    cr_assert(!step(&s));
    HOLDS(&s, 1, 2, 3);
}

Test(placement_plan, a_drained_node_leaves_when_another_can_take_its_place_and_returns)
{
    struct scene s = scene(5, 4);
    settle(&s);
    s.wish.drained[0]    = 2;
    s.wish.drained_count = 1;
    cr_assert(step(&s));
    HOLDS(&s, 1, 3, 4, 5);
    s.seen[4].alive = false;
    gone(&s, 5);
    settle(&s);
    HOLDS(&s, 1, 3, 4);
    s.wish.drained_count = 0;
    settle(&s);
    HOLDS(&s, 1, 2, 3, 4);
}

Test(placement_plan, a_drained_node_is_no_spare)
{
    struct scene s = scene(4, 3);
    settle(&s);
    s.wish.drained[0]    = 4;
    s.wish.drained_count = 1;
    gone(&s, 2);
    cr_assert(!step(&s));
    HOLDS(&s, 1, 2, 3);
    s.wish.drained_count = 0;
    cr_assert(step(&s));
    HOLDS(&s, 1, 3, 4);
}

Test(placement_plan, a_drained_node_that_nobody_can_replace_leads_nothing)
{
    struct scene s = scene(3, 3);
    settle(&s);
    s.wish.drained[0]    = 2;
    s.wish.drained_count = 1;
    settle(&s);
    HOLDS(&s, 1, 2, 3);
    cr_assert(plan_find(&s.plan, 2)->drained);
    s.wish.replicas = 2;
    settle(&s);
    HOLDS(&s, 1, 3);
    s.wish.drained_count = 0;
    settle(&s);
    HOLDS(&s, 1, 2, 3);
    cr_assert(!plan_find(&s.plan, 2)->drained);
}

Test(placement_plan, other_racks_and_counts_are_taken_over)
{
    struct scene s = scene(3, 3);
    settle(&s);
    s.seen[1].rack = 4;
    cr_assert(step(&s));
    cr_assert_eq(plan_find(&s.plan, 2)->rack, 4);
    cr_assert_str_empty(s.why);
    s.wish.replicas = 2;
    cr_assert(step(&s));
    cr_assert_eq(s.plan.replicas, 2);
    cr_assert_str_eq(s.why, "each stripe is to have 2 replicas on 3 nodes");
}

Test(placement_plan, a_row_is_read_as_it_was_written_and_no_part_of_it)
{
    struct scene       s = scene(5, 4);
    uint8_t            bytes[PLAN_ROW_MAX_BYTES];
    struct wire_writer w = wire_writer_fixed(bytes, sizeof bytes);
    struct plan        out;
    settle(&s);
    s.plan.at[1].drained = true;
    s.plan.at[2].rack    = 9;
    plan_put(&w, &s.plan);
    struct bytes whole = wire_written(&w);
    cr_assert(plan_get(whole, &out));
    for (size_t i = 0; i < 4; i++) {
        cr_assert_eq(out.at[i].node, s.plan.at[i].node);
        cr_assert_eq(out.at[i].key, s.plan.at[i].key);
        cr_assert_eq(out.at[i].rack, s.plan.at[i].rack);
        cr_assert_eq(out.at[i].drained, s.plan.at[i].drained);
        cr_assert_eq(out.home[i], s.plan.home[i]);
    }
    cr_assert_eq(out.epoch, s.plan.epoch);
    cr_assert_eq(out.basis, s.plan.basis);
    for (size_t size = 0; size < whole.size; size++) {
        cr_assert(!plan_get(bytes_of(whole.data, size), &out));
    }
    bytes[20 + 8] = bytes[20]; /* the same node twice */
    cr_assert(!plan_get(whole, &out));
}
