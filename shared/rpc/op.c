/* op.c - a transaction's ops to bytes and back: one switch that reads them, one that writes them. */
#include "shared/rpc/op.h"

#include "shared/base/err.h"
#include "shared/record/record.h"

enum { APPEND_HEADER_BYTES = 8 + 8 + 8 + 4, AHEAD_AT = 8, TAG_SIZE_AT = 12, RANGE_BYTES = 17 };

static void range_of(struct wire_reader *r, struct op_range *out)
{
    out->first = wire_get_u64(r);
    out->last  = wire_get_u64(r);
    out->mark  = wire_get_u8(r);
}

static bool target_of(struct wire_reader *r, struct op_target *out, uint32_t *out_ahead)
{
    out->at        = r->at;
    out->stream_id = wire_get_u64(r);
    *out_ahead     = wire_get_u32(r);
    out->tag       = wire_get(r, wire_get_u8(r));
    return !r->bad;
}

/* Reads count ranges; each must be one that op_range_next may hand out unchecked. */
static struct bytes ranges_checked(struct wire_reader *r, uint32_t count)
{
    struct wire_reader all   = *r;
    struct bytes       items = wire_get(r, (size_t)count * RANGE_BYTES);
    for (uint32_t i = 0; i < count && !r->bad; i++) {
        struct op_range range;
        range_of(&all, &range);
        r->bad = range.first > range.last || (range.mark != CURSOR_RECEIVED && range.mark != CURSOR_DONE);
    }
    return items;
}

/* Targets and record fill the rest of the body, and every target knows the way to the record. */
static void append_checked(struct wire_reader *r, struct op *op)
{
    op->writer_id = wire_get_u64(r);
    op->epoch     = wire_get_u64(r);
    op->sequence  = wire_get_u64(r);
    op->count     = wire_get_u32(r);
    if (r->bad || op->count == 0 || op->count > OP_TARGETS_MAX) {
        r->bad = true;
        return;
    }
    struct wire_reader again = *r;
    struct op_target   target;
    uint32_t           ahead;
    for (uint32_t i = 0; i < op->count; i++) {
        if (!target_of(r, &target, &ahead)) {
            return;
        }
    }
    const uint8_t *record = r->at;
    op->items             = bytes_of(again.at, (size_t)(record - again.at));
    for (uint32_t i = 0; i < op->count; i++) {
        (void)target_of(&again, &target, &ahead);
        r->bad = r->bad || (size_t)(record - target.at) != ahead;
    }
    op->record = wire_get(r, wire_left(r));
    r->bad     = r->bad || record_peek_size(op->record) != (int64_t)op->record.size;
}

/* The head of a run; its items are looked at one by one as they are used. */
static void run_checked(struct wire_reader *r, struct op *op, bool in_action)
{
    op->writer_id = wire_get_u64(r);
    op->epoch     = wire_get_u64(r);
    op->sequence  = wire_get_u64(r);
    op->count     = wire_get_u32(r);
    op->items     = wire_get(r, wire_left(r));
    r->bad = r->bad || in_action || op->count == 0 || op->count > OP_RUN_MAX || op->sequence > UINT64_MAX - op->count;
}

static int next_op(struct wire_reader *r, struct op *out, bool in_action);

/* What a timer does is a list of ops like any other, but it sets and fires no timers, and the stripe's limits are no client's business. */
static bool action_is_ops(struct bytes action)
{
    struct wire_reader r = wire_reader_of(action);
    struct op          op;
    int                got;
    do {
        got = next_op(&r, &op, true);
    } while (got > 0);
    return got == 0;
}

