#include "broker/kernel/rows.h"
#include "shared/base/rand.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

enum { OWNERS = 40, FILTERS = 60 };

static struct rows    rows;
static struct row_set sets[OWNERS];
static uint32_t       there[OWNERS][FILTERS]; /* the id it was given; 0: not there */
static char           texts[FILTERS][700];

/* Of all lengths, those that lie elsewhere too; every third one has the hash of another. */
static struct bytes filter_of(unsigned f)
{
    if (texts[f][0] == 0) {
        unsigned size = f % 4 == 0 ? 80 + f * 10 : 1 + f % 30;
        memset(texts[f], 'a' + (int)f % 26, size);
        sprintf(texts[f] + size, "%u", f);
    }
    return bytes_str(texts[f]);
}

static uint32_t hash_of(unsigned f)
{
    f = f % 3 == 0 ? f / 9 : f;
    return (f % 5 == 0 ? 7 + (f << 16) : f * 0x9e3779b9u); /* some in one bucket, some that begin at one slot */
}

static unsigned ring_of(unsigned f)
{
    for (uint32_t at = rows_first(&rows, hash_of(f)); at != ROWS_NONE; at = rows_other(&rows, at)) {
        if (!bytes_equal(row_filter(rows_at(&rows, at)), filter_of(f))) {
            continue;
        }
        unsigned count = 0;
        uint32_t each  = at;
        do {
            const struct row *row   = rows_at(&rows, each);
            unsigned          owner = (unsigned)(row->owner - sets);
            cr_assert_eq(row->id, there[owner][f]);
            cr_assert_eq(rows_at(&rows, row->next)->prev, each);
            count++;
            each = row->next;
        } while (each != at);
        return count;
    }
    return 0;
}

static void check_filter(unsigned f)
{
    unsigned expected = 0;
    for (unsigned o = 0; o < OWNERS; o++) {
        expected += there[o][f] != 0;
    }
    cr_assert_eq(ring_of(f), expected, "%u", f);
}

static void check_all(void)
{
    unsigned total   = 0;
    unsigned filters = 0;
    for (unsigned f = 0; f < FILTERS; f++) {
        check_filter(f);
        unsigned before = total;
        for (unsigned o = 0; o < OWNERS; o++) {
            uint32_t at = rows_find(&rows, &sets[o], hash_of(f), filter_of(f));
            cr_assert_eq(at == ROWS_NONE ? 0 : rows_at(&rows, at)->id, there[o][f]);
            total += there[o][f] != 0;
        }
        filters += total != before;
    }
    cr_assert_eq(rows.count, total);
    cr_assert_eq(rows.filter_count, filters);
    for (unsigned o = 0; o < OWNERS; o++) {
        unsigned held = 0;
        for (uint32_t i = 0; i < sets[o].size; i++) {
            held += sets[o].slots[i] != ROWS_NONE;
        }
        cr_assert_eq(held, sets[o].count);
        cr_assert(sets[o].count == 0 ? sets[o].size == 0 : sets[o].count < sets[o].size);
    }
}

Test(kernel_rows, hold_what_a_model_of_arrays_holds)
{
    struct rand r;
    uint32_t    id = 0;
    rand_init(&r, 5, 1);
    for (unsigned step = 0; step < 60000; step++) {
        unsigned growing = step / 10000 % 2 == 0 ? 80 : 10; /* fills, empties, fills .. */
        unsigned o       = (unsigned)rand_below(&r, OWNERS);
        unsigned f       = (unsigned)rand_below(&r, FILTERS);
        uint32_t at      = rows_find(&rows, &sets[o], hash_of(f), filter_of(f));
        cr_assert_eq(at != ROWS_NONE, there[o][f] != 0);
        if (rand_below(&r, 100) < growing) {
            at = at != ROWS_NONE ? at : rows_add(&rows, &sets[o], hash_of(f), filter_of(f));
            cr_assert_neq(at, ROWS_NONE);
            there[o][f]            = ++id;
            rows_at(&rows, at)->id = id & 0xfffffffu;
        } else if (at != ROWS_NONE) {
            rows_remove(&rows, at);
            there[o][f] = 0;
        }
        check_filter(f);
        if (step % 1000 == 999) {
            check_all();
        }
    }
    for (unsigned o = 0; o < OWNERS; o++) {
        for (unsigned f = 0; f < FILTERS; f++) {
            if (there[o][f] != 0) {
                there[o][f] = 0;
                rows_remove(&rows, rows_find(&rows, &sets[o], hash_of(f), filter_of(f)));
            }
        }
    }
    cr_assert_eq(rows_bytes(&rows), 0);
    check_all();
}

Test(kernel_rows, many_filters_are_found_while_the_buckets_grow_and_cost_what_is_said)
{
    enum { MANY = 300000, EACH = 100 };
    static struct row_set owners[MANY / EACH];
    char                  text[40];
    for (unsigned i = 0; i < MANY; i++) {
        sprintf(text, "device/%06u/command", i);
        cr_assert_neq(rows_add(&rows, &owners[i / EACH], i * 0x9e3779b9u, bytes_str(text)), ROWS_NONE);
        unsigned look = i / 2;
        sprintf(text, "device/%06u/command", look);
        cr_assert_neq(rows_find(&rows, &owners[look / EACH], look * 0x9e3779b9u, bytes_str(text)), ROWS_NONE);
        cr_assert_neq(rows_first(&rows, look * 0x9e3779b9u), ROWS_NONE);
    }
    uint64_t slots = 0;
    for (unsigned i = 0; i < MANY / EACH; i++) {
        slots += owners[i].size * sizeof *owners[i].slots;
    }
    cr_expect_lt(rows_bytes(&rows) / MANY, 70);
    cr_expect_lt(slots / MANY, 8);
    for (unsigned i = 0; i < MANY / EACH; i++) {
        while (owners[i].count != 0) {
            uint32_t at = 0;
            while (owners[i].slots[at] == ROWS_NONE) {
                at++;
            }
            rows_remove(&rows, owners[i].slots[at]);
        }
    }
    cr_expect_eq(rows_bytes(&rows), 0);
}

Test(kernel_rows, cells_that_were_given_back_are_used_again)
{
    enum { TOGETHER = 50 };
    struct row_set set = {0};
    char           text[40];
    uint32_t       stays = rows_add(&rows, &set, 1, bytes_str("stays"));
    uint32_t       at[TOGETHER];
    for (unsigned i = 0; i < 100000; i++) {
        sprintf(text, "%0*u", 10 + (int)(i / TOGETHER % 16), i);
        at[i % TOGETHER] = rows_add(&rows, &set, i, bytes_str(text));
        for (unsigned each = 0; i % TOGETHER == TOGETHER - 1 && each < TOGETHER; each++) {
            rows_remove(&rows, at[each]);
        }
    }
    cr_expect_eq(rows.chunk_count, 1);
    rows_remove(&rows, stays);
}

Test(kernel_rows, what_is_left_at_the_end_is_freed)
{
    struct row_set set  = {0};
    struct row_set more = {0};
    char           text[300];
    memset(text, 'x', sizeof text);
    for (unsigned i = 0; i < 20; i++) {
        cr_assert_neq(rows_add(&rows, &set, i / 2, bytes_of((uint8_t *)text, 250 + i)), ROWS_NONE);
        cr_assert_neq(rows_add(&rows, &more, i / 2, bytes_of((uint8_t *)text, 250 + i)), ROWS_NONE);
    }
    cr_expect_gt(rows.text_bytes, 0);
    rows_fini(&rows);
    cr_expect_eq(rows_bytes(&rows), 0);
    free(set.slots);
    free(more.slots);
}
