/* Which files are emptied: in bytes, never more than was logged, whatever the sizes of records are. */
#include "segstore/disk/victims.h"

#include "shared/base/rand.h"

#include <criterion/criterion.h>
#include <stdlib.h>

enum { FILE_BYTES = 1 << 20, RUN = 1 };

static const uint64_t SECOND = 1000000000;

struct stage {
    struct segments     segments;
    struct victims_view view;
    struct victims      chosen;
};

static void setup(struct stage *t)
{
    *t = (struct stage){0};
    segments_init(&t->segments, FILE_BYTES);
    t->view = (struct victims_view){.segments     = &t->segments,
                                    .now_ns       = SECOND,
                                    .closed_below = 1000,
                                    .logged_bytes = 100ull * FILE_BYTES,
                                    .credit_bytes = 100ull * FILE_BYTES};
}

static void teardown(struct stage *t)
{
    segments_fini(&t->segments);
}

static struct log_segment *file(struct stage *t, uint64_t number, uint64_t live, uint64_t total)
{
    struct log_segment *s = segments_at(&t->segments, number);
    s->exists             = true;
    s->live               = live;
    s->total              = total;
    s->bytes              = segment_is_run(number) ? FILE_BYTES : 0;
    return s;
}

static void choose(struct stage *t)
{
    victims_choose(&t->view, &t->chosen);
}

static void expect(struct stage *t, bool weigh, uint32_t count, uint64_t first)
{
    choose(t);
    cr_assert_eq(t->chosen.count, count, "%u files", t->chosen.count);
    cr_assert(count == 0 || (t->chosen.numbers[0] == first && t->chosen.weigh == weigh));
}

Test(disk_victims, a_file_of_which_few_records_are_left_is_weighed_before_it_is_emptied)
{
    struct stage t;
    setup(&t);
    struct log_segment *s = file(&t, 7, 40, 100);
    expect(&t, true, 1, 7);
    victims_weighed(&t.view, s, FILE_BYTES / 2 - 1);
    expect(&t, false, 1, 7);
    teardown(&t);
}

Test(disk_victims, a_file_that_is_half_held_in_bytes_stays_however_few_records_they_are)
{
    struct stage t;
    setup(&t);
    struct log_segment *s = file(&t, 7, 1, 100);
    expect(&t, true, 1, 7);
    victims_weighed(&t.view, s, FILE_BYTES / 2);
    expect(&t, true, 0, 0);
    t.view.now_ns += 3600 * SECOND;
    expect(&t, true, 0, 0);
    teardown(&t);
}

Test(disk_victims, a_file_that_is_light_in_bytes_is_found_however_many_records_are_left)
{
    struct stage t;
    setup(&t);
    struct log_segment *s = file(&t, 7, 99, 100);
    expect(&t, true, 0, 0);
    t.view.logged_bytes += FILE_BYTES; /* as much as all files have */
    expect(&t, true, 1, 7);
    victims_weighed(&t.view, s, 1000);
    expect(&t, false, 1, 7);
    teardown(&t);
}

Test(disk_victims, what_was_weighed_is_weighed_again_only_when_something_died_and_time_went_by)
{
    struct stage t;
    setup(&t);
    struct log_segment *s = file(&t, 7, 40, 100);
    choose(&t);
    victims_weighed(&t.view, s, 600000);
    t.view.logged_bytes += 100 * FILE_BYTES;
    t.view.now_ns += 3600 * SECOND;
    expect(&t, true, 0, 0);
    s->live = 20; /* half of them: half of it, perhaps */
    expect(&t, true, 1, 7);
    victims_weighed(&t.view, s, 599000);
    s->live = 10;
    expect(&t, true, 0, 0);
    t.view.now_ns += VICTIMS_AGAIN_NS;
    expect(&t, true, 1, 7);
    teardown(&t);
}

Test(disk_victims, files_that_hold_more_than_the_credit_wait_for_it)
{
    struct stage t;
    setup(&t);
    for (uint64_t number = 1; number <= 4; number++) {
        victims_weighed(&t.view, file(&t, number, 10, 100), 100000 * number);
    }
    t.view.credit_bytes = 99999;
    expect(&t, false, 0, 0);
    t.view.credit_bytes = 350000;
    expect(&t, false, 2, 1);
    cr_assert_eq(t.chosen.numbers[1], 2, "100,000 and 200,000; not 300,000 more");
    t.view.credit_bytes = 1000000;
    expect(&t, false, 4, 1);
    teardown(&t);
}

