/* delivery - what one client is given: live messages, and the records of its stream.
 *
 *     live, QoS 0          ─▶ deliver(), or dropped when its output is full
 *     live, QoS 1 and 2    ─▶ window open and output not full: deliver(), else the queue (bounded) ─▶ when acknowledged or writable
 *     stored, QoS 1 and 2  ─▶ the follow pushes records as the window gives credit; output full: asked for again when writable
 *
 * Threads: the shard. */
#ifndef KEEL_BROKER_KERNEL_DELIVERY_H
#define KEEL_BROKER_KERNEL_DELIVERY_H

#include "broker/kernel/fanout.h"
#include "broker/kernel/session.h"

/* Gives a message to a client that is open here: QoS 0, or any to a live session. */
void deliver(struct session *session, struct fanout *fanout, const struct delivery_tag *tag);
/* Are QoS 1 and 2 messages waiting in memory, or is the output full? Retained messages wait for that. */
bool delivery_waiting(const struct session *session);
void delivery_free(struct delivery_state *delivery);
/* Sends what waits, as far as window and output allow. */
void delivery_pump(struct session *session);

/* Stored sessions: begin to follow, behind what open.c found; give credit; stop. */
void delivery_follow(struct session *session);
void delivery_credit(struct session *session);
void delivery_unfollow(struct session *session);
/* The session has a reader now: what was promised to its own stream alone is divided anew. */
void delivery_share(struct session *session);

/* ack.c: notes that offset reached a mark, to be written at the end of the turn. */
void ack_note(struct session *session, uint64_t offset, uint8_t mark);
/* Writes all cursor moves, one transaction per stripe. */
void ack_flush(struct kernel *kernel);
/* Forgets what is under way. */
void ack_fini(struct kernel *kernel);

#endif
