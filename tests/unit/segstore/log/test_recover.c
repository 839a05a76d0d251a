/* Every cell of the table in recover.h, from bytes: what lies behind the last good block decides what it means. */
#include "segstore/log/recover.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static const struct wal_id the_id = {.bytes = "a log of its own"};

enum { SEGMENT_BYTES = 64 * BLOCK_PAGE_BYTES, LAST_SEQ = 10, BLOCK_BYTES = 3 * BLOCK_PAGE_BYTES };
static const uint64_t SEGMENT_POSITION = 5 * (uint64_t)SEGMENT_BYTES;

/* A segment with block p = 10 at 0; p+1 at 3 pages, p+2 at 6 pages, when they are put there. */
struct disk_image {
    uint8_t               *bytes;
    struct recover_segment segment;
};

static struct disk_image image_new(void)
{
    struct disk_image image = {.bytes = calloc(1, SEGMENT_BYTES)};
    image.segment           = (struct recover_segment){.image        = bytes_of(image.bytes, SEGMENT_BYTES),
                                                       .position     = SEGMENT_POSITION,
                                                       .id           = &the_id,
                                                       .sector_bytes = 4096};
    return image;
}

static struct block_header put(struct disk_image *image, size_t offset, uint64_t seq, uint64_t stable_seq,
                               uint64_t previous, uint16_t stripe, uint64_t previous_stripes)
{
    struct block_writer w;
    uint8_t             ops[9000];
    memset(ops, (int)seq, sizeof ops);
    struct log_entry    entry = {.index = seq, .stripe = stripe, .ops = bytes_of(ops, sizeof ops)};
    struct block_header h     = {.position         = SEGMENT_POSITION + offset,
                                 .block_seq        = seq,
                                 .stable_seq       = stable_seq,
                                 .previous         = previous,
                                 .previous_stripes = previous_stripes};
    block_begin(&w, image->bytes + offset, BLOCK_BYTES);
    block_append(&w, &entry);
    cr_assert_eq(block_seal(&w, &the_id, &h), (size_t)BLOCK_BYTES);
    return h;
}

enum damage_done { NOTHING_THERE, HEADER_LOST, PAGES_LOST, PAGE_CHANGED, HEADER_CHANGED };

static void damage(struct disk_image *image, enum damage_done what)
{
    uint8_t *block = image->bytes + BLOCK_BYTES;
    switch (what) {
    case NOTHING_THERE:
        memset(block, 0, BLOCK_BYTES);
        return;
    case HEADER_LOST:
        memset(block, 0, BLOCK_PAGE_BYTES);
        return;
    case PAGES_LOST:
        memset(block + BLOCK_PAGE_BYTES, 0, 2 * (size_t)BLOCK_PAGE_BYTES);
        return;
    case PAGE_CHANGED:
        block[BLOCK_PAGE_BYTES + 100] ^= 4;
        return;
    case HEADER_CHANGED:
        block[40] ^= 4;
        return;
    }
}

/* later: a block p+2 behind it that claims stable_seq; 0: none. */
static enum recover_verdict verdict_of(enum damage_done what, uint64_t later_stable_seq, struct recover_look *out)
{
    struct disk_image   image = image_new();
    struct block_header p     = put(&image, 0, LAST_SEQ, LAST_SEQ - 1, 1, 0, 0);
    struct block_header next  = put(&image, BLOCK_BYTES, LAST_SEQ + 1, LAST_SEQ, p.checksum, 3, p.stripes);
    if (later_stable_seq != 0) {
        put(&image, 2 * (size_t)BLOCK_BYTES, LAST_SEQ + 2, later_stable_seq, next.checksum, 4, next.stripes);
    }
    damage(&image, what);
    recover_look(&image.segment, BLOCK_BYTES, LAST_SEQ, out);
    free(image.bytes);
    return recover_classify(out->damage, LAST_SEQ, out->stable_seq);
}

struct cell {
    enum damage_done     what;
    uint64_t             stable_seq; /* that p+2 claims, 0: there is no p+2 */
    enum recover_damage  damage;
    enum recover_verdict verdict;
};

