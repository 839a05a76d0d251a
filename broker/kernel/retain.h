/* retain - the last retained message of each topic: a table row, shown to new subscriptions by a scan that the client's output paces.
 *
 *   value   | record | from u64 |      from: hash of the publisher's client identifier, 0: of nobody's; missing in rows of former versions
 *
 * Brokers hold no copies. Threads: the shard. */
#ifndef KEEL_BROKER_KERNEL_RETAIN_H
#define KEEL_BROKER_KERNEL_RETAIN_H

#include "broker/kernel/session.h"

/* Puts, or with an empty payload deletes, the row of the message's topic. from: who published it, NULL: nobody who could have
 * subscribed (a will, a delayed message). call.done is the caller's. */
void retain_store(struct kernel *kernel, const struct message *message, const struct session *from,
                  struct store_call *call);
/* Shows what is retained for a new subscription, after the replays that are under way already; with no_local without what the same
 * client has published [MQTT-3.8.3-3]. No memory: counted as dropped. */
void retain_replay(struct session *session, struct bytes filter, uint8_t qos, bool no_local, uint32_t sub_id);
/* Goes on when what it waited for may have come: room in the output, appends done. */
void retain_continue(struct session *session);
void retain_cancel_all(struct session *session);

#endif