Test(disk_victims, young_open_damaged_and_empty_files_stay)
{
    struct stage t;
    setup(&t);
    t.view.age_ns             = 600 * SECOND;
    t.view.closed_below       = 7;
    t.view.run_number         = SEGMENT_RUN_FIRST + 1;
    struct log_segment *young = file(&t, 1, 1, 100);
    file(&t, 7, 1, 100);
    file(&t, 2, 0, 100);
    file(&t, 3, 1, 100)->damaged = true;
    file(&t, SEGMENT_RUN_FIRST + 1, 1, 100);
    young = segments_find(&t.segments, 1);
    expect(&t, true, 0, 0);
    t.view.pressed = true;
    expect(&t, true, 1, 1);
    t.view.pressed = false;
    t.view.now_ns += 600 * SECOND;
    expect(&t, true, 1, 1);
    cr_assert_neq(young->seen_ns, 0);
    t.view.run_number = 0;
    expect(&t, true, 2, 1);
    teardown(&t);
}

Test(disk_victims, on_a_full_disk_the_lightest_goes_first_and_the_credit_does_not_count)
{
    struct stage t;
    setup(&t);
    t.view.full         = true;
    t.view.credit_bytes = 0;
    victims_weighed(&t.view, file(&t, 1, 10, 100), FILE_BYTES * 8 / 10);
    victims_weighed(&t.view, file(&t, 2, 10, 100), FILE_BYTES * 6 / 10);
    victims_weighed(&t.view, file(&t, 3, 10, 100), FILE_BYTES * 95 / 100);
    expect(&t, false, 1, 2);
    segments_find(&t.segments, 2)->live = 0;
    expect(&t, false, 1, 1);
    segments_find(&t.segments, 1)->live = 0;
    t.view.now_ns += 3600 * SECOND;
    expect(&t, false, 0, 0);
    segments_find(&t.segments, 3)->live = 9;
    expect(&t, true, 1, 3);
    teardown(&t);
}

/* ---- random traces ---- */

enum { RECORDS_MAX = 200000, HOLDERS = 4 };

struct record {
    uint64_t file;
    uint32_t size;
    uint32_t dies; /* at this step */
};

struct trace {
    struct stage   stage;
    struct rand    rand;
    struct record *records; /* alive */
    size_t         count;
    uint64_t       used; /* of the log file and the run that are written */
    uint64_t       log;
    uint64_t       run;
    uint64_t       run_used;
    uint64_t       logged;
    uint64_t       copied;
    uint64_t       read;
    uint32_t       step;
    uint32_t       profile;
};

static uint64_t draw(struct trace *t, uint64_t low, uint64_t high)
{
    return low + rand_below(&t->rand, high - low + 1);
}

/* 64 B beside nearly 1 MiB. */
static uint32_t draw_size(struct trace *t)
{
    return draw(t, 0, 9) < 7 ? 64 : (uint32_t)1 << draw(t, 6, 19);
}

/* Some traces keep the small ones, some the large ones, some whatever. */
static uint32_t draw_life(struct trace *t, uint32_t size)
{
    bool stays = t->profile == 0 ? size < 1000 : t->profile == 1 ? size > 100000 : draw(t, 0, 19) == 0;
    return (uint32_t)(stays ? draw(t, 20, 400) : draw(t, 0, 10));
}

static void place(struct trace *t, struct record *r, uint64_t *number, uint64_t *used)
{
    if (*used + r->size > FILE_BYTES) {
        ++*number;
        *used = 0;
    }
    *used += r->size;
    r->file               = *number;
    struct log_segment *s = segments_at(&t->stage.segments, r->file);
    s->exists             = true;
    segments_add(&t->stage.segments, segments_position(&t->stage.segments, r->file));
    if (segment_is_run(r->file)) {
        s->bytes = *used;
    }
}

static void append(struct trace *t)
{
    cr_assert_lt(t->count, RECORDS_MAX);
    struct record *r = &t->records[t->count++];
    r->size          = draw_size(t);
    r->dies          = t->step + draw_life(t, r->size);
    place(t, r, &t->log, &t->used);
    t->logged += r->size;
}

static void leave(struct trace *t, const struct record *r)
{
    segments_release(&t->stage.segments, segments_position(&t->stage.segments, r->file));
}

