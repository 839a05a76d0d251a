/* publish - see the picture in publish.h. */
#include "broker/kernel/publish.h"

#include "broker/kernel/assign.h"
#include "broker/kernel/delayed.h"
#include "broker/kernel/fanout.h"
#include "broker/kernel/mail.h"
#include "broker/kernel/message.h"
#include "broker/kernel/once.h"
#include "broker/kernel/pause.h"
#include "broker/kernel/company.h"
#include "broker/kernel/publisher.h"
#include "broker/kernel/reserved.h"
#include "broker/kernel/retain.h"
#include "shared/base/err.h"
#include "shared/base/hash.h"

/* What this process knows of others may be old: QoS 1 and 2 wait. */
static void hold(struct publisher *p, struct pending *pending)
{
    struct work *work = publisher_work(p, pending, 0, publisher_before_done);
    if (work == NULL) {
        pending->status = ERR_QUOTA;
        return;
    }
    pending->before++;
    company_hold(p->kernel, &work->call);
}

static void record_retained(struct publisher *p, struct pending *pending, const struct message *message)
{
    struct work *work = publisher_work(p, pending, 0, publisher_before_done);
    if (work == NULL) {
        pending->status = ERR_QUOTA;
        return;
    }
    pending->before++;
    retain_store(p->kernel, message, p->session, &work->call);
}

void publish_answer_client(struct publisher *p, struct pending *pending)
{
    struct session *s = p->session;
    if (UNLIKELY(pending->abandoned)) {
        return; /* its client, which is sent away, sends it again */
    }
    if (pending->qos == 2 && !pending->duplicate) {
        once_answer(p, pending);
    }
    p->kernel->counters.dropped += pending->qos == 0 && pending->status != 0; /* it was to be captured */
    if (pending->qos != 0 && s->client != NULL) {
        s->client->ops->published(s->client, pending->id, pending->qos, pending->status, pending->matched);
    }
}

bool publish_kept(struct publisher *p, struct buf *copy, uint64_t writer_epoch, uint64_t sequence)
{
    struct message  message = message_of(copy);
    struct pending *pending = publisher_pending(p, 0, message.qos);
    if (pending == NULL) {
        return false;
    }
    pending->copy         = copy;
    pending->writer_epoch = writer_epoch;
    pending->sequence     = sequence;
    if (message.retain && p->kernel->limits.retain_available) {
        record_retained(p, pending, &message);
    }
    if (message.qos == 2) {
        assign_kept(pending, &message);
    }
    if (UNLIKELY(message.qos != 0 && company_fenced(p->kernel))) {
        hold(p, pending);
    }
    publisher_flush(p);
    return true;
}

uint64_t publish_writer(const struct pending *pending)
{
    const struct publisher *p = pending->publisher;
    if (p->session == NULL) {
        return p->count;
    }
    uint64_t stream_id = p->session->who.stream_id;
    return LIKELY((pending->writer_epoch & INBOUND_APART) == 0)
               ? stream_id
               : INBOUND_APART | hash_u64(stream_id ^ hash_u64(pending->writer_epoch)); /* no stream has that bit */
}

struct number publish_number(const struct pending *pending, uint64_t part)
{
    struct number number = {
        .writer = publish_writer(pending), .epoch = pending->writer_epoch, .sequence = pending->sequence + part};
    if (part != 0 && publish_alone(pending->writer_epoch)) {
        number.writer = INBOUND_APART | hash_u64(number.writer ^ hash_u64(part));
    }
    return number;
}

/* Answered in its turn, handed to nobody. A QoS 2 id that is known already belongs to a message that was taken. */
static bool refuse(struct session *s, struct publisher *p, struct pending *pending, const struct message *message)
{
    if (LIKELY(message->refused == 0) || (message->qos == 2 && inbound_find(&p->inbound, pending->id) != NULL)) {
        return false;
    }
    s->kernel->counters.denied++;
    pending->status    = message->refused;
    pending->duplicate = true; /* its id was not entered */
    return true;
}

void kernel_publish(struct kernel *k, struct client *client, struct message *message, uint16_t id)
{
    struct session   *s = client->session;
    struct publisher *p = s->publisher;
    ASSERT(s->state == SESSION_OPEN && message->qos <= 2 && IMPLIES(message->qos != 0, id != 0));
    k->counters.publishes++;
    if (UNLIKELY(message->refused != 0 && message->qos == 0)) {
        k->counters.denied++;
        return;
    }
    bool            retained = message->retain && k->limits.retain_available;
    struct reserved reserved = {0};
    if (UNLIKELY(message->topic.size != 0 && message->topic.data[0] == '$' && !s->own)) {
        reserved = reserved_look(&k->limits, message->topic);
    }
    bool off = reserved.status != 0 || reserved.ignored; /* it goes nowhere */
    bool behind =
        p != NULL && !list_empty(&p->pendings) && !CONTAINER_OF(p->pendings.prev, struct pending, link)->handed_out;
    if (message->qos == 0 && !retained && !behind && !reserved.delayed && !off) {
        (void)fanout_publish(k, p, s, message, NULL);
        p = s->publisher;
        if (p != NULL || mail_congested(k)) {
            p = session_publisher(s);
            if (p != NULL) {
                publish_pause(p);
            }
        }
        return;
    }
    p                       = session_publisher(s);
    struct pending *pending = p == NULL ? NULL : publisher_pending(p, id, message->qos);
    if (pending == NULL) {
        k->counters.dropped++;
        if (message->qos != 0) {
            session_evict(s, EVICT_UNAVAILABLE);
        }
        return;
    }
    if (refuse(s, p, pending, message)) {
        pending->handed_out = !behind;
    } else if (off) {
        k->counters.denied++;
        pending->status     = reserved.status;
        pending->matched    = true;
        pending->duplicate  = true; /* its id is not taken */
        pending->handed_out = !behind;
    } else if (message->qos == 2 && !once_enter(s, p, pending, message)) {
        pending->handed_out = !behind; /* in its turn: those not handed out are the last ones */
    } else if (reserved.delayed) {
        delayed_set(p, pending, message, &reserved);
    } else {
        if (retained) {
            record_retained(p, pending, message);
        }
        if (UNLIKELY(message->qos != 0 && company_fenced(k))) {
            hold(p, pending);
        }
        if (pending->before == 0 && !behind && pending->status == 0 && pending->assigned == NULL) {
            pending->handed_out = true;
            pending->matched    = fanout_publish(k, p, s, message, pending);
        } else {
            pending->copy = message_keep(message);
            if (pending->copy == NULL && pending->status == 0) {
                pending->status = ERR_QUOTA;
            }
        }
    }
    publisher_flush(p);
    /* The protocol may have been answered, but it closes no connection inside a call to the kernel. */
    publish_pause(p);
}
