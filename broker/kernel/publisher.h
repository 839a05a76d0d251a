/* publisher - the messages of one client, or of the wills of one stripe, in the order they came: each waits for the store before it is handed
 * out (pending.before) and after it (pending.after), and is answered in its turn.
 * Threads: the shard. */
#ifndef KEEL_BROKER_KERNEL_PUBLISHER_H
#define KEEL_BROKER_KERNEL_PUBLISHER_H

#include "broker/kernel/session.h"

/* A transaction for one publish or one packet id. From kernel.works. */
struct work {
    struct store_call call;
    struct publisher *publisher;
    struct pending   *pending;
    struct session   *session;      /* of a retained message for one stored session */
    uint64_t          writer_epoch; /* whose row goes: of its number, or 0 */
    uint32_t          lane;         /* 1 + that of this shard by which it is counted, in that stripe (fanout.c), or 0 */
    uint16_t          stripe;
    uint16_t          id;
    uint32_t          assigned; /* 1 + the place of the member of a group that it is for (assign.h), or 0 */
};

void publisher_init(struct publisher *publisher, struct kernel *kernel, struct session *session,
                    void (*answered)(struct publisher *, struct pending *));
/* Nothing of it may be under way. */
void publisher_fini(struct publisher *publisher);

/* A message at the end of the line. NULL: no memory. */
struct pending *publisher_pending(struct publisher *p, uint16_t id, uint8_t qos);
/* For a transaction of it. NULL: no memory. done gives it back to kernel.works. */
struct work *publisher_work(struct publisher *p, struct pending *pending, uint16_t id,
                            void (*done)(struct store_call *, int, struct bytes));
/* The done of what must be stored before pending is handed out. */
void publisher_before_done(struct store_call *call, int status, struct bytes results);
/* Those that were not handed out never are (pending.abandoned). */
void publisher_abandon(struct publisher *p);
/* Hands out and answers what is ready. May free the publisher when its session is closing. */
void publisher_flush(struct publisher *p);

#endif
