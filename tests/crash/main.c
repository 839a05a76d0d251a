/* main.c - a real run of a segment store is recorded, then cut off at many places: each time the disk is made as a crash may have left it and the real
 * recovery runs on it. Every acknowledged transaction must be there, in its place, to the last byte; nothing may be there that was not asked for.
 *
 *   build/release/crash [--cuts=N] [--seed=N] [--txns=N] [--dir=PATH] [--show]        --show prints what was recorded
 *
 *   record ──▶ trace ──cut──▶ disk ──▶ recovery, checked; more is written ──cut──▶ disk ──▶ recovery, checked          (the second time for some)
 *
 * A cut is killed (what the kernel has is kept) or without power (what was not synced is kept in part, sector by sector). Each recovery is a process of
 * its own, so one that ends in an assertion is a finding like any other. Ends with "N passed, N failed"; of a cut that failed the directory stays. */
#include "segstore/node/node.h"
#include "shared/base/log.h"
#include "shared/base/rand.h"
#include "shared/loop/io.h"
#include "tests/crash/client.h"
#include "tests/crash/model.h"
#include "tests/crash/trace.h"

#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PATH_ROOM = 400, SECOND_ONE_IN = 4, SECOND_CUTS = 3, FAILURES_MAX = 5, PATIENCE_S = 20 };

struct options {
    uint64_t    cuts;
    uint64_t    seed;
    uint64_t    txns;
    const char *dir;
    bool        show;
};

/* A store and its client, in this thread. */
struct pair {
    struct segstore_config config;
    struct io             *io;
    struct node           *node;
    struct client          client;
    bool                   ready;
    bool                   stopped;
    uint16_t               port;
};

/* ---- a store in this thread ---- */

static void on_ready(void *ctx, const char *address, uint16_t port)
{
    struct pair *p = ctx;
    (void)address;
    p->ready = true;
    p->port  = port;
}

static void on_refused(void *ctx, int error, const char *why)
{
    struct pair *p = ctx;
    snprintf(p->client.wrong, sizeof p->client.wrong, "the store refuses to start (%d): %s", error, why);
}

static void on_stopped(void *ctx)
{
    ((struct pair *)ctx)->stopped = true;
}

static void turn(void *ctx)
{
    struct pair *p        = ctx;
    uint64_t     deadline = node_turn(p->node);
    client_turn(&p->client);
    io_turn(p->io, deadline);
}

static void pair_start(struct pair *p, const char *directory, uint32_t sector_bytes)
{
    static const struct io_config io    = {.sockets_max = 16, .recv_buffers = 8, .recv_buffer_bytes = 16384, .cpu = -1};
    const struct node_hooks       hooks = {.ctx = p, .ready = on_ready, .refused = on_refused, .stopped = on_stopped};
    p->config                           = segstore_config_default();
    p->config.data_directory            = directory;
    p->config.listen_port               = 0;
    p->config.stripes                   = CLIENT_STRIPES;
    p->config.segment_bytes             = 1u << 20;
    p->config.checkpoint_bytes          = 1u << 20;
    p->config.checkpoint_ns             = 300000000;
    p->config.tail_bytes                = 0; /* the least */
    p->config.cold_chunks               = 8;
    p->config.disk_reserve_bytes        = 0;
    p->config.disk_sector_bytes         = sector_bytes;
    p->config.scrub_ns                  = 0;
    if (io_open(&io, &p->io, p->client.wrong, sizeof p->client.wrong) < 0) {
        return;
    }
    p->node = node_new(p->io, &p->config, 0, NULL, NULL, &hooks);
    while (!p->ready && p->client.wrong[0] == '\0') {
        turn(p);
    }
    if (p->ready) {
        client_open(&p->client, p->io, p->port);
    }
}

static void pair_stop(struct pair *p)
{
    client_fini(&p->client);
    node_stop(p->node);
    while (!p->stopped) {
        io_turn(p->io, node_turn(p->node));
    }
    node_free(p->node);
    io_close(p->io);
    p->node = NULL;
}

/* ---- directories ---- */

static int removed(const char *path, const struct stat *status, int type, struct FTW *walk)
{
    (void)status;
    (void)type;
    (void)walk;
    return remove(path);
}

