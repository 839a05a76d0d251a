/* copy - survivors of one block of the log, into a block of a run.
 *
 *   source    | entry: ops .. [target target record] .. [target record] .. | entry .. |      the block is whole: its checksums were looked at
 *                             held   dead
 *   piece                     [======================]                              what is held, from the first target to the end of the record
 *   run       | LOG_BODY: piece | LOG_BODY: piece | ..                                distances inside a piece stay as they are
 *
 * Pieces that touch or nearly touch are one. The action of a timer is one piece. A record is decoded, and so its own checksum looked at, before it is copied:
 * one that is damaged is left where it is, and told.
 * Threads: the shard.   Lifetime: borrows the source block from copy_source until COPY_DONE. */
#ifndef KEEL_SEGSTORE_DISK_COPY_H
#define KEEL_SEGSTORE_DISK_COPY_H

#include "segstore/log/block.h"
#include "segstore/log/survivors.h"

enum { COPY_BLOCK_BYTES = 256 * 1024 };

/* A survivor in the run's block: at its image + to. */
struct copy_move {
    struct survivor survivor;
    uint64_t        to;
};

struct copy_hooks {
    void *ctx;
    bool (*holds)(void *ctx, const struct survivor *survivor);
    /* It cannot be read. */
    void (*damaged)(void *ctx, const struct survivor *survivor);
};

struct copy {
    struct copy_hooks   hooks;
    struct block_writer writer;
    size_t              block_bytes; /* of the run, but for one that holds a larger piece alone */
    uint8_t            *image;       /* BLOCK_MAX_BYTES, aligned */
    struct copy_move   *moves;
    size_t              count;
    size_t              capacity;
    size_t              placed; /* moves before it have their place in the block; the others wait for their piece */
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
    COPY_FULL, /* the run's block must be written, then copy_empty */
};

/* file_bytes: of a file of the log, and so of a run: no block is larger. */
void copy_init(struct copy *c, const struct copy_hooks *hooks, size_t file_bytes);
void copy_fini(struct copy *c);
/* Begins another block of the run: the moves of the one before are done with, but for those whose piece is still to come. */
void copy_empty(struct copy *c);
/* Is there anything to write? */
bool copy_any(const struct copy *c);
/* Bytes of the block as it is. */
size_t copy_length(const struct copy *c);
/* The next source block. */
void copy_source(struct copy *c, const uint8_t *image, const struct block_header *header);
/* Takes at most `steps` survivors that lie in it. Those that lie before where it is are passed over as damaged. */
enum copy_result copy_step(struct copy *c, struct survivors *survivors, uint32_t steps);

#endif
