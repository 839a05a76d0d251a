/* layout.c - two tables over entries and places, a place every 8 bytes: can the first entries lie in front of it; can the others lie behind it? */
#include "segstore/log/layout.h"

#include <stdlib.h>
#include <string.h>

enum { UNIT = 8, HEAD_UNITS = BLOCK_ENTRY_BYTES / UNIT };
_Static_assert(BLOCK_ENTRY_BYTES % UNIT == 0, "a head is as many units");

struct ways {
    const struct layout *l;
    size_t               units;
    size_t              *first; /* per unit: of the records that lie at it or behind it */
    /* [entry][unit]: all before the entry, and all records before the unit, can lie in front of the unit. */
    uint8_t *front;
    uint8_t *behind; /* the entry and all after it, and all records from the unit on, can lie from the unit on */
};

static uint8_t *cell(const struct ways *w, uint8_t *table, size_t entry, size_t unit)
{
    return &table[entry * (w->units + 1) + unit];
}

/* What is no part of any of the entries holds no record. */
static bool may_pass(const struct ways *w, size_t unit)
{
    return unit < w->units && w->first[unit] == w->first[unit + 1];
}

static bool may_hold(const struct ways *w, size_t nth, size_t record, uint64_t begin)
{
    const struct layout_entry  *entry = &w->l->entries[nth];
    const struct layout_record *r     = &w->l->records[record];
    return entry->holds && r->position >= begin && r->position - begin < entry->size &&
           (!entry->known || w->l->stands(w->l->ctx, nth, r->position - begin, r->stream_id));
}

/* An entry whose head is there: the unit behind it; 0: it cannot be. */
static size_t place(const struct ways *w, size_t nth, size_t unit)
{
    const struct layout_entry *entry = &w->l->entries[nth];
    uint64_t                   begin = w->l->from + (unit + HEAD_UNITS) * UNIT;
    if (entry->size == LAYOUT_SIZE_UNKNOWN || entry->size > w->units * UNIT) {
        return 0;
    }
    size_t next = unit + HEAD_UNITS + (entry->size + UNIT - 1) / UNIT;
    if (next > w->units) {
        return 0;
    }
    for (size_t r = w->first[unit]; r < w->first[next]; r++) {
        if (!may_hold(w, nth, r, begin)) {
            return 0;
        }
    }
    return next;
}

static void fill_front(const struct ways *w)
{
    *cell(w, w->front, 0, 0) = 1;
    for (size_t k = 0; k <= w->l->entry_count; k++) {
        bool   wild  = k < w->l->entry_count && w->l->entries[k].size == LAYOUT_SIZE_UNKNOWN;
        size_t least = SIZE_MAX; /* where one of any size can end */
        for (size_t unit = 0; unit <= w->units; unit++) {
            if (*cell(w, w->front, k, unit) != 0) {
                size_t next = k < w->l->entry_count ? place(w, k, unit) : 0;
                if (may_pass(w, unit)) {
                    *cell(w, w->front, k, unit + 1) = 1;
                }
                if (next != 0) {
                    *cell(w, w->front, k + 1, next) = 1;
                }
                least = wild && unit + HEAD_UNITS < least ? unit + HEAD_UNITS : least;
            }
            if (wild && unit >= least) {
                *cell(w, w->front, k + 1, unit) = 1;
            }
        }
    }
}

static void fill_behind(const struct ways *w)
{
    for (size_t k = w->l->entry_count + 1; k-- > 0;) {
        bool   wild = k < w->l->entry_count && w->l->entries[k].size == LAYOUT_SIZE_UNKNOWN;
        size_t most = 0; /* where the next one can begin, and one more */
        for (size_t unit = w->units + 1; unit-- > 0;) {
            most = wild && most == 0 && *cell(w, w->behind, k + 1, unit) != 0 ? unit + 1 : most;
            if (*cell(w, w->front, k, unit) == 0) {
                continue;
            }
            size_t next = k < w->l->entry_count ? place(w, k, unit) : 0;
            bool   can  = (k == w->l->entry_count && unit == w->units) ||
                       (may_pass(w, unit) && *cell(w, w->behind, k, unit + 1) != 0) ||
                       (next != 0 && *cell(w, w->behind, k + 1, next) != 0);
            can                          = can || (wild && unit + HEAD_UNITS < most);
            *cell(w, w->behind, k, unit) = can;
        }
    }
}

/* Can the entry and all after it lie behind the position? */
static bool goes_on_behind(const struct ways *w, size_t nth, uint64_t position)
{
    for (size_t unit = (size_t)((position - w->l->from) / UNIT) + 1; unit <= w->units; unit++) {
        if (*cell(w, w->behind, nth, unit) != 0) {
            return true;
        }
    }
    return false;
}

/* Where the record can stand: in how many ways that are known (1: out), and in an entry that is not? */
static size_t count_ways(const struct ways *w, size_t record, size_t *out_entry, size_t *out_at, bool *out_unknown)
{
    uint64_t position = w->l->records[record].position;
    size_t   count    = 0;
    for (size_t k = 0; k < w->l->entry_count; k++) {
        const struct layout_entry *entry = &w->l->entries[k];
        for (size_t unit = 0; unit <= w->units; unit++) {
            uint64_t begin = w->l->from + (unit + HEAD_UNITS) * UNIT;
            if (*cell(w, w->front, k, unit) == 0 || position < begin) {
                continue;
            }
            if (entry->size == LAYOUT_SIZE_UNKNOWN) {
                *out_unknown = *out_unknown || goes_on_behind(w, k + 1, position);
                continue;
            }
            size_t next = place(w, k, unit);
            if (next == 0 || position - begin >= entry->size || *cell(w, w->behind, k + 1, next) == 0) {
                continue;
            }
            if (!entry->known) {
                *out_unknown = true;
            } else if (count == 0 || *out_entry != k || *out_at != position - begin) {
                *out_entry = k;
                *out_at    = position - begin;
                count++;
            }
        }
    }
    return count;
}

enum layout_found layout_find(const struct layout *l, size_t record, size_t *out_entry, size_t *out_at)
{
    struct ways w     = {.l = l, .units = (size_t)((l->to - l->from) / UNIT)};
    size_t      cells = (l->entry_count + 1) * (w.units + 1);
    if (l->to < l->from || l->to - l->from > LAYOUT_CELLS_MAX * UNIT || l->entry_count > LAYOUT_CELLS_MAX ||
        cells > LAYOUT_CELLS_MAX) {
        return LAYOUT_UNCLEAR;
    }
    bool unknown = false;
    w.front      = calloc(2, cells);
    w.first      = calloc(w.units + 2, sizeof *w.first);
    ASSERT_MEMORY(w.front != NULL && w.first != NULL);
    w.behind = w.front + cells;
    for (size_t unit = 0, r = 0; unit <= w.units; unit++) {
        while (r < l->record_count && l->records[r].position < l->from + unit * UNIT) {
            r++;
        }
        w.first[unit] = r;
    }
    fill_front(&w);
    fill_behind(&w);
    size_t count = count_ways(&w, record, out_entry, out_at, &unknown);
    free(w.front);
    free(w.first);
    return count == 1 && !unknown ? LAYOUT_ENTRY : count == 0 && unknown ? LAYOUT_NONE : LAYOUT_UNCLEAR;
}
