/* publisher - see publisher.h. */
#include "broker/kernel/publisher.h"

#include "broker/kernel/assign.h"
#include "broker/kernel/fanout.h"
#include "broker/kernel/message.h"
#include "broker/kernel/subscribe.h"

void publisher_init(struct publisher *p, struct kernel *k, struct session *s,
                    void (*answered)(struct publisher *, struct pending *))
{
    *p = (struct publisher){.kernel = k, .session = s, .answered = answered};
    list_init(&p->pendings);
    list_init(&p->unsure);
}

static void pending_free(struct publisher *p, struct pending *pending)
{
    p->pending_count--;
    assign_free(p->kernel, pending->assigned);
    buf_unref(pending->copy);
    pool_give(p->kernel->pendings, pending);
}

void publisher_fini(struct publisher *p)
{
    list_remove(&p->paused_link);
    struct list *link;
    while ((link = list_pop_front(&p->pendings)) != NULL) {
        pending_free(p, CONTAINER_OF(link, struct pending, link));
    }
    while (!list_empty(&p->unsure)) {
        assign_free(p->kernel, CONTAINER_OF(p->unsure.next, struct assignments, link));
    }
    inbound_fini(&p->inbound);
    lanes_fini(&p->lanes);
}

struct pending *publisher_pending(struct publisher *p, uint16_t id, uint8_t qos)
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

struct work *publisher_work(struct publisher *p, struct pending *pending, uint16_t id,
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
        if (pending->status == 0 && !pending->duplicate && !pending->delayed && !pending->abandoned) {
            struct message message = message_of(pending->copy);
            pending->matched       = fanout_publish(p->kernel, p, p->session, &message, pending);
        }
        if (LIKELY(pending->assigned == NULL)) { /* else another member may have to be given it */
            buf_unref(pending->copy);
            pending->copy = NULL;
        }
        if (UNLIKELY(pending->awaited)) {
            pending->awaited = false;
            subscribe_handed_out(p->session, pending);
        }
    }
}

void publisher_flush(struct publisher *p)
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
        pending_free(p, pending);
    }
    p->flushing = false;
    if (p->session != NULL) {
        close_continue(p->session); /* last: it may free the publisher */
    }
}

void publisher_abandon(struct publisher *p)
{
    LIST_EACH (&p->pendings, link) {
        struct pending *pending = CONTAINER_OF(link, struct pending, link);
        pending->abandoned      = pending->abandoned || !pending->handed_out;
    }
}

void publisher_before_done(struct store_call *call, int status, struct bytes results)
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
    publisher_flush(p);
}
