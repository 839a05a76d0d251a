/* positions - many positions of the log, gathered in any order and then sorted, in slices: a stripe may hold millions.
 *
 *   add .. add   |3 1|9 4|2 7|5|  ──runs──▶ |1 3|4 9|2 7|5| ──merge──▶ |1 3 4 9|2 5 7| ──merge──▶ |1 2 3 4 5 7 9|
 *
 * Memory: 8 bytes a position, twice that from the first merge on.   Threads: any; pure. */
#ifndef KEEL_SEGSTORE_LOG_POSITIONS_H
#define KEEL_SEGSTORE_LOG_POSITIONS_H

#include "shared/base/assert.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct positions {
    uint64_t *at; /* ascending, once they are sorted */
    size_t    count;
    size_t    capacity;
    uint64_t *merged; /* room for as many */
    size_t    width;  /* of runs that are sorted in themselves; 0: they are being made */
    size_t    done;   /* of the pass under way */
    size_t    left;   /* the next of the two runs that are merged */
    size_t    right;
};

void positions_init(struct positions *p);
void positions_fini(struct positions *p);
/* Before the first positions_sort. */
void positions_add(struct positions *p, uint64_t position);
/* So many steps of sorting, some nanoseconds each. False: they are sorted. */
bool positions_sort(struct positions *p, size_t steps);

#endif
