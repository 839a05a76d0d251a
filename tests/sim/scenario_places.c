/* scenario_places.c - five or six segment stores and three replicas of each stripe: where the replicas go, what a drained node keeps, who takes the
 * place of one that is gone. By the cluster's own doing no stripe ever has fewer than a majority of replicas that live and have everything. */
#include "segstore/node/node.h"
#include "segstore/placement/placement.h"
#include "segstore/raft/raft.h"
#include "tests/sim/group.h"
#include "tests/sim/group_client.h"
#include "tests/sim/net.h"
#include "tests/sim/scenarios.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LIMIT_S = 180, REPLACE_S = 12 };

struct stage {
    struct group        *g;
    struct group_client *c;
    uint64_t             target;
    const uint16_t      *places; /* awaited: nodes that hold places .. */
    uint16_t             count;
    uint16_t            *choice; /* one of them: may be either of these */
    uint16_t             either[2];
};

static void tame(struct world *world)
{
    world->faults.latency_ns       = world->faults.latency_ns < SIM_MS ? world->faults.latency_ns : SIM_MS;
    world->faults.jitter_ns        = world->faults.jitter_ns < SIM_MS ? world->faults.jitter_ns : SIM_MS;
    world->faults.bytes_per_second = 0;
    world->faults.window_bytes     = world->faults.window_bytes < 65536 ? 65536 : world->faults.window_bytes;
    world->faults.reset_one_in     = world->faults.reset_one_in == 0 ? 0 : 5000;
}

/* The first `founders` of five form the cluster. racks: nodes 1, 2 in a, 3, 4 in b, 5 in c. */
static void begin(struct stage *s, struct world *world, uint32_t founders, bool racks)
{
    static const char *const rack[] = {"a", "a", "b", "b", "c"};
    tame(world);
    *s = (struct stage){.g = calloc(1, sizeof *s->g), .c = calloc(1, sizeof *s->c)};
    group_start_some(s->g, world, GROUP_MAX, founders, 4);
    if (founders < GROUP_MAX) {
        group_run_ns(s->g, 3 * SIM_S); /* then they are told of the others */
    }
    for (uint32_t i = 0; i < GROUP_MAX; i++) {
        struct segstore_config *c = &s->g->members[i].config;
        group_crash(s->g, i);
        c->node_count       = GROUP_MAX;
        c->replicas         = 3;
        c->replace_after_ns = REPLACE_S * SIM_S;
        for (uint32_t n = 0; racks && n < GROUP_MAX; n++) {
            snprintf(c->nodes[n].rack, sizeof c->nodes[n].rack, "%s", rack[n]);
        }
        group_restart(s->g, i);
    }
    group_client_start(s->c, s->g);
}

static void end(struct stage *s)
{
    group_client_end(s->c);
    group_end(s->g);
    free(s->c);
    free(s->g);
}

static void write_more(struct stage *s)
{
    s->target += world_between(s->g->world, SALT_SCENARIO, 5, 60);
    for (uint32_t i = 0; i < s->g->stripes; i++) {
        group_client_want(s->c, i, s->target);
    }
}

static void check_acknowledged(struct stage *s)
{
    sim_check(s->g->world, group_run_until(s->g, group_client_answered, s->c, LIMIT_S * SIM_S), "all is acknowledged");
}

static bool is_place(const struct stage *s, uint16_t node)
{
    for (uint16_t i = 0; i < s->count; i++) {
        if (s->places[i] == node) {
            return true;
        }
    }
    return false;
}

/* Every stripe has three voters, at rest, all of them among the places; each place has some. */
static bool are_placed(void *ctx)
{
    const struct stage *s               = ctx;
    bool                used[GROUP_MAX] = {false};
    for (uint16_t stripe = 0; stripe < s->g->stripes; stripe++) {
        int leader = group_leader(s->g, stripe);
        if (leader < 0) {
            return false;
        }
        const struct raft_members *m = raft_members(node_raft(s->g->members[leader].node, stripe));
        if (m->voter_count != 3 || m->outgoing_count != 0 || m->learner_count != 0) {
            return false;
        }
        for (uint8_t i = 0; i < 3; i++) {
            if (!is_place(s, m->voters[i])) {
                return false;
            }
            used[m->voters[i] - 1] = true;
        }
    }
    for (uint16_t i = 0; i < s->count; i++) {
        if (!used[s->places[i] - 1]) {
            return false;
        }
    }
    return true;
}

#define PLACED(s, ...) \
    placed((s), (const uint16_t[]){__VA_ARGS__}, sizeof((const uint16_t[]){__VA_ARGS__}) / sizeof(uint16_t))

static void placed(struct stage *s, const uint16_t *nodes, size_t count)
{
    s->places = nodes;
    s->count  = (uint16_t)count;
    sim_check(s->g->world, group_run_until(s->g, are_placed, s, LIMIT_S * SIM_S),
              "the replicas of all stripes are on the %zu nodes %u, .. %u", count, nodes[0], nodes[count - 1]);
}

