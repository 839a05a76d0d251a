/* gather - who is owed a message: the subscriptions that match, one target per subscriber, left in kernel.targets until the next publish.
 * Threads: the shard. */
#ifndef KEEL_BROKER_KERNEL_GATHER_H
#define KEEL_BROKER_KERNEL_GATHER_H

#include "broker/kernel/group.h"
#include "broker/kernel/marks.h"
#include "broker/kernel/message.h"
#include "broker/kernel/session.h"

/* Where else a publish goes, found on the way. */
struct found {
    uint64_t shards; /* with live subscribers */
    bool     any;
    bool     captured; /* some of the targets are streams of rules */
};

/* A live member elsewhere that gets a message. */
struct to_member {
    struct group *group;  /* NULL: it is not known here */
    struct number number; /* by which its shard takes it once, its writer 0: none */
    uint64_t      serial;
    uint32_t      sub_id;
    uint32_t      assigned; /* 1 + its place among those that are recorded (assign.h), or 0 */
    uint16_t      shard;
    uint8_t       flags;
};

/* Matches message and fills kernel.targets. from: who sent it, NULL: nobody who is here.
 * here_only: the message came from another shard, which saw to streams and groups. */
struct found gather(struct kernel *k, const struct message *message, const struct session *from, bool here_only);
/* Adds the member of a group whose turn it is; one that is on another shard is mailed to. */
void gather_group(struct kernel *k, struct group *g, const struct message *message, const struct session *from);
/* Whose turn it is; nobody's when it would be the publisher's own. */
struct group_choice gather_choose(struct kernel *k, struct group *g, const struct message *message,
                                  const struct session *from);
/* One more target: a member of a group (NULL: it is not known here), a session here or none. NULL: no memory. */
struct target *gather_member(struct kernel *k, struct session *session, struct group *g, uint8_t flags,
                             uint32_t sub_id);
/* Mails it to a live member elsewhere; pending, or NULL, waits until it was taken there. False: it was not mailed. */
bool gather_mail_member(struct kernel *k, const struct to_member *to, struct pending *pending,
                        const struct message *message);
/* Is that shard asked first whether it lives (far.h)? As long as a member elsewhere was not sent a QoS 2 message, another one can have it. */
bool gather_asks(const struct kernel *k, const struct group *g, unsigned shard, uint8_t qos);
/* What one target gets: the highest QoS of its subscriptions, and all their ids. */
void gather_tag(const struct kernel *k, const struct target *t, const struct message *message,
                struct delivery_tag *tag);

/* What is delivered: no higher than it was published, no higher than it was asked for. */
static inline uint8_t qos_lower(uint8_t a, uint8_t b)
{
    return a < b ? a : b;
}

#endif
