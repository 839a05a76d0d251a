/* bridges.c - one uplink a bridge: a socket of its own, which comes and goes. */
#include "broker/shard/bridges.h"

#include "broker/bridge/bridge.h"
#include "broker/kernel/capture.h"
#include "broker/kernel/store.h"
#include "broker/shard/question.h"
#include "broker/shard/shard.h"
#include "broker/shard/uplink.h"
#include "shared/base/err.h"
#include "shared/base/hash.h"
#include "shared/base/log.h"
#include "shared/loop/io.h"
#include "shared/rpc/op.h"
#include "shared/rpc/schema.h"

#include <stdio.h>
#include <stdlib.h>

enum { ROW_VERSION = 1, NAME_AT = 9 /* behind "/bridges/" */ };

/* One bridge that this shard runs. */
struct runner {
    struct list     link;
    struct bridges *bridges;
    struct bridge  *bridge;
    struct uplink   uplink;
    uint64_t        version;
    uint32_t        generation;
    uint16_t        stripe; /* of its row */
    bool            ending;
    uint8_t         name_size;
    uint8_t         name[BRIDGE_NAME_MAX];
};

struct bridges {
    struct shard      *shard;
    struct list        uplinks;
    struct list        dirty;
    struct store_watch watch;
    struct store_scan  scan; /* of the table, when this process is the senior again */
    bool               watching;
    bool               scanning;
    bool               senior; /* bridges are run by one process of all at the store (company.h) */
    bool               stopped;
    uint32_t           store_shards; /* 0: not known yet */
    uint32_t          *generations;  /* per store shard, of what it shows: grows with every time */
};

/* ---- rows -------------------------------------------------------------------------------------------------------------------- */

static struct bytes name_of(const struct runner *u)
{
    return bytes_of(u->name, u->name_size);
}

static struct runner *find(struct bridges *all, struct bytes name)
{
    LIST_EACH (&all->uplinks, link) {
        struct runner *u = CONTAINER_OF(link, struct runner, link);
        if (!u->ending && bytes_equal(name_of(u), name)) {
            return u;
        }
    }
    return NULL;
}

static void runner_free(struct runner *u)
{
    bridge_stop(u->bridge);
    bridge_free(u->bridge);
    uplink_fini(&u->uplink);
    list_remove(&u->link);
    free(u);
}

static void runner_end(struct runner *u)
{
    u->ending = true;
    bridge_end(u->bridge);
}

static unsigned owner_of(struct bytes name, unsigned count)
{
    return (unsigned)(hash_bytes(name) % count);
}

static uint32_t generation_of(const struct bridges *all, uint16_t stripe)
{
    return all->generations[stripe % all->store_shards];
}

static void runner_start(struct bridges *all, struct bytes name, const struct bridge_spec *spec, uint64_t version,
                         uint16_t stripe)
{
    struct runner *u = calloc(1, sizeof *u);
    if (u == NULL) {
        log_error("no memory for a bridge");
        return;
    }
    u->bridges    = all;
    u->version    = version;
    u->generation = generation_of(all, stripe);
    u->stripe     = stripe;
    u->name_size  = (uint8_t)name.size;
    memcpy(u->name, name.data, name.size);
    uplink_init(&u->uplink, all->shard->io, all->shard->chunks, &all->dirty);
    const struct bridge_port port = uplink_port(&u->uplink);
    u->bridge = bridge_new(all->shard->kernel, all->shard->timers, &u->uplink.out, &port, name, spec);
    if (u->bridge == NULL) {
        log_error("no memory for a bridge");
        free(u);
        return;
    }
    u->uplink.bridge = u->bridge;
    bridge_begin(u->bridge, all->shard->mqtt.now_ns, all->shard->mqtt.wall_ns);
    list_push_back(&all->uplinks, &u->link);
}

static void changed(struct store_watch *watch, const struct store_item *item)
{
    struct bridges *all = watch->ctx;
    char            why[256];
    if (item->key.size > BRIDGE_NAME_MAX || all->stopped || !all->senior ||
        owner_of(item->key, all->shard->broker->shard_count) != all->shard->index) {
        return;
    }
    struct runner *u = find(all, item->key);
    if (u != NULL && u->version >= item->version) {
        u->generation = generation_of(all, item->stripe);
        return;
    }
    if (item->deleted) {
        if (u != NULL) {
            runner_end(u);
        }
        return;
    }
    struct bridge_spec *own = malloc(sizeof *own); /* large */
    if (own == NULL || item->value.size == 0 || item->value.data[0] != ROW_VERSION ||
        bridge_spec_read(item->key, bytes_of(item->value.data + 1, item->value.size - 1), own, why, sizeof why) != 0) {
        log_error("the row of a bridge is not understood: passed over");
        free(own);
        return;
    }
    if (u != NULL) {
        runner_free(u);
    }
    runner_start(all, item->key, own, item->version, item->stripe);
    free(own);
}

