/* scenario_reclaim.c - a store whose old files hold little: what is held is moved, and nothing of it is lost, whatever happens meanwhile. */
#include "segstore/stripe/stripe.h"
#include "tests/sim/store_story.h"

#include <stdio.h>

/* It was weighed, and that is known of it. */
static bool is_heavy(const struct segments *segments, const struct log_segment *file)
{
    return file->weighed_live != 0 && file->held_bytes * 2 >= victims_file_bytes(segments, file);
}

/* No closed file is left of which more is dead than held, by its records, if they are not the large ones. */
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
        if (closed && each->live * 2 < each->total && !is_heavy(&storage->segments, each)) {
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
    (void)disk_rot(s->machine->disk, path, story_between(s, 0, 79));
}

/* Consumers of two stripes keep up, those of the first never come, and what is written is several times what the disk holds: some of the first lies in every file, so that
 * space comes back only by moving it, on a disk that is full, with what is kept in reserve for that, and under crashes. All that was wanted is done in the end, and
 * nothing of the first stripe is lost. */
void scenario_segstore_packed(struct world *world)
{
    uint64_t      disk    = world_between(world, SALT_SCENARIO, 24, 32) << 20;
    struct story *s       = story_new(world, disk, 4u << 20);
    uint64_t      total   = story_between(s, 1000, 1800);
    uint64_t      emptied = 0;
    bool          cut =
        false; /* a restart came while the disk was full, before anything had been moved: space came back by it */
    s->config.checkpoint_bytes = story_between(s, 64 << 10, 2 << 20);
    s->config.checkpoint_ns    = story_between(s, 1, 10) * SIM_S;
    s->config.log_bytes        = UINT64_MAX; /* no reason but the full disk */
    s->config.reclaim_ns       = UINT64_MAX;
    s->config.reclaim_rate     = story_between(s, 1, 64) << 20;
    s->client.window           = (uint32_t)story_between(s, 1, 8);
    s->client.large_one_in     = 15;
    story_restart(s, false);
    story_wait_up(s);
    for (uint32_t i = 1; i < STRIPES; i++) {
        store_tester_want(&s->client, i, total);
    }
    for (int step = 0; step < 40 * PATIENCE_S && !store_tester_done(&s->client); step++) {
        store_tester_want(&s->client, 0, s->client.stripes[1].answered / 8 + 1);
        for (uint32_t i = 1; i < STRIPES; i++) {
            store_tester_trim(&s->client, i, s->client.stripes[i].seen);
        }
        world_run_ns(world, 70 * SIM_MS);
        if (story_between(s, 0, 149) == 0) {
            emptied += s->node == NULL ? 0 : node_counts(s->node).reclaim_files;
            cut = cut || s->node == NULL || s->node->storage->prepare.full;
            story_restart(s, story_between(s, 0, 1) == 0);
        }
    }
    story_wait_client(s, store_tester_done, "space returns though the first stripe holds some of every file");
    emptied += s->node == NULL ? 0 : node_counts(s->node).reclaim_files;
    sim_check(world, emptied > 0 || cut || !story_some_refused(&s->client), "no file was emptied");
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
    uint64_t      rounds       = story_between(s, 3, 7);
    uint64_t      trimmed[3]   = {0};
    s->config.checkpoint_bytes = story_between(s, 64 << 10, 1 << 20);
    s->config.checkpoint_ns    = story_between(s, 1, 3) * SIM_S;
    s->config.log_bytes        = story_between(s, 0, 4) << 20;
    s->config.reclaim_ns       = story_between(s, 0, 3) * SIM_S;
    s->config.reclaim_rate     = story_between(s, 1, 64) << 20;
    s->config.scrub_ns         = story_between(s, 0, 1) == 0 ? 0 : story_between(s, 1, 20) * SIM_S;
    s->client.large_one_in     = story_between(s, 0, 1) == 0 ? 0 : (uint32_t)story_between(s, 5, 40);
    story_restart(s, false);
    story_wait_up(s);
    for (uint64_t round = 0; round < rounds; round++) {
        targets += story_between(s, 50, 200);
        for (uint32_t i = 0; i < STRIPES; i++) {
            store_tester_want(&s->client, i, targets / (i == 0 ? 4 : 1));
        }
        for (uint64_t step = story_between(s, 2, 8); step > 0; step--) {
            world_run_ns(world, story_between(s, SIM_US, 2 * SIM_S));
            for (uint32_t i = 1; i < STRIPES; i++) {
                uint64_t seen = s->client.stripes[i].answered;
                trimmed[i]    = i == 1 ? seen : story_between(s, trimmed[i], seen > trimmed[i] ? seen : trimmed[i]);
                store_tester_trim(&s->client, i, trimmed[i]);
            }
            if (story_between(s, 0, 2) == 0) {
                if (story_between(s, 0, 1) == 0) {
                    rot_checkpoint(s);
                }
                story_restart(s, story_between(s, 0, 1) == 0);
            }
        }
    }
    story_wait_client(s, store_tester_done, "all is answered and handed over");
    story_wait_up(s);
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
    story_wait_client(s, store_tester_done, "all is answered and handed over once more");
    s->client.again_one_in = 1;
    story_restart(s, story_between(s, 0, 1) == 0);
    story_wait_up(s);
    story_wait_client(s, store_tester_done, "every record is found where it was moved to");
    store_tester_check_tables(&s->client);
    world_run_ns(world, SIM_S);
    story_wait_up(s);
    store_tester_end(&s->client);
    uint64_t hashes[STRIPES];
    for (uint16_t i = 0; i < STRIPES; i++) {
        hashes[i] = stripe_hash(node_stripe(s->node, i));
    }
    story_restart(s, story_between(s, 0, 1) == 0);
    story_wait_up(s);
    for (uint16_t i = 0; i < STRIPES; i++) {
        sim_check(world, stripe_hash(node_stripe(s->node, i)) == hashes[i], "stripe %u is another one", i);
    }
    story_end(s);
}

