/* open - from a granted claim to opened(): is there a stored session, and whose is it now. What it has is loaded by restore.c.
 *
 *     clean start, expiry 0          look ─▶ (end the stored one) ─▶ (will) ─▶ open, live
 *     resume, expiry 0               look ─▶ none: (will) ─▶ open, live        there is one: as below
 *     expiry > 0                     take: one transaction ─▶ subscriptions ─▶ packet ids ─▶ open, stored
 *
 * The transaction fences the stream: a former owner, on any broker, is refused from then on. */
#include "broker/kernel/delivery.h"
#include "broker/kernel/events.h"
#include "broker/kernel/life.h"
#include "broker/kernel/opening.h"
#include "broker/kernel/reader.h"
#include "broker/kernel/reserved.h"
#include "broker/kernel/will.h"
#include "shared/base/err.h"
#include "shared/rpc/op.h"
#include "shared/rpc/schema.h"

#include <stdlib.h>

enum { ORPHAN_RETRIES_MAX = 500 };
#define ORPHAN_RETRY_NS 20000000ull

/* ---- ways out ------------------------------------------------------------------------------------------------------- */

void open_finish(struct session *s, int error)
{
    struct kernel  *k        = s->kernel;
    struct opening *o        = s->opening;
    struct client  *client   = s->client;
    bool            present  = o->present;
    bool            clean    = o->clean_start;
    bool            discard  = o->discard_will;
    bool            set      = o->set_expiry;
    uint32_t        expiry_s = o->expiry_s;
    s->opening               = NULL;
    free(o);
    if (error != 0 && client != NULL) {
        s->client       = NULL;
        client->session = NULL;
        client->ops->opened(client, error, false);
    }
    if (s->client == NULL) {
        close_begin(s, discard, set, expiry_s);
        return;
    }
    session_step(s, SESSION_OPEN);
    k->counters.sessions_open++;
    client->ops->opened(client, 0, present);
    if (client->session == s) {
        events_connected(s, clean, present);
    }
    if (client->session != s || !session_stored(s)) {
        return;
    }
    const struct window *w = &s->delivery->window;
    for (uint64_t offset = w->base; client->session == s && offset < w->next; offset++) {
        if (window_get(w, offset) == WINDOW_RELEASED) {
            client->ops->deliver_release(client, window_id(offset)); /* [MQTT-4.4.0-1] */
        }
    }
    if (client->session == s && s->state == SESSION_OPEN) {
        delivery_follow(s);
        readers_begin(s);
    }
}

/* Refused before anything was changed in the store. */
static void refuse(struct session *s, int error)
{
    struct client *client = s->client;
    s->client             = NULL;
    if (client != NULL) {
        client->session = NULL;
        client->ops->opened(client, error, false);
    }
    directory_release(s);
    session_free(s);
}

/* ---- a stored session ----------------------------------------------------------------------------------------------- */

static void skip_deleted(struct wire_reader *r)
{
    wire_get_u8(r);  /* will run */
    wire_get_u8(r);  /* expiry cancelled */
    wire_get_u8(r);  /* row */
    wire_get_u64(r); /* subscriptions */
    wire_get_u64(r); /* packet ids */
    wire_get_u64(r); /* cursors */
}

/* The broker that served it died, and what it had sent was not noted: as far as it can have got. */
static uint64_t maybe_sent(const struct window *w, uint64_t sent, uint64_t next, uint32_t inflight_max)
{
    uint64_t below = w->base;
    for (uint32_t left = inflight_max; left != 0 && below < next; below++) {
        left -= window_get(w, below) == WINDOW_NONE;
    }
    return below > sent ? below : sent;
}

