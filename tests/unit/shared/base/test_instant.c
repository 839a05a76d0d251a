/* instant.h, both ways. */
#include "shared/base/instant.h"

#include <criterion/criterion.h>

static uint64_t at(const char *text)
{
    uint64_t ns = 1;
    cr_assert(instant_read(bytes_str(text), &ns), "%s", text);
    return ns;
}

Test(base_instant, what_people_write_is_a_moment)
{
    cr_assert_eq(at("1970-01-01T00:00:00Z"), 0);
    cr_assert_eq(at("2026-01-01T00:00:00Z"), 1767225600000000000u);
    cr_assert_eq(at("2026-01-01 00:00Z"), 1767225600000000000u);
    cr_assert_eq(at("2026-01-01T02:00:00.25+02:00"), 1767225600250000000u);
    cr_assert_eq(at("2025-12-31T19:30:00-04:30"), 1767225600000000000u);
    cr_assert_eq(at("2000-02-29T23:59:59.999999999Z"), 951868799999999999u);
}

Test(base_instant, what_is_no_moment_is_refused)
{
    static const char *const bad[] = {"",
                                      "2026",
                                      "2026-01-01",
                                      "2026-01-01T00:00:00",
                                      "2026-13-01T00:00:00Z",
                                      "2025-02-29T00:00:00Z",
                                      "2026-01-01T24:00:00Z",
                                      "2026-01-01T00:00:60Z",
                                      "2026-01-01T00:00:00.Z",
                                      "1969-12-31T23:59:59Z",
                                      "1970-01-01T00:00:00+01:00",
                                      "2026-01-01T00:00:00Zx"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint64_t ns;
        cr_assert_not(instant_read(bytes_str(bad[i]), &ns), "%s", bad[i]);
    }
}

Test(base_instant, every_day_comes_back)
{
    for (uint64_t ns = 0; ns < 9200000000000000000u; ns += 86399123000000u * 37) {
        char text[INSTANT_TEXT_BYTES + 1] = "";
        instant_write(ns, text);
        cr_assert_eq(at(text), ns / 1000000 * 1000000, "%s", text);
    }
}
