/* heap.c - up and down. */
#include "segstore/stripe/heap.h"

#include "shared/base/assert.h"

#include <stdlib.h>

static bool before(const struct heap_node *a, const struct heap_node *b)
{
    return a->due_ns != b->due_ns ? a->due_ns < b->due_ns : a->order < b->order;
}

static void put(struct heap *heap, uint32_t slot, struct heap_node *node)
{
    heap->nodes[slot] = node;
    node->slot        = slot;
}

static void up(struct heap *heap, uint32_t slot, struct heap_node *node)
{
    for (; slot > 1 && before(node, heap->nodes[slot / 2]); slot /= 2) {
        put(heap, slot, heap->nodes[slot / 2]);
    }
    put(heap, slot, node);
}

static void down(struct heap *heap, uint32_t slot, struct heap_node *node)
{
    for (uint32_t child; (child = slot * 2) <= heap->count; slot = child) {
        child += child < heap->count && before(heap->nodes[child + 1], heap->nodes[child]);
        if (!before(heap->nodes[child], node)) {
            break;
        }
        put(heap, slot, heap->nodes[child]);
    }
    put(heap, slot, node);
}

static void resize(struct heap *heap, uint32_t capacity)
{
    struct heap_node **nodes = realloc(heap->nodes, ((size_t)capacity + 1) * sizeof(struct heap_node *));
    ASSERT(nodes != NULL);
    heap->nodes    = nodes;
    heap->capacity = capacity;
}

void heap_fini(struct heap *heap)
{
    free(heap->nodes);
    *heap = (struct heap){0};
}

void heap_insert(struct heap *heap, struct heap_node *node)
{
    ASSERT(node->slot == 0);
    if (heap->count == heap->capacity) {
        resize(heap, heap->capacity == 0 ? 16 : heap->capacity * 2);
    }
    heap->count++;
    up(heap, heap->count, node);
}

void heap_remove(struct heap *heap, struct heap_node *node)
{
    uint32_t slot = node->slot;
    if (slot == 0) {
        return;
    }
    ASSERT(heap->nodes[slot] == node);
    struct heap_node *last = heap->nodes[heap->count--];
    node->slot             = 0;
    if (last != node) {
        if (slot > 1 && before(last, heap->nodes[slot / 2])) {
            up(heap, slot, last);
        } else {
            down(heap, slot, last);
        }
    }
    if (heap->capacity > 16 && heap->count < heap->capacity / 4) {
        resize(heap, heap->capacity / 2);
    }
}
