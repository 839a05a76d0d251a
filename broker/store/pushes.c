/* pushes.c - follows and watches. */
#include "broker/store/pushes.h"

#include "broker/store/state.h"
#include "shared/base/err.h"
#include "shared/rpc/op.h"
#include "shared/rpc/schema.h"

#include <stdlib.h>

/* Changes a watch may have under way: enough to keep a link busy, little enough to stay in order with everything else. */
enum { WATCH_CREDIT = 4096, CORRUPT_MAX = 3 };

/* Private words of struct store_follow: its slot, from 1. Of struct store_watch: its link in store->watches. */
struct watch_link {
    struct list         link;
    struct store_watch *watch;
    uint32_t            table;
};

static uint32_t take_slot(struct store *store)
{
    if (store->free_slot == 0) {
        uint32_t           count = store->subscriber_count == 0 ? 64 : store->subscriber_count * 2;
        struct subscriber *grown = realloc(store->subscribers, count * sizeof *grown);
        ASSERT(grown != NULL);
        for (uint32_t i = store->subscriber_count; i < count; i++) {
            grown[i] = (struct subscriber){.next_free = i + 1 < count ? i + 2 : 0};
        }
        store->free_slot        = store->subscriber_count + 1;
        store->subscribers      = grown;
        store->subscriber_count = count;
    }
    uint32_t           slot       = store->free_slot;
    struct subscriber *s          = &store->subscribers[slot - 1];
    uint32_t           generation = (s->generation + 1) & 0x7fffffffu;
    store->free_slot              = s->next_free;
    *s                            = (struct subscriber){.generation = generation};
    return slot;
}

static void give_slot(struct store *store, uint32_t slot)
{
    struct subscriber *s = &store->subscribers[slot - 1];
    s->follow            = NULL;
    s->watch             = NULL;
    s->link              = NULL;
    s->refused           = false;
    s->next_free         = store->free_slot;
    store->free_slot     = slot;
}

static uint64_t id_of(const struct store *store, uint32_t slot)
{
    return LINK_PUSH_ID | (uint64_t)store->subscribers[slot - 1].generation << 32 | slot;
}

/* The slot that this id means now, or 0. */
static uint32_t slot_of(const struct store *store, uint64_t id)
{
    uint32_t slot = (uint32_t)id;
    bool     used = slot != 0 && slot <= store->subscriber_count &&
                (store->subscribers[slot - 1].follow != NULL || store->subscribers[slot - 1].watch != NULL);
    return used && id_of(store, slot) == id ? slot : 0;
}

static struct wire_writer *notice_begin(struct store *store, uint16_t kind, uint64_t id)
{
    store->scratch.size = 0;
    store->scratch.bad  = false;
    (void)frame_begin(&store->scratch, kind, id);
    return &store->scratch;
}

static void notice_end(struct store *store, struct link *link)
{
    int error = frame_end(&store->scratch, 0);
    ASSERT(error == 0);
    link_notice(link, wire_written(&store->scratch));
}

static void ask(struct store *store, uint32_t slot)
{
    const struct subscriber *s = &store->subscribers[slot - 1];
    struct wire_writer      *w = notice_begin(store, s->follow != NULL ? RPC_FOLLOW : RPC_WATCH, id_of(store, slot));
    if (s->follow != NULL) {
        wire_put_u64(w, s->stream_id);
        wire_put_u64(w, s->epoch);
        wire_put_u64(w, s->next_offset);
    } else {
        wire_put_u16(w, s->stripe);
        wire_put_u16(w, 0);
        wire_put_u32(w, s->table);
    }
    wire_put_u32(w, s->credit);
    notice_end(store, s->link);
}

static void give_credit(struct store *store, uint32_t slot, uint32_t credit)
{
    if (store->subscribers[slot - 1].link != NULL) {
        wire_put_u32(notice_begin(store, RPC_CREDIT, id_of(store, slot)), credit);
        notice_end(store, store->subscribers[slot - 1].link);
    }
}

static void take_back(struct store *store, uint32_t slot)
{
    if (store->subscribers[slot - 1].link != NULL) {
        (void)notice_begin(store, RPC_CANCEL, id_of(store, slot));
        notice_end(store, store->subscribers[slot - 1].link);
        store->subscribers[slot - 1].link = NULL;
    }
}

/* ---- streams ---------------------------------------------------------------------------------------------------- */

