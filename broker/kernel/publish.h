/* publish - the way of one message: recorded where it must be, matched once, handed out, answered in order.
 *
 *     kernel_publish ─▶ before: QoS 2 id of a stored session, retained row ─▶ handed out: match, live clients, one append per stripe ─▶ after: appends ─▶ answered
 *                └───────────── nothing of it: handed out in the call ──────────▲                                      nothing: answered in the call
 *
 * Per publisher the handing out and the answers keep the order of the calls. A retained message is put into its table before it is matched: a
 * subscriber that is entered in between finds it there.
 *
 * gather.c finds who is owed, fanout.c hands out, publisher.c keeps the order, once.c the packet ids of QoS 2, pause.c holds back, arrive.c takes what other shards hand out.
 * Threads: the shard. */
#ifndef KEEL_BROKER_KERNEL_PUBLISH_H
#define KEEL_BROKER_KERNEL_PUBLISH_H

#include "broker/kernel/session.h"

/* Takes a message in that is not from a client (a will). copy's ownership moves. False: no memory. */
bool publish_kept(struct publisher *publisher, struct buf *copy, uint64_t writer_epoch, uint64_t sequence);
void publish_answer_client(struct publisher *publisher, struct pending *pending);
/* arrive.c: from another shard. */
void publish_receive(struct kernel *kernel, unsigned from, const struct kernel_mail *mail);

/* The numbers of a stored session's QoS 2 publishes, by which stripes know what they have appended already (op.h, APPEND): a writer's sequences only grow.
 *
 *     no recorded id in doubt   the writer is the session. Sequences grow with its epoch: 24 bits of it, 32 of a count, 8 for parts of one publish
 *     ids in doubt (INBOUND_UNSURE) when the connection began
 *                               new ones count for a writer of this connection alone (INBOUND_APART): what is in doubt is sent again with the lower
 *                               number that it has, and may come behind a new one, since the one before it was refused and forgotten
 */
static inline uint64_t publish_epoch(uint64_t epoch)
{
    return 1 + (epoch >> 24);
}
static inline uint64_t publish_sequence(uint64_t epoch, uint64_t count)
{
    return ((epoch & 0xffffff) << 40) | (count << 8);
}
/* Who a numbered publish is of: a session, or the stream that its publisher stands for. */
uint64_t publish_writer(const struct pending *pending);

#endif
