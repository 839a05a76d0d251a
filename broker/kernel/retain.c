/* retain - one replay of a session at a time; the one item that found no room is held as a copy. */
#include "broker/kernel/retain.h"

#include "broker/kernel/delivery.h"
#include "broker/kernel/message.h"
#include "broker/kernel/publisher.h"
#include "shared/base/err.h"
#include "shared/base/hash.h"
#include "shared/base/log.h"
#include "shared/rpc/op.h"
#include "shared/rpc/schema.h"

#include <stdlib.h>

enum { REPLAY_APPENDS_MAX = 32, FROM_BYTES = 8 };

struct replay {
    struct list       link; /* in session.replays */
    struct session   *session;
    struct store_scan scan;
    struct buf       *held;    /* found no room */
    uint32_t          appends; /* to its own stream, under way */
    uint32_t          sub_id;
    uint8_t           qos;
    bool              no_local;
    bool              started;
    bool              paused;   /* the scan waits for store_scan_resume */
    bool              finished; /* the scan is at its end */
    uint32_t          filter_size;
    uint8_t           filter[];
};

static uint64_t from_of(const struct session *s)
{
    return s == NULL ? 0 : hash_bytes(session_id(s));
}

void retain_store(struct kernel *k, const struct message *m, const struct session *from, struct store_call *call)
{
    uint16_t            stripe = store_stripe(k->store, m->topic);
    struct wire_writer *w      = store_txn_begin(k->store, stripe);
    struct op           op     = {.kind = OP_TABLE_DELETE, .table = TABLE_RETAINED, .name = m->topic};
    uint8_t            *image  = NULL;
    if (m->payload.size != 0) {
        struct record record = message_record(m);
        size_t        size   = record_size(&record);
        uint64_t      origin = from_of(from);
        image                = malloc(size + FROM_BYTES);
        if (image != NULL) {
            record_encode(&record, image);
            memcpy(image + size, &origin, FROM_BYTES);
            op.kind    = OP_TABLE_PUT;
            op.value   = bytes_of(image, size + FROM_BYTES);
            op.wall_ns = m->expires_wall_ns;
        }
        w->bad = w->bad || image == NULL;
        k->counters.retained_puts++;
    }
    op_encode(w, &op);
    free(image);
    store_txn_end(k->store, call);
}

/* Is what lies behind the record the mark of this session's client? */
static bool is_own(const struct session *s, struct bytes value, size_t record_bytes)
{
    uint64_t from = 0;
    if (value.size >= record_bytes + FROM_BYTES) {
        memcpy(&from, value.data + record_bytes, FROM_BYTES);
    }
    return from != 0 && from == from_of(s);
}

static void replay_free(struct replay *r)
{
    struct session *s = r->session;
    list_remove(&r->link);
    buf_unref(r->held);
    free(r);
    session_asked(s);
}

static struct replay *first_of(const struct session *s)
{
    const struct asking *asking = s->asking;
    return asking == NULL || list_empty(&asking->replays) ? NULL
                                                          : CONTAINER_OF(asking->replays.next, struct replay, link);
}

/* ---- to a stored session: through its stream, so that it is acknowledged like others ------------------------------- */

static void append_done(struct store_call *call, int status, struct bytes results)
{
    (void)results;
    struct work    *work = CONTAINER_OF(call, struct work, call);
    struct session *s    = work->session;
    pool_give(s->kernel->works, work);
    if (status != 0) {
        s->kernel->counters.dropped++;
        log_warn("a retained message could not be stored for a session: %s", err_sentence(status));
    }
    struct replay *r = first_of(s);
    if (r != NULL && r->appends != 0) {
        r->appends--;
    }
    s->busy--;
    retain_continue(s);
    close_continue(s);
}

static bool append_own(struct session *s, struct replay *r, const struct message *m, const struct delivery_tag *tag)
{
    struct kernel *k    = s->kernel;
    struct work   *work = pool_take(k->works);
    if (work == NULL) {
        k->counters.dropped++;
        return true;
    }
    work->session        = s;
    work->call.done      = append_done;
    struct record record = message_record(m);
    uint16_t      stripe = session_stripe(s);
    uint64_t      number = ++k->stripe_sequences[stripe];
    uint8_t       bytes[DELIVERY_TAG_MAX_BYTES];
    s->busy++;
    r->appends++;
    k->counters.stored_appends++;
    struct wire_writer *w     = store_txn_begin(k->store, stripe);
    size_t              begun = op_append_begin(w, store_owner(k->store), 1, number);
    op_append_target(w, s->who.stream_id, delivery_tag_write(bytes, tag));
    op_append_end(w, begun, 1, &record);
    store_txn_end(k->store, &work->call);
    return r->appends < REPLAY_APPENDS_MAX;
}

/* ---- one item ------------------------------------------------------------------------------------------------------ */

struct replay_pace {
    bool taken; /* else it has to be held */
    bool more;  /* room for another */
};

