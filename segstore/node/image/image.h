/* image - the whole state of a stripe, from its leader to a follower whose log ends before the leader's begins, or whose own is damaged.
 *
 *   leader                                               follower
 *   BEGIN ───────────────────────────────────────────▶   forgets an earlier transfer
 *   BODY x n: log entries that hold a live record ───▶   into its own log (LOG_BODY): leader's position -> its own
 *   PART x n: the stripe's image ────────────────────▶   in memory
 *   END ─────────────────────────────────────────────▶   all bodies durable: loads the image with its own positions in the place of the leader's
 *   raft_snapshot_end ◀──────────────────────────── DONE  once a checkpoint holds it; until then it is as if nothing had come
 *
 * RPC_IMAGE: stripe u16 | kind u8 | zero u8 | term u64 | transfer u64 (random), then
 *   BODY  position u64 (of the ops, at the leader) | ops            PART  bytes
 *   END   index u64 | log_term u64 | chain u64 | size u64 | sum u64 (XXH3-64 of the image) | members
 *   DONE  ok u8                                                 ASK   (follower -> leader: its own records are damaged)
 *   CHECK (leader -> follower, once a second behind END: what became of it?)
 * One transfer at a time per shard that sends, paced by image_rate; the records stay in the leader's log until it is over.
 * Threads: the shard. */
#ifndef KEEL_SEGSTORE_NODE_IMAGE_H
#define KEEL_SEGSTORE_NODE_IMAGE_H

#include "segstore/node/state.h"

enum image_kind {
    IMAGE_BEGIN = 1,
    IMAGE_BODY  = 2,
    IMAGE_PART  = 3,
    IMAGE_END   = 4,
    IMAGE_DONE  = 5,
    IMAGE_ASK   = 6,
    IMAGE_CHECK = 7
};

/* image_send.c: the follower said what became of it. */
void image_done(struct node_stripe *st, uint16_t from, uint64_t transfer, bool ok);
/* image_take.c: answers to the leader over this node's own connection to it. */
void image_answer(struct node_stripe *st, uint16_t to, uint64_t transfer, bool ok);

#endif
