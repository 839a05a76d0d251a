/* window - the QoS 1 and 2 deliveries of one client that are not yet acknowledged to the end.
 *
 *            base                next
 *     done   | S  S  R  -  D  S  |   not yet seen            offsets; one byte each, in a ring that grows
 *
 *     NONE ─▶ SENT_1 ─PUBACK─▶ DONE            NONE: in the stream, not handed out (held back, or on its way)
 *     NONE ─▶ SENT_2 ─PUBREC─▶ RECEIVED ─recorded─▶ RELEASED ─PUBCOMP─▶ DONE
 *
 * An offset is that of the session's stream, or of a live session a count from 0. Its packet id is offset % 32767 + 1; the window is never
 * wider than 32767 offsets, so an id names one of them. Ids above are those of readers (reader.h).
 * Threads: those of the owner. */
#ifndef KEEL_BROKER_KERNEL_WINDOW_H
#define KEEL_BROKER_KERNEL_WINDOW_H

#include "shared/base/assert.h"

#include <stdint.h>

enum { WINDOW_WIDTH_MAX = 32767 };

enum window_state { WINDOW_NONE, WINDOW_SENT_1, WINDOW_SENT_2, WINDOW_RECEIVED, WINDOW_RELEASED, WINDOW_DONE };

struct window {
    uint8_t *states; /* NULL while empty */
    uint32_t capacity;
    uint64_t base;
    uint64_t next;
};

static inline uint16_t window_id(uint64_t offset)
{
    return (uint16_t)(offset % WINDOW_WIDTH_MAX + 1);
}

/* Starts empty at offset. */
void window_init(struct window *window, uint64_t offset);
void window_fini(struct window *window);
/* Is the offset one that the window may still take in? */
static inline bool window_fits(const struct window *window, uint64_t offset)
{
    return offset < window->base + WINDOW_WIDTH_MAX;
}
/* Makes room, so that window_set of this offset cannot fail. ERR_FULL: memory is out. */
MUST_CHECK int window_reserve(struct window *window, uint64_t offset);
/* Puts an offset at or above base into a state; DONE at base moves base. ERR_FULL when memory is out, then nothing changed. Never fails for an
 * offset below next. */
MUST_CHECK int window_set(struct window *window, uint64_t offset, enum window_state state);
/* DONE below base, NONE from next on. */
enum window_state window_get(const struct window *window, uint64_t offset);
/* The offset that an id names. False: none in the window. */
MUST_CHECK bool window_find(const struct window *window, uint16_t id, uint64_t *out_offset);

#endif
