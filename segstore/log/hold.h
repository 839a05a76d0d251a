/* hold - segments that must stay for a while, whoever else lets go of what is in them: one mark a segment, however many of its records are wanted.
 * Threads: those of the segments' owner; pure. */
#ifndef KEEL_SEGSTORE_LOG_HOLD_H
#define KEEL_SEGSTORE_LOG_HOLD_H

#include "segstore/log/segment.h"

struct hold {
    uint64_t *numbers; /* ascending */
    size_t    count;
    size_t    capacity;
    size_t    last; /* where the last one was found */
};

/* The segment of this position stays from now on, and is there now. An empty hold is all zeros. */
void hold_add(struct hold *hold, struct segments *segments, uint64_t position);
/* They may go; the hold is empty again. */
void hold_release(struct hold *hold, struct segments *segments);

#endif
