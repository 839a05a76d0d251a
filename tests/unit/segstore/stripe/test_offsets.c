/* Positions stay where they were put while queues grow, drain and wrap, and memory follows. */
#include "segstore/stripe/offsets.h"

#include "shared/base/rand.h"

#include <criterion/criterion.h>

struct queue {
    union offsets o;
    unsigned      shape;
    uint64_t      held, next;
};

static uint64_t position_of(uint64_t offset)
{
    return offset * 1000 + 7;
}

static void push(struct queue *q)
{
    if (!offsets_fits(q->shape, q->held, q->next)) {
        q->shape = offsets_grow(&q->o, q->shape, q->held, q->next);
    }
    *offsets_slot(&q->o, q->shape, q->next) = position_of(q->next);
    q->next++;
}

static void drop(struct queue *q, uint64_t count)
{
    q->shape = offsets_drop(&q->o, q->shape, q->held, q->held + count, q->next);
    q->held += count;
}

static void check(const struct queue *q)
{
    for (uint64_t offset = q->held; offset < q->next; offset++) {
        cr_assert_eq(*offsets_slot(&q->o, q->shape, offset), position_of(offset));
    }
}

Test(stripe_offsets, one_record_at_a_time_needs_no_memory)
{
    struct queue q = {0};
    for (int i = 0; i < 2000; i++) {
        push(&q);
        check(&q);
        cr_assert_eq(offsets_bytes(&q.o, q.shape), 0);
        drop(&q, 1);
    }
    offsets_fini(&q.o, q.shape);
}

Test(stripe_offsets, a_queue_costs_at_most_16_bytes_a_record_growing_and_32_draining)
{
    struct queue q = {.held = 777, .next = 777};
    for (int i = 0; i < 100000; i++) {
        push(&q);
        uint64_t count = q.next - q.held;
        cr_assert(count < 3 || offsets_bytes(&q.o, q.shape) <= count * 16 + OFFSETS_CHUNK * 8 + 128);
        cr_assert(count < 3 || count > OFFSETS_CHUNK || offsets_bytes(&q.o, q.shape) <= count * 16);
    }
    check(&q);
    while (q.held < q.next) {
        drop(&q, 1);
        uint64_t count = q.next - q.held;
        cr_assert_leq(offsets_bytes(&q.o, q.shape), count * 32 + (count > 128 ? OFFSETS_CHUNK * 16 + 128 : 0));
    }
    cr_assert_eq(offsets_bytes(&q.o, q.shape), 0);
}

Test(stripe_offsets, random_growth_undoing_and_trimming_lose_nothing)
{
    struct rand r;
    rand_init(&r, 3, 3);
    for (int round = 0; round < 30; round++) {
        struct queue q = {.held = rand_below(&r, 5000)};
        q.next         = q.held;
        for (int i = 0; i < 300; i++) {
            for (uint64_t n = rand_below(&r, 1 + (uint64_t)(round % 5) * 100); n != 0; n--) {
                push(&q);
            }
            uint64_t count = q.next - q.held;
            if (rand_chance(&r, 4) && count != 0) {
                q.next -= rand_below(&r, count < 50 ? count : 50); /* as an undone append does */
                count = q.next - q.held;
            }
            if (rand_chance(&r, 3) && count != 0) {
                drop(&q, 1 + rand_below(&r, count));
            }
            check(&q);
        }
        offsets_fini(&q.o, q.shape);
    }
}
