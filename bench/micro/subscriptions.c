/* What a subscription costs in a broker of one shard and of two: bytes of memory that the allocator has in use for it in all, and how many publishes
 * a second one shard finds the receivers of. A million subscriptions of 10 000 clients, seven tenths exact, and topics of which each has
 * five destinations: one exact, '+' at the end and in the middle, '#' twice. Live ones; those of stored sessions whose clients are away, then connected:
 * they are written into the store before the kernels begin, so that what the store itself takes is not counted. */
#include "broker/kernel/gather.h"
#include "broker/kernel/interest.h"
#include "broker/kernel/kernel.h"
#include "broker/kernel/route.h"
#include "broker/kernel/tables.h"
#include "shared/base/timer.h"
#include "tests/unit/broker/kernel/fake_store.c"

#include <jemalloc/jemalloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum {
    SHARDS     = 2,
    MILLION    = 1000000,
    TENTH      = MILLION / 10,
    CLIENTS    = 10000,
    EACH       = MILLION / CLIENTS,
    TOPICS     = 100000,
    ROUNDS     = 10,
    STRIPES    = 4,
    TOGETHER   = 500,
    ALL        = 1000000, /* of what is under way at the store */
    EXPIRY_S   = 3600,
    TEXT_BYTES = 64
};

static struct kernel *kernels[SHARDS];
static struct list    mails[SHARDS];
static unsigned       shard_count;

struct mail {
    struct list        link;
    unsigned           from;
    struct kernel_mail mail;
};

static uint64_t clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static size_t memory_bytes(void)
{
    uint64_t epoch  = 1;
    size_t   active = 0;
    size_t   size   = sizeof active;
    mallctl("epoch", NULL, NULL, &epoch, sizeof epoch);
    return mallctl("stats.active", &active, &size, NULL, 0) == 0 ? active : 0;
}

/* ---- a client that wants nothing but its subscriptions ----------------------------------------------------------------- */

static uint64_t          granted;
static volatile uint64_t sink;

static void on_opened(struct client *client, int status, bool present)
{
    (void)client;
    (void)status;
    (void)present;
}

static void on_subscribed(struct client *client, uint16_t id, const int *results, int count)
{
    (void)client;
    (void)id;
    for (int i = 0; i < count; i++) {
        granted += results[i] >= 0;
    }
}

static const struct client_ops ops = {.opened = on_opened, .subscribed = on_subscribed};

/* ---- what the shards do around their kernels ---------------------------------------------------------------------------- */

static bool post(void *ctx, unsigned to, const struct kernel_mail *mail)
{
    struct mail *m = malloc(sizeof *m);
    *m             = (struct mail){.from = (unsigned)(uintptr_t)ctx, .mail = *mail};
    list_push_back(&mails[to], &m->link);
    return true;
}

static uint64_t random_of(void *ctx)
{
    return 42 + (uintptr_t)ctx;
}

static void turn(struct store *const *stores)
{
    for (int round = 0; round < 4; round++) {
        for (unsigned i = 0; i < shard_count; i++) {
            kernel_begin(kernels[i], 1000000000, 1700000000000000000u);
            while (!list_empty(&mails[i])) {
                struct mail *m = CONTAINER_OF(list_pop_front(&mails[i]), struct mail, link);
                kernel_receive(kernels[i], m->from, &m->mail);
                free(m);
            }
            fake_apply(stores[i], ALL);
            fake_answer(stores[i]);
            kernel_end(kernels[i]);
        }
    }
}

/* ---- the filters of bench/micro/match.c ----------------------------------------------------------------------------------- */

static void filter_of(uint32_t i, char *out, size_t room)
{
    static const char *wild[] = {"site/%u/+", "site/+/%u/temperature", "site/%u/#"};
    if (i < TENTH) {
        snprintf(out, room, "site/%u/%u/temperature", i, i);
    } else if (i < 7 * TENTH) {
        snprintf(out, room, "device/%u/command", i);
    } else if (i < 9 * TENTH) {
        snprintf(out, room, wild[1 + i / TENTH % 2], i % TENTH);
    } else if (i % 2 == 0) {
        snprintf(out, room, "site/%u/+/temperature", i % TENTH);
    } else {
        snprintf(out, room, "site/%u/%u/#", i % TENTH - 1, i % TENTH - 1);
    }
}

