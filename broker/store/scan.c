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
    struct link       *to;       /* where a page was asked for; NULL: none is under way */
    uint64_t           id;       /* of that request */
    uint64_t           refused_term;
    bool               refused; /* by the leader of that term */
    uint32_t           table;
    uint16_t           stripe;       /* or STORE_STRIPE_ALL */
    uint16_t           after_stripe; /* where the next page goes on .. */
    uint8_t            kind;
    bool               amid;  /* .. in the midst of it: before another stripe is begun */
    bool               shows; /* a callback is under way: a cancel leaves the walk to it */
    bool               paused;
    uint8_t           *after;
    size_t             after_size;
    bool               done;  /* of one stripe: it was looked at to its end */
    uint8_t           *left;  /* of all, by stripe: is it to be looked at? */
    uint8_t           *asked; /* .. is it in the list of the page under way? */
    uint8_t           *pattern;
    size_t             pattern_size;
    uint8_t            room[]; /* for left, asked, pattern */
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
    size_t       count = stripe == STORE_STRIPE_ALL ? store->stripe_count : 0;
    struct walk *walk  = calloc(1, sizeof *walk + 2 * count + pattern.size);
    ASSERT(walk != NULL);
    walk->scan         = scan;
    walk->stripe       = stripe;
    walk->table        = table;
    walk->kind         = kind;
    walk->left         = walk->room;
    walk->asked        = walk->room + count;
    walk->pattern      = walk->room + 2 * count;
    walk->pattern_size = pattern.size;
    memset(walk->left, 1, count);
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
    if (walk->to == NULL && !walk->shows) {
        walk_free(walk);
    }
}

/* The stripe that comes next, or STORE_STRIPE_ALL: none is left. */
static uint16_t first_left(const struct store *store, const struct walk *walk)
{
    if (walk->amid) {
        return walk->after_stripe;
    }
    if (walk->stripe != STORE_STRIPE_ALL) {
        return walk->done ? STORE_STRIPE_ALL : walk->stripe;
    }
    const uint8_t *first = memchr(walk->left, 1, store->stripe_count);
    return first == NULL ? STORE_STRIPE_ALL : (uint16_t)(first - walk->left);
}

/* The stripes of the next page: the first, and of those behind it what is left and led over the same link. */
static void put_list(const struct store *store, struct walk *walk, struct wire_writer *w, uint16_t first)
{
    size_t at = w->size;
    wire_put_u32(w, 0);
    memset(walk->asked, 0, store->stripe_count);
    for (uint32_t stripe = first; stripe < store->stripe_count; stripe++) {
        if (walk->left[stripe] != 0 && store->routes[stripe].link == walk->to) {
            walk->asked[stripe] = 1;
            wire_put_u16(w, (uint16_t)stripe);
        }
    }
    uint32_t size = (uint32_t)(w->size - at - sizeof size);
    memcpy(w->data + at, &size, sizeof size);
}

static void ask(struct store *store, struct walk *walk, uint16_t first)
{
    struct wire_writer *w = &store->scratch;
    walk->id              = queue_next_id(&walk->to->queue);
    w->size               = 0;
    w->bad                = false;
    size_t begun          = frame_begin(w, RPC_SCAN, walk->id);
    wire_put_u16(w, walk->stripe);
    wire_put_u8(w, walk->kind);
    wire_put_u8(w, 0);
    wire_put_u32(w, walk->table);
    wire_put_u32(w, PAGE_ITEMS);
    wire_put_u32(w, PAGE_BYTES);
    wire_put_blob(w, bytes_of(walk->pattern, walk->pattern_size));
    wire_put_u16(w, first);
    wire_put_blob(w, bytes_of(walk->after, walk->amid ? walk->after_size : 0));
    if (walk->stripe == STORE_STRIPE_ALL) {
        put_list(store, walk, w, first);
    }
    int error = frame_end(w, begun);
    ASSERT(error == 0);
    link_request(walk->to, wire_written(w), RPC_SCAN, first, walk);
}

/* Pages under way where their stripe was led before: asked for where it is led now. */
static void move(struct store *store)
{
    LIST_EACH (&store->scans, at) {
        struct walk *walk = CONTAINER_OF(at, struct walk, of_store);
        if (walk->to != NULL && walk->scan != NULL && walk->to != store->routes[first_left(store, walk)].link) {
            queue_abandon(&walk->to->queue, walk->id);
            walk->to = NULL;
            list_push_back(&store->scans_waiting, &walk->link);
        }
    }
}

