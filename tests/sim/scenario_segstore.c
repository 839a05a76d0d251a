/* scenario_segstore.c - the segment store alone, under a client that checks every answer: killed, without power, with a full disk, with
 * rot in its log. What was acknowledged is there after each restart, once, in its place; the state after a restart is the state before. */
#include "segstore/node/state.h"
#include "segstore/stripe/stripe.h"
#include "shared/loop/io.h"
#include "tests/sim/disk.h"
#include "tests/sim/scenarios.h"
#include "tests/sim/store_tester.h"

#include <stdio.h>
#include <stdlib.h>

enum { STRIPES = 3, PATIENCE_S = 300 };

struct story {
    struct world          *world;
    struct segstore_config config;
    struct machine        *machine;
    struct process        *process;
    struct node           *node;
    struct store_tester    client;
    bool                   ready;
    bool                   refused;
    char                   why[256];
};

/* ---- the store ---- */

static void on_ready(void *ctx, const char *address, uint16_t port)
{
    (void)address;
    (void)port;
    ((struct story *)ctx)->ready = true;
}

static void on_refused(void *ctx, int error, const char *why)
{
    struct story *s = ctx;
    s->refused      = true;
    snprintf(s->why, sizeof s->why, "%d: %s", error, why);
}

static int start(struct process *process, void *ctx)
{
    static const struct io_config config = {.sockets_max = 4, .recv_buffers = 8, .recv_buffer_bytes = 4096, .cpu = -1};
    struct story                 *s      = ctx;
    const struct node_hooks       hooks  = {.ctx = s, .ready = on_ready, .refused = on_refused};
    struct io                    *io     = NULL;
    char                          why[128];
    struct core                  *core   = core_new(process);
    int                           result = io_open(&config, &io, why, sizeof why);
    if (result < 0) {
        return result;
    }
    s->ready   = false;
    s->refused = false;
    s->node    = node_new(io, &s->config, 0, NULL, NULL, &hooks);
    core_run(core, s->node, node_turn);
    return 0;
}

static void destroy(void *ctx)
{
    struct story *s = ctx;
    node_free(s->node);
    s->node = NULL;
}

static uint64_t between(struct story *s, uint64_t low, uint64_t high)
{
    return world_between(s->world, SALT_SCENARIO, low, high);
}

static struct story *story_new(struct world *world, uint64_t disk_bytes, uint64_t reserve_bytes)
{
    struct story *s              = calloc(1, sizeof *s);
    s->world                     = world;
    s->config                    = segstore_config_default();
    s->config.data_directory     = "/var/keel";
    s->config.listen_address     = "0.0.0.0";
    s->config.stripes            = STRIPES;
    s->config.segment_bytes      = between(s, 1, 3) << 20;
    s->config.checkpoint_bytes   = between(s, 256 << 10, 4 << 20);
    s->config.checkpoint_ns      = between(s, 1, 20) * SIM_S;
    s->config.disk_reserve_bytes = reserve_bytes;
    s->config.tail_bytes         = 0; /* the least */
    s->config.cold_chunks        = (uint32_t)between(s, 8, 16);
    s->config.cold_depth         = (uint32_t)between(s, 1, 4);
    s->config.wal_depth          = (uint32_t)between(s, 1, 2);
    s->config.output_bytes       = (uint32_t)between(s, 4, 512) << 10;
    /* A network that lets megabytes through: worse ones are the business of other scenarios. */
    world->faults.latency_ns       = world->faults.latency_ns < SIM_MS ? world->faults.latency_ns : SIM_MS;
    world->faults.jitter_ns        = world->faults.jitter_ns < SIM_MS ? world->faults.jitter_ns : SIM_MS;
    world->faults.bytes_per_second = 0;
    world->faults.window_bytes     = world->faults.window_bytes < 65536 ? 65536 : world->faults.window_bytes;
    world->faults.reset_one_in     = world->faults.reset_one_in == 0 ? 0 : 5000;
    s->machine                     = machine_new(world, "store", disk_bytes);
    const struct process_spec spec = {"segstore", start, destroy, NULL, s};
    s->process                     = process_new(s->machine, &spec);
    sim_check(world, process_start(s->process) == 0, "the store starts");
    store_tester_start(&s->client, world, STRIPES);
    return s;
}