/* Results of take(), in the order of its ops. */
static int took(struct session *s, struct bytes results)
{
    struct opening        *o    = s->opening;
    struct keep           *keep = s->keep;
    struct wire_reader     r    = wire_reader_of(results);
    struct session_row     row  = {0};
    struct delivery_state *d    = session_delivery(s);
    if (o->clean_start && !o->ended) {
        skip_deleted(&r);
    }
    wire_get_u8(&r); /* the expiry timer existed */
    o->present             = wire_get_u64(&r) != 0;
    struct bytes value     = wire_get_blob(&r);
    uint64_t     stream_id = wire_get_u64(&r);
    o->present             = wire_get_u8(&r) == 0 && o->present;
    wire_get_u64(&r); /* start */
    uint64_t next = wire_get_u64(&r);
    wire_get_u64(&r); /* epoch before */
    keep->epoch       = wire_get_u64(&r);
    uint64_t position = wire_get_u64(&r);
    keep->sent        = wire_get_u64(&r);
    wire_get_u64(&r); /* next, again */
    uint32_t count = wire_get_u32(&r);
    if (r.bad || stream_id_stripe(stream_id) != session_stripe(s)) {
        return ERR_MALFORMED;
    }
    s->who.stream_id = stream_id;
    if (d == NULL) {
        return ERR_QUOTA;
    }
    window_init(&d->window, position);
    for (uint32_t i = 0; i < count && !r.bad; i++) {
        uint64_t first = wire_get_u64(&r);
        uint64_t last  = wire_get_u64(&r);
        uint8_t  mark  = wire_get_u8(&r);
        first          = first < d->window.base ? d->window.base : first;
        for (uint64_t offset = first; !r.bad && offset <= last && window_fits(&d->window, offset); offset++) {
            if (offset < d->window.base) { /* done since */
                continue;
            }
            if (window_set(&d->window, offset, mark == CURSOR_DONE ? WINDOW_DONE : WINDOW_RELEASED) != 0) {
                return ERR_QUOTA;
            }
        }
    }
    keep->follow_next = position;
    if (o->present && (!session_row_read(value, &row) || row.open)) {
        keep->sent = maybe_sent(&d->window, keep->sent, next, row.inflight_max);
    }
    keep->again_below = keep->sent;
    return r.bad ? ERR_MALFORMED : 0;
}

static void take(struct session *s);

/* What the former session left was not given to others yet (orphan.h). */
static void take_again(struct timer *timer, uint64_t now_ns)
{
    (void)now_ns;
    take(CONTAINER_OF(timer, struct opening, retry)->session);
}

void open_forget(struct session *s)
{
    if (s->opening != NULL) {
        timer_cancel(s->kernel->timers, &s->opening->retry);
    }
}

static void take_done(struct store_call *call, int status, struct bytes results)
{
    struct opening *o = CONTAINER_OF(call, struct opening, call);
    struct session *s = o->session;
    if (status == ERR_CONFLICT && s->client != NULL && o->retries++ < ORPHAN_RETRIES_MAX) {
        timer_arm(s->kernel->timers, &o->retry, s->kernel->now_ns + ORPHAN_RETRY_NS, take_again);
        return;
    }
    if (status != 0) {
        refuse(s, status == ERR_CONFLICT ? ERR_UNAVAILABLE : status);
        return;
    }
    int error = took(s, results);
    if (error != 0 || !o->present || o->clean_start || s->client == NULL) {
        o->present = o->present && !o->clean_start;
        open_finish(s, error);
        return;
    }
    restore_begin(s);
}

static void set_will(struct wire_writer *w, struct session *s)
{
    struct opening *o = s->opening;
    if (o->will.topic.size == 0) {
        return;
    }
    struct wire_writer action = wire_writer_growing(SIZE_MAX / 2);
    will_action(&action, &o->will, s->kernel->wall_ns);
    w->bad       = w->bad || action.bad;
    struct op op = {
        .kind  = OP_TIMER_SET,
        .name  = tables_will(s->kernel->key, session_id(s)),
        .owner = store_owner(s->kernel->store),
        /* A session of expiry 0 ends with its connection, and its will does not outlive it. */
        .delay_ns = s->keep == NULL || s->expiry_s == 0 ? 0 : o->will.delay_s * 1000000000ull,
        .value    = wire_written(&action),
    };
    op_encode(w, &op);
    wire_writer_fini(&action);
    s->has_will = true;
}

static void put(struct wire_writer *w, struct op op)
{
    op_encode(w, &op);
}

static void former_ended(struct store_call *call, int status, struct bytes results)
{
    (void)results;
    struct opening *o = CONTAINER_OF(call, struct opening, call);
    if (status != 0) {
        refuse(o->session, status);
        return;
    }
    o->ended = true;
    take(o->session);
}

/* Its queue is others' as well, who have to read it before the new session has one of that name. */
static void end_former(struct session *s)
{
    struct opening *o      = s->opening;
    uint16_t        stripe = session_stripe(s);
    life_replace(store_txn_begin(s->kernel->store, stripe), s);
    o->call.done = former_ended;
    store_txn_end(s->kernel->store, &o->call);
}