static void body_of(struct wire_reader *r, struct op *op, bool in_action)
{
    switch ((enum op_kind)op->kind) {
    case OP_CHECK:
        op->table   = wire_get_u32(r);
        op->name    = wire_get_blob(r);
        op->version = wire_get_u64(r);
        break;
    case OP_STREAM_CREATE:
        r->bad    = op->flags > STREAM_LATEST; /* not both */
        op->name  = wire_get_blob(r);
        op->owner = wire_get_u64(r);
        break;
    case OP_STREAM_DELETE:
    case OP_TIMER_CANCEL:
    case OP_TIMER_RUN:
        op->name = wire_get_blob(r);
        break;
    case OP_TIMER_TAKE_OVER:
        r->bad    = (op->flags & ~TIMER_ENDED) != 0;
        op->name  = wire_get_blob(r);
        op->owner = wire_get_u64(r);
        break;
    case OP_FENCE:
        op->stream_id = wire_get_u64(r);
        op->epoch     = wire_get_u64(r);
        break;
    case OP_APPEND:
        append_checked(r, op);
        break;
    case OP_APPEND_RUN:
        run_checked(r, op, in_action);
        break;
    case OP_TRIM:
        op->stream_id = wire_get_u64(r);
        op->offset    = wire_get_u64(r);
        break;
    case OP_CURSOR_MOVE:
        op->stream_id = wire_get_u64(r);
        op->cursor    = wire_get_u32(r);
        op->epoch     = wire_get_u64(r);
        op->sent      = wire_get_u64(r);
        op->count     = wire_get_u32(r);
        op->items     = ranges_checked(r, op->count);
        break;
    case OP_CURSOR_GET:
        op->stream_id = wire_get_u64(r);
        op->cursor    = wire_get_u32(r);
        break;
    case OP_TABLE_PUT:
        op->table   = wire_get_u32(r);
        op->name    = wire_get_blob(r);
        op->value   = wire_get_blob(r);
        op->wall_ns = wire_get_u64(r);
        break;
    case OP_TABLE_DELETE:
    case OP_TABLE_DELETE_PREFIX:
    case OP_TABLE_GET:
        op->table = wire_get_u32(r);
        op->name  = wire_get_blob(r);
        break;
    case OP_TIMER_SET:
        op->name     = wire_get_blob(r);
        op->owner    = wire_get_u64(r);
        op->delay_ns = wire_get_u64(r);
        op->value    = wire_get_blob(r);
        r->bad       = r->bad || in_action || !action_is_ops(op->value);
        break;
    case OP_TIMER_START:
        op->name  = wire_get_blob(r);
        op->owner = wire_get_u64(r);
        break;
    case OP_OWNER_LOST:
        op->owner = wire_get_u64(r);
        break;
    case OP_TIMER_FIRE:
        op->name    = wire_get_blob(r);
        op->wall_ns = wire_get_u64(r);
        r->bad      = r->bad || in_action;
        break;
    case OP_TABLE_EXPIRE:
        op->table   = wire_get_u32(r);
        op->name    = wire_get_blob(r);
        op->version = wire_get_u64(r);
        break;
    case OP_STREAM_KEEP:
        op->stream_id  = wire_get_u64(r);
        op->max_age_ns = wire_get_u64(r);
        op->max_bytes  = wire_get_u64(r);
        op->max_count  = wire_get_u64(r);
        break;
    case OP_STREAM_STAT:
        op->stream_id = wire_get_u64(r);
        op->wall_ns   = wire_get_u64(r);
        break;
    case OP_STREAM_AGE:
        op->stream_id = wire_get_u64(r);
        break;
    case OP_LIMITS:
        op->value = wire_get(r, OP_LIMITS_BYTES);
        r->bad    = r->bad || in_action;
        break;
    case OP_STREAM_BYTES:
        op->max_bytes = wire_get_u64(r);
        r->bad        = r->bad || in_action;
        break;
    case OP_KIND_END:
    default:
        r->bad = true;
    }
}

/* Decodes in place: a copy of the whole op would wait for each of its fields to arrive in the cache one by one. */
static int next_op(struct wire_reader *r, struct op *out, bool in_action)
{
    if (!r->bad && wire_left(r) == 0) {
        return 0;
    }
    uint8_t      kind  = wire_get_u8(r);
    uint8_t      flags = wire_get_u8(r);
    uint16_t     zero  = wire_get_u16(r);
    struct bytes bytes = wire_get_blob(r);
    if (r->bad || zero != 0 || (flags != 0 && kind != OP_STREAM_CREATE && kind != OP_TIMER_TAKE_OVER)) {
        r->bad = true;
        return ERR_MALFORMED;
    }
    struct wire_reader body = wire_reader_of(bytes);
    memset(out, 0, sizeof *out);
    out->kind  = kind;
    out->flags = flags;
    body_of(&body, out, in_action);
    if (body.bad || wire_left(&body) != 0) {
        r->bad = true;
        return ERR_MALFORMED;
    }
    return 1;
}

int op_next(struct wire_reader *r, struct op *out)
{
    return next_op(r, out, false);
}

bool op_target_next(struct wire_reader *r, struct op_target *out)
{
    uint32_t ahead;
    return wire_left(r) != 0 && target_of(r, out, &ahead);
}

bool op_range_next(struct wire_reader *r, struct op_range *out)
{
    if (wire_left(r) == 0) {
        return false;
    }
    range_of(r, out);
    return !r->bad;
}

