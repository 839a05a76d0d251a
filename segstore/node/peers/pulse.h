/* pulse - the heartbeats of all stripes that a shard leads, to one other node, in one frame per interval; and their answers in one frame.
 *
 *   leader                                                            follower
 *   pulse_beat x stripes, pulse_put ──PULSE: 0, 3 as below; 5, 7 as before──▶ pulse_get ──▶ one RAFT_HEARTBEAT per stripe
 *   pulse_ack_get ──▶ one RAFT_HEARTBEAT_ACK per stripe ◀──PULSE_ACK: 0, 5, 7── pulse_ack_add x stripes, pulse_ack_put
 *
 *   PULSE      generation u64 | serial u32 | clock u64 | count u16 | count x { slot u16, term u64, commit u64 } | size u16 | bitmap | strain u32
 *   PULSE_ACK  generation u64 | serial u32 | clock u64 | size u16 | bitmap
 *
 * slot: a stripe's place on its shard (stripe / shards). A bit of a PULSE says: term and commit are what this generation said of the slot last. A bit of
 * a PULSE_ACK says: this one was heard, in the term in which it was sent.
 * strain: of the producers of what the sender leads (strain.h), so that others who send what was missed yield to them too. Releases before do not have it.
 *
 * Why it is as safe as a message per stripe: what comes out at the other end is word by word what went in, but for the clock, which is the earliest of
 * all beats in the frame (a lease that counts from it ends sooner). A generation is one connection, begun with a random number, and its pulses are numbered
 * without a gap: what bits refer to is what was heard, or the frame is refused. An answer names generation and serial: it counts for the term in which
 * the stripe beat in that pulse, and for nothing when that term, or the connection, is another one by now.
 * Pure. Lifetime: of the pair of nodes, made anew (pulse_out_begin) with each connection.   Threads: the shard.   Units: ns of the leader's clock. */
#ifndef KEEL_SEGSTORE_NODE_PEERS_PULSE_H
#define KEEL_SEGSTORE_NODE_PEERS_PULSE_H

#include "shared/base/assert.h"
#include "shared/base/wire.h"

enum { PULSE_SLOTS_MAX = 4096 };

/* What was said of a stripe last. */
struct pulse_beat {
    uint64_t term; /* 0: nothing */
    uint64_t commit;
    uint32_t since; /* leader: the pulse in which this term was said first */
    bool     due;   /* leader: it is in the next pulse .. */
    bool     anew;  /* .. with what is new */
};

/* The leader's end. */
struct pulse_out {
    struct pulse_beat *beats;
    uint32_t           slots;
    uint64_t           generation;
    uint32_t           serial; /* of the last pulse */
    uint32_t           due_count;
    uint32_t           anew_count;
    uint64_t           clock_ns; /* the earliest of those that are due */
};

/* The follower's end. */
struct pulse_in {
    struct pulse_beat *beats;
    uint32_t           slots;
    uint64_t           generation; /* 0: none yet */
    uint32_t           serial;
    uint64_t           clock_ns;
    uint32_t           strain; /* of the other end's producers; 0: none, or it does not say */
    uint8_t           *acks;   /* bitmap of the answer */
    uint32_t           ack_count;
};

void pulse_out_init(struct pulse_out *out, uint32_t slots);
void pulse_out_fini(struct pulse_out *out);
/* A connection is up, the other end knows nothing. random: not 0. */
void pulse_out_begin(struct pulse_out *out, uint64_t random);
/* The stripe beats, in the next pulse; the last call before it counts. */
void pulse_beat(struct pulse_out *out, uint32_t slot, uint64_t term, uint64_t commit, uint64_t clock_ns);
/* The body of a frame, with all that is due; only when something is. It must not be lost while the connection lasts. */
void pulse_put(struct pulse_out *out, uint32_t strain, struct wire_writer *w);

void pulse_in_init(struct pulse_in *in, uint32_t slots);
void pulse_in_fini(struct pulse_in *in);
/* 0, and each(ctx, slot, term, commit, clock) for every stripe that beats. ERR_MALFORMED; ERR_CONFLICT: it is not the one that follows the last: of a connection that
 * broke, or one is missing. Then nothing was called, and the connection must end. */
MUST_CHECK int pulse_get(struct pulse_in *in, struct wire_reader *r,
                         void (*each)(void *ctx, uint32_t slot, uint64_t term, uint64_t commit, uint64_t clock_ns),
                         void *ctx);
/* From within each: this one is answered. */
void pulse_ack_add(struct pulse_in *in, uint32_t slot);
/* The answer to the last pulse; only when ack_count > 0. */
void pulse_ack_put(const struct pulse_in *in, struct wire_writer *w);

/* each(ctx, slot, term, clock) for every stripe that was answered in a term that still is what was said last. False: malformed. One of another generation is passed
 * over. */
MUST_CHECK bool pulse_ack_get(const struct pulse_out *out, struct wire_reader                                *r,
                              void (*each)(void *ctx, uint32_t slot, uint64_t term, uint64_t clock_ns), void *ctx);

#endif
