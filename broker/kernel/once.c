/* once - see once.h. */
#include "broker/kernel/once.h"

#include "broker/kernel/assign.h"
#include "broker/kernel/publish.h"
#include "broker/kernel/publisher.h"
#include "shared/base/err.h"
#include "shared/base/hash.h"
#include "shared/base/log.h"
#include "shared/rpc/op.h"

enum { ROW_FEW_BYTES = INBOUND_ROW_MAX_BYTES + ASSIGNED_FEW * ASSIGNED_BYTES };

static void put_inbound(struct session *s, uint16_t id, struct bytes value, struct wire_writer *w)
{
    struct op op = {
        .kind  = OP_TABLE_PUT,
        .table = TABLE_INBOUND,
        .name  = tables_inbound_key(s->kernel->key, session_id(s), id),
        .value = value,
    };
    op_encode(w, &op);
}

void once_fence(struct session *s, struct wire_writer *w)
{
    if (UNLIKELY(s->kernel->far != 0)) {
        struct op fenced = {
            .kind = OP_CURSOR_MOVE, .stream_id = s->who.stream_id, .epoch = s->keep->epoch, .sent = s->keep->sent};
        op_encode(w, &fenced);
    }
}

void once_write(struct pending *pending, struct work *work)
{
    struct publisher         *p   = pending->publisher;
    struct session           *s   = p->session;
    const struct assignments *all = pending->assigned;
    uint8_t                   few[ROW_FEW_BYTES];
    uint8_t                   head[INBOUND_ROW_MAX_BYTES];
    struct inbound_row        row = {
               .writer_epoch = pending->writer_epoch, .sequence = pending->sequence, .content = pending->content};
    bool               small = all == NULL || all->count <= ASSIGNED_FEW;
    struct wire_writer value = small ? wire_writer_fixed(few, sizeof few) : wire_writer_growing(SIZE_MAX / 2);
    wire_put_bytes(&value, inbound_row_write(head, &row));
    if (UNLIKELY(all != NULL)) {
        assign_write(&value, all);
    }
    struct wire_writer *w = store_txn_begin(p->kernel->store, session_stripe(s));
    w->bad                = w->bad || value.bad;
    once_fence(s, w);
    put_inbound(s, pending->id, wire_written(&value), w);
    store_txn_end(p->kernel->store, &work->call);
    if (!small) {
        wire_writer_fini(&value);
    }
}

static void once_record(struct publisher *p, struct pending *pending)
{
    struct work *work = publisher_work(p, pending, pending->id, publisher_before_done);
    if (work == NULL) {
        pending->status = ERR_QUOTA;
        return;
    }
    once_write(pending, work);
    pending->before++;
}

/* Who gets it stands in its row. */
static void once_assign(struct session *s, struct publisher *p, struct pending *pending, const struct message *message,
                        bool recorded)
{
    bool more;
    if (!assign_all(s->kernel, pending, message, s, &more)) {
        pending->status = ERR_QUOTA;
    } else if (more || !recorded) {
        once_record(p, pending);
    }
}

static void number(struct session *s, struct publisher *p, struct pending *pending, struct inbound_id *id,
                   const struct message *message)
{
    uint64_t epoch = s->keep->epoch;
    uint32_t lane;
    if (!lanes_take(&p->lanes, &lane)) {
        pending->status = ERR_QUOTA;
        return;
    }
    p->count++;
    id->writer_epoch = publish_epoch(epoch, lane);
    id->sequence     = publish_sequence(epoch, p->count);
    if (p->count == UINT32_MAX) {
        session_evict(s, EVICT_UNAVAILABLE); /* the next connection counts anew, in a higher epoch */
    }
    pending->writer_epoch = id->writer_epoch;
    pending->sequence     = id->sequence;
    once_assign(s, p, pending, message, false);
}

