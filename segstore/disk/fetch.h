/* fetch - a record by its position: from the log's tail in memory, else from disk.
 *
 *   position -> target { stream_id, ahead, tag } .. ahead bytes .. record        (shared/rpc/op.h)
 *
 * Views lie in the tail, in a chunk, or, when a record spans chunks, in the scratch memory here.
 * What comes from disk is checked: the record by its own checksum, the target by its stream.
 * Threads: the shard.   Views: until the next fetch. */
#ifndef KEEL_SEGSTORE_DISK_FETCH_H
#define KEEL_SEGSTORE_DISK_FETCH_H

#include "segstore/disk/chunk.h"
#include "segstore/disk/wal.h"
#include "shared/base/bytes.h"

struct fetch {
    const struct wal *wal;
    struct chunks    *chunks;
    uint8_t *scratch; /* the largest record that a block can hold: whatever the limit was when it was written */
    uint8_t  tag[256];
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

/* size bytes of the log from position, which nothing checks: 0 and a view, 1, or an error. */
MUST_CHECK int fetch_bytes(struct fetch *f, uint64_t position, size_t size, struct bytes *out);

#endif
