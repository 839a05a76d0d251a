/* cluster.c - the two programs without their main.c. */
#include "tests/sim/cluster.h"

#include "segstore/node/node.h"
#include "shared/config/settings.h"
#include "shared/loop/io.h"
#include "shared/loop/desk.h"
#include "shared/loop/mailbox.h"
#include "shared/loop/workers.h"
#include "tests/sim/disk.h"
#include "tests/sim/net.h"

#include <stdio.h>

enum { BOX_SLOTS = 64 };
uint32_t                 cluster_brokers                   = 1;
uint32_t                 cluster_stores                    = 1;
uint64_t                 cluster_queue_max                 = 0;
static uint32_t          running                           = 1; /* brokers of the cluster that there is */
static const char *const broker_names[CLUSTER_BROKERS_MAX] = {"broker", "broker2"};
static const char *const store_names[CLUSTER_STORES_MAX]   = {"store", "store2", "store3"};
static const uint64_t    disk_bytes                        = 256u << 20;

/* ---- the segment store ---------------------------------------------------------------------------------------- */

/* What a supervisor does: the process that is left ends, and another is started after a while. */
static void start_store_again(void *ctx)
{
    struct cluster_store *s = ctx;
    if (s->cluster->ended || !s->machine->powered) {
        return;
    }
    process_crash(s->process);
    sim_check(s->cluster->world, process_start(s->process) == 0, "the segment store starts again");
}

static void store_failed(struct cluster_store *s)
{
    struct world *world = s->cluster->world;
    s->cluster->deaths++;
    world_after(world, world_between(world, SALT_SCENARIO, SIM_MS, SIM_S), start_store_again, s);
}

static void store_refused(void *ctx, int error, const char *why)
{
    struct cluster_store *s = ctx;
    sim_check(s->cluster->world, s->cluster->supervised, "the segment store refuses to start (%d): %s", error, why);
    store_failed(s);
}

static void store_died(struct process *process, void *ctx)
{
    struct cluster_store *s = ctx;
    (void)process;
    sim_check(s->cluster->world, s->cluster->supervised, "the segment store ended itself");
    store_failed(s);
}

static void store_ready(void *ctx, const char *address, uint16_t port)
{
    (void)ctx;
    (void)address;
    (void)port;
}

static int store_start(struct process *process, void *ctx)
{
    struct cluster_store *s     = ctx;
    uint32_t              count = s->cluster->store_shards;
    for (uint32_t i = 0; i < count * count; i++) {
        s->boxes[i] = i / count != i % count ? mailbox_new(BOX_SLOTS) : NULL;
    }
    for (uint32_t shard = 0; shard < count; shard++) {
        struct io_config config = {.sockets_max       = s->cluster->store_count == 1 ? 16 : 64,
                                   .recv_buffers      = 8,
                                   .recv_buffer_bytes = 4096,
                                   .cpu               = -1};
        char             why[128];
        struct io       *io     = NULL;
        struct core     *core   = core_new(process);
        int              result = io_open(&config, &io, why, sizeof why);
        if (result < 0) {
            return result;
        }
        for (uint32_t other = 0; other < count; other++) {
            s->inboxes[shard][other]  = s->boxes[other * count + shard];
            s->outboxes[shard][other] = s->boxes[shard * count + other];
        }
        const struct node_hooks hooks = {.ctx = s, .ready = store_ready, .refused = store_refused};
        s->nodes[shard]               = node_new(io, &s->config, shard, s->inboxes[shard], s->outboxes[shard], &hooks);
        core_run(core, s->nodes[shard], node_turn);
    }
    return 0;
}

static void store_destroy(void *ctx)
{
    struct cluster_store *s     = ctx;
    uint32_t              count = s->cluster->store_shards;
    for (uint32_t shard = 0; shard < count; shard++) {
        node_free(s->nodes[shard]);
        s->nodes[shard] = NULL;
    }
    for (uint32_t i = 0; i < count * count; i++) {
        mailbox_free(s->boxes[i]);
        s->boxes[i] = NULL;
    }
}