/* Nothing under way is by that number any more, and no row has it. */
static void let_go(struct publisher *p, uint64_t writer_epoch)
{
    if (publish_alone(writer_epoch)) {
        lanes_let_go(&p->lanes, publish_lane(writer_epoch));
    }
}

/* Recorded on an earlier connection: what was appended of it, the stripes will not append again. Where it is not alone in its writer that goes by the
 * order of the numbers: one that comes again behind a later one [against MQTT-4.6.0-1] has a new number, for by its own it would be taken for appended. */
static void resume(struct session *s, struct publisher *p, struct pending *pending, struct inbound_id *id,
                   const struct message *message)
{
    bool alone    = publish_alone(id->writer_epoch);
    bool in_order = id->writer_epoch > p->resumed_epoch ||
                    (id->writer_epoch == p->resumed_epoch && id->sequence > p->resumed_sequence);
    id->state         = INBOUND_PENDING;
    pending->assigned = assign_recall(p, pending->id);
    pending->recorded = true;
    if (UNLIKELY(!alone && !in_order)) {
        number(s, p, pending, id, message);
        return;
    }
    if (UNLIKELY(!alone)) {
        p->resumed_epoch    = id->writer_epoch;
        p->resumed_sequence = id->sequence;
    }
    pending->writer_epoch = id->writer_epoch;
    pending->sequence     = id->sequence;
    pending->resumed      = true;
    once_assign(s, p, pending, message, true);
}

/* By topic and payload: what comes again is the same in them. */
static uint64_t content_of(const struct message *message)
{
    return hash_bytes_seeded(message->payload, hash_bytes(message->topic));
}

/* What is in doubt may have been refused, and the client told, when its row had not gone yet: then the next message of that id is another one, which the
 * stripes that took a part of the refused one would take for it. */
static bool comes_again(const struct inbound_id *id, const struct pending *pending)
{
    return id->content == 0 || id->content == pending->content;
}

bool once_enter(struct session *s, struct publisher *p, struct pending *pending, const struct message *message)
{
    struct inbound_id *id = inbound_find(&p->inbound, pending->id);
    if (id != NULL && id->state != INBOUND_UNSURE) {
        s->kernel->counters.duplicates++;
        pending->duplicate = true;
        pending->matched   = true;
        return false;
    }
    pending->content = session_stored(s) ? content_of(message) : 0;
    if (id != NULL && comes_again(id, pending)) {
        resume(s, p, pending, id, message);
        return true;
    }
    /* A row of another message is there, whose lane stays held: if it is not replaced it is in doubt on the next connection, too. */
    pending->recorded = id != NULL;

    id = id != NULL ? id : inbound_add(&p->inbound, pending->id);
    if (id == NULL) {
        pending->duplicate = true;
        pending->status    = ERR_QUOTA;
        return false;
    }
    id->state   = INBOUND_PENDING;
    id->content = pending->content;
    if (session_stored(s)) {
        assign_free(s->kernel, assign_recall(p, pending->id)); /* of a message that does not come again */
        number(s, p, pending, id, message);
    }
    return true;
}

static void once_forget(struct session *s, struct work *work)
{
    struct kernel      *k  = s->kernel;
    struct wire_writer *w  = store_txn_begin(k->store, session_stripe(s));
    struct op           op = {
                  .kind = OP_TABLE_DELETE, .table = TABLE_INBOUND, .name = tables_inbound_key(k->key, session_id(s), work->id)};
    once_fence(s, w);
    op_encode(w, &op);
    s->busy++;
    store_txn_end(k->store, &work->call);
}

/* The row of an id that is refused after it was recorded. Nobody waits for the answer but the end of the session. */
static void refused_done(struct store_call *call, int status, struct bytes results)
{
    (void)results;
    struct work    *work = CONTAINER_OF(call, struct work, call);
    struct session *s    = work->publisher->session;
    if (status == 0) {
        let_go(work->publisher, work->writer_epoch);
    } else if (status != ERR_FENCED) {
        log_warn("a packet id could not be forgotten: %s", err_sentence(status));
    }
    pool_give(s->kernel->works, work);
    s->busy--;
    close_continue(s);
}

