/* segment - the log's address space: position = segment number x segment_bytes + offset in it. It grows forever.
 *
 *   wal/000000000001   wal/000000000002   wal/000000000003 ..      files of segment_bytes; numbers are never used again
 *   runs/000268435457  runs/000268435458 ..                        files of at most as much: records of old segments, moved together (disk/reclaim.h)
 *
 * A segment is kept while a stripe holds a record in it (live > 0), a restart would replay it (it lies at or behind the checkpoint), or an older checkpoint
 * that may still be needed says that records lie there which were moved since. A run is a segment that is no part of the log: its number is above
 * SEGMENT_RUN_FIRST, no replay reads it, and its blocks are a chain of their own. Numbers between may be missing: a position names its file by itself.
 * Threads: those of the owner; pure. */
#ifndef KEEL_SEGSTORE_LOG_SEGMENT_H
#define KEEL_SEGSTORE_LOG_SEGMENT_H

#include "shared/base/assert.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SEGMENT_NAME_BYTES = 32 };

#define SEGMENT_RUN_FIRST (1ull << 28) /* numbers of runs begin behind it, those of the log stay below */

/* "000000000042" into name. */
void segment_name(uint64_t number, char name[SEGMENT_NAME_BYTES]);
/* The number of a segment's file name; false for any other name. */
bool segment_parse(const char *name, uint64_t *out_number);

/* What is known of each segment. */
struct log_segment {
    uint64_t number;
    uint64_t live;           /* streams that hold a record in it, counted once per stream and record */
    uint64_t total;          /* how many of these there ever were, as far as is known */
    uint64_t bytes;          /* of a run: written and durable */
    uint64_t tail_bytes;     /* behind them, of a run: written before a crash, and no checkpoint knew */
    uint64_t held_bytes;     /* when it was weighed (disk/victims.h), and so the most that is held in it */
    uint64_t weighed_live;   /* live at that time; 0: it was not weighed */
    uint64_t weighed_logged; /* bytes that had ever been logged then, or when it was looked at first */
    /* Records were moved away, or copied to it: it is kept until the oldest checkpoint that counts has at least this number; 0: none were. */
    uint64_t moved;
    uint64_t seen_ns; /* when reclaim looked at it first, 0: not yet; it is older */
    uint64_t next_ns; /* .. and not again before */
    void    *file;    /* the owner's handle, NULL when it is not open */
    bool     exists;
    bool     damaged; /* some of what is held cannot be read: it stays as it is */
};

/* A segment's number and where it begins. */
struct segments_near {
    uint64_t number;
    uint64_t position;
};

/* In order of number, without holes: slots[number - first]. */
struct segment_table {
    struct log_segment *slots;
    uint64_t            first;
    uint64_t            count;
    uint64_t            capacity;
};

struct segments {
    struct segment_table log;
    struct segment_table runs;
    uint64_t             segment_bytes;
    struct segments_near retained, released; /* the last one, number 0 at first */
};

void segments_init(struct segments *s, uint64_t segment_bytes);
void segments_fini(struct segments *s);

static inline uint64_t segments_number(const struct segments *s, uint64_t position)
{
    return position / s->segment_bytes;
}
static inline uint64_t segments_position(const struct segments *s, uint64_t number)
{
    return number * s->segment_bytes;
}

static inline bool segment_is_run(uint64_t number)
{
    return number >= SEGMENT_RUN_FIRST;
}

/* The slot of a number, made when it is missing; pointers to slots are good until the next call of this. */
struct log_segment *segments_at(struct segments *s, uint64_t number);
/* The slot, or NULL. */
struct log_segment *segments_find(const struct segments *s, uint64_t number);
/* The first that exists at or above a number, or NULL; runs come behind the log. */
struct log_segment *segments_next(const struct segments *s, uint64_t number);

/* A record came to this position, for one stream. */
void segments_add(struct segments *s, uint64_t position);
/* One more, one fewer holds what is at this position. */
void segments_retain(struct segments *s, uint64_t position);
void segments_release(struct segments *s, uint64_t position);

/* How far what lies around a position is durable, when the log is up to log_position. */
uint64_t segments_durable(const struct segments *s, uint64_t position, uint64_t log_position);

/* May this one be forgotten when a restart replays from replay_position, where checkpoint number `checkpoint` says? */
bool segments_forgettable(const struct segments *s, const struct log_segment *segment, uint64_t replay_position,
                          uint64_t checkpoint);
/* Forgets slots at the front that neither exist nor live. */
void segments_compact(struct segments *s);

#endif
