/* buf.c - a payload and its count in one block. */
#include "shared/mem/buf.h"

#include "shared/base/assert.h"

#include <stdlib.h>

struct buf *buf_new(uint32_t capacity)
{
    struct buf *b = malloc(sizeof *b + capacity);
    if (b == NULL) {
        return NULL;
    }
    b->refs     = 1;
    b->size     = 0;
    b->capacity = capacity;
    return b;
}

void buf_unref(struct buf *b)
{
    if (b == NULL) {
        return;
    }
    ASSERT(b->refs > 0);
    if (--b->refs == 0) {
        free(b);
    }
}
