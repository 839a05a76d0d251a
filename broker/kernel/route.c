/* route - rows of the subscriptions table into rows of the kernel; shared ones, and those whose filter has no shape, into LINK_STORED. */
#include "broker/kernel/route.h"

#include "broker/kernel/group.h"
#include "broker/kernel/mail.h"
#include "broker/kernel/reader.h"
#include "broker/kernel/stored.h"
#include "broker/kernel/sub.h"
#include "broker/kernel/topic.h"
#include "shared/base/hash.h"
#include "shared/base/log.h"
#include "shared/rpc/op.h"

#include <stdlib.h>

static bool has_any(const struct stored *stored)
{
    return stored->rows.count != 0 || !list_empty(&stored->who.subs);
}

/* Something of it has changed: is it still, or by now, a session with subscriptions? */
static void settle(struct kernel *k, struct stored *stored, bool had_any)
{
    k->counters.stored_sessions += (uint64_t)has_any(stored) - had_any;
    stored_settle(k, stored);
}

/* ---- one subscription ----------------------------------------------------------------------------------------------- */

static uint32_t row_find(const struct kernel *k, const struct stored *stored, struct bytes filter)
{
    uint64_t key = 0;
    if (stored->rows.count == 0) {
        return ROWS_NONE;
    }
    if (!topic_filter_wild(filter)) {
        key = hash_bytes_seeded(filter, k->shapes.seed);
    } else if (!shapes_key(&k->shapes, filter, &key)) {
        return ROWS_NONE;
    }
    return rows_find(&k->rows, &stored->rows, (uint32_t)key, filter);
}

static uint32_t row_add(struct kernel *k, struct stored *stored, struct bytes filter)
{
    bool     wild = topic_filter_wild(filter);
    uint64_t key  = hash_bytes_seeded(filter, k->shapes.seed);
    if (wild && !shapes_enter(&k->shapes, filter, k->shard, &key)) {
        return ROWS_NONE;
    }
    uint32_t row = rows_add(&k->rows, &stored->rows, (uint32_t)key, filter);
    if (row != ROWS_NONE) {
        stored_count(k, stored, 1);
    } else if (wild) {
        shapes_leave(&k->shapes, filter, k->shard);
    }
    return row;
}

static void row_remove(struct kernel *k, uint32_t row)
{
    const struct row *r      = rows_at(&k->rows, row);
    struct bytes      filter = row_filter(r);
    if (topic_filter_wild(filter)) {
        shapes_leave(&k->shapes, filter, k->shard);
    }
    stored_count(k, stored_of_rows(r->owner), -1);
    rows_remove(&k->rows, row);
}

/* One that is no row. */
static struct sub *sub_of(struct kernel *k, struct stored *stored, struct bytes filter)
{
    return list_empty(&stored->who.subs) ? NULL : sub_find(k, &stored->who, filter);
}

static uint16_t generation_of(const struct kernel *k, const struct stored *stored)
{
    return k->route_generations[stream_id_stripe(stored->who.stream_id) % k->route_shards];
}

static void row_write(const struct kernel *k, const struct stored *stored, uint32_t at, const struct sub_row *row,
                      uint64_t version)
{
    struct row *r = rows_at(&k->rows, at);
    if (r->version <= version) {
        r->version = version & ((1ull << 48) - 1);
        r->flags   = row->flags & 0xfu;          /* enum sub_flags */
        r->id      = row->id & ((1u << 28) - 1); /* as many bits as MQTT has for it */
    }
    r->generation = generation_of(k, stored);
}

/* False: no memory. */
static bool put(struct kernel *k, struct stored *stored, struct bytes filter, const struct sub_row *row,
                uint64_t version)
{
    uint32_t    at  = row_find(k, stored, filter);
    struct sub *sub = at != ROWS_NONE ? NULL : sub_of(k, stored, filter);
    if (at == ROWS_NONE && sub == NULL && !topic_is_grouped(filter)) {
        at = row_add(k, stored, filter);
    }
    if (at != ROWS_NONE) {
        row_write(k, stored, at, row, version);
        return true;
    }
    if (sub == NULL || sub_wide(sub)->version <= version) {
        sub = sub_put(k, &stored->who, LINK_STORED, filter, row->flags, row->id);
        if (sub == NULL) {
            return false;
        }
        sub_wide(sub)->version = version;
    }
    sub->link.spare = generation_of(k, stored);
    return true;
}

