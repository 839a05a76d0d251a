/* window - the ring doubles; it is given back when the last delivery is done. */
#include "broker/kernel/window.h"

#include "shared/base/err.h"

#include <stdlib.h>

enum { CAPACITY_MIN = 16 };

void window_init(struct window *w, uint64_t offset)
{
    *w = (struct window){.base = offset, .next = offset};
}

void window_fini(struct window *w)
{
    free(w->states);
    w->states   = NULL;
    w->capacity = 0;
}

static uint8_t *state_at(const struct window *w, uint64_t offset)
{
    return &w->states[offset & (w->capacity - 1)];
}

int window_reserve(struct window *w, uint64_t offset)
{
    uint64_t width = offset + 1 - w->base;
    ASSERT(width <= WINDOW_WIDTH_MAX);
    if (width > w->capacity) {
        uint32_t room = w->capacity == 0 ? CAPACITY_MIN : w->capacity;
        while (room < width) {
            room *= 2;
        }
        uint8_t *states = calloc(room, 1);
        if (states == NULL) {
            return ERR_FULL;
        }
        for (uint64_t i = w->base; i < w->next; i++) {
            states[i & (room - 1)] = *state_at(w, i);
        }
        free(w->states);
        w->states   = states;
        w->capacity = room;
    }
    return 0;
}

static int reach(struct window *w, uint64_t offset)
{
    int error = window_reserve(w, offset);
    if (error != 0) {
        return error;
    }
    while (w->next <= offset) {
        *state_at(w, w->next++) = WINDOW_NONE;
    }
    return 0;
}

int window_set(struct window *w, uint64_t offset, enum window_state state)
{
    ASSERT(offset >= w->base);
    if (offset >= w->next) {
        int error = reach(w, offset);
        if (error != 0) {
            return error;
        }
    }
    *state_at(w, offset) = (uint8_t)state;
    while (w->base < w->next && *state_at(w, w->base) == WINDOW_DONE) {
        w->base++;
    }
    if (w->base == w->next && w->capacity > CAPACITY_MIN) {
        window_fini(w);
    }
    return 0;
}

enum window_state window_get(const struct window *w, uint64_t offset)
{
    if (offset < w->base) {
        return WINDOW_DONE;
    }
    return offset < w->next ? (enum window_state) * state_at(w, offset) : WINDOW_NONE;
}

bool window_find(const struct window *w, uint16_t id, uint64_t *out_offset)
{
    if (id == 0 || id > WINDOW_WIDTH_MAX) {
        return false;
    }
    uint64_t ahead  = ((uint64_t)id - 1 + WINDOW_WIDTH_MAX - w->base % WINDOW_WIDTH_MAX) % WINDOW_WIDTH_MAX;
    uint64_t offset = w->base + ahead;
    if (offset >= w->next) {
        return false;
    }
    *out_offset = offset;
    return true;
}
