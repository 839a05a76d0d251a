/* group_link - the connection of a simulated broker to one node of a group: connects, greets, asks whether the node lives, connects again.
 *
 *   DOWN ──▶ connecting ──▶ greeted ──(WELCOME)──▶ up       what is written into out leaves with the next turn
 *     ▲────────────────────────────────────────────│ broken, silent
 *
 * Threads: one; the process whose io it is given. */
#ifndef KEEL_TESTS_SIM_GROUP_LINK_H
#define KEEL_TESTS_SIM_GROUP_LINK_H

#include "shared/base/wire.h"
#include "shared/rpc/frame.h"
#include "tests/sim/group.h"

struct group_link;

struct group_link_hooks {
    /* Any frame but PING, PONG and WELCOME. */
    void (*frame)(void *ctx, struct group_link *link, const struct frame *frame);
    /* What WELCOME or LEADERS says: count u16, count x { stripe u16, leader u16, term u64 }. May be NULL. */
    void (*leaders)(void *ctx, struct wire_reader *r);
    /* What was sent and not answered is lost. */
    void (*down)(void *ctx, struct group_link *link);
};

struct group_link {
    struct world                  *world;
    struct io                     *io;
    const struct group_link_hooks *hooks;
    void                          *ctx;
    struct io_socket              *socket;
    struct frame_reader            reader;
    struct wire_writer             out;
    struct wire_writer             flying;
    uint64_t                       instance;
    uint64_t                       owner;
    uint64_t                       place;      /* 0: not said */
    uint64_t                       silence_ns; /* after which a node that says nothing is given up */
    uint64_t                       retry_ns;
    uint64_t                       heard_ns;
    uint64_t                       ping_ns;
    char                           name[16];
    uint16_t                       node;
    bool                           greeted;
    bool                           up;
    bool                           sending;
};

/* node: its number, from 1. */
void group_link_init(struct group_link *link, struct world *world, uint16_t node, uint64_t instance, uint64_t owner,
                     const struct group_link_hooks *hooks, void *ctx);
/* Once per turn of the process. */
void group_link_turn(struct group_link *link, struct io *io);
void group_link_fini(struct group_link *link);
/* As if it had broken: it connects again. */
void group_link_break(struct group_link *link);
/* Ends the frame that was begun in out. */
void group_link_end(struct group_link *link, size_t begun);

#endif
