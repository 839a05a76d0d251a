/* walk - the blocks of one file of the log, one after the other, through a window that is read ahead of them.
 *
 *   file    | passed | block | block ..  being read |        |  end of what counts
 *                    at              bytes                       one read of 1 MiB under way at a time: no burst that others would wait behind
 *
 * What is no whole block is passed over, page by page; whoever misses something of it finds out (pick.h).
 * Threads: the shard.   Memory: a window, kept for the next file.   Views: until the next call. */
#ifndef KEEL_SEGSTORE_NODE_IMAGE_WALK_H
#define KEEL_SEGSTORE_NODE_IMAGE_WALK_H

#include "segstore/log/block.h"
#include "shared/loop/io.h"

struct walk {
    struct io_op    op;
    struct io_file *file;
    uint8_t        *window; /* NULL: none yet */
    size_t          at;     /* of the next block in it */
    size_t          bytes;  /* of the file in it */
    uint64_t        base;   /* position of the file's first byte */
    size_t          offset; /* in the file, of what lies at `at` */
    size_t          end;
    uint64_t        moved; /* bytes within the window, since it was made */
    bool            busy;  /* a read is under way: neither walk_begin nor walk_fini */
    int             error;
    void (*done)(void *ctx); /* a read ended */
    void *ctx;
};

/* From the first block on; end: so many bytes of the file count. done and ctx are set by the owner. */
void walk_begin(struct walk *w, struct io_file *file, uint64_t base, size_t end);
/* 1: *out is its header and *image its bytes. 0: it is being read, again when done() was called. ERR_NOT_FOUND: there is none any more; another error of a read. */
MUST_CHECK int walk_next(struct walk *w, const struct wal_id *id, uint32_t sector_bytes, struct block_header *out,
                         const uint8_t **image);
void           walk_fini(struct walk *w);

#endif
