/* publish - see the picture in publish.h. */
#include "broker/kernel/publish.h"

#include "broker/kernel/delivery.h"
#include "broker/kernel/group.h"
#include "broker/kernel/mail.h"
#include "broker/kernel/message.h"
#include "broker/kernel/retain.h"
#include "broker/kernel/sub.h"
#include "shared/base/err.h"
#include "shared/base/log.h"
#include "shared/rpc/op.h"

#include <stdlib.h>

static void flush(struct publisher *p);

void publisher_init(struct publisher *p, struct kernel *k, struct session *s,
                    void (*answered)(struct publisher *, struct pending *))
{
    *p = (struct publisher){.kernel = k, .session = s, .answered = answered};
    list_init(&p->pendings);
}

static void pending_free(struct publisher *p, struct pending *pending)
{
    list_remove(&pending->link);
    p->pending_count--;
    buf_unref(pending->copy);
    pool_give(p->kernel->pendings, pending);
}

void publisher_fini(struct publisher *p)
{
    list_remove(&p->paused_link);
    while (!list_empty(&p->pendings)) {
        pending_free(p, CONTAINER_OF(p->pendings.next, struct pending, link));
    }
    inbound_fini(&p->inbound);
}

void fanout_end(struct fanout *f)
{
    buf_unref(f->shared);
    f->shared = NULL;
    if (f->message->cache != NULL) {
        f->ops->uncache(f->message->cache);
        f->message->cache = NULL;
    }
}

/* ---- gather: who is owed ------------------------------------------------------------------------------------------ */

/* Where else a publish goes, found on the way. */
struct found {
    uint64_t shards; /* with live subscribers */
    bool     any;
};

static struct target *target_add(struct kernel *k)
{
    if (k->target_count == k->target_capacity) {
        uint32_t       capacity = k->target_capacity == 0 ? 64 : k->target_capacity * 2;
        struct target *targets  = realloc(k->targets, capacity * sizeof *targets);
        if (targets == NULL) {
            log_error("no memory for the targets of a publish");
            k->counters.dropped++;
            return NULL;
        }
        k->targets         = targets;
        k->target_capacity = capacity;
    }
    struct target *t = &k->targets[k->target_count++];
    *t               = (struct target){.more = TARGET_NONE, .in_stripe = TARGET_NONE};
    return t;
}

/* Subscriptions of one subscriber hang together: it gets one copy [MQTT-3.3.4-2]. */
static void gather_sub(struct kernel *k, struct sub *sub)
{
    struct target *t = target_add(k);
    if (t == NULL) {
        return;
    }
    uint32_t at = (uint32_t)(t - k->targets);
    t->sub      = sub;
    if (sub->owner->mark == k->mark) {
        struct target *head = &k->targets[sub->owner->slot];
        t->chained          = true;
        t->more             = head->more;
        head->more          = at;
        return;
    }
    sub->owner->mark = k->mark;
    sub->owner->slot = at;
    if (sub->link.kind == LINK_LIVE) {
        t->session = session_of(sub->owner);
    } else {
        t->stream_id = sub->owner->stream_id;
    }
}

static uint8_t lower(uint8_t a, uint8_t b)
{
    return a < b ? a : b;
}

static void mail_member(struct kernel *k, const struct group *g, const struct member *m, const struct message *message)
{
    struct wire_writer w = mail_begin();
    wire_put_u8(&w, m->flags);
    wire_put_u32(&w, m->sub_id);
    wire_put_blob(&w, bytes_of(g->filter, g->by_filter.extra));
    message_write(&w, message);
    mail_post(k, m->shard, MAIL_PUBLISH_MEMBER, m->serial, &w);
}

