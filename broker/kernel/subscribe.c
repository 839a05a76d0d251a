/* subscribe - subscriptions come and go: recorded first if the session is stored, then entered here, then known to every shard, then answered.
 * Retained messages come after the answer: what is published in between finds the subscription already. */
#include "broker/kernel/subscribe.h"

#include "broker/kernel/events.h"
#include "broker/kernel/exclusive.h"
#include "broker/kernel/life.h"
#include "broker/kernel/mail.h"
#include "broker/kernel/reader.h"
#include "broker/kernel/retain.h"
#include "broker/kernel/route.h"
#include "broker/kernel/session.h"
#include "broker/kernel/sub.h"
#include "broker/kernel/sys.h"
#include "broker/kernel/topic.h"
#include "shared/base/err.h"
#include "shared/rpc/op.h"

#include <stdlib.h>

struct request;

struct wanted {
    struct request     *request;
    struct reader_asker asker;
    struct bytes        filter; /* into the request's text */
    uint32_t            id;
    int                 result;
    uint8_t             flags;
    bool                replay;
    bool                exclusive; /* granted by its home, and not entered yet */
    bool                asking;    /* for that: its home has not answered */
    bool                stream;    /* "$stream/..": reader.h */
    bool                rowed;     /* its cursor row was written, and has a result */
};

struct request {
    struct list         link; /* in the session's; once that closes, in kernel.orphans */
    struct session     *session;
    struct store_call   call;
    struct announcement announcement;
    uint16_t            id;
    bool                subscribe;
    bool                called; /* the store will answer */
    struct pending     *behind; /* the publish that must be handed out first, or NULL */
    uint32_t            ticket;
    /* exclusive ones whose home has not answered, readers that look where to begin, a publish before it; 1 more while the request is made */
    uint32_t      asked;
    int           count;
    struct wanted wanted[];
};

static struct request *request_new(struct session *s, uint16_t id, bool subscribe, int count, size_t text_bytes)
{
    struct asking  *asking = session_asking(s);
    struct request *r = asking == NULL ? NULL : calloc(1, sizeof *r + (size_t)count * sizeof r->wanted[0] + text_bytes);
    if (r != NULL) {
        r->session   = s;
        r->id        = id;
        r->subscribe = subscribe;
        r->count     = count;
        list_push_back(&asking->requests, &r->link);
    }
    return r;
}

static uint8_t *request_text(struct request *r)
{
    return (uint8_t *)&r->wanted[r->count];
}

static void tell(const struct session *s, const struct request *r, const struct wanted *want)
{
    if (r->subscribe) {
        events_subscribed(s, want->filter, want->result);
    } else {
        events_unsubscribed(s, want->filter);
    }
}

static void answer(struct kernel *k, struct announcement *a)
{
    struct request *r      = CONTAINER_OF(a, struct request, announcement);
    struct session *s      = r->session;
    struct client  *client = s->client;
    int             results[256];
    ASSERT(client != NULL && r->count <= 256);
    for (int i = 0; i < r->count; i++) {
        results[i] = r->wanted[i].result;
    }
    list_remove(&r->link);
    session_asked(s);
    (r->subscribe ? client->ops->subscribed : client->ops->unsubscribed)(client, r->id, results, r->count);
    for (int i = 0; i < r->count && client->session == s && s->state == SESSION_OPEN; i++) {
        const struct wanted *want = &r->wanted[i];
        if (want->stream && want->result >= 0) {
            reader_begin(s, want->filter);
        }
        if (want->result >= 0) {
            tell(s, r, want);
        }
        if (want->replay && want->result >= 0) {
            struct bytes filter = want->filter;
            (void)topic_exclusive_split(want->filter, &filter);
            sys_replay(s, filter, want->id);
            if (k->limits.retain_available) {
                retain_replay(s, filter, want->flags & SUB_QOS, (want->flags & SUB_NO_LOCAL) != 0, want->id);
            }
        }
    }
    free(r);
}

/* Gives back what was granted and is not entered. */
static void give_back(struct session *s, struct wanted *want)
{
    if (want->exclusive) {
        want->exclusive = false;
        exclusive_release(s->kernel, s->serial, want->filter);
    }
}

