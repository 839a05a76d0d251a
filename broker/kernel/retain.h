/* retain - the last retained message of each topic: a table row, shown to new subscriptions by a scan that the client's output paces.
 * Brokers hold no copies. Threads: the shard. */
#ifndef KEEL_BROKER_KERNEL_RETAIN_H
#define KEEL_BROKER_KERNEL_RETAIN_H

#include "broker/kernel/session.h"

/* Puts, or with an empty payload deletes, the row of the message's topic. call.done is the caller's. */
void retain_store(struct kernel *kernel, const struct message *message, struct store_call *call);
/* Shows what is retained for a new subscription, after the replays that are under way already. No memory: counted as dropped. */
void retain_replay(struct session *session, struct bytes filter, uint8_t qos, uint32_t sub_id);
/* Goes on when what it waited for may have come: room in the output, appends done. */
void retain_continue(struct session *session);
void retain_cancel_all(struct session *session);

#endif
