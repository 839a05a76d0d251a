/* What positions.h promises: whatever was added comes out ascending, all of it, in slices of any size. */
#include "segstore/log/positions.h"

#include "shared/base/rand.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void sorts(struct rand *r, size_t count, size_t slice, uint64_t range)
{
    struct positions p;
    uint64_t        *expected = malloc((count + 1) * sizeof *expected);
    positions_init(&p);
    for (size_t i = 0; i < count; i++) {
        expected[i] = rand_below(r, range);
        positions_add(&p, expected[i]);
    }
    qsort(expected, count, sizeof *expected, compare);
    while (positions_sort(&p, slice)) {
    }
    cr_assert_eq(p.count, count);
    cr_assert(count == 0 || memcmp(p.at, expected, count * sizeof *expected) == 0, "%zu in slices of %zu", count,
              slice);
    positions_fini(&p);
    free(expected);
}

Test(log_positions, any_number_is_sorted_in_slices_of_any_size)
{
    static const size_t counts[] = {0, 1, 2, 1023, 1024, 1025, 2048, 2049, 3000, 4096, 5000, 10000, 65537};
    struct rand         r;
    rand_init(&r, 1, 1);
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        sorts(&r, counts[i], 1, 1000000);
        sorts(&r, counts[i], 777, 500); /* many of them twice */
        sorts(&r, counts[i], SIZE_MAX, UINT64_MAX);
    }
}
