/* delivery - one function gives a message to the protocol; the rest decides when. */
#include "broker/kernel/delivery.h"

#include "shared/base/buggify.h"
#include "shared/rpc/op.h"

#include "broker/kernel/mail.h"
#include "broker/kernel/message.h"
#include "broker/kernel/reader.h"
#include "broker/kernel/reshare.h"
#include "broker/kernel/retain.h"
#include "broker/kernel/standing.h"
#include "shared/base/err.h"
#include "shared/base/log.h"

#include <stdlib.h>

/* A session's window travels to the segment store and back while publishes do: it has to cover a few of its writes. */
enum { CREDIT_MAX = 4096, QUEUED_OVERHEAD_BYTES = 256 };

static enum deliver_result give(struct session *s, struct fanout *f, const struct delivery_tag *tag, uint16_t id,
                                bool duplicate)
{
    struct delivery d = {
        .message               = f->message,
        .qos                   = tag->qos,
        .retain                = tag->retain,
        .duplicate             = duplicate,
        .id                    = id,
        .subscription_id_count = tag->count,
        .subscription_ids      = tag->ids,
    };
    const void         *cache  = f->message->cache;
    enum deliver_result result = s->client->ops->deliver(s->client, &d);
    if (UNLIKELY(f->message->cache != cache)) {
        f->ops = s->client->ops; /* whose it is: of the clients of a message some may be bridges */
    }
    s->kernel->counters.deliveries += result == DELIVER_OK;
    s->kernel->counters.dropped += result == DELIVER_TOO_BIG;
    return result;
}

/* Of one that is in no list any more. */
static void queued_free(struct session *s, struct queued *q)
{
    if (q->group != NULL) {
        q->group->held--;
        group_settle(s->kernel, q->group);
    }
    buf_unref(q->message);
    free(q);
}

void delivery_free(struct delivery_state *d)
{
    if (d == NULL) {
        return;
    }
    struct list *link;
    while ((link = list_pop_front(&d->queue)) != NULL) {
        queued_free(d->session, CONTAINER_OF(link, struct queued, link));
    }
    reshare_forget(d->session);
    list_remove(&d->overrun_link);
    timer_cancel(d->session->kernel->timers, &d->overrun);
    window_fini(&d->window);
    d->session->delivery = NULL;
    free(d);
}

bool delivery_waiting(const struct session *s)
{
    return s->delivery != NULL && (s->delivery->blocked || !list_empty(&s->delivery->queue));
}

/* ---- live --------------------------------------------------------------------------------------------------------- */

static bool may_send(const struct session *s, const struct delivery_state *d, const struct group *group)
{
    return !d->blocked && d->inflight < s->receive_max - readers_reserved(s) && !readers_block_own(s) &&
           window_fits(&d->window, d->window.next) && (group == NULL || reshare_room(s));
}

/* False: the client's output is full, or memory is out. */
static bool send_live(struct session *s, struct fanout *f, const struct delivery_tag *tag)
{
    struct delivery_state *d      = s->delivery;
    uint64_t               offset = d->window.next;
    if (window_reserve(&d->window, offset) != 0) {
        return false;
    }
    enum deliver_result result = give(s, f, tag, window_id(offset), false);
    if (result == DELIVER_FULL) {
        d->blocked = true;
        standing_note(s);
        return false;
    }
    if (result == DELIVER_OK) {
        int error = window_set(&d->window, offset, tag->qos == 1 ? WINDOW_SENT_1 : WINDOW_SENT_2);
        ASSERT(error == 0);
        d->inflight++;
        standing_note(s);
        if (f->group != NULL && tag->qos == 1) {
            reshare_hold(s, offset, f);
        }
    }
    return true;
}

static void overrun_expired(struct timer *timer, uint64_t now_ns)
{
    (void)now_ns;
    struct delivery_state *d = CONTAINER_OF(timer, struct delivery_state, overrun);
    session_evict(d->session, EVICT_OVERRUN);
}

/* The queue is over its bound: whoever feeds it is paused, and it has overrun_after_ns to get below. */
static void overrun_begin(struct session *s, const struct fanout *f)
{
    struct kernel         *k = s->kernel;
    struct delivery_state *d = s->delivery;
    if (!list_linked(&d->overrun_link)) {
        list_push_back(&k->overruns, &d->overrun_link);
        timer_arm(k->timers, &d->overrun, k->now_ns + k->limits.overrun_after_ns, overrun_expired);
    }
    if (f->publisher != NULL) {
        f->publisher->slow |= 1ull << k->shard;
    } else if (f->from_serial != 0) {
        k->slow_told |= 1ull << f->from_shard;
        mail_signal(k, f->from_shard, MAIL_SLOW, f->from_serial);
    }
}

