/* fanout - see fanout.h. */
#include "broker/kernel/fanout.h"

#include "broker/kernel/assign.h"
#include "broker/kernel/delivery.h"
#include "broker/kernel/far.h"
#include "broker/kernel/gather.h"
#include "broker/kernel/mail.h"
#include "broker/kernel/marks.h"
#include "broker/kernel/message.h"
#include "broker/kernel/publish.h"
#include "broker/kernel/publisher.h"
#include "shared/base/err.h"
#include "shared/base/hash.h"
#include "shared/rpc/op.h"

void fanout_end(struct fanout *f)
{
    buf_unref(f->shared);
    f->shared = NULL;
    if (f->message->cache != NULL) {
        f->ops->uncache(f->message->cache);
        f->message->cache = NULL;
    }
}

static void append_done(struct store_call *call, int status, struct bytes results)
{
    struct work      *work = CONTAINER_OF(call, struct work, call);
    struct publisher *p    = work->publisher;
    if (UNLIKELY(work->assigned != 0) && status == 0) {
        assign_appended(p->kernel, work->pending, work->assigned - 1, results);
    }
    work->pending->after--;
    if (status != 0 && work->pending->status == 0) {
        work->pending->status = status;
    }
    if (work->lane != 0) {
        lanes_let_go(&p->kernel->stripe_lanes[work->stripe], work->lane - 1);
    }
    pool_give(p->kernel->works, work);
    publisher_flush(p);
}

/* By which this shard counts what its publisher does not: so that it is taken once though the store is asked again, over another connection. It is alone in a lane
 * until it is answered, for the reason that a session's message is (publish.h): what a full queue refused would look old behind what the stripe took. Without a
 * lane (no memory) it may come twice. */
static struct number own_number(struct kernel *k, uint16_t stripe, struct work *work)
{
    uint32_t lane;
    if (!lanes_take(&k->stripe_lanes[stripe], &lane)) {
        return (struct number){0};
    }
    work->lane   = 1 + lane;
    work->stripe = stripe;
    return (struct number){
        .writer   = INBOUND_APART | hash_u64(store_owner(k->store) ^ hash_u64(work->lane)), /* no stream has that bit */
        .epoch    = 1,
        .sequence = ++k->stripe_sequences[stripe]};
}

/* One transaction per stripe (more if it has very many targets): the body once, the streams beside it. */
static void append_stripe(struct kernel *k, struct pending *pending, uint16_t stripe, const struct message *message)
{
    struct record record = message_record(message);
    uint64_t      part   = 0;
    for (uint32_t at = k->stripe_heads[stripe]; at != TARGET_NONE;) {
        struct work *work = publisher_work(pending->publisher, pending, 0, append_done);
        if (work == NULL) {
            pending->status = ERR_QUOTA;
            return;
        }
        struct number number =
            pending->writer_epoch != 0 ? publish_number(pending, part++) : own_number(k, stripe, work);
        struct wire_writer *w     = store_txn_begin(k->store, stripe);
        size_t              begun = op_append_begin(w, number.writer, number.epoch, number.sequence);
        uint32_t            count = 0;
        for (; at != TARGET_NONE && count < OP_TARGETS_MAX; at = k->targets[at].in_stripe) {
            uint8_t             bytes[DELIVERY_TAG_MAX_BYTES];
            struct delivery_tag tag;
            bool                plain = k->targets[at].capture;
            gather_tag(k, &k->targets[at], message, &tag);
            op_append_target(w, k->targets[at].stream_id, plain ? (struct bytes){0} : delivery_tag_write(bytes, &tag));
            k->counters.captured += plain;
            count++;
        }
        op_append_end(w, begun, count, &record);
        store_txn_end(k->store, &work->call);
        pending->after++;
        k->counters.stored_appends++;
    }
}

/* To the member of a group, for a publisher that counts its messages itself: by the number that is recorded with the choice (assign.h). What an orphan
 * left (orphan.h, QoS 1) is not recorded: another broker may choose another member, which has later messages already and would take this one for an old one,
 * by the orphan's count. So it goes by the count of this shard: once while this broker lives, at least once when it dies. */
