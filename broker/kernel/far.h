/* far - QoS 1 and 2 messages on their way to shards of other broker processes: the publisher is answered when all have been taken there, or when who had not has gone.
 *
 *     mailed ──MAIL_CONFIRM counts it──▶ forgotten, the pending publish has one less to wait for
 *        └── the process has gone ──▶ the same; a message for a member of a group goes to another one, but QoS 2: it may have been sent [MQTT-4.8.2-5]
 *
 * So that QoS 2 for a member of a group is not mailed to a process that has died, which nobody knows for seconds, its shard is asked before:
 *
 *     asked ──MAIL_CONFIRM counts the question──▶ mailed, as above
 *       └── the process has gone ──▶ it certainly was not sent: it goes to another member
 *
 * What is published when the process has died has no answer to its question. What is lost is what the process died over between its answer and the mail.
 * The question is MAIL_TOLD, which says nothing to who was told before, and which releases before this one confirm as well.
 * They are counted among the announcements to that shard (mail.h), by both sides alike: QoS 1 and 2, from one process to another, and questions.
 * Threads: the shard. */
#ifndef KEEL_BROKER_KERNEL_FAR_H
#define KEEL_BROKER_KERNEL_FAR_H

#include "broker/kernel/publisher.h"

struct group;
struct to_member;

static inline bool far_shard(const struct kernel *kernel, unsigned shard)
{
    return shard >= kernel->shard_count;
}

/* A mail with the message was posted to that shard. pending: whose publish waits for it, or NULL. group: it went to a member and may go to
 * another, or NULL. */
void far_sent(struct kernel *kernel, unsigned shard, struct pending *pending, const struct message *message,
              struct group *group);
/* The message is kept, and mailed to the member when its shard has answered. Without memory pending fails. */
void far_ask(struct kernel *kernel, const struct to_member *to, struct pending *pending, const struct message *message);
/* That shard has confirmed more. */
void far_taken(struct kernel *kernel, unsigned shard);
/* It has gone, and is no member of any group any more. */
void far_lost(struct kernel *kernel, unsigned shard);
/* It is this process that has gone for the others: what they had not taken, they never take. */
void far_abandon(struct kernel *kernel, unsigned shard);
void far_fini(struct kernel *kernel);

#endif
