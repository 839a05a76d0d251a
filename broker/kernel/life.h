/* life - the ops that begin and end what the store has of a session; open.c and close.c build their transactions of them.
 * Threads: the shard. */
#ifndef KEEL_BROKER_KERNEL_LIFE_H
#define KEEL_BROKER_KERNEL_LIFE_H

#include "broker/kernel/session.h"

/* Sets the timer that ends the session expiry_s after its owner lets go, or cancels it for EXPIRY_NEVER. */
void life_expiry(struct wire_writer *w, struct session *session, uint32_t expiry_s);
/* The will is run (run_will) or forgotten, then everything else of the session deleted. */
void life_delete(struct wire_writer *w, struct session *session, bool run_will);
/* The stream whose messages others should get when the session ends, or 0. */
uint64_t life_orphan(struct session *session);
/* The same of the session that was there before this one, which begins in the same transaction: safe to repeat. */
void life_replace(struct wire_writer *w, struct session *session);
void life_row(struct wire_writer *w, struct session *session, bool open, uint32_t expiry_s);
/* An op on its will's timer: OP_TIMER_CANCEL, _RUN, _START. */
void life_will(struct wire_writer *w, struct session *session, uint8_t kind);
/* The connection before may have gone down with its broker: its will or expiry happens now or is cancelled (op.h). timer: tables_will or
 * tables_expiry. ended: its session is over. */
void life_take_over(struct wire_writer *w, struct session *session, struct bytes timer, bool ended);
void life_expiry_start(struct wire_writer *w, struct session *session);

#endif