/* Of the client's subscriptions number i. */
static struct bytes filter_at(uint32_t client, uint32_t i, char *out)
{
    filter_of(i * CLIENTS + client, out, TEXT_BYTES);
    return bytes_str(out);
}

static struct bytes id_of(uint32_t client, char *out)
{
    snprintf(out, TEXT_BYTES, "client-%u", client);
    return bytes_str(out);
}

static void open_one(struct client *client, uint32_t number, uint32_t expiry_s)
{
    char                id[TEXT_BYTES];
    struct open_request request = {
        .client_id = id_of(number, id), .clean_start = expiry_s == 0, .expiry_s = expiry_s, .receive_max = 100};
    client->ops = &ops;
    kernel_open(kernels[number % shard_count], client, &request);
}

static void subscribe_all(struct store *const *stores, struct client *clients)
{
    char                texts[EACH][TEXT_BYTES];
    struct subscription subs[EACH];
    for (uint32_t c = 0; c < CLIENTS; c++) {
        open_one(&clients[c], c, 0);
        turn(stores);
        for (uint32_t i = 0; i < EACH; i++) {
            subs[i] = (struct subscription){.filter = filter_at(c, i, texts[i]), .retain_handling = 2};
        }
        kernel_subscribe(kernels[c % shard_count], &clients[c], 1, subs, EACH);
        turn(stores);
    }
}

/* ---- sessions that the store has ------------------------------------------------------------------------------------------ */

static uint64_t created; /* the stream */

static void done_created(struct store_call *call, int status, struct bytes results)
{
    (void)call;
    struct wire_reader r = wire_reader_of(results);
    wire_get_u64(&r); /* version of the session's row */
    created = wire_get_u64(&r);
    granted += status == 0 ? 0 : 1 << 30;
}

static void done_rows(struct store_call *call, int status, struct bytes results)
{
    (void)call;
    (void)results;
    granted += status == 0 ? EACH : 0;
}

static void write_sessions(struct fake_world *world)
{
    static uint8_t name[NAME_MAX_BYTES];
    static uint8_t key[SUB_KEY_MAX_BYTES];
    struct store  *store = fake_store_new(world, 99);
    char           text[TEXT_BYTES];
    char           filter[TEXT_BYTES];
    uint8_t        value[SESSION_ROW_BYTES + SUB_ROW_BYTES];
    for (uint32_t c = 0; c < CLIENTS; c++) {
        struct bytes        id     = id_of(c, text);
        struct store_call   call   = {.done = done_created};
        uint16_t            stripe = store_stripe(store, tables_stream(name, id));
        struct wire_writer *w      = store_txn_begin(store, stripe);
        struct session_row  row    = {.inflight_max = 100, .expiry_s = EXPIRY_S};
        struct op           put    = {
                         .kind = OP_TABLE_PUT, .table = TABLE_SESSIONS, .name = id, .value = session_row_write(value, &row)};
        op_encode(w, &put);
        op_encode(
            w, &(struct op){
                   .kind = OP_STREAM_CREATE, .flags = STREAM_QUEUE, .name = tables_stream(name, id), .owner = 1 + c});
        store_txn_end(store, &call);
        (void)fake_apply(store, ALL);
        (void)fake_answer(store);
        call.done = done_rows;
        w         = store_txn_begin(store, stripe);
        for (uint32_t i = 0; i < EACH; i++) {
            struct sub_row sub = {.flags = 1, .stream_id = created};
            op_encode(w, &(struct op){.kind  = OP_TABLE_PUT,
                                      .table = TABLE_SUBSCRIPTIONS,
                                      .name  = tables_sub_key(key, id, filter_at(c, i, filter)),
                                      .value = sub_row_write(value, &sub)});
        }
        store_txn_end(store, &call);
        (void)fake_apply(store, ALL);
        (void)fake_answer(store);
    }
    fake_store_lose(store);
}

