/* stripe_model_stream.c - what a stream of the model is: records, what is kept of them, cursors, writers. */
#include "tests/unit/segstore/stripe/stripe_model.h"

#include "shared/base/err.h"
#include "shared/base/hash.h"
#include "shared/record/record.h"
#include "shared/rpc/schema.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

struct m_stream *m_stream_of(struct model *m, uint64_t id)
{
    id = id == OP_STREAM_LAST ? m->last_stream : id;
    for (int i = 0; i < STREAMS; i++) {
        if (m->streams[i].there && m->streams[i].id == id) {
            return &m->streams[i];
        }
    }
    return NULL;
}

struct m_stream *m_stream_named(struct model *m, struct bytes name)
{
    for (int i = 0; i < STREAMS; i++) {
        if (m->streams[i].there && name.data[0] == (uint8_t)m->streams[i].name) {
            return &m->streams[i];
        }
    }
    return NULL;
}

static void m_settle(struct m_stream *st)
{
    for (int c = 0; c < CURSORS; c++) {
        struct m_cursor *cu = &st->cursor[c];
        if (!cu->there) {
            continue;
        }
        cu->position = cu->position < st->start ? st->start : cu->position;
        while (cu->position < st->next && cu->mark[cu->position] == CURSOR_DONE) {
            cu->position++;
        }
        cu->sent = cu->sent < cu->position ? cu->position : cu->sent;
    }
}

static void m_trim(struct m_stream *st, uint64_t offset)
{
    offset    = offset > st->next ? st->next : offset;
    st->start = offset > st->start ? offset : st->start;
    m_settle(st);
}

/* ---- what a stream forgets by itself ---- */

bool m_is_latest(const struct m_stream *st)
{
    return (st->flags & STREAM_LATEST) != 0;
}

void m_trim_all(struct m_stream *st, uint64_t offset)
{
    for (uint64_t o = st->start; m_is_latest(st) && o < offset && o < st->next; o++) {
        st->position[o] = UINT64_MAX;
    }
    m_trim(st, offset);
}

/* The first of the oldest part, and the end of it; of the latest, the oldest record. */
bool m_oldest(const struct m_stream *st, uint64_t *first, uint64_t *end)
{
    if (m_is_latest(st)) {
        for (uint64_t o = st->start; o < st->next; o++) {
            if (st->position[o] != UINT64_MAX) {
                *first = o;
                *end   = o + 1;
                return true;
            }
        }
        return false;
    }
    return st->keeps && m_oldest_part(st, first, end);
}

bool m_oldest_part(const struct m_stream *st, uint64_t *first, uint64_t *end)
{
    if (st->start == st->next) {
        return false;
    }
    for (*first = st->start; !st->mark[*first]; (*first)--) {
    }
    for (*end = st->start + 1; *end < st->next && !st->mark[*end]; (*end)++) {
    }
    return true;
}

static uint64_t m_bytes(const struct m_stream *st)
{
    uint64_t first = st->start;
    uint64_t end;
    uint64_t bytes = 0;
    (void)m_oldest(st, &first, &end);
    for (uint64_t o = first; o < st->next; o++) {
        bytes += m_is_latest(st) && st->position[o] == UINT64_MAX ? 0 : st->size[o];
    }
    return bytes;
}

static uint64_t m_count(const struct m_stream *st)
{
    uint64_t count = 0;
    for (uint64_t o = st->start; o < st->next; o++) {
        count += !m_is_latest(st) || st->position[o] != UINT64_MAX;
    }
    return count;
}

/* held: records that were there before */
static void m_limit(const struct model *m, struct m_stream *st, uint64_t held)
{
    uint64_t most = st->max_count != 0 ? st->max_count : UINT64_MAX;
    if (st->max_count == 0 && m_is_latest(st) && m->limits.stream_records_max != 0) {
        most = m->limits.stream_records_max > held ? m->limits.stream_records_max : held;
    }
    uint64_t first;
    uint64_t end;
    while (m_count(st) > most && m_oldest(st, &first, &end)) {
        m_trim_all(st, m_is_latest(st) ? end : st->start + 1);
    }
    while (st->max_bytes != 0 && m_bytes(st) > st->max_bytes && m_oldest(st, &first, &end) &&
           (m_is_latest(st) ? m_count(st) > 1 : end < st->next)) {
        m_trim_all(st, end);
    }
}

