/* census - see census.h. */
#include "broker/gate/census.h"

#include "shared/base/hash.h"
#include "shared/base/list.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { SWEEP = 4 }; /* entries looked at with each that comes */

struct entry {
    struct hashmap_node by_key; /* extra: size of the key */
    struct list         link;   /* in census.idle, while nobody of it is connected */
    uint32_t            open;
    uint32_t            capacity;
    uint64_t           *clients;   /* hashes of their identifiers, open of them */
    uint32_t            comings;   /* since window_ns */
    uint64_t            window_ns; /* when it began */
    uint64_t            until_ns;  /* not forgotten before */
    uint8_t             key[];
};

struct census {
    pthread_mutex_t  lock;
    struct hashmap   map;
    struct list      idle;
    _Atomic uint32_t open; /* of all */
};

struct census *census_new(void)
{
    struct census *c = calloc(1, sizeof *c);
    if (c != NULL) {
        pthread_mutex_init(&c->lock, NULL);
        list_init(&c->idle);
    }
    return c;
}

static void forget(struct census *c, struct entry *e)
{
    hashmap_remove(&c->map, &e->by_key);
    list_remove(&e->link);
    free(e->clients);
    free(e);
}

void census_free(struct census *c)
{
    if (c == NULL) {
        return;
    }
    struct hashmap_node *node;
    while ((node = hashmap_any(&c->map)) != NULL) {
        forget(c, CONTAINER_OF(node, struct entry, by_key));
    }
    hashmap_fini(&c->map);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

static struct entry *find(const struct census *c, struct bytes key)
{
    for (struct hashmap_node *n = hashmap_first(&c->map, hash_bytes(key)); n != NULL; n = hashmap_next(n)) {
        struct entry *e = CONTAINER_OF(n, struct entry, by_key);
        if (bytes_equal(bytes_of(e->key, n->extra), key)) {
            return e;
        }
    }
    return NULL;
}

static struct entry *make(struct census *c, struct bytes key)
{
    struct entry *e = find(c, key);
    if (e != NULL) {
        return e;
    }
    e = calloc(1, sizeof *e + key.size);
    if (e == NULL || hashmap_insert(&c->map, &e->by_key, hash_bytes(key)) != 0) {
        free(e);
        return NULL;
    }
    e->by_key.extra = (uint32_t)key.size;
    memcpy(e->key, key.data, key.size);
    list_push_back(&c->idle, &e->link);
    return e;
}

static void sweep(struct census *c, uint64_t now_ns)
{
    for (int i = 0; i < SWEEP && !list_empty(&c->idle); i++) {
        struct entry *e = CONTAINER_OF(c->idle.next, struct entry, link);
        if (e->until_ns > now_ns) { /* those behind it may be older, and have their turn later */
            list_remove(&e->link);
            list_push_back(&c->idle, &e->link);
        } else {
            forget(c, e);
        }
    }
}

static uint32_t place_of(const struct entry *e, uint64_t client)
{
    uint32_t at = 0;
    while (at < e->open && e->clients[at] != client) {
        at++;
    }
    return at;
}

static bool add(struct entry *e, uint64_t client)
{
    if (e->open == e->capacity) {
        uint32_t  capacity = e->capacity == 0 ? 2 : e->capacity * 2;
        uint64_t *clients  = realloc(e->clients, capacity * sizeof *clients);
        if (clients == NULL) {
            return false;
        }
        e->clients  = clients;
        e->capacity = capacity;
    }
    e->clients[e->open++] = client;
    return true;
}

static enum census_verdict judge(struct entry *e, uint64_t client, struct census_limit limit, uint64_t now_ns)
{
    if (limit.comings != 0) {
        if (now_ns - e->window_ns >= limit.window_ns) {
            e->window_ns = now_ns;
            e->comings   = 0;
        }
        e->until_ns = e->window_ns + limit.window_ns;
        if (e->comings++ >= limit.comings) {
            return CENSUS_FLAPS;
        }
    }
    bool full = limit.connections != 0 && e->open >= limit.connections && place_of(e, client) == e->open;
    return full ? CENSUS_FULL : CENSUS_IN;
}

enum census_verdict census_enter(struct census *c, enum ban_kind kind, struct bytes name, struct bytes client_id,
                                 struct census_limit limit, uint64_t now_ns, bool *counted)
{
    uint8_t      room[BAN_KEY_MAX_BYTES];
    struct bytes key    = ban_key(room, kind, name);
    uint64_t     client = hash_bytes(client_id);
    *counted            = false;
    if (key.size == 0 || (limit.connections == 0 && limit.comings == 0)) {
        return CENSUS_IN;
    }
    pthread_mutex_lock(&c->lock);
    struct entry       *e       = make(c, key);
    enum census_verdict verdict = e == NULL ? CENSUS_IN : judge(e, client, limit, now_ns);
    if (e != NULL && verdict == CENSUS_IN && add(e, client)) {
        *counted = true;
        list_remove(&e->link);
    }
    sweep(c, now_ns);
    pthread_mutex_unlock(&c->lock);
    return verdict;
}

void census_leave(struct census *c, enum ban_kind kind, struct bytes name, struct bytes client_id)
{
    uint8_t      room[BAN_KEY_MAX_BYTES];
    struct bytes key = ban_key(room, kind, name);
    pthread_mutex_lock(&c->lock);
    struct entry *e = find(c, key);
    ASSERT(e != NULL && e->open > 0);
    uint32_t at = place_of(e, hash_bytes(client_id));
    ASSERT(at < e->open);
    e->clients[at] = e->clients[--e->open];
    if (e->open == 0) {
        list_push_back(&c->idle, &e->link);
    }
    pthread_mutex_unlock(&c->lock);
}

bool census_enter_all(struct census *c, uint32_t most)
{
    uint32_t open = atomic_load_explicit(&c->open, memory_order_relaxed);
    while (open < most) {
        if (atomic_compare_exchange_weak_explicit(&c->open, &open, open + 1, memory_order_relaxed,
                                                  memory_order_relaxed)) {
            return true;
        }
    }
    return false;
}

void census_leave_all(struct census *c)
{
    uint32_t before = atomic_fetch_sub_explicit(&c->open, 1, memory_order_relaxed);
    ASSERT(before > 0);
}
