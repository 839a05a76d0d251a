/* reclaiming - a pass of reclaim: what the files that do it share; nobody else includes this.
 *
 *   reclaim.c  which files, what is held, the turn
 *   source.c   a file, window by window, block by block: what is held in it is gathered, or weighed
 *   mover.c    what was gathered, block by block, into a run; then the stripes' positions
 *
 * Threads: the shard. */
#ifndef KEEL_SEGSTORE_DISK_RECLAIMING_H
#define KEEL_SEGSTORE_DISK_RECLAIMING_H

#include "segstore/disk/reclaim.h"

enum { RECLAIM_READ_BYTES = 256 * 1024, RECLAIM_WINDOW_BYTES = BLOCK_MAX_BYTES + RECLAIM_READ_BYTES };
enum { RECLAIM_SLICE_NS = 1000000 }; /* between two slices */

/* reclaim.c */
/* No step before the next slice. */
void reclaim_slice(struct reclaim *r);
/* So many bytes were read or written: no more before the rate allows it. */
void reclaim_pay(struct reclaim *r, uint64_t bytes);
/* The operation under way has ended. */
void reclaim_step_done(struct io_op *op, int result);
/* Over, done or given up; the next one begins after wait_ns at the earliest. */
void reclaim_end(struct reclaim *r, uint64_t wait_ns);
/* Given up, because an operation failed. */
void reclaim_retry(struct reclaim *r);
/* Given up: these files are not looked at again for a while. */
void reclaim_postpone(struct reclaim *r);
/* What is held there cannot be read: it keeps its file. */
bool reclaim_holds(void *ctx, const struct survivor *survivor);
void reclaim_damaged(void *ctx, const struct survivor *survivor);

static inline uint64_t reclaim_base(const struct reclaim *r, uint64_t number)
{
    return segments_position(r->segments, number);
}

/* source.c */
/* The file at file_at, from its front. */
void source_begin(struct reclaim *r);
/* A slice: until a block is to be looked at, or a read is under way, or all files are through. */
void source_step(struct reclaim *r);
void source_read_done(struct reclaim *r, int result);

/* mover.c */
/* The block that was filled goes to the run, which may have to be made first. */
void mover_write(struct reclaim *r);
/* What was asked for is done: the run is there, or the block is in it. */
void mover_done(struct reclaim *r, int result);
/* A slice: what was copied lies in the run now. */
void mover_step(struct reclaim *r);

#endif
