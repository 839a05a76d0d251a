/* group - who is in one; who gets a message is chosen in choose.c. */
#include "broker/kernel/group.h"

#include "broker/kernel/mail.h"
#include "broker/kernel/standing.h"
#include "broker/kernel/topic.h"
#include "shared/base/err.h"
#include "shared/base/hash.h"

#include <stdlib.h>

struct group *group_hashed(struct kernel *k, uint64_t hash)
{
    for (struct hashmap_node *n = hashmap_first(&k->groups, hash); n != NULL; n = hashmap_next(n)) {
        struct group *g = CONTAINER_OF(n, struct group, by_filter);
        if (hash_bytes(group_filter(g)) == hash) {
            return g;
        }
    }
    return NULL;
}

struct group *group_find(struct kernel *k, struct bytes filter)
{
    for (struct hashmap_node *n = hashmap_first(&k->groups, hash_bytes(filter)); n != NULL; n = hashmap_next(n)) {
        struct group *g = CONTAINER_OF(n, struct group, by_filter);
        if (bytes_equal(group_filter(g), filter)) {
            return g;
        }
    }
    return NULL;
}

struct group *group_make(struct kernel *k, struct bytes filter)
{
    struct group *g = group_find(k, filter);
    if (g != NULL) {
        return g;
    }
    struct bytes name;
    struct bytes rest;
    bool         shared = topic_group_split(filter, &name, &rest);
    ASSERT(shared);
    g = calloc(1, sizeof *g + filter.size);
    if (g == NULL) {
        return NULL;
    }
    memcpy(g->filter, filter.data, filter.size);
    g->exclusive = name.size == 0;
    g->strategy  = (uint8_t)share_strategy_of(k->limits.share, name);
    g->link.kind = LINK_GROUP;
    if (hashmap_insert(&k->groups, &g->by_filter, hash_bytes(filter)) != 0) {
        free(g);
        return NULL;
    }
    g->by_filter.extra = (uint32_t)filter.size;
    if (match_add(k->tree, rest, &g->link) != 0) {
        hashmap_remove(&k->groups, &g->by_filter);
        free(g);
        return NULL;
    }
    return g;
}

void group_free(struct kernel *k, struct group *g)
{
    while (g->member_count != 0) {
        standing_unref(k, g->members[--g->member_count].standing);
    }
    match_remove(k->tree, &g->link);
    hashmap_remove(&k->groups, &g->by_filter);
    free(g->members);
    free(g);
}

void group_settle(struct kernel *k, struct group *g)
{
    if (group_empty(g) && g->held == 0) {
        group_free(k, g);
    }
}

static struct member *member_find(const struct group *g, unsigned shard, uint64_t serial)
{
    for (uint32_t i = 0; i < g->member_count; i++) {
        if (g->members[i].serial == serial && g->members[i].shard == shard) {
            return &g->members[i];
        }
    }
    return NULL;
}

const struct member *group_member(const struct group *g, unsigned shard, uint64_t serial)
{
    return member_find(g, shard, serial);
}

/* The same order on every shard. */
static bool before(const struct member *a, const struct member *b)
{
    if (a->since_ns != b->since_ns) {
        return a->since_ns < b->since_ns;
    }
    return a->who < b->who;
}

static bool member_room(struct group *g)
{
    if (g->member_count == g->member_capacity) {
        uint32_t       capacity = g->member_capacity == 0 ? 4 : g->member_capacity * 2;
        struct member *members  = realloc(g->members, capacity * sizeof *members);
        if (members == NULL) {
            return false;
        }
        g->members         = members;
        g->member_capacity = capacity;
    }
    return true;
}

int group_join(struct kernel *k, struct group *g, const struct member *member)
{
    struct member *m = member_find(g, member->shard, member->serial);
    if (m != NULL) {
        m->stream_id = member->stream_id;
        m->flags     = member->flags;
        m->sub_id    = member->sub_id;
        return 0;
    }
    struct standing *standing = member_room(g) ? standing_ref(k, member->shard, member->serial) : NULL;
    if (standing == NULL) {
        return ERR_FULL;
    }
    uint32_t at = g->member_count;
    while (at != 0 && before(member, &g->members[at - 1])) {
        at--;
    }
    memmove(&g->members[at + 1], &g->members[at], (g->member_count - at) * sizeof *m);
    g->member_count++;
    g->changes++;
    g->turn += at < g->turn;
    g->members[at]          = *member;
    g->members[at].standing = standing;
    standing->counted       = standing->counted || g->strategy == SHARE_LEAST_INFLIGHT;
    return 0;
}

