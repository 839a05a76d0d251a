/* disk_stage - a directory as a shard has it, real and empty, and the port over it: for tests of what reads, makes and deletes files.
 * Threads: the test's. */
#ifndef KEEL_TESTS_UNIT_SEGSTORE_DISK_DISK_STAGE_H
#define KEEL_TESTS_UNIT_SEGSTORE_DISK_DISK_STAGE_H

#include "segstore/log/segment.h"
#include "shared/loop/io.h"

enum { DISK_STAGE_SEGMENT_BYTES = 1 << 20 };

struct disk_stage {
    struct io      *io;
    struct segments segments;
    char            root[64];
    char            wal[80]; /* directories in it */
    char            runs[80];
    char            checkpoints[80];
};

void disk_stage_init(struct disk_stage *stage);
void disk_stage_fini(struct disk_stage *stage);
/* The files of these segments, of zeros, and their slots; nothing in them is held. */
void disk_stage_segments(struct disk_stage *stage, uint64_t first, uint64_t last);
/* Opens a segment's file of the log, unless it is open: as storage_segment_open does. */
int disk_stage_open(struct disk_stage *stage, struct log_segment *segment);
/* Is the file of a segment, or of a checkpoint, there? */
bool disk_stage_has(const struct disk_stage *stage, const char *directory, uint64_t number);

#endif