int op_run_next(struct wire_reader *r, struct op_target *out, struct bytes *out_record)
{
    size_t         left = wire_left(r);
    const uint8_t *at   = r->at;
    uint32_t       ahead;
    if (left == 0) {
        return 0;
    }
    if (left < OP_TARGET_HEADER_BYTES + RECORD_HEADER_BYTES) {
        return ERR_MALFORMED;
    }
    memcpy(&out->stream_id, at, sizeof out->stream_id);
    memcpy(&ahead, at + AHEAD_AT, sizeof ahead);
    size_t tag_size = at[TAG_SIZE_AT];
    if (ahead != OP_TARGET_HEADER_BYTES + tag_size || left < ahead + (size_t)RECORD_HEADER_BYTES) {
        return ERR_MALFORMED;
    }
    int64_t size = record_peek_size(bytes_of(at + ahead, left - ahead));
    if (size < 0 || (uint64_t)size > left - ahead) {
        return ERR_MALFORMED;
    }
    out->tag    = bytes_of(at + OP_TARGET_HEADER_BYTES, tag_size);
    out->at     = at;
    *out_record = bytes_of(at + ahead, (size_t)size);
    r->at       = at + ahead + size;
    return 1;
}

int64_t op_target_at(struct bytes data, struct op_target *out, struct bytes *out_record)
{
    struct wire_reader r = wire_reader_of(data);
    struct op_target   target;
    uint32_t           ahead;
    if (data.size < OP_TARGET_HEADER_BYTES) {
        return OP_TARGET_HEADER_BYTES;
    }
    if (!target_of(&r, &target, &ahead)) {
        return (int64_t)OP_TARGET_HEADER_BYTES + data.data[TAG_SIZE_AT];
    }
    if (ahead < OP_TARGET_HEADER_BYTES + target.tag.size) {
        return ERR_MALFORMED;
    }
    if (data.size < (size_t)ahead + sizeof(uint32_t)) {
        return (int64_t)ahead + RECORD_HEADER_BYTES;
    }
    struct bytes rest = bytes_of(data.data + ahead, data.size - ahead);
    int64_t      size = record_peek_size(rest);
    if (size < 0) {
        return ERR_MALFORMED;
    }
    if ((uint64_t)size <= rest.size) {
        *out        = target;
        *out_record = bytes_of(rest.data, (size_t)size);
    }
    return (int64_t)ahead + size;
}

static size_t header_begin(struct wire_writer *w, uint8_t kind, uint8_t flags)
{
    size_t begun = w->size;
    wire_put_u8(w, kind);
    wire_put_u8(w, flags);
    wire_put_u16(w, 0);
    wire_put_u32(w, 0);
    return begun;
}

static void header_end(struct wire_writer *w, size_t begun)
{
    if (!w->bad) {
        uint32_t size = (uint32_t)(w->size - begun - OP_HEADER_BYTES);
        memcpy(w->data + begun + 4, &size, sizeof size);
    }
}

void op_encode(struct wire_writer *w, const struct op *op)
{
    size_t begun = header_begin(w, op->kind, op->flags);
    switch ((enum op_kind)op->kind) {
    case OP_CHECK:
    case OP_TABLE_EXPIRE:
        wire_put_u32(w, op->table);
        wire_put_blob(w, op->name);
        wire_put_u64(w, op->version);
        break;
    case OP_STREAM_DELETE:
    case OP_TIMER_CANCEL:
    case OP_TIMER_RUN:
        wire_put_blob(w, op->name);
        break;
    case OP_FENCE:
        wire_put_u64(w, op->stream_id);
        wire_put_u64(w, op->epoch);
        break;
    case OP_TRIM:
        wire_put_u64(w, op->stream_id);
        wire_put_u64(w, op->offset);
        break;
    case OP_CURSOR_MOVE:
        ASSERT(op->items.size == (size_t)op->count * RANGE_BYTES);
        wire_put_u64(w, op->stream_id);
        wire_put_u32(w, op->cursor);
        wire_put_u64(w, op->epoch);
        wire_put_u64(w, op->sent);
        wire_put_u32(w, op->count);
        wire_put_bytes(w, op->items);
        break;
    case OP_CURSOR_GET:
        wire_put_u64(w, op->stream_id);
        wire_put_u32(w, op->cursor);
        break;
    case OP_TABLE_PUT:
        wire_put_u32(w, op->table);
        wire_put_blob(w, op->name);
        wire_put_blob(w, op->value);
        wire_put_u64(w, op->wall_ns);
        break;
    case OP_TABLE_DELETE:
    case OP_TABLE_DELETE_PREFIX:
    case OP_TABLE_GET:
        wire_put_u32(w, op->table);
        wire_put_blob(w, op->name);
        break;
    case OP_TIMER_SET:
        wire_put_blob(w, op->name);
        wire_put_u64(w, op->owner);
        wire_put_u64(w, op->delay_ns);
        wire_put_blob(w, op->value);
        break;
    case OP_STREAM_CREATE:
    case OP_TIMER_START:
    case OP_TIMER_TAKE_OVER:
        wire_put_blob(w, op->name);
        wire_put_u64(w, op->owner);
        break;
    case OP_OWNER_LOST:
        wire_put_u64(w, op->owner);
        break;
    case OP_TIMER_FIRE:
        wire_put_blob(w, op->name);
        wire_put_u64(w, op->wall_ns);
        break;
    case OP_STREAM_KEEP:
        wire_put_u64(w, op->stream_id);
        wire_put_u64(w, op->max_age_ns);
        wire_put_u64(w, op->max_bytes);
        wire_put_u64(w, op->max_count);
        break;
    case OP_STREAM_STAT:
        wire_put_u64(w, op->stream_id);
        wire_put_u64(w, op->wall_ns);
        break;
    case OP_STREAM_AGE:
        wire_put_u64(w, op->stream_id);
        break;
    case OP_LIMITS:
        ASSERT(op->value.size == OP_LIMITS_BYTES);
        wire_put_bytes(w, op->value);
        break;
    case OP_STREAM_BYTES:
        wire_put_u64(w, op->max_bytes);
        break;
    case OP_APPEND:
    case OP_APPEND_RUN:
    case OP_KIND_END:
    default:
        ASSERT(!"a kind that op_encode writes");
    }
    header_end(w, begun);
}

