/* close - from the end of a connection to the end of what is kept for it on this shard.
 *
 *     what is under way is finished first: publishes not answered, acknowledgements not recorded; then one last transaction:
 *       stored, expiry > 0   note what was sent, will and expiry begin to count, the row says closed
 *       stored, expiry 0     the will is run, everything is deleted
 *       live                 the will is run, if there is one
 *     then the claim is given back: whoever waits for it finds all that was acknowledged. */
#include "broker/kernel/delivery.h"
#include "broker/kernel/events.h"
#include "broker/kernel/life.h"
#include "broker/kernel/opening.h"
#include "broker/kernel/reader.h"
#include "broker/kernel/once.h"
#include "broker/kernel/reshare.h"
#include "broker/kernel/retain.h"
#include "broker/kernel/session.h"
#include "broker/kernel/stored.h"
#include "broker/kernel/sub.h"
#include "broker/kernel/subscribe.h"
#include "shared/base/err.h"
#include "shared/base/log.h"
#include "shared/rpc/op.h"

#include <stdlib.h>

struct closing {
    struct store_call call;
    struct session   *session;
    bool              discard_will;
    bool              set_expiry;
    uint32_t          expiry_s;
};

static void finish(struct session *s)
{
    directory_release(s);
    session_free(s);
}

static void ended(struct store_call *call, int status, struct bytes results)
{
    (void)results;
    struct closing *c = CONTAINER_OF(call, struct closing, call);
    if (status != 0 && status != ERR_FENCED && status != ERR_NOT_FOUND) {
        log_warn("a session could not be closed in order: %s", err_sentence(status));
    }
    finish(c->session);
}

static void end_stored(struct wire_writer *w, struct session *s, const struct closing *c)
{
    uint32_t expiry_s = c->set_expiry ? c->expiry_s : s->expiry_s;
    /* First, so that a former owner that was fenced changes nothing of its heir's. */
    struct op move = {
        .kind = OP_CURSOR_MOVE, .stream_id = s->who.stream_id, .epoch = s->keep->epoch, .sent = s->keep->sent};
    op_encode(w, &move);
    if (expiry_s == 0) {
        life_delete(w, s, !c->discard_will);
        return;
    }
    if (s->has_will) {
        life_will(w, s, c->discard_will ? OP_TIMER_CANCEL : OP_TIMER_START);
    }
    if (expiry_s != s->expiry_s) {
        life_expiry(w, s, expiry_s);
    }
    if (expiry_s != EXPIRY_NEVER) {
        life_expiry_start(w, s);
    }
    readers_close_rows(s, w);
    life_row(w, s, false, expiry_s);
    once_close_rows(s, w);
}

static bool under_way(const struct session *s)
{
    const struct keep *keep = s->keep;
    return s->busy != 0 || (s->publisher != NULL && !list_empty(&s->publisher->pendings)) ||
           (keep != NULL && !keep->fenced && keep->moves.count != 0);
}

void close_continue(struct session *s)
{
    if (s->state != SESSION_CLOSING || under_way(s)) {
        return;
    }
    struct kernel  *k = s->kernel;
    struct closing *c = s->closing;
    session_step(s, SESSION_ENDING);
    bool nothing = session_stored(s) ? s->keep->fenced : !s->has_will;
    if (nothing || c == NULL) {
        finish(s);
        return;
    }
    uint16_t            stripe = session_stripe(s);
    struct wire_writer *w      = store_txn_begin(k->store, stripe);
    if (session_stored(s)) {
        end_stored(w, s, c);
    } else {
        life_will(w, s, c->discard_will ? OP_TIMER_CANCEL : OP_TIMER_START);
    }
    c->session   = s;
    c->call.done = ended;
    store_txn_end(k->store, &c->call);
}

static const char *why_closed(const struct session *s, bool discard_will)
{
    static const char *const evicted[] = {
        [EVICT_TAKEN_OVER]  = "taken_over",
        [EVICT_OVERRUN]     = "overrun",
        [EVICT_UNAVAILABLE] = "unavailable",
        [EVICT_SHUTDOWN]    = "shutdown",
    };
    return s->evict_why != 0 ? evicted[s->evict_why - 1] : discard_will ? "normal" : "lost";
}

void close_begin(struct session *s, bool discard_will, bool set_expiry, uint32_t expiry_s)
{
    bool was_open = s->state == SESSION_OPEN;
    s->kernel->counters.sessions_open -= was_open;
    session_step(s, SESSION_CLOSING);
    s->closing = calloc(1, sizeof *s->closing);
    if (s->closing == NULL) {
        log_error("no memory to close a session in order: it ends with this broker");
    } else {
        s->closing->discard_will = discard_will;
        s->closing->set_expiry   = set_expiry;
        s->closing->expiry_s =
            expiry_s > s->kernel->limits.session_expiry_max_s ? s->kernel->limits.session_expiry_max_s : expiry_s;
    }
    subscribe_cancel_all(s);
    retain_cancel_all(s);
    delivery_unfollow(s);
    readers_stop(s);
    sub_remove_all(s->kernel, &s->who);
    stored_close(s);
    if (s->delivery != NULL) {
        reshare_all(s);
        if (s->delivery->readers == NULL) { /* else their positions are written at the end */
            delivery_free(s->delivery);
        }
    }
    if (was_open) {
        events_disconnected(s, why_closed(s, discard_will));
    }
    close_continue(s);
}

void kernel_close(struct kernel *k, struct client *client, const struct close_request *request)
{
    (void)k;
    struct session *s = client->session;
    if (s == NULL) {
        return;
    }
    s->client       = NULL;
    client->session = NULL;
    switch ((enum session_state)s->state) {
    case SESSION_CLAIMING:
        directory_release(s);
        session_free(s);
        return;
    case SESSION_LOADING:
        s->opening->discard_will = request->discard_will;
        s->opening->set_expiry   = request->set_expiry;
        s->opening->expiry_s     = request->expiry_s;
        return;
    default:
        close_begin(s, request->discard_will, request->set_expiry, request->expiry_s);
    }
}
