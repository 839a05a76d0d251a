/* scenario_group_runs.c - what is held in old files of the log has been moved to runs, on each node to others, when a node comes that has nothing: it gets all
 * of it, wherever it lies at the leader, and serves it when the others are away. */
#include "segstore/node/state.h"
#include "tests/sim/group_client.h"
#include "tests/sim/group_faults.h"
#include "tests/sim/scenarios.h"

#include <stdlib.h>

enum {
    LIMIT_S =
        900 /* an image counts with the second checkpoint of a disk that takes minutes for each, in small pieces */,
    STRIPES = 3
};

/* Some of what the leader of the first stripe holds lies in runs. */
static bool has_runs(void *ctx)
{
    const struct group *g      = ctx;
    int                 leader = group_leader(g, 0);
    return leader >= 0 && g->members[leader].node != NULL && node_counts(g->members[leader].node).run_bytes > 0;
}

/* By the books of each node: no more is copied than was logged. No disk is full here. */
static void check_written_twice(const struct group *g)
{
    for (uint32_t i = 0; i < GROUP_MAX; i++) {
        const struct node *node = g->members[i].node;
        if (node != NULL && node->opened) {
            const struct save *save = &node->storage->save;
            sim_check(g->world, save->copied_bytes <= save_logged(save), "node %u copied %llu bytes and logged %llu",
                      i + 1, (unsigned long long)save->copied_bytes, (unsigned long long)save_logged(save));
        }
    }
}

static void read_all(struct group *g, struct group_client *c, const char *when)
{
    sim_check(g->world, group_run_until(g, group_client_answered, c, LIMIT_S * SIM_S), "all is acknowledged %s", when);
    group_client_read_all(c);
    sim_check(g->world, group_run_until(g, group_client_all_read, c, LIMIT_S * SIM_S), "all is read %s", when);
}

void scenario_group_runs(struct world *world)
{
    static const uint16_t with_fourth[] = {1, 2, 4};
    struct group         *g             = calloc(1, sizeof *g);
    struct group_client  *c             = calloc(1, sizeof *c);
    uint64_t              target        = 0;
    group_tame(world);
    group_start_some(g, world, 4, 3, STRIPES);
    group_client_start(c, g);
    for (uint32_t i = 0; i < 3; i++) { /* they hear of the fourth */
        group_run_ns(g, world_between(world, SALT_SCENARIO, 500 * SIM_MS, 2 * SIM_S));
        group_crash(g, i);
        g->members[i].config.node_count = 4;
        group_restart(g, i);
    }
    for (int round = 0; round < 60 && !has_runs(g); round++) { /* of the first stripe nothing is trimmed */
        target += world_between(world, SALT_SCENARIO, 40, 120);
        for (uint32_t i = 0; i < STRIPES; i++) {
            group_client_want(c, i, target / (i == 0 ? 4 : 1));
            group_client_trim(c, i, i == 0 ? 0 : c->stripes[i].answered);
        }
        group_run_ns(g, world_between(world, SALT_SCENARIO, 500 * SIM_MS, 2 * SIM_S));
        if (world_chance(world, SALT_SCENARIO, 6)) {
            uint32_t victim = (uint32_t)world_between(world, SALT_SCENARIO, 0, 2);
            group_accident(g, victim);
            group_run_ns(g, world_between(world, SALT_SCENARIO, SIM_MS, 2 * SIM_S));
            group_heal(g, victim);
        }
    }
    sim_check(world, group_run_until(g, group_client_answered, c, LIMIT_S * SIM_S), "all is acknowledged");
    /* Trims follow what is to be made: where that took long they come now, and little is held only from now on. */
    sim_check(world, group_run_until(g, has_runs, g, LIMIT_S * SIM_S), "nothing was moved");
    group_client_members(c, with_fourth, 3);
    sim_check(world, group_members_are(g, with_fourth, 3, LIMIT_S * SIM_S), "the fourth takes the place of the third");
    group_agree(g, LIMIT_S * SIM_S);
    group_crash(g, 2);
    read_all(g, c, "with the fourth");
    for (uint32_t away = 0; away < 2; away++) { /* the fourth leads some stripe, then the others do */
        group_crash(g, away);
        read_all(g, c, "without one of the old ones");
        group_restart(g, away);
        group_agree(g, LIMIT_S * SIM_S);
    }
    check_written_twice(g);
    group_client_end(c);
    group_end(g);
    free(c);
    free(g);
}
