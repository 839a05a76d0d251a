/* watch.c - pushes of the changes of a table in one stripe: first what is there, in key order, then every change.
 *
 * A stripe that is stopped by damage shows what was known when it stopped: a broker then refuses what would have to be stored
 * there, instead of not knowing that it should have been.
 * While the walk goes on, a change behind it is queued and one before it is not: the walk will meet it. Items wait in
 * `changes` for credit; a watcher that lets too many wait is ended with ERR_UNAVAILABLE and may watch anew. */
#include "segstore/node/state.h"

#include "shared/base/err.h"
#include "shared/rpc/op.h"

#include <stdlib.h>

enum { ITEMS_PER_RUN = 256, CHANGES_LIMIT_BYTES = 8 * 1024 * 1024, FRAME_LIMIT_BYTES = 256 * 1024 };

static void item_put(struct wire_writer *w, uint16_t stripe, bool deleted, uint64_t version, uint64_t expires_wall_ns,
                     struct bytes key, struct bytes value)
{
    wire_put_u16(w, stripe);
    wire_put_u8(w, deleted);
    wire_put_u64(w, version);
    wire_put_u64(w, expires_wall_ns);
    wire_put_blob(w, key);
    wire_put_blob(w, value);
}

static size_t frame_begin(struct watcher *w)
{
    struct session *s     = w->sub.session;
    size_t          begun = session_begin(s, RPC_CHANGES, w->sub.id);
    wire_put_u8(&s->out, 0); /* synced */
    wire_put_u32(&s->out, 0);
    return begun;
}

static void frame_end(struct watcher *w, size_t begun, uint32_t count)
{
    struct session *s = w->sub.session;
    if (!s->out.bad) {
        memcpy(s->out.data + begun + RPC_HEADER_BYTES + 1, &count, sizeof count);
    }
    w->sub.credit -= count;
    session_end(s, begun);
}

static void wait_in(struct watcher *w, struct list *list)
{
    list_remove(&w->task.link);
    if (list != NULL) {
        list_push_back(list, &w->task.link);
    }
}

/* ---- the walk ---- */

struct walk {
    struct watcher *watcher;
    size_t          begun;
    uint32_t        count;
    uint16_t        stripe;
};

static bool walk_each(void *ctx, const struct stripe_item *item)
{
    struct walk    *walk = ctx;
    struct watcher *w    = walk->watcher;
    struct session *s    = w->sub.session;
    item_put(&s->out, walk->stripe, false, item->version, item->expires_wall_ns, item->key, item->value);
    walk->count++;
    w->after.size = 0;
    wire_put_bytes(&w->after, item->key);
    return walk->count < w->sub.credit && walk->count < ITEMS_PER_RUN && s->out.size - walk->begun < FRAME_LIMIT_BYTES;
}

/* One piece of it; the last one says that it is. */
static void walk(struct watcher *w)
{
    struct session *s       = w->sub.session;
    struct walk     walking = {.watcher = w, .begun = frame_begin(w), .stripe = w->stripe->id};
    w->synced = stripe_scan(w->stripe->stripe, w->table, RPC_SCAN_PREFIX, (struct bytes){0}, wire_written(&w->after),
                            node_wall_ns(s->node), NULL, walk_each, &walking);
    if (!s->out.bad) {
        s->out.data[walking.begun + RPC_HEADER_BYTES] = w->synced;
    }
    frame_end(w, walking.begun, walking.count);
}

/* ---- changes that waited ---- */

static void drain(struct watcher *w)
{
    struct session    *s = w->sub.session;
    struct wire_reader r = wire_reader_of(bytes_of(w->changes.data + w->changes_at, w->changes.size - w->changes_at));
    size_t             begun = frame_begin(w);
    uint32_t           count = 0;
    while (count < w->sub.credit && w->changes_count > 0 && s->out.size - begun < FRAME_LIMIT_BYTES) {
        const uint8_t *from = r.at;
        (void)wire_get(&r, 2 + 1 + 8 + 8);
        (void)wire_get_blob(&r);
        (void)wire_get_blob(&r);
        ASSERT(!r.bad);
        wire_put(&s->out, from, (size_t)(r.at - from));
        w->changes_at += (size_t)(r.at - from);
        w->changes_count--;
        count++;
    }
    if (w->changes_count == 0) {
        w->changes.size = 0;
        w->changes_at   = 0;
    }
    frame_end(w, begun, count);
}

