/* pause - a client is not read while what it published waits too long: for the store, for mail, or for subscribers that are slow.
 * Threads: the shard. */
#ifndef KEEL_BROKER_KERNEL_PAUSE_H
#define KEEL_BROKER_KERNEL_PAUSE_H

#include "broker/kernel/session.h"

/* Stops a client from sending if there is a reason. */
void publish_pause(struct publisher *publisher);
/* At the end of the turn: lets publishers read again. */
void publish_resume(struct kernel *kernel);

#endif
