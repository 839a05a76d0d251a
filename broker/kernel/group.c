/* group - turns are taken by moving the chosen one to the end of its list. */
#include "broker/kernel/group.h"

#include "broker/kernel/mail.h"
#include "broker/kernel/topic.h"
#include "shared/base/err.h"
#include "shared/base/hash.h"

#include <stdlib.h>

static struct bytes filter_of(const struct group *g)
{
    return bytes_of(g->filter, g->by_filter.extra);
}

struct group *group_find(struct kernel *k, struct bytes filter)
{
    for (struct hashmap_node *n = hashmap_first(&k->groups, hash_bytes(filter)); n != NULL; n = hashmap_next(n)) {
        struct group *g = CONTAINER_OF(n, struct group, by_filter);
        if (bytes_equal(filter_of(g), filter)) {
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
    bool         shared = topic_share_split(filter, &name, &rest);
    ASSERT(shared);
    g = calloc(1, sizeof *g + filter.size);
    if (g == NULL) {
        return NULL;
    }
    memcpy(g->filter, filter.data, filter.size);
    list_init(&g->members);
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

void group_settle(struct kernel *k, struct group *g)
{
    if (!list_empty(&g->members) || g->stored != NULL) {
        return;
    }
    match_remove(k->tree, &g->link);
    hashmap_remove(&k->groups, &g->by_filter);
    free(g);
}

static struct member *member_find(struct group *g, unsigned shard, uint64_t serial)
{
    LIST_EACH (&g->members, link) {
        struct member *m = CONTAINER_OF(link, struct member, link);
        if (m->serial == serial && m->shard == shard) {
            return m;
        }
    }
    return NULL;
}

int group_join(struct kernel *k, struct group *g, unsigned shard, uint64_t serial, uint64_t stream_id, uint8_t flags,
               uint32_t sub_id)
{
    (void)k;
    struct member *m = member_find(g, shard, serial);
    if (m == NULL) {
        m = calloc(1, sizeof *m);
        if (m == NULL) {
            return ERR_FULL;
        }
        list_push_back(&g->members, &m->link);
    }
    m->shard     = (uint16_t)shard;
    m->serial    = serial;
    m->stream_id = stream_id;
    m->flags     = flags;
    m->sub_id    = sub_id;
    return 0;
}

void group_leave(struct kernel *k, struct group *g, unsigned shard, uint64_t serial)
{
    struct member *m = member_find(g, shard, serial);
    if (m != NULL) {
        list_remove(&m->link);
        free(m);
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
}

struct group_choice group_choose(struct group *g)
{
    struct group_choice choice = {0};
    if (!list_empty(&g->members)) {
        struct list *first = list_pop_front(&g->members);
        list_push_back(&g->members, first);
        choice.member = CONTAINER_OF(first, struct member, link);
        return choice;
    }
    if (g->stored == NULL) {
        return choice;
    }
    struct match_link *first = g->stored;
    choice.stored            = CONTAINER_OF(first, struct sub, link);
    if (first->next != NULL) {
        /* The list hangs together by place pointers only: find the end once. Members of one group that are all offline are few. */
        struct match_link *last = first;
        while (last->next != NULL) {
            last = last->next;
        }
        g->stored        = first->next;
        g->stored->place = &g->stored;
        last->next       = first;
        first->place     = &last->next;
        first->next      = NULL;
    }
    return choice;
}

void group_announce(struct kernel *k, const struct group *g, bool joined, uint64_t serial, uint64_t stream_id,
                    uint8_t flags, uint32_t sub_id)
{
    if (k->shard_count == 1) {
        return;
    }
    struct wire_writer w = mail_begin();
    wire_put_u8(&w, joined);
    wire_put_u8(&w, flags);
    wire_put_u32(&w, sub_id);
    wire_put_u64(&w, stream_id);
    wire_put_bytes(&w, filter_of(g));
    mail_announce(k, MAIL_MEMBER, serial, &w);
}

void group_receive(struct kernel *k, unsigned from, const struct kernel_mail *mail)
{
    struct wire_reader r         = mail_read(mail);
    bool               joined    = wire_get_u8(&r) != 0;
    uint8_t            flags     = wire_get_u8(&r);
    uint32_t           sub_id    = wire_get_u32(&r);
    uint64_t           stream_id = wire_get_u64(&r);
    struct bytes       filter    = wire_get(&r, wire_left(&r));
    ASSERT(!r.bad);
    struct group *g = joined ? group_make(k, filter) : group_find(k, filter);
    if (g == NULL) {
        return; /* no memory: this shard does not choose that member */
    }
    if (!joined) {
        group_leave(k, g, from, mail->value);
    } else if (group_join(k, g, from, mail->value, stream_id, flags, sub_id) != 0) {
        group_settle(k, g);
    }
}