void m_age(struct m_stream *st, uint64_t time)
{
    uint64_t first;
    uint64_t end;
    while (st->max_age != 0 && m_oldest(st, &first, &end) && st->time[end - 1] + st->max_age <= time) {
        m_trim_all(st, end);
    }
}

/* What counts of a queue: whole parts. */
static uint64_t m_waiting(const struct m_stream *st)
{
    uint64_t first = st->next;
    uint64_t end;
    uint64_t bytes = 0;
    (void)(st->counts && m_oldest_part(st, &first, &end));
    for (uint64_t o = first; o < st->next; o++) {
        bytes += st->size[o];
    }
    return bytes;
}

static void m_begin(const struct model *m, struct m_stream *st)
{
    for (uint64_t o = st->start; o < st->next; o++) {
        st->time[o] = m->time;
        st->size[o] = 0;
        st->mark[o] = o == st->start;
    }
}

static bool m_has_room(const struct model *m, struct m_stream *st, uint64_t bytes)
{
    bool     queue = (st->flags & STREAM_QUEUE) != 0;
    uint64_t most  = m->limits.stream_bytes_max;
    if (st->keeps || m_is_latest(st)) {
        return true;
    }
    if (m->limits.stream_records_max != 0 && st->next - st->start >= m->limits.stream_records_max) {
        return false;
    }
    if (!queue || most == 0) {
        return true;
    }
    if (st->start < st->next && m_waiting(st) + bytes > most) {
        return false;
    }
    if (!st->counts) {
        m_begin(m, st);
        st->counts = true;
    }
    return true;
}

static void m_count_in(const struct model *m, struct m_stream *st, const struct op *op, uint64_t held)
{
    uint64_t time = m->time;
    uint64_t o    = st->next - 1;
    st->time[o]   = time;
    st->size[o]   = (uint16_t)op->record.size;
    st->topic[o]  = record_topic(op->record).data[0];
    st->mark[o]   = false;
    if (m_is_latest(st)) {
        for (uint64_t old = st->start; old < o; old++) {
            st->position[old] = st->topic[old] == st->topic[o] ? UINT64_MAX : st->position[old];
        }
        m_limit(m, st, held);
        return;
    }
    if (!st->keeps && !st->counts) {
        return;
    }
    uint64_t most       = st->counts ? m->limits.stream_bytes_max : st->max_bytes;
    uint64_t part_bytes = most != 0 ? most / 16 : 1 << 16;
    uint64_t part_ns    = st->counts ? UINT64_MAX : st->max_age != 0 ? st->max_age / 16 : 1000000000;
    uint64_t first      = o;
    uint64_t bytes      = 0;
    while (o != st->start && !st->mark[first]) {
        bytes += st->size[--first];
    }
    st->mark[o] = first == o || bytes >= part_bytes || time - st->time[first] >= part_ns || o - first >= 128;
    m_limit(m, st, held);
}

void m_keep(const struct model *m, struct m_stream *st, const struct op *op)
{
    if (!m_is_latest(st) && !st->keeps) {
        m_begin(m, st);
    }
    st->keeps     = true;
    st->max_age   = op->max_age_ns;
    st->max_bytes = op->max_bytes;
    st->max_count = op->max_count;
    m_limit(m, st, m_count(st));
}

