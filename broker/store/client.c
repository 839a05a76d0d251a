/* client.c - the kernel's store port over links: transactions, and what all links share. */
#include "broker/store/client.h"

#include "broker/store/scan.h"
#include "broker/store/state.h"
#include "broker/store/pushes.h"
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

static void on_up(void *ctx, struct link *link, const struct link_welcome *welcome);

static void on_down(void *ctx, struct link *link)
{
    struct store *store = ctx;
    (void)link;
    store->up_count--;
}

static void on_answered(void *ctx, struct link *link, uint16_t kind, void *owner, const struct frame *frame)
{
    struct wire_reader r      = wire_reader_of(frame->body);
    int                status = (int)wire_get_u32(&r);
    if (kind == RPC_SCAN) {
        scan_answered(ctx, link, owner, frame);
        return;
    }
    ASSERT(kind == RPC_TXN);
    struct store_call *call    = owner;
    struct bytes       results = {0};
    if (frame->kind == RPC_TXN_DONE && !r.bad && status == 0) {
        results = bytes_of(r.at, wire_left(&r));
    } else if (frame->kind == RPC_TXN_DONE && !r.bad) {
        if (wire_get_u8(&r) != 0 && !r.bad) {
            link_resume(link);
        }
    } else if (frame->kind != RPC_ERROR || status >= 0) {
        status = ERR_MALFORMED;
    }
    call->done(call, status, results);
}

static bool on_pushed(void *ctx, struct link *link, const struct frame *frame)
{
    return pushes_pushed(ctx, link, frame);
}

static bool on_leaders(void *ctx, struct link *link, struct wire_reader *r)
{
    struct store *store = ctx;
    uint16_t      count = wire_get_u16(r);
    (void)link;
    for (uint16_t i = 0; i < count && !r->bad; i++) {
        uint16_t stripe = wire_get_u16(r);
        (void)wire_get_u16(r);
        uint64_t term = wire_get_u64(r);
        if (!r->bad && stripe < store->stripe_count && term > store->terms[stripe]) {
            store->terms[stripe] = term;
        }
    }
    return !r->bad;
}

static const struct link_handler store_links = {
    .up = on_up, .down = on_down, .answered = on_answered, .pushed = on_pushed, .leaders = on_leaders};

static struct link *make_link(struct store *store, uint32_t shard)
{
    struct link *link = calloc(1, sizeof *link);
    ASSERT(link != NULL);
    link_init(link);
    link->io       = store->io;
    link->timers   = store->timers;
    link->handler  = &store_links;
    link->ctx      = store;
    link->address  = store->config.address;
    link->port     = store->config.port;
    link->shard    = shard;
    link->instance = store->config.instance;
    link->owner    = store->config.owner;
    return link;
}

static void on_up(void *ctx, struct link *link, const struct link_welcome *welcome)
{
    struct store *store = ctx;
    store->up_count++;
    if (store->stripe_count == 0) { /* the first welcome ever: now the other shards are known */
        store->stripe_count     = (uint16_t)welcome->stripe_count;
        store->shard_count      = welcome->shard_count;
        store->record_max_bytes = welcome->record_max_bytes;
        store->terms            = calloc(welcome->stripe_count, sizeof *store->terms);
        ASSERT(store->terms != NULL);
        store->links = realloc(store->links, welcome->shard_count * sizeof(struct link *));
        ASSERT(store->links != NULL);
        for (uint32_t shard = 1; shard < welcome->shard_count; shard++) {
            store->links[shard] = make_link(store, shard);
            link_start(store->links[shard]);
        }
    }
    if (store->stripe_count != welcome->stripe_count || store->shard_count != welcome->shard_count) {
        log_error("the segment store at %s:%u has %u stripes on %u shards now, it had %u on %u: start the broker again "
                  "if its data directory was "
                  "replaced",
                  store->config.address, store->config.port, welcome->stripe_count, welcome->shard_count,
                  store->stripe_count, store->shard_count);
        link->broken = true;
        return;
    }
    struct wire_reader r = welcome->rest;
    (void)wire_get_u16(&r);
    uint16_t nodes = wire_get_u16(&r);
    for (uint16_t i = 0; i < nodes && !r.bad; i++) {
        (void)wire_get_u32(&r);
        (void)wire_get_blob(&r);
    }
    link->broken = !on_leaders(ctx, link, &r);
    store->known = store->known || store->up_count == store->shard_count;
    pushes_again(store, link);
}

