/* The first is always the soonest, whatever was put in and taken out of the middle. */
#include "segstore/stripe/heap.h"

#include "shared/base/rand.h"

#include <criterion/criterion.h>

Test(stripe_heap, the_first_is_the_soonest_after_any_changes)
{
    enum { NODES = 100 };
    static struct heap_node nodes[NODES];
    struct heap             heap = {0};
    struct rand             r;
    rand_init(&r, 7, 7);
    for (int i = 0; i < 20000; i++) {
        struct heap_node *node = &nodes[rand_below(&r, NODES)];
        if (node->slot != 0) {
            heap_remove(&heap, node);
        } else {
            node->due_ns = rand_below(&r, 20);
            node->order  = (uint64_t)i;
            heap_insert(&heap, node);
        }
        struct heap_node *soonest = NULL;
        for (int k = 0; k < NODES; k++) {
            bool sooner = soonest == NULL || nodes[k].due_ns < soonest->due_ns ||
                          (nodes[k].due_ns == soonest->due_ns && nodes[k].order < soonest->order);
            soonest = nodes[k].slot != 0 && sooner ? &nodes[k] : soonest;
        }
        cr_assert_eq(heap_first(&heap), soonest);
    }
    heap_fini(&heap);
}
