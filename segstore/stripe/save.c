/* save.c - the whole state as bytes, in an order that does not depend on how it came to be; and back.
 *
 *   magic u32 | version u16 | stripe u16 | applied u64 | time_ns u64 | next_local u64 | table version u64 | actions_failed u64
 *   streams:  count u64, by id:    id u64, flags u8, start u64, next u64, epoch u64, owner u64, name blob, (next - start) x position u64
 *                                  (but with STREAM_LATEST: count u64, by offset: offset u64, position u64, time_ns u64, record bytes u32, topic blob),
 *                                  kept u8, when 1: max_age_ns u64, max_bytes u64, max_count u64, bytes u64, mark count u32, marks (keep.h) x 4 u64,
 *                                  cursor count u32, by id: id u32, position u64, sent u64, range count u32, ranges (op.h)
 *   writers:  count u32, the one unused for longest first: id u64, epoch u64, sequence u64, offset u64
 *   tables:   count u64 of items, by table and key: table u32, key blob, value blob, version u64, expires_wall_ns u64
 *   timers:   count u64, in the order they were set: order u64, key blob, owner u64, delay_ns u64, due_ns u64, action blob, position u64
 *   XXH3-64 of all before it
 * Version 2 had no `kept` and no STREAM_LATEST; it is still read. */
#include "segstore/stripe/state.h"

#include "shared/base/err.h"
#include "shared/base/hash.h"

#include <stdlib.h>

enum { IMAGE_MAGIC = 0x5254534b, IMAGE_VERSION = 3, CHECKSUM_BYTES = 8 };

static int by_id(const void *a, const void *b)
{
    const struct stream *const *left  = a;
    const struct stream *const *right = b;
    return (*left)->id < (*right)->id ? -1 : (*left)->id > (*right)->id;
}

static int by_order(const void *a, const void *b)
{
    const struct deadline *const *left  = a;
    const struct deadline *const *right = b;
    return (*left)->node.order < (*right)->node.order ? -1 : (*left)->node.order > (*right)->node.order;
}

/* The entries of a map as an array in order; the caller frees it. */
static void **sorted(const struct map *map, int (*compare)(const void *, const void *))
{
    void **entries = malloc((map->count + 1) * sizeof(void *));
    ASSERT(entries != NULL);
    size_t count = 0;
    MAP_EACH(map, void, entry)
    {
        entries[count++] = entry;
    }
    ASSERT(count == map->count);
    qsort(entries, count, sizeof(void *), compare);
    return entries;
}

static void save_cursor(const struct cursor *cursor, struct wire_writer *w)
{
    wire_put_u32(w, cursor->id);
    wire_put_u64(w, cursor->position);
    wire_put_u64(w, cursor->sent);
    wire_put_u32(w, cursor->range_count);
    for (uint32_t i = 0; i < cursor->range_count; i++) {
        op_range_append(w, cursor->ranges[i]);
    }
}

static void save_latest(const struct latest *latest, bool place, struct wire_writer *w)
{
    wire_put_u64(w, latest->topics.count);
    for (const struct slot *slot = latest_from(latest, 0); slot != NULL; slot = latest_after(latest, slot)) {
        wire_put_u64(w, slot->offset);
        wire_put_u64(w, place ? slot->position : 0);
        wire_put_u64(w, slot->topic->time_ns);
        wire_put_u32(w, slot->topic->record_bytes);
        wire_put_blob(w, bytes_of(slot->topic->name, slot->topic->name_size));
    }
}

