/* storage - all that one shard keeps on disk, as one thing: its directory, log, checkpoints and cold reads.
 *
 *   DIR/shard-00/lock   super   wal/000000000001 ..   runs/000268435457 ..   ckpt/000000000001 ..
 *
 *   storage_new -> storage_open -> load, replay .. -> opened -> storage_append .. durable -> storage_free
 *
 * Starting: lock, super block (format, or check), newest checkpoint that is whole, replay of the log behind it, then opened().
 * Threads: the shard.   Units: bytes, ns.   Errors: a failed write is reported once by failed() and is final. */
#ifndef KEEL_SEGSTORE_DISK_STORAGE_H
#define KEEL_SEGSTORE_DISK_STORAGE_H

#include "segstore/disk/chunk.h"
#include "segstore/disk/fetch.h"
#include "segstore/disk/load.h"
#include "segstore/disk/prepare.h"
#include "segstore/disk/reclaim.h"
#include "segstore/disk/save.h"
#include "segstore/disk/scrub.h"
#include "segstore/disk/wal.h"
#include "segstore/log/recover.h"
#include "segstore/log/super.h"

struct storage_config {
    const char *data_directory; /* outlives the storage */
    uint32_t    shard;
    uint32_t    shard_count;
    uint32_t    stripe_count;       /* of the whole cluster: format constant */
    uint32_t    shard_stripe_count; /* on this shard */
    uint64_t    cluster;            /* 0: the directory's own, drawn when it is formatted */
    uint16_t    node;
    uint16_t    member_count; /* for a new directory */
    uint16_t    members[SUPER_MEMBERS];
    uint64_t    segment_bytes;
    uint64_t    checkpoint_bytes;
    uint64_t    checkpoint_ns;
    uint64_t    tail_bytes;
    uint64_t    reserve_bytes; /* of the file system, kept free for checkpoints: below it the disk counts as full */
    uint32_t    wal_depth;
    uint32_t    segments_ready;
    uint32_t    cold_chunks;
    uint32_t    cold_depth;
    uint64_t    cold_rate;     /* bytes a second, 0: any */
    uint64_t    log_bytes;     /* above this much log reclaim does not wait for records to die */
    uint64_t    reclaim_ns;    /* nor for those in files older than this */
    uint64_t    reclaim_rate;  /* bytes a second that it reads and writes; 0: never */
    uint64_t    scrub_ns;      /* in which all of the log is read again in the background; 0: never */
    uint32_t    sector_bytes;  /* what the device writes at once */
    bool        accept_damage; /* go on without what damage took: the operator's decision */
};

struct storage_hooks {
    void *ctx;
    /* While opening. */
    int (*load)(void *ctx, const struct checkpoint_section *section);       /* 0 or why the image cannot be used */
    void (*replay)(void *ctx, const struct log_entry *entry, uint64_t seq); /* of its block */
    void (*damaged)(
        void    *ctx,
        uint64_t stripes); /* entries of these (a bit per stripe % 64) may be lost at this place of the replay */
    void (*opened)(void *ctx, int result, const char *why); /* 0, or an error and a sentence for the operator */
    /* After opened(0). */
    void (*durable)(void *ctx, const struct log_entry *entry); /* in the order of the log */
    bool (*image)(void *ctx, uint32_t nth, struct wire_writer *w, struct checkpoint_section *out); /* save.h */
    void (*saved)(void *ctx);  /* a checkpoint is on disk */
    void (*loaded)(void *ctx); /* a cold read ended: fetches that waited may go on */
    /* Of reclaim (reclaim.h): what is held where; whether it still is; that it lies at `to` now. */
    bool (*walk)(void *ctx, bool begin, uint32_t steps, void (*each)(void *ctx, const struct survivor *survivor),
                 void *each_ctx);
    bool (*holds)(void *ctx, const struct survivor *survivor);
    bool (*move)(void *ctx, const struct survivor *survivor, uint64_t to);
    /* What was written for these stripes (a bit per stripe % 64) has changed on the disk or is gone, found by reading it again (scrub.h). */
    void (*damage_found)(void *ctx, uint64_t position, uint64_t bytes, uint64_t stripes);
    void (*failed)(void *ctx, const char *what, int error);
};

struct opening; /* opening.h */

struct storage {
    struct io            *io;
    struct storage_config config;
    struct storage_hooks  hooks;
    struct super          super;
    struct segments       segments;
    struct spare          spare;
    struct prepare        prepare;
    struct wal            wal;
    struct chunks         chunks;
    struct fetch          fetch;
    struct save           save;
    struct scrub          scrub;
    struct reclaim        reclaim;
    struct opening       *opening; /* NULL once open */
    struct io_file       *lock;
    bool                  open;
    char                  directory[256];
    char                  wal_directory[256 + 8];
    char                  run_directory[256 + 8];
    char                  checkpoint_directory[256 + 8];
};

struct storage *storage_new(struct io *io, const struct storage_config *config, const struct storage_hooks *hooks);
/* Begins; opened() tells the end, perhaps before this returns. */
void storage_open(struct storage *storage);
void storage_free(struct storage *storage);

/* wal_append. */
MUST_CHECK int storage_append(struct storage *storage, const struct log_entry *entry, const uint8_t **out_ops);
/* What an entry does to a disk that is full. */
enum storage_need {
    STORAGE_DATA,  /* records and large values: refused at once */
    STORAGE_SMALL, /* what keeps a session, so that consumers can come and make room: from the last prepared segment */
    STORAGE_ROOM,  /* acknowledgements, trims, deletes: as long as there is any place at all */
};
/* May such an entry be taken while the disk is as full as it is? */
bool storage_admits(const struct storage *storage, enum storage_need need);
/* Is there a place for a large entry in segments that are made already? One that is taken and finds none holds up all that is taken behind it, what would make
 * room too. */
enum { STORAGE_LARGE_BYTES = 64 * 1024 };
bool storage_places(const struct storage *storage, size_t bytes);
/* One turn: deliver, submit, prepare, checkpoint. */
void     storage_turn(struct storage *storage);
uint64_t storage_next_ns(const struct storage *storage);
/* From now on only what is under way ends. */
void storage_stop(struct storage *storage);
/* Nothing is under way: the shard may stop. */
bool storage_idle(const struct storage *storage);

/* Opens a segment's file for reading when it is not open. 0 or an error. */
int storage_segment_open(struct storage *storage, struct log_segment *segment);

/* open.c */
void     opening_begin(struct storage *storage);
void     opening_turn(struct storage *storage);
uint64_t opening_next_ns(const struct storage *storage);
void     opening_free(struct storage *storage);

#endif
