/* request.c - what a broker asks, kind by kind. */
#include "segstore/node/state.h"

#include "shared/base/buggify.h"
#include "shared/base/err.h"
#include "shared/rpc/op.h"

#include <stdlib.h>

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
        if ((op.kind == OP_APPEND || op.kind == OP_APPEND_RUN) && op.writer_id != 0) {
            return true;
        }
    }
    return false;
}

/* The refusal that this one comes behind, or 0. */
static int refused_before(struct session *s, const struct node_stripe *st, uint16_t round, struct bytes ops)
{
    struct refusal *refusal = &s->refusals[st - s->node->stripes];
    if (refusal->status != 0 && refusal->round != round) {
        *refusal = (struct refusal){0};
    }
    return refusal->status == ERR_NOT_LEADER || (refusal->status != 0 && appends_once(ops)) ? refusal->status : 0;
}

/* True: it is the first of its round. */
static bool refusal_note(struct session *s, const struct node_stripe *st, uint16_t round, int status)
{
    if (s->refusals == NULL) {
        s->refusals = calloc(s->node->stripe_count, sizeof *s->refusals);
        ASSERT_MEMORY(s->refusals != NULL);
    }
    struct refusal *refusal = &s->refusals[st - s->node->stripes];
    if (refusal->status != 0) {
        return false;
    }
    *refusal = (struct refusal){.status = status, .round = round};
    return true;
}

static int txn(struct session *s, uint64_t id, struct bytes body)
{
    struct node        *node  = s->node;
    struct wire_reader  r     = wire_reader_of(body);
    struct node_stripe *st    = stripe_slot(node, wire_get_u16(&r));
    uint16_t            round = wire_get_u16(&r);
    uint64_t            term  = wire_get_u64(&r);
    struct bytes        ops   = bytes_of(r.at, wire_left(&r));
    if (r.bad || st == NULL) {
        txn_failed(s, id, r.bad ? ERR_MALFORMED : ERR_UNAVAILABLE, false);
        return 0;
    }
    int result = UNLIKELY(s->refusals != NULL) ? refused_before(s, st, round, ops) : 0;
    if (result == 0 &&
        UNLIKELY(!st->stopped && (!stripe_led(st) || stripe_term(st) != term || BUGGIFY("txn: not led yet", 100)))) {
        result = ERR_NOT_LEADER;
        (void)refusal_note(s, st, round, result);
    }
    if (result == 0) {
        result = stripe_validate(ops, node->config->record_max_bytes, false);
    }
    if (result < 0) {
        txn_failed(s, id, result, false);
        return 0;
    }
    struct proposal origin = {
        .session_serial = s->serial, .session_slot = s->slot, .request_id = id, .request_bytes = (uint32_t)body.size};
    result = propose(node, st, ops, &origin);
    if (result == ERR_FULL) {
        return ERR_FULL;
    }
    if (result < 0) {
        bool for_good = result == ERR_TOO_BIG; /* asked again, it is refused again */
        txn_failed(s, id, result, !for_good && appends_once(ops) && refusal_note(s, st, round, result));
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

/* The broker shard's earlier connections: it gave them up and asks again over this one. What is still on its way over
 * them is never done, or it would be done behind what follows here. A connection that only says hello ends nothing: a
 * broker that finds this node under a second address does not use that one. */
static void supersede(struct session *s)
{
    s->asks = true;
    LIST_EACH (&s->node->sessions, link) {
        struct session *old = CONTAINER_OF(link, struct session, link);
        if (old->serial < s->serial && old->state == SESSION_OPEN && old->peer == 0 && old->owner == s->owner &&
            old->instance == s->instance) {
            session_close(old);
        }
    }
}

int request_handle(struct session *s, uint16_t kind, uint64_t id, struct bytes body)
{
    struct wire_reader r    = wire_reader_of(body);
    uint32_t           size = (uint32_t)body.size;
    if (UNLIKELY(!s->asks) && kind != RPC_PING && kind != RPC_PONG) {
        supersede(s);
    }
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
    case RPC_RELAY:
        relay(s, body);
        return 0;
    case RPC_PING:
        session_end(s, session_begin(s, RPC_PONG, id));
        return 0;
    case RPC_PONG:
        return 0;
    default:
        session_error(s, id, ERR_UNKNOWN, "this store does not know that kind of request");
        return 0;
    }
}
