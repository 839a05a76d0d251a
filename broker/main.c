/* main.c - every thread, ring and listener of a running broker, on one page.
 *
 *   main thread   reads the settings, starts the shards and the admin thread, says "ready", waits for a signal
 *   shard 0..n    for (;;) { shard_turn; io_turn }                              (shard/shard.h)
 *   admin         /health /ready /metrics                                       (shared/admin/admin.h)
 *
 * SIGHUP: certificates, users, rules and keys of tokens are read again (reload.h).
 * SIGTERM and SIGINT: clients are told (0x8B), what is owed to the store is sent, exit status 0. */
#include "broker/admin/metrics.h"
#include "broker/guard.h"
#include "broker/reload.h"
#include "broker/shard/config.h"
#include "broker/shard/drain.h"
#include "broker/shard/shard.h"
#include "broker/transport/gcm/gcm.h"
#include "broker/transport/tls.h"
#include "shared/admin/admin.h"
#include "shared/base/assert.h"
#include "shared/base/err.h"
#include "shared/base/hash.h"
#include "shared/base/log.h"
#include "shared/base/version.h"
#include "shared/config/settings.h"
#include "shared/loop/io.h"
#include "shared/loop/mailbox.h"
#include "shared/loop/thread.h"
#include "shared/loop/web.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

enum {
    EXIT_USAGE       = 2,
    EXIT_UNAVAILABLE = 78, /* sysexits EX_CONFIG: the machine forbids what is needed */
    MAILBOX_SLOTS    = 4096,
    RECV_BUFFERS     = 64,
    RECV_BUFFER_SIZE = 16 * 1024, /* 64 of them stay within a core's L2 cache */
};

struct shard_thread {
    struct broker       *broker;
    struct metrics      *metrics;
    unsigned             index;
    int                  cpu;
    struct thread       *thread;
    _Atomic(struct io *) io; /* set once it runs; io_wake may be called from then on */
};

static void run_shard(void *ctx)
{
    struct shard_thread   *self   = ctx;
    const struct io_config config = {
        .sockets_max       = self->broker->config->sockets_max,
        .recv_buffers      = RECV_BUFFERS,
        .recv_buffer_bytes = RECV_BUFFER_SIZE,
        .cpu               = self->cpu,
        .quiet             = self->index > 0,
    };
    struct io *io       = NULL;
    char       why[512] = "";
    if (io_open(&config, &io, why, sizeof why) < 0) {
        fatal(EXIT_UNAVAILABLE, "%s", why);
    }
    struct shard *shard = shard_new(self->broker, self->index, io);
    if (shard == NULL) {
        fatal(1, "shard %u: out of memory at start", self->index);
    }
    shard->all_metrics = self->metrics;
    shard->metrics     = metrics_of(self->metrics, self->index);
    atomic_store_explicit(&self->io, io, memory_order_release);
    while (!shard_stopped(shard)) {
        io_turn(io, shard_turn(shard));
    }
    /* Other shards may still ring this one, and only this thread could close its io: it stays open until the process ends. */
    shard_free(shard);
}

static void on_refused(const char *why)
{
    fatal(1, "%s", why);
}

/* Wakes the main thread, which waits for signals. */
static void on_listening(void)
{
    kill(getpid(), SIGUSR1);
}

/* For the admin thread: clients are let in. */
static bool is_ready(void *ctx, char *why, size_t why_size)
{
    struct broker *broker = ctx;
    if (atomic_load_explicit(&broker->stopping, memory_order_relaxed)) {
        snprintf(why, why_size, "the broker stops");
        return false;
    }
    if (drain_on(broker)) {
        snprintf(why, why_size, "clients are sent away (keel ctl drain)");
        return false;
    }
    if (atomic_load_explicit(&broker->ready_count, memory_order_acquire) < broker->shard_count) {
        const struct store_client_config *store = &broker->config->store;
        snprintf(why, why_size, "waiting for the segment store at %s:%u%s", store->seeds[0].address,
                 store->seeds[0].port, store->seed_count > 1 ? " and other nodes" : "");
        return false;
    }
    return true;
}

static char *print_metrics(void *metrics, size_t *out_size)
{
    return metrics_print(metrics, out_size);
}

