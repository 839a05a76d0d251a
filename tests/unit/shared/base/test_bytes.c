#include "shared/base/bytes.h"

#include <criterion/criterion.h>

Test(base_bytes, zeros_of_any_length_are_zero_and_one_bit_anywhere_is_seen)
{
    enum { LONGEST = 300, AHEAD = 3 /* no vector begins aligned */ };
    static uint8_t memory[AHEAD + LONGEST + 1];
    memory[AHEAD - 1] = 1;
    for (size_t size = 0; size <= LONGEST; size++) {
        memory[AHEAD + size] = 1; /* what lies behind does not count */
        cr_assert(bytes_zero(bytes_of(memory + AHEAD, size)), "%zu", size);
        memory[AHEAD + size] = 0;
        for (size_t at = 0; at < size; at++) {
            memory[AHEAD + at] = (uint8_t)(1u << (at % 8));
            cr_assert_not(bytes_zero(bytes_of(memory + AHEAD, size)), "%zu of %zu", at, size);
            memory[AHEAD + at] = 0;
        }
    }
    cr_assert(bytes_zero((struct bytes){0}));
}

Test(base_bytes, a_number_is_digits_and_fits)
{
    uint64_t value = 7;
    cr_assert(bytes_number(bytes_str("0"), &value) && value == 0);
    cr_assert(bytes_number(bytes_str("0042"), &value) && value == 42);
    cr_assert(bytes_number(bytes_str("18446744073709551615"), &value) && value == UINT64_MAX);
    const char *none[] = {"", "-1", "+1", "1 ", " 1", "1a", "/", ":", "18446744073709551616", "99999999999999999999"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        cr_expect_not(bytes_number(bytes_str(none[i]), &value), "%s", none[i]);
    }
}

Test(base_bytes, what_is_kept_is_a_copy_with_an_end_mark)
{
    char         room[8] = "xxxxxxx";
    char        *at      = room;
    struct bytes first   = bytes_keep(&at, bytes_str("abc"));
    struct bytes none    = bytes_keep(&at, (struct bytes){0});
    cr_assert(bytes_equal(first, bytes_str("abc")) && none.size == 0);
    cr_assert_arr_eq(room, "abc\0\0xx", 8);
    cr_assert_eq(at, room + 5);
}
