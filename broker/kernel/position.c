/* position.c - words, a number, a moment. */
#include "broker/kernel/position.h"

#include "shared/base/instant.h"

static bool after(struct bytes text, const char *prefix, struct bytes *out)
{
    size_t size = strlen(prefix);
    if (!bytes_starts_with(text, bytes_str(prefix))) {
        return false;
    }
    *out = bytes_of(text.data + size, text.size - size);
    return true;
}

bool position_read(struct bytes text, struct position *out)
{
    static const char *const words[] = {[POSITION_FIRST] = "first", [POSITION_LAST] = "last", [POSITION_NEXT] = "next"};
    struct bytes             rest;
    *out = (struct position){.kind = POSITION_FIRST};
    for (size_t kind = 0; kind < sizeof words / sizeof *words; kind++) {
        if (bytes_equal(text, bytes_str(words[kind]))) {
            out->kind = (uint8_t)kind;
            return true;
        }
    }
    if (after(text, "offset:", &rest)) {
        out->kind = POSITION_OFFSET;
        return bytes_number(rest, &out->value);
    }
    if (after(text, "time:", &rest)) {
        out->kind = POSITION_TIME;
        return instant_read(rest, &out->value);
    }
    return text.size == 0;
}

bool position_split(struct bytes filter, struct bytes *out_name, struct bytes *out_position)
{
    struct bytes rest;
    if (!after(filter, "$stream/", &rest)) {
        return false;
    }
    const uint8_t *slash = rest.size == 0 ? NULL : memchr(rest.data, '/', rest.size);
    size_t         size  = slash == NULL ? rest.size : (size_t)(slash - rest.data);
    *out_name            = bytes_of(rest.data, size);
    *out_position        = (struct bytes){0};
    if (slash == NULL) {
        return size != 0;
    }
    return size != 0 && after(bytes_of(slash, rest.size - size), "/from/", out_position) && out_position->size != 0;
}

uint64_t position_offset(const struct position *position, uint64_t start, uint64_t next, uint64_t found)
{
    uint64_t offset = start;
    switch ((enum position_kind)position->kind) {
    case POSITION_FIRST:
        break;
    case POSITION_LAST:
        offset = next > start ? next - 1 : next;
        break;
    case POSITION_NEXT:
        offset = next;
        break;
    case POSITION_OFFSET:
        offset = position->value;
        break;
    case POSITION_TIME:
        offset = found;
        break;
    }
    return offset < start ? start : offset < next ? offset : next;
}
