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
void route_receive(struct kernel *kernel, const struct kernel_mail *mail);
void route_fini(struct kernel *kernel);

#endif
