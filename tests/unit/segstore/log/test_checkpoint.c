/* A checkpoint file is believed as a whole or not at all. */
#include "segstore/log/checkpoint.h"

#include "shared/base/err.h"
#include "shared/base/hash.h"

#include <criterion/criterion.h>

static const struct checkpoint the_checkpoint = {.id              = {.bytes = "a log of its own"},
                                                 .number          = 3,
                                                 .replay_position = 1 << 20,
                                                 .last_seq        = 77,
                                                 .last_checksum   = 88,
                                                 .last_stripes    = 99,
                                                 .stripe_count    = 3};

static const struct checkpoint_file the_files[3] = {
    {1, 500, 0}, {(1 << 28) + 1, 7, 8192}, {CHECKPOINT_TAKEN + 2, 123456, 0}};

static struct wire_writer make(void)
{
    struct wire_writer w = wire_writer_growing(1 << 20);
    checkpoint_put_header(&w, &the_checkpoint);
    cr_assert_eq(w.size, CHECKPOINT_HEADER_BYTES);
    for (uint16_t i = 0; i < 3; i++) {
        uint8_t image[100];
        size_t  size = 50u * i; /* the first image is empty */
        for (unsigned at = 0; at < size; at++) {
            image[at] = (uint8_t)(at + i);
        }
        XXH128_canonical_t sum;
        XXH128_canonicalFromHash(&sum, XXH3_128bits(image, size));
        const struct checkpoint_section section = {.stripe = (uint16_t)(i * 2), .index = 1000u + i, .replica_bytes = i};
        checkpoint_put_section(&w, &section, size, sum.digest);
        wire_put(&w, image, size);
    }
    checkpoint_put_files(&w, the_files, 3);
    checkpoint_put_trailer(&w, 3, w.size);
    return w;
}

Test(log_checkpoint, images_come_back_in_order)
{
    struct wire_writer        w = make();
    struct checkpoint         c;
    struct checkpoint_section section;
    size_t                    at = 0;
    cr_assert_eq(checkpoint_decode(wire_written(&w), &the_checkpoint.id, &c), 0);
    cr_assert_eq(c.number, 3);
    cr_assert_eq(c.replay_position, 1 << 20);
    cr_assert_eq(c.last_seq, 77);
    cr_assert_eq(c.last_checksum, 88);
    cr_assert_eq(c.last_stripes, 99);
    for (unsigned i = 0; i < 3; i++) {
        cr_assert(checkpoint_next(wire_written(&w), &c, &at, &section));
        cr_assert_eq(section.stripe, i * 2);
        cr_assert_eq(section.index, 1000 + i);
        cr_assert_eq(section.image.size, 50 * i - i);
        cr_assert_eq(section.replica.size, i, "the end of it is the replica's");
        cr_assert_eq(section.taken_seq, section.stripe == 2 ? 123456 : 0, "of the others nothing is told");
        cr_assert(i == 0 || section.image.data[1] == i + 1);
    }
    cr_assert(checkpoint_next(wire_written(&w), &c, &at, &section));
    cr_assert_eq(section.stripe, CHECKPOINT_FILES);
    struct checkpoint_file file;
    size_t                 file_at = 0;
    for (unsigned i = 0; i < 3; i++) {
        cr_assert(checkpoint_next_file(section.image, &file_at, &file));
        cr_assert(file.number == the_files[i].number && file.total == the_files[i].total &&
                  file.bytes == the_files[i].bytes);
    }
    cr_assert_not(checkpoint_next_file(section.image, &file_at, &file));
    cr_assert_not(checkpoint_next(wire_written(&w), &c, &at, &section));
    wire_writer_fini(&w);
}

Test(log_checkpoint, every_flipped_byte_is_found)
{
    struct wire_writer w = make();
    struct checkpoint  c;
    for (size_t at = 0; at < w.size; at++) {
        w.data[at] ^= 0x20;
        cr_assert_lt(checkpoint_decode(wire_written(&w), &the_checkpoint.id, &c), 0, "byte %zu", at);
        w.data[at] ^= 0x20;
    }
    cr_assert_eq(checkpoint_decode(wire_written(&w), &the_checkpoint.id, &c), 0);
    wire_writer_fini(&w);
}

Test(log_checkpoint, no_shorter_and_no_longer_file_passes)
{
    struct wire_writer w = make();
    struct checkpoint  c;
    for (size_t size = 0; size < w.size; size++) {
        cr_assert_lt(checkpoint_decode(bytes_of(w.data, size), &the_checkpoint.id, &c), 0, "%zu bytes", size);
    }
    wire_put_u8(&w, 0);
    cr_assert_eq(checkpoint_decode(wire_written(&w), &the_checkpoint.id, &c), ERR_CORRUPT);
    wire_writer_fini(&w);
}

Test(log_checkpoint, another_logs_and_another_versions_file_say_so)
{
    struct wire_writer  w     = make();
    const struct wal_id other = {.bytes = "another log here"};
    struct checkpoint   c;
    cr_assert_eq(checkpoint_decode(wire_written(&w), &other, &c), ERR_CONFLICT);
    w.data[4] = 9;
    cr_assert_eq(checkpoint_decode(wire_written(&w), &the_checkpoint.id, &c), ERR_VERSION);
    wire_writer_fini(&w);
}
