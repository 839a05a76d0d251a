/* scan.c - tables, page by page. */
#include "broker/store/scan.h"

#include "broker/store/state.h"
#include "shared/base/err.h"
#include "shared/rpc/schema.h"

#include <stdlib.h>

enum { PAGE_ITEMS = 256, PAGE_BYTES = 256 * 1024 };

/* Behind struct store_scan's private words; freed with its last callback, or when a cancelled scan's page arrives. */
struct walk {
    struct list        link;     /* in store->scans_waiting, while its next page has not been asked for */
    struct list        of_store; /* in store->scans */
    struct store_scan *scan;     /* NULL: cancelled */
    uint32_t           shard;
    uint32_t           table;
    uint16_t           stripe;
    uint16_t           after_stripe;
    uint8_t            kind;
    bool               asked; /* a page is under way */
    bool               paused;
    uint8_t           *after;
    size_t             after_size;
    size_t             pattern_size;
    uint8_t            pattern[];
};

static struct walk *walk_of(struct store_scan *scan)
{
    struct walk *walk = NULL;
    memcpy(&walk, scan->private, sizeof walk);
    return walk;
}

static void set_walk(struct store_scan *scan, struct walk *walk)
{
    memcpy(scan->private, &walk, sizeof walk);
}

static void walk_free(struct walk *walk)
{
    list_remove(&walk->link);
    list_remove(&walk->of_store);
    free(walk->after);
    free(walk);
}

void store_scan_start(struct store *store, struct store_scan *scan, uint16_t stripe, uint32_t table, uint8_t kind,
                      struct bytes pattern)
{
    ASSERT(store->known && (stripe == STORE_STRIPE_ALL || stripe < store->stripe_count));
    struct walk *walk = calloc(1, sizeof *walk + pattern.size);
    ASSERT(walk != NULL);
    walk->scan         = scan;
    walk->shard        = stripe == STORE_STRIPE_ALL ? 0 : stripe % store->shard_count;
    walk->stripe       = stripe;
    walk->after_stripe = stripe == STORE_STRIPE_ALL ? 0 : stripe;
    walk->table        = table;
    walk->kind         = kind;
    walk->pattern_size = pattern.size;
    if (pattern.size != 0) {
        memcpy(walk->pattern, pattern.data, pattern.size);
    }
    set_walk(scan, walk);
    list_push_back(&store->scans_waiting, &walk->link);
    list_push_back(&store->scans, &walk->of_store);
}

void scan_fini(struct store *store)
{
    while (!list_empty(&store->scans)) {
        walk_free(CONTAINER_OF(store->scans.next, struct walk, of_store));
    }
}

void store_scan_resume(struct store *store, struct store_scan *scan)
{
    struct walk *walk = walk_of(scan);
    ASSERT(walk != NULL);
    if (walk->paused) {
        walk->paused = false;
        list_push_back(&store->scans_waiting, &walk->link);
    }
}

void store_scan_cancel(struct store *store, struct store_scan *scan)
{
    (void)store;
    struct walk *walk = walk_of(scan);
    set_walk(scan, NULL);
    if (walk == NULL) {
        return;
    }
    walk->scan = NULL;
    if (!walk->asked) {
        walk_free(walk);
    }
}

