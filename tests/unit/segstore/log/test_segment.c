/* Names, positions, and who may be forgotten. */
#include "segstore/log/segment.h"

#include <criterion/criterion.h>
#include <stdlib.h>

enum { BYTES = 1 << 20 };

Test(log_segment, names_come_back_as_numbers_and_nothing_else_does)
{
    char     name[SEGMENT_NAME_BYTES];
    uint64_t number = 0;
    segment_name(42, name);
    cr_assert_str_eq(name, "000000000042");
    cr_assert(segment_parse(name, &number));
    cr_assert_eq(number, 42);
    segment_name(1234567890123456, name);
    cr_assert(segment_parse(name, &number));
    cr_assert_eq(number, 1234567890123456);
    static const char *const others[] = {
        "", "42", "000000000042.tmp", "00000000004x", "0000000000000000042", "-00000000042"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        cr_assert_not(segment_parse(others[i], &number), "%s", others[i]);
    }
}

Test(log_segment, is_kept_while_a_record_lives_in_it_or_a_restart_needs_it)
{
    struct segments s;
    segments_init(&s, BYTES);
    for (uint64_t number = 3; number < 6; number++) {
        segments_at(&s, number)->exists = true;
    }
    struct log_segment *third  = segments_find(&s, 3);
    uint64_t            replay = segments_position(&s, 4) + 100;
    cr_assert(segments_forgettable(&s, third, replay, 9));
    cr_assert_not(segments_forgettable(&s, third, segments_position(&s, 4) - 1, 9), "the replay begins in it");
    cr_assert_not(segments_forgettable(&s, segments_find(&s, 4), replay, 9));
    segments_retain(&s, segments_position(&s, 3) + 17);
    segments_retain(&s, segments_position(&s, 3) + BYTES - 1);
    cr_assert_not(segments_forgettable(&s, third, replay, 9));
    segments_release(&s, segments_position(&s, 3) + 17);
    cr_assert_not(segments_forgettable(&s, third, replay, 9));
    segments_release(&s, segments_position(&s, 3) + BYTES - 1);
    cr_assert(segments_forgettable(&s, third, replay, 9));
    third->exists = false;
    cr_assert_not(segments_forgettable(&s, third, replay, 9), "it is gone already");
    segments_fini(&s);
}

Test(log_segment, a_run_is_kept_until_the_oldest_checkpoint_that_counts_knows_where_its_records_went)
{
    struct segments s;
    uint64_t        number = SEGMENT_RUN_FIRST + 1;
    segments_init(&s, BYTES);
    segments_at(&s, 3)->exists      = true;
    segments_at(&s, number)->exists = true;
    cr_assert(segment_is_run(number) && !segment_is_run(3));
    segments_add(&s, segments_position(&s, number) + 17);
    segments_retain(&s, segments_position(&s, number));
    struct log_segment *run = segments_find(&s, number);
    cr_assert(run->live == 2 && run->total == 1, "whoever only holds it is not counted as a record");
    cr_assert_not(segments_forgettable(&s, run, UINT64_MAX, 9));
    segments_release(&s, segments_position(&s, number) + 17);
    segments_release(&s, segments_position(&s, number));
    cr_assert(segments_forgettable(&s, run, 0, 0), "no replay reads it");
    run->moved = 5;
    cr_assert_not(segments_forgettable(&s, run, UINT64_MAX, 4), "that one says that records lie here");
    cr_assert(segments_forgettable(&s, run, UINT64_MAX, 5));
    cr_assert_eq(segments_next(&s, 0)->number, 3);
    cr_assert_eq(segments_next(&s, 4)->number, number, "runs come behind the log");
    run->exists = false;
    cr_assert_null(segments_next(&s, 4));
    segments_fini(&s);
}

Test(log_segment, a_run_is_durable_as_far_as_it_was_written)
{
    struct segments s;
    uint64_t        number = SEGMENT_RUN_FIRST + 4;
    uint64_t        base   = SEGMENT_RUN_FIRST * BYTES + 4 * (uint64_t)BYTES;
    segments_init(&s, BYTES);
    segments_at(&s, number)->bytes = 8192;
    cr_assert_eq(segments_position(&s, number), base);
    cr_assert_eq(segments_durable(&s, base + 1, 777), base + 8192);
    cr_assert_eq(segments_durable(&s, 1, 777), 777);
    cr_assert_eq(segments_durable(&s, base + BYTES, 777), base + BYTES, "one that is not there");
    segments_fini(&s);
}

Test(log_segment, numbers_may_be_missing_and_old_ones_may_come_late)
{
    struct segments s;
    segments_init(&s, BYTES);
    segments_at(&s, 50)->exists = true;
    segments_retain(&s, segments_position(&s, 7)); /* an image that is older than all seen so far */
    cr_assert_eq(segments_find(&s, 7)->live, 1);
    cr_assert_eq(segments_find(&s, 50)->number, 50);
    cr_assert(segments_find(&s, 50)->exists);
    cr_assert_null(segments_find(&s, 6));
    cr_assert_null(segments_find(&s, 51));
    cr_assert_eq(segments_next(&s, 0)->number, 50);
    cr_assert_null(segments_next(&s, 51));
    segments_compact(&s);
    cr_assert_eq(segments_find(&s, 7)->live, 1);
    segments_release(&s, segments_position(&s, 7));
    segments_compact(&s);
    cr_assert_null(segments_find(&s, 7));
    cr_assert(segments_find(&s, 50)->exists);
    segments_fini(&s);
}
