/* utf8 - what is one character of UTF-8, and whether bytes are nothing but such characters.
 * Table 3-7 of Unicode: no overlong forms, no surrogates, nothing above U+10FFFF.
 * In the header, because MQTT asks for every topic (broker/protocol/mqtt/utf8.c, where what its strings leave out lies too).
 * Threads: any; pure. */
#ifndef KEEL_SHARED_BASE_UTF8_H
#define KEEL_SHARED_BASE_UTF8_H

#include "shared/base/bytes.h"

/* Length of the well-formed character at the start of [at, end), which is not ASCII; 0 when there is none. The second byte alone
 * decides about overlong forms, surrogates and the end of the code space. */
static inline size_t utf8_wide_size(const uint8_t *at, const uint8_t *end)
{
    uint8_t first = at[0];
    uint8_t low   = 0x80;
    uint8_t high  = 0xbf;
    size_t  size;
    if (first >= 0xc2 && first <= 0xdf) {
        size = 2;
    } else if (first >= 0xe0 && first <= 0xef) {
        size = 3;
        low  = first == 0xe0 ? 0xa0 : low;
        high = first == 0xed ? 0x9f : high;
    } else if (first >= 0xf0 && first <= 0xf4) {
        size = 4;
        low  = first == 0xf0 ? 0x90 : low;
        high = first == 0xf4 ? 0x8f : high;
    } else {
        return 0;
    }
    if ((size_t)(end - at) < size || at[1] < low || at[1] > high) {
        return 0;
    }
    for (size_t i = 2; i < size; i++) {
        if ((at[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return size;
}

/* Character by character: for texts that are short or rare. U+0000 is a character. */
static inline bool utf8_valid(struct bytes text)
{
    for (size_t i = 0; i < text.size;) {
        size_t size = text.data[i] < 0x80 ? 1 : utf8_wide_size(text.data + i, text.data + text.size);
        if (size == 0) {
            return false;
        }
        i += size;
    }
    return true;
}

#endif
