/* ack - what a client acknowledged, and the cursor moves that record it: gathered over a turn, one transaction per stripe.
 * One session that was fenced must not take the others with it: a transaction that fails is repeated one by one. */
#include "broker/kernel/delivery.h"
#include "broker/kernel/message.h"
#include "broker/kernel/reader.h"
#include "broker/kernel/reshare.h"
#include "broker/kernel/retain.h"
#include "broker/kernel/standing.h"
#include "shared/base/buggify.h"
#include "shared/base/err.h"
#include "shared/base/log.h"
#include "shared/rpc/op.h"

#include <stdlib.h>

enum { BATCH_SESSIONS_MAX = 1024, BATCH_MOVES_MAX = 32768 };

struct batch_item {
    struct session *session;
    struct moves    moves;
};

struct batch {
    struct list       link; /* in kernel.batches while under way */
    struct store_call call;
    struct kernel    *kernel;
    uint16_t          stripe;
    uint32_t          count;
    struct batch_item items[];
};

/* ---- from the client ---------------------------------------------------------------------------------------------- */

static void flight_ended(struct session *s)
{
    s->delivery->inflight -= s->delivery->inflight != 0; /* one sent on an earlier connection was not counted */
    standing_note(s);
    if (session_stored(s)) {
        delivery_credit(s);
    } else {
        delivery_pump(s);
    }
    readers_continue(s);
}

/* Of what a reader has sent. */
static int reader_ended(struct session *s, uint16_t id)
{
    int error = readers_done(s, id);
    if (error != 0) {
        return error;
    }
    if (!session_stored(s)) {
        delivery_pump(s);
    } else if (!s->keep->following && !s->delivery->blocked) { /* it waited for this one */
        delivery_follow(s);
    }
    readers_continue(s);
    return 0;
}

int kernel_received(struct kernel *k, struct client *client, uint16_t id)
{
    (void)k;
    struct session *s = client->session;
    uint64_t        offset;
    if (s->delivery == NULL || !window_find(&s->delivery->window, id, &offset)) {
        return ERR_NOT_FOUND;
    }
    struct window *w = &s->delivery->window;
    switch (window_get(w, offset)) {
    case WINDOW_SENT_2:
        if (session_stored(s)) {
            int error = window_set(w, offset, WINDOW_RECEIVED);
            ASSERT(error == 0);
            ack_note(s, offset, CURSOR_RECEIVED);
            return 0;
        }
        int error = window_set(w, offset, WINDOW_RELEASED);
        ASSERT(error == 0);
        client->ops->deliver_release(client, id);
        return 0;
    case WINDOW_RECEIVED:
        return 0; /* the answer is on its way */
    case WINDOW_RELEASED:
        client->ops->deliver_release(client, id);
        return 0;
    case WINDOW_SENT_1:
        return ERR_CONFLICT;
    default:
        return ERR_NOT_FOUND;
    }
}

/* May a delivery in this state end so? */
static bool ends(enum window_state state, enum delivery_end end)
{
    switch (end) {
    case DELIVERY_TAKEN:
        return state == WINDOW_SENT_1;
    case DELIVERY_RELEASED:
        return state == WINDOW_RELEASED;
    case DELIVERY_REFUSED:
        return state != WINDOW_SENT_1;
    }
    return false;
}

int kernel_done(struct kernel *k, struct client *client, uint16_t id, enum delivery_end end)
{
    (void)k;
    struct session *s = client->session;
    uint64_t        offset;
    if (id > WINDOW_WIDTH_MAX) {
        return end == DELIVERY_TAKEN ? reader_ended(s, id) : ERR_NOT_FOUND; /* they send QoS 1 */
    }
    if (s->delivery == NULL || !window_find(&s->delivery->window, id, &offset)) {
        return ERR_NOT_FOUND;
    }
    enum window_state state = window_get(&s->delivery->window, offset);
    if (state == WINDOW_NONE || state == WINDOW_DONE) {
        return ERR_NOT_FOUND;
    }
    if (!ends(state, end)) {
        return ERR_CONFLICT;
    }
    int error = window_set(&s->delivery->window, offset, WINDOW_DONE);
    ASSERT(error == 0);
    if (session_stored(s)) {
        ack_note(s, offset, CURSOR_DONE);
    } else if (state == WINDOW_SENT_1) {
        reshare_done(s, offset);
    }
    flight_ended(s);
    return 0;
}

