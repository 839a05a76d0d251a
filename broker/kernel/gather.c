/* gather - see gather.h. */
#include "broker/kernel/gather.h"

#include "broker/kernel/assign.h"
#include "broker/kernel/capture.h"
#include "broker/kernel/far.h"
#include "broker/kernel/group.h"
#include "broker/kernel/interest.h"
#include "broker/kernel/mail.h"
#include "broker/kernel/route.h"
#include "broker/kernel/stored.h"
#include "broker/kernel/sub.h"
#include "shared/base/hash.h"
#include "shared/base/log.h"

#include <stdlib.h>

static struct target *target_add(struct kernel *k)
{
    if (k->target_count == k->target_capacity) {
        uint32_t       capacity = k->target_capacity == 0 ? 64 : k->target_capacity * 2;
        struct target *targets  = realloc(k->targets, capacity * sizeof *targets);
        if (targets == NULL) {
            log_error("no memory for the targets of a publish");
            k->counters.dropped++;
            return NULL;
        }
        k->targets         = targets;
        k->target_capacity = capacity;
    }
    struct target *t = &k->targets[k->target_count++];
    *t               = (struct target){.more = TARGET_NONE, .in_stripe = TARGET_NONE};
    return t;
}

/* Subscriptions of one subscriber hang together: it gets one copy [MQTT-3.3.4-2]. Returns the target that is its first, or NULL when it is not the first. */
static struct target *gather_one(struct kernel *k, struct subscriber *owner, uint8_t flags, uint32_t sub_id)
{
    struct target *t = target_add(k);
    if (t == NULL) {
        return NULL;
    }
    uint32_t at = (uint32_t)(t - k->targets);
    t->own      = true;
    t->flags    = flags;
    t->sub_id   = sub_id;
    if (owner->mark == k->mark) {
        struct target *head = &k->targets[owner->slot];
        t->chained          = true;
        t->more             = head->more;
        head->more          = at;
        return NULL;
    }
    owner->mark = k->mark;
    owner->slot = at;
    return t;
}

static void gather_live(struct kernel *k, struct sub *sub)
{
    struct target *t = gather_one(k, sub->owner, sub->link.flags, sub->by_key.extra);
    if (t != NULL) {
        t->session = session_of(sub->owner);
    }
}

/* A publish on its way through gather. */
struct gathering {
    const struct message *message;
    uint64_t              from_stream; /* of the stored session that sent it, or 0 */
    bool                  here_only;
};

/* A subscription of a stored session: its stream gets QoS 1 and 2, it itself, where it is connected, what is QoS 0 to it. */
static void gather_stored(struct kernel *k, const struct gathering *g, struct stored *stored, uint8_t flags,
                          uint32_t sub_id, struct found *found)
{
    if ((flags & SUB_NO_LOCAL) != 0 && g->from_stream != 0 && stored->who.stream_id == g->from_stream) {
        return;
    }
    struct session *here = stored_session(stored);
    bool            kept = g->message->qos != 0 && !g->here_only;
    found->any           = true;
    if (!g->here_only && qos_lower(g->message->qos, flags & SUB_QOS) == 0) {
        found->shards |= stored->at;
    }
    struct target *t = kept || here != NULL ? gather_one(k, &stored->who, flags, sub_id) : NULL;
    if (t != NULL) {
        t->session   = here;
        t->stream_id = kept ? stored->who.stream_id : 0;
    }
}

static void gather_rows(struct kernel *k, const struct gathering *g, const struct interest_question *question,
                        struct found *found)
{
    uint32_t heads[SHAPES_MAX + 1];
    uint32_t count = route_match(k, question, g->message->topic, heads);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t at = heads[i];
        do {
            const struct row *row = rows_at(&k->rows, at);
            gather_stored(k, g, stored_of_rows(row->owner), (uint8_t)row->flags, row->id, found);
            at = row->next;
        } while (at != heads[i]);
    }
}

/* Others could have what one of them is given: not so of an exclusive subscriber. */
static bool alike(const struct group *g)
{
    return g != NULL && !g->exclusive;
}

