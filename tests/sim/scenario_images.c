/* scenario_images.c - a node that missed a handful of entries gets an image, every time; nodes die around it, so that what was acknowledged depends on
 * those that got one. At the end each node leads and serves everything from what it has on its own disk. */
#include "tests/sim/group_client.h"
#include "tests/sim/group_faults.h"
#include "tests/sim/scenarios.h"

#include <stdlib.h>

enum { LIMIT_S = 120 };

struct actors {
    struct group        group;
    struct group_client client;
    uint64_t            mark;
};

/* Something was acknowledged since. */
static bool goes_on(void *ctx)
{
    const struct actors *a = ctx;
    return a->client.stripes[0].answered > a->mark;
}

static void begin(struct actors *a, struct world *world)
{
    struct group *g = &a->group;
    group_tame(world);
    group_start(g, world, 3, (uint32_t)world_between(world, SALT_SCENARIO, 1, 2));
    for (uint32_t i = 0; i < g->count; i++) { /* before any of them runs its first turn */
        struct segstore_config *c = &g->members[i].config;
        c->segment_bytes          = world_between(world, SALT_SCENARIO, 2, 16) << 16;
        c->kept_entries           = (uint32_t)world_between(world, SALT_SCENARIO, 1, 10);
        c->checkpoint_slice_bytes = world_chance(world, SALT_SCENARIO, 2) ? 1 : 200;
        group_crash(g, i);
        group_restart(g, i);
    }
    group_client_start(&a->client, g);
    a->client.large_one_in = 0;
}

static void want(struct actors *a, uint64_t low, uint64_t high)
{
    for (uint32_t i = 0; i < a->group.stripes; i++) {
        group_client_want(&a->client, i,
                          a->client.stripes[i].answered + world_between(a->group.world, SALT_SCENARIO, low, high));
        if (world_chance(a->group.world, SALT_SCENARIO, 4)) {
            group_client_trim(&a->client, i,
                              world_between(a->group.world, SALT_SCENARIO, 0, a->client.stripes[i].answered));
        }
    }
}

/* One node misses something, perhaps while it thinks that it leads and takes what the client sends. */
static uint32_t leave_behind(struct actors *a)
{
    struct group *g      = &a->group;
    struct world *world  = g->world;
    int           leader = group_leader(g, 0);
    uint32_t      behind = (uint32_t)world_between(world, SALT_SCENARIO, 0, 2);
    if (leader >= 0 && world_chance(world, SALT_SCENARIO, 2)) {
        behind = (uint32_t)leader;
        group_cut_peers(g, behind);
        want(a, 10, 60);
        if (world_chance(world, SALT_SCENARIO, 2)) { /* what it took stays with it alone */
            group_run_ns(g, world_between(world, SALT_SCENARIO, SIM_MS, 30 * SIM_MS));
            process_pause(a->client.process, world_between(world, SALT_SCENARIO, SIM_S, 4 * SIM_S));
        }
    } else if (world_chance(world, SALT_SCENARIO, 2)) {
        group_crash(g, behind);
        want(a, 10, 60);
    } else {
        group_power_off(g, behind);
        want(a, 10, 60);
    }
    group_run_ns(g, world_between(world, SALT_SCENARIO, 100 * SIM_MS, 3 * SIM_S));
    return behind;
}

static void round_of(struct actors *a)
{
    struct group *g      = &a->group;
    struct world *world  = g->world;
    uint32_t      behind = leave_behind(a);
    int           leader = group_leader(g, 0);
    uint32_t      third  = (behind + (uint32_t)world_between(world, SALT_SCENARIO, 1, 2)) % 3;
    uint32_t      last   = 3 - behind - third;
    if (leader == (int)third) { /* the leader and the one that was behind go on alone */
        third = last;
        last  = (uint32_t)leader;
    }
    group_cut_peers(g, third);
    group_heal_but(g, behind, third);
    want(a, 10, 60);
    a->mark = a->client.stripes[0].answered;
    (void)group_run_until(g, goes_on, a, 6 * SIM_S);
    group_run_ns(g, world_between(world, SALT_SCENARIO, 0, 4 * SIM_MS));
    if (world_chance(world, SALT_SCENARIO, 2)) {
        group_crash(g, behind);
    } else {
        group_power_off(g, behind);
    }
    if (!world_chance(world, SALT_SCENARIO, 4)) {
        group_crash(g, last);
    }
    group_heal(g, third);
    group_heal(g, behind);
    group_run_ns(g, world_between(world, SALT_SCENARIO, SIM_MS, 4 * SIM_S));
    group_heal(g, last);
    sim_check(world, group_run_until(g, group_client_answered, &a->client, LIMIT_S * SIM_S), "all is acknowledged");
}

void scenario_group_images(struct world *world)
{
    struct actors *a = calloc(1, sizeof *a);
    ASSERT(a != NULL);
    begin(a, world);
    struct group *g = &a->group;
    want(a, 10, 60);
    sim_check(world, group_run_until(g, group_client_answered, &a->client, LIMIT_S * SIM_S), "all is acknowledged");
    for (uint64_t round = world_between(world, SALT_SCENARIO, 1, 4); round > 0; round--) {
        round_of(a);
    }
    group_agree(g, LIMIT_S * SIM_S);
    for (uint32_t i = 0; i < g->count; i++) {
        group_client_check_at(&a->client, g, i);
    }
    group_client_end(&a->client);
    group_end(g);
    free(a);
}
