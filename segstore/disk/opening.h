/* opening - from a directory to a running log: what the files that do it share; nobody else includes this.
 *
 *   SUPER -> (FORMAT) -> CHECKPOINT -> HEADS -> SCAN -> WINDOWS -> SYNC -> open
 *   format.c             open.c        replay.c         behind.c
 *
 * HEADS reads the first page of every segment that a replay may need: the log goes on in a later segment, without notice in the one
 * before, so the first headers are the table of contents. SCAN loads whole segments, the next one while one is replayed.
 * WINDOWS finds out which segments behind the end were never written to: they are ready for use.
 * Threads: the shard. */
#ifndef KEEL_SEGSTORE_DISK_OPENING_H
#define KEEL_SEGSTORE_DISK_OPENING_H

#include "segstore/disk/storage.h"

enum opening_step {
    OPENING_SUPER,
    OPENING_CLUSTER,
    OPENING_FORMAT,
    OPENING_CHECKPOINT,
    OPENING_HEADS,
    OPENING_SCAN,
    OPENING_WINDOWS,
    OPENING_SYNC
};

enum {
    OPENING_HEADS_BATCH  = 64,
    OPENING_WINDOW_BYTES = 8 * 1024 * 1024
}; /* the window: more than writes under way can cover */

/* What the first page of a segment says. */
struct head {
    uint64_t            number;
    bool                good; /* header is set */
    bool                zero;
    struct block_header header;
};

struct opening {
    uint8_t             step;
    bool                taken;     /* the directory is ours and its files are known */
    uint32_t            leftovers; /* being removed */
    struct io_op        op;
    struct io_file     *file;
    uint8_t            *page; /* SUPER_BYTES, aligned */
    struct load         loads[2];
    uint64_t           *checkpoints; /* numbers, ascending */
    size_t              checkpoint_count;
    size_t              checkpoint_at; /* the one being tried; counts down */
    uint64_t           *numbers;       /* segments, ascending */
    size_t              number_count;
    struct head        *heads;
    size_t              head_count;
    size_t              head_at;
    uint8_t            *head_pages;
    struct io_op        head_ops[OPENING_HEADS_BATCH];
    uint32_t            head_reading;
    int                 head_result;
    size_t              scan_at;     /* head being scanned */
    size_t              load_at[2];  /* the head that each load holds or reads; SIZE_MAX: none */
    size_t              scan_offset; /* where to begin in it */
    bool                scan_waits;  /* for its load */
    struct wal_end      last;
    bool                lost; /* in the middle of damage: looking for the next whole block */
    bool                lost_known;
    bool                lost_more; /* more than one block was written where the damage is */
    struct block_header lost_header;
    bool                unresolved; /* the log ends in damage */
    bool                damaged;
    uint64_t            used_number; /* the highest segment that was ever written to */
    uint64_t            max_number;
    uint64_t            retry_ns;
    uint64_t            begun_ns;
    uint64_t            entry_count;
    uint64_t            block_count;
    uint64_t            read_bytes;
    uint64_t            replayed_bytes; /* of blocks */
    uint64_t            loaded_checkpoint;
    bool                refused;
    char                why[512];
};

/* open.c */
/* The end of the opening, told once: error, and a sentence for the operator. */
void PRINTF_LIKE(3, 4) opening_refuse(struct storage *storage, int error, const char *format, ...);
/* A file of the shard's directory into opening->file. False: it is not there, or refused. */
bool opening_file_open(struct storage *storage, const char *name, unsigned flags);
void opening_file_close(struct opening *o);
/* The directory is the right one: loads the newest checkpoint that is whole, then replays the log behind it. */
void opening_checkpoint(struct storage *storage);

/* format.c */
/* The super block was read (opening->page), or written while formatting. */
void opening_super_done(struct io_op *op, int result);
/* There is no super block: makes one, unless there are files that had one. */
void opening_format(struct storage *storage);
/* The first shard names the cluster; the others read the name from its super block, which may be in the making. */
void opening_cluster_read(struct storage *storage);

/* replay.c */
void opening_replay(struct storage *storage);
/* Reads segment `at` of heads. */
void opening_replay_load(struct storage *storage, size_t at);

/* behind.c */
/* The log is replayed: where does it go on? */
void opening_behind(struct storage *storage);
void opening_behind_next(struct storage *storage);

#endif
