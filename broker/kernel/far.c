/* far - see far.h. */
#include "broker/kernel/far.h"

#include "broker/kernel/group.h"
#include "broker/kernel/message.h"
#include "broker/kernel/reshare.h"
#include "shared/base/err.h"

#include <stdlib.h>

struct taking {
    struct list     link;
    uint64_t        until;   /* announcements */
    struct pending *pending; /* or NULL */
    struct group   *group;   /* or NULL */
    struct buf     *copy;    /* with a group */
};

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
    t->until   = out->announced;
    t->pending = pending;
    t->copy    = group == NULL ? NULL : message_keep(message);
    t->group   = t->copy == NULL ? NULL : group;
    if (t->group != NULL) {
        t->group->held++;
    }
    if (pending != NULL) {
        pending->after++;
    }
    list_push_back(&out->taking, &t->link);
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

void far_taken(struct kernel *k, unsigned shard)
{
    struct outbox *out = &k->out[shard];
    while (!list_empty(&out->taking)) {
        struct taking *t = CONTAINER_OF(out->taking.next, struct taking, link);
        if (t->until > out->confirmed) {
            return;
        }
        list_remove(&t->link);
        settle(k, t);
    }
}

void far_lost(struct kernel *k, unsigned shard)
{
    struct list *link;
    while ((link = list_pop_front(&k->out[shard].taking)) != NULL) {
        struct taking *t = CONTAINER_OF(link, struct taking, link);
        if (t->group != NULL) {
            struct message message = message_of(t->copy);
            reshare_give(k, t->group, &message, k->shard, t->pending);
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
