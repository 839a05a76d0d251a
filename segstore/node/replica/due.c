/* due.c - what the clock makes due in a stripe (timers, rows that expire) becomes an entry like any other. */
#include "segstore/node/state.h"

void due_turn(struct node *node)
{
    uint64_t wall_ns = node_wall_ns(node);
    if (!node->due_dirty && wall_ns < node->next_due_ns) {
        return;
    }
    node->due_dirty   = false;
    node->next_due_ns = UINT64_MAX;
    for (uint32_t i = 0; i < node->stripe_count; i++) {
        struct node_stripe *st = &node->stripes[i];
        if (st->limits_wanted) {
            limits_propose(st);
        }
        if (!st->led || st->due_proposed) {
            continue;
        }
        node->scratch.size = 0;
        if (st->next_due_ns <= wall_ns && stripe_due(st->stripe, wall_ns, &node->scratch)) {
            struct proposal origin = {.due = true};
            if (propose(node, st, wire_written(&node->scratch), &origin) == 0) {
                st->due_proposed = true;
                continue;
            }
            node->next_due_ns = wall_ns + DUE_AGAIN_NS; /* the log is full now */
        } else {
            node->next_due_ns = st->next_due_ns < node->next_due_ns ? st->next_due_ns : node->next_due_ns;
        }
    }
}

uint64_t due_next_ns(const struct node *node)
{
    if (node->due_dirty) {
        return 0;
    }
    if (node->next_due_ns == UINT64_MAX) {
        return UINT64_MAX;
    }
    uint64_t wall_ns = node_wall_ns(node);
    return io_now_ns(node->io) + (node->next_due_ns > wall_ns ? node->next_due_ns - wall_ns : 0);
}