/* All topics once: matched alone, or all that a publish does until it knows who gets it. ns. */
static uint64_t look(char (*names)[TEXT_BYTES], uint8_t qos, bool gathered, uint64_t *hits)
{
    struct message           m = {.payload = {0}, .qos = qos};
    struct interest_question question;
    uint32_t                 rows[SHAPES_MAX + 1];
    const uint32_t          *nodes;
    struct kernel           *k        = kernels[0];
    uint64_t                 began_ns = clock_ns();
    for (uint32_t i = 0; i < TOPICS; i++) {
        m.topic = bytes_str(names[i]);
        if (gathered) {
            struct found found = gather(k, &m, NULL, false);
            *hits += (uint64_t)__builtin_popcountll(found.shards) + k->target_count;
        } else {
            interest_ask(k, m.topic, &question);
            uint32_t found = match_find(k->tree, m.topic, &nodes);
            route_fetch(k, &question);
            sink += found + interest_answer(k, &question, 0) + route_match(k, &question, m.topic, rows);
        }
    }
    return clock_ns() - began_ns;
}

static void report(const char *what, size_t bytes, uint8_t qos)
{
    char(*names)[TEXT_BYTES] = malloc(TOPICS * sizeof *names);
    uint64_t hits            = 0;
    for (uint32_t i = 0; i < TOPICS; i++) {
        uint32_t at = i * 7919u % TENTH & ~1u;
        snprintf(names[i], sizeof names[i], "site/%u/%u/temperature", at, at);
    }
    uint64_t best[2] = {UINT64_MAX, UINT64_MAX};
    for (uint32_t i = 0; i < 2 * ROUNDS; i++) { /* the best of several: what else runs on the machine only adds */
        uint64_t ns = look(names, qos, i % 2 != 0, &hits) / TOPICS;
        best[i % 2] = ns < best[i % 2] ? ns : best[i % 2];
    }
    printf("%u shard%s %s: %llu subscriptions, %.1f bytes each; a publish is matched in %llu ns, its receivers are "
           "found in %llu ns (%.2f streams, sessions here and shards)\n",
           shard_count, shard_count == 1 ? " " : "s", what, (unsigned long long)granted, (double)bytes / MILLION,
           (unsigned long long)best[0], (unsigned long long)best[1], (double)hits / TOPICS / ROUNDS);
    fflush(stdout);
    free(names);
}

static void measure(unsigned shards, bool stored)
{
    const struct kernel_limits limits = {.subscriptions_max    = EACH,
                                         .inflight_max         = 100,
                                         .publish_pending_max  = 1000,
                                         .live_queue_bytes     = 1 << 20,
                                         .session_expiry_max_s = EXPIRY_S};
    struct fake_world         *world  = fake_world_new(STRIPES, 0);
    struct store              *stores[SHARDS];
    struct timer_wheel        *timers[SHARDS];
    struct client             *clients = calloc(CLIENTS, sizeof *clients);
    shard_count                        = shards;
    granted                            = 0;
    if (stored) {
        write_sessions(world);
    }
    for (unsigned i = 0; i < shards; i++) {
        list_init(&mails[i]);
        stores[i] = fake_store_new(world, 1 + i);
        timers[i] = timer_wheel_new(0);
    }
    size_t before = memory_bytes();
    for (unsigned i = 0; i < shards; i++) {
        struct kernel_port port = {.ctx = (void *)(uintptr_t)i, .post = post, .random = random_of};
        kernels[i]              = kernel_new(i, shards, &limits, &port, stores[i], timers[i]);
    }
    turn(stores);
    if (stored) {
        report("stored, away     ", memory_bytes() - before, 1);
        for (uint32_t c = 0; c < CLIENTS; c++) {
            open_one(&clients[c], c, EXPIRY_S);
            if ((c + 1) % TOGETHER == 0) { /* a turn looks at all sessions that are open */
                turn(stores);
                turn(stores);
            }
        }
        report("stored, connected", memory_bytes() - before, 1);
    } else {
        subscribe_all(stores, clients);
        report("live             ", memory_bytes() - before, 0);
    }
    for (unsigned i = 0; i < shards; i++) {
        kernel_free(kernels[i]);
        timer_wheel_free(timers[i]);
    }
    fake_world_free(world);
    free(clients);
}

int main(void)
{
    for (unsigned shards = 1; shards <= SHARDS; shards++) {
        measure(shards, false);
        measure(shards, true);
    }
    return 0;
}