static void save_keeping(const struct keeping *keeping, struct wire_writer *w)
{
    wire_put_u8(w, keeping != NULL);
    if (keeping == NULL) {
        return;
    }
    wire_put_u64(w, keeping->limits.max_age_ns);
    wire_put_u64(w, keeping->limits.max_bytes);
    wire_put_u64(w, keeping->limits.max_count);
    wire_put_u64(w, keeping->bytes);
    wire_put_u32(w, keeping->mark_count - keeping->mark_first);
    for (uint32_t i = keeping->mark_first; i < keeping->mark_count; i++) {
        wire_put_u64(w, keeping->marks[i].offset);
        wire_put_u64(w, keeping->marks[i].first_ns);
        wire_put_u64(w, keeping->marks[i].last_ns);
        wire_put_u64(w, keeping->marks[i].bytes);
    }
}

/* place: positions as they are; else only whether they are needed still, which is the same on every replica. */
static void save_stream(const struct stream *stream, bool place, struct wire_writer *w)
{
    wire_put_u64(w, stream->id);
    wire_put_u8(w, stream->flags);
    wire_put_u64(w, stream->start);
    wire_put_u64(w, stream->next);
    wire_put_u64(w, stream->epoch);
    wire_put_u64(w, stream->owner);
    wire_put_blob(w, bytes_of(stream->name, stream->name_size));
    if ((stream->flags & STREAM_LATEST) != 0) {
        save_latest(stream->keeping->latest, place, w);
    } else {
        for (uint64_t offset = stream->start; offset < stream->next; offset++) {
            uint64_t position = *offsets_slot(&stream->offsets, offset);
            wire_put_u64(w, place || position == UINT64_MAX ? position : 0);
        }
    }
    save_keeping(stream->keeping, w);
    uint32_t cursors = 0;
    for (const struct cursor *c = stream->cursors; c != NULL; c = c->next) {
        cursors++;
    }
    wire_put_u32(w, cursors);
    for (const struct cursor *c = stream->cursors; c != NULL; c = c->next) {
        save_cursor(c, w);
    }
}

static void save_streams(const struct stripe *s, bool place, struct wire_writer *w)
{
    void **streams = sorted(&s->streams_by_id, by_id);
    wire_put_u64(w, s->streams_by_id.count);
    for (size_t i = 0; i < s->streams_by_id.count; i++) {
        save_stream(streams[i], place, w);
    }
    free(streams);
}

static void save_writers(const struct stripe *s, struct wire_writer *w)
{
    wire_put_u32(w, (uint32_t)s->writers.count);
    LIST_EACH (&s->writers_by_use, link) {
        const struct writer *writer = CONTAINER_OF(link, struct writer, link);
        wire_put_u64(w, writer->id);
        wire_put_u64(w, writer->epoch);
        wire_put_u64(w, writer->sequence);
        wire_put_u64(w, writer->offset);
    }
}

static void save_tables(const struct stripe *s, struct wire_writer *w)
{
    wire_put_u64(w, s->items.count);
    for (const struct table *table = s->tables; table != NULL; table = table->following) {
        for (const struct item *item = table->first[0]; item != NULL; item = item->next[0]) {
            wire_put_u32(w, table->id);
            wire_put_blob(w, item_key(item));
            wire_put_blob(w, bytes_of(item->value->data, item->value->size));
            wire_put_u64(w, item->value->version);
            wire_put_u64(w, item->value->expires_wall_ns);
        }
    }
}

static void save_deadlines(const struct stripe *s, bool place, struct wire_writer *w)
{
    void **timers = sorted(&s->deadlines, by_order);
    wire_put_u64(w, s->deadlines.count);
    for (size_t i = 0; i < s->deadlines.count; i++) {
        const struct deadline *timer = timers[i];
        wire_put_u64(w, timer->node.order);
        wire_put_blob(w, deadline_key(timer));
        wire_put_u64(w, timer->owner);
        wire_put_u64(w, timer->delay_ns);
        wire_put_u64(w, timer->node.due_ns);
        wire_put_blob(w, deadline_action(timer));
        wire_put_u64(w, place ? timer->action_position : 0);
    }
    free(timers);
}