/* All rows, or those that are not of this generation. */
static void remove_rows(struct kernel *k, struct stored *stored, bool all, uint16_t generation)
{
    for (uint32_t i = 0; i < stored->rows.size;) {
        uint32_t at = stored->rows.slots[i];
        if (at == ROWS_NONE || (!all && rows_at(&k->rows, at)->generation == generation)) {
            i++;
            continue;
        }
        uint32_t size = stored->rows.size;
        row_remove(k, at); /* another one may have its slot now */
        i = stored->rows.size == size ? i : 0;
    }
}

static void remove_all(struct kernel *k, struct stored *stored)
{
    remove_rows(k, stored, true, 0);
    sub_remove_all(k, &stored->who);
}

/* Is the row of the session that is known, or of a newer one, which ends what is left of that? */
static bool same_life(struct kernel *k, struct stored *stored, const struct sub_row *row, uint64_t version)
{
    if (stored->who.stream_id != row->stream_id) {
        if (has_any(stored) && version < stored->version) {
            return false;
        }
        remove_all(k, stored);
        stored->who.stream_id = row->stream_id;
    }
    stored->version = version > stored->version ? version : stored->version;
    return true;
}

static bool enter(struct kernel *k, struct bytes client_id, struct bytes filter, const struct sub_row *row,
                  uint64_t version)
{
    struct stored *stored  = stored_make(k, client_id);
    bool           had_any = stored != NULL && has_any(stored);
    bool entered = stored != NULL && (!same_life(k, stored, row, version) || put(k, stored, filter, row, version));
    if (stored != NULL) {
        settle(k, stored, had_any);
    }
    if (!entered) {
        log_error("no memory for a stored subscription");
    }
    return entered;
}

static void leave(struct kernel *k, struct bytes client_id, struct bytes filter, uint64_t version)
{
    struct stored *stored = stored_find(k, client_id);
    if (stored == NULL || !has_any(stored)) {
        return;
    }
    uint32_t    at  = row_find(k, stored, filter);
    struct sub *sub = at != ROWS_NONE ? NULL : sub_of(k, stored, filter);
    if (at != ROWS_NONE && rows_at(&k->rows, at)->version <= version) {
        row_remove(k, at);
    } else if (sub != NULL && sub_wide(sub)->version <= version) {
        sub_remove(k, sub);
    }
    settle(k, stored, true);
}

/* ---- the watch ------------------------------------------------------------------------------------------------------ */

static void changed(struct store_watch *watch, const struct store_item *item)
{
    struct kernel *k = watch->ctx;
    struct bytes   client_id;
    struct bytes   filter;
    struct sub_row row;
    if (!tables_sub_key_split(item->key, &client_id, &filter) || !topic_filter_valid(filter)) {
        log_error("a stored subscription has a key that is not understood: passed over");
        return;
    }
    if (reader_filter(filter)) {
        return; /* only its session has to do with it */
    }
    if (item->deleted) {
        leave(k, client_id, filter, item->version);
        return;
    }
    if (!sub_row_read(item->value, &row) || !kernel_has_stripe(k, row.stream_id)) {
        log_error("a stored subscription is not understood: passed over");
        return;
    }
    (void)enter(k, client_id, filter, &row, item->version);
}

static bool generations_make(struct kernel *k, uint32_t shard_count)
{
    if (k->route_shards == 0) {
        k->route_generations = calloc(shard_count, sizeof *k->route_generations);
        k->route_synced      = calloc(shard_count, sizeof *k->route_synced);
        k->route_showing     = calloc(shard_count, sizeof *k->route_showing);
        if (k->route_generations == NULL || k->route_synced == NULL || k->route_showing == NULL) {
            return false;
        }
        k->route_shards   = shard_count;
        k->route_unsynced = shard_count;
    }
    ASSERT(k->route_shards == shard_count);
    return true;
}

static void restarted(struct store_watch *watch, uint32_t shard, uint32_t shard_count)
{
    struct kernel *k = watch->ctx;
    if (generations_make(k, shard_count)) {
        k->route_generations[shard]++;
        k->route_showing[shard] = true;
    }
}

static void synced(struct store_watch *watch, uint32_t shard, uint32_t shard_count)
{
    struct kernel *k = watch->ctx;
    if (!generations_make(k, shard_count)) {
        return;
    }
    k->route_showing[shard] = false;
    k->route_stale          = k->route_stale || k->route_generations[shard] != 1; /* the first time all is new */
    k->route_unsynced -= !k->route_synced[shard];
    k->route_synced[shard] = true;
    k->ready               = k->route_unsynced == 0;
}

