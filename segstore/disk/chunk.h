/* chunk - cold reads of the log: aligned pieces of 256 KiB, the 64 used last kept in memory.
 *
 *   chunk_view  in memory?  yes: a view      no: the read is begun and the caller waits
 *   loaded()    called once per completed read: everyone who waits tries again
 *
 * The reads have a queue depth and a rate of their own, so readers of old records (followers that lag, READ, TAKE, replicas that catch up) never stand
 * before commits. A chunk that has
 * just been read is not given away before someone used it, unless all are in that state.
 * A chunk remembers how far the log was durable when it was read: what was written behind that is read anew.
 * Threads: the shard.   Views: until the turn ends. */
#ifndef KEEL_SEGSTORE_DISK_CHUNK_H
#define KEEL_SEGSTORE_DISK_CHUNK_H

#include "segstore/log/segment.h"
#include "shared/base/bucket.h"
#include "shared/loop/io.h"

enum { CHUNK_BYTES = 256 * 1024 };

struct chunk {
    struct io_op   op;
    struct chunks *owner;
    uint8_t       *memory;
    uint64_t       position;   /* of its first byte; a multiple of CHUNK_BYTES within its segment */
    uint64_t       good_bytes; /* of it that were durable when it was read */
    uint64_t       used_at;    /* for finding the one unused for longest */
    uint64_t       segment;    /* number, while reading */
    uint8_t        state;      /* enum chunk_state */
    bool           fresh;      /* read, and not used yet */
    int            error;      /* of a read that failed */
};

enum chunk_state { CHUNK_EMPTY, CHUNK_READING, CHUNK_LOADED, CHUNK_FAILED };

struct chunks {
    struct io       *io;
    struct segments *segments;
    struct chunk    *slots;
    uint32_t         count;
    uint32_t         depth;
    uint32_t         reading;
    uint32_t         hit; /* the slot of the last hit: neighbours mostly want the same */
    uint64_t         clock;
    uint64_t         rate; /* bytes a second, 0: as many as there are */
    struct bucket    bucket;
    uint64_t         next_ns; /* the rate allows no read before */
    bool             waits;   /* someone was told to wait for that */
    uint64_t         reads;
    void (*loaded)(void *ctx, int result);
    /* Opens the file of a segment when it is not; an error when that fails. */
    int (*open)(void *ctx, struct log_segment *segment);
    void *ctx;
};

void chunks_init(struct chunks *c, struct io *io, struct segments *segments, uint32_t count, uint32_t depth,
                 uint64_t rate);
void chunks_fini(struct chunks *c);

/* The bytes from position to the end of its chunk, all durable (durable_position: how far the log is): 0 and *out. 1: a read is under way or has to wait for its turn;
 * try again after loaded(). ERR_NOT_FOUND: there is no such segment; an error of the last read of this place. */
MUST_CHECK int chunk_view(struct chunks *c, uint64_t position, uint64_t durable_position, struct bytes *out);
/* Begins to read the chunk of position when it is not here. False: no read may begin now. */
bool chunk_ahead(struct chunks *c, uint64_t position, uint64_t durable_position);
/* Once per turn: those who wait for the rate may try again. */
void     chunks_turn(struct chunks *c);
uint64_t chunks_next_ns(const struct chunks *c);
/* Is a read of this segment under way? Then its file stays open. */
bool chunks_reading(const struct chunks *c, uint64_t segment_number);
/* Forgets what is kept of a segment that is being deleted. */
void chunks_forget(struct chunks *c, uint64_t segment_number);

#endif
