/* segment - the log's address space: position = segment number x segment_bytes + offset in it. It grows forever.
 *
 *   wal/000000000001  wal/000000000002  wal/000000000003 ..       files of segment_bytes; numbers are never used again
 *
 * A segment is kept while a stripe holds a record in it (live > 0) or a restart would replay it (it lies at or behind
 * the checkpoint). Numbers between may be missing: a position names its file by itself.
 * Threads: those of the owner; pure. */
#ifndef KEEL_SEGSTORE_LOG_SEGMENT_H
#define KEEL_SEGSTORE_LOG_SEGMENT_H

#include "shared/base/assert.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SEGMENT_NAME_BYTES = 32 };

/* "000000000042" into name. */
void segment_name(uint64_t number, char name[SEGMENT_NAME_BYTES]);
/* The number of a segment's file name; false for any other name. */
bool segment_parse(const char *name, uint64_t *out_number);

/* What is known of each segment. */
struct log_segment {
    uint64_t number;
    uint64_t live; /* streams that hold a record in it, counted once per stream and record */
    void    *file; /* the owner's handle, NULL when it is not open */
    bool     exists;
};

/* A segment's number and where it begins. */
struct segments_near {
    uint64_t number;
    uint64_t position;
};

struct segments {
    struct log_segment  *slots; /* in order of number, without holes: slots[number - first] */
    uint64_t             first;
    uint64_t             count;
    uint64_t             capacity;
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

/* The slot of a number, made when it is missing; pointers to slots are good until the next call of this. */
struct log_segment *segments_at(struct segments *s, uint64_t number);
/* The slot, or NULL. */
struct log_segment *segments_find(const struct segments *s, uint64_t number);
/* The first that exists at or above a number, or NULL. */
struct log_segment *segments_next(const struct segments *s, uint64_t number);

/* One more, one fewer stream holds the record at this position. */
void segments_retain(struct segments *s, uint64_t position);
void segments_release(struct segments *s, uint64_t position);

/* May this one be forgotten when a restart replays from replay_position? */
bool segments_forgettable(const struct segments *s, const struct log_segment *segment, uint64_t replay_position);
/* Forgets slots at the front that neither exist nor live. */
void segments_compact(struct segments *s);

#endif
