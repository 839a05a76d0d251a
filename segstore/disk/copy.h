/* copy - survivors of blocks of the log, into blocks of a run, sorted by stream.
 *
 *   source    | entry: ops .. [target target record] .. [target record] .. | entry .. |      each block is whole: its checksums were looked at
 *                             held   dead
 *   piece                     [======================]  what is held, from the first target to the end of the record: a record, or the action of a timer
 *      ▼ copy_step: as they come, until COPY_BATCH_BYTES are gathered
 *   batch     | piece | piece | piece ..
 *      ▼ copy_fill: in the order of stripe, stream and offset, block by block
 *   run       | LOG_BODY: piece piece piece .. | LOG_BODY: ..          distances inside a piece stay as they are
 *
 * So whoever reads a stream that was moved finds many of its records in one place. A record that several streams have is kept once, with the first of them.
 * A record is decoded, and so its own checksum looked at, before it is copied: one that is damaged is left where it is, and told.
 * Threads: the shard.   Lifetime: borrows the source block from copy_source until COPY_DONE.   Memory: COPY_BATCH_BYTES, and 100 bytes a record of them. */
#ifndef KEEL_SEGSTORE_DISK_COPY_H
#define KEEL_SEGSTORE_DISK_COPY_H

#include "segstore/log/block.h"
#include "segstore/log/survivors.h"

enum { COPY_BLOCK_BYTES = 256 * 1024, COPY_BATCH_BYTES = 16 * 1024 * 1024 };

/* A survivor: in the batch, within its piece; in the run's block, at its image + to. */
struct copy_move {
    struct survivor survivor;
    uint64_t        to;
};

/* In the batch. */
struct copy_piece {
    size_t   at;
    uint32_t size;
    uint32_t move_count;
    size_t   first_move; /* of noted */
};

struct copy_hooks {
    void *ctx;
    bool (*holds)(void *ctx, const struct survivor *survivor);
    /* It cannot be read. */
    void (*damaged)(void *ctx, const struct survivor *survivor);
};

struct copy_moves {
    struct copy_move *them;
    size_t            count;
    size_t            capacity;
};

struct copy {
    struct copy_hooks   hooks;
    struct block_writer writer;
    size_t              block_bytes; /* of the run, but for one that holds a larger piece alone */
    uint8_t            *image;       /* BLOCK_MAX_BYTES, aligned */
    struct copy_moves   placed;      /* in the block of the run */
    struct copy_moves   noted;       /* in the batch, piece by piece; to: from the front of the piece */
    uint8_t            *batch;
    size_t              batch_size;
    struct copy_piece  *pieces;
    size_t              piece_count;
    size_t              piece_capacity;
    struct survivors    order; /* of pieces: position is the number of the piece */
    uint8_t            *body;  /* of an entry of the run, while it is put together */
    bool                draining;
    bool                weighing; /* nothing is gathered, only: */
    uint64_t            weight;   /* how many bytes would have been */
    struct block_cursor cursor;
    struct log_entry    entry;
    bool                has_entry;
    uint64_t            source_end; /* position behind the source block */
    uint64_t            piece_from; /* positions */
    uint64_t            piece_end;  /* piece_from: no piece */
};

enum copy_result {
    COPY_MORE, /* there is more to do in this source block */
    COPY_DONE, /* it is through */
    COPY_FULL, /* the batch must be written, then it goes on */
};

/* file_bytes: of a file of the log, and so of a run: no block is larger. */
void copy_init(struct copy *c, const struct copy_hooks *hooks, size_t file_bytes);
void copy_fini(struct copy *c);
/* The next source block. */
void copy_source(struct copy *c, const uint8_t *image, const struct block_header *header);
/* Takes at most `steps` survivors that lie in it. Those that lie before where it is are passed over as damaged.
 * When it is set to weighing, what they take is only added up, and never COPY_FULL. */
enum copy_result copy_step(struct copy *c, struct survivors *survivors, uint32_t steps);

/* Is anything gathered? */
bool copy_any(const struct copy *c);
/* No more is gathered until copy_fill has said false. */
void copy_drain(struct copy *c);
/* The next block of the run, into image; what was placed before is done with. False: all is out, more may be gathered. */
bool copy_fill(struct copy *c);
/* Bytes of the block as it is. */
size_t copy_length(const struct copy *c);

#endif
