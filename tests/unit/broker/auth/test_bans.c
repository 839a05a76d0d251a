#include "broker/auth/bans.h"

#include <criterion/criterion.h>
#include <string.h>

static struct ban *put(struct bans *bans, enum ban_kind kind, const char *name, uint64_t until, const char *why)
{
    uint8_t key[BAN_KEY_MAX_BYTES];
    uint8_t value[BAN_REASON_MAX_BYTES + 9];
    return bans_put(bans, ban_key(key, kind, bytes_str(name)), ban_value(value, until, bytes_str(why)));
}

Test(auth_bans, a_ban_is_of_one_kind_and_name_and_ends)
{
    struct bans bans = {0};
    cr_assert_null(bans_find(&bans, BAN_USER, bytes_str("eve"), 5));
    cr_assert_not_null(put(&bans, BAN_USER, "eve", 10, "why"));
    cr_assert_str_eq(bans_find(&bans, BAN_USER, bytes_str("eve"), 5)->reason, "why");
    cr_expect_null(bans_find(&bans, BAN_CLIENT, bytes_str("eve"), 5));
    cr_expect_null(bans_find(&bans, BAN_USER, bytes_str("eva"), 5));
    cr_expect_null(bans_find(&bans, BAN_USER, bytes_str("eve"), 10));
    cr_assert_not_null(put(&bans, BAN_USER, "eve", UINT64_MAX, ""));
    cr_expect_not_null(bans_find(&bans, BAN_USER, bytes_str("eve"), UINT64_MAX - 1));
    cr_expect_eq(bans.map.count, 1);
    bans_remove(&bans, bytes_str("u:eve"));
    bans_remove(&bans, bytes_str("u:eve"));
    cr_expect_null(bans_find(&bans, BAN_USER, bytes_str("eve"), 5));
    bans_fini(&bans);
}

Test(auth_bans, rows_that_are_none_are_refused)
{
    struct bans   bans = {0};
    uint8_t       value[BAN_REASON_MAX_BYTES + 9];
    uint8_t       room[BAN_KEY_MAX_BYTES];
    struct bytes  good = ban_value(value, 9, bytes_str("x"));
    static char   long_name[BAN_NAME_MAX_BYTES + 2];
    enum ban_kind kind;
    struct bytes  name;
    cr_expect_null(bans_put(&bans, bytes_str("x:eve"), good));
    cr_expect_null(bans_put(&bans, bytes_str("u:"), good));
    cr_expect_null(bans_put(&bans, bytes_str("u"), good));
    cr_expect_null(bans_put(&bans, bytes_str("u:eve"), bytes_of(good.data, 8)));
    value[0] = 2;
    cr_expect_null(bans_put(&bans, bytes_str("u:eve"), good));
    memset(long_name, 'a', BAN_NAME_MAX_BYTES + 1);
    cr_expect_eq(ban_key(room, BAN_CLIENT, bytes_str(long_name)).size, 0);
    cr_expect_eq(ban_key(room, BAN_CLIENT, (struct bytes){0}).size, 0);
    cr_assert(ban_key_read(bytes_str("a:::1"), &kind, &name));
    cr_expect(kind == BAN_ADDRESS && bytes_equal(name, bytes_str("::1")));
    cr_expect_eq(ban_kind_of(bytes_str("host")), BAN_KINDS);
    bans_fini(&bans);
}
