/* evidence - how sure it is what lies at a position of the log, from the bytes around it, although something near it has changed.
 *
 *   ..| header, table | entry | entry ......... | entry |..        one block
 *                        ^ position
 *
 *   EVIDENCE_ENTRY  all of the block is as it was written: the entry that holds the position is known, with its index, term and chain
 *   EVIDENCE_PAGES  the block has changed somewhere, but the pages that are asked for are as they were written
 *   EVIDENCE_NONE   nobody knows: what lies there has to speak for itself, or the chain for it (evidence_place)
 *
 * A header names its own place and has a checksum, so that it can be looked for backwards from any byte of its block.
 * Threads: any; pure. */
#ifndef KEEL_SEGSTORE_LOG_EVIDENCE_H
#define KEEL_SEGSTORE_LOG_EVIDENCE_H

#include "segstore/log/block.h"

/* Bytes of a segment around a position, page by page. */
struct evidence {
    struct bytes         image;
    uint64_t             position; /* of its first byte */
    uint64_t             begin;    /* of the segment */
    uint64_t             end;      /* of what is durable in it */
    const struct wal_id *id;
    uint32_t             sector_bytes;
};

enum evidence_kind { EVIDENCE_NONE, EVIDENCE_PAGES, EVIDENCE_ENTRY };

/* The block that holds the position: 0; 1: it may be found in a larger piece of the segment (a piece that reaches BLOCK_MAX_BYTES to both sides, or to the ends of the
 * segment, is large enough); ERR_NOT_FOUND. */
MUST_CHECK int evidence_block(const struct evidence *e, uint64_t position, struct block_header *out);
/* What can be said of size bytes at the position, all in this block. EVIDENCE_ENTRY: *out_entry. */
enum evidence_kind evidence_of(const struct evidence *e, const struct block_header *header, uint64_t position,
                               size_t size, struct log_entry *out_entry);

/* Where in a stripe's order something lies that cannot be proved by its block: from the entries around it, in blocks that are whole, and in one that has changed
 * those that the chain proves, wherever they are found again behind a head that has changed. */
struct evidence_place {
    uint64_t low;    /* behind this entry of the stripe; 0: not known */
    uint64_t high;   /* and before this one; 0: not known */
    uint64_t chain;  /* of the entry that it stands in, as the log says, which may have changed; 0: not known */
    uint32_t at;     /* .. where in its ops */
    uint64_t from;   /* low and high are known: all entries between them lie from here .. */
    uint64_t to;     /* .. to here, beside those of others; 0: it is not known where */
    uint64_t sealed; /* the chain of the entry high .. */
    uint64_t term;   /* .. and the term of all of them */
};
/* True: the entry that it stands in is as it was written, though its block is not. */
bool evidence_place(const struct evidence *e, uint16_t stripe, uint64_t position, struct evidence_place *out);

#endif
