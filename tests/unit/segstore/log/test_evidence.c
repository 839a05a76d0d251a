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

Test(evidence, an_entry_is_found_and_proved_from_any_byte_in_it)
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

Test(evidence, a_piece_that_does_not_hold_the_block_asks_for_a_larger_one)
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

Test(evidence, of_a_block_that_changed_only_pages_that_did_not_are_proved)
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

Test(evidence, a_block_without_its_header_is_not_found_and_not_taken_for_the_one_before)
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