static void story_end(struct story *s)
{
    if (s->client.process->alive) {
        store_tester_end(&s->client);
    }
    if (s->process->alive) {
        process_crash(s->process);
    }
    free(s);
}

static void restart(struct story *s, bool power)
{
    if (power) {
        machine_power_off(s->machine);
    } else {
        process_crash(s->process);
    }
    world_run_ns(s->world, between(s, SIM_US, 200 * SIM_MS));
    if (power) {
        machine_power_on(s->machine);
    }
    sim_check(s->world, process_start(s->process) == 0, "the store starts again");
}

static bool is_up(void *ctx)
{
    const struct story *s = ctx;
    return s->ready || s->refused;
}

static void wait_up(struct story *s)
{
    sim_check(s->world, world_run_until(s->world, is_up, s, PATIENCE_S * SIM_S), "the store comes up");
    sim_check(s->world, s->ready, "the store refuses to start: %s", s->why);
}

static void wait_client(struct story *s, bool (*done)(void *), const char *what)
{
    bool reached = world_run_until(s->world, done, &s->client, PATIENCE_S * SIM_S);
    for (uint32_t i = 0; i < STRIPES && !reached; i++) {
        const struct tester_stripe *c = &s->client.stripes[i];
        printf("stripe %u: wanted %llu sent %llu answered %llu next %llu trim %llu/%llu following %d unavailable %d "
               "full %llu\n",
               i, (unsigned long long)c->wanted, (unsigned long long)c->sent, (unsigned long long)c->answered,
               (unsigned long long)c->next, (unsigned long long)c->trimmed, (unsigned long long)c->trim_sent,
               c->following, c->unavailable, (unsigned long long)c->refused_full);
    }
    sim_check(s->world, reached, "%s", what);
}

/* ---- crashes ---- */

void scenario_segstore_crash(struct world *world)
{
    struct story *s       = story_new(world, 256u << 20, 0);
    uint64_t      targets = 0;
    int           rounds  = (int)between(s, 2, 6);
    for (int round = 0; round < rounds; round++) {
        targets += between(s, 10, 120);
        for (uint32_t i = 0; i < STRIPES; i++) {
            store_tester_want(&s->client, i, targets);
            if (round > 0 && between(s, 0, 2) == 0) {
                store_tester_trim(&s->client, i, between(s, 0, s->client.stripes[i].answered));
            }
        }
        world_run_ns(world, between(s, SIM_US, 400 * SIM_MS));
        restart(s, between(s, 0, 1) == 0);
        for (uint64_t more = between(s, 0, 2); more > 0; more--) { /* again, while it recovers or soon after */
            world_run_ns(world, between(s, SIM_US, between(s, 0, 1) == 0 ? 30 * SIM_MS : 600 * SIM_MS));
            restart(s, between(s, 0, 1) == 0);
        }
        if (between(s, 0, 1) == 0) {
            wait_up(s);
        }
    }
    wait_client(s, store_tester_done, "all is answered and handed over");
    store_tester_check_tables(&s->client);

    /* At rest: what a restart finds is what was there, and finding it again changes nothing. */
    world_run_ns(world, SIM_S);
    wait_up(s);
    uint64_t hashes[STRIPES];
    uint64_t applied[STRIPES];
    store_tester_end(&s->client);
    for (int again = 0; again < 3; again++) {
        for (uint16_t i = 0; i < STRIPES; i++) {
            const struct stripe *stripe = node_stripe(s->node, i);
            if (again > 0) {
                sim_check(world, stripe_applied(stripe) == applied[i],
                          "stripe %u has %llu entries after a restart, had %llu", i,
                          (unsigned long long)stripe_applied(stripe), (unsigned long long)applied[i]);
                sim_check(world, stripe_hash(stripe) == hashes[i], "stripe %u is another one after restart %d", i,
                          again);
            }
            hashes[i]  = stripe_hash(stripe);
            applied[i] = stripe_applied(stripe);
        }
        restart(s, again % 2 == 0);
        wait_up(s);
    }
    story_end(s);
}

/* ---- a full disk ---- */