static void gather_group(struct kernel *k, struct group *g, const struct message *message)
{
    struct group_choice  choice = group_choose(g);
    const struct member *m      = choice.member;
    uint8_t              flags  = m != NULL ? m->flags : choice.stored->link.flags;
    uint64_t             id     = m != NULL ? m->stream_id : choice.stored->owner->stream_id;
    uint8_t              qos    = lower(message->qos, flags & SUB_QOS);
    if (qos != 0 && id != 0) {
        struct target *t = target_add(k);
        if (t != NULL) {
            t->stream_id = id;
            t->flags     = flags;
            t->sub_id    = m != NULL ? m->sub_id : choice.stored->by_key.extra;
        }
        return;
    }
    if (m == NULL) {
        k->counters.dropped++; /* QoS 0, and nobody of the group is connected */
        return;
    }
    if (m->shard != k->shard) {
        mail_member(k, g, m, message);
        return;
    }
    struct target *t = target_add(k);
    if (t != NULL) {
        t->session = session_find(k, m->serial);
        t->flags   = flags;
        t->sub_id  = m->sub_id;
    }
}

/* here_only: the message came from another shard, which saw to streams and groups. */
static struct found gather(struct kernel *k, const struct message *message, const struct session *from, bool here_only)
{
    struct found             found = {0};
    const uint32_t          *nodes;
    uint32_t                 count       = match_find(k->tree, message->topic, &nodes);
    const struct subscriber *self        = from != NULL ? &from->who : NULL;
    uint64_t                 from_stream = from != NULL ? from->who.stream_id : 0;
    k->target_count                      = 0;
    k->mark++;
    for (uint32_t i = 0; i < count; i++) {
        for (struct match_link *link = match_first(k->tree, nodes[i]); link != NULL; link = link->next) {
            struct sub      *sub      = CONTAINER_OF(link, struct sub, link);
            struct interest *interest = CONTAINER_OF(link, struct interest, link);
            switch ((enum link_kind)link->kind) {
            case LINK_LIVE:
                if ((link->flags & SUB_NO_LOCAL) == 0 || sub->owner != self) {
                    found.any = true;
                    gather_sub(k, sub);
                }
                break;
            case LINK_STORED:
                if ((link->flags & SUB_NO_LOCAL) == 0 || from_stream == 0 || sub->owner->stream_id != from_stream) {
                    found.any = true;
                    if (!here_only && message->qos != 0) {
                        gather_sub(k, sub);
                    }
                }
                break;
            case LINK_INTEREST:
                found.shards |= message->qos == 0 ? interest->any : interest->quality;
                break;
            case LINK_GROUP:
                if (!here_only) {
                    found.any = true;
                    gather_group(k, CONTAINER_OF(link, struct group, link), message);
                }
                break;
            }
        }
    }
    found.any = found.any || found.shards != 0;
    return found;
}

/* What one target gets: the highest QoS of its subscriptions, and all their ids. */
static struct delivery_tag tag_of(const struct kernel *k, const struct target *t, const struct message *message)
{
    struct delivery_tag tag   = {0};
    uint8_t             flags = t->flags;
    if (t->sub == NULL) {
        if (t->sub_id != 0) {
            tag.ids[tag.count++] = t->sub_id;
        }
    } else {
        for (const struct target *each = t;; each = &k->targets[each->more]) {
            uint8_t these = each->sub->link.flags;
            uint8_t qos   = (uint8_t)((these & SUB_QOS) > (flags & SUB_QOS) ? these & SUB_QOS : flags & SUB_QOS);
            flags         = (uint8_t)(((these | flags) & ~SUB_QOS) | qos);
            if (each->sub->by_key.extra != 0 && tag.count < SUBSCRIPTION_IDS_MAX) {
                tag.ids[tag.count++] = each->sub->by_key.extra;
            }
            if (each->more == TARGET_NONE) {
                break;
            }
        }
    }
    tag.qos    = lower(message->qos, flags & SUB_QOS);
    tag.retain = message->retain && (flags & SUB_RETAIN_AS_PUBLISHED) != 0;
    return tag;
}

/* ---- hand out ------------------------------------------------------------------------------------------------------ */

static void append_done(struct store_call *call, int status, struct bytes results)
{
    (void)results;
    struct work      *work = CONTAINER_OF(call, struct work, call);
    struct publisher *p    = work->publisher;
    work->pending->after--;
    if (status != 0 && work->pending->status == 0) {
        work->pending->status = status;
    }
    pool_give(p->kernel->works, work);
    flush(p);
}

