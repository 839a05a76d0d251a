/* stripe_bench - a stripe on a bench: ops are written, applied as its next entry, and what it answered and told lies there to be looked at.
 * Entry n lies at position (1000 + moved_by) x (n - 1); stripe 1. */
#ifndef KEEL_TESTS_UNIT_SEGSTORE_STRIPE_STRIPE_BENCH_H
#define KEEL_TESTS_UNIT_SEGSTORE_STRIPE_STRIPE_BENCH_H

#include "segstore/stripe/stripe.h"
#include "shared/base/err.h"
#include "shared/record/record.h"
#include "shared/rpc/op.h"

#include <criterion/criterion.h>

struct told {
    int      retained, released, appended, ended, changed, deleted;
    uint64_t below;
    int      status;
    char     tag[8];
};

static inline void on_retained(void *ctx, uint64_t position)
{
    (void)position;
    ((struct told *)ctx)->retained++;
}
static inline void on_released(void *ctx, uint64_t position)
{
    (void)position;
    ((struct told *)ctx)->released++;
}
static inline void on_appended(void *ctx, uint64_t id, uint64_t offset, struct bytes tag, struct bytes record)
{
    struct told  *told = ctx;
    struct record r;
    (void)id;
    (void)offset;
    cr_assert_gt(record_decode(record, &r), 0);
    memcpy(told->tag, tag.data, tag.size < 7 ? tag.size : 7);
    told->appended++;
}
static inline void on_ended(void *ctx, uint64_t id, uint64_t below, int status)
{
    struct told *told = ctx;
    (void)id;
    told->ended++;
    told->below  = below;
    told->status = status;
}
static inline void on_changed(void *ctx, uint32_t table, struct bytes key, struct bytes value, uint64_t version,
                              uint64_t expires, bool deleted)
{
    (void)table;
    (void)key;
    (void)value;
    (void)version;
    (void)expires;
    ((struct told *)ctx)->changed++;
    ((struct told *)ctx)->deleted += deleted;
}

struct bench {
    struct stripe     *s;
    struct told        told;
    struct wire_writer ops, results;
    struct wire_reader r; /* of results */
    uint64_t           wall;
    uint64_t           moved_by;
};

static inline int go(struct bench *b);

static inline void limit(struct bench *b, struct stripe_limits limits)
{
    stripe_limits_op(b->s, &limits, &b->ops);
    cr_assert_eq(go(b), 0);
    cr_assert(stripe_limits_are(b->s, &limits));
}

static inline void setup_limited(struct bench *b, struct stripe_limits limits)
{
    memset(b, 0, sizeof *b);
    b->s = stripe_new(
        1, &(struct stripe_observer){&b->told, on_retained, on_released, on_appended, on_ended, on_changed, NULL});
    b->ops     = wire_writer_growing(1 << 20);
    b->results = wire_writer_growing(1 << 20);
    wire_put_u8(&b->ops, 0); /* so that data is there */
    b->ops.size = 0;
    limit(b, limits);
}

static inline void setup(struct bench *b)
{
    setup_limited(b, (struct stripe_limits){
                         .table_bytes_max = 1000, .streams_max = 10, .writers_max = 2, .stream_records_max = 0});
}

static inline void teardown(struct bench *b)
{
    stripe_free(b->s);
    wire_writer_fini(&b->ops);
    wire_writer_fini(&b->results);
}

/* Applies what was written to ops. */
static inline int go(struct bench *b)
{
    struct stripe_entry entry = {.index    = stripe_applied(b->s) + 1,
                                 .wall_ns  = b->wall,
                                 .ops      = wire_written(&b->ops),
                                 .position = (1000 + b->moved_by) * stripe_applied(b->s)};
    cr_assert_eq(stripe_validate(entry.ops, 1000, true), 0);
    b->results.size = 0;
    int status      = stripe_apply(b->s, &entry, true, &b->results);
    b->r            = wire_reader_of(wire_written(&b->results));
    b->ops.size     = 0;
    return status;
}

static inline struct bytes S(const char *text) {
    return bytes_str(text);
}

static inline int
one(struct bench *b, struct op op)
{
    op_encode(&b->ops, &op);
    return go(b);
}

static inline uint64_t create(struct bench *b, const char *name, uint8_t flags)
{
    cr_assert_eq(one(b, (struct op){.kind = OP_STREAM_CREATE, .flags = flags, .name = S(name)}), 0);
    return wire_get_u64(&b->r);
}

static inline void put_append(struct wire_writer *w, uint64_t a, uint64_t b, uint64_t writer, uint64_t epoch,
                              uint64_t sequence)
{
    struct record record = {.topic = S("t"), .payload = S("p")};
    size_t        begun  = op_append_begin(w, writer, epoch, sequence);
    op_append_target(w, a, S("A"));
    if (b != 0) {
        op_append_target(w, b, S("B"));
    }
    op_append_end(w, begun, b != 0 ? 2 : 1, &record);
}

static inline int append(struct bench *b, uint64_t stream, uint64_t writer, uint64_t epoch, uint64_t sequence)
{
    put_append(&b->ops, stream, 0, writer, epoch, sequence);
    return go(b);
}

static inline int mark(struct bench *b, uint64_t stream, uint32_t cursor, uint64_t first, uint64_t last, uint8_t how)
{
    uint8_t            memory[17];
    struct wire_writer w = wire_writer_fixed(memory, sizeof memory);
    op_range_append(&w, (struct op_range){first, last, how});
    return one(b, (struct op){.kind      = OP_CURSOR_MOVE,
                              .stream_id = stream,
                              .cursor    = cursor,
                              .count     = 1,
                              .items     = wire_written(&w),
                              .epoch     = 9});
}

static inline void set_timer(struct bench *b, const char *key, uint64_t owner, uint64_t delay,
                             struct wire_writer *action)
{
    cr_assert_eq(one(b, (struct op){.kind     = OP_TIMER_SET,
                                    .name     = S(key),
                                    .owner    = owner,
                                    .delay_ns = delay,
                                    .value    = wire_written(action)}),
                 0);
}

#endif
