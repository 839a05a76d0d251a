/* plan - which nodes hold a place in the cluster, and how that follows from what an operator wants and from who is alive.
 *
 *   wish (rows of an operator, configuration) ─┐
 *   seen (who is alive, for how long) ─────────┼─▶ plan_next ──▶ the next plan, one step, and a sentence about it
 *   the plan that holds now ───────────────────┘
 *
 * The leader of stripe 0 makes it and keeps it as a row of that stripe (shared/rpc/schema.h, RPC_TABLE_CLUSTER); every node computes from it, and from
 * nothing else, where the replicas of each stripe belong (placement.h). The epoch grows with each plan.
 *
 * A place has a key, by which stripes choose it: whoever takes a place over takes the key, so that nothing moves but what lay there.
 *
 *   an operator names other nodes        those who are named have places, new ones take over from those who leave
 *   a node is drained                    a spare takes its place; else it is given up when there are more places than replicas; else it stays and leads nothing
 *   a node is gone for too long          the same, but that it goes on leading what it leads when it is back
 *   a place was given up                 it is filled again by its own node when that is back, else by a spare
 *
 *   row:  version u8 (1) | replicas u8 | count u8 | home u8 | epoch u64 | basis u64 | count x { node u16, key u16, rack u16, flags u16 (1 drained) } | home x node u16
 *
 * Pure. Threads: any.   Units: a rack is a number, 0: a rack of its own. */
#ifndef KEEL_SEGSTORE_PLACEMENT_PLAN_H
#define KEEL_SEGSTORE_PLACEMENT_PLAN_H

#include "shared/base/assert.h"
#include "shared/base/wire.h"

enum {
    PLAN_NODES_MAX     = 24,
    PLAN_REPLICAS_MAX  = 7,
    PLAN_ROW_MAX_BYTES = 20 + 10 * PLAN_NODES_MAX,
    PLAN_WHY_BYTES     = 200
};

struct plan_place {
    uint16_t node;
    uint16_t key;
    uint16_t rack;
    bool     drained; /* it leads nothing */
};

struct plan {
    uint64_t          epoch; /* 0: there is none yet */
    uint64_t          basis; /* of the wish for nodes that it follows */
    uint8_t           replicas;
    uint8_t           count;
    uint8_t           home_count;
    struct plan_place at[PLAN_NODES_MAX];
    uint16_t          home[PLAN_NODES_MAX]; /* who was wished for */
};

/* What an operator wants. */
struct plan_wish {
    uint64_t basis; /* another one: the nodes were named anew */
    uint8_t  count;
    uint8_t  drained_count;
    uint8_t  replicas; /* at most so many of each stripe */
    uint16_t nodes[PLAN_NODES_MAX];
    uint16_t drained[PLAN_NODES_MAX];
};

/* A configured node, as the leader of stripe 0 sees it. */
struct plan_seen {
    uint16_t node;
    uint16_t rack;
    bool     alive; /* and has been for a while */
    bool     gone;  /* for so long that it is to be replaced */
};

/* The next plan, with the next epoch; false: it stays as it is. why: a sentence, what happens and why; empty when only numbers of racks changed. */
bool plan_next(const struct plan *now, const struct plan_wish *wish, const struct plan_seen *seen, size_t seen_count,
               struct plan *next, char why[PLAN_WHY_BYTES]);
/* The place of a node, or NULL. */
const struct plan_place *plan_find(const struct plan *plan, uint16_t node);

void plan_put(struct wire_writer *w, const struct plan *plan);
/* False: malformed, or of a later version. */
bool plan_get(struct bytes row, struct plan *out);

#endif
