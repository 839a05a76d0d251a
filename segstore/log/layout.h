/* layout - which entry a record stands in, when the part of the log that it lies in is gone: the entries that lay there are known in their order, most with their sizes and some with
 * what is in them, and so are the places of records.
 *
 *   from                                                     to
 *    |     [== 7 ==][other][=== 8 ===][==== 9 ====]   [other] |       beside them entries of other stripes, of any size
 *              ^ record         ^ record   ^ record
 *
 * Each record lies in one of the entries, and an entry that can be read says whether a record can stand where it would in it. All ways are tried in which the entries can
 * lie so: what is the same in all of them is so.
 * Threads: any; pure.   Units: bytes. */
#ifndef KEEL_SEGSTORE_LOG_LAYOUT_H
#define KEEL_SEGSTORE_LOG_LAYOUT_H

#include "segstore/log/block.h"

#define LAYOUT_SIZE_UNKNOWN SIZE_MAX

enum { LAYOUT_CELLS_MAX = 1 << 18 }; /* entries times places: memory and time for one record */

struct layout_entry {
    size_t size;  /* of its ops */
    bool   holds; /* records may be in it */
    bool   known; /* what is in it can be read */
};

struct layout_record {
    uint64_t position;
    uint64_t stream_id;
};

struct layout {
    uint64_t                   from; /* both where an entry may begin */
    uint64_t                   to;
    const struct layout_entry *entries;
    size_t                     entry_count;
    /* Ascending, all between from and to; those that are not told of make nothing wrong. */
    const struct layout_record *records;
    size_t                      record_count;
    void                       *ctx;
    /* Does a record of this stream stand at this byte of the ops of an entry that is known? */
    bool (*stands)(void *ctx, size_t entry, size_t at, uint64_t stream_id);
};

enum layout_found {
    LAYOUT_ENTRY,   /* it stands in this entry, there */
    LAYOUT_NONE,    /* in one of those that are not known */
    LAYOUT_UNCLEAR, /* that cannot be told */
};

enum layout_found layout_find(const struct layout *l, size_t record, size_t *out_entry, size_t *out_at);

#endif
