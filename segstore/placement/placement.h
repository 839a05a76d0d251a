/* placement - where the replicas of each stripe belong, and which of them leads: computed from a plan, alike on every node.
 *
 *   1. every stripe ranks the places by hash(stripe, key) and takes the first ones, of racks that it has not used yet as long as there are some
 *   2. while one place has two replicas more than another, the stripe that would like it best moves from the one to the other, if its racks
 *      do not get worse by that
 *   3. leads likewise: each stripe's first choice, then along chains of stripes until no node leads two more than another one on the same shard
 *
 * Step 1 moves nothing but what it must when a place comes or goes; step 2 corrects what chance left uneven, which is little and mostly the same before
 * and after. A stripe keeps the order of its ranks: nodes[0] is its first choice.
 * Pure. Threads: any. With thousands of stripes it takes some ten milliseconds: once per plan. */
#ifndef KEEL_SEGSTORE_PLACEMENT_PLACEMENT_H
#define KEEL_SEGSTORE_PLACEMENT_PLACEMENT_H

#include "segstore/placement/plan.h"

/* Of one stripe. */
struct placement {
    uint8_t  count;
    uint16_t nodes[PLAN_REPLICAS_MAX];
    uint16_t lead; /* one of them; 0: none may lead */
};

/* All stripes of the cluster into out[0 .. stripes). Stripe s lives on shard s % shards of every node. */
void placement_make(const struct plan *plan, uint32_t stripes, uint32_t shards, struct placement *out);

#endif
