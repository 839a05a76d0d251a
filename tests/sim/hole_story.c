/* hole_story.c - three nodes from their start to where they die with holes in their logs, and on from there. */
#include "tests/sim/hole_story.h"

#include "segstore/node/node.h"
#include "segstore/node/state.h"
#include "segstore/raft/raft.h"
#include "segstore/stripe/stripe.h"
#include "tests/sim/disk.h"
#include "tests/sim/group_faults.h"

#include <stdio.h>
#include <stdlib.h>

struct hole_story *hole_story_begin(struct world *world, uint32_t stripes_max)
{
    struct hole_story *s = calloc(1, sizeof *s);
    struct group      *g = &s->group;
    ASSERT(s != NULL);
    group_tame(world);
    group_start(g, world, 3, (uint32_t)world_between(world, SALT_SCENARIO, 1, stripes_max));
    for (uint32_t i = 0; i < g->count; i++) {
        g->members[i].config.checkpoint_ns    = 3600 * SIM_S;
        g->members[i].config.checkpoint_bytes = 1u << 30;
        g->members[i].config.log_bytes        = 1u << 30;
    }
    group_client_start(&s->client, g);
    for (uint32_t i = 0; i < g->count; i++) { /* they are told above that nothing of their logs is left behind */
        group_crash(g, i);
        group_restart(g, i);
    }
    return s;
}

void hole_story_end(struct hole_story *s)
{
    group_end(&s->group);
    free(s);
}

static uint64_t log_end(const struct hole_story *s, uint32_t node)
{
    return s->group.members[node].node->storage->wal.last.position;
}

void hole_story_write_part(struct hole_story *s, uint32_t part, uint64_t low, uint64_t high)
{
    struct group *g = &s->group;
    for (uint32_t i = 0; i < g->stripes; i++) {
        group_client_want(&s->client, i,
                          s->client.stripes[i].answered + world_between(g->world, SALT_SCENARIO, low, high));
    }
    sim_check(g->world, group_run_until(g, group_client_answered, &s->client, HOLE_STORY_LIMIT_S * SIM_S),
              "all is acknowledged");
    group_agree(g, HOLE_STORY_LIMIT_S * SIM_S);
    if (world_chance(g->world, SALT_SCENARIO, 3)) { /* somebody else leads, and votes are in there */
        for (uint32_t stripe = 0; stripe < g->stripes; stripe++) {
            (void)group_hand_over(g, (uint16_t)stripe,
                                  (uint32_t)world_between(g->world, SALT_SCENARIO, 0, g->count - 1));
        }
        group_run_ns(g, 2 * SIM_S);
        group_agree(g, HOLE_STORY_LIMIT_S * SIM_S);
    }
    group_run_ns(g, 100 * SIM_MS);
    for (uint32_t i = 0; i < g->count; i++) {
        s->ends[part][i] = log_end(s, i);
    }
}

static uint64_t unapplied(const struct hole_story *s, uint32_t node)
{
    const struct node *n = s->group.members[node].node;
    return raft_stable_index(node_raft((struct node *)(uintptr_t)n, 0)) -
           stripe_applied(node_stripe((struct node *)(uintptr_t)n, 0));
}

static bool all_unapplied(void *ctx)
{
    const struct hole_story *s = ctx;
    for (uint32_t i = 0; i < s->group.count; i++) {
        if (s->listed[i] && unapplied(s, i) < 2) {
            return false;
        }
    }
    return true;
}

bool hole_story_make_listed(struct hole_story *s, uint64_t *out_offset)
{
    struct group *g = &s->group;
    hole_story_write_part(s, 0, 5, 40);
    s->listed[world_between(g->world, SALT_SCENARIO, 0, 2)] = true;
    for (uint32_t i = 0; i < g->count; i++) {
        s->listed[i] = s->listed[i] || world_chance(g->world, SALT_SCENARIO, 3);
    }
    for (uint32_t i = 0; i < g->stripes; i++) {
        group_client_want(&s->client, i,
                          s->client.stripes[i].answered + world_between(g->world, SALT_SCENARIO, 20, 200));
    }
    bool     found  = group_run_until(g, all_unapplied, s, 5 * SIM_S);
    uint64_t offset = 0;
    for (uint32_t i = 0; i < g->count && found; i++) {
        uint64_t next = hole_story_next_offset(s, i);
        offset        = s->listed[i] && next > offset ? next : offset;
        g->members[i].node->storage->save.wanted |= s->listed[i];
    }
    sim_check(g->world, group_run_until(g, group_client_answered, &s->client, HOLE_STORY_LIMIT_S * SIM_S),
              "all is acknowledged");
    group_agree(g, HOLE_STORY_LIMIT_S * SIM_S);
    group_run_ns(g, 100 * SIM_MS);
    *out_offset = offset;
    return found && offset < hole_story_next_offset(s, 0);
}

