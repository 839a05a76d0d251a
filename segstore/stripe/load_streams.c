/* load_streams.c - the head of an image, and its streams. */
#include "segstore/stripe/loading.h"

#include <stdlib.h>

enum step load_head(struct stripe_loading *l, struct wire_reader *r)
{
    struct stripe       *s      = l->stripe;
    uint32_t             magic  = wire_get_u32(r);
    struct stripe_limits limits = s->limits;
    l->version                  = wire_get_u16(r);
    uint16_t id                 = wire_get_u16(r);
    if (r->bad) {
        return STEP_SHORT;
    }
    if (magic != IMAGE_MAGIC || l->version < IMAGE_VERSION_SORTED || l->version > IMAGE_VERSION || id != s->id) {
        return STEP_BAD;
    }
    uint64_t        applied  = wire_get_u64(r);
    uint64_t        time_ns  = wire_get_u64(r);
    struct counters counters = {.next_local = wire_get_u64(r)};
    counters.version         = wire_get_u64(r);
    counters.actions_failed  = wire_get_u64(r);
    bool is                  = l->version < IMAGE_VERSION_LIMITS || limits_read(r, &limits);
    limits.stream_bytes_max  = l->version < IMAGE_VERSION ? 0 : wire_get_u64(r);
    l->left                  = wire_get_u64(r);
    if (r->bad) {
        return STEP_SHORT;
    }
    s->applied  = applied;
    s->time_ns  = time_ns;
    s->counters = counters;
    l->part     = LOADING_STREAM;
    limits_take(s, &limits);
    map_reserve(&s->streams_by_id, l->left);
    map_reserve(&s->streams_by_name, l->left);
    is = is && (l->version < IMAGE_VERSION || limits.stream_bytes_max != 0);
    return is && counters.next_local != 0 ? STEP_TAKEN : STEP_BAD;
}

static enum step load_stream(struct stripe_loading *l, struct wire_reader *r)
{
    struct stripe *s = l->stripe;
    if (l->left == 0) {
        l->part = LOADING_WRITERS;
        return STEP_TAKEN;
    }
    uint64_t     id    = wire_get_u64(r);
    uint8_t      flags = wire_get_u8(r);
    uint64_t     start = wire_get_u64(r);
    uint64_t     next  = wire_get_u64(r);
    uint64_t     epoch = wire_get_u64(r);
    uint64_t     owner = wire_get_u64(r);
    struct bytes name  = wire_get_blob(r);
    uint64_t     local = id & 0xffffffffffffu;
    bool         is    = !r->bad && stream_find(s, id) == NULL && stream_id_stripe(id) == s->id && local != 0 &&
              local < s->counters.next_local &&
              flags <= (l->version < IMAGE_VERSION_KEEPS ? STREAM_QUEUE : STREAM_LATEST) && start <= next &&
              next != UINT64_MAX && name.size <= STRIPE_NAME_MAX_BYTES && stream_find_name(s, name) == NULL;
    if (!is) {
        return step_of(r, false);
    }
    struct stream *stream = stream_make(id, flags, name);
    stream->start         = start;
    stream->next          = start;
    stream->epoch         = epoch;
    stream->owner         = owner;
    stream_insert(s, stream);
    l->stream  = stream;
    l->next    = next;
    l->part    = LOADING_POSITIONS;
    l->packing = (struct packing){0};
    if ((flags & STREAM_LATEST) != 0) {
        stream->next = next;
        l->part      = LOADING_LATEST;
    }
    return STEP_TAKEN;
}

/* Of a record that is held: where it lies on this node. */
static bool position_here(const struct stripe_loading *l, uint64_t from, uint64_t *out)
{
    *out = from;
    return from != UINT64_MAX && (!l->is_moved || (l->moved.position(l->moved.ctx, from, out) && *out != UINT64_MAX));
}

static enum step put_position(const struct stripe_loading *l, uint64_t position)
{
    struct stream *stream = l->stream;
    if (position != UINT64_MAX && !position_here(l, position, &position)) {
        return STEP_BAD;
    }
    stream_put_position(stream, stream->start, position);
    stream->next++;
    return STEP_TAKEN;
}

static enum step load_plain_position(const struct stripe_loading *l, struct wire_reader *r)
{
    uint64_t position = wire_get_u64(r);
    return r->bad ? STEP_SHORT : put_position(l, position);
}

