/* net_state - what the files of the simulated network share; nobody else includes this.
 * Threads: one. */
#ifndef KEEL_TESTS_SIM_NET_STATE_H
#define KEEL_TESTS_SIM_NET_STATE_H

#include "tests/sim/net.h"

enum { MACHINES_MAX = 64, SEGMENT_MAX_BYTES = 32 * 1024, FIRST_EPHEMERAL_PORT = 40000 };

#define RETRY_FIRST_NS     (200 * SIM_MS)
#define RETRY_LAST_NS      (8 * SIM_S)
#define DRAIN_NS           (1 * SIM_S)
#define CONNECT_TIMEOUT_NS (127 * SIM_S)

struct net {
    struct world *world;
    struct list   conns;
    uint32_t      conn_count;
    struct link   links[MACHINES_MAX][MACHINES_MAX];
};

struct conn {
    struct net  *net;
    struct list  link;
    struct end   end[2];    /* who connected, who accepted */
    struct event handshake; /* the next step of it */
    uint16_t     port;
    bool         answered; /* the server's answer is under way to the client */
    int          answer;
    uint64_t     started_ns;
    uint64_t     retry_ns;
};

/* net.c */
struct world *net_world_of(const struct end *end);
bool          net_held(const struct end *end);
/* Nothing that still flies can matter when nobody holds an end. Returns true when the connection is gone. */
bool conn_free_unheld(struct conn *conn);

/* net_link.c */
/* When size bytes that leave now are there. */
uint64_t net_arrival_ns(struct end *from, size_t size);
/* Does what leaves now get through? A machine without power hears nothing. */
bool     net_gets_through(struct end *from);
uint64_t net_next_retry_ns(struct world *world, uint64_t *retry_ns);

/* net_pipe.c */
void net_drop_segments(struct list *segments);
void net_notify(struct end *end);
/* The end learns that the connection is no more. */
void net_break_end(struct end *end, int error);
/* A reset overtakes a random part of what flies before it. */
void net_fly_reset(struct end *from);
void net_pipe_acked(struct event *event);
void net_pipe_arrive(struct event *event);

/* net_handshake.c */
bool net_is_loopback(const char *address);

#endif
