/* What the disk has left beside the log: how much, and when none. */
#include "segstore/disk/spare.h"

#include <criterion/criterion.h>

static const uint64_t second_ns = 1000000000;
static const uint64_t ms        = 1000000;
static const uint64_t mib       = 1 << 20;

static struct spare spare;
static uint64_t     now_ns;

static void begin(void)
{
    spare  = (struct spare){0};
    now_ns = 100 * second_ns;
}

TestSuite(disk_spare, .init = begin);

/* Writes of the log, one behind the other, for so long. */
static void log_for(uint64_t for_ns, uint64_t bytes, uint64_t took_ns)
{
    for (uint64_t until = now_ns + for_ns; now_ns < until;) {
        now_ns += took_ns;
        spare_logged(&spare, bytes, now_ns - took_ns, now_ns);
    }
}

/* Writes beside a log that writes `bytes` every millisecond, slices of 256 KiB, whenever it may. Returns how much in a second, and the most in one of its milliseconds. */
static uint64_t beside(uint64_t share, uint64_t bytes, uint64_t *most)
{
    struct spare_account account = {0};
    uint64_t             wrote = 0, next_ns = 0;
    *most = 0;
    for (uint64_t until = now_ns + second_ns; now_ns < until; now_ns += ms) {
        uint64_t before = wrote;
        if (bytes > 0) {
            spare_logged(&spare, bytes, now_ns - ms / 2, now_ns);
        }
        while (now_ns >= next_ns) {
            uint64_t wait = spare_pay(&account, &spare, share, now_ns);
            if (wait == 0) {
                spare_owe(&account, &spare, mib / 4, now_ns);
                wrote += mib / 4;
            }
            next_ns = now_ns + wait;
        }
        *most = wrote - before > *most ? wrote - before : *most;
    }
    return wrote;
}

Test(disk_spare, the_log_pays_for_what_is_written_beside_it)
{
    uint64_t most;
    uint64_t wrote = beside(SPARE_ONE / 2, 128 * 1024, &most); /* 125 MiB a second */
    cr_assert_geq(wrote, 60 * mib);
    cr_assert_leq(wrote, 75 * mib, "half as much, and a little by the clock");
    cr_assert_leq(most, mib / 4, "one slice at a time");
}

Test(disk_spare, a_log_that_writes_little_pays_little_but_something)
{
    uint64_t most;
    uint64_t wrote = beside(SPARE_ONE, 4096, &most);
    cr_assert_geq(wrote, 8 * mib);
    cr_assert_leq(wrote, 16 * mib);
}

Test(disk_spare, while_the_log_rests_much_may_be_written)
{
    uint64_t most;
    uint64_t wrote = beside(1, 0, &most);
    cr_assert_geq(wrote, 200 * mib);
    cr_assert_leq(wrote, 300 * mib);
}

Test(disk_spare, what_the_log_wrote_before_is_no_credit)
{
    struct spare_account account = {0};
    log_for(second_ns, mib, ms);
    spare_owe(&account, &spare, 4 * mib, now_ns);
    cr_assert_gt(spare_pay(&account, &spare, SPARE_ONE, now_ns), 0);
    now_ns += ms;
    spare_logged(&spare, mib, now_ns - ms, now_ns);
    cr_assert_gt(spare_pay(&account, &spare, SPARE_ONE, now_ns), 0);
    cr_assert_lt(account.debt_bytes, 3 * mib + 1);
    log_for(second_ns, mib, ms);
    cr_assert_eq(spare_pay(&account, &spare, SPARE_ONE, now_ns), 0);
    log_for(second_ns, mib, ms); /* while nothing was owed */
    spare_owe(&account, &spare, 4 * mib, now_ns);
    cr_assert_gt(spare_pay(&account, &spare, SPARE_ONE, now_ns), 0);
}

Test(disk_spare, writes_that_take_longer_than_alone_are_slow)
{
    log_for(second_ns, 4096, ms / 2);
    cr_assert_not(spare_slow(&spare, now_ns));
    spare_begin(&spare, now_ns);
    log_for(10 * ms, 4096, 3 * ms);
    cr_assert_not(spare_slow(&spare, now_ns), "one or two are no reason");
    log_for(60 * ms, 4096, 3 * ms);
    cr_assert(spare_slow(&spare, now_ns));
    cr_assert_not(spare_slow(&spare, now_ns + 2 * second_ns), "nobody writes any more: nobody waits");
    spare_end(&spare, now_ns);
    log_for(100 * ms, 4096, ms / 2);
    cr_assert_not(spare_slow(&spare, now_ns));
}

Test(disk_spare, a_disk_that_has_become_slow_by_itself_is_usual)
{
    log_for(second_ns, 4096, ms / 2);
    log_for(second_ns, 4096, 5 * ms);
    cr_assert_not(spare_slow(&spare, now_ns));
}

Test(disk_spare, what_was_written_while_something_ran_beside_is_not_usual)
{
    log_for(second_ns, 4096, ms / 2);
    spare_begin(&spare, now_ns);
    log_for(second_ns, 4096, 20 * ms);
    cr_assert(spare_slow(&spare, now_ns), "however long that was");
    uint64_t begun_ns = now_ns;
    now_ns += ms;
    spare_end(&spare, now_ns);
    spare_logged(&spare, 4096, begun_ns, now_ns + 50 * ms); /* it began while that was still under way */
    cr_assert_lt(spare.usual_ns, ms);
}

Test(disk_spare, large_are_those_of_which_most_are)
{
    log_for(second_ns, 4096, ms);
    cr_assert_not(spare_large(&spare));
    log_for(3 * ms, mib, ms);
    cr_assert_not(spare_large(&spare) && spare.mean_bytes > 128 * 1024);
    log_for(second_ns, 128 * 1024, ms);
    cr_assert(spare_large(&spare));
    log_for(second_ns, 4096, ms);
    cr_assert_not(spare_large(&spare));
}