static bool either_is_placed(void *ctx)
{
    struct stage *s = ctx;
    for (int i = 0; i < 2; i++) {
        *s->choice = s->either[i];
        if (are_placed(s)) {
            return true;
        }
    }
    return false;
}

/* One of two spares takes the place: the first that is up and connected in the moment of the decision. */
static void place_taken(struct stage *s, uint16_t nodes[3], uint32_t place, uint16_t one, uint16_t other)
{
    s->places    = nodes;
    s->count     = 3;
    s->choice    = &nodes[place];
    s->either[0] = one;
    s->either[1] = other;
    sim_check(s->g->world, group_run_until(s->g, either_is_placed, s, LIMIT_S * SIM_S),
              "the replicas of all stripes are on the nodes that stayed and on %u or %u", one, other);
}

/* Who is no member of a stripe keeps nothing of it. */
static bool others_are_empty(void *ctx)
{
    const struct stage *s = ctx;
    for (uint16_t stripe = 0; stripe < s->g->stripes; stripe++) {
        int leader = group_leader(s->g, stripe);
        if (leader < 0) {
            return false;
        }
        const struct raft_members *m = raft_members(node_raft(s->g->members[leader].node, stripe));
        for (uint32_t i = 0; i < s->g->count; i++) {
            struct node *node = s->g->members[i].ready ? s->g->members[i].node : NULL;
            if (node != NULL && !raft_members_any(m, (uint16_t)(i + 1)) && raft_last(node_raft(node, stripe)) > 0) {
                return false;
            }
        }
    }
    return true;
}

/* What is there is read from its leaders, and all replicas are the same. */
static void check_all(struct stage *s)
{
    check_acknowledged(s);
    group_agree(s->g, LIMIT_S * SIM_S);
    sim_check(s->g->world, group_run_until(s->g, others_are_empty, s, LIMIT_S * SIM_S),
              "who is no member keeps nothing");
    group_client_read_all(s->c);
    sim_check(s->g->world, group_run_until(s->g, group_client_all_read, s->c, LIMIT_S * SIM_S), "all is read");
}

/* Leads are even: 4 stripes on 5 nodes, nobody leads two. */
static bool leads_are_even(void *ctx)
{
    const struct stage *s                = ctx;
    uint32_t            leads[GROUP_MAX] = {0};
    for (uint16_t stripe = 0; stripe < s->g->stripes; stripe++) {
        int leader = group_leader(s->g, stripe);
        if (leader < 0 || ++leads[leader] > 1) {
            return false;
        }
    }
    return true;
}

static void check_racks(const struct stage *s)
{
    for (uint16_t stripe = 0; stripe < s->g->stripes; stripe++) {
        const struct raft_members *m = raft_members(node_raft(s->g->members[group_leader(s->g, stripe)].node, stripe));
        uint32_t                   racks = 0;
        for (uint8_t i = 0; i < m->voter_count; i++) {
            racks |= 1u << (m->voters[i] - 1) / 2;
        }
        sim_check(s->g->world, racks == 7, "the replicas of stripe %u are in three racks", stripe);
    }
}

/* A node is killed, or its disk is lost with it; racks or none. */
static void kill(struct stage *s, uint32_t victim, bool *lost)
{
    struct world *world = s->g->world;
    *lost               = world_chance(world, SALT_SCENARIO, 3);
    if (*lost) {
        group_power_off(s->g, victim);
        group_new_disk(s->g, victim);
    } else if (world_chance(world, SALT_SCENARIO, 2)) {
        net_isolate(s->g->members[victim].machine, true);
    } else {
        group_crash(s->g, victim);
    }
}

/* Five nodes that all hold places: replicas are spread, one that is gone for good gives its place up, and gets one again when it is back. */
void scenario_group_places(struct world *world)
{
    struct stage s;
    bool         racks = world_chance(world, SALT_SCENARIO, 2);
    bool         lost;
    begin(&s, world, 5, racks);
    write_more(&s);
    PLACED(&s, 1, 2, 3, 4, 5);
    if (racks) {
        check_racks(&s);
    }
    sim_check(world, group_run_until(s.g, leads_are_even, &s, LIMIT_S * SIM_S), "the leads are spread");
    uint32_t victim = (uint32_t)world_between(world, SALT_SCENARIO, 0, 4);
    kill(&s, victim, &lost);
    write_more(&s);
    uint16_t others[4];
    for (uint16_t i = 0, n = 0; i < 5; i++) {
        if (i != victim) {
            others[n++] = (uint16_t)(i + 1);
        }
    }
    group_run_ns(s.g, world_between(world, SALT_SCENARIO, 0, REPLACE_S * SIM_S));
    placed(&s, others, 4);
    check_acknowledged(&s);
    if (lost) { /* it comes back empty under its number: nobody takes it in, and with it nothing goes wrong */
        group_restart(s.g, victim);
        group_run_ns(s.g, 10 * SIM_S);
        placed(&s, others, 4);
        group_power_off(s.g, victim);
    } else {
        net_isolate(s.g->members[victim].machine, false);
        group_restart(s.g, victim);
        write_more(&s);
        PLACED(&s, 1, 2, 3, 4, 5);
    }
    check_all(&s);
    end(&s);
}

