/* will - one follower and one publisher per stripe. */
#include "broker/kernel/will.h"

#include "broker/kernel/assign.h"
#include "broker/kernel/message.h"
#include "broker/kernel/orphan.h"
#include "broker/kernel/publish.h"
#include "broker/kernel/publisher.h"
#include "shared/base/err.h"
#include "shared/base/log.h"
#include "shared/rpc/op.h"

#include <stdlib.h>

enum { CREDIT = 32 };
#define RETRY_NS 1000000000ull

enum will_state { WILL_IDLE, WILL_CREATING, WILL_FOLLOWING };

struct will_stream {
    struct kernel      *kernel;
    struct publisher    publisher;
    struct store_call   create;
    struct store_call   trim;
    struct store_follow follow;
    uint64_t            retry_ns;
    uint64_t            done_below; /* published */
    uint64_t            trim_below; /* asked to be forgotten */
    /* Numbers of those with QoS 2 among what is published and not forgotten: they may have rows (assign.h). */
    uint64_t *twos;
    uint32_t  two_count;
    uint32_t  two_capacity;
    uint32_t  two_trimming; /* of them, those that are being forgotten */
    uint16_t  stripe;
    uint8_t   state;
    bool      trimming;
    bool      abandoned;  /* one of those under way was: nothing behind it counts as done */
    int       complained; /* the status of the last complaint */
};

struct wills {
    uint32_t           count;
    struct will_stream streams[];
};

void will_append(struct wire_writer *w, const struct record *record, struct bytes tag)
{
    struct op create = {.kind = OP_STREAM_CREATE, .name = bytes_str(TABLES_WILLS)};
    op_encode(w, &create);
    size_t begun = op_append_begin(w, 0, 0, 0);
    op_append_target(w, OP_STREAM_LAST, tag);
    op_append_end(w, begun, 1, record);
}

void will_action(struct wire_writer *w, const struct will *will, uint64_t wall_ns)
{
    struct record record = {
        .qos             = will->qos,
        .flags           = will->retain ? RECORD_RETAIN : 0,
        .publish_wall_ns = wall_ns,
        .topic           = will->topic,
        .properties      = will->properties,
        .payload         = will->payload,
    };
    uint8_t            tag[4];
    struct wire_writer t = wire_writer_fixed(tag, sizeof tag);
    wire_put_u32(&t, will->message_expiry_s);
    will_append(w, &record, wire_written(&t));
}

/* ---- published ------------------------------------------------------------------------------------------------------ */

static void note_two(struct will_stream *stream, uint64_t sequence)
{
    if (stream->two_count == stream->two_capacity) {
        uint32_t  capacity = stream->two_capacity == 0 ? 16 : stream->two_capacity * 2;
        uint64_t *twos     = realloc(stream->twos, capacity * sizeof *twos);
        if (twos == NULL) {
            log_error("no memory to note what a will leaves in the store: a row of it may stay");
            return;
        }
        stream->twos         = twos;
        stream->two_capacity = capacity;
    }
    stream->twos[stream->two_count++] = sequence;
}

static void answered(struct publisher *p, struct pending *pending)
{
    struct will_stream *stream = CONTAINER_OF(p, struct will_stream, publisher);
    if (pending->status != 0) {
        log_warn("a will could not be stored for all its subscribers: %s", err_sentence(pending->status));
    }
    stream->abandoned = stream->abandoned || pending->abandoned;
    if (!stream->abandoned) {
        stream->done_below = pending->sequence >> 8;
        if (pending->qos == 2) {
            note_two(stream, pending->sequence);
        }
    } else if (stream->state == WILL_FOLLOWING) { /* the senior begins with it again, whoever that is */
        store_follow_cancel(stream->kernel->store, &stream->follow);
        stream->state    = WILL_IDLE;
        stream->retry_ns = stream->kernel->now_ns + RETRY_NS;
    }
    if (stream->state == WILL_FOLLOWING) {
        store_follow_credit(stream->kernel->store, &stream->follow, 1);
    }
}

