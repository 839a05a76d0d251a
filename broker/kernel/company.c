/* company - rows of the table: who is there, this process among them, and whether that is still true. */
#include "broker/kernel/company.h"

#include "broker/kernel/far.h"
#include "broker/kernel/mail.h"
#include "broker/kernel/numbers.h"
#include "broker/kernel/session.h"
#include "broker/kernel/exclusive.h"
#include "shared/base/err.h"
#include "shared/base/log.h"
#include "shared/rpc/op.h"
#include "shared/rpc/schema.h"

#include <stdlib.h>

_Static_assert((int)TABLE_BROKERS == (int)RPC_TABLE_BROKERS, "the table of brokers has one number");

enum { BROKERS_STRIPE = 0, ROW_VERSION = 1, ROW_BYTES = 11, HEIRS_MAX = 16 };
#define FENCE_HEARD_NS 5000000000u
#define FENCE_DOWN_NS  1000000000u
#define RETRY_NS       200000000u

struct company {
    struct kernel     *kernel;
    uint64_t           instance;
    uint64_t           place;
    struct store_watch watch;
    struct store_relay relay;
    struct store_call  call; /* of the row */
    struct store_scan  probe;
    struct list        all;  /* struct peer */
    struct list        held; /* store_call.link: until it is not fenced */
    struct numbers     numbers;
    uint64_t           birth; /* 0: the row was not seen */
    uint64_t           heard_ns;
    uint64_t           retry_ns; /* of the row */
    uint32_t           generation;
    bool               calling;
    bool               registered; /* once */
    bool               started_probe;
    bool               found; /* by the probe: the row as it was */
    bool               shown; /* the table was, once */
    bool               showing;
    bool               seen; /* the own row, in this showing */
    bool               joined;
    bool               fenced;
    bool               lost;
    bool               retiring;
};

static void peer_forget(struct company *p, struct peer *peer)
{
    list_remove(&peer->link);
    numbers_end(&p->numbers, peer, far_lost);
    free(peer);
    exclusive_senior(p->kernel);
}

/* ---- this process ------------------------------------------------------------------------------------------------------- */

static struct bytes row_key(uint8_t out[8], uint64_t instance)
{
    struct wire_writer w = wire_writer_fixed(out, 8);
    wire_put_u64(&w, instance);
    return wire_written(&w);
}

static struct bytes timer_name(uint8_t out[16], uint64_t instance)
{
    struct wire_writer w = wire_writer_fixed(out, 16);
    wire_put_bytes(&w, bytes_str("broker/"));
    wire_put_u64(&w, instance);
    return wire_written(&w);
}

static void row_done(struct store_call *call, int status, struct bytes results)
{
    struct company *p = CONTAINER_OF(call, struct company, call);
    (void)results;
    p->calling = false;
    if (status != 0 &&
        status != ERR_CONFLICT) { /* else it is there: the request was repeated, and the watch shows it */
        log_warn("the segment store does not take this broker in its list: %s; trying again", err_sentence(status));
        p->retry_ns = p->kernel->now_ns + RETRY_NS;
    }
}

/* Earlier processes of the same place are dead: their rows go in the same transaction. Only the first time: two that were given one place by mistake would delete each
 * other's for ever. */
static void delete_former(struct company *p, struct wire_writer *w)
{
    uint8_t key[8];
    uint8_t name[16];
    int     count = 0;
    LIST_EACH (&p->all, link) {
        const struct peer *peer = CONTAINER_OF(link, struct peer, link);
        if (peer->place == p->place && p->place != 0 && !p->registered && count++ < HEIRS_MAX) {
            op_encode(w, &(struct op){.kind = OP_TIMER_CANCEL, .name = timer_name(name, peer->instance)});
            op_encode(
                w, &(struct op){.kind = OP_TABLE_DELETE, .table = TABLE_BROKERS, .name = row_key(key, peer->instance)});
        }
    }
}

