/* state - what the files of this room share: one client of the segment store. Nobody outside includes it.
 * Threads: the broker shard. */
#ifndef KEEL_BROKER_STORE_STATE_H
#define KEEL_BROKER_STORE_STATE_H

#include "broker/store/client.h"
#include "broker/store/link.h"

/* One follow, or one watch on one link: where pushes with its id go. */
struct subscriber {
    struct store_follow *follow; /* one of the two; both NULL: the slot is free */
    struct store_watch  *watch;
    uint64_t             stream_id;
    uint64_t             epoch;
    uint64_t             next_offset; /* behind the last record shown */
    uint32_t             credit;      /* records that may still come */
    uint32_t             table;
    uint16_t             stripe;
    uint32_t             generation; /* in the id, so that a late push for an earlier user of the slot is told apart */
    uint32_t             next_free;
    uint32_t             corrupt_count; /* records that did not check, one after another */
};

struct store {
    struct io                 *io;
    struct timer_wheel        *timers;
    struct store_client_config config;
    struct link              **links; /* by shard */
    uint32_t                   shard_count;
    uint32_t                   up_count;
    uint16_t                   stripe_count; /* 0: not known yet */
    uint32_t                   record_max_bytes;
    uint64_t                  *terms; /* by stripe */
    bool                       known;
    bool                       in_txn;
    struct link               *txn_link;
    struct wire_writer         scratch; /* the frame being written */
    struct list                failed;  /* calls to be answered ERR_TOO_BIG */
    struct list                watches;
    struct list                scans;         /* all that are not done */
    struct list                scans_waiting; /* resumed or started; their next page is asked at the end of the turn */
    struct subscriber         *subscribers;
    uint32_t                   subscriber_count; /* slots */
    uint32_t                   free_slot;        /* 1-based, 0: none */
};

struct link *store_link_of(struct store *store, uint16_t stripe);

#endif