static struct work *work_take(struct publisher *p, struct pending *pending, uint16_t id,
                              void (*done)(struct store_call *, int, struct bytes))
{
    struct work *work = pool_take(p->kernel->works);
    if (work != NULL) {
        work->publisher = p;
        work->pending   = pending;
        work->id        = id;
        work->call.done = done;
    }
    return work;
}

/* One transaction per stripe (more if it has very many targets): the body once, the streams beside it. */
static void append_stripe(struct kernel *k, struct pending *pending, uint16_t stripe, const struct message *message)
{
    struct record record = message_record(message);
    uint64_t      part   = 0;
    for (uint32_t at = k->stripe_heads[stripe]; at != TARGET_NONE;) {
        struct work *work = work_take(pending->publisher, pending, 0, append_done);
        if (work == NULL) {
            pending->status = ERR_QUOTA;
            return;
        }
        bool     own          = pending->writer_epoch != 0;
        uint64_t writer       = own ? pending->publisher->session != NULL ? pending->publisher->session->who.stream_id
                                                                          : pending->publisher->count
                                    : store_owner(k->store);
        uint64_t epoch        = own ? pending->writer_epoch : 1;
        uint64_t sequence     = own ? pending->sequence + part++ : ++k->stripe_sequences[stripe];
        struct wire_writer *w = store_txn_begin(k->store, stripe);
        size_t              begun = op_append_begin(w, writer, epoch, sequence);
        uint32_t            count = 0;
        for (; at != TARGET_NONE && count < OP_TARGETS_MAX; at = k->targets[at].in_stripe) {
            uint8_t             bytes[DELIVERY_TAG_MAX_BYTES];
            struct delivery_tag tag = tag_of(k, &k->targets[at], message);
            op_append_target(w, k->targets[at].stream_id, delivery_tag_write(bytes, &tag));
            count++;
        }
        op_append_end(w, begun, count, &record);
        store_txn_end(k->store, &work->call);
        pending->after++;
        k->counters.stored_appends++;
    }
}

static void append_all(struct kernel *k, struct pending *pending, const struct message *message)
{
    k->stripes_hit_count = 0;
    for (uint32_t i = 0; i < k->target_count; i++) {
        struct target *t = &k->targets[i];
        if (t->stream_id == 0 || t->chained || tag_of(k, t, message).qos == 0) {
            continue;
        }
        uint16_t stripe = stream_id_stripe(t->stream_id);
        if (k->stripe_heads[stripe] == TARGET_NONE) {
            k->stripes_hit[k->stripes_hit_count++] = stripe;
        }
        t->in_stripe            = k->stripe_heads[stripe];
        k->stripe_heads[stripe] = i;
    }
    for (uint32_t i = 0; i < k->stripes_hit_count; i++) {
        append_stripe(k, pending, k->stripes_hit[i], message);
        k->stripe_heads[k->stripes_hit[i]] = TARGET_NONE;
    }
}

static void deliver_here(struct kernel *k, struct fanout *f)
{
    for (uint32_t i = 0; i < k->target_count; i++) {
        const struct target *t = &k->targets[i];
        if (t->session == NULL || t->chained) {
            continue;
        }
        struct delivery_tag tag = tag_of(k, t, f->message);
        if (tag.qos == 0 || !session_stored(t->session)) {
            deliver(t->session, f, &tag);
        }
    }
}

static void mail_others(struct kernel *k, uint64_t shards, const struct fanout *f)
{
    for (unsigned shard = 0; shard < k->shard_count; shard++) {
        if ((shards >> shard & 1) == 0 || shard == k->shard) {
            continue;
        }
        struct wire_writer w = mail_begin();
        message_write(&w, f->message);
        mail_post(k, shard, MAIL_PUBLISH,
                  f->publisher != NULL && f->publisher->session != NULL ? f->publisher->session->serial : 0, &w);
    }
}

