/* scenario_tail.c - damage where it is worst: in the last entries of one of the two nodes that acknowledged them, while the third one has none of them; and in
 * entries that a leader reads back from its disk for a follower. */
#include "tests/sim/group_client.h"
#include "tests/sim/group_faults.h"
#include "tests/sim/scenarios.h"

#include <stdlib.h>

enum { LIMIT_S = 120 };

struct actors {
    struct group        group;
    struct group_client client;
};

static void begin(struct actors *a, struct world *world)
{
    group_tame(world);
    group_start(&a->group, world, 3, (uint32_t)world_between(world, SALT_SCENARIO, 1, 2));
    for (uint32_t i = 0; i < 3; i++) {
        a->group.members[i].config.checkpoint_ns          = world_between(world, SALT_SCENARIO, 1, 60) * SIM_S;
        a->group.members[i].config.checkpoint_slice_bytes = 2000;  /* soon over: what is repaired is remembered then */
        a->group.members[i].config.scrub_ns               = SIM_S; /* from its next start on */
        a->group.members[i].config.checkpoint_bytes       = world_between(world, SALT_SCENARIO, 1, 4) << 20;
    }
    group_client_start(&a->client, &a->group);
    a->client.large_one_in = 0;
}

static void want(struct actors *a, uint64_t low, uint64_t high)
{
    for (uint32_t i = 0; i < a->group.stripes; i++) {
        group_client_want(&a->client, i,
                          a->client.stripes[i].answered + world_between(a->group.world, SALT_SCENARIO, low, high));
    }
}

static void answered(struct actors *a)
{
    sim_check(a->group.world, group_run_until(&a->group, group_client_answered, &a->client, LIMIT_S * SIM_S),
              "all is acknowledged");
}

/* The one that was damaged has read its whole log again; all have everything, and remember it: the next one may be damaged. */
static void repaired(struct actors *a)
{
    group_agree(&a->group, LIMIT_S * SIM_S);
    group_run_ns(&a->group, 3 * SIM_S);
    group_agree(&a->group, LIMIT_S * SIM_S);
    group_run_ns(&a->group, 2 * SIM_S);
}

/* It is whole for good: started again it does not take itself for damaged. */
static void remembered(struct actors *a, uint32_t victim)
{
    a->group.damaged = false;
    group_crash(&a->group, victim);
    group_restart(&a->group, victim);
    group_agree(&a->group, LIMIT_S * SIM_S);
}

static void finish(struct actors *a)
{
    answered(a);
    group_agree(&a->group, LIMIT_S * SIM_S);
    for (uint32_t i = 0; i < 3; i++) {
        group_client_check_at(&a->client, &a->group, i);
    }
    group_client_end(&a->client);
    group_end(&a->group);
    free(a);
}

static void die(struct group *g, uint32_t member)
{
    if (world_chance(g->world, SALT_SCENARIO, 2)) {
        group_power_off(g, member);
    } else {
        group_crash(g, member);
    }
}

void scenario_group_tail(struct world *world)
{
    struct actors *a = calloc(1, sizeof *a);
    struct group  *g = &a->group;
    ASSERT(a != NULL);
    begin(a, world);
    want(a, 5, 40);
    answered(a);
    group_agree(g, LIMIT_S * SIM_S);
    for (uint64_t round = world_between(world, SALT_SCENARIO, 1, 3); round > 0; round--) {
        uint32_t without = (uint32_t)world_between(world, SALT_SCENARIO, 0, 2);
        uint32_t victim  = (without + (uint32_t)world_between(world, SALT_SCENARIO, 1, 2)) % 3;
        uint32_t last    = 3 - without - victim;
        group_cut_peers(g, without);
        want(a, 1, 40);
        answered(a); /* by victim and last */
        /* Within ten milliseconds nothing in the log says yet that its last block was durable. */
        group_run_ns(g, world_between(world, SALT_SCENARIO, SIM_US,
                                      world_chance(world, SALT_SCENARIO, 2) ? 2 * SIM_MS : 50 * SIM_MS));
        die(g, victim);
        if (world_chance(world, SALT_SCENARIO, 2)) {
            (void)group_rot_block(g, victim, 0);
        }
        for (uint64_t flips = world_between(world, SALT_SCENARIO, 1, 3); flips > 0; flips--) {
            (void)group_rot_block(g, victim, world_between(world, SALT_SCENARIO, 0, 3));
        }
        die(g, last);
        group_heal(g, without);
        group_heal(g, victim);
        group_run_ns(g, world_between(world, SALT_SCENARIO, SIM_S, 5 * SIM_S)); /* these two must not go on alone */
        group_heal(g, last);
        answered(a);
        repaired(a);
        if (round == 1) {
            remembered(a, victim);
        }
    }
    finish(a);
}

void scenario_group_readback(struct world *world)
{
    struct actors *a = calloc(1, sizeof *a);
    struct group  *g = &a->group;
    ASSERT(a != NULL);
    begin(a, world);
    want(a, 5, 40);
    answered(a);
    uint32_t leader = (uint32_t)world_between(world, SALT_SCENARIO, 0,
                                              2); /* always the same: nobody may have read yet what was damaged */
    for (uint64_t round = world_between(world, SALT_SCENARIO, 1, 3); round > 0; round--) {
        uint32_t behind = (leader + (uint32_t)world_between(world, SALT_SCENARIO, 1, 2)) % 3;
        die(g, behind);
        want(a, 20, 120);
        answered(a);
        for (uint32_t i = 0; i < 3; i++) { /* what they wrote is not in memory any more */
            if (i != behind) {
                group_crash(g, i);
                group_restart(g, i);
            }
        }
        group_lead(g, leader, LIMIT_S * SIM_S);
        for (uint64_t flips = world_between(world, SALT_SCENARIO, 1, 3); flips > 0; flips--) {
            (void)group_rot_block(g, leader, world_between(world, SALT_SCENARIO, 1, 40));
        }
        group_heal(g, behind);
        want(a, 0, 10);
        answered(a);
        group_agree(g, LIMIT_S * SIM_S);
        group_crash(g, leader); /* what was not read yet is found by its replay */
        group_restart(g, leader);
        repaired(a);
    }
    finish(a);
}
