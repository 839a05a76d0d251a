/* stream.c - streams by id and by name; append, trim, fence; which positions are still needed. */
#include "segstore/stripe/state.h"

#include "shared/base/err.h"
#include "shared/base/hash.h"
#include "shared/record/record.h"

#include <stdlib.h>

/* They are given one by one: multiples of the golden ratio lie further apart than chance would have them, so hardly one has to make way for another. */
static uint64_t hash_local(uint64_t local)
{
    return local * 0x9e3779b97f4a7c15u;
}

static uint64_t hash_id(const void *entry)
{
    return hash_local(((const struct stream *)entry)->local);
}

struct bytes stream_name(const struct stream *stream)
{
    if (LIKELY(stream->name_size != STREAM_NAME_LONG)) {
        return bytes_of(stream->name, stream->name_size);
    }
    uint16_t size;
    memcpy(&size, stream->name, sizeof size);
    return bytes_of(stream->name + sizeof size, size);
}

static uint64_t hash_name(const void *entry)
{
    return hash_bytes(stream_name(entry));
}

void streams_init(struct stripe *s)
{
    map_init_dense(&s->streams_by_id, hash_id);
    map_init_dense(&s->streams_by_name, hash_name);
    list_init(&s->counting);
}

static void stream_free(struct stream *stream)
{
    struct cursor **cursors = stream_cursors(stream);
    while (*cursors != NULL) {
        struct cursor *cursor = *cursors;
        *cursors              = cursor->next;
        cursor_free(cursor);
    }
    offsets_fini(&stream->offsets, stream->shape);
    keeping_free(stream_keeping(stream));
    free(stream);
}

static void leave_heap(struct stripe *s, struct stream *stream)
{
    if (stream->keeps) {
        heap_remove(&s->aging, &stream->keeping->node);
    }
}

void stream_clear(struct stripe *s, struct stream *stream)
{
    leave_heap(s, stream);
    stream_free(stream);
}

void streams_fini(struct stripe *s)
{
    map_fini(&s->streams_by_id);
    map_fini(&s->streams_by_name);
    heap_fini(&s->aging);
    free(s->trims);
}

static bool is_local(const void *entry, const void *local)
{
    return ((const struct stream *)entry)->local == *(const uint64_t *)local;
}

struct stream *stream_find(const struct stripe *s, uint64_t id)
{
    uint64_t local = id ^ (uint64_t)s->id << STREAM_LOCAL_BITS; /* of another stripe: no stream has it */
    return map_find(&s->streams_by_id, hash_local(local), is_local, &local);
}

static bool is_named(const void *entry, const void *name)
{
    return bytes_equal(stream_name(entry), *(const struct bytes *)name);
}

struct stream *stream_find_name(const struct stripe *s, struct bytes name)
{
    return map_find(&s->streams_by_name, hash_bytes(name), is_named, &name);
}

struct stream *stream_make(uint64_t id, uint8_t flags, struct bytes name)
{
    ASSERT(name.size <= STRIPE_NAME_MAX_BYTES);
    uint16_t       size    = (uint16_t)name.size;
    bool           is_long = size >= STREAM_NAME_LONG;
    struct stream *stream  = malloc(sizeof *stream + (is_long ? sizeof size : 0) + size);
    ASSERT(stream != NULL);
    *stream = (struct stream){.local     = id & ((1ull << STREAM_LOCAL_BITS) - 1),
                              .flags     = flags & 3u,
                              .name_size = (is_long ? STREAM_NAME_LONG : size) & 255u};
    if (is_long) {
        memcpy(stream->name, &size, sizeof size);
    }
    if (size != 0) {
        memcpy(stream->name + (is_long ? sizeof size : 0), name.data, size);
    }
    if ((flags & STREAM_LATEST) != 0) {
        stream_keep(stream, keeping_new(stream, true));
    }
    return stream;
}

void stream_keep(struct stream *stream, struct keeping *keeping)
{
    ASSERT(!stream->keeps);
    keeping->cursors = stream->cursors;
    stream->keeping  = keeping;
    stream->keeps    = true;
}

void stream_keep_not(struct stream *stream)
{
    ASSERT(stream->keeps);
    stream->keeps   = false;
    stream->cursors = stream->keeping->cursors;
}

void stream_insert(struct stripe *s, struct stream *stream)
{
    map_insert(&s->streams_by_id, stream);
    map_insert(&s->streams_by_name, stream);
}

