/* position - where in a captured stream to begin, as people write it, and "$stream/<name>/from/<position>".
 *
 *   first                        the oldest message that is kept (the default)
 *   last                         the newest one, then what follows
 *   next                         what comes from now on
 *   offset:123                   that number; one that is forgotten: the oldest; one that is not there yet: what comes next
 *   time:2026-01-01T00:00:00Z    the first one published then or later
 *
 * Threads: any; pure. */
#ifndef KEEL_BROKER_KERNEL_POSITION_H
#define KEEL_BROKER_KERNEL_POSITION_H

#include "shared/base/assert.h"
#include "shared/base/bytes.h"

enum position_kind { POSITION_FIRST, POSITION_LAST, POSITION_NEXT, POSITION_OFFSET, POSITION_TIME };

struct position {
    uint8_t  kind;  /* enum position_kind */
    uint64_t value; /* offset, or ns */
};

/* Empty text is first. */
MUST_CHECK bool position_read(struct bytes text, struct position *out);
/* "$stream/<name>" or "$stream/<name>/from/<position>": true, and its parts (no position: empty). */
MUST_CHECK bool position_split(struct bytes filter, struct bytes *out_name, struct bytes *out_position);
/* The offset to begin at in a stream [start, next); found: where its time was found. */
uint64_t position_offset(const struct position *position, uint64_t start, uint64_t next, uint64_t found);

#endif
