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
