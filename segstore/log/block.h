/* block - the unit of the write-ahead log: one contiguous durable write, holding entries of many stripes.
 *
 *   a multiple of 4 KiB, little-endian
 *     0   magic u32 "KWAL" | version u16 | body_offset u16
 *     8   wal id, 16 bytes                       which log this is: never another one's bytes
 *    24   position u64                           where it lies; names the segment's generation, finds misdirected writes
 *    32   block_seq u64                          1, 2, 3 .. over all segments
 *    40   stable_seq u64                         every block up to this one was durable when this one was submitted
 *    48   previous u64                           the header checksum of the block before: the chain
 *    56   length u32 | page_count u32 | entry_count u32 | body_bytes u32
 *    72   run id u64                             the incarnation of the process that wrote it
 *    80   stripes u64 | previous_stripes u64     bit (stripe % 64): whose entries are here, and in the block before
 *    96   body checksum, XXH3-128                of everything from body_offset to the end
 *   112   table checksum u64                     XXH3-64 of the page table
 *   120   header checksum u64                    XXH3-64 of the 120 bytes before
 *   128   page table                             u32 per page: low half of XXH3-64 of the body's part in that page
 *   body_offset: entries, then zeros
 *
 *   entry: | size u32 | stripe u16 | kind u16 | index u64 | term u64 | wall_ns u64 | chain u64 | ops, size bytes | zeros to a multiple of 8 |
 *   in a block of version 1: without chain, and every entry is of kind LOG_OPS
 *
 * chain: XXH3-64 of the entry's stripe, kind, index, term, wall_ns and ops, seeded with the chain of the entry before it in its stripe. Made where the
 * entry is proposed and checked by every replica that takes it: two logs with the same chain at an index are the same up to there.
 *
 * A block is written once and never again, so a torn write only ever hurts what nobody was promised.
 * The page table tells which pages of a damaged block are bad: pages that are still zero were never written (torn), pages that
 * hold something else have rotted. Header and table lie in the first page whatever the block's size.
 * Threads: any; pure.   Units: bytes; positions in the log's address space (segment.h). */
#ifndef KEEL_SEGSTORE_LOG_BLOCK_H
#define KEEL_SEGSTORE_LOG_BLOCK_H

#include "shared/base/assert.h"
#include "shared/base/bytes.h"

enum {
    BLOCK_PAGE_BYTES    = 4096,
    BLOCK_HEADER_BYTES  = 128,
    BLOCK_VERSION       = 2,
    BLOCK_VERSION_FIRST = 1,   /* that is still read */
    BLOCK_PAGES_GROUP   = 256, /* a group of entries closes at 1 MiB */
    BLOCK_PAGES_MAX     = 960, /* a block for one large entry; the table still fits the first page */
    BLOCK_GROUP_BYTES   = BLOCK_PAGES_GROUP * BLOCK_PAGE_BYTES,
    BLOCK_MAX_BYTES     = BLOCK_PAGES_MAX * BLOCK_PAGE_BYTES,
    BLOCK_ENTRY_BYTES   = 40,
    BLOCK_ENTRY_BYTES_1 = 32, /* version 1 */
    BLOCK_ENTRY_MAX_OPS = BLOCK_MAX_BYTES - BLOCK_HEADER_BYTES - 4 * BLOCK_PAGES_MAX - BLOCK_ENTRY_BYTES,
};
_Static_assert(BLOCK_HEADER_BYTES + 4 * BLOCK_PAGES_MAX <= BLOCK_PAGE_BYTES, "header and table in one page");

#define BLOCK_STRIPE_BIT(stripe) (1ull << ((stripe) % 64))

struct wal_id {
    uint8_t bytes[16];
};

struct block_header {
    uint64_t position;
    uint64_t block_seq;
    uint64_t stable_seq;
    uint64_t previous;
    uint64_t run_id;
    uint64_t stripes;
    uint64_t previous_stripes;
    uint64_t checksum; /* of the header: what the next block's `previous` must be */
    uint32_t length;
    uint32_t page_count;
    uint32_t entry_count;
    uint32_t body_bytes;
    uint16_t body_offset;
    uint16_t version;
};

