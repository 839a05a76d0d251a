/* test_members.c - lists of nodes, as they are written. */
#include "broker/gate/members.h"

#include <criterion/criterion.h>

static const char *read(const char *text, uint8_t *row, size_t *out_size)
{
    struct wire_writer w   = wire_writer_fixed(row, MEMBERS_ROW_MAX_BYTES);
    const char        *why = members_row(bytes_str(text), &w);
    *out_size              = w.size;
    cr_assert(!w.bad);
    return why;
}

Test(gate_members, become_a_row)
{
    uint8_t              row[MEMBERS_ROW_MAX_BYTES];
    size_t               size;
    static const uint8_t three[] = {3, 0, 1, 0, 2, 0, 0xff, 0xff};
    cr_assert_null(read("1,2,65535", row, &size));
    cr_assert(bytes_equal(bytes_of(row, size), bytes_of(three, sizeof three)));
    cr_assert_null(read("7", row, &size));
    cr_assert_null(read("1,2,3,4,5,6,7", row, &size));
}

Test(gate_members, that_are_no_list_are_refused)
{
    static const char *const wrong[] = {"",
                                        ",",
                                        "1,",
                                        ",1",
                                        "0",
                                        "65536",
                                        "1,1",
                                        "1 2",
                                        "1,x",
                                        "-1",
                                        "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25",
                                        "99999999999"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        uint8_t row[MEMBERS_ROW_MAX_BYTES];
        size_t  size;
        cr_assert_not_null(read(wrong[i], row, &size), "%s", wrong[i]);
        cr_assert_eq(size, 0, "%s", wrong[i]);
    }
}

Test(gate_members, a_number_is_one_up_to_its_largest_and_nothing_else)
{
    cr_assert_eq(members_number(bytes_str("7"), 7), 7);
    cr_assert_eq(members_number(bytes_str("65535"), 65535), 65535);
    static const char *const wrong[] = {"", "0", "8", "x", "1x", "-1", " 1", "99999999999999"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        cr_assert_eq(members_number(bytes_str(wrong[i]), 7), 0, "%s", wrong[i]);
    }
}
