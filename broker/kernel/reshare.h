/* reshare - messages of shared subscriptions whose member goes away before it acknowledged them (MQTT 5.0, 4.8.2).
 *
 *     live member, QoS 1 sent       held, with a copy of the message ─PUBACK─▶ forgotten
 *                                        '──────────────session ends──▶ to another member
 *     live member, QoS 1, 2 queued  not begun with: ─────session ends──▶ to another member
 *     live member, QoS 2 sent       never to anybody else [MQTT-4.8.2-5]
 *     stored member                 stays in its stream, for when it connects again
 *
 * Threads: the shard. */
#ifndef KEEL_BROKER_KERNEL_RESHARE_H
#define KEEL_BROKER_KERNEL_RESHARE_H

#include "broker/kernel/fanout.h"
#include "broker/kernel/group.h"

/* A QoS 1 message that was sent to a live member. */
struct held {
    struct list   link;
    uint64_t      offset; /* in the window */
    struct buf   *message;
    struct group *group;
};

/* May more be sent as a member? What is held takes memory. */
bool reshare_room(const struct session *session);
/* A QoS 1 message with this place in the window was sent. Without memory it is not held: it will be lost with the session. */
void reshare_hold(struct session *session, uint64_t offset, struct fanout *fanout);
/* It was acknowledged. */
void reshare_done(struct session *session, uint64_t offset);
/* The session has ended and is a member no more: everything that somebody else may get goes to them. */
void reshare_all(struct session *session);
/* Nobody gets anything. */
void reshare_forget(struct session *session);

/* Gives a message to a member of the group, whoever sent it. pending counts what is stored of it; NULL: nobody waits for that. */
void reshare_give(struct kernel *kernel, struct group *group, struct message *message, unsigned from_shard,
                  struct pending *pending);

#endif
