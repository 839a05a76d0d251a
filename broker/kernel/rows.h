/* rows - the subscriptions of stored sessions, which every shard of every broker has: 38 bytes and the filter each, where a node of the filter tree
 * and what hangs on it take 180.
 *
 *     hash ──▶ bucket ──▶ row ──chain──▶ row ..     one row of each filter stands in the chain, the others of that filter in a ring with it
 *                          ⇅ ring
 *                         row ──▶ owner: row_set    the numbers of all rows of one session, found by hash: linear probing
 *
 * A row is so many cells of 8 bytes in chunks that never move, named by the number of its first cell; filters over ROW_INLINE_BYTES lie elsewhere.
 * A row that goes leaves its cells to rows of the same size. The hash is the owner's of the table, of a topic or of what is fixed in a
 * filter with wildcards (shapes.h): whoever finds a row by it looks at the filter.
 *
 * Buckets and sets grow without a pause: buckets one at a time (linear hashing, as tree.h), sets by themselves.
 * Threads: the shard. */
#ifndef KEEL_BROKER_KERNEL_ROWS_H
#define KEEL_BROKER_KERNEL_ROWS_H

#include "shared/base/assert.h"
#include "shared/base/bytes.h"

enum { ROWS_NONE = 0, ROW_CELLS_MAX = 16, ROWS_CHUNK_CELLS = 16384, ROWS_CHUNK_BUCKETS = 4096 };

/* The rows of one session. Zeroed is empty; whoever frees it has removed its rows. */
struct row_set {
    uint32_t *slots; /* 0: free */
    uint32_t  size;
    uint32_t  count;
};

struct row {
    struct row_set *owner;
    uint64_t        version    : 48; /* of the row in the table of subscriptions */
    uint64_t        generation : 16;
    uint32_t        id         : 28;
    uint32_t        flags      : 4; /* enum sub_flags */
    uint32_t        hash;
    uint32_t        chain; /* the next filter of the bucket; ROW_BEHIND: another row of this filter stands there */
    uint32_t        next;  /* the ring */
    uint32_t        prev;
    uint16_t        size;   /* of the filter */
    uint8_t         text[]; /* the filter, or a pointer to it */
};
enum { ROW_TEXT_AT = 38, ROW_INLINE_BYTES = ROW_CELLS_MAX * 8 - ROW_TEXT_AT };
#define ROW_BEHIND UINT32_MAX

struct rows {
    uint64_t **chunks; /* cells */
    uint32_t   chunk_count;
    uint32_t   fresh;                    /* the first cell that was never used */
    uint32_t   given[ROW_CELLS_MAX + 1]; /* by size: the first that was given back */
    uint32_t **buckets;                  /* in chunks */
    uint32_t   bucket_count;
    uint32_t   bucket_base; /* a power of two: buckets below bucket_count - bucket_base are split already */
    uint32_t   count;       /* rows */
    uint32_t   filter_count;
    uint64_t   text_bytes; /* of filters that lie elsewhere */
};

/* Zeroed is empty. The rows are gone with it; what their owners know of them is not. */
void rows_fini(struct rows *rows);

static inline struct row *rows_at(const struct rows *rows, uint32_t row)
{
    return (struct row *)(void *)&rows->chunks[row / ROWS_CHUNK_CELLS][row % ROWS_CHUNK_CELLS];
}
struct bytes row_filter(const struct row *row);

/* The row of that owner and filter, or ROWS_NONE. */
uint32_t rows_find(const struct rows *rows, const struct row_set *owner, uint32_t hash, struct bytes filter);
/* One that is not there; what is not the filter is zero. ROWS_NONE when memory is out. */
uint32_t rows_add(struct rows *rows, struct row_set *owner, uint32_t hash, struct bytes filter);
/* The slots behind its own in its owner's set may move up to it, or to the end; or the set gets another size. */
void rows_remove(struct rows *rows, uint32_t row);

/* In three steps, for several hashes at a time, so that their misses of the cache overlap: the bucket, the first row of its chain, .. */
void rows_fetch(const struct rows *rows, uint32_t hash);
void rows_fetch_first(const struct rows *rows, uint32_t hash);
/* .. one row of a filter with that hash, and of the next such filter. ROWS_NONE: there is none. All rows of that filter are in its ring. */
uint32_t rows_first(const struct rows *rows, uint32_t hash);
uint32_t rows_other(const struct rows *rows, uint32_t row);

uint64_t rows_bytes(const struct rows *rows); /* the sets are their owners' */

#endif
