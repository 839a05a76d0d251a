/* assign - see assign.h. */
#include "broker/kernel/assign.h"

#include "broker/kernel/company.h"
#include "broker/kernel/far.h"
#include "broker/kernel/fanout.h"
#include "broker/kernel/gather.h"
#include "broker/kernel/mail.h"
#include "broker/kernel/once.h"
#include "broker/kernel/publish.h"
#include "broker/kernel/publisher.h"
#include "shared/base/err.h"
#include "shared/base/hash.h"

#include <stdlib.h>

enum { ATTEMPTS_MAX = 255 };

/* ---- memory --------------------------------------------------------------------------------------------------------------- */

static struct assignments *make(struct kernel *k)
{
    struct assignments *all = pool_take(k->assignments);
    if (all != NULL) {
        all->items    = all->few;
        all->capacity = ASSIGNED_FEW;
    }
    return all;
}

static struct assigned *add(struct assignments *all)
{
    if (all->count == all->capacity) {
        uint32_t         capacity = all->capacity * 4;
        struct assigned *items    = malloc(capacity * sizeof *items);
        if (items == NULL) {
            return NULL;
        }
        memcpy(items, all->items, all->count * sizeof *items);
        if (all->items != all->few) {
            free(all->items);
        }
        all->items    = items;
        all->capacity = capacity;
    }
    return &all->items[all->count++];
}

static void hold(struct assigned *a, struct group *g)
{
    a->group = g;
    g->held++;
}

void assign_free(struct kernel *k, struct assignments *all)
{
    if (all == NULL) {
        return;
    }
    for (uint32_t i = 0; i < all->count; i++) {
        struct group *g = all->items[i].group;
        if (g != NULL) {
            g->held--;
            group_settle(k, g);
        }
    }
    if (all->items != all->few) {
        free(all->items);
    }
    list_remove(&all->link);
    pool_give(k->assignments, all);
}

/* ---- chosen --------------------------------------------------------------------------------------------------------------- */

/* That shard, in this life of its process: one that was taken for dead begins another, without its clients. */
static uint64_t life_of(const struct kernel *k, unsigned shard)
{
    if (k->company == NULL) { /* this life is the only one */
        return hash_u64(store_owner(k->store) + shard);
    }
    uint64_t owner = far_shard(k, shard) ? company_owner(k, shard) : kernel_owner(k->port.instance, shard);
    return owner ^ hash_u64(company_birth(k, shard));
}

/* SHARDS_MAX: it has gone. */
static unsigned shard_of(const struct kernel *k, uint64_t life)
{
    if (life == life_of(k, k->shard)) {
        return k->shard;
    }
    MAIL_EACH(shard, k->others)
    {
        if (life_of(k, shard) == life) {
            return shard;
        }
    }
    return SHARDS_MAX;
}

/* False: nobody of the group can be given it. */
static bool choose(struct kernel *k, struct group *g, const struct message *message, const struct session *from,
                   struct assigned *out)
{
    struct group_choice  choice = gather_choose(k, g, message, from);
    const struct member *m      = choice.member;
    if (m == NULL && choice.stored == NULL) {
        return false;
    }
    uint64_t stream_id = m != NULL ? m->stream_id : choice.stored->owner->stream_id;
    out->flags         = m != NULL ? m->flags : choice.stored->link.flags;
    out->sub_id        = m != NULL ? m->sub_id : choice.stored->by_key.extra;
    out->changes       = g->changes;
    bool live          = stream_id == 0 || (out->flags & SUB_QOS) == 0;
    if (live && m == NULL) {
        k->counters.dropped++; /* QoS 0, and nobody of the group is connected */
        return false;
    }
    out->stream_id = live ? 0 : stream_id;
    out->life      = live ? life_of(k, m->shard) : 0;
    out->serial    = live ? m->serial : 0;
    return true;
}

static const struct assigned *find(const struct assignments *all, uint64_t hash)
{
    for (uint32_t i = 0; all != NULL && i < all->count; i++) {
        if (all->items[i].hash == hash) {
            return &all->items[i];
        }
    }
    return NULL;
}

static bool assign_one(struct kernel *k, struct pending *pending, struct group *g, const struct message *message,
                       const struct session *from, bool *out_new)
{
    struct assigned     chosen = {.hash = hash_bytes(group_filter(g))};
    struct assignments *all    = pending->assigned;
    if (find(all, chosen.hash) != NULL || !choose(k, g, message, from, &chosen)) {
        return true;
    }
    if (all == NULL) {
        pending->assigned = all = make(k);
    }
    struct assigned *a = all == NULL ? NULL : add(all);
    if (a == NULL) {
        return false;
    }
    /* What came behind it may be in a stream that is chosen only now: the publisher's own number would be an old one there. */
    chosen.attempt = all->again || all->count > ASSIGNED_PARTS;
    *a             = chosen;
    hold(a, g);
    *out_new = true;
    return true;
}

