/* script - an input read as what happens next: a byte at a time, and zeros behind its end.
 * Threads: one. */
#ifndef KEEL_TESTS_FUZZ_SCRIPT_H
#define KEEL_TESTS_FUZZ_SCRIPT_H

#include "shared/base/bytes.h"

struct script {
    struct bytes left;
};

static inline uint8_t script_u8(struct script *s)
{
    if (s->left.size == 0) {
        return 0;
    }
    uint8_t byte = s->left.data[0];
    s->left      = bytes_of(s->left.data + 1, s->left.size - 1);
    return byte;
}

static inline uint16_t script_u16(struct script *s)
{
    uint16_t high = script_u8(s);
    return (uint16_t)(high << 8 | script_u8(s));
}

/* So many of its bytes, or as many as are left. */
static inline struct bytes script_take(struct script *s, size_t size)
{
    size            = size < s->left.size ? size : s->left.size;
    struct bytes it = bytes_of(s->left.data, size);
    s->left         = bytes_of(s->left.data + size, s->left.size - size);
    return it;
}

#endif
