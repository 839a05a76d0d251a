/* queue - frames on their way to one segment-store shard, kept until they are answered.
 *
 *   chunk: | frame | frame | frame |  -> chunk -> chunk          first in, first out
 *            sent    allowed  waits for credit
 *
 * Requests (TXN, SCAN, READ) count against the credit that the segment store granted, from when they are sent to when they are
 * answered; their bytes stay here so that they can be sent again over a new connection.
 * Pure: hands out iovecs, is told what was taken. Threads: the owner's.   Units: bytes. */
#ifndef KEEL_BROKER_STORE_QUEUE_H
#define KEEL_BROKER_STORE_QUEUE_H

#include "shared/base/bytes.h"
#include "shared/base/list.h"

#include <sys/uio.h>

struct queue_chunk;

struct queue_request {
    void               *owner; /* NULL: answered or abandoned */
    struct queue_chunk *chunk;
    uint32_t            offset;
    uint32_t            size;
    uint16_t            kind;
};

struct queue {
    struct list           chunks;
    struct queue_chunk   *sending; /* where the next byte to send lies */
    size_t                sending_at;
    struct queue_chunk   *allowed; /* frames before this place may be sent */
    size_t                allowed_at;
    struct queue_request *requests; /* ring, by id */
    uint64_t              first_id; /* oldest that may be unanswered */
    uint64_t              next_id;
    uint32_t              slots;        /* of requests, a power of two */
    uint64_t              open_count;   /* unanswered */
    uint64_t              credit_bytes; /* granted */
    uint64_t              used_bytes;   /* of it: sent or allowed, unanswered */
    uint64_t              held_bytes;   /* all frames kept here */
};

void queue_init(struct queue *q);
void queue_fini(struct queue *q);
/* The id that the next request will have. */
uint64_t queue_next_id(const struct queue *q);
/* Takes a request's whole frame; its id must be queue_next_id. */
void queue_request(struct queue *q, struct bytes frame, uint16_t kind, void *owner);
/* Takes a frame without an answer, to be sent behind all that was taken before it. A new connection does without. */
void queue_notice(struct queue *q, struct bytes frame);
/* The answer to id arrived: its owner, or NULL when nobody waits for it. */
void *queue_answered(struct queue *q, uint64_t id, uint16_t *out_kind);
/* The owner no longer wants the answer; the credit is still used until it comes. */
void queue_abandon(struct queue *q, uint64_t id);
/* What may be sent now: up to max iovecs; valid until queue_sent. Returns how many. */
int  queue_gather(struct queue *q, struct iovec *iov, int max, size_t *out_size);
void queue_sent(struct queue *q, size_t size);
/* A new connection: nothing was sent, unanswered requests are all to be sent again, in order. */
void queue_restart(struct queue *q, uint64_t credit_bytes);

#endif
