/* Ops survive the wire, and nothing that is not an op is taken for one. */
#include "shared/rpc/op.h"

#include "shared/base/err.h"
#include "shared/record/record.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static struct bytes S(const char *text) {
    return bytes_str(text);
}

static struct record
sample(void)
{
    return (struct record){
        .qos = 1, .publish_wall_ns = 7, .topic = S("a/b"), .properties = S("pp"), .payload = S("hello")};
}

static void put_append(struct wire_writer *w, uint32_t count)
{
    struct record record = sample();
    size_t        begun  = op_append_begin(w, 5, 6, 7);
    for (uint32_t i = 0; i < count; i++) {
        op_append_target(w, 100 + i, bytes_of("tagtagtag", i % 10));
    }
    op_append_end(w, begun, count, &record);
}

static void put_run(struct wire_writer *w, uint32_t count)
{
    struct record record = sample();
    size_t        begun  = op_run_begin(w, 5, 6, 7);
    for (uint32_t i = 0; i < count; i++) {
        op_run_add(w, 100 + i, bytes_of("tagtagtag", i % 10), &record);
    }
    op_run_end(w, begun, count);
}

/* One of each kind but APPEND and APPEND_RUN, every listed field set to something of its own. */
static void put_kind(struct wire_writer *w, uint8_t kind)
{
    static const uint8_t limits[OP_LIMITS_BYTES] = {1, 2, 3};
    uint8_t              memory[128];
    struct wire_writer   ranges = wire_writer_fixed(memory, sizeof memory);
    struct wire_writer   action = wire_writer_growing(4096);
    op_range_append(&ranges, (struct op_range){.first = 3, .last = 4, .mark = CURSOR_RECEIVED});
    op_range_append(&ranges, (struct op_range){.first = 9, .last = 9, .mark = CURSOR_DONE});
    put_append(&action, 2);
    op_encode(&action, &(struct op){.kind = OP_TIMER_RUN, .name = S("other")});
    struct op op = {.kind      = kind,
                    .flags     = kind == OP_STREAM_CREATE ? STREAM_QUEUE : 0,
                    .table     = 11,
                    .cursor    = 12,
                    .count     = 2,
                    .stream_id = 13,
                    .offset    = 14,
                    .epoch     = 15,
                    .sent      = 16,
                    .version   = 17,
                    .owner     = 18,
                    .delay_ns  = 19,
                    .wall_ns   = 20,
                    .max_bytes = 21,
                    .name      = S("the/name"),
                    .value     = kind == OP_TIMER_SET ? wire_written(&action)
                                 : kind == OP_LIMITS  ? bytes_of(limits, sizeof limits)
                                                      : S("value"),
                    .items     = wire_written(&ranges)};
    op_encode(w, &op);
    wire_writer_fini(&action);
}

static void put_any(struct wire_writer *w, uint8_t kind)
{
    if (kind == OP_APPEND) {
        put_append(w, 3);
    } else if (kind == OP_APPEND_RUN) {
        put_run(w, 3);
    } else {
        put_kind(w, kind);
    }
}

Test(rpc_op, every_kind_survives_decode_and_encode)
{
    for (uint8_t kind = 1; kind < OP_KIND_END; kind++) {
        if (kind == OP_APPEND || kind == OP_APPEND_RUN) {
            continue;
        }
        struct wire_writer first  = wire_writer_growing(1 << 16);
        struct wire_writer second = wire_writer_growing(1 << 16);
        put_kind(&first, kind);
        struct wire_reader r = wire_reader_of(wire_written(&first));
        struct op          op;
        cr_assert_eq(op_next(&r, &op), 1, "kind %d", kind);
        cr_assert_eq(op.kind, kind);
        op_encode(&second, &op);
        cr_assert(bytes_equal(wire_written(&first), wire_written(&second)), "kind %d", kind);
        cr_assert_eq(op_next(&r, &op), 0);
        wire_writer_fini(&first);
        wire_writer_fini(&second);
    }
}

