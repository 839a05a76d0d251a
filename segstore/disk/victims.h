/* victims - which files reclaim empties next, and which it weighs first.
 *
 *   of a file:   |<------------- bytes ------------->|
 *                [ held ][ dead ][ held ][   dead    ]        moving it writes what is held, and frees all
 *
 * Write amplification is at most 2, in bytes, by two rules:
 * - A file is emptied only when less than half of its bytes are held: moving it frees at least what it writes. A stripe knows where a record lies and not how
 *   long it is, so a file is weighed before: read, with what is held in it summed up. As no more comes to a closed file, what was weighed once is the most that is ever
 *   held there. Weighed are files that promise to be light, by what was weighed last and by how many records are left; and any of which it is not known, when as much as all
 *   files hold was logged since it was looked at (sizes may be uneven, and what died may be the large ones): so all weighing together reads at most about a byte for each one logged.
 * - The credit: all that was ever copied is at most all that was ever logged (reclaim.h). Files that hold more than is left of it wait.
 * While the disk is full neither counts: any file of which a tenth is free is good, the lightest first.
 *
 * Threads: any; pure, but for what it remembers in the slots of files (seen_ns, weighed_logged).   Units: bytes, ns. */
#ifndef KEEL_SEGSTORE_DISK_VICTIMS_H
#define KEEL_SEGSTORE_DISK_VICTIMS_H

#include "segstore/log/segment.h"

/* Between two looks at the same file: a walk may have missed something, or another holds it. */
#define VICTIMS_AGAIN_NS 60000000000ull

enum { VICTIMS_MAX = 16, VICTIMS_RECORDS_MAX = 1 << 20 };

/* How things are. */
struct victims_view {
    struct segments *segments;
    uint64_t         now_ns;
    uint64_t         age_ns;       /* younger files of the log wait, unless it is pressed */
    uint64_t         closed_below; /* files of the log with a lower number are behind the newest checkpoint */
    uint64_t         run_number;   /* the run that is being written, 0: none */
    uint64_t         logged_bytes; /* ever */
    uint64_t         credit_bytes; /* that may be copied */
    bool             pressed;      /* there is more log than there should be */
    bool             full;         /* the disk */
};

struct victims {
    uint64_t numbers[VICTIMS_MAX]; /* ascending */
    uint32_t count;
    bool     weigh; /* they are to be weighed, not emptied */
};

void victims_choose(const struct victims_view *view, struct victims *out);
/* So much is held in it, now. It is not looked at again for a while, unless that makes it one to be emptied. */
void victims_weighed(const struct victims_view *view, struct log_segment *segment, uint64_t held_bytes);
/* Bytes of the file. */
uint64_t victims_file_bytes(const struct segments *segments, const struct log_segment *segment);

#endif
