/* What shards publish, as text. */
#include "broker/admin/metrics.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

Test(admin_metrics, each_is_printed_as_a_sum_and_by_shard)
{
    struct metrics *metrics = metrics_new(2);
    size_t          size    = 0;
    metrics_set(metrics_of(metrics, 0), METRIC_PUBLISHES, 3);
    metrics_set(metrics_of(metrics, 1), METRIC_PUBLISHES, 4);
    char *text = metrics_print(metrics, &size);
    cr_assert_eq(strlen(text), size);
    cr_expect_not_null(strstr(text, "# TYPE keel_publishes_total counter\nkeel_publishes_total 7\n"
                                    "keel_publishes_total{shard=\"0\"} 3\nkeel_publishes_total{shard=\"1\"} 4\n"));
    free(text);
    metrics_free(metrics);
}