static void take_out(struct stripe *s, struct stream *stream)
{
    map_remove(&s->streams_by_id, stream);
    map_remove(&s->streams_by_name, stream);
}

static void undo_create(struct stripe *s, const struct change *change)
{
    take_out(s, change->subject);
    stream_free(change->subject);
}

int stream_create(struct stripe *s, struct ops_context *context, const struct op *op, struct wire_writer *results)
{
    struct stream *stream  = stream_find_name(s, op->name);
    bool           created = stream == NULL;
    if (created) {
        if (s->streams_by_id.count >= s->limits.streams_max) {
            return ERR_QUOTA;
        }
        if (op->name.size > STRIPE_NAME_MAX_BYTES) {
            return ERR_TOO_BIG;
        }
        stream        = stream_make((uint64_t)s->id << 48 | s->counters.next_local++, op->flags, op->name);
        stream->owner = op->owner;
        stream_insert(s, stream);
        *journal_add(&s->journal) = (struct change){.undo = undo_create, .subject = stream};
    }
    context->last_stream = stream_id(s, stream);
    wire_put_u64(results, stream_id(s, stream));
    wire_put_u8(results, created || (op->owner != 0 && stream->owner == op->owner));
    wire_put_u64(results, stream->start);
    wire_put_u64(results, stream->next);
    wire_put_u64(results, stream->epoch);
    return 0;
}

/* Tells of positions in [from, to) that are needed no longer. */
static void released(struct stripe *s, struct stream *stream, uint64_t from, uint64_t to)
{
    if (stream_latest(stream) != NULL) {
        return; /* latest.c tells */
    }
    for (uint64_t offset = from; offset < to; offset++) {
        uint64_t *slot = stream_slot(stream, offset);
        if (*slot != UINT64_MAX && s->observer.released != NULL) {
            s->observer.released(s->observer.ctx, *slot);
        }
        *slot = UINT64_MAX;
    }
}

static void released_latest(const struct stripe *s, const struct latest *latest)
{
    const struct slot *slot = latest == NULL ? NULL : latest_from(latest, 0);
    for (; slot != NULL && s->observer.released != NULL; slot = latest_after(latest, slot)) {
        s->observer.released(s->observer.ctx, slot->position);
    }
}

static void undo_delete(struct stripe *s, const struct change *change)
{
    stream_insert(s, change->subject);
}

static void commit_delete(struct stripe *s, const struct change *change)
{
    struct stream *stream = change->subject;
    leave_heap(s, stream);
    released(s, stream, stream->start, stream->next);
    released_latest(s, stream_latest(stream));
    if (s->live && s->observer.ended != NULL) {
        s->observer.ended(s->observer.ctx, stream_id(s, stream), UINT64_MAX, ERR_NOT_FOUND);
    }
    stream_free(stream);
}

int stream_delete(struct stripe *s, const struct op *op)
{
    struct stream *stream = stream_find_name(s, op->name);
    if (stream != NULL) {
        take_out(s, stream);
        *journal_add(&s->journal) = (struct change){.undo = undo_delete, .commit = commit_delete, .subject = stream};
    }
    return 0;
}

static void undo_fence(struct stripe *s, const struct change *change)
{
    (void)s;
    ((struct stream *)change->subject)->epoch = change->x;
}

static void commit_fence(struct stripe *s, const struct change *change)
{
    const struct stream *stream = change->subject;
    if (s->live && s->observer.ended != NULL) {
        s->observer.ended(s->observer.ctx, stream_id(s, stream), change->y, ERR_FENCED);
    }
}

int stream_fence(struct stripe *s, struct stream *stream, const struct op *op, struct wire_writer *results)
{
    uint64_t epoch = op->epoch != 0 ? op->epoch : stream->epoch + 1;
    if (epoch < stream->epoch) {
        return ERR_FENCED;
    }
    if (epoch > stream->epoch) {
        *journal_add(&s->journal) = (struct change){
            .undo = undo_fence, .commit = commit_fence, .subject = stream, .x = stream->epoch, .y = epoch};
        stream->epoch = epoch;
    }
    wire_put_u64(results, epoch);
    return 0;
}

static void undo_append(struct stripe *s, const struct change *change)
{
    (void)s;
    ((struct stream *)change->subject)->next--;
}

