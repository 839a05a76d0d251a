/* load.c - an image becomes a stripe, when all of it is as save.c would write it. */
#include "segstore/stripe/image.h"

#include "shared/base/err.h"
#include "shared/base/hash.h"

#include <stdlib.h>

/* Lays down ranges as they are; false unless they are what cursor.c leaves behind. */
static bool load_ranges(struct cursor *cursor, const struct stream *stream, uint32_t count, struct wire_reader *r)
{
    uint64_t from = cursor->position;
    uint8_t  mark = CURSOR_DONE; /* a done range that begins where the last one ended would have been one with it */
    if (count == 0 || wire_left(r) / 17 < count) {
        return count == 0;
    }
    cursor->ranges = malloc(count * sizeof *cursor->ranges);
    ASSERT(cursor->ranges != NULL);
    cursor->range_capacity = count;
    for (uint32_t i = 0; i < count; i++) {
        struct op_range range;
        bool            is = op_range_next(r, &range) && range.first <= range.last && range.first >= from &&
                  range.last < stream->next && (range.mark == CURSOR_RECEIVED || range.mark == CURSOR_DONE) &&
                  !(range.first == from && range.mark == mark);
        if (!is) {
            return false;
        }
        cursor->ranges[cursor->range_count++] = range;
        from                                  = range.last + 1;
        mark                                  = range.mark;
    }
    return true;
}

static bool load_cursor(struct stream *stream, uint32_t *last_id, bool first, struct wire_reader *r)
{
    uint32_t       id     = wire_get_u32(r);
    struct cursor *cursor = cursor_make(id, wire_get_u64(r));
    cursor->sent          = wire_get_u64(r);
    uint32_t ranges       = wire_get_u32(r);
    bool     is           = !r->bad && (first || id > *last_id) && cursor->position >= stream->start &&
              cursor->position <= cursor->sent && cursor->sent <= stream->next &&
              load_ranges(cursor, stream, ranges, r);
    if (!is) {
        cursor_free(cursor);
        return false;
    }
    cursor_insert(stream, cursor);
    *last_id = id;
    return true;
}

/* Of a record that is held: where it lies on this node. */
static bool load_position(struct wire_reader *r, const struct stripe_moved *moved, uint64_t *out)
{
    uint64_t from = wire_get_u64(r);
    *out          = from;
    return !r->bad && from != UINT64_MAX &&
           (moved == NULL || (moved->position(moved->ctx, from, out) && *out != UINT64_MAX));
}

static bool load_latest(struct stream *stream, const struct stripe_moved *moved, struct wire_reader *r)
{
    uint64_t from = stream->start;
    for (uint64_t count = wire_get_u64(r); count != 0 && !r->bad; count--) {
        uint64_t     offset = wire_get_u64(r);
        uint64_t     position;
        bool         is      = load_position(r, moved, &position);
        uint64_t     time_ns = wire_get_u64(r);
        uint32_t     bytes   = wire_get_u32(r);
        struct bytes topic   = wire_get_blob(r);
        if (r->bad || !is || offset < from || offset >= stream->next ||
            !latest_load(stream->keeping->latest, topic, offset, position, time_ns, bytes)) {
            return false;
        }
        from = offset + 1;
    }
    return !r->bad;
}

static bool load_positions(struct stream *stream, const struct stripe_moved *moved, struct wire_reader *r)
{
    static const uint64_t released = UINT64_MAX;
    uint64_t              next     = stream->next;
    if (next - stream->start > wire_left(r) / 8) {
        return false;
    }
    for (stream->next = stream->start; stream->next < next; stream->next++) {
        if (!offsets_fits(&stream->offsets, stream->start, stream->next)) {
            offsets_grow(&stream->offsets, stream->start, stream->next);
        }
        uint64_t *slot = offsets_slot(&stream->offsets, stream->next);
        if (memcmp(r->at, &released, sizeof released) == 0) {
            *slot = wire_get_u64(r);
        } else if (!load_position(r, moved, slot)) {
            return false;
        }
    }
    return true;
}

