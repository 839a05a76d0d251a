/* subscribe - what other files tell SUBSCRIBE and UNSUBSCRIBE of; kernel_subscribe and kernel_unsubscribe are in kernel.h.
 * Threads: the shard. */
#ifndef KEEL_BROKER_KERNEL_SUBSCRIBE_H
#define KEEL_BROKER_KERNEL_SUBSCRIBE_H

#include "broker/kernel/session.h"

/* Forgets the subscribes and unsubscribes whose answers nobody waits for. */
void subscribe_cancel_all(struct session *session);
/* This publish, which requests of the same client came behind, has been handed out (pending.awaited). */
void subscribe_handed_out(struct session *session, const struct pending *pending);
/* May it be subscribed to exclusively? status 0, or why not. */
void subscribe_exclusive_answer(struct kernel *kernel, uint64_t serial, uint32_t ticket, uint32_t index, int status,
                                struct bytes filter);
/* Whoever decides about exclusive ones is another shard now: those that were not answered are asked for there. */
void subscribe_ask_again(struct session *session);
/* Forgets what the store has not answered. */
void subscribe_forget(struct kernel *kernel);

#endif
