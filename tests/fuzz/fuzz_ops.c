/* fuzz_ops - bytes as a list of ops, applied when they validate; bytes as an image of a stripe, and what it loads to must save to the same. */
#include "segstore/stripe/stripe.h"
#include "shared/base/hash.h"
#include "shared/record/record.h"
#include "shared/rpc/op.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct stripe_limits limits = {
    .table_bytes_max = 1 << 16, .streams_max = 64, .stream_records_max = 1000, .writers_max = 4};

/* The fuzzer cannot guess checksums: they are put right before anyone looks. */
static void mend_record(uint8_t *record, size_t size)
{
    uint64_t seed;
    memcpy(&seed, record, sizeof seed);
    uint64_t checksum = hash_bytes_seeded(bytes_of(record + 16, size - 16), seed);
    memcpy(record + 8, &checksum, sizeof checksum);
}

static void mend_run(uint8_t *ops, const struct op *op)
{
    struct wire_reader items = wire_reader_of(op->items);
    struct op_target   target;
    struct bytes       record;
    while (op_run_next(&items, &target, &record) > 0) {
        mend_record(ops + (record.data - ops), record.size);
    }
}

static void mend_records(uint8_t *ops, size_t size, int depth)
{
    struct wire_reader r = wire_reader_of(bytes_of(ops, size));
    struct op          op;
    while (op_next(&r, &op) > 0) {
        if (op.kind == OP_APPEND) {
            mend_record(ops + (op.record.data - ops), op.record.size);
        } else if (op.kind == OP_APPEND_RUN) {
            mend_run(ops, &op);
        } else if (op.kind == OP_TIMER_SET && depth == 0) {
            mend_records(ops + (op.value.data - ops), op.value.size, 1);
        }
    }
}

static void limit(struct stripe *s)
{
    struct wire_writer op = wire_writer_growing(1000);
    stripe_limits_op(NULL, &limits, &op);
    struct stripe_entry entry = {.index = 1, .ops = wire_written(&op)};
    ASSERT(stripe_apply(s, &entry, true, NULL) == 0);
    wire_writer_fini(&op);
}

static void apply(struct stripe *s, uint8_t *ops, size_t size)
{
    struct bytes all = bytes_of(ops, size);
    mend_records(ops, size, 0);
    if (stripe_validate(all, 1 << 16, true) != 0) {
        return;
    }
    uint64_t           before  = stripe_actions_failed(s);
    struct wire_writer results = wire_writer_growing(1 << 20);
    for (uint64_t i = 0; i < 2; i++) { /* the second time finds what the first made */
        struct stripe_entry entry = {
            .index = stripe_applied(s) + 1, .wall_ns = stripe_time_ns(s) + 1, .ops = all, .position = 4096 + i * size};
        (void)!stripe_apply(s, &entry, true, &results);
    }
    ASSERT(stripe_actions_failed(s) >= before);
    wire_writer_fini(&results);
}

static void same_when_loaded(const struct stripe *s)
{
    struct wire_writer image  = wire_writer_growing(1 << 26);
    struct wire_writer again  = wire_writer_growing(1 << 26);
    struct stripe     *loaded = stripe_new(0, NULL);
    stripe_save(s, &image);
    ASSERT(stripe_load(loaded, wire_written(&image), NULL) == 0);
    stripe_save(loaded, &again);
    ASSERT(bytes_equal(wire_written(&image), wire_written(&again)));
    ASSERT(stripe_hash(s) == stripe_hash(loaded));
    stripe_free(loaded);
    wire_writer_fini(&image);
    wire_writer_fini(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    struct stripe *s     = stripe_new(0, NULL);
    size_t         bytes = size - 1 + 8;
    uint8_t       *copy  = malloc(bytes);
    memcpy(copy, data + 1, size - 1);
    if ((data[0] & 1) == 0) {
        limit(s);
        apply(s, copy, size - 1);
        same_when_loaded(s);
    } else {
        uint64_t checksum = hash_bytes(bytes_of(copy, size - 1));
        memcpy(copy + size - 1, &checksum, sizeof checksum);
        if (stripe_load(s, bytes_of(copy, bytes), NULL) == 0) {
            same_when_loaded(s);
        }
    }
    stripe_free(s);
    free(copy);
    return 0;
}
