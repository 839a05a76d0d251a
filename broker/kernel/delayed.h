/* delayed - messages that are published later: a timer of the store that appends them to the stream mqtt/wills of the publisher's stripe (will.h),
 * whose follower publishes them as it does wills.
 *
 *     PUBLISH $delayed/60/a/b ─▶ TIMER "delayed/<writer><epoch><sequence>" ─durable─▶ PUBACK .. 60 s .. ─▶ mqtt/wills ─▶ PUBLISH a/b
 *
 * The timer needs neither this broker nor its publisher. QoS 2: a row of the table of delayed messages says that the timer was set, so that
 * the same message that comes again after a crash sets no second one.
 * Threads: the shard. */
#ifndef KEEL_BROKER_KERNEL_DELAYED_H
#define KEEL_BROKER_KERNEL_DELAYED_H

#include "broker/kernel/publisher.h"
#include "broker/kernel/reserved.h"

/* Stores the message; pending waits for that and is then answered, not handed out. */
void delayed_set(struct publisher *publisher, struct pending *pending, const struct message *message,
                 const struct reserved *reserved);

#endif
