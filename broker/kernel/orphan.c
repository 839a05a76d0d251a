/* orphan - see orphan.h. */
#include "broker/kernel/orphan.h"

#include "broker/kernel/message.h"
#include "broker/kernel/reshare.h"
#include "broker/kernel/route.h"
#include "broker/kernel/will.h"
#include "shared/base/err.h"
#include "shared/base/hash.h"
#include "shared/base/log.h"
#include "shared/rpc/op.h"

#include <stdlib.h>

enum { CREDIT = 32, ORPHAN_ROW_VERSION = 1, ORPHAN_ROW_BYTES = 9 };
#define RETRY_NS 1000000000ull

struct orphan {
    struct list         link; /* in kernel.orphaned */
    struct publisher    publisher;
    struct publisher   *wills;
    struct pending     *note;
    struct store_call   call;
    struct store_follow follow;
    struct timer        retry;
    uint64_t            stream_id;
    uint64_t            next; /* the end of the queue */
    uint8_t            *done; /* per offset from position on; NULL: none is done */
    uint64_t            position;
    bool                read; /* to its end */
    bool                following;
    bool                deleting;
    uint32_t            id_size;
    uint8_t             id[];
};

void orphan_leave(struct wire_writer *w, struct bytes client_id, uint64_t stream_id)
{
    uint8_t            bytes[ORPHAN_TAG_BYTES];
    struct wire_writer tag    = wire_writer_fixed(bytes, sizeof bytes);
    struct record      record = {.topic = client_id};
    uint8_t            value[ORPHAN_ROW_BYTES];
    struct wire_writer v = wire_writer_fixed(value, sizeof value);
    wire_put_u64(&tag, stream_id);
    wire_put_u8(&v, ORPHAN_ROW_VERSION);
    wire_put_u64(&v, stream_id);
    struct op row = {.kind = OP_TABLE_PUT, .table = TABLE_ORPHANS, .name = client_id, .value = wire_written(&v)};
    op_encode(w, &row);
    will_append(w, &record, wire_written(&tag));
}

static void deleted(struct store_call *call, int status, struct bytes results);

static void delete_all(struct orphan *o)
{
    struct kernel      *k     = o->publisher.kernel;
    struct bytes        id    = bytes_of(o->id, o->id_size);
    struct wire_writer *w     = store_txn_begin(k->store, stream_id_stripe(o->stream_id));
    struct op           ops[] = {
                  {.kind = OP_STREAM_DELETE, .name = tables_stream(k->key, id)},
                  {.kind = OP_TABLE_DELETE, .table = TABLE_ORPHANS, .name = id},
    };
    op_encode(w, &ops[0]);
    op_encode(w, &ops[1]);
    o->call.done = deleted;
    store_txn_end(k->store, &o->call);
}

static void known(struct store_call *call, int status, struct bytes results);
static void finish(struct orphan *o);

/* Is the queue that the note names still there? */
static void ask(struct orphan *o)
{
    struct kernel *k   = o->publisher.kernel;
    struct op      get = {.kind = OP_TABLE_GET, .table = TABLE_ORPHANS, .name = bytes_of(o->id, o->id_size)};
    op_encode(store_txn_begin(k->store, stream_id_stripe(o->stream_id)), &get);
    o->call.done = known;
    store_txn_end(k->store, &o->call);
}

static void retried(struct timer *timer, uint64_t now_ns)
{
    (void)now_ns;
    struct orphan *o = CONTAINER_OF(timer, struct orphan, retry);
    if (o->note->abandoned && o->deleting) {
        finish(o); /* whoever is the senior begins with it again */
    } else if (o->deleting) {
        delete_all(o);
    } else {
        ask(o);
    }
}

static void orphan_free(struct orphan *o)
{
    timer_cancel(o->publisher.kernel->timers, &o->retry);
    list_remove(&o->link);
    publisher_fini(&o->publisher);
    free(o->done);
    free(o);
}

static void finish(struct orphan *o)
{
    struct publisher *wills = o->wills;
    o->note->before--;
    orphan_free(o);
    publisher_flush(wills);
}

static void deleted(struct store_call *call, int status, struct bytes results)
{
    (void)results;
    struct orphan *o = CONTAINER_OF(call, struct orphan, call);
    struct kernel *k = o->publisher.kernel;
    if (status != 0) {
        log_warn("the queue of an ended session cannot be deleted: %s; trying again", err_sentence(status));
        timer_arm(k->timers, &o->retry, k->now_ns + RETRY_NS, retried);
        return;
    }
    finish(o);
}

/* Last, once: when the queue is read and of what was given out `left` messages are not answered. */
static void settle(struct orphan *o, uint32_t left)
{
    if (!o->read || o->deleting || left != 0) {
        return;
    }
    o->deleting = true;
    if (o->note->abandoned) {
        timer_arm(o->publisher.kernel->timers, &o->retry, o->publisher.kernel->now_ns,
                  retried); /* not from within its own publisher */
    } else {
        delete_all(o);
    }
}

static void read_all(struct orphan *o)
{
    if (o->following) {
        o->following = false;
        store_follow_cancel(o->publisher.kernel->store, &o->follow);
    }
    o->read = true;
    settle(o, o->publisher.pending_count);
}

