/* The stripe against a model that is too simple to be wrong: arrays, and a copy of everything before each transaction.
 * Random ops for many seeds; results compared byte by byte, state by queries, positions by recount, save and load and replay by hash, and the
 * stripe carried over to another log now and then. */
#include "segstore/stripe/stripe.h"

#include "segstore/log/bodies.h"
#include "shared/base/err.h"
#include "shared/base/hash.h"
#include "shared/record/record.h"
#include "shared/rpc/schema.h"
#include "tests/unit/segstore/stripe/stripe_model.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

static struct stripe *fresh(struct balance *balance)
{
    *balance                        = (struct balance){0};
    struct stripe_observer observer = {.ctx = balance, .retained = on_retained, .released = on_released};
    return stripe_new(3, &observer);
}

static struct wire_writer image_of(const struct stripe *s)
{
    struct wire_writer w = wire_writer_growing(1 << 24);
    stripe_save(s, &w);
    cr_assert(!w.bad);
    return w;
}

/* As it arrives: pieces of any size, slices of any size. */
static int load_in_slices(struct rand *r, struct stripe *s, struct bytes image, const struct stripe_moved *moved)
{
    struct stripe_loading *loading = stripe_load_begin(s, moved);
    size_t                 slice   = 1 + rand_below(r, rand_chance(r, 2) ? 8 : 2000);
    size_t                 piece   = 1 + rand_below(r, rand_chance(r, 2) ? 40 : 4000);
    size_t                 at      = 0;
    size_t                 come    = 0;
    int                    result  = 1;
    while (result > 0) {
        size_t used;
        result = stripe_load_more(loading, bytes_of(image.data + at, come - at), slice, &used);
        at += used;
        if (result == 2) {
            cr_assert_lt(come, image.size);
            come = come + piece < image.size ? come + piece : image.size;
        }
    }
    stripe_load_end(loading);
    return result == 0 && at != image.size ? 1 : result;
}

static void clear_in_slices(struct rand *r, struct stripe *s)
{
    size_t slice = 1 + rand_below(r, 30);
    while (stripe_clear(s, slice)) {
    }
    stripe_free(s);
}

/* Equal in all that can be seen, positions included. */
static void assert_same(const struct stripe *a, const struct stripe *b)
{
    struct wire_writer left  = image_of(a);
    struct wire_writer right = image_of(b);
    cr_assert(bytes_equal(wire_written(&left), wire_written(&right)));
    cr_assert_eq(stripe_hash(a), stripe_hash(b));
    wire_writer_fini(&left);
    wire_writer_fini(&right);
}

/* Of the same state, in slices and in the order in which things happen to lie in memory. */
static struct wire_writer image_that_tells(const struct stripe *s, size_t slice_bytes, struct balance *told)
{
    struct wire_writer    w      = wire_writer_growing(1 << 24);
    struct stripe_saving *saving = stripe_save_begin(s);
    size_t                before = 0;
    if (told != NULL) {
        stripe_save_tells(saving, on_retained, told);
    }
    while (stripe_save_more(saving, &w, slice_bytes)) {
        cr_assert(w.size > before && w.size - before < slice_bytes + 4096);
        before = w.size;
    }
    cr_assert(!w.bad);
    stripe_save_end(saving);
    return w;
}

static struct wire_writer image_in_slices(const struct stripe *s, size_t slice_bytes)
{
    return image_that_tells(s, slice_bytes, NULL);
}

enum { ENTRIES = 150 };

static bool position_moved(void *ctx, uint64_t from, uint64_t *to)
{
    return bodies_find(ctx, from, to);
}

static bool holds_any(const struct stripe *s, const struct stripe_entry *entry);

/* As a node does that gets the image of another one: the entries that hold something are copied, in the order of the leader's log, to places of its own; then
 * the image is loaded with its positions moved. The model and the entries move along. */
