/* main.c - every thread, ring and listener of a running broker, on one page.
 *
 *   main thread   reads the settings, starts the shards and the admin thread, says "ready", waits for a signal
 *   shard 0..n    for (;;) { shard_turn; io_turn }                              (shard/shard.h)
 *   admin         /health /ready /metrics                                       (admin/admin.h)
 *
 * SIGHUP: the files of users and access rules are read again.
 * SIGTERM and SIGINT: clients are told (0x8B), what is owed to the store is sent, exit status 0. */
#include "broker/admin/admin.h"
#include "broker/admin/metrics.h"
#include "broker/auth/acl_file.h"
#include "broker/auth/jwt.h"
#include "broker/auth/users.h"
#include "broker/gate/control.h"
#include "broker/gate/gate.h"
#include "broker/shard/bridges.h"
#include "broker/shard/config.h"
#include "broker/shard/shard.h"
#include "broker/shard/streams.h"
#include "shared/base/assert.h"
#include "shared/base/err.h"
#include "shared/base/log.h"
#include "shared/config/settings.h"
#include "shared/loop/desk.h"
#include "shared/loop/io.h"
#include "shared/loop/mailbox.h"
#include "shared/loop/thread.h"
#include "shared/loop/web.h"
#include "shared/loop/workers.h"

#include <errno.h>
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
    SHARDS_MAX       = 256,
    AUTH_FILE_MAX    = 16 * 1024 * 1024,
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
        .sockets_max       = self->broker->config->connections_max,
        .recv_buffers      = RECV_BUFFERS,
        .recv_buffer_bytes = RECV_BUFFER_SIZE,
        .cpu               = self->cpu,
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
    shard->metrics = metrics_of(self->metrics, self->index);
    atomic_store_explicit(&self->io, io, memory_order_release);
    while (!shard_stopped(shard)) {
        io_turn(io, shard_turn(shard));
    }
    /* Other shards may still ring this one: its io is closed by main after all have stopped. */
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
    if (atomic_load_explicit(&broker->ready_count, memory_order_acquire) < broker->shard_count) {
        snprintf(why, why_size, "waiting for the segment store at %s:%u", broker->config->segstore_address,
                 broker->config->segstore_port);
        return false;
    }
    return true;
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

/* ---- who may do what ------------------------------------------------------------------------------------------------------ */

/* A file of the settings: malloc'ed, size 0 when none is configured. */
static bool read_file(const char *path, struct bytes *out, char *why, size_t why_size)
{
    uint8_t *text = NULL;
    *out          = (struct bytes){0};
    if (*path == '\0') {
        return true;
    }
    FILE *file = fopen(path, "re");
    if (file == NULL || (text = malloc(AUTH_FILE_MAX)) == NULL) {
        snprintf(why, why_size, "%s: cannot be read: %s", path, strerror(errno));
        if (file != NULL) {
            fclose(file);
        }
        return false;
    }
    size_t size = fread(text, 1, AUTH_FILE_MAX, file);
    bool   good = ferror(file) == 0 && size < AUTH_FILE_MAX;
    fclose(file);
    if (!good) {
        snprintf(why, why_size, "%s: cannot be read, or is larger than 16 MiB", path);
        free(text);
        return false;
    }
    *out = bytes_of(text, size);
    return true;
}

/* Both files, found good; or a sentence in why and nothing read. */
static bool read_auth_files(const struct settings *settings, struct bytes *password, struct bytes *acl, char *why,
                            size_t why_size)
{
    struct users      users = {0};
    struct acl_rule **rules = NULL;
    uint32_t          count = 0;
    char              line[300];
    *acl = (struct bytes){0};
    if (!read_file(settings->auth_password_file, password, why, why_size)) {
        return false;
    }
    bool good = read_file(settings->acl_file, acl, why, why_size);
    if (good && !users_read(&users, *password, line, sizeof line)) {
        snprintf(why, why_size, "%s:%s", settings->auth_password_file, line);
        good = false;
    }
    users_fini(&users);
    if (good && acl->size > 0) {
        good = acl_file_read(*acl, &rules, &count, line, sizeof line);
        if (good) {
            acl_file_free(rules, count);
        } else {
            snprintf(why, why_size, "%s:%s", settings->acl_file, line);
        }
    }
    if (!good) {
        free((uint8_t *)(uintptr_t)password->data);
        free((uint8_t *)(uintptr_t)acl->data);
    }
    return good;
}