bool assign_all(struct kernel *k, struct pending *pending, const struct message *message, const struct session *from,
                bool *out_new)
{
    *out_new = false;
    if (LIKELY(k->groups.count == 0)) {
        return true;
    }
    const uint32_t *nodes;
    uint32_t        count = match_find(k->tree, message->topic, &nodes);
    bool            ok    = true;
    for (uint32_t i = 0; i < count; i++) {
        for (struct match_link *link = match_first(k->tree, nodes[i]); link != NULL; link = link->next) {
            struct group *g = CONTAINER_OF(link, struct group, link);
            if (link->kind == LINK_GROUP && !group_empty(g)) {
                ok = assign_one(k, pending, g, message, from, out_new) && ok;
            }
        }
    }
    return ok;
}

/* ---- in the row ----------------------------------------------------------------------------------------------------------- */

void assign_write(struct wire_writer *w, const struct assignments *all)
{
    for (uint32_t i = 0; i < all->count; i++) {
        const struct assigned *a    = &all->items[i];
        bool                   live = a->stream_id == 0;
        wire_put_u8(w, live);
        wire_put_u8(w, a->flags);
        wire_put_u8(w, a->attempt);
        wire_put_u32(w, a->sub_id);
        wire_put_u64(w, a->hash);
        wire_put_u64(w, live ? a->life : a->stream_id);
        wire_put_u64(w, a->serial);
    }
}

struct assignments *assign_read(struct kernel *k, struct bytes value)
{
    struct wire_reader  r   = wire_reader_of(value);
    struct assignments *all = make(k);
    while (all != NULL && !r.bad && wire_left(&r) != 0) {
        bool            live = wire_get_u8(&r) != 0;
        struct assigned one  = {.flags = wire_get_u8(&r)};
        one.attempt          = wire_get_u8(&r);
        one.sub_id           = wire_get_u32(&r);
        one.hash             = wire_get_u64(&r);
        uint64_t where       = wire_get_u64(&r);
        one.serial           = wire_get_u64(&r);
        one.stream_id        = live ? 0 : where;
        one.life             = live ? where : 0;
        struct assigned *a   = r.bad || (!live && !kernel_has_stripe(k, where)) ? NULL : add(all);
        if (a == NULL) {
            assign_free(k, all);
            return NULL;
        }
        *a = one;
    }
    if (all != NULL) {
        all->again = true;
    }
    return all;
}

void assign_know(struct kernel *k, struct assignments *all)
{
    for (uint32_t i = 0; i < all->count; i++) {
        struct group *g = group_hashed(k, all->items[i].hash);
        if (g != NULL) {
            hold(&all->items[i], g);
        }
    }
}

bool assign_restore(struct publisher *p, uint16_t id, struct bytes value)
{
    struct assignments *all = assign_read(p->kernel, value);
    if (all != NULL) {
        all->id = id;
        list_push_back(&p->unsure, &all->link);
    }
    return all != NULL;
}

struct assignments *assign_recall(struct publisher *p, uint16_t id)
{
    LIST_EACH (&p->unsure, link) {
        struct assignments *all = CONTAINER_OF(link, struct assignments, link);
        if (all->id != id) {
            continue;
        }
        list_remove(&all->link);
        assign_know(p->kernel, all);
        return all;
    }
    return NULL;
}

/* ---- handed out ----------------------------------------------------------------------------------------------------------- */

struct number assign_number(const struct pending *pending, uint32_t at)
{
    const struct assigned *a   = &pending->assigned->items[at];
    struct number          own = {
                 .writer = publish_writer(pending), .epoch = pending->writer_epoch, .sequence = pending->sequence};
    if (a->attempt == 0) {
        own.sequence += ASSIGNED_PARTS_FIRST + at;
        return own;
    }
    uint64_t which =
        hash_u64(own.writer ^ hash_u64(own.epoch ^ hash_u64(own.sequence ^ hash_u64(a->hash + a->attempt))));
    return (struct number){.writer = which | 1, .epoch = 1, .sequence = 1};
}

static void assign_again(struct kernel *k, struct pending *pending, uint32_t at);

