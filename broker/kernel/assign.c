/* assign - who is chosen, and how that stands in a row. Given to them: assign_give.c. */
#include "broker/kernel/assign.h"

#include "broker/kernel/company.h"
#include "broker/kernel/far.h"
#include "broker/kernel/gather.h"
#include "broker/kernel/mail.h"
#include "shared/base/hash.h"

#include <stdlib.h>

enum row_kind { ROW_STORED, ROW_LIVE, ROW_APART };

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

uint64_t assign_life(const struct kernel *k, unsigned shard)
{
    if (k->company == NULL) { /* this life is the only one */
        return hash_u64(store_owner(k->store) + shard);
    }
    uint64_t owner = far_shard(k, shard) ? company_owner(k, shard) : kernel_owner(k->port.instance, shard);
    return owner ^ hash_u64(company_birth(k, shard));
}

unsigned assign_shard(const struct kernel *k, uint64_t life)
{
    if (life == assign_life(k, k->shard)) {
        return k->shard;
    }
    MAIL_EACH(shard, k->others)
    {
        if (assign_life(k, shard) == life) {
            return shard;
        }
    }
    return SHARDS_MAX;
}

bool assign_choose(struct kernel *k, struct group *g, const struct message *message, const struct session *from,
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
    out->life      = live ? assign_life(k, m->shard) : 0;
    out->apart     = live && gather_asks(k, g, m->shard, out->flags & SUB_QOS);
    out->again     = false;
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
    if (find(all, chosen.hash) != NULL || !assign_choose(k, g, message, from, &chosen)) {
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
        wire_put_u8(w, !live ? ROW_STORED : a->apart ? ROW_APART : ROW_LIVE);
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
        uint8_t         kind = wire_get_u8(&r);
        bool            live = kind != ROW_STORED;
        struct assigned one  = {.apart = kind == ROW_APART, .again = true, .flags = wire_get_u8(&r)};
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
