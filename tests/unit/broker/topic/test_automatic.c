/* Which texts are automatic subscriptions. */
#include "broker/topic/automatic.h"

#include "shared/base/err.h"

#include <criterion/criterion.h>

Test(topic_automatic, options_may_be_left_out_and_stand_in_any_order)
{
    struct automatic a = {0};
    char             why[512];
    cr_assert_eq(automatic_add(&a, "clients/%c/#", why, sizeof why), 0);
    cr_assert_eq(automatic_add(&a, "  \"with blank/%u\" rh=2 qos=1 rap=1 nl=1", why, sizeof why), 0);
    cr_assert_eq(a.count, 2);
    cr_assert(a.items[0].qos == 0 && a.items[0].retain_handling == 0 && !a.items[0].no_local);
    cr_assert(bytes_equal(a.items[1].filter, bytes_str("with blank/%u")));
    cr_assert(a.items[1].qos == 1 && a.items[1].retain_handling == 2 && a.items[1].no_local &&
              a.items[1].retain_as_published);
    cr_assert(automatic_wants_user(&a));
    static const char *const bad[] = {
        "", "a qos=3", "a qos", "a rh=3", "a nl=2", "a b", "a qos=1 nl=1 rap=1 rh=1 qos=1", "a/%x", "a/$1", "\"a"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_expect_eq(automatic_add(&a, bad[i], why, sizeof why), ERR_MALFORMED, "%s", bad[i]);
    }
    while (a.count < AUTOMATIC_MAX) {
        cr_assert_eq(automatic_add(&a, "x", why, sizeof why), 0);
    }
    cr_expect_eq(automatic_add(&a, "x", why, sizeof why), ERR_MALFORMED);
}