/* Of one part or another; a part that is being shown is left for later. */
static bool is_stale(const struct kernel *k, uint64_t stream_id, uint16_t generation)
{
    uint32_t part = stream_id_stripe(stream_id) % k->route_shards;
    return !k->route_showing[part] && generation != k->route_generations[part];
}

static void flush_subs(struct kernel *k)
{
    for (uint32_t chain = 0; chain < hashmap_chains(&k->subs); chain++) {
        for (struct hashmap_node *n = hashmap_chain(&k->subs, chain); n != NULL;) {
            struct sub *sub = CONTAINER_OF(n, struct sub, by_key);
            n               = n->next;
            if (sub->link.kind == LINK_STORED && is_stale(k, sub->owner->stream_id, sub->link.spare)) {
                struct stored *stored = stored_of(sub->owner);
                sub_remove(k, sub);
                settle(k, stored, true);
            }
        }
    }
}

/* Many parts are shown again at a time, when a node is lost: one walk over all rows is for all of them. */
void route_flush(struct kernel *k)
{
    if (LIKELY(!k->route_stale)) {
        return;
    }
    k->route_stale = false;
    for (uint32_t chain = 0; chain < hashmap_chains(&k->stored); chain++) {
        for (struct hashmap_node *n = hashmap_chain(&k->stored, chain); n != NULL;) {
            struct stored *stored  = CONTAINER_OF(n, struct stored, by_id);
            bool           had_any = has_any(stored);
            uint32_t       part    = stream_id_stripe(stored->who.stream_id) % k->route_shards;
            n                      = n->next;
            if (!k->route_showing[part]) {
                remove_rows(k, stored, false, k->route_generations[part]);
                settle(k, stored, had_any);
            }
        }
    }
    flush_subs(k);
}

void route_start(struct kernel *k)
{
    k->routes = (struct store_watch){.changed = changed, .synced = synced, .restarted = restarted, .ctx = k};
    store_watch_start(k->store, &k->routes, TABLE_SUBSCRIPTIONS);
}

/* ---- what sessions here do ------------------------------------------------------------------------------------------- */

bool route_known(struct session *s, struct bytes filter, const struct sub_row *row, uint64_t version)
{
    return enter(s->kernel, session_id(s), filter, row, version);
}

bool route_changed(struct session *s, struct bytes filter, const struct sub_row *row, uint64_t version, bool deleted)
{
    struct kernel *k       = s->kernel;
    bool           entered = true;
    if (deleted) {
        leave(k, session_id(s), filter, UINT64_MAX);
    } else {
        entered = enter(k, session_id(s), filter, row, version);
    }
    struct stored *stored = deleted || topic_is_grouped(filter) ? NULL : stored_find(k, session_id(s));
    if (stored != NULL) {
        stored_attach(stored, s);
    }
    if (k->others == 0) {
        return entered;
    }
    struct wire_writer w = mail_begin();
    uint8_t            value[SUB_ROW_BYTES];
    wire_put_u8(&w, deleted ? ROUTE_DELETED : ROUTE_PUT);
    wire_put_blob(&w, session_id(s));
    wire_put_blob(&w, deleted ? (struct bytes){0} : sub_row_write(value, row));
    wire_put_bytes(&w, filter);
    mail_announce(k, MAIL_ROUTE, version, &w);
    return entered;
}

/* What is known of its subscriptions, or NULL. */
static struct stored *stored_by(struct session *s)
{
    struct stored *stored = session_stored(s) ? stored_find(s->kernel, session_id(s)) : NULL;
    return stored == NULL || stored->who.stream_id != s->who.stream_id ? NULL : stored;
}

bool route_has(struct session *s, struct bytes filter)
{
    struct stored *stored = topic_is_grouped(filter) ? NULL : stored_by(s);
    return stored != NULL &&
           (row_find(s->kernel, stored, filter) != ROWS_NONE || sub_of(s->kernel, stored, filter) != NULL);
}

