/* recover - what damage behind the last good block means.
 *
 * p is the last block that is whole and chained; the block p+1 is not where it should be, or not whole. Did it ever count?
 * S is the highest stable_seq that any header behind it claims: S >= p+1 proves that p+1 had become durable.
 *
 *   damage at p+1                              | S >= p+1          | S <= p
 *   -------------------------------------------+-------------------+----------
 *   header zero, nothing behind it             | faulty (lost)     | end
 *   header zero, something behind it           | faulty (lost)     | torn
 *   good header, bad pages are all unwritten   | faulty (lost)     | torn
 *   good header, some bad page has changed     | faulty (rot)      | uncertain
 *   header changed                             | faulty            | uncertain
 *
 * end, torn: nobody was promised p+1; the log goes on behind p, in a new segment, because no place is written twice.
 * faulty, uncertain: entries that were acknowledged are, or may be, gone. They are never cut off: the stripes that may have lost
 * something stop until an operator decides, and the scan resumes behind the damage for the others.
 * Threads: any; pure. */
#ifndef KEEL_SEGSTORE_LOG_RECOVER_H
#define KEEL_SEGSTORE_LOG_RECOVER_H

#include "segstore/log/block.h"

enum recover_damage {
    RECOVER_NOTHING,     /* header zero, everything behind it in the segment zero */
    RECOVER_HEADER_ZERO, /* header zero, something behind it */
    RECOVER_PAGES_ZERO,
    RECOVER_PAGES_BAD,
    RECOVER_HEADER_BAD,
};

enum recover_verdict { RECOVER_END, RECOVER_TORN, RECOVER_FAULTY, RECOVER_UNCERTAIN };

enum recover_verdict recover_classify(enum recover_damage damage, uint64_t last_seq, uint64_t stable_seq);
const char          *recover_verdict_name(enum recover_verdict verdict);

/* Which bytes are looked at. */
struct recover_segment {
    struct bytes         image;    /* the whole segment */
    uint64_t             position; /* of its first byte */
    const struct wal_id *id;
    uint32_t             sector_bytes;
};

/* Everything that one segment says about the damage at an offset in it. */
struct recover_look {
    enum recover_damage damage;
    bool header_known; /* the damaged block's own header is good: header.stripes tells whose entries it held */
    bool more;         /* something was written behind the damaged block: what it held is not all that is damaged */
    bool resumes;      /* a whole block with a higher number follows in this segment, at resume_offset */
    struct block_header header;
    struct block_header resume;
    size_t              resume_offset;
    uint64_t            stable_seq; /* the highest that headers behind the damage claim, 0 when there is none */
};

/* Does the block with this header come right after a block with last_seq and last_checksum? */
bool recover_follows(const struct block_header *header, uint64_t last_seq, uint64_t last_checksum);
/* Looks at the damage at offset, and behind it to the end of the segment, block p being last_seq. */
void recover_look(const struct recover_segment *segment, size_t offset, uint64_t last_seq, struct recover_look *out);
/* The first whole block numbered above last_seq at or behind offset; false when there is none. */
bool recover_resume(const struct recover_segment *segment, size_t offset, uint64_t last_seq, struct block_header *out,
                    size_t *out_offset);
/* Whose entries may be lost, a bit per stripe % 64: between block last_seq and the next whole one (NULL: none is left), damaged
 * being the header of block last_seq + 1 where that is good (else NULL; also where none is left and more than that block was written). */
uint64_t recover_lost_stripes(uint64_t last_seq, const struct block_header *damaged, const struct block_header *resume);

#endif
