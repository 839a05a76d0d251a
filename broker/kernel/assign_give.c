/* assign_give.c - what is recorded is carried out, and another member chosen for one that is gone. */
#include "broker/kernel/assign.h"

#include "broker/kernel/fanout.h"
#include "broker/kernel/far.h"
#include "broker/kernel/gather.h"
#include "broker/kernel/once.h"
#include "broker/kernel/publish.h"
#include "shared/base/err.h"
#include "shared/base/hash.h"

enum { ATTEMPTS_MAX = 255 };

struct number assign_number(const struct pending *pending, uint32_t at)
{
    const struct assigned *a = &pending->assigned->items[at];
    if (a->attempt == 0) {
        struct number number = publish_number(pending, ASSIGNED_PARTS_FIRST + at);
        if (a->apart) {
            number.writer = hash_u64(~number.writer) | 1;
        }
        return number;
    }
    struct number own = publish_number(pending, 0);
    uint64_t      which =
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
                              : m->serial == a->serial && assign_life(k, m->shard) == a->life) {
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
    struct assigned *a = &pending->assigned->items[at];
    if (!marks_new(k, assign_number(pending, at))) {
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
    bool             first = !a->again;
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
    unsigned shard = assign_shard(k, a->life);
    if (shard == k->shard) {
        gather_here(k, pending, at);
    } else if (shard != SHARDS_MAX) {
        const struct to_member to = {.group    = a->group,
                                     .number   = assign_number(pending, at),
                                     .serial   = a->serial,
                                     .sub_id   = a->sub_id,
                                     .assigned = at + 1,
                                     .shard    = (uint16_t)shard,
                                     .flags    = a->flags};
        if (a->apart && far_shard(k, shard)) {
            far_ask(k, &to, pending, message);
        } else {
            (void)gather_mail_member(k, &to, pending, message);
        }
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
    (void)results;
    struct work      *work    = CONTAINER_OF(call, struct work, call);
    struct publisher *p       = work->publisher;
    struct kernel    *k       = p->kernel;
    struct pending   *pending = work->pending;
    uint32_t          at      = work->assigned - 1;
    pool_give(k->works, work);
    if (p->session == NULL) {
        status = assign_kept_written(pending, status);
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
        message_expired(&message, k->wall_ns) ||
        !assign_choose(k, a->group, &message, pending->publisher->session, a)) {
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

void assign_lost(struct kernel *k, struct pending *pending, uint32_t at)
{
    bool given = pending->assigned->items[at].again; /* perhaps [MQTT-4.8.2-5] */
    if (!given && !pending->abandoned) {
        assign_again(k, pending, at);
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