static enum step load_position(struct stripe_loading *l, struct wire_reader *r)
{
    if (l->stream->next == l->next) {
        l->part = l->version >= IMAGE_VERSION_KEEPS ? LOADING_KEEPING : LOADING_CURSORS;
        return STEP_TAKEN;
    }
    if (l->version < IMAGE_VERSION_PACKED) {
        return load_plain_position(l, r);
    }
    struct packing p      = l->packing; /* as it was, when the token is not all there */
    int            result = packing_token(&p, r);
    if (result != 0 || p.count > l->next - l->stream->next) {
        return result == 1 ? STEP_SHORT : STEP_BAD;
    }
    l->unpacked = (size_t)p.count * sizeof(uint64_t);
    while (p.count > 0) {
        uint64_t position = packing_next(&p);
        if ((position == UINT64_MAX && p.kind != PACKING_NONE) || put_position(l, position) != STEP_TAKEN) {
            return STEP_BAD;
        }
    }
    l->packing = p;
    return STEP_TAKEN;
}

static enum step load_latest(struct stripe_loading *l, struct wire_reader *r)
{
    l->inner = wire_get_u64(r);
    if (r->bad) {
        return STEP_SHORT;
    }
    l->next = l->stream->start; /* from here on: behind the last slot */
    l->part = LOADING_TOPICS;
    return STEP_TAKEN;
}

static enum step load_topic(struct stripe_loading *l, struct wire_reader *r)
{
    struct stream *stream = l->stream;
    if (l->inner == 0) {
        l->part = LOADING_KEEPING;
        return STEP_TAKEN;
    }
    uint64_t     offset   = wire_get_u64(r);
    uint64_t     position = wire_get_u64(r);
    uint64_t     time_ns  = wire_get_u64(r);
    uint32_t     bytes    = wire_get_u32(r);
    struct bytes topic    = wire_get_blob(r);
    if (r->bad) {
        return STEP_SHORT;
    }
    if (!position_here(l, position, &position) || offset < l->next || offset >= stream->next ||
        !latest_load(stream->keeping->latest, topic, offset, position, time_ns, bytes)) {
        return STEP_BAD;
    }
    l->next = offset + 1;
    l->inner--;
    return STEP_TAKEN;
}

static enum step keeping_loaded(struct stripe_loading *l)
{
    const struct stream *stream = l->stream;
    if (stream->keeping->latest == NULL && l->first != (stream->start == stream->next)) {
        return STEP_BAD;
    }
    keep_schedule(l->stripe, l->stream);
    l->part = LOADING_CURSORS;
    return STEP_TAKEN;
}

static enum step load_keeping(struct stripe_loading *l, struct wire_reader *r)
{
    struct stream *stream = l->stream;
    uint8_t        kept   = wire_get_u8(r);
    bool           queue  = (stream->flags & STREAM_QUEUE) != 0;
    if (r->bad || kept > 1 || (kept == 1 && queue && (l->version < IMAGE_VERSION || stream->start == stream->next)) ||
        (kept == 0 && (stream->flags & STREAM_LATEST) != 0)) {
        return step_of(r, false);
    }
    if (kept == 0) {
        l->part = LOADING_CURSORS;
        return STEP_TAKEN;
    }
    struct keep_limits limits = {.max_age_ns = wire_get_u64(r)};
    limits.max_bytes          = wire_get_u64(r);
    limits.max_count          = wire_get_u64(r);
    uint64_t bytes            = wire_get_u64(r);
    l->inner                  = wire_get_u32(r);
    if (r->bad) {
        return STEP_SHORT;
    }
    if (queue && (limits.max_age_ns != 0 || limits.max_bytes != 0 || limits.max_count != 0)) {
        return STEP_BAD;
    }
    if (!stream->keeps) {
        keep_load(l->stripe, stream);
    }
    stream->keeping->limits = limits;
    stream->keeping->bytes  = bytes;
    l->mark                 = (struct mark){0};
    l->first                = true;
    l->part                 = LOADING_MARKS;
    return STEP_TAKEN;
}

