/* filter.c - level by level, until filter and key part. */
#include "segstore/stripe/filter.h"

static const uint8_t after_dollar    = '$' + 1;
static const uint8_t after_separator = '/' + 1;

static size_t level_end(struct bytes text, size_t from)
{
    const void *found = from < text.size ? memchr(text.data + from, '/', text.size - from) : NULL;
    return found == NULL ? text.size : (size_t)((const uint8_t *)found - text.data);
}

static struct bytes part(struct bytes text, size_t from, size_t to)
{
    return bytes_of(text.data + from, to - from);
}

static bool is_level(struct bytes level, char c)
{
    return level.size == 1 && level.data[0] == (uint8_t)c;
}

static enum filter_verdict seek(struct filter_seek *out, struct bytes head, struct bytes tail)
{
    *out = (struct filter_seek){.head = head, .tail = tail};
    return FILTER_SEEK;
}

/* Behind every key that begins with key[0 .. to) and a separator. */
static enum filter_verdict seek_behind(struct filter_seek *out, struct bytes key, size_t to)
{
    return seek(out, part(key, 0, to), bytes_of(&after_separator, 1));
}

/* The key's level at `at` is not the literal one, filter[from .. end). */
static enum filter_verdict differs(struct bytes filter, size_t from, size_t end, struct bytes key, size_t at,
                                   struct filter_seek *out)
{
    struct bytes rest  = part(key, at, key.size);
    struct bytes level = part(filter, from, end);
    if (bytes_compare(rest, level) < 0) {
        return seek(out, part(key, 0, at), level);
    }
    if (end < filter.size) {
        struct bytes with_separator = part(filter, from, end + 1);
        if (bytes_compare(rest, with_separator) < 0) {
            return seek(out, part(key, 0, at), with_separator);
        }
    }
    return at == 0 ? FILTER_END : seek_behind(out, key, at - 1);
}

enum filter_verdict filter_step(struct bytes filter, struct bytes key, struct filter_seek *out_seek)
{
    bool wild_first = filter.size != 0 && (filter.data[0] == '+' || filter.data[0] == '#');
    if (wild_first && key.size != 0 && key.data[0] == '$') { /* [MQTT-4.7.2-1] */
        return seek(out_seek, bytes_of(key.data, 0), bytes_of(&after_dollar, 1));
    }
    for (size_t at = 0, from = 0;;) {
        size_t       key_end = level_end(key, at);
        size_t       end     = level_end(filter, from);
        struct bytes level   = part(filter, from, end);
        if (is_level(level, '#')) {
            return FILTER_MATCH;
        }
        bool any = is_level(level, '+');
        if (!any && !bytes_equal(level, part(key, at, key_end))) {
            return differs(filter, from, end, key, at, out_seek);
        }
        bool filter_ends = end == filter.size;
        if (key_end < key.size) {
            if (filter_ends) {
                return seek_behind(out_seek, key, key_end);
            }
            at   = key_end + 1;
            from = end + 1;
            continue;
        }
        if (filter_ends || is_level(part(filter, end + 1, filter.size), '#')) { /* "sport/#" matches "sport" */
            return FILTER_MATCH;
        }
        /* The key ends too early. Under '+' a longer name of this level may come before its separator. */
        return seek(out_seek, key, any ? bytes_of("", 1) : bytes_of("/", 1));
    }
}