/* Users, rules, streams, bridges and the like: guard.c and those it asks. */
static bool is_controlled(const char *path)
{
    return strncmp(path, "/auth/", 6) == 0 || strncmp(path, "/streams", 8) == 0 || strncmp(path, "/bridges", 8) == 0 ||
           strcmp(path, "/drain") == 0 || strcmp(path, "/reload") == 0 || strncmp(path, "/cluster/", 9) == 0;
}

static void make_mailboxes(struct broker *broker)
{
    unsigned count    = broker->shard_count;
    broker->mailboxes = calloc((size_t)count * count, sizeof(struct mailbox *));
    ASSERT(broker->mailboxes != NULL);
    for (unsigned i = 0; i < count * count; i++) {
        if (i / count != i % count) {
            broker->mailboxes[i] = mailbox_new(MAILBOX_SLOTS);
            ASSERT(broker->mailboxes[i] != NULL);
        }
    }
}

static size_t put_address(char *text, size_t size, const char *name, struct config_address address, uint32_t port)
{
    char value[80];
    address.port = (uint16_t)port;
    config_address_text(&address, value, sizeof value);
    return (size_t)snprintf(text, size, " %s=%s", name, value);
}

/* Two processes at one place are one after the other. A port that is chosen at random says nothing about it. */
static uint64_t place_of(const struct settings *settings)
{
    char host[256] = "";
    char text[600];
    if (*settings->broker_name != '\0') {
        return hash_bytes(bytes_str(settings->broker_name)) | 1;
    }
    if (settings->mqtt_listen.port == 0 || gethostname(host, sizeof host - 1) != 0) {
        return 0;
    }
    snprintf(text, sizeof text, "%s %s %u", host, settings->mqtt_listen.host, settings->mqtt_listen.port);
    return hash_bytes(bytes_str(text)) | 1;
}

static void announce(const struct settings *settings, const struct broker *broker, const struct admin *admin)
{
    const struct {
        const char                  *name;
        const struct config_address *address;
    } kinds[TRANSPORT_KINDS] = {[TRANSPORT_TCP] = {"mqtt", &settings->mqtt_listen},
                                [TRANSPORT_TLS] = {"mqtts", &settings->mqtts_listen},
                                [TRANSPORT_WS]  = {"ws", &settings->ws_listen},
                                [TRANSPORT_WSS] = {"wss", &settings->wss_listen}};
    char   line[600]         = "";
    size_t used              = 0;
    for (int kind = 0; kind < TRANSPORT_KINDS; kind++) {
        if (kinds[kind].address != NULL && kinds[kind].address->host[0] != '\0') {
            used += put_address(line + used, sizeof line - used, kinds[kind].name, *kinds[kind].address,
                                atomic_load(&broker->ports[kind]));
        }
    }
    if (*settings->mqtt_unix != '\0') {
        used += (size_t)snprintf(line + used, sizeof line - used, " unix=%s", settings->mqtt_unix);
    }
    put_address(line + used, sizeof line - used, "admin", settings->admin_listen, admin_port(admin));
    printf("keel-broker ready%s\n", line);
    fflush(stdout);
    if (settings->ready_fd != 0) {
        dprintf((int)settings->ready_fd, "keel-broker ready%s\n", line);
        close((int)settings->ready_fd);
    }
}