void op_range_append(struct wire_writer *w, struct op_range range)
{
    ASSERT(range.first <= range.last && (range.mark == CURSOR_RECEIVED || range.mark == CURSOR_DONE));
    wire_put_u64(w, range.first);
    wire_put_u64(w, range.last);
    wire_put_u8(w, range.mark);
}

static size_t writer_begin(struct wire_writer *w, uint8_t kind, uint64_t id, uint64_t epoch, uint64_t sequence)
{
    size_t begun = header_begin(w, kind, 0);
    wire_put_u64(w, id);
    wire_put_u64(w, epoch);
    wire_put_u64(w, sequence);
    wire_put_u32(w, 0);
    return begun;
}

size_t op_append_begin(struct wire_writer *w, uint64_t writer_id, uint64_t writer_epoch, uint64_t sequence)
{
    return writer_begin(w, OP_APPEND, writer_id, writer_epoch, sequence);
}

void op_append_target(struct wire_writer *w, uint64_t stream_id, struct bytes tag)
{
    ASSERT(tag.size <= OP_TAG_MAX_BYTES);
    wire_put_u64(w, stream_id);
    wire_put_u32(w, 0);
    wire_put_u8(w, (uint8_t)tag.size);
    wire_put_bytes(w, tag);
}

void op_append_end(struct wire_writer *w, size_t begun, uint32_t count, const struct record *record)
{
    ASSERT(count >= 1 && count <= OP_TARGETS_MAX);
    size_t   record_at = w->size;
    uint8_t *room      = wire_reserve(w, record_size(record));
    if (room == NULL) {
        return;
    }
    record_encode(record, room);
    size_t at = begun + OP_HEADER_BYTES + APPEND_HEADER_BYTES;
    memcpy(w->data + at - sizeof count, &count, sizeof count);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t ahead = (uint32_t)(record_at - at);
        memcpy(w->data + at + AHEAD_AT, &ahead, sizeof ahead);
        at += OP_TARGET_HEADER_BYTES + w->data[at + TAG_SIZE_AT];
    }
    ASSERT(at == record_at);
    header_end(w, begun);
}

size_t op_run_begin(struct wire_writer *w, uint64_t writer_id, uint64_t writer_epoch, uint64_t sequence)
{
    return writer_begin(w, OP_APPEND_RUN, writer_id, writer_epoch, sequence);
}

void op_run_add(struct wire_writer *w, uint64_t stream_id, struct bytes tag, const struct record *record)
{
    ASSERT(tag.size <= OP_TAG_MAX_BYTES);
    wire_put_u64(w, stream_id);
    wire_put_u32(w, (uint32_t)(OP_TARGET_HEADER_BYTES + tag.size));
    wire_put_u8(w, (uint8_t)tag.size);
    wire_put_bytes(w, tag);
    uint8_t *room = wire_reserve(w, record_size(record));
    if (room != NULL) {
        record_encode(record, room);
    }
}

void op_run_end(struct wire_writer *w, size_t begun, uint32_t count)
{
    ASSERT(count >= 1 && count <= OP_RUN_MAX);
    if (!w->bad) {
        memcpy(w->data + begun + OP_HEADER_BYTES + APPEND_HEADER_BYTES - sizeof count, &count, sizeof count);
    }
    header_end(w, begun);
}
