/* image - the whole state of a stripe, from its leader to a follower whose log ends before the leader's begins, or whose own is damaged.
 *
 *   leader                                               follower
 *   BEGIN ───────────────────────────────────────────▶   forgets an earlier transfer
 *   BODY x n: log entries that hold a live record ───▶   into its own log (LOG_BODY): leader's position -> its own
 *   PART x n: the stripe's image ────────────────────▶   all bodies durable: loaded as it comes, its own positions in the place of the leader's
 *   END ─────────────────────────────────────────────▶   takes the stripe's place
 *   raft_snapshot_end ◀──────────────────────────── DONE  once a checkpoint holds it; until then it is as if nothing had come
 *
 * RPC_IMAGE: stripe u16 | kind u8 | zero u8 | term u64 | transfer u64 (random), then
 *   BODY  position u64 (of the ops, at the leader) | ops            PART  bytes
 *   END   index u64 | log_term u64 | chain u64 | size u64 | sum u64 (XXH3-64 of the image) | members
 *   DONE  ok u8                                                 ASK   (follower -> leader: its own records are damaged; again after a second of silence)
 *   CHECK (leader -> follower, once a second behind END: what became of it?)
 * One at a time per shard is made; those that are ready are sent together, by one walk over the log, at the pace of the process (pace.h); the next ones follow
 * while the follower makes these durable. The records stay in the leader's log until they are sent. A follower that takes nothing is not waited for (image_send.c).
 * A record that no node has is sent as zeros in its place, when the operator accepted the damage; until then such an image is not sent (image_send.c).
 * In slices: made while the leader's stripe stands still, some hundred microseconds in a turn; loaded, and what was there before is freed, likewise. The leader
 * keeps what is made until it is sent; the follower what came and is not loaded, at most LOAD_AHEAD_BYTES: then the leader's connection waits.
 * Threads: the shard. */
#ifndef KEEL_SEGSTORE_NODE_IMAGE_IMAGE_H
#define KEEL_SEGSTORE_NODE_IMAGE_IMAGE_H

#include "segstore/log/bodies.h"
#include "segstore/log/hold.h"
#include "segstore/node/state.h"
#include "shared/base/hash.h"

enum { LOAD_AHEAD_BYTES = 2 * RPC_BODY_MAX_BYTES }; /* twice the largest piece of an image */

enum image_kind {
    IMAGE_BEGIN = 1,
    IMAGE_BODY  = 2,
    IMAGE_PART  = 3,
    IMAGE_END   = 4,
    IMAGE_DONE  = 5,
    IMAGE_ASK   = 6,
    IMAGE_CHECK = 7
};

/* A body on its way to the disk. */
struct coming {
    uint64_t       from; /* the leader's position */
    const uint8_t *memory;
    uint32_t       size;
};

/* One that comes. */
struct image_in {
    uint64_t               transfer;
    uint16_t               from;
    uint64_t               heard_ns; /* when something of it came, or its leader was asked for it once more */
    struct bodies          bodies;
    struct coming         *waiting; /* ring, in the order of the log */
    uint64_t               waiting_first;
    uint64_t               waiting_end;
    uint64_t               waiting_capacity;
    struct hold            hold;    /* the own segments that bodies lie in, until the image holds them */
    struct stripe         *fresh;   /* what is loaded */
    struct stripe_loading *loading; /* NULL with fresh: all of it is */
    struct wire_writer     image;   /* what came and is not loaded */
    size_t                 image_at;
    uint64_t               image_bytes; /* that came */
    XXH3_state_t          *sum;         /* of them */
    bool                   ended;       /* the fields below are set */
    bool                   taken;       /* it is the stripe's state; a checkpoint is wanted */
    bool                   saved;       /* .. that holds it is being written */
    uint64_t               index;
    uint64_t               term;
    uint64_t               chain;
    struct raft_members    members;
};

/* Begins a frame to a peer that is roomy; what the kind wants and peer_end follow. */
struct wire_writer *image_frame(const struct node_stripe *st, struct peer *peer, enum image_kind kind, uint64_t term,
                                uint64_t transfer);

/* image_send.c: the follower said what became of it. */
void image_done(struct node_stripe *st, uint16_t from, uint64_t transfer, bool ok);
/* image_load.c: a slice of what has come, when all bodies are durable. 0: it is loaded; 1: go on in the next turn; 2: when more came; ERR_MALFORMED. */
MUST_CHECK int image_load(struct node_stripe *st);
/* bury.c: an old stripe is freed in slices. releases: it lets go of what it holds. */
void bury(struct node *node, struct stripe *stripe, bool releases);

#endif
