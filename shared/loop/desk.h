/* desk - where other threads leave work for one shard: the way back from workers, from HTTP and from the admin thread.
 *
 *   any thread:  desk_post ──list under a lock──▶ io_wake ──▶  shard: desk_turn runs every item, on its own thread
 *
 * A mailbox joins two shards and is bounded; a desk has many writers, each with few items that it owns itself, so it needs no bound of its own.
 * Not for the hot path: desk_turn costs one relaxed load when nothing lies there. The flag is stored (release) under the lock after the item is linked; a
 * flag that is seen late is seen in the next turn, which io_wake makes certain.
 * Lifetime: made before the shards and freed after all that post.   Threads: as marked. */
#ifndef KEEL_SHARED_LOOP_DESK_H
#define KEEL_SHARED_LOOP_DESK_H

#include "shared/base/assert.h"

#include <stdbool.h>

struct io;
struct desk;

/* Embedded in what is handed over; belongs to the desk from desk_post until run is called. */
struct desk_item {
    struct desk_item *next;
    void (*run)(struct desk_item *item); /* on the shard's thread */
};

/* NULL when memory is out. */
struct desk *desk_new(void);
/* Accepts NULL. Nothing may lie on it. */
void desk_free(struct desk *desk);
/* The shard sits down: from now on posts are taken. By the shard. */
void desk_attach(struct desk *desk, struct io *io);
/* The shard leaves: waits for what desk_expect announced, runs everything, then takes no more. By the shard. */
void desk_detach(struct desk *desk);
/* False: nobody sits there (not yet, or not any more) and nothing was posted. Any thread. */
MUST_CHECK bool desk_post(struct desk *desk, struct desk_item *item);
/* One more item will come from another thread: desk_detach waits for it. By the shard. */
void desk_expect(struct desk *desk);
/* The item that was expected. Any thread. */
void desk_return(struct desk *desk, struct desk_item *item);
/* Runs what lies there. By the shard, each turn. */
void desk_turn(struct desk *desk);

#endif
