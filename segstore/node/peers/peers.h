/* peers - a connection to another node, as the files of this folder see it.
 * Threads: the shard.   Units: bytes, ns. */
#ifndef KEEL_SEGSTORE_NODE_PEERS_PEERS_H
#define KEEL_SEGSTORE_NODE_PEERS_PEERS_H

#include "segstore/node/peers/clock.h"
#include "segstore/node/peers/pulse.h"
#include "segstore/node/state.h"
#include "shared/rpc/frame.h"

enum peer_state { PEER_DOWN, PEER_CONNECTING, PEER_GREETING, PEER_UP };

struct peer {
    struct node                *node;
    const struct segstore_node *spec;
    struct io_socket           *socket; /* NULL when down */
    uint8_t                     state;
    bool                        sending;
    bool                        full;        /* somebody found no room since the last send */
    uint32_t                    small_sends; /* in a row, of which flying held little */
    bool                        broken;      /* to be given up after the current callback */
    struct frame_reader         reader;
    struct wire_writer          out; /* being filled */
    struct wire_writer          flying;
    size_t                      begun;    /* the frame being written */
    uint64_t                    retry_ns; /* when down */
    uint64_t                    backoff_ns;
    uint64_t                    heard_ns;
    uint64_t                    asked_ns;
    uint64_t                    changed_ns; /* since when it is up, or is not; 0: it was never up */
    uint64_t                    plan_told;  /* epoch of the plan that it was told of over this connection */
    struct pulse_out            pulse_out;  /* heartbeats to it */
    struct pulse_in             pulse_in;   /* from it, over its own connection */
    bool                        pulsing;    /* its heartbeats are being taken: answers are gathered */
    struct log_limit            complaint;
    bool                        clock_known;
    int64_t                     clock_ahead_ns; /* of this machine's */
};

/* known.c: is this the disk that the node had before? The first one that is heard of is remembered. */
bool peer_known(struct node *node, uint16_t id, uint64_t incarnation);
/* Of this node's own directory. */
uint64_t node_incarnation(const struct node *node);

/* pulses.c: heartbeats and their answers go out gathered. False: this one goes as a message of its own. Only when the peer is roomy. */
bool pulse_gather(struct peer *peer, struct node_stripe *st, const struct raft_message *message);
/* What was gathered in this turn. */
void pulses_flush(struct node *node);
/* The body of a PULSE, of a PULSE_ACK: 0, ERR_MALFORMED, ERR_CONFLICT (pulse.h). */
MUST_CHECK int pulse_receive(struct peer *peer, struct wire_reader *r);
MUST_CHECK int pulse_answered(struct peer *peer, struct wire_reader *r);

#endif
