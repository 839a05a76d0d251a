/* wire.c - the growing part of the writer. */
#include "shared/base/wire.h"

#include <stdlib.h>

void wire_writer_fini(struct wire_writer *w)
{
    if (w->limit != 0) {
        free(w->data);
    }
    *w = (struct wire_writer){0};
}

uint8_t *wire_reserve_slow(struct wire_writer *w, size_t size)
{
    if (w->bad || w->limit == 0 || w->limit < w->size || w->limit - w->size < size) {
        w->bad = true;
        return NULL;
    }
    size_t capacity = w->capacity == 0 ? 256 : w->capacity;
    while (capacity - w->size < size) {
        capacity *= 2;
    }
    capacity      = capacity < w->limit ? capacity : w->limit;
    uint8_t *data = realloc(w->data, capacity);
    if (data == NULL) {
        w->bad = true;
        return NULL;
    }
    w->data       = data;
    w->capacity   = capacity;
    uint8_t *room = w->data + w->size;
    w->size += size;
    return room;
}
