/* What one op costs inside the stripe: nanoseconds for append, acknowledgement and put, on one core, nothing else running.
 *   make build/release/bench/micro/stripe && build/release/bench/micro/stripe */
#include "segstore/stripe/stripe.h"
#include "shared/record/record.h"
#include "shared/rpc/op.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { ROUNDS = 2000000, STREAMS = 1000, ITEMS = 1000000 };

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static uint64_t index_next = 1;

static void apply(struct stripe *s, const struct wire_writer *w, struct wire_writer *results)
{
    struct stripe_entry entry = {
        .index = index_next, .wall_ns = index_next, .ops = wire_written(w), .position = index_next * 256};
    index_next++;
    results->size = 0;
    if (stripe_apply(s, &entry, true, results) != 0) {
        abort();
    }
}

static void print(const char *what, double begun, uint64_t count)
{
    printf("%-44s %8.1f ns\n", what, (now_ns() - begun) / (double)count);
}

static uint64_t stream_of(uint64_t i)
{
    return 1 + (i * 7919) % STREAMS;
}

int main(void)
{
    struct stripe_limits limits = {.table_bytes_max = UINT64_MAX / 2, .streams_max = UINT64_MAX, .writers_max = 10000};
    struct stripe       *s      = stripe_new(0, NULL);
    struct wire_writer   w      = wire_writer_growing(1 << 20);
    struct wire_writer   res    = wire_writer_growing(1 << 20);
    struct record        record = {.qos = 1, .topic = bytes_str("sensor/42/temperature"), .payload = bytes_str("21.5")};
    char                 name[64];
    stripe_limits_op(NULL, &limits, &w);
    apply(s, &w, &res);
    for (int i = 0; i < STREAMS; i++) {
        int size = snprintf(name, sizeof name, "mqtt/session/client-%d", i);
        w.size   = 0;
        op_encode(&w,
                  &(struct op){.kind = OP_STREAM_CREATE, .flags = STREAM_QUEUE, .name = bytes_of(name, (size_t)size)});
        apply(s, &w, &res);
    }
    for (int idempotent = 0; idempotent < 2; idempotent++) {
        double append = 0;
        double ack    = 0;
        for (uint64_t i = 0; i < ROUNDS; i += STREAMS) { /* one record in each stream, then each acknowledged */
            static struct wire_writer appends[STREAMS];
            static struct wire_writer acks[STREAMS];
            for (uint64_t k = 0; k < STREAMS; k++) {
                uint8_t            memory[32];
                struct wire_writer range  = wire_writer_fixed(memory, sizeof memory);
                uint64_t           offset = (i + (uint64_t)idempotent * ROUNDS) / STREAMS;
                appends[k].limit          = 1 << 16;
                acks[k].limit             = 1 << 16;
                appends[k].size           = 0;
                acks[k].size              = 0;
                size_t begun              = op_append_begin(&appends[k], idempotent ? 1 + k : 0, 1, i + 1);
                op_append_target(&appends[k], stream_of(k), bytes_of("\1", 1));
                op_append_end(&appends[k], begun, 1, &record);
                op_range_append(&range, (struct op_range){.first = offset, .last = offset, .mark = CURSOR_DONE});
                op_encode(&acks[k], &(struct op){.kind      = OP_CURSOR_MOVE,
                                                 .stream_id = stream_of(k),
                                                 .count     = 1,
                                                 .sent      = offset + 1,
                                                 .items     = wire_written(&range)});
            }
            double begun = now_ns();
            for (int k = 0; k < STREAMS; k++) {
                apply(s, &appends[k], &res);
            }
            append += now_ns() - begun;
            begun = now_ns();
            for (int k = 0; k < STREAMS; k++) {
                apply(s, &acks[k], &res);
            }
            ack += now_ns() - begun;
        }
        printf("%-44s %8.1f ns\n", idempotent ? "append, one target, idempotent" : "append, one target",
               append / ROUNDS);
        printf("%-44s %8.1f ns\n", "acknowledge in order, queue trimmed", ack / ROUNDS);
    }
    for (int pass = 0; pass < 2; pass++) {
        double begun = now_ns();
        for (uint64_t i = 0; i < ITEMS; i++) {
            int size = snprintf(name, sizeof name, "building/%lu/floor/%lu", (i * 7919) % 1009, (i * 104729) % ITEMS);
            w.size   = 0;
            op_encode(&w, &(struct op){.kind  = OP_TABLE_PUT,
                                       .table = 1,
                                       .name  = bytes_of(name, (size_t)size),
                                       .value = bytes_str("21.5")});
            apply(s, &w, &res);
        }
        print(pass == 0 ? "put, new, up to 1M items (with encoding)" : "put, replaced, 1M items (with encoding)", begun,
              ITEMS);
    }
    double begun = now_ns();
    (void)stripe_hash(s);
    print("hash of all, per item", begun, ITEMS);
    stripe_free(s);
    wire_writer_fini(&w);
    wire_writer_fini(&res);
    return 0;
}