void kernel_writable(struct kernel *k, struct client *client)
{
    (void)k;
    struct session *s = client->session;
    if (s == NULL || s->state != SESSION_OPEN) {
        return;
    }
    if (s->delivery != NULL && s->delivery->blocked) {
        s->delivery->blocked = false;
        standing_note(s);
        if (session_stored(s)) {
            delivery_unfollow(s);
            delivery_follow(s);
        }
    }
    delivery_pump(s);
    retain_continue(s);
    readers_continue(s);
}

/* ---- to the store ------------------------------------------------------------------------------------------------- */

void ack_note(struct session *s, uint64_t offset, uint8_t mark)
{
    struct keep  *keep  = s->keep;
    struct moves *moves = &keep->moves;
    struct move  *last  = moves->count == 0 ? NULL : &moves->items[moves->count - 1];
    if (last != NULL && last->mark == mark && last->last + 1 == offset) {
        last->last = offset;
    } else {
        if (moves->count == moves->capacity) {
            uint32_t     capacity = moves->capacity == 0 ? 8 : moves->capacity * 2;
            struct move *items    = realloc(moves->items, capacity * sizeof *items);
            if (items == NULL) {
                session_evict(s, EVICT_UNAVAILABLE); /* not recorded: it is sent again on the next connection */
                return;
            }
            moves->items    = items;
            moves->capacity = capacity;
        }
        moves->items[moves->count++] = (struct move){.first = offset, .last = offset, .mark = mark};
    }
    if (!list_linked(&keep->dirty) && !keep->moving) {
        list_push_back(&s->kernel->dirty, &keep->dirty);
    }
}

static void encode_moves(struct wire_writer *w, const struct session *s, const struct moves *moves)
{
    struct wire_writer ranges = wire_writer_growing(SIZE_MAX / 2);
    for (uint32_t i = 0; i < moves->count; i++) {
        wire_put_u64(&ranges, moves->items[i].first);
        wire_put_u64(&ranges, moves->items[i].last);
        wire_put_u8(&ranges, moves->items[i].mark);
    }
    w->bad       = w->bad || ranges.bad;
    struct op op = {
        .kind      = OP_CURSOR_MOVE,
        .stream_id = s->who.stream_id,
        .epoch     = s->keep->epoch,
        .sent      = s->keep->sent,
        .count     = moves->count,
        .items     = wire_written(&ranges),
    };
    op_encode(w, &op);
    wire_writer_fini(&ranges);
}

static void recorded(struct session *s, const struct moves *moves)
{
    for (uint32_t i = 0; i < moves->count && s->client != NULL; i++) {
        const struct move *m = &moves->items[i];
        for (uint64_t offset = m->first; m->mark == CURSOR_RECEIVED && offset <= m->last && s->client != NULL;
             offset++) {
            if (window_get(&s->delivery->window, offset) == WINDOW_RECEIVED) {
                int error = window_set(&s->delivery->window, offset, WINDOW_RELEASED);
                ASSERT(error == 0);
                s->client->ops->deliver_release(s->client, window_id(offset));
            }
        }
    }
}

static void item_done(struct batch_item *item, int status)
{
    struct session *s = item->session;
    s->keep->moving   = false;
    if (status == 0) {
        recorded(s, &item->moves);
    } else {
        bool taken      = status == ERR_FENCED || status == ERR_NOT_FOUND;
        s->keep->fenced = s->keep->fenced || taken;
        if (!taken) {
            log_warn("an acknowledgement could not be recorded: %s", err_sentence(status));
        }
        session_evict(s, taken ? EVICT_TAKEN_OVER : EVICT_UNAVAILABLE);
    }
    free(item->moves.items);
    if (s->keep->moves.count != 0 && !list_linked(&s->keep->dirty)) {
        list_push_back(&s->kernel->dirty, &s->keep->dirty);
    }
    s->busy--;
    close_continue(s);
}

