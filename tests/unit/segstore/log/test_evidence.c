/* What evidence.h promises: the block is found from any byte in it, and nothing that has changed is taken for proved. */
#include "segstore/log/evidence.h"

#include "shared/base/err.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCKS = 3, ENTRIES = 40, OPS_BYTES = 500, AT = 8 * BLOCK_PAGE_BYTES, SEGMENT_BYTES = 1 << 20 };

static const struct wal_id id = {{1, 2, 3}};

struct world {
    uint8_t            *image; /* of a segment that begins at SEGMENT_BYTES */
    struct block_header headers[BLOCKS];
    struct log_entry    entries[BLOCKS][ENTRIES];
    uint8_t             ops[OPS_BYTES];
};

static void make(struct world *w)
{
    memset(w, 0, sizeof *w);
    w->image = aligned_alloc(BLOCK_PAGE_BYTES, SEGMENT_BYTES);
    memset(w->image, 0, SEGMENT_BYTES);
    memset(w->ops, 0x5a, sizeof w->ops);
    size_t at = AT;
    for (int b = 0; b < BLOCKS; b++) {
        struct block_writer writer;
        struct block_cursor cursor;
        block_begin(&writer, w->image + at, 16 * BLOCK_PAGE_BYTES);
        for (int i = 0; i < ENTRIES; i++) {
            w->ops[0] = (uint8_t)i;
            (void)block_append(&writer, &(struct log_entry){.stripe = 4,
                                                            .index  = (uint64_t)(b * ENTRIES + i),
                                                            .chain  = 77,
                                                            .ops    = bytes_of(w->ops, sizeof w->ops)});
        }
        w->headers[b] = (struct block_header){.position = SEGMENT_BYTES + at, .block_seq = (uint64_t)b + 1};
        at += block_seal(&writer, &id, &w->headers[b]);
        cr_assert(block_header_at(bytes_of(w->image + w->headers[b].position - SEGMENT_BYTES, SEGMENT_BYTES - AT * 2),
                                  &id, w->headers[b].position, &w->headers[b]));
        block_entries(&cursor, w->image + w->headers[b].position - SEGMENT_BYTES, &w->headers[b]);
        for (int i = 0; i < ENTRIES; i++) {
            cr_assert(block_next(&cursor, &w->entries[b][i]));
        }
    }
}

static struct evidence piece(const struct world *w, size_t from, size_t to)
{
    return (struct evidence){.image        = bytes_of(w->image + from, to - from),
                             .position     = SEGMENT_BYTES + from,
                             .begin        = SEGMENT_BYTES,
                             .end          = 2 * SEGMENT_BYTES,
                             .id           = &id,
                             .sector_bytes = 4096};
}

Test(log_evidence, an_entry_is_found_and_proved_from_any_byte_in_it)
{
    struct world w;
    make(&w);
    struct evidence all = piece(&w, 0, SEGMENT_BYTES);
    for (int b = 0; b < BLOCKS; b++) {
        for (int i = 0; i < ENTRIES; i++) {
            struct block_header header;
            struct log_entry    entry;
            uint64_t            position = w.entries[b][i].position + (uint64_t)i * 7;
            cr_assert_eq(evidence_block(&all, position, &header), 0);
            cr_assert_eq(header.block_seq, (uint64_t)b + 1);
            cr_assert_eq(evidence_of(&all, &header, position, 20, &entry), EVIDENCE_ENTRY);
            cr_assert(entry.index == (uint64_t)(b * ENTRIES + i) && entry.chain == 77 && entry.stripe == 4);
            cr_assert_eq(evidence_of(&all, &header, position, OPS_BYTES, &entry) == EVIDENCE_ENTRY, i == 0,
                         "not beyond the entry");
        }
    }
    free(w.image);
}

Test(log_evidence, a_piece_that_does_not_hold_the_block_asks_for_a_larger_one)
{
    struct world        w;
    struct block_header header;
    make(&w);
    uint64_t        last = w.entries[1][ENTRIES - 1].position;
    size_t          page = (size_t)(last - SEGMENT_BYTES) / BLOCK_PAGE_BYTES * BLOCK_PAGE_BYTES;
    struct evidence late = piece(&w, page, SEGMENT_BYTES);
    cr_assert_eq(evidence_block(&late, last, &header), 1, "its header lies before");
    struct evidence early = piece(&w, 0, (size_t)(w.headers[1].position - SEGMENT_BYTES) + BLOCK_PAGE_BYTES);
    cr_assert_eq(evidence_block(&early, w.entries[1][0].position, &header), 1, "it ends behind");
    struct evidence all = piece(&w, 0, SEGMENT_BYTES);
    cr_assert_eq(evidence_block(&all, SEGMENT_BYTES + 5, &header), ERR_NOT_FOUND, "no block is there");
    free(w.image);
}

