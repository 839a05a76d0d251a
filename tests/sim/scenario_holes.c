/* scenario_holes.c - all nodes die, and each has a hole in what it is about to replay: another one each, so that together they have everything although none of them has
 * a vote; or all the same one, so that the operator has to decide. */
#include "segstore/node/node.h"
#include "segstore/raft/raft.h"
#include "tests/sim/group_client.h"
#include "tests/sim/hole_story.h"
#include "tests/sim/scenarios.h"

/* Somewhere in what a node wrote in that part. */
static void rot_part(struct hole_story *s, uint32_t node, uint32_t part)
{
    uint64_t file  = s->group.members[node].config.segment_bytes;
    uint64_t end   = s->ends[part][node];
    uint64_t begin = s->ends[part - 1][node];
    begin          = begin < (end - 1) / file * file ? (end - 1) / file * file : begin;
    (void)hole_story_rot(s, node, world_between(s->group.world, SALT_SCENARIO, begin, end - 1));
}

/* Nodes die in the middle of it, so often. */
static void holes(struct world *world, uint64_t least, uint64_t most)
{
    struct hole_story *s     = hole_story_begin(world, 2);
    struct group      *g     = &s->group;
    uint32_t           first = (uint32_t)world_between(world, SALT_SCENARIO, 0, 2);
    for (uint32_t part = 0; part < HOLE_STORY_PARTS; part++) {
        hole_story_write_part(s, part, 5, 40);
    }
    for (uint32_t i = 0; i < g->stripes; i++) { /* what stands behind all holes */
        group_client_want(&s->client, i, s->client.stripes[i].answered + world_between(world, SALT_SCENARIO, 1, 10));
    }
    sim_check(world, group_run_until(g, group_client_answered, &s->client, HOLE_STORY_LIMIT_S * SIM_S),
              "all is acknowledged");
    group_agree(g, HOLE_STORY_LIMIT_S * SIM_S);
    group_run_ns(g, 100 * SIM_MS);
    hole_story_all_die(s);
    for (uint32_t i = 0; i < g->count; i++) {
        for (uint64_t flips = world_between(world, SALT_SCENARIO, 1, 3); flips > 0; flips--) {
            rot_part(s, i, 1 + (first + i) % 3);
        }
    }
    hole_story_all_begin(s);
    for (uint64_t kills = world_between(world, SALT_SCENARIO, least, most); kills > 0; kills--) {
        uint32_t victim = (uint32_t)world_between(world, SALT_SCENARIO, 0, 2);
        group_run_ns(g, world_between(world, SALT_SCENARIO, SIM_MS, 5 * SIM_S));
        group_crash(g, victim);
        group_restart(g, victim);
    }
    group_agree(g, HOLE_STORY_LIMIT_S * SIM_S);
    for (uint32_t i = 0; i < g->stripes; i++) {
        group_client_want(&s->client, i, s->client.stripes[i].answered + world_between(world, SALT_SCENARIO, 0, 10));
    }
    sim_check(world, group_run_until(g, group_client_answered, &s->client, HOLE_STORY_LIMIT_S * SIM_S),
              "all is acknowledged");
    group_agree(g, HOLE_STORY_LIMIT_S * SIM_S);
    for (uint32_t i = 0; i < g->count; i++) {
        group_client_check_at(&s->client, g, i);
    }
    group_client_end(&s->client);
    hole_story_end(s);
}

void scenario_group_holes(struct world *world)
{
    holes(world, 0, 2);
}

/* Leaders come and go before anybody is whole. */
void scenario_group_mending(struct world *world)
{
    holes(world, 3, 12);
}

/* ---- what nobody has ---- */

static bool led(void *ctx)
{
    const struct hole_story *s = ctx;
    return group_leader(&s->group, 0) >= 0;
}

void scenario_group_given_up(struct world *world)
{
    struct hole_story *s = hole_story_begin(world, 2);
    struct group      *g = &s->group;
    uint64_t           positions[GROUP_MAX];
    for (uint32_t part = 0; part < 2; part++) {
        hole_story_write_part(s, part, 5, 40);
    }
    uint64_t offset = world_between(world, SALT_SCENARIO, 5, hole_story_next_offset(s, 0) - 1);
    hole_story_find(s, offset, positions);
    group_client_end(&s->client);
    hole_story_lose(s, positions);
    for (uint32_t i = 0; i < g->count; i++) {
        if (!raft_is_damaged(node_raft(g->members[i].node, 0))) { /* it had made a checkpoint behind it */
            hole_story_end(s);
            return;
        }
    }
    sim_check(world, !group_run_until(g, led, s, 20 * SIM_S), "nobody leads a stripe that all have lost an entry of");
    hole_story_accept_damage(s);
    group_agree(g, HOLE_STORY_LIMIT_S * SIM_S);
    /* What lay in front of it is there; it and what a node wrote in one block with it, and what lies behind, is not. */
    sim_check(world, hole_story_next_offset(s, 0) <= offset, "what is lost is not made up");
    hole_story_end(s);
}