bool gather_asks(const struct kernel *k, const struct group *g, unsigned shard, uint8_t qos)
{
    return UNLIKELY(far_shard(k, shard)) && qos == 2 && alike(g);
}

bool gather_mail_member(struct kernel *k, const struct to_member *to, struct pending *pending,
                        const struct message *message)
{
    struct group      *g     = to->group;
    bool               twice = qos_lower(message->qos, to->flags & SUB_QOS) < 2; /* it may be sent [MQTT-4.8.2-5] */
    struct wire_writer w     = mail_begin();
    wire_put_u8(&w, to->flags);
    wire_put_u32(&w, to->sub_id);
    wire_put_blob(&w, g == NULL ? (struct bytes){0} : group_filter(g));
    message_write(&w, message);
    if (to->number.writer != 0) {
        marks_write(&w, to->number);
    }
    if (!mail_post(k, to->shard, MAIL_PUBLISH_MEMBER, to->serial, &w)) {
        return false;
    }
    far_sent(k, to->shard, pending, message, alike(g) && twice ? g : NULL);
    return true;
}

/* No Local, which an exclusive subscription may have: is it the publisher itself who has it? */
static bool is_own(const struct group_choice *choice, const struct kernel *k, const struct session *from)
{
    if (from == NULL) {
        return false;
    }
    if (choice->member != NULL) {
        return (choice->member->flags & SUB_NO_LOCAL) != 0 && choice->member->shard == k->shard &&
               choice->member->serial == from->serial;
    }
    return choice->stored != NULL && (choice->stored->link.flags & SUB_NO_LOCAL) != 0 && from->who.stream_id != 0 &&
           choice->stored->owner->stream_id == from->who.stream_id;
}

struct group_choice gather_choose(struct kernel *k, struct group *g, const struct message *message,
                                  const struct session *from)
{
    bool                  by_client = g->strategy == SHARE_HASH_CLIENT && from != NULL;
    struct group_question question  = {.topic     = message->topic,
                                       .publisher = by_client ? hash_bytes(session_id(from)) : 0};
    struct group_choice   choice    = group_choose(k, g, &question);
    return g->exclusive && is_own(&choice, k, from) ? (struct group_choice){0} : choice;
}

struct target *gather_member(struct kernel *k, struct session *session, struct group *g, uint8_t flags, uint32_t sub_id)
{
    struct target *t = target_add(k);
    if (t != NULL) {
        t->session = session;
        t->group   = g == NULL || g->exclusive ? NULL : g; /* nobody else could get it */
        t->flags   = flags;
        t->sub_id  = sub_id;
    }
    return t;
}

void gather_group(struct kernel *k, struct group *g, const struct message *message, const struct session *from)
{
    struct group_choice  choice = gather_choose(k, g, message, from);
    const struct member *m      = choice.member;
    if (m == NULL && choice.stored == NULL) {
        return;
    }
    uint8_t  flags  = m != NULL ? m->flags : choice.stored->link.flags;
    uint64_t id     = m != NULL ? m->stream_id : choice.stored->owner->stream_id;
    uint32_t sub_id = m != NULL ? m->sub_id : choice.stored->by_key.extra;
    uint8_t  qos    = qos_lower(message->qos, flags & SUB_QOS);
    if (qos != 0 && id != 0) {
        struct target *t = gather_member(k, NULL, g, flags, sub_id);
        if (t != NULL) {
            t->stream_id = id;
        }
    } else if (m == NULL) {
        k->counters.dropped++; /* QoS 0, and nobody of the group is connected */
    } else if (m->shard != k->shard) {
        const struct to_member to = {
            .group = g, .shard = m->shard, .serial = m->serial, .flags = m->flags, .sub_id = m->sub_id};
        if (gather_asks(k, g, m->shard, qos)) {
            far_ask(k, &to, k->handing, message);
        } else {
            (void)gather_mail_member(k, &to, k->handing, message);
        }
    } else {
        (void)gather_member(k, session_find(k, m->serial), g, flags, sub_id);
    }
}

static void gather_capture(struct kernel *k, const struct capture *capture)
{
    struct target *t = target_add(k);
    if (t != NULL) {
        t->stream_id = capture->stream_id;
        t->capture   = true;
    }
}

