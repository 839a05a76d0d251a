/* scenario_segstore.c - the segment store alone, under a client that checks every answer: killed, without power, with a full disk, with
 * rot in its log. What was acknowledged is there after each restart, once, in its place; the state after a restart is the state before. */
#include "segstore/stripe/stripe.h"
#include "tests/sim/store_story.h"

#include <stdio.h>

/* ---- crashes ---- */

void scenario_segstore_crash(struct world *world)
{
    struct story *s       = story_new(world, 256u << 20, 0);
    uint64_t      targets = 0;
    int           rounds  = (int)story_between(s, 2, 6);
    for (int round = 0; round < rounds; round++) {
        targets += story_between(s, 10, 120);
        for (uint32_t i = 0; i < STRIPES; i++) {
            store_tester_want(&s->client, i, targets);
            if (round > 0 && story_between(s, 0, 2) == 0) {
                store_tester_trim(&s->client, i, story_between(s, 0, s->client.stripes[i].answered));
            }
        }
        world_run_ns(world, story_between(s, SIM_US, 400 * SIM_MS));
        story_restart(s, story_between(s, 0, 1) == 0);
        for (uint64_t more = story_between(s, 0, 2); more > 0; more--) { /* again, while it recovers or soon after */
            world_run_ns(world, story_between(s, SIM_US, story_between(s, 0, 1) == 0 ? 30 * SIM_MS : 600 * SIM_MS));
            story_restart(s, story_between(s, 0, 1) == 0);
        }
        if (story_between(s, 0, 1) == 0) {
            story_wait_up(s);
        }
    }
    story_wait_client(s, store_tester_done, "all is answered and handed over");
    store_tester_check_tables(&s->client);

    /* At rest: what a restart finds is what was there, and finding it again changes nothing. */
    world_run_ns(world, SIM_S);
    story_wait_up(s);
    uint64_t hashes[STRIPES];
    uint64_t applied[STRIPES];
    store_tester_end(&s->client);
    for (int again = 0; again < 3; again++) {
        for (uint16_t i = 0; i < STRIPES; i++) {
            const struct stripe *stripe = node_stripe(s->node, i);
            if (again > 0) {
                sim_check(world, stripe_applied(stripe) == applied[i],
                          "stripe %u has %llu entries after a story_restart, had %llu", i,
                          (unsigned long long)stripe_applied(stripe), (unsigned long long)applied[i]);
                sim_check(world, stripe_hash(stripe) == hashes[i], "stripe %u is another one after restart %d", i,
                          again);
            }
            hashes[i]  = stripe_hash(stripe);
            applied[i] = stripe_applied(stripe);
        }
        story_restart(s, again % 2 == 0);
        story_wait_up(s);
    }
    story_end(s);
}

/* ---- a full disk ---- */

static bool all_seen(void *ctx)
{
    const struct store_tester *c = ctx;
    for (uint32_t i = 0; i < c->stripe_count; i++) {
        if (c->stripes[i].next < c->stripes[i].answered) {
            return false;
        }
    }
    return store_tester_connected(ctx);
}

void scenario_segstore_full(struct world *world)
{
    struct story *s = story_new(world, 14u << 20, 2u << 20);
    s->client.window =
        (uint32_t)story_between(s, 1, 4); /* what follows one that is refused must not be taken before it */
    s->client.large_one_in = 4;
    for (uint32_t i = 0; i < STRIPES; i++) {
        store_tester_want(&s->client, i, 70);
    }
    story_wait_client(s, story_some_refused, "the disk is full at some time");
    story_wait_client(s, all_seen, "readers go on while the disk is full");
    if (story_between(s, 0, 1) == 0) {
        story_restart(s, story_between(s, 0, 1) == 0);
        story_wait_up(s);
        story_wait_client(s, all_seen, "readers go on after a restart on a full disk");
    }
    for (int second = 0; second < PATIENCE_S && !store_tester_done(&s->client); second++) {
        for (uint32_t i = 0; i < STRIPES; i++) {
            store_tester_trim(&s->client, i, s->client.stripes[i].seen);
        }
        world_run_ns(world, SIM_S);
    }
    story_wait_client(s, store_tester_done, "space returns as consumers make room");
    store_tester_check_tables(&s->client);
    story_end(s);
}

/* ---- rot ---- */

/* Flips a bit somewhere in the log; which file and where is drawn. */
static void rot(struct story *s)
{
    for (;;) {
        char path[64];
        snprintf(path, sizeof path, "/var/keel/shard-00/wal/%012u", (unsigned)story_between(s, 1, 6));
        if (disk_rot(s->machine->disk, path, story_between(s, 0, s->config.segment_bytes - 1))) {
            return;
        }
    }
}

static void go_on(struct story *s)
{
    story_restart(s, story_between(s, 0, 1) == 0);
    story_wait_up(s);
    for (uint32_t i = 0; i < STRIPES; i++) {
        store_tester_want(&s->client, i, s->client.stripes[i].wanted + 10);
    }
    world_run_ns(s->world, 5 * SIM_S);
    story_wait_client(s, store_tester_done, "what serves has everything");
}