/* For jemalloc: a thread of its own gives memory back that a burst left, though the shards sleep. */
const char *malloc_conf = "background_thread:true,dirty_decay_ms:5000,muzzy_decay_ms:0";

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        puts("keel-broker " KEEL_VERSION);
        return 0;
    }
    static struct settings settings;
    char                   error[CONFIG_ERROR_MAX];
    int                    loaded = config_load(argc, argv, &settings_table, &settings, error);
    if (loaded == CONFIG_HELP) {
        puts("keel-broker - speaks MQTT to clients and keeps what matters in a segment store\n");
        config_print_flags(&settings_table, (const char *const[]){"data", "segstore-admin", NULL}, stdout);
        return 0;
    }
    if (loaded < 0) {
        fprintf(stderr, "keel-broker: %s\n", error);
        return EXIT_USAGE;
    }
    log_setup("broker", (enum log_level)settings.log_level, NULL);

    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGUSR1); /* a shard became ready */
    sigaddset(&signals, SIGHUP);  /* certificates, users or rules in files were renewed */
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);

    int      cpus  = thread_cpu_count();
    unsigned count = settings.shards != 0 ? (unsigned)settings.shards : (unsigned)cpus;
    count          = count < SHARDS_MAX ? count : SHARDS_MAX;
    static struct broker_config config;
    if (broker_config_init(&config, &settings, count, error, sizeof error) < 0) {
        fprintf(stderr, "keel-broker: %s\n", error);
        return EXIT_USAGE;
    }
    if (!guard_read(&settings, &config, error, sizeof error)) {
        fprintf(stderr, "keel-broker: %s\n", error);
        return EXIT_USAGE;
    }
    static struct broker broker;
    broker = (struct broker){.config = &config, .shard_count = count, .listening = on_listening, .refused = on_refused};
    ASSERT(getrandom(&broker.instance, sizeof broker.instance, 0) == (ssize_t)sizeof broker.instance);
    broker.place = place_of(&settings);
    make_mailboxes(&broker);
    broker.settings = &settings;
    guard_open(&broker, &settings);
    broker.tls_next = calloc(count, sizeof *broker.tls_next);
    ASSERT_MEMORY(broker.tls_next != NULL);
    char why[512] = "";
    if (reload_tls(&settings, &broker, why, sizeof why) < 0) {
        fatal(EXIT_USAGE, "%s", why);
    }
    if (broker.tls_next[0] != NULL) {
        log_info("AES-GCM of TLS is computed by %s", gcm_maker());
    }
    struct metrics *metrics = metrics_new(count);
    ASSERT(metrics != NULL);

    struct admin           *admin   = NULL;
    const struct admin_page pages[] = {{"/metrics", ADMIN_TYPE_METRICS, print_metrics, metrics}, {NULL}};
    const struct admin_spec spec    = {.address = settings.admin_listen.host,
                                       .flag    = "--admin",
                                       .port    = settings.admin_listen.port,
                                       .ready   = is_ready,
                                       .pages   = pages,
                                       .paths =
                                           "/health /ready /metrics, below /auth users and rules, /streams, /bridges, "
                                              "/drain, /reload, /cluster/members",
                                       .token      = settings.admin_token,
                                       .controlled = is_controlled,
                                       .control    = guard_control,
                                       .ctx        = &broker};
    if (admin_start(&spec, &admin, why, sizeof why) < 0) {
        fatal(1, "%s", why);
    }
    static struct shard_thread threads[SHARDS_MAX];
    for (unsigned i = 0; i < count; i++) {
        threads[i].broker  = &broker;
        threads[i].metrics = metrics;
        threads[i].index   = i;
        threads[i].cpu     = settings.pin && count > 1 && (int)count <= cpus ? (int)i : -1;
        char name[16];
        snprintf(name, sizeof name, "broker-%u", i);
        int started = thread_start(&threads[i].thread, name, threads[i].cpu, run_shard, &threads[i]);
        if (started < 0) {
            fatal(1, "cannot start shard %u: %s", i, err_sentence(started));
        }
    }

    int  signal_number = 0;
    bool announced     = false; /* the last two shards may be ready before the first of their signals is heard */
    while (sigwait(&signals, &signal_number) == 0 && (signal_number == SIGUSR1 || signal_number == SIGHUP)) {
        if (signal_number == SIGHUP) {
            reload_all(&broker, NULL);
        } else if (!announced && atomic_load_explicit(&broker.ready_count, memory_order_acquire) == count) {
            announced = true;
            announce(&settings, &broker, admin);
        }
    }
    log_info("stopping: telling clients");
    atomic_store_explicit(&broker.stopping, true, memory_order_release);
    web_stop(broker.web);
    for (unsigned i = 0; i < count; i++) {
        struct io *io = atomic_load_explicit(&threads[i].io, memory_order_acquire);
        if (io != NULL) {
            io_wake(io);
        }
    }
    for (unsigned i = 0; i < count; i++) {
        thread_join(threads[i].thread);
    }
    admin_stop(admin);
    guard_close(&broker, &config);
    metrics_free(metrics);
    for (unsigned i = 0; i < count * count; i++) {
        struct mail mail;
        while (broker.mailboxes[i] != NULL && mailbox_pop(broker.mailboxes[i], &mail)) {
            free(mail.body); /* for a shard that had stopped before */
        }
        mailbox_free(broker.mailboxes[i]);
    }
    free(broker.mailboxes);
    for (unsigned i = 0; i < count; i++) {
        tls_context_unref(broker.tls_next[i]);
    }
    free(broker.tls_next);
    return 0;
}
