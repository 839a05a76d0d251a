/* bodies - where the copies of another node's entries lie in this node's log, while the image of a stripe is taken over from it.
 *
 *   there   ..| from, size |......| from, size |..| from, size |....        pieces by `from`, apart from one another
 *                  |                  |               |
 *   here       to, same size      to             to                        anywhere, in any order
 *
 * A position inside a piece lies at the same distance from the start of its copy. Memory: 24 bytes a piece, at most twice that.
 * Threads: any; pure.   Units: positions in the log's address space of either node (segment.h). */
#ifndef KEEL_SEGSTORE_LOG_BODIES_H
#define KEEL_SEGSTORE_LOG_BODIES_H

#include "shared/base/assert.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct body {
    uint64_t from;
    uint64_t to;
    uint32_t size_bytes;
};

struct bodies {
    struct body *pieces;
    size_t       count;
    size_t       capacity;
};

void bodies_init(struct bodies *b);
void bodies_fini(struct bodies *b);
/* One more piece, behind all others. ERR_MALFORMED: it is empty, begins before the end of the last one, or reaches past the address space. */
MUST_CHECK int bodies_add(struct bodies *b, uint64_t from, uint32_t size_bytes, uint64_t to);
/* Where what is at `from` there lies here; false: in no piece. */
bool bodies_find(const struct bodies *b, uint64_t from, uint64_t *out_to);

#endif
