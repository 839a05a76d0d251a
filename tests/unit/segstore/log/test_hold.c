/* What hold.h promises: a segment stays from the first position in it until all is released, once, whatever the order. */
#include "segstore/log/hold.h"

#include <criterion/criterion.h>

Test(log_hold, a_segment_is_held_once_until_it_is_released)
{
    static const uint64_t positions[] = {5010, 5999, 1000, 5000, 9000, 1001, 3500, 9999};
    struct segments       s;
    struct hold           h = {0};
    segments_init(&s, 1000);
    for (size_t i = 0; i < sizeof positions / sizeof positions[0]; i++) {
        hold_add(&h, &s, positions[i]);
        cr_assert_eq(segments_find(&s, positions[i] / 1000)->live, 1);
    }
    cr_assert_eq(h.count, 4);
    segments_retain(&s, 3001); /* of somebody else */
    hold_release(&h, &s);
    cr_assert(segments_find(&s, 1)->live == 0 && segments_find(&s, 5)->live == 0 && segments_find(&s, 9)->live == 0);
    cr_assert_eq(segments_find(&s, 3)->live, 1);
    cr_assert_eq(h.count, 0);
    hold_release(&h, &s);
    segments_fini(&s);
}
