/* read.c - READ and TAKE: answers that need records, which may have to come from disk. */
#include "segstore/node/state.h"

#include "shared/base/err.h"
#include "shared/rpc/op.h"

#include <stdlib.h>

enum { READ_RECORDS_MAX = 1024, READ_BYTES_MAX = 1024 * 1024 };

struct job {
    struct task        task;
    struct session    *session;
    uint64_t           id;
    uint64_t           stream_id;
    uint64_t           consumer;
    uint64_t           start_offset;
    uint64_t           next_offset;
    uint32_t           cursor;
    uint32_t           request_bytes;
    uint32_t           limit_bytes;
    uint32_t           at;
    uint32_t           count; /* offsets to fetch */
    uint32_t           found;
    bool               is_take;
    struct wire_writer records;
    uint64_t           offsets[READ_RECORDS_MAX];
    uint32_t           deliveries[READ_RECORDS_MAX];
};

static void job_free(struct job *job)
{
    list_remove(&job->task.link);
    wire_writer_fini(&job->records);
    free(job);
}

static void job_answer(struct job *job)
{
    struct session *s     = job->session;
    size_t          begun = session_begin(s, job->is_take ? RPC_TAKE_DONE : RPC_READ_DONE, job->id);
    if (!job->is_take) {
        wire_put_u64(&s->out, job->start_offset);
        wire_put_u64(&s->out, job->next_offset);
    }
    wire_put_u32(&s->out, job->found);
    wire_put_bytes(&s->out, wire_written(&job->records));
    session_end(s, begun);
    session_answered(s, job->request_bytes);
    job_free(job);
}

static void job_fail(struct job *job, int status, const char *text)
{
    session_error(job->session, job->id, status, text);
    session_answered(job->session, job->request_bytes);
    job_free(job);
}

/* Offsets that were taken but do not fit the answer go back to the others. */
static void give_back(struct job *job, struct node_stripe *st)
{
    if (job->is_take && job->at < job->count) {
        stripe_release(st->stripe, job->stream_id, job->cursor, job->consumer, job->offsets + job->at,
                       (int)(job->count - job->at));
    }
}

static void run(struct node *node, struct task *task)
{
    struct job         *job = CONTAINER_OF(task, struct job, task);
    struct node_stripe *st  = stripe_slot(node, stream_id_stripe(job->stream_id));
    if (!session_roomy(job->session)) {
        list_push_back(&job->session->output_waiters, &job->task.link);
        return;
    }
    for (; job->at < job->count && job->records.size < job->limit_bytes; job->at++) {
        uint64_t       position;
        uint64_t       first;
        uint64_t       offset = job->offsets[job->at];
        struct fetched fetched;
        if (stripe_positions(st->stripe, job->stream_id, offset, &position, 1, &first) < 1 || first != offset ||
            position == UINT64_MAX) {
            continue; /* trimmed or acknowledged since */
        }
        int result = fetch(&node->storage->fetch, position, job->stream_id, &fetched);
        if (result == 1) {
            list_push_back(&node->disk_waiters, &job->task.link);
            return;
        }
        if (result < 0) {
            result = record_lost(node, st, job->stream_id, offset, position);
            if (result == 0) {
                continue;
            }
            if (result == 1) {
                repair_wait(node, &job->task);
                return;
            }
            give_back(job, st);
            job_fail(job, result, "a record on disk is damaged");
            return;
        }
        if (job->is_take) {
            wire_put_u64(&job->records, offset);
            wire_put_u32(&job->records, job->deliveries[job->at]);
            wire_put_u8(&job->records, (uint8_t)fetched.tag.size);
            wire_put_bytes(&job->records, fetched.tag);
            wire_put_bytes(&job->records, fetched.record);
        } else {
            record_put(&job->records, offset, fetched.tag, fetched.record);
        }
        job->found++;
    }
    give_back(job, st);
    job_answer(job);
}

static struct job *job_new(struct session *s, uint64_t id, uint64_t stream_id, uint32_t request_bytes)
{
    struct job *job = malloc(sizeof *job);
    if (job == NULL) {
        session_error(s, id, ERR_UNAVAILABLE, "out of memory");
        session_answered(s, request_bytes);
        return NULL;
    }
    memset(job, 0, offsetof(struct job, offsets));
    job->session       = s;
    job->id            = id;
    job->stream_id     = stream_id;
    job->request_bytes = request_bytes;
    job->limit_bytes   = READ_BYTES_MAX;
    job->records       = wire_writer_growing(RPC_BODY_MAX_BYTES);
    job->task.run      = run;
    return job;
}

static void answer_error(struct session *s, uint64_t id, int status, const char *text, uint32_t request_bytes)
{
    session_error(s, id, status, text);
    session_answered(s, request_bytes);
}

int stream_look(const struct node_stripe *st, uint64_t stream_id, struct stripe_stream *out, const char **why)
{
    if (st == NULL || st->stopped) {
        *why = "the stripe is not served here";
        return ERR_UNAVAILABLE;
    }
    if (!stripe_reads(st)) {
        *why = err_sentence(ERR_NOT_LEADER);
        return ERR_NOT_LEADER;
    }
    *why = "there is no such stream";
    return stripe_stream(st->stripe, stream_id, out) < 0 ? ERR_NOT_FOUND : 0;
}