static void save(const struct stripe *s, bool place, struct wire_writer *w)
{
    size_t begun = w->size;
    wire_put_u32(w, IMAGE_MAGIC);
    wire_put_u16(w, IMAGE_VERSION);
    wire_put_u16(w, s->id);
    wire_put_u64(w, s->applied);
    wire_put_u64(w, s->time_ns);
    wire_put_u64(w, s->counters.next_local);
    wire_put_u64(w, s->counters.version);
    wire_put_u64(w, s->counters.actions_failed);
    save_streams(s, place, w);
    save_writers(s, w);
    save_tables(s, w);
    save_deadlines(s, place, w);
    wire_put_u64(w, w->bad ? 0 : hash_bytes(bytes_of(w->data + begun, w->size - begun)));
}

void stripe_save(const struct stripe *s, struct wire_writer *w)
{
    save(s, true, w);
}

uint64_t stripe_hash(const struct stripe *s)
{
    struct wire_writer w = wire_writer_growing(SIZE_MAX / 4);
    save(s, false, &w);
    ASSERT(!w.bad);
    uint64_t hash = hash_bytes(wire_written(&w));
    wire_writer_fini(&w);
    return hash;
}

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

static bool load_latest(struct stream *stream, struct wire_reader *r)
{
    uint64_t from = stream->start;
    for (uint64_t count = wire_get_u64(r); count != 0 && !r->bad; count--) {
        uint64_t     offset   = wire_get_u64(r);
        uint64_t     position = wire_get_u64(r);
        uint64_t     time_ns  = wire_get_u64(r);
        uint32_t     bytes    = wire_get_u32(r);
        struct bytes topic    = wire_get_blob(r);
        if (r->bad || offset < from || offset >= stream->next || position == UINT64_MAX ||
            !latest_load(stream->keeping->latest, topic, offset, position, time_ns, bytes)) {
            return false;
        }
        from = offset + 1;
    }
    return !r->bad;
}

