/* store - the port: what the kernel needs of the segment store. broker/store/ fulfils it over RPC; unit tests with a store in memory.
 * Everything is asynchronous; callbacks come from store_client_turn (or from the shard's turn that received the bytes), never from
 * inside the call that asked. Requests are kept and repeated over a lost connection, or at the node that leads their stripe then, until they are answered, in their order per stripe:
 * what the kernel asks must be safe to repeat (idempotent appends, puts, moves).
 * Threads: one struct store per broker shard.   Units: wall ns; offsets count records. */
#ifndef KEEL_BROKER_KERNEL_STORE_H
#define KEEL_BROKER_KERNEL_STORE_H

#include "shared/base/assert.h"
#include "shared/base/bytes.h"
#include "shared/base/list.h"
#include "shared/base/wire.h"
#include "shared/record/record.h"

struct store;

/* False until the node that leads each stripe was connected once, and true from then on. */
bool     store_known(const struct store *store);
uint16_t store_stripe_count(const struct store *store);
/* The stripe of a name: hash_bytes(name) % stripe count. store_known must be true. */
uint16_t store_stripe(const struct store *store, struct bytes name);
/* This shard's identity as an owner of timers: random per process and shard. */
uint64_t store_owner(const struct store *store);
/* Too much is unanswered: publishers should not be read until it is false again. */
bool store_congested(const struct store *store);

/* Did the node that leads the stripe say anything lately? When, on the clock of the loop; 0: it is not connected. */
uint64_t store_heard_ns(const struct store *store, uint16_t stripe);

/* ---- other brokers --------------------------------------------------------------------------------------------- */

/* Who hears what shards of other brokers say to this one. */
struct store_relay {
    /* from: the owner that it is. The packet is as it was sent, and may come late, twice, or never. */
    void (*arrived)(struct store_relay *relay, uint64_t from, struct bytes packet);
    void *ctx;
};

void store_relay_start(struct store *store, struct store_relay *relay);
/* A packet to the broker shard that is this owner: head and bytes behind each other, RELAY_MAX_BYTES at most. Through one of the store's nodes and shards, by the number of
 * the way: another number may be another one. Best effort. False: none is connected. */
enum { RELAY_MAX_BYTES = 256 * 1024 };
bool store_relay_send(struct store *store, uint64_t to, uint32_t way, struct bytes head, struct bytes bytes);

/* ---- transactions ---------------------------------------------------------------------------------------------- */

/* A transaction under way. The caller owns it until done() is called, once. It cannot be cancelled. */
struct store_call {
    /* status 0 and the results (op.h, borrowed), or the error of the op that ended it, or ERR_QUOTA, ERR_DISK_FULL, ERR_UNAVAILABLE, ERR_TOO_BIG. */
    void (*done)(struct store_call *call, int status, struct bytes results);
    void       *ctx;
    struct list link; /* private to the store until done */
    uint64_t    id;   /* private */
};

/* Write ops into the writer (op.h), then end: the transaction is on its way. No other store function in between. A writer that turned
 * bad is answered ERR_TOO_BIG through done. */
struct wire_writer *store_txn_begin(struct store *store, uint16_t stripe);
void                store_txn_end(struct store *store, struct store_call *call);

/* ---- tables ---------------------------------------------------------------------------------------------------- */

struct store_item {
    struct bytes key; /* borrowed */
    struct bytes value;
    uint64_t     version;
    uint64_t     expires_wall_ns;
    uint16_t     stripe;
    bool         deleted; /* watch only */
};

enum { STORE_STRIPE_ALL = 0xffff };

/* A scan under way: key, prefix or topic filter over one stripe or over all stripes of the cluster (asked page by page, shard after shard). */
struct store_scan {
    bool (*item)(struct store_scan       *scan,
                 const struct store_item *item);       /* false: pause behind this item, until store_scan_resume */
    void (*done)(struct store_scan *scan, int status); /* the last callback; status 0 or an error */
    void *ctx;
    uint64_t private[16];
};

/* stripe or STORE_STRIPE_ALL; kind: enum rpc_scan_kind; pattern is copied (at most 65535 bytes). */
void store_scan_start(struct store *store, struct store_scan *scan, uint16_t stripe, uint32_t table, uint8_t kind,
                      struct bytes pattern);
void store_scan_resume(struct store *store, struct store_scan *scan);
/* No callback comes after this. */
void store_scan_cancel(struct store *store, struct store_scan *scan);

/* Follows a whole table: first what is there, then every change. */
struct store_watch {
    void (*changed)(struct store_watch *watch, const struct store_item *item);
    /* For each part of the store, when it can be asked and whenever it is asked again (the connection, or who leads it, is another one): restarted(shard), then
     * all that is there in its stripes (stripe % shard_count == shard), then synced(shard): what was not shown in between no longer exists. Then every
     * change. A part is a stripe, as stripes move from one node to another by themselves: there may be thousands. */
    void (*synced)(struct store_watch *watch, uint32_t shard, uint32_t shard_count);
    void (*restarted)(struct store_watch *watch, uint32_t shard, uint32_t shard_count);
    void *ctx;
    uint64_t private[16];
};

void store_watch_start(struct store *store, struct store_watch *watch, uint32_t table);

/* ---- streams --------------------------------------------------------------------------------------------------- */

struct store_follow {
    /* One record, checked. Uses up one credit. */
    void (*record)(struct store_follow *follow, uint64_t offset, struct bytes tag, const struct record *record);
    /* The last callback: ERR_FENCED (a newer owner), ERR_NOT_FOUND (deleted), ERR_CORRUPT, ERR_UNAVAILABLE. */
    void (*ended)(struct store_follow *follow, int status);
    void *ctx;
    uint64_t private[16];
};

/* Records from offset `from` on, as long as there is credit (records). epoch: from FENCE; 0 for a stream that is not fenced. */
void store_follow_start(struct store *store, struct store_follow *follow, uint64_t stream_id, uint64_t epoch,
                        uint64_t from, uint32_t credit);
void store_follow_credit(struct store *store, struct store_follow *follow, uint32_t credit);
/* No callback comes after this. */
void store_follow_cancel(struct store *store, struct store_follow *follow);

#endif