static void overrun_look(struct session *s)
{
    struct delivery_state *d = s->delivery;
    if (list_linked(&d->overrun_link) && d->queue_bytes <= s->kernel->limits.live_queue_bytes / 2) {
        list_remove(&d->overrun_link);
        timer_cancel(s->kernel->timers, &d->overrun);
    }
}

static void enqueue(struct session *s, struct fanout *f, const struct delivery_tag *tag)
{
    struct delivery_state *d = s->delivery;
    struct queued         *q = malloc(sizeof *q);
    if (f->shared == NULL) {
        f->shared = message_keep(f->message);
    }
    size_t limit = s->kernel->limits.live_queue_bytes;
    if (q == NULL || f->shared == NULL || d->queue_bytes > 2 * limit) {
        /* Those who were told to pause sent on what was under way, up to as much again: more is not kept. */
        free(q);
        s->kernel->counters.dropped++;
        session_evict(s, EVICT_OVERRUN);
        return;
    }
    q->message = buf_ref(f->shared);
    q->tag     = *tag;
    q->group   = f->group;
    if (q->group != NULL) {
        q->group->held++;
        standing_note(s);
    }
    list_push_back(&d->queue, &q->link);
    d->queue_bytes += f->shared->size + QUEUED_OVERHEAD_BYTES;
    if (d->queue_bytes > limit) {
        overrun_begin(s, f);
    }
}

void deliver(struct session *s, struct fanout *f, const struct delivery_tag *tag)
{
    if (s->client == NULL || s->state != SESSION_OPEN) {
        return;
    }
    if (tag->qos == 0) {
        s->kernel->counters.dropped += give(s, f, tag, 0, false) == DELIVER_FULL;
        return;
    }
    ASSERT(!session_stored(s));
    struct delivery_state *d = session_delivery(s);
    if (d == NULL) {
        s->kernel->counters.dropped++;
        session_evict(s, EVICT_OVERRUN);
        return;
    }
    if (!list_empty(&d->queue) || !may_send(s, d, f->group) || !send_live(s, f, tag)) {
        enqueue(s, f, tag);
    }
}

void delivery_pump(struct session *s)
{
    struct delivery_state *d = s->delivery;
    if (d == NULL || s->client == NULL || s->state != SESSION_OPEN) {
        return;
    }
    while (!list_empty(&d->queue)) {
        struct queued *q = CONTAINER_OF(d->queue.next, struct queued, link);
        if (!may_send(s, d, q->group)) {
            break;
        }
        struct message message = message_of(q->message);
        if (message_expired(&message, s->kernel->wall_ns)) {
            s->kernel->counters.expired++;
        } else {
            struct fanout f    = {.message = &message, .group = q->group};
            bool          sent = send_live(s, &f, &q->tag);
            fanout_end(&f);
            if (!sent) {
                break;
            }
        }
        d->queue_bytes -= q->message->size + QUEUED_OVERHEAD_BYTES;
        list_remove(&q->link);
        queued_free(s, q);
    }
    overrun_look(s);
    retain_continue(s);
}

/* ---- stored ------------------------------------------------------------------------------------------------------- */

static void done_unsent(struct session *s, uint64_t offset)
{
    if (window_set(&s->delivery->window, offset, WINDOW_DONE) != 0) {
        session_evict(s, EVICT_UNAVAILABLE);
        return;
    }
    ack_note(s, offset, CURSOR_DONE);
}

