/* scrub - reads the log again in the background and says where the disk has changed it, before somebody needs what lies there.
 *
 *   WALKING ──not the block that follows──▶ LOOKING ──a later segment goes on from here──▶ WALKING there   (a tail that a crash cut, or just the end)
 *      ▲                                       │ no segment does, though the log went on
 *      │                                       ▼
 *      ├──the block's header is whole──────  damage
 *      └──the next whole block── RESUMING ◀────┘ else
 *
 * Every segment up to what is durable is read once in a period, block by block with all checksums, and that each block hangs on the one before. The first
 * round begins anywhere, so that a store that is started often gets to all of them. Whatever was changed is found; blocks that are missing altogether are found
 * where the segments before and behind them still exist.
 * In nobody's way: one read of at most 256 KiB at a time, in a moment without a durable write under way (or a second later), at most 32 MiB/s; a file is
 * opened for each, so that none is kept from being deleted.
 * Memory: 4 MiB.   Threads: the shard.   Units: bytes, ns. */
#ifndef KEEL_SEGSTORE_DISK_SCRUB_H
#define KEEL_SEGSTORE_DISK_SCRUB_H

#include "segstore/disk/wal.h"

enum scrub_state { SCRUB_WALKING, SCRUB_LOOKING, SCRUB_RESUMING };

struct scrub_counts {
    uint64_t rounds; /* ended */
    uint64_t blocks; /* whole ones */
    uint64_t bytes;  /* read */
    uint64_t damages;
};

struct scrub_hooks {
    void *ctx;
    /* Of these bytes from this position on some are not what was written: entries of these stripes (a bit per stripe % 64; all: not known whose). It was
     * logged. Again in each round. */
    void (*damaged)(void *ctx, uint64_t position, uint64_t bytes, uint64_t stripes);
};

/* The last block that was whole: what the next one must hang on. */
struct scrub_last {
    uint64_t seq;
    uint64_t checksum;
    bool     known;
    bool     sure; /* it was reached over the end of a segment: it is no leftover of a crash */
};

/* What is not as it should be. */
struct scrub_bad {
    uint64_t            number; /* segment */
    size_t              offset;
    struct block_header header;
    bool                header_known;
    bool changed; /* bytes are there that nobody wrote; else they were never written, or another block stands there */
};

struct scrub {
    struct io             *io;
    const struct segments *segments;
    const struct wal      *wal;
    const char            *directory; /* of the segments, and of runs; they outlive this */
    const char            *run_directory;
    struct scrub_hooks     hooks;
    uint64_t               period_ns; /* 0: never */
    uint32_t               sector_bytes;
    uint8_t                state; /* enum scrub_state */
    bool                   begun;
    bool                   reading; /* op is under way */
    bool                   stopping;
    bool                   wrapped;     /* this round came to the end of the log and went on at its start */
    uint64_t               round_from;  /* the segment where it began */
    uint64_t               number;      /* the segment being read, 0: none */
    uint64_t               next_number; /* then, the first that may come next */
    struct io_file        *file;        /* while it is read */
    struct io_file        *look_file;   /* while its head is read */
    uint64_t               look_number; /* which one, or the first that it may be */
    bool                   look_gap;    /* a segment between is gone: it may have been the one that goes on */
    struct io_op           op;
    uint8_t               *window; /* bytes of the segment, and behind them room for a head */
    size_t                 window_bytes;
    size_t                 at;     /* in the window: all before it was judged */
    size_t                 offset; /* in the segment, of the same place */
    struct scrub_last      last;
    struct scrub_bad       bad;
    uint64_t               interval_ns;
    uint64_t               next_ns;
    uint64_t               walk_ns; /* no further on the way before */
    struct scrub_counts    counts;
};

void scrub_init(struct scrub *s, struct io *io, const struct segments *segments, const struct wal *wal,
                const char *directory, const char *run_directory, uint32_t sector_bytes, uint64_t period_ns,
                const struct scrub_hooks *hooks);
void scrub_fini(struct scrub *s);
/* Once per turn, when the storage is open. */
void     scrub_turn(struct scrub *s);
uint64_t scrub_next_ns(const struct scrub *s);

#endif
