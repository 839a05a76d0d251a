/* follow.c - pushes of a stream's records: what is there, then what is appended, without a gap and without a repeat.
 *
 *                      all read
 *     READY ─────────────────────────▶ TAIL      handed each record as it is applied, straight from the log's block
 *      ▲ │  no credit, no room in the output      │
 *      │ └──────────▶ CREDIT, OUTPUT ◀────────────┘
 *      │ └─ cold ───▶ DISK
 *      │ └─ damaged ▶ REPAIR
 *      └─────────────── when that has come
 *
 * Only next decides what comes: a follower that is not at the tail ignores what is applied and reads it later. */
#include "segstore/node/state.h"

#include "shared/base/buggify.h"
#include "shared/base/err.h"
#include "shared/base/hash.h"
#include "shared/rpc/op.h"

#include <stdlib.h>

enum { RECORDS_PER_RUN = 64, FRAME_LIMIT_BYTES = 256 * 1024 };

static uint64_t key_of(uint64_t stream_id)
{
    return hash_u64(stream_id);
}

static struct follower *follower_of(struct list *link)
{
    struct index_link *at = CONTAINER_OF(link, struct index_link, list);
    return CONTAINER_OF(at, struct follower, by_stream);
}

void record_put(struct wire_writer *w, uint64_t offset, struct bytes tag, struct bytes record)
{
    wire_put_u64(w, offset);
    wire_put_u8(w, (uint8_t)tag.size);
    wire_put_bytes(w, tag);
    wire_put_bytes(w, record);
}

/* Adds a record to the follower's frame when that is the last one in the output, else begins a new one. */
static void push(struct follower *f, uint64_t offset, struct bytes tag, struct bytes record)
{
    struct session *s = f->sub.session;
    if (s->open_follower != f || s->out.size - s->open_begun > FRAME_LIMIT_BYTES) {
        s->open_begun    = session_begin(s, RPC_RECORDS, f->sub.id);
        s->open_follower = f;
        s->open_count    = 0;
        wire_put_u32(&s->out, 0);
        wire_put_u64(&s->out, 0);
        if (!s->dirty) { /* session_end comes when the frame is closed: at the latest when it is sent */
            s->dirty = true;
            list_push_back(&s->node->dirty, &s->dirty_link);
        }
    }
    record_put(&s->out, offset, tag, record);
    s->open_count++;
    f->next = offset + 1;
    f->sub.credit--;
    s->node->counts.records_pushed++;
}

void follow_close_frame(struct follower *f, size_t begun, uint32_t count)
{
    struct session      *s = f->sub.session;
    struct stripe_stream stream;
    struct node_stripe  *st   = stripe_slot(s->node, stream_id_stripe(f->stream_id));
    uint64_t             next = stripe_stream(st->stripe, f->stream_id, &stream) == 0 ? stream.next_offset : f->next;
    if (!s->out.bad) {
        memcpy(s->out.data + begun + RPC_HEADER_BYTES, &count, sizeof count);
        memcpy(s->out.data + begun + RPC_HEADER_BYTES + sizeof count, &next, sizeof next);
    }
}

/* Something keeps it from going on; where it waits. */
static void wait_for(struct follower *f, enum follower_state state)
{
    struct session *s = f->sub.session;
    f->state          = (uint8_t)state;
    list_remove(&f->task.link);
    if (state == FOLLOWER_DISK) {
        list_push_back(&s->node->disk_waiters, &f->task.link);
    } else if (state == FOLLOWER_OUTPUT) {
        list_push_back(&s->output_waiters, &f->task.link);
    } else if (state == FOLLOWER_REPAIR) {
        repair_wait(s->node, &f->task);
    } else if (state == FOLLOWER_READY) {
        list_push_back(&s->node->ready, &f->task.link);
    }
}