void group_leave(struct kernel *k, struct group *g, unsigned shard, uint64_t serial)
{
    struct member *m = member_find(g, shard, serial);
    if (m != NULL) {
        uint32_t at = (uint32_t)(m - g->members);
        standing_unref(k, m->standing);
        g->member_count--;
        g->changes++;
        memmove(m, m + 1, (g->member_count - at) * sizeof *m);
        g->turn -= at < g->turn;
    }
    group_settle(k, g);
}

void group_stored_add(struct group *g, struct sub *sub)
{
    struct match_link *link = &sub->link;
    link->next              = g->stored;
    link->place             = &g->stored;
    if (link->next != NULL) {
        link->next->place = &link->next;
    }
    g->stored = link;
    g->stored_count++;
    g->changes++;
}

void group_stored_remove(struct group *g, struct sub *sub)
{
    struct match_link *link = &sub->link;
    *link->place            = link->next;
    if (link->next != NULL) {
        link->next->place = link->place;
    }
    link->next  = NULL;
    link->place = NULL;
    g->stored_count--;
    g->changes++;
}

uint64_t group_who(const struct kernel *k, uint64_t serial)
{
    return hash_u64(store_owner(k->store) ^ hash_u64(serial));
}

static struct wire_writer of_member(const struct group *g, bool joined, const struct member *m)
{
    struct wire_writer w = mail_begin();
    wire_put_u8(&w, joined);
    wire_put_u8(&w, m->flags);
    wire_put_u32(&w, m->sub_id);
    wire_put_u64(&w, m->stream_id);
    wire_put_u64(&w, m->since_ns);
    wire_put_u64(&w, m->who);
    wire_put_u64(&w, m->client);
    wire_put_bytes(&w, group_filter(g));
    return w;
}

void group_announce(struct kernel *k, const struct group *g, bool joined, const struct member *m)
{
    if (k->others != 0) {
        struct wire_writer w = of_member(g, joined, m);
        mail_announce(k, MAIL_MEMBER, m->serial, &w);
    }
}

void group_tell(struct kernel *k, unsigned shard)
{
    for (uint32_t chain = 0; chain < hashmap_chains(&k->groups); chain++) {
        for (struct hashmap_node *n = hashmap_chain(&k->groups, chain); n != NULL; n = n->next) {
            const struct group *g = CONTAINER_OF(n, struct group, by_filter);
            for (uint32_t i = 0; i < g->member_count; i++) {
                struct wire_writer w = of_member(g, true, &g->members[i]);
                if (g->members[i].shard != k->shard) {
                    wire_writer_fini(&w);
                } else if (mail_post(k, shard, MAIL_MEMBER, g->members[i].serial, &w)) {
                    k->out[shard].announced++;
                }
            }
        }
    }
}

static const struct member *member_of(const struct group *g, unsigned shard)
{
    for (uint32_t i = 0; i < g->member_count; i++) {
        if (g->members[i].shard == shard) {
            return &g->members[i];
        }
    }
    return NULL;
}

/* One of this chain that has members there, or NULL. */
static struct group *with_member_of(struct kernel *k, uint32_t chain, unsigned shard)
{
    for (struct hashmap_node *n = hashmap_chain(&k->groups, chain); n != NULL; n = n->next) {
        struct group *g = CONTAINER_OF(n, struct group, by_filter);
        if (member_of(g, shard) != NULL) {
            return g;
        }
    }
    return NULL;
}

void group_lost(struct kernel *k, unsigned shard)
{
    struct group *g;
    for (uint32_t chain = 0; chain < hashmap_chains(&k->groups); chain++) {
        while ((g = with_member_of(k, chain, shard)) != NULL) { /* the last one to leave may take it along */
            group_leave(k, g, shard, member_of(g, shard)->serial);
        }
    }
}

void group_receive(struct kernel *k, unsigned from, const struct kernel_mail *mail)
{
    struct wire_reader r      = mail_read(mail);
    bool               joined = wire_get_u8(&r) != 0;
    struct member      m      = {.shard = (uint16_t)from, .serial = mail->value};
    m.flags                   = wire_get_u8(&r);
    m.sub_id                  = wire_get_u32(&r);
    m.stream_id               = wire_get_u64(&r);
    m.since_ns                = wire_get_u64(&r);
    m.who                     = wire_get_u64(&r);
    m.client                  = wire_get_u64(&r);
    struct bytes filter       = wire_get(&r, wire_left(&r));
    ASSERT(!r.bad);
    struct group *g = joined ? group_make(k, filter) : group_find(k, filter);
    if (g == NULL) {
        return; /* no memory: this shard does not choose that member */
    }
    if (!joined) {
        group_leave(k, g, from, mail->value);
    } else if (group_join(k, g, &m) != 0) {
        group_settle(k, g);
    }
}
