/* scenario_repair.c - records rot behind the checkpoints of three nodes: different ones on each, so that no node has all of them any more but together they do;
 * and one that rots on all of them. */
#include "segstore/node/node.h"
#include "segstore/node/state.h"
#include "segstore/stripe/stripe.h"
#include "shared/rpc/op.h"
#include "tests/sim/disk.h"
#include "tests/sim/group.h"
#include "tests/sim/group_client.h"
#include "tests/sim/group_faults.h"
#include "tests/sim/scenarios.h"

#include <stdio.h>
#include <stdlib.h>

enum { LIMIT_S = 120, TAG_BYTES = 8 };

struct story {
    struct group        group;
    struct group_client client;
};

/* ---- where things lie ---- */

static bool position_of(const struct story *s, uint32_t node, uint16_t stripe, uint64_t offset, uint64_t *out)
{
    uint64_t first;
    return stripe_positions(node_stripe(s->group.members[node].node, stripe), s->client.stripes[stripe].stream_id,
                            offset, out, 1, &first) == 1 &&
           first == offset && *out != UINT64_MAX;
}

/* A restart would not meet it: neither by its replay nor by what the checkpoint only names, because it was not known to be committed then. */
static bool is_behind(const struct story *s, uint32_t node, uint16_t stripe, uint64_t offset)
{
    const struct group_member *m = &s->group.members[node];
    uint64_t                   position;
    if (!m->ready || !position_of(s, node, stripe, offset, &position)) {
        return false;
    }
    const struct saved *newest = &m->node->storage->save.newest;
    return segment_is_run(position / m->config.segment_bytes) ||
           (newest->replay_position > position && newest->needs > position);
}

static bool checkpointed(void *ctx)
{
    struct story *s = ctx;
    for (uint32_t i = 0; i < s->group.count; i++) {
        for (uint16_t stripe = 0; stripe < s->group.stripes; stripe++) {
            for (uint64_t offset = 0; offset < s->client.stripes[stripe].wanted; offset++) {
                if (!is_behind(s, i, stripe, offset)) {
                    struct save *save = &s->group.members[i].node->storage->save;
                    save->wanted      = save->wanted || !save_busy(save); /* what came back while one was made */
                    return false;
                }
            }
        }
    }
    return true;
}

static void make_checkpoints(struct story *s)
{
    for (uint32_t i = 0; i < s->group.count; i++) {
        s->group.members[i].node->storage->save.wanted = true;
    }
    sim_check(s->group.world, group_run_until(&s->group, checkpointed, s, LIMIT_S * SIM_S),
              "all nodes make checkpoints");
}

/* A bit of a record, or of what points to it; another byte on each node: two copies that are the same are believed. */
static void rot(struct story *s, uint32_t node, uint16_t stripe, uint64_t offset)
{
    struct world              *world  = s->group.world;
    const struct group_member *m      = &s->group.members[node];
    uint64_t                   within = world_between(world, SALT_SCENARIO, 0, 12) * 3 + node;
    uint64_t                   position;
    char                       path[64];
    sim_check(world, position_of(s, node, stripe, offset, &position), "record %llu of stripe %u is on %s",
              (unsigned long long)offset, stripe, m->name);
    position += within + (within >= OP_TARGET_HEADER_BYTES - 1 ? TAG_BYTES + 1 : 0); /* not the tag */
    uint64_t number = position / m->config.segment_bytes;
    snprintf(path, sizeof path, "/var/keel/shard-00/%s/%012llu", segment_is_run(number) ? "runs" : "wal",
             (unsigned long long)number);
    sim_check(world, disk_rot(m->machine->disk, path, position % m->config.segment_bytes), "it is on the disk: %s %llu",
              path, (unsigned long long)(position % m->config.segment_bytes));
}

/* ---- the story ---- */

static void restart_all(struct story *s)
{
    for (uint32_t i = 0; i < s->group.count; i++) { /* what is in memory only is not read from disk */
        group_crash(&s->group, i);
        group_run_ns(&s->group, world_between(s->group.world, SALT_SCENARIO, SIM_MS, SIM_S));
        group_restart(&s->group, i);
        group_agree(&s->group, LIMIT_S * SIM_S);
    }
}

static bool begin(struct story *s, struct world *world, uint64_t scrub_least_s)
{
    struct group *g = &s->group;
    group_tame(world);
    group_start(g, world, 3, (uint32_t)world_between(world, SALT_SCENARIO, 1, 2));
    group_client_start(&s->client, g);
    for (uint16_t i = 0; i < g->stripes; i++) {
        group_client_want(&s->client, i, world_between(world, SALT_SCENARIO, 30, 150));
    }
    sim_check(world, group_run_until(g, group_client_answered, &s->client, LIMIT_S * SIM_S), "all is acknowledged");
    group_agree(g, LIMIT_S * SIM_S);
    bool reads_again = scrub_least_s > 0 || world_chance(world, SALT_SCENARIO, 2);
    for (uint32_t i = 0; i < g->count; i++) {
        g->members[i].config.scrub_ns = reads_again ? world_between(world, SALT_SCENARIO, 1, 10) * SIM_S : 0;
    }
    restart_all(s);
    make_checkpoints(s);
    return reads_again;
}

