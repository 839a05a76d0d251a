/* What pick.h promises: of all entries of a stripe those that hold a live position, in order, over block after block. */
#include "segstore/log/pick.h"

#include "shared/base/rand.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static const struct wal_id the_id = {.bytes = "a log of its own"};

enum { BLOCKS = 6, PER_BLOCK = 40, STRIPE = 3, LIVE_MAX = 1000 };

struct log {
    uint8_t            *images[BLOCKS];
    struct block_header headers[BLOCKS];
    struct log_entry    entries[BLOCKS * PER_BLOCK]; /* of all stripes, with their positions */
    size_t              count;
};

/* Blocks one behind the other, and sometimes a gap. */
static struct log *log_new(struct rand *r)
{
    static const uint8_t ops[300] = {1};
    struct log          *log      = calloc(1, sizeof *log);
    uint64_t             position = 64 * BLOCK_PAGE_BYTES;
    for (int i = 0; i < BLOCKS; i++) {
        struct block_writer w;
        log->images[i] = calloc(1, BLOCK_GROUP_BYTES);
        block_begin(&w, log->images[i], BLOCK_GROUP_BYTES);
        for (uint64_t n = rand_below(r, PER_BLOCK); n > 0; n--) {
            struct log_entry entry     = {.index  = n,
                                          .stripe = (uint16_t)(rand_chance(r, 2) ? STRIPE : rand_below(r, 6)),
                                          .ops    = bytes_of(ops, rand_below(r, sizeof ops))};
            const uint8_t   *at        = block_append(&w, &entry);
            entry.position             = position + (uint64_t)(at - log->images[i]);
            log->entries[log->count++] = entry;
        }
        log->headers[i] = (struct block_header){.position = position};
        position += block_seal(&w, &the_id, &log->headers[i]) + rand_below(r, 2) * 3 * BLOCK_PAGE_BYTES;
    }
    return log;
}

static void log_free(struct log *log)
{
    for (int i = 0; i < BLOCKS; i++) {
        free(log->images[i]);
    }
    free(log);
}

static bool holds(const struct log_entry *entry, uint64_t position)
{
    return entry->stripe == STRIPE && position >= entry->position && position < entry->position + entry->ops.size;
}

