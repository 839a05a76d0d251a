/* What block.h promises: what goes in comes out; no cut and no flipped bit passes, and a cut is told from rot. */
#include "segstore/log/block.h"

#include "shared/base/rand.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static const struct wal_id the_id = {.bytes = "a log of its own"};

enum { POSITION = 7 * BLOCK_PAGE_BYTES };

/* A block of three pages, in zeros that reach further, as in a segment. */
struct made {
    uint8_t            *image;
    size_t              room;
    struct block_header header;
    uint8_t             ops[3][2600];
};

static struct made make(void)
{
    struct made         m = {.room = (size_t)BLOCK_GROUP_BYTES};
    struct block_writer w;
    struct rand         random;
    rand_init(&random, 1, 2);
    m.image = calloc(1, m.room);
    block_begin(&w, m.image, BLOCK_GROUP_BYTES);
    for (unsigned i = 0; i < 3; i++) {
        for (size_t at = 0; at < sizeof m.ops[i]; at++) {
            m.ops[i][at] = (uint8_t)(rand_u64(&random) | 1); /* no zeros: a cut always changes something */
        }
        struct log_entry entry = {.index   = 10 + i,
                                  .term    = 1,
                                  .wall_ns = 99 + i,
                                  .stripe  = (uint16_t)(i * 3),
                                  .ops     = bytes_of(m.ops[i], sizeof m.ops[i])};
        cr_assert(block_fits(&w, entry.ops.size));
        block_append(&w, &entry);
    }
    m.header = (struct block_header){
        .position = POSITION, .block_seq = 5, .stable_seq = 4, .previous = 77, .previous_stripes = 2, .run_id = 3};
    cr_assert_eq(block_seal(&w, &the_id, &m.header), 3 * BLOCK_PAGE_BYTES);
    return m;
}

static enum block_state check(const struct made *m, uint32_t sector_bytes)
{
    struct block_header h;
    return block_check(bytes_of(m->image, m->room), &the_id, POSITION, sector_bytes, &h);
}

Test(log_block, what_is_written_is_read)
{
    struct made         m = make();
    struct block_header h;
    struct block_cursor cursor;
    struct log_entry    entry;
    cr_assert_eq(block_check(bytes_of(m.image, m.room), &the_id, POSITION, 4096, &h), BLOCK_VALID);
    cr_assert_eq(h.block_seq, 5);
    cr_assert_eq(h.stable_seq, 4);
    cr_assert_eq(h.previous, 77);
    cr_assert_eq(h.previous_stripes, 2);
    cr_assert_eq(h.run_id, 3);
    cr_assert_eq(h.entry_count, 3);
    cr_assert_eq(h.checksum, m.header.checksum);
    cr_assert_eq(h.stripes, BLOCK_STRIPE_BIT(0) | BLOCK_STRIPE_BIT(3) | BLOCK_STRIPE_BIT(6));
    block_entries(&cursor, m.image, &h);
    for (unsigned i = 0; i < 3; i++) {
        cr_assert(block_next(&cursor, &entry));
        cr_assert_eq(entry.index, 10 + i);
        cr_assert_eq(entry.term, 1);
        cr_assert_eq(entry.wall_ns, 99 + i);
        cr_assert_eq(entry.stripe, i * 3);
        cr_assert(bytes_equal(entry.ops, bytes_of(m.ops[i], sizeof m.ops[i])));
        cr_assert_eq(entry.position, POSITION + (uint64_t)(entry.ops.data - m.image));
    }
    cr_assert_not(block_next(&cursor, &entry));
    free(m.image);
}

Test(log_block, a_block_without_entries_is_valid)
{
    uint8_t            *image = aligned_alloc(BLOCK_PAGE_BYTES, BLOCK_PAGE_BYTES);
    struct block_writer w;
    struct block_header h = {.position = 0, .block_seq = 1};
    block_begin(&w, image, BLOCK_PAGE_BYTES);
    cr_assert_eq(block_seal(&w, &the_id, &h), BLOCK_PAGE_BYTES);
    cr_assert_eq(block_check(bytes_of(image, BLOCK_PAGE_BYTES), &the_id, 0, 4096, &h), BLOCK_VALID);
    cr_assert_eq(h.entry_count, 0);
    free(image);
}

Test(log_block, the_largest_entry_fits_the_largest_block_and_one_more_byte_does_not)
{
    cr_assert_eq(block_size_for(BLOCK_ENTRY_MAX_OPS), BLOCK_MAX_BYTES);
    cr_assert_gt(block_size_for(BLOCK_ENTRY_MAX_OPS + 1), (size_t)BLOCK_MAX_BYTES);
    uint8_t            *image = malloc(BLOCK_MAX_BYTES);
    uint8_t            *ops   = calloc(1, BLOCK_ENTRY_MAX_OPS);
    struct block_writer w;
    block_begin(&w, image, BLOCK_MAX_BYTES);
    cr_assert(block_fits(&w, BLOCK_ENTRY_MAX_OPS));
    struct log_entry    entry = {.index = 1, .ops = bytes_of(ops, BLOCK_ENTRY_MAX_OPS)};
    struct block_header h     = {.block_seq = 1};
    block_append(&w, &entry);
    cr_assert_eq(block_seal(&w, &the_id, &h), (size_t)BLOCK_MAX_BYTES);
    cr_assert_eq(block_check(bytes_of(image, BLOCK_MAX_BYTES), &the_id, 0, 4096, &h), BLOCK_VALID);
    free(image);
    free(ops);
}

