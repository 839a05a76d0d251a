/* reclaim - frees files of the log in which little is held any more: what is held is moved to runs, sorted by stream (copy.h), and the file goes.
 *
 *   idle -> walking -> copying <-> reading (a window of the file)          one file after the other, oldest first
 *                        |  ^
 *                        v  |
 *            making (a run's directory) -> writing (a block of the run, durable) -> moving (the stripes' positions)
 *
 * Which files: closed ones behind the newest checkpoint, of whose bytes less than half are held (victims.h): a pass reads and weighs what may be light, another one
 * moves what is. It waits as long as it can, most records die by themselves: until the file is older than age_ns, or the log has more than log_bytes.
 * Runs are files like others: below a half they are moved together, too. While the disk is full any file is good of which a tenth is free, those with the least
 * first; a part of the reserve may be used.
 *
 * Write amplification is 2 at most: all bytes that were ever written to runs are never more than all that were ever written to the log, both told by checkpoints and
 * added up over restarts (checkpoint.h). Each block is held against that before it is written. Two exceptions: a disk that is full, where space
 * counts for more; and of what was copied since the newest checkpoint, one block for each crash.
 *
 * Safe at every moment: a run's block is durable before anything is said to lie in it; positions are in memory and in checkpoints, so the old file stays
 * until two checkpoints (one while the disk is full) were begun after the last move out of it (log_segment.moved). After a crash whatever the checkpoint does
 * not know of is a run that nobody holds: it is deleted. A block is copied only when all its checksums are right, each record when its own is; what is
 * damaged stays where it is, with its file, and is told.
 *
 * Bounded: slices of some hundred microseconds, rate bytes a second read and written together, 32 MiB and 32 bytes for each record in the files under way.
 * Threads: the shard.   Units: bytes, ns. */
#ifndef KEEL_SEGSTORE_DISK_RECLAIM_H
#define KEEL_SEGSTORE_DISK_RECLAIM_H

#include "segstore/disk/copy.h"
#include "segstore/disk/save.h"
#include "segstore/disk/victims.h"
#include "segstore/disk/wal.h"
#include "segstore/log/survivors.h"
#include "shared/base/bucket.h"

enum reclaim_state {
    RECLAIM_IDLE,
    RECLAIM_WALKING,
    RECLAIM_COPYING,
    RECLAIM_READING,
    RECLAIM_MAKING,
    RECLAIM_WRITING,
    RECLAIM_MOVING
};

struct reclaim_hooks {
    void *ctx;
    /* Tells what is held, about `steps` of it; begin: from the start. True: that was all. Some may be missing, if it changed meanwhile. */
    bool (*walk)(void *ctx, bool begin, uint32_t steps, void (*each)(void *ctx, const struct survivor *survivor),
                 void *each_ctx);
    bool (*holds)(void *ctx, const struct survivor *survivor);
    /* What is held lies at `to` now; the old file's log_segment.moved says since when. False: it is held no longer. */
    bool (*move)(void *ctx, const struct survivor *survivor, uint64_t to);
    /* Opens the file of a segment when it is not; an error when that fails. */
    int (*open)(void *ctx, struct log_segment *segment);
    /* What is held there cannot be read; entries of these stripes (a bit per stripe % 64). */
    void (*damaged)(void *ctx, uint64_t position, uint64_t bytes, uint64_t stripes);
    void (*failed)(void *ctx, const char *what, int error);
};

struct reclaim_counts {
    uint64_t passes;
    uint64_t files;   /* emptied */
    uint64_t records; /* moved */
    uint64_t read_bytes;
    uint64_t written_bytes;
    uint64_t full_bytes; /* of these, while the disk was full, whatever was logged */
    uint64_t damaged;    /* records that could not be read */
    uint64_t stopped;    /* passes that the credit ended */
};

/* The run that is written. */
struct run {
    uint64_t number; /* 0: none */
    uint64_t seq;    /* of its last block */
    uint64_t checksum;
    uint64_t stripes;
};

struct reclaim {
    struct io            *io;
    struct segments      *segments;
    const struct wal     *wal;
    const struct prepare *prepare;
    struct save          *save;
    const char           *run_directory; /* outlives this */
    struct reclaim_hooks  hooks;
    uint64_t              log_bytes;
    uint64_t              age_ns;
    uint64_t              rate; /* 0: never */
    uint8_t               state;
    bool                  walk_begins;
    bool                  busy; /* op is under way */
    bool                  stopping;
    bool                  told; /* that the disk is full and nothing can be freed */
    uint64_t              next_ns;
    struct bucket         bucket;
    struct io_op          op;
    uint64_t              files[VICTIMS_MAX]; /* numbers, ascending */
    uint32_t              file_count;
    uint32_t              file_at;
    uint64_t              weights[VICTIMS_MAX]; /* of the files before it: bytes that are held */
    struct survivors      survivors;
    struct copy           copy;
    bool                  copying; /* a source block is under way */
    size_t                moved;   /* of copy.moves */
    struct run            run;
    uint64_t              length; /* of the block under way */
    uint64_t              block_position;
    uint8_t              *window; /* bytes of the file */
    size_t                window_bytes;
    size_t                at;       /* in the window: all before it was looked at */
    size_t                offset;   /* in the file, of the same place */
    bool                  skipping; /* behind damage */
    struct reclaim_counts counts;
};

void reclaim_init(struct reclaim *r, struct io *io, const struct reclaim_hooks *hooks);
void reclaim_fini(struct reclaim *r);
/* Once per turn, when the storage is open. */
void     reclaim_turn(struct reclaim *r);
uint64_t reclaim_next_ns(const struct reclaim *r);
bool     reclaim_busy(const struct reclaim *r);

/* Bytes that may be copied before the limit is reached. */
uint64_t reclaim_credit(const struct reclaim *r);

#endif
