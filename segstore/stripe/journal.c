/* journal.c - two arrays that grow, one walked both ways. */
#include "segstore/stripe/journal.h"

#include "shared/base/assert.h"

#include <stdlib.h>
#include <string.h>

enum { KEPT_CHANGES = 16 * 1024, KEPT_SAVED_BYTES = 1024 * 1024 };

void journal_fini(struct journal *journal)
{
    free(journal->changes);
    free(journal->saved);
    *journal = (struct journal){0};
}

struct change *journal_add(struct journal *journal)
{
    if (journal->count == journal->capacity) {
        journal->capacity = journal->capacity == 0 ? 64 : journal->capacity * 2;
        journal->changes  = realloc(journal->changes, journal->capacity * sizeof *journal->changes);
        ASSERT(journal->changes != NULL);
    }
    return &journal->changes[journal->count++];
}

size_t journal_save(struct journal *journal, const void *data, size_t size)
{
    size_t at = journal->saved_size;
    if (journal->saved_capacity - at < size) {
        journal->saved_capacity = (at + size) * 2;
        journal->saved          = realloc(journal->saved, journal->saved_capacity);
        ASSERT(journal->saved != NULL);
    }
    if (size != 0) {
        memcpy(journal->saved + at, data, size);
        journal->saved_size += size;
    }
    return at;
}

void journal_undo(struct stripe *stripe, struct journal *journal, size_t mark)
{
    while (journal->count > mark) {
        const struct change *change = &journal->changes[--journal->count];
        change->undo(stripe, change);
    }
    if (mark == 0) {
        journal->saved_size = 0;
    }
}

void journal_commit(struct stripe *stripe, struct journal *journal)
{
    for (size_t i = 0; i < journal->count; i++) {
        const struct change *change = &journal->changes[i];
        if (change->commit != NULL) {
            change->commit(stripe, change);
        }
    }
    journal->count      = 0;
    journal->saved_size = 0;
    if (journal->capacity > KEPT_CHANGES || journal->saved_capacity > KEPT_SAVED_BYTES) {
        journal_fini(journal);
    }
}
