/* route.c - transactions follow the leader of their stripe. */
#include "broker/store/route.h"

#include "broker/store/nodes.h"
#include "shared/rpc/schema.h"

#include <stdlib.h>

/* In a frame of TXN. */
enum { ID_AT = 8, ROUND_AT = RPC_HEADER_BYTES + 2, TERM_AT = RPC_HEADER_BYTES + 4 };

struct parked {
    struct list link;
    void       *owner;
    uint32_t    size;
    uint8_t     frame[];
};

void routes_make(struct store *store)
{
    store->routes = calloc(store->stripe_count, sizeof *store->routes);
    ASSERT(store->routes != NULL);
    store->unseen_count = store->stripe_count;
    for (uint32_t i = 0; i < store->stripe_count; i++) {
        list_init(&store->routes[i].parked);
    }
}

static void parked_free(struct store *store, struct parked *p)
{
    list_remove(&p->link);
    store->parked_bytes -= p->size;
    store->parked_count--;
    free(p);
}

void routes_fini(struct store *store)
{
    for (uint32_t i = 0; i < store->stripe_count; i++) {
        while (!list_empty(&store->routes[i].parked)) {
            parked_free(store, CONTAINER_OF(store->routes[i].parked.next, struct parked, link));
        }
    }
    free(store->routes);
}

/* before: the list, for its end, or one that is parked. */
static void park(struct store *store, struct list *before, struct bytes frame, void *owner)
{
    struct parked *p = malloc(sizeof *p + frame.size);
    ASSERT_MEMORY(p != NULL);
    p->owner = owner;
    p->size  = (uint32_t)frame.size;
    memcpy(p->frame, frame.data, frame.size);
    list_push_back(before, &p->link);
    store->parked_bytes += p->size;
    store->parked_count++;
}

void route_park(struct store *store, uint16_t stripe, struct bytes frame, void *owner)
{
    park(store, &store->routes[stripe].parked, frame, owner);
}

/* Sends what is parked, if it may be. */
static void flush(struct store *store, uint16_t stripe)
{
    struct route *r = &store->routes[stripe];
    r->to           = NULL;
    if (r->link == NULL || r->refused || r->held) {
        return;
    }
    while (!list_empty(&r->parked)) {
        struct parked *p  = CONTAINER_OF(r->parked.next, struct parked, link);
        uint64_t       id = queue_next_id(&r->link->queue);
        memcpy(p->frame + ID_AT, &id, sizeof id);
        memcpy(p->frame + ROUND_AT, &r->round, sizeof r->round);
        memcpy(p->frame + TERM_AT, &r->term, sizeof r->term);
        frame_seal(p->frame);
        link_request(r->link, bytes_of(p->frame, p->size), RPC_TXN, stripe, p->owner);
        r->open++;
        parked_free(store, p);
    }
    r->to = r->link;
}

/* ---- moves ------------------------------------------------------------------------------------------------------ */

static bool is_moving(void *ctx, uint16_t stripe)
{
    return ((struct store *)ctx)->routes[stripe].moving;
}

static void take(void *ctx, uint16_t stripe, struct bytes frame, void *owner)
{
    struct store *store = ctx;
    struct route *r     = &store->routes[stripe];
    park(store, r->before, frame, owner);
    r->open--;
}

static void move_begin(struct route *r)
{
    r->moving = true;
    r->before = r->parked.next;
}

/* All that are moving: out of the queues. They are parked until the turn ends. */
static void move(struct store *store)
{
    const struct queue_taker taker = {.ctx = store, .wanted = is_moving, .take = take};
    for (uint32_t i = 0; i < store->link_count; i++) {
        queue_take(&store->links[i]->queue, &taker);
    }
    for (uint32_t i = 0; i < store->stripe_count; i++) {
        struct route *r = &store->routes[i];
        if (r->moving) {
            ASSERT(r->open == 0);
            r->moving = false;
            r->held   = false;
            r->to     = NULL;
            r->round++;
            store->routes_stale = true;
        }
    }
}

/* Not at once: several elections may be heard of in one turn, and everything would go to each of their leaders. */
void routes_turn(struct store *store)
{
    if (LIKELY(!store->routes_stale)) {
        return;
    }
    store->routes_stale = false;
    for (uint32_t i = 0; i < store->stripe_count; i++) {
        flush(store, (uint16_t)i);
    }
}

bool routes_heard(struct store *store, struct wire_reader *in)
{
    uint16_t count   = wire_get_u16(in);
    bool     changed = false;
    for (uint16_t i = 0; i < count; i++) {
        uint16_t stripe = wire_get_u16(in);
        uint16_t leader = wire_get_u16(in);
        uint64_t term   = wire_get_u64(in);
        if (in->bad || stripe >= store->stripe_count) {
            in->bad = true;
            break;
        }
        struct route *r = &store->routes[stripe];
        if (term < r->term || (term == r->term && (r->leader != 0 || leader == 0))) {
            continue;
        }
        r->term    = term;
        r->leader  = leader;
        r->link    = nodes_link(store, leader, stripe);
        r->refused = false;
        changed    = true;
        move_begin(r);
    }
    if (changed) {
        move(store);
        routes_seen(store);
        store->pushes_stale = true;
        store->scans_stale  = true;
    }
    return !in->bad;
}

void routes_resolve(struct store *store)
{
    for (uint32_t i = 0; i < store->stripe_count; i++) {
        struct route *r = &store->routes[i];
        if (r->link == NULL && r->leader != 0) {
            r->link             = nodes_link(store, r->leader, (uint16_t)i);
            store->pushes_stale = true;
            flush(store, (uint16_t)i);
        }
    }
}

void routes_seen(struct store *store)
{
    for (uint32_t i = 0; i < store->stripe_count && store->unseen_count != 0; i++) {
        struct route *r = &store->routes[i];
        if (!r->seen && r->link != NULL && r->link->state == LINK_UP) {
            r->seen = true;
            store->unseen_count--;
        }
    }
    store->known = store->stripe_count != 0 && store->unseen_count == 0;
}

/* ---- refusals --------------------------------------------------------------------------------------------------- */

void route_refused(struct store *store, struct link *link, uint16_t stripe)
{
    struct route *r = &store->routes[stripe];
    ASSERT(r->link == link);
    r->refused = true;
    move_begin(r);
    move(store);
    store_again(store);
}

void routes_again(struct store *store)
{
    for (uint32_t i = 0; i < store->stripe_count; i++) {
        struct route *r = &store->routes[i];
        if (r->refused) {
            r->refused = false;
            flush(store, (uint16_t)i);
        }
    }
}

void route_answered(struct store *store, uint16_t stripe, bool refusing)
{
    struct route *r = &store->routes[stripe];
    r->open--;
    if (UNLIKELY(refusing)) {
        r->held = true;
        r->to   = NULL;
    }
    if (UNLIKELY(r->held) && r->open == 0) {
        r->held = false;
        r->round++;
        flush(store, stripe);
    }
}
