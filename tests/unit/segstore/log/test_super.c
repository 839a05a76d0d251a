/* Two of four copies are enough, fewer are not, and "never formatted" is not "unreadable". */
#include "segstore/log/super.h"

#include <criterion/criterion.h>

static const struct super the_super = {.id                = {.bytes = "a log of its own"},
                                       .cluster           = 9,
                                       .segment_bytes     = 1 << 20,
                                       .formatted_wall_ns = 5,
                                       .shard             = 1,
                                       .shard_count       = 4,
                                       .stripe_count      = 64,
                                       .node              = 2,
                                       .member_count      = 3,
                                       .members           = {1, 2, 3}};

Test(log_super, comes_back_as_it_was)
{
    static uint8_t file[SUPER_BYTES];
    struct super   s;
    super_encode(&the_super, file);
    cr_assert_eq(super_decode(bytes_of(file, sizeof file), &s), SUPER_VALID);
    cr_assert_eq(memcmp(s.id.bytes, the_super.id.bytes, sizeof s.id.bytes), 0);
    cr_assert_eq(s.cluster, 9);
    cr_assert_eq(s.segment_bytes, 1 << 20);
    cr_assert_eq(s.formatted_wall_ns, 5);
    cr_assert_eq(s.shard, 1);
    cr_assert_eq(s.shard_count, 4);
    cr_assert_eq(s.stripe_count, 64);
    cr_assert_eq(s.node, 2);
    cr_assert_eq(s.member_count, 3);
    cr_assert_eq(s.members[2], 3);
}

Test(log_super, any_two_copies_suffice_and_one_does_not)
{
    for (unsigned damaged = 0; damaged < 16; damaged++) {
        static uint8_t file[SUPER_BYTES];
        struct super   s;
        super_encode(&the_super, file);
        for (size_t i = 0; i < SUPER_COPIES; i++) {
            if ((damaged >> i) & 1) {
                file[i * SUPER_COPY_BYTES + 20] ^= 1;
            }
        }
        bool enough = __builtin_popcount(damaged) <= 2;
        cr_assert_eq(super_decode(bytes_of(file, sizeof file), &s), enough ? SUPER_VALID : SUPER_UNREADABLE, "%u",
                     damaged);
    }
}

Test(log_super, every_flipped_byte_of_a_copy_is_found)
{
    static uint8_t file[SUPER_BYTES];
    struct super   s;
    super_encode(&the_super, file);
    memset(file + 2 * SUPER_COPY_BYTES, 0, 2 * (size_t)SUPER_COPY_BYTES);
    for (size_t at = 0; at < 80; at++) { /* two copies are left, one of them is hurt */
        file[at] ^= 0x10;
        cr_assert_eq(super_decode(bytes_of(file, sizeof file), &s), SUPER_UNREADABLE, "byte %zu", at);
        file[at] ^= 0x10;
    }
    cr_assert_eq(super_decode(bytes_of(file, sizeof file), &s), SUPER_VALID);
}

Test(log_super, zeros_were_never_formatted_and_a_short_file_is_unreadable)
{
    static uint8_t file[SUPER_BYTES];
    struct super   s;
    cr_assert_eq(super_decode(bytes_of(file, sizeof file), &s), SUPER_EMPTY);
    super_encode(&the_super, file);
    cr_assert_eq(super_decode(bytes_of(file, SUPER_COPY_BYTES), &s), SUPER_UNREADABLE);
    cr_assert_eq(super_decode(bytes_of(file, 2 * (size_t)SUPER_COPY_BYTES), &s), SUPER_VALID);
}

Test(log_super, another_version_says_so)
{
    static uint8_t file[SUPER_BYTES];
    struct super   s;
    super_encode(&the_super, file);
    for (size_t i = 0; i < SUPER_COPIES; i++) {
        file[i * SUPER_COPY_BYTES + 4] = 9;
    }
    cr_assert_eq(super_decode(bytes_of(file, sizeof file), &s), SUPER_VERSION_OTHER);
}
