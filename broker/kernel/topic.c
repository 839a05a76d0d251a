/* topic - one pass over the bytes, level by level. */
#include "broker/kernel/topic.h"

static const char share_prefix[] = "$share/";

bool topic_name_valid(struct bytes name)
{
    if (name.size == 0 || name.size > TOPIC_MAX_BYTES) {
        return false;
    }
    for (size_t i = 0; i < name.size; i++) {
        uint8_t c = name.data[i];
        if (c == '+' || c == '#' || c == 0) {
            return false;
        }
    }
    return true;
}

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

bool topic_filter_valid(struct bytes filter)
{
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
    return levels_valid(rest);
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
