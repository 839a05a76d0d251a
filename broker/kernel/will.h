/* will - what a client leaves behind: a timer in the store that appends it to the stream mqtt/wills of its stripe, and the broker shards that follow
 * these streams, publish what they find as a client would, and trim.
 *
 *     TIMER "will/<id>" ──connection lost, broker lost, session ended──▶ mqtt/wills of the stripe ──follow──▶ publish ──answered──▶ TRIM
 *
 * Stripe s is followed by shard s % shard_count of the senior process (company.h). The writer of what a will appends is the stream it lay in, its sequence the offset: published
 * again after a crash, it arrives once. Delayed messages (delayed.h) take the same way. A will's message expiry counts from its publication.
 * Threads: the shard. */
#ifndef KEEL_BROKER_KERNEL_WILL_H
#define KEEL_BROKER_KERNEL_WILL_H

#include "broker/kernel/session.h"
#include "shared/record/record.h"

/* Appends a record to the stream of wills of the stripe: ops. */
void will_append(struct wire_writer *w, const struct record *record, struct bytes tag);
/* The action of a will's timer: a list of ops. */
void will_action(struct wire_writer *w, const struct will *will, uint64_t wall_ns);
/* The store is known. False: no memory. */
bool will_start(struct kernel *kernel);
/* At the end of the turn: trims, and begins anew where the store refused. Returns when it wants to run again. */
uint64_t will_flush(struct kernel *kernel);
void     will_fini(struct kernel *kernel);

#endif
