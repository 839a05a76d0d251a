/* rival - see rival.h. */
#include "broker/kernel/rival.h"

#include "broker/kernel/mail.h"
#include "broker/kernel/company.h"
#include "broker/kernel/session.h"
#include "shared/base/hash.h"

#include <stdlib.h>

struct asking_all {
    struct kernel *kernel;
    struct rival  *rival;
    struct bytes   id;
};

static void ask(void *ctx, const struct peer *peer)
{
    const struct asking_all *all = ctx;
    if (peer->shards == 0) {
        return; /* it has let nobody in yet: it waits for what is told here */
    }
    unsigned           home = peer->first + (unsigned)(hash_bytes(all->id) % peer->shard_count);
    struct wire_writer w    = mail_begin();
    wire_put_u64(&w, all->rival->stamp);
    wire_put_bytes(&w, all->id);
    if (mail_post(all->kernel, home, MAIL_RIVAL, all->rival->ticket, &w)) {
        all->rival->waiting |= 1ull << home;
    }
}

static void rival_free(struct rival *r)
{
    list_remove(&r->link);
    free(r);
}

static void settle(struct kernel *k, struct rival *r)
{
    if (r->waiting == 0 && !r->refused) {
        uint64_t serial = r->serial;
        unsigned shard  = r->shard;
        rival_free(r);
        directory_grant(k, shard, serial);
    }
}

bool rival_begin(struct kernel *k, uint64_t low, uint64_t high, uint64_t serial, uint16_t shard, struct bytes id)
{
    if (LIKELY(k->far == 0)) {
        return false;
    }
    struct rival *r = calloc(1, sizeof *r);
    if (r == NULL) {
        return false; /* the others are not asked: the store fences a stored session */
    }
    *r                    = (struct rival){.low         = low,
                                           .high        = high,
                                           .ticket      = ++k->rival_ticket,
                                           .stamp       = k->wall_ns,
                                           .deadline_ns = k->now_ns + RIVAL_PATIENCE_NS,
                                           .serial      = serial,
                                           .shard       = shard};
    struct asking_all all = {.kernel = k, .rival = r, .id = id};
    list_push_back(&k->rivals, &r->link);
    company_each(k, ask, &all);
    if (r->waiting == 0) {
        rival_free(r);
        return false;
    }
    return true;
}

static struct rival *find(struct kernel *k, uint64_t low, uint64_t high)
{
    LIST_EACH (&k->rivals, link) {
        struct rival *r = CONTAINER_OF(link, struct rival, link);
        if (r->low == low && r->high == high) {
            return r;
        }
    }
    return NULL;
}

void rival_cancel(struct kernel *k, uint64_t low, uint64_t high)
{
    struct rival *r = find(k, low, high);
    if (r != NULL) {
        rival_free(r);
    }
}

bool rival_wins(struct kernel *k, uint64_t low, uint64_t high, unsigned from, uint64_t stamp)
{
    const struct rival *r = find(k, low, high);
    if (r == NULL || (r->waiting >> from & 1) == 0 || r->refused) {
        return false;
    }
    return r->stamp != stamp ? r->stamp > stamp : store_owner(k->store) > company_owner(k, from);
}

void rival_answered(struct kernel *k, unsigned from, const struct kernel_mail *mail)
{
    LIST_EACH (&k->rivals, link) {
        struct rival *r = CONTAINER_OF(link, struct rival, link);
        if (r->ticket != mail->value || (r->waiting >> from & 1) == 0) {
            continue;
        }
        r->waiting &= ~(1ull << from);
        if (mail->number != 0 && !r->refused) {
            r->refused = true;
            directory_evict(k, r->shard, r->serial);
        } else {
            settle(k, r);
        }
        return;
    }
}

void rival_lost(struct kernel *k, uint64_t shards)
{
    bool again = true;
    while (again) { /* a grant may end other claims */
        again = false;
        LIST_EACH (&k->rivals, link) {
            struct rival *r = CONTAINER_OF(link, struct rival, link);
            if ((r->waiting & shards) != 0) {
                r->waiting &= ~shards;
                settle(k, r);
                again = true;
                break;
            }
        }
    }
}

uint64_t rival_turn(struct kernel *k)
{
    /* In the order of their deadlines. */
    while (!list_empty(&k->rivals)) {
        struct rival *r = CONTAINER_OF(k->rivals.next, struct rival, link);
        if (r->deadline_ns > k->now_ns) {
            return r->deadline_ns;
        }
        r->waiting = 0;
        if (r->refused) { /* until its session has gone */
            r->deadline_ns = k->now_ns + RIVAL_PATIENCE_NS;
            list_remove(&r->link);
            list_push_back(&k->rivals, &r->link);
        } else {
            settle(k, r);
        }
    }
    return UINT64_MAX;
}

void rival_fini(struct kernel *k)
{
    struct list *link;
    while ((link = list_pop_front(&k->rivals)) != NULL) {
        free(CONTAINER_OF(link, struct rival, link));
    }
}
