/* test_arena - pieces of one lifetime. */
#include "shared/mem/arena.h"

#include <criterion/criterion.h>

Test(test_arena, pieces_do_not_overlap_and_are_aligned)
{
    struct arena arena;
    arena_init(&arena, 1024, 1 << 20);
    uint8_t *pieces[200];
    for (size_t i = 0; i < 200; i++) {
        pieces[i] = arena_take(&arena, i + 1);
        cr_assert_eq((uintptr_t)pieces[i] % 16, 0);
        memset(pieces[i], (int)i, i + 1);
    }
    for (size_t i = 0; i < 200; i++) {
        cr_assert_eq(pieces[i][0], i);
        cr_assert_eq(pieces[i][i], i);
    }
    arena_fini(&arena);
    cr_assert_eq(arena.held_bytes, 0);
}

Test(test_arena, the_limit_is_an_answer_and_changes_nothing)
{
    struct arena arena;
    arena_init(&arena, 1000, 4096);
    cr_assert_not_null(arena_take(&arena, 900));
    size_t held = arena.held_bytes;
    cr_assert_null(arena_take(&arena, 4000));
    cr_assert_null(arena_take(&arena, SIZE_MAX));
    cr_assert_eq(arena.held_bytes, held);
    cr_assert_not_null(arena_take(&arena, 80));
    arena_fini(&arena);
}

Test(test_arena, a_reset_keeps_one_block_of_the_usual_size)
{
    struct arena arena;
    arena_init(&arena, 512, 1 << 20);
    arena_reset(&arena);
    cr_assert_eq(arena.held_bytes, 0, "never used: holds nothing");
    void *first = arena_take(&arena, 10);
    arena_take(&arena, 5000);
    arena_take(&arena, 500);
    arena_reset(&arena);
    cr_assert_leq(arena.held_bytes, 512 + 32);
    cr_assert_eq(arena_take(&arena, 10), first);
    arena_fini(&arena);

    arena_init(&arena, 512, 1 << 20);
    arena_take(&arena, 5000);
    arena_reset(&arena);
    cr_assert_eq(arena.held_bytes, 0, "a large first block is not kept");
    arena_fini(&arena);
}

Test(test_arena, a_copy_ends_with_a_zero_byte)
{
    struct arena arena;
    arena_init(&arena, 64, 4096);
    cr_assert_str_eq((char *)arena_copy(&arena, bytes_str("topic")), "topic");
    cr_assert_str_eq((char *)arena_copy(&arena, bytes_of(NULL, 0)), "");
    arena_fini(&arena);
}
