/* reshare - see reshare.h. */
#include "broker/kernel/reshare.h"

#include "broker/kernel/gather.h"
#include "broker/kernel/message.h"
#include "broker/kernel/publisher.h"

#include <stdlib.h>

bool reshare_room(const struct session *s)
{
    return s->delivery->held_bytes <= s->kernel->limits.live_queue_bytes;
}

static void held_free(struct session *s, struct held *h)
{
    s->delivery->held_bytes -= h->message->size;
    h->group->held--;
    list_remove(&h->link);
    buf_unref(h->message);
    free(h);
}

void reshare_hold(struct session *s, uint64_t offset, struct fanout *f)
{
    struct held *h = malloc(sizeof *h);
    if (f->shared == NULL) {
        f->shared = message_keep(f->message);
    }
    if (h == NULL || f->shared == NULL) {
        free(h);
        return;
    }
    *h = (struct held){.offset = offset, .message = buf_ref(f->shared), .group = f->group};
    h->group->held++;
    s->delivery->held_bytes += h->message->size;
    list_push_back(&s->delivery->held, &h->link);
}

void reshare_done(struct session *s, uint64_t offset)
{
    LIST_EACH (&s->delivery->held, link) { /* acknowledged in order, mostly: it is the first */
        struct held *h = CONTAINER_OF(link, struct held, link);
        if (h->offset == offset) {
            struct group *g = h->group;
            held_free(s, h);
            group_settle(s->kernel, g);
            return;
        }
    }
}

void reshare_forget(struct session *s)
{
    while (!list_empty(&s->delivery->held)) {
        struct held  *h = CONTAINER_OF(s->delivery->held.next, struct held, link);
        struct group *g = h->group;
        held_free(s, h);
        group_settle(s->kernel, g);
    }
}

void reshare_give(struct kernel *k, struct group *g, struct message *message, unsigned from_shard,
                  struct pending *pending)
{
    k->target_count = 0;
    if (group_empty(g) || message_expired(message, k->wall_ns)) {
        k->counters.dropped += group_empty(g);
        k->counters.expired += !group_empty(g);
        return;
    }
    struct pending *outer = k->handing;
    k->handing            = pending;
    gather_group(k, g, message, NULL);
    k->handing = outer;
    if (k->target_count != 0 && k->targets[0].stream_id != 0) {
        struct pending *mine = pending != NULL ? pending : publisher_pending(k->relay, 0, message->qos);
        if (mine == NULL) {
            k->counters.dropped++;
            return;
        }
        mine->handed_out = true;
        fanout_append(k, mine, message);
        if (pending == NULL) {
            publisher_flush(k->relay);
        }
        return;
    }
    struct fanout f = {.message = message, .from_shard = from_shard};
    fanout_deliver(k, &f);
    fanout_end(&f);
}

static void give_kept(struct kernel *k, struct group *g, struct buf *kept)
{
    struct message message = message_of(kept);
    reshare_give(k, g, &message, k->shard, NULL);
}

void reshare_all(struct session *s)
{
    struct delivery_state *d = s->delivery;
    struct kernel         *k = s->kernel;
    struct list           *link;
    while (!list_empty(&d->held)) {
        struct held  *h = CONTAINER_OF(d->held.next, struct held, link);
        struct group *g = h->group;
        give_kept(k, g, h->message);
        held_free(s, h);
        group_settle(k, g);
    }
    struct list rest;
    list_init(&rest);
    while ((link = list_pop_front(&d->queue)) != NULL) {
        struct queued *q = CONTAINER_OF(link, struct queued, link);
        if (q->group == NULL) {
            list_push_back(&rest, link);
            continue;
        }
        struct group *g = q->group;
        give_kept(k, g, q->message);
        g->held--;
        group_settle(k, g);
        buf_unref(q->message);
        free(q);
    }
    while ((link = list_pop_front(&rest)) != NULL) {
        list_push_back(&d->queue, link);
    }
}