static void append_member(struct kernel *k, struct pending *pending, const struct target *t,
                          const struct message *message)
{
    struct work *work = publisher_work(pending->publisher, pending, 0, append_done);
    if (work == NULL) {
        pending->status = ERR_QUOTA;
        return;
    }
    uint8_t             bytes[DELIVERY_TAG_MAX_BYTES];
    struct record       record = message_record(message);
    uint16_t            stripe = stream_id_stripe(t->stream_id);
    struct number       number;
    struct delivery_tag tag;
    gather_tag(k, t, message, &tag);
    if (t->assigned != 0) {
        number         = assign_number(pending, t->assigned - 1);
        work->assigned = t->assigned;
    } else {
        number = own_number(k, stripe, work);
    }
    struct wire_writer *w     = store_txn_begin(k->store, stripe);
    size_t              begun = op_append_begin(w, number.writer, number.epoch, number.sequence);
    op_append_target(w, t->stream_id, delivery_tag_write(bytes, &tag));
    op_append_end(w, begun, 1, &record);
    store_txn_end(k->store, &work->call);
    pending->after++;
    k->counters.stored_appends++;
}

/* Chosen from a group (gather_member): such a target hangs on no other, and has a stream only when it is owed QoS 1 or 2. */
static bool is_member(const struct target *t)
{
    return t->stream_id != 0 && !t->own && !t->capture;
}

void fanout_append(struct kernel *k, struct pending *pending, const struct message *message)
{
    k->stripes_hit_count = 0;
    bool members         = false;
    for (uint32_t i = 0; i < k->target_count; i++) {
        struct target *t = &k->targets[i];
        if (t->stream_id == 0 || t->chained) {
            continue;
        }
        struct delivery_tag tag;
        gather_tag(k, t, message, &tag);
        if (tag.qos == 0 && !t->capture) {
            continue;
        }
        if (is_member(t) && pending->writer_epoch != 0) {
            members = true;
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
    for (uint32_t i = 0; members && i < k->target_count; i++) { /* last: their numbers are the higher ones */
        if (is_member(&k->targets[i])) {
            append_member(k, pending, &k->targets[i], message);
        }
    }
}

void fanout_deliver(struct kernel *k, struct fanout *f)
{
    for (uint32_t i = 0; i < k->target_count; i++) {
        const struct target *t = &k->targets[i];
        if (t->session == NULL || t->chained || (f->again && t->own)) {
            continue;
        }
        struct delivery_tag tag;
        gather_tag(k, t, f->message, &tag);
        if (tag.qos == 0 || !session_stored(t->session)) {
            f->group = t->group;
            deliver(t->session, f, &tag);
        }
    }
}

static void mail_others(struct kernel *k, uint64_t shards, const struct fanout *f)
{
    MAIL_EACH(shard, shards)
    {
        bool far = far_shard(k, shard);
        if (UNLIKELY(far && f->message->qos == 0 && !list_empty(&k->out[shard].waiting))) {
            k->counters.dropped++; /* the other process does not keep up */
            continue;
        }
        struct wire_writer w = mail_begin();
        message_write(&w, f->message);
        struct number number = marks_number(k->handing);
        if (number.writer != 0) {
            marks_write(&w, number);
        }
        if (mail_post(k, shard, MAIL_PUBLISH,
                      f->publisher != NULL && f->publisher->session != NULL ? f->publisher->session->serial : 0, &w)) {
            far_sent(k, shard, k->handing, f->message, NULL);
        }
    }
}

/* QoS 0 that is captured: nobody waits for an answer, but it is counted among what the client has under way, so that it is paused like others. */
static struct pending *unasked(struct kernel *k, struct publisher *p, const struct session *from)
{
    p                       = p != NULL || from == NULL ? p : session_publisher((struct session *)(uintptr_t)from);
    struct pending *pending = p == NULL ? NULL : publisher_pending(p, 0, 0);
    if (pending == NULL) {
        k->counters.dropped++;
        return NULL;
    }
    pending->handed_out = true;
    return pending;
}

bool fanout_publish(struct kernel *k, struct publisher *p, const struct session *from, struct message *message,
                    struct pending *pending)
{
    k->handing                 = pending;
    struct found    found      = gather(k, message, from, false);
    struct fanout   f          = {.message = message, .publisher = p};
    struct pending *unanswered = NULL;
    if (UNLIKELY(found.captured && pending == NULL)) {
        pending    = unasked(k, p, from);
        unanswered = pending;
    }
    if (pending != NULL && (message->qos != 0 || found.captured)) {
        fanout_append(k, pending, message);
    }
    if (UNLIKELY(unanswered != NULL && unanswered->after == 0)) {
        publisher_flush(unanswered->publisher); /* nothing could be asked */
    }
    if (marks_numbered(pending)) {
        f.again = !marks_new(k, marks_number(pending));
    }
    fanout_deliver(k, &f);
    mail_others(k, found.shards, &f);
    k->handing = NULL;
    fanout_end(&f);
    return found.any;
}
