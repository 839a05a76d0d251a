/* entries.c - pieces of a few slots each, in a ring that grows: what is known of a slot stays where it is, and memory goes back with what is forgotten. */
#include "segstore/log/entries.h"

#include <stdlib.h>

enum { PIECES_AT_FIRST = 4 };

void entries_init(struct entries *e, uint64_t before, uint64_t chain)
{
    *e = (struct entries){.first = before + 1, .end = before + 1, .chain_before = chain};
}

static struct log_slot **piece_at(const struct entries *e, uint64_t index)
{
    return &e->pieces[(index / ENTRIES_PIECE) & (e->capacity - 1)];
}

void entries_fini(struct entries *e)
{
    for (uint64_t i = e->first; i < e->end; i = (i / ENTRIES_PIECE + 1) * ENTRIES_PIECE) {
        free(*piece_at(e, i));
    }
    free(e->pieces);
    free(e->spare);
    *e = (struct entries){0};
}

/* Room for the piece of entry `end`, too. */
static void grow(struct entries *e)
{
    uint64_t          capacity = e->capacity == 0 ? PIECES_AT_FIRST : e->capacity * 2;
    struct log_slot **pieces   = malloc(capacity * sizeof *pieces);
    ASSERT_MEMORY(pieces != NULL);
    for (uint64_t i = e->first; i < e->end; i = (i / ENTRIES_PIECE + 1) * ENTRIES_PIECE) {
        pieces[(i / ENTRIES_PIECE) & (capacity - 1)] = *piece_at(e, i);
    }
    free(e->pieces);
    e->pieces   = pieces;
    e->capacity = capacity;
}

static void piece_make(struct entries *e)
{
    if (e->end / ENTRIES_PIECE - e->first / ENTRIES_PIECE >= e->capacity) {
        grow(e);
    }
    struct log_slot *piece = e->spare != NULL ? e->spare : malloc(ENTRIES_PIECE * sizeof *piece);
    ASSERT_MEMORY(piece != NULL);
    e->spare             = NULL;
    *piece_at(e, e->end) = piece;
}

/* A log that stands still at a border of pieces makes and drops one all the time. */
static void piece_drop(struct entries *e, struct log_slot *piece)
{
    if (e->spare == NULL) {
        e->spare = piece;
    } else {
        free(piece);
    }
}

void entries_push(struct entries *e, const struct log_slot *slot)
{
    if (e->first == e->end || e->end % ENTRIES_PIECE == 0) {
        piece_make(e);
    }
    e->end++;
    *entries_at(e, e->end - 1) = *slot;
    e->bytes += slot->size;
}

void entries_pop_back(struct entries *e)
{
    ASSERT(e->end > e->first);
    struct log_slot *piece = *piece_at(e, e->end - 1);
    e->bytes -= entries_at(e, e->end - 1)->size;
    e->end--;
    if (e->first == e->end || e->end % ENTRIES_PIECE == 0) {
        piece_drop(e, piece);
    }
}

void entries_pop_front(struct entries *e)
{
    ASSERT(e->end > e->first);
    struct log_slot       *piece = *piece_at(e, e->first);
    const struct log_slot *slot  = entries_at(e, e->first);
    e->bytes -= slot->size;
    e->chain_before = slot->chain;
    e->first++;
    if (e->first == e->end || e->first % ENTRIES_PIECE == 0) {
        piece_drop(e, piece);
    }
}

uint64_t entries_chain(const struct entries *e, uint64_t index)
{
    return index + 1 == e->first ? e->chain_before : entries_at(e, index)->chain;
}
