/* fetch - a record by its position: from the log's tail in memory, else from disk.
 *
 *   position -> target { stream_id, ahead, tag } .. ahead bytes .. record        (shared/rpc/op.h)
 *
 * Views lie in the tail, in a chunk, or, when a record spans chunks, in the scratch memory here.
 * What comes from disk is checked: the record by its own checksum; the target, that points to it, by the checksums of the pages that it lies in, which stand at the front
 * of their block. The block that was looked at last is remembered, with those of its pages that are as they were written.
 * Threads: the shard.   Views: until the next fetch. */
#ifndef KEEL_SEGSTORE_DISK_FETCH_H
#define KEEL_SEGSTORE_DISK_FETCH_H

#include "segstore/disk/chunk.h"
#include "segstore/disk/wal.h"
#include "shared/base/bytes.h"

/* A block of the log, for its page table. */
struct fetch_block {
    struct block_header header;                     /* length 0: none */
    uint64_t            good[BLOCK_PAGES_MAX / 64]; /* a bit per page that was found to be as it was written */
    uint64_t            wanted; /* a position whose block is looked for, and how far back there is no header */
    uint64_t            passed;
    uint8_t             table[4 * BLOCK_PAGES_MAX];
};

struct fetch {
    const struct wal *wal;
    struct chunks    *chunks;
    uint8_t *scratch; /* the largest record that a block can hold: whatever the limit was when it was written */
    uint8_t  tag[256];
    struct fetch_block block;
    bool               strict; /* others have what cannot be proved here: it is not handed out */
};

struct fetched {
    struct bytes tag;
    struct bytes record;
};

void fetch_init(struct fetch *f, const struct wal *wal, struct chunks *chunks);
void fetch_fini(struct fetch *f);

/* 0 and *out. 1: it is being read, try again after chunks' loaded(). ERR_CORRUPT: what lies there is not this record (logged,
 * with file and offset); ERR_NOT_FOUND: its file is missing. */
MUST_CHECK int fetch(struct fetch *f, uint64_t position, uint64_t stream_id, struct fetched *out);

/* Begins to read what is not in memory of size bytes from position, without anybody who waits. False: no more now. */
bool fetch_ahead(struct fetch *f, uint64_t position, size_t size);

/* size bytes of the log from position, which nothing checks: 0 and a view, 1, or an error. */
MUST_CHECK int fetch_bytes(struct fetch *f, uint64_t position, size_t size, struct bytes *out);

#endif
