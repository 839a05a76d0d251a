#include "broker/kernel/window.h"
#include "shared/base/rand.h"

#include <criterion/criterion.h>

Test(kernel_window, an_id_names_one_offset_wherever_the_window_begins)
{
    const uint64_t starts[] = {0, 1, 32765, 32766, 32767, 32768, 1ull << 40};
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
        struct window w;
        uint64_t      found;
        window_init(&w, starts[i]);
        cr_assert_not(window_find(&w, window_id(starts[i]), &found));
        for (uint64_t offset = starts[i]; offset < starts[i] + 300; offset++) {
            cr_assert(window_id(offset) != 0);
            cr_assert_eq(window_set(&w, offset, WINDOW_SENT_1), 0);
            cr_assert(window_find(&w, window_id(offset), &found));
            cr_assert_eq(found, offset);
        }
        cr_assert_not(window_find(&w, window_id(starts[i] + 300), &found));
        cr_assert_not(window_find(&w, 0, &found));
        window_fini(&w);
    }
}

Test(kernel_window, it_is_full_at_32767_offsets_and_moves_when_the_first_is_done)
{
    struct window w;
    window_init(&w, 10);
    cr_assert_eq(window_set(&w, 10 + WINDOW_WIDTH_MAX - 1, WINDOW_SENT_2), 0);
    cr_assert_eq(window_get(&w, 10), WINDOW_NONE);
    cr_assert_not(window_fits(&w, 10 + WINDOW_WIDTH_MAX));
    cr_assert_eq(window_set(&w, 10, WINDOW_DONE), 0);
    cr_assert_eq(w.base, 11);
    cr_assert(window_fits(&w, 10 + WINDOW_WIDTH_MAX));
    cr_assert_eq(window_get(&w, 10), WINDOW_DONE);
    window_fini(&w);
}

Test(kernel_window, it_remembers_what_an_array_remembers)
{
    static uint8_t model[20000];
    struct rand    r;
    struct window  w;
    uint64_t       base = 0;
    uint64_t       next = 0;
    rand_init(&r, 3, 0);
    window_init(&w, 0);
    for (int step = 0; step < 100000 && next < 19000; step++) {
        uint64_t offset = base + rand_below(&r, next - base + (next - base < 900 ? 3 : 1));
        uint8_t  state  = (uint8_t)(1 + rand_below(&r, 5));
        if (offset == next && next - base >= 900) {
            continue;
        }
        state = offset < next && rand_chance(&r, 2) ? WINDOW_DONE : state;
        cr_assert_eq(window_set(&w, offset, state), 0);
        model[offset] = state;
        next          = offset >= next ? offset + 1 : next;
        while (base < next && model[base] == WINDOW_DONE) {
            base++;
        }
        cr_assert_eq(w.base, base);
        cr_assert_eq(w.next, next);
        uint64_t probe = base + rand_below(&r, 1000);
        cr_assert_eq(window_get(&w, probe), probe < next ? model[probe] : WINDOW_NONE);
    }
    window_fini(&w);
}