/* pending: NULL for QoS 0, which is never stored. Returns whether anybody matched. */
static bool hand_out(struct kernel *k, struct publisher *p, const struct session *from, struct message *message,
                     struct pending *pending)
{
    struct found  found = gather(k, message, from, false);
    struct fanout f     = {.message = message, .publisher = p};
    if (pending != NULL && message->qos != 0) {
        append_all(k, pending, message);
    }
    deliver_here(k, &f);
    mail_others(k, found.shards, &f);
    fanout_end(&f);
    return found.any;
}

static void receive_member(struct kernel *k, unsigned from, const struct kernel_mail *mail)
{
    struct wire_reader r       = mail_read(mail);
    uint8_t            flags   = wire_get_u8(&r);
    uint32_t           sub_id  = wire_get_u32(&r);
    struct bytes       filter  = wire_get_blob(&r);
    struct message     message = message_read(&r);
    ASSERT(!r.bad);
    struct session *s = session_find(k, mail->value);
    struct fanout   f = {.message = &message, .from_shard = from};
    if (s != NULL && s->client != NULL) {
        struct delivery_tag tag = {.qos    = lower(message.qos, flags & SUB_QOS),
                                   .retain = message.retain && (flags & SUB_RETAIN_AS_PUBLISHED) != 0};
        if (sub_id != 0) {
            tag.ids[tag.count++] = sub_id;
        }
        deliver(s, &f, &tag);
        fanout_end(&f);
        return;
    }
    /* It left while the message was on its way: another member of the group, as this shard knows it. */
    struct group *g = group_find(k, filter);
    if (g == NULL) {
        k->counters.dropped++;
        return;
    }
    k->target_count = 0;
    gather_group(k, g, &message);
    if (k->target_count != 0 && k->targets[0].stream_id != 0) {
        struct publisher *relay   = k->relay;
        struct pending   *pending = pool_take(k->pendings);
        if (pending == NULL) {
            k->counters.dropped++;
            return;
        }
        pending->publisher  = relay;
        pending->handed_out = true;
        list_push_back(&relay->pendings, &pending->link);
        relay->pending_count++;
        append_all(k, pending, &message);
        return;
    }
    deliver_here(k, &f);
    fanout_end(&f);
}

void publish_receive(struct kernel *k, unsigned from, const struct kernel_mail *mail)
{
    switch ((enum mail_kind)mail->kind) {
    case MAIL_PUBLISH: {
        struct wire_reader r       = mail_read(mail);
        struct message     message = message_read(&r);
        struct fanout      f       = {.message = &message, .from_shard = from, .from_serial = mail->value};
        ASSERT(!r.bad);
        gather(k, &message, NULL, true);
        deliver_here(k, &f);
        fanout_end(&f);
        return;
    }
    case MAIL_PUBLISH_MEMBER:
        receive_member(k, from, mail);
        return;
    case MAIL_SLOW: {
        struct session *s = session_find(k, mail->value);
        if (s != NULL && s->client != NULL && session_publisher(s) != NULL) {
            s->publisher->slow |= 1ull << from;
            publish_pause(s->publisher);
        }
        return;
    }
    case MAIL_RELIEF:
        LIST_EACH (&k->paused, link) {
            CONTAINER_OF(link, struct publisher, paused_link)->slow &= ~(1ull << from);
        }
        return;
    default:
        ASSERT(false);
    }
}

/* ---- in order ------------------------------------------------------------------------------------------------------ */

/* Those not yet handed out are the last ones: they are looked for from the end, so that answers to many that are cost nothing here. */
static void advance(struct publisher *p)
{
    struct list *first = &p->pendings;
    while (first->prev != &p->pendings && !CONTAINER_OF(first->prev, struct pending, link)->handed_out) {
        first = first->prev;
    }
    for (struct list *link = first, *next; link != &p->pendings; link = next) {
        struct pending *pending = CONTAINER_OF(link, struct pending, link);
        next                    = link->next;
        if (pending->before != 0) {
            break;
        }
        pending->handed_out = true;
        if (pending->status == 0 && !pending->duplicate) {
            struct message message = message_of(pending->copy);
            pending->matched       = hand_out(p->kernel, p, p->session, &message, pending);
        }
        buf_unref(pending->copy);
        pending->copy = NULL;
    }
}