/* Keys of tokens, once. False after a sentence in why. */
static bool read_jwt_keys(const struct settings *settings, struct jwt_keys **out, char *why, size_t why_size)
{
    struct bytes file   = {0};
    struct bytes secret = bytes_str(settings->jwt_secret);
    char         wrong[200];
    *out = NULL;
    if (*settings->jwt_key_file == '\0' && secret.size == 0) {
        return true;
    }
    if (!read_file(settings->jwt_key_file, &file, why, why_size)) {
        return false;
    }
    *out = jwt_keys_new(secret, file, wrong, sizeof wrong);
    free((uint8_t *)(uintptr_t)file.data);
    if (*out == NULL) {
        snprintf(why, why_size, "%s: %s; auth.jwt_key_file wants PEM with public keys or certificates, or a JWKS",
                 settings->jwt_key_file, wrong);
    }
    return *out != NULL;
}

/* main -> shard: files were read again. */
struct reload {
    struct desk_item item;
    struct gate    **gate;
    size_t           password_size;
    size_t           acl_size;
    uint8_t          texts[];
};

static void run_reload(struct desk_item *item)
{
    struct reload *reload = (struct reload *)item;
    if (*reload->gate != NULL) {
        gate_files(*reload->gate, bytes_of(reload->texts, reload->password_size),
                   bytes_of(reload->texts + reload->password_size, reload->acl_size));
    }
    free(reload);
}

static void reload_auth_files(const struct settings *settings, struct broker *broker)
{
    struct bytes password, acl;
    char         why[600];
    if (!read_auth_files(settings, &password, &acl, why, sizeof why)) {
        log_error("%s; users and rules of files stay as they were", why);
        return;
    }
    for (unsigned i = 0; i < broker->shard_count; i++) {
        struct reload *reload = malloc(sizeof *reload + password.size + acl.size);
        if (reload == NULL) {
            continue;
        }
        reload->item.run      = run_reload;
        reload->gate          = &broker->gates[i];
        reload->password_size = password.size;
        reload->acl_size      = acl.size;
        memcpy(reload->texts, password.data != NULL ? password.data : (const uint8_t *)"", password.size);
        memcpy(reload->texts + password.size, acl.data != NULL ? acl.data : (const uint8_t *)"", acl.size);
        if (!desk_post(broker->desks[i], &reload->item)) {
            free(reload);
        }
    }
    free((uint8_t *)(uintptr_t)password.data);
    free((uint8_t *)(uintptr_t)acl.data);
    log_info("users and rules of files were read again");
}

/* For the admin threads. */
static int control(void *ctx, const char *method, const char *path, const void *body, size_t size, char **out_text)
{
    struct broker *broker = ctx;
    if (strncmp(path, "/streams", 8) == 0) {
        return streams_handle(broker->desks[0], &broker->kernels[0], method, path, bytes_of(body, size), out_text);
    }
    if (strncmp(path, "/bridges", 8) == 0) {
        return bridges_handle(broker->desks, broker->bridges, broker->shard_count, method, path, bytes_of(body, size),
                              out_text);
    }
    struct control_answer answer =
        control_handle(broker->desks[0], &broker->gates[0], method, path, bytes_of(body, size));
    *out_text = answer.text;
    return answer.status;
}

static void make_desks(struct broker *broker, const struct settings *settings)
{
    broker->desks   = calloc(broker->shard_count, sizeof(struct desk *));
    broker->gates   = calloc(broker->shard_count, sizeof(struct gate *));
    broker->kernels = calloc(broker->shard_count, sizeof(struct kernel *));
    broker->bridges = calloc(broker->shard_count, sizeof(struct bridges *));
    ASSERT(broker->kernels != NULL && broker->bridges != NULL);
    broker->workers = workers_new((unsigned)settings->auth_threads, (unsigned)settings->auth_queue_max);
    ASSERT(broker->desks != NULL && broker->gates != NULL && broker->workers != NULL);
    if (*settings->auth_http_url != '\0' || *settings->acl_http_url != '\0') {
        broker->web = web_new((unsigned)settings->hook_waiting_max);
        ASSERT(broker->web != NULL);
    }
    for (unsigned i = 0; i < broker->shard_count; i++) {
        broker->desks[i] = desk_new();
        ASSERT(broker->desks[i] != NULL);
    }
}

static void free_desks(struct broker *broker)
{
    workers_free(broker->workers);
    web_free(broker->web);
    for (unsigned i = 0; i < broker->shard_count; i++) {
        desk_free(broker->desks[i]);
    }
    free(broker->bridges);
    free(broker->kernels);
    free(broker->desks);
    free(broker->gates);
}

