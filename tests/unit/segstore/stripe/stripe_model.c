/* stripe_model.c - tables, timers, and a list of ops in the model. */
#include "tests/unit/segstore/stripe/stripe_model.h"

#include "shared/base/err.h"
#include "shared/base/hash.h"
#include "shared/record/record.h"
#include "shared/rpc/schema.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

struct m_item *m_item_of(struct model *m, uint32_t table, struct bytes key)
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
    case OP_STREAM_BYTES:
        m->limits.stream_bytes_max = op->max_bytes;
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

int m_list(struct model *m, struct bytes ops, uint64_t position, int depth, struct wire_writer *w)
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
    for (int i = 0; i < STREAMS && depth == 0 && m->limits.stream_bytes_max == 0; i++) {
        m->streams[i].counts = false;
    }
    m->last_stream = last;
    free(before);
    return status;
}
