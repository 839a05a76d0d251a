/* fake_store - stripes, a log that forgets nothing, and per connection what is asked and not answered. */
#include "tests/unit/broker/kernel/fake_store.h"

#include "segstore/stripe/stripe.h"
#include "shared/base/err.h"
#include "shared/base/hash.h"
#include "shared/rpc/op.h"
#include "shared/rpc/schema.h"

#include <stdio.h>
#include <stdlib.h>

enum { TXN_MAX_BYTES = 16 << 20, RECORD_MAX_BYTES = 2 << 20, STORES_MAX = 64, WATCHES_MAX = 8 };

struct entry {
    uint64_t position;
    size_t   size;
    uint8_t *bytes;
};

struct fake_world {
    uint16_t        stripe_count;
    struct stripe **stripes;
    struct entry   *entries;
    size_t          entry_count;
    size_t          entry_capacity;
    uint64_t        position;
    uint64_t        wall_ns;
    int             refuse;
    uint32_t        refuse_table;
    int             refuse_puts;
    int             refuse_deletes;
    bool            repeat;
    uint16_t        applying; /* the stripe whose observer speaks */
    struct store   *stores[STORES_MAX];
};

struct txn {
    struct list        link;
    struct store_call *call;
    uint16_t           stripe;
    bool               bad;
    int                status;
    struct wire_writer ops;
    struct wire_writer results;
};

struct event { /* of a watch */
    struct list         link;
    struct store_watch *watch;
    uint8_t             kind; /* 0 changed, 1 restarted, 2 synced, 3 a packet: key, of the owner `version` */
    uint32_t            shard;
    uint16_t            stripe;
    bool                deleted;
    uint64_t            version;
    uint64_t            expires_wall_ns;
    struct bytes        key;
    struct bytes        value;
    uint8_t             text[];
};

struct item_copy {
    struct list  link;
    uint16_t     stripe;
    uint64_t     version;
    uint64_t     expires_wall_ns;
    struct bytes key;
    struct bytes value;
    uint8_t      text[];
};

struct scan_state {
    struct list        link;
    struct store_scan *scan;
    uint16_t           stripe;
    uint32_t           table;
    uint8_t            kind;
    bool               read;
    bool               paused;
    struct list        items;
    size_t             pattern_size;
    uint8_t            pattern[];
};

struct follow_state {
    struct list          link;
    struct store_follow *follow;
    uint64_t             stream_id;
    uint64_t             epoch;
    uint64_t             next;
    uint32_t             credit;
    int                  ended;
};

struct watched {
    struct store_watch *watch;
    uint32_t            table;
};

struct store {
    struct fake_world  *world;
    uint64_t            owner;
    struct txn         *writing;
    struct list         submitted;
    struct list         applied;
    struct list         scans;
    struct list         follows;
    struct watched      watches[WATCHES_MAX];
    int                 watch_count;
    struct list         events;
    bool                congested;
    struct store_relay *relay;
    uint32_t            relay_lost_in; /* every so many packets to it one is lost; 0: none */
    uint32_t            relayed;
    bool                cut;
};

/* ---- the world ------------------------------------------------------------------------------------------------------ */

static void on_ended(void *ctx, uint64_t stream_id, uint64_t below_epoch, int status)
{
    struct fake_world *w = ctx;
    for (int i = 0; i < STORES_MAX; i++) {
        if (w->stores[i] == NULL) {
            continue;
        }
        LIST_EACH (&w->stores[i]->follows, link) {
            struct follow_state *f = CONTAINER_OF(link, struct follow_state, link);
            if (f->stream_id == stream_id && f->ended == 0 &&
                (status == ERR_NOT_FOUND || (f->epoch != 0 && f->epoch < below_epoch))) {
                f->ended = status;
            }
        }
    }
}

static struct event *event_new(struct store *s, struct store_watch *watch, uint8_t kind, uint32_t shard,
                               struct bytes key, struct bytes value)
{
    struct event *e = calloc(1, sizeof *e + key.size + value.size);
    memcpy(e->text, key.data, key.size);
    if (value.size != 0) {
        memcpy(e->text + key.size, value.data, value.size);
    }
    e->watch = watch;
    e->kind  = kind;
    e->shard = shard;
    e->key   = bytes_of(e->text, key.size);
    e->value = bytes_of(e->text + key.size, value.size);
    list_push_back(&s->events, &e->link);
    return e;
}