static void ask(struct store *store, struct walk *walk)
{
    struct link        *link = store->links[walk->shard];
    struct wire_writer *w    = &store->scratch;
    w->size                  = 0;
    w->bad                   = false;
    size_t begun             = frame_begin(w, RPC_SCAN, queue_next_id(&link->queue));
    wire_put_u16(w, walk->stripe);
    wire_put_u8(w, walk->kind);
    wire_put_u8(w, 0);
    wire_put_u32(w, walk->table);
    wire_put_u32(w, PAGE_ITEMS);
    wire_put_u32(w, PAGE_BYTES);
    wire_put_blob(w, bytes_of(walk->pattern, walk->pattern_size));
    wire_put_u16(w, walk->after_stripe);
    wire_put_blob(w, bytes_of(walk->after, walk->after_size));
    if (walk->stripe == STORE_STRIPE_ALL) {
        wire_put_u32(w, 2 * ((store->stripe_count - walk->shard + store->shard_count - 1) / store->shard_count));
        for (uint32_t stripe = walk->shard; stripe < store->stripe_count; stripe += store->shard_count) {
            wire_put_u16(w, (uint16_t)stripe);
        }
    }
    int error = frame_end(w, begun);
    ASSERT(error == 0);
    walk->asked = true;
    link_request(link, wire_written(w), RPC_SCAN, walk);
}

void scan_turn(struct store *store)
{
    struct list *link = NULL;
    while ((link = list_pop_front(&store->scans_waiting)) != NULL) {
        ask(store, CONTAINER_OF(link, struct walk, link));
    }
}

static void finish(struct walk *walk, int status)
{
    struct store_scan *scan = walk->scan;
    walk_free(walk);
    set_walk(scan, NULL);
    scan->done(scan, status);
}

/* The next page begins behind this key. */
static void remember(struct walk *walk, uint16_t stripe, struct bytes after)
{
    uint8_t *key = realloc(walk->after, after.size + 1);
    ASSERT(key != NULL);
    if (after.size != 0) {
        memcpy(key, after.data, after.size);
    }
    walk->after        = key;
    walk->after_size   = after.size;
    walk->after_stripe = stripe;
}

/* Shows the items of a page. 1: the page is through, 0: paused, cancelled or finished, or an error. */
static int show(struct walk *walk, struct wire_reader *r, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct store_item item = {.stripe = wire_get_u16(r)};
        item.version           = wire_get_u64(r);
        item.expires_wall_ns   = wire_get_u64(r);
        item.key               = wire_get_blob(r);
        item.value             = wire_get_blob(r);
        if (r->bad) {
            return ERR_MALFORMED;
        }
        remember(walk, item.stripe, item.key);
        walk->asked = true; /* a cancel from the callback leaves the walk to us */
        bool on     = walk->scan->item(walk->scan, &item);
        walk->asked = false;
        if (walk->scan == NULL) {
            walk_free(walk);
            return 0;
        }
        if (!on) {
            walk->paused = true;
            return 0;
        }
    }
    return 1;
}

void scan_answered(struct store *store, struct link *link, void *owner, const struct frame *frame)
{
    (void)link;
    struct walk       *walk = owner;
    struct wire_reader r    = wire_reader_of(frame->body);
    walk->asked             = false;
    if (walk->scan == NULL) {
        walk_free(walk);
        return;
    }
    if (frame->kind != RPC_SCAN_DONE) {
        int status = frame->kind == RPC_ERROR ? (int)wire_get_u32(&r) : ERR_MALFORMED;
        finish(walk, status < 0 ? status : ERR_MALFORMED);
        return;
    }
    uint8_t  more  = wire_get_u8(&r);
    uint32_t count = wire_get_u32(&r);
    int      shown = r.bad ? ERR_MALFORMED : show(walk, &r, count);
    if (shown == 0) {
        return;
    }
    if (shown > 0 && more != 0) {
        uint16_t     stripe = wire_get_u16(&r);
        struct bytes after  = wire_get_blob(&r);
        remember(walk, stripe, after);
        shown = r.bad ? ERR_MALFORMED : shown;
    }
    if (shown < 0) {
        finish(walk, shown);
    } else if (more != 0) {
        list_push_back(&store->scans_waiting, &walk->link);
    } else if (walk->stripe == STORE_STRIPE_ALL && walk->shard + 1 < store->shard_count) {
        walk->shard++;
        walk->after_stripe = 0;
        walk->after_size   = 0;
        list_push_back(&store->scans_waiting, &walk->link);
    } else {
        finish(walk, 0);
    }
}