static void register_row(struct company *p)
{
    struct kernel     *k = p->kernel;
    uint8_t            key[8];
    uint8_t            name[16];
    uint8_t            value[ROW_BYTES];
    uint8_t            deletion[128];
    struct wire_writer v = wire_writer_fixed(value, sizeof value);
    struct wire_writer d = wire_writer_fixed(deletion, sizeof deletion);
    wire_put_u8(&v, ROW_VERSION);
    wire_put_u16(&v, (uint16_t)k->shard_count);
    wire_put_u64(&v, p->place);
    struct bytes row = row_key(key, p->instance);
    op_encode(&d, &(struct op){.kind = OP_TABLE_DELETE, .table = TABLE_BROKERS, .name = row});
    struct wire_writer *w = store_txn_begin(k->store, BROKERS_STRIPE);
    op_encode(w, &(struct op){.kind = OP_CHECK, .table = TABLE_BROKERS, .name = row});
    delete_former(p, w);
    op_encode(w, &(struct op){.kind = OP_TABLE_PUT, .table = TABLE_BROKERS, .name = row, .value = wire_written(&v)});
    op_encode(w, &(struct op){.kind  = OP_TIMER_SET,
                              .name  = timer_name(name, p->instance),
                              .owner = store_owner(k->store),
                              .value = wire_written(&d)});
    ASSERT(!v.bad && !d.bad);
    p->calling    = true;
    p->registered = true;
    p->call.done  = row_done;
    store_txn_end(k->store, &p->call);
}

void kernel_retire(struct kernel *k)
{
    struct company *p = k->company;
    if (p == NULL || p->retiring) {
        return;
    }
    p->retiring = true;
    if (k->shard != 0 || p->birth == 0 || p->calling) {
        return;
    }
    uint8_t key[8];
    uint8_t name[16];
    p->calling            = true;
    p->call.done          = row_done;
    struct wire_writer *w = store_txn_begin(k->store, BROKERS_STRIPE);
    op_encode(w, &(struct op){.kind = OP_TIMER_CANCEL, .name = timer_name(name, p->instance)});
    op_encode(w, &(struct op){.kind = OP_TABLE_DELETE, .table = TABLE_BROKERS, .name = row_key(key, p->instance)});
    store_txn_end(k->store, &p->call);
}

/* The store took it for dead: what it has is others' by now. */
static void lose(struct company *p)
{
    if (p->birth == 0) {
        return;
    }
    p->birth  = 0;
    p->joined = false;
    p->lost   = true; /* at the end of the turn: this is the middle of a watch */
}

/* Everybody is sent away; who others are is found out anew. */
static void begin_again(struct company *p)
{
    struct kernel *k = p->kernel;
    p->lost          = false;
    if (!p->retiring) {
        log_warn("the segment store took this broker for dead: it was away for longer than segstore.broker_lease. Its "
                 "clients are sent away");
        session_evict_everybody(k);
    }
    p->fenced = true; /* until it has joined again */
    LIST_EACH (&p->all, link) {
        numbers_end(&p->numbers, CONTAINER_OF(link, struct peer, link), far_abandon);
    }
}

static void own_row(struct company *p, const struct store_item *item)
{
    if (item->deleted) {
        lose(p);
        return;
    }
    p->seen = true;
    if (p->birth != 0 && p->birth != item->version) {
        lose(p);
    }
    p->birth = item->version;
}

/* ---- others ------------------------------------------------------------------------------------------------------------- */

static struct peer *peer_find(struct company *p, uint64_t instance)
{
    LIST_EACH (&p->all, link) {
        struct peer *peer = CONTAINER_OF(link, struct peer, link);
        if (peer->instance == instance) {
            return peer;
        }
    }
    return NULL;
}

static void other_row(struct company *p, uint64_t instance, const struct store_item *item)
{
    struct peer       *peer    = peer_find(p, instance);
    struct wire_reader r       = wire_reader_of(item->value);
    uint8_t            version = item->deleted ? 0 : wire_get_u8(&r);
    uint16_t           count   = item->deleted ? 0 : wire_get_u16(&r);
    uint64_t           place   = item->deleted ? 0 : wire_get_u64(&r);
    if (peer != NULL && !item->deleted && peer->birth == item->version) {
        peer->generation = p->generation;
        return;
    }
    if (peer != NULL) {
        peer_forget(p, peer);
    }
    if (item->deleted) {
        return;
    }
    if (r.bad || version != ROW_VERSION || count == 0 || count > SHARDS_MAX) {
        log_error("another broker at this segment store is of a release that is not understood: stop one of the two");
        count = SHARDS_MAX; /* there is never room for it: nobody is let in while it is there */
    }
    peer = calloc(1, sizeof *peer);
    ASSERT_MEMORY(peer != NULL);
    *peer = (struct peer){.instance    = instance,
                          .birth       = item->version,
                          .place       = place,
                          .shard_count = count,
                          .generation  = p->generation};
    list_push_back(&p->all, &peer->link);
}

