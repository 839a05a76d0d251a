#include "broker/protocol/mqtt/utf8.h"

#include <criterion/criterion.h>

static bool string(const char *text, size_t size)
{
    return mqtt_string_valid(bytes_of(text, size));
}

#define STRING(literal) string(literal, sizeof(literal) - 1)

Test(mqtt_utf8, plain_and_wide_characters_are_strings)
{
    cr_assert(STRING(""));
    cr_assert(STRING("a/b"));
    cr_assert(STRING("\xc2\x80 \xdf\xbf \xe0\xa0\x80 \xed\x9f\xbf \xee\x80\x80 \xf0\x90\x80\x80 \xf4\x8f\xbf\xbf"));
    cr_assert(STRING("\xef\xbb\xbf byte order mark"));
    cr_assert(STRING("A\xf0\xaa\x9b\x94"));
    cr_assert(STRING("\x01\x1f\x7f"));
}

Test(mqtt_utf8, nul_surrogates_overlong_and_cut_forms_are_not)
{
    static const struct {
        const char *text;
        size_t      size;
    } bad[] = {
        {"\0", 1},
        {"ab\0cdefgh", 9},
        {"abcdefgh\0", 9},
        {"\xed\xa0\x80", 3},
        {"\xed\xbf\xbf", 3},
        {"\xc0\x80", 2},
        {"\xc1\xbf", 2},
        {"\xe0\x9f\xbf", 3},
        {"\xf0\x8f\xbf\xbf", 4},
        {"\xf4\x90\x80\x80", 4},
        {"\xf5\x80\x80\x80", 4},
        {"\x80", 1},
        {"\xbf", 1},
        {"\xc2", 1},
        {"\xe2\x82", 2},
        {"\xf0\x90\x80", 3},
        {"\xc2 ", 2},
        {"\xe2\x28\xa1", 3},
        {"\xff", 1},
        {"\xfe", 1},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        for (size_t before = 0; before < 17; before++) { /* at every place in a word */
            char   text[64];
            size_t size = before + bad[i].size;
            memset(text, 'x', sizeof text);
            memcpy(text + before, bad[i].text, bad[i].size);
            cr_assert(!string(text, size), "case %zu at %zu", i, before);
            cr_assert(!mqtt_topic_name_valid(bytes_of(text, size)), "case %zu at %zu", i, before);
            cr_assert(!mqtt_topic_filter_valid(bytes_of(text, size)), "case %zu at %zu", i, before);
        }
    }
}

Test(mqtt_utf8, identities_have_no_control_characters_and_may_be_empty)
{
    cr_assert(mqtt_identity_valid((struct bytes){0}));
    cr_assert(mqtt_identity_valid(bytes_str("")));
    cr_assert(mqtt_identity_valid(bytes_str("a/+#$\xc3\xa4")));
    cr_assert(!mqtt_identity_valid(bytes_str("a\x1f")));
    cr_assert(!mqtt_identity_valid(bytes_str("a\x7f")));
    cr_assert(!mqtt_identity_valid(bytes_str("a\xc2\x9f")));
    cr_assert(!mqtt_identity_valid(bytes_str("a\xff")));
}

Test(mqtt_utf8, names_have_no_wildcards_and_no_control_characters)
{
    for (size_t before = 0; before < 20; before++) {
        for (unsigned c = 0; c < 256; c++) {
            char text[32];
            memset(text, 'x', sizeof text);
            text[before] = (char)c;
            bool valid   = c >= 0x20 && c < 0x7f && c != '#' && c != '+';
            cr_assert_eq(mqtt_topic_name_valid(bytes_of(text, before + 1)), valid, "%02x at %zu", c, before);
            cr_assert_eq(mqtt_topic_name_valid(bytes_of(text, sizeof text)), valid, "%02x at %zu", c, before);
        }
    }
    cr_assert(!mqtt_topic_name_valid(bytes_str("")));
    cr_assert(!mqtt_topic_name_valid(bytes_str("a\xc2\x9f")));
    cr_assert(mqtt_topic_name_valid(bytes_str("a\xc2\xa0")));
    cr_assert(mqtt_topic_name_valid(bytes_str("/")));
    cr_assert(mqtt_topic_name_valid(bytes_str("//a//")));
    cr_assert(mqtt_topic_name_valid(bytes_str("k\xc3\xa4se/\xe2\x82\xac")));
}

Test(mqtt_utf8, filters_keep_their_wildcards_alone_in_a_level)
{
    static const char *const good[] = {"#",     "+",  "a/#",   "a/+",    "+/a",    "/+",        "+/",
                                       "+/+/#", "/#", "a/+/b", "$SYS/#", "$share", "$shared/a", "//"};
    static const char *const bad[]  = {"",     "a/#/b", "a#", "#a", "+a",   "a+",  "a/+b",
                                       "a/b+", "##",    "++", "#/", "a/#b", "a/++"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        cr_assert(mqtt_topic_filter_valid(bytes_str(good[i])), "%s", good[i]);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_assert(!mqtt_topic_filter_valid(bytes_str(bad[i])), "%s", bad[i]);
    }
}

Test(mqtt_utf8, shared_filters_have_a_name_and_a_filter)
{
    static const char *const good[] = {"$share/g/t", "$share/g/#", "$share/g/+/t", "$share/g//", "$share/g//t"};
    static const char *const bad[]  = {"$share/",     "$share//t",  "$share/g",    "$share/g/",
                                       "$share/g+/t", "$share/#/t", "$share/g/a#", "$share//"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        cr_assert(mqtt_topic_filter_valid(bytes_str(good[i])), "%s", good[i]);
        cr_assert(mqtt_topic_filter_shared(bytes_str(good[i])), "%s", good[i]);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_assert(!mqtt_topic_filter_valid(bytes_str(bad[i])), "%s", bad[i]);
    }
}
