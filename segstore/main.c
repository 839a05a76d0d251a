/* main.c - every thread and ring of a running segment store, on one page.
 *
 *   main thread   reads the settings, starts the shards, says "ready", waits for a signal
 *   shard 0..n    for (;;) io_turn(io, node_turn(node))                         (node/node.h)
 *   admin         /health /ready /metrics /cluster: asks the shards             (admin.h, board.h)
 *
 * SIGTERM and SIGINT: what is under way reaches the disk and is answered, exit status 0. */
#include "segstore/admin.h"
#include "segstore/board.h"
#include "segstore/node/config.h"
#include "segstore/node/node.h"
#include "segstore/node/pace.h"
#include "segstore/status/status.h"
#include "shared/base/assert.h"
#include "shared/base/err.h"
#include "shared/base/log.h"
#include "shared/base/version.h"
#include "shared/config/settings.h"
#include "shared/loop/io.h"
#include "shared/loop/mailbox.h"
#include "shared/loop/thread.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    EXIT_USAGE       = 2,
    EXIT_UNAVAILABLE = 78, /* sysexits EX_CONFIG: the machine forbids what is needed */
    MAILBOX_SLOTS    = 1024,
    SOCKETS_MAX      = 4096, /* one per broker shard */
    RECV_BUFFERS     = 64,
    RECV_BUFFER_SIZE = 16 * 1024,
    SHARDS_MAX       = 256,
};

struct shard_thread {
    const struct segstore_config *config;
    struct mailbox              **inbox; /* by the other shard; NULL where it is this one */
    struct mailbox              **outbox;
    uint32_t                      index;
    int                           cpu;
    struct board                 *board;
    struct thread                *thread;
    _Atomic(struct io *)          io; /* set once it runs; io_wake may be called from then on */
    _Atomic bool                  stop;
    bool                          stopped;
};

/* Of the process. */
static struct {
    const struct settings *settings;
    struct board          *board;
    struct store_admin     admin;
    struct shard_thread    threads[SHARDS_MAX];
} store;

static void on_ready(void *ctx, const char *address, uint16_t port)
{
    (void)ctx;
    struct config_address listen = {.port = port};
    char                  text[80], line[256];
    snprintf(listen.host, sizeof listen.host, "%s", address);
    config_address_text(&listen, text, sizeof text);
    size_t used = (size_t)snprintf(line, sizeof line, "keel-segstore ready listen=%s", text);
    if (store.admin.http != NULL) {
        config_address_text(&store.admin.at, text, sizeof text);
        snprintf(line + used, sizeof line - used, " admin=%s", text);
    }
    store_admin_ready(&store.admin, port);
    printf("%s\n", line);
    fflush(stdout);
    if (store.settings->ready_fd != 0) {
        dprintf((int)store.settings->ready_fd, "%s\n", line);
        close((int)store.settings->ready_fd);
    }
}

static void on_refused(void *ctx, int error, const char *why)
{
    (void)ctx;
    (void)error;
    fatal(1, "segstore: %s", why);
}

static void on_stopped(void *ctx)
{
    struct shard_thread *self = ctx;
    self->stopped             = true;
}

