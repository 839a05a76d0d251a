/* index.c - chains that double. */
#include "segstore/node/session/index.h"

#include "shared/base/assert.h"

#include <stdlib.h>

enum { CHAINS_AT_FIRST = 64 };

static struct list *chains_new(uint64_t count)
{
    struct list *chains = malloc(count * sizeof *chains);
    ASSERT_MEMORY(chains != NULL);
    for (uint64_t i = 0; i < count; i++) {
        list_init(&chains[i]);
    }
    return chains;
}

void index_init(struct index *index)
{
    *index = (struct index){.chains = chains_new(CHAINS_AT_FIRST), .mask = CHAINS_AT_FIRST - 1};
}

void index_fini(struct index *index)
{
    free(index->chains);
    *index = (struct index){0};
}

static void grow(struct index *index)
{
    uint64_t     count  = (index->mask + 1) * 2;
    struct list *chains = chains_new(count);
    for (uint64_t i = 0; i <= index->mask; i++) {
        LIST_EACH (&index->chains[i], at) {
            list_remove(at);
            list_push_back(&chains[CONTAINER_OF(at, struct index_link, list)->hash & (count - 1)], at);
        }
    }
    free(index->chains);
    index->chains = chains;
    index->mask   = count - 1;
}

void index_add(struct index *index, struct index_link *link, uint64_t hash)
{
    if (index->count > index->mask) {
        grow(index);
    }
    link->hash = hash;
    list_push_back(&index->chains[hash & index->mask], &link->list);
    index->count++;
}

void index_remove(struct index *index, struct index_link *link)
{
    if (list_linked(&link->list)) {
        list_remove(&link->list);
        index->count--;
    }
}

struct list *index_chain(const struct index *index, uint64_t hash)
{
    return &index->chains[hash & index->mask];
}