static void read_all(struct story *s)
{
    for (uint32_t i = 0; i < s->group.stripes; i++) {
        s->client.stripes[i].all_read  = false;
        s->client.stripes[i].read_from = 0;
    }
    group_client_read_all(&s->client);
    sim_check(s->group.world, group_run_until(&s->group, group_client_all_read, &s->client, LIMIT_S * SIM_S),
              "all is read");
}

static bool nothing_missed(void *ctx)
{
    const struct story *s = ctx;
    for (uint32_t i = 0; i < s->group.count; i++) {
        for (uint16_t stripe = 0; stripe < s->group.stripes; stripe++) {
            const struct node *node = s->group.members[i].node;
            if (!s->group.members[i].ready || node->stripes[stripe].missed > 0 || node->stripes[stripe].surveyed > 0) {
                return false;
            }
        }
    }
    return true;
}

/* Each node is away for a while: the others lead, and what they cannot prove together waits for it. */
static void read_from_each(struct story *s)
{
    struct group *g = &s->group;
    read_all(s);
    for (uint32_t i = 0; i < g->count; i++) {
        group_crash(g, i);
        group_client_read_all(&s->client);
        group_run_ns(g, world_between(g->world, SALT_SCENARIO, SIM_S, 5 * SIM_S));
        group_restart(g, i);
        group_agree(g, LIMIT_S * SIM_S);
        read_all(s);
    }
}

static void end(struct story *s)
{
    group_client_end(&s->client);
    group_end(&s->group);
    free(s);
}

void scenario_group_repair(struct world *world)
{
    struct story *s = calloc(1, sizeof *s);
    struct group *g = &s->group;
    (void)begin(s, world, 0);
    bool crashes = world_chance(world, SALT_SCENARIO, 2);
    for (uint64_t round = world_between(world, SALT_SCENARIO, 1, 3); round > 0; round--) {
        uint32_t one_in = (uint32_t)world_between(world, SALT_SCENARIO, 1, 20);
        for (uint16_t stripe = 0; stripe < g->stripes; stripe++) {
            for (uint64_t offset = 0; offset < s->client.stripes[stripe].wanted; offset++) {
                if (world_chance(world, SALT_SCENARIO, one_in)) { /* always on the same one: two others have it */
                    rot(s, (uint32_t)((offset * 7 + offset / 3 + stripe) % 3), stripe, offset);
                }
            }
        }
        if (crashes) {
            for (uint64_t i = world_between(world, SALT_SCENARIO, 1, 3); i > 0; i--) {
                uint32_t victim = (uint32_t)world_between(world, SALT_SCENARIO, 0, 2);
                group_client_read_all(&s->client);
                group_run_ns(g, world_between(world, SALT_SCENARIO, SIM_US, 100 * SIM_MS));
                group_crash(g, victim);
                group_run_ns(g, world_between(world, SALT_SCENARIO, SIM_US, 2 * SIM_S));
                group_restart(g, victim);
            }
            group_agree(g, LIMIT_S * SIM_S);
        }
        read_from_each(s);
        sim_check(world, group_run_until(g, nothing_missed, s, LIMIT_S * SIM_S), "nothing is missed any more");
        make_checkpoints(s);
    }
    end(s);
}

/* The same record on all of them: nobody makes one up, and all others are read. */
void scenario_group_lost(struct world *world)
{
    struct story *s = calloc(1, sizeof *s);
    struct group *g = &s->group;
    (void)begin(s, world, 0);
    uint16_t stripe            = (uint16_t)world_between(world, SALT_SCENARIO, 0, g->stripes - 1);
    uint64_t offset            = world_between(world, SALT_SCENARIO, 0, s->client.stripes[stripe].wanted - 1);
    uint64_t rotten[GROUP_MAX] = {0};
    for (uint32_t i = 0; i < g->count; i++) {
        rot(s, i, stripe, offset);
        (void)position_of(s, i, stripe, offset, &rotten[i]);
    }
    s->client.stripes[stripe].lost = offset + 1;
    restart_all(s);     /* what was in memory is gone, too */
    bool saved = false; /* a copy was under way that had been read before */
    for (uint32_t i = 0; i < g->count; i++) {
        uint64_t position;
        saved = saved || !position_of(s, i, stripe, offset, &position) || position != rotten[i];
    }
    read_all(s);
    sim_check(world, saved || s->client.stripes[stripe].lost_told > 0, "it is told that the record is lost");
    bool known = false;
    for (uint32_t i = 0; i < g->count; i++) {
        known = known || g->members[i].node->stripes[stripe].lost > 0;
    }
    sim_check(world, saved || known, "an operator can see it");
    read_all(s);
    end(s);
}