static void run_shard(void *ctx)
{
    struct shard_thread   *self     = ctx;
    const struct io_config config   = {.sockets_max       = SOCKETS_MAX,
                                       .recv_buffers      = RECV_BUFFERS,
                                       .recv_buffer_bytes = RECV_BUFFER_SIZE,
                                       .cpu               = self->cpu,
                                       .quiet             = self->index > 0};
    struct io             *io       = NULL;
    char                   why[512] = "";
    if (io_open(&config, &io, why, sizeof why) < 0) {
        fatal(EXIT_UNAVAILABLE, "%s", why);
    }
    const struct node_hooks hooks = {.ctx = self, .ready = on_ready, .refused = on_refused, .stopped = on_stopped};
    struct node            *node  = node_new(io, self->config, self->index, self->inbox, self->outbox, &hooks);
    ASSERT(node != NULL);
    atomic_store_explicit(&self->io, io, memory_order_release);
    bool stopping = false;
    while (!self->stopped) {
        if (!stopping && atomic_load_explicit(&self->stop, memory_order_acquire)) {
            stopping = true;
            node_stop(node);
        }
        io_turn(io, node_turn(node));
        if (board_asked(self->board, self->index)) {
            node_status(node, board_mine(self->board, self->index));
            board_put(self->board, self->index);
        }
    }
    const struct node_counts counts = node_counts(node);
    log_info("shard %u wrote %llu entries in %llu durable writes of together %llu bytes to the log", self->index,
             (unsigned long long)counts.wal_entries, (unsigned long long)counts.wal_writes,
             (unsigned long long)counts.wal_bytes);
    /* The process ends behind this: other shards may still ring this one, so io stays open. */
    node_free(node);
}

/* Called on HTTP threads. */
static void wake_shard(void *ctx, uint32_t shard)
{
    (void)ctx;
    struct io *io = atomic_load_explicit(&store.threads[shard].io, memory_order_acquire);
    if (io != NULL) {
        io_wake(io);
    }
}

static void config_from(struct segstore_config *config, const struct settings *settings)
{
    *config                   = segstore_config_default();
    config->data_directory    = settings->data;
    config->listen_address    = settings->segstore_address.at[0].host;
    config->listen_port       = settings->segstore_address.at[0].port;
    config->stripes           = (uint32_t)settings->stripes;
    config->segment_bytes     = settings->wal_file_bytes;
    config->checkpoint_bytes  = settings->checkpoint_bytes;
    config->checkpoint_ns     = settings->checkpoint_s * 1000000000u;
    config->tail_bytes        = settings->tail_bytes;
    config->wal_depth         = (uint32_t)settings->wal_depth;
    config->disk_sector_bytes = (uint32_t)settings->disk_sector_bytes;
    config->cold_depth        = (uint32_t)settings->cold_depth;
    config->cold_rate         = settings->cold_rate;
    config->log_bytes         = settings->log_bytes;
    config->reclaim_ns        = settings->reclaim_age_s * 1000000000u;
    config->reclaim_rate      = settings->reclaim_rate;
    config->scrub_ns          = settings->scrub_period_s * 1000000000u;
    config->accept_damage     = settings->accept_damage;
    config->owner_lease_ns    = settings->broker_lease_ms * 1000000u;
    config->table_bytes_max   = settings->table_bytes_max / settings->stripes + 1;
    config->retained_max      = settings->retained_max == 0 ? 0 : settings->retained_max / settings->stripes + 1;
    config->retained_bytes_max =
        settings->retained_bytes_max == 0 ? 0 : settings->retained_bytes_max / settings->stripes + 1;
    config->streams_max        = settings->streams_max / settings->stripes + 1;
    config->delays_max         = settings->delays_max / settings->stripes + 1;
    config->stream_records_max = settings->stream_records_max;
    config->stream_bytes_max   = settings->stream_bytes_max;
    config->disk_reserve_bytes = settings->disk_reserve_bytes;
}

