/* fanout - one message is handed out: to the live clients here, to other shards, and once per stripe to the streams of stored sessions.
 * Threads: the shard. */
#ifndef KEEL_BROKER_KERNEL_FANOUT_H
#define KEEL_BROKER_KERNEL_FANOUT_H

#include "broker/kernel/session.h"

/* One message on its way to many. */
struct fanout {
    struct message          *message;
    struct buf              *shared;    /* a copy, once somebody had to keep it */
    const struct client_ops *ops;       /* of whoever made message.cache */
    struct publisher        *publisher; /* here, or NULL */
    struct group            *group;     /* the next one gets it as a member of this, or NULL */
    unsigned                 from_shard;
    bool                     again;       /* handed out before, perhaps to others of a group: only those are given it */
    uint64_t                 from_serial; /* on another shard, 0: none */
};
void fanout_end(struct fanout *fanout);

/* Finds who is owed the message and hands it out. pending counts the appends; NULL for QoS 0, which is never stored.
 * Returns whether anybody matched. */
bool fanout_publish(struct kernel *k, struct publisher *p, const struct session *from, struct message *message,
                    struct pending *pending);
/* The two halves for what is gathered (gather.h): appends to the streams of targets .. */
void fanout_append(struct kernel *k, struct pending *pending, const struct message *message);
/* .. and deliveries to the sessions that are here. */
void fanout_deliver(struct kernel *k, struct fanout *f);

#endif