static bool some_refused(void *ctx)
{
    const struct store_tester *c = ctx;
    for (uint32_t i = 0; i < c->stripe_count; i++) {
        if (c->stripes[i].refused_full > 0) {
            return true;
        }
    }
    return false;
}

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
    struct story *s  = story_new(world, 14u << 20, 2u << 20);
    s->client.window = (uint32_t)between(s, 1, 4); /* what follows one that is refused must not be taken before it */
    s->client.large_one_in = 4;
    for (uint32_t i = 0; i < STRIPES; i++) {
        store_tester_want(&s->client, i, 70);
    }
    wait_client(s, some_refused, "the disk is full at some time");
    wait_client(s, all_seen, "readers go on while the disk is full");
    if (between(s, 0, 1) == 0) {
        restart(s, between(s, 0, 1) == 0);
        wait_up(s);
        wait_client(s, all_seen, "readers go on after a restart on a full disk");
    }
    for (int second = 0; second < PATIENCE_S && !store_tester_done(&s->client); second++) {
        for (uint32_t i = 0; i < STRIPES; i++) {
            store_tester_trim(&s->client, i, s->client.stripes[i].seen);
        }
        world_run_ns(world, SIM_S);
    }
    wait_client(s, store_tester_done, "space returns as consumers make room");
    store_tester_check_tables(&s->client);
    story_end(s);
}

/* ---- rot ---- */

/* Flips a bit somewhere in the log; which file and where is drawn. */
static void rot(struct story *s)
{
    for (;;) {
        char path[64];
        snprintf(path, sizeof path, "/var/keel/shard-00/wal/%012u", (unsigned)between(s, 1, 6));
        if (disk_rot(s->machine->disk, path, between(s, 0, s->config.segment_bytes - 1))) {
            return;
        }
    }
}

static uint32_t stopped_stripes(struct story *s)
{
    uint32_t stopped = 0;
    for (uint32_t i = 0; i < STRIPES; i++) {
        stopped |= (uint32_t)s->client.stripes[i].unavailable << i;
    }
    return stopped;
}

static void go_on(struct story *s)
{
    restart(s, between(s, 0, 1) == 0);
    wait_up(s);
    for (uint32_t i = 0; i < STRIPES; i++) {
        store_tester_want(&s->client, i, s->client.stripes[i].wanted + 10);
    }
    world_run_ns(s->world, 5 * SIM_S);
    wait_client(s, store_tester_done, "what serves has everything");
}

void scenario_segstore_rot(struct world *world)
{
    struct story *s            = story_new(world, 256u << 20, 0);
    s->config.checkpoint_bytes = UINT64_MAX; /* from the next start on: all that was written is replayed */
    s->config.checkpoint_ns    = 1000000 * SIM_S;
    restart(s, false);
    wait_up(s);
    for (uint32_t i = 0; i < STRIPES; i++) {
        store_tester_want(&s->client, i, between(s, 20, 100));
    }
    wait_client(s, store_tester_done, "all is answered and handed over");
    world_run_ns(world, SIM_S);
    process_crash(s->process);
    rot(s);
    s->client.may_rot = true;
    sim_check(world, process_start(s->process) == 0, "the store starts");
    s->client.again_one_in = 1;
    wait_up(s);
    go_on(s);
    uint32_t stopped = stopped_stripes(s);
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
    sim_check(world, (stopped_stripes(s) & stopped) == stopped, "damage is not forgotten: %x stopped, were %x",
              stopped_stripes(s), stopped);

    s->config.accept_damage = true; /* the operator's decision */
    for (uint32_t i = 0; i < STRIPES; i++) {
        s->client.stripes[i].gaps = s->client.stripes[i].unavailable;
    }
    go_on(s);
    sim_check(world, stopped_stripes(s) == 0, "with the damage accepted every stripe serves");
    s->config.accept_damage = false;
    go_on(s);
    if (s->client.rotten) { /* these streams are logs: the record is there for whoever reads it, not handed out */
        story_end(s);
        return;
    }
    sim_check(world, stopped_stripes(s) == 0, "accepted damage is not met again");
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
    if (between(s, 0, 1) == 0) { /* all is replayed each time; else some of it is in an image */
        s->config.checkpoint_bytes = UINT64_MAX;
        s->config.checkpoint_ns    = 1000000 * SIM_S;
        restart(s, false);
        wait_up(s);
    }
    const struct segstore_config wide = s->config;
    for (uint32_t i = 0; i < STRIPES; i++) {
        store_tester_want(&s->client, i, between(s, 10, 100));
    }
    wait_client(s, store_tester_done, "all is answered and handed over");
    assert_limited(s, "at first");

    s->config.table_bytes_max    = between(s, 1, 20);
    s->config.streams_max        = 1;
    s->config.stream_records_max = between(s, 1, 5);
    s->config.writers_max        = 1;
    s->config.retained_max       = 1;
    for (uint64_t again = between(s, 1, 3); again > 0; again--) {
        restart(s, between(s, 0, 1) == 0);
        world_run_ns(world, between(s, SIM_US, 200 * SIM_MS));
    }
    wait_up(s);
    assert_limited(s, "after they were lowered");
    s->client.again_one_in = 1;
    restart(s, between(s, 0, 1) == 0);
    wait_up(s);
    wait_client(s, store_tester_done, "all records are handed over after limits were lowered");
    store_tester_check_tables(&s->client);
    assert_limited(s, "after another start");

    s->config = wide;
    restart(s, between(s, 0, 1) == 0);
    wait_up(s);
    for (uint32_t i = 0; i < STRIPES; i++) {
        store_tester_want(&s->client, i, s->client.stripes[i].wanted + 10);
    }
    wait_client(s, store_tester_done, "with limits raised again more is taken");
    assert_limited(s, "after they were raised");
    store_tester_check_tables(&s->client);
    story_end(s);
}