/* For jemalloc: a thread of its own gives memory back that a burst left, though the shards sleep. */
const char *malloc_conf = "background_thread:true,dirty_decay_ms:5000,muzzy_decay_ms:0";

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        puts("keel-segstore " KEEL_VERSION);
        return 0;
    }
    static struct settings settings;
    char                   error[CONFIG_ERROR_MAX];
    int                    loaded = config_load(argc, argv, &settings_table, &settings, error);
    if (loaded == CONFIG_HELP) {
        puts("keel-segstore - keeps streams, cursors, tables and timers on disk for keel-broker\n");
        config_print_flags(&settings_table, (const char *const[]){"mqtt", "mqtts", "ws", "wss", "admin", NULL}, stdout);
        return 0;
    }
    if (loaded < 0) {
        fprintf(stderr, "keel-segstore: %s\n", error);
        return EXIT_USAGE;
    }
    store.settings = &settings;
    log_setup("segstore", (enum log_level)settings.log_level, NULL);

    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);

    static struct segstore_config config;
    config_from(&config, &settings);
    if (segstore_config_nodes(&config, &settings, error, sizeof error) < 0) {
        fprintf(stderr, "keel-segstore: %s\n", error);
        return EXIT_USAGE;
    }
    int      cpus  = thread_cpu_count();
    uint32_t count = settings.shards != 0 ? (uint32_t)settings.shards : (uint32_t)cpus;
    count          = count < SHARDS_MAX ? count : SHARDS_MAX;
    if (settings.shards > settings.stripes) {
        fprintf(stderr,
                "keel-segstore: %u shards have nothing to do with %u stripes; lower shards or raise segstore.stripes\n",
                (unsigned)settings.shards, (unsigned)settings.stripes);
        return EXIT_USAGE;
    }
    count         = count < settings.stripes ? count : (uint32_t)settings.stripes;
    config.shards = count;
    static struct pace transfer;
    pace_init(&transfer, config.transfer_rate_min, config.transfer_rate);
    config.transfer = &transfer;

    /* boxes[from * count + to] */
    struct mailbox **boxes = calloc((size_t)count * count, sizeof *boxes);
    struct mailbox **views = calloc((size_t)count * count * 2, sizeof *views);
    ASSERT(boxes != NULL && views != NULL);
    for (uint32_t i = 0; i < count * count; i++) {
        boxes[i] = i / count != i % count ? mailbox_new(MAILBOX_SLOTS) : NULL;
    }
    store.board = board_new(count, config.stripes, wake_shard, NULL);
    if (store_admin_start(&store.admin, &settings.segstore_admin.at[0], &config, store.board, error, sizeof error) <
        0) {
        fatal(1, "segstore.admin: %s", error);
    }
    struct shard_thread *threads = store.threads;
    for (uint32_t i = 0; i < count; i++) {
        threads[i].config = &config;
        threads[i].board  = store.board;
        threads[i].index  = i;
        threads[i].cpu    = settings.pin && count > 1 && (int)count <= cpus ? (int)i : -1;
        threads[i].inbox  = views + (size_t)i * count * 2;
        threads[i].outbox = threads[i].inbox + count;
        for (uint32_t other = 0; other < count; other++) {
            threads[i].inbox[other]  = boxes[other * count + i];
            threads[i].outbox[other] = boxes[i * count + other];
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        char name[24];
        snprintf(name, sizeof name, "segstore-%u", i);
        int started = thread_start(&threads[i].thread, name, threads[i].cpu, run_shard, &threads[i]);
        if (started < 0) {
            fatal(1, "cannot start shard %u: %s", i, err_sentence(started));
        }
    }

    int signal_number = 0;
    sigwait(&signals, &signal_number);
    store_admin_stopping(&store.admin);
    log_info("stopping: what is under way reaches the disk");
    for (uint32_t i = 0; i < count; i++) {
        atomic_store_explicit(&threads[i].stop, true, memory_order_release);
        struct io *io = atomic_load_explicit(&threads[i].io, memory_order_acquire);
        if (io != NULL) {
            io_wake(io);
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        thread_join(threads[i].thread);
    }
    store_admin_stop(&store.admin);
    board_free(store.board);
    for (uint32_t i = 0; i < count * count; i++) {
        struct mail mail;
        while (boxes[i] != NULL && mailbox_pop(boxes[i], &mail)) {
            free(mail.body); /* a connection on its way to a shard that had stopped */
        }
        mailbox_free(boxes[i]);
    }
    free(boxes);
    free(views);
    return 0;
}