static void flush(struct publisher *p)
{
    if (p->flushing) {
        return;
    }
    p->flushing = true;
    advance(p);
    while (!list_empty(&p->pendings)) {
        struct pending *pending = CONTAINER_OF(p->pendings.next, struct pending, link);
        if (!pending->handed_out && pending->before == 0) {
            advance(p); /* it came while an answer was given */
        }
        if (!pending->handed_out || pending->after != 0) {
            break;
        }
        list_remove(&pending->link);
        p->answered(p, pending);
        p->pending_count--;
        pool_give(p->kernel->pendings, pending);
    }
    p->flushing = false;
    if (p->session != NULL) {
        close_continue(p->session); /* last: it may free the publisher */
    }
}

static void before_done(struct store_call *call, int status, struct bytes results)
{
    (void)results;
    struct work      *work    = CONTAINER_OF(call, struct work, call);
    struct publisher *p       = work->publisher;
    struct pending   *pending = work->pending;
    pending->before--;
    if (status != 0 && pending->status == 0) {
        pending->status = status;
    }
    if (status == 0 && work->id != 0) {
        pending->recorded = true;
    }
    pool_give(p->kernel->works, work);
    flush(p);
}

static void put_inbound(struct session *s, uint16_t id, const struct inbound_row *row, struct wire_writer *w)
{
    uint8_t   value[INBOUND_ROW_BYTES];
    struct op op = {
        .kind  = OP_TABLE_PUT,
        .table = TABLE_INBOUND,
        .name  = tables_inbound_key(s->kernel->key, session_id(s), id),
        .value = inbound_row_write(value, row),
    };
    op_encode(w, &op);
}

static void record_id(struct publisher *p, struct pending *pending)
{
    struct session *s    = p->session;
    struct work    *work = work_take(p, pending, pending->id, before_done);
    if (work == NULL) {
        pending->status = ERR_QUOTA;
        return;
    }
    struct inbound_row  row = {.writer_epoch = pending->writer_epoch, .sequence = pending->sequence};
    struct wire_writer *w   = store_txn_begin(p->kernel->store, session_stripe(s));
    put_inbound(s, pending->id, &row, w);
    store_txn_end(p->kernel->store, &work->call);
    pending->before++;
}

static void record_retained(struct publisher *p, struct pending *pending, const struct message *message)
{
    struct work *work = work_take(p, pending, 0, before_done);
    if (work == NULL) {
        pending->status = ERR_QUOTA;
        return;
    }
    pending->before++;
    retain_store(p->kernel, message, &work->call);
}

void publish_close_rows(struct session *s, struct wire_writer *w)
{
    const struct inbound *in = s->publisher == NULL ? NULL : &s->publisher->inbound;
    for (uint32_t i = 0; in != NULL && i < in->capacity; i++) {
        const struct inbound_id *slot = &in->slots[i];
        if (slot->id != 0 && slot->state == INBOUND_DONE) {
            put_inbound(
                s, slot->id,
                &(struct inbound_row){.done = true, .writer_epoch = slot->writer_epoch, .sequence = slot->sequence}, w);
        }
    }
}

/* ---- from the client ----------------------------------------------------------------------------------------------- */

/* The row of an id that is refused after it was recorded. Nobody waits for the answer but the end of the session. */
static void refused_row_done(struct store_call *call, int status, struct bytes results)
{
    (void)results;
    struct work    *work = CONTAINER_OF(call, struct work, call);
    struct session *s    = work->publisher->session;
    if (status != 0) {
        log_warn("a packet id could not be forgotten: %s", err_sentence(status));
    }
    pool_give(s->kernel->works, work);
    s->busy--;
    close_continue(s);
}

static void delete_row(struct session *s, struct work *work)
{
    struct kernel      *k  = s->kernel;
    struct wire_writer *w  = store_txn_begin(k->store, session_stripe(s));
    struct op           op = {
                  .kind = OP_TABLE_DELETE, .table = TABLE_INBOUND, .name = tables_inbound_key(k->key, session_id(s), work->id)};
    op_encode(w, &op);
    s->busy++;
    store_txn_end(k->store, &work->call);
}