Test(log_recover, every_cell_of_the_table)
{
    static const struct cell cells[] = {
        /* nothing behind p at all */
        {NOTHING_THERE, 0, RECOVER_NOTHING, RECOVER_END},
        /* S <= p: no p+2, or one that was under way together with p+1 */
        {HEADER_LOST, 0, RECOVER_HEADER_ZERO, RECOVER_TORN},
        {PAGES_LOST, 0, RECOVER_PAGES_ZERO, RECOVER_TORN},
        {PAGE_CHANGED, 0, RECOVER_PAGES_BAD, RECOVER_UNCERTAIN},
        {HEADER_CHANGED, 0, RECOVER_HEADER_BAD, RECOVER_UNCERTAIN},
        {NOTHING_THERE, LAST_SEQ, RECOVER_HEADER_ZERO, RECOVER_TORN},
        {HEADER_LOST, LAST_SEQ, RECOVER_HEADER_ZERO, RECOVER_TORN},
        {PAGES_LOST, LAST_SEQ, RECOVER_PAGES_ZERO, RECOVER_TORN},
        {PAGE_CHANGED, LAST_SEQ, RECOVER_PAGES_BAD, RECOVER_UNCERTAIN},
        {HEADER_CHANGED, LAST_SEQ, RECOVER_HEADER_BAD, RECOVER_UNCERTAIN},
        /* S >= p+1: p+1 was durable, somebody may have been promised it */
        {NOTHING_THERE, LAST_SEQ + 1, RECOVER_HEADER_ZERO, RECOVER_FAULTY},
        {HEADER_LOST, LAST_SEQ + 1, RECOVER_HEADER_ZERO, RECOVER_FAULTY},
        {PAGES_LOST, LAST_SEQ + 1, RECOVER_PAGES_ZERO, RECOVER_FAULTY},
        {PAGE_CHANGED, LAST_SEQ + 1, RECOVER_PAGES_BAD, RECOVER_FAULTY},
        {HEADER_CHANGED, LAST_SEQ + 1, RECOVER_HEADER_BAD, RECOVER_FAULTY},
    };
    for (size_t i = 0; i < sizeof cells / sizeof cells[0]; i++) {
        struct recover_look  look;
        enum recover_verdict verdict = verdict_of(cells[i].what, cells[i].stable_seq, &look);
        cr_assert_eq(look.damage, cells[i].damage, "cell %zu: damage %d", i, look.damage);
        cr_assert_eq(verdict, cells[i].verdict, "cell %zu: %s", i, recover_verdict_name(verdict));
        cr_assert_eq(look.resumes, cells[i].stable_seq != 0, "cell %zu", i);
        if (look.resumes) {
            cr_assert_eq(look.resume.block_seq, LAST_SEQ + 2);
            cr_assert_eq(look.resume_offset, 2 * (size_t)BLOCK_BYTES);
        }
        cr_assert_eq(look.header_known, cells[i].what == PAGES_LOST || cells[i].what == PAGE_CHANGED, "cell %zu", i);
    }
}

Test(log_recover, nothing_behind_but_a_later_segment_that_knows_better_is_faulty)
{
    cr_assert_eq(recover_classify(RECOVER_NOTHING, 10, 11), RECOVER_FAULTY);
    cr_assert_eq(recover_classify(RECOVER_NOTHING, 10, 10), RECOVER_END);
}

Test(log_recover, stops_at_every_torn_byte)
{
    struct disk_image   image = image_new();
    struct block_header p     = put(&image, 0, LAST_SEQ, LAST_SEQ - 1, 1, 0, 0);
    struct block_header next  = put(&image, BLOCK_BYTES, LAST_SEQ + 1, LAST_SEQ, p.checksum, 3, p.stripes);
    uint8_t            *whole = malloc(BLOCK_BYTES);
    uint8_t            *block = image.bytes + BLOCK_BYTES;
    memcpy(whole, block, BLOCK_BYTES);
    for (size_t cut = 0; cut < (size_t)next.body_offset + next.body_bytes; cut++) {
        struct recover_look look;
        memset(block + cut, 0, BLOCK_BYTES - cut);
        recover_look(&image.segment, BLOCK_BYTES, LAST_SEQ, &look);
        enum recover_verdict verdict = recover_classify(look.damage, LAST_SEQ, look.stable_seq);
        if (cut % BLOCK_PAGE_BYTES == 0) { /* between sectors, as devices tear: cut off, never kept, never an alarm */
            cr_assert_eq(verdict, cut == 0 ? RECOVER_END : RECOVER_TORN, "cut at %zu", cut);
        } else { /* within a sector, as devices do not: whatever it is, it is not taken for whole */
            cr_assert(verdict == RECOVER_UNCERTAIN, "cut at %zu: %s", cut, recover_verdict_name(verdict));
        }
        memcpy(block + cut, whole + cut, BLOCK_BYTES - cut);
    }
    free(whole);
    free(image.bytes);
}