static void commit_append(struct stripe *s, const struct change *change)
{
    if (s->observer.retained != NULL) {
        s->observer.retained(s->observer.ctx, change->y);
    }
    if (s->live && s->observer.appended != NULL) {
        struct op_target target;
        struct bytes     record;
        int64_t          size = op_target_at(bytes_of(change->other, change->z), &target, &record);
        ASSERT(size > 0 && (uint64_t)size <= change->z);
        const struct stream *stream = change->subject;
        s->observer.appended(s->observer.ctx, stream_id(s, stream), change->x, target.tag, record);
    }
}

/* Of one with room_below records or more. */
static bool has_room(struct stripe *s, struct stream *stream, uint64_t record_bytes)
{
    uint64_t limit = s->limits.stream_records_max;
    bool     queue = (stream->flags & STREAM_QUEUE) != 0;
    if (stream->keeps && !queue) { /* it makes room by itself */
        return true;
    }
    if (limit != 0 && stream->next - stream->start >= limit) {
        return false;
    }
    return !queue || keep_has_room(s, stream, record_bytes);
}

bool stream_put(struct stripe *s, struct stream *stream, struct bytes record, const struct op_target *target,
                uint64_t position)
{
    if (UNLIKELY(stream->next - stream->start >= s->room_below) && !has_room(s, stream, record.size)) {
        return false;
    }
    uint64_t held = 0;
    if (UNLIKELY(stream_latest(stream) != NULL)) {
        held = stream_latest(stream)->topics.count;
        latest_append(s, stream, record_topic(record), record.size, position);
    } else {
        stream_put_position(stream, stream_held(s, stream), position);
    }
    const uint8_t *end        = record.data + record.size;
    *journal_add(&s->journal) = (struct change){.undo    = undo_append,
                                                .commit  = commit_append,
                                                .subject = stream,
                                                .other   = (void *)(uintptr_t)target->at,
                                                .x       = stream->next,
                                                .y       = position,
                                                .z       = (uint64_t)(end - target->at)};
    stream->next++;
    if (UNLIKELY(stream->keeps)) {
        keep_appended(s, stream, record.size, held);
    }
    return true;
}

static void duplicate_results(const struct op *op, uint64_t offset, struct wire_writer *results)
{
    wire_put_u8(results, 1);
    wire_put_u32(results, op->count);
    for (uint32_t i = 0; i < op->count; i++) {
        wire_put_u64(results, op->count == 1 ? offset : OP_OFFSET_NONE);
    }
}

int stream_append(struct stripe *s, const struct ops_context *context, const struct op *op, struct wire_writer *results)
{
    struct writer *writer = NULL;
    uint64_t       offset = OP_OFFSET_NONE;
    if (op->writer_id != 0) {
        int admitted = writer_admit(s, op, &writer, &offset);
        if (admitted <= 0) {
            if (admitted == 0) {
                duplicate_results(op, offset, results);
            }
            return admitted;
        }
    }
    wire_put_u8(results, 0);
    wire_put_u32(results, op->count);
    struct wire_reader items = wire_reader_of(op->items);
    struct op_target   target;
    uint32_t           taken = 0;
    uint32_t           full  = 0;
    while (op_target_next(&items, &target)) {
        uint64_t       id     = target.stream_id == OP_STREAM_LAST ? context->last_stream : target.stream_id;
        struct stream *stream = stream_find(s, id);
        offset                = OP_OFFSET_NONE;
        if (stream != NULL) {
            if (stream_put(s, stream, op->record, &target, context_position(context, target.at))) {
                offset = stream->next - 1;
                taken++;
            } else {
                full++;
            }
        }
        wire_put_u64(results, offset);
    }
    if (taken == 0 && full != 0) {
        return ERR_QUOTA;
    }
    if (writer != NULL) {
        writer->offset = op->count == 1 ? offset : OP_OFFSET_NONE;
    }
    return 0;
}

/* ---- trimming ---- */

uint64_t stream_held_trimmed(struct stripe *s, const struct stream *stream)
{
    while (s->trims[s->trim_hint].stream != stream) { /* most ask for the one they asked for before, or the next */
        s->trim_hint = s->trim_hint + 1 < s->trim_count ? s->trim_hint + 1 : 0;
    }
    return s->trims[s->trim_hint].held;
}

