/* far - see far.h. */
#include "broker/kernel/far.h"

#include "broker/kernel/assign.h"
#include "broker/kernel/gather.h"
#include "broker/kernel/group.h"
#include "broker/kernel/mail.h"
#include "broker/kernel/message.h"
#include "broker/kernel/reshare.h"
#include "shared/base/err.h"

#include <stdlib.h>

struct taking {
    struct list      link;
    uint64_t         until;   /* announcements */
    struct pending  *pending; /* or NULL */
    struct group    *group;   /* or NULL */
    struct buf      *copy;    /* with a group, and when it was not sent yet */
    bool             asked;   /* its shard is asked: nothing was sent yet */
    struct to_member to[];    /* one, of such a one */
};

static void await(struct kernel *k, unsigned shard, struct taking *t)
{
    struct outbox *out = &k->out[shard];
    t->until           = out->announced;
    if (t->group != NULL) {
        t->group->held++;
    }
    if (t->pending != NULL) {
        t->pending->after++;
    }
    list_push_back(&out->taking, &t->link);
}

void far_sent(struct kernel *k, unsigned shard, struct pending *pending, const struct message *message,
              struct group *group)
{
    struct outbox *out = &k->out[shard];
    if (message->qos == 0 || !far_shard(k, shard)) {
        return;
    }
    out->announced++;
    struct taking *t = pending == NULL && group == NULL ? NULL : calloc(1, sizeof *t);
    if (t == NULL) {
        if (pending != NULL) {
            pending->status = ERR_QUOTA; /* nobody could tell when it is there */
        }
        return;
    }
    t->pending = pending;
    t->copy    = group == NULL ? NULL : message_keep(message);
    t->group   = t->copy == NULL ? NULL : group;
    await(k, shard, t);
}

void far_ask(struct kernel *k, const struct to_member *to, struct pending *pending, const struct message *message)
{
    ASSERT(far_shard(k, to->shard) && message->qos == 2);
    struct taking *t    = calloc(1, sizeof *t + sizeof *to);
    struct buf    *copy = NULL;
    if (t != NULL) {
        copy = to->assigned != 0 ? buf_ref(pending->copy) : message_keep(message);
    }
    if (copy == NULL || !mail_signal(k, to->shard, MAIL_TOLD, 0)) {
        buf_unref(copy);
        free(t);
        k->counters.dropped++;
        if (pending != NULL) {
            pending->status = ERR_QUOTA;
        }
        return;
    }
    k->out[to->shard].announced++;
    t->pending = pending;
    t->group   = to->group;
    t->copy    = copy;
    t->asked   = true;
    t->to[0]   = *to;
    await(k, to->shard, t);
}

static void taking_free(struct kernel *k, struct taking *t)
{
    if (t->group != NULL) {
        t->group->held--;
        group_settle(k, t->group);
    }
    buf_unref(t->copy);
    free(t);
}

static void settle(struct kernel *k, struct taking *t)
{
    struct pending *pending = t->pending;
    taking_free(k, t);
    if (pending != NULL) {
        pending->after--;
        publisher_flush(pending->publisher);
    }
}

/* The member that it was for never gets it. */
static void give_other(struct kernel *k, struct taking *t)
{
    if (t->asked && t->to[0].assigned != 0) {
        assign_lost(k, t->pending, t->to[0].assigned - 1);
    } else if (t->group != NULL) {
        struct message message = message_of(t->copy);
        reshare_give(k, t->group, &message, k->shard, t->pending);
    }
}

/* Its shard lives. */
static void send_asked(struct kernel *k, struct taking *t)
{
    struct message message = message_of(t->copy);
    if (!gather_mail_member(k, &t->to[0], t->pending, &message)) {
        give_other(k, t);
    }
}

void far_taken(struct kernel *k, unsigned shard)
{
    struct outbox *out = &k->out[shard];
    while (!list_empty(&out->taking)) {
        struct taking *t = CONTAINER_OF(out->taking.next, struct taking, link);
        if (t->until > out->confirmed) {
            return;
        }
        list_remove(&t->link);
        if (t->asked) {
            send_asked(k, t);
        }
        settle(k, t);
    }
}

void far_lost(struct kernel *k, unsigned shard)
{
    struct list *link;
    while ((link = list_pop_front(&k->out[shard].taking)) != NULL) {
        struct taking *t = CONTAINER_OF(link, struct taking, link);
        give_other(k, t);
        settle(k, t);
    }
}

void far_abandon(struct kernel *k, unsigned shard)
{
    struct list *link;
    while ((link = list_pop_front(&k->out[shard].taking)) != NULL) {
        struct taking *t = CONTAINER_OF(link, struct taking, link);
        if (t->pending != NULL) {
            t->pending->abandoned = true;
        }
        settle(k, t);
    }
}

void far_fini(struct kernel *k)
{
    for (unsigned shard = 0; shard < SHARDS_MAX; shard++) {
        struct list *link;
        while ((link = list_pop_front(&k->out[shard].taking)) != NULL) {
            taking_free(k, CONTAINER_OF(link, struct taking, link));
        }
    }
}