void route_each(struct session *s, void (*each)(void *ctx, struct bytes filter, uint8_t qos), void *ctx)
{
    struct kernel       *k      = s->kernel;
    const struct stored *stored = stored_by(s);
    for (uint32_t i = 0; stored != NULL && i < stored->rows.size; i++) {
        if (stored->rows.slots[i] != ROWS_NONE) {
            const struct row *row = rows_at(&k->rows, stored->rows.slots[i]);
            each(ctx, row_filter(row), row->flags & SUB_QOS);
        }
    }
    if (stored == NULL) {
        return;
    }
    LIST_EACH (&stored->who.subs, link) {
        const struct sub *sub = CONTAINER_OF(link, struct sub, of_owner);
        if (sub_group(sub) == NULL) {
            each(ctx, sub_filter(k, sub), sub->link.flags & SUB_QOS);
        }
    }
}

void route_forget(struct kernel *k, struct bytes client_id, uint64_t stream_id)
{
    struct stored *stored = stored_find(k, client_id);
    if (stored != NULL && stored->who.stream_id == stream_id) {
        bool had_any = has_any(stored);
        remove_all(k, stored);
        settle(k, stored, had_any);
    }
}

uint64_t route_shares(struct kernel *k, struct bytes client_id)
{
    struct stored *stored = stored_find(k, client_id);
    if (stored != NULL) {
        LIST_EACH (&stored->who.subs, link) {
            const struct group *g = sub_group(CONTAINER_OF(link, struct sub, of_owner));
            if (g != NULL && !g->exclusive) {
                return stored->who.stream_id;
            }
        }
    }
    return 0;
}

/* ---- a publish ------------------------------------------------------------------------------------------------------- */

void route_fetch(const struct kernel *k, const struct interest_question *q)
{
    if (k->rows.count == 0) {
        return;
    }
    rows_fetch_first(&k->rows, (uint32_t)q->exact);
    for (uint32_t i = 0; i < q->count; i++) {
        rows_fetch_first(&k->rows, (uint32_t)q->keys[i]);
    }
}

uint32_t route_match(const struct kernel *k, const struct interest_question *q, struct bytes topic,
                     uint32_t out_rows[SHAPES_MAX + 1])
{
    uint32_t found = 0;
    if (k->rows.count == 0) {
        return 0;
    }
    for (uint32_t i = 0; i <= q->count; i++) {
        uint32_t at = rows_first(&k->rows, (uint32_t)(i < q->count ? q->keys[i] : q->exact));
        for (; at != ROWS_NONE; at = rows_other(&k->rows, at)) {
            const struct row *row    = rows_at(&k->rows, at);
            struct bytes      filter = row_filter(row);
            if (i < q->count ? shapes_fits(&k->shapes, q->shapes[i], filter, topic) : bytes_equal(filter, topic)) {
                __builtin_prefetch(stored_of_rows(row->owner));
                out_rows[found++] = at;
                break;
            }
        }
    }
    return found;
}

/* ---- other shards ---------------------------------------------------------------------------------------------------- */

struct wire_writer route_presence(struct bytes client_id, bool there)
{
    struct wire_writer w = mail_begin();
    wire_put_u8(&w, there ? ROUTE_PRESENT : ROUTE_ABSENT);
    wire_put_blob(&w, client_id);
    wire_put_blob(&w, (struct bytes){0});
    return w;
}

void route_receive(struct kernel *k, unsigned from, const struct kernel_mail *mail)
{
    struct wire_reader r         = mail_read(mail);
    uint8_t            what      = wire_get_u8(&r);
    struct bytes       client_id = wire_get_blob(&r);
    struct bytes       value     = wire_get_blob(&r);
    struct bytes       filter    = wire_get(&r, wire_left(&r));
    struct sub_row     row;
    ASSERT(!r.bad);
    if (what == ROUTE_DELETED) {
        leave(k, client_id, filter, UINT64_MAX);
        return;
    }
    if (what != ROUTE_PUT || !topic_is_grouped(filter)) {
        stored_seen(k, from, client_id, what != ROUTE_ABSENT);
    }
    if (what != ROUTE_PUT) {
        return;
    }
    bool read = sub_row_read(value, &row);
    ASSERT(read);
    if (k->route_shards != 0) {
        (void)enter(k, client_id, filter, &row, mail->value);
    } /* else the watch has not begun here: it will show the row */
}

void route_fini(struct kernel *k)
{
    struct hashmap_node *n;
    while ((n = hashmap_any(&k->stored)) != NULL) {
        struct stored *stored = CONTAINER_OF(n, struct stored, by_id);
        remove_all(k, stored);
        stored->at = 0;
        stored_settle(k, stored);
    }
    free(k->route_generations);
    free(k->route_synced);
    free(k->route_showing);
    rows_fini(&k->rows);
}
