/* test_entries.c - the end of a log grows, is cut back and forgotten from the front. */
#include "segstore/log/entries.h"

#include <criterion/criterion.h>

static void push(struct entries *e, uint64_t chain, uint32_t size)
{
    struct log_slot slot = {.chain = chain, .size = size};
    entries_push(e, &slot);
}

Test(log_entries, keep_their_index_and_their_place_while_the_ring_grows_and_wraps)
{
    struct entries e;
    entries_init(&e, 7, 70);
    for (uint64_t i = 8; i < 3000; i++) {
        push(&e, i * 10, 1);
        const struct log_slot *oldest = entries_at(&e, e.first);
        push(&e, 0, 1);
        entries_pop_back(&e);
        cr_assert_eq(entries_at(&e, e.first), oldest);
        if (i % 3 == 0) {
            entries_pop_front(&e);
        }
    }
    cr_assert_eq(e.end, 3000);
    for (uint64_t i = e.first; i < e.end; i++) {
        cr_assert_eq(entries_at(&e, i)->chain, i * 10);
    }
    cr_assert_eq(entries_chain(&e, e.first - 1), (e.first - 1) * 10, "of the one that was forgotten last");
    cr_assert_eq(e.bytes, e.end - e.first);
    entries_fini(&e);
}

Test(log_entries, cut_back_at_the_end_take_others_in_their_place)
{
    struct entries e;
    entries_init(&e, 0, 0);
    push(&e, 1, 5);
    push(&e, 2, 6);
    push(&e, 3, 7);
    entries_pop_back(&e);
    entries_pop_back(&e);
    cr_assert_eq(e.bytes, 5);
    push(&e, 20, 8);
    cr_assert_eq(entries_chain(&e, 2), 20);
    cr_assert_eq(entries_chain(&e, 0), 0);
    entries_fini(&e);
}

Test(log_entries, none_at_all_and_then_others_behind_them)
{
    struct entries e;
    entries_init(&e, 60, 0);
    for (uint64_t i = 61; i < 200; i++) { /* across borders of pieces, empty in between */
        push(&e, i, 1);
        entries_pop_front(&e);
        push(&e, 0, 1);
        entries_pop_back(&e);
    }
    cr_assert_eq(e.first, 200);
    cr_assert_eq(e.end, 200);
    cr_assert_eq(e.bytes, 0);
    cr_assert_eq(entries_chain(&e, 199), 199);
    entries_fini(&e);
}