/* ---- reading again ---- */

struct rounds {
    struct story *story;
    uint64_t      until;
};

static bool scrubbed(void *ctx)
{
    const struct rounds *r = ctx;
    return node_counts(r->story->node).scrub_rounds >= r->until;
}

/* One round may have begun already, the next one sees everything. */
static struct node_counts scrub(struct story *s)
{
    struct rounds      rounds = {s, node_counts(s->node).scrub_rounds + 2};
    bool               done   = world_run_until(s->world, scrubbed, &rounds, 4 * s->config.scrub_ns + 30 * SIM_S);
    struct node_counts counts = node_counts(s->node);
    sim_check(s->world, done, "the log is read again within the time set for it: %llu rounds, %llu bytes",
              (unsigned long long)counts.scrub_rounds, (unsigned long long)counts.scrub_bytes);
    return counts;
}

/* Flips a bit where something was written, in one of the first files of the log. False: they are gone, nothing in them was needed any more. */
static bool rot_closed(struct story *s)
{
    static uint8_t page[SECTOR_BYTES];
    char           path[64];
    for (int i = 0; i < 20000; i++) {
        snprintf(path, sizeof path, "/var/keel/shard-00/wal/%012u", (unsigned)between(s, 1, 2));
        uint64_t offset = between(s, 0, s->config.segment_bytes / SECTOR_BYTES - 1) * SECTOR_BYTES;
        if (disk_peek_durable(s->machine->disk, path, page, sizeof page, offset) == SECTOR_BYTES &&
            (page[0] != 0 || memcmp(page, page + 1, sizeof page - 1) != 0) &&
            /* Not one that was deleted, and only a power failure would bring back. */
            disk_rot(s->machine->disk, path, offset + between(s, 0, SECTOR_BYTES - 1))) {
            return true;
        }
    }
    return false;
}

/* The disk says that it has written, and has not. */
static void lose_writes(struct story *s)
{
    disk_faults(s->machine->disk)->lost_one_in = 1;
    for (uint32_t i = 0; i < STRIPES; i++) {
        store_tester_want(&s->client, i, s->client.stripes[i].wanted + between(s, 1, 5));
    }
    wait_client(s, store_tester_answered, "what is lost is acknowledged all the same");
    disk_faults(s->machine->disk)->lost_one_in = 0;
    for (uint32_t i = 0; i < STRIPES; i++) {
        store_tester_want(&s->client, i, s->client.stripes[i].wanted + between(s, 1, 30));
    }
    wait_client(s, store_tester_answered, "the log goes on");
}

/* Whatever crashes leave behind the ends of the log is no damage; a bit that flips in a closed file is, and so is a write that never came to the disk: found
 * though nobody reads them. */
