/* Which entry is of which term. */
#include "segstore/raft/log.h"

#include <criterion/criterion.h>

/* Terms from entry 1 on, ending with 0. */
static struct raft_log log_of(const uint64_t *terms)
{
    struct raft_log log = {0};
    log_reset(&log, 0, 0);
    for (; *terms != 0; terms++) {
        log_append(&log, *terms);
        log.stable = log.last;
    }
    return log;
}

#define LOG(...) log_of((const uint64_t[]){__VA_ARGS__, 0})

Test(raft_log, knows_the_term_of_every_entry_and_of_none_beside)
{
    struct raft_log log = LOG(1, 1, 2, 2, 2, 5);
    cr_assert_eq(log_term(&log, 0), 0);
    cr_assert_eq(log_term(&log, 1), 1);
    cr_assert_eq(log_term(&log, 2), 1);
    cr_assert_eq(log_term(&log, 3), 2);
    cr_assert_eq(log_term(&log, 5), 2);
    cr_assert_eq(log_term(&log, 6), 5);
    cr_assert_eq(log_term(&log, 7), 0);
    cr_assert_eq(log.count, 3, "memory goes with terms");
    log_fini(&log);
}

Test(raft_log, what_is_truncated_is_gone_and_not_durable)
{
    struct raft_log log = LOG(1, 1, 2, 2, 3);
    log_truncate(&log, 4);
    cr_assert_eq(log.last, 3);
    cr_assert_eq(log.stable, 3);
    cr_assert_eq(log_term(&log, 4), 0);
    log_append(&log, 4);
    cr_assert_eq(log_term(&log, 3), 2);
    cr_assert_eq(log_term(&log, 4), 4);
    cr_assert_eq(log.stable, 3);
    log_truncate(&log, 1);
    cr_assert_eq(log.last, 0);
    cr_assert_eq(log.count, 0);
    log_append(&log, 7);
    cr_assert_eq(log_term(&log, 1), 7);
    log_fini(&log);
}

Test(raft_log, forgets_from_the_front_and_keeps_the_term_before)
{
    for (uint64_t upto = 0; upto <= 6; upto++) {
        const uint64_t  terms[] = {1, 1, 2, 2, 2, 5, 0};
        struct raft_log log     = log_of(terms);
        log_compact(&log, upto);
        cr_assert_eq(log.first, upto + 1);
        cr_assert_eq(log.last, 6);
        for (uint64_t i = 0; i <= 7; i++) {
            uint64_t expected = i < upto || i > 6 || i == 0 ? 0 : terms[i - 1];
            cr_assert_eq(log_term(&log, i), expected, "entry %llu of a log compacted to %llu", (unsigned long long)i,
                         (unsigned long long)upto);
        }
        log_append(&log, 6);
        cr_assert_eq(log_term(&log, 7), 6);
        cr_assert_eq(log_term(&log, 6), 5);
        log_fini(&log);
    }
}

Test(raft_log, compacting_again_further_back_changes_nothing)
{
    struct raft_log log = LOG(1, 2, 3);
    log_compact(&log, 2);
    log_compact(&log, 1);
    cr_assert_eq(log.first, 3);
    cr_assert_eq(log_term(&log, 2), 2);
    log_fini(&log);
}

Test(raft_log, a_conflict_passes_over_whole_terms)
{
    struct raft_log log = LOG(1, 1, 4, 4, 4, 4, 6, 6);
    cr_assert_eq(log_conflict(&log, 8, 6), 8);
    cr_assert_eq(log_conflict(&log, 8, 5), 6);
    cr_assert_eq(log_conflict(&log, 8, 3), 2);
    cr_assert_eq(log_conflict(&log, 5, 4), 5);
    cr_assert_eq(log_conflict(&log, 5, 3), 2);
    cr_assert_eq(log_conflict(&log, 100, 9), 8);
    cr_assert_eq(log_conflict(&log, 8, 0), 0);
    log_compact(&log, 4);
    cr_assert_eq(log_conflict(&log, 8, 3), 4, "behind what was compacted nothing is known");
    log_fini(&log);
}
