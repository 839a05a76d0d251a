/* scan.c - SCAN: a piece of a table, answered at once from memory. */
#include "segstore/node/state.h"

#include "shared/base/buggify.h"
#include "shared/base/err.h"

/* A page looks at so many items of its table at most: a millisecond or two. */
enum {
    SCAN_STEPS_MAX   = 4096,
    SCAN_ITEMS_MAX   = 65536,
    SCAN_BYTES_MAX   = 1024 * 1024,
    UNSENT_MAX_BYTES = 8 * 1024 * 1024
};

struct scanning {
    struct session *session;
    size_t          begun;
    uint32_t        count;
    uint32_t        limit_items;
    uint32_t        limit_bytes;
    uint16_t        stripe;
    bool            full;
    struct bytes    last; /* key that was shown last */
};

static bool each(void *ctx, const struct stripe_item *item)
{
    struct scanning *scanning = ctx;
    struct session  *s        = scanning->session;
    size_t           size     = 2 + 8 + 8 + 4 + item->key.size + 4 + item->value.size;
    size_t           used     = s->out.size - scanning->begun;
    if (scanning->count == scanning->limit_items || (scanning->count > 0 && BUGGIFY("scan: a page ends early", 3)) ||
        (scanning->count > 0 && used + size > scanning->limit_bytes)) {
        scanning->full = true;
        return false;
    }
    wire_put_u16(&s->out, scanning->stripe);
    wire_put_u64(&s->out, item->version);
    wire_put_u64(&s->out, item->expires_wall_ns);
    wire_put_blob(&s->out, item->key);
    wire_put_blob(&s->out, item->value);
    scanning->count++;
    scanning->last = item->key;
    return true;
}

static uint32_t bounded(uint32_t value, uint32_t limit)
{
    return value == 0 || value > limit ? limit : value;
}

/* What a request asks for. */
struct asked {
    uint16_t     stripe; /* or RPC_STRIPE_ALL: those of the list */
    uint8_t      kind;
    uint32_t     table;
    uint32_t     limit_items;
    uint32_t     limit_bytes;
    struct bytes pattern;
    uint16_t     after_stripe;
    struct bytes after;
    struct bytes list;
};

static bool read_asked(struct wire_reader *r, struct asked *out)
{
    out->stripe = wire_get_u16(r);
    out->kind   = wire_get_u8(r);
    (void)wire_get_u8(r);
    out->table        = wire_get_u32(r);
    out->limit_items  = wire_get_u32(r);
    out->limit_bytes  = wire_get_u32(r);
    out->pattern      = wire_get_blob(r);
    out->after_stripe = wire_get_u16(r);
    out->after        = wire_get_blob(r);
    out->list         = out->stripe == RPC_STRIPE_ALL ? wire_get_blob(r) : (struct bytes){0};
    return !r->bad && out->kind <= RPC_SCAN_FILTER && out->list.size % 2 == 0;
}

static uint16_t listed(const struct asked *asked, size_t i)
{
    uint16_t stripe;
    memcpy(&stripe, asked->list.data + 2 * i, sizeof stripe);
    return stripe;
}

/* Ascending, all of this shard. */
static bool list_valid(struct node *node, const struct asked *asked)
{
    for (size_t i = 0; i < asked->list.size / 2; i++) {
        if (stripe_slot(node, listed(asked, i)) == NULL || (i > 0 && listed(asked, i) <= listed(asked, i - 1))) {
            return false;
        }
    }
    return true;
}

/* One stripe of the page; what comes behind in it, when the page is full, is left in *from. */
static void scan_stripe(struct scanning *scanning, const struct asked *asked, const struct node_stripe *st,
                        struct stripe_pace *pace, struct bytes *from)
{
    bool begun_here  = asked->stripe != RPC_STRIPE_ALL || st->id == asked->after_stripe;
    scanning->stripe = st->id;
    scanning->last   = begun_here ? asked->after : (struct bytes){0};
    if (!stripe_scan(st->stripe, asked->table, asked->kind, asked->pattern, scanning->last, node_wall_ns(st->node),
                     pace, each, scanning)) {
        scanning->full = true;
        *from          = pace->steps_left == 0 ? pace->at : scanning->last;
    }
}

static void scan_list(struct scanning *scanning, const struct asked *asked, struct stripe_pace *pace,
                      struct bytes *from)
{
    bool first = true;
    for (size_t i = 0; i < asked->list.size / 2 && !scanning->full; i++) {
        struct node_stripe *st = stripe_slot(scanning->session->node, listed(asked, i));
        if (st->id < asked->after_stripe || st->stopped) {
            continue;
        }
        if (!first && (!stripe_reads(st) || BUGGIFY("scan: a stripe is asked for anew", 5))) { /* see hindered() */
            scanning->full   = true;
            scanning->stripe = st->id;
            *from            = (struct bytes){0};
            return;
        }
        first = false;
        scan_stripe(scanning, asked, st, pace, from);
    }
}

/* Of the first stripe that the page is about: why it cannot be looked at, or 0. */
static int hindered(struct node *node, const struct asked *asked)
{
    if (asked->stripe != RPC_STRIPE_ALL) {
        const struct node_stripe *st = stripe_slot(node, asked->stripe);
        return st == NULL || st->stopped ? ERR_UNAVAILABLE : stripe_reads(st) ? 0 : ERR_NOT_LEADER;
    }
    for (size_t i = 0; i < asked->list.size / 2; i++) {
        const struct node_stripe *st = stripe_slot(node, listed(asked, i));
        if (st->id >= asked->after_stripe && !st->stopped) {
            return stripe_reads(st) ? 0 : ERR_NOT_LEADER;
        }
    }
    return 0;
}

int scan(struct session *s, uint64_t id, struct wire_reader *r)
{
    struct node *node = s->node;
    struct asked asked;
    if (s->out.size > UNSENT_MAX_BYTES) {
        return ERR_FULL;
    }
    if (!read_asked(r, &asked) || !list_valid(node, &asked)) {
        session_error(s, id, ERR_MALFORMED,
                      "SCAN is cut short, asks for an unknown kind of pattern or lists stripes of another shard");
        return 0;
    }
    int error = hindered(node, &asked);
    if (error < 0) {
        session_error(s, id, error,
                      error == ERR_NOT_LEADER ? err_sentence(error)
                                              : "the stripe is stopped by damage or not served here");
        return 0;
    }
    size_t frame = session_begin(s, RPC_SCAN_DONE, id);
    size_t head  = s->out.size;
    wire_put_u8(&s->out, 0);
    wire_put_u32(&s->out, 0);
    struct scanning    scanning = {.session     = s,
                                   .begun       = s->out.size,
                                   .limit_items = bounded(asked.limit_items, SCAN_ITEMS_MAX),
                                   .limit_bytes = bounded(asked.limit_bytes, SCAN_BYTES_MAX)};
    struct stripe_pace pace     = {.steps_left = SCAN_STEPS_MAX};
    struct bytes       from     = {0}; /* where the next page goes on */
    if (asked.stripe == RPC_STRIPE_ALL) {
        scan_list(&scanning, &asked, &pace, &from);
    } else {
        scan_stripe(&scanning, &asked, stripe_slot(node, asked.stripe), &pace, &from);
    }
    if (scanning.full) {
        wire_put_u16(&s->out, scanning.stripe);
        wire_put_blob(&s->out, from);
    }
    if (!s->out.bad) {
        s->out.data[head] = scanning.full;
        memcpy(s->out.data + head + 1, &scanning.count, sizeof scanning.count);
    }
    session_end(s, frame);
    return 0;
}
