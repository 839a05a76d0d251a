/* clock.c - the middle one. */
#include "segstore/node/peers/clock.h"

#include "shared/base/assert.h"

int64_t clock_correction(const int64_t *others, size_t count)
{
    int64_t sorted[CLOCK_NODES_MAX + 1] = {0}; /* the own one first */
    ASSERT(count <= CLOCK_NODES_MAX);
    for (size_t i = 0; i < count; i++) {
        size_t at = i + 1;
        for (; at > 0 && sorted[at - 1] > others[i]; at--) {
            sorted[at] = sorted[at - 1];
        }
        sorted[at] = others[i];
    }
    int64_t middle = sorted[count / 2];
    return middle > CLOCK_TOLERANCE_NS || middle < -CLOCK_TOLERANCE_NS ? middle : 0;
}
