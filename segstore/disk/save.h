/* save - writes checkpoints beside the running log, and forgets what a restart no longer needs.
 *
 *   idle -> images -> syncing -> renaming -> syncing the directory -> idle
 *            for each stripe: the image into memory, one slice per turn of the loop; then to the file: a MiB, a sync, a MiB, a sync ..
 *   A MiB goes out when the log has paid for those before it (spare.h): a checkpoint as large as the log between two of them takes nearly all of that time, and the disk
 *   never has more of it at once than commits can wait for. One that somebody waits for does not wait.
 *   then, one file at a time: checkpoints but the last two, and segments that nobody needs
 *
 * Two checkpoints are kept, and the log behind the older one, so that a damaged checkpoint file costs time and not data. While the
 * disk is full the newer one alone counts, because space is wanted.
 * A checkpoint that finds no space is given up and tried again later. Any other failure is final.
 * Threads: the shard.   Units: bytes, ns. */
#ifndef KEEL_SEGSTORE_DISK_SAVE_H
#define KEEL_SEGSTORE_DISK_SAVE_H

#include "segstore/disk/chunk.h"
#include "segstore/disk/wal.h"
#include "segstore/log/checkpoint.h"
#include "shared/base/hash.h"
#include "shared/base/list.h"

enum save_state { SAVE_IDLE, SAVE_IMAGES, SAVE_SYNCING, SAVE_RENAMING, SAVE_SYNCING_DIRECTORY, SAVE_DROPPING };

enum { SAVE_OLD_MAX = 64 };

struct save_hooks {
    void *ctx;
    /* Writes the next slice of the image of the nth stripe of this shard (0, 1, ..) and tells with the last one what
     * stands before it (all of *out but the image). False: that was the last. */
    bool (*image)(void *ctx, uint32_t nth, struct wire_writer *w, struct checkpoint_section *out);
    void (*saved)(void *ctx);
    void (*failed)(void *ctx, const char *what, int error);
};

/* A checkpoint that is on disk. */
struct saved {
    uint64_t number; /* 0: none */
    uint64_t replay_position;
    uint64_t needs; /* where the oldest entry lies that it names and its images do not hold; UINT64_MAX: none */
};

struct save_part;

struct save {
    struct io        *io;
    const struct wal *wal;
    struct segments  *segments;
    struct spare     *spare;
    struct chunks    *chunks;
    const char       *wal_directory; /* they outlive this */
    const char       *run_directory;
    const char       *directory;
    struct save_hooks hooks;
    uint32_t          stripe_count;
    uint64_t          every_bytes;
    uint64_t          every_ns;
    uint8_t           state;
    bool              wanted;        /* begin at the next turn, whatever the clock says */
    uint64_t          not_before_ns; /* after one that found no space */
    bool              suspended; /* damage in the log: nothing is checkpointed or forgotten until an operator decided */
    bool              stopping;  /* what has begun ends, nothing new begins */
    struct saved      newest;
    uint64_t          newest_bytes; /* size of its file */
    struct saved      previous;
    struct checkpoint current;
    uint64_t          needs; /* of the one that is being made, or loaded */
    uint32_t          nth;
    bool              taking; /* of an image, no write is under way; else the parts are being written */
    struct list       parts;
    size_t            part_at;           /* of the first of them, already written */
    struct save_part *section;           /* of the image that is being taken: filled in at its end */
    struct checkpoint_file *taken;       /* of the nth stripe: in which block the log was then */
    uint64_t                image_bytes; /* so far */
    XXH3_state_t           *sum;         /* of them */
    uint64_t                file_size;
    uint64_t                unsynced_bytes;
    bool                    stepping; /* they are being synced, and more will come */
    bool                    paused;   /* .. when the log has paid for them, */
    uint64_t                pause_ns; /* looked at again then */
    bool                    urgent;   /* somebody waits for this one */
    struct spare_account    account;
    struct io_file         *file;
    struct io_op            op;
    uint64_t                begun_bytes; /* the log's byte count when the last one began */
    uint64_t                begun_entries;
    /* Of files that can go when one holds where their records are now; since the last one began. */
    uint64_t     moved_bytes;
    uint64_t     begun_ns;
    uint64_t     logged_before;     /* bytes that were ever logged before this start */
    uint64_t     begun_logged;      /* ever, of what the one that is made holds */
    uint64_t     copied_bytes;      /* ever, by reclaim */
    uint64_t     unbooked_bytes;    /* of files that went because the disk was full, before a checkpoint told of them */
    uint64_t     old[SAVE_OLD_MAX]; /* checkpoints to delete */
    uint32_t     old_count;
    struct io_op unlink_op;
    bool         unlinking;
    uint64_t     forget_ns;   /* when to look for segments again */
    uint64_t     kept_number; /* save_keep: of the checkpoint that the oldest one that counts is to be */
};

/* From within hooks.image, or while a checkpoint is loaded: it names the entry that lies there, and whoever loads it has to read it. The file stays as long as the checkpoint counts,
 * whatever has become of the entry since. */
void save_needs(struct save *save, uint64_t position);
/* Bytes that were ever logged. */
uint64_t save_logged(const struct save *s);
void     save_init(struct save *s, struct io *io, const struct save_hooks *hooks);
void     save_fini(struct save *s);
/* Begins, goes on with, or ends a checkpoint; deletes what is not needed. disk_full: space is wanted. */
void     save_turn(struct save *s, bool disk_full);
uint64_t save_next_ns(const struct save *s);
bool     save_busy(const struct save *s);
/* The number of the first checkpoint that is sure to hold what happens now. */
uint64_t save_holding(const struct save *s);
/* Much is let go of from now on, and no entry of the log says so, so that a restart may find it as it was: the files stay until no checkpoint that counts
 * speaks of it. Those checkpoints are made at once, one behind the other. Call it before. */
void save_keep(struct save *s);

#endif
