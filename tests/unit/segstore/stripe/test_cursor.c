/* Queues: what consumers have, and what is leased to them. */
#include "segstore/stripe/stripe.h"

#include "shared/base/err.h"
#include "shared/rpc/op.h"
#include "tests/unit/segstore/stripe/stripe_bench.h"

Test(stripe_cursor, a_queue_is_trimmed_to_its_lowest_cursor_and_done_bodies_ahead_are_released)
{
    struct bench b;
    setup(&b);
    uint64_t id = create(&b, "q", STREAM_QUEUE);
    for (int i = 0; i < 6; i++) {
        cr_assert_eq(append(&b, id, 0, 0, 0), 0);
    }
    cr_assert_eq(mark(&b, id, 1, 3, 4, CURSOR_DONE), 0);
    cr_assert_eq(b.told.released, 2);
    uint64_t positions[8];
    uint64_t first;
    cr_assert_eq(stripe_positions(b.s, id, 0, positions, 8, &first), 6);
    cr_assert(first == 0 && positions[2] != UINT64_MAX && positions[3] == UINT64_MAX && positions[4] == UINT64_MAX &&
              positions[5] != UINT64_MAX);
    cr_assert_eq(mark(&b, id, 1, 2, 2, CURSOR_RECEIVED), 0);
    cr_assert_eq(mark(&b, id, 1, 0, 1, CURSOR_DONE), 0);
    cr_assert_eq(wire_get_u64(&b.r), 2);
    cr_assert_eq(b.told.released, 4);
    cr_assert_eq(mark(&b, id, 1, 2, 2, CURSOR_DONE), 0);
    cr_assert_eq(wire_get_u64(&b.r), 5);
    cr_assert_eq(b.told.released, 5);
    cr_assert_eq(mark(&b, id, 2, 5, 5, CURSOR_DONE), 0); /* a second cursor holds what the first has not done */
    cr_assert_eq(b.told.released, 5);
    cr_assert_eq(mark(&b, id, 1, 5, UINT64_MAX, CURSOR_DONE), 0);
    cr_assert(b.told.released == 6 && b.told.retained == 6);
    teardown(&b);
}

Test(stripe_cursor, leases_keep_offsets_from_others_until_they_end_or_are_given_back)
{
    struct bench b;
    uint64_t     offsets[8];
    uint32_t     deliveries[8];
    setup(&b);
    uint64_t id = create(&b, "q", STREAM_QUEUE);
    for (int i = 0; i < 5; i++) {
        cr_assert_eq(append(&b, id, 0, 0, 0), 0);
    }
    cr_assert_eq(stripe_take(b.s, id, 1, 7, 0, 100, offsets, deliveries, 8), ERR_NOT_FOUND);
    cr_assert_eq(one(&b, (struct op){.kind = OP_CURSOR_MOVE, .stream_id = id, .cursor = 1}), 0);
    cr_assert_eq(stripe_take(b.s, id, 1, 7, 0, 100, offsets, deliveries, 2), 2);
    cr_assert(offsets[0] == 0 && offsets[1] == 1 && deliveries[0] == 1);
    cr_assert_eq(mark(&b, id, 1, 3, 3, CURSOR_DONE), 0);
    cr_assert_eq(stripe_take(b.s, id, 1, 8, 0, 50, offsets, deliveries, 8), 2);
    cr_assert(offsets[0] == 2 && offsets[1] == 4);
    cr_assert_eq(stripe_take(b.s, id, 1, 9, 49, 50, offsets, deliveries, 8), 0);
    cr_assert_eq(stripe_take(b.s, id, 1, 9, 50, 50, offsets, deliveries, 8), 2);
    cr_assert(offsets[0] == 2 && deliveries[0] == 2);
    uint64_t back = 1;
    stripe_release(b.s, id, 1, 8, &back, 1); /* not his */
    cr_assert_eq(stripe_take(b.s, id, 1, 9, 51, 50, offsets, deliveries, 8), 0);
    stripe_release(b.s, id, 1, 7, &back, 1);
    cr_assert_eq(stripe_take(b.s, id, 1, 9, 51, 50, offsets, deliveries, 8), 1);
    cr_assert(offsets[0] == 1 && deliveries[0] == 2);
    stripe_release(b.s, id, 1, 0, NULL, 0);
    cr_assert_eq(stripe_take(b.s, id, 1, 9, 51, 50, offsets, deliveries, 8), 4);
    cr_assert_eq(mark(&b, id, 1, 0, 4, CURSOR_DONE), 0);
    cr_assert_eq(stripe_take(b.s, id, 1, 9, 1000, 50, offsets, deliveries, 8), 0);
    teardown(&b);
}
