/* once - a QoS 2 message counts once: its packet id is entered when it comes, recorded in the store for a stored session, and forgotten when the
 * client releases it or the publish is refused.
 *
 * A publish that one stripe takes and another refuses is answered with the refusal, and the next message under that id is a new one [MQTT-4.3.3-9]. When the
 * broker dies before the row has gone, that row is all that its heir knows: what comes under the id is the same message, whose client was not told, or the next
 * one. The row says what the message was (its content, tables.h), so the heir can tell; a next one that says the same is taken for the same, and everybody has it once.
 * Threads: the shard. */
#ifndef KEEL_BROKER_KERNEL_ONCE_H
#define KEEL_BROKER_KERNEL_ONCE_H

#include "broker/kernel/publisher.h"

/* Of a QoS 2 message: is it new? Enters its id, or finds what is known of it. False: an answer is all it needs. */
bool once_enter(struct session *s, struct publisher *p, struct pending *pending, const struct message *message);
/* Writes the row of its packet id: its number, and who has it. work.call is answered. */
void once_write(struct pending *pending, struct work *work);
/* It is about to be answered: its id is done, or forgotten when it was refused. */
void once_answer(struct publisher *p, struct pending *pending);
/* Into a transaction of the session's stripe: when the session has an heir at another process, what comes late from here does not count, because the heir does not know
 * of it. Nothing is handed out on the strength of a row that is not there, no row goes that is the heir's, no delayed message is set twice. */
void once_fence(struct session *s, struct wire_writer *w);
/* Writes the rows of ids that are published and not released as done: a later connection must not publish them again. */
void once_close_rows(struct session *session, struct wire_writer *w);

#endif
