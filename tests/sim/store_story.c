/* store_story.c - starting, killing, waiting; and the books of what was written. */
#include "tests/sim/store_story.h"

#include <stdio.h>
#include <stdlib.h>

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

uint64_t story_between(struct story *s, uint64_t low, uint64_t high)
{
    return world_between(s->world, SALT_SCENARIO, low, high);
}

struct story *story_new(struct world *world, uint64_t disk_bytes, uint64_t reserve_bytes)
{
    struct story *s              = calloc(1, sizeof *s);
    s->world                     = world;
    s->config                    = segstore_config_default();
    s->config.data_directory     = "/var/keel";
    s->config.listen_address     = "0.0.0.0";
    s->config.stripes            = STRIPES;
    s->config.segment_bytes      = story_between(s, 1, 3) << 20;
    s->config.checkpoint_bytes   = story_between(s, 256 << 10, 4 << 20);
    s->config.checkpoint_ns      = story_between(s, 1, 20) * SIM_S;
    s->config.disk_reserve_bytes = reserve_bytes;
    s->config.tail_bytes         = 0; /* the least */
    s->config.cold_chunks        = (uint32_t)story_between(s, 8, 16);
    s->config.cold_depth         = (uint32_t)story_between(s, 1, 4);
    s->config.wal_depth          = (uint32_t)story_between(s, 1, 2);
    s->config.output_bytes       = (uint32_t)story_between(s, 4, 512) << 10;
    s->config.stream_bytes_max = world_chance(world, SALT_LIMITS, 2) ? 0 : 1ull << 40; /* counted, and never reached */
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

/* Over all lives no more is copied than was logged, and the store's own books say so. */
static void check_written_twice(struct story *s)
{
    const struct node_counts now    = node_counts(s->node);
    const struct save       *save   = &s->node->storage->save;
    uint64_t                 logged = s->logged + now.wal_bytes;
    uint64_t                 copied = s->copied + now.reclaim_written_bytes - now.reclaim_full_bytes;
    sim_check(s->world, copied <= logged, "%llu bytes were copied, %llu logged", (unsigned long long)copied,
              (unsigned long long)logged);
    if (s->node->opened) {
        sim_check(s->world, save_logged(save) <= logged, "the books tell of %llu bytes that were logged, it were %llu",
                  (unsigned long long)save_logged(save), (unsigned long long)logged);
        copied += s->copied_full + now.reclaim_full_bytes;
        sim_check(s->world, save->copied_bytes + s->unbooked >= copied,
                  "the books tell of %llu bytes that were copied, it were %llu", (unsigned long long)save->copied_bytes,
                  (unsigned long long)copied);
    }
}

void story_life_end(struct story *s)
{
    if (s->node != NULL) {
        const struct node_counts now = node_counts(s->node);
        check_written_twice(s);
        s->logged += now.wal_bytes;
        s->copied += now.reclaim_written_bytes - now.reclaim_full_bytes;
        s->copied_full += now.reclaim_full_bytes;
        s->unbooked += s->node->storage->save.unbooked_bytes;
    }
}

void story_end(struct story *s)
{
    if (s->client.process->alive) {
        store_tester_end(&s->client);
    }
    if (s->process->alive) {
        story_life_end(s);
        process_crash(s->process);
    }
    free(s);
}

void story_restart(struct story *s, bool power)
{
    story_life_end(s);
    if (power) {
        machine_power_off(s->machine);
    } else {
        process_crash(s->process);
    }
    world_run_ns(s->world, story_between(s, SIM_US, 200 * SIM_MS));
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

void story_wait_up(struct story *s)
{
    sim_check(s->world, world_run_until(s->world, is_up, s, PATIENCE_S * SIM_S), "the store comes up");
    sim_check(s->world, s->ready, "the store refuses to start: %s", s->why);
}

void story_wait_client(struct story *s, bool (*done)(void *), const char *what)
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

uint32_t story_stopped_stripes(struct story *s)
{
    uint32_t stopped = 0;
    for (uint32_t i = 0; i < STRIPES; i++) {
        stopped |= (uint32_t)s->client.stripes[i].unavailable << i;
    }
    return stopped;
}

bool story_some_refused(void *ctx)
{
    const struct store_tester *c = ctx;
    for (uint32_t i = 0; i < c->stripe_count; i++) {
        if (c->stripes[i].refused_full > 0) {
            return true;
        }
    }
    return false;
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
struct node_counts story_scrub(struct story *s)
{
    struct rounds      rounds = {s, node_counts(s->node).scrub_rounds + 2};
    bool               done   = world_run_until(s->world, scrubbed, &rounds, 4 * s->config.scrub_ns + 30 * SIM_S);
    struct node_counts counts = node_counts(s->node);
    sim_check(s->world, done, "the log is read again within the time set for it: %llu rounds, %llu bytes",
              (unsigned long long)counts.scrub_rounds, (unsigned long long)counts.scrub_bytes);
    return counts;
}
