/* scenario_leave.c - replicas leave a node and come back to it, again and again, while nodes die, stand still, are cut off and elect others: what has left
 * gives its disk back, and must be missed by nobody. One of three nodes changes places with a fourth; often it is called back before it has gone, or in the
 * moment in which it has emptied its log and no checkpoint knows yet. What a replica says it holds lies in a file on its disk, at every start. */
#include "segstore/log/segment.h"
#include "segstore/node/node.h"
#include "segstore/node/state.h"
#include "segstore/raft/raft.h"
#include "segstore/stripe/stripe.h"
#include "tests/sim/disk.h"
#include "tests/sim/group_client.h"
#include "tests/sim/group_faults.h"
#include "tests/sim/net.h"
#include "tests/sim/scenarios.h"

#include <stdio.h>
#include <stdlib.h>

enum { NODES = 4, PLACES = 3, LIMIT_S = 180, STEPS = 1000 };

struct stage {
    struct group        group;
    struct group_client client;
    uint16_t            places[PLACES];
    uint16_t            spare;
    uint32_t            watched;        /* a node that comes or goes */
    uint32_t            left[NODES];    /* stripes that it holds nothing of */
    bool                checked[NODES]; /* since it started */
};

static void begin(struct stage *s, struct world *world)
{
    struct group *g = &s->group;
    group_tame(world);
    world->faults.reset_one_in = world->faults.reset_one_in == 0 ? 0 : 50000; /* an image comes through */
    group_start(g, world, NODES, (uint32_t)world_between(world, SALT_SCENARIO, 1, 2));
    for (uint32_t i = 0; i < g->count; i++) { /* before any of them runs its first turn */
        struct segstore_config *c = &g->members[i].config;
        c->replicas               = PLACES;
        c->replace_after_ns       = 0;
        c->segment_bytes = world_between(world, SALT_SCENARIO, 2, 8) << 16; /* smaller than a block of a run, too */
        c->checkpoint_slice_bytes = world_chance(world, SALT_SCENARIO, 2) ? 200 : 2000;
        if (world_chance(world, SALT_SCENARIO, 2)) {
            c->kept_entries = (uint32_t)world_between(world, SALT_SCENARIO, 1, 10);
        }
        group_crash(g, i);
        group_restart(g, i);
    }
    group_client_start(&s->client, g);
    s->client.large_one_in = 0;
    s->spare               = (uint16_t)world_between(world, SALT_SCENARIO, 1, NODES);
    for (uint16_t n = 1, i = 0; n <= NODES; n++) {
        if (n != s->spare) {
            s->places[i++] = n;
        }
    }
}

static void write_on(struct stage *s, uint64_t low, uint64_t high)
{
    for (uint32_t i = 0; i < s->group.stripes; i++) {
        group_client_want(&s->client, i,
                          s->client.stripes[i].answered + world_between(s->group.world, SALT_SCENARIO, low, high));
    }
}

/* ---- what is held is there ---- */

struct look {
    struct group_member *member;
    uint16_t             stripe;
};

static void is_on_disk(void *ctx, const struct stripe_held *held)
{
    const struct look         *l      = ctx;
    const struct group_member *m      = l->member;
    uint64_t                   number = held->position / m->config.segment_bytes;
    char                       path[96];
    uint8_t                    byte;
    snprintf(path, sizeof path, "%s/shard-00/%s/%012llu", m->config.data_directory,
             number >= SEGMENT_RUN_FIRST ? "runs" : "wal", (unsigned long long)number);
    sim_check(m->group->world, disk_peek_durable(m->machine->disk, path, &byte, 1, 0) >= 0,
              "%s holds record %llu of stripe %u, and the file %s is not there", m->name,
              (unsigned long long)held->offset, l->stripe, path);
}

static void check_files(struct stage *s, uint32_t member)
{
    struct look l = {.member = &s->group.members[member]};
    for (l.stripe = 0; l.stripe < s->group.stripes; l.stripe++) {
        struct stripe_walk walk = {0};
        while (!stripe_walk(node_stripe(l.member->node, l.stripe), &walk, STEPS, is_on_disk, &l)) {
        }
    }
}

/* Each one that has started since. */
static void look(struct stage *s)
{
    for (uint32_t i = 0; i < s->group.count; i++) {
        if (!s->group.members[i].ready) {
            s->checked[i] = false;
        } else if (!s->checked[i]) {
            check_files(s, i);
            s->checked[i] = true;
        }
    }
}

static void run(struct stage *s, uint64_t duration_ns)
{
    for (uint64_t end_ns = s->group.world->now_ns + duration_ns; s->group.world->now_ns < end_ns;) {
        uint64_t left = end_ns - s->group.world->now_ns;
        group_run_ns(&s->group, left < 10 * SIM_MS ? left : 10 * SIM_MS);
        look(s);
    }
}

/* ---- who comes and goes ---- */

static uint32_t empty_stripes(const struct stage *s, uint32_t member)
{
    const struct group_member *m     = &s->group.members[member];
    uint32_t                   count = 0;
    for (uint16_t i = 0; m->ready && i < s->group.stripes; i++) {
        count += raft_members(node_raft(m->node, i))->voter_count == 0;
    }
    return count;
}

static bool has_left_one(void *ctx)
{
    struct stage *s = ctx;
    look(s);
    return empty_stripes(s, s->watched) > s->left[s->watched];
}

static void change_places(struct stage *s, uint32_t place)
{
    uint16_t leaves  = s->places[place];
    s->places[place] = s->spare;
    s->spare         = leaves;
    group_client_members(&s->client, s->places, PLACES);
}

static void die(struct group *g, uint32_t member)
{
    if (world_chance(g->world, SALT_SCENARIO, 2)) {
        group_power_off(g, member);
    } else {
        group_crash(g, member);
    }
}

