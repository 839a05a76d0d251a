/* heap - which of many deadlines comes next: a binary min-heap of nodes that live inside what they time.
 * Ordered by due_ns, then order; both together are unique in one heap, so that what comes next does not depend on history.
 * Threads: those of the owner.   Units: due_ns wall clock. */
#ifndef KEEL_SEGSTORE_STRIPE_HEAP_H
#define KEEL_SEGSTORE_STRIPE_HEAP_H

#include <stdint.h>

struct heap_node {
    uint64_t due_ns;
    uint64_t order;
    uint32_t slot; /* 1 and up while in the heap, else 0 */
};

struct heap {
    struct heap_node **nodes; /* nodes[1] is the first */
    uint32_t           count;
    uint32_t           capacity;
};

void heap_fini(struct heap *heap);
void heap_insert(struct heap *heap, struct heap_node *node);
/* Does nothing when the node is not in it. */
void heap_remove(struct heap *heap, struct heap_node *node);

/* The soonest, or a null pointer. */
static inline struct heap_node *heap_first(const struct heap *heap)
{
    return heap->count == 0 ? 0 : heap->nodes[1];
}

#endif
