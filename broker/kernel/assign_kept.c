/* assign_kept.c - who gets a QoS 2 will or delayed message: a row beside the stream that it lies in. The first broker that is at it writes it; one that finds it
 * there reads it and goes on. */
#include "broker/kernel/assign.h"

#include "broker/kernel/message.h"
#include "shared/base/err.h"
#include "shared/base/log.h"
#include "shared/rpc/op.h"

enum { KEY_BYTES = 16, ROW_VERSION = 1 };

static struct bytes key_of(uint8_t out[KEY_BYTES], uint64_t stream_id, uint64_t sequence)
{
    struct wire_writer w = wire_writer_fixed(out, KEY_BYTES);
    wire_put_u64(&w, stream_id);
    wire_put_u64(&w, sequence);
    return wire_written(&w);
}

static struct wire_writer *begin(const struct pending *pending)
{
    const struct publisher *p = pending->publisher;
    return store_txn_begin(p->kernel->store, stream_id_stripe(p->count));
}

/* Only the first write looks whether there is one: a later one that did would find itself when the store is asked again (store.h), and take itself for another broker's. */
static void write_row(struct pending *pending, struct work *work, bool first)
{
    uint8_t            text[KEY_BYTES];
    struct bytes       key   = key_of(text, pending->publisher->count, pending->sequence);
    struct wire_writer value = wire_writer_growing(SIZE_MAX / 2);
    wire_put_u8(&value, ROW_VERSION);
    assign_write(&value, pending->assigned);
    struct op fence = {
        .kind = OP_FENCE, .stream_id = pending->publisher->count, .epoch = pending->publisher->stream_epoch};
    struct op absent      = {.kind = OP_CHECK, .table = TABLE_ASSIGNED, .name = key};
    struct op put         = {.kind = OP_TABLE_PUT, .table = TABLE_ASSIGNED, .name = key, .value = wire_written(&value)};
    struct wire_writer *w = begin(pending);
    w->bad                = w->bad || value.bad;
    op_encode(w, &fence);
    if (first) {
        op_encode(w, &absent);
    }
    op_encode(w, &put);
    store_txn_end(pending->publisher->kernel->store, &work->call);
    wire_writer_fini(&value);
}

void assign_kept_write(struct pending *pending, struct work *work)
{
    write_row(pending, work, false);
}

int assign_kept_written(struct pending *pending, int status)
{
    pending->abandoned = pending->abandoned || status == ERR_FENCED; /* another broker goes on with it */
    return status == ERR_FENCED ? 0 : status;
}

static void written(struct store_call *call, int status, struct bytes results);

static void found(struct store_call *call, int status, struct bytes results)
{
    struct work        *work    = CONTAINER_OF(call, struct work, call);
    struct pending     *pending = work->pending;
    struct kernel      *k       = work->publisher->kernel;
    struct wire_reader  r       = wire_reader_of(results);
    uint64_t            version = wire_get_u64(&r);
    struct wire_reader  value   = wire_reader_of(wire_get_blob(&r));
    bool                known   = wire_get_u8(&value) == ROW_VERSION;
    struct assignments *before  = NULL;
    if (status == 0 && version != 0) {
        before = known ? assign_read(k, wire_get(&value, wire_left(&value))) : NULL;
        status = before == NULL ? ERR_QUOTA : 0;
    }
    if (status != 0) {
        log_warn("who has a will or a delayed message cannot be read: %s", err_sentence(status));
        publisher_before_done(call, status, (struct bytes){0});
        return;
    }
    struct message message = message_of(pending->copy);
    bool           more    = before == NULL;
    if (before != NULL) {
        assign_free(k, pending->assigned);
        assign_know(k, before);
        pending->assigned = before;
        status            = assign_all(k, pending, &message, NULL, &more) ? 0 : ERR_QUOTA;
    }
    if (more && status == 0) {
        call->done = written;
        write_row(pending, work, before == NULL);
    } else {
        publisher_before_done(call, status, (struct bytes){0});
    }
}

static void written(struct store_call *call, int status, struct bytes results)
{
    struct work    *work    = CONTAINER_OF(call, struct work, call);
    struct pending *pending = work->pending;
    if (status == ERR_CONFLICT) { /* an earlier broker was at it, or this one, and the answer was lost */
        uint8_t   text[KEY_BYTES];
        struct op get = {.kind  = OP_TABLE_GET,
                         .table = TABLE_ASSIGNED,
                         .name  = key_of(text, work->publisher->count, pending->sequence)};
        call->done    = found;
        op_encode(begin(pending), &get);
        store_txn_end(work->publisher->kernel->store, call);
        return;
    }
    publisher_before_done(call, assign_kept_written(pending, status), results);
}

void assign_kept(struct pending *pending, const struct message *message)
{
    struct publisher *p = pending->publisher;
    bool              more;
    if (!assign_all(p->kernel, pending, message, NULL, &more)) {
        pending->status = ERR_QUOTA;
    } else if (more) {
        struct work *work = publisher_work(p, pending, 0, written);
        if (work == NULL) {
            pending->status = ERR_QUOTA;
            return;
        }
        pending->before++;
        write_row(pending, work, true);
    }
}

void assign_kept_delete(struct wire_writer *w, uint64_t stream_id, uint64_t sequence)
{
    uint8_t   text[KEY_BYTES];
    struct op gone = {.kind = OP_TABLE_DELETE, .table = TABLE_ASSIGNED, .name = key_of(text, stream_id, sequence)};
    op_encode(w, &gone);
}