void scenario_segstore_scrub(struct world *world)
{
    enum { FLIPPED, FLIPPED_AFTER_CRASHES, LOST, CASES };
    struct story *s        = story_new(world, 256u << 20, 0);
    uint64_t      what     = between(s, 0, CASES - 1);
    uint64_t      targets  = 0;
    s->config.scrub_ns     = between(s, 1, 20) * SIM_S;
    s->config.reclaim_rate = 0; /* the files that are to be damaged stay */
    s->client.large_one_in = (uint32_t)between(s, 2, 4);
    restart(s, false);
    wait_up(s);
    for (uint64_t round = between(s, 2, 3); round > 0; round--) {
        targets += between(s, 20, 40);
        for (uint32_t i = 0; i < STRIPES; i++) {
            store_tester_want(&s->client, i, targets);
        }
        for (uint64_t more = what == FLIPPED_AFTER_CRASHES ? between(s, 1, 4) : 0; more > 0; more--) {
            world_run_ns(world, between(s, SIM_US, 400 * SIM_MS));
            restart(s, between(s, 0, 1) == 0);
        }
        wait_client(s, store_tester_done, "all is answered and handed over");
    }
    wait_up(s);
    sim_check(world, scrub(s).scrub_damages == 0, "what is well is taken for damage");
    s->client.may_rot = true;
    if (what == LOST) {
        lose_writes(s);
    } else {
        bool rotten = rot_closed(s);
        sim_check(world, rotten || what == FLIPPED_AFTER_CRASHES, "the log has a file that is closed");
    }
    /* What a crash left behind an end of the log may change and nobody cares. */
    sim_check(world, scrub(s).scrub_damages > 0 || what == FLIPPED_AFTER_CRASHES, "damage is not found");
    story_end(s);
}

/* ---- reclaim ---- */

/* No closed file is left of which more is dead than held. */
static bool log_is_tidy(void *ctx)
{
    const struct story *s = ctx;
    if (s->node == NULL || !s->ready) {
        return false;
    }
    const struct storage *storage = s->node->storage;
    for (const struct log_segment *each = segments_next(&storage->segments, 0); each != NULL;
         each                           = segments_next(&storage->segments, each->number + 1)) {
        bool closed = segment_is_run(each->number)
                          ? each->number != storage->reclaim.run.number
                          : each->number < segments_number(&storage->segments, storage->save.previous.replay_position);
        if (closed && each->live * 2 < each->total) {
            return false;
        }
    }
    return true;
}

/* The newest of two checkpoints rots: the next start goes back to the one before it, and what that says must still be there. */
static void rot_checkpoint(struct story *s)
{
    char               path[64];
    const struct save *save = s->node != NULL ? &s->node->storage->save : NULL;
    if (save == NULL || !s->node->opened || save->previous.number == 0) {
        return;
    }
    snprintf(path, sizeof path, "/var/keel/shard-00/ckpt/%012llu", (unsigned long long)save->newest.number);
    (void)disk_rot(s->machine->disk, path, between(s, 0, 79));
}

/* Consumers of two stripes keep up, those of the first never come, and what is written is several times what the disk holds: some of the first lies in every file, so that
 * space comes back only by moving it, on a disk that is full, with what is kept in reserve for that, and under crashes. All that was wanted is done in the end, and
 * nothing of the first stripe is lost. */
void scenario_segstore_packed(struct world *world)
{
    uint64_t      disk         = world_between(world, SALT_SCENARIO, 24, 32) << 20;
    struct story *s            = story_new(world, disk, 4u << 20);
    uint64_t      total        = between(s, 1000, 1800);
    uint64_t      emptied      = 0;
    s->config.checkpoint_bytes = between(s, 64 << 10, 2 << 20);
    s->config.checkpoint_ns    = between(s, 1, 10) * SIM_S;
    s->config.log_bytes        = UINT64_MAX; /* no reason but the full disk */
    s->config.reclaim_ns       = UINT64_MAX;
    s->config.reclaim_rate     = between(s, 1, 64) << 20;
    s->client.window           = (uint32_t)between(s, 1, 8);
    s->client.large_one_in     = 15;
    restart(s, false);
    wait_up(s);
    for (uint32_t i = 1; i < STRIPES; i++) {
        store_tester_want(&s->client, i, total);
    }
    for (int step = 0; step < 40 * PATIENCE_S && !store_tester_done(&s->client); step++) {
        store_tester_want(&s->client, 0, s->client.stripes[1].answered / 8 + 1);
        for (uint32_t i = 1; i < STRIPES; i++) {
            store_tester_trim(&s->client, i, s->client.stripes[i].seen);
        }
        world_run_ns(world, 70 * SIM_MS);
        if (between(s, 0, 149) == 0) {
            emptied += s->node == NULL ? 0 : node_counts(s->node).reclaim_files;
            restart(s, between(s, 0, 1) == 0);
        }
    }
    wait_client(s, store_tester_done, "space returns though the first stripe holds some of every file");
    emptied += s->node == NULL ? 0 : node_counts(s->node).reclaim_files;
    sim_check(world, emptied > 0 || !some_refused(&s->client), "no file was emptied");
    store_tester_check_tables(&s->client);
    story_end(s);
}

