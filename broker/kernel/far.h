/* far - QoS 1 and 2 messages on their way to shards of other broker processes: the publisher is answered when all have been taken there, or when who had not has gone.
 *
 *     mailed ──MAIL_CONFIRM counts it──▶ forgotten, the pending publish has one less to wait for
 *        └── the process has gone ──▶ the same; a message for a member of a group goes to another one, but QoS 2: it may have been sent [MQTT-4.8.2-5]
 *
 * They are counted among the announcements to that shard (mail.h), by both sides alike: QoS 1 and 2, from one process to another.
 * Threads: the shard. */
#ifndef KEEL_BROKER_KERNEL_FAR_H
#define KEEL_BROKER_KERNEL_FAR_H

#include "broker/kernel/publisher.h"

struct group;

static inline bool far_shard(const struct kernel *kernel, unsigned shard)
{
    return shard >= kernel->shard_count;
}

/* A mail with the message was posted to that shard. pending: whose publish waits for it, or NULL. group: it went to a member and may go to
 * another, or NULL. */
void far_sent(struct kernel *kernel, unsigned shard, struct pending *pending, const struct message *message,
              struct group *group);
/* That shard has confirmed more. */
void far_taken(struct kernel *kernel, unsigned shard);
/* It has gone, and is no member of any group any more. */
void far_lost(struct kernel *kernel, unsigned shard);
/* It is this process that has gone for the others: what they had not taken, they never take. */
void far_abandon(struct kernel *kernel, unsigned shard);
void far_fini(struct kernel *kernel);

#endif