Test(rpc_op, fields_land_where_the_header_lists_them)
{
    struct wire_writer w = wire_writer_growing(1 << 16);
    for (uint8_t kind = 1; kind < OP_KIND_END; kind++) {
        put_any(&w, kind);
    }
    struct wire_reader r = wire_reader_of(wire_written(&w));
    struct op          op;
    for (uint8_t kind = 1; kind < OP_KIND_END; kind++) {
        cr_assert_eq(op_next(&r, &op), 1);
        cr_assert_eq(op.kind, kind);
        if (kind == OP_STREAM_CREATE) {
            cr_assert_eq(op.flags, STREAM_QUEUE);
            cr_assert(op.owner == 18 && bytes_equal(op.name, S("the/name")));
        }
        if (kind == OP_STREAM_BYTES) {
            cr_assert_eq(op.max_bytes, 21);
        }
        if (kind == OP_TABLE_PUT) {
            cr_assert(op.table == 11 && op.wall_ns == 20 && bytes_equal(op.value, S("value")));
        }
        if (kind == OP_TIMER_SET) {
            cr_assert(op.owner == 18 && op.delay_ns == 19 && op.value.size != 0);
        }
        if (kind == OP_CURSOR_MOVE) {
            cr_assert(op.stream_id == 13 && op.cursor == 12 && op.epoch == 15 && op.sent == 16 && op.count == 2);
            struct wire_reader items = wire_reader_of(op.items);
            struct op_range    range;
            cr_assert(op_range_next(&items, &range) && range.first == 3 && range.last == 4 &&
                      range.mark == CURSOR_RECEIVED);
            cr_assert(op_range_next(&items, &range) && range.first == 9 && range.last == 9 &&
                      range.mark == CURSOR_DONE);
            cr_assert(!op_range_next(&items, &range));
        }
    }
    cr_assert_eq(op_next(&r, &op), 0);
    wire_writer_fini(&w);
}

Test(rpc_op, an_append_leads_from_every_target_to_its_record)
{
    for (uint32_t count = 1; count <= 300; count += 13) {
        struct wire_writer w = wire_writer_growing(1 << 20);
        put_append(&w, count);
        struct wire_reader r = wire_reader_of(wire_written(&w));
        struct op          op;
        cr_assert_eq(op_next(&r, &op), 1);
        cr_assert(op.writer_id == 5 && op.epoch == 6 && op.sequence == 7 && op.count == count);
        struct record record;
        cr_assert_eq(record_decode(op.record, &record), (int64_t)op.record.size);
        cr_assert(bytes_equal(record.payload, S("hello")));
        struct wire_reader items = wire_reader_of(op.items);
        struct op_target   target;
        for (uint32_t i = 0; i < count; i++) {
            cr_assert(op_target_next(&items, &target));
            cr_assert(target.stream_id == 100 + i && target.tag.size == i % 10);
            struct bytes     all = bytes_of(target.at, (size_t)(w.data + w.size - target.at));
            struct bytes     at_record;
            struct op_target at_target;
            cr_assert_eq(op_target_at(all, &at_target, &at_record), (int64_t)all.size);
            cr_assert_eq(at_record.data, op.record.data);
            cr_assert_eq(at_record.size, op.record.size);
            cr_assert(at_target.stream_id == target.stream_id && bytes_equal(at_target.tag, target.tag));
        }
        cr_assert(!op_target_next(&items, &target));
        wire_writer_fini(&w);
    }
}

Test(rpc_op, a_target_cut_short_says_how_much_more_to_read)
{
    struct wire_writer w = wire_writer_growing(1 << 16);
    put_append(&w, 5);
    struct wire_reader r = wire_reader_of(wire_written(&w));
    struct op          op;
    cr_assert_eq(op_next(&r, &op), 1);
    struct bytes all = bytes_of(op.items.data, op.items.size + op.record.size);
    for (size_t size = 0; size < all.size; size++) {
        struct op_target target;
        struct bytes     record;
        int64_t          need  = (int64_t)size;
        int              asked = 0;
        while (need < (int64_t)all.size) {
            size_t had = (size_t)need;
            need       = op_target_at(bytes_of(all.data, had), &target, &record);
            cr_assert_gt(need, (int64_t)had);
            cr_assert_leq(need, (int64_t)all.size);
            cr_assert_leq(++asked, 4);
        }
        cr_assert_eq(op_target_at(all, &target, &record), (int64_t)all.size);
    }
    wire_writer_fini(&w);
}

/* The items of a run are looked at one by one: all of them, and as many as its head says. */
static int whole_next(struct wire_reader *r, struct op *op)
{
    int got = op_next(r, op);
    if (got <= 0 || op->kind != OP_APPEND_RUN) {
        return got;
    }
    struct wire_reader items = wire_reader_of(op->items);
    struct op_target   target;
    struct bytes       record;
    uint32_t           count = 0;
    int                item;
    while ((item = op_run_next(&items, &target, &record)) > 0) {
        count++;
    }
    return item < 0 || count != op->count ? ERR_MALFORMED : 1;
}

