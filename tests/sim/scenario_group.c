/* scenario_group.c - three or five segment stores keep the same stripes while they are killed, lose power and are cut off from each other. What was
 * acknowledged is there, once, in its place, whoever leads. */
#include "tests/sim/disk.h"
#include "tests/sim/group_client.h"
#include "tests/sim/group_faults.h"
#include "tests/sim/scenarios.h"

#include <stdio.h>
#include <stdlib.h>

enum { LIMIT_S = 120 };

void scenario_group_elections(struct world *world)
{
    struct group *g = calloc(1, sizeof *g);
    group_tame(world);
    group_start(g, world, world_chance(world, SALT_SCENARIO, 3) ? 5 : 3,
                (uint32_t)world_between(world, SALT_SCENARIO, 1, 4));
    group_agree(g, LIMIT_S * SIM_S);
    for (uint64_t round = world_between(world, SALT_SCENARIO, 2, 6); round > 0; round--) {
        uint32_t victim = (uint32_t)world_between(world, SALT_SCENARIO, 0, g->count - 1);
        group_accident(g, victim);
        group_run_ns(g, world_between(world, SALT_SCENARIO, SIM_MS, 4 * SIM_S));
        group_heal(g, victim);
        group_run_ns(g, world_between(world, SALT_SCENARIO, SIM_MS, SIM_S));
    }
    group_agree(g, LIMIT_S * SIM_S);
    group_end(g);
    free(g);
}

static void check_all(struct group *g, struct group_client *c)
{
    struct world *world = g->world;
    sim_check(world, group_run_until(g, group_client_answered, c, LIMIT_S * SIM_S), "all is acknowledged");
    group_agree(g, LIMIT_S * SIM_S);
    group_client_read_all(c);
    sim_check(world, group_run_until(g, group_client_all_read, c, LIMIT_S * SIM_S), "all is read");
}

/* Writes go on through everything. */
void scenario_group(struct world *world)
{
    struct group        *g = calloc(1, sizeof *g);
    struct group_client *c = calloc(1, sizeof *c);
    group_tame(world);
    group_start(g, world, world_chance(world, SALT_SCENARIO, 4) ? 5 : 3,
                (uint32_t)world_between(world, SALT_SCENARIO, 1, 3));
    group_client_start(c, g);
    uint64_t target = 0;
    for (uint64_t round = world_between(world, SALT_SCENARIO, 2, 7); round > 0; round--) {
        target += world_between(world, SALT_SCENARIO, 5, 80);
        for (uint32_t i = 0; i < g->stripes; i++) {
            group_client_want(c, i, target);
            if (world_chance(world, SALT_SCENARIO, 4)) {
                group_client_trim(c, i, world_between(world, SALT_SCENARIO, 0, c->stripes[i].answered));
            }
        }
        group_run_ns(g, world_between(world, SALT_SCENARIO, SIM_US, 600 * SIM_MS));
        uint32_t victim = (uint32_t)world_between(world, SALT_SCENARIO, 0, g->count - 1);
        group_accident(g, victim);
        bool second = world_chance(world, SALT_SCENARIO,
                                   3); /* with three nodes that is a majority: nothing is acknowledged then */
        group_run_ns(g, world_between(world, SALT_SCENARIO, SIM_MS, second ? 500 * SIM_MS : 4 * SIM_S));
        uint32_t other = (victim + 1) % g->count;
        if (second) {
            group_accident(g, other);
            group_run_ns(g, world_between(world, SALT_SCENARIO, SIM_MS, 3 * SIM_S));
            group_heal(g, other);
        }
        group_heal(g, victim);
    }
    check_all(g, c);
    group_client_end(c);
    group_end(g);
    free(c);
    free(g);
}

/* Bits of one node's log flip, somewhere, while it is down. Whatever that takes away, the others have. */
void scenario_group_rot(struct world *world)
{
    struct group        *g = calloc(1, sizeof *g);
    struct group_client *c = calloc(1, sizeof *c);
    group_tame(world);
    group_start(g, world, 3, (uint32_t)world_between(world, SALT_SCENARIO, 1, 3));
    group_client_start(c, g);
    uint64_t target = 0;
    g->damaged      = true;
    for (uint32_t i = 0; i < 3; i++) { /* from its next start on: some read their log again all the time, some never */
        g->members[i].config.scrub_ns =
            world_chance(world, SALT_SCENARIO, 2) ? 0 : world_between(world, SALT_SCENARIO, 1, 20) * SIM_S;
    }
    uint32_t victim = (uint32_t)world_between(world, SALT_SCENARIO, 0,
                                              2); /* always the same: what the others have is never the last copy */
    for (uint64_t round = world_between(world, SALT_SCENARIO, 1, 4); round > 0; round--) {
        target += world_between(world, SALT_SCENARIO, 20, 100);
        for (uint32_t i = 0; i < g->stripes; i++) {
            group_client_want(c, i, target);
        }
        group_run_ns(g, world_between(world, SALT_SCENARIO, 10 * SIM_MS, 2 * SIM_S));
        struct group_member *m = &g->members[victim];
        if (world_chance(world, SALT_SCENARIO, 2)) {
            group_crash(g, victim);
        } else {
            group_power_off(g, victim);
        }
        bool flipped = false;
        for (uint32_t tries = 0; tries < 20 && !flipped; tries++) {
            char path[64];
            snprintf(path, sizeof path, "/var/keel/shard-00/wal/%012u",
                     (unsigned)world_between(world, SALT_SCENARIO, 1, 4));
            flipped =
                disk_rot(m->machine->disk, path, world_between(world, SALT_SCENARIO, 0, m->config.segment_bytes / 4));
        }
        group_run_ns(g, world_between(world, SALT_SCENARIO, SIM_MS, 3 * SIM_S));
        group_restart(g, victim);
        sim_check(world, group_run_until(g, group_client_answered, c, LIMIT_S * SIM_S), "all is acknowledged");
        group_agree(g, LIMIT_S * SIM_S); /* before the next one: no two copies are damaged at once */
    }
    for (uint32_t i = 0; i < 3; i++) { /* each of them can stand for all */
        group_client_check_at(c, g, i);
    }
    group_client_end(c);
    group_end(g);
    free(c);
    free(g);
}

