/* route - the subscriptions of all stored sessions, as every shard knows them: loaded from the table, followed by its watch, and told by mail
 * when they change on this broker, so that they count from the SUBACK on. A change that is older than what is known is passed over, and so is
 * one of an earlier session of the same client: a row with another stream that is newer ends all before it.
 *
 *     MAIL_ROUTE  what u8 (enum below) | client id blob | value of the row blob | filter      value: version of the row
 *
 * Threads: the shard. */
#ifndef KEEL_BROKER_KERNEL_ROUTE_H
#define KEEL_BROKER_KERNEL_ROUTE_H

#include "broker/kernel/interest.h"
#include "broker/kernel/session.h"

/* What a mail says. The last two (stored.h) have no row and no filter: an older broker takes them for the end of a subscription that there is not. */
enum { ROUTE_PUT, ROUTE_DELETED, ROUTE_PRESENT, ROUTE_ABSENT };

/* The store is known. */
void route_start(struct kernel *kernel);
/* A row that was written by a session here: entered, and told to the other shards. deleted: version and row do not matter. False: no memory. */
bool route_changed(struct session *session, struct bytes filter, const struct sub_row *row, uint64_t version,
                   bool deleted);
/* A row that a session which opens here has. False: no memory. */
MUST_CHECK bool route_known(struct session *session, struct bytes filter, const struct sub_row *row, uint64_t version);
/* Has it a subscription to that filter? Not of a live session, and not a shared one. */
bool route_has(struct session *session, struct bytes filter);
/* The filters of those that it has. */
void route_each(struct session *session, void (*each)(void *ctx, struct bytes filter, uint8_t qos), void *ctx);
/* The stream of a client's stored session if it is a member of shared subscriptions, else 0. */
uint64_t route_shares(struct kernel *kernel, struct bytes client_id);
/* That stored session has ended; the watch will say so, perhaps later. This shard only. */
void route_forget(struct kernel *kernel, struct bytes client_id, uint64_t stream_id);

/* One row of each filter that matches the topic which was asked about (interest_ask); its ring has the others. fetch brings them into the cache before. */
void     route_fetch(const struct kernel *kernel, const struct interest_question *question);
uint32_t route_match(const struct kernel *kernel, const struct interest_question *question, struct bytes topic,
                     uint32_t out_rows[SHAPES_MAX + 1]);

/* The end of a turn: rows that are no longer shown are forgotten. */
void route_flush(struct kernel *kernel);
/* The body of a mail: that client is connected here, or no longer. */
struct wire_writer route_presence(struct bytes client_id, bool there);
void               route_receive(struct kernel *kernel, unsigned from, const struct kernel_mail *mail);
void               route_fini(struct kernel *kernel);

#endif