void m_stat(const struct m_stream *st, const struct op *op, struct wire_writer *w)
{
    uint64_t first;
    uint64_t end;
    bool     any   = m_oldest(st, &first, &end);
    uint64_t found = !st->keeps && !m_is_latest(st) ? st->start : st->next;
    for (uint64_t o = st->next; any && o-- > first;) { /* the last one found is the first one there is */
        bool     begins = m_is_latest(st) ? st->position[o] != UINT64_MAX : st->mark[o] || o == first;
        uint64_t last   = o;
        while (!m_is_latest(st) && last + 1 < st->next && !st->mark[last + 1]) {
            last++;
        }
        if (begins && st->time[last] >= op->wall_ns) {
            found = o > st->start ? o : st->start;
        }
    }
    uint64_t newest = st->next - 1;
    wire_put_u64(w, st->start);
    wire_put_u64(w, st->next);
    wire_put_u64(w, m_count(st));
    wire_put_u64(w, any ? m_bytes(st) : 0);
    wire_put_u64(w, any ? st->time[first] : 0);
    wire_put_u64(w, any ? st->time[newest] : 0);
    wire_put_u64(w, found);
}

int m_cursor_move(struct m_stream *st, const struct op *op, struct wire_writer *w)
{
    if (op->epoch < st->epoch) {
        return ERR_FENCED;
    }
    struct m_cursor *cu = &st->cursor[op->cursor];
    if (!cu->there) {
        *cu = (struct m_cursor){.there = true, .position = st->start, .sent = st->start};
    }
    struct wire_reader items = wire_reader_of(op->items);
    struct op_range    range;
    while (op_range_next(&items, &range)) {
        for (uint64_t o = range.first; o <= range.last && o < st->next; o++) {
            if (o >= cu->position && cu->mark[o] < range.mark) {
                cu->mark[o] = range.mark;
                bool done   = range.mark == CURSOR_DONE && (st->flags & STREAM_QUEUE) != 0;
                for (int c = 0; c < CURSORS; c++) {
                    struct m_cursor *other = &st->cursor[c];
                    done = done && (!other->there || o < other->position || other->mark[o] == CURSOR_DONE);
                }
                st->position[o] = done ? UINT64_MAX : st->position[o];
            }
        }
        m_settle(st);
    }
    uint64_t sent = op->sent < st->next ? op->sent : st->next;
    cu->sent      = sent > cu->sent ? sent : cu->sent;
    if ((st->flags & STREAM_QUEUE) != 0) {
        uint64_t lowest = UINT64_MAX;
        for (int c = 0; c < CURSORS; c++) {
            lowest = st->cursor[c].there && st->cursor[c].position < lowest ? st->cursor[c].position : lowest;
        }
        m_trim(st, lowest);
    }
    wire_put_u64(w, cu->position);
    return 0;
}

void m_cursor_get(const struct m_stream *st, const struct op *op, struct wire_writer *w)
{
    const struct m_cursor *cu = &st->cursor[op->cursor];
    wire_put_u64(w, cu->there ? cu->position : st->start);
    wire_put_u64(w, cu->there ? cu->sent : st->start);
    wire_put_u64(w, st->next);
    size_t   at    = w->size;
    uint32_t count = 0;
    wire_put_u32(w, 0);
    for (uint64_t o = cu->position; cu->there && o < st->next;) {
        uint64_t last = o;
        while (last + 1 < st->next && cu->mark[last + 1] == cu->mark[o]) {
            last++;
        }
        if (cu->mark[o] != 0) {
            op_range_append(w, (struct op_range){.first = o, .last = last, .mark = cu->mark[o]});
            count++;
        }
        o = last + 1;
    }
    memcpy(w->data + at, &count, sizeof count);
}

/* 1 admitted, 0 duplicate */
static int m_writer(struct model *m, const struct op *op, uint64_t *offset)
{
    int at = 0;
    while (at < m->writer_count && m->writers[at].id != op->writer_id) {
        at++;
    }
    struct m_writer wr    = {.id = op->writer_id, .offset = UINT64_MAX};
    bool            known = at < m->writer_count;
    bool            was   = known;
    if (known) {
        wr = m->writers[at];
        if (op->epoch < wr.epoch) {
            return ERR_FENCED;
        }
    } else if (m->writer_count == (int)m->limits.writers_max) {
        at    = 0;
        known = true; /* its place is taken */
    }
    if (known) {
        memmove(&m->writers[at], &m->writers[at + 1], (size_t)(m->writer_count - at - 1) * sizeof wr);
        m->writer_count--;
    }
    int got = 1;
    if (was && op->epoch == wr.epoch && op->sequence <= wr.sequence) {
        *offset = op->sequence == wr.sequence ? wr.offset : UINT64_MAX;
        got     = 0;
    } else {
        wr.epoch    = op->epoch;
        wr.sequence = op->sequence;
        wr.offset   = UINT64_MAX;
    }
    m->writers[m->writer_count++] = wr;
    return got;
}

