/* board - where HTTP threads ask the shards of a segment store how they are (status.h).
 *
 *   HTTP thread   board_look ──asked, wake──▶ shard thread   board_asked, fills board_mine, board_put ──▶ copied for the asker
 *
 * A shard that nobody asks loads one flag per turn of its loop; one that is asked looks at itself once, at most so often as FRESH_NS allows, and
 * waits for nobody longer than another thread copies what it said before.
 * asked is stored (release) before the wake and loaded (acquire) in the turn that follows it; what is handed over goes through the slot's mutex.
 * Lifetime: from before the shards start until they and the HTTP threads have ended.   Threads: as the sections say. */
#ifndef KEEL_SEGSTORE_BOARD_H
#define KEEL_SEGSTORE_BOARD_H

#include "segstore/status/status.h"

struct board;

/* stripes: of the whole node. wake(ctx, shard) makes that shard's loop turn; it is called on HTTP threads. */
struct board *board_new(uint32_t shards, uint32_t stripes, void (*wake)(void *ctx, uint32_t shard), void *ctx);
void          board_free(struct board *board);

/* ---- the shard's thread ---- */
bool board_asked(const struct board *board, uint32_t shard);
/* To be filled in. */
struct shard_status *board_mine(struct board *board, uint32_t shard);
void                 board_put(struct board *board, uint32_t shard);

/* ---- any other thread ---- */
/* A copy of what each shard says, in order; those that do not answer within a second are not fresh. NULL: no memory. One piece of memory: the
 * caller frees it. */
struct shard_status *board_look(struct board *board);

#endif