/* Of several each is told of all, and holds every stripe. */
static void store_configure(struct cluster_store *s, uint32_t nth)
{
    uint32_t count = s->cluster->store_count;
    if (count == 1) {
        return;
    }
    s->config.node       = (uint16_t)(nth + 1);
    s->config.cluster    = "sim";
    s->config.node_count = (uint16_t)count;
    s->config.replicas   = (uint16_t)count;
    for (uint32_t i = 0; i < count; i++) {
        s->config.nodes[i] = (struct segstore_node){.id = (uint16_t)(i + 1), .port = CLUSTER_RPC_PORT};
        snprintf(s->config.nodes[i].address, sizeof s->config.nodes[i].address, "%s", store_names[i]);
    }
}

/* ---- the broker --------------------------------------------------------------------------------------------------- */

static uint64_t broker_turn(void *shard)
{
    return shard_turn(shard);
}

static void broker_refused(const char *why)
{
    sim_fail(world_running, "the broker cannot listen: %s", why);
}

static int broker_start(struct process *process, void *ctx)
{
    struct cluster_broker *b     = ctx;
    struct cluster        *c     = b->cluster;
    uint32_t               count = c->broker_shards;
    b->state                     = (struct broker){.config      = &c->broker_config,
                                                   .instance    = rand_u64(world_rand(c->world, SALT_SCENARIO)) | 1,
                                                   .place       = c->placed ? 1 + (uint64_t)(b - c->brokers) : 0,
                                                   .shard_count = count,
                                                   .mailboxes   = b->boxes,
                                                   .desks       = b->desks,
                                                   .gates       = b->gates,
                                                   .workers     = workers_new(1, 1),
                                                   .refused     = broker_refused};
    for (uint32_t i = 0; i < count * count; i++) {
        b->boxes[i] = i / count != i % count ? mailbox_new(BOX_SLOTS) : NULL;
    }
    for (uint32_t shard = 0; shard < count; shard++) {
        b->desks[shard] = desk_new();
    }
    for (uint32_t shard = 0; shard < count; shard++) {
        static const struct io_config config = {
            .sockets_max = 64, .recv_buffers = 8, .recv_buffer_bytes = 4096, .cpu = -1};
        char         why[128];
        struct io   *io     = NULL;
        struct core *core   = core_new(process);
        int          result = io_open(&config, &io, why, sizeof why);
        if (result < 0) {
            return result;
        }
        b->shards[shard] = shard_new(&b->state, shard, io);
        core_run(core, b->shards[shard], broker_turn);
    }
    return 0;
}

static void broker_destroy(void *ctx)
{
    struct cluster_broker *b     = ctx;
    uint32_t               count = b->cluster->broker_shards;
    for (uint32_t shard = 0; shard < count; shard++) {
        if (b->shards[shard] != NULL) {
            shard_free(b->shards[shard]);
            b->shards[shard] = NULL;
        }
        desk_free(b->desks[shard]);
        b->desks[shard] = NULL;
    }
    workers_free(b->state.workers);
    b->state.workers = NULL;
    for (uint32_t i = 0; i < count * count; i++) {
        mailbox_free(b->boxes[i]);
        b->boxes[i] = NULL;
    }
}

/* Clients need a password, which a worker checks, and rules stand against them. */
static void want_names(struct cluster *c)
{
    static const char hash[] =
        "$argon2id$v=19$m=8,t=1,p=1$Om8FK8dJYSJNrnnd5EAThg$3RbcFof1XdAFHyjipZJiWkEJfuR9XIIwT/gCJIz4aSI";
    static const char acl[] =
        "rules:\n  - allow user pub* publish t/+\n  - allow user sub subscribe t/+\n  - 'deny all both #'\n";
    struct auth_config *auth = &c->broker_config.auth;
    int size            = snprintf(c->passwords, sizeof c->passwords, "sub:%s\npub0:%s\npub1:%s\n", hash, hash, hash);
    auth->anonymous     = AUTH_ANONYMOUS_NO;
    auth->password_text = bytes_of(c->passwords, (size_t)size);
    auth->acl_text      = bytes_str(acl);
}

const char *cluster_broker_name(struct world *world)
{
    return broker_names[running == 1 ? 0 : world_between(world, SALT_SCENARIO, 0, running - 1)];
}

