/* session - the parts of one session are made when they are first needed. */
#include "broker/kernel/session.h"

#include "broker/kernel/delivery.h"
#include "broker/kernel/reader.h"
#include "broker/kernel/publish.h"
#include "broker/kernel/publisher.h"
#include "shared/base/err.h"
#include "shared/base/hash.h"
#include "shared/base/sm.h"

#include <stdlib.h>

static const struct sm_state states[] = {
    /*                     name        may be followed by */
    [SESSION_CLAIMING] = {"claiming", SM(SESSION_LOADING)},
    [SESSION_LOADING]  = {"loading", SM(SESSION_OPEN) | SM(SESSION_CLOSING)},
    [SESSION_OPEN]     = {"open", SM(SESSION_CLOSING)},
    [SESSION_CLOSING]  = {"closing", SM(SESSION_ENDING)},
    [SESSION_ENDING]   = {"ending", 0},
};

void session_step(struct session *s, enum session_state next)
{
    sm_step(states, &s->state, (uint8_t)next);
}

uint16_t session_stripe(struct session *s)
{
    return session_stored(s) ? (uint16_t)(s->who.stream_id >> 48)
                             : store_stripe(s->kernel->store, tables_stream(s->kernel->key, session_id(s)));
}

struct session *session_new(struct kernel *k, struct client *client, const struct open_request *request)
{
    struct session *s = calloc(1, sizeof *s + request->client_id.size);
    if (s == NULL) {
        return NULL;
    }
    s->kernel = k;
    s->client = client;
    s->serial = ++k->serial;
    if (hashmap_insert(&k->sessions, &s->by_serial, hash_u64(s->serial)) != 0) {
        free(s);
        return NULL;
    }
    s->by_serial.extra = (uint32_t)request->client_id.size;
    memcpy(s->id, request->client_id.data, request->client_id.size);
    s->own      = request->own;
    s->told     = request->told;
    s->expiry_s = request->expiry_s;
    if (s->expiry_s > k->limits.session_expiry_max_s) {
        s->expiry_s = k->limits.session_expiry_max_s;
    }
    s->receive_max = request->receive_max;
    if (s->receive_max > k->limits.inflight_max) {
        s->receive_max = (uint16_t)k->limits.inflight_max;
    }
    ASSERT(s->receive_max > 0);
    list_init(&s->who.subs);
    client->session = s;
    return s;
}

void session_free(struct session *s)
{
    if (s->client != NULL) {
        s->client->session = NULL;
    }
    readers_free(s);
    if (s->delivery != NULL) {
        delivery_free(s->delivery);
    }
    if (s->publisher != NULL) {
        publisher_fini(s->publisher);
        free(s->publisher);
    }
    if (s->keep != NULL) {
        list_remove(&s->keep->dirty);
        free(s->keep->moves.items);
        free(s->keep);
    }
    hashmap_remove(&s->kernel->sessions, &s->by_serial);
    if (s->state <= SESSION_LOADING) {
        open_forget(s);
    }
    free(s->asking);
    free(s->opening); /* or closing */
    free(s);
}

struct session *session_find(struct kernel *k, uint64_t serial)
{
    for (struct hashmap_node *n = hashmap_first(&k->sessions, hash_u64(serial)); n != NULL; n = hashmap_next(n)) {
        struct session *s = CONTAINER_OF(n, struct session, by_serial);
        if (s->serial == serial) {
            return s;
        }
    }
    return NULL;
}

struct publisher *session_publisher(struct session *s)
{
    if (s->publisher == NULL) {
        s->publisher = malloc(sizeof *s->publisher);
        if (s->publisher != NULL) {
            publisher_init(s->publisher, s->kernel, s, publish_answer_client);
        }
    }
    return s->publisher;
}

