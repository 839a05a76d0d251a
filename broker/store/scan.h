/* scan - walks tables page by page, shard after shard, at the pace of the one who asked.
 * Threads: the broker shard. */
#ifndef KEEL_BROKER_STORE_SCAN_H
#define KEEL_BROKER_STORE_SCAN_H

struct frame;
struct link;
struct store;

/* A page arrived. */
void scan_answered(struct store *store, struct link *link, void *owner, const struct frame *frame);
/* Asks for the pages that scans are waiting for. */
void scan_turn(struct store *store);
/* Drops all scans without a callback; those who began them may be gone. No link may answer any more. */
void scan_fini(struct store *store);

#endif
