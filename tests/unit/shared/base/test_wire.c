#include "shared/base/wire.h"

#include <criterion/criterion.h>
#include <stdlib.h>

Test(base_wire, numbers_come_back_as_they_went_in)
{
    struct wire_writer w = wire_writer_growing(1 << 20);
    wire_put_u8(&w, 0xab);
    wire_put_u16(&w, 0x1234);
    wire_put_u32(&w, 0xdeadbeef);
    wire_put_u64(&w, 0x0123456789abcdefu);
    wire_put_blob(&w, bytes_str("hello"));
    cr_assert(!w.bad);
    struct wire_reader r = wire_reader_of(wire_written(&w));
    cr_assert_eq(wire_get_u8(&r), 0xab);
    cr_assert_eq(wire_get_u16(&r), 0x1234);
    cr_assert_eq(wire_get_u32(&r), 0xdeadbeef);
    cr_assert_eq(wire_get_u64(&r), 0x0123456789abcdefu);
    cr_assert(bytes_equal(wire_get_blob(&r), bytes_str("hello")));
    cr_assert(!r.bad && wire_left(&r) == 0);
    wire_writer_fini(&w);
}

Test(base_wire, numbers_are_little_endian)
{
    uint8_t            memory[4];
    struct wire_writer w = wire_writer_fixed(memory, sizeof memory);
    wire_put_u32(&w, 0x01020304);
    cr_assert(memory[0] == 4 && memory[3] == 1);
}

Test(base_wire, a_reader_that_would_pass_its_end_turns_bad_and_stays_bad)
{
    const uint8_t      three[3] = {1, 2, 3};
    struct wire_reader r        = wire_reader_of(bytes_of(three, 3));
    cr_assert_eq(wire_get_u32(&r), 0);
    cr_assert(r.bad);
    cr_assert_eq(wire_get_u8(&r), 0);
    cr_assert_eq(wire_get(&r, 1).size, 0);
}

Test(base_wire, a_blob_longer_than_its_input_is_bad)
{
    const uint8_t      lying[] = {0xff, 0xff, 0xff, 0xff, 'x'};
    struct wire_reader r       = wire_reader_of(bytes_of(lying, sizeof lying));
    cr_assert_eq(wire_get_blob(&r).size, 0);
    cr_assert(r.bad);
}

Test(base_wire, fixed_memory_never_overflows)
{
    uint8_t            memory[5] = {0, 0, 0, 0, 0x77};
    struct wire_writer w         = wire_writer_fixed(memory, 4);
    wire_put_u32(&w, 1);
    wire_put_u8(&w, 9);
    cr_assert(w.bad);
    cr_assert_eq(memory[4], 0x77);
}

Test(base_wire, a_growing_writer_stops_at_its_limit)
{
    struct wire_writer w = wire_writer_growing(1000);
    for (int i = 0; i < 1000; i++) {
        wire_put_u8(&w, (uint8_t)i);
    }
    cr_assert(!w.bad);
    wire_put_u8(&w, 0);
    cr_assert(w.bad);
    cr_assert_eq(w.data[999], (uint8_t)999);
    wire_writer_fini(&w);
}