/* A run, or a file of the log, in which something is held: its path, and how much of it was written. False: there is none. */
static bool draw_file(struct story *s, bool run, char path[64], uint64_t *out_number, uint64_t *out_bytes)
{
    const struct storage *storage = s->node->storage;
    uint64_t              count   = 0;
    for (const struct log_segment *each = segments_next(&storage->segments, run ? SEGMENT_RUN_FIRST : 0);
         each != NULL && (run || !segment_is_run(each->number));
         each = segments_next(&storage->segments, each->number + 1)) {
        uint64_t bytes = run ? each->bytes : storage->segments.segment_bytes;
        if (each->live > 0 && bytes > 0 && story_between(s, 0, count++) == 0) {
            snprintf(path, 64, "/var/keel/shard-00/%s/%012llu", run ? "runs" : "wal", (unsigned long long)each->number);
            *out_number = each->number;
            *out_bytes  = bytes;
        }
    }
    return count > 0;
}

/* Nobody holds anything in it any more: it is gone, or goes with a later checkpoint, and is not read again until then. */
static bool is_left(struct story *s, uint64_t number)
{
    const struct log_segment *segment = segments_find(&s->node->storage->segments, number);
    return segment == NULL || !segment->exists || segment->live == 0;
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
    world_run_ns(s->world, story_between(s, 1, 3) * SIM_S);
}

static bool is_told(void *ctx)
{
    struct story *s = ctx;
    return s->client.rotten || store_tester_done(&s->client) || story_stopped_stripes(s) != 0;
}

/* A bit flips where records wait that were moved, or that are to be moved: it is found, what it hit is not handed out, and moving it makes no good record of a bad one. */
void scenario_segstore_moldy(struct world *world)
{
    struct story *s            = story_new(world, 256u << 20, 0);
    bool          run          = story_between(s, 0, 1) == 0;
    char          path[64]     = "";
    uint64_t      number       = 0;
    uint64_t      bytes        = 0;
    s->config.checkpoint_bytes = story_between(s, 64 << 10, 1 << 20);
    s->config.checkpoint_ns    = story_between(s, 1, 3) * SIM_S;
    s->config.log_bytes        = 0;
    s->config.reclaim_ns       = 0;
    s->config.scrub_ns         = run ? story_between(s, 1, 10) * SIM_S : 0;
    s->client.large_one_in     = 10;
    story_restart(s, false);
    story_wait_up(s);
    for (int i = 0; i < 100 && !has_runs(s); i++) {
        append_and_trim(s, 100);
    }
    story_wait_client(s, store_tester_done, "all is answered and handed over");
    sim_check(world, has_runs(s), "nothing was moved");
    s->client.may_rot = true;
    if (draw_file(s, run, path, &number, &bytes)) {
        (void)disk_rot(s->machine->disk, path, story_between(s, 0, bytes - 1));
    }
    if (run) {
        sim_check(world, story_scrub(s).scrub_damages > 0 || is_left(s, number), "damage in %s is not found", path);
    }
    for (int i = 0; i < 8; i++) {
        append_and_trim(s, 60);
    }
    s->client.again_one_in = 1;
    story_restart(s, story_between(s, 0, 1) == 0);
    story_wait_up(s);
    world_run_ns(world, 20 * SIM_S); /* what is handed over is checked, and what is not, says why */
    sim_check(world, world_run_until(world, is_told, s, 60 * SIM_S), /* a connection may just have broken */
              "what is whole is not handed over");
    story_end(s);
}