/* A node comes back with an empty disk under its old number: nobody listens to it, and with it and another one down nothing is acknowledged. */
void scenario_group_lost_disk(struct world *world)
{
    struct group        *g = calloc(1, sizeof *g);
    struct group_client *c = calloc(1, sizeof *c);
    group_tame(world);
    group_start(g, world, 3, 2);
    group_client_start(c, g);
    for (uint32_t i = 0; i < g->stripes; i++) {
        group_client_want(c, i, 40);
    }
    sim_check(world, group_run_until(g, group_client_answered, c, LIMIT_S * SIM_S), "all is acknowledged");
    group_agree(g, LIMIT_S * SIM_S);
    uint32_t victim = (uint32_t)world_between(world, SALT_SCENARIO, 0, 2);
    group_power_off(g, victim);
    group_new_disk(g, victim);
    group_restart(g, victim);
    group_run_ns(g, world_between(world, SALT_SCENARIO, SIM_MS, 5 * SIM_S));
    uint32_t other = (victim + 1) % 3;
    group_crash(g, other); /* one that has all, and one that has nothing: no majority */
    group_run_ns(g, 3 * SIM_S);
    for (uint32_t i = 0; i < g->stripes; i++) {
        group_client_want(c, i, 60);
    }
    sim_check(world, !group_run_until(g, group_client_answered, c, 20 * SIM_S),
              "a node without its disk helps to acknowledge");
    group_restart(g, other);
    sim_check(world, group_run_until(g, group_client_answered, c, LIMIT_S * SIM_S), "two that have their disks go on");
    group_client_read_all(c);
    sim_check(world, group_run_until(g, group_client_all_read, c, LIMIT_S * SIM_S), "all is read");
    group_client_end(c);
    group_end(g);
    free(c);
    free(g);
}

/* The cluster moves to other nodes while it works: a node is added, one is replaced, all are. Any step may be interrupted. */
void scenario_group_members(struct world *world)
{
    static const uint16_t plans[][GROUP_MAX] = {{1, 2, 3, 4}, {1, 2, 4}, {2, 4, 5},       {3, 4, 5},
                                                {1, 3, 5},    {4},       {1, 2, 3, 4, 5}, {2, 3, 5}};
    struct group         *g                  = calloc(1, sizeof *g);
    struct group_client  *c                  = calloc(1, sizeof *c);
    group_tame(world);
    group_start_some(g, world, 5, 3, (uint32_t)world_between(world, SALT_SCENARIO, 1, 2));
    group_client_start(c, g);
    for (uint32_t i = 0; i < 3; i++) { /* one after the other they are started anew with the longer list */
        group_run_ns(g, world_between(world, SALT_SCENARIO, 500 * SIM_MS, 2 * SIM_S));
        group_crash(g, i);
        g->members[i].config.node_count = 5;
        group_restart(g, i);
    }
    uint64_t target = 0;
    for (uint64_t round = world_between(world, SALT_SCENARIO, 2, 5); round > 0; round--) {
        const uint16_t *plan  = plans[world_between(world, SALT_SCENARIO, 0, sizeof plans / sizeof *plans - 1)];
        uint16_t        count = 0;
        while (count < GROUP_MAX && plan[count] != 0) {
            count++;
        }
        target += world_between(world, SALT_SCENARIO, 5, 80);
        for (uint32_t i = 0; i < g->stripes; i++) {
            group_client_want(c, i, target);
        }
        group_client_members(c, plan, count);
        group_run_ns(g, world_between(world, SALT_SCENARIO, SIM_MS, 3 * SIM_S));
        uint32_t victim = (uint32_t)world_between(world, SALT_SCENARIO, 0, 4);
        group_accident(g, victim);
        group_run_ns(g, world_between(world, SALT_SCENARIO, SIM_MS, 3 * SIM_S));
        group_heal(g, victim);
        sim_check(world, group_run_until(g, group_client_answered, c, LIMIT_S * SIM_S), "all is acknowledged");
        sim_check(world, group_members_are(g, plan, count, LIMIT_S * SIM_S), "the members are those that were wanted");
    }
    check_all(g, c);
    group_client_end(c);
    group_end(g);
    free(c);
    free(g);
}