static void changed(struct store_watch *watch, const struct store_item *item)
{
    struct company    *p        = watch->ctx;
    struct wire_reader r        = wire_reader_of(item->key);
    uint64_t           instance = wire_get_u64(&r);
    if (r.bad || item->stripe != BROKERS_STRIPE) {
        return;
    }
    if (instance == p->instance) {
        own_row(p, item);
    } else {
        other_row(p, instance, item);
    }
}

static void restarted(struct store_watch *watch, uint32_t shard, uint32_t shard_count)
{
    struct company *p = watch->ctx;
    if (BROKERS_STRIPE % shard_count == shard) {
        p->generation++;
        p->showing = true;
        p->seen    = false;
    }
}

static void synced(struct store_watch *watch, uint32_t shard, uint32_t shard_count)
{
    struct company *p = watch->ctx;
    if (BROKERS_STRIPE % shard_count != shard) {
        return;
    }
    p->shown   = true;
    p->showing = false;
    if (!p->seen) {
        lose(p);
    }
    LIST_EACH (&p->all, link) {
        struct peer *peer = CONTAINER_OF(link, struct peer, link);
        if (peer->generation != p->generation) {
            peer_forget(p, peer);
        }
    }
}

uint64_t company_owner(const struct kernel *k, unsigned shard)
{
    return numbers_owner(&k->company->numbers, shard);
}

uint64_t company_birth(const struct kernel *k, unsigned shard)
{
    return shard < k->shard_count ? k->company->birth : numbers_birth(&k->company->numbers, shard);
}

bool company_post(struct kernel *k, unsigned shard, const struct kernel_mail *mail)
{
    return numbers_post(&k->company->numbers, shard, mail);
}

uint64_t company_send(struct kernel *k)
{
    return numbers_send(&k->company->numbers);
}

void company_told(struct kernel *k, unsigned from)
{
    numbers_told(&k->company->numbers, from);
}

/* ---- the fence ---------------------------------------------------------------------------------------------------------- */

static void release_held(struct company *p)
{
    struct list *link;
    while (!p->fenced && (link = list_pop_front(&p->held)) != NULL) {
        struct store_call *call = CONTAINER_OF(link, struct store_call, link);
        call->done(call, 0, (struct bytes){0});
    }
}

static bool probe_item(struct store_scan *scan, const struct store_item *item)
{
    struct company *p = scan->ctx;
    p->found          = item->version == p->birth;
    return true;
}

static void probe_done(struct store_scan *scan, int status)
{
    struct company *p = scan->ctx;
    p->started_probe  = false;
    if (status == 0 && p->found && p->joined) {
        p->fenced   = false;
        p->heard_ns = p->kernel->now_ns;
    } /* else the watch says what became of the row, or it is asked again */
}

/* Is the row still there? Asked behind the moment from which it counts. */
static void probe(struct company *p)
{
    uint8_t key[8];
    p->started_probe = true;
    p->found         = false;
    p->probe         = (struct store_scan){.item = probe_item, .done = probe_done, .ctx = p};
    store_scan_start(p->kernel->store, &p->probe, BROKERS_STRIPE, TABLE_BROKERS, RPC_SCAN_KEY,
                     row_key(key, p->instance));
}

void company_look(struct kernel *k)
{
    struct company *p = k->company;
    if (p == NULL || !p->joined) {
        return;
    }
    uint64_t heard_ns = store_heard_ns(k->store, BROKERS_STRIPE);
    uint64_t most_ns  = heard_ns == 0 ? FENCE_DOWN_NS : FENCE_HEARD_NS;
    heard_ns          = heard_ns == 0 ? p->heard_ns : heard_ns;
    if (k->now_ns > heard_ns && k->now_ns - heard_ns > most_ns) {
        p->fenced = true;
    }
    p->heard_ns = heard_ns;
}

