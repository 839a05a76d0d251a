/* lanes - the writers of a session's QoS 2 messages (publish.h), or of what a shard appends to a stripe by its own count (fanout.c).
 *
 *     message is numbered ─take─▶ held: the lane's number is this message's alone ─▶ its fate is known ─let go─▶ free
 *                 a row in doubt ─hold─▶ '
 *
 * The lowest free one is taken, so there are as many as ever were under way at once. Several hold the same one when rows of an earlier
 * connection say so: of these all but the newest were taken by everybody.
 * A stripe remembers so many writers (segstore's writers_max, 2^18) and forgets the one unused for longest: the fewer lanes there are the longer a message may be in doubt.
 * Threads: those of the owner. */
#ifndef KEEL_BROKER_KERNEL_LANES_H
#define KEEL_BROKER_KERNEL_LANES_H

#include "shared/base/assert.h"

#include <stdint.h>

/* Ids of packets, and lanes whose row has not gone yet. */
enum { LANE_BITS = 20, LANES_MAX = 1 << LANE_BITS };

/* Zeroed is empty. */
struct lanes {
    uint16_t *holders; /* of each lane */
    uint32_t  capacity;
    uint32_t  lowest; /* those below are held */
};

void lanes_fini(struct lanes *lanes);
/* False: no memory. */
MUST_CHECK bool lanes_take(struct lanes *lanes, uint32_t *out_lane);
MUST_CHECK bool lanes_hold(struct lanes *lanes, uint32_t lane);
void            lanes_let_go(struct lanes *lanes, uint32_t lane);

#endif
