/* journal - what a transaction changed, so that it can be undone, and what may happen only once it stands.
 *
 *   op changes state ──▶ journal_add(undo, commit, ..)
 *   an op fails:   undo from the last change back to the mark          (nothing is left of the list of ops)
 *   all is well:   commit from the first change on: observers are told, memory that was replaced is freed
 *
 * So a change is made in place at once and later ops see it, but nothing is freed and nobody is told before the end.
 * Memory is kept between transactions: none is allocated in the steady state.   Threads: those of the stripe. */
#ifndef KEEL_SEGSTORE_STRIPE_JOURNAL_H
#define KEEL_SEGSTORE_STRIPE_JOURNAL_H

#include <stddef.h>
#include <stdint.h>

struct stripe;

struct change {
    void (*undo)(struct stripe *stripe, const struct change *change);
    void (*commit)(struct stripe *stripe, const struct change *change); /* NULL: nothing to do */
    void    *subject;
    void    *other;
    uint64_t x, y, z;
};

struct journal {
    struct change *changes;
    size_t         count;
    size_t         capacity;
    uint8_t       *saved; /* copies of what changes replaced, by offset */
    size_t         saved_size;
    size_t         saved_capacity;
};

void journal_fini(struct journal *journal);
/* The caller fills in the change that is returned; it stays valid until the next one is added. */
struct change *journal_add(struct journal *journal);
/* Copies bytes aside until the end; returns where: journal->saved + that. */
size_t journal_save(struct journal *journal, const void *data, size_t size);
void   journal_undo(struct stripe *stripe, struct journal *journal, size_t mark);
void   journal_commit(struct stripe *stripe, struct journal *journal);

#endif