Test(log_block, every_size_fits_the_block_that_is_said_to_hold_it)
{
    for (size_t size = 0; size < 3 * BLOCK_PAGE_BYTES; size++) {
        static uint8_t      image[8 * BLOCK_PAGE_BYTES];
        struct block_writer w;
        size_t              block = block_size_for(size);
        block_begin(&w, image, block);
        cr_assert(block_fits(&w, size));
        if (block > BLOCK_PAGE_BYTES) { /* and one page less does not do */
            block_begin(&w, image, block - BLOCK_PAGE_BYTES);
            cr_assert_not(block_fits(&w, size));
        }
    }
}

Test(log_block, no_torn_byte_passes)
{
    struct made m    = make();
    size_t      used = m.header.body_offset + m.header.body_bytes;
    uint8_t    *copy = malloc(m.room);
    memcpy(copy, m.image, m.room);
    for (size_t cut = 0; cut < used; cut++) {
        memset(m.image + cut, 0, m.header.length - cut);
        enum block_state state = check(&m, 4096);
        cr_assert_neq(state, BLOCK_VALID, "cut at %zu", cut);
        memcpy(m.image + cut, copy + cut, m.header.length - cut);
    }
    cr_assert_eq(check(&m, 4096), BLOCK_VALID);
    free(copy);
    free(m.image);
}

Test(log_block, pages_that_were_never_written_are_told_from_pages_that_changed)
{
    for (unsigned missing = 1; missing < 8; missing++) { /* every subset of the three pages */
        struct made m = make();
        for (size_t page = 0; page < 3; page++) {
            if ((missing >> page) & 1) {
                memset(m.image + page * BLOCK_PAGE_BYTES, 0, BLOCK_PAGE_BYTES);
            }
        }
        cr_assert_eq(check(&m, 4096), (missing & 1) ? BLOCK_HEADER_ZERO : BLOCK_PAGES_ZERO);
        free(m.image);
    }
    struct made m = make();
    memset(m.image + BLOCK_PAGE_BYTES, 0, BLOCK_PAGE_BYTES);
    m.image[2 * BLOCK_PAGE_BYTES + 9] ^= 1; /* one never written, one changed: changed counts */
    cr_assert_eq(check(&m, 4096), BLOCK_PAGES_BAD);
    free(m.image);
}

Test(log_block, a_device_of_small_sectors_tears_within_a_page)
{
    struct made m = make();
    memset(m.image + BLOCK_PAGE_BYTES + 1024, 0, 512);
    cr_assert_eq(check(&m, 4096), BLOCK_PAGES_BAD);
    cr_assert_eq(check(&m, 512), BLOCK_PAGES_ZERO);
    free(m.image);
    m = make();
    memset(m.image + 512, 0, BLOCK_PAGE_BYTES - 512); /* the header's own page, behind the header */
    cr_assert_eq(check(&m, 4096), BLOCK_PAGES_BAD);
    cr_assert_eq(check(&m, 512), BLOCK_PAGES_ZERO);
    free(m.image);
}

Test(log_block, every_flipped_bit_is_found_and_none_looks_torn)
{
    struct made m = make();
    for (size_t at = 0; at < m.header.length; at++) {
        m.image[at] ^= (uint8_t)(1u << (at % 8));
        enum block_state state = check(&m, 4096);
        cr_assert_eq(state, at < BLOCK_HEADER_BYTES ? BLOCK_HEADER_BAD : BLOCK_PAGES_BAD, "byte %zu", at);
        m.image[at] ^= (uint8_t)(1u << (at % 8));
    }
    free(m.image);
}

Test(log_block, another_logs_block_and_a_misdirected_one_are_not_ours)
{
    struct made         m     = make();
    struct wal_id       other = {.bytes = "another log here"};
    struct block_header h;
    struct bytes        data = bytes_of(m.image, m.room);
    cr_assert_eq(block_check(data, &other, POSITION, 4096, &h), BLOCK_HEADER_BAD);
    cr_assert_eq(block_check(data, &the_id, POSITION + BLOCK_PAGE_BYTES, 4096, &h), BLOCK_HEADER_BAD);
    cr_assert_not(block_header_at(data, &other, POSITION, &h));
    cr_assert_eq(block_check(bytes_of(m.image, 2 * BLOCK_PAGE_BYTES), &the_id, POSITION, 4096, &h), BLOCK_HEADER_BAD,
                 "a block cannot reach past the end of its segment");
    free(m.image);
}
