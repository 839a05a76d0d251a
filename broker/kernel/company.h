/* company - the other broker processes of the same segment store: who they are, and a channel to each of their shards.
 *
 *   table 31, stripe 0   key: instance u64   value: version u8 = 1 | shards u16 | place u64          version of the row: the birth of the process
 *
 *     REGISTERING ──row written and seen──▶ LISTED ──all who were there before have told all they have──▶ JOINED: clients are let in
 *          ▲                                                                                               │
 *          └────────────── the row is gone: the store took this process for dead ◀─────────────────────────┘ clients are sent away, it begins again
 *
 * Shard 0 writes the row and sets a timer that deletes it when the process is lost (its owner's lease, schema.h). Every shard watches the table by itself and gives each
 * shard of each other process a number of its own, behind those of this process: from then on mails go there as they go to a shard of this process, by a
 * channel (channel.h) through the store. So everything that shards tell each other (interest, routes, members and how they stand, publishes, slow queues, rules)
 * reaches all processes, counted likewise: a SUBACK waits until all have taken in what it announces, or are gone.
 * A new number is told first what stands here (interest, members), then MAIL_TOLD.
 *
 * Who is gone must not go on as if it were not: a process that has not heard from the store's leader of stripe 0 for FENCE_HEARD_NS, or has no connection to it
 * for FENCE_DOWN_NS, holds QoS 1 and 2 publishes of its clients back (*fenced*) until the leader has said that its row is still there. Both are
 * shorter than what passes until the row is deleted: when a connection ends, the lease (segstore.broker_lease, 2 s at least); without a word, 10 s and the lease.
 *
 * The *senior*, who has been there for longest (the smallest birth), does what is to be done once: wills and delayed messages, bridges, exclusive subscriptions.
 * What is told to one that has gone is dropped; what it has said and was not taken never happened.
 * At most SHARDS_MAX shards in all: a process that finds no numbers for those of others waits until some have gone, and lets nobody in.
 * Threads: the shard. */
#ifndef KEEL_BROKER_KERNEL_COMPANY_H
#define KEEL_BROKER_KERNEL_COMPANY_H

#include "broker/kernel/state.h"

enum { TABLE_BROKERS = 31 };

/* Another process. */
struct peer {
    struct list link; /* in company.all */
    uint64_t    instance;
    uint64_t    birth;
    uint64_t    place;
    uint64_t    shards; /* numbers here, a bit each; 0: none are free yet */
    uint32_t    generation;
    uint16_t    shard_count;
    uint16_t    told;  /* of its shards, those that have said MAIL_TOLD */
    uint8_t     first; /* the number of its shard 0; the others follow */
};

/* The store is known. */
void company_start(struct kernel *kernel);
/* Makes kernel.company, unless instance is 0. False: no memory. */
MUST_CHECK bool company_make(struct kernel *kernel, uint64_t instance, uint64_t place);
/* What became of the rows. Both return when they want to run again. */
uint64_t company_turn(struct kernel *kernel);
/* The end of a turn: sends what the channels have. */
uint64_t company_send(struct kernel *kernel);
void     company_fini(struct kernel *kernel);

/* Into the channel to that shard; false when it is full. Takes the body. */
bool company_post(struct kernel *kernel, unsigned shard, const struct kernel_mail *mail);
/* MAIL_TOLD. */
void company_told(struct kernel *kernel, unsigned from);

/* Clients may be let in, as far as other processes are concerned. */
bool company_joined(const struct kernel *kernel);
/* The first thing of a turn: is what this process knows of others still true? */
void company_look(struct kernel *kernel);
/* QoS 1 and 2 have to wait now. */
bool company_fenced(const struct kernel *kernel);
/* Waits until they need not. done: of a work, called with status 0. */
void company_hold(struct kernel *kernel, struct store_call *call);

/* Who that shard is to the store. */
uint64_t company_owner(const struct kernel *kernel, unsigned shard);
/* When its process was born, or born again: a shard of this process, or of another. */
uint64_t company_birth(const struct kernel *kernel, unsigned shard);
/* For each other process that is known here: each(ctx, peer). */
void company_each(struct kernel *kernel, void (*each)(void *ctx, const struct peer *peer), void *ctx);
/* The process that is the senior, NULL: this one is, or nobody is yet. */
const struct peer *company_senior(const struct kernel *kernel);

#endif
