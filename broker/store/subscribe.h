/* subscribe - what the segment store pushes: follows of streams and watches of tables, over links that come and go.
 * Threads: the broker shard. */
#ifndef KEEL_BROKER_STORE_SUBSCRIBE_H
#define KEEL_BROKER_STORE_SUBSCRIBE_H

#include <stdbool.h>

struct frame;
struct link;
struct store;

/* The link is up (again): asks for all that it pushes. */
void subscribe_again(struct store *store, struct link *link);
/* Begins the watches that were started since the last turn. */
void subscribe_turn(struct store *store);
/* A push arrived. False: it does not follow the format, or its record is damaged. */
bool subscribe_pushed(struct store *store, struct link *link, const struct frame *frame);
void subscribe_fini(struct store *store);

#endif
