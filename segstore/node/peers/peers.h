/* peers - a connection to another node, as the files of this folder see it.
 * Threads: the shard.   Units: bytes, ns. */
#ifndef KEEL_SEGSTORE_NODE_PEERS_H
#define KEEL_SEGSTORE_NODE_PEERS_H

#include "segstore/node/state.h"
#include "shared/rpc/frame.h"

enum peer_state { PEER_DOWN, PEER_CONNECTING, PEER_GREETING, PEER_UP };

struct peer {
    struct node                *node;
    const struct segstore_node *spec;
    struct io_socket           *socket; /* NULL when down */
    uint8_t                     state;
    bool                        sending;
    bool                        full;   /* somebody found no room since the last send */
    bool                        broken; /* to be given up after the current callback */
    struct frame_reader         reader;
    struct wire_writer          out; /* being filled */
    struct wire_writer          flying;
    size_t                      begun;    /* the frame being written */
    uint64_t                    retry_ns; /* when down */
    uint64_t                    backoff_ns;
    uint64_t                    heard_ns;
    uint64_t                    asked_ns;
    struct log_limit            complaint;
};

/* peer.c: is this the disk that the node had before? The first one that is heard of is remembered. */
bool peer_known(struct node *node, uint16_t id, uint64_t incarnation);
/* Of this node's own directory. */
uint64_t node_incarnation(const struct node *node);

#endif