static void on_changed(void *ctx, uint32_t table, struct bytes key, struct bytes value, uint64_t version,
                       uint64_t expires_wall_ns, bool deleted)
{
    struct fake_world *w = ctx;
    for (int i = 0; i < STORES_MAX; i++) {
        struct store *s = w->stores[i];
        for (int at = 0; s != NULL && at < s->watch_count; at++) {
            if (s->watches[at].table != table) {
                continue;
            }
            struct event *e    = event_new(s, s->watches[at].watch, 0, 0, key, deleted ? (struct bytes){0} : value);
            e->stripe          = w->applying;
            e->version         = version;
            e->expires_wall_ns = expires_wall_ns;
            e->deleted         = deleted;
        }
    }
}

static int apply(struct fake_world *w, uint16_t stripe, struct bytes ops, struct wire_writer *results);

struct fake_world *fake_world_new(uint16_t stripes, uint64_t stream_records_max)
{
    struct fake_world           *w        = calloc(1, sizeof *w);
    const struct stripe_limits   limits   = {.table_bytes_max    = 1 << 30,
                                             .streams_max        = 1 << 20,
                                             .stream_records_max = stream_records_max,
                                             .writers_max        = 1024};
    const struct stripe_observer observer = {.ctx = w, .ended = on_ended, .changed = on_changed};
    w->stripe_count                       = stripes;
    w->wall_ns                            = 1700000000ull * 1000000000ull;
    w->stripes                            = calloc(stripes, sizeof(struct stripe *));
    for (uint16_t i = 0; i < stripes; i++) {
        w->stripes[i]         = stripe_new(i, &observer);
        struct wire_writer op = wire_writer_growing(1000);
        stripe_limits_op(NULL, &limits, &op);
        ASSERT(apply(w, i, wire_written(&op), NULL) == 0);
        wire_writer_fini(&op);
    }
    return w;
}

void fake_world_free(struct fake_world *w)
{
    for (int i = 0; i < STORES_MAX; i++) {
        if (w->stores[i] != NULL) {
            fake_store_lose(w->stores[i]);
        }
    }
    for (uint16_t i = 0; i < w->stripe_count; i++) {
        stripe_free(w->stripes[i]);
    }
    for (size_t i = 0; i < w->entry_count; i++) {
        free(w->entries[i].bytes);
    }
    free(w->entries);
    free(w->stripes);
    free(w);
}

static int apply(struct fake_world *w, uint16_t stripe, struct bytes ops, struct wire_writer *results)
{
    if (w->entry_count == w->entry_capacity) {
        w->entry_capacity = w->entry_capacity == 0 ? 1024 : w->entry_capacity * 2;
        w->entries        = realloc(w->entries, w->entry_capacity * sizeof *w->entries);
    }
    struct entry *e = &w->entries[w->entry_count++];
    e->position     = w->position;
    e->size         = ops.size;
    e->bytes        = malloc(ops.size + 1);
    memcpy(e->bytes, ops.data, ops.size);
    w->position += ops.size + 1;
    w->applying = stripe;
    return stripe_apply(w->stripes[stripe],
                        &(struct stripe_entry){
                            .index    = stripe_applied(w->stripes[stripe]) + 1,
                            .wall_ns  = w->wall_ns,
                            .ops      = bytes_of(e->bytes, e->size),
                            .position = e->position,
                        },
                        true, results);
}

static struct bytes at_position(const struct fake_world *w, uint64_t position)
{
    size_t low  = 0;
    size_t high = w->entry_count;
    while (high - low > 1) {
        size_t middle = (low + high) / 2;
        if (w->entries[middle].position <= position) {
            low = middle;
        } else {
            high = middle;
        }
    }
    uint64_t ahead = position - w->entries[low].position;
    ASSERT(ahead < w->entries[low].size);
    return bytes_of(w->entries[low].bytes + ahead, w->entries[low].size - ahead);
}

static void fire_due(struct fake_world *w)
{
    for (uint16_t i = 0; i < w->stripe_count; i++) {
        for (;;) {
            struct wire_writer op  = wire_writer_growing(TXN_MAX_BYTES);
            bool               due = stripe_due(w->stripes[i], w->wall_ns, &op);
            if (due) {
                (void)apply(w, i, wire_written(&op), NULL);
            }
            wire_writer_fini(&op);
            if (!due) {
                break;
            }
        }
    }
}

void fake_world_advance(struct fake_world *w, uint64_t ns)
{
    w->wall_ns += ns;
    fire_due(w);
}

uint64_t fake_world_wall_ns(const struct fake_world *w)
{
    return w->wall_ns;
}

