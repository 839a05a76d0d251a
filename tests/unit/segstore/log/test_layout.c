/* Entries are laid out by chance, some of them are forgotten: what layout says of where a record stands is so, or it says that it cannot tell. */
#include "segstore/log/layout.h"

#include "shared/base/rand.h"

#include <criterion/criterion.h>

enum { ENTRIES = 8, RECORDS = 2, FROM = 4096, STREAMS = 2, FIRST_AT = 36 };

struct world {
    struct layout_entry  entries[ENTRIES];
    size_t               count;
    uint64_t             streams[ENTRIES][RECORDS]; /* of the records in it */
    size_t               at[ENTRIES][RECORDS];
    size_t               held[ENTRIES];
    struct layout_record records[ENTRIES * RECORDS];
    size_t               entry_of[ENTRIES * RECORDS];
    size_t               at_of[ENTRIES * RECORDS];
    size_t               record_count;
    uint64_t             to;
};

static bool stands(void *ctx, size_t entry, size_t at, uint64_t stream_id)
{
    const struct world *w = ctx;
    cr_assert(w->entries[entry].known && at < w->entries[entry].size);
    for (size_t i = 0; i < w->held[entry]; i++) {
        if (w->at[entry][i] == at && w->streams[entry][i] == stream_id) {
            return true;
        }
    }
    return false;
}

/* loose: others' entries lie between them, the sizes of some are not known, and not all records are told of. */
static void make(struct world *w, struct rand *r, bool loose)
{
    *w                   = (struct world){.count = 1 + rand_below(r, ENTRIES)};
    uint64_t end         = FROM;
    bool     of_one_size = rand_chance(r, 2);
    for (size_t k = 0; k < w->count; k++) {
        size_t size   = of_one_size ? 130 : 90 + rand_below(r, 300);
        w->held[k]    = rand_chance(r, 6) ? 0 : 1 + rand_below(r, RECORDS);
        w->entries[k] = (struct layout_entry){
            .size = size, .holds = w->held[k] > 0 || rand_chance(r, 2), .known = rand_chance(r, 2)};
        end += loose && rand_chance(r, 2) ? 8 * rand_below(r, 30) : 0;
        for (size_t i = 0; i < w->held[k]; i++) {
            w->at[k][i]      = FIRST_AT + 30 * i;
            w->streams[k][i] = 1 + rand_below(r, STREAMS);
            if (!loose || !rand_chance(r, 4)) {
                w->entry_of[w->record_count]  = k;
                w->at_of[w->record_count]     = w->at[k][i];
                w->records[w->record_count++] = (struct layout_record){
                    .position = end + BLOCK_ENTRY_BYTES + w->at[k][i], .stream_id = w->streams[k][i]};
            }
        }
        end += BLOCK_ENTRY_BYTES + (size + 7) / 8 * 8;
        if (loose && !w->entries[k].known && rand_chance(r, 5)) {
            w->entries[k].size  = LAYOUT_SIZE_UNKNOWN;
            w->entries[k].holds = true;
        }
    }
    w->to = end + (loose ? 8 * rand_below(r, 30) : 0);
}

static enum layout_found find(struct world *w, size_t record, size_t *entry, size_t *at)
{
    const struct layout l = {.from         = FROM,
                             .to           = w->to,
                             .entries      = w->entries,
                             .entry_count  = w->count,
                             .records      = w->records,
                             .record_count = w->record_count,
                             .ctx          = w,
                             .stands       = stands};
    return layout_find(&l, record, entry, at);
}

/* How many are clear, of how many. */
static size_t check(uint64_t seed, bool loose, size_t *all)
{
    struct rand  r;
    struct world w;
    size_t       clear = 0;
    rand_init(&r, seed, 5);
    make(&w, &r, loose);
    for (size_t i = 0; i < w.record_count; i++) {
        size_t            entry = SIZE_MAX, at = SIZE_MAX;
        enum layout_found found = find(&w, i, &entry, &at);
        size_t            truth = w.entry_of[i];
        cr_assert(found != LAYOUT_ENTRY || (entry == truth && at == w.at_of[i]), "seed %lu: not %zu but %zu", seed,
                  entry, truth);
        cr_assert(found != LAYOUT_NONE || !w.entries[truth].known, "seed %lu: entry %zu has it", seed, truth);
        clear += found != LAYOUT_UNCLEAR;
    }
    *all += w.record_count;
    return clear;
}

Test(log_layout, where_nothing_else_can_lie_every_record_is_placed)
{
    for (uint64_t seed = 1; seed <= 1000; seed++) {
        size_t all = 0;
        cr_assert_eq(check(seed, false, &all), all, "seed %lu", seed);
    }
}

Test(log_layout, among_entries_of_others_most_are_placed_and_none_wrongly)
{
    size_t clear = 0, all = 0;
    for (uint64_t seed = 1; seed <= 3000; seed++) {
        clear += check(seed, true, &all);
    }
    cr_assert_gt(clear * 10, all * 8, "%zu of %zu", clear, all);
}

Test(log_layout, a_record_alone_may_be_in_either_of_two_that_fit_and_its_neighbour_tells_in_which)
{
    struct world w = {.count = 2, .to = FROM + 500};
    size_t       entry, at;
    for (size_t k = 0; k < 2; k++) {
        w.entries[k]    = (struct layout_entry){.size = 120, .holds = true, .known = k == 1};
        w.held[k]       = 1;
        w.at[k][0]      = FIRST_AT;
        w.streams[k][0] = 1;
        w.records[k]    = (struct layout_record){
               .position = FROM + 80 + BLOCK_ENTRY_BYTES + k * (BLOCK_ENTRY_BYTES + 120) + FIRST_AT, .stream_id = 1};
    }
    w.record_count = 2;
    cr_assert_eq(find(&w, 0, &entry, &at), LAYOUT_NONE);
    cr_assert(find(&w, 1, &entry, &at) == LAYOUT_ENTRY && entry == 1 && at == FIRST_AT);
    w.record_count = 1;
    w.to           = FROM + 400; /* no room for the second one behind the place that is known */
    cr_assert_eq(find(&w, 0, &entry, &at), LAYOUT_NONE);
    w.to                  = FROM + 500;
    w.records[0].position = w.records[1].position;
    cr_assert_eq(find(&w, 0, &entry, &at), LAYOUT_UNCLEAR, "the first may lie behind what others have there");
}

Test(log_layout, what_is_too_large_is_not_tried)
{
    struct world w = {.count = 1, .record_count = 1, .to = FROM + 16ull * LAYOUT_CELLS_MAX};
    size_t       entry, at;
    w.entries[0] = (struct layout_entry){.size = 120, .holds = true};
    w.records[0] = (struct layout_record){.position = FROM + 100, .stream_id = 1};
    cr_assert_eq(find(&w, 0, &entry, &at), LAYOUT_UNCLEAR);
    w.to = FROM - 8;
    cr_assert_eq(find(&w, 0, &entry, &at), LAYOUT_UNCLEAR);
}