/* What an operator must know about who is let in. */
static void say_who_comes_in(const struct settings *settings, const struct broker_config *config)
{
    char where[80];
    config_address_text(&settings->mqtt_listen, where, sizeof where);
    if (config->auth.anonymous == AUTH_ANONYMOUS_YES && !config->mqtt_loopback) {
        log_warn("anyone who reaches %s is let in without a name: auth.anonymous is true", where);
    } else if (config->auth.anonymous == AUTH_ANONYMOUS_LOOPBACK && !config->mqtt_loopback) {
        log_info("clients on %s need a name and a password (`keel ctl passwd NAME`), a token or a certificate; "
                 "auth.anonymous: true would let "
                 "everybody in",
                 where);
    }
    if (config->auth.anonymous == AUTH_ANONYMOUS_LOOPBACK && config->mqtt_loopback) {
        log_info("clients without a name are let in, for %s is reached from this machine only (auth.anonymous)", where);
    }
    if (*settings->acl_file != '\0' && config->auth.default_allow) {
        log_info("what no access rule speaks of is allowed (acl.default)");
    }
}

/* -------------------------------------------------------------------------------------------------------------------------------- */

static void announce(const struct settings *settings, const struct broker *broker, const struct admin *admin)
{
    struct config_address mqtt = settings->mqtt_listen;
    struct config_address http = settings->admin_listen;
    char                  a[80], b[80];
    mqtt.port = (uint16_t)atomic_load(&broker->mqtt_port);
    http.port = admin_port(admin);
    config_address_text(&mqtt, a, sizeof a);
    config_address_text(&http, b, sizeof b);
    printf("keel-broker ready mqtt=%s admin=%s\n", a, b);
    fflush(stdout);
    if (settings->ready_fd != 0) {
        dprintf((int)settings->ready_fd, "keel-broker ready mqtt=%s admin=%s\n", a, b);
        close((int)settings->ready_fd);
    }
}

/* For jemalloc: a thread of its own gives memory back that a burst left, though the shards sleep. */
const char *malloc_conf = "background_thread:true,dirty_decay_ms:5000,muzzy_decay_ms:0";

int main(int argc, char **argv)
{
    static struct settings settings;
    char                   error[CONFIG_ERROR_MAX];
    int                    loaded = config_load(argc, argv, &settings_table, &settings, error);
    if (loaded == CONFIG_HELP) {
        puts("keel-broker - speaks MQTT to clients and keeps what matters in a segment store\n");
        config_print_flags(&settings_table, stdout);
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
    sigaddset(&signals, SIGHUP);  /* read the files of users and rules again */
    sigaddset(&signals, SIGUSR1); /* a shard became ready */
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);

    int      cpus  = thread_cpu_count();
    unsigned count = settings.shards != 0 ? (unsigned)settings.shards : (unsigned)cpus;
    count          = count < SHARDS_MAX ? count : SHARDS_MAX;
    struct broker_config config;
    broker_config_init(&config, &settings, count);
    char             why[600] = "";
    struct jwt_keys *jwt_keys = NULL;
    if (!auth_chain_read(settings.auth_chain, &config.auth, why, sizeof why) ||
        !read_jwt_keys(&settings, &jwt_keys, why, sizeof why) ||
        !read_auth_files(&settings, &config.auth.password_text, &config.auth.acl_text, why, sizeof why)) {
        fprintf(stderr, "keel-broker: %s\n", why);
        return EXIT_USAGE;
    }
    config.auth.jwt_keys = jwt_keys;
    say_who_comes_in(&settings, &config);
    static struct broker broker;
    broker = (struct broker){.config = &config, .shard_count = count, .listening = on_listening, .refused = on_refused};
    ASSERT(getrandom(&broker.instance, sizeof broker.instance, 0) == (ssize_t)sizeof broker.instance);
    make_mailboxes(&broker);
    make_desks(&broker, &settings);
    struct metrics *metrics = metrics_new(count);
    ASSERT(metrics != NULL);

    struct admin           *admin = NULL;
    const struct admin_spec spec  = {.address = settings.admin_listen.host,
                                     .port    = settings.admin_listen.port,
                                     .metrics = metrics,
                                     .ready   = is_ready,
                                     .token   = settings.admin_token,
                                     .control = control,
                                     .ctx     = &broker};
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

    int signal_number = 0;
    while (sigwait(&signals, &signal_number) == 0 && (signal_number == SIGUSR1 || signal_number == SIGHUP)) {
        if (signal_number == SIGHUP) {
            reload_auth_files(&settings, &broker);
        } else if (atomic_load_explicit(&broker.ready_count, memory_order_acquire) == count) {
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
    free_desks(&broker);
    jwt_keys_free(jwt_keys);
    free((uint8_t *)(uintptr_t)config.auth.password_text.data);
    free((uint8_t *)(uintptr_t)config.auth.acl_text.data);
    metrics_free(metrics);
    for (unsigned i = 0; i < count * count; i++) {
        mailbox_free(broker.mailboxes[i]);
    }
    free(broker.mailboxes);
    return 0;
}