/* The note of a queue whose session has ended. */
static bool take_orphan(struct publisher *p, uint64_t sequence, struct bytes client_id, struct bytes tag)
{
    struct wire_reader r         = wire_reader_of(tag);
    uint64_t           stream_id = wire_get_u64(&r);
    struct pending    *pending   = publisher_pending(p, 0, 0);
    if (pending == NULL) {
        return false;
    }
    pending->sequence = sequence;
    pending->delayed  = true;
    if (!kernel_has_stripe(p->kernel, stream_id)) {
        log_error("what is said of the queue of an ended session is not understood: passed over");
        publisher_flush(p);
    } else if (!orphan_begin(p, pending, client_id, stream_id)) {
        log_error("no memory for the queue of an ended session: what is left in it is dropped");
        publisher_flush(p);
    }
    return true;
}

/* A delayed message that expired before its time. */
static bool pass_over(struct publisher *p, uint64_t sequence)
{
    struct pending *pending = publisher_pending(p, 0, 0);
    if (pending == NULL) {
        return false;
    }
    pending->sequence = sequence;
    pending->delayed  = true;
    publisher_flush(p);
    return true;
}

static void followed(struct store_follow *follow, uint64_t offset, struct bytes tag, const struct record *record)
{
    struct will_stream *stream   = follow->ctx;
    struct kernel      *k        = stream->kernel;
    struct wire_reader  r        = wire_reader_of(tag);
    uint32_t            expiry_s = wire_get_u32(&r);
    struct message      m        = message_of_record(record);
    uint64_t            sequence = (offset + 1) << 8;
    bool                taken    = false;
    if (tag.size == ORPHAN_TAG_BYTES) {
        taken = take_orphan(&stream->publisher, sequence, m.topic, tag);
    } else if (tag.size == 0 && message_expired(&m, k->wall_ns)) {
        k->counters.expired++;
        taken = pass_over(&stream->publisher, sequence);
    } else {
        if (tag.size != 0) {
            m.expires_wall_ns = r.bad || expiry_s == UINT32_MAX ? 0 : k->wall_ns + expiry_s * 1000000000ull;
            k->counters.wills++;
        }
        m.publish_wall_ns = k->wall_ns;
        struct buf *copy  = message_keep(&m);
        taken             = copy != NULL && publish_kept(&stream->publisher, copy, 1, sequence);
        if (!taken) {
            buf_unref(copy);
        }
    }
    if (!taken) {
        /* It stays in its stream, and those behind it as well, until there is memory. */
        store_follow_cancel(k->store, follow);
        stream->state    = WILL_IDLE;
        stream->retry_ns = k->now_ns + RETRY_NS;
    }
}

/* It cannot be followed now: tried again in a while, said once. */
static void rest(struct will_stream *stream, int status)
{
    if (stream->complained != status) {
        log_warn("wills of stripe %u cannot be followed: %s; trying again", stream->stripe, err_sentence(status));
    }
    stream->complained = status;
    stream->state      = WILL_IDLE;
    stream->retry_ns   = stream->kernel->now_ns + RETRY_NS;
}

static void ended(struct store_follow *follow, int status)
{
    rest(follow->ctx, status);
}

static void created(struct store_call *call, int status, struct bytes results)
{
    struct will_stream *stream    = CONTAINER_OF(call, struct will_stream, create);
    struct wire_reader  r         = wire_reader_of(results);
    uint64_t            stream_id = wire_get_u64(&r);
    wire_get_u8(&r);
    uint64_t start = wire_get_u64(&r);
    wire_get_u64(&r); /* next */
    wire_get_u64(&r); /* epoch before */
    uint64_t epoch = wire_get_u64(&r);
    if (status != 0 || r.bad) {
        rest(stream, status != 0 ? status : ERR_MALFORMED);
        return;
    }
    stream->complained             = 0;
    stream->state                  = WILL_FOLLOWING;
    stream->publisher.count        = stream_id;
    stream->publisher.stream_epoch = epoch;
    stream->follow                 = (struct store_follow){.record = followed, .ended = ended, .ctx = stream};
    start                          = start > stream->done_below ? start : stream->done_below;
    stream->done_below             = start;
    stream->trim_below             = start;
    store_follow_start(stream->kernel->store, &stream->follow, stream_id, epoch, start, CREDIT);
}