/* Consumers of two stripes keep up, those of the first never come: what they leave lies scattered over all files. It is moved together, under crashes, after some of which the newest checkpoint cannot be read, while
 * readers begin at the start again and again, on a disk that is sometimes nearly full, and with a scrubber behind it. Not a record is lost or another one, and the state is the same as if
 * nothing had been moved. */
void scenario_segstore_runs(struct world *world)
{
    struct story *s            = story_new(world, 256u << 20, 0);
    uint64_t      targets      = 0;
    uint64_t      rounds       = between(s, 3, 7);
    uint64_t      trimmed[3]   = {0};
    s->config.checkpoint_bytes = between(s, 64 << 10, 1 << 20);
    s->config.checkpoint_ns    = between(s, 1, 3) * SIM_S;
    s->config.log_bytes        = between(s, 0, 4) << 20;
    s->config.reclaim_ns       = between(s, 0, 3) * SIM_S;
    s->config.reclaim_rate     = between(s, 1, 64) << 20;
    s->config.scrub_ns         = between(s, 0, 1) == 0 ? 0 : between(s, 1, 20) * SIM_S;
    s->client.large_one_in     = between(s, 0, 1) == 0 ? 0 : (uint32_t)between(s, 5, 40);
    restart(s, false);
    wait_up(s);
    for (uint64_t round = 0; round < rounds; round++) {
        targets += between(s, 50, 200);
        for (uint32_t i = 0; i < STRIPES; i++) {
            store_tester_want(&s->client, i, targets / (i == 0 ? 4 : 1));
        }
        for (uint64_t step = between(s, 2, 8); step > 0; step--) {
            world_run_ns(world, between(s, SIM_US, 2 * SIM_S));
            for (uint32_t i = 1; i < STRIPES; i++) {
                uint64_t seen = s->client.stripes[i].answered;
                trimmed[i]    = i == 1 ? seen : between(s, trimmed[i], seen > trimmed[i] ? seen : trimmed[i]);
                store_tester_trim(&s->client, i, trimmed[i]);
            }
            if (between(s, 0, 2) == 0) {
                if (between(s, 0, 1) == 0) {
                    rot_checkpoint(s);
                }
                restart(s, between(s, 0, 1) == 0);
            }
        }
    }
    wait_client(s, store_tester_done, "all is answered and handed over");
    wait_up(s);
    bool small = false;
    for (int i = 0; i < 60 && !small; i++) { /* what is appended makes checkpoints, and those make room */
        for (uint32_t k = 0; k < STRIPES; k++) {
            store_tester_want(&s->client, k, s->client.stripes[k].wanted + (k == 0 ? 0 : 5));
            store_tester_trim(&s->client, k, k == 0 ? 0 : s->client.stripes[k].answered);
        }
        small = world_run_until(world, log_is_tidy, s, 5 * SIM_S) && i > 2;
    }
    sim_check(world, small, "files in which little is held are not freed: %llu bytes of log, %llu of runs",
              (unsigned long long)node_counts(s->node).log_file_bytes,
              (unsigned long long)node_counts(s->node).run_bytes);
    sim_check(world, node_counts(s->node).reclaim_damaged == 0, "what is whole is taken for damage");
    sim_check(world, node_counts(s->node).scrub_damages == 0, "what was moved is taken for damage");

    /* All of it once more, from wherever it lies now. */
    wait_client(s, store_tester_done, "all is answered and handed over once more");
    s->client.again_one_in = 1;
    restart(s, between(s, 0, 1) == 0);
    wait_up(s);
    wait_client(s, store_tester_done, "every record is found where it was moved to");
    store_tester_check_tables(&s->client);
    world_run_ns(world, SIM_S);
    wait_up(s);
    store_tester_end(&s->client);
    uint64_t hashes[STRIPES];
    for (uint16_t i = 0; i < STRIPES; i++) {
        hashes[i] = stripe_hash(node_stripe(s->node, i));
    }
    restart(s, between(s, 0, 1) == 0);
    wait_up(s);
    for (uint16_t i = 0; i < STRIPES; i++) {
        sim_check(world, stripe_hash(node_stripe(s->node, i)) == hashes[i], "stripe %u is another one", i);
    }
    story_end(s);
}