void store_follow_start(struct store *store, struct store_follow *follow, uint64_t stream_id, uint64_t epoch,
                        uint64_t from, uint32_t credit)
{
    uint32_t           slot = take_slot(store);
    struct subscriber *s    = &store->subscribers[slot - 1];
    s->follow               = follow;
    s->stream_id            = stream_id;
    s->epoch                = epoch;
    s->next_offset          = from;
    s->credit               = credit;
    s->stripe               = stream_id_stripe(stream_id);
    s->link                 = store_reader(store, s->stripe); /* else the turn in which there is one asks */
    follow->private[0]      = slot;
    if (s->link != NULL) {
        ask(store, slot);
    }
}

void store_follow_credit(struct store *store, struct store_follow *follow, uint32_t credit)
{
    uint32_t slot = (uint32_t)follow->private[0];
    ASSERT(slot != 0);
    store->subscribers[slot - 1].credit += credit;
    give_credit(store, slot, credit);
}

void store_follow_cancel(struct store *store, struct store_follow *follow)
{
    uint32_t slot = (uint32_t)follow->private[0];
    if (slot == 0) {
        return;
    }
    follow->private[0] = 0;
    take_back(store, slot);
    give_slot(store, slot);
}

static void end_follow(struct store *store, uint32_t slot, int status)
{
    struct store_follow *follow = store->subscribers[slot - 1].follow;
    follow->private[0]          = 0;
    give_slot(store, slot);
    follow->ended(follow, status);
}

/* A damaged record: asked for again over a new connection, until it is clear that it lies damaged on the disk. */
static bool on_corrupt(struct store *store, uint32_t slot, int status)
{
    struct subscriber *s = &store->subscribers[slot - 1];
    log_error("stream %016llx, offset %llu: the record from the segment store is damaged (%s)",
              (unsigned long long)s->stream_id, (unsigned long long)s->next_offset, err_name(status));
    if (++s->corrupt_count >= CORRUPT_MAX) {
        end_follow(store, slot, ERR_CORRUPT);
        return true;
    }
    return false;
}

static bool on_records(struct store *store, uint64_t id, struct wire_reader *r)
{
    uint32_t count = wire_get_u32(r);
    (void)wire_get_u64(r); /* next_offset of the stream */
    for (uint32_t i = 0; i < count && !r->bad; i++) {
        uint32_t slot = slot_of(store, id); /* a callback may have cancelled the follow */
        if (slot == 0) {
            return true;
        }
        struct subscriber *s      = &store->subscribers[slot - 1];
        uint64_t           offset = wire_get_u64(r);
        struct bytes       tag    = wire_get(r, wire_get_u8(r));
        struct record      record;
        int64_t            size = r->bad ? ERR_MALFORMED : record_decode(bytes_of(r->at, wire_left(r)), &record);
        if (size < 0) {
            return on_corrupt(store, slot, (int)size);
        }
        (void)wire_get(r, (size_t)size);
        if (offset < s->next_offset) { /* sent before the connection broke, and again after */
            continue;
        }
        s->next_offset   = offset + 1;
        s->corrupt_count = 0;
        s->credit -= s->credit != 0;
        s->follow->record(s->follow, offset, tag, &record);
    }
    return !r->bad;
}

/* ---- tables ----------------------------------------------------------------------------------------------------- */

void store_watch_start(struct store *store, struct store_watch *watch, uint32_t table)
{
    struct watch_link *link = calloc(1, sizeof *link);
    ASSERT(link != NULL);
    link->watch = watch;
    link->table = table;
    list_push_back(&store->watches, &link->link);
}

/* A place for each of its stripes; where they are asked for is seen to by settle. */
static void watch_begin(struct store *store, const struct watch_link *w)
{
    for (uint32_t stripe = 0; stripe < store->stripe_count; stripe++) {
        uint32_t           slot = take_slot(store);
        struct subscriber *s    = &store->subscribers[slot - 1];
        s->watch                = w->watch;
        s->table                = w->table;
        s->stripe               = (uint16_t)stripe;
    }
    store->pushes_stale = true;
}

/* From the start. */
static void watch_anew(struct store *store, uint32_t slot)
{
    struct subscriber *s = &store->subscribers[slot - 1];
    s->credit            = WATCH_CREDIT;
    ask(store, slot);
    s->watch->restarted(s->watch, s->stripe, store->stripe_count);
}

