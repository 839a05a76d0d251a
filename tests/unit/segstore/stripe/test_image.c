/* Images: whatever is cut, changed or given up half way does no harm. */
#include "segstore/stripe/stripe.h"

#include "shared/base/err.h"
#include "shared/rpc/op.h"
#include "tests/unit/segstore/stripe/stripe_bench.h"

Test(stripe_image, an_image_cut_or_changed_anywhere_is_malformed)
{
    struct bench       b;
    struct wire_writer action = wire_writer_growing(1000);
    struct wire_writer image  = wire_writer_growing(1 << 20);
    setup(&b);
    uint64_t id = create(&b, "q", STREAM_QUEUE);
    cr_assert_eq(append(&b, id, 3, 0, 0), 0);
    cr_assert_eq(append(&b, id, 3, 0, 1), 0);
    cr_assert_eq(mark(&b, id, 1, 1, 1, CURSOR_RECEIVED), 0);
    put_append(&action, id, 0, 0, 0, 0);
    set_timer(&b, "t", 1, 1, &action);
    cr_assert_eq(one(&b, (struct op){.kind = OP_TABLE_PUT, .name = S("k"), .value = S("v")}), 0);
    stripe_save(b.s, &image);
    for (size_t at = 0; at < image.size; at++) {
        struct stripe *s = stripe_new(1, NULL);
        cr_assert_eq(stripe_load(s, bytes_of(image.data, at), NULL), ERR_MALFORMED);
        stripe_free(s);
        s = stripe_new(1, NULL);
        image.data[at] ^= 0x10;
        cr_assert_eq(stripe_load(s, wire_written(&image), NULL), ERR_MALFORMED);
        image.data[at] ^= 0x10;
        stripe_free(s);
    }
    wire_writer_fini(&action);
    wire_writer_fini(&image);
    teardown(&b);
}

/* Given up at any moment, it has told nobody of what it holds, or has taken that back. */
Test(stripe_image, an_image_that_is_loaded_in_slices_may_be_given_up_at_any_moment)
{
    struct bench       b;
    struct wire_writer action = wire_writer_growing(1000);
    struct wire_writer image  = wire_writer_growing(1 << 20);
    setup(&b);
    uint64_t id = create(&b, "q", STREAM_QUEUE);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(append(&b, id, (uint64_t)i, 0, 0), 0);
    }
    put_append(&action, id, 0, 0, 0, 0);
    set_timer(&b, "t", 1, 1, &action);
    set_timer(&b, "u", 1, 1, &action);
    cr_assert_eq(mark(&b, id, 1, 1, 1, CURSOR_RECEIVED), 0);
    cr_assert_eq(one(&b, (struct op){.kind = OP_TABLE_PUT, .name = S("k"), .value = S("v")}), 0);
    stripe_save(b.s, &image);
    int  slices = 0;
    bool done   = false;
    while (!done) {
        struct told    told = {0};
        struct stripe *s =
            stripe_new(1, &(struct stripe_observer){.ctx = &told, .retained = on_retained, .released = on_released});
        struct stripe_loading *loading = stripe_load_begin(s, NULL);
        size_t                 at      = 0;
        slices++;
        for (int i = 0; i < slices && !done; i++) {
            size_t used;
            done = stripe_load_more(loading, bytes_of(image.data + at, image.size - at), 1, &used) == 0;
            at += used;
        }
        stripe_load_end(loading);
        cr_assert_eq(told.retained - told.released, done ? 5 : 0, "after %d slices", slices);
        stripe_free(s);
    }
    cr_assert_gt(slices, 10);
    wire_writer_fini(&action);
    wire_writer_fini(&image);
    teardown(&b);
}
