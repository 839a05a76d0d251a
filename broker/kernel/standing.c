/* standing - see standing.h. A mail has the load in its number, and in the highest bit whether the member is slow. */
#include "broker/kernel/standing.h"

#include "broker/kernel/mail.h"
#include "shared/base/hash.h"

#include <stdlib.h>

#define SLOW_BIT 0x80000000u

static uint64_t who_hash(unsigned shard, uint64_t serial)
{
    return hash_u64(serial ^ (uint64_t)shard << 56);
}

static struct standing *find(struct kernel *k, unsigned shard, uint64_t serial)
{
    for (struct hashmap_node *n = hashmap_first(&k->standings, who_hash(shard, serial)); n != NULL;
         n                      = hashmap_next(n)) {
        struct standing *st = CONTAINER_OF(n, struct standing, by_who);
        if (st->serial == serial && st->shard == shard) {
            return st;
        }
    }
    return NULL;
}

struct standing *standing_ref(struct kernel *k, unsigned shard, uint64_t serial)
{
    struct standing *st = find(k, shard, serial);
    if (st == NULL) {
        st = calloc(1, sizeof *st);
        if (st == NULL || hashmap_insert(&k->standings, &st->by_who, who_hash(shard, serial)) != 0) {
            free(st);
            return NULL;
        }
        st->shard  = (uint16_t)shard;
        st->serial = serial;
        if (shard == k->shard) {
            st->session           = session_find(k, serial);
            st->session->standing = st;
        }
    }
    st->members++;
    return st;
}

void standing_unref(struct kernel *k, struct standing *st)
{
    if (--st->members != 0) {
        return;
    }
    if (st->session != NULL) {
        st->session->standing = NULL;
    }
    list_remove(&st->dirty);
    hashmap_remove(&k->standings, &st->by_who);
    free(st);
}

static bool slow_here(const struct session *s)
{
    const struct delivery_state *d = s->delivery;
    return d != NULL && (d->blocked || d->inflight >= s->receive_max);
}

bool standing_slow(const struct standing *st)
{
    return st->session != NULL ? slow_here(st->session) : st->slow;
}

uint32_t standing_load(const struct standing *st)
{
    if (st->session == NULL) {
        return st->inflight + st->given;
    }
    const struct delivery_state *d = st->session->delivery;
    return (d == NULL ? 0 : d->inflight + (uint32_t)(d->queue_bytes >> 8)) + st->given;
}

void standing_changed(struct session *s)
{
    if (!list_linked(&s->standing->dirty)) {
        list_push_back(&s->kernel->changed_standings, &s->standing->dirty);
    }
}

void standing_flush(struct kernel *k)
{
    struct list *link;
    while ((link = list_pop_front(&k->changed_standings)) != NULL) {
        struct standing *st   = CONTAINER_OF(link, struct standing, dirty);
        bool             slow = slow_here(st->session);
        st->given             = 0;
        uint32_t load         = standing_load(st);
        if (slow == st->slow && (!st->counted || load == st->inflight)) {
            continue;
        }
        st->slow        = slow;
        st->inflight    = load;
        uint32_t number = (load < SLOW_BIT ? load : SLOW_BIT - 1) | (slow ? SLOW_BIT : 0);
        MAIL_EACH(shard, k->others)
        {
            mail_number(k, shard, MAIL_STANDING, st->serial, number);
        }
    }
}

void standing_receive(struct kernel *k, unsigned from, const struct kernel_mail *mail)
{
    struct standing *st = find(k, from, mail->value);
    if (st != NULL) { /* else it has left every group */
        st->slow     = (mail->number & SLOW_BIT) != 0;
        st->inflight = mail->number & ~SLOW_BIT;
        st->given    = 0;
    }
}