static bool load_keeping(struct stripe *s, struct stream *stream, struct wire_reader *r)
{
    uint8_t kept = wire_get_u8(r);
    if (r->bad || kept > 1 || (kept == 1 && (stream->flags & STREAM_QUEUE) != 0) ||
        (kept == 0 && (stream->flags & STREAM_LATEST) != 0)) {
        return false;
    }
    if (kept == 0) {
        return true;
    }
    if (stream->keeping == NULL) {
        stream->keeping = keeping_new(stream, false);
    }
    struct keeping *k    = stream->keeping;
    k->limits.max_age_ns = wire_get_u64(r);
    k->limits.max_bytes  = wire_get_u64(r);
    k->limits.max_count  = wire_get_u64(r);
    k->bytes             = wire_get_u64(r);
    uint32_t    marks    = wire_get_u32(r);
    struct mark last     = {0};
    for (uint32_t i = 0; i < marks && !r->bad; i++) {
        struct mark mark = {.offset = wire_get_u64(r)};
        mark.first_ns    = wire_get_u64(r);
        mark.last_ns     = wire_get_u64(r);
        mark.bytes       = wire_get_u64(r);
        bool in_order    = i == 0 ? mark.offset <= stream->start : mark.offset > last.offset;
        if (!in_order || mark.offset >= stream->next || mark.first_ns < last.last_ns || mark.last_ns < mark.first_ns ||
            mark.bytes < last.bytes || mark.bytes > k->bytes || k->latest != NULL) {
            return false;
        }
        keep_load_mark(k, mark);
        last = mark;
    }
    if (r->bad || (k->latest == NULL && (marks == 0) != (stream->start == stream->next))) {
        return false;
    }
    keep_schedule(s, stream);
    return true;
}

static bool load_stream(struct stripe *s, uint16_t version, const struct stripe_moved *moved, struct wire_reader *r)
{
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
              flags <= (version < IMAGE_VERSION_KEEPS ? STREAM_QUEUE : STREAM_LATEST) && start <= next &&
              next != UINT64_MAX && name.size <= STRIPE_NAME_MAX_BYTES && stream_find_name(s, name) == NULL;
    if (!is) {
        return false;
    }
    struct stream *stream = stream_make(id, flags, name);
    stream->start         = start;
    stream->held          = start;
    stream->next          = next;
    stream->epoch         = epoch;
    stream->owner         = owner;
    stream_insert(s, stream);
    is = (flags & STREAM_LATEST) != 0 ? load_latest(stream, moved, r) : load_positions(stream, moved, r);
    if (!is || (version >= IMAGE_VERSION_KEEPS && !load_keeping(s, stream, r))) {
        return false;
    }
    uint32_t cursors = wire_get_u32(r);
    uint32_t last    = 0;
    for (uint32_t i = 0; i < cursors; i++) {
        if (!load_cursor(stream, &last, i == 0, r)) {
            return false;
        }
    }
    return !r->bad;
}

static bool load_streams(struct stripe *s, uint16_t version, const struct stripe_moved *moved, struct wire_reader *r)
{
    for (uint64_t count = wire_get_u64(r); count != 0; count--) {
        if (!load_stream(s, version, moved, r)) {
            return false;
        }
    }
    return !r->bad;
}

static int by_writer(const void *a, const void *b)
{
    const struct writer *const *left  = a;
    const struct writer *const *right = b;
    return (*left)->id < (*right)->id ? -1 : (*left)->id > (*right)->id;
}

static bool load_writers(struct stripe *s, struct wire_reader *r)
{
    for (uint32_t count = wire_get_u32(r); count != 0 && !r->bad; count--) {
        struct writer *writer = writer_make(wire_get_u64(r));
        writer->epoch         = wire_get_u64(r);
        writer->sequence      = wire_get_u64(r);
        writer->offset        = wire_get_u64(r);
        writer_insert_last(s, writer);
    }
    void **writers = image_sorted(&s->writers, by_writer);
    for (size_t i = 1; i < s->writers.count; i++) {
        r->bad = r->bad || by_writer(&writers[i - 1], &writers[i]) == 0;
    }
    free(writers);
    return !r->bad;
}

static bool load_tables(struct stripe *s, struct wire_reader *r)
{
    uint32_t     last_table = 0;
    struct bytes last_key   = bytes_of(NULL, 0);
    bool         first      = true;
    for (uint64_t count = wire_get_u64(r); count != 0; count--) {
        uint32_t     table   = wire_get_u32(r);
        struct bytes key     = wire_get_blob(r);
        struct bytes value   = wire_get_blob(r);
        uint64_t     version = wire_get_u64(r);
        uint64_t     expires = wire_get_u64(r);
        bool         behind  = first || table > last_table || (table == last_table && bytes_compare(key, last_key) > 0);
        if (r->bad || !behind || version == 0 || version > s->counters.version) {
            return false;
        }
        table_load_item(s, table, key, value, version, expires);
        last_table = table;
        last_key   = key;
        first      = false;
    }
    return !r->bad;
}

static bool action_is_ops(struct bytes action)
{
    struct wire_reader r = wire_reader_of(action);
    struct op          op;
    int                got;
    while ((got = op_next(&r, &op)) > 0) {
        if (op.kind == OP_TIMER_SET || op.kind == OP_TIMER_FIRE || op.kind == OP_LIMITS) {
            return false;
        }
    }
    return got == 0;
}