static int ascending(const void *a, const void *b)
{
    uint64_t left  = *(const uint64_t *)a;
    uint64_t right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

static void one_seed(uint64_t seed)
{
    struct rand r;
    rand_init(&r, seed, 1);
    struct log *log = log_new(&r);
    uint64_t    live[LIVE_MAX];
    size_t      count  = 0;
    size_t      missed = 0;
    uint64_t    one_in = 1 + rand_below(&r, 20);
    for (size_t i = 0; i < log->count; i++) {
        const struct log_entry *entry = &log->entries[i];
        if (entry->ops.size == 0 || !rand_chance(&r, one_in)) {
            continue;
        }
        if (entry->stripe != STRIPE && !rand_chance(&r, 4)) { /* sometimes another stripe's bytes */
            continue;
        }
        for (uint64_t n = rand_below(&r, 3); n > 0; n--) {
            live[count++] = entry->position + rand_below(&r, entry->ops.size);
        }
        if (rand_chance(&r, 3)) { /* the ends */
            live[count++] = entry->position;
            live[count++] = entry->position + entry->ops.size - 1;
        }
        if (rand_chance(&r, 10)) { /* before and behind them lies nothing */
            live[count++] = entry->position - 1;
            live[count++] = entry->position + entry->ops.size;
        }
    }
    for (size_t i = 0; i < count; i++) {
        bool found = false;
        for (size_t k = 0; k < log->count; k++) {
            found = found || holds(&log->entries[k], live[i]);
        }
        missed += !found;
    }
    qsort(live, count, sizeof live[0], ascending);

    struct pick p;
    pick_init(&p, STRIPE, live, count);
    size_t next = 0; /* of log->entries */
    for (int i = 0; i < BLOCKS; i++) {
        struct block_cursor c;
        struct log_entry    entry;
        block_entries(&c, log->images[i], &log->headers[i]);
        while (pick_next(&p, &c, &entry)) {
            for (bool is = false; !is; next++) { /* every entry before it holds nothing */
                is       = next < log->count && log->entries[next].position == entry.position;
                bool any = false;
                cr_assert_lt(next, log->count);
                for (size_t k = 0; k < count; k++) {
                    any = any || holds(&log->entries[next], live[k]);
                }
                cr_assert_eq(any, is, "seed %lu entry %zu", seed, next);
            }
            cr_assert_eq(entry.ops.size, log->entries[next - 1].ops.size);
            cr_assert_eq(entry.index, log->entries[next - 1].index);
            cr_assert_geq(pick_position(&p), entry.position + entry.ops.size);
        }
    }
    for (; next < log->count; next++) {
        for (size_t k = 0; k < count; k++) {
            cr_assert(!holds(&log->entries[next], live[k]), "seed %lu entry %zu was passed over", seed, next);
        }
    }
    cr_assert_eq(p.missed + p.count - p.at, missed, "seed %lu", seed);
    log_free(log);
}

Test(log_pick, what_is_lost_is_picked_as_zeros_in_its_place)
{
    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct rand r;
        rand_init(&r, seed, 2);
        struct log *log = log_new(&r);
        uint64_t    live[2 * BLOCKS * PER_BLOCK], lost[BLOCKS * PER_BLOCK];
        size_t      count = 0, lost_count = 0, zeros = 0, others = 0;
        for (size_t i = 0; i < log->count; i++) {
            const struct log_entry *entry = &log->entries[i];
            if (entry->ops.size < PICK_LOST_BYTES || rand_chance(&r, 2)) {
                continue;
            }
            live[count++] = entry->position;
            if (entry->stripe != STRIPE) { /* in no entry of the stripe: it would be missed */
                lost[lost_count++] = entry->position;
                live[count++]      = entry->position; /* two streams have it */
            } else {
                others++;
            }
        }
        struct pick p;
        pick_init(&p, STRIPE, live, count);
        p.lost        = lost;
        p.lost_count  = lost_count;
        uint64_t last = 0;
        for (int i = 0; i <= BLOCKS; i++) {
            struct block_cursor c;
            struct log_entry    entry;
            if (i < BLOCKS) {
                block_entries(&c, log->images[i], &log->headers[i]);
            }
            while (i < BLOCKS ? pick_next(&p, &c, &entry) : pick_lost(&p, UINT64_MAX, &entry)) {
                cr_assert_geq(entry.position, last, "seed %lu: in their order, apart from one another", seed);
                last = entry.position + entry.ops.size;
                if (entry.kind == LOG_BODY) {
                    static const uint8_t nothing[PICK_LOST_BYTES];
                    cr_assert_eq(entry.position, lost[zeros], "seed %lu", seed);
                    cr_assert(entry.ops.size == sizeof nothing && memcmp(entry.ops.data, nothing, sizeof nothing) == 0);
                    zeros++;
                } else {
                    others--;
                }
            }
        }
        cr_assert(zeros == lost_count && others == 0 && p.missed == 0, "seed %lu", seed);
        cr_assert_eq(pick_position(&p), UINT64_MAX);
        log_free(log);
    }
}

Test(log_pick, exactly_the_entries_that_hold_a_live_position_are_picked)
{
    for (uint64_t seed = 1; seed <= 300; seed++) {
        one_seed(seed);
    }
}

Test(log_pick, blocks_before_the_next_live_position_need_not_be_read)
{
    struct rand r;
    rand_init(&r, 9, 1);
    struct log *log  = log_new(&r);
    size_t      last = log->count - 1;
    while (log->entries[last].stripe != STRIPE || log->entries[last].ops.size == 0) {
        last--;
    }
    uint64_t    live[] = {log->entries[last].position, log->entries[last].position};
    struct pick p;
    pick_init(&p, STRIPE, live, 2);
    int picked = 0;
    int read   = 0;
    for (int i = 0; i < BLOCKS; i++) {
        struct block_cursor c;
        struct log_entry    entry;
        if (pick_position(&p) >= log->headers[i].position + log->headers[i].length) {
            continue;
        }
        read++;
        block_entries(&c, log->images[i], &log->headers[i]);
        while (pick_next(&p, &c, &entry)) {
            cr_assert_eq(entry.position, live[0]);
            picked++;
        }
    }
    cr_assert(picked == 1 && read == 1);
    cr_assert(p.missed == 0 && p.at == p.count);
    log_free(log);
}