static struct replay_pace show(struct replay *r, struct message *m)
{
    struct session     *s   = r->session;
    struct delivery_tag tag = {.qos = m->qos < r->qos ? m->qos : r->qos, .retain = true};
    if (r->sub_id != 0) {
        tag.ids[tag.count++] = r->sub_id;
    }
    if (tag.qos != 0 && session_stored(s)) {
        bool more = append_own(s, r, m, &tag);
        return (struct replay_pace){.taken = true, .more = more};
    }
    struct fanout f = {.message = m};
    if (tag.qos != 0) {
        if (delivery_waiting(s)) {
            return (struct replay_pace){0};
        }
        deliver(s, &f, &tag);
        fanout_end(&f);
        return (struct replay_pace){.taken = true, .more = !delivery_waiting(s)};
    }
    struct delivery d = {.message = m, .retain = true, .subscription_id_count = tag.count, .subscription_ids = tag.ids};
    f.ops             = s->client->ops;
    enum deliver_result result = s->client->ops->deliver(s->client, &d);
    fanout_end(&f);
    if (result == DELIVER_FULL) {
        struct delivery_state *ds = session_delivery(s);
        if (ds == NULL) {
            s->kernel->counters.dropped++;
            return (struct replay_pace){.taken = true, .more = true};
        }
        if (!session_stored(s)) {
            ds->blocked = true;
        }
        return (struct replay_pace){0};
    }
    s->kernel->counters.deliveries += result == DELIVER_OK;
    s->kernel->counters.dropped += result == DELIVER_TOO_BIG;
    return (struct replay_pace){.taken = true, .more = true};
}

static bool scanned(struct store_scan *scan, const struct store_item *item)
{
    struct replay  *r = scan->ctx;
    struct session *s = r->session;
    struct record   record;
    if (s->client == NULL || s->state != SESSION_OPEN) {
        return true; /* it closes at the end of this turn */
    }
    int64_t size = record_decode(item->value, &record);
    if (size < 0) {
        log_error("a retained message is damaged: %s", err_sentence((int)size));
        return true;
    }
    struct message m = message_of_record(&record);
    if (message_expired(&m, s->kernel->wall_ns) || (r->no_local && is_own(s, item->value, (size_t)size))) {
        return true;
    }
    struct replay_pace pace = show(r, &m);
    if (!pace.taken) {
        r->held = message_keep(&m);
        s->kernel->counters.dropped += r->held == NULL;
    }
    r->paused = !pace.more;
    return pace.more;
}

static void scan_done(struct store_scan *scan, int status)
{
    struct replay *r = scan->ctx;
    r->finished      = true;
    if (status != 0) {
        log_warn("retained messages could not be read: %s", err_sentence(status));
    }
    retain_continue(r->session);
}

/* ---- pace ---------------------------------------------------------------------------------------------------------- */

/* May the first replay go on? Gives what is held first. */
static bool may_go_on(struct session *s, struct replay *r)
{
    if (r->held != NULL) {
        struct message m = message_of(r->held);
        if (!message_expired(&m, s->kernel->wall_ns)) {
            struct replay_pace pace = show(r, &m);
            if (!pace.taken) {
                return false;
            }
        }
        buf_unref(r->held);
        r->held = NULL;
    }
    return r->appends < REPLAY_APPENDS_MAX && (session_stored(s) || !delivery_waiting(s));
}

void retain_continue(struct session *s)
{
    while (s->state == SESSION_OPEN && s->client != NULL) {
        struct replay *r = first_of(s);
        if (r == NULL) {
            return;
        }
        if (!r->started) {
            r->started = true;
            store_scan_start(s->kernel->store, &r->scan, STORE_STRIPE_ALL, TABLE_RETAINED, RPC_SCAN_FILTER,
                             bytes_of(r->filter, r->filter_size));
            return;
        }
        if ((r->paused || r->finished) && !may_go_on(s, r)) {
            return;
        }
        if (!r->finished) {
            if (r->paused) {
                r->paused = false;
                store_scan_resume(s->kernel->store, &r->scan);
            }
            return;
        }
        if (r->appends != 0) {
            return;
        }
        replay_free(r);
    }
}

void retain_replay(struct session *s, struct bytes filter, uint8_t qos, bool no_local, uint32_t sub_id)
{
    struct asking *asking = session_asking(s);
    struct replay *r      = asking == NULL ? NULL : calloc(1, sizeof *r + filter.size);
    if (r == NULL) {
        s->kernel->counters.dropped++;
        return;
    }
    r->session     = s;
    r->qos         = qos;
    r->no_local    = no_local;
    r->sub_id      = sub_id;
    r->scan.item   = scanned;
    r->scan.done   = scan_done;
    r->scan.ctx    = r;
    r->filter_size = (uint32_t)filter.size;
    memcpy(r->filter, filter.data, filter.size);
    list_push_back(&asking->replays, &r->link);
    if (first_of(s) == r) {
        retain_continue(s);
    }
}

void retain_cancel_all(struct session *s)
{
    struct replay *r;
    while ((r = first_of(s)) != NULL) {
        if (r->started && !r->finished) {
            store_scan_cancel(s->kernel->store, &r->scan);
        }
        replay_free(r);
    }
}
