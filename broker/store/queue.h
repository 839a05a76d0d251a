/* queue - requests on their way to one shard of one node, kept until they are answered.
 *
 *   chunk: | frame | frame | frame |  -> chunk -> chunk          first in, first out
 *            sent    allowed  waits for credit
 *
 * They count against the credit that the segment store granted, from when they are sent to when they are
 * answered; their bytes stay here so that they can be sent again over a new connection.
 *
 * When another node leads a stripe, its transactions are taken out (queue_take) and go into the queue of that one's link. What was sent of them, or is
 * being sent, stays here as a shell: its answer, if one comes, gives back the credit and concerns nobody; a new connection does without.
 * Pure: hands out iovecs, is told what was taken. Threads: the owner's.   Units: bytes. */
#ifndef KEEL_BROKER_STORE_QUEUE_H
#define KEEL_BROKER_STORE_QUEUE_H

#include "shared/base/bytes.h"
#include "shared/base/list.h"

#include <sys/uio.h>

struct queue_chunk;

struct queue_request {
    void               *owner; /* NULL: a shell, or answered */
    struct queue_chunk *chunk; /* NULL: answered */
    uint32_t            offset;
    uint32_t            size;
    uint16_t            kind;
    uint16_t            stripe;
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
    uint64_t              open_count;   /* unanswered, shells not counted */
    uint64_t              credit_bytes; /* granted */
    uint64_t              used_bytes;   /* of it: sent or allowed, unanswered */
    uint64_t              held_bytes;   /* all frames kept here */
    bool                  stopped;      /* there is no connection: chunks without requests go at once */
};

void queue_init(struct queue *q);
void queue_fini(struct queue *q);
/* The id that the next request will have. */
uint64_t queue_next_id(const struct queue *q);
/* Takes a request's whole frame; its id must be queue_next_id. owner is not NULL. */
void queue_request(struct queue *q, struct bytes frame, uint16_t kind, uint16_t stripe, void *owner);
/* The request of that id when somebody waits for its answer, else NULL. Valid until the queue changes. */
const struct queue_request *queue_find(const struct queue *q, uint64_t id);
/* The answer to id arrived: the request is forgotten. */
void queue_answered(struct queue *q, uint64_t id);
/* Nobody wants the answer any more. */
void queue_abandon(struct queue *q, uint64_t id);
/* Hands out the transactions of all stripes that wanted() names, in the order in which they were made, and keeps their shells at most. The frame is
 * borrowed until take() returns. */
struct queue_taker {
    void *ctx;
    bool (*wanted)(void *ctx, uint16_t stripe);
    void (*take)(void *ctx, uint16_t stripe, struct bytes frame, void *owner);
};
void queue_take(struct queue *q, const struct queue_taker *taker);
/* What may be sent now: up to max iovecs; valid until queue_sent. Returns how many. */
int  queue_gather(struct queue *q, struct iovec *iov, int max, size_t *out_size);
void queue_sent(struct queue *q, size_t size);
/* The connection is gone, and with it what queue_gather gave out. */
void queue_stop(struct queue *q);
/* A new connection: nothing was sent, unanswered requests are all to be sent again, in order. */
void queue_restart(struct queue *q, uint64_t credit_bytes);

#endif