/* Enters or removes what the request wants, in the trees. versions: of the rows, when stored. */
static void carry_out(struct request *r, const uint64_t *versions)
{
    struct session *s = r->session;
    struct kernel  *k = s->kernel;
    for (int i = 0; i < r->count; i++) {
        struct wanted *want = &r->wanted[i];
        if (want->result < 0) {
            give_back(s, want);
            continue;
        }
        if (want->stream) {
            struct reader *reader = r->subscribe ? NULL : reader_find(s, want->filter);
            if (reader != NULL) {
                reader_remove(reader);
            }
            continue;
        }
        struct bytes group;
        struct bytes rest;
        bool         stored  = session_stored(s);
        bool         here    = !stored || topic_group_split(want->filter, &group, &rest); /* else it is a row alone */
        bool         entered = true;
        if (here && !r->subscribe) {
            struct sub *sub = sub_find(k, &s->who, want->filter);
            if (sub != NULL) {
                sub_remove(k, sub);
            }
        } else if (here) {
            entered = sub_put(k, &s->who, LINK_LIVE, want->filter, want->flags, want->id) != NULL;
        }
        if (stored) {
            struct sub_row row = {.flags = want->flags, .id = want->id, .stream_id = s->who.stream_id};
            entered            = route_changed(s, want->filter, &row, versions[i], !r->subscribe) && entered;
        }
        if (!entered) {
            want->result = ERR_QUOTA;
            give_back(s, want);
        }
        want->exclusive = false; /* from now on with the subscription */
    }
    mail_when_confirmed(k, &r->announcement, answer);
}

static void recorded(struct store_call *call, int status, struct bytes results)
{
    struct request    *r             = CONTAINER_OF(call, struct request, call);
    struct session    *s             = r->session;
    struct wire_reader in            = wire_reader_of(results);
    uint64_t           versions[256] = {0};
    s->busy--;
    r->called = false;
    if (s->state != SESSION_OPEN) {
        list_remove(&r->link);
        free(r); /* the session closes: the watch tells everybody what was recorded */
        close_continue(s);
        return;
    }
    for (int i = 0; i < r->count; i++) {
        if (r->wanted[i].result < 0) {
            continue;
        }
        bool stream = r->wanted[i].stream;
        if (status != 0) {
            r->wanted[i].result = status;
            if (stream && r->subscribe) {
                reader_forget(s, r->wanted[i].filter);
            }
        } else if (r->subscribe) {
            versions[i] = wire_get_u64(&in);
            (void)(r->wanted[i].rowed ? wire_get_u64(&in) : 0);
        } else {
            wire_get_u8(&in);
            (void)(stream ? wire_get_u8(&in) : 0);
        }
    }
    carry_out(r, versions);
}

static bool any_share(const struct request *r)
{
    struct bytes group;
    struct bytes rest;
    for (int i = 0; i < r->count; i++) {
        if (r->wanted[i].result >= 0 && topic_share_split(r->wanted[i].filter, &group, &rest)) {
            return true;
        }
    }
    return false;
}

static void record(struct request *r)
{
    struct session *s      = r->session;
    struct kernel  *k      = s->kernel;
    bool            any    = false;
    uint16_t        stripe = session_stripe(s);
    for (int i = 0; i < r->count; i++) {
        any = any || r->wanted[i].result >= 0;
    }
    if (!any) {
        carry_out(r, NULL);
        return;
    }
    struct wire_writer *w = store_txn_begin(k->store, stripe);
    /* Fenced: a former owner must not change its heir's subscriptions. */
    for (int i = 0; i < r->count; i++) {
        struct wanted *want = &r->wanted[i];
        if (want->result < 0) {
            continue;
        }
        uint8_t        value[SUB_ROW_BYTES];
        struct sub_row row = {.flags = want->flags, .id = want->id, .stream_id = s->who.stream_id};
        struct op      op  = {
                  .kind  = r->subscribe ? OP_TABLE_PUT : OP_TABLE_DELETE,
                  .table = TABLE_SUBSCRIPTIONS,
                  .name  = tables_sub_key(k->key, session_id(s), want->filter),
                  .value = r->subscribe ? sub_row_write(value, &row) : (struct bytes){0},
        };
        op_encode(w, &op);
        if (want->stream && r->subscribe) {
            want->rowed = reader_put_row(w, s, want->filter);
        } else if (want->stream) {
            reader_delete_row(w, s, want->filter);
        }
    }
    if (r->subscribe && !s->shares && any_share(r)) {
        s->shares = true;
        life_expiry(w, s, s->expiry_s); /* it is to leave its queue to others */
    }
    s->busy++;
    r->called    = true;
    r->call.done = recorded;
    store_txn_end(k->store, &r->call);
}

static void proceed(struct request *r)
{
    if (--r->asked != 0) {
        return;
    }
    if (session_stored(r->session)) {
        record(r);
    } else {
        carry_out(r, NULL);
    }
}