int m_append(struct model *m, struct bytes ops, uint64_t position, const struct op *op, struct wire_writer *w)
{
    uint64_t offset   = UINT64_MAX;
    int      admitted = op->writer_id != 0 ? m_writer(m, op, &offset) : 1;
    if (admitted < 0) {
        return admitted;
    }
    wire_put_u8(w, admitted == 0);
    wire_put_u32(w, op->count);
    struct wire_reader items = wire_reader_of(op->items);
    struct op_target   target;
    int                taken = 0;
    int                full  = 0;
    while (op_target_next(&items, &target)) {
        if (admitted == 0) {
            wire_put_u64(w, op->count == 1 ? offset : UINT64_MAX);
            continue;
        }
        struct m_stream *st = m_stream_of(m, target.stream_id);
        offset              = UINT64_MAX;
        if (st != NULL && m_has_room(m, st, op->record.size)) {
            uint64_t held = m_count(st);
            cr_assert_lt(st->next, OFFSETS);
            for (int c = 0; c < CURSORS; c++) {
                st->cursor[c].mark[st->next] = 0;
            }
            offset                   = st->next;
            st->position[st->next++] = position + (uint64_t)(target.at - ops.data);
            m_count_in(m, st, op, held);
            taken++;
        } else if (st != NULL) {
            full++;
        }
        wire_put_u64(w, offset);
    }
    if (admitted == 1 && taken == 0 && full != 0) {
        return ERR_QUOTA;
    }
    if (admitted == 1 && op->writer_id != 0) {
        m->writers[m->writer_count - 1].offset = op->count == 1 ? offset : UINT64_MAX;
    }
    return 0;
}

/* By the book: one APPEND after another; only what is answered is put together. */
int m_append_run(struct model *m, struct bytes ops, uint64_t position, const struct op *op, struct wire_writer *w)
{
    struct wire_reader items = wire_reader_of(op->items);
    struct op          each  = *op;
    uint8_t            memory[64];
    uint64_t           offsets[16] = {0};
    uint32_t           duplicates = 0, count = 0, ranges = 0;
    struct op_target   target;
    while (op_run_next(&items, &target, &each.record) > 0) {
        struct wire_writer result = wire_writer_fixed(memory, sizeof memory);
        each.kind                 = OP_APPEND;
        each.sequence             = op->sequence + count;
        each.count                = 1;
        each.items                = bytes_of(target.at, (size_t)(each.record.data - target.at));
        int status                = m_append(m, ops, position, &each, &result);
        if (status < 0) {
            return status;
        }
        duplicates += memory[0];
        memcpy(&offsets[count], memory + 5, sizeof offsets[count]);
        offsets[count] = memory[0] ? UINT64_MAX : offsets[count];
        count++;
    }
    wire_put_u32(w, duplicates);
    for (uint32_t i = 0; i < count; i++) {
        ranges += i == 0 || offsets[i] != offsets[i - 1] + (offsets[i] != UINT64_MAX) ||
                  (offsets[i - 1] == UINT64_MAX && offsets[i] == 0);
    }
    wire_put_u32(w, ranges);
    for (uint32_t i = 0, next; i < count; i = next) {
        for (next = i + 1; next < count && (offsets[i] == UINT64_MAX ? offsets[next] == UINT64_MAX
                                                                     : offsets[next] == offsets[i] + next - i);
             next++) {
        }
        wire_put_u64(w, offsets[i]);
        wire_put_u32(w, next - i);
    }
    return 0;
}