/* Begins to bring the owners of the first subscriptions of each node into the cache, so that their misses overlap. */
static void fetch(const struct kernel *k, const uint32_t *nodes, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct match_link *link = match_first(k->tree, nodes[i]);
        if (link->kind == LINK_LIVE) {
            __builtin_prefetch(CONTAINER_OF(link, const struct sub, link)->owner);
        }
    }
}

struct found gather(struct kernel *k, const struct message *message, const struct session *from, bool here_only)
{
    struct found             found = {0};
    struct interest_question question;
    const uint32_t          *nodes;
    const struct gathering   g = {
          .message = message, .from_stream = from != NULL ? from->who.stream_id : 0, .here_only = here_only};
    bool elsewhere = k->rows.count != 0 || (!here_only && k->wants.count != 0);
    if (elsewhere) {
        interest_ask(k, message->topic, &question);
    }
    uint32_t                 count    = match_find(k->tree, message->topic, &nodes);
    const struct subscriber *self     = from != NULL ? &from->who : NULL;
    struct pending          *pending  = here_only ? NULL : k->handing;
    bool                     recorded = pending != NULL && assign_recorded(pending);
    k->target_count                   = 0;
    k->mark++;
    if (elsewhere) {
        route_fetch(k, &question);
    }
    fetch(k, nodes, count);
    for (uint32_t i = 0; i < count; i++) {
        for (struct match_link *link = match_first(k->tree, nodes[i]); link != NULL; link = link->next) {
            struct sub *sub = CONTAINER_OF(link, struct sub, link);
            switch ((enum link_kind)link->kind) {
            case LINK_LIVE:
                if ((link->flags & SUB_NO_LOCAL) == 0 || sub->owner != self) {
                    found.any = true;
                    gather_live(k, sub);
                }
                break;
            case LINK_STORED:
                gather_stored(k, &g, stored_of(sub->owner), link->flags, sub->by_key.extra, &found);
                break;
            case LINK_INTEREST:
                found.shards |= here_only ? 0 : interest_link(link, message->qos);
                break;
            case LINK_CAPTURE:
                if (!here_only) {
                    found.any      = true;
                    found.captured = true;
                    gather_capture(k, CONTAINER_OF(link, struct capture, link));
                }
                break;
            case LINK_GROUP:
                if (!here_only && !group_empty(CONTAINER_OF(link, struct group, link))) {
                    found.any = true;
                    if (recorded) {
                        break; /* below */
                    }
                    gather_group(k, CONTAINER_OF(link, struct group, link), message, from);
                }
                break;
            }
        }
    }
    if (elsewhere) {
        gather_rows(k, &g, &question, &found);
        found.shards |= here_only ? 0 : interest_answer(k, &question, message->qos);
    }
    if (UNLIKELY(recorded && pending->assigned != NULL)) {
        found.any = true;
        assign_gather(k, pending, message);
    }
    found.any = found.any || found.shards != 0;
    return found;
}

void gather_tag(const struct kernel *k, const struct target *t, const struct message *message, struct delivery_tag *tag)
{
    uint8_t flags = t->flags;
    tag->count    = 0; /* ids behind it are not looked at, and not set: this runs for every delivery */
    tag->group    = t->group != NULL && t->stream_id != 0 ? hash_bytes(group_filter(t->group)) : 0;
    for (const struct target *each = t;; each = &k->targets[each->more]) {
        uint8_t these = each->flags;
        uint8_t qos   = (uint8_t)((these & SUB_QOS) > (flags & SUB_QOS) ? these & SUB_QOS : flags & SUB_QOS);
        flags         = (uint8_t)(((these | flags) & ~SUB_QOS) | qos);
        if (each->sub_id != 0 && tag->count < SUBSCRIPTION_IDS_MAX) {
            tag->ids[tag->count++] = each->sub_id;
        }
        if (each->more == TARGET_NONE) {
            break;
        }
    }
    tag->qos    = qos_lower(message->qos, flags & SUB_QOS);
    tag->retain = message->retain && (flags & SUB_RETAIN_AS_PUBLISHED) != 0;
}