/* Three of five hold places: a spare takes over, and the one that comes back is a spare. */
void scenario_group_spare(struct world *world)
{
    struct stage s;
    bool         lost;
    begin(&s, world, 3, false);
    write_more(&s);
    PLACED(&s, 1, 2, 3);
    group_run_ns(s.g, 8 * SIM_S); /* the spares have been there for a while */
    uint32_t victim = (uint32_t)world_between(world, SALT_SCENARIO, 0, 2);
    kill(&s, victim, &lost);
    write_more(&s);
    uint16_t then[3] = {1, 2, 3};
    place_taken(&s, then, victim, 4, 5);
    uint16_t left = (uint16_t)(4 + 5 - then[victim]);
    check_acknowledged(&s);
    if (!lost) {
        net_isolate(s.g->members[victim].machine, false);
        group_restart(s.g, victim);
    }
    group_run_ns(s.g, world_between(world, SALT_SCENARIO, 0, 20 * SIM_S));
    placed(&s, then, 3);
    uint32_t second = (victim + 1) % 3; /* two of those that there were are gone: everything is on 4, 5 and the last */
    write_more(&s);
    check_acknowledged(&s);
    group_agree(s.g, LIMIT_S * SIM_S);
    group_crash(s.g, second);
    write_more(&s);
    group_run_ns(s.g, 1 * SIM_S);
    place_taken(&s, then, second, lost ? left : (uint16_t)(victim + 1), left);
    check_all(&s);
    end(&s);
}

static bool leads_nothing(void *ctx)
{
    const struct stage *s = ctx;
    for (uint16_t stripe = 0; stripe < s->g->stripes; stripe++) {
        int leader = group_leader(s->g, stripe);
        if (leader < 0 || !is_place(s, (uint16_t)(leader + 1))) {
            return false;
        }
    }
    return true;
}

/* Nodes are drained while all is used, one after the other, and let in again; the moves are interrupted. */
void scenario_group_drain(struct world *world)
{
    struct stage   s;
    const uint16_t two = 2, four = 4, five = 5;
    begin(&s, world, 5, false);
    write_more(&s);
    PLACED(&s, 1, 2, 3, 4, 5);
    group_client_row(s.c, "drain/4", &four, 1);
    write_more(&s);
    group_run_ns(s.g, world_between(world, SALT_SCENARIO, SIM_MS, 4 * SIM_S));
    uint32_t victim = (uint32_t)world_between(world, SALT_SCENARIO, 0, 4);
    group_crash(s.g, victim);
    group_run_ns(s.g, world_between(world, SALT_SCENARIO, SIM_MS, 4 * SIM_S));
    group_restart(s.g, victim);
    PLACED(&s, 1, 2, 3, 5);
    check_acknowledged(&s);
    group_client_row(s.c, "drain/5", &five, 1);
    write_more(&s);
    PLACED(&s, 1, 2, 3);
    check_acknowledged(&s);
    group_crash(s.g, 3); /* nobody needs them any more */
    group_crash(s.g, 4);
    group_client_row(s.c, "drain/2", &two, 1);
    write_more(&s);
    static const uint16_t leaders[] = {1, 3};
    check_acknowledged(&s);
    s.places = leaders;
    s.count  = 2;
    sim_check(world, group_run_until(s.g, leads_nothing, &s, LIMIT_S * SIM_S), "a node that is drained leads nothing");
    PLACED(&s, 1, 2, 3); /* its replicas have no other place */
    group_restart(s.g, 3);
    group_restart(s.g, 4);
    group_client_row(s.c, "drain/4", NULL, 0);
    PLACED(&s, 1, 3, 4);
    check_acknowledged(&s);
    check_all(&s);
    end(&s);
}

/* An operator names a node that no configuration names: only that waits. Who is drained or gone is replaced as ever, and what is named next counts. */
void scenario_group_unknown(struct world *world)
{
    struct stage   s;
    const uint16_t named[] = {1, 2, 3, 9}, sensible[] = {1, 2, 4};
    uint16_t       then[3] = {1, 2, 3};
    begin(&s, world, 3, false);
    write_more(&s);
    PLACED(&s, 1, 2, 3);
    group_client_members(s.c, named, 4);
    check_acknowledged(&s);
    group_run_ns(s.g, 8 * SIM_S); /* the spares have been there for a while */
    group_client_row(s.c, "drain/2", &then[1], 1);
    write_more(&s);
    place_taken(&s, then, 1, 4, 5);
    uint16_t left = (uint16_t)(4 + 5 - then[1]);
    check_acknowledged(&s);
    group_agree(s.g, LIMIT_S * SIM_S);
    group_crash(s.g, 2);
    write_more(&s);
    then[2] = left;
    placed(&s, then, 3);
    check_acknowledged(&s);
    group_restart(s.g, 2);
    group_client_row(s.c, "drain/2", NULL, 0);
    check_acknowledged(&s);
    group_client_members(s.c, sensible, 3);
    PLACED(&s, 1, 2, 4);
    check_all(&s);
    end(&s);
}
