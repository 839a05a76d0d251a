/* request.c - what a broker asks, kind by kind. */
#include "segstore/node/state.h"

#include "shared/base/err.h"
#include "shared/rpc/op.h"

static void txn_failed(struct session *s, uint64_t id, int status, bool refusing)
{
    size_t begun = session_begin(s, RPC_TXN_DONE, id);
    wire_put_u32(&s->out, (uint32_t)status);
    wire_put_u8(&s->out, refusing);
    session_end(s, begun);
}

static bool appends_once(struct bytes ops)
{
    struct wire_reader r = wire_reader_of(ops);
    struct op          op;
    while (op_next(&r, &op) > 0) {
        if (op.kind == OP_APPEND && op.writer_id != 0) {
            return true;
        }
    }
    return false;
}

static int txn(struct session *s, uint64_t id, struct bytes body)
{
    struct node        *node = s->node;
    struct wire_reader  r    = wire_reader_of(body);
    struct node_stripe *st   = stripe_slot(node, wire_get_u16(&r));
    (void)wire_get_u16(&r);
    uint64_t     term   = wire_get_u64(&r);
    struct bytes ops    = bytes_of(r.at, wire_left(&r));
    int          result = r.bad ? ERR_MALFORMED : st == NULL ? ERR_UNAVAILABLE : 0;
    if (result == 0 && UNLIKELY(!stripe_led(st) || stripe_term(st) != term)) {
        result = ERR_NOT_LEADER;
    }
    if (result == 0) {
        result = stripe_validate(ops, node->config->record_max_bytes, false);
    }
    if (UNLIKELY(s->refusing) && result == 0 && appends_once(ops)) {
        result = ERR_DISK_FULL;
    }
    if (result == 0) {
        struct proposal origin = {.session_serial = s->serial,
                                  .session_slot   = s->slot,
                                  .request_id     = id,
                                  .request_bytes  = (uint32_t)body.size};
        result                 = propose(node, st, ops, &origin);
    }
    if (result == ERR_FULL) {
        return ERR_FULL;
    }
    if (result < 0) {
        bool first  = result == ERR_DISK_FULL && !s->refusing && appends_once(ops);
        s->refusing = s->refusing || first;
        txn_failed(s, id, result, first);
    } else {
        s->unanswered_bytes += body.size;
    }
    return 0;
}

static void credit(struct session *s, uint64_t id, struct wire_reader *r)
{
    struct subscription *sub  = subscription_find(s->node, s, id);
    uint32_t             more = wire_get_u32(r);
    if (sub == NULL || r->bad) {
        return; /* it ended, and the news is on its way */
    }
    sub->credit = UINT32_MAX - sub->credit < more ? UINT32_MAX : sub->credit + more;
    if (sub->is_watch) {
        watch_credit(CONTAINER_OF(sub, struct watcher, sub));
    } else {
        follow_credit(CONTAINER_OF(sub, struct follower, sub));
    }
}

static void cancel(struct session *s, uint64_t id)
{
    struct subscription *sub = subscription_find(s->node, s, id);
    if (sub != NULL) {
        subscription_free(sub);
    }
}

int request_handle(struct session *s, uint16_t kind, uint64_t id, struct bytes body)
{
    struct wire_reader r    = wire_reader_of(body);
    uint32_t           size = (uint32_t)body.size;
    switch (kind) {
    case RPC_TXN:
        return txn(s, id, body);
    case RPC_SCAN:
        return scan(s, id, &r);
    case RPC_WATCH:
        watch_begin(s, id, &r);
        return 0;
    case RPC_FOLLOW:
        follow_begin(s, id, &r);
        return 0;
    case RPC_CREDIT:
        credit(s, id, &r);
        return 0;
    case RPC_CANCEL:
        cancel(s, id);
        return 0;
    case RPC_READ:
        s->unanswered_bytes += size;
        read_begin(s, id, &r, size);
        return 0;
    case RPC_TAKE:
        s->unanswered_bytes += size;
        take_begin(s, id, &r, size);
        return 0;
    case RPC_RELEASE:
        release(s, id, &r);
        return 0;
    case RPC_PING:
        session_end(s, session_begin(s, RPC_PONG, id));
        return 0;
    case RPC_PONG:
        return 0;
    case RPC_RESUME:
        s->refusing = false;
        return 0;
    default:
        session_error(s, id, ERR_UNKNOWN, "this store does not know that kind of request");
        return 0;
    }
}