static enum step load_mark(struct stripe_loading *l, struct wire_reader *r)
{
    const struct stream *stream = l->stream;
    struct keeping      *k      = stream->keeping;
    if (l->inner == 0) {
        return keeping_loaded(l);
    }
    struct mark mark = {.offset = wire_get_u64(r)};
    mark.first_ns    = wire_get_u64(r);
    mark.last_ns     = wire_get_u64(r);
    mark.bytes       = wire_get_u64(r);
    bool in_order    = l->first ? mark.offset <= stream->start : mark.offset > l->mark.offset;
    if (r->bad || !in_order || mark.offset >= stream->next || mark.first_ns < l->mark.last_ns ||
        mark.last_ns < mark.first_ns || mark.bytes < l->mark.bytes || mark.bytes > k->bytes || k->latest != NULL) {
        return step_of(r, false);
    }
    keep_load_mark(k, mark);
    l->mark  = mark;
    l->first = false;
    l->inner--;
    return STEP_TAKEN;
}

static enum step load_cursors(struct stripe_loading *l, struct wire_reader *r)
{
    uint32_t count = wire_get_u32(r);
    if (r->bad) {
        return STEP_SHORT;
    }
    l->inner = count;
    l->first = true;
    l->part  = LOADING_CURSOR;
    return STEP_TAKEN;
}

static enum step load_cursor(struct stripe_loading *l, struct wire_reader *r)
{
    const struct stream *stream = l->stream;
    if (l->inner == 0) {
        l->left--;
        l->part = LOADING_STREAM;
        return STEP_TAKEN;
    }
    uint32_t id       = wire_get_u32(r);
    uint64_t position = wire_get_u64(r);
    uint64_t sent     = wire_get_u64(r);
    uint32_t ranges   = wire_get_u32(r);
    bool is = (l->first || id > l->last_id) && position >= stream->start && position <= sent && sent <= stream->next &&
              ranges <= stream->next - position;
    if (r->bad || !is) {
        return step_of(r, false);
    }
    l->cursor       = cursor_make(id, position);
    l->cursor->sent = sent;
    l->ranges       = ranges;
    l->part         = LOADING_RANGES;
    return STEP_TAKEN;
}

/* Laid down as they are, but only what cursor.c leaves behind. */
static enum step load_range(struct stripe_loading *l, struct wire_reader *r)
{
    struct cursor *cursor = l->cursor;
    if (cursor->range_count == l->ranges) {
        cursor_insert(l->stream, cursor);
        l->cursor  = NULL;
        l->last_id = cursor->id;
        l->first   = false;
        l->inner--;
        l->part = LOADING_CURSOR;
        return STEP_TAKEN;
    }
    const struct op_range *last  = cursor->range_count == 0 ? NULL : &cursor->ranges[cursor->range_count - 1];
    uint64_t               from  = last == NULL ? cursor->position : last->last + 1;
    uint8_t                mark  = last == NULL
                                       ? CURSOR_DONE
                                       : last->mark; /* a done range that begins where the last one ended would have been one with it */
    struct op_range        range = {0};
    if (!op_range_next(r, &range)) {
        r->bad = true;
        return STEP_SHORT;
    }
    bool is = range.first <= range.last && range.first >= from && range.last < l->stream->next &&
              (range.mark == CURSOR_RECEIVED || range.mark == CURSOR_DONE) &&
              !(range.first == from && range.mark == mark);
    if (!is) {
        return STEP_BAD;
    }
    if (cursor->range_count == cursor->range_capacity) {
        uint32_t twice         = cursor->range_capacity == 0 ? 4 : cursor->range_capacity * 2;
        cursor->range_capacity = twice < l->ranges ? twice : l->ranges;
        cursor->ranges         = realloc(cursor->ranges, cursor->range_capacity * sizeof *cursor->ranges);
        ASSERT_MEMORY(cursor->ranges != NULL);
    }
    cursor->ranges[cursor->range_count++] = range;
    return STEP_TAKEN;
}

enum step load_of_stream(struct stripe_loading *l, struct wire_reader *r)
{
    switch ((enum loading_part)l->part) {
    case LOADING_STREAM:
        return load_stream(l, r);
    case LOADING_POSITIONS:
        return load_position(l, r);
    case LOADING_LATEST:
        return load_latest(l, r);
    case LOADING_TOPICS:
        return load_topic(l, r);
    case LOADING_KEEPING:
        return load_keeping(l, r);
    case LOADING_MARKS:
        return load_mark(l, r);
    case LOADING_CURSORS:
        return load_cursors(l, r);
    case LOADING_CURSOR:
        return load_cursor(l, r);
    case LOADING_RANGES:
        return load_range(l, r);
    default:
        return STEP_BAD;
    }
}
