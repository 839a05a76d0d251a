/* node - one thread of the segment store: its stripes, its disk, its connections.
 *
 *   node_new -> for (;;) io_turn(io, node_turn(node)) -> node_stop -> stopped -> node_free
 *
 *   node_turn:  mail from other shards, what is due, log (deliver: apply, reply, push; then submit), readers that lag, sends
 *
 * A transaction is answered after its entry is durable on a majority of the stripe's replicas, and applied. Readers see what is applied, nothing else.
 * Shard 0 listens; a HELLO that names another shard takes its socket there.
 * Threads: one per node; node_mail is how they meet.   Units: ns of io_now_ns. */
#ifndef KEEL_SEGSTORE_NODE_NODE_H
#define KEEL_SEGSTORE_NODE_NODE_H

#include "segstore/node/config.h"
#include "shared/base/assert.h"

struct io;
struct mailbox;
struct node;
struct raft;
struct shard_status;
struct stripe;

struct node_hooks {
    void *ctx;
    /* Shard 0: every shard is open and clients can connect. */
    void (*ready)(void *ctx, const char *address, uint16_t port);
    /* The directory cannot be used, or the address: a sentence for the operator. The node does nothing more. */
    void (*refused)(void *ctx, int error, const char *why);
    /* After node_stop: everything under way has ended. */
    void (*stopped)(void *ctx);
};

/* inbox[i]: from shard i to this one, outbox[i]: from this one to shard i; own places are NULL. Both NULL when there is one
 * shard. The mailboxes outlive the node. config is borrowed. */
struct node *node_new(struct io *io, const struct segstore_config *config, uint32_t shard, struct mailbox **inbox,
                      struct mailbox **outbox, const struct node_hooks *hooks);
/* One turn; returns when it wants the next one though nothing completes. */
uint64_t node_turn(void *node);
/* Takes no more requests; what is under way ends, then hooks.stopped is called. */
void node_stop(struct node *node);
/* Also in the middle of everything, after io has gone. */
void node_free(struct node *node);

/* For tests: a stripe of this shard, or NULL; its consensus; the chain of its log at an entry, false when that is not known any more;
 * whether records of it are damaged, so that another node leads it; the counters. */
struct stripe     *node_stripe(struct node *node, uint16_t stripe);
const struct raft *node_raft(struct node *node, uint16_t stripe);
bool               node_chain(struct node *node, uint16_t stripe, uint64_t index, uint64_t *out);
bool               node_repairs(struct node *node, uint16_t stripe);

struct node_counts {
    uint64_t requests;
    uint64_t transactions; /* of brokers, committed and answered here */
    uint64_t committed;    /* entries that took effect here since the start */
    uint64_t wal_writes;
    uint64_t wal_bytes;
    uint64_t wal_entries;
    uint64_t cold_reads;
    uint64_t reclaim_files; /* of the log, emptied by moving what was held */
    uint64_t reclaim_records;
    uint64_t reclaim_read_bytes;
    uint64_t reclaim_written_bytes;
    uint64_t reclaim_full_bytes; /* of these, while the disk was full */
    uint64_t reclaim_credit;     /* that it may write before it has written all that was ever logged once more */
    uint64_t reclaim_damaged;    /* records that could not be read */
    uint64_t log_file_bytes;     /* of files of the log, now */
    uint64_t run_bytes;          /* of runs, now */
    uint64_t records_pushed;
    uint64_t scrub_rounds; /* times that the log was read again */
    uint64_t scrub_bytes;
    uint64_t scrub_damages; /* places where it is not what was written, each time they are met */
    uint64_t checkpoints;
    uint64_t elections; /* terms that stripes entered */
    uint64_t images_sent;
    uint64_t images_taken;
    uint64_t replicas_left; /* that moved to other nodes, and were emptied here */
    uint64_t relayed;       /* packets of brokers for others */
    uint64_t relays_dropped;
    uint64_t records_repaired; /* that were damaged here and that another node gave back */
};
struct node_counts node_counts(const struct node *node);
/* How it is now. out->stripes has room for all of its stripes; out->shard and out->fresh are set, too. */
void node_status(const struct node *node, struct shard_status *out);

#endif