uint64_t hole_story_next_offset(struct hole_story *s, uint32_t node)
{
    struct stripe_stream stream;
    int result = stripe_stream(node_stripe(s->group.members[node].node, 0), s->client.stripes[0].stream_id, &stream);
    return result == 0 ? stream.next_offset : 0; /* it was not made yet */
}

void hole_story_find(struct hole_story *s, uint64_t offset, uint64_t positions[GROUP_MAX])
{
    for (uint32_t i = 0; i < s->group.count; i++) {
        uint64_t first;
        sim_check(s->group.world,
                  stripe_positions(node_stripe(s->group.members[i].node, 0), s->client.stripes[0].stream_id, offset,
                                   &positions[i], 1, &first) == 1 &&
                      first == offset,
                  "every node has the record");
    }
}

void hole_story_all_die(struct hole_story *s)
{
    for (uint32_t i = 0; i < s->group.count; i++) {
        if (world_chance(s->group.world, SALT_SCENARIO, 2)) {
            group_power_off(&s->group, i);
        } else {
            group_crash(&s->group, i);
        }
    }
}

bool hole_story_rot(struct hole_story *s, uint32_t node, uint64_t position)
{
    const struct group_member *m = &s->group.members[node];
    char                       path[64];
    snprintf(path, sizeof path, "/var/keel/shard-00/wal/%012llu",
             (unsigned long long)(position / m->config.segment_bytes));
    s->group.damaged = true;
    return disk_rot(m->machine->disk, path, position % m->config.segment_bytes);
}

void hole_story_all_begin(struct hole_story *s)
{
    uint32_t first = (uint32_t)world_between(s->group.world, SALT_SCENARIO, 0, 2);
    for (uint32_t i = 0; i < s->group.count; i++) {
        group_restart(&s->group, (first + i) % s->group.count);
        group_run_ns(&s->group, world_between(s->group.world, SALT_SCENARIO, 0, 1) *
                                    world_between(s->group.world, SALT_SCENARIO, 0, 5 * SIM_S));
    }
}

void hole_story_lose(struct hole_story *s, const uint64_t positions[GROUP_MAX])
{
    hole_story_all_die(s);
    for (uint32_t i = 0; i < s->group.count; i++) {
        sim_check(s->group.world, hole_story_rot(s, i, positions[i]), "it is on the disk");
    }
    hole_story_all_begin(s);
    group_run_ns(&s->group, 500 * SIM_MS);
}

bool hole_story_applied_somewhere(struct hole_story *s, uint64_t offset)
{
    bool applied = false;
    for (uint32_t i = 0; i < s->group.count; i++) {
        s->behind[i] = hole_story_next_offset(s, i) <= offset;
        applied      = applied ||
                  (hole_story_next_offset(s, i) > offset && !raft_is_damaged(node_raft(s->group.members[i].node, 0)));
    }
    return applied;
}

void hole_story_accept_damage(struct hole_story *s)
{
    for (uint32_t i = 0; i < s->group.count; i++) {
        group_crash(&s->group, i);
        s->group.members[i].config.accept_damage = true;
        group_restart(&s->group, i);
    }
}

void hole_story_go_on_without(struct hole_story *s)
{
    struct group *g = &s->group;
    hole_story_accept_damage(s);
    for (uint64_t kills = world_between(g->world, SALT_SCENARIO, 0, 3); kills > 0; kills--) {
        uint32_t victim = (uint32_t)world_between(g->world, SALT_SCENARIO, 0, 2);
        group_run_ns(g, world_between(g->world, SALT_SCENARIO, SIM_MS, 15 * SIM_S));
        group_crash(g, victim);
        group_restart(g, victim);
    }
    group_agree(g, HOLE_STORY_LIMIT_S * SIM_S);
}

static bool all_saved(void *ctx)
{
    const struct hole_story *s = ctx;
    for (uint32_t i = 0; i < s->group.count; i++) {
        struct save *save = &s->group.members[i].node->storage->save;
        if (save->newest.number <= s->saved[i]) {
            save->wanted = save->wanted || !save_busy(save);
            return false;
        }
    }
    return true;
}

void hole_story_check_hole(struct hole_story *s, uint64_t offset, bool gone)
{
    struct group *g = &s->group;
    for (uint32_t i = 0; i < g->count; i++) {
        s->saved[i] = g->members[i].node->storage->save.newest.number + 1; /* not one that is being made */
    }
    sim_check(g->world, group_run_until(g, all_saved, s, HOLE_STORY_LIMIT_S * SIM_S), "all make checkpoints");
    for (uint32_t i = 0; i < g->count; i++) {
        group_crash(g, i);
        g->members[i].config.accept_damage = false;
        group_restart(g, i);
        group_agree(g, HOLE_STORY_LIMIT_S * SIM_S);
    }
    for (uint32_t i = 0; i < g->count; i++) {
        uint64_t told = s->client.stripes[0].lost_told;
        group_client_check_at(&s->client, g, i);
        sim_check(g->world, hole_story_next_offset(s, i) > offset && (!gone || s->client.stripes[0].lost_told > told),
                  "it is told that the record is lost");
    }
}