Test(log_evidence, of_a_block_that_changed_only_pages_that_did_not_are_proved)
{
    struct world     w;
    struct log_entry entry;
    make(&w);
    struct evidence           all    = piece(&w, 0, SEGMENT_BYTES);
    const struct block_header header = w.headers[1];
    uint8_t                  *block  = w.image + (header.position - SEGMENT_BYTES);
    size_t                    hurt   = 2 * BLOCK_PAGE_BYTES + 100;
    block[hurt] ^= 4;
    int proved = 0;
    for (int i = 0; i < ENTRIES; i++) {
        size_t from    = (size_t)(w.entries[1][i].position - header.position);
        bool   touches = from / BLOCK_PAGE_BYTES <= 2 && (from + OPS_BYTES - 1) / BLOCK_PAGE_BYTES >= 2;
        cr_assert_eq(evidence_of(&all, &header, w.entries[1][i].position, OPS_BYTES, &entry),
                     touches ? EVIDENCE_NONE : EVIDENCE_PAGES, "entry %d", i);
        proved += !touches;
    }
    cr_assert(proved > 0 && proved < ENTRIES);
    cr_assert_eq(evidence_of(&all, &w.headers[0], w.entries[0][3].position, OPS_BYTES, &entry), EVIDENCE_ENTRY);
    block[hurt] ^= 4;
    block[BLOCK_HEADER_BYTES + 1] ^= 1; /* the table itself */
    cr_assert_eq(evidence_of(&all, &header, w.entries[1][0].position, OPS_BYTES, &entry), EVIDENCE_NONE);
    free(w.image);
}

Test(log_evidence, a_block_without_its_header_is_not_found_and_not_taken_for_the_one_before)
{
    struct world        w;
    struct block_header header;
    make(&w);
    struct evidence all = piece(&w, 0, SEGMENT_BYTES);
    w.image[w.headers[1].position - SEGMENT_BYTES + 30] ^= 1;
    cr_assert_eq(evidence_block(&all, w.entries[1][0].position, &header), ERR_NOT_FOUND);
    cr_assert_eq(evidence_block(&all, w.entries[2][0].position, &header), 0);
    cr_assert_eq(header.block_seq, 3);
    free(w.image);
}

/* ---- its place ---- */

enum { FIRST = 100 }; /* index of the first entry of the stripe */

/* As make, with entries of the stripe in their order, in one term but for the last block; body: the block in the middle begins with what has no place in it. */
static void make_chained(struct world *w, bool body)
{
    uint64_t chain = 5;
    size_t   at    = AT;
    make(w);
    for (int b = 0; b < BLOCKS; b++) {
        struct block_writer writer;
        struct block_cursor cursor;
        block_begin(&writer, w->image + at, 16 * BLOCK_PAGE_BYTES);
        for (int i = 0; i < ENTRIES; i++) {
            struct log_entry entry = {.stripe = 4,
                                      .index  = (uint64_t)(FIRST + b * ENTRIES + i),
                                      .term   = b == BLOCKS - 1 ? 3 : 2,
                                      .ops    = bytes_of(w->ops, sizeof w->ops)};
            w->ops[0]              = (uint8_t)i;
            if (body && b == 1 && i == 0) {
                entry.kind  = LOG_BODY;
                entry.index = 0;
            } else {
                chain = entry.chain = log_chain(chain, &entry);
            }
            (void)block_append(&writer, &entry);
        }
        w->headers[b] = (struct block_header){.position = SEGMENT_BYTES + at, .block_seq = (uint64_t)b + 1};
        size_t length = block_seal(&writer, &id, &w->headers[b]);
        cr_assert(block_header_at(bytes_of(w->image + at, length), &id, w->headers[b].position, &w->headers[b]));
        block_entries(&cursor, w->image + at, &w->headers[b]);
        for (int i = 0; i < ENTRIES; i++) {
            cr_assert(block_next(&cursor, &w->entries[b][i]));
        }
        at += length;
    }
}