void scan_turn(struct store *store)
{
    if (UNLIKELY(store->scans_stale)) {
        store->scans_stale = false;
        move(store);
    }
    LIST_EACH (&store->scans_waiting, at) {
        struct walk *walk  = CONTAINER_OF(at, struct walk, link);
        uint16_t     first = first_left(store, walk);
        if (walk->refused && walk->refused_term == store->routes[first].term) {
            continue;
        }
        walk->to = store_reader(store, first);
        if (walk->to != NULL) {
            list_remove(&walk->link);
            ask(store, walk, first);
        }
    }
}

void scan_down(struct store *store, struct link *link)
{
    LIST_EACH (&store->scans, at) {
        struct walk *walk = CONTAINER_OF(at, struct walk, of_store);
        if (walk->to != link) {
            continue;
        }
        queue_abandon(&link->queue, walk->id);
        walk->to = NULL;
        if (walk->scan == NULL) {
            walk_free(walk);
        } else {
            list_push_back(&store->scans_waiting, &walk->link);
        }
    }
}

void scan_ask_again(struct store *store)
{
    LIST_EACH (&store->scans_waiting, at) {
        CONTAINER_OF(at, struct walk, link)->refused = false;
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
    walk->amid         = true;
}

/* Of the page's stripes, those below have been looked at to their end. */
static void done_below(const struct store *store, struct walk *walk, uint32_t stripe)
{
    if (walk->stripe != STORE_STRIPE_ALL) {
        walk->done = walk->stripe < stripe;
        return;
    }
    for (uint32_t i = 0; i < stripe && i < store->stripe_count; i++) {
        walk->left[i] = walk->left[i] != 0 && walk->asked[i] == 0;
    }
}

static bool is_left(const struct store *store, const struct walk *walk, uint16_t stripe)
{
    return walk->stripe == STORE_STRIPE_ALL ? stripe < store->stripe_count && walk->left[stripe] != 0
                                            : stripe == walk->stripe;
}

/* Shows the items of a page. 1: the page is through, 0: paused, cancelled or finished, or an error. */
static int show(const struct store *store, struct walk *walk, struct wire_reader *r, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct store_item item = {.stripe = wire_get_u16(r)};
        item.version           = wire_get_u64(r);
        item.expires_wall_ns   = wire_get_u64(r);
        item.key               = wire_get_blob(r);
        item.value             = wire_get_blob(r);
        if (r->bad || !is_left(store, walk, item.stripe)) {
            return ERR_MALFORMED;
        }
        if (!walk->amid || item.stripe != walk->after_stripe) {
            done_below(store, walk, item.stripe);
        }
        remember(walk, item.stripe, item.key);
        walk->shows = true;
        bool on     = walk->scan->item(walk->scan, &item);
        walk->shows = false;
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

static int take_page(struct store *store, struct walk *walk, struct wire_reader *r)
{
    uint8_t  more  = wire_get_u8(r);
    uint32_t count = wire_get_u32(r);
    int      shown = r->bad ? ERR_MALFORMED : show(store, walk, r, count);
    if (shown <= 0) {
        return shown;
    }
    if (more == 0) {
        done_below(store, walk, store->stripe_count);
        walk->amid = false;
        return 1;
    }
    uint16_t     stripe = wire_get_u16(r);
    struct bytes after  = wire_get_blob(r);
    if (r->bad || !is_left(store, walk, stripe)) {
        return ERR_MALFORMED;
    }
    done_below(store, walk, stripe);
    remember(walk, stripe, after);
    walk->amid = after.size != 0;
    return 1;
}

void scan_answered(struct store *store, void *owner, const struct frame *frame)
{
    struct walk       *walk = owner;
    struct wire_reader r    = wire_reader_of(frame->body);
    walk->to                = NULL;
    if (walk->scan == NULL) {
        walk_free(walk);
        return;
    }
    if (frame->kind != RPC_SCAN_DONE) {
        int status = frame->kind == RPC_ERROR ? (int)wire_get_u32(&r) : ERR_MALFORMED;
        if (status == ERR_NOT_LEADER) {
            walk->refused      = true;
            walk->refused_term = store->routes[first_left(store, walk)].term;
            list_push_back(&store->scans_waiting, &walk->link);
            store_again(store);
            return;
        }
        finish(walk, status < 0 ? status : ERR_MALFORMED);
        return;
    }
    walk->refused = false;
    int taken     = take_page(store, walk, &r);
    if (taken < 0) {
        finish(walk, taken);
    } else if (taken > 0 && first_left(store, walk) == STORE_STRIPE_ALL) {
        finish(walk, 0);
    } else if (taken > 0) {
        list_push_back(&store->scans_waiting, &walk->link);
    }
}
