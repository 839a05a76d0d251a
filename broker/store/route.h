/* route - which node leads each stripe, and what becomes of transactions when that changes.
 *
 *   open     a transaction goes into the queue of the link to the leader at once                       route.to
 *   parked   it waits here: the leader is not known; or it refused (ERR_NOT_LEADER); or the round is to end first
 *
 * All transactions of a stripe that have no answer are in one queue, in the order in which they were made, or parked behind it. The highest term that
 * any node tells of wins. When it is a new one, all of them are taken out of the old link's queue, with the term written anew, and go on at the
 * new leader, in their order; what the old one still answers concerns nobody. While the link to a leader is down they wait in its queue: only a
 * higher term moves them.
 *
 * Rounds: why an idempotent append can never be overtaken
 *   The stripe knows a writer's last sequence only: when n is refused and n+1 is taken, an n that is asked again looks like a duplicate and is lost. So
 *   n+1 must not be taken before this broker knows what became of n. A transaction that waits for its answer may be refused without an entry of
 *   the log for two reasons: the disk is full, or the node does not lead the stripe (yet). The store then refuses, on that connection, whatever follows
 *   in the same round for the stripe (schema.h, RPC_TXN): all of it when it does not lead, idempotent appends when the disk is full. Here
 *   the next round begins when no transaction of the last one is without an answer:
 *     disk full    the first answer says so (refusing 1): n is answered to the kernel, what is made from then on is parked until all that
 *                  were sent are answered, too; each of those is known to have been taken or refused.
 *     not leader   nothing is answered to the kernel: n and all behind it are taken out of the queue. The copies that were sent are of the
 *                  old round: refused for being behind n, whatever the node has become meanwhile.
 *   A full queue refuses n with an entry of the log, and holds nothing up: n and n+1 are of different writers while either waits for its answer (kernel/lanes.h).
 *   A connection that breaks begins at n again, over one that has refused nothing. A move to another node or term begins at n, too: if the old leader refused n
 *   and that was heard, n is answered and not among what is moved; if it was not heard, the new one decides anew. Old copies on old connections can be
 *   taken only by a leader of their term, in the order of that connection, so never n+1 without n before it.
 *   (A round per connection for all stripes, confirmed while requests are under way, is not enough: the answer to an append that was refused between
 *   the first refusal and its confirmation may be lost.)
 * Threads: the broker shard. */
#ifndef KEEL_BROKER_STORE_ROUTE_H
#define KEEL_BROKER_STORE_ROUTE_H

#include "broker/store/state.h"

/* It is known how many stripes there are. */
void routes_make(struct store *store);
void routes_fini(struct store *store);
/* A list of leaders: count u16, count x { stripe u16, leader u16, term u64 }. False: it does not follow the format. */
MUST_CHECK bool routes_heard(struct store *store, struct wire_reader *r);
/* Nodes were learned of: leaders that were known by their number only may be among them. */
void routes_resolve(struct store *store);
/* The time to ask again those who refused. */
void routes_again(struct store *store);
/* The end of a turn: what has a way again goes on. */
void routes_turn(struct store *store);
/* A link is up: has every leader been connected once? */
void routes_seen(struct store *store);

/* Behind all others of its stripe. The frame is copied; its id does not matter. */
void route_park(struct store *store, uint16_t stripe, struct bytes frame, void *owner);
/* A transaction was answered. refusing: the store refuses what follows in this round. */
void route_answered(struct store *store, uint16_t stripe, bool refusing);
/* One was answered with ERR_NOT_LEADER. */
void route_refused(struct store *store, struct link *link, uint16_t stripe);

#endif
