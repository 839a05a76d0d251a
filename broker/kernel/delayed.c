/* delayed - one transaction per message. */
#include "broker/kernel/delayed.h"

#include "broker/kernel/message.h"
#include "broker/kernel/once.h"
#include "broker/kernel/will.h"
#include "shared/base/err.h"
#include "shared/rpc/op.h"

/* How long after it was due a row still keeps the same message from being set again. */
#define ROW_AFTER_NS 600000000000ull

static void set_done(struct store_call *call, int status, struct bytes results)
{
    /* Set already, by this request before its answer was lost or by a broker that died. */
    publisher_before_done(call, status == ERR_CONFLICT ? 0 : status, results);
}

static struct bytes key_of(struct publisher *p, const struct pending *pending, uint8_t out[32])
{
    struct kernel     *k = p->kernel;
    struct wire_writer w = wire_writer_fixed(out, 32);
    wire_put_bytes(&w, bytes_str("delayed/"));
    wire_put_u64(&w, pending->writer_epoch != 0 ? p->session->who.stream_id : store_owner(k->store));
    wire_put_u64(&w, pending->writer_epoch);
    wire_put_u64(&w, pending->writer_epoch != 0 ? pending->sequence : ++k->delayed_count);
    return wire_written(&w);
}

void delayed_set(struct publisher *p, struct pending *pending, const struct message *message,
                 const struct reserved *reserved)
{
    struct kernel *k    = p->kernel;
    struct work   *work = publisher_work(p, pending, 0, set_done);
    if (work == NULL) {
        pending->status = ERR_QUOTA;
        return;
    }
    uint8_t            text[32];
    struct bytes       key      = key_of(p, pending, text);
    uint64_t           delay_ns = reserved->delay_s * 1000000000ull;
    struct message     later    = *message;
    struct wire_writer action   = wire_writer_growing(SIZE_MAX / 2);
    later.topic                 = reserved->topic;
    struct record record        = message_record(&later);
    will_append(&action, &record, (struct bytes){0});
    struct op check       = {.kind = OP_CHECK, .table = TABLE_DELAYED, .name = key};
    struct op row         = {.kind    = OP_TABLE_PUT,
                             .table   = TABLE_DELAYED,
                             .name    = key,
                             .value   = bytes_str("\1"),
                             .wall_ns = k->wall_ns + delay_ns + ROW_AFTER_NS};
    struct op timer       = {.kind = OP_TIMER_SET, .name = key, .delay_ns = delay_ns, .value = wire_written(&action)};
    struct wire_writer *w = store_txn_begin(k->store, session_stripe(p->session));
    w->bad                = w->bad || action.bad;
    if (pending->writer_epoch != 0) { /* set beside the row of its packet id: by whoever has the session, as that is */
        once_fence(p->session, w);
    }
    if (message->qos == 2) {
        op_encode(w, &check);
        op_encode(w, &row);
    }
    op_encode(w, &timer);
    wire_writer_fini(&action);
    pending->before++;
    pending->delayed = true;
    pending->matched = true;
    k->counters.delayed++;
    store_txn_end(k->store, &work->call);
}