static void take(struct session *s)
{
    struct kernel  *k = s->kernel;
    struct opening *o = s->opening;
    if (o->clean_start && !o->ended && life_orphan(s) != 0) {
        end_former(s);
        return;
    }
    if (s->keep == NULL) {
        s->keep = calloc(1, sizeof *s->keep);
    }
    if (s->keep == NULL) {
        refuse(s, ERR_QUOTA);
        return;
    }
    s->keep->session           = s;
    uint16_t            stripe = session_stripe(s);
    struct wire_writer *w      = store_txn_begin(k->store, stripe);
    if (o->clean_start && !o->ended) {
        life_replace(w, s);
    }
    /* A session of expiry 0 whose broker died ended with its connection, though its timer still waits for the broker. */
    life_take_over(w, s, tables_expiry(k->key, session_id(s)), false);
    put(w, (struct op){
               .kind = OP_CHECK, .table = TABLE_ORPHANS, .name = session_id(s)}); /* behind that: it may make one */
    put(w, (struct op){.kind = OP_TABLE_GET, .table = TABLE_SESSIONS, .name = session_id(s)});
    /* The owner tells a session that this transaction made, before its answer was lost, from one that was there. */
    put(w, (struct op){.kind  = OP_STREAM_CREATE,
                       .flags = STREAM_QUEUE,
                       .name  = tables_stream(k->key, session_id(s)),
                       .owner = k->port.random(k->port.ctx) | 1});
    put(w, (struct op){.kind = OP_FENCE, .stream_id = OP_STREAM_LAST});
    put(w, (struct op){.kind = OP_CURSOR_GET, .stream_id = OP_STREAM_LAST});
    life_take_over(w, s, tables_will(k->key, session_id(s)), false);
    life_expiry(w, s, s->expiry_s);
    life_row(w, s, true, s->expiry_s);
    set_will(w, s);
    o->call.done = take_done;
    store_txn_end(k->store, &o->call);
}

/* ---- a live session ------------------------------------------------------------------------------------------------- */

static void live_done(struct store_call *call, int status, struct bytes results)
{
    (void)results;
    struct opening *o = CONTAINER_OF(call, struct opening, call);
    if (status != 0) {
        refuse(o->session, status);
        return;
    }
    open_finish(o->session, 0);
}

static bool look_item(struct store_scan *scan, const struct store_item *item)
{
    (void)item;
    ((struct opening *)scan->ctx)->found = true;
    return true;
}

static void look_done(struct store_scan *scan, int status)
{
    struct opening *o = scan->ctx;
    struct session *s = o->session;
    struct kernel  *k = s->kernel;
    if (status != 0) {
        refuse(s, status);
        return;
    }
    if (o->found && !o->clean_start) {
        take(s);
        return;
    }
    if (!o->found && o->will.topic.size == 0) {
        open_finish(s, 0);
        return;
    }
    uint16_t            stripe = session_stripe(s);
    struct wire_writer *w      = store_txn_begin(k->store, stripe);
    if (o->found) {
        life_replace(w, s);
    } else {
        life_take_over(w, s, tables_will(k->key, session_id(s)),
                       false); /* of a connection that its broker took down with it */
    }
    set_will(w, s);
    o->call.done = live_done;
    store_txn_end(k->store, &o->call);
}

void open_granted(struct session *s)
{
    struct opening *o = s->opening;
    session_step(s, SESSION_LOADING);
    if (s->expiry_s != 0) {
        take(s);
        return;
    }
    o->scan         = (struct store_scan){.item = look_item, .done = look_done, .ctx = o};
    uint16_t stripe = session_stripe(s);
    store_scan_start(s->kernel->store, &o->scan, stripe, TABLE_SESSIONS, RPC_SCAN_KEY, session_id(s));
}

/* ---- verbs ---------------------------------------------------------------------------------------------------------- */

static struct bytes keep_bytes(uint8_t **at, struct bytes view)
{
    struct bytes kept = bytes_of(*at, view.size);
    if (view.size != 0) {
        memcpy(*at, view.data, view.size);
    }
    *at += view.size;
    return kept;
}

void kernel_open(struct kernel *k, struct client *client, const struct open_request *request)
{
    ASSERT(client->session == NULL && request->client_id.size != 0 && request->client_id.size <= 65535 &&
           request->receive_max != 0);
    if (!kernel_ready(k)) {
        client->ops->opened(client, ERR_UNAVAILABLE, false);
        return;
    }
    const struct will *will = &request->will;
    struct reserved    last = {0};
    if (will->topic.size != 0 && will->topic.data[0] == '$' && !request->own) {
        last = reserved_look(&k->limits, will->topic);
    }
    if (last.status != 0 || last.delayed) { /* a will has a delay of its own */
        client->ops->opened(client, last.delayed ? ERR_MALFORMED : last.status, false);
        return;
    }
    struct opening *o = calloc(1, sizeof *o + will->topic.size + will->properties.size + will->payload.size);
    struct session *s = o == NULL ? NULL : session_new(k, client, request);
    if (s == NULL) {
        free(o);
        client->ops->opened(client, ERR_QUOTA, false);
        return;
    }
    uint8_t *at        = o->kept;
    o->session         = s;
    o->clean_start     = request->clean_start;
    o->will            = last.ignored ? (struct will){0} : *will;
    o->will.topic      = keep_bytes(&at, o->will.topic);
    o->will.properties = keep_bytes(&at, o->will.properties);
    o->will.payload    = keep_bytes(&at, o->will.payload);
    s->opening         = o;
    directory_claim(s);
}