static void clear(const char *directory)
{
    nftw(directory, removed, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---- one cut ---- */

/* What a recovery has to find. */
struct expectation {
    uint64_t acked[CLIENT_STRIPES];
    uint64_t sent[CLIENT_STRIPES];
};

static void expect_step(struct expectation *e, const struct trace_event *event)
{
    if (event->kind == TRACE_SENT) {
        e->sent[event->of] = event->number + 1;
    } else if (event->kind == TRACE_ACK) {
        e->acked[event->of] = event->number + 1;
    }
}

struct cutting {
    const struct options *options;
    const char           *place; /* where directories are made */
    uint64_t              salt;
    uint32_t              sector;
    unsigned              depth;
    uint64_t              passed;
    uint64_t              failed;
};

static void cut_trace(struct cutting *cutting, struct model *model, struct expectation *expectation, uint64_t cuts);

/* In a process of its own: recovers, checks, and for some cuts writes on and is cut off again. killed: the model of what is there when a process was
 * killed; NULL when there was no power. Returns its exit status. */
static int recover(const struct cutting *cutting, const char *directory, const struct expectation *expectation,
                   const struct model *killed, bool again)
{
    static struct pair p;
    struct model      *model = NULL;
    char               data[PATH_ROOM + 8];
    memset(&p, 0, sizeof p); /* a second recovery has it from the first */
    alarm(PATIENCE_S);
    snprintf(data, sizeof data, "%s/data", directory);
    trace_begin(again ? directory : NULL);
    if (again) {
        model = killed != NULL ? model_killed(killed, cutting->sector, directory) : model_read(directory);
    }
    p.client.seed = cutting->options->seed;
    for (uint32_t i = 0; i < CLIENT_STRIPES; i++) {
        p.client.stripes[i].acked = expectation->acked[i];
        p.client.stripes[i].sent  = expectation->sent[i];
    }
    pair_start(&p, data, cutting->sector);
    struct expectation found = *expectation;
    if (p.client.wrong[0] == '\0' && client_check(&p.client, turn, &p)) {
        uint64_t most = 0;
        for (uint32_t i = 0; i < CLIENT_STRIPES; i++) {
            most = p.client.stripes[i].sent > most ? p.client.stripes[i].sent : most;
            /* What was seen is promised. */
            for (uint64_t n = found.acked[i]; n < p.client.stripes[i].acked; n++) {
                trace_note(TRACE_ACK, i, n);
            }
        }
        client_write(&p.client, most + 10, turn, &p);
    }
    if (p.client.wrong[0] != '\0') {
        printf("     %s\n", p.client.wrong);
        fflush(stdout);
        return 1;
    }
    if (!again) {
        return 0;
    }
    pair_stop(&p);
    struct cutting deeper = *cutting;
    deeper.depth++;
    deeper.passed = deeper.failed = 0;
    char place[PATH_ROOM];
    snprintf(place, sizeof place, "%s/again", cutting->place);
    mkdir(place, 0750);
    deeper.place = place;
    cut_trace(&deeper, model, &found, SECOND_CUTS);
    return deeper.failed != 0;
}

static void cut(struct cutting *cutting, const struct model *model, const struct expectation *expectation, size_t event,
                struct rand *rand)
{
    char directory[PATH_ROOM], log[PATH_ROOM + 8];
    snprintf(directory, sizeof directory, "%s/cut", cutting->place);
    snprintf(log, sizeof log, "%s.log", directory);
    enum model_loss loss  = rand_chance(rand, 4) ? MODEL_KILLED : MODEL_POWER;
    bool            again = cutting->depth == 0 && (loss == MODEL_KILLED || rand_chance(rand, SECOND_ONE_IN));
    clear(directory);
    mkdir(directory, 0750);
    model_crash(model, rand, loss, loss == MODEL_KILLED ? 4096 : cutting->sector, directory);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        FILE *out = freopen(log, "w", stderr);
        if (out != NULL) {
            setvbuf(out, NULL, _IOLBF, 0);
        }
        int status = recover(cutting, directory, expectation, loss == MODEL_KILLED ? model : NULL, again);
        fflush(stdout);
        _exit(status);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    if (status == 0) {
        cutting->passed++;
        return;
    }
    char kept[PATH_ROOM + 40];
    snprintf(kept, sizeof kept, "%s-%llu-%zu", directory, (unsigned long long)cutting->options->seed, event);
    clear(kept);
    rename(directory, kept);
    char kept_log[PATH_ROOM + 48];
    snprintf(kept_log, sizeof kept_log, "%s.log", kept);
    rename(log, kept_log);
    printf("FAIL crash: seed %llu, cut at event %zu, %s, sectors of %u bytes%s%s: see %s and %s\n",
           (unsigned long long)cutting->options->seed, event, loss == MODEL_KILLED ? "killed" : "without power",
           cutting->sector, cutting->depth == 0 ? "" : ", cut off a second time",
           WIFSIGNALED(status) ? (WTERMSIG(status) == SIGALRM ? ", it took too long" : ", ended by a signal") : "",
           kept, kept_log);
    cutting->failed++;
}

/* Places in the trace, ascending, spread evenly at random; each with the disk as it was then. */
static void cut_trace(struct cutting *cutting, struct model *model, struct expectation *expectation, uint64_t cuts)
{
    const struct trace *trace = trace_now();
    struct trace        whole = *trace; /* children record their own */
    struct rand         rand;
    rand_init(&rand, cutting->options->seed, cutting->salt);
    for (size_t i = 0; i < whole.count && cutting->failed < FAILURES_MAX; i++) {
        model_step(model, &whole, i);
        expect_step(expectation, &whole.events[i]);
        uint64_t due = cuts / whole.count + (rand_below(&rand, whole.count) < cuts % whole.count);
        for (; due > 0; due--) {
            cut(cutting, model, expectation, i, &rand);
        }
    }
    model_free(model);
}

/* ---- all of it ---- */

static void show(const struct trace *trace)
{
    static const char *const names[] = {[TRACE_MKDIR]          = "mkdir",
                                        [TRACE_CREATE]         = "create",
                                        [TRACE_WRITE]          = "write",
                                        [TRACE_SYNC]           = "sync",
                                        [TRACE_SYNC_DIRECTORY] = "sync directory",
                                        [TRACE_RENAME]         = "rename",
                                        [TRACE_UNLINK]         = "unlink",
                                        [TRACE_DONE]           = "done",
                                        [TRACE_SENT]           = "sent",
                                        [TRACE_ACK]            = "ack"};
    for (size_t i = 0; i < trace->count; i++) {
        const struct trace_event *e = &trace->events[i];
        printf("%6zu  %s%s %s %s", i, names[e->kind], e->durable ? " durably" : "", e->path == NULL ? "" : e->path,
               e->to == NULL ? "" : e->to);
        if (e->kind == TRACE_WRITE) {
            printf("%llu + %zu\n", (unsigned long long)e->offset, e->size);
        } else {
            printf("%u %llu %d\n", e->of, (unsigned long long)e->number, e->result);
        }
    }
}

static int usage(void)
{
    fprintf(stderr, "usage: crash [--cuts=N] [--seed=N] [--txns=N] [--dir=PATH] [--show]\n");
    return 2;
}

int main(int argc, char **argv)
{
    struct options options = {.cuts = 300, .seed = 1, .txns = 250, .dir = "/tmp"};
    for (int i = 1; i < argc; i++) {
        unsigned long long number = 0;
        char               end    = '\0';
        if (sscanf(argv[i], "--cuts=%llu%c", &number, &end) == 1) {
            options.cuts = number;
        } else if (sscanf(argv[i], "--seed=%llu%c", &number, &end) == 1) {
            options.seed = number;
        } else if (sscanf(argv[i], "--txns=%llu%c", &number, &end) == 1) {
            options.txns = number;
        } else if (strncmp(argv[i], "--dir=", 6) == 0) {
            options.dir = argv[i] + 6;
        } else if (strcmp(argv[i], "--show") == 0) {
            options.show = true;
        } else {
            return usage();
        }
    }
    static struct pair p;
    char               recorded[PATH_ROOM], data[PATH_ROOM + 8], place[PATH_ROOM];
    log_setup("segstore", LOG_INFO, NULL);
    snprintf(recorded, sizeof recorded, "%s/keel-crash-XXXXXX", options.dir);
    if (mkdtemp(recorded) == NULL) {
        fprintf(stderr, "crash: no directory can be made in %s\n", options.dir);
        return 1;
    }
    /* Recoveries need no disk that is slow. */
    snprintf(place, sizeof place, "%s/keel-crash-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : options.dir);
    if (mkdtemp(place) == NULL) {
        return 1;
    }
    snprintf(data, sizeof data, "%s/data", recorded);
    uint32_t sector = options.seed % 2 == 0 ? 512 : 4096;
    trace_begin(recorded);
    struct model *model = model_new();
    p.client.seed       = options.seed;
    pair_start(&p, data, sector);
    client_write(&p.client, options.txns, turn, &p);
    if (p.client.wrong[0] != '\0') {
        printf("FAIL crash: the run that was to be recorded: %s\n0 passed, 1 failed\n", p.client.wrong);
        return 1;
    }
    pair_stop(&p);
    struct cutting     cutting     = {.options = &options, .place = place, .salt = 1, .sector = sector};
    struct expectation expectation = {0};
    printf("recorded %zu events of %llu transactions\n", trace_now()->count,
           (unsigned long long)(options.txns * CLIENT_STRIPES));
    if (options.show) {
        show(trace_now());
    }
    cut_trace(&cutting, model, &expectation, options.cuts);
    clear(recorded);
    if (cutting.failed == 0) {
        clear(place);
    }
    printf("%llu passed, %llu failed\n", (unsigned long long)cutting.passed, (unsigned long long)cutting.failed);
    return cutting.failed != 0;
}