void fake_world_refuse_appends(struct fake_world *w, int status)
{
    w->refuse = status;
}

void fake_world_refuse_puts(struct fake_world *w, uint32_t table, int status)
{
    w->refuse_table = table;
    w->refuse_puts  = status;
}

void fake_world_refuse_deletes(struct fake_world *w, uint32_t table, int status)
{
    w->refuse_table   = table;
    w->refuse_deletes = status;
}

void fake_world_repeat(struct fake_world *w, bool repeat)
{
    w->repeat = repeat;
}

static bool count_item(void *ctx, const struct stripe_item *item)
{
    (void)item;
    ++*(uint64_t *)ctx;
    return true;
}

uint64_t fake_world_rows(const struct fake_world *w, uint32_t table)
{
    uint64_t count = 0;
    for (uint16_t i = 0; i < w->stripe_count; i++) {
        stripe_scan(w->stripes[i], table, RPC_SCAN_PREFIX, (struct bytes){0}, (struct bytes){0}, w->wall_ns, NULL,
                    count_item, &count);
    }
    return count;
}

uint64_t fake_world_applied(const struct fake_world *w)
{
    return w->entry_count;
}

/* ---- one connection -------------------------------------------------------------------------------------------------- */

struct store *fake_store_new(struct fake_world *w, uint64_t owner)
{
    struct store *s = calloc(1, sizeof *s);
    s->world        = w;
    s->owner        = owner;
    list_init(&s->submitted);
    list_init(&s->applied);
    list_init(&s->scans);
    list_init(&s->follows);
    list_init(&s->events);
    for (int i = 0; i < STORES_MAX; i++) {
        if (w->stores[i] == NULL) {
            w->stores[i] = s;
            return s;
        }
    }
    ASSERT(false);
    return NULL;
}

static void txn_free(struct txn *t)
{
    list_remove(&t->link);
    wire_writer_fini(&t->ops);
    wire_writer_fini(&t->results);
    free(t);
}

static void scan_free(struct scan_state *s)
{
    struct list *link;
    while ((link = list_pop_front(&s->items)) != NULL) {
        free(CONTAINER_OF(link, struct item_copy, link));
    }
    list_remove(&s->link);
    free(s);
}

void fake_store_lose(struct store *s)
{
    struct fake_world *w = s->world;
    struct list       *link;
    for (int i = 0; i < STORES_MAX; i++) {
        w->stores[i] = w->stores[i] == s ? NULL : w->stores[i];
    }
    while ((link = s->submitted.next) != &s->submitted) {
        txn_free(CONTAINER_OF(link, struct txn, link));
    }
    while ((link = s->applied.next) != &s->applied) {
        txn_free(CONTAINER_OF(link, struct txn, link));
    }
    while ((link = s->scans.next) != &s->scans) {
        scan_free(CONTAINER_OF(link, struct scan_state, link));
    }
    while ((link = list_pop_front(&s->follows)) != NULL) {
        free(CONTAINER_OF(link, struct follow_state, link));
    }
    while ((link = list_pop_front(&s->events)) != NULL) {
        free(CONTAINER_OF(link, struct event, link));
    }
    for (uint16_t i = 0; i < w->stripe_count; i++) {
        struct wire_writer op = wire_writer_growing(TXN_MAX_BYTES);
        op_encode(&op, &(struct op){.kind = OP_OWNER_LOST, .owner = s->owner});
        (void)apply(w, i, wire_written(&op), NULL);
        wire_writer_fini(&op);
    }
    fire_due(w);
    free(s);
}

/* 0: it is not refused. */
static int refusal(const struct fake_world *w, struct bytes ops)
{
    struct wire_reader r = wire_reader_of(ops);
    struct op          op;
    while (op_next(&r, &op) > 0) {
        if (op.kind == OP_APPEND && w->refuse != 0) {
            return w->refuse;
        }
        if (op.kind == OP_TABLE_PUT && op.table == w->refuse_table && w->refuse_puts != 0) {
            return w->refuse_puts;
        }
        if (op.kind == OP_TABLE_DELETE && op.table == w->refuse_table && w->refuse_deletes != 0) {
            return w->refuse_deletes;
        }
    }
    return 0;
}