/* What an entry is. Numbers lie on disk and travel between nodes: never reused. */
enum log_kind {
    LOG_OPS     = 0, /* a transaction */
    LOG_EMPTY   = 1, /* a new leader's first entry: no ops */
    LOG_MEMBERS = 2, /* who the stripe's replicas are from here on */
    /* These have no place in the stripe's order (index 0). */
    LOG_STATE = 3, /* the replica's own: term, and whom it voted for */
    LOG_BODY  = 4, /* part of an image that came from another node: ops whose records the image refers to */
    LOG_PEER  = 5, /* another node's number (u16) and incarnation (u64), when it was first heard of */
};

/* One entry: a list of ops for one stripe. */
struct log_entry {
    uint64_t     index; /* 1, 2, 3 .. per stripe */
    uint64_t     term;
    uint64_t     wall_ns;
    uint64_t     chain;
    uint64_t     position; /* of ops; known once its block has a place */
    struct bytes ops;
    uint16_t     stripe;
    uint16_t     kind; /* enum log_kind */
};

/* The chain at an entry, from that of the one before. */
uint64_t log_chain(uint64_t before, const struct log_entry *entry);

/* ---- writing ---- */

/* A block being filled, in memory the caller owns (page aligned for O_DIRECT). */
struct block_writer {
    uint8_t *image;
    size_t   capacity_bytes;
    size_t   used_bytes; /* body_offset included */
    uint64_t stripes;
    uint32_t entry_count;
    uint16_t body_offset;
};

/* Bytes of a block that holds one entry with ops of this size. */
size_t block_size_for(size_t ops_bytes);
/* Begins an empty block of at most capacity_bytes, a multiple of a page. */
void block_begin(struct block_writer *w, uint8_t *image, size_t capacity_bytes);
bool block_fits(const struct block_writer *w, size_t ops_bytes);
/* Copies the entry behind the last one; it must fit. Returns the copy of ops. */
const uint8_t *block_append(struct block_writer *w, const struct log_entry *entry);
/* Pads with zeros and fills in header and table. position, block_seq, stable_seq, previous, previous_stripes and run_id
 * are taken from link; the rest of it is set. Returns the block's length. */
size_t block_seal(struct block_writer *w, const struct wal_id *id, struct block_header *link);

/* ---- reading ---- */

enum block_state {
    BLOCK_VALID,
    BLOCK_HEADER_ZERO, /* nothing was written to the place of the header */
    BLOCK_HEADER_BAD,  /* something is there, but no header of this log at this position */
    BLOCK_PAGES_ZERO,  /* good header; every bad page has sectors that were never written */
    BLOCK_PAGES_BAD,   /* good header; some bad page was written and changed since */
};

/* Is there a header of this log, made for this position? Looks at the header's own checksum only. */
bool block_header_at(struct bytes data, const struct wal_id *id, uint64_t position, struct block_header *out);
/* What lies at the start of data, which reaches to the end of the segment. *out is set unless the header is zero or bad.
 * sector_bytes: what the device writes at once: 4096, or 512 where it does not promise more. */
enum block_state block_check(struct bytes data, const struct wal_id *id, uint64_t position, uint32_t sector_bytes,
                             struct block_header *out);

/* Are these bytes of a block with a good header, from its first byte on, as they were written? Looks at their pages only. */
bool block_pages_good(const uint8_t *image, const struct block_header *header, size_t from, size_t size);

/* The same by parts: is the page table in the first page as it was written; and the page of this number, by a copy of that table? */
bool block_table_good(const uint8_t *first_page, const struct block_header *header);
bool block_page_good(const uint8_t *page, const struct block_header *header, const uint8_t *table, size_t number);

/* Walks the entries of a valid block. */
struct block_cursor {
    const uint8_t *image;
    uint64_t       position; /* of the block */
    size_t         at;
    size_t         end;
    uint16_t       version;
};

void block_entries(struct block_cursor *c, const uint8_t *image, const struct block_header *header);
bool block_next(struct block_cursor *c, struct log_entry *out);

#endif
