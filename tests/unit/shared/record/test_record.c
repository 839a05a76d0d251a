#include "shared/record/record.h"

#include "shared/base/err.h"

#include <criterion/criterion.h>

static const struct record sample = {.qos             = 2,
                                     .flags           = RECORD_RETAIN,
                                     .publish_wall_ns = 1700000000000000000u,
                                     .expires_wall_ns = 1700000001000000000u,
                                     .topic           = {(const uint8_t *)"a/b", 3},
                                     .properties      = {(const uint8_t *)"\x01\x01", 2},
                                     .payload         = {(const uint8_t *)"payload", 7}};

Test(record, comes_back_as_it_went_in)
{
    uint8_t       memory[128];
    struct record back;
    record_encode(&sample, memory);
    size_t size = record_size(&sample);
    cr_assert_eq(record_decode(bytes_of(memory, sizeof memory), &back), (int64_t)size);
    cr_assert_eq(back.qos, 2);
    cr_assert_eq(back.flags, RECORD_RETAIN);
    cr_assert_eq(back.publish_wall_ns, sample.publish_wall_ns);
    cr_assert_eq(back.expires_wall_ns, sample.expires_wall_ns);
    cr_assert(bytes_equal(back.topic, sample.topic));
    cr_assert(bytes_equal(back.properties, sample.properties));
    cr_assert(bytes_equal(back.payload, sample.payload));
}

Test(record, every_flipped_bit_is_found)
{
    uint8_t       memory[128];
    struct record back;
    size_t        size = record_size(&sample);
    record_encode(&sample, memory);
    for (size_t bit = 0; bit < size * 8; bit++) {
        memory[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        cr_assert(record_decode(bytes_of(memory, size), &back) < 0, "bit %zu", bit);
        memory[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    cr_assert_eq(record_decode(bytes_of(memory, size), &back), (int64_t)size);
}

Test(record, every_truncation_is_malformed)
{
    uint8_t       memory[128];
    struct record back;
    record_encode(&sample, memory);
    for (size_t size = 0; size < record_size(&sample); size++) {
        cr_assert_eq(record_decode(bytes_of(memory, size), &back), ERR_MALFORMED);
    }
}

Test(record, an_empty_message_is_a_record)
{
    const struct record empty = {.topic = bytes_str("t")};
    uint8_t             memory[RECORD_HEADER_BYTES + 1];
    struct record       back;
    record_encode(&empty, memory);
    cr_assert_eq(record_decode(bytes_of(memory, sizeof memory), &back), RECORD_HEADER_BYTES + 1);
    cr_assert_eq(back.payload.size, 0);
}