bool fake_apply(struct store *s, int count)
{
    bool any = false;
    count    = s->cut ? 0 : count;
    for (int i = 0; i < count && !list_empty(&s->submitted); i++) {
        struct txn *t = CONTAINER_OF(list_pop_front(&s->submitted), struct txn, link);
        any           = true;
        list_push_back(&s->applied, &t->link);
        t->status = t->bad ? ERR_TOO_BIG : refusal(s->world, wire_written(&t->ops));
        if (t->status == 0) {
            int valid = stripe_validate(wire_written(&t->ops), RECORD_MAX_BYTES, false);
            ASSERT(valid == 0);
            if (s->world->repeat) {
                (void)apply(s->world, t->stripe, wire_written(&t->ops), NULL);
            }
            t->status = apply(s->world, t->stripe, wire_written(&t->ops), &t->results);
        }
    }
    fire_due(s->world);
    return any;
}

void fake_ask_again(struct store *s)
{
    LIST_EACH (&s->applied, link) {
        struct txn *t   = CONTAINER_OF(link, struct txn, link);
        t->results.size = 0;
        t->status       = apply(s->world, t->stripe, wire_written(&t->ops), &t->results);
    }
}

static bool copy_item(void *ctx, const struct stripe_item *item)
{
    struct scan_state *s = ctx;
    struct item_copy  *c = calloc(1, sizeof *c + item->key.size + item->value.size);
    memcpy(c->text, item->key.data, item->key.size);
    if (item->value.size != 0) {
        memcpy(c->text + item->key.size, item->value.data, item->value.size);
    }
    c->key             = bytes_of(c->text, item->key.size);
    c->value           = bytes_of(c->text + item->key.size, item->value.size);
    c->version         = item->version;
    c->expires_wall_ns = item->expires_wall_ns;
    c->stripe          = s->stripe;
    list_push_back(&s->items, &c->link);
    return true;
}

static struct scan_state *scan_of(const struct store *s, const struct store_scan *scan)
{
    for (struct list *link = s->scans.next; link != &s->scans; link = link->next) {
        struct scan_state *state = CONTAINER_OF(link, struct scan_state, link);
        if (state->scan == scan) {
            return state;
        }
    }
    return NULL;
}

static bool push_scan(struct store *s, struct store_scan *scan)
{
    struct scan_state *state = scan_of(s, scan);
    if (state->paused) {
        return false;
    }
    if (!state->read) {
        uint16_t only = state->stripe;
        for (uint16_t i = 0; i < s->world->stripe_count; i++) {
            if (only == i || only == STORE_STRIPE_ALL) {
                state->stripe = i;
                stripe_scan(s->world->stripes[i], state->table, state->kind,
                            bytes_of(state->pattern, state->pattern_size), (struct bytes){0}, s->world->wall_ns, NULL,
                            copy_item, state);
            }
        }
        state->read = true;
    }
    while (!list_empty(&state->items)) {
        struct item_copy *c    = CONTAINER_OF(list_pop_front(&state->items), struct item_copy, link);
        struct store_item item = {.key             = c->key,
                                  .value           = c->value,
                                  .version         = c->version,
                                  .expires_wall_ns = c->expires_wall_ns,
                                  .stripe          = c->stripe};
        bool              more = scan->item(scan, &item);
        free(c);
        state = scan_of(s, scan);
        if (state == NULL) {
            return true; /* cancelled */
        }
        if (!more) {
            state->paused = true;
            return true;
        }
    }
    scan_free(state);
    scan->done(scan, 0);
    return true;
}

static struct follow_state *follow_of(const struct store *s, const struct store_follow *follow)
{
    for (struct list *link = s->follows.next; link != &s->follows; link = link->next) {
        struct follow_state *state = CONTAINER_OF(link, struct follow_state, link);
        if (state->follow == follow) {
            return state;
        }
    }
    return NULL;
}

static void follow_end(struct follow_state *f, int status)
{
    struct store_follow *follow = f->follow;
    list_remove(&f->link);
    free(f);
    follow->ended(follow, status);
}

