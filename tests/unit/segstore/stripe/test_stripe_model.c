/* The stripe against a model that is too simple to be wrong: arrays, and a copy of everything before each transaction.
 * Random ops for many seeds; results compared byte by byte, state by queries, positions by recount, save and load and replay by hash, and the
 * stripe carried over to another log now and then. */
#include "segstore/stripe/stripe.h"

#include "segstore/log/bodies.h"
#include "shared/base/err.h"
#include "shared/base/hash.h"
#include "shared/base/rand.h"
#include "shared/record/record.h"
#include "shared/rpc/op.h"
#include "shared/rpc/schema.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

enum { STREAMS = 16, OFFSETS = 400, CURSORS = 2, ITEMS = 24, TIMERS = 8, WRITERS = 3, ACTION = 700, VALUE = 40 };
enum { STREAMS_MAX = 6, RECORDS_MAX = 12, DEPTH_MAX = 8 };

struct m_cursor {
    bool     there;
    uint64_t position, sent;
    uint8_t  mark[OFFSETS];
};
struct m_stream {
    bool            there;
    char            name;
    uint8_t         flags;
    uint64_t        id, start, next, epoch, owner, position[OFFSETS];
    bool            keeps;
    uint64_t        max_age, max_bytes, max_count, time[OFFSETS];
    uint16_t        size[OFFSETS];
    uint8_t         topic[OFFSETS];
    bool            mark[OFFSETS]; /* a part begins here */
    struct m_cursor cursor[CURSORS];
};
struct m_item {
    bool     there;
    uint32_t table;
    char     key[8];
    uint32_t key_size, value_size;
    uint8_t  value[VALUE];
    uint64_t version, expires;
};
struct m_timer {
    bool     there, delayed; /* set with its time running */
    char     key;
    uint64_t owner, delay, due, order, position;
    uint32_t action_size;
    uint8_t  action[ACTION];
};
struct m_writer {
    uint64_t id, epoch, sequence, offset;
};
struct model {
    uint64_t        time, next_local, version, failed, last_stream;
    struct m_stream streams[STREAMS];
    struct m_item   items[ITEMS];
    struct m_timer  timers[TIMERS];
    struct m_writer writers[WRITERS]; /* the one unused for longest first */
    int             writer_count;

    struct stripe_limits limits;
};

static struct m_stream *m_stream_of(struct model *m, uint64_t id)
{
    id = id == OP_STREAM_LAST ? m->last_stream : id;
    for (int i = 0; i < STREAMS; i++) {
        if (m->streams[i].there && m->streams[i].id == id) {
            return &m->streams[i];
        }
    }
    return NULL;
}

static struct m_stream *m_stream_named(struct model *m, struct bytes name)
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

static bool m_is_latest(const struct m_stream *st)
{
    return (st->flags & STREAM_LATEST) != 0;
}

static void m_trim_all(struct m_stream *st, uint64_t offset)
{
    for (uint64_t o = st->start; m_is_latest(st) && o < offset && o < st->next; o++) {
        st->position[o] = UINT64_MAX;
    }
    m_trim(st, offset);
}

