/* company - rows into numbers, numbers into channels. */
#include "broker/kernel/company.h"

#include "broker/kernel/channel.h"
#include "broker/kernel/far.h"
#include "broker/kernel/group.h"
#include "broker/kernel/interest.h"
#include "broker/kernel/mail.h"
#include "broker/kernel/rival.h"
#include "broker/kernel/session.h"
#include "broker/kernel/exclusive.h"
#include "shared/base/err.h"
#include "shared/base/hash.h"
#include "shared/base/log.h"
#include "shared/rpc/op.h"
#include "shared/rpc/schema.h"

#include <stdlib.h>

_Static_assert((int)TABLE_BROKERS == (int)RPC_TABLE_BROKERS, "the table of brokers has one number");

enum { BROKERS_STRIPE = 0, ROW_VERSION = 1, ROW_BYTES = 11, HEIRS_MAX = 16 };
#define FENCE_HEARD_NS 5000000000u
#define FENCE_DOWN_NS  1000000000u
#define RETRY_NS       200000000u

/* A shard of another process. */
struct far_shard {
    struct peer   *peer;
    uint64_t       owner;
    struct channel channel;
    bool           told; /* it has told all that stood there */
};

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
    struct far_shard  *far[SHARDS_MAX];
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
    bool               crowded; /* said */
};

/* ---- numbers ------------------------------------------------------------------------------------------------------------ */

/* Everything that stands here, to one that knows nothing. */
static void tell_all(struct kernel *k, unsigned shard)
{
    interest_tell(k, shard);
    group_tell(k, shard);
    struct wire_writer w = mail_begin();
    if (mail_post(k, shard, MAIL_TOLD, 0, &w)) {
        k->out[shard].announced++;
    }
}

static void shard_begin(struct company *p, struct peer *peer, unsigned number)
{
    struct kernel    *k   = p->kernel;
    struct far_shard *far = calloc(1, sizeof *far);
    ASSERT(far != NULL); /* out of memory */
    struct outbox *out = &k->out[number];
    far->peer          = peer;
    far->owner         = kernel_owner(peer->instance, number - peer->first);
    channel_init(&far->channel, peer->birth, p->birth, (uint32_t)hash_u64(far->owner ^ store_owner(k->store)));
    p->far[number] = far;
    out->base      = out->announced;
    out->confirmed = out->announced;
    out->received  = 0;
    out->answered  = 0;
    k->others |= 1ull << number;
    k->far |= 1ull << number;
}

static void shard_end(struct company *p, unsigned number)
{
    struct kernel *k   = p->kernel;
    uint64_t       bit = 1ull << number;
    k->others &= ~bit;
    k->far &= ~bit;
    channel_fini(&p->far[number]->channel);
    free(p->far[number]);
    p->far[number] = NULL;
    mail_drop(k, number);
    interest_lost(k, number);
    group_lost(k, number);
    exclusive_lost(k, number);
    k->slow_told &= ~bit;
    LIST_EACH (&k->paused, link) {
        CONTAINER_OF(link, struct publisher, paused_link)->slow &= ~bit;
    }
}

/* So many numbers behind each other, or 0. */
static unsigned numbers_free(const struct company *p, unsigned count)
{
    unsigned run = 0;
    for (unsigned number = p->kernel->shard_count; number < SHARDS_MAX; number++) {
        run = p->far[number] == NULL ? run + 1 : 0;
        if (run == count) {
            return number + 1 - count;
        }
    }
    return 0;
}

static void crowded(struct company *p)
{
    if (!p->crowded) {
        log_error(
            "more than %d shards of brokers at one segment store: this broker waits until others have gone; start "
            "fewer, or give each fewer --shards",
            (int)SHARDS_MAX);
    }
    p->crowded = true;
}