static void restarted(struct store_watch *watch, uint32_t shard, uint32_t shard_count)
{
    struct bridges *all = watch->ctx;
    if (all->store_shards == 0) {
        all->generations = calloc(shard_count, sizeof *all->generations);
        ASSERT(all->generations != NULL);
        all->store_shards = shard_count;
    }
    all->generations[shard]++;
}

static void synced(struct store_watch *watch, uint32_t shard, uint32_t shard_count)
{
    struct bridges *all = watch->ctx;
    LIST_EACH (&all->uplinks, link) {
        struct runner *u = CONTAINER_OF(link, struct runner, link);
        if (u->stripe % shard_count == shard && u->generation != all->generations[shard] && !u->ending) {
            runner_end(u);
        }
    }
}

/* ---- from the shard ------------------------------------------------------------------------------------------------------------ */

struct bridges *bridges_new(struct shard *shard)
{
    struct bridges *all = calloc(1, sizeof *all);
    if (all != NULL) {
        all->shard = shard;
        all->watch = (struct store_watch){.changed = changed, .synced = synced, .restarted = restarted, .ctx = all};
        list_init(&all->uplinks);
        list_init(&all->dirty);
    }
    return all;
}

void bridges_free(struct bridges *all)
{
    if (all == NULL) {
        return;
    }
    LIST_EACH (&all->uplinks, link) {
        runner_free(CONTAINER_OF(link, struct runner, link));
    }
    free(all->generations);
    free(all);
}

void bridges_begin(struct bridges *all)
{
    LIST_EACH (&all->uplinks, link) {
        struct runner *u = CONTAINER_OF(link, struct runner, link);
        bridge_begin(u->bridge, all->shard->mqtt.now_ns, all->shard->mqtt.wall_ns);
    }
}

static bool shown_again(struct store_scan *scan, const struct store_item *item)
{
    struct bridges *all = scan->ctx;
    changed(&all->watch, item);
    return true;
}

static void all_shown(struct store_scan *scan, int status)
{
    struct bridges *all = scan->ctx;
    all->scanning       = false;
    all->senior         = all->senior && status == 0; /* else once more */
}

/* It runs bridges from the moment it is the senior. One that was taken for dead runs none until it is again. */
static void look_senior(struct bridges *all)
{
    bool senior = kernel_senior(all->shard->kernel);
    if (LIKELY(senior == all->senior) || all->scanning || !store_known(all->shard->store)) {
        return;
    }
    all->senior = senior;
    if (!senior) {
        LIST_EACH (&all->uplinks, link) {
            runner_free(CONTAINER_OF(link, struct runner, link));
        }
    } else if (!all->watching) {
        all->watching = true;
        store_watch_start(all->shard->store, &all->watch, TABLE_BRIDGES);
    } else {
        all->scanning = true;
        all->scan     = (struct store_scan){.item = shown_again, .done = all_shown, .ctx = all};
        store_scan_start(all->shard->store, &all->scan, STORE_STRIPE_ALL, TABLE_BRIDGES, RPC_SCAN_PREFIX,
                         (struct bytes){0});
    }
}

void bridges_turn(struct bridges *all)
{
    look_senior(all);
    LIST_EACH (&all->uplinks, link) {
        struct runner *u = CONTAINER_OF(link, struct runner, link);
        bridge_turn(u->bridge);
        if (u->ending && bridge_ended(u->bridge)) {
            runner_free(u);
        }
    }
    struct list *link = NULL;
    while ((link = list_pop_front(&all->dirty)) != NULL) {
        struct outq *out = CONTAINER_OF(link, struct outq, dirty_link);
        uplink_flush(CONTAINER_OF(out, struct uplink, out));
    }
}

void bridges_stop(struct bridges *all)
{
    all->stopped = true;
    LIST_EACH (&all->uplinks, link) {
        bridge_stop(CONTAINER_OF(link, struct runner, link)->bridge);
    }
}

