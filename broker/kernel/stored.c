/* stored - see stored.h. */
#include "broker/kernel/stored.h"

#include "broker/kernel/mail.h"
#include "broker/kernel/route.h"
#include "broker/kernel/sub.h"
#include "shared/base/hash.h"

#include <stdlib.h>

struct stored *stored_find(struct kernel *k, struct bytes id)
{
    for (struct hashmap_node *n = hashmap_first(&k->stored, hash_bytes(id)); n != NULL; n = hashmap_next(n)) {
        struct stored *stored = CONTAINER_OF(n, struct stored, by_id);
        if (bytes_equal(stored_id(stored), id)) {
            return stored;
        }
    }
    return NULL;
}

struct stored *stored_make(struct kernel *k, struct bytes id)
{
    struct stored *stored = stored_find(k, id);
    if (stored != NULL) {
        return stored;
    }
    stored = calloc(1, sizeof *stored + id.size);
    if (stored == NULL || hashmap_insert(&k->stored, &stored->by_id, hash_bytes(id)) != 0) {
        free(stored);
        return NULL;
    }
    stored->by_id.extra = (uint32_t)id.size;
    memcpy(stored->id, id.data, id.size);
    list_init(&stored->who.subs);
    return stored;
}

void stored_settle(struct kernel *k, struct stored *stored)
{
    if (list_empty(&stored->who.subs) && stored->rows.count == 0 && stored->at == 0 && stored->session == NULL) {
        hashmap_remove(&k->stored, &stored->by_id);
        free(stored);
    }
}

/* ---- where it is connected ------------------------------------------------------------------------------------------ */

/* Those that are not shared. */
static uint32_t own_count(const struct stored *stored)
{
    uint32_t count = stored->rows.count;
    LIST_EACH (&stored->who.subs, link) {
        count += sub_group(CONTAINER_OF(link, struct sub, of_owner)) == NULL;
    }
    return count;
}

static void count_here(struct session *s, uint32_t step)
{
    struct kernel_counters *c      = &s->kernel->counters;
    bool                    before = s->who.sub_count != 0;
    s->who.sub_count += step;
    c->subscriptions += (uint64_t)(int32_t)step;
    c->stored_subscriptions_open += (uint64_t)(int32_t)step;
    c->stored_sessions_open += (uint64_t)(s->who.sub_count != 0) - before;
}

void stored_count(struct kernel *k, struct stored *stored, int step)
{
    k->counters.stored_subscriptions += (uint64_t)step;
    if (stored->session != NULL) {
        count_here(stored->session, (uint32_t)step);
    }
}

void stored_attach(struct stored *stored, struct session *s)
{
    if (stored->session == NULL) {
        stored->session = s;
        count_here(s, own_count(stored));
    }
    ASSERT(stored->session == s);
}

void stored_open(struct session *s)
{
    struct kernel *k      = s->kernel;
    struct stored *stored = stored_find(k, session_id(s));
    if (stored != NULL && stored->who.stream_id == s->who.stream_id && own_count(stored) != 0) {
        stored_attach(stored, s);
        struct wire_writer w = route_presence(session_id(s), true);
        mail_announce(k, MAIL_ROUTE, 0, &w);
    }
}

void stored_close(struct session *s)
{
    struct kernel *k      = s->kernel;
    struct stored *stored = stored_find(k, session_id(s));
    if (stored == NULL || stored->session != s) {
        return;
    }
    count_here(s, -own_count(stored));
    stored->session      = NULL;
    struct wire_writer w = route_presence(session_id(s), false);
    mail_announce(k, MAIL_ROUTE, 0, &w);
    stored_settle(k, stored);
}

/* A set, not a place: a session that moves is seen coming by the mail of one shard and leaving by that of another, in either order. */
void stored_seen(struct kernel *k, unsigned shard, struct bytes id, bool there)
{
    struct stored *stored = there ? stored_make(k, id) : stored_find(k, id);
    if (stored != NULL) { /* else nothing was known of it, or there is no memory: QoS 0 does not reach it there */
        stored->at = there ? stored->at | 1ull << shard : stored->at & ~(1ull << shard);
        stored_settle(k, stored);
    }
}

void stored_tell(struct kernel *k, unsigned shard)
{
    for (uint32_t chain = 0; chain < hashmap_chains(&k->stored); chain++) {
        for (struct hashmap_node *n = hashmap_chain(&k->stored, chain); n != NULL; n = n->next) {
            const struct stored *stored = CONTAINER_OF(n, struct stored, by_id);
            if (stored->session != NULL) {
                struct wire_writer w = route_presence(stored_id(stored), true);
                if (mail_post(k, shard, MAIL_ROUTE, 0, &w)) {
                    k->out[shard].announced++;
                }
            }
        }
    }
}

void stored_lost(struct kernel *k, uint64_t shards)
{
    for (uint32_t chain = 0; chain < hashmap_chains(&k->stored); chain++) {
        for (struct hashmap_node *n = hashmap_chain(&k->stored, chain); n != NULL;) {
            struct stored *stored = CONTAINER_OF(n, struct stored, by_id);
            n                     = n->next;
            stored->at &= ~shards;
            stored_settle(k, stored);
        }
    }
}
