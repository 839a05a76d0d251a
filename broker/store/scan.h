/* scan - walks tables page by page, at the pace of the one who asked.
 *
 *   stripes left ── the first one's leader is asked, for all that it leads of them over the same link ──▶ pages ──▶ fewer left .. none
 *
 * A page that is under way when its link breaks, or that is refused, is asked for again where the stripe is led then: it goes on behind the last key.
 * Threads: the broker shard. */
#ifndef KEEL_BROKER_STORE_SCAN_H
#define KEEL_BROKER_STORE_SCAN_H

struct frame;
struct link;
struct store;

/* A page arrived. */
void scan_answered(struct store *store, void *owner, const struct frame *frame);
/* The link is gone: its pages do not come. */
void scan_down(struct store *store, struct link *link);
/* What was refused may be asked for again. */
void scan_ask_again(struct store *store);
/* Asks for the pages that scans are waiting for. */
void scan_turn(struct store *store);
/* Drops all scans without a callback; those who began them may be gone. No link may answer any more. */
void scan_fini(struct store *store);

#endif
