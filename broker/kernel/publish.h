/* publish - the way of one message: recorded where it must be, matched once, handed out, answered in order.
 *
 *     kernel_publish ─▶ before: QoS 2 id of a stored session, retained row ─▶ handed out: match, live clients, one append per stripe ─▶ after: appends ─▶ answered
 *                └───────────── nothing of it: handed out in the call ──────────▲                                      nothing: answered in the call
 *
 * Per publisher the handing out and the answers keep the order of the calls. A retained message is put into its table before it is matched: a
 * subscriber that is entered in between finds it there.
 *
 * gather.c finds who is owed, fanout.c hands out, publisher.c keeps the order, once.c the packet ids of QoS 2, lanes.c their writers, pause.c holds back, arrive.c takes what other shards hand out.
 * Threads: the shard. */
#ifndef KEEL_BROKER_KERNEL_PUBLISH_H
#define KEEL_BROKER_KERNEL_PUBLISH_H

#include "broker/kernel/marks.h"
#include "broker/kernel/session.h"
#include "broker/kernel/tables.h"

/* Takes a message in that is not from a client (a will). copy's ownership moves. False: no memory. */
bool publish_kept(struct publisher *publisher, struct buf *copy, uint64_t writer_epoch, uint64_t sequence);
void publish_answer_client(struct publisher *publisher, struct pending *pending);
/* arrive.c: from another shard. */
void publish_receive(struct kernel *kernel, unsigned from, const struct kernel_mail *mail);

/* The numbers of a stored session's QoS 2 publishes, by which stripes know what they have appended already (op.h, APPEND). A stripe knows a writer's last sequence:
 * when a queue refuses one and the stripe takes a later one of the same writer, the refused one, sent again, is an old one there, acknowledged and lost. So
 *
 *     a message is alone in its writer, a lane of its session (lanes.h), from when it is numbered to when everybody has taken it, or it is given up and its row is
 *     gone. Until then no later number of that lane is sent to anybody: a stripe that has one at or above the message's has taken it.
 *     The parts of one publish (transactions of one stripe, members of groups), any of which may be refused, have writers of their own.
 *
 *   writer_epoch   | INBOUND_APART, INBOUND_ALONE: 2 bits | lane: 20 | 1 + the session's epoch >> 24: 42 |      the writer is made of it
 *   sequence       | the session's epoch: 24 bits | a count: 32 | the part: 8 |
 *
 * Brokers before this one numbered otherwise, in rows that may still be there: all messages by the session (a writer_epoch without a flag), or, when some
 * were in doubt as the connection began, the new ones by a writer of that connection (INBOUND_APART). Of these what comes again in its order keeps its number. */
static inline uint64_t publish_epoch(uint64_t epoch, uint32_t lane)
{
    return INBOUND_APART | INBOUND_ALONE | (uint64_t)lane << (62 - LANE_BITS) | (1 + (epoch >> 24));
}
static inline bool publish_alone(uint64_t writer_epoch)
{
    return (writer_epoch & INBOUND_ALONE) != 0;
}
static inline uint32_t publish_lane(uint64_t writer_epoch)
{
    return (uint32_t)(writer_epoch >> (62 - LANE_BITS)) & (LANES_MAX - 1);
}
static inline uint64_t publish_sequence(uint64_t epoch, uint64_t count)
{
    return ((epoch & 0xffffff) << 40) | (count << 8);
}
/* Who a numbered publish is of: a session, one of its lanes, or the stream that its publisher stands for. */
uint64_t publish_writer(const struct pending *pending);
/* Of one of its parts, 0 to 255. */
struct number publish_number(const struct pending *pending, uint64_t part);

#endif
