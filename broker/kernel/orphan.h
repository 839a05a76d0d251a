/* orphan - the queue of a stored session that has ended, when it was a member of shared subscriptions: QoS 1 messages that it got as a member and did not
 * acknowledge go to other members (MQTT 5.0, 4.8.2). QoS 2 messages may have been begun with and go to nobody [MQTT-4.8.2-5].
 *
 *     session ends ─▶ rows deleted, TABLE_ORPHANS row, note in mqtt/wills ─follower of the stripe─▶ queue read, given out ─durable─▶ queue and row deleted
 *     the same client connects meanwhile: CHECK of the row fails, open.c tries again until it is gone
 *
 * The note is trimmed when all is done; after a crash it begins anew, and what was appended already is not appended again to the same stream.
 * Threads: the shard that follows the wills of the stripe. */
#ifndef KEEL_BROKER_KERNEL_ORPHAN_H
#define KEEL_BROKER_KERNEL_ORPHAN_H

#include "broker/kernel/publisher.h"

enum { ORPHAN_TAG_BYTES = 8 }; /* of the note: stream_id u64; its topic is the client id */

/* The ops that make an orphan of the stream instead of deleting it. */
void orphan_leave(struct wire_writer *w, struct bytes client_id, uint64_t stream_id);
/* A note was read: pending, of the wills' publisher, waits until it is done. False: no memory. */
MUST_CHECK bool orphan_begin(struct publisher *wills, struct pending *pending, struct bytes client_id,
                             uint64_t stream_id);
void            orphan_fini(struct kernel *kernel);

#endif
