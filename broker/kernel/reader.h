/* reader - subscriptions to what was captured: "$stream/<name>", from a position on, then what follows.
 *
 *     "$stream/orders"                            from the user property keel-from of SUBSCRIBE, else from the first
 *     "$stream/orders/from/<position>"            for those who cannot send properties
 *     position:  first | last | next | offset:<number> | time:<RFC 3339>
 *
 *     SUBSCRIBE ─▶ LOOKING (STREAM_STAT: where is that) ─▶ recorded ─▶ SUBACK ─▶ READING ─▶ deliver ─ack─▶ position ─▶ cursor row
 *                                                                              │   ▲
 *                                                       no slot, output full ──▼   │ acknowledged, writable
 *                                                                             WAITING          ABSENT: the stream was deleted; until it is there again
 *
 * A message comes with the topic it was published to, the subscription's identifier, and two more user properties: keel-offset (its number in the
 * stream) and keel-time (when it was published). QoS is at most 1: a reader that comes back goes on behind the first message that is not
 * acknowledged, so each arrives at least once. A live session begins anew, a stored one has a cursor:
 *
 *   table 21  key: client id 0x00 filter     value: version u8 = 1 | stream_id u64 | position u64 | not_before_ns u64 | the position that was asked for
 *
 * in the stripe of its session. The same SUBSCRIBE again (as libraries send it on every connection) goes on; one with another position moves there.
 *
 * Pace: readers of a session have half of its Receive Maximum, its own messages the other half (with a Receive Maximum of 1 they take turns). What finds no
 * slot or no room in the output is let go and read again later: nothing waits in memory.
 * Packet ids are WINDOW_WIDTH_MAX + 1 and up, so that they never meet those of the session's own stream.
 * reader.c makes and ends them, follow.c reads, flight.c counts what is not acknowledged, bookmark.c keeps positions.
 * Threads: the shard. */
#ifndef KEEL_BROKER_KERNEL_READER_H
#define KEEL_BROKER_KERNEL_READER_H

#include "broker/kernel/session.h"

struct capture;
struct reader;

/* Is it one of these? Then it is not for the tree. */
static inline bool reader_filter(struct bytes filter)
{
    return bytes_starts_with(filter, bytes_str("$stream/"));
}

/* The reader of that filter, or NULL. */
struct reader *reader_find(const struct session *session, struct bytes filter);
uint32_t       reader_count(const struct session *session);
void readers_each(const struct session *session, void (*each)(void *ctx, struct bytes filter, uint8_t qos), void *ctx);

/* Who asked for a reader: told once, when it is known where to begin; status: 0 or an error. */
struct reader_asker {
    void (*found)(struct reader_asker *asker, int status);
};

/* Makes one that is not begun yet: 0, found() comes. 1: it is there and goes on, found() does not come. Negative: refused. ERR_MALFORMED (the filter, or the
 * position), ERR_NOT_FOUND (no such stream), ERR_DENIED (no local is not known for what was captured), ERR_BUSY, ERR_QUOTA. */
MUST_CHECK int reader_ask(struct session *session, const struct subscription *subscription, struct reader_asker *asker);
/* The asker is gone: a reader that was not begun goes. */
void reader_forget(struct session *session, struct bytes filter);
/* Recorded and answered: now it reads. */
void reader_begin(struct session *session, struct bytes filter);
void reader_remove(struct reader *reader);
/* A rule came, or its stream is another one now. */
void readers_capture_entered(struct kernel *kernel, const struct capture *capture);
/* Reads no more. */
void readers_stop(struct session *session);
void readers_free(struct session *session);

/* ---- bookmark.c ---- */

/* Writes its cursor row (false: there is no reader any more), or deletes it. */
bool reader_put_row(struct wire_writer *w, struct session *session, struct bytes filter);
void reader_delete_row(struct wire_writer *w, struct session *session, struct bytes filter);
/* A stored session comes back: one per subscription, then its row if there is one, then all begin. False: memory is out. */
MUST_CHECK bool readers_restore(struct session *session, struct bytes filter, const struct sub_row *row);
void            readers_restore_row(struct session *session, struct bytes filter, struct bytes value);
void            readers_begin(struct session *session);

/* The last position of each goes into the transaction that closes the session. */
void readers_close_rows(struct session *session, struct wire_writer *w);
/* At the end of a turn: cursor rows of those that moved. */
void readers_flush(struct kernel *kernel);

/* ---- flight.c ---- */

/* How many slots of the Receive Maximum the session's own messages leave to readers; is one of theirs free now? */
uint32_t readers_reserved(const struct session *session);
bool     readers_block_own(const struct session *session);
/* PUBACK of one of their ids. ERR_NOT_FOUND. */
int readers_done(struct session *session, uint16_t id);
/* follow.c: a slot or room in the output came free. */
void readers_continue(struct session *session);

#endif
