/* topic - one pass over the bytes, level by level. */
#include "broker/kernel/topic.h"

static const char share_prefix[]     = "$share/";
static const char exclusive_prefix[] = "$exclusive/";

/* [MQTT-4.7.1-1], [MQTT-4.7.1-2]: a wildcard is alone in its level, and '#' is in the last one. */
static bool levels_valid(struct bytes filter)
{
    if (filter.size == 0 || filter.size > TOPIC_MAX_BYTES) {
        return false;
    }
    for (size_t i = 0; i < filter.size; i++) {
        uint8_t c = filter.data[i];
        if (c == 0) {
            return false;
        }
        if (c != '+' && c != '#') {
            continue;
        }
        bool begins = i == 0 || filter.data[i - 1] == '/';
        bool last   = i + 1 == filter.size;
        if (!begins || !(last || (c == '+' && filter.data[i + 1] == '/'))) {
            return false;
        }
    }
    return true;
}

static bool has_prefix(struct bytes filter)
{
    return bytes_starts_with(filter, bytes_str(share_prefix)) || bytes_starts_with(filter, bytes_str(exclusive_prefix));
}

bool topic_filter_valid(struct bytes filter)
{
    struct bytes inner;
    if (topic_exclusive_split(filter, &inner)) {
        return filter.size <= TOPIC_MAX_BYTES && !has_prefix(inner) && levels_valid(inner);
    }
    if (!bytes_starts_with(filter, bytes_str(share_prefix))) {
        /* "$share" alone is an ordinary, if useless, filter. */
        return levels_valid(filter);
    }
    struct bytes group;
    struct bytes rest;
    if (filter.size > TOPIC_MAX_BYTES || !topic_share_split(filter, &group, &rest)) {
        return false;
    }
    for (size_t i = 0; i < group.size; i++) {
        if (group.data[i] == '+' || group.data[i] == '#' || group.data[i] == 0) {
            return false;
        }
    }
    return !has_prefix(rest) && levels_valid(rest);
}

bool topic_filter_wild(struct bytes filter)
{
    for (size_t i = 0; i < filter.size; i++) {
        if (filter.data[i] == '+' || filter.data[i] == '#') {
            return true;
        }
    }
    return false;
}

bool topic_share_split(struct bytes filter, struct bytes *out_group, struct bytes *out_filter)
{
    struct bytes prefix = bytes_str(share_prefix);
    if (!bytes_starts_with(filter, prefix)) {
        return false;
    }
    const uint8_t *begin = filter.data + prefix.size;
    size_t         left  = filter.size - prefix.size;
    const uint8_t *slash = left == 0 ? NULL : memchr(begin, '/', left);
    if (slash == NULL || slash == begin || slash + 1 == begin + left) {
        return false;
    }
    *out_group  = bytes_of(begin, (size_t)(slash - begin));
    *out_filter = bytes_of(slash + 1, left - out_group->size - 1);
    return true;
}

bool topic_exclusive_split(struct bytes filter, struct bytes *out_filter)
{
    struct bytes prefix = bytes_str(exclusive_prefix);
    if (!bytes_starts_with(filter, prefix)) {
        return false;
    }
    *out_filter = bytes_of(filter.data + prefix.size, filter.size - prefix.size);
    return true;
}

bool topic_group_split(struct bytes filter, struct bytes *out_group, struct bytes *out_filter)
{
    if (topic_exclusive_split(filter, out_filter)) {
        *out_group = (struct bytes){0};
        return true;
    }
    return topic_share_split(filter, out_group, out_filter);
}

bool topic_is_grouped(struct bytes filter)
{
    struct bytes group;
    struct bytes rest;
    return topic_group_split(filter, &group, &rest);
}

struct bytes topic_level(struct bytes topic, size_t *at)
{
    const uint8_t *begin = topic.data + *at;
    size_t         left  = topic.size - *at;
    const uint8_t *slash = left == 0 ? NULL : memchr(begin, '/', left);
    size_t         size  = slash == NULL ? left : (size_t)(slash - begin);
    *at += size + 1;
    return bytes_of(begin, size);
}

bool topic_matches(struct bytes filter, struct bytes topic)
{
    size_t f = 0;
    size_t t = 0;
    if (topic.data[0] == '$' && (filter.data[0] == '+' || filter.data[0] == '#')) {
        return false; /* [MQTT-4.7.2-1] */
    }
    for (;;) {
        if (f < filter.size && filter.data[f] == '#') {
            return true;
        }
        if (f < filter.size && filter.data[f] == '+') {
            f++;
            while (t < topic.size && topic.data[t] != '/') {
                t++;
            }
        } else {
            while (f < filter.size && filter.data[f] != '/' && t < topic.size && topic.data[t] == filter.data[f]) {
                f++;
                t++;
            }
        }
        bool filter_level_ends = f == filter.size || filter.data[f] == '/';
        bool topic_level_ends  = t == topic.size || topic.data[t] == '/';
        if (!filter_level_ends || !topic_level_ends) {
            return false;
        }
        if (t == topic.size) { /* '#' matches its parent level too */
            return f == filter.size || (f + 2 == filter.size && filter.data[f + 1] == '#');
        }
        if (f == filter.size) {
            return false;
        }
        f++;
        t++;
    }
}
