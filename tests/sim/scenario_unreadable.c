/* scenario_unreadable.c - all nodes die and have lost the same, and a checkpoint names it: the log is not read there, so they hear of it later. */
#include "segstore/node/node.h"
#include "segstore/node/state.h"
#include "tests/sim/group_client.h"
#include "tests/sim/hole_story.h"
#include "tests/sim/scenarios.h"

static bool is_withheld(void *ctx)
{
    const struct hole_story *s      = ctx;
    int                      leader = group_leader(&s->group, 0);
    return leader >= 0 && s->group.members[leader].node->stripes[0].withheld_ns > 0;
}

/* Who leads has applied what is lost, and another node cannot: it needs an image, and does not get it as long as the operator has not accepted that. */
static void check_withheld(struct hole_story *s, uint64_t offset)
{
    struct group *g      = &s->group;
    int           leader = group_leader(g, 0);
    uint32_t      count  = 0;
    for (uint32_t i = 0; i < g->count; i++) {
        count += s->behind[i];
    }
    if (leader < 0 || s->behind[leader] || count == 0) {
        return;
    }
    sim_check(g->world, group_run_until(g, is_withheld, s, HOLE_STORY_LIMIT_S * SIM_S),
              "an operator can see why no image is sent");
    group_run_ns(g, 5 * SIM_S);
    for (uint32_t i = 0; i < g->count; i++) {
        sim_check(g->world, hole_story_next_offset(s, i) <= offset || !s->behind[i],
                  "damage that was not accepted is not passed on");
    }
}

/* Files of which little is held are emptied from now on. */
static void empty_files(struct hole_story *s)
{
    struct group *g = &s->group;
    for (uint32_t i = 0; i < g->count; i++) {
        group_crash(g, i);
        g->members[i].config.log_bytes        = 0;
        g->members[i].config.checkpoint_bytes = world_between(g->world, SALT_SCENARIO, 64 << 10, 1 << 20);
        g->members[i].config.checkpoint_ns    = world_between(g->world, SALT_SCENARIO, 1, 5) * SIM_S;
        group_restart(g, i);
        group_agree(g, HOLE_STORY_LIMIT_S * SIM_S);
    }
}

static void write_more(struct hole_story *s)
{
    struct group *g = &s->group;
    group_client_want(&s->client, 0, s->client.stripes[0].answered + world_between(g->world, SALT_SCENARIO, 50, 150));
    sim_check(g->world, group_run_until(g, group_client_answered, &s->client, HOLE_STORY_LIMIT_S * SIM_S),
              "all is acknowledged");
    group_agree(g, HOLE_STORY_LIMIT_S * SIM_S);
    group_run_ns(g, world_between(g->world, SALT_SCENARIO, 1, 10) * SIM_S);
}

static bool all_mended(void *ctx)
{
    struct hole_story *s = ctx;
    for (uint32_t i = 0; i < s->group.count; i++) {
        const struct segments *segments = &s->group.members[i].node->storage->segments;
        for (const struct log_segment *each = segments_next(segments, 0); each != NULL;
             each                           = segments_next(segments, each->number + 1)) {
            if (each->damaged) {
                return false;
            }
        }
    }
    return true;
}

/* What is held is found wherever it was moved to; the hole stays one, in its file, which counts as damaged for as long as the hole is held. */
static void check_emptied(struct hole_story *s, uint64_t offset)
{
    struct group *g = &s->group;
    empty_files(s);
    group_client_trim(&s->client, 0, offset - world_between(g->world, SALT_SCENARIO, 0, offset < 20 ? offset : 20));
    for (uint32_t i = 1; i < g->stripes; i++) {
        group_client_trim(&s->client, i, s->client.stripes[i].answered);
    }
    for (uint64_t rounds = world_between(g->world, SALT_SCENARIO, 2, 8); rounds > 0; rounds--) {
        write_more(s);
    }
    for (uint32_t i = 0; i < g->count; i++) {
        uint64_t told = s->client.stripes[0].lost_told;
        group_client_check_at(&s->client, g, i);
        sim_check(g->world, s->client.stripes[0].lost_told > told, "it is told that the record is lost");
    }
    group_client_trim(&s->client, 0, offset + 1);
    write_more(s);
    sim_check(g->world, group_run_until(g, all_mended, s, HOLE_STORY_LIMIT_S * SIM_S),
              "files that hold no damage are let go of");
    s->client.stripes[0].lost = 0;
    for (uint32_t i = 0; i < g->count; i++) {
        group_client_check_at(&s->client, g, i);
    }
}

/* Some nodes make a checkpoint while it names entries by their places that are durable and not applied there yet: a restart does not read those, and hears of the damage when it
 * applies them. Or the checkpoint was made when it had applied that: then nobody else can, and an image has a hole there. */
void scenario_group_unreadable(struct world *world)
{
    struct hole_story *s = hole_story_begin(world, 2);
    struct group      *g = &s->group;
    uint64_t           positions[GROUP_MAX];
    uint64_t           offset;
    if (!hole_story_make_listed(s, &offset)) {
        group_client_end(&s->client);
        hole_story_end(s);
        return;
    }
    hole_story_find(s, offset, positions);
    s->client.stripes[0].lost = offset + 1;
    hole_story_lose(s, positions);
    bool applied = hole_story_applied_somewhere(s, offset);
    if (!applied) {
        group_client_end(&s->client); /* what comes behind it will go, too */
    }
    group_run_ns(g, 20 * SIM_S); /* some lead, and find that they cannot read it */
    check_withheld(s, offset);
    hole_story_go_on_without(s);
    if (applied) {
        hole_story_check_hole(s, offset, true);
        check_emptied(s, offset);
        group_client_end(&s->client);
    } else {
        sim_check(world, hole_story_next_offset(s, 0) <= offset, "what is lost is not made up");
    }
    hole_story_end(s);
}
