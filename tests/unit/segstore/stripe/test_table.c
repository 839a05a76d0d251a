/* Rows: bounds, expiry, scans. */
#include "segstore/stripe/stripe.h"

#include "shared/base/err.h"
#include "shared/rpc/op.h"
#include "shared/rpc/schema.h"
#include "tests/unit/segstore/stripe/stripe_bench.h"

#include <stdio.h>

static int put_row(struct bench *b, uint32_t table, const char *key, const char *value)
{
    return one(b, (struct op){.kind = OP_TABLE_PUT, .table = table, .name = bytes_str(key), .value = bytes_str(value)});
}

Test(stripe_table, one_table_has_bounds_of_its_own)
{
    struct bench b;
    setup_limited(&b, (struct stripe_limits){.table_bytes_max   = 1000,
                                             .streams_max       = 2,
                                             .writers_max       = 1,
                                             .bounded_table     = 3,
                                             .bounded_rows_max  = 2,
                                             .bounded_bytes_max = 20});
    cr_assert_eq(put_row(&b, 3, "a", "1234"), 0);
    cr_assert_eq(put_row(&b, 3, "b", "1234"), 0);
    cr_assert_eq(put_row(&b, 3, "c", "1"), ERR_QUOTA);
    cr_assert_eq(put_row(&b, 4, "c", "12345678901234567890"), 0, "others have none");
    cr_assert_eq(put_row(&b, 3, "a", "12345678901234"), 0, "20 bytes are there now");
    cr_assert_eq(put_row(&b, 3, "b", "12345"), ERR_QUOTA);
    cr_assert_eq(put_row(&b, 3, "b", "4321"), 0);
    cr_assert_eq(one(&b, (struct op){.kind = OP_TABLE_DELETE, .table = 3, .name = S("a")}), 0);
    cr_assert_eq(put_row(&b, 3, "c", "1"), 0);
    teardown(&b);
}

Test(stripe_table, items_expire_for_readers_at_their_time_and_are_then_due)
{
    struct bench b;
    setup(&b);
    cr_assert_eq(one(&b, (struct op){.kind = OP_TABLE_PUT, .name = S("k"), .value = S("v"), .wall_ns = 50}), 0);
    b.wall = 49;
    cr_assert_eq(one(&b, (struct op){.kind = OP_TABLE_GET, .name = S("k")}), 0);
    cr_assert_neq(wire_get_u64(&b.r), 0);
    b.wall = 50;
    cr_assert_eq(one(&b, (struct op){.kind = OP_TABLE_GET, .name = S("k")}), 0);
    cr_assert_eq(wire_get_u64(&b.r), 0);
    cr_assert_eq(one(&b, (struct op){.kind = OP_CHECK, .name = S("k")}), 0);
    cr_assert(stripe_due(b.s, 50, &b.ops));
    cr_assert_eq(go(&b), 0);
    cr_assert(b.told.deleted == 1 && stripe_next_due_ns(b.s) == UINT64_MAX);
    teardown(&b);
}

static bool on_key(void *ctx, const struct stripe_item *item)
{
    struct wire_writer *keys = ctx;
    wire_put_bytes(keys, item->key);
    wire_put_u8(keys, ' ');
    return item->key.size != 0;
}

Test(stripe_table, scans_go_on_behind_a_key_and_hide_what_has_expired)
{
    static const char *const names[] = {"a", "a/b", "a/b/c", "ab", "b", "c"};
    struct bench             b;
    setup(&b);
    for (size_t i = 0; i < 6; i++) {
        cr_assert_eq(
            one(&b, (struct op){.kind = OP_TABLE_PUT, .table = 4, .name = S(names[i]), .wall_ns = i == 4 ? 10 : 0}), 0);
    }
    struct {
        uint8_t     kind;
        const char *pattern, *after, *keys;
    } cases[] = {{RPC_SCAN_KEY, "ab", "", "ab "},
                 {RPC_SCAN_KEY, "ab", "ab", ""},
                 {RPC_SCAN_PREFIX, "", "", "a a/b a/b/c ab c "},
                 {RPC_SCAN_PREFIX, "a/", "", "a/b a/b/c "},
                 {RPC_SCAN_PREFIX, "a/", "a/b", "a/b/c "},
                 {RPC_SCAN_PREFIX, "a/", "b", ""},
                 {RPC_SCAN_FILTER, "a/#", "", "a a/b a/b/c "},
                 {RPC_SCAN_FILTER, "a/#", "a", "a/b a/b/c "},
                 {RPC_SCAN_FILTER, "+", "", "a ab c "},
                 {RPC_SCAN_FILTER, "+/b", "", "a/b "},
                 {RPC_SCAN_FILTER, "#", "ab", "c "}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct wire_writer keys = wire_writer_growing(1000);
        wire_put_u8(&keys, 0);
        keys.size = 0;
        cr_assert(stripe_scan(b.s, 4, cases[i].kind, S(cases[i].pattern), S(cases[i].after), 10, NULL, on_key, &keys));
        cr_assert(bytes_equal(wire_written(&keys), S(cases[i].keys)), "%s after %s: %.*s", cases[i].pattern,
                  cases[i].after, (int)keys.size, (char *)keys.data);
        wire_writer_fini(&keys);
    }
    teardown(&b);
}

Test(stripe_table, a_scan_that_gives_way_shows_the_same_as_one_that_does_not)
{
    static const char *const patterns[] = {"#", "+/x", "a/+/c", "+/+/+", "nothing/#"};
    struct bench             b;
    char                     name[32];
    setup(&b);
    for (int i = 0; i < 60; i++) {
        snprintf(name, sizeof name, i % 3 == 0 ? "%c/x" : i % 3 == 1 ? "%c/%d/c" : "%c", 'a' + i / 3, i);
        cr_assert_eq(one(&b, (struct op){.kind = OP_TABLE_PUT, .table = 4, .name = S(name)}), 0);
    }
    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
        struct wire_writer whole  = wire_writer_growing(1000);
        struct wire_writer pieces = wire_writer_growing(1000);
        wire_put_u8(&whole, ' ');
        wire_put_u8(&pieces, ' ');
        cr_assert(stripe_scan(b.s, 4, RPC_SCAN_FILTER, S(patterns[i]), S(""), 10, NULL, on_key, &whole));
        struct stripe_pace pace  = {.steps_left = 3};
        struct bytes       after = {0};
        int                turns = 1;
        while (!stripe_scan(b.s, 4, RPC_SCAN_FILTER, S(patterns[i]), after, 10, &pace, on_key, &pieces)) {
            cr_assert_eq(pace.steps_left, 0);
            after = pace.at;
            pace  = (struct stripe_pace){.steps_left = 3};
            turns++;
        }
        cr_assert(bytes_equal(wire_written(&whole), wire_written(&pieces)), "%s", patterns[i]);
        cr_assert(turns > 1 || i == 4, "%s looked at all in one go", patterns[i]);
        wire_writer_fini(&whole);
        wire_writer_fini(&pieces);
    }
    teardown(&b);
}