bool company_fenced(const struct kernel *k)
{
    return k->company != NULL && k->company->fenced;
}

void company_hold(struct kernel *k, struct store_call *call)
{
    list_push_back(&k->company->held, &call->link);
}

/* ---- the shard ---------------------------------------------------------------------------------------------------------- */

static void arrived(struct store_relay *relay, uint64_t from, struct bytes packet)
{
    struct company *p = relay->ctx;
    numbers_arrived(&p->numbers, from, packet);
}

void company_start(struct kernel *k)
{
    struct company *p = k->company;
    if (p == NULL) {
        return;
    }
    p->watch = (struct store_watch){.changed = changed, .synced = synced, .restarted = restarted, .ctx = p};
    p->relay = (struct store_relay){.arrived = arrived, .ctx = p};
    store_relay_start(k->store, &p->relay);
    store_watch_start(k->store, &p->watch, TABLE_BROKERS);
}

bool company_make(struct kernel *k, uint64_t instance, uint64_t place)
{
    struct company *p = instance == 0 ? NULL : calloc(1, sizeof *p);
    if (instance == 0 || p == NULL) {
        return instance == 0;
    }
    p->kernel         = k;
    p->numbers.kernel = k;
    p->instance       = instance;
    p->place          = place;
    list_init(&p->all);
    list_init(&p->held);
    k->company = p;
    return true;
}

static bool all_told(struct company *p)
{
    bool all = p->birth != 0 && p->shown;
    LIST_EACH (&p->all, link) {
        struct peer *peer = CONTAINER_OF(link, struct peer, link);
        if (peer->shards == 0) {
            numbers_begin(&p->numbers, peer, p->birth);
        }
        /* Those who came later wait for us. */
        all = all && (peer->birth > p->birth || (peer->shards != 0 && peer->told == peer->shard_count));
    }
    return all;
}

uint64_t company_turn(struct kernel *k)
{
    struct company *p = k->company;
    if (p == NULL) {
        return UINT64_MAX;
    }
    uint64_t wish_ns = UINT64_MAX;
    if (UNLIKELY(p->lost)) {
        begin_again(p);
    }
    if (p->birth == 0 && k->shard == 0 && p->shown && !p->showing && !p->calling && !p->retiring) {
        if (k->now_ns >= p->retry_ns) {
            register_row(p);
        } else {
            wish_ns = p->retry_ns;
        }
    }
    if (p->birth != 0 && (!p->joined || !list_empty(&p->all))) {
        bool told = all_told(p);
        if (!p->joined && told) {
            p->joined   = true;
            p->heard_ns = k->now_ns;
            p->fenced   = false;
            exclusive_senior(k);
        }
    }
    if (UNLIKELY(p->fenced && p->joined && !p->started_probe)) {
        probe(p);
    }
    release_held(p);
    return wish_ns;
}

bool company_joined(const struct kernel *k)
{
    return k->company == NULL || k->company->joined;
}

void company_each(struct kernel *k, void (*each)(void *ctx, const struct peer *peer), void *ctx)
{
    if (k->company != NULL) {
        LIST_EACH (&k->company->all, link) {
            each(ctx, CONTAINER_OF(link, struct peer, link));
        }
    }
}

const struct peer *company_senior(const struct kernel *k)
{
    const struct peer *senior = NULL;
    if (k->company != NULL) {
        LIST_EACH (&k->company->all, link) {
            const struct peer *peer = CONTAINER_OF(link, struct peer, link);
            if (peer->birth < (senior == NULL ? k->company->birth : senior->birth)) {
                senior = peer;
            }
        }
    }
    return senior;
}

bool kernel_senior(const struct kernel *k)
{
    return k->company == NULL || (k->company->joined && company_senior(k) == NULL);
}

void company_fini(struct kernel *k)
{
    struct company *p = k->company;
    if (p == NULL) {
        return;
    }
    numbers_fini(&p->numbers);
    while (!list_empty(&p->all)) {
        free(CONTAINER_OF(list_pop_front(&p->all), struct peer, link));
    }
    free(p);
    k->company = NULL;
}
