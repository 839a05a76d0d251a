/* keep - what a stream forgets by itself: records that are too old, too many or too much; and how many bytes wait in a queue.
 *
 *   a log        | part        | part        | part ..        one mark a part: where it begins, when it began and ended, what lay before
 *                0             128           300              a part ends after 128 records, a share of max_bytes or a share of max_age
 *   the latest   one slot a topic, see latest.h               exact
 *
 *   count  exact. bytes and age: by whole parts, so that a record costs 8 bytes of memory and not 32. A log is never over its bytes by
 *   more than its newest part; a record goes at the latest a part's time (a second, or a sixteenth of max_age) after it is too old, never earlier.
 *
 *   a queue      as a log, where stream_bytes_max is set: it forgets nothing by itself and no part ends by its age; it has a struct keeping from its first record on
 *   until it is empty. The records of its oldest part count until all of it is gone: but for the last one they are less than a sixteenth of the limit.
 *
 * All is told by the times of entries, so every replica forgets the same. Age is looked at when the store proposes STREAM_AGE, for which the soonest
 * deadline of all streams stands in a heap.
 * Marks double as the index from time to offset.   Threads: those of the stripe.   Units: ns wall clock, bytes of whole records. */
#ifndef KEEL_SEGSTORE_STRIPE_KEEP_H
#define KEEL_SEGSTORE_STRIPE_KEEP_H

#include "segstore/stripe/heap.h"
#include "segstore/stripe/latest.h"
#include "shared/base/list.h"
#include "shared/base/wire.h"
#include "shared/rpc/op.h"

#include <stdbool.h>

struct cursor;
struct stream;
struct stripe;

enum { KEEP_PART_RECORDS = 128, KEEP_PART_BYTES = 64 * 1024, KEEP_PARTS = 16 };
#define KEEP_PART_NS 1000000000ull

struct mark {
    uint64_t offset; /* its first record */
    uint64_t first_ns;
    uint64_t last_ns;
    uint64_t bytes; /* of all records before it, since the stream began to count */
};

struct keep_limits {
    uint64_t max_age_ns; /* 0: no limit; so are the others */
    uint64_t max_bytes;
    uint64_t max_count;
};

struct keeping {
    struct heap_node   node; /* in stripe.aging; order: the stream's id */
    struct list        link; /* of a queue: in stripe.counting */
    struct stream     *stream;
    struct keep_limits limits;
    struct latest     *latest;  /* STREAM_LATEST, else NULL */
    struct cursor     *cursors; /* of the stream */
    uint64_t           bytes;   /* of all records, as in marks */
    struct mark       *marks;
    uint32_t           mark_first; /* covers the stream's start, once committed; those before it are gone */
    uint32_t           mark_count; /* they included */
    uint32_t           mark_capacity;
};

struct keeping *keeping_new(struct stream *stream, bool latest);
void            keeping_free(struct keeping *keeping);

/* OP_STREAM_KEEP, OP_STREAM_STAT. */
int  keep_set(struct stripe *s, struct stream *stream, const struct op *op);
void keep_stat(const struct stream *stream, const struct op *op, struct wire_writer *results);
/* OP_STREAM_AGE. */
void keep_age(struct stripe *s, struct stream *stream);
/* The record at the stream's end was appended just now: it is counted, and what is over the limits goes. held: topics before it, of the latest. */
void keep_appended(struct stripe *s, struct stream *stream, uint64_t record_bytes, uint64_t held);
/* The stream was trimmed: marks that are passed go, and the keeping of a queue that is empty. At a commit. */
void keep_trimmed(struct stripe *s, struct stream *stream);
/* Puts the stream into the heap, where its oldest part stands, or out of it. At a commit, and after loading. */
void keep_schedule(struct stripe *s, struct stream *stream);
/* Has this queue room for such a record? If so, and bytes are limited, it counts from now on. */
bool keep_has_room(struct stripe *s, struct stream *stream, uint64_t record_bytes);
/* No queue counts any more. At a commit. */
void keep_count_none(struct stripe *s);
/* While loading. The new keeping of a stream: of a queue, one that counts. */
void keep_load(struct stripe *s, struct stream *stream);
void keep_load_mark(struct keeping *keeping, struct mark mark);

#endif