static bool push_follow(struct store *s, struct store_follow *follow)
{
    struct follow_state *f   = follow_of(s, follow);
    bool                 any = false;
    struct stripe_stream stream;
    const struct stripe *stripe = s->world->stripes[stream_id_stripe(f->stream_id)];
    if (f->ended == 0) {
        int error = stripe_stream(stripe, f->stream_id, &stream);
        f->ended  = error != 0 ? error : f->epoch != 0 && f->epoch < stream.epoch ? ERR_FENCED : 0;
    }
    if (f->ended != 0) {
        follow_end(f, f->ended);
        return true;
    }
    while (f != NULL && f->ended == 0 && f->credit != 0) {
        uint64_t position;
        uint64_t first;
        int      got = stripe_positions(stripe, f->stream_id, f->next, &position, 1, &first);
        if (got <= 0) {
            break;
        }
        f->next = first + 1;
        if (position == UINT64_MAX) {
            continue;
        }
        struct op_target target;
        struct bytes     image;
        struct record    record;
        int64_t          size = op_target_at(at_position(s->world, position), &target, &image);
        ASSERT(size > 0 && (target.stream_id == f->stream_id || target.stream_id == OP_STREAM_LAST));
        int64_t decoded = record_decode(image, &record);
        ASSERT(decoded > 0);
        f->credit--;
        any = true;
        follow->record(follow, first, target.tag, &record);
        f = follow_of(s, follow);
    }
    return any;
}

static bool push_event(struct store *s)
{
    struct list *link = list_pop_front(&s->events);
    if (link == NULL) {
        return false;
    }
    struct event *e = CONTAINER_OF(link, struct event, link);
    if (e->kind == 1) {
        e->watch->restarted(e->watch, e->shard, FAKE_SHARDS);
    } else if (e->kind == 2) {
        e->watch->synced(e->watch, e->shard, FAKE_SHARDS);
    } else if (e->kind == 3) {
        s->relay->arrived(s->relay, e->version, e->key);
    } else {
        struct store_item item = {
            .key             = e->key,
            .value           = e->value,
            .version         = e->version,
            .expires_wall_ns = e->expires_wall_ns,
            .stripe          = e->stripe,
            .deleted         = e->deleted,
        };
        e->watch->changed(e->watch, &item);
    }
    free(e);
    return true;
}

bool fake_answer(struct store *s)
{
    if (s->cut) {
        return false;
    }
    bool any = false;
    while (!list_empty(&s->applied)) {
        struct txn *t = CONTAINER_OF(list_pop_front(&s->applied), struct txn, link);
        t->call->done(t->call, t->status, t->status == 0 ? wire_written(&t->results) : (struct bytes){0});
        txn_free(t);
        any = true;
    }
    while (push_event(s)) {
        any = true;
    }
    for (struct list *link = s->scans.next; link != &s->scans;) {
        /* A callback may end any scan: begin anew after one that did something. */
        bool did = push_scan(s, CONTAINER_OF(link, struct scan_state, link)->scan);
        link     = did ? s->scans.next : link->next;
        any      = any || did;
    }
    for (struct list *link = s->follows.next; link != &s->follows;) {
        bool did = push_follow(s, CONTAINER_OF(link, struct follow_state, link)->follow);
        link     = did ? s->follows.next : link->next;
        any      = any || did;
    }
    return any;
}

void fake_congest(struct store *s, bool congested)
{
    s->congested = congested;
}

/* ---- store.h ---------------------------------------------------------------------------------------------------------- */

bool store_known(const struct store *s)
{
    (void)s;
    return true;
}

uint16_t store_stripe_count(const struct store *s)
{
    return s->world->stripe_count;
}

uint16_t store_stripe(const struct store *s, struct bytes name)
{
    return (uint16_t)(hash_bytes(name) % s->world->stripe_count);
}

uint64_t store_owner(const struct store *s)
{
    return s->owner;
}

uint64_t store_heard_ns(const struct store *s, uint16_t stripe)
{
    (void)stripe;
    return s->cut ? 0 : s->world->wall_ns - 1600000000ull * 1000000000ull; /* the clock of stage.c */
}

void store_relay_start(struct store *s, struct store_relay *relay)
{
    s->relay = relay;
}

bool store_relay_send(struct store *s, uint64_t to, uint32_t way, struct bytes head, struct bytes bytes)
{
    struct wire_writer w = wire_writer_growing(TXN_MAX_BYTES);
    (void)way;
    wire_put_bytes(&w, head);
    wire_put_bytes(&w, bytes);
    for (int i = 0; i < STORES_MAX; i++) {
        struct store *at   = s->world->stores[i];
        bool          lost = at == NULL || at->cut || s->cut || at->relay == NULL || at->owner != to;
        if (!lost && (at->relay_lost_in == 0 || ++at->relayed % at->relay_lost_in != 0)) {
            event_new(at, NULL, 3, 0, wire_written(&w), (struct bytes){0})->version = s->owner;
        }
    }
    wire_writer_fini(&w);
    return true;
}

void fake_lose_packets(struct store *s, uint32_t one_in)
{
    s->relay_lost_in = one_in;
}

void fake_cut(struct store *s, bool cut)
{
    s->cut = cut;
}