uint64_t bridges_up(const struct bridges *all)
{
    uint64_t count = 0;
    for (const struct list *link = all->uplinks.next; link != &all->uplinks; link = link->next) {
        const struct runner *u = CONTAINER_OF((struct list *)(uintptr_t)link, struct runner, link);
        count += u->bridge->state == BRIDGE_UP;
    }
    return count;
}

/* ---- asked ----------------------------------------------------------------------------------------------------------------------- */

struct bridges_question {
    struct question        question; /* first */
    struct store_call      call;
    struct bridges *const *bridges;
    char                   method[8];
    uint32_t               name_size;
    uint8_t                name[BRIDGE_NAME_MAX];
    size_t                 body_size;
    uint8_t                body[BRIDGE_SPEC_MAX + 1]; /* the row: version, lines */
};

static void list_all(struct bridges_question *q)
{
    char           *text = NULL;
    size_t          size = 0;
    FILE           *to   = open_memstream(&text, &size);
    struct bridges *all  = *q->bridges;
    if (to == NULL) {
        question_settle(&q->question, 500, NULL);
        return;
    }
    LIST_EACH (&all->uplinks, link) {
        const struct runner *u = CONTAINER_OF(link, struct runner, link);
        const struct bridge *b = u->bridge;
        fprintf(to, "%.*s\t%s:%u\t%s\t%llu\t%llu\t%llu\t%llu\t%s\n", (int)u->name_size, (const char *)u->name,
                b->spec.host, b->spec.port, u->ending ? "ending" : bridge_state_name(b),
                (unsigned long long)b->counters.sent, (unsigned long long)b->counters.received,
                (unsigned long long)b->counters.dropped, (unsigned long long)b->counters.connects,
                u->ending ? "" : bridge_why(b));
    }
    fclose(to);
    question_settle(&q->question, 200, text);
}

static const char *const no_bridge = "there is no bridge of this name; `keel ctl bridge list` shows those that are";

static void show(struct bridges_question *q)
{
    char                *text = NULL;
    size_t               size = 0;
    const struct runner *u    = find(*q->bridges, bytes_of(q->name, q->name_size));
    if (u == NULL) {
        question_say(&q->question, 404, no_bridge);
        return;
    }
    FILE                *to = open_memstream(&text, &size);
    const struct bridge *b  = u->bridge;
    if (to == NULL) {
        question_settle(&q->question, 500, NULL);
        return;
    }
    fprintf(to, "name: %.*s\naddress: %s:%u\nstate: %s\nversion: %u\nclient_id: %s\nuser: %s\nkeep_alive: %u\n",
            (int)u->name_size, (const char *)u->name, b->spec.host, b->spec.port, bridge_state_name(b), b->spec.version,
            b->spec.client_id, b->spec.user, b->spec.keep_alive_s);
    if (b->spec.password_file[0] != '\0') {
        fprintf(to, "password_file: %s\n", b->spec.password_file);
    }
    fprintf(to, "sent: %llu\nreceived: %llu\ndropped: %llu\nconnects: %llu\n", (unsigned long long)b->counters.sent,
            (unsigned long long)b->counters.received, (unsigned long long)b->counters.dropped,
            (unsigned long long)b->counters.connects);
    if (*bridge_why(b) != '\0') {
        fprintf(to, "reason: %s\n", bridge_why(b));
    }
    for (uint32_t i = 0; i < b->spec.topic_count; i++) {
        const struct bridge_topic *t      = &b->spec.topics[i];
        static const char *const   ways[] = {"", "->", "<-", "<->"};
        fprintf(to, "topic: %.*s %s %.*s qos %u\n", t->local_size, t->local, ways[t->ways], t->remote_size, t->remote,
                t->qos);
    }
    fclose(to);
    question_settle(&q->question, 200, text);
}

static void written(struct store_call *call, int status, struct bytes results)
{
    (void)results;
    struct bridges_question *q = CONTAINER_OF(call, struct bridges_question, call);
    if (status != 0) {
        question_say(&q->question, 503, err_sentence(status));
    } else {
        question_say(&q->question, 200, "done");
    }
}