/* A run, or a file of the log, in which something is held: its path, and how much of it was written. False: there is none. */
static bool draw_file(struct story *s, bool run, char path[64], uint64_t *out_bytes)
{
    const struct storage *storage = s->node->storage;
    uint64_t              count   = 0;
    for (const struct log_segment *each = segments_next(&storage->segments, run ? SEGMENT_RUN_FIRST : 0);
         each != NULL && (run || !segment_is_run(each->number));
         each = segments_next(&storage->segments, each->number + 1)) {
        uint64_t bytes = run ? each->bytes : storage->segments.segment_bytes;
        if (each->live > 0 && bytes > 0 && between(s, 0, count++) == 0) {
            snprintf(path, 64, "/var/keel/shard-00/%s/%012llu", run ? "runs" : "wal", (unsigned long long)each->number);
            *out_bytes = bytes;
        }
    }
    return count > 0;
}

static bool is_gone(struct story *s, const char *path)
{
    static uint8_t page[SECTOR_BYTES];
    return disk_peek_durable(s->machine->disk, path, page, sizeof page, 0) <= 0;
}

static bool has_runs(void *ctx)
{
    const struct story *s = ctx;
    return s->ready && node_counts(s->node).run_bytes > 0;
}

static void append_and_trim(struct story *s, uint64_t count)
{
    for (uint32_t i = 0; i < STRIPES; i++) {
        store_tester_want(&s->client, i, s->client.stripes[i].wanted + (i == 0 ? count / 4 : count));
        store_tester_trim(&s->client, i, i == 0 ? 0 : s->client.stripes[i].answered);
    }
    world_run_ns(s->world, between(s, 1, 3) * SIM_S);
}

/* A bit flips where records wait that were moved, or that are to be moved: it is found, what it hit is not handed out, and moving it makes no good record of a bad one. */
void scenario_segstore_moldy(struct world *world)
{
    struct story *s            = story_new(world, 256u << 20, 0);
    bool          run          = between(s, 0, 1) == 0;
    char          path[64]     = "";
    uint64_t      bytes        = 0;
    s->config.checkpoint_bytes = between(s, 64 << 10, 1 << 20);
    s->config.checkpoint_ns    = between(s, 1, 3) * SIM_S;
    s->config.log_bytes        = 0;
    s->config.reclaim_ns       = 0;
    s->config.scrub_ns         = run ? between(s, 1, 10) * SIM_S : 0;
    s->client.large_one_in     = 10;
    restart(s, false);
    wait_up(s);
    for (int i = 0; i < 100 && !has_runs(s); i++) {
        append_and_trim(s, 100);
    }
    wait_client(s, store_tester_done, "all is answered and handed over");
    sim_check(world, has_runs(s), "nothing was moved");
    s->client.may_rot = true;
    if (draw_file(s, run, path, &bytes)) {
        (void)disk_rot(s->machine->disk, path, between(s, 0, bytes - 1));
    }
    if (run) {
        sim_check(world, scrub(s).scrub_damages > 0 || is_gone(s, path), "damage in %s is not found", path);
    }
    for (int i = 0; i < 8; i++) {
        append_and_trim(s, 60);
    }
    s->client.again_one_in = 1;
    restart(s, between(s, 0, 1) == 0);
    wait_up(s);
    world_run_ns(world, 20 * SIM_S); /* what is handed over is checked, and what is not, says why */
    sim_check(world, s->client.rotten || store_tester_done(&s->client) || stopped_stripes(s) != 0,
              "what is whole is not handed over");
    story_end(s);
}
