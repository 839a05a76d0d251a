/* bodies.c - an array that grows, searched by halves. */
#include "segstore/log/bodies.h"

#include "shared/base/err.h"

#include <stdlib.h>

enum { PIECES_MIN = 64 };

void bodies_init(struct bodies *b)
{
    *b = (struct bodies){0};
}

void bodies_fini(struct bodies *b)
{
    free(b->pieces);
    *b = (struct bodies){0};
}

int bodies_add(struct bodies *b, uint64_t from, uint32_t size_bytes, uint64_t to)
{
    const struct body *last = b->count == 0 ? NULL : &b->pieces[b->count - 1];
    if (size_bytes == 0 || from > UINT64_MAX - size_bytes || to > UINT64_MAX - size_bytes ||
        (last != NULL && from < last->from + last->size_bytes)) {
        return ERR_MALFORMED;
    }
    if (b->count == b->capacity) {
        b->capacity = b->capacity == 0 ? PIECES_MIN : b->capacity * 2;
        b->pieces   = realloc(b->pieces, b->capacity * sizeof *b->pieces);
        ASSERT_MEMORY(b->pieces != NULL);
    }
    b->pieces[b->count++] = (struct body){.from = from, .to = to, .size_bytes = size_bytes};
    return 0;
}

bool bodies_find(const struct bodies *b, uint64_t from, uint64_t *out_to)
{
    size_t low  = 0; /* the first that begins behind it */
    size_t high = b->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (b->pieces[middle].from <= from) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == 0 || from - b->pieces[low - 1].from >= b->pieces[low - 1].size_bytes) {
        return false;
    }
    *out_to = b->pieces[low - 1].to + (from - b->pieces[low - 1].from);
    return true;
}
