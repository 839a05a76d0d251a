/* route - the subscriptions of all stored sessions, as every shard knows them: loaded from the table, followed by its watch, and told by mail
 * when they change on this broker, so that they count from the SUBACK on. A change that is older than what is known is passed over.
 * Threads: the shard. */
#ifndef KEEL_BROKER_KERNEL_ROUTE_H
#define KEEL_BROKER_KERNEL_ROUTE_H

#include "broker/kernel/state.h"

/* The store is known. */
void route_start(struct kernel *kernel);
/* A row that was written by a session here: entered, and told to the other shards. deleted: version and row do not matter. */
void route_changed(struct kernel *kernel, struct bytes client_id, struct bytes filter, const struct sub_row *row,
                   uint64_t version, bool deleted);
/* The stream of a client's stored session if it is a member of shared subscriptions, else 0. */
uint64_t route_shares(struct kernel *kernel, struct bytes client_id);
/* That stored session has ended; the watch will say so, perhaps later. This shard only. */
void route_forget(struct kernel *kernel, struct bytes client_id, uint64_t stream_id);
/* The end of a turn: rows that are no longer shown are forgotten. */
void route_flush(struct kernel *kernel);
void route_receive(struct kernel *kernel, const struct kernel_mail *mail);
void route_fini(struct kernel *kernel);

#endif
