/* route - rows of the subscriptions table into LINK_STORED. */
#include "broker/kernel/route.h"

#include "broker/kernel/group.h"
#include "broker/kernel/mail.h"
#include "broker/kernel/reader.h"
#include "broker/kernel/sub.h"
#include "broker/kernel/topic.h"
#include "shared/base/hash.h"
#include "shared/base/log.h"
#include "shared/rpc/op.h"

#include <stdlib.h>

static struct stored *stored_find(struct kernel *k, struct bytes id)
{
    for (struct hashmap_node *n = hashmap_first(&k->stored, hash_bytes(id)); n != NULL; n = hashmap_next(n)) {
        struct stored *stored = CONTAINER_OF(n, struct stored, by_id);
        if (bytes_equal(bytes_of(stored->id, n->extra), id)) {
            return stored;
        }
    }
    return NULL;
}

static struct stored *stored_make(struct kernel *k, struct bytes id)
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
    k->counters.stored_sessions++;
    list_init(&stored->who.subs);
    return stored;
}

static void stored_settle(struct kernel *k, struct stored *stored)
{
    if (list_empty(&stored->who.subs)) {
        k->counters.stored_sessions--;
        hashmap_remove(&k->stored, &stored->by_id);
        free(stored);
    }
}

static void remove_sub(struct kernel *k, struct sub *sub)
{
    struct stored *stored = CONTAINER_OF(sub->owner, struct stored, who);
    sub_remove(k, sub);
    stored_settle(k, stored);
}

static void enter(struct kernel *k, struct bytes client_id, struct bytes filter, const struct sub_row *row,
                  uint64_t version)
{
    struct stored *stored = stored_make(k, client_id);
    if (stored == NULL) {
        log_error("no memory for a stored subscription");
        return;
    }
    uint16_t    generation = k->route_generations[stream_id_stripe(row->stream_id) % k->route_shards];
    struct sub *sub        = sub_find(k, &stored->who, filter);
    if (sub == NULL || sub_wide(sub)->version <= version) {
        stored->who.stream_id = row->stream_id;
        sub                   = sub_put(k, &stored->who, LINK_STORED, filter, row->flags, row->id);
        if (sub == NULL) {
            log_error("no memory for a stored subscription");
            stored_settle(k, stored);
            return;
        }
        sub_wide(sub)->version = version;
    }
    sub->link.spare = generation;
}

static void leave(struct kernel *k, struct bytes client_id, struct bytes filter, uint64_t version)
{
    struct stored *stored = stored_find(k, client_id);
    struct sub    *sub    = stored == NULL ? NULL : sub_find(k, &stored->who, filter);
    if (sub != NULL && sub_wide(sub)->version <= version) {
        remove_sub(k, sub);
    }
}

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
    enter(k, client_id, filter, &row, item->version);
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

/* Many parts are shown again at a time, when a node is lost: one walk over all rows is for all of them. */
void route_flush(struct kernel *k)
{
    if (LIKELY(!k->route_stale)) {
        return;
    }
    k->route_stale = false;
    for (uint32_t chain = 0; chain < hashmap_chains(&k->subs); chain++) {
        for (struct hashmap_node *n = hashmap_chain(&k->subs, chain); n != NULL;) {
            struct sub *sub  = CONTAINER_OF(n, struct sub, by_key);
            uint32_t    part = stream_id_stripe(sub->owner->stream_id) % k->route_shards;
            n                = n->next;
            if (sub->link.kind == LINK_STORED && !k->route_showing[part] &&
                sub->link.spare != k->route_generations[part]) {
                remove_sub(k, sub);
            }
        }
    }
}

void route_start(struct kernel *k)
{
    k->routes = (struct store_watch){.changed = changed, .synced = synced, .restarted = restarted, .ctx = k};
    store_watch_start(k->store, &k->routes, TABLE_SUBSCRIPTIONS);
}

void route_changed(struct kernel *k, struct bytes client_id, struct bytes filter, const struct sub_row *row,
                   uint64_t version, bool deleted)
{
    if (deleted) {
        leave(k, client_id, filter, UINT64_MAX);
    } else {
        enter(k, client_id, filter, row, version);
    }
    if (k->others == 0) {
        return;
    }
    struct wire_writer w = mail_begin();
    uint8_t            value[SUB_ROW_BYTES];
    wire_put_u8(&w, deleted);
    wire_put_blob(&w, client_id);
    wire_put_blob(&w, deleted ? (struct bytes){0} : sub_row_write(value, row));
    wire_put_bytes(&w, filter);
    mail_announce(k, MAIL_ROUTE, version, &w);
}

void route_forget(struct kernel *k, struct bytes client_id, uint64_t stream_id)
{
    struct stored *stored = stored_find(k, client_id);
    if (stored != NULL && stored->who.stream_id == stream_id) {
        sub_remove_all(k, &stored->who);
        stored_settle(k, stored);
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

void route_receive(struct kernel *k, const struct kernel_mail *mail)
{
    struct wire_reader r         = mail_read(mail);
    bool               deleted   = wire_get_u8(&r) != 0;
    struct bytes       client_id = wire_get_blob(&r);
    struct bytes       value     = wire_get_blob(&r);
    struct bytes       filter    = wire_get(&r, wire_left(&r));
    struct sub_row     row;
    ASSERT(!r.bad);
    if (deleted) {
        leave(k, client_id, filter, UINT64_MAX);
        return;
    }
    bool read = sub_row_read(value, &row);
    ASSERT(read);
    if (k->route_shards != 0) {
        enter(k, client_id, filter, &row, mail->value);
    } /* else the watch has not begun here: it will show the row */
}

void route_fini(struct kernel *k)
{
    struct hashmap_node *n;
    while ((n = hashmap_any(&k->stored)) != NULL) {
        struct stored *stored = CONTAINER_OF(n, struct stored, by_id);
        sub_remove_all(k, &stored->who);
        stored_settle(k, stored);
    }
    free(k->route_generations);
    free(k->route_synced);
    free(k->route_showing);
}