bool store_congested(const struct store *s)
{
    return s->congested;
}

struct wire_writer *store_txn_begin(struct store *s, uint16_t stripe)
{
    ASSERT(s->writing == NULL && stripe < s->world->stripe_count);
    s->writing          = calloc(1, sizeof *s->writing);
    s->writing->stripe  = stripe;
    s->writing->ops     = wire_writer_growing(TXN_MAX_BYTES);
    s->writing->results = wire_writer_growing(TXN_MAX_BYTES);
    return &s->writing->ops;
}

void store_txn_end(struct store *s, struct store_call *call)
{
    struct txn *t = s->writing;
    ASSERT(t != NULL && call->done != NULL);
    t->call    = call;
    t->bad     = t->ops.bad;
    s->writing = NULL;
    list_push_back(&s->submitted, &t->link);
}

void store_scan_start(struct store *s, struct store_scan *scan, uint16_t stripe, uint32_t table, uint8_t kind,
                      struct bytes pattern)
{
    ASSERT(s->writing == NULL && scan_of(s, scan) == NULL);
    struct scan_state *state = calloc(1, sizeof *state + pattern.size);
    memcpy(state->pattern, pattern.data, pattern.size);
    state->pattern_size = pattern.size;
    state->scan         = scan;
    state->stripe       = stripe;
    state->table        = table;
    state->kind         = kind;
    list_init(&state->items);
    list_push_back(&s->scans, &state->link);
}

void store_scan_resume(struct store *s, struct store_scan *scan)
{
    struct scan_state *state = scan_of(s, scan);
    ASSERT(state != NULL);
    state->paused = false;
}

void store_scan_cancel(struct store *s, struct store_scan *scan)
{
    struct scan_state *state = scan_of(s, scan);
    if (state != NULL) {
        scan_free(state);
    }
}

struct shown {
    struct store       *store;
    struct store_watch *watch;
    uint16_t            stripe;
};

static bool show_item(void *ctx, const struct stripe_item *item)
{
    struct shown *shown = ctx;
    struct event *e     = event_new(shown->store, shown->watch, 0, 0, item->key, item->value);
    e->stripe           = shown->stripe;
    e->version          = item->version;
    e->expires_wall_ns  = item->expires_wall_ns;
    return true;
}

static void show_all(struct store *s, const struct watched *watched, uint32_t shard)
{
    event_new(s, watched->watch, 1, shard, bytes_str(""), (struct bytes){0});
    for (uint16_t i = 0; i < s->world->stripe_count; i++) {
        struct shown shown = {.store = s, .watch = watched->watch, .stripe = i};
        if (i % FAKE_SHARDS == shard) {
            stripe_scan(s->world->stripes[i], watched->table, RPC_SCAN_PREFIX, (struct bytes){0}, (struct bytes){0},
                        s->world->wall_ns, NULL, show_item, &shown);
        }
    }
    event_new(s, watched->watch, 2, shard, bytes_str(""), (struct bytes){0});
}

void fake_reconnect(struct store *s, uint32_t shard)
{
    for (int at = 0; at < s->watch_count; at++) {
        show_all(s, &s->watches[at], shard);
    }
}

void store_watch_start(struct store *s, struct store_watch *watch, uint32_t table)
{
    ASSERT(s->watch_count < WATCHES_MAX);
    s->watches[s->watch_count++] = (struct watched){.watch = watch, .table = table};
    for (uint32_t shard = 0; shard < FAKE_SHARDS; shard++) {
        show_all(s, &s->watches[s->watch_count - 1], shard);
    }
}

void store_follow_start(struct store *s, struct store_follow *follow, uint64_t stream_id, uint64_t epoch, uint64_t from,
                        uint32_t credit)
{
    ASSERT(s->writing == NULL && follow_of(s, follow) == NULL);
    struct follow_state *f = calloc(1, sizeof *f);
    f->follow              = follow;
    f->stream_id           = stream_id;
    f->epoch               = epoch;
    f->next                = from;
    f->credit              = credit;
    list_push_back(&s->follows, &f->link);
}

void store_follow_credit(struct store *s, struct store_follow *follow, uint32_t credit)
{
    struct follow_state *f = follow_of(s, follow);
    ASSERT(f != NULL);
    f->credit += credit;
}

void store_follow_cancel(struct store *s, struct store_follow *follow)
{
    struct follow_state *f = follow_of(s, follow);
    if (f != NULL) {
        list_remove(&f->link);
        free(f);
    }
}
