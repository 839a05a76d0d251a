/* utf8.c - eight bytes at a time while they are plain ASCII, code point by code point where they are not. */
#include "broker/protocol/mqtt/utf8.h"

#include "shared/base/assert.h"
#include "shared/base/utf8.h"

/* Bytes that a name is stopped by, beside those that are not ASCII. */
enum { ASCII_SPACE = 0x20, ASCII_DELETE = 0x7f };

#define EACH(byte) (0x0101010101010101u * (byte))
#define HIGH_BITS  EACH(0x80u)

static uint64_t load_8(const uint8_t *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

/* A high bit set in some byte when that byte of word is below `below` (<= 0x80). Exact when no byte of word has its high bit set. */
static uint64_t any_below(uint64_t word, uint8_t below)
{
    return (word - EACH(below)) & ~word & HIGH_BITS;
}

static uint64_t any_equal(uint64_t word, uint8_t byte)
{
    return any_below(word ^ EACH(byte), 1);
}

bool mqtt_string_valid(struct bytes text)
{
    if (text.size == 0) {
        return true;
    }
    const uint8_t *at  = text.data;
    const uint8_t *end = at + text.size;
    while (at < end) {
        if (end - at >= 8) {
            uint64_t word = load_8(at);
            if (((word & HIGH_BITS) | any_below(word, 1)) == 0) {
                at += 8;
                continue;
            }
        }
        if (*at < 0x80) {
            if (*at == 0) {
                return false;
            }
            at++;
            continue;
        }
        size_t size = utf8_wide_size(at, end);
        if (size == 0) {
            return false;
        }
        at += size;
    }
    return true;
}

/* U+0080..U+009F, as two bytes. */
static bool is_c1_control(const uint8_t *at)
{
    return at[0] == 0xc2 && at[1] < 0xa0;
}

/* Sixteen bytes at once, for topics: true when all are plain ASCII that a name may have. Signed: what is not ASCII is below the space. */
typedef int8_t sixteen __attribute__((vector_size(16)));

static bool plain_16(const uint8_t *at, bool wildcards)
{
    sixteen  v;
    uint64_t halves[2];
    memcpy(&v, at, sizeof v);
    sixteen bad = (v < ASCII_SPACE) | (v == ASCII_DELETE);
    if (!wildcards) {
        bad |= (v == '#') | (v == '+');
    }
    memcpy(halves, &bad, sizeof halves);
    return (halves[0] | halves[1]) == 0;
}

/* The same for any size from 16 on; the last sixteen overlap those before. */
static bool plain(struct bytes name, bool wildcards)
{
    size_t at = 0;
    for (; at + 16 <= name.size; at += 16) {
        if (!plain_16(name.data + at, wildcards)) {
            return false;
        }
    }
    return at == name.size || plain_16(name.data + name.size - 16, wildcards);
}

/* Well-formed and free of control characters; # and + only when they may be there. */
static bool name_valid(struct bytes name, bool wildcards)
{
    const uint8_t *at  = name.data;
    const uint8_t *end = at + name.size;
    if (name.size >= 16 && LIKELY(plain(name, wildcards))) {
        return true;
    }
    while (at < end) {
        if (name.size >= 8) { /* the last word overlaps what was looked at before */
            uint64_t word = load_8(end - at >= 8 ? at : end - 8);
            uint64_t bad  = (word & HIGH_BITS) | any_below(word, ASCII_SPACE) | any_equal(word, ASCII_DELETE);
            if (!wildcards) {
                bad |= any_equal(word, '#') | any_equal(word, '+');
            }
            if (bad == 0) {
                at += 8;
                continue;
            }
        }
        if (*at < 0x80) {
            if (*at < ASCII_SPACE || *at == ASCII_DELETE || (!wildcards && (*at == '#' || *at == '+'))) {
                return false;
            }
            at++;
            continue;
        }
        size_t size = utf8_wide_size(at, end);
        if (size == 0 || is_c1_control(at)) {
            return false;
        }
        at += size;
    }
    return true;
}

bool mqtt_identity_valid(struct bytes text)
{
    return text.size == 0 || name_valid(text, true);
}

bool mqtt_topic_name_valid(struct bytes topic)
{
    return topic.size > 0 && name_valid(topic, false);
}

/* # and + stand alone in their level, # in the last one only. */
static bool wildcards_valid(struct bytes filter)
{
    for (size_t i = 0; i < filter.size; i++) {
        uint8_t c = filter.data[i];
        if (c != '#' && c != '+') {
            continue;
        }
        bool starts_level = i == 0 || filter.data[i - 1] == '/';
        bool last         = i + 1 == filter.size;
        bool ends_level   = last || (c == '+' && filter.data[i + 1] == '/');
        if (!starts_level || !ends_level) {
            return false;
        }
    }
    return true;
}

bool mqtt_topic_filter_shared(struct bytes filter)
{
    return bytes_starts_with(filter, bytes_of("$share/", 7));
}

bool mqtt_topic_filter_only_share(struct bytes filter)
{
    if (!mqtt_topic_filter_shared(filter) || !name_valid(filter, true)) {
        return false;
    }
    struct bytes   name  = bytes_of(filter.data + 7, filter.size - 7);
    const uint8_t *slash = name.size == 0 ? NULL : memchr(name.data, '/', name.size);
    bool           alone = slash == NULL || slash + 1 == name.data + name.size;
    name.size -= slash != NULL;
    return alone && name.size > 0 && !mqtt_topic_filter_wildcard(name);
}

bool mqtt_topic_filter_wildcard(struct bytes filter)
{
    return filter.size > 0 &&
           (memchr(filter.data, '+', filter.size) != NULL || memchr(filter.data, '#', filter.size) != NULL);
}

bool mqtt_topic_filter_valid(struct bytes filter)
{
    if (filter.size == 0 || !name_valid(filter, true)) {
        return false;
    }
    bool         exclusive = bytes_starts_with(filter, bytes_of("$exclusive/", 11));
    bool         shared    = mqtt_topic_filter_shared(filter);
    struct bytes inner     = filter;
    if (exclusive) {
        inner = bytes_of(filter.data + 11, filter.size - 11);
    } else if (shared) {
        struct bytes   rest  = bytes_of(filter.data + 7, filter.size - 7);
        const uint8_t *slash = rest.size == 0 ? NULL : memchr(rest.data, '/', rest.size);
        if (slash == NULL) {
            return false;
        }
        struct bytes name = bytes_of(rest.data, (size_t)(slash - rest.data));
        inner             = bytes_of(slash + 1, rest.size - name.size - 1);
        if (name.size == 0 || mqtt_topic_filter_wildcard(name)) {
            return false;
        }
    }
    if (exclusive || shared) {
        return inner.size != 0 && !mqtt_topic_filter_shared(inner) &&
               !bytes_starts_with(inner, bytes_of("$exclusive/", 11)) && wildcards_valid(inner);
    }
    return wildcards_valid(filter);
}