void publish_answer_client(struct publisher *p, struct pending *pending)
{
    struct session *s = p->session;
    if (pending->qos == 2 && !pending->duplicate) {
        struct inbound_id *id = inbound_find(&p->inbound, pending->id);
        if (id != NULL && pending->status == 0) {
            id->state = INBOUND_DONE;
        } else if (id != NULL) {
            /* The refusal ends this use of the id [MQTT-4.3.3-9]. */
            inbound_remove(&p->inbound, pending->id);
            struct work *work = pending->recorded ? work_take(p, NULL, pending->id, refused_row_done) : NULL;
            if (work != NULL) {
                delete_row(s, work);
            }
        }
    }
    if (pending->qos != 0 && s->client != NULL) {
        s->client->ops->published(s->client, pending->id, pending->qos, pending->status, pending->matched);
    }
}

static unsigned pause_reasons(const struct publisher *p)
{
    const struct kernel *k = p->kernel;
    return (p->pending_count >= k->limits.publish_pending_max ? PAUSE_PENDING : 0u) | (p->slow != 0 ? PAUSE_SLOW : 0u) |
           (p->pending_count != 0 && store_congested(k->store) ? PAUSE_STORE : 0u) |
           (mail_congested(k) ? PAUSE_MAIL : 0u);
}

void publish_pause(struct publisher *p)
{
    if (pause_reasons(p) != 0 && !list_linked(&p->paused_link) && p->session->client != NULL) {
        list_push_back(&p->kernel->paused, &p->paused_link);
        p->session->client->ops->pause(p->session->client, true);
    }
}

void publish_resume(struct kernel *k)
{
    if (list_empty(&k->overruns)) {
        LIST_EACH (&k->paused, link) {
            CONTAINER_OF(link, struct publisher, paused_link)->slow &= ~(1ull << k->shard);
        }
        for (unsigned shard = 0; shard < k->shard_count; shard++) {
            if ((k->slow_told >> shard & 1) != 0) {
                mail_signal(k, shard, MAIL_RELIEF, 0);
            }
        }
        k->slow_told = 0;
    }
    LIST_EACH (&k->paused, link) {
        struct publisher *p       = CONTAINER_OF(link, struct publisher, paused_link);
        unsigned          reasons = pause_reasons(p);
        if (reasons == 0 && p->pending_count <= k->limits.publish_pending_max / 2) {
            list_remove(&p->paused_link);
            if (p->session->client != NULL) {
                p->session->client->ops->pause(p->session->client, false);
            }
        }
    }
}

static struct pending *pending_new(struct publisher *p, uint16_t id, uint8_t qos)
{
    struct pending *pending = pool_take(p->kernel->pendings);
    if (pending == NULL) {
        return NULL;
    }
    pending->publisher = p;
    pending->id        = id;
    pending->qos       = qos;
    list_push_back(&p->pendings, &pending->link);
    p->pending_count++;
    return pending;
}

bool publish_kept(struct publisher *p, struct buf *copy, uint64_t writer_epoch, uint64_t sequence)
{
    struct message  message = message_of(copy);
    struct pending *pending = pending_new(p, 0, message.qos);
    if (pending == NULL) {
        return false;
    }
    pending->copy         = copy;
    pending->writer_epoch = writer_epoch;
    pending->sequence     = sequence;
    if (message.retain && p->kernel->limits.retain_available) {
        record_retained(p, pending, &message);
    }
    flush(p);
    return true;
}