/* Packets of a client count in their order: what it published before waits for the store perhaps, then the request waits too. */
static void wait_behind(struct request *r)
{
    struct publisher *p = r->session->publisher;
    struct pending   *last =
        p == NULL || list_empty(&p->pendings) ? NULL : CONTAINER_OF(p->pendings.prev, struct pending, link);
    if (last != NULL && !last->handed_out) {
        last->awaited = true;
        r->behind     = last;
        r->asked++;
    }
}

static void reader_found(struct reader_asker *asker, int status)
{
    struct wanted  *want = CONTAINER_OF(asker, struct wanted, asker);
    struct request *r    = want->request;
    if (status != 0) {
        want->result = status;
        reader_forget(r->session, want->filter);
    }
    proceed(r);
}

static void ask_reader(struct request *r, struct wanted *want, const struct subscription *subscription)
{
    want->request     = r;
    want->asker.found = reader_found;
    int asked         = reader_ask(r->session, subscription, &want->asker);
    r->asked += asked == 0;
    want->result = asked < 0 ? asked : want->result > 1 ? 1 : want->result;
}

void subscribe_exclusive_answer(struct kernel *k, uint64_t serial, uint32_t ticket, uint32_t index, int status,
                                struct bytes filter)
{
    struct session *s = session_find(k, serial);
    if (s != NULL && s->asking != NULL && s->state == SESSION_OPEN) {
        LIST_EACH (&s->asking->requests, link) {
            struct request *r = CONTAINER_OF(link, struct request, link);
            if (r->ticket == ticket && r->wanted[index].asking) {
                r->wanted[index].asking    = false;
                r->wanted[index].exclusive = status == 0;
                r->wanted[index].result    = status == 0 ? r->wanted[index].result : status;
                proceed(r);
                return;
            }
        }
    }
    if (status == 0) {
        exclusive_release(k, serial, filter); /* the session has gone meanwhile */
    }
}

/* Readers look where to begin, and exclusive subscriptions that it does not have yet are asked for; the answers go on with the request. */
static void ask(struct request *r, const struct subscription *subscriptions)
{
    struct session *s = r->session;
    struct bytes    rest;
    r->asked  = 1;
    r->ticket = ++s->kernel->ticket;
    wait_behind(r);
    for (int i = 0; i < r->count; i++) {
        if (r->wanted[i].result >= 0 && r->wanted[i].stream) {
            ask_reader(r, &r->wanted[i], &subscriptions[i]);
        } else if (r->wanted[i].result >= 0 && topic_exclusive_split(r->wanted[i].filter, &rest) &&
                   sub_find(s->kernel, &s->who, r->wanted[i].filter) == NULL) {
            r->asked++;
            r->wanted[i].asking = true;
            exclusive_ask(s, r->ticket, (uint32_t)i, r->wanted[i].filter);
        }
    }
    proceed(r);
}

static bool any_asking(const struct request *r)
{
    for (int i = 0; i < r->count; i++) {
        if (r->wanted[i].asking) {
            return true;
        }
    }
    return false;
}

void subscribe_ask_again(struct session *s)
{
    struct kernel *k      = s->kernel;
    uint64_t       serial = s->serial;
    LIST_EACH (&s->asking->requests, link) {
        struct request *r = CONTAINER_OF(link, struct request, link);
        if (!any_asking(r)) {
            continue;
        }
        r->asked++; /* an answer may come at once, and must not be the end of it in the middle */
        for (int i = 0; i < r->count; i++) {
            if (r->wanted[i].asking) {
                exclusive_ask(s, r->ticket, (uint32_t)i, r->wanted[i].filter);
            }
        }
        proceed(r);
        if (session_find(k, serial) != s || s->asking == NULL) {
            return;
        }
    }
}

static struct request *waiting_behind(const struct session *s, const struct pending *pending)
{
    if (s->asking != NULL) {
        LIST_EACH (&s->asking->requests, link) {
            struct request *r = CONTAINER_OF(link, struct request, link);
            if (r->behind == pending) {
                return r;
            }
        }
    }
    return NULL;
}

void subscribe_handed_out(struct session *s, const struct pending *pending)
{
    struct request *r;
    while ((r = waiting_behind(s, pending)) != NULL) {
        r->behind = NULL;
        proceed(r);
    }
}