static void run(struct node *node, struct task *task)
{
    struct watcher *w = CONTAINER_OF(task, struct watcher, task);
    if (!session_roomy(w->sub.session)) {
        wait_in(w, &w->sub.session->output_waiters);
        return;
    }
    if (w->sub.credit == 0) {
        w->running = false;
        return;
    }
    if (w->changes_count > 0) {
        drain(w);
    } else if (!w->synced) {
        walk(w);
    }
    if (w->changes_count > 0 || !w->synced) {
        wait_in(w, &node->ready);
    } else {
        w->running = false;
    }
}

static void go_on(struct watcher *w)
{
    if (!w->running && w->sub.credit > 0 && (w->changes_count > 0 || !w->synced)) {
        w->running = true;
        wait_in(w, &w->sub.session->node->ready);
    }
}

void watch_begin(struct session *s, uint64_t id, struct wire_reader *r)
{
    uint16_t stripe = wire_get_u16(r);
    (void)wire_get_u16(r);
    uint32_t table  = wire_get_u32(r);
    uint32_t credit = wire_get_u32(r);
    if (r->bad || subscription_find(s->node, s, id) != NULL) {
        session_error(s, id, ERR_MALFORMED, "WATCH is cut short, or its id is in use");
        return;
    }
    struct node_stripe *st = stripe_slot(s->node, stripe);
    if (st == NULL) {
        bool all = stripe == RPC_STRIPE_ALL;
        session_error(s, id, all ? ERR_MALFORMED : ERR_UNAVAILABLE,
                      all ? "WATCH names one stripe" : "the stripe is not served here");
        return;
    }
    if (!st->stopped && !stripe_reads(st)) {
        session_error(s, id, ERR_NOT_LEADER, err_sentence(ERR_NOT_LEADER));
        return;
    }
    struct watcher *w = calloc(1, sizeof *w);
    if (w == NULL) {
        session_error(s, id, ERR_UNAVAILABLE, "out of memory");
        return;
    }
    w->table    = table;
    w->stripe   = st;
    w->after    = wire_writer_growing(RPC_BODY_MAX_BYTES);
    w->changes  = wire_writer_growing(CHANGES_LIMIT_BYTES + RPC_BODY_MAX_BYTES);
    w->task.run = run;
    subscription_add(s, &w->sub, id, credit, true);
    list_push_back(&st->watchers, &w->of_stripe);
    go_on(w);
}

void watch_credit(struct watcher *w)
{
    go_on(w);
}

/* Has the walk been where this key is? */
static bool walked_past(const struct watcher *w, struct bytes key)
{
    return w->synced || (w->after.size > 0 && bytes_compare(key, wire_written(&w->after)) <= 0);
}

void watch_changed(struct node_stripe *st, uint32_t table, struct bytes key, struct bytes value, uint64_t version,
                   uint64_t expires_wall_ns, bool deleted)
{
    LIST_EACH (&st->watchers, link) {
        struct watcher *w = CONTAINER_OF(link, struct watcher, of_stripe);
        if (w->table != table || !walked_past(w, key)) {
            continue;
        }
        if (w->changes.size - w->changes_at > CHANGES_LIMIT_BYTES) {
            subscription_end(&w->sub, ERR_UNAVAILABLE);
            continue;
        }
        if (w->changes_at > CHANGES_LIMIT_BYTES / 2) {
            memmove(w->changes.data, w->changes.data + w->changes_at, w->changes.size - w->changes_at);
            w->changes.size -= w->changes_at;
            w->changes_at = 0;
        }
        item_put(&w->changes, st->id, deleted, version, expires_wall_ns, key, value);
        w->changes_count++;
        if (w->changes.bad) {
            subscription_end(&w->sub, ERR_UNAVAILABLE);
            continue;
        }
        go_on(w);
    }
}

void watch_free(struct watcher *w)
{
    list_remove(&w->task.link);
    list_remove(&w->of_stripe);
    wire_writer_fini(&w->after);
    wire_writer_fini(&w->changes);
    free(w);
}
