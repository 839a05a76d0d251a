#include "shared/base/rate.h"

#include <criterion/criterion.h>
#include <pthread.h>

static const uint64_t second_ns = 1000000000;

Test(base_rate, what_is_taken_beyond_a_burst_is_waited_for)
{
    struct rate rate = {.per_second = 1000};
    cr_assert_eq(rate_take(&rate, 1000, 5 * second_ns), 0, "a second's worth at once");
    cr_assert_eq(rate_wait_ns(&rate, 5 * second_ns), 0);
    cr_assert_eq(rate_take(&rate, 500, 5 * second_ns), second_ns / 2);
    cr_assert_eq(rate_wait_ns(&rate, 5 * second_ns), second_ns / 2);
    cr_assert_eq(rate_wait_ns(&rate, 5 * second_ns + second_ns / 4), second_ns / 4);
    cr_assert_eq(rate_wait_ns(&rate, 6 * second_ns), 0);
    cr_assert_eq(rate_take(&rate, 100, 9 * second_ns), 0, "it is full again");
}

static void *take_many(void *rate)
{
    for (int i = 0; i < 100000; i++) {
        (void)rate_take(rate, 1, second_ns);
    }
    return NULL;
}

Test(base_rate, several_threads_take_from_one)
{
    struct rate rate = {.per_second = 1000};
    pthread_t   threads[4];
    for (int i = 0; i < 4; i++) {
        pthread_create(&threads[i], NULL, take_many, &rate);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    cr_assert_eq(rate_wait_ns(&rate, second_ns), 399 * second_ns, "nothing that was taken is forgotten");
}