struct delivery_state *session_delivery(struct session *s)
{
    if (s->delivery == NULL) {
        s->delivery = calloc(1, sizeof *s->delivery);
        if (s->delivery != NULL) {
            s->delivery->session = s;
            list_init(&s->delivery->queue);
            list_init(&s->delivery->held);
        }
    }
    return s->delivery;
}

struct asking *session_asking(struct session *s)
{
    if (s->asking == NULL) {
        s->asking = malloc(sizeof *s->asking);
        if (s->asking != NULL) {
            list_init(&s->asking->requests);
            list_init(&s->asking->replays);
        }
    }
    return s->asking;
}

void session_asked(struct session *s)
{
    if (list_empty(&s->asking->requests) && list_empty(&s->asking->replays)) {
        free(s->asking);
        s->asking = NULL;
    }
}

void session_evict(struct session *s, enum evict_reason why)
{
    struct kernel *k = s->kernel;
    if (s->client == NULL || s->evict_why != 0) {
        return;
    }
    s->evict_why = (uint8_t)(1 + why);
    if (k->evicting_count == k->evicting_capacity) {
        uint32_t  capacity = k->evicting_capacity == 0 ? 16 : k->evicting_capacity * 2;
        uint64_t *evicting = realloc(k->evicting, capacity * sizeof *evicting);
        if (evicting == NULL) {
            k->evicting_all = true;
            return;
        }
        k->evicting          = evicting;
        k->evicting_capacity = capacity;
    }
    k->evicting[k->evicting_count++] = s->serial;
}

/* One that is marked, or NULL. */
static struct session *find_marked(const struct kernel *k)
{
    for (uint32_t chain = 0; chain < hashmap_chains(&k->sessions); chain++) {
        for (struct hashmap_node *n = hashmap_chain(&k->sessions, chain); n != NULL; n = n->next) {
            struct session *s = CONTAINER_OF(n, struct session, by_serial);
            if (s->evict_why != 0 && s->client != NULL) {
                return s;
            }
        }
    }
    return NULL;
}

void session_evict_everybody(struct kernel *k)
{
    for (uint32_t chain = 0; chain < hashmap_chains(&k->sessions); chain++) {
        for (struct hashmap_node *n = hashmap_chain(&k->sessions, chain); n != NULL; n = n->next) {
            struct session *s = CONTAINER_OF(n, struct session, by_serial);
            if (s->publisher != NULL) {
                publisher_abandon(s->publisher);
            }
            s->evict_why = s->client != NULL && s->evict_why == 0 ? 1 + EVICT_UNAVAILABLE : s->evict_why;
        }
    }
    k->evicting_all = true;
}

void session_evict_all(struct kernel *k)
{
    for (uint32_t i = 0; i < k->evicting_count; i++) {
        struct session *s = session_find(k, k->evicting[i]);
        if (s != NULL && s->client != NULL) {
            session_evict_now(s, (enum evict_reason)(s->evict_why - 1));
        }
    }
    k->evicting_count = 0;
    struct session *s;
    while (k->evicting_all && (s = find_marked(k)) != NULL) {
        session_evict_now(s, (enum evict_reason)(s->evict_why - 1));
    }
    k->evicting_all = false;
}

void session_evict_now(struct session *s, enum evict_reason why)
{
    struct client *client = s->client;
    if (client == NULL) {
        return;
    }
    s->kernel->counters.evictions++;
    s->evict_why    = (uint8_t)(1 + why);
    s->client       = NULL;
    client->session = NULL;
    if (s->state == SESSION_OPEN) {
        client->ops->evicted(client, why);
        close_begin(s, false, false, 0);
        return;
    }
    /* Not open yet: it is refused, and what was begun is undone when the answers are in. */
    bool claiming = s->state == SESSION_CLAIMING;
    client->ops->opened(client, why == EVICT_TAKEN_OVER ? ERR_FENCED : ERR_UNAVAILABLE, false);
    if (claiming) {
        directory_release(s);
        session_free(s);
    }
}