static void create(struct will_stream *stream)
{
    struct op           op    = {.kind = OP_STREAM_CREATE, .name = bytes_str(TABLES_WILLS)};
    struct op           fence = {.kind = OP_FENCE, .stream_id = OP_STREAM_LAST};
    struct wire_writer *w     = store_txn_begin(stream->kernel->store, stream->stripe);
    stream->state             = WILL_CREATING;
    stream->abandoned         = false;
    stream->create.done       = created;
    op_encode(w, &op);
    op_encode(w, &fence); /* who followed before, and is taken for dead, reads no more */
    store_txn_end(stream->kernel->store, &stream->create);
}

static void trimmed(struct store_call *call, int status, struct bytes results)
{
    (void)results;
    struct will_stream *stream = CONTAINER_OF(call, struct will_stream, trim);
    stream->trimming           = false;
    if (status != 0) {
        log_warn("wills of stripe %u cannot be trimmed: %s", stream->stripe, err_sentence(status));
        return; /* the next one takes them along */
    }
    stream->two_count -= stream->two_trimming;
    if (stream->two_count != 0) {
        memmove(stream->twos, stream->twos + stream->two_trimming, stream->two_count * sizeof *stream->twos);
    }
}

bool will_start(struct kernel *k)
{
    uint32_t stripes = store_stripe_count(k->store);
    uint32_t count   = stripes / k->shard_count + (k->shard < stripes % k->shard_count ? 1 : 0);
    k->wills         = calloc(1, sizeof *k->wills + count * sizeof k->wills->streams[0]);
    if (k->wills == NULL) {
        return false;
    }
    k->wills->count = count;
    for (uint32_t i = 0; i < count; i++) {
        struct will_stream *stream = &k->wills->streams[i];
        stream->kernel             = k;
        stream->stripe             = (uint16_t)(k->shard + i * k->shard_count);
        publisher_init(&stream->publisher, k, NULL, answered);
        create(stream);
    }
    return true;
}

uint64_t will_flush(struct kernel *k)
{
    uint64_t wish_ns = UINT64_MAX;
    for (uint32_t i = 0; k->wills != NULL && i < k->wills->count; i++) {
        struct will_stream *stream = &k->wills->streams[i];
        if (stream->state == WILL_IDLE && stream->publisher.pending_count == 0 && kernel_senior(k)) {
            if (stream->retry_ns <= k->now_ns) {
                create(stream);
            } else if (stream->retry_ns < wish_ns) {
                wish_ns = stream->retry_ns;
            }
        }
        if (stream->done_below > stream->trim_below && !stream->trimming && kernel_senior(k)) {
            struct op op       = {.kind = OP_TRIM, .stream_id = stream->publisher.count, .offset = stream->done_below};
            stream->trim_below = stream->done_below;
            stream->trimming   = true;
            stream->trim.done  = trimmed;
            struct wire_writer *w = store_txn_begin(k->store, stream->stripe);
            op_encode(w, &op);
            for (uint32_t two = 0; two < stream->two_count; two++) {
                assign_kept_delete(w, stream->publisher.count, stream->twos[two]);
            }
            stream->two_trimming = stream->two_count;
            store_txn_end(k->store, &stream->trim);
        }
    }
    return wish_ns;
}

void will_fini(struct kernel *k)
{
    for (uint32_t i = 0; k->wills != NULL && i < k->wills->count; i++) {
        publisher_fini(&k->wills->streams[i].publisher);
        free(k->wills->streams[i].twos);
    }
    free(k->wills);
}