/* The first of the oldest part, and the end of it; of the latest, the oldest record. */
static bool m_oldest(const struct m_stream *st, uint64_t *first, uint64_t *end)
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
    if (!st->keeps || st->start == st->next) {
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

static void m_age(struct m_stream *st, uint64_t time)
{
    uint64_t first;
    uint64_t end;
    while (st->max_age != 0 && m_oldest(st, &first, &end) && st->time[end - 1] + st->max_age <= time) {
        m_trim_all(st, end);
    }
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
    if (!st->keeps) {
        return;
    }
    uint64_t part_bytes = st->max_bytes != 0 ? st->max_bytes / 16 : 1 << 16;
    uint64_t part_ns    = st->max_age != 0 ? st->max_age / 16 : 1000000000;
    uint64_t first      = o;
    uint64_t bytes      = 0;
    while (o != st->start && !st->mark[first]) {
        bytes += st->size[--first];
    }
    st->mark[o] = first == o || bytes >= part_bytes || time - st->time[first] >= part_ns || o - first >= 128;
    m_limit(m, st, held);
}

static void m_keep(const struct model *m, struct m_stream *st, const struct op *op)
{
    for (uint64_t o = st->start; !m_is_latest(st) && !st->keeps && o < st->next; o++) {
        st->time[o] = m->time;
        st->size[o] = 0;
        st->mark[o] = o == st->start;
    }
    st->keeps     = true;
    st->max_age   = op->max_age_ns;
    st->max_bytes = op->max_bytes;
    st->max_count = op->max_count;
    m_limit(m, st, m_count(st));
}

static void m_stat(const struct m_stream *st, const struct op *op, struct wire_writer *w)
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

static int m_cursor_move(struct m_stream *st, const struct op *op, struct wire_writer *w)
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

static void m_cursor_get(const struct m_stream *st, const struct op *op, struct wire_writer *w)
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

static int m_append(struct model *m, struct bytes ops, uint64_t position, const struct op *op, struct wire_writer *w)
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
        bool     forgets    = st != NULL && (st->keeps || m_is_latest(st));
        uint64_t most       = m->limits.stream_records_max;
        if (st != NULL && (forgets || most == 0 || st->next - st->start < most)) {
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
static int m_append_run(struct model *m, struct bytes ops, uint64_t position, const struct op *op,
                        struct wire_writer *w)
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

static struct m_item *m_item_of(struct model *m, uint32_t table, struct bytes key)
{
    for (int i = 0; i < ITEMS; i++) {
        struct m_item *it = &m->items[i];
        if (it->there && it->table == table && bytes_equal(bytes_of(it->key, it->key_size), key)) {
            return it;
        }
    }
    return NULL;
}

static bool m_live(const struct model *m, const struct m_item *it)
{
    return it != NULL && (it->expires == 0 || it->expires > m->time);
}

/* Bytes of one table, or with UINT32_MAX of all; and its rows. */
static uint64_t m_used(const struct model *m, uint32_t table, uint64_t *rows)
{
    uint64_t used = 0;
    *rows         = 0;
    for (int i = 0; i < ITEMS; i++) {
        if (m->items[i].there && (table == UINT32_MAX || m->items[i].table == table)) {
            used += m->items[i].key_size + m->items[i].value_size;
            (*rows)++;
        }
    }
    return used;
}

static int m_put(struct model *m, const struct op *op, struct wire_writer *w)
{
    const struct stripe_limits *l = &m->limits;
    uint64_t                    rows;
    uint64_t                    used   = m_used(m, UINT32_MAX, &rows);
    struct m_item              *it     = m_item_of(m, op->table, op->name);
    uint64_t                    before = it != NULL ? it->key_size + it->value_size : 0;
    uint64_t                    after  = op->name.size + op->value.size;
    if (after > before && used - before + after > l->table_bytes_max) {
        return ERR_QUOTA;
    }
    used = m_used(m, op->table, &rows);
    if (l->bounded_table != 0 && l->bounded_table == op->table && after > before &&
        ((l->bounded_rows_max != 0 && it == NULL && rows >= l->bounded_rows_max) ||
         (l->bounded_bytes_max != 0 && used - before + after > l->bounded_bytes_max))) {
        return ERR_QUOTA;
    }
    for (int i = 0; it == NULL; i++) {
        cr_assert_lt(i, ITEMS);
        it = m->items[i].there ? NULL : &m->items[i];
    }
    *it = (struct m_item){.there      = true,
                          .table      = op->table,
                          .key_size   = (uint32_t)op->name.size,
                          .value_size = (uint32_t)op->value.size,
                          .version    = ++m->version,
                          .expires    = op->wall_ns};
    memcpy(it->key, op->name.data, op->name.size);
    memcpy(it->value, op->value.data, op->value.size);
    wire_put_u64(w, it->version);
    return 0;
}

static int m_list(struct model *m, struct bytes ops, uint64_t position, int depth, struct wire_writer *w);

static void m_run(struct model *m, struct m_timer *t, int depth)
{
    static struct wire_writer sink; /* results of actions are not read */
    struct m_timer            copy = *t;
    t->there                       = false;
    sink                           = wire_writer_growing(1 << 20);
    struct wire_writer mine        = sink;
    if (depth + 1 > DEPTH_MAX ||
        m_list(m, bytes_of(copy.action, copy.action_size), copy.position, depth + 1, &mine) < 0) {
        m->failed++;
    }
    wire_writer_fini(&mine);
}

static struct m_timer *m_timer_of(struct model *m, struct bytes key)
{
    for (int i = 0; i < TIMERS; i++) {
        if (m->timers[i].there && (uint8_t)m->timers[i].key == key.data[0]) {
            return &m->timers[i];
        }
    }
    return NULL;
}

static void m_start(struct model *m, struct m_timer *t, int depth)
{
    if (t->delay == 0) {
        m_run(m, t, depth);
    } else {
        t->owner = 0;
        t->due   = m->time + t->delay;
    }
}

static void m_owner_lost(struct model *m, uint64_t owner, int depth)
{
    uint64_t done = 0;
    uint64_t end  = owner != 0 ? m->version : 0;
    while (done < end) {
        struct m_timer *next = NULL;
        for (int i = 0; i < TIMERS; i++) {
            struct m_timer *t = &m->timers[i];
            if (t->there && t->owner == owner && t->order > done && (next == NULL || t->order < next->order)) {
                next = t;
            }
        }
        if (next == NULL) {
            break;
        }
        done = next->order;
        m_start(m, next, depth);
    }
}

static int m_op(struct model *m, struct bytes ops, uint64_t position, const struct op *op, int depth,
                struct wire_writer *w)
{
    struct m_stream *st = m_stream_of(m, op->stream_id);
    struct m_item   *it = m_item_of(m, op->table, op->name);
    struct m_timer  *t  = op->name.size != 0 ? m_timer_of(m, op->name) : NULL;
    switch (op->kind) {
    case OP_CHECK:
        return (m_live(m, it) ? it->version : 0) == op->version ? 0 : ERR_CONFLICT;
    case OP_STREAM_CREATE: {
        st           = m_stream_named(m, op->name);
        bool created = st == NULL;
        if (created) {
            int used = 0;
            for (int i = 0; i < STREAMS; i++) {
                used += m->streams[i].there;
                st = m->streams[i].there ? st : &m->streams[i];
            }
            if ((uint64_t)used >= m->limits.streams_max) {
                return ERR_QUOTA;
            }
            *st = (struct m_stream){.there = true,
                                    .name  = (char)op->name.data[0],
                                    .flags = op->flags,
                                    .owner = op->owner,
                                    .id    = (uint64_t)3 << 48 | m->next_local++};
        }
        m->last_stream = st->id;
        wire_put_u64(w, st->id);
        wire_put_u8(w, created || (op->owner != 0 && st->owner == op->owner));
        wire_put_u64(w, st->start);
        wire_put_u64(w, st->next);
        wire_put_u64(w, st->epoch);
        return 0;
    }
    case OP_STREAM_DELETE:
        st = m_stream_named(m, op->name);
        if (st != NULL) {
            st->there = false;
        }
        return 0;
    case OP_FENCE:
    case OP_TRIM:
    case OP_CURSOR_MOVE:
    case OP_CURSOR_GET:
        if (st == NULL) {
            return ERR_NOT_FOUND;
        }
        if (op->kind == OP_FENCE) {
            uint64_t epoch = op->epoch == 0 ? st->epoch + 1 : op->epoch;
            if (epoch < st->epoch) {
                return ERR_FENCED;
            }
            st->epoch = epoch;
            wire_put_u64(w, epoch);
        } else if (op->kind == OP_TRIM) {
            m_trim_all(st, op->offset);
        } else if (op->kind == OP_CURSOR_MOVE) {
            return m_cursor_move(st, op, w);
        } else {
            m_cursor_get(st, op, w);
        }
        return 0;
    case OP_STREAM_KEEP:
        if (st == NULL || (st->flags & STREAM_QUEUE) != 0) {
            return st == NULL ? ERR_NOT_FOUND : ERR_DENIED;
        }
        m_keep(m, st, op);
        return 0;
    case OP_STREAM_STAT:
        if (st == NULL) {
            return ERR_NOT_FOUND;
        }
        m_stat(st, op, w);
        return 0;
    case OP_STREAM_AGE:
        if (st != NULL) {
            m_age(st, m->time);
        }
        return 0;
    case OP_APPEND_RUN:
        return m_append_run(m, ops, position, op, w);
    case OP_APPEND:
        return m_append(m, ops, position, op, w);
    case OP_TABLE_PUT:
        return m_put(m, op, w);
    case OP_TABLE_DELETE:
        wire_put_u8(w, m_live(m, it));
        if (it != NULL) {
            it->there = false;
            m->version++;
        }
        return 0;
    case OP_TABLE_DELETE_PREFIX: {
        uint64_t count = 0;
        for (int i = 0; i < ITEMS; i++) {
            it = &m->items[i];
            if (it->there && it->table == op->table && bytes_starts_with(bytes_of(it->key, it->key_size), op->name)) {
                count += m_live(m, it);
                it->there = false;
                m->version++;
            }
        }
        wire_put_u64(w, count);
        return 0;
    }
    case OP_TABLE_GET:
        it = m_live(m, it) ? it : NULL;
        wire_put_u64(w, it != NULL ? it->version : 0);
        wire_put_blob(w, it != NULL ? bytes_of(it->value, it->value_size) : bytes_of(NULL, 0));
        return 0;
    case OP_TABLE_EXPIRE:
        if (it != NULL && it->version == op->version) {
            it->there = false;
            m->version++;
        }
        return 0;
    case OP_TIMER_SET: {
        uint64_t rows;
        uint64_t bytes  = m_used(m, UINT32_MAX, &rows) + op->name.size + op->value.size;
        uint64_t delays = 0;
        for (int i = 0; i < TIMERS; i++) {
            bool counts = m->timers[i].there && m->timers[i].delayed;
            delays += counts;
            bytes += counts ? 1 + m->timers[i].action_size : 0;
        }
        if (op->owner == 0 && m->limits.delays_max != 0 && (t == NULL || !t->delayed) &&
            (delays >= m->limits.delays_max || bytes > m->limits.table_bytes_max)) {
            return ERR_QUOTA;
        }
        for (int i = 0; t == NULL; i++) {
            cr_assert_lt(i, TIMERS);
            t = m->timers[i].there ? NULL : &m->timers[i];
        }
        *t = (struct m_timer){.there       = true,
                              .delayed     = op->owner == 0,
                              .key         = (char)op->name.data[0],
                              .owner       = op->owner,
                              .delay       = op->delay_ns,
                              .due         = m->time + op->delay_ns,
                              .order       = ++m->version,
                              .position    = position + (uint64_t)(op->value.data - ops.data),
                              .action_size = (uint32_t)op->value.size};
        cr_assert_leq(op->value.size, ACTION);
        memcpy(t->action, op->value.data, op->value.size);
        return 0;
    }
    case OP_TIMER_START:
        if (t != NULL && t->owner != 0 && t->owner == op->owner) {
            m_start(m, t, depth);
        }
        return 0;
    case OP_TIMER_CANCEL:
    case OP_TIMER_RUN:
    case OP_TIMER_TAKE_OVER:
        wire_put_u8(w, t != NULL);
        if (t == NULL || (op->kind == OP_TIMER_TAKE_OVER && t->owner != 0 && t->owner == op->owner)) {
            return 0;
        }
        if (op->kind == OP_TIMER_RUN ||
            (op->kind == OP_TIMER_TAKE_OVER && ((op->flags & TIMER_ENDED) != 0 || (t->owner != 0 && t->delay == 0)))) {
            m_run(m, t, depth);
        } else {
            t->there = false;
        }
        return 0;
    case OP_OWNER_LOST:
        m_owner_lost(m, op->owner, depth);
        return 0;
    case OP_TIMER_FIRE:
        if (t != NULL && t->owner == 0 && t->due == op->wall_ns) {
            m_run(m, t, depth);
        }
        return 0;
    case OP_LIMITS: {
        struct wire_reader r         = wire_reader_of(op->value);
        m->limits.table_bytes_max    = wire_get_u64(&r);
        m->limits.streams_max        = wire_get_u64(&r);
        m->limits.stream_records_max = wire_get_u64(&r);
        m->limits.delays_max         = wire_get_u64(&r);
        m->limits.bounded_table      = wire_get_u32(&r);
        m->limits.bounded_rows_max   = wire_get_u64(&r);
        m->limits.bounded_bytes_max  = wire_get_u64(&r);
        m->limits.writers_max        = wire_get_u32(&r);
        while (m->writer_count > (int)m->limits.writers_max) {
            memmove(&m->writers[0], &m->writers[1], (size_t)--m->writer_count * sizeof m->writers[0]);
        }
        return 0;
    }
    default:
        cr_assert(false);
        return 0;
    }
}

static int m_list(struct model *m, struct bytes ops, uint64_t position, int depth, struct wire_writer *w)
{
    struct model *before = malloc(sizeof *before);
    memcpy(before, m, sizeof *m);
    m->last_stream        = 0;
    struct wire_reader r  = wire_reader_of(ops);
    size_t             at = w->size;
    struct op          op;
    int                status;
    while ((status = op_next(&r, &op)) > 0 && (status = m_op(m, ops, position, &op, depth, w)) >= 0) {
    }
    uint64_t last = before->last_stream;
    if (status < 0) {
        memcpy(m, before, sizeof *m);
        w->size = at;
    }
    m->last_stream = last;
    free(before);
    return status;
}

/* ---- random ops ---- */

static const char *const keys[] = {"a", "a/b", "a/c", "b", "b/c", "$x", "a/bb", "abc"};

static struct bytes one_of(struct rand *r, const char *letters)
{
    return bytes_of(letters + rand_below(r, strlen(letters)), 1);
}

static uint64_t some_stream(struct rand *r, const struct model *m)
{
    uint64_t pick = rand_below(r, 10);
    for (int i = 0; i < STREAMS; i++) {
        pick = m->streams[i].there && m->streams[i].next > OFFSETS - 80 ? 1 : pick; /* the model has no room for more */
    }
    const struct m_stream *st = &m->streams[rand_below(r, STREAMS)];
    for (int i = 0; i < STREAMS && !st->there && pick > 2; i++) { /* mostly one that is there */
        st = &m->streams[i];
    }
    return pick == 0 ? OP_STREAM_LAST : pick == 1 ? 77 : st->id;
}

static void put_some_append(struct rand *r, const struct model *m, struct wire_writer *w)
{
    static const char payload[] = "0123456789";
    struct record     record    = {.topic   = one_of(r, "tuvwxyzabcdefgh"),
                                   .payload = bytes_of(payload, rand_below(r, sizeof payload))};
    uint64_t          writer    = rand_below(r, 6);
    size_t            begun     = op_append_begin(w, writer, rand_below(r, 2), rand_below(r, 6));
    uint32_t          count     = 1 + (uint32_t)(rand_chance(r, 2) ? 0 : rand_below(r, 4));
    for (uint32_t i = 0; i < count; i++) {
        op_append_target(w, some_stream(r, m), bytes_of("tagtag", rand_below(r, 6)));
    }
    op_append_end(w, begun, count, &record);
}

static void put_some_run(struct rand *r, const struct model *m, struct wire_writer *w)
{
    uint64_t stream = some_stream(r, m);
    size_t   begun  = op_run_begin(w, rand_below(r, 6), rand_below(r, 2), rand_below(r, 6));
    uint32_t count  = 1 + (uint32_t)rand_below(r, 6);
    for (uint32_t i = 0; i < count; i++) {
        struct record record = {.topic   = one_of(r, "tuvwxyzabcdefgh"),
                                .payload = bytes_of("0123456789", rand_below(r, 10))};
        stream               = rand_chance(r, 3) ? some_stream(r, m) : stream;
        op_run_add(w, stream, bytes_of("tagtag", rand_below(r, 6)), &record);
    }
    op_run_end(w, begun, count);
}

static void put_some_limits(struct rand *r, struct wire_writer *w)
{
    struct stripe_limits limits = {.table_bytes_max    = 60 + rand_below(r, 260),
                                   .streams_max        = 2 + rand_below(r, STREAMS_MAX - 1),
                                   .stream_records_max = rand_chance(r, 8) ? 0 : 2 + rand_below(r, RECORDS_MAX - 1),
                                   .delays_max         = rand_chance(r, 3) ? 1 + rand_below(r, 4) : 0,
                                   .bounded_table      = (uint32_t)rand_below(r, 2),
                                   .bounded_rows_max   = rand_below(r, 6),
                                   .bounded_bytes_max  = rand_chance(r, 2) ? 20 + rand_below(r, 80) : 0,
                                   .writers_max        = 1 + (uint32_t)rand_below(r, WRITERS)};
    stripe_limits_op(&limits, w);
}

static void put_some_op(struct rand *r, const struct model *m, struct wire_writer *w, bool in_action);

static void put_some(struct rand *r, const struct model *m, struct wire_writer *w, bool in_action, uint64_t below)
{
    for (uint64_t count = rand_below(r, below); count != 0; count--) {
        put_some_op(r, m, w, in_action);
    }
}

static void put_some_op(struct rand *r, const struct model *m, struct wire_writer *w, bool in_action)
{
    uint8_t            memory[128];
    struct wire_writer ranges = wire_writer_fixed(memory, sizeof memory);
    struct wire_writer action = wire_writer_growing(1 << 16);
    struct op          op     = {.kind = (uint8_t)(1 + rand_below(r, OP_KIND_END - 1))};
    if (rand_chance(r, 3)) {
        op.kind = rand_chance(r, 2) ? (rand_chance(r, 3) ? OP_APPEND_RUN : OP_APPEND) : OP_CURSOR_MOVE;
    } else if (rand_chance(r, 5)) {
        op.kind = (uint8_t)(OP_STREAM_KEEP + rand_below(r, 3));
    }
    if (op.kind == OP_LIMITS && !in_action) {
        put_some_limits(r, w);
        return;
    }
    if (in_action &&
        (op.kind == OP_TIMER_SET || op.kind == OP_TIMER_FIRE || op.kind == OP_LIMITS || op.kind == OP_APPEND_RUN)) {
        op.kind = OP_TIMER_RUN;
    }
    if (op.kind == OP_APPEND_RUN) {
        put_some_run(r, m, w);
        return;
    }
    if (op.kind == OP_APPEND) {
        put_some_append(r, m, w);
        return;
    }
    const struct m_item  *item  = &m->items[rand_below(r, ITEMS)];
    const struct m_timer *timer = &m->timers[rand_below(r, TIMERS)];
    op.table                    = (uint32_t)rand_below(r, 2);
    op.cursor                   = (uint32_t)rand_below(r, CURSORS);
    op.stream_id                = some_stream(r, m);
    op.offset                   = rand_below(r, OFFSETS);
    op.epoch                    = rand_chance(r, 20) ? 0 : rand_below(r, 4) + (op.kind == OP_CURSOR_MOVE ? 3 : 0);
    op.sent                     = rand_below(r, OFFSETS);
    op.owner                    = rand_below(r, 3);
    op.delay_ns                 = rand_below(r, 3) * 20;
    op.wall_ns                  = rand_chance(r, 2) ? 0 : m->time + rand_below(r, 60);
    op.value                    = bytes_of("vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv", rand_below(r, VALUE));
    op.version                  = item->version;
    op.name                     = bytes_str(keys[rand_below(r, 8)]);
    if (op.kind == OP_CHECK) {
        op.version = rand_chance(r, 4) ? item->version : 0;
        if (item->there && rand_chance(r, 2)) {
            op.name    = bytes_of(item->key, item->key_size);
            op.table   = item->table;
            op.version = item->version;
        }
    }
    if (op.kind == OP_TABLE_EXPIRE) {
        op.name  = bytes_of(item->key, item->key_size);
        op.table = item->table;
    }
    if (op.kind == OP_TABLE_DELETE_PREFIX && rand_chance(r, 10)) {
        op.name = bytes_of(NULL, 0);
    }
    if (op.kind == OP_STREAM_CREATE || op.kind == OP_STREAM_DELETE) {
        op.name  = one_of(r, "nopqrstu");
        op.flags = op.kind == OP_STREAM_CREATE ? (uint8_t)rand_below(r, 3) : 0;
    }
    if (op.kind == OP_STREAM_KEEP) {
        op.max_age_ns = rand_chance(r, 2) ? 0 : rand_below(r, rand_chance(r, 2) ? 400 : 60);
        op.max_bytes  = rand_chance(r, 2) ? 0 : rand_below(r, rand_chance(r, 2) ? 4000 : 400);
        op.max_count  = rand_chance(r, 2) ? 0 : rand_below(r, 9);
    }
    if (op.kind == OP_STREAM_STAT) {
        op.wall_ns = m->time - rand_below(r, m->time < 50 ? m->time + 1 : 50);
    }
    if (op.kind == OP_TIMER_TAKE_OVER && rand_chance(r, 2)) {
        op.flags = TIMER_ENDED;
    }
    if (op.kind >= OP_TIMER_SET && op.kind <= OP_TIMER_FIRE) {
        op.name = one_of(r, "xyzwvu");
    }
    if (op.kind == OP_TIMER_FIRE && timer->there) {
        op.name    = bytes_of(&timer->key, 1);
        op.wall_ns = timer->due;
    }
    if (op.kind == OP_TIMER_SET) {
        put_some(r, m, &action, true, 4);
        op.value = wire_written(&action);
    }
    if (op.kind == OP_CURSOR_MOVE) {
        const struct m_stream *st   = m_stream_of((struct model *)(uintptr_t)m, op.stream_id);
        uint64_t               base = st != NULL ? st->start : 0;
        op.sent                     = base + rand_below(r, 20);
        op.count                    = (uint32_t)rand_below(r, 5);
        for (uint32_t i = 0; i < op.count; i++) {
            uint64_t first = base + rand_below(r, RECORDS_MAX + 2);
            op_range_append(&ranges, (struct op_range){.first = first,
                                                       .last  = first + rand_below(r, 4),
                                                       .mark  = rand_chance(r, 3) ? CURSOR_RECEIVED : CURSOR_DONE});
        }
        op.items = wire_written(&ranges);
    }
    op_encode(w, &op);
    wire_writer_fini(&action);
}

/* ---- comparing ---- */

struct balance {
    uint64_t count;
    uint64_t sum; /* of hashes: equal multisets have equal sums */
};

static void on_retained(void *ctx, uint64_t position)
{
    struct balance *b = ctx;
    b->count++;
    b->sum += hash_u64(position + 1);
}

static void on_released(void *ctx, uint64_t position)
{
    struct balance *b = ctx;
    b->count--;
    b->sum -= hash_u64(position + 1);
}

static struct balance recount(const struct model *m)
{
    struct balance b = {0};
    for (int i = 0; i < STREAMS; i++) {
        const struct m_stream *st = &m->streams[i];
        for (uint64_t o = st->start; st->there && o < st->next; o++) {
            if (st->position[o] != UINT64_MAX) {
                on_retained(&b, st->position[o]);
            }
        }
    }
    for (int i = 0; i < TIMERS; i++) {
        const struct m_timer *t = &m->timers[i];
        struct wire_reader    r = wire_reader_of(bytes_of(t->action, t->there ? t->action_size : 0));
        struct op             op;
        while (op_next(&r, &op) > 0) {
            if (op.kind == OP_APPEND) {
                on_retained(&b, t->position + (uint64_t)(op.items.data - t->action));
            }
        }
    }
    return b;
}

struct seen {
    const struct model *model;
    struct bytes        last;
    uint8_t             memory[8];
    uint32_t            table;
    uint64_t            count;
};

static bool on_item(void *ctx, const struct stripe_item *item)
{
    struct seen         *seen = ctx;
    const struct m_item *it   = m_item_of((struct model *)(uintptr_t)seen->model, seen->table, item->key);
    cr_assert(it != NULL && it->version == item->version && it->expires == item->expires_wall_ns);
    cr_assert(bytes_equal(item->value, bytes_of(it->value, it->value_size)));
    cr_assert(seen->count == 0 || bytes_compare(seen->last, item->key) < 0);
    memcpy(seen->memory, item->key.data, item->key.size);
    seen->last = bytes_of(seen->memory, item->key.size);
    seen->count++;
    return true;
}

static void compare(const struct stripe *s, const struct model *m, const struct balance *balance)
{
    for (int i = 0; i < STREAMS; i++) {
        const struct m_stream *st = &m->streams[i];
        struct stripe_stream   out;
        cr_assert_eq(stripe_stream(s, st->id, &out), st->there ? 0 : ERR_NOT_FOUND);
        if (!st->there) {
            continue;
        }
        cr_assert(out.start_offset == st->start && out.next_offset == st->next && out.epoch == st->epoch &&
                  out.flags == st->flags);
        uint64_t positions[OFFSETS];
        uint64_t first;
        uint64_t at = 0;
        int      count;
        while (m_is_latest(st) && (count = stripe_positions(s, st->id, at, positions, 3, &first)) > 0) {
            for (; at < first + (uint64_t)count; at++) {
                cr_assert(at < st->start || st->position[at] == (at < first ? UINT64_MAX : positions[at - first]));
            }
        }
        for (; m_is_latest(st) && at < st->next; at++) {
            cr_assert(at < st->start || st->position[at] == UINT64_MAX);
        }
        if (m_is_latest(st)) {
            continue;
        }
        count = stripe_positions(s, st->id, 0, positions, OFFSETS, &first);
        cr_assert(first == st->start && (uint64_t)count == st->next - st->start);
        cr_assert(count == 0 || memcmp(positions, st->position + first, (size_t)count * 8) == 0);
    }
    for (uint32_t table = 0; table < 2; table++) {
        struct seen seen  = {.model = m, .table = table};
        uint64_t    count = 0;
        cr_assert(
            stripe_scan(s, table, RPC_SCAN_PREFIX, bytes_of(NULL, 0), bytes_of(NULL, 0), 0, NULL, on_item, &seen));
        for (int i = 0; i < ITEMS; i++) {
            count += m->items[i].there && m->items[i].table == table;
        }
        cr_assert_eq(seen.count, count);
    }
    uint64_t due = UINT64_MAX;
    for (int i = 0; i < TIMERS; i++) {
        due = m->timers[i].there && m->timers[i].owner == 0 && m->timers[i].due < due ? m->timers[i].due : due;
    }
    for (int i = 0; i < ITEMS; i++) {
        due = m->items[i].there && m->items[i].expires != 0 && m->items[i].expires < due ? m->items[i].expires : due;
    }
    for (int i = 0; i < STREAMS; i++) {
        const struct m_stream *st = &m->streams[i];
        uint64_t               first;
        uint64_t               end;
        if (st->there && st->max_age != 0 && m_oldest(st, &first, &end)) {
            due = st->time[end - 1] + st->max_age < due ? st->time[end - 1] + st->max_age : due;
        }
    }
    cr_assert_eq(stripe_next_due_ns(s), due, "due %lu, expected %lu, time %lu", stripe_next_due_ns(s), due, m->time);
    cr_assert_eq(stripe_actions_failed(s), m->failed);
    struct balance counted = recount(m);
    cr_assert(counted.count == balance->count && counted.sum == balance->sum);
}

static struct stripe *fresh(struct balance *balance)
{
    *balance                        = (struct balance){0};
    struct stripe_observer observer = {.ctx = balance, .retained = on_retained, .released = on_released};
    return stripe_new(3, &observer);
}

static struct wire_writer image_of(const struct stripe *s)
{
    struct wire_writer w = wire_writer_growing(1 << 24);
    stripe_save(s, &w);
    cr_assert(!w.bad);
    return w;
}

/* As it arrives: pieces of any size, slices of any size. */
static int load_in_slices(struct rand *r, struct stripe *s, struct bytes image, const struct stripe_moved *moved)
{
    struct stripe_loading *loading = stripe_load_begin(s, moved);
    size_t                 slice   = 1 + rand_below(r, rand_chance(r, 2) ? 8 : 2000);
    size_t                 piece   = 1 + rand_below(r, rand_chance(r, 2) ? 40 : 4000);
    size_t                 at      = 0;
    size_t                 come    = 0;
    int                    result  = 1;
    while (result > 0) {
        size_t used;
        result = stripe_load_more(loading, bytes_of(image.data + at, come - at), slice, &used);
        at += used;
        if (result == 2) {
            cr_assert_lt(come, image.size);
            come = come + piece < image.size ? come + piece : image.size;
        }
    }
    stripe_load_end(loading);
    return result == 0 && at != image.size ? 1 : result;
}

static void clear_in_slices(struct rand *r, struct stripe *s)
{
    size_t slice = 1 + rand_below(r, 30);
    while (stripe_clear(s, slice)) {
    }
    stripe_free(s);
}

/* Equal in all that can be seen, positions included. */
static void assert_same(const struct stripe *a, const struct stripe *b)
{
    struct wire_writer left  = image_of(a);
    struct wire_writer right = image_of(b);
    cr_assert(bytes_equal(wire_written(&left), wire_written(&right)));
    cr_assert_eq(stripe_hash(a), stripe_hash(b));
    wire_writer_fini(&left);
    wire_writer_fini(&right);
}

/* Of the same state, in slices and in the order in which things happen to lie in memory. */
static struct wire_writer image_that_tells(const struct stripe *s, size_t slice_bytes, struct balance *told)
{
    struct wire_writer    w      = wire_writer_growing(1 << 24);
    struct stripe_saving *saving = stripe_save_begin(s);
    size_t                before = 0;
    if (told != NULL) {
        stripe_save_tells(saving, on_retained, told);
    }
    while (stripe_save_more(saving, &w, slice_bytes)) {
        cr_assert(w.size > before && w.size - before < slice_bytes + 4096);
        before = w.size;
    }
    cr_assert(!w.bad);
    stripe_save_end(saving);
    return w;
}

static struct wire_writer image_in_slices(const struct stripe *s, size_t slice_bytes)
{
    return image_that_tells(s, slice_bytes, NULL);
}

enum { ENTRIES = 150 };

static bool position_moved(void *ctx, uint64_t from, uint64_t *to)
{
    return bodies_find(ctx, from, to);
}

static bool holds_any(const struct stripe *s, const struct stripe_entry *entry);

/* As a node does that gets the image of another one: the entries that hold something are copied, in the order of the leader's log, to places of its own; then
 * the image is loaded with its positions moved. The model and the entries move along. */
static struct stripe *carry_over(struct rand *r, struct stripe *s, struct balance *balance, struct model *m,
                                 struct stripe_entry *entries, int count, uint64_t *position)
{
    struct bodies bodies;
    uint64_t      moved_to[ENTRIES];
    int           order[ENTRIES];
    bodies_init(&bodies);
    for (int i = 0; i < count; i++) { /* in any order here */
        int other    = (int)rand_below(r, (uint64_t)i + 1);
        order[i]     = order[other];
        order[other] = i;
    }
    for (int i = 0; i < count; i++) {
        *position += rand_below(r, 3) * 4096 + 64;
        moved_to[order[i]] = *position;
        *position += entries[order[i]].ops.size;
    }
    for (int i = 0; i < count; i++) { /* in the order of the leader's log */
        int k = i;
        for (; k > 0 && entries[order[k - 1]].position > entries[i].position; k--) {
            order[k] = order[k - 1];
        }
        order[k] = i;
    }
    for (int k = 0; k < count; k++) {
        const struct stripe_entry *e = &entries[order[k]];
        if (holds_any(s, e)) {
            cr_assert_eq(bodies_add(&bodies, e->position, (uint32_t)e->ops.size, moved_to[order[k]]), 0);
        }
    }
    for (int i = 0; i < STREAMS; i++) {
        struct m_stream *st = &m->streams[i];
        for (uint64_t o = st->start; st->there && o < st->next; o++) {
            cr_assert(st->position[o] == UINT64_MAX || bodies_find(&bodies, st->position[o], &st->position[o]));
        }
    }
    for (int i = 0; i < TIMERS; i++) { /* one that appends nothing may lie nowhere */
        (void)bodies_find(&bodies, m->timers[i].position, &m->timers[i].position);
    }
    for (int i = 0; i < count; i++) {
        entries[i].position = moved_to[i];
    }

    struct balance            carried_balance;
    struct stripe            *carried = fresh(&carried_balance);
    const struct stripe_moved moved   = {.position = position_moved, .ctx = &bodies};
    struct balance            told    = {0};
    struct wire_writer        image   = image_that_tells(s, 1 + rand_below(r, 2000), &told);
    cr_assert(told.count == balance->count && told.sum == balance->sum);
    cr_assert_eq(load_in_slices(r, carried, wire_written(&image), &moved), 0);
    cr_assert_eq(stripe_hash(carried), stripe_hash(s));
    compare(carried, m, &carried_balance);
    stripe_forget(s);
    cr_assert(balance->count == 0 && balance->sum == 0, "all that was retained is released");
    clear_in_slices(r, s);

    struct stripe *again = fresh(balance); /* of its own observer, as it goes on */
    image.size           = 0;
    stripe_save(carried, &image);
    cr_assert_eq(stripe_load(again, wire_written(&image), NULL), 0);
    stripe_free(carried);
    if (bodies.count >
        0) { /* without one of the bodies that it needs it is refused, and nobody is told of a position */
        struct balance none;
        struct stripe *lacking = fresh(&none);
        image.size             = 0;
        stripe_save(again, &image);
        bodies_fini(&bodies);
        cr_assert_eq(load_in_slices(r, lacking, wire_written(&image), &moved), ERR_MALFORMED);
        cr_assert(none.count == 0 && none.sum == 0);
        stripe_free(lacking);
    }
    bodies_fini(&bodies);
    wire_writer_fini(&image);
    return again;
}

struct range_asked {
    uint64_t from, end;
    bool     any;
};

static void on_live(void *ctx, uint64_t position)
{
    struct range_asked *asked = ctx;
    asked->any                = asked->any || (position >= asked->from && position < asked->end);
}

static bool holds_any(const struct stripe *s, const struct stripe_entry *entry)
{
    struct range_asked asked = {.from = entry->position, .end = entry->position + entry->ops.size};
    stripe_live_positions(s, on_live, &asked);
    return asked.any;
}

/* All positions that a stripe holds are those that it has told of. */
static void assert_live(const struct stripe *s, const struct balance *balance)
{
    struct balance live = {0};
    stripe_live_positions(s, on_retained, &live);
    cr_assert(live.count == balance->count && live.sum == balance->sum);
}

static uint64_t successes;
static uint64_t failures;

static void one_seed(uint64_t seed)
{
    struct rand         r;
    struct balance      balance;
    struct stripe      *s = fresh(&balance);
    struct model       *m = calloc(1, sizeof *m);
    struct wire_writer  lists[ENTRIES];
    struct stripe_entry entries[ENTRIES];
    rand_init(&r, seed, 1);
    bool carried      = false; /* timers that append nothing lie elsewhere then: the images differ, the hashes do not */
    m->next_local     = 1;
    uint64_t position = 1 << 20;
    for (int i = 0; i < ENTRIES; i++) {
        lists[i]     = wire_writer_growing(1 << 20);
        uint64_t now = m->time + rand_below(&r, 10);
        if (i == 0) {
            put_some_limits(&r, &lists[i]); /* the model has room for some of all only */
        } else if (!rand_chance(&r, 5) || !stripe_due(s, now, &lists[i])) {
            put_some(&r, m, &lists[i], false, 7);
        }
        cr_assert_eq(stripe_validate(wire_written(&lists[i]), 1 << 20, true), 0);
        entries[i] = (struct stripe_entry){
            .index = (uint64_t)i + 1, .wall_ns = now, .ops = wire_written(&lists[i]), .position = position};
        position += lists[i].size + 64;
        struct wire_writer real     = wire_writer_growing(1 << 20);
        struct wire_writer expected = wire_writer_growing(1 << 20);
        struct balance     held     = balance;
        uint64_t           index    = stripe_applied(s);
        m->time                     = now > m->time ? now : m->time;
        int want                    = m_list(m, entries[i].ops, entries[i].position, 0, &expected);
        int got                     = stripe_apply(s, &entries[i], true, &real);
        cr_assert_eq(got, want, "seed %lu entry %d: %s, expected %s", seed, i, err_name(got), err_name(want));
        cr_assert(bytes_equal(wire_written(&real), wire_written(&expected)), "seed %lu entry %d: results", seed, i);
        successes += got == 0;
        failures += got != 0;
        cr_assert_eq(stripe_applied(s), index + 1);
        cr_assert(got == 0 || (held.count == balance.count && held.sum == balance.sum));
        compare(s, m, &balance);
        wire_writer_fini(&real);
        wire_writer_fini(&expected);
        assert_live(s, &balance);
        if (rand_chance(&r, 30)) {
            s = carry_over(&r, s, &balance, m, entries, i + 1, &position);
            compare(s, m, &balance);
            carried = true;
        }
        if (rand_chance(&r, 20)) {
            struct balance     loaded_balance;
            struct stripe     *loaded = fresh(&loaded_balance);
            struct wire_writer image  = rand_chance(&r, 2)
                                            ? image_of(s)
                                            : image_in_slices(s, 1 + rand_below(&r, rand_chance(&r, 2) ? 8 : 2000));
            cr_assert_eq(rand_chance(&r, 2) ? stripe_load(loaded, wire_written(&image), NULL)
                                            : load_in_slices(&r, loaded, wire_written(&image), NULL),
                         0);
            assert_same(s, loaded);
            cr_assert(loaded_balance.count == balance.count && loaded_balance.sum == balance.sum);
            wire_writer_fini(&image);
            stripe_free(loaded);
            if (rand_chance(&r, 2)) { /* go on with what was loaded; the balance is the one of a restart */
                struct balance rebuilt;
                stripe_free(s);
                s = fresh(&rebuilt);
                for (int k = 0; k <= i; k++) {
                    (void)!stripe_apply(s, &entries[k], false, NULL);
                }
                struct wire_writer replayed = image_of(s);
                stripe_free(s);
                s = fresh(&balance);
                cr_assert_eq(stripe_load(s, wire_written(&replayed), NULL), 0);
                wire_writer_fini(&replayed);
                compare(s, m, &balance);
            }
        }
    }
    struct balance replay_balance;
    struct stripe *replayed = fresh(&replay_balance);
    for (int i = 0; i < ENTRIES; i++) {
        (void)!stripe_apply(replayed, &entries[i], false, NULL);
    }
    cr_assert_eq(stripe_hash(s), stripe_hash(replayed));
    if (!carried) {
        assert_same(s, replayed);
    }
    cr_assert(replay_balance.count == balance.count && replay_balance.sum == balance.sum);
    stripe_free(replayed);
    stripe_free(s);
    for (int i = 0; i < ENTRIES; i++) {
        wire_writer_fini(&lists[i]);
    }
    free(m);
}

Test(stripe_model, random_ops_do_what_the_model_does, .timeout = 120)
{
    const char *seeds = getenv("STRIPE_SEEDS");
    uint64_t    count = seeds != NULL ? strtoull(seeds, NULL, 10) : 200;
    for (uint64_t seed = 1; seed <= count; seed++) {
        one_seed(seed);
    }
    cr_assert_gt(successes, failures / 4); /* both paths are walked */
    cr_assert_gt(failures, successes / 20);
}