/* ---- both --------------------------------------------------------------------------------------------------------- */

static void start(struct cluster *c, struct world *world, bool names)
{
    *c              = (struct cluster){.world = world, .broker_count = cluster_brokers, .store_count = cluster_stores};
    cluster_brokers = 1;
    cluster_stores  = 1;
    running         = c->broker_count;
    c->placed       = world_chance(world, SALT_SCENARIO, 2);
    config_defaults(&settings_table, &c->settings);
    c->store_shards              = (uint32_t)world_between(world, SALT_SCENARIO, 1, CLUSTER_SHARDS_MAX);
    c->broker_shards             = (uint32_t)world_between(world, SALT_SCENARIO, 1, CLUSTER_SHARDS_MAX);
    struct segstore_config store = segstore_config_default();
    store.data_directory         = "/data";
    store.listen_address         = "0.0.0.0";
    store.listen_port            = CLUSTER_RPC_PORT;
    store.shards                 = c->store_shards;
    store.stripes                = (uint32_t)world_between(world, SALT_SCENARIO, 2, 5);
    store.segment_bytes          = 4u << 20;
    store.checkpoint_bytes       = 1u << (world_chance(world, SALT_SCENARIO, 2) ? 14 : 20);
    store.wal_depth              = (uint32_t)world_between(world, SALT_SCENARIO, 1, 2);
    store.checkpoint_ns          = 2 * SIM_S;
    /* One thing of an image per turn: entries wait for it. */
    store.checkpoint_slice_bytes = world_chance(world, SALT_SCENARIO, 2) ? 1 : 2000;
    store.disk_reserve_bytes     = 0;
    store.stream_records_max     = cluster_queue_max == 0 ? store.stream_records_max : cluster_queue_max;
    cluster_queue_max            = 0;
    store.stream_bytes_max = world_chance(world, SALT_LIMITS, 2) ? 0 : 1ull << 40; /* counted, and never reached */
    store.tail_bytes       = 256u << 10; /* so that readers fall behind it and read from the disk */
    char why[256];
    int  read = broker_config_init(&c->broker_config, &c->settings, c->broker_shards, why, sizeof why);
    ASSERT(read == 0);
    struct listen_at *listen = &c->broker_config.listen[TRANSPORT_TCP];
    snprintf(listen->address, sizeof listen->address, "0.0.0.0");
    c->broker_config.store.seed_count = c->store_count;
    for (uint32_t i = 0; i < c->store_count; i++) {
        snprintf(c->broker_config.store.seeds[i].address, sizeof c->broker_config.store.seeds[i].address, "%s",
                 store_names[i]);
        c->broker_config.store.seeds[i].port = CLUSTER_RPC_PORT;
    }
    listen->port                    = CLUSTER_MQTT_PORT;
    c->broker_config.auth.anonymous = AUTH_ANONYMOUS_YES;
    if (names) {
        want_names(c);
    }
    for (uint32_t i = 0; i < c->store_count; i++) {
        struct cluster_store     *s    = &c->stores[i];
        const struct process_spec spec = {i == 0 ? "segstore" : store_names[i], store_start, store_destroy, store_died,
                                          s};
        s->cluster                     = c;
        s->config                      = store;
        s->machine                     = machine_new(world, store_names[i], disk_bytes);
        s->process                     = process_new(s->machine, &spec);
        store_configure(s, i);
        sim_check(world, process_start(s->process) == 0, "the segment store starts");
    }
    for (uint32_t i = 0; i < c->broker_count; i++) {
        struct cluster_broker    *b    = &c->brokers[i];
        const struct process_spec spec = {broker_names[i], broker_start, broker_destroy, NULL, b};
        b->cluster                     = c;
        b->machine                     = machine_new(world, broker_names[i], 0);
        b->process                     = process_new(b->machine, &spec);
        sim_check(world, process_start(b->process) == 0, "the broker starts");
    }
}

void cluster_start(struct cluster *c, struct world *world)
{
    start(c, world, false);
}

void cluster_start_named(struct cluster *c, struct world *world)
{
    start(c, world, true);
}