static struct stripe *carry_over(struct rand *r, struct stripe *s, struct balance *balance, struct model *m,
                                 struct stripe_entry *entries, int count, uint64_t *position)
{
    struct bodies bodies;
    uint64_t      moved_to[ENTRIES];
    int           order[ENTRIES];
    bodies_init(&bodies);
    for (int i = 0; i < count; i++) { /* in any order here */
        int other    = (int)rand_below(r, (uint64_t)i + 1);
        order[i]     = order[other];
        order[other] = i;
    }
    for (int i = 0; i < count; i++) {
        *position += rand_below(r, 3) * 4096 + 64;
        moved_to[order[i]] = *position;
        *position += entries[order[i]].ops.size;
    }
    for (int i = 0; i < count; i++) { /* in the order of the leader's log */
        int k = i;
        for (; k > 0 && entries[order[k - 1]].position > entries[i].position; k--) {
            order[k] = order[k - 1];
        }
        order[k] = i;
    }
    for (int k = 0; k < count; k++) {
        const struct stripe_entry *e = &entries[order[k]];
        if (holds_any(s, e)) {
            cr_assert_eq(bodies_add(&bodies, e->position, (uint32_t)e->ops.size, moved_to[order[k]]), 0);
        }
    }
    for (int i = 0; i < STREAMS; i++) {
        struct m_stream *st = &m->streams[i];
        for (uint64_t o = st->start; st->there && o < st->next; o++) {
            cr_assert(st->position[o] == UINT64_MAX || bodies_find(&bodies, st->position[o], &st->position[o]));
        }
    }
    for (int i = 0; i < TIMERS; i++) { /* one that appends nothing may lie nowhere */
        (void)bodies_find(&bodies, m->timers[i].position, &m->timers[i].position);
    }
    for (int i = 0; i < count; i++) {
        entries[i].position = moved_to[i];
    }

    struct balance            carried_balance;
    struct stripe            *carried = fresh(&carried_balance);
    const struct stripe_moved moved   = {.position = position_moved, .ctx = &bodies};
    struct balance            told    = {0};
    struct wire_writer        image   = image_that_tells(s, 1 + rand_below(r, 2000), &told);
    cr_assert(told.count == balance->count && told.sum == balance->sum);
    cr_assert_eq(load_in_slices(r, carried, wire_written(&image), &moved), 0);
    cr_assert_eq(stripe_hash(carried), stripe_hash(s));
    compare(carried, m, &carried_balance);
    stripe_live_positions(s, on_released, balance);
    cr_assert(balance->count == 0 && balance->sum == 0, "it holds all that was retained and not released");
    clear_in_slices(r, s);

    struct stripe *again = fresh(balance); /* of its own observer, as it goes on */
    image.size           = 0;
    stripe_save(carried, &image);
    cr_assert_eq(stripe_load(again, wire_written(&image), NULL), 0);
    stripe_free(carried);
    if (bodies.count >
        0) { /* without one of the bodies that it needs it is refused, and nobody is told of a position */
        struct balance none;
        struct stripe *lacking = fresh(&none);
        image.size             = 0;
        stripe_save(again, &image);
        bodies_fini(&bodies);
        cr_assert_eq(load_in_slices(r, lacking, wire_written(&image), &moved), ERR_MALFORMED);
        cr_assert(none.count == 0 && none.sum == 0);
        stripe_free(lacking);
    }
    bodies_fini(&bodies);
    wire_writer_fini(&image);
    return again;
}

struct range_asked {
    uint64_t from, end;
    bool     any;
};

static void on_live(void *ctx, uint64_t position)
{
    struct range_asked *asked = ctx;
    asked->any                = asked->any || (position >= asked->from && position < asked->end);
}

static bool holds_any(const struct stripe *s, const struct stripe_entry *entry)
{
    struct range_asked asked = {.from = entry->position, .end = entry->position + entry->ops.size};
    stripe_live_positions(s, on_live, &asked);
    return asked.any;
}

/* All positions that a stripe holds are those that it has told of. */
static void assert_live(const struct stripe *s, const struct balance *balance)
{
    struct balance live = {0};
    stripe_live_positions(s, on_retained, &live);
    cr_assert(live.count == balance->count && live.sum == balance->sum);
}

static uint64_t successes;
static uint64_t failures;

