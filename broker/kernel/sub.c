/* sub - one table finds a subscription by its owner and its place in the tree. */
#include "broker/kernel/sub.h"

#include "broker/kernel/exclusive.h"
#include "broker/kernel/group.h"
#include "broker/kernel/interest.h"
#include "broker/kernel/session.h"
#include "broker/kernel/stored.h"
#include "broker/kernel/topic.h"
#include "shared/base/hash.h"

#include <stdlib.h>

static uint64_t key_hash(const struct subscriber *owner, uint32_t node, const struct group *group)
{
    return hash_u64((uint64_t)(uintptr_t)owner ^ ((uint64_t)node << 32) ^ ((uint64_t)(uintptr_t)group * 31));
}

static struct sub *find_at(struct kernel *k, const struct subscriber *owner, uint32_t node, const struct group *group)
{
    for (struct hashmap_node *n = hashmap_first(&k->subs, key_hash(owner, node, group)); n != NULL;
         n                      = hashmap_next(n)) {
        struct sub *sub = CONTAINER_OF(n, struct sub, by_key);
        if (sub->owner == owner && sub->link.node == node && sub_group(sub) == group) {
            return sub;
        }
    }
    return NULL;
}

struct sub *sub_find(struct kernel *k, const struct subscriber *owner, struct bytes filter)
{
    if (topic_is_grouped(filter)) {
        struct group *g = group_find(k, filter);
        return g == NULL ? NULL : find_at(k, owner, MATCH_NONE, g);
    }
    uint32_t node = match_node(k->tree, filter);
    return node == MATCH_NONE ? NULL : find_at(k, owner, node, NULL);
}

struct bytes sub_filter(struct kernel *k, const struct sub *sub)
{
    size_t size = match_filter(k->tree, sub->link.node, k->key, sizeof k->key);
    ASSERT(size <= sizeof k->key);
    return bytes_of(k->key, size);
}

/* ---- put and remove ----------------------------------------------------------------------------------------------- */

static bool announced(const struct kernel *k, const struct sub *sub)
{
    return sub->link.kind == LINK_LIVE && k->tracking;
}

/* Enters a live subscription, whose options are set, into what the group or the other shards know. False: no memory. */
static bool live_in(struct kernel *k, struct sub *sub)
{
    const struct session *s     = session_of(sub->owner);
    struct group         *group = sub_group(sub);
    if (group != NULL) {
        struct member me = {
            .serial    = s->serial,
            .stream_id = s->who.stream_id,
            .since_ns  = k->wall_ns,
            .who       = group_who(k, s->serial),
            .client    = hash_bytes(session_id(s)),
            .sub_id    = sub->by_key.extra,
            .shard     = (uint16_t)k->shard,
            .flags     = sub->link.flags,
        };
        if (group_join(k, group, &me) != 0) {
            return false;
        }
        group_announce(k, group, true, group_member(group, k->shard, s->serial));
        return true;
    }
    return !announced(k, sub) || interest_in(k, sub->link.node);
}

static void live_out(struct kernel *k, struct sub *sub)
{
    const struct session *s     = session_of(sub->owner);
    struct group         *group = sub_group(sub);
    if (group != NULL) {
        group_announce(k, group, false, group_member(group, k->shard, s->serial));
        if (group->exclusive) {
            exclusive_release(k, s->serial, group_filter(group));
        }
        return; /* the member itself goes last: it may take the group with it */
    }
    if (announced(k, sub)) {
        interest_out(k, sub->link.node);
    }
}

/* One came (step 1) or went (step -1), its owner's count being right already. */
static void count(struct kernel *k, const struct sub *sub, int step)
{
    struct kernel_counters *c = &k->counters;
    uint64_t                n = (uint64_t)step;
    if (sub->link.kind == LINK_STORED) {
        if (sub_group(sub) == NULL) {
            stored_count(k, stored_of(sub->owner), step);
        } else {
            c->stored_subscriptions += n;
        }
        return;
    }
    c->subscriptions += n;
    if (sub->owner->stream_id != 0) {
        c->stored_subscriptions_open += n;
        if (sub->owner->sub_count == (step > 0 ? 1 : 0)) {
            c->stored_sessions_open += n;
        }
    }
}

static struct sub *sub_new(struct kernel *k, struct subscriber *owner, enum link_kind kind, struct bytes filter)
{
    bool          shared = topic_is_grouped(filter);
    struct group *group  = NULL;
    struct sub   *sub    = calloc(1, shared || kind == LINK_STORED ? sizeof(struct sub_wide) : sizeof *sub);
    if (sub == NULL) {
        return NULL;
    }
    sub->link.kind = (uint8_t)kind;
    sub->owner     = owner;
    if (shared) {
        group = sub_wide(sub)->group = group_make(k, filter);
        if (group == NULL) {
            free(sub);
            return NULL;
        }
        if (kind == LINK_STORED) {
            group_stored_add(group, sub);
        }
    } else if (match_add(k->tree, filter, &sub->link) != 0) {
        free(sub);
        return NULL;
    }
    if (hashmap_insert(&k->subs, &sub->by_key, key_hash(owner, sub->link.node, group)) != 0) {
        if (group != NULL && kind == LINK_STORED) {
            group_stored_remove(group, sub);
        }
        if (group != NULL) {
            group_settle(k, group);
        }
        match_remove(k->tree, &sub->link);
        free(sub);
        return NULL;
    }
    list_push_back(&owner->subs, &sub->of_owner);
    owner->sub_count++;
    count(k, sub, 1);
    return sub;
}

/* Takes a subscription out whose announcements are undone already. */
static void sub_drop(struct kernel *k, struct sub *sub)
{
    struct group *group = sub_group(sub);
    list_remove(&sub->of_owner);
    sub->owner->sub_count--;
    count(k, sub, -1);
    hashmap_remove(&k->subs, &sub->by_key);
    match_remove(k->tree, &sub->link);
    if (group != NULL) {
        if (sub->link.kind == LINK_STORED) {
            group_stored_remove(group, sub);
            group_settle(k, group);
        } else {
            group_leave(k, group, k->shard, session_of(sub->owner)->serial);
        }
    }
    free(sub);
}

struct sub *sub_put(struct kernel *k, struct subscriber *owner, enum link_kind kind, struct bytes filter, uint8_t flags,
                    uint32_t id)
{
    struct sub *sub    = sub_find(k, owner, filter);
    bool        is_new = sub == NULL;
    if (is_new) {
        sub = sub_new(k, owner, kind, filter);
        if (sub == NULL) {
            return NULL;
        }
    }
    sub->link.flags   = flags;
    sub->by_key.extra = id;
    bool told         = !is_new && sub_group(sub) == NULL; /* its options do not matter to others */
    if (kind == LINK_LIVE && !told && !live_in(k, sub)) {
        sub_drop(k, sub);
        return NULL;
    }
    return sub;
}

void sub_remove(struct kernel *k, struct sub *sub)
{
    if (sub->link.kind == LINK_LIVE) {
        live_out(k, sub);
    }
    sub_drop(k, sub);
}

void sub_remove_all(struct kernel *k, struct subscriber *owner)
{
    while (!list_empty(&owner->subs)) {
        sub_remove(k, CONTAINER_OF(owner->subs.next, struct sub, of_owner));
    }
}
