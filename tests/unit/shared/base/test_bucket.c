#include "shared/base/bucket.h"

#include <criterion/criterion.h>

enum { S = 1000000000 };

Test(base_bucket, a_seconds_worth_comes_at_once_and_then_the_rate_is_kept)
{
    struct bucket b   = {0};
    uint64_t      now = 5ull * S;
    for (int i = 0; i < 100; i++) {
        cr_assert_eq(bucket_take(&b, 100, 1, now), 0);
    }
    cr_assert_eq(bucket_take(&b, 100, 1, now), S / 100);
    cr_assert_eq(bucket_take(&b, 100, 1, now + S / 100), S / 100, "one more each time, one more paid for");
    cr_assert(!bucket_full(&b, now + S));
    cr_assert(bucket_full(&b, now + 2ull * S));
}

Test(base_bucket, what_is_not_allowed_is_not_taken)
{
    struct bucket b = {0};
    for (int i = 0; i < 1000; i++) {
        cr_assert_eq(bucket_try(&b, 2, S), i < 2);
    }
    cr_assert(!bucket_try(&b, 2, S + S / 4));
    cr_assert(bucket_try(&b, 2, S + S / 2));
}

Test(base_bucket, one_that_is_larger_than_a_second_waits_for_the_rest)
{
    struct bucket b = {0};
    cr_assert_eq(bucket_take(&b, 1000, 10000, S), 9ull * S);
    cr_assert_eq(bucket_take(&b, UINT64_C(1) << 40, UINT64_C(1) << 31, 20ull * S), 0);
}
