/* io_sim - inside the simulator's io: what io_sim.c, io_sockets.c and io_files.c share, and what process.c calls.
 *
 * One struct io per core. What completed waits in the list ready; a turn calls back all of it, in random order of the objects,
 * then the shard's turn runs, then what it asked for is submitted: nothing reaches network or disk in the middle of a turn, so
 * a process that dies in one has asked for nothing in it.
 *
 * Bugs of the caller that end the run: callbacks that do not follow the contract cannot happen; a send while one is under way, an
 * operation used while it is under way, a file closed with operations under way, memory of a write changed under it, an accepted
 * socket left without a handler.
 *
 * An io dies with its process: from then on all its functions do nothing. */
#ifndef KEEL_TESTS_SIM_IO_SIM_H
#define KEEL_TESTS_SIM_IO_SIM_H

#include "shared/loop/io.h"
#include "tests/sim/process.h"

/* Something with completions to deliver; lives inside a socket, listener or operation. */
struct ready {
    struct list link;
    bool        gone; /* closed: deliver nothing, the memory goes at the end of the turn */
    void (*deliver)(struct ready *ready);
    void (*release)(struct ready *ready); /* frees what it lives in */
};

struct io {
    struct world    *world;
    struct core     *core;
    struct io_config config;
    uint64_t         now_ns;
    uint64_t         wall_ns;
    void (*begin)(void *ctx); /* of each turn, or NULL */
    void          *begin_ctx;
    struct rand    rand;
    struct list    ready;
    struct list    graves; /* closed during a dispatch; ready.link */
    struct list    sockets;
    struct list    listeners;
    struct list    files;
    struct list    ops;
    struct list    sending; /* sockets with bytes for the network at the end of the turn */
    struct list    fresh;   /* operations for the disk at the end of the turn */
    uint32_t       socket_count;
    uint32_t       buffers_left; /* of config.recv_buffers, this turn */
    struct ready **batch;        /* what this turn delivers */
    size_t         batch_room;
    void          *chunk; /* what received() borrows now; a block of its own, so that a use after its return shows */
    bool           woken;
    bool           dead;
    bool           dispatching;
};

/* The object has something to deliver. */
void io_sim_ready(struct io *io, struct ready *ready);
/* Takes it out of everything; frees it now, or after the dispatch that may still hold it. */
void io_sim_bury(struct io *io, struct ready *ready);

/* ---- for process.c ---- */

/* Reads the clocks and calls back what completed. */
void io_sim_turn(struct io *io);
/* Hands over what the turn asked for; true when something is ready already. */
bool io_sim_submit(struct io *io);
/* The process is gone; memory stays until io_sim_free. */
void io_sim_die(struct io *io);
void io_sim_free(struct io *io);

/* ---- of the parts ---- */

void io_sockets_submit(struct io *io);
void io_sockets_free(struct io *io);
void io_files_submit(struct io *io);
void io_files_die(struct io *io);
void io_files_free(struct io *io);

#endif
