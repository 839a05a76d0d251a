/* What bodies.h promises: every byte of a piece is found in its copy, nothing else is, and pieces that cannot be are refused. */
#include "segstore/log/bodies.h"

#include "shared/base/err.h"
#include "shared/base/rand.h"

#include <criterion/criterion.h>

static bool finds(const struct bodies *b, uint64_t from, uint64_t expected)
{
    uint64_t to = 0;
    return bodies_find(b, from, &to) && to == expected;
}

Test(log_bodies, a_position_inside_a_piece_keeps_its_distance_from_the_start)
{
    struct bodies b;
    uint64_t      to = 7;
    bodies_init(&b);
    cr_assert(!bodies_find(&b, 0, &to));
    cr_assert_eq(bodies_add(&b, 100, 10, 5000), 0);
    cr_assert_eq(bodies_add(&b, 110, 1, 4000), 0, "one that begins where the last one ends");
    cr_assert_eq(bodies_add(&b, 200, 50, 0), 0);
    cr_assert(!bodies_find(&b, 99, &to) && !bodies_find(&b, 111, &to) && !bodies_find(&b, 199, &to) &&
              !bodies_find(&b, 250, &to) && !bodies_find(&b, 0, &to) && !bodies_find(&b, UINT64_MAX, &to));
    cr_assert_eq(to, 7, "left alone");
    cr_assert(finds(&b, 100, 5000) && finds(&b, 109, 5009) && finds(&b, 110, 4000) && finds(&b, 200, 0) &&
              finds(&b, 249, 49));
    bodies_fini(&b);
    bodies_fini(&b);
    cr_assert(!bodies_find(&b, 100, &to));
}

Test(log_bodies, pieces_that_overlap_come_in_another_order_or_hold_nothing_are_refused)
{
    struct bodies b;
    bodies_init(&b);
    cr_assert_eq(bodies_add(&b, 100, 0, 1), ERR_MALFORMED);
    cr_assert_eq(bodies_add(&b, UINT64_MAX - 1, 3, 1), ERR_MALFORMED);
    cr_assert_eq(bodies_add(&b, 1, 3, UINT64_MAX - 1), ERR_MALFORMED);
    cr_assert_eq(bodies_add(&b, 100, 10, 1), 0);
    cr_assert_eq(bodies_add(&b, 109, 10, 100), ERR_MALFORMED);
    cr_assert_eq(bodies_add(&b, 100, 10, 100), ERR_MALFORMED);
    cr_assert_eq(bodies_add(&b, 50, 10, 100), ERR_MALFORMED);
    cr_assert_eq(b.count, 1);
    cr_assert_eq(bodies_add(&b, 110, 10, 100), 0);
    cr_assert(finds(&b, 109, 10) && finds(&b, 119, 109));
    bodies_fini(&b);
}

Test(log_bodies, among_many_pieces_each_position_finds_its_own)
{
    enum { PIECES = 3000 };
    static uint64_t from[PIECES], to[PIECES];
    static uint32_t size[PIECES];
    struct bodies   b;
    struct rand     r;
    uint64_t        at = 1000;
    rand_init(&r, 5, 5);
    bodies_init(&b);
    for (int i = 0; i < PIECES; i++) {
        from[i] = at + rand_below(&r, 3);
        size[i] = 1 + (uint32_t)rand_below(&r, 40);
        to[i]   = rand_u64(&r) >> 8;
        at      = from[i] + size[i];
        cr_assert_eq(bodies_add(&b, from[i], size[i], to[i]), 0);
    }
    cr_assert_leq(b.capacity, 2 * PIECES);
    int piece = 0;
    for (uint64_t position = 900; position < at + 100; position++) {
        while (piece < PIECES && from[piece] + size[piece] <= position) {
            piece++;
        }
        uint64_t found;
        bool     inside = piece < PIECES && from[piece] <= position;
        cr_assert_eq(bodies_find(&b, position, &found), inside);
        cr_assert(!inside || found == to[piece] + (position - from[piece]));
    }
    bodies_fini(&b);
}