/* Will it have this subscription when all that it asked for before is carried out? */
static bool will_exist(struct session *s, struct bytes filter)
{
    bool exists = reader_filter(filter) ? reader_find(s, filter) != NULL
                                        : sub_find(s->kernel, &s->who, filter) != NULL || route_has(s, filter);
    if (s->asking == NULL) {
        return exists;
    }
    LIST_EACH (&s->asking->requests, link) {
        const struct request *r = CONTAINER_OF(link, struct request, link);
        for (int i = 0; i < r->count; i++) {
            if (r->wanted[i].result >= 0 && bytes_equal(r->wanted[i].filter, filter)) {
                exists = r->subscribe;
            }
        }
    }
    return exists;
}

static struct bytes keep_text(uint8_t **at, struct bytes text)
{
    struct bytes kept = bytes_of(*at, text.size);
    if (text.size != 0) {
        memcpy(*at, text.data, text.size);
    }
    *at += text.size;
    return kept;
}

void kernel_subscribe(struct kernel *k, struct client *client, uint16_t id, const struct subscription *subscriptions,
                      int count)
{
    struct session *s    = client->session;
    size_t          text = 0;
    ASSERT(s->state == SESSION_OPEN && count > 0 && count <= 256);
    for (int i = 0; i < count; i++) {
        text += subscriptions[i].filter.size;
    }
    struct request *r = request_new(s, id, true, count, text);
    if (r == NULL) {
        session_evict(s, EVICT_UNAVAILABLE);
        return;
    }
    uint8_t *at    = request_text(r);
    uint32_t added = 0;
    for (int i = 0; i < count; i++) {
        const struct subscription *sub  = &subscriptions[i];
        struct wanted             *want = &r->wanted[i];
        struct bytes               group;
        struct bytes               rest;
        ASSERT(topic_filter_valid(sub->filter) && sub->qos <= 2);
        want->stream = reader_filter(sub->filter);
        bool exists  = will_exist(s, sub->filter);
        want->filter = keep_text(&at, sub->filter);
        want->id     = sub->id;
        want->result = sub->qos;
        want->flags  = (uint8_t)(sub->qos | (sub->no_local ? SUB_NO_LOCAL : 0) |
                                (sub->retain_as_published ? SUB_RETAIN_AS_PUBLISHED : 0));
        want->replay = !want->stream && (sub->retain_handling == 0 || (sub->retain_handling == 1 && !exists)) &&
                       !topic_share_split(sub->filter, &group, &rest);
        if ((topic_share_split(sub->filter, &group, &rest) || topic_exclusive_split(sub->filter, &rest)) &&
            reader_filter(rest)) {
            want->result = ERR_DENIED; /* everybody who reads a stream reads all of it */
            continue;
        }
        if (!exists && s->who.sub_count + reader_count(s) + added++ >= k->limits.subscriptions_max) {
            want->result = ERR_QUOTA;
        }
    }
    ask(r, subscriptions);
}

void kernel_unsubscribe(struct kernel *k, struct client *client, uint16_t id, const struct bytes *filters, int count)
{
    (void)k;
    struct session *s    = client->session;
    size_t          text = 0;
    ASSERT(s->state == SESSION_OPEN && count > 0 && count <= 256);
    for (int i = 0; i < count; i++) {
        text += filters[i].size;
    }
    struct request *r = request_new(s, id, false, count, text);
    if (r == NULL) {
        session_evict(s, EVICT_UNAVAILABLE);
        return;
    }
    uint8_t *at = request_text(r);
    for (int i = 0; i < count; i++) {
        r->wanted[i].result = will_exist(s, filters[i]) ? 0 : ERR_NOT_FOUND;
        r->wanted[i].filter = keep_text(&at, filters[i]);
        r->wanted[i].stream = reader_filter(filters[i]);
    }
    r->asked = 1;
    wait_behind(r);
    proceed(r);
}

void subscribe_cancel_all(struct session *s)
{
    while (s->asking != NULL && !list_empty(&s->asking->requests)) {
        struct request *r = CONTAINER_OF(list_pop_front(&s->asking->requests), struct request, link);
        mail_forget(&r->announcement);
        for (int i = 0; i < r->count; i++) {
            give_back(s, &r->wanted[i]);
            if (r->wanted[i].stream && r->subscribe) {
                reader_forget(s, r->wanted[i].filter);
            }
        }
        if (r->called) {
            list_push_back(&s->kernel->orphans, &r->link);
        } else {
            free(r);
        }
    }
}

void subscribe_forget(struct kernel *k)
{
    struct list *link;
    while ((link = list_pop_front(&k->orphans)) != NULL) {
        free(CONTAINER_OF(link, struct request, link));
    }
}