static void one_seed(uint64_t seed)
{
    struct rand         r;
    struct balance      balance;
    struct stripe      *s = fresh(&balance);
    struct model       *m = calloc(1, sizeof *m);
    struct wire_writer  lists[ENTRIES];
    struct stripe_entry entries[ENTRIES];
    rand_init(&r, seed, 1);
    bool carried      = false; /* timers that append nothing lie elsewhere then: the images differ, the hashes do not */
    m->next_local     = 1;
    uint64_t position = 1 << 20;
    for (int i = 0; i < ENTRIES; i++) {
        lists[i]     = wire_writer_growing(1 << 20);
        uint64_t now = m->time + rand_below(&r, 10);
        if (i == 0) {
            put_some_limits(&r, &lists[i]); /* the model has room for some of all only */
        } else if (!rand_chance(&r, 5) || !stripe_due(s, now, &lists[i])) {
            put_some(&r, m, &lists[i], false, 7);
        }
        cr_assert_eq(stripe_validate(wire_written(&lists[i]), 1 << 20, true), 0);
        uint64_t wall = i % 7 == 3 && now > 20 ? now - 20 : now; /* of a leader whose clock is behind */
        entries[i]    = (struct stripe_entry){
               .index = (uint64_t)i + 1, .wall_ns = wall, .ops = wire_written(&lists[i]), .position = position};
        position += lists[i].size + 64;
        struct wire_writer real     = wire_writer_growing(1 << 20);
        struct wire_writer expected = wire_writer_growing(1 << 20);
        struct balance     held     = balance;
        uint64_t           index    = stripe_applied(s);
        m->time                     = wall > m->time ? wall : m->time;
        int want                    = m_list(m, entries[i].ops, entries[i].position, 0, &expected);
        int got                     = stripe_apply(s, &entries[i], true, &real);
        cr_assert_eq(got, want, "seed %lu entry %d: %s, expected %s", seed, i, err_name(got), err_name(want));
        cr_assert(bytes_equal(wire_written(&real), wire_written(&expected)), "seed %lu entry %d: results", seed, i);
        successes += got == 0;
        failures += got != 0;
        cr_assert_eq(stripe_applied(s), index + 1);
        cr_assert(got == 0 || (held.count == balance.count && held.sum == balance.sum));
        compare(s, m, &balance);
        wire_writer_fini(&real);
        wire_writer_fini(&expected);
        assert_live(s, &balance);
        if (rand_chance(&r, 30)) {
            s = carry_over(&r, s, &balance, m, entries, i + 1, &position);
            compare(s, m, &balance);
            carried = true;
        }
        if (rand_chance(&r, 20)) {
            struct balance     loaded_balance;
            struct stripe     *loaded = fresh(&loaded_balance);
            struct wire_writer image  = rand_chance(&r, 2)
                                            ? image_of(s)
                                            : image_in_slices(s, 1 + rand_below(&r, rand_chance(&r, 2) ? 8 : 2000));
            cr_assert_eq(rand_chance(&r, 2) ? stripe_load(loaded, wire_written(&image), NULL)
                                            : load_in_slices(&r, loaded, wire_written(&image), NULL),
                         0);
            assert_same(s, loaded);
            cr_assert(loaded_balance.count == balance.count && loaded_balance.sum == balance.sum);
            wire_writer_fini(&image);
            stripe_free(loaded);
            if (rand_chance(&r, 2)) { /* go on with what was loaded; the balance is the one of a restart */
                struct balance rebuilt;
                stripe_free(s);
                s = fresh(&rebuilt);
                for (int k = 0; k <= i; k++) {
                    (void)!stripe_apply(s, &entries[k], false, NULL);
                }
                struct wire_writer replayed = image_of(s);
                stripe_free(s);
                s = fresh(&balance);
                cr_assert_eq(stripe_load(s, wire_written(&replayed), NULL), 0);
                wire_writer_fini(&replayed);
                compare(s, m, &balance);
            }
        }
    }
    struct balance replay_balance;
    struct stripe *replayed = fresh(&replay_balance);
    for (int i = 0; i < ENTRIES; i++) {
        (void)!stripe_apply(replayed, &entries[i], false, NULL);
    }
    cr_assert_eq(stripe_hash(s), stripe_hash(replayed));
    if (!carried) {
        assert_same(s, replayed);
    }
    cr_assert(replay_balance.count == balance.count && replay_balance.sum == balance.sum);
    stripe_free(replayed);
    stripe_free(s);
    for (int i = 0; i < ENTRIES; i++) {
        wire_writer_fini(&lists[i]);
    }
    free(m);
}

Test(stripe_model, random_ops_do_what_the_model_does, .timeout = 120)
{
    const char *seeds = getenv("STRIPE_SEEDS");
    uint64_t    count = seeds != NULL ? strtoull(seeds, NULL, 10) : 200;
    for (uint64_t seed = 1; seed <= count; seed++) {
        one_seed(seed);
    }
    cr_assert_gt(successes, failures / 4); /* both paths are walked */
    cr_assert_gt(failures, successes / 20);
}