void once_answer(struct publisher *p, struct pending *pending)
{
    struct session    *s  = p->session;
    struct inbound_id *id = inbound_find(&p->inbound, pending->id);
    if (id != NULL && pending->status == 0) {
        /* Everybody has it: its row may be in doubt for an heir, but who has the next one of that lane has taken it or had no need of it. */
        let_go(p, id->writer_epoch);
        id->state        = INBOUND_DONE;
        id->writer_epoch = 0;
    } else if (id != NULL && (pending->matched || pending->resumed) &&
               (s->client == NULL || (pending->recorded && !s->told))) {
        id->state = INBOUND_UNSURE; /* it is not told, and sends it again: a part of it may be appended */
    } else if (id != NULL) {
        /* The refusal ends this use of the id [MQTT-4.3.3-9]. So it does for a client that is not told, when nobody was given anything: the row would say of
         * a live member of a group that it may have it. */
        uint64_t writer_epoch = id->writer_epoch;
        inbound_remove(&p->inbound, pending->id);
        struct work *work = pending->recorded ? publisher_work(p, NULL, pending->id, refused_done) : NULL;
        if (work != NULL) {
            work->writer_epoch = writer_epoch;
            once_forget(s, work);
        } else if (!pending->recorded) {
            let_go(p, writer_epoch);
        }
    }
}

void once_close_rows(struct session *s, struct wire_writer *w)
{
    const struct inbound *in = s->publisher == NULL ? NULL : &s->publisher->inbound;
    for (uint32_t i = 0; in != NULL && i < in->capacity; i++) {
        const struct inbound_id *slot = &in->slots[i];
        if (slot->id != 0 && slot->state == INBOUND_DONE) {
            uint8_t            value[INBOUND_ROW_MAX_BYTES];
            struct inbound_row row = {.done = true};
            put_inbound(s, slot->id, inbound_row_write(value, &row), w);
        }
    }
}

static void released(struct store_call *call, int status, struct bytes results)
{
    (void)results;
    struct work    *work = CONTAINER_OF(call, struct work, call);
    struct session *s    = work->publisher->session;
    uint16_t        id   = work->id;
    pool_give(s->kernel->works, work);
    if (status == 0) {
        struct inbound_id *entry = inbound_find(&s->publisher->inbound, id);
        if (entry != NULL && entry->state == INBOUND_UNSURE) {
            let_go(s->publisher, entry->writer_epoch);
        }
        inbound_remove(&s->publisher->inbound, id);
        if (s->client != NULL) {
            s->client->ops->publish_released(s->client, id, 0);
        }
    } else { /* the id may not be used again: what came under it would be taken for what it stood for. Released again on the next connection */
        session_evict(s, status == ERR_FENCED || status == ERR_NOT_FOUND ? EVICT_TAKEN_OVER : EVICT_UNAVAILABLE);
    }
    s->busy--;
    close_continue(s);
}

void kernel_publish_release(struct kernel *k, struct client *client, uint16_t id)
{
    (void)k;
    struct session    *s     = client->session;
    struct inbound_id *entry = s->publisher == NULL ? NULL : inbound_find(&s->publisher->inbound, id);
    if (entry == NULL || entry->state == INBOUND_PENDING) {
        client->ops->publish_released(client, id, ERR_NOT_FOUND);
        return;
    }
    if (!session_stored(s)) {
        inbound_remove(&s->publisher->inbound, id);
        client->ops->publish_released(client, id, 0);
        return;
    }
    struct work *work = publisher_work(s->publisher, NULL, id, released);
    if (work == NULL) {
        session_evict(s, EVICT_UNAVAILABLE);
        return;
    }
    once_forget(s, work);
}