static uint8_t *byte_at(const struct world *w, uint64_t position)
{
    return w->image + (position - SEGMENT_BYTES);
}

Test(log_evidence, in_a_block_that_has_changed_the_chain_proves_all_entries_but_the_one_that_has)
{
    struct world w;
    make_chained(&w, false);
    struct evidence all = piece(&w, 0, SEGMENT_BYTES);
    for (int hurt = 1; hurt < ENTRIES; hurt += 7) {
        *byte_at(&w, w.entries[1][hurt].position + 50) ^= 1;
        for (int i = 0; i < ENTRIES; i++) {
            struct evidence_place place;
            cr_assert_eq(evidence_place(&all, 4, w.entries[1][i].position + 9, &place), i != hurt, "%d of %d", i, hurt);
            cr_assert_eq(place.low, w.entries[1][i].index - 1);
            cr_assert_eq(place.high, w.entries[1][i].index + 1);
            cr_assert(place.chain == w.entries[1][i].chain && place.at == 9);
        }
        *byte_at(&w, w.entries[1][hurt].position + 50) ^= 1;
    }
    free(w.image);
}

Test(log_evidence, an_entry_whose_head_has_changed_has_the_place_that_the_next_one_tells)
{
    enum { INDEX_AT = 8, TERM_AT = 16, HURT = 7 };
    struct world w;
    make_chained(&w, false);
    struct evidence all = piece(&w, 0, SEGMENT_BYTES);
    for (uint64_t field = INDEX_AT; field <= TERM_AT; field += TERM_AT - INDEX_AT) {
        const struct log_entry *hurt = &w.entries[1][HURT];
        uint8_t                *byte = byte_at(&w, hurt->position - BLOCK_ENTRY_BYTES + field);
        *byte ^= 64;
        for (int i = HURT - 1; i <= HURT + 1; i++) {
            struct evidence_place place;
            cr_assert_eq(evidence_place(&all, 4, w.entries[1][i].position + 9, &place), i != HURT, "%d", i);
            cr_assert(place.low + 1 == w.entries[1][i].index && place.high == w.entries[1][i].index + 1, "%d", i);
            cr_assert(place.chain == w.entries[1][i].chain && place.at == 9);
        }
        *byte ^= 64;
    }
    free(w.image);
}

Test(log_evidence, of_what_is_lost_with_its_head_the_place_is_told_by_the_entries_around_it)
{
    struct world          w;
    struct evidence_place place;
    make_chained(&w, false);
    struct evidence all   = piece(&w, 0, SEGMENT_BYTES);
    uint8_t        *page  = byte_at(&w, w.headers[1].position + 2 * BLOCK_PAGE_BYTES);
    int             first = 0;
    for (int i = 0; i < ENTRIES; i++) {
        const struct log_entry *entry = &w.entries[1][i];
        const uint8_t          *begin = byte_at(&w, entry->position) - BLOCK_ENTRY_BYTES;
        first                         = first == 0 && begin + BLOCK_ENTRY_BYTES + OPS_BYTES > page ? i : first;
    }
    memset(page, 0xee, BLOCK_PAGE_BYTES);
    uint64_t position = w.entries[1][first + 2].position + 9;
    int      next     = first;
    while (byte_at(&w, w.entries[1][next].position) - BLOCK_ENTRY_BYTES < page + BLOCK_PAGE_BYTES) {
        next++;
    }
    cr_assert_not(evidence_place(&all, 4, position, &place));
    cr_assert_eq(place.chain, 0);
    cr_assert(place.low == w.entries[1][first].index - 1 && place.high == w.entries[1][next].index);
    cr_assert_eq(place.from, w.entries[1][first].position - BLOCK_ENTRY_BYTES);
    cr_assert_eq(place.to, w.entries[1][next].position - BLOCK_ENTRY_BYTES);
    cr_assert(place.sealed == w.entries[1][next].chain && place.term == 2);
    memset(page, 0xee, w.headers[1].length - 2 * BLOCK_PAGE_BYTES);
    cr_assert_not(evidence_place(&all, 4, position, &place));
    cr_assert_eq(place.high, w.entries[2][0].index, "nothing is left behind it in the block");
    cr_assert_eq(place.low, 0, "another term begins there: entries before it may have been replaced");
    cr_assert(place.from == 0 && place.to == 0);
    memset(byte_at(&w, w.headers[2].position), 0, SEGMENT_BYTES - (w.headers[2].position - SEGMENT_BYTES));
    cr_assert_not(evidence_place(&all, 4, position, &place));
    cr_assert_eq(place.high, 0, "nothing comes behind it");
    cr_assert_not(evidence_place(&all, 9, position, &place), "nothing of that stripe is there");
    cr_assert(place.low == 0 && place.high == 0);
    memset(byte_at(&w, w.headers[0].position), 0xee, w.headers[0].length);
    cr_assert_not(evidence_place(&all, 4, w.entries[0][1].position, &place), "nothing is left of its block");
    cr_assert_eq(place.low, 0);
    cr_assert_eq(place.high, w.entries[1][0].index, "that one is proved by nothing, but the next one comes behind it");
    free(w.image);
}

