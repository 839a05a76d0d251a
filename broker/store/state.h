/* state - what the files of this room share: one client of the segment store. Nobody outside includes it.
 *
 *   nodes.c   node ── links, one for each of its shards                    who is there
 *   route.c   stripe ── route: which node leads it, and through which link    where a transaction goes
 *   pushes.c  scan.c                                                       what reads asks through the same routes
 * Threads: the broker shard. */
#ifndef KEEL_BROKER_STORE_STATE_H
#define KEEL_BROKER_STORE_STATE_H

#include "broker/store/client.h"
#include "broker/store/link.h"

enum { STORE_NODES_MAX = 48 }; /* seeds that are no nodes by their own address among them */

struct store_node {
    uint16_t      id; /* 0: a seed that has not said who it is */
    uint16_t      port;
    char          address[STORE_ADDRESS_MAX];
    struct link **links; /* by shard; only that of shard 0 while it is not known how many there are */
    uint32_t      link_count;
};

/* Of one stripe. See route.h. */
struct route {
    struct link *to;     /* where its next transaction goes at once; NULL: it is parked */
    struct link *link;   /* to the leader; NULL: that is not known */
    uint64_t     term;   /* the highest that was heard of; 0: none */
    uint16_t     leader; /* a node's id, 0: not known */
    uint16_t     round;
    uint32_t     open;    /* transactions in the link's queue without an answer */
    bool         refused; /* by the one that is said to lead it */
    bool         held;    /* until all of the round are answered */
    bool         moving;
    bool         seen;   /* its leader was connected once */
    struct list  parked; /* struct parked, in their order: behind all that are open */
    struct list *before; /* while moving: what is taken out of a queue comes before this one of them */
};

/* One follow, or one watch of one stripe: where pushes with its id go. */
struct subscriber {
    struct store_follow *follow; /* one of the two; both NULL: the slot is free */
    struct store_watch  *watch;
    struct link         *link; /* where it was asked for; NULL: nowhere now */
    uint64_t             stream_id;
    uint64_t             epoch;
    uint64_t             next_offset;  /* behind the last record shown */
    uint64_t             refused_term; /* in which the leader refused it .. */
    bool                 refused;      /* .. it is asked again later, or in another term */
    uint16_t             stripe;
    uint32_t             credit; /* records that may still come */
    uint32_t             table;
    uint32_t             generation; /* in the id, so that a late push for an earlier use of the slot is told apart */
    uint32_t             next_free;
    uint32_t             corrupt_count; /* records that did not check, one after another */
};

struct store {
    struct io                 *io;
    struct timer_wheel        *timers;
    struct store_client_config config;
    const struct link_handler *handler;
    struct store_node          nodes[STORE_NODES_MAX];
    uint32_t                   node_count;
    struct link              **links; /* of all nodes */
    uint32_t                   link_count;
    uint32_t                   shard_count; /* of each node */
    uint64_t                   cluster;
    uint16_t                   stripe_count; /* 0: not known yet */
    uint32_t                   unseen_count; /* routes whose leader was never connected */
    bool                       known;
    struct log_limit           odd; /* complaints about nodes that do not belong together */
    struct route              *routes;
    bool                       routes_stale; /* some have a way to a leader and are not open */
    size_t                     parked_bytes;
    uint64_t                   parked_count;
    struct timer               again; /* what a leader refused is asked again */
    bool                       in_txn;
    uint16_t                   txn_stripe;
    struct wire_writer         scratch; /* the frame being written */
    struct list                failed;  /* calls to be answered ERR_TOO_BIG */
    struct list                watches; /* not begun */
    struct list                scans;   /* all that are not done */
    /* Started, resumed or refused: their next page is asked at the end of the turn, if it can be. */
    struct list         scans_waiting;
    bool                scans_stale; /* pages may be under way where their stripe is no longer led */
    struct subscriber  *subscribers;
    uint32_t            subscriber_count; /* slots */
    uint32_t            free_slot;        /* 1-based, 0: none */
    struct store_relay *relay;            /* who hears other brokers, or NULL */
    bool                pushes_stale;     /* some are asked for elsewhere, or nowhere, than they should be */
};

/* The link to the leader of a stripe when it is up, else NULL. */
struct link *store_reader(const struct store *store, uint16_t stripe);
/* What was refused is asked again in a while. */
void store_again(struct store *store);

#endif