void read_begin(struct session *s, uint64_t id, struct wire_reader *r, uint32_t request_bytes)
{
    uint64_t             stream_id     = wire_get_u64(r);
    uint64_t             from          = wire_get_u64(r);
    uint32_t             limit_records = wire_get_u32(r);
    uint32_t             limit_bytes   = wire_get_u32(r);
    struct node_stripe  *st            = stripe_slot(s->node, stream_id_stripe(stream_id));
    struct stripe_stream stream;
    if (r->bad) {
        answer_error(s, id, ERR_MALFORMED, "READ is cut short", request_bytes);
        return;
    }
    const char *why;
    int         status = stream_look(st, stream_id, &stream, &why);
    if (status < 0) {
        answer_error(s, id, status, why, request_bytes);
        return;
    }
    if (from < stream.start_offset) {
        answer_error(s, id, ERR_TRIMMED, "the offset lies before the start of the stream", request_bytes);
        return;
    }
    struct job *job = job_new(s, id, stream_id, request_bytes);
    if (job == NULL) {
        return;
    }
    job->start_offset = stream.start_offset;
    job->next_offset  = stream.next_offset;
    job->limit_bytes  = limit_bytes == 0 || limit_bytes > READ_BYTES_MAX ? READ_BYTES_MAX : limit_bytes;
    limit_records     = limit_records == 0 || limit_records > READ_RECORDS_MAX ? READ_RECORDS_MAX : limit_records;
    for (uint64_t offset = from; offset < stream.next_offset && job->count < limit_records; offset++) {
        job->offsets[job->count++] = offset;
    }
    task_ready(s->node, &job->task);
}

void take_begin(struct session *s, uint64_t id, struct wire_reader *r, uint32_t request_bytes)
{
    uint64_t             stream_id = wire_get_u64(r);
    uint32_t             cursor    = wire_get_u32(r);
    uint64_t             epoch     = wire_get_u64(r);
    uint64_t             consumer  = wire_get_u64(r);
    uint32_t             count     = wire_get_u32(r);
    uint64_t             lease_ns  = wire_get_u64(r);
    struct node_stripe  *st        = stripe_slot(s->node, stream_id_stripe(stream_id));
    struct stripe_stream stream;
    if (r->bad) {
        answer_error(s, id, ERR_MALFORMED, "TAKE is cut short", request_bytes);
        return;
    }
    const char *why;
    int         status = stream_look(st, stream_id, &stream, &why);
    if (status < 0) {
        answer_error(s, id, status, why, request_bytes);
        return;
    }
    if (epoch < stream.epoch) {
        answer_error(s, id, ERR_FENCED, "a newer owner takes from the stream", request_bytes);
        return;
    }
    struct job *job = job_new(s, id, stream_id, request_bytes);
    if (job == NULL) {
        return;
    }
    job->is_take  = true;
    job->cursor   = cursor;
    job->consumer = consumer;
    int taken     = stripe_take(st->stripe, stream_id, cursor, consumer, io_now_ns(s->node->io), lease_ns, job->offsets,
                                job->deliveries, count < READ_RECORDS_MAX ? (int)count : READ_RECORDS_MAX);
    if (taken < 0) {
        job_fail(job, taken, err_sentence(taken));
        return;
    }
    job->count = (uint32_t)taken;
    task_ready(s->node, &job->task);
}

void release(struct session *s, uint64_t id, struct wire_reader *r)
{
    uint64_t            stream_id = wire_get_u64(r);
    uint32_t            cursor    = wire_get_u32(r);
    uint64_t            consumer  = wire_get_u64(r);
    uint32_t            count     = wire_get_u32(r);
    struct node_stripe *st        = stripe_slot(s->node, stream_id_stripe(stream_id));
    int                 status    = 0;
    if (r->bad || wire_left(r) < (uint64_t)count * 8) {
        status = ERR_MALFORMED;
    } else if (st == NULL || st->stopped) {
        status = ERR_UNAVAILABLE;
    } else if (!stripe_led(st)) {
        status = ERR_NOT_LEADER;
    } else if (count == 0) {
        stripe_release(st->stripe, stream_id, cursor, consumer, NULL, 0);
    }
    for (uint32_t i = 0; i < count && status == 0; i++) {
        uint64_t offset = wire_get_u64(r);
        stripe_release(st->stripe, stream_id, cursor, consumer, &offset, 1);
    }
    size_t begun = session_begin(s, RPC_TXN_DONE, id);
    wire_put_u32(&s->out, (uint32_t)status);
    if (status != 0) {
        wire_put_u8(&s->out, 0);
    }
    session_end(s, begun);
}

static void drop_from(struct list *list, const struct session *s)
{
    LIST_EACH (list, link) {
        struct task *task = CONTAINER_OF(link, struct task, link);
        if (task->run == run && CONTAINER_OF(task, struct job, task)->session == s) {
            job_free(CONTAINER_OF(task, struct job, task));
        }
    }
}

void jobs_drop(struct node *node, struct session *s)
{
    drop_from(&node->ready, s);
    drop_from(&node->disk_waiters, s);
    drop_from(repair_waiters(node), s);
    drop_from(&s->output_waiters, s);
}

static void end_from(struct list *list, uint16_t stripe, int status)
{
    LIST_EACH (list, link) {
        struct task *task = CONTAINER_OF(link, struct task, link);
        if (task->run == run && stream_id_stripe(CONTAINER_OF(task, struct job, task)->stream_id) == stripe) {
            job_fail(CONTAINER_OF(task, struct job, task), status, err_sentence(status));
        }
    }
}

void jobs_end(struct node *node, uint16_t stripe, int status)
{
    end_from(&node->ready, stripe, status);
    end_from(&node->disk_waiters, stripe, status);
    end_from(repair_waiters(node), stripe, status);
    LIST_EACH (&node->sessions, link) {
        end_from(&CONTAINER_OF(link, struct session, link)->output_waiters, stripe, status);
    }
}
