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

int scan(struct session *s, uint64_t id, struct wire_reader *r)
{
    struct node *node = s->node;
    if (s->out.size > UNSENT_MAX_BYTES) {
        return ERR_FULL;
    }
    uint16_t stripe = wire_get_u16(r);
    uint8_t  kind   = wire_get_u8(r);
    (void)wire_get_u8(r);
    uint32_t     table        = wire_get_u32(r);
    uint32_t     limit_items  = wire_get_u32(r);
    uint32_t     limit_bytes  = wire_get_u32(r);
    struct bytes pattern      = wire_get_blob(r);
    uint16_t     after_stripe = wire_get_u16(r);
    struct bytes after        = wire_get_blob(r);
    if (r->bad || kind > RPC_SCAN_FILTER) {
        session_error(s, id, ERR_MALFORMED, "SCAN is cut short or asks for an unknown kind of pattern");
        return 0;
    }
    if (stripe != RPC_STRIPE_ALL && stripe_slot(node, stripe) == NULL) {
        session_error(s, id, ERR_UNAVAILABLE, "the stripe is not served here");
        return 0;
    }
    if (stripe != RPC_STRIPE_ALL && stripe_slot(node, stripe)->stopped) {
        session_error(s, id, ERR_UNAVAILABLE, "the stripe is stopped by damage");
        return 0;
    }
    size_t frame = session_begin(s, RPC_SCAN_DONE, id);
    size_t head  = s->out.size;
    wire_put_u8(&s->out, 0);
    wire_put_u32(&s->out, 0);
    struct scanning    scanning = {.session     = s,
                                   .begun       = s->out.size,
                                   .limit_items = bounded(limit_items, SCAN_ITEMS_MAX),
                                   .limit_bytes = bounded(limit_bytes, SCAN_BYTES_MAX)};
    struct stripe_pace pace     = {.steps_left = SCAN_STEPS_MAX};
    struct bytes       from     = after; /* where the next page goes on */
    for (uint32_t i = 0; i < node->stripe_count && !scanning.full; i++) {
        const struct node_stripe *st = &node->stripes[i];
        if (stripe != RPC_STRIPE_ALL ? st->id != stripe : st->id < after_stripe || st->stopped) {
            continue;
        }
        bool begun_here = stripe != RPC_STRIPE_ALL || st->id == after_stripe;
        scanning.stripe = st->id;
        scanning.last   = begun_here ? after : (struct bytes){0};
        if (!stripe_scan(st->stripe, table, kind, pattern, scanning.last, io_wall_ns(node->io), &pace, each,
                         &scanning)) {
            scanning.full = true;
            from          = pace.steps_left == 0 ? pace.at : scanning.last;
        }
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
