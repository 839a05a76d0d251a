/* hold.c - numbers in order; mostly the same one is asked for as the last time. */
#include "segstore/log/hold.h"

#include <stdlib.h>
#include <string.h>

void hold_add(struct hold *h, struct segments *segments, uint64_t position)
{
    uint64_t number = segments_number(segments, position);
    if (h->count > 0 && h->numbers[h->last] == number) {
        return;
    }
    size_t low  = 0;
    size_t high = h->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (h->numbers[middle] < number) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    h->last = low;
    if (low < h->count && h->numbers[low] == number) {
        return;
    }
    if (h->count == h->capacity) {
        h->capacity = h->capacity == 0 ? 16 : h->capacity * 2;
        h->numbers  = realloc(h->numbers, h->capacity * sizeof *h->numbers);
        ASSERT_MEMORY(h->numbers != NULL);
    }
    memmove(h->numbers + low + 1, h->numbers + low, (h->count - low) * sizeof *h->numbers);
    h->numbers[low] = number;
    h->count++;
    segments_retain(segments, segments_position(segments, number));
}

void hold_release(struct hold *h, struct segments *segments)
{
    for (size_t i = 0; i < h->count; i++) {
        segments_release(segments, segments_position(segments, h->numbers[i]));
    }
    free(h->numbers);
    *h = (struct hold){0};
}
