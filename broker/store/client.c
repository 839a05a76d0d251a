/* client.c - the kernel's store port over links: transactions, and what all links share. */
#include "broker/store/client.h"

#include "broker/store/nodes.h"
#include "broker/store/pushes.h"
#include "broker/store/relay.h"
#include "broker/store/route.h"
#include "broker/store/scan.h"
#include "shared/base/buggify.h"
#include "shared/base/err.h"
#include "shared/base/hash.h"
#include "shared/base/log.h"
#include "shared/base/timer.h"
#include "shared/loop/io.h"
#include "shared/rpc/schema.h"

#include <stdlib.h>

/* Unanswered bytes at which publishers should wait: a few turns of a fast disk, far below what would hurt. */
enum { CONGESTED_BYTES = 8 * 1024 * 1024 };

/* How long until a leader that refused is asked again; who leads instead is mostly heard sooner. */
static const uint64_t again_after_ns = 100000000;

static void on_up(void *ctx, struct link *link, const struct link_welcome *welcome)
{
    struct store *store = ctx;
    if (!nodes_welcome(store, link, welcome)) {
        link->broken = true;
        return;
    }
    routes_seen(store);
    store->pushes_stale = true;
}

static void on_down(void *ctx, struct link *link)
{
    pushes_down(ctx, link);
    scan_down(ctx, link);
}

static void on_answered(void *ctx, struct link *link, const struct queue_request *request, const struct frame *frame)
{
    struct wire_reader r      = wire_reader_of(frame->body);
    int                status = (int)wire_get_u32(&r);
    (void)link;
    if (request->kind == RPC_SCAN) {
        scan_answered(ctx, request->owner, frame);
        return;
    }
    ASSERT(request->kind == RPC_TXN);
    struct store_call *call     = request->owner;
    struct bytes       results  = {0};
    bool               refusing = false;
    if (frame->kind == RPC_TXN_DONE && !r.bad && status == 0) {
        results = bytes_of(r.at, wire_left(&r));
    } else if (frame->kind == RPC_TXN_DONE && !r.bad) {
        refusing = wire_get_u8(&r) != 0 && !r.bad;
    } else if (frame->kind != RPC_ERROR || status >= 0) {
        status = ERR_MALFORMED;
    }
    route_answered(ctx, request->stripe, refusing);
    call->done(call, status, results);
}

static void on_refused(void *ctx, struct link *link, uint16_t stripe)
{
    route_refused(ctx, link, stripe);
}

static bool on_pushed(void *ctx, struct link *link, const struct frame *frame)
{
    return pushes_pushed(ctx, link, frame);
}

static bool on_relayed(void *ctx, struct link *link, const struct frame *frame)
{
    (void)link;
    return relay_arrived(ctx, frame);
}

static bool on_leaders(void *ctx, struct link *link, struct wire_reader *r)
{
    (void)link;
    return routes_heard(ctx, r);
}

static const struct link_handler store_links = {.up       = on_up,
                                                .down     = on_down,
                                                .answered = on_answered,
                                                .refused  = on_refused,
                                                .pushed   = on_pushed,
                                                .relayed  = on_relayed,
                                                .leaders  = on_leaders};

struct store *store_client_new(struct io *io, struct timer_wheel *timers, const struct store_client_config *config)
{
    struct store *store = calloc(1, sizeof *store);
    ASSERT(store != NULL && config->seed_count >= 1 && config->seed_count <= STORE_SEEDS_MAX);
    store->io      = io;
    store->timers  = timers;
    store->config  = *config;
    store->handler = &store_links;
    store->scratch = wire_writer_growing(RPC_BODY_MAX_BYTES + RPC_HEADER_BYTES + 4096);
    list_init(&store->failed);
    list_init(&store->watches);
    list_init(&store->scans);
    list_init(&store->scans_waiting);
    nodes_start(store);
    return store;
}

void store_client_free(struct store *store)
{
    if (store == NULL) {
        return;
    }
    timer_cancel(store->timers, &store->again);
    nodes_fini(store);
    pushes_fini(store);
    scan_fini(store);
    routes_fini(store);
    wire_writer_fini(&store->scratch);
    free(store);
}