static bool load_positions(struct stream *stream, struct wire_reader *r)
{
    uint64_t next = stream->next;
    if (next - stream->start > wire_left(r) / 8) {
        return false;
    }
    for (stream->next = stream->start; stream->next < next; stream->next++) {
        if (!offsets_fits(&stream->offsets, stream->start, stream->next)) {
            offsets_grow(&stream->offsets, stream->start, stream->next);
        }
        *offsets_slot(&stream->offsets, stream->next) = wire_get_u64(r);
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

static bool load_stream(struct stripe *s, uint64_t *last_id, uint16_t version, struct wire_reader *r)
{
    uint64_t     id    = wire_get_u64(r);
    uint8_t      flags = wire_get_u8(r);
    uint64_t     start = wire_get_u64(r);
    uint64_t     next  = wire_get_u64(r);
    uint64_t     epoch = wire_get_u64(r);
    uint64_t     owner = wire_get_u64(r);
    struct bytes name  = wire_get_blob(r);
    uint64_t     local = id & 0xffffffffffffu;
    bool         is    = !r->bad && id > *last_id && stream_id_stripe(id) == s->id && local != 0 &&
              local < s->counters.next_local && flags <= (version == 2 ? STREAM_QUEUE : STREAM_LATEST) &&
              start <= next && next != UINT64_MAX && name.size <= STRIPE_NAME_MAX_BYTES &&
              stream_find_name(s, name) == NULL;
    if (!is) {
        return false;
    }
    *last_id              = id;
    struct stream *stream = stream_make(id, flags, name);
    stream->start         = start;
    stream->held          = start;
    stream->next          = next;
    stream->epoch         = epoch;
    stream->owner         = owner;
    stream_insert(s, stream);
    is = (flags & STREAM_LATEST) != 0 ? load_latest(stream, r) : load_positions(stream, r);
    if (!is || (version > 2 && !load_keeping(s, stream, r))) {
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

static bool load_streams(struct stripe *s, uint16_t version, struct wire_reader *r)
{
    uint64_t last = 0;
    for (uint64_t count = wire_get_u64(r); count != 0; count--) {
        if (!load_stream(s, &last, version, r)) {
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
    void **writers = sorted(&s->writers, by_writer);
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
        if (op.kind == OP_TIMER_SET || op.kind == OP_TIMER_FIRE) {
            return false;
        }
    }
    return got == 0;
}

static bool load_deadlines(struct stripe *s, struct wire_reader *r)
{
    uint64_t last_order = 0;
    for (uint64_t count = wire_get_u64(r); count != 0; count--) {
        uint64_t     order    = wire_get_u64(r);
        struct bytes key      = wire_get_blob(r);
        uint64_t     owner    = wire_get_u64(r);
        uint64_t     delay    = wire_get_u64(r);
        uint64_t     due      = wire_get_u64(r);
        struct bytes action   = wire_get_blob(r);
        uint64_t     position = wire_get_u64(r);
        bool         is = !r->bad && order > last_order && order <= s->counters.version && (owner == 0 || due == 0) &&
                  due != UINT64_MAX && deadline_find(s, key) == NULL && action_is_ops(action);
        if (!is) {
            return false;
        }
        struct deadline *timer = deadline_make(key, action);
        timer->node.order      = order;
        timer->node.due_ns     = due;
        timer->owner           = owner;
        timer->delay_ns        = delay;
        timer->action_position = position;
        deadline_insert(s, timer);
        last_order = order;
    }
    return !r->bad;
}

/* The log learns what it must keep, once all is known to be well. */
static void tell_retained(struct stripe *s)
{
    if (s->observer.retained == NULL) {
        return;
    }
    MAP_EACH(&s->streams_by_id, struct stream, stream)
    {
        if ((stream->flags & STREAM_LATEST) != 0) {
            const struct latest *latest = stream->keeping->latest;
            for (const struct slot *slot = latest_from(latest, 0); slot != NULL; slot = latest_after(latest, slot)) {
                s->observer.retained(s->observer.ctx, slot->position);
            }
            continue;
        }
        for (uint64_t offset = stream->start; offset < stream->next; offset++) {
            uint64_t position = *offsets_slot(&stream->offsets, offset);
            if (position != UINT64_MAX) {
                s->observer.retained(s->observer.ctx, position);
            }
        }
    }
    MAP_EACH(&s->deadlines, struct deadline, timer)
    {
        deadline_positions(timer, s->observer.retained, s->observer.ctx);
    }
}

int stripe_load(struct stripe *s, struct bytes image)
{
    ASSERT(s->applied == 0 && s->streams_by_id.count == 0 && s->items.count == 0);
    if (image.size < CHECKSUM_BYTES) {
        return ERR_MALFORMED;
    }
    uint64_t checksum = 0;
    memcpy(&checksum, image.data + image.size - CHECKSUM_BYTES, sizeof checksum);
    image.size -= CHECKSUM_BYTES;
    struct wire_reader r       = wire_reader_of(image);
    bool               is      = checksum == hash_bytes(image) && wire_get_u32(&r) == IMAGE_MAGIC;
    uint16_t           version = wire_get_u16(&r);
    if (!is || version < 2 || version > IMAGE_VERSION || wire_get_u16(&r) != s->id) {
        return ERR_MALFORMED;
    }
    s->applied                 = wire_get_u64(&r);
    s->time_ns                 = wire_get_u64(&r);
    s->counters.next_local     = wire_get_u64(&r);
    s->counters.version        = wire_get_u64(&r);
    s->counters.actions_failed = wire_get_u64(&r);
    is = s->counters.next_local != 0 && load_streams(s, version, &r) && load_writers(s, &r) && load_tables(s, &r) &&
         load_deadlines(s, &r) && wire_left(&r) == 0;
    if (!is) {
        return ERR_MALFORMED;
    }
    tell_retained(s);
    return 0;
}