static void die(struct trace *t)
{
    size_t kept = 0;
    for (size_t i = 0; i < t->count; i++) {
        if (t->records[i].dies <= t->step) {
            leave(t, &t->records[i]);
        } else {
            t->records[kept++] = t->records[i];
        }
    }
    t->count = kept;
}

static uint64_t held_in(const struct trace *t, uint64_t file)
{
    uint64_t held = 0;
    for (size_t i = 0; i < t->count; i++) {
        held += t->records[i].file == file ? t->records[i].size : 0;
    }
    return held;
}

static void empty(struct trace *t, uint64_t file)
{
    for (size_t i = 0; i < t->count; i++) {
        struct record *r = &t->records[i];
        if (r->file == file) {
            leave(t, r);
            place(t, r, &t->run, &t->run_used);
            t->copied += r->size;
        }
    }
}

/* Files without records go; returns how many bytes are there. */
static uint64_t forget(struct trace *t)
{
    uint64_t bytes = 0;
    for (struct log_segment *s = segments_next(&t->stage.segments, 0); s != NULL;
         s                     = segments_next(&t->stage.segments, s->number + 1)) {
        s->exists = s->live > 0 || s->number == t->log || s->number == t->run;
        bytes += s->exists ? victims_file_bytes(&t->stage.segments, s) : 0;
    }
    return bytes;
}

static bool reclaim(struct trace *t)
{
    struct victims_view *v = &t->stage.view;
    v->now_ns += VICTIMS_AGAIN_NS / 8;
    v->closed_below = t->log;
    v->run_number   = t->run;
    v->logged_bytes = t->logged;
    v->credit_bytes = t->logged - t->copied;
    choose(&t->stage);
    for (uint32_t i = 0; i < t->stage.chosen.count; i++) {
        uint64_t number = t->stage.chosen.numbers[i];
        if (t->stage.chosen.weigh) {
            t->read += FILE_BYTES;
            victims_weighed(v, segments_find(&t->stage.segments, number), held_in(t, number));
        } else {
            empty(t, number);
        }
        cr_assert_leq(t->copied, t->logged, "%llu bytes were copied, %llu logged", (unsigned long long)t->copied,
                      (unsigned long long)t->logged);
    }
    (void)forget(t);
    return t->stage.chosen.count > 0;
}

static uint64_t held_of(const struct trace *t)
{
    uint64_t held = 0;
    for (size_t i = 0; i < t->count; i++) {
        held += t->records[i].size;
    }
    return held;
}

static void run_trace(uint32_t seed, struct trace *t)
{
    *t = (struct trace){.log = 1, .run = SEGMENT_RUN_FIRST + RUN, .profile = seed % 3};
    setup(&t->stage);
    rand_init(&t->rand, seed, 0);
    t->records = malloc(RECORDS_MAX * sizeof *t->records);
    cr_assert_not_null(t->records);
    for (; t->step < 600; t->step++) {
        for (uint64_t more = draw(t, 0, 60); more > 0; more--) {
            append(t);
        }
        die(t);
        (void)reclaim(t);
    }
    uint64_t before = t->count;
    for (int again = 0; again < 200; again++) { /* no more dies; what is logged beside it is gone at once */
        t->logged += FILE_BYTES / 2;
        (void)reclaim(t);
    }
    cr_assert_eq(before, t->count);
}

static void trace_end(struct trace *t)
{
    free(t->records);
    teardown(&t->stage);
}

Test(disk_victims, whatever_lives_and_dies_no_more_is_copied_than_logged_and_no_more_kept_than_twice_what_is_held)
{
    uint64_t copied = 0;
    for (uint32_t seed = 1; seed <= 30; seed++) {
        struct trace t;
        run_trace(seed, &t);
        uint64_t bytes = forget(&t);
        uint64_t held  = held_of(&t);
        copied += t.copied;
        cr_assert_leq(bytes, 2 * held + 4 * FILE_BYTES, "seed %u: %llu bytes of files for %llu that are held", seed,
                      (unsigned long long)bytes, (unsigned long long)held);
        cr_assert_leq(t.read, 3 * t.logged, "seed %u: %llu bytes were read to weigh, %llu logged", seed,
                      (unsigned long long)t.read, (unsigned long long)t.logged);
        trace_end(&t);
    }
    cr_assert_gt(copied, 50 * FILE_BYTES, "the traces try it: %llu bytes", (unsigned long long)copied);
}
