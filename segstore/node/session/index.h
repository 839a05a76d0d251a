/* index - finds things by a 64-bit hash: chains of links that live inside the things. Doubles when it is full.
 * Threads: those of the owner. */
#ifndef KEEL_SEGSTORE_NODE_SESSION_INDEX_H
#define KEEL_SEGSTORE_NODE_SESSION_INDEX_H

#include "shared/base/list.h"

#include <stdint.h>

struct index_link {
    struct list list;
    uint64_t    hash;
};

struct index {
    struct list *chains; /* a power of two */
    uint64_t     mask;
    uint64_t     count;
};

void index_init(struct index *index);
void index_fini(struct index *index);
void index_add(struct index *index, struct index_link *link, uint64_t hash);
/* Does nothing when it is in none. */
void index_remove(struct index *index, struct index_link *link);
/* The chain that holds all links of this hash, and others. */
struct list *index_chain(const struct index *index, uint64_t hash);

#endif