static struct deadline *load_deadline(const struct stripe *s, struct wire_reader *r)
{
    uint64_t     order    = wire_get_u64(r);
    struct bytes key      = wire_get_blob(r);
    uint64_t     owner    = wire_get_u64(r);
    uint64_t     delay    = wire_get_u64(r);
    uint64_t     due      = wire_get_u64(r);
    struct bytes action   = wire_get_blob(r);
    uint64_t     position = wire_get_u64(r);
    bool is = !r->bad && order != 0 && order <= s->counters.version && (owner == 0 || due == 0) && due != UINT64_MAX &&
              action_is_ops(action);
    if (!is) {
        return NULL;
    }
    struct deadline *timer = deadline_make(key, action);
    timer->node.order      = order;
    timer->node.due_ns     = due;
    timer->owner           = owner;
    timer->delay_ns        = delay;
    timer->action_position = position;
    return timer;
}

/* What an action appends lies in one entry, and so do their copies: all are moved by the same distance, and with them the action. */
struct moving {
    const struct stripe_moved *moved;
    uint64_t                   by;
    bool                       any;
    bool                       is;
};

static void move_one(void *ctx, uint64_t position)
{
    struct moving *moving = ctx;
    uint64_t       to;
    if (!moving->moved->position(moving->moved->ctx, position, &to) || (moving->any && to - position != moving->by)) {
        moving->is = false;
        return;
    }
    moving->by  = to - position;
    moving->any = true;
}

static bool move_action(struct deadline *timer, const struct stripe_moved *moved)
{
    struct moving moving = {.moved = moved, .is = true};
    deadline_positions(timer, move_one, &moving);
    timer->action_position =
        moving.any ? timer->action_position + moving.by : 0; /* one that appends nothing lies nowhere */
    return moving.is;
}

/* Entered in the order they were set: timers of one owner keep it. */
static bool enter_deadlines(struct stripe *s, struct deadline **timers, uint64_t count)
{
    bool is = true;
    if (count != 0) {
        qsort(timers, count, sizeof(void *), image_by_order);
    }
    for (uint64_t i = 0; i < count; i++) {
        is = is && (i == 0 || timers[i]->node.order > timers[i - 1]->node.order) &&
             deadline_find(s, deadline_key(timers[i])) == NULL;
        if (is) {
            deadline_insert(s, timers[i]);
        } else {
            free(timers[i]);
        }
    }
    return is;
}

static bool load_deadlines(struct stripe *s, const struct stripe_moved *moved, struct wire_reader *r)
{
    enum { TIMER_MIN_BYTES = 40 };
    uint64_t wanted = wire_get_u64(r);
    if (r->bad || wanted > wire_left(r) / TIMER_MIN_BYTES) {
        return false;
    }
    struct deadline **timers = malloc((wanted + 1) * sizeof(void *));
    ASSERT(timers != NULL); /* out of memory */
    uint64_t count = 0;
    bool     all   = true;
    while (count < wanted && all && (timers[count] = load_deadline(s, r)) != NULL) {
        all = moved == NULL || move_action(timers[count], moved);
        count++;
    }
    bool is = enter_deadlines(s, timers, count) && all && count == wanted;
    free(timers);
    return is;
}

static bool version_known(uint16_t version)
{
    return version >= IMAGE_VERSION_SORTED && version <= IMAGE_VERSION;
}

int stripe_load(struct stripe *s, struct bytes image, const struct stripe_moved *moved)
{
    ASSERT(s->applied == 0 && s->streams_by_id.count == 0 && s->items.count == 0);
    if (image.size < IMAGE_CHECKSUM_BYTES) {
        return ERR_MALFORMED;
    }
    uint64_t checksum = 0;
    memcpy(&checksum, image.data + image.size - IMAGE_CHECKSUM_BYTES, sizeof checksum);
    image.size -= IMAGE_CHECKSUM_BYTES;
    struct wire_reader r       = wire_reader_of(image);
    bool               is      = checksum == hash_bytes(image) && wire_get_u32(&r) == IMAGE_MAGIC;
    uint16_t           version = wire_get_u16(&r);
    if (!is || !version_known(version) || wire_get_u16(&r) != s->id) {
        return ERR_MALFORMED;
    }
    s->applied                 = wire_get_u64(&r);
    s->time_ns                 = wire_get_u64(&r);
    s->counters.next_local     = wire_get_u64(&r);
    s->counters.version        = wire_get_u64(&r);
    s->counters.actions_failed = wire_get_u64(&r);
    is = s->counters.next_local != 0 && (version < IMAGE_VERSION || limits_read(&r, &s->limits)) &&
         load_streams(s, version, moved, &r) && load_writers(s, &r) && load_tables(s, &r) &&
         load_deadlines(s, moved, &r) && wire_left(&r) == 0;
    if (!is) {
        return ERR_MALFORMED;
    }
    if (s->observer.retained != NULL) { /* all is known to be well: the log learns what it must keep */
        stripe_live_positions(s, s->observer.retained, s->observer.ctx);
    }
    return 0;
}