Test(log_evidence, in_one_term_the_entries_before_are_in_front_of_it_unless_it_may_have_come_with_an_image)
{
    for (int body = 0; body < 2; body++) {
        struct world          w;
        struct evidence_place place;
        make_chained(&w, body == 1);
        struct evidence all  = piece(&w, 0, SEGMENT_BYTES);
        size_t          last = w.headers[0].length - BLOCK_PAGE_BYTES;
        uint8_t        *page = byte_at(&w, w.headers[0].position + last);
        uint64_t        low  = 0;
        memset(page, 0xee, BLOCK_PAGE_BYTES);
        for (int i = 0; i < ENTRIES; i++) {
            low = byte_at(&w, w.entries[0][i].position + OPS_BYTES) <= page ? w.entries[0][i].index : low;
        }
        cr_assert_not(evidence_place(&all, 4, w.headers[0].position + last + 900, &place));
        cr_assert_eq(place.low, body ? 0 : low);
        cr_assert_eq(place.high, w.entries[1][body].index);
        cr_assert_eq(place.chain, 0);
        cr_assert_eq(place.to, body ? 0 : w.headers[0].position + w.headers[0].body_offset + w.headers[0].body_bytes);
        free(w.image);
    }
}

Test(log_evidence, behind_an_entry_of_another_size_than_it_says_the_others_are_found_again)
{
    enum { HURT = 7 };
    struct world w;
    make_chained(&w, false);
    struct evidence         all  = piece(&w, 0, SEGMENT_BYTES);
    const struct log_entry *hurt = &w.entries[1][HURT];
    for (int bit = 0; bit < 32; bit++) {
        byte_at(&w, hurt->position - BLOCK_ENTRY_BYTES)[bit / 8] ^= (uint8_t)(1 << bit % 8);
        for (int i = HURT - 2; i <= HURT + 2; i++) {
            struct evidence_place place;
            bool                  proved = evidence_place(&all, 4, w.entries[1][i].position + 9, &place);
            cr_assert_eq(proved, i != HURT && (i != HURT + 1 || bit < 2), "bit %d, entry %d", bit, i);
            cr_assert(place.low == w.entries[1][i].index - 1 && place.high == w.entries[1][i].index + 1, "bit %d", bit);
            cr_assert(i == HURT || (place.chain == w.entries[1][i].chain && place.at == 9), "bit %d, entry %d", bit, i);
        }
        byte_at(&w, hurt->position - BLOCK_ENTRY_BYTES)[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    free(w.image);
}

Test(log_evidence, behind_a_header_that_has_changed_the_entries_are_found_again)
{
    struct world          w;
    struct evidence_place place;
    make_chained(&w, false);
    struct evidence all  = piece(&w, 0, SEGMENT_BYTES);
    int             next = 0;
    memset(byte_at(&w, w.headers[1].position), 0xee, BLOCK_PAGE_BYTES);
    while (w.entries[1][next].position - BLOCK_ENTRY_BYTES < w.headers[1].position + BLOCK_PAGE_BYTES) {
        next++;
    }
    cr_assert_not(evidence_place(&all, 4, w.entries[1][2].position + 9, &place));
    cr_assert(place.low == w.entries[0][ENTRIES - 1].index && place.high == w.entries[1][next].index);
    cr_assert_eq(place.from, w.headers[1].position + BLOCK_HEADER_BYTES, "it is not known how long its page table was");
    cr_assert_eq(place.to, w.entries[1][next].position - BLOCK_ENTRY_BYTES);
    cr_assert(evidence_place(&all, 4, w.entries[1][next + 1].position + 9, &place), "its chain proves it");
    cr_assert(place.low + 2 == place.high && place.chain == w.entries[1][next + 1].chain);
    free(w.image);
}
