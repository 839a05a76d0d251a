/* scenario_stale.c - a node is deposed and does not know it, and somebody reads from every node; requests of an earlier lead arrive during a later one. */
#include "tests/sim/group_client.h"
#include "tests/sim/group_faults.h"
#include "tests/sim/group_reader.h"
#include "tests/sim/net.h"
#include "tests/sim/scenarios.h"

#include <stdlib.h>

enum { LIMIT_S = 120 };

struct actors {
    struct group        group;
    struct group_client client;
    struct group_reader reader;
    uint64_t            mark; /* transactions */
};

static void write_on(struct actors *a, uint64_t low, uint64_t high)
{
    for (uint32_t i = 0; i < a->group.stripes; i++) {
        group_client_want(&a->client, i,
                          a->client.stripes[i].answered + world_between(a->group.world, SALT_SCENARIO, low, high));
    }
}

/* Cut off one way or the other, or asleep; brokers reach it all the time. */
static void depose(struct actors *a, uint32_t victim)
{
    struct group *g     = &a->group;
    struct world *world = g->world;
    switch (world_between(world, SALT_SCENARIO, 0, 2)) {
    case 0:
        group_cut_peers(g, victim);
        return;
    case 1: { /* one way */
        bool deaf = world_chance(world, SALT_SCENARIO, 2);
        for (uint32_t i = 0; i < g->count; i++) {
            if (i != victim) {
                struct machine *one   = g->members[victim].machine;
                struct machine *other = g->members[i].machine;
                net_link(deaf ? other : one, deaf ? one : other)->cut = true;
            }
        }
        return;
    }
    default:
        process_pause(g->members[victim].process, world_between(world, SALT_SCENARIO, 600 * SIM_MS, 4 * SIM_S));
    }
}

struct lead {
    const struct group *group;
    uint32_t            member;
};

static bool many_answered(void *ctx)
{
    const struct actors *a = ctx;
    return a->client.stripes[0].answered > a->mark;
}

static bool leads(void *ctx)
{
    const struct lead *l = ctx;
    return group_leader(l->group, 0) == (int)l->member;
}

/* What the client sends to a node takes long; meanwhile that node hands its lead over, and gets it back. */
static void overtake(struct actors *a, uint32_t victim)
{
    struct group *g     = &a->group;
    struct world *world = g->world;
    struct link  *slow  = net_link(a->client.process->machine, g->members[victim].machine);
    uint32_t      other = (victim + (uint32_t)world_between(world, SALT_SCENARIO, 1, g->count - 1)) % g->count;
    struct lead   there = {g, other};
    struct lead   back  = {g, victim};
    uint64_t      usual = slow->latency_ns;
    slow->latency_ns    = world_between(world, SALT_SCENARIO, 500 * SIM_MS, 2500 * SIM_MS);
    write_on(a, 40, 120);
    group_run_ns(g, world_between(world, SALT_SCENARIO, SIM_MS, 100 * SIM_MS)); /* they are on their way */
    if (group_hand_over(g, 0, other) && group_run_until(g, leads, &there, SIM_S)) {
        a->mark = a->client.stripes[0].answered + world_between(world, SALT_SCENARIO, 0, 40);
        (void)group_run_until(g, many_answered, a, 1500 * SIM_MS);
        (void)group_hand_over(g, 0, victim);
        (void)group_run_until(g, leads, &back, SIM_S);
    }
    group_run_ns(g, world_between(world, SALT_SCENARIO, SIM_MS, 3 * SIM_S));
    slow->latency_ns = usual;
}

void scenario_group_stale(struct world *world)
{
    struct actors       *a = calloc(1, sizeof *a);
    struct group        *g = &a->group;
    struct group_client *c = &a->client;
    ASSERT(a != NULL);
    group_tame(world);
    group_start(g, world, world_chance(world, SALT_SCENARIO, 5) ? 5 : 3,
                (uint32_t)world_between(world, SALT_SCENARIO, 1, 2));
    group_client_start(c, g);
    group_reader_start(&a->reader, g, c);
    write_on(a, 5, 30);
    sim_check(world, group_run_until(g, group_client_answered, c, LIMIT_S * SIM_S), "all is acknowledged");
    for (uint64_t round = world_between(world, SALT_SCENARIO, 2, 6); round > 0; round--) {
        int leader = group_leader(g, 0);
        if (leader < 0) {
            group_run_ns(g, SIM_S);
        } else if (world_chance(world, SALT_SCENARIO, 2)) {
            overtake(a, (uint32_t)leader);
        } else {
            write_on(a, 100, 400);
            group_run_ns(g, world_between(world, SALT_SCENARIO, SIM_MS, 50 * SIM_MS));
            depose(a, (uint32_t)leader);
            group_run_ns(g, world_between(world, SALT_SCENARIO, 500 * SIM_MS, 4 * SIM_S));
            for (uint32_t i = 0; i < g->count; i++) {
                group_heal(g, i);
            }
        }
        sim_check(world, group_run_until(g, group_client_answered, c, LIMIT_S * SIM_S), "all is acknowledged");
    }
    sim_check(world, a->reader.answers > 0, "somebody answers the reader");
    group_agree(g, LIMIT_S * SIM_S);
    group_client_read_all(c);
    sim_check(world, group_run_until(g, group_client_all_read, c, LIMIT_S * SIM_S), "all is read");
    group_reader_end(&a->reader);
    group_client_end(c);
    group_end(g);
    free(a);
}
