/* checkpoint - the file that a restart begins with: an image of every stripe, and where in the log to go on.
 *
 *   header:  magic u32 "KCKP" | version u16 | zero u16 | wal id, 16 bytes | number u64 | replay_position u64 |
 *            last_seq u64 | last_checksum u64 | last_stripes u64 | stripe_count u32 | zero u32 | checksum u64
 *   stripe_count sections:
 *            stripe u16 | zero u16 | replica_bytes u32 | size u64 | index u64 | image checksum, XXH3-128 | checksum u64 | image, size bytes
 *            the last replica_bytes of an image are not the stripe's but its replica's (segstore/log/entries.h); none in version 1
 *            behind them, from version 3 on, one with stripe 0xffff and index 0, whose image tells of the files in which records lie:
 *            count u32 | zero u32 | count x { number u64, records that it ever held u64, bytes of a run u64 }
 *            Two kinds of numbers are no files, and older programs pass them over:
 *            0: bytes that were ever logged up to last_seq, and bytes that were ever copied to runs, without what lies in runs
 *            behind the bytes that are told of them (without it the files that are there are counted);
 *            2^40 + stripe: the sequence number of the block that the log was in when the image of the stripe was taken, and 0
 *   trailer: magic u32 "KCKE" | zero u32 | number u64 | size of all before u64 | checksum u64
 *
 * Checksums without a name are XXH3-64 of the fields before them in the same part.
 * Images are taken one after the other while the log goes on: replay begins behind block last_seq, the last one applied when the
 * first image was taken, and skips what an image already holds (index), or what had been replaced in it.
 * Threads: any; pure. */
#ifndef KEEL_SEGSTORE_LOG_CHECKPOINT_H
#define KEEL_SEGSTORE_LOG_CHECKPOINT_H

#include "segstore/log/block.h"
#include "shared/base/wire.h"

enum {
    CHECKPOINT_VERSION       = 3,
    CHECKPOINT_VERSION_FILES = 3, /* tells of files */
    CHECKPOINT_VERSION_FIRST = 1, /* that is still read */
    CHECKPOINT_HEADER_BYTES  = 80,
    CHECKPOINT_SECTION_BYTES = 48,
    CHECKPOINT_TRAILER_BYTES = 32,
    CHECKPOINT_FILE_BYTES    = 24,
    CHECKPOINT_FILES         = 0xffff, /* the section of no stripe */
};

struct checkpoint {
    struct wal_id id;
    uint64_t      number;
    uint64_t      replay_position; /* where the block after last_seq would be in the same segment */
    uint64_t      last_seq;
    uint64_t      last_checksum;
    uint64_t      last_stripes;
    uint32_t      stripe_count;
    uint16_t      version; /* reading; what is written has the newest */
    struct bytes  files;   /* reading: the image of the section of files, in the file; without size: there is none */
};

/* Numbers that are no files. */
#define CHECKPOINT_LEDGER 0
#define CHECKPOINT_TAKEN  (1ull << 40) /* and the stripe */

/* What is known of a file, of the log or a run. Of CHECKPOINT_LEDGER: total is what was logged, bytes what was copied. Of CHECKPOINT_TAKEN: total is the sequence number. */
struct checkpoint_file {
    uint64_t number;
    uint64_t total;
    uint64_t bytes;
};

struct checkpoint_section {
    uint16_t stripe;
    uint64_t index; /* of the last entry in the image */
    /* Reading: of the block that the log was in when it was taken; 0: an older program, which did not tell. */
    uint64_t     taken_seq;
    struct bytes image;
    struct bytes replica;
    uint32_t     replica_bytes; /* writing: at the end of what was written */
};

void checkpoint_put_header(struct wire_writer *w, const struct checkpoint *checkpoint);
/* What stands before an image of that size; sum: its XXH3-128, canonical. */
void checkpoint_put_section(struct wire_writer *w, const struct checkpoint_section *section, uint64_t image_bytes,
                            const uint8_t sum[16]);
/* The section of files, all of it; behind those of the stripes. */
void checkpoint_put_files(struct wire_writer *w, const struct checkpoint_file *files, uint32_t count);
void checkpoint_put_trailer(struct wire_writer *w, uint64_t number, uint64_t size_before);

/* Checks the whole file: 0 and *out, ERR_CORRUPT, ERR_VERSION (another format), ERR_CONFLICT (of another log). */
MUST_CHECK int checkpoint_decode(struct bytes file, const struct wal_id *id, struct checkpoint *out);
/* Walks the sections of a file that checkpoint_decode accepted, that of the files last; *at begins as 0. */
bool checkpoint_next(struct bytes file, const struct checkpoint *checkpoint, size_t *at,
                     struct checkpoint_section *out);

/* Walks the image of the section of files; *at begins as 0. */
bool checkpoint_next_file(struct bytes image, size_t *at, struct checkpoint_file *out);

#endif