static void run(struct node *node, struct task *task)
{
    struct follower     *f  = CONTAINER_OF(task, struct follower, task);
    struct node_stripe  *st = stripe_slot(node, stream_id_stripe(f->stream_id));
    struct stripe_stream stream;
    uint64_t             positions[RECORDS_PER_RUN];
    uint64_t             first;
    if (stripe_stream(st->stripe, f->stream_id, &stream) < 0) {
        subscription_end(&f->sub, ERR_NOT_FOUND);
        return;
    }
    int run   = BUGGIFY("follow: one record at a time", 2) ? 1 : RECORDS_PER_RUN;
    int count = stripe_positions(st->stripe, f->stream_id, f->next, positions, run, &first);
    for (int i = 0; i < count; i++) {
        struct fetched fetched;
        uint64_t       offset = first + (uint64_t)i;
        if (positions[i] == UINT64_MAX) { /* acknowledged already, ahead of the cursor */
            f->next = offset + 1;
            continue;
        }
        if (f->sub.credit == 0 || !session_roomy(f->sub.session)) {
            wait_for(f, f->sub.credit == 0 ? FOLLOWER_CREDIT : FOLLOWER_OUTPUT);
            return;
        }
        int result = fetch(&node->storage->fetch, positions[i], f->stream_id, &fetched);
        if (result == 1) {
            wait_for(f, FOLLOWER_DISK);
            return;
        }
        if (result < 0) {
            result = record_lost(node, st, f->stream_id, offset, positions[i]);
            if (result == 0) {
                f->next = offset + 1;
                continue;
            }
            if (result == 1 || result == ERR_UNAVAILABLE) { /* as long as it takes */
                wait_for(f, FOLLOWER_REPAIR);
                return;
            }
            subscription_end(&f->sub, result);
            return;
        }
        push(f, offset, fetched.tag, fetched.record);
    }
    if (count == 0) {
        f->next = stream.next_offset > f->next ? stream.next_offset : f->next;
    }
    wait_for(f, f->next >= stream.next_offset ? FOLLOWER_TAIL : FOLLOWER_READY);
}

void follow_begin(struct session *s, uint64_t id, struct wire_reader *r)
{
    uint64_t             stream_id = wire_get_u64(r);
    uint64_t             epoch     = wire_get_u64(r);
    uint64_t             from      = wire_get_u64(r);
    uint32_t             credit    = wire_get_u32(r);
    struct node_stripe  *st        = stripe_slot(s->node, stream_id_stripe(stream_id));
    struct stripe_stream stream;
    if (r->bad || subscription_find(s->node, s, id) != NULL) {
        session_error(s, id, ERR_MALFORMED, "FOLLOW is cut short, or its id is in use");
        return;
    }
    const char *why;
    int         status = stream_look(st, stream_id, &stream, &why);
    if (status < 0) {
        session_error(s, id, status, why);
        return;
    }
    if (epoch < stream.epoch) {
        session_error(s, id, ERR_FENCED, "a newer owner follows the stream");
        return;
    }
    struct follower *f = calloc(1, sizeof *f);
    if (f == NULL) {
        session_error(s, id, ERR_UNAVAILABLE, "out of memory");
        return;
    }
    f->stream_id = stream_id;
    f->epoch     = epoch;
    f->next      = from;
    f->task.run  = run;
    subscription_add(s, &f->sub, id, credit, false);
    list_push_back(&st->followers, &f->of_stripe);
    index_add(&s->node->followers, &f->by_stream, key_of(stream_id));
    wait_for(f, FOLLOWER_READY);
}

void follow_credit(struct follower *f)
{
    if (f->state == FOLLOWER_CREDIT && f->sub.credit > 0) {
        wait_for(f, FOLLOWER_READY);
    }
}

void follow_appended(struct node *node, uint64_t stream_id, uint64_t offset, struct bytes tag, struct bytes record)
{
    LIST_EACH (index_chain(&node->followers, key_of(stream_id)), link) {
        struct follower *f = follower_of(link);
        if (f->stream_id != stream_id || f->state != FOLLOWER_TAIL || offset < f->next) {
            continue; /* begun at an offset that is still to come, or not at the tail */
        }
        if (f->sub.credit == 0 || !session_roomy(f->sub.session)) {
            f->next = offset;
            wait_for(f, f->sub.credit == 0        ? FOLLOWER_CREDIT
                        : f->sub.session->sending ? FOLLOWER_OUTPUT
                                                  : FOLLOWER_READY);
            continue;
        }
        push(f, offset, tag, record);
    }
}

bool follow_any(const struct node *node, uint64_t stream_id)
{
    LIST_EACH (index_chain(&node->followers, key_of(stream_id)), link) {
        if (follower_of(link)->stream_id == stream_id) {
            return true;
        }
    }
    return false;
}

void follow_ended(struct node *node, uint64_t stream_id, uint64_t below_epoch, int status)
{
    LIST_EACH (index_chain(&node->followers, key_of(stream_id)), link) {
        struct follower *f = follower_of(link);
        if (f->stream_id == stream_id && (status == ERR_NOT_FOUND || f->epoch < below_epoch)) {
            subscription_end(&f->sub, status);
        }
    }
}

void follow_free(struct follower *f)
{
    struct session *s = f->sub.session;
    if (s->open_follower == f) {
        if (s->state != SESSION_CLOSED) {
            session_close_records(s);
        }
        s->open_follower = NULL;
    }
    list_remove(&f->task.link);
    list_remove(&f->of_stripe);
    index_remove(&s->node->followers, &f->by_stream);
    free(f);
}