void scenario_segstore_rot(struct world *world)
{
    struct story *s            = story_new(world, 256u << 20, 0);
    s->config.checkpoint_bytes = UINT64_MAX; /* from the next start on: all that was written is replayed */
    s->config.checkpoint_ns    = 1000000 * SIM_S;
    story_restart(s, false);
    story_wait_up(s);
    for (uint32_t i = 0; i < STRIPES; i++) {
        store_tester_want(&s->client, i, story_between(s, 20, 100));
    }
    story_wait_client(s, store_tester_done, "all is answered and handed over");
    world_run_ns(world, SIM_S);
    story_life_end(s);
    process_crash(s->process);
    rot(s);
    s->client.may_rot = true;
    sim_check(world, process_start(s->process) == 0, "the store starts");
    s->client.again_one_in = 1;
    story_wait_up(s);
    go_on(s);
    uint32_t stopped = story_stopped_stripes(s);
    if (s->client.rotten) { /* behind a checkpoint: found when it was read, and not handed out */
        story_end(s);
        return;
    }
    if (stopped == 0) { /* the bit was behind the end of the log */
        store_tester_check_tables(&s->client);
        story_end(s);
        return;
    }
    go_on(s);
    sim_check(world, (story_stopped_stripes(s) & stopped) == stopped, "damage is not forgotten: %x stopped, were %x",
              story_stopped_stripes(s), stopped);

    s->config.accept_damage = true; /* the operator's decision */
    for (uint32_t i = 0; i < STRIPES; i++) {
        s->client.stripes[i].gaps = s->client.stripes[i].unavailable;
    }
    go_on(s);
    sim_check(world, story_stopped_stripes(s) == 0, "with the damage accepted every stripe serves");
    s->config.accept_damage = false;
    go_on(s);
    if (s->client.rotten) { /* these streams are logs: the record is there for whoever reads it, not handed out */
        story_end(s);
        return;
    }
    sim_check(world, story_stopped_stripes(s) == 0, "accepted damage is not met again");
    store_tester_check_tables(&s->client);
    story_end(s);
}

/* ---- limits ---- */

static bool limits_hold(void *ctx)
{
    const struct story           *s      = ctx;
    const struct segstore_config *c      = &s->config;
    const struct stripe_limits    limits = {.table_bytes_max    = c->table_bytes_max,
                                            .streams_max        = c->streams_max,
                                            .stream_records_max = c->stream_records_max,
                                            .stream_bytes_max   = c->stream_bytes_max,
                                            .delays_max         = c->delays_max,
                                            .bounded_table      = 3,
                                            .bounded_rows_max   = c->retained_max,
                                            .bounded_bytes_max  = c->retained_bytes_max,
                                            .writers_max        = c->writers_max};
    for (uint16_t i = 0; i < STRIPES; i++) {
        if (!stripe_limits_are(node_stripe(s->node, i), &limits)) {
            return false;
        }
    }
    return true;
}

static void assert_limited(struct story *s, const char *when)
{
    sim_check(s->world, world_run_until(s->world, limits_hold, s, 5 * SIM_S), "limits are the configured ones %s",
              when);
}

/* Limits are lowered below what is there, and the store killed again and again: all of it is replayed, and nothing that was acknowledged is
 * missing. Raised again, the store takes more. */
void scenario_segstore_limits(struct world *world)
{
    struct story *s = story_new(world, 256u << 20, 0);
    if (story_between(s, 0, 1) == 0) { /* all is replayed each time; else some of it is in an image */
        s->config.checkpoint_bytes = UINT64_MAX;
        s->config.checkpoint_ns    = 1000000 * SIM_S;
        story_restart(s, false);
        story_wait_up(s);
    }
    const struct segstore_config wide = s->config;
    for (uint32_t i = 0; i < STRIPES; i++) {
        store_tester_want(&s->client, i, story_between(s, 10, 100));
    }
    story_wait_client(s, store_tester_done, "all is answered and handed over");
    assert_limited(s, "at first");

    s->config.table_bytes_max    = story_between(s, 1, 20);
    s->config.streams_max        = 1;
    s->config.stream_records_max = story_between(s, 1, 5);
    s->config.stream_bytes_max   = world_between(s->world, SALT_LIMITS, 0, 3) * 1000;
    s->config.writers_max        = 1;
    s->config.retained_max       = 1;
    for (uint64_t again = story_between(s, 1, 3); again > 0; again--) {
        story_restart(s, story_between(s, 0, 1) == 0);
        world_run_ns(world, story_between(s, SIM_US, 200 * SIM_MS));
    }
    story_wait_up(s);
    assert_limited(s, "after they were lowered");
    s->client.again_one_in = 1;
    story_restart(s, story_between(s, 0, 1) == 0);
    story_wait_up(s);
    story_wait_client(s, store_tester_done, "all records are handed over after limits were lowered");
    store_tester_check_tables(&s->client);
    assert_limited(s, "after another start");

    s->config = wide;
    story_restart(s, story_between(s, 0, 1) == 0);
    story_wait_up(s);
    for (uint32_t i = 0; i < STRIPES; i++) {
        store_tester_want(&s->client, i, s->client.stripes[i].wanted + 10);
    }
    story_wait_client(s, store_tester_done, "with limits raised again more is taken");
    assert_limited(s, "after they were raised");
    store_tester_check_tables(&s->client);
    story_end(s);
}