static void peer_begin(struct company *p, struct peer *peer)
{
    struct kernel *k     = p->kernel;
    unsigned       first = p->birth == 0 ? 0 : numbers_free(p, peer->shard_count);
    if (first == 0) {
        if (p->birth != 0) {
            crowded(p);
        }
        return; /* later */
    }
    peer->first  = (uint8_t)first;
    peer->told   = 0;
    peer->shards = (peer->shard_count == SHARDS_MAX ? UINT64_MAX : (1ull << peer->shard_count) - 1) << first;
    interest_track(k);
    for (unsigned i = 0; i < peer->shard_count; i++) {
        shard_begin(p, peer, first + i);
    }
    MAIL_EACH(number, peer->shards)
    {
        tell_all(k, number);
    }
}

/* Its numbers are free. What waited for it goes on last, when nothing knows it any more. */
static void peer_end(struct company *p, struct peer *peer)
{
    struct kernel *k      = p->kernel;
    uint64_t       shards = peer->shards;
    peer->shards          = 0;
    p->crowded            = false;
    MAIL_EACH(number, shards)
    {
        shard_end(p, number);
    }
    MAIL_EACH(number, shards)
    {
        far_lost(k, number);
    }
    rival_lost(k, shards);
    mail_recheck(k);
}

static void peer_forget(struct company *p, struct peer *peer)
{
    list_remove(&peer->link);
    peer_end(p, peer);
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
        peer_end(p, CONTAINER_OF(link, struct peer, link));
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
    ASSERT(peer != NULL); /* out of memory */
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
    return k->company->far[shard]->owner;
}

/* ---- packets ------------------------------------------------------------------------------------------------------------ */

bool company_post(struct kernel *k, unsigned shard, const struct kernel_mail *mail)
{
    struct far_shard  *far = k->company->far[shard];
    struct wire_reader r   = mail_read(mail);
    if (!channel_put(&far->channel, mail, bytes_of(r.at, wire_left(&r)))) {
        return false;
    }
    free(mail->body);
    return true;
}

static void arrived(struct store_relay *relay, uint64_t from, struct bytes packet)
{
    struct company *p = relay->ctx;
    struct kernel  *k = p->kernel;
    MAIL_EACH(shard, k->far)
    {
        struct far_shard *far = p->far[shard];
        if (far->owner != from) {
            continue;
        }
        size_t             at = 0;
        struct kernel_mail mail;
        if (!channel_arrived(&far->channel, packet, k->now_ns)) {
            return;
        }
        while (channel_mail(&far->channel, &at, &mail)) {
            kernel_take_mail(k, shard, &mail);
        }
        channel_taken(&far->channel, at);
        return;
    }
}

uint64_t company_send(struct kernel *k)
{
    struct company *p       = k->company;
    uint64_t        wish_ns = UINT64_MAX;
    MAIL_EACH(shard, k->far)
    {
        struct far_shard *far = p->far[shard];
        uint8_t           head[CHANNEL_HEAD_BYTES];
        struct bytes      bytes;
        while (channel_next(&far->channel, k->now_ns, head, &bytes)) {
            (void)store_relay_send(k->store, far->owner, far->channel.way, bytes_of(head, sizeof head), bytes);
        }
        uint64_t next_ns = channel_wish_ns(&far->channel);
        wish_ns          = next_ns < wish_ns ? next_ns : wish_ns;
    }
    return wish_ns;
}

void company_told(struct kernel *k, unsigned from)
{
    struct far_shard *far = k->company->far[from];
    far->peer->told += !far->told;
    far->told = true;
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
    p->kernel   = k;
    p->instance = instance;
    p->place    = place;
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
            peer_begin(p, peer);
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
    for (unsigned shard = 0; shard < SHARDS_MAX; shard++) {
        if (p->far[shard] != NULL) {
            channel_fini(&p->far[shard]->channel);
            free(p->far[shard]);
        }
    }
    while (!list_empty(&p->all)) {
        free(CONTAINER_OF(list_pop_front(&p->all), struct peer, link));
    }
    free(p);
    k->company = NULL;
}