/* Of a QoS 2 message: is it new? Enters its id, or finds what is known of it. False: an answer is all it needs. */
static bool enter_id(struct session *s, struct publisher *p, struct pending *pending)
{
    struct inbound_id *id = inbound_find(&p->inbound, pending->id);
    if (id != NULL && id->state != INBOUND_UNSURE) {
        s->kernel->counters.duplicates++;
        pending->duplicate = true;
        pending->matched   = true;
        return false;
    }
    if (id != NULL) {
        /* Recorded by a broker that died: what it appended, the stripes will not append again. */
        id->state             = INBOUND_PENDING;
        pending->writer_epoch = id->writer_epoch;
        pending->sequence     = id->sequence;
        pending->recorded     = true;
        return true;
    }
    id = inbound_add(&p->inbound, pending->id);
    if (id == NULL) {
        pending->duplicate = true;
        pending->status    = ERR_QUOTA;
        return false;
    }
    id->state = INBOUND_PENDING;
    if (session_stored(s)) {
        id->writer_epoch = pending->writer_epoch = publish_epoch(s->keep->epoch);
        id->sequence = pending->sequence = publish_sequence(s->keep->epoch, ++p->count);
        if (p->count == UINT32_MAX) {
            session_evict(s, EVICT_UNAVAILABLE); /* the next connection counts anew, in a higher epoch */
        }
        record_id(p, pending);
    }
    return true;
}

void kernel_publish(struct kernel *k, struct client *client, struct message *message, uint16_t id)
{
    struct session   *s = client->session;
    struct publisher *p = s->publisher;
    ASSERT(s->state == SESSION_OPEN && message->qos <= 2 && IMPLIES(message->qos != 0, id != 0));
    k->counters.publishes++;
    bool retained = message->retain && k->limits.retain_available;
    bool behind =
        p != NULL && !list_empty(&p->pendings) && !CONTAINER_OF(p->pendings.prev, struct pending, link)->handed_out;
    if (message->qos == 0 && !retained && !behind) {
        (void)hand_out(k, p, s, message, NULL);
        if (p != NULL || mail_congested(k)) {
            p = session_publisher(s);
            if (p != NULL) {
                publish_pause(p);
            }
        }
        return;
    }
    p                       = session_publisher(s);
    struct pending *pending = p == NULL ? NULL : pending_new(p, id, message->qos);
    if (pending == NULL) {
        k->counters.dropped++;
        if (message->qos != 0) {
            session_evict(s, EVICT_UNAVAILABLE);
        }
        return;
    }
    if (message->qos == 2 && !enter_id(s, p, pending)) {
        pending->handed_out = !behind; /* in its turn: those not handed out are the last ones */
    } else {
        if (retained) {
            record_retained(p, pending, message);
        }
        if (pending->before == 0 && !behind && pending->status == 0) {
            pending->handed_out = true;
            pending->matched    = hand_out(k, p, s, message, pending);
        } else {
            pending->copy = message_keep(message);
            if (pending->copy == NULL && pending->status == 0) {
                pending->status = ERR_QUOTA;
            }
        }
    }
    flush(p);
    /* The protocol may have been answered, but it closes no connection inside a call to the kernel. */
    publish_pause(p);
}

static void released(struct store_call *call, int status, struct bytes results)
{
    (void)results;
    struct work    *work = CONTAINER_OF(call, struct work, call);
    struct session *s    = work->publisher->session;
    uint16_t        id   = work->id;
    pool_give(s->kernel->works, work);
    if (status == 0) {
        inbound_remove(&s->publisher->inbound, id);
    }
    if (s->client != NULL) {
        s->client->ops->publish_released(s->client, id, status);
    }
    s->busy--;
    close_continue(s);
}

void kernel_publish_release(struct kernel *k, struct client *client, uint16_t id)
{
    (void)k;
    struct session    *s     = client->session;
    struct inbound_id *entry = s->publisher == NULL ? NULL : inbound_find(&s->publisher->inbound, id);
    if (entry == NULL || entry->state == INBOUND_PENDING) {
        client->ops->publish_released(client, id, ERR_NOT_FOUND);
        return;
    }
    if (!session_stored(s)) {
        inbound_remove(&s->publisher->inbound, id);
        client->ops->publish_released(client, id, 0);
        return;
    }
    struct work *work = work_take(s->publisher, NULL, id, released);
    if (work == NULL) {
        session_evict(s, EVICT_UNAVAILABLE);
        return;
    }
    delete_row(s, work);
}