static void answered(struct publisher *p, struct pending *pending)
{
    struct orphan *o = CONTAINER_OF(p, struct orphan, publisher);
    p->kernel->counters.dropped += pending->status != 0;
    o->note->abandoned = o->note->abandoned || pending->abandoned;
    if (o->following) {
        store_follow_credit(p->kernel->store, &o->follow, 1);
    }
    settle(o, p->pending_count - 1); /* this one is still counted */
}

static void followed(struct store_follow *follow, uint64_t offset, struct bytes tag_bytes, const struct record *record)
{
    struct orphan      *o = follow->ctx;
    struct kernel      *k = o->publisher.kernel;
    struct delivery_tag tag;
    bool done = o->done != NULL && offset >= o->position && offset < o->next && o->done[offset - o->position] != 0;
    struct group   *g       = done || !delivery_tag_read(tag_bytes, &tag) || tag.group == 0 || tag.qos != 1
                                  ? NULL
                                  : group_hashed(k, tag.group);
    struct pending *pending = g == NULL ? NULL : publisher_pending(&o->publisher, 0, 1);
    if (pending != NULL) {
        struct message message = message_of_record(record);
        pending->handed_out    = true;
        pending->writer_epoch  = 1;
        pending->sequence      = (offset + 1) << 8;
        reshare_give(k, g, &message, k->shard, pending);
        publisher_flush(&o->publisher);
    } else {
        k->counters.dropped += g != NULL;
        store_follow_credit(k->store, &o->follow, 1);
    }
    if (offset + 1 >= o->next) {
        read_all(o);
    }
}

static void ended(struct store_follow *follow, int status)
{
    struct orphan *o = follow->ctx;
    o->following     = false;
    if (status != ERR_NOT_FOUND) {
        log_warn("the queue of an ended session cannot be read: %s; what is left in it is dropped",
                 err_sentence(status));
    }
    read_all(o);
}

static void looked(struct store_call *call, int status, struct bytes results)
{
    struct orphan     *o     = CONTAINER_OF(call, struct orphan, call);
    struct wire_reader r     = wire_reader_of(results);
    uint64_t           epoch = wire_get_u64(&r);
    o->position              = wire_get_u64(&r);
    wire_get_u64(&r); /* sent */
    o->next        = wire_get_u64(&r);
    uint32_t count = wire_get_u32(&r);
    if (status != 0 || r.bad || o->position >= o->next) {
        read_all(o);
        return;
    }
    o->done = count == 0 ? NULL : calloc(1, o->next - o->position);
    for (uint32_t i = 0; i < count && !r.bad && o->done != NULL; i++) {
        uint64_t first = wire_get_u64(&r);
        uint64_t last  = wire_get_u64(&r);
        uint8_t  mark  = wire_get_u8(&r);
        for (uint64_t at = first; mark == CURSOR_DONE && at <= last && at < o->next; at++) {
            o->done[at - o->position] = at >= o->position;
        }
    }
    o->publisher.count = o->stream_id; /* the writer */
    o->following       = true;
    o->follow          = (struct store_follow){.record = followed, .ended = ended, .ctx = o};
    store_follow_start(o->publisher.kernel->store, &o->follow, o->stream_id, epoch, o->position, CREDIT);
}

/* A note that is read again, after a crash or because its transaction was repeated, must not touch what has the name by now. */
static void known(struct store_call *call, int status, struct bytes results)
{
    struct orphan     *o = CONTAINER_OF(call, struct orphan, call);
    struct kernel     *k = o->publisher.kernel;
    struct wire_reader r = wire_reader_of(results);
    wire_get_u64(&r); /* version */
    struct wire_reader row     = wire_reader_of(wire_get_blob(&r));
    uint8_t            version = wire_get_u8(&row);
    uint64_t           stream  = wire_get_u64(&row);
    if (status != 0) {
        log_warn("the queue of an ended session cannot be looked for: %s; trying again", err_sentence(status));
        timer_arm(k->timers, &o->retry, k->now_ns + RETRY_NS, retried);
        return;
    }
    if (r.bad || row.bad || version != ORPHAN_ROW_VERSION || stream != o->stream_id) {
        finish(o);
        return;
    }
    struct op           ops[] = {{.kind = OP_FENCE, .stream_id = stream}, {.kind = OP_CURSOR_GET, .stream_id = stream}};
    struct wire_writer *w     = store_txn_begin(k->store, stream_id_stripe(stream));
    op_encode(w, &ops[0]);
    op_encode(w, &ops[1]);
    o->call.done = looked;
    store_txn_end(k->store, &o->call);
}

bool orphan_begin(struct publisher *wills, struct pending *note, struct bytes id, uint64_t stream_id)
{
    struct kernel *k = wills->kernel;
    struct orphan *o = calloc(1, sizeof *o + id.size);
    if (o == NULL) {
        return false;
    }
    publisher_init(&o->publisher, k, NULL, answered);
    route_forget(k, id, stream_id); /* so that it is not chosen itself */
    list_push_back(&k->orphaned, &o->link);
    o->wills     = wills;
    o->note      = note;
    o->stream_id = stream_id;
    o->id_size   = (uint32_t)id.size;
    memcpy(o->id, id.data, id.size);
    note->before++;
    ask(o);
    return true;
}

void orphan_fini(struct kernel *k)
{
    while (!list_empty(&k->orphaned)) {
        orphan_free(CONTAINER_OF(k->orphaned.next, struct orphan, link));
    }
}