static bool is_member(const struct kernel *k, const struct assigned *a)
{
    const struct group *g = a->group;
    if (g->changes == a->changes) {
        return true;
    }
    for (uint32_t i = 0; i < g->member_count; i++) {
        const struct member *m = &g->members[i];
        if (a->stream_id != 0 ? m->stream_id == a->stream_id
                              : m->serial == a->serial && life_of(k, m->shard) == a->life) {
            return true;
        }
    }
    for (const struct match_link *link = g->stored; a->stream_id != 0 && link != NULL; link = link->next) {
        if (CONTAINER_OF(link, const struct sub, link)->owner->stream_id == a->stream_id) {
            return true;
        }
    }
    return false;
}

static void gather_here(struct kernel *k, struct pending *pending, uint32_t at)
{
    struct assigned *a      = &pending->assigned->items[at];
    struct number    number = assign_number(pending, at);
    if (UNLIKELY(k->far != 0) ? !marks_new(k, number) : marks_known(k, number)) {
        return;
    }
    struct session *s = session_find(k, a->serial);
    if (s == NULL || s->client == NULL) {
        assign_again(k, pending, at);
        return;
    }
    (void)gather_member(k, s, a->group, a->flags, a->sub_id);
}

static void gather_one(struct kernel *k, struct pending *pending, const struct message *message, uint32_t at)
{
    struct assigned *a     = &pending->assigned->items[at];
    bool             first = !pending->assigned->again;
    if (first && !is_member(k, a)) {
        assign_again(k, pending, at);
        return;
    }
    if (a->stream_id != 0) {
        struct target *t = gather_member(k, NULL, a->group, a->flags, a->sub_id);
        if (t != NULL) {
            t->stream_id = a->stream_id;
            t->assigned  = at + 1;
        }
        return;
    }
    unsigned shard = shard_of(k, a->life);
    if (shard == k->shard) {
        gather_here(k, pending, at);
    } else if (shard != SHARDS_MAX) {
        struct number number = assign_number(pending, at);
        struct member m      = {.shard = (uint16_t)shard, .serial = a->serial, .flags = a->flags, .sub_id = a->sub_id};
        gather_mail_member(k, a->group, &m, message, number);
    } else if (first) {
        assign_again(k, pending, at);
    }
}

void assign_gather(struct kernel *k, struct pending *pending, const struct message *message)
{
    for (uint32_t i = 0; i < pending->assigned->count; i++) {
        gather_one(k, pending, message, i);
    }
}

/* ---- another one ---------------------------------------------------------------------------------------------------------- */

static void recorded_again(struct store_call *call, int status, struct bytes results)
{
    struct work      *work    = CONTAINER_OF(call, struct work, call);
    struct publisher *p       = work->publisher;
    struct kernel    *k       = p->kernel;
    struct pending   *pending = work->pending;
    uint32_t          at      = work->assigned - 1;
    pool_give(k->works, work);
    if (p->session == NULL) {
        status = assign_kept_written(pending, status, results);
    }
    if (status != 0) {
        pending->status = pending->status == 0 ? status : pending->status;
    } else if (!pending->abandoned) {
        struct message message = message_of(pending->copy);
        struct fanout  f       = {.message = &message, .publisher = p};
        k->target_count        = 0;
        k->handing             = pending;
        gather_one(k, pending, &message, at);
        fanout_append(k, pending, &message);
        fanout_deliver(k, &f);
        fanout_end(&f);
        k->handing = NULL;
    }
    pending->after--;
    publisher_flush(p);
}

/* It certainly was not given to the one that was chosen, and never will be. */
static void assign_again(struct kernel *k, struct pending *pending, uint32_t at)
{
    struct assigned *a       = &pending->assigned->items[at];
    struct message   message = message_of(pending->copy);
    if (a->group == NULL || group_empty(a->group) || a->attempt == ATTEMPTS_MAX ||
        message_expired(&message, k->wall_ns) || !choose(k, a->group, &message, pending->publisher->session, a)) {
        k->counters.dropped++;
        return;
    }
    a->attempt++;
    struct work *work = publisher_work(pending->publisher, pending, 0, recorded_again);
    if (work == NULL) {
        pending->status = ERR_QUOTA;
        return;
    }
    work->assigned = at + 1;
    pending->after++;
    if (pending->publisher->session != NULL) {
        once_write(pending, work);
    } else {
        assign_kept_write(pending, work);
    }
}

void assign_appended(struct kernel *k, struct pending *pending, uint32_t at, struct bytes results)
{
    struct wire_reader r         = wire_reader_of(results);
    bool               duplicate = wire_get_u8(&r) != 0;
    uint32_t           count     = wire_get_u32(&r);
    uint64_t           offset    = wire_get_u64(&r);
    if (!r.bad && !duplicate && count == 1 && offset == OP_OFFSET_NONE) {
        assign_again(k, pending, at);
    }
}