static void batch_send(struct batch *b);

static void batch_done(struct store_call *call, int status, struct bytes results)
{
    (void)results;
    struct batch *b = CONTAINER_OF(call, struct batch, call);
    if (status != 0 && b->count > 1) {
        for (uint32_t i = 0; i < b->count; i++) {
            struct batch *one = calloc(1, sizeof *one + sizeof one->items[0]);
            if (one == NULL) {
                item_done(&b->items[i], ERR_UNAVAILABLE);
                continue;
            }
            one->kernel   = b->kernel;
            one->stripe   = b->stripe;
            one->count    = 1;
            one->items[0] = b->items[i];
            batch_send(one);
        }
    } else {
        for (uint32_t i = 0; i < b->count; i++) {
            item_done(&b->items[i], status);
        }
    }
    list_remove(&b->link);
    free(b);
}

static void batch_send(struct batch *b)
{
    struct wire_writer *w = store_txn_begin(b->kernel->store, b->stripe);
    for (uint32_t i = 0; i < b->count; i++) {
        encode_moves(w, b->items[i].session, &b->items[i].moves);
    }
    b->call.done = batch_done;
    list_push_back(&b->kernel->batches, &b->link);
    store_txn_end(b->kernel->store, &b->call);
}

static int by_stripe(const void *a, const void *b)
{
    const struct batch_item *x = a;
    const struct batch_item *y = b;
    /* Streams begin with their stripe; their number makes the order a total one. */
    return x->session->who.stream_id < y->session->who.stream_id
               ? -1
               : x->session->who.stream_id > y->session->who.stream_id;
}

void ack_flush(struct kernel *k)
{
    uint32_t count = 0;
    LIST_EACH (&k->dirty, link) {
        (void)link;
        count++;
    }
    if (count == 0 || BUGGIFY("ack: gathered for longer", 2)) {
        return; /* they stay dirty: next turn */
    }
    struct batch_item *all = malloc(count * sizeof *all);
    if (all == NULL) {
        return; /* they stay dirty: next turn */
    }
    for (uint32_t i = 0; i < count; i++) {
        struct keep *keep = CONTAINER_OF(list_pop_front(&k->dirty), struct keep, dirty);
        all[i]            = (struct batch_item){.session = keep->session, .moves = keep->moves};
        keep->moves       = (struct moves){0};
        keep->moving      = true;
        keep->session->busy++;
    }
    qsort(all, count, sizeof *all, by_stripe);
    for (uint32_t from = 0; from < count;) {
        uint16_t stripe = stream_id_stripe(all[from].session->who.stream_id);
        uint32_t to     = from;
        uint32_t moves  = 0;
        while (to < count && to - from < BATCH_SESSIONS_MAX &&
               (to == from || moves + all[to].moves.count <= BATCH_MOVES_MAX) &&
               stream_id_stripe(all[to].session->who.stream_id) == stripe) {
            moves += all[to++].moves.count;
        }
        struct batch *b = calloc(1, sizeof *b + (to - from) * sizeof b->items[0]);
        if (b == NULL) {
            for (uint32_t i = from; i < to; i++) {
                item_done(&all[i], ERR_UNAVAILABLE);
            }
        } else {
            b->kernel = k;
            b->stripe = stripe;
            b->count  = to - from;
            memcpy(b->items, &all[from], b->count * sizeof *all);
            batch_send(b);
        }
        from = to;
    }
    free(all);
}

void ack_fini(struct kernel *k)
{
    struct list *link;
    while ((link = list_pop_front(&k->batches)) != NULL) {
        struct batch *b = CONTAINER_OF(link, struct batch, link);
        for (uint32_t i = 0; i < b->count; i++) {
            free(b->items[i].moves.items);
        }
        free(b);
    }
}