static void on_again(struct timer *timer, uint64_t now_ns)
{
    struct store *store = CONTAINER_OF(timer, struct store, again);
    (void)now_ns;
    routes_again(store);
    pushes_ask_again(store);
    scan_ask_again(store);
}

void store_again(struct store *store)
{
    if (!timer_armed(&store->again)) {
        timer_arm(store->timers, &store->again, io_now_ns(store->io) + again_after_ns, on_again);
    }
}

void store_client_turn(struct store *store)
{
    struct list *link = NULL;
    while ((link = list_pop_front(&store->failed)) != NULL) {
        struct store_call *call = CONTAINER_OF(link, struct store_call, link);
        call->done(call, ERR_TOO_BIG, (struct bytes){0});
    }
    routes_turn(store);
    pushes_turn(store);
    scan_turn(store);
    for (uint32_t i = 0; i < store->link_count; i++) {
        link_flush(store->links[i]);
    }
}

void store_client_counters(const struct store *store, struct store_client_counters *out)
{
    *out = (struct store_client_counters){.requests_open = store->parked_count};
    for (uint32_t i = 0; i < store->link_count; i++) {
        const struct link *link = store->links[i];
        out->links_up += link->state == LINK_UP;
        out->requests_open += link->queue.open_count;
        out->reconnects += link->reconnects;
        out->corrupt_frames += link->corrupt_frames;
    }
}

bool store_known(const struct store *store)
{
    return store->known;
}

uint16_t store_stripe_count(const struct store *store)
{
    ASSERT(store->stripe_count != 0);
    return store->stripe_count;
}

uint16_t store_stripe(const struct store *store, struct bytes name)
{
    return (uint16_t)(hash_bytes(name) % store_stripe_count(store));
}

uint64_t store_owner(const struct store *store)
{
    return store->config.owner;
}

uint64_t store_heard_ns(const struct store *store, uint16_t stripe)
{
    const struct link *link = store_reader(store, stripe);
    return link == NULL ? 0 : link->heard_ns;
}

bool store_congested(const struct store *store)
{
    uint64_t held_bytes = store->parked_bytes;
    for (uint32_t i = 0; i < store->link_count; i++) {
        held_bytes += store->links[i]->queue.held_bytes;
    }
    return held_bytes > CONGESTED_BYTES || (held_bytes != 0 && BUGGIFY("client: congested", 10));
}

struct link *store_reader(const struct store *store, uint16_t stripe)
{
    struct link *link = stripe < store->stripe_count ? store->routes[stripe].link : NULL;
    return link != NULL && link->state == LINK_UP ? link : NULL;
}

struct wire_writer *store_txn_begin(struct store *store, uint16_t stripe)
{
    ASSERT(!store->in_txn && stripe < store->stripe_count);
    const struct route *route = &store->routes[stripe];
    store->in_txn             = true;
    store->txn_stripe         = stripe;
    store->scratch.size       = 0;
    store->scratch.bad        = false;
    (void)frame_begin(&store->scratch, RPC_TXN, LIKELY(route->to != NULL) ? queue_next_id(&route->to->queue) : 0);
    wire_put_u16(&store->scratch, stripe);
    wire_put_u16(&store->scratch, route->round);
    wire_put_u64(&store->scratch, route->term);
    return &store->scratch;
}

void store_txn_end(struct store *store, struct store_call *call)
{
    struct route *route = &store->routes[store->txn_stripe];
    ASSERT(store->in_txn);
    store->in_txn = false;
    if (frame_end(&store->scratch, 0) < 0) {
        list_push_back(&store->failed, &call->link);
        return;
    }
    if (UNLIKELY(route->to == NULL)) {
        route_park(store, store->txn_stripe, wire_written(&store->scratch), call);
        return;
    }
    route->open++;
    link_request(route->to, wire_written(&store->scratch), RPC_TXN, store->txn_stripe, call);
}