static void write_row(struct bridges_question *q, bool put)
{
    struct bridges     *all  = *q->bridges;
    struct bytes        name = bytes_of(q->name, q->name_size);
    struct wire_writer *w    = store_txn_begin(all->shard->store, store_stripe(all->shard->store, name));
    op_encode(w, &(struct op){.kind  = put ? OP_TABLE_PUT : OP_TABLE_DELETE,
                              .table = TABLE_BRIDGES,
                              .name  = name,
                              .value = put ? bytes_of(q->body, q->body_size) : (struct bytes){0}});
    q->call.done = written;
    store_txn_end(all->shard->store, &q->call);
}

static void put(struct bridges_question *q)
{
    char                why[256];
    struct bridge_spec *spec  = malloc(sizeof *spec);
    int                 error = spec == NULL ? ERR_QUOTA
                                             : bridge_spec_read(bytes_of(q->name, q->name_size),
                                                                bytes_of(q->body + 1, q->body_size - 1), spec, why, sizeof why);
    free(spec);
    if (error != 0) {
        question_say(&q->question, 400, error == ERR_MALFORMED ? why : err_sentence(error));
        return;
    }
    write_row(q, true);
}

static void run(struct question *question)
{
    struct bridges_question *q   = CONTAINER_OF(question, struct bridges_question, question);
    struct bridges          *all = *q->bridges;
    if (all == NULL || !all->watching || !kernel_ready(all->shard->kernel)) {
        question_say(question, 503, "the broker waits for the segment store");
    } else if (q->name_size == 0 && strcmp(q->method, "GET") == 0) {
        list_all(q);
    } else if (q->name_size != 0 && strcmp(q->method, "GET") == 0) {
        show(q);
    } else if (q->name_size != 0 && strcmp(q->method, "PUT") == 0) {
        put(q);
    } else if (q->name_size != 0 && strcmp(q->method, "DELETE") == 0) {
        if (find(all, bytes_of(q->name, q->name_size)) == NULL) {
            question_say(question, 404, no_bridge);
        } else {
            write_row(q, false);
        }
    } else {
        question_say(question, 404, "paths: GET /bridges, and GET, PUT and DELETE /bridges/NAME");
    }
}

static int ask_one(struct desk *desk, struct bridges *const *bridges, const char *method, struct bytes name,
                   struct bytes body, char **out_text)
{
    struct bridges_question *q = question_new(sizeof *q, run);
    *out_text                  = NULL;
    if (q == NULL) {
        return 500;
    }
    snprintf(q->method, sizeof q->method, "%s", method);
    q->bridges   = bridges;
    q->name_size = (uint32_t)name.size;
    q->body_size = body.size + 1;
    q->body[0]   = ROW_VERSION;
    memcpy(q->name, name.data, name.size);
    if (body.size != 0) {
        memcpy(q->body + 1, body.data, body.size);
    }
    return question_ask(desk, &q->question, out_text);
}

/* Each shard lists its own. */
static int ask_all(struct desk *const *desks, struct bridges *const *bridges, unsigned count, const char *method,
                   char **out_text)
{
    char  *all    = strdup("");
    int    status = 200;
    size_t size   = 0;
    for (unsigned i = 0; i < count && all != NULL && status == 200; i++) {
        char *text   = NULL;
        status       = ask_one(desks[i], &bridges[i], method, bytes_of("", 0), (struct bytes){0}, &text);
        size_t more  = text == NULL ? 0 : strlen(text);
        char  *grown = status == 200 ? realloc(all, size + more + 1) : NULL;
        if (grown == NULL) {
            free(all);
            *out_text = text;
            return status == 200 ? 500 : status;
        }
        all = grown;
        memcpy(all + size, text == NULL ? "" : text, more + 1);
        size += more;
        free(text);
    }
    *out_text = all;
    return status;
}

int bridges_handle(struct desk *const *desks, struct bridges *const *bridges, unsigned count, const char *method,
                   const char *path, struct bytes body, char **out_text)
{
    const char  *text = strncmp(path, "/bridges/", NAME_AT) == 0 ? path + NAME_AT : "";
    struct bytes name = bytes_str(text);
    if (strcmp(path, "/bridges") == 0) {
        return ask_all(desks, bridges, count, method, out_text);
    }
    if (!capture_name_valid(name) || body.size > BRIDGE_SPEC_MAX) {
        *out_text =
            strdup("a bridge has a name of 1 to 64 letters, digits, '-', '_' or '.', and at most 16 KiB of lines\n");
        return 400;
    }
    unsigned owner = owner_of(name, count);
    return ask_one(desks[owner], &bridges[owner], method, name, body, out_text);
}