Test(rpc_op, every_truncation_is_malformed)
{
    for (uint8_t kind = 1; kind < OP_KIND_END; kind++) {
        struct wire_writer w = wire_writer_growing(1 << 16);
        put_any(&w, kind);
        for (size_t size = 1; size < w.size; size++) {
            uint8_t *exact = malloc(size); /* so that a sanitizer sees a read past the end */
            memcpy(exact, w.data, size);
            struct wire_reader r = wire_reader_of(bytes_of(exact, size));
            struct op          op;
            cr_assert_eq(whole_next(&r, &op), ERR_MALFORMED, "kind %d size %zu", kind, size);
            free(exact);
        }
        wire_writer_fini(&w);
    }
}

/* The body shortened or lengthened, and the size in front with it: fields no longer fill it. */
Test(rpc_op, a_body_that_its_fields_do_not_fill_is_malformed)
{
    for (uint8_t kind = 1; kind < OP_KIND_END; kind++) {
        struct wire_writer w = wire_writer_growing(1 << 16);
        put_any(&w, kind);
        wire_put_u8(&w, 0);
        uint32_t full = (uint32_t)(w.size - OP_HEADER_BYTES - 1);
        for (uint32_t size = 0; size <= full + 1; size++) {
            memcpy(w.data + 4, &size, sizeof size);
            struct wire_reader r = wire_reader_of(bytes_of(w.data, OP_HEADER_BYTES + size));
            struct op          op;
            cr_assert_eq(whole_next(&r, &op), size == full ? 1 : ERR_MALFORMED, "kind %d size %u", kind, size);
        }
        wire_writer_fini(&w);
    }
}

static int first_of(struct bytes ops)
{
    struct wire_reader r = wire_reader_of(ops);
    struct op          op;
    return op_next(&r, &op);
}

Test(rpc_op, a_run_hands_out_each_record_with_its_target)
{
    struct wire_writer w = wire_writer_growing(1 << 16);
    put_run(&w, 5);
    struct wire_reader r = wire_reader_of(wire_written(&w));
    struct op          op;
    cr_assert_eq(op_next(&r, &op), 1);
    cr_assert(op.kind == OP_APPEND_RUN && op.writer_id == 5 && op.epoch == 6 && op.sequence == 7 && op.count == 5);
    struct wire_reader items = wire_reader_of(op.items);
    for (uint32_t i = 0; i < 5; i++) {
        struct op_target target, again;
        struct bytes     record, same;
        struct record    decoded;
        const uint8_t   *at = items.at;
        cr_assert_eq(op_run_next(&items, &target, &record), 1);
        cr_assert(target.at == at && target.stream_id == 100 + i);
        cr_assert(bytes_equal(target.tag, bytes_of("tagtagtag", i)));
        cr_assert_eq(record_decode(record, &decoded), (int64_t)record.size);
        cr_assert(bytes_equal(decoded.payload, S("hello")));
        /* A reader of the log, which has the position only, finds the same. */
        cr_assert_eq(op_target_at(bytes_of(at, (size_t)(op.items.data + op.items.size - at)), &again, &same),
                     record.data + record.size - at);
        cr_assert(again.stream_id == target.stream_id && bytes_equal(again.tag, target.tag) &&
                  same.data == record.data);
    }
    struct op_target target;
    struct bytes     record;
    cr_assert_eq(op_run_next(&items, &target, &record), 0);
    wire_writer_fini(&w);
}

Test(rpc_op, the_head_of_a_run_is_held_to_its_bounds)
{
    struct wire_writer w    = wire_writer_growing(1 << 16);
    const uint32_t     none = 0, most = OP_RUN_MAX, many = OP_RUN_MAX + 1;
    const uint64_t     last = UINT64_MAX - 1, before = UINT64_MAX - OP_RUN_MAX;
    uint8_t           *count  = NULL;
    uint8_t           *number = NULL;
    put_run(&w, 2);
    number = w.data + OP_HEADER_BYTES + 16;
    count  = w.data + OP_HEADER_BYTES + 24;
    memcpy(count, &none, sizeof none);
    cr_assert_eq(first_of(wire_written(&w)), ERR_MALFORMED);
    memcpy(count, &many, sizeof many);
    cr_assert_eq(first_of(wire_written(&w)), ERR_MALFORMED);
    memcpy(count, &most, sizeof most);
    memcpy(number, &before, sizeof before);
    cr_assert_eq(first_of(wire_written(&w)), 1);
    memcpy(number, &last, sizeof last); /* its last sequence would not fit */
    cr_assert_eq(first_of(wire_written(&w)), ERR_MALFORMED);
    wire_writer_fini(&w);
}

