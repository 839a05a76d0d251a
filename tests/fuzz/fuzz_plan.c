/* fuzz_plan.c - plans as rows, plans that follow from any wishes and any nodes being away, and where each of them puts the replicas. */
#include "segstore/placement/placement.h"

#include "tests/fuzz/script.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { NODES = 30, STRIPES_MAX = 48, STEPS_MAX = 200 };

static bool same(const struct plan *a, const struct plan *b)
{
    bool equal = a->epoch == b->epoch && a->basis == b->basis && a->replicas == b->replicas && a->count == b->count &&
                 a->home_count == b->home_count && memcmp(a->home, b->home, a->home_count * sizeof a->home[0]) == 0;
    for (uint8_t i = 0; equal && i < a->count; i++) {
        const struct plan_place *x = &a->at[i], *y = &b->at[i];
        equal = x->node == y->node && x->key == y->key && x->rack == y->rack && x->drained == y->drained;
    }
    return equal;
}

/* As a row and back it is the same. */
static void check_row(const struct plan *plan)
{
    uint8_t            row[PLAN_ROW_MAX_BYTES + 2 * PLAN_NODES_MAX];
    struct wire_writer w = wire_writer_fixed(row, sizeof row);
    struct plan        again;
    plan_put(&w, plan);
    ASSERT(!w.bad);
    bool known = plan_get(wire_written(&w), &again);
    ASSERT(known && same(plan, &again));
}

/* ---- where replicas go ---- */

static uint32_t load_of(const struct placement *all, uint32_t stripes, uint16_t node)
{
    uint32_t load = 0;
    for (uint32_t s = 0; s < stripes; s++) {
        for (uint8_t i = 0; i < all[s].count; i++) {
            load += all[s].nodes[i] == node;
        }
    }
    return load;
}

static void check_stripe(const struct plan *plan, const struct placement *p)
{
    bool lead_known = p->lead == 0, any = false;
    ASSERT(p->count == (plan->replicas < plan->count ? plan->replicas : plan->count));
    for (uint8_t i = 0; i < p->count; i++) {
        const struct plan_place *place = plan_find(plan, p->nodes[i]);
        ASSERT(place != NULL);
        for (uint8_t k = 0; k < i; k++) {
            ASSERT(p->nodes[k] != p->nodes[i]);
        }
        lead_known |= p->lead == p->nodes[i] && !place->drained;
        any |= !place->drained;
    }
    ASSERT(lead_known && (p->lead != 0) == any);
}

static void check_placement(const struct plan *plan, uint32_t stripes, uint32_t shards)
{
    struct placement all[STRIPES_MAX], again[STRIPES_MAX];
    struct plan      turned = *plan;
    bool             racks  = false;
    placement_make(plan, stripes, shards, all);
    for (uint8_t i = 0; i < plan->count; i++) {
        turned.at[i] = plan->at[plan->count - 1 - i];
        racks |= plan->at[i].rack != 0;
    }
    placement_make(&turned, stripes, shards, again);
    for (uint32_t s = 0; s < stripes; s++) {
        check_stripe(plan, &all[s]);
        ASSERT(all[s].lead == again[s].lead);
        ASSERT(memcmp(all[s].nodes, again[s].nodes, all[s].count * sizeof all[s].nodes[0]) == 0);
    }
    for (uint8_t i = 1; i < plan->count && !racks; i++) {
        uint32_t one = load_of(all, stripes, plan->at[0].node), other = load_of(all, stripes, plan->at[i].node);
        ASSERT(one <= other + 1 && other <= one + 1);
    }
}

/* ---- what follows ---- */

static void make_wish(struct plan_wish *wish, struct script *s)
{
    wish->basis         = script_u8(s) % 4;
    wish->replicas      = script_u8(s) % (PLAN_REPLICAS_MAX + 1);
    wish->count         = script_u8(s) % (PLAN_NODES_MAX + 1);
    wish->drained_count = script_u8(s) % 4;
    for (uint8_t i = 0; i < wish->count; i++) {
        wish->nodes[i] = (uint16_t)(script_u8(s) % NODES + 1);
    }
    for (uint8_t i = 0; i < wish->drained_count; i++) {
        wish->drained[i] = (uint16_t)(script_u8(s) % NODES + 1);
    }
}

static size_t look_around(struct plan_seen *seen, struct script *s)
{
    size_t count = script_u8(s) % (NODES + 1u);
    for (size_t i = 0; i < count; i++) {
        uint8_t how = script_u8(s);
        seen[i]     = (struct plan_seen){
                .node = (uint16_t)(i + 1), .rack = how >> 2 & 3, .alive = (how & 3) < 2, .gone = (how & 3) == 2};
    }
    return count;
}

/* As long as nothing else happens, steps end, and each is one that a row can say. */
static void follow(struct plan *plan, const struct plan_wish *wish, const struct plan_seen *seen, size_t seen_count)
{
    struct plan next;
    char        why[PLAN_WHY_BYTES];
    int         steps = 0;
    while (plan_next(plan, wish, seen, seen_count, &next, why)) {
        ASSERT(++steps < STEPS_MAX && next.epoch == plan->epoch + 1 && next.count > 0);
        ASSERT(next.replicas == wish->replicas && strlen(why) < PLAN_WHY_BYTES);
        check_row(&next);
        *plan = next;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct plan      plan = {0};
    struct plan_seen seen[NODES];
    struct script    s       = {bytes_of(data, size)};
    uint32_t         stripes = script_u8(&s) % STRIPES_MAX + 1u;
    uint32_t         shards  = script_u8(&s) % 8 + 1u;
    if (plan_get(script_take(&s, script_u8(&s)), &plan)) {
        check_row(&plan);
        check_placement(&plan, stripes, shards);
        plan.epoch %= UINT32_MAX;
    } else {
        plan = (struct plan){0};
    }
    while (s.left.size > 0) {
        struct plan_wish wish = {0};
        make_wish(&wish, &s);
        size_t count = look_around(seen, &s);
        follow(&plan, &wish, seen, count);
        if (plan.epoch != 0) {
            check_placement(&plan, stripes, shards);
        }
    }
    return 0;
}
