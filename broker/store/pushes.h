/* pushes - what the segment store pushes: follows of streams and watches of tables, over links that come and go, from leaders that do, too.
 * Each is asked for where its stripe is led; what comes late from elsewhere is passed over.
 * Threads: the broker shard. */
#ifndef KEEL_BROKER_STORE_PUSHES_H
#define KEEL_BROKER_STORE_PUSHES_H

#include <stdbool.h>

struct frame;
struct link;
struct store;

/* The link is gone: what was asked for over it is to be asked for anew. */
void pushes_down(struct store *store, struct link *link);
/* What was refused may be asked for again. */
void pushes_ask_again(struct store *store);
/* Begins the watches that were started since the last turn, and asks for all whose place has changed. */
void pushes_turn(struct store *store);
/* A push arrived. False: it does not follow the format, or its record is damaged. */
bool pushes_pushed(struct store *store, struct link *link, const struct frame *frame);
void pushes_fini(struct store *store);

#endif
