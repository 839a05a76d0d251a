/* entries.c - a ring that grows. */
#include "segstore/log/entries.h"

#include <stdlib.h>

enum { SLOTS_AT_FIRST = 16 };

void entries_init(struct entries *e, uint64_t before, uint64_t chain)
{
    *e = (struct entries){.first = before + 1, .end = before + 1, .chain_before = chain};
}

void entries_fini(struct entries *e)
{
    free(e->slots);
    *e = (struct entries){0};
}

static void grow(struct entries *e)
{
    uint64_t         capacity = e->capacity == 0 ? SLOTS_AT_FIRST : e->capacity * 2;
    struct log_slot *slots    = malloc(capacity * sizeof *slots);
    ASSERT(slots != NULL); /* out of memory */
    for (uint64_t i = e->first; i < e->end; i++) {
        slots[i & (capacity - 1)] = *entries_at(e, i);
    }
    free(e->slots);
    e->slots    = slots;
    e->capacity = capacity;
}

void entries_push(struct entries *e, const struct log_slot *slot)
{
    if (e->end - e->first == e->capacity) {
        grow(e);
    }
    e->end++;
    *entries_at(e, e->end - 1) = *slot;
    e->bytes += slot->size;
}

void entries_pop_back(struct entries *e)
{
    ASSERT(e->end > e->first);
    e->bytes -= entries_at(e, e->end - 1)->size;
    e->end--;
}

void entries_pop_front(struct entries *e)
{
    ASSERT(e->end > e->first);
    const struct log_slot *slot = entries_at(e, e->first);
    e->bytes -= slot->size;
    e->chain_before = slot->chain;
    e->first++;
}

uint64_t entries_chain(const struct entries *e, uint64_t index)
{
    return index + 1 == e->first ? e->chain_before : entries_at(e, index)->chain;
}
