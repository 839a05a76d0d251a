/* far_store - the other end of a store client's connections, played by a test: time, sockets and what was sent are in its hands.
 *
 *     struct far far;  far_init(&far);  far_up(&far, 2, 8);     two shards, eight stripes, all welcomed
 *     far_turn(&far);                                           what the client asked for is sent: far_next hands it out
 *
 *     far_init_nodes(&far, 3, 1);  far_lead(&far, 2, 3, 7);  far_up(&far, 1, 4);     three nodes, of which the client is told of by the first; the third leads stripe 2
 *     far_tell(&far, 3, 2);                                     in term 7, and says so (LEADERS)
 *
 * Fulfils io.h: it is linked in place of shared/loop. Threads: one. */
#ifndef KEEL_TESTS_UNIT_BROKER_STORE_FAR_STORE_H
#define KEEL_TESTS_UNIT_BROKER_STORE_FAR_STORE_H

#include "broker/store/client.h"
#include "shared/base/timer.h"
#include "shared/base/wire.h"
#include "shared/loop/io.h"
#include "shared/rpc/frame.h"
#include "shared/rpc/schema.h"

enum { FAR_SOCKETS = 128, FAR_NODES = 8, FAR_STRIPES = 64 };

struct io_socket {
    struct io               *io;
    const struct io_handler *handler;
    void                    *ctx;
    uint16_t                 port; /* that was called: a node's number */
    bool                     open;
    bool                     connected;
    bool                     sending;
    struct wire_writer       sent; /* not handed out yet */
};

struct io {
    uint64_t         now_ns;
    uint64_t         random;
    struct io_socket sockets[FAR_SOCKETS]; /* a new one for each connect; they are not used again */
    uint32_t         count;
};

struct far {
    struct io           io;
    struct timer_wheel *timers;
    struct store       *store;
    uint32_t            shards;
    uint32_t            stripes;
    uint32_t            credit;
    uint32_t            node_count; /* as they tell; 0: the one stands alone */
    uint64_t            cluster[FAR_NODES];
    uint16_t            says[FAR_NODES]; /* who it is; 0: its number */
    bool                down[FAR_NODES]; /* is not reached */
    struct {
        uint16_t leader;
        uint64_t term;
    } leaders[FAR_STRIPES];
    struct bytes       tail;  /* what WELCOME says of nodes and leaders; empty: what is true */
    struct wire_writer taken; /* the frame that far_next handed out */
};

/* One node, number 1, which leads everything. */
void far_init(struct far *far);
/* Several, numbered from 1: node n is at "far", port n. The client is given the first `seeds` of them. */
void far_init_nodes(struct far *far, uint32_t nodes, uint32_t seeds);
void far_store_fini(struct far *far);
/* From now on; told by the next WELCOME, or far_tell. */
void far_lead(struct far *far, uint16_t stripe, uint16_t node, uint64_t term);
/* A node sends LEADERS, of one stripe. */
void far_tell(struct far *far, uint16_t node, uint16_t stripe);
/* Accepts and welcomes every connection that is asked for. */
void far_up(struct far *far, uint32_t shards, uint32_t stripes);
/* The newest socket of a shard of node 1 that is open, or NULL. */
struct io_socket *far_socket(struct far *far, uint32_t shard);
struct io_socket *far_socket_of(struct far *far, uint16_t node, uint32_t shard);
/* A turn of the client; what it sends is taken whole. */
void far_turn(struct far *far);
/* Time passes, timers expire. */
void far_pass(struct far *far, uint64_t ns);
/* The next frame that the client sent on a socket, HELLO, PING and PONG passed over; false: none. Its body is valid until the next call. */
bool far_next(struct far *far, struct io_socket *socket, struct frame *out);
/* Sends a frame to the client. */
void far_send(struct io_socket *socket, uint16_t kind, uint64_t id, struct bytes body);
/* The connection breaks. */
void far_break(struct io_socket *socket);
void far_welcome(struct far *far, struct io_socket *socket, uint32_t shard);

#endif