struct store *store_client_new(struct io *io, struct timer_wheel *timers, const struct store_client_config *config)
{
    struct store *store = calloc(1, sizeof *store);
    ASSERT(store != NULL);
    store->io      = io;
    store->timers  = timers;
    store->config  = *config;
    store->scratch = wire_writer_growing(RPC_BODY_MAX_BYTES + RPC_HEADER_BYTES + 4096);
    list_init(&store->failed);
    list_init(&store->watches);
    list_init(&store->scans);
    list_init(&store->scans_waiting);
    store->links = calloc(1, sizeof(struct link *));
    ASSERT(store->links != NULL);
    store->shard_count = 1;
    store->links[0]    = make_link(store, 0);
    link_start(store->links[0]);
    return store;
}

void store_client_free(struct store *store)
{
    if (store == NULL) {
        return;
    }
    for (uint32_t shard = 0; shard < store->shard_count; shard++) {
        link_fini(store->links[shard]);
        free(store->links[shard]);
    }
    pushes_fini(store);
    scan_fini(store);
    free(store->links);
    free(store->terms);
    wire_writer_fini(&store->scratch);
    free(store);
}

void store_client_turn(struct store *store)
{
    struct list *link = NULL;
    while ((link = list_pop_front(&store->failed)) != NULL) {
        struct store_call *call = CONTAINER_OF(link, struct store_call, link);
        call->done(call, ERR_TOO_BIG, (struct bytes){0});
    }
    pushes_turn(store);
    scan_turn(store);
    for (uint32_t shard = 0; shard < store->shard_count; shard++) {
        link_flush(store->links[shard]);
    }
}

void store_client_counters(const struct store *store, struct store_client_counters *out)
{
    *out = (struct store_client_counters){.links_up = store->up_count};
    for (uint32_t shard = 0; shard < store->shard_count; shard++) {
        out->requests_open += store->links[shard]->queue.open_count;
        out->reconnects += store->links[shard]->reconnects;
        out->corrupt_frames += store->links[shard]->corrupt_frames;
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

bool store_congested(const struct store *store)
{
    uint64_t held_bytes = 0;
    for (uint32_t shard = 0; shard < store->shard_count; shard++) {
        held_bytes += store->links[shard]->queue.held_bytes;
    }
    return held_bytes > CONGESTED_BYTES || (held_bytes != 0 && BUGGIFY("client: congested", 10));
}

struct link *store_link_of(struct store *store, uint16_t stripe)
{
    ASSERT(stripe < store->stripe_count);
    return store->links[stripe % store->shard_count];
}

struct wire_writer *store_txn_begin(struct store *store, uint16_t stripe)
{
    ASSERT(!store->in_txn);
    store->in_txn       = true;
    store->txn_link     = store_link_of(store, stripe);
    store->scratch.size = 0;
    store->scratch.bad  = false;
    (void)frame_begin(&store->scratch, RPC_TXN, queue_next_id(&store->txn_link->queue));
    wire_put_u16(&store->scratch, stripe);
    wire_put_u16(&store->scratch, 0);
    wire_put_u64(&store->scratch, store->terms[stripe]);
    return &store->scratch;
}

void store_txn_end(struct store *store, struct store_call *call)
{
    ASSERT(store->in_txn);
    store->in_txn = false;
    if (frame_end(&store->scratch, 0) < 0) {
        list_push_back(&store->failed, &call->link);
        return;
    }
    link_request(store->txn_link, wire_written(&store->scratch), RPC_TXN, call);
}