Test(log_recover, with_small_sectors_every_torn_sector_is_cut_off)
{
    struct disk_image   image = image_new();
    struct block_header p     = put(&image, 0, LAST_SEQ, LAST_SEQ - 1, 1, 0, 0);
    put(&image, BLOCK_BYTES, LAST_SEQ + 1, LAST_SEQ, p.checksum, 3, p.stripes);
    image.segment.sector_bytes = 512;
    uint8_t *block             = image.bytes + BLOCK_BYTES;
    uint8_t  whole[BLOCK_BYTES];
    memcpy(whole, block, sizeof whole);
    for (size_t sector = 0; sector < 18; sector++) { /* all that hold something */
        struct recover_look look;
        memset(block + sector * 512, 0, 512);
        recover_look(&image.segment, BLOCK_BYTES, LAST_SEQ, &look);
        cr_assert_eq(recover_classify(look.damage, LAST_SEQ, look.stable_seq), RECOVER_TORN, "sector %zu", sector);
        memcpy(block, whole, sizeof whole);
    }
    free(image.bytes);
}

Test(log_recover, a_stale_successor_of_a_torn_block_does_not_follow)
{
    struct block_header torn  = {.block_seq = LAST_SEQ + 1, .checksum = 111};
    struct block_header stale = {.block_seq = LAST_SEQ + 2, .previous = torn.checksum};
    /* the log went on with another block p+1 */
    cr_assert_not(recover_follows(&stale, LAST_SEQ + 1, 222));
    cr_assert_not(recover_follows(&stale, LAST_SEQ, 111));
    cr_assert(recover_follows(&stale, LAST_SEQ + 1, 111));
}

Test(log_recover, of_two_damaged_blocks_at_the_end_the_first_does_not_tell_all)
{
    for (int both = 0; both < 2; both++) {
        struct recover_look look;
        struct disk_image   image = image_new();
        struct block_header p     = put(&image, 0, LAST_SEQ, LAST_SEQ - 1, 1, 0, 0);
        struct block_header next  = put(&image, BLOCK_BYTES, LAST_SEQ + 1, LAST_SEQ, p.checksum, 3, p.stripes);
        if (both) {
            put(&image, 2 * (size_t)BLOCK_BYTES, LAST_SEQ + 2, LAST_SEQ + 1, next.checksum, 4, next.stripes);
            image.bytes[2 * BLOCK_BYTES + BLOCK_PAGE_BYTES + 100] ^= 4;
        }
        damage(&image, PAGE_CHANGED);
        recover_look(&image.segment, BLOCK_BYTES, LAST_SEQ, &look);
        cr_assert(look.header_known && !look.resumes);
        cr_assert_eq(look.more, both);
        free(image.bytes);
    }
}

Test(log_recover, lost_stripes_are_known_as_far_as_headers_tell)
{
    struct block_header damaged = {.block_seq = 11, .stripes = 1};
    struct block_header resume  = {.block_seq = 12, .previous_stripes = 2};
    cr_assert_eq(recover_lost_stripes(10, &damaged, NULL), 1);
    cr_assert_eq(recover_lost_stripes(10, NULL, NULL), UINT64_MAX);
    cr_assert_eq(recover_lost_stripes(10, &damaged, &resume), 1, "one lost, its own header tells");
    cr_assert_eq(recover_lost_stripes(10, NULL, &resume), 2, "one lost, the next one remembers");
    resume.block_seq = 13;
    cr_assert_eq(recover_lost_stripes(10, &damaged, &resume), 3, "two lost, both are told of");
    cr_assert_eq(recover_lost_stripes(10, NULL, &resume), UINT64_MAX, "two lost, one of them unknown");
    resume.block_seq = 14;
    cr_assert_eq(recover_lost_stripes(10, &damaged, &resume), UINT64_MAX, "three lost");
}
