/* entries - what a replica knows of the end of its log: for every entry from `first` on, where its ops lie and what stands before them.
 *
 *   .. applied and dropped | first .. applied | .. durable | .. in memory, being written | end
 *                           kept for followers that lag      log_slot.durable false
 *
 * Terms are the consensus' business (segstore/raft); bodies lie in the log, or in its memory while they are being written.
 * Memory: 40 bytes an entry, in pieces that go back when all of one is forgotten.
 * Threads: those of the owner; pure. */
#ifndef KEEL_SEGSTORE_LOG_ENTRIES_H
#define KEEL_SEGSTORE_LOG_ENTRIES_H

#include "segstore/log/block.h"

struct log_slot {
    uint64_t       position; /* of ops, once durable */
    const uint8_t *memory;   /* of ops, until then */
    uint64_t       wall_ns;
    uint64_t       chain;
    uint32_t       size; /* of ops, bytes */
    uint16_t       kind; /* enum log_kind */
    bool           durable;
    bool           held; /* its file is kept for it */
};

enum { ENTRIES_PIECE = 64 };

struct entries {
    /* Ring: the slot of index in [first, end) is pieces[index / 64 & (capacity - 1)][index % 64]. */
    struct log_slot **pieces;
    struct log_slot  *spare; /* a piece for the next one, or NULL */
    uint64_t          first;
    uint64_t          end;
    uint64_t          capacity;     /* pieces */
    uint64_t          bytes;        /* of ops, all together */
    uint64_t          chain_before; /* at entry first - 1 */
};

/* An empty log behind entry `before`, whose chain is known. */
void entries_init(struct entries *e, uint64_t before, uint64_t chain);
void entries_fini(struct entries *e);

static inline struct log_slot *entries_at(const struct entries *e, uint64_t index)
{
    ASSERT(index >= e->first && index < e->end);
    return &e->pieces[(index / ENTRIES_PIECE) & (e->capacity - 1)][index % ENTRIES_PIECE];
}

/* Behind the last one. */
void entries_push(struct entries *e, const struct log_slot *slot);
/* The last one goes; the first one goes. */
void entries_pop_back(struct entries *e);
void entries_pop_front(struct entries *e);
/* The chain at an entry in [first - 1, end). */
uint64_t entries_chain(const struct entries *e, uint64_t index);

#endif