static uint32_t any(struct group *g)
{
    return (uint32_t)world_between(g->world, SALT_SCENARIO, 0, NODES - 1);
}

/* Something that makes messages late, or others the leaders. */
static void trouble(struct stage *s)
{
    struct group *g      = &s->group;
    struct world *world  = g->world;
    int           leader = group_leader(g, 0);
    uint32_t      victim = leader >= 0 && world_chance(world, SALT_SCENARIO, 2) ? (uint32_t)leader : any(g);
    switch (world_between(world, SALT_SCENARIO, 0, 5)) {
    case 0:
        process_pause(g->members[victim].process, world_between(world, SALT_SCENARIO, 100 * SIM_MS, 5 * SIM_S));
        return;
    case 1:
        group_cut_peers(g, victim);
        return;
    case 2:
        die(g, victim);
        return;
    case 3: { /* one way, between two: what was sent comes later, over an older connection than what is sent then */
        uint32_t other = (victim + (uint32_t)world_between(world, SALT_SCENARIO, 1, NODES - 1)) % NODES;
        net_link(g->members[victim].machine, g->members[other].machine)->cut = true;
        return;
    }
    case 4:
        group_cut_peers(g, victim);
        die(g, any(g));
        return;
    default:
        return;
    }
}

static void heal_all(struct group *g)
{
    for (uint32_t i = 0; i < g->count; i++) {
        group_heal(g, i);
    }
}

static void round_of(struct stage *s)
{
    struct group *g     = &s->group;
    struct world *world = g->world;
    uint32_t      place = (uint32_t)world_between(world, SALT_SCENARIO, 0, PLACES - 1);
    s->watched          = s->places[place] - 1u;
    for (uint32_t i = 0; i < NODES; i++) {
        s->left[i] = empty_stripes(s, i);
    }
    change_places(s, place);
    write_on(s, 20, 200);
    if (world_chance(world, SALT_SCENARIO, 2)) { /* a checkpoint takes its time */
        disk_faults(g->members[s->watched].machine->disk)->slow_factor =
            (uint32_t)world_between(world, SALT_SCENARIO, 20, 300);
    }
    if (world_chance(world, SALT_SCENARIO, 2)) {
        run(s, world_between(world, SALT_SCENARIO, 0, 3 * SIM_S));
        trouble(s);
    }
    if (world_chance(world, SALT_SCENARIO, 4)) {
        run(s, world_between(world, SALT_SCENARIO, 0, 8 * SIM_S));
    } else {
        (void)group_run_until(g, has_left_one, s, 15 * SIM_S);
        run(s, world_between(world, SALT_SCENARIO, 0, 1) * world_between(world, SALT_SCENARIO, 0, 30 * SIM_MS));
    }
    if (world_chance(world, SALT_SCENARIO, 2)) { /* no checkpoint may know that it has left */
        run(s, world_between(world, SALT_SCENARIO, 0, 1) * world_between(world, SALT_SCENARIO, 0, 2 * SIM_S));
        die(g, s->watched);
    }
    if (world_chance(world, SALT_SCENARIO, 3)) {
        trouble(s);
    }
    heal_all(g);
    if (!world_chance(world, SALT_SCENARIO, 4)) { /* it is called back */
        sim_check(world, group_run_until(g, group_client_answered, &s->client, LIMIT_S * SIM_S), "all is acknowledged");
        change_places(s, place);
        write_on(s, 20, 200);
        run(s, world_between(world, SALT_SCENARIO, 0, 6 * SIM_S));
        if (world_chance(world, SALT_SCENARIO, 2)) {
            trouble(s);
            run(s, world_between(world, SALT_SCENARIO, 0, 3 * SIM_S));
        }
        heal_all(g);
    }
    run(s, world_between(world, SALT_SCENARIO, 0, 2 * SIM_S));
    sim_check(world, group_run_until(g, group_client_answered, &s->client, LIMIT_S * SIM_S), "all is acknowledged");
}

/* A node that holds no place keeps nothing of an image that was on its way to it. */
static bool nothing_comes(void *ctx)
{
    const struct stage *s = ctx;
    for (uint16_t i = 0; i < s->group.stripes; i++) {
        if (s->group.members[s->spare - 1].node->stripes[i].image_in != NULL) {
            return false;
        }
    }
    return true;
}

void scenario_group_leave(struct world *world)
{
    struct stage *s = calloc(1, sizeof *s);
    ASSERT(s != NULL);
    begin(s, world);
    struct group *g = &s->group;
    write_on(s, 100, 400);
    sim_check(world, group_run_until(g, group_client_answered, &s->client, LIMIT_S * SIM_S), "all is acknowledged");
    group_client_members(&s->client, s->places, PLACES);
    write_on(s, 5, 60);
    sim_check(world, group_members_are(g, s->places, PLACES, LIMIT_S * SIM_S), "three of four hold places");
    for (uint64_t round = world_between(world, SALT_SCENARIO, 2, 6); round > 0; round--) {
        round_of(s);
    }
    heal_all(g);
    sim_check(world, group_members_are(g, s->places, PLACES, LIMIT_S * SIM_S), "those hold places that are to");
    group_agree(g, LIMIT_S * SIM_S);
    sim_check(world, group_run_until(g, nothing_comes, s, LIMIT_S * SIM_S), "what came to the spare node is given up");
    look(s);
    for (uint32_t i = 0; i < g->count; i++) {
        check_files(s, i);
    }
    group_client_read_all(&s->client);
    sim_check(world, group_run_until(g, group_client_all_read, &s->client, LIMIT_S * SIM_S), "all is read");
    group_client_end(&s->client);
    group_end(g);
    free(s);
}
