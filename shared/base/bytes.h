/* bytes - a borrowed view of memory: where it starts and how long it is.
 * Owns nothing; valid only as long as what it points into. A view of length 0 may have any pointer.
 * Threads: any.   Units: size_bytes in bytes. */
#ifndef KEEL_SHARED_BASE_BYTES_H
#define KEEL_SHARED_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct bytes {
    const uint8_t *data;
    size_t         size;
};

static inline struct bytes bytes_of(const void *data, size_t size)
{
    return (struct bytes){.data = data, .size = size};
}

/* The characters of a C string, without its end. */
static inline struct bytes bytes_str(const char *text)
{
    return bytes_of(text, strlen(text));
}

static inline bool bytes_equal(struct bytes a, struct bytes b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

/* memcmp order, a shorter one before a longer one that it begins. */
static inline int bytes_compare(struct bytes a, struct bytes b)
{
    size_t common = a.size < b.size ? a.size : b.size;
    int    order  = common == 0 ? 0 : memcmp(a.data, b.data, common);
    if (order != 0) {
        return order;
    }
    return a.size < b.size ? -1 : a.size > b.size;
}

/* Nothing but zeros? Looks at each byte once, a vector of 32 at a time: at start a log is asked for gigabytes of them. */
static inline bool bytes_zero(struct bytes bytes)
{
    typedef uint64_t lanes __attribute__((vector_size(32), aligned(1), may_alias));
    const uint8_t   *at  = bytes.data;
    const uint8_t   *end = bytes.size != 0 ? at + bytes.size : at;
    for (; (size_t)(end - at) >= 4 * sizeof(lanes); at += 4 * sizeof(lanes)) {
        const lanes *four = (const lanes *)at;
        lanes        any  = (four[0] | four[1]) | (four[2] | four[3]);
        if ((any[0] | any[1] | any[2] | any[3]) != 0) {
            return false;
        }
    }
    for (; at < end; at++) {
        if (*at != 0) {
            return false;
        }
    }
    return true;
}

static inline bool bytes_starts_with(struct bytes text, struct bytes prefix)
{
    return text.size >= prefix.size && (prefix.size == 0 || memcmp(text.data, prefix.data, prefix.size) == 0);
}

/* A decimal number that is all of text. False: it is none, or larger than fits. */
static inline bool bytes_number(struct bytes text, uint64_t *out)
{
    uint64_t value = 0;
    for (size_t i = 0; i < text.size; i++) {
        uint64_t digit = (uint64_t)text.data[i] - '0';
        if (text.data[i] < '0' || digit > 9 || value > (UINT64_MAX - digit) / 10) {
            return false;
        }
        value = value * 10 + digit;
    }
    *out = value;
    return text.size != 0;
}

/* Copies text and an end mark to *at, which goes behind them. The copy. */
static inline struct bytes bytes_keep(char **at, struct bytes text)
{
    struct bytes kept = bytes_of(*at, text.size);
    if (text.size > 0) {
        memcpy(*at, text.data, text.size);
    }
    (*at)[text.size] = '\0';
    *at += text.size + 1;
    return kept;
}

#endif
