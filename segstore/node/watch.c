/* watch.c - pushes of a table's changes: first what is there, stripe after stripe in key order, then every change.
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

static size_t frame_begin(struct watcher *w, bool synced)
{
    struct session *s     = w->sub.session;
    size_t          begun = session_begin(s, RPC_CHANGES, w->sub.id);
    wire_put_u8(&s->out, synced);
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

static struct node_stripe *walked_stripe(const struct watcher *w)
{
    struct node *node = w->sub.session->node;
    if (w->stripe != RPC_STRIPE_ALL) {
        return w->slot == 0 ? stripe_slot(node, w->stripe) : NULL;
    }
    return w->slot < node->stripe_count ? &node->stripes[w->slot] : NULL;
}

/* One piece of it. */
static void walk(struct watcher *w)
{
    struct node        *node = w->sub.session->node;
    struct node_stripe *st   = walked_stripe(w);
    if (st == NULL) {
        w->synced = true;
        frame_end(w, frame_begin(w, true), 0);
        return;
    }
    struct walk walking = {.watcher = w, .begun = frame_begin(w, false), .stripe = st->id};
    bool        ended   = stripe_scan(st->stripe, w->table, RPC_SCAN_PREFIX, (struct bytes){0}, wire_written(&w->after),
                                      io_wall_ns(node->io), NULL, walk_each, &walking);
    if (ended) {
        w->slot++;
        w->after.size = 0;
    }
    if (walking.count == 0) { /* nothing here: no frame for it */
        w->sub.session->out.size = walking.begun;
    } else {
        frame_end(w, walking.begun, walking.count);
    }
}

/* ---- changes that waited ---- */

static void drain(struct watcher *w)
{
    struct session    *s = w->sub.session;
    struct wire_reader r = wire_reader_of(bytes_of(w->changes.data + w->changes_at, w->changes.size - w->changes_at));
    size_t             begun = frame_begin(w, false);
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
    if (stripe != RPC_STRIPE_ALL && stripe_slot(s->node, stripe) == NULL) {
        session_error(s, id, ERR_UNAVAILABLE, "the stripe is not served here");
        return;
    }
    struct watcher *w = calloc(1, sizeof *w);
    if (w == NULL) {
        session_error(s, id, ERR_UNAVAILABLE, "out of memory");
        return;
    }
    w->table    = table;
    w->stripe   = stripe;
    w->after    = wire_writer_growing(RPC_BODY_MAX_BYTES);
    w->changes  = wire_writer_growing(CHANGES_LIMIT_BYTES + RPC_BODY_MAX_BYTES);
    w->task.run = run;
    subscription_add(s, &w->sub, id, credit, true);
    list_push_back(&s->node->watchers, &w->link);
    go_on(w);
}

void watch_credit(struct watcher *w)
{
    go_on(w);
}

/* Has the walk been where this key is? */
static bool walked_past(const struct watcher *w, uint16_t stripe, struct bytes key)
{
    if (w->synced) {
        return true;
    }
    const struct node_stripe *st = walked_stripe(w);
    if (st == NULL || stripe < st->id) {
        return true;
    }
    return stripe == st->id && w->after.size > 0 && bytes_compare(key, wire_written(&w->after)) <= 0;
}

void watch_changed(struct node *node, uint16_t stripe, uint32_t table, struct bytes key, struct bytes value,
                   uint64_t version, uint64_t expires_wall_ns, bool deleted)
{
    LIST_EACH (&node->watchers, link) {
        struct watcher *w = CONTAINER_OF(link, struct watcher, link);
        if (w->table != table || (w->stripe != RPC_STRIPE_ALL && w->stripe != stripe) || !walked_past(w, stripe, key)) {
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
        item_put(&w->changes, stripe, deleted, version, expires_wall_ns, key, value);
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
    list_remove(&w->link);
    wire_writer_fini(&w->after);
    wire_writer_fini(&w->changes);
    free(w);
}