static bool on_changes(struct store *store, uint64_t id, struct wire_reader *r)
{
    uint32_t slot = slot_of(store, id);
    if (slot == 0) {
        return true;
    }
    struct store_watch *watch  = store->subscribers[slot - 1].watch;
    uint16_t            stripe = store->subscribers[slot - 1].stripe;
    uint8_t             synced = wire_get_u8(r);
    uint32_t            count  = wire_get_u32(r);
    for (uint32_t i = 0; i < count && !r->bad; i++) {
        struct store_item item = {.stripe = wire_get_u16(r)};
        item.deleted           = wire_get_u8(r) != 0;
        item.version           = wire_get_u64(r);
        item.expires_wall_ns   = wire_get_u64(r);
        item.key               = wire_get_blob(r);
        item.value             = wire_get_blob(r);
        if (!r->bad) {
            watch->changed(watch, &item);
        }
    }
    if (r->bad) {
        return false;
    }
    if (count != 0) {
        give_credit(store, slot, count);
    }
    if (synced != 0) {
        watch->synced(watch, stripe, store->stripe_count);
    }
    return true;
}

/* ---- links and leaders ------------------------------------------------------------------------------------------ */

void pushes_down(struct store *store, struct link *link)
{
    for (uint32_t i = 0; i < store->subscriber_count; i++) {
        store->subscribers[i].link = store->subscribers[i].link == link ? NULL : store->subscribers[i].link;
    }
    store->pushes_stale = true;
}

void pushes_ask_again(struct store *store)
{
    for (uint32_t i = 0; i < store->subscriber_count; i++) {
        store->pushes_stale           = store->pushes_stale || store->subscribers[i].refused;
        store->subscribers[i].refused = false;
    }
}

/* Asks for it where its stripe is led, if that can be asked now. */
static void settle(struct store *store, uint32_t slot)
{
    struct subscriber *s  = &store->subscribers[slot - 1];
    struct link       *to = store_reader(store, s->stripe);
    if (s->link == to || (s->refused && s->refused_term == store->routes[s->stripe].term)) {
        return;
    }
    take_back(store, slot);
    s->refused    = false;
    s->link       = to;
    s->generation = (s->generation + 1) & 0x7fffffffu; /* what still comes for the last asking is told apart */
    if (to != NULL && s->follow != NULL) {
        ask(store, slot);
    } else if (to != NULL) {
        watch_anew(store, slot);
    }
}

void pushes_turn(struct store *store)
{
    struct list *link = NULL;
    while (store->stripe_count != 0 && (link = list_pop_front(&store->watches)) != NULL) {
        watch_begin(store, CONTAINER_OF(link, struct watch_link, link));
        free(CONTAINER_OF(link, struct watch_link, link));
    }
    if (LIKELY(!store->pushes_stale)) {
        return;
    }
    store->pushes_stale = false;
    for (uint32_t slot = 1; slot <= store->subscriber_count; slot++) { /* callbacks may begin and cancel some */
        if (store->subscribers[slot - 1].follow != NULL || store->subscribers[slot - 1].watch != NULL) {
            settle(store, slot);
        }
    }
}

/* The node does not lead the stripe: another does, or will, or this one in a while. */
static void on_not_leader(struct store *store, struct subscriber *s)
{
    s->link             = NULL;
    s->refused          = true;
    s->refused_term     = store->routes[s->stripe].term;
    store->pushes_stale = true;
    store_again(store);
}

bool pushes_pushed(struct store *store, struct link *link, const struct frame *frame)
{
    struct wire_reader r    = wire_reader_of(frame->body);
    uint32_t           slot = slot_of(store, frame->id);
    if (slot == 0 || store->subscribers[slot - 1].link != link) { /* cancelled or moved while it was on its way */
        return true;
    }
    bool follow = store->subscribers[slot - 1].follow != NULL;
    switch (frame->kind) {
    case RPC_RECORDS:
        return follow && on_records(store, frame->id, &r);
    case RPC_CHANGES:
        return !follow && on_changes(store, frame->id, &r);
    case RPC_ENDED:
    case RPC_ERROR: {
        int status = (int)wire_get_u32(&r);
        if (status == ERR_NOT_LEADER) {
            on_not_leader(store, &store->subscribers[slot - 1]);
            return true;
        }
        if (!follow || status >= 0) { /* a watch does not end but with its connection */
            return false;
        }
        end_follow(store, slot, status);
        return true;
    }
    default:
        return true; /* of a newer version */
    }
}

void pushes_fini(struct store *store)
{
    struct list *link = NULL;
    while ((link = list_pop_front(&store->watches)) != NULL) {
        free(CONTAINER_OF(link, struct watch_link, link));
    }
    free(store->subscribers);
}
