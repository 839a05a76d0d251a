/* store_tester - one broker shard as far as the segment store can tell: it appends, remembers what was answered, and checks what comes back.
 *
 *   per stripe a stream; transaction n:  APPEND record n (idempotent: writer, sequence n)  +  TABLE_PUT "n"
 *
 * Transactions of a stripe are sent in order, several under way, to the node that leads it; after a break, and to a new leader, the unanswered ones are
 * sent again, with the same sequence. So each must be applied once, in order: record n lies at offset n, for ever, whatever crashed in between.
 * It follows every stream all the time, from where it is or from the beginning, and checks each record that it is handed.
 * Threads: one; it is a process of its own in the simulated world. */
#ifndef KEEL_TESTS_SIM_STORE_TESTER_H
#define KEEL_TESTS_SIM_STORE_TESTER_H

#include "shared/base/wire.h"
#include "shared/rpc/frame.h"
#include "tests/sim/process.h"

enum { STORE_TESTER_STRIPES_MAX = 4, STORE_TESTER_NODES_MAX = 7, STORE_TESTER_TXNS_MAX = 2000 };

struct tester_stripe {
    uint64_t stream_id; /* 0: not known yet */
    uint64_t term;      /* the highest heard of; 0: none */
    uint16_t leader;    /* in that term; 0: not known */
    uint16_t round;     /* of transactions (schema.h) */
    uint32_t open;      /* transactions of the round without an answer */
    bool     held;      /* one was refused: the next round begins when all are answered */
    bool     creating;
    uint64_t follows;   /* how often it was followed: late pushes are told apart */
    uint64_t follow_ns; /* not again before */
    uint64_t wanted;    /* transactions to make */
    uint64_t sent;
    uint64_t answered; /* all below are acknowledged */
    uint64_t trimmed;  /* a TRIM to here was acknowledged */
    uint64_t trim_sent;
    uint64_t next; /* offset that the follower expects */
    uint64_t seen; /* all below were handed over at least once */
    bool     following;
    bool     unavailable;  /* the store says that this stripe is stopped */
    uint64_t refused_full; /* answers ERR_DISK_FULL */
    uint64_t later_ns;     /* not again before */
    uint64_t trim_ns;
    bool     gaps; /* records may be missing: damage was accepted */
};

/* One connection. */
struct tester_node {
    struct store_tester *client;
    const char          *name;
    uint16_t             id; /* 0: it has not said */
    struct io_socket    *socket;
    struct frame_reader  reader;
    struct wire_writer   out;
    struct wire_writer   flying;
    uint64_t             retry_ns;
    uint64_t             ping_ns;
    uint64_t             heard_ns;
    bool                 greeted;   /* HELLO is on its way */
    bool                 connected; /* WELCOME came */
    bool                 sending;
};

struct store_tester {
    struct world             *world;
    struct process           *process;
    struct io                *io;
    struct tester_node        nodes[STORE_TESTER_NODES_MAX];
    uint32_t                  node_count;
    struct tester_stripe      stripes[STORE_TESTER_STRIPES_MAX];
    uint32_t                  stripe_count;
    uint32_t                  window;       /* transactions under way per stripe */
    uint32_t                  large_one_in; /* records that span chunks */
    uint32_t                  again_one_in; /* follows that begin at the start */
    uint64_t                  instance;
    uint64_t                  scan_number;
    uint32_t                  scan_left; /* stripes, one bit each */
    uint32_t                  scan_asked;
    const struct tester_node *scan_node; /* that was asked for the page that is awaited */
    /* That page was refused by a node that does not lead, or lost with the connection: when to ask again; 0: it was not. */
    uint64_t scan_again_ns;
    uint16_t scan_stripe; /* where that page begins .. */
    uint8_t  scan_after[32];
    size_t   scan_after_size; /* .. behind this key */
    uint64_t scanned[STORE_TESTER_STRIPES_MAX];
    bool     scanned_all;
    bool     may_rot; /* a follow may end for damage */
    bool     rotten;  /* one did */
    bool     stop;    /* sends nothing new */
    uint64_t changes; /* of leaders that it heard of */
};

/* On a machine of its own; connects to "store":7400 and again whenever that breaks. */
void store_tester_start(struct store_tester *client, struct world *world, uint32_t stripe_count);
/* The same with several nodes. names outlives the client. */
void store_tester_start_nodes(struct store_tester *client, struct world *world, const char *const *names,
                              uint32_t count, uint32_t stripe_count);
/* Asks for so many transactions of a stripe in all. */
void store_tester_want(struct store_tester *client, uint32_t stripe, uint64_t count);
/* Forgets records below offset, once it is connected. */
void store_tester_trim(struct store_tester *client, uint32_t stripe, uint64_t offset);
/* The leader of every stripe is connected. */
bool store_tester_connected(void *client);
/* All that was wanted was answered, and was handed over by FOLLOW. */
bool store_tester_done(void *client);
/* All that was wanted was answered. */
bool store_tester_answered(void *client);
/* Reads all tables and checks that exactly the acknowledged keys are there. Lets time pass. */
void store_tester_check_tables(struct store_tester *client);
void store_tester_end(struct store_tester *client);

#endif
