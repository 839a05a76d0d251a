/* scenario_votes.c - nodes die in the moment in which they vote, and in which one of them takes the lead: what was promised is on disk, or was not
 * promised. No client: terms, votes and leaders are what counts. */
#include "segstore/node/node.h"
#include "segstore/raft/raft.h"
#include "tests/sim/group_faults.h"
#include "tests/sim/scenarios.h"

#include <stdlib.h>

enum { LIMIT_S = 120 };

struct moment {
    const struct group *group;
    uint16_t            stripe;
    uint64_t            term; /* until somebody votes, or leads, in a later one */
    bool                led;
};

static uint64_t newest_term(const struct group *g, uint16_t stripe)
{
    uint64_t newest = 0;
    for (uint32_t i = 0; i < g->count; i++) {
        uint64_t term = g->members[i].ready ? raft_term(node_raft(g->members[i].node, stripe)) : 0;
        newest        = term > newest ? term : newest;
    }
    return newest;
}

static bool has_come(void *ctx)
{
    const struct moment *m = ctx;
    for (uint32_t i = 0; i < m->group->count; i++) {
        const struct raft *r = m->group->members[i].ready ? node_raft(m->group->members[i].node, m->stripe) : NULL;
        if (r != NULL && raft_term(r) > m->term && (m->led ? raft_role(r) == RAFT_LEADER : raft_vote(r) != RAFT_NONE)) {
            return true;
        }
    }
    return false;
}

static void die(struct group *g, uint32_t member)
{
    if (world_chance(g->world, SALT_SCENARIO, 2)) {
        group_power_off(g, member);
    } else {
        group_crash(g, member);
    }
}

void scenario_group_votes(struct world *world)
{
    struct group *g = calloc(1, sizeof *g);
    ASSERT(g != NULL);
    group_tame(world);
    group_start(g, world, world_chance(world, SALT_SCENARIO, 4) ? 5 : 3,
                (uint32_t)world_between(world, SALT_SCENARIO, 1, 2));
    for (uint64_t round = world_between(world, SALT_SCENARIO, 3, 10); round > 0; round--) {
        struct moment m = {.group  = g,
                           .stripe = (uint16_t)world_between(world, SALT_SCENARIO, 0, g->stripes - 1),
                           .led    = world_chance(world, SALT_SCENARIO, 2)};
        m.term          = newest_term(g, m.stripe);
        int leader      = group_leader(g, m.stripe);
        if (leader >= 0) { /* others come to think that it is gone */
            if (world_chance(world, SALT_SCENARIO, 2)) {
                group_cut_peers(g, (uint32_t)leader);
            } else {
                die(g, (uint32_t)leader);
            }
        }
        (void)group_run_until(g, has_come, &m, 5 * SIM_S);
        group_run_ns(g, world_between(world, SALT_SCENARIO, 0, 3 * SIM_MS));
        group_watch(g);
        uint32_t first = (uint32_t)world_between(world, SALT_SCENARIO, 0, g->count - 1);
        uint32_t dying = (uint32_t)world_between(world, SALT_SCENARIO, g->count / 2 + 1, g->count);
        for (uint32_t i = 0; i < dying; i++) {
            die(g, (first + i) % g->count);
        }
        for (uint32_t i = 0; i < g->count; i++) {
            group_heal(g, i);
        }
        group_run_ns(g, world_between(world, SALT_SCENARIO, SIM_MS, 2 * SIM_S));
    }
    group_agree(g, LIMIT_S * SIM_S);
    group_end(g);
    free(g);
}