Test(rpc_op, a_target_that_points_beside_the_record_is_malformed)
{
    struct wire_writer w = wire_writer_growing(1 << 16);
    put_append(&w, 2);
    size_t   at    = OP_HEADER_BYTES + 28 + 8;
    uint32_t ahead = 0;
    memcpy(&ahead, w.data + at, sizeof ahead);
    for (int wrong = -1; wrong <= 1; wrong++) {
        uint32_t changed = ahead + (uint32_t)wrong;
        memcpy(w.data + at, &changed, sizeof changed);
        cr_assert_eq(first_of(wire_written(&w)), wrong == 0 ? 1 : ERR_MALFORMED);
    }
    wire_writer_fini(&w);
}

Test(rpc_op, unknown_kinds_flags_marks_and_counts_are_malformed)
{
    struct wire_writer w = wire_writer_growing(1 << 16);
    put_kind(&w, OP_TRIM);
    for (int kind = 0; kind < 256; kind++) {
        w.data[0] = (uint8_t)kind;
        /* CHECK and TABLE_EXPIRE see a table, an empty key and a version in the same 16 bytes. */
        bool fits = kind == OP_TRIM || kind == OP_FENCE || kind == OP_CHECK || kind == OP_TABLE_EXPIRE ||
                    kind == OP_STREAM_STAT;
        cr_assert_eq(first_of(wire_written(&w)), fits ? 1 : ERR_MALFORMED, "kind %d", kind);
    }
    w.data[0] = OP_TRIM;
    for (int at = 1; at < 4; at++) {
        w.data[at] = 1;
        cr_assert_eq(first_of(wire_written(&w)), ERR_MALFORMED);
        w.data[at] = 0;
    }
    w.size = 0;
    put_kind(&w, OP_STREAM_CREATE);
    w.data[1] = STREAM_QUEUE | STREAM_LATEST;
    cr_assert_eq(first_of(wire_written(&w)), ERR_MALFORMED);
    w.size = 0;
    put_kind(&w, OP_CURSOR_MOVE);
    w.data[w.size - 1] = 3;
    cr_assert_eq(first_of(wire_written(&w)), ERR_MALFORMED);
    w.data[w.size - 1]  = CURSOR_DONE;
    w.data[w.size - 17] = 10; /* first behind last */
    cr_assert_eq(first_of(wire_written(&w)), ERR_MALFORMED);
    w.size = 0;
    put_append(&w, 1);
    memset(w.data + OP_HEADER_BYTES + 24, 0, 4);
    cr_assert_eq(first_of(wire_written(&w)), ERR_MALFORMED);
    wire_writer_fini(&w);
}

Test(rpc_op, an_action_may_run_timers_but_neither_set_or_fire_them_nor_limit_the_stripe_nor_append_a_run)
{
    for (uint8_t kind = 1; kind < OP_KIND_END; kind++) {
        struct wire_writer action = wire_writer_growing(1 << 16);
        struct wire_writer w      = wire_writer_growing(1 << 16);
        put_any(&action, kind);
        op_encode(&w, &(struct op){.kind = OP_TIMER_SET, .name = S("t"), .value = wire_written(&action)});
        bool allowed = kind != OP_TIMER_SET && kind != OP_TIMER_FIRE && kind != OP_LIMITS && kind != OP_STREAM_BYTES &&
                       kind != OP_APPEND_RUN;
        cr_assert_eq(first_of(wire_written(&w)), allowed ? 1 : ERR_MALFORMED, "kind %d", kind);
        wire_writer_fini(&action);
        wire_writer_fini(&w);
    }
}

Test(rpc_op, a_writer_that_is_full_turns_bad_and_nothing_breaks)
{
    for (uint8_t kind = 1; kind < OP_KIND_END; kind++) {
        struct wire_writer whole = wire_writer_growing(1 << 16);
        put_any(&whole, kind);
        for (size_t room = 0; room < whole.size; room++) {
            uint8_t           *memory = malloc(room + 1);
            struct wire_writer w      = wire_writer_fixed(memory, room);
            put_any(&w, kind);
            cr_assert(w.bad);
            free(memory);
        }
        wire_writer_fini(&whole);
    }
}