static void note_trimmed(struct stripe *s, struct stream *stream)
{
    if (s->trim_count == s->trim_capacity) {
        s->trim_capacity = s->trim_capacity == 0 ? 16 : s->trim_capacity * 2;
        s->trims         = realloc(s->trims, s->trim_capacity * sizeof *s->trims);
        ASSERT_MEMORY(s->trims != NULL);
    }
    s->trims[s->trim_count++] = (struct trimmed){stream, stream->start};
    stream->trimmed           = true;
}

void streams_settled(struct stripe *s)
{
    enum { KEPT_TRIMS = 1024 };
    s->trim_count = 0;
    s->trim_hint  = 0;
    if (s->trim_capacity > KEPT_TRIMS) {
        free(s->trims);
        s->trims         = NULL;
        s->trim_capacity = 0;
    }
}

static void undo_trim(struct stripe *s, const struct change *change)
{
    struct stream *stream = change->subject;
    stream->start         = change->x;
    if (change->z != 0) { /* the first of this transaction, so the last to be noted of those that are left */
        ASSERT(s->trims[s->trim_count - 1].stream == stream);
        stream->trimmed = false;
        s->trim_count--;
        s->trim_hint = 0;
    }
}

static void commit_trim(struct stripe *s, const struct change *change)
{
    struct stream *stream = change->subject;
    released(s, stream, change->x, change->y);
    if (stream->shape != OFFSETS_ONE) { /* else there is nothing to give back, or it keeps no offsets */
        stream->shape = offsets_drop(&stream->offsets, stream->shape, change->x, change->y, stream->next) & 15;
    }
    stream->trimmed = false;
    if (stream->keeps) {
        keep_trimmed(s, stream);
    }
}

void stream_trim(struct stripe *s, struct stream *stream, uint64_t offset)
{
    offset = offset < stream->next ? offset : stream->next;
    if (offset <= stream->start) {
        return;
    }
    bool first = !stream->trimmed;
    if (first) {
        note_trimmed(s, stream);
    }
    *journal_add(&s->journal) = (struct change){
        .undo = undo_trim, .commit = commit_trim, .subject = stream, .x = stream->start, .y = offset, .z = first};
    stream->start = offset;
    if (stream_latest(stream) != NULL) {
        latest_trim(s, stream, offset);
    }
    for (struct cursor *cursor = stream_cursor(stream); cursor != NULL; cursor = cursor->next) {
        if (cursor->position < offset) {
            cursor_raise(s, stream, cursor, offset);
        }
    }
}

static void undo_nothing(struct stripe *s, const struct change *change)
{
    (void)s;
    (void)change;
}

/* What was trimmed before it is committed before it, so the range still lies behind what is known. */
static void commit_release(struct stripe *s, const struct change *change)
{
    released(s, change->subject, change->x, change->y + 1);
}

void stream_release(struct stripe *s, struct stream *stream, uint64_t first, uint64_t last)
{
    ASSERT(first <= last && last < stream->next);
    *journal_add(&s->journal) =
        (struct change){.undo = undo_nothing, .commit = commit_release, .subject = stream, .x = first, .y = last};
}

int stripe_stream(const struct stripe *s, uint64_t stream_id, struct stripe_stream *out)
{
    const struct stream *stream = stream_find(s, stream_id);
    if (stream == NULL) {
        return ERR_NOT_FOUND;
    }
    *out = (struct stripe_stream){
        .start_offset = stream->start, .next_offset = stream->next, .epoch = stream->epoch, .flags = stream->flags};
    return 0;
}

int stripe_positions(const struct stripe *s, uint64_t stream_id, uint64_t from, uint64_t *positions, int max,
                     uint64_t *out_first)
{
    const struct stream *stream = stream_find(s, stream_id);
    if (stream == NULL) {
        return ERR_NOT_FOUND;
    }
    uint64_t offset = from > stream->start ? from : stream->start;
    int      count  = 0;
    *out_first      = offset;
    if (stream_latest(stream) != NULL) {
        const struct slot *slot = latest_from(stream_latest(stream), offset);
        *out_first              = slot != NULL ? slot->offset : offset;
        for (; slot != NULL && count < max && slot->offset == *out_first + (uint64_t)count;
             slot = latest_after(stream_latest(stream), slot)) {
            positions[count++] = slot->position;
        }
        return count;
    }
    while (offset < stream->next && count < max) {
        positions[count++] = *stream_slot(stream, offset++);
    }
    return count;
}