static void followed(struct store_follow *follow, uint64_t offset, struct bytes tag_bytes, const struct record *record)
{
    struct session        *s    = follow->ctx;
    struct keep           *keep = s->keep;
    struct delivery_state *d    = s->delivery;
    struct delivery_tag    tag;
    keep->credit -= keep->credit != 0;
    if (s->client == NULL || d->blocked || offset < keep->follow_next) {
        return; /* it is asked for again when the client is writable */
    }
    enum window_state state = window_get(&d->window, offset);
    struct message    m     = message_of_record(record);
    if (state != WINDOW_NONE) {
        keep->follow_next = offset + 1;
        delivery_credit(s);
        return; /* its PUBREC is recorded, or it is done */
    }
    if (UNLIKELY(readers_block_own(s))) { /* until kernel_done of what the reader has sent */
        keep->follow_next = offset;
        delivery_unfollow(s);
        return;
    }
    bool again = offset < keep->again_below;
    if (!window_fits(&d->window, offset) || window_reserve(&d->window, offset) != 0) {
        session_evict(s, EVICT_UNAVAILABLE);
        return;
    }
    if (!delivery_tag_read(tag_bytes, &tag)) {
        log_error("a record in a session's stream has a tag that is not understood: skipped");
        keep->follow_next = offset + 1;
        done_unsent(s, offset);
        return;
    }
    /* [MQTT-4.3.3-7]: one that may have been sent before does not expire any more. */
    if (!again && message_expired(&m, s->kernel->wall_ns)) {
        s->kernel->counters.expired++;
        keep->follow_next = offset + 1;
        done_unsent(s, offset);
        delivery_credit(s);
        return;
    }
    struct fanout       f      = {.message = &m};
    enum deliver_result result = give(s, &f, &tag, window_id(offset), again);
    fanout_end(&f);
    if (result == DELIVER_FULL) {
        d->blocked        = true;
        keep->follow_next = offset;
        standing_note(s);
        return;
    }
    keep->follow_next = offset + 1;
    if (keep->sent < offset + 1) {
        keep->sent = offset + 1;
    }
    if (result == DELIVER_TOO_BIG) {
        done_unsent(s, offset);
        delivery_credit(s);
        return;
    }
    int error = window_set(&d->window, offset, tag.qos == 1 ? WINDOW_SENT_1 : WINDOW_SENT_2);
    ASSERT(error == 0);
    d->inflight++;
    standing_note(s);
    delivery_credit(s); /* what was left out of the last portion */
}

static void follow_ended(struct store_follow *follow, int status)
{
    struct session *s  = follow->ctx;
    s->keep->following = false;
    bool taken         = status == ERR_FENCED || status == ERR_NOT_FOUND;
    s->keep->fenced    = s->keep->fenced || taken;
    if (!taken) {
        log_warn("a session's stream cannot be served: %s", err_sentence(status));
    }
    session_evict(s, taken ? EVICT_TAKEN_OVER : EVICT_UNAVAILABLE);
}

/* How many more records the client may be sent now. */
static uint32_t room(const struct session *s)
{
    const struct delivery_state *d    = s->delivery;
    const struct keep           *keep = s->keep;
    uint64_t                     span = d->window.base + WINDOW_WIDTH_MAX - keep->follow_next;
    uint32_t                     own  = s->receive_max - readers_reserved(s);
    uint32_t                     most = own > d->inflight ? own - d->inflight : 0;
    most                              = most > CREDIT_MAX ? CREDIT_MAX : most;
    most                              = most > 1 && BUGGIFY("delivery: short credit", 2) ? 1 : most;
    most                              = most > span ? (uint32_t)span : most;
    return most;
}

void delivery_credit(struct session *s)
{
    struct keep *keep = s->keep;
    uint32_t     most = room(s);
    /* In portions: a credit frame per record would double the traffic. */
    if (!keep->following || s->delivery->blocked || most <= keep->credit || (keep->credit > most / 2)) {
        return;
    }
    uint32_t more = most - keep->credit;
    keep->credit  = most;
    store_follow_credit(s->kernel->store, &keep->follow, more);
}

void delivery_follow(struct session *s)
{
    struct keep *keep   = s->keep;
    keep->credit        = room(s);
    keep->following     = true;
    keep->follow.record = followed;
    keep->follow.ended  = follow_ended;
    keep->follow.ctx    = s;
    store_follow_start(s->kernel->store, &keep->follow, s->who.stream_id, keep->epoch, keep->follow_next, keep->credit);
}

void delivery_share(struct session *s)
{
    if (s->keep != NULL && s->keep->following && reader_count(s) == 1) {
        delivery_unfollow(s);
        delivery_follow(s);
    }
}

void delivery_unfollow(struct session *s)
{
    if (s->keep != NULL && s->keep->following) {
        s->keep->following = false;
        store_follow_cancel(s->kernel->store, &s->keep->follow);
    }
}
