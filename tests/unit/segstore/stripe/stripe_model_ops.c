/* stripe_model_ops.c - ops at random, mostly such that something comes of them. */
#include "tests/unit/segstore/stripe/stripe_model.h"

#include "shared/base/err.h"
#include "shared/base/hash.h"
#include "shared/record/record.h"
#include "shared/rpc/schema.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

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

void put_some_limits(struct rand *r, struct wire_writer *w)
{
    struct stripe_limits limits = {.table_bytes_max    = 60 + rand_below(r, 260),
                                   .streams_max        = 2 + rand_below(r, STREAMS_MAX - 1),
                                   .stream_records_max = rand_chance(r, 8) ? 0 : 2 + rand_below(r, RECORDS_MAX - 1),
                                   .delays_max         = rand_chance(r, 3) ? 1 + rand_below(r, 4) : 0,
                                   .bounded_table      = (uint32_t)rand_below(r, 2),
                                   .bounded_rows_max   = rand_below(r, 6),
                                   .bounded_bytes_max  = rand_chance(r, 2) ? 20 + rand_below(r, 80) : 0,
                                   .writers_max        = 1 + (uint32_t)rand_below(r, WRITERS)};
    stripe_limits_op(NULL, &limits, w);
}

static void put_some_op(struct rand *r, const struct model *m, struct wire_writer *w, bool in_action);

void put_some(struct rand *r, const struct model *m, struct wire_writer *w, bool in_action, uint64_t below)
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
    if (in_action && (op.kind == OP_TIMER_SET || op.kind == OP_TIMER_FIRE || op.kind == OP_LIMITS ||
                      op.kind == OP_STREAM_BYTES || op.kind == OP_APPEND_RUN)) {
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
    if (op.kind == OP_STREAM_BYTES) {
        op.max_bytes = rand_chance(r, 4) ? 0 : rand_below(r, rand_chance(r, 2) ? 1200 : 300);
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