static void rest(struct cluster *c)
{
    c->crashes++;
    c->crashed_ns = c->world->now_ns;
    world_run_ns(c->world, world_between(c->world, SALT_SCENARIO, SIM_US, 300 * SIM_MS));
}

void cluster_crash_broker(struct cluster *c)
{
    uint32_t which = c->broker_count == 1 ? 0 : (uint32_t)world_between(c->world, SALT_SCENARIO, 0, c->broker_count);
    bool     all   = which == c->broker_count;
    for (uint32_t i = 0; i < c->broker_count; i++) {
        if (i == which || all) {
            process_crash(c->brokers[i].process);
        }
    }
    c->broker_crashes++;
    c->broker_crashed_ns = c->world->now_ns;
    rest(c);
    for (uint32_t i = 0; i < c->broker_count; i++) {
        if (i == which || all) {
            sim_check(c->world, process_start(c->brokers[i].process) == 0, "the broker starts again");
        }
    }
}

/* One, or all of them: it lies in [first, end). */
static void some_stores(struct cluster *c, uint32_t *first, uint32_t *end)
{
    uint32_t which = c->store_count == 1 ? 0 : (uint32_t)world_between(c->world, SALT_SCENARIO, 0, c->store_count);
    bool     all   = which == c->store_count;
    *first         = all ? 0 : which;
    *end           = all ? c->store_count : which + 1;
}

/* Without one of several life goes on: that takes a while. */
static void rest_without(struct cluster *c)
{
    rest(c);
    if (c->store_count > 1 && world_chance(c->world, SALT_SCENARIO, 2)) {
        world_run_ns(c->world, world_between(c->world, SALT_SCENARIO, SIM_MS, 5 * SIM_S));
    }
}

void cluster_crash_store(struct cluster *c)
{
    uint32_t first, end;
    some_stores(c, &first, &end);
    for (uint32_t i = first; i < end; i++) {
        process_crash(c->stores[i].process);
    }
    rest_without(c);
    for (uint32_t i = first; i < end; i++) {
        if (!c->stores[i].process->alive) {
            sim_check(c->world, process_start(c->stores[i].process) == 0, "the segment store starts again");
        }
    }
}

void cluster_power_failure(struct cluster *c)
{
    uint32_t first, end;
    some_stores(c, &first, &end);
    for (uint32_t i = first; i < end; i++) {
        machine_power_off(c->stores[i].machine);
    }
    rest_without(c);
    for (uint32_t i = first; i < end; i++) {
        machine_power_on(c->stores[i].machine);
        sim_check(c->world, process_start(c->stores[i].process) == 0, "the segment store starts after a power failure");
    }
}

/* It lives, and others take its lead over: nobody reaches it, no other store does, or it stands still. */
static void cut_off(struct cluster *c)
{
    uint32_t              which = (uint32_t)world_between(c->world, SALT_SCENARIO, 0, c->store_count - 1);
    struct cluster_store *s     = &c->stores[which];
    switch (world_between(c->world, SALT_SCENARIO, 0, 2)) {
    case 0:
        net_isolate(s->machine, true);
        break;
    case 1:
        for (uint32_t i = 0; i < c->store_count; i++) {
            if (i != which) {
                net_cut(s->machine, c->stores[i].machine, true);
            }
        }
        break;
    default:
        process_pause(s->process, world_between(c->world, SALT_SCENARIO, SIM_MS, 5 * SIM_S));
    }
    rest_without(c);
    net_isolate(s->machine, false);
}

void cluster_accident(struct cluster *c)
{
    switch (world_between(c->world, SALT_SCENARIO, 0, c->store_count == 1 ? 2 : 4)) {
    case 0:
        cluster_crash_broker(c);
        break;
    case 1:
        cluster_crash_store(c);
        break;
    case 2:
        cluster_power_failure(c);
        break;
    default:
        cut_off(c);
    }
}

void cluster_end(struct cluster *c)
{
    c->ended = true;
    for (uint32_t i = 0; i < c->broker_count; i++) {
        process_crash(c->brokers[i].process);
    }
    for (uint32_t i = 0; i < c->store_count; i++) {
        process_crash(c->stores[i].process);
    }
}
