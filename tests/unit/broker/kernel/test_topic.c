#include "broker/kernel/topic.h"

#include <criterion/criterion.h>

Test(kernel_topic, a_wildcard_stands_alone_in_its_level_and_a_hash_at_the_end)
{
    const char *good[] = {"#",  "+",  "/",   "+/+",    "a/#",    "a/+/b",    "+/#",
                          "/+", "+/", "//#", "$SYS/#", "$share", "$shared/a"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        cr_expect(topic_filter_valid(bytes_str(good[i])), "%s", good[i]);
    }
    const char *bad[] = {"", "a#", "#a", "a/#/b", "#/", "a+", "+a", "a/+b", "a/b+/c", "##", "++", "+#", "a/##"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_expect_not(topic_filter_valid(bytes_str(bad[i])), "%s", bad[i]);
    }
    cr_expect_not(topic_filter_valid(bytes_of("a\0b", 3)));
}

Test(kernel_topic, a_shared_filter_has_a_plain_group_and_a_filter)
{
    const char *good[] = {"$share/g/a", "$share/g/#", "$share/g/+/a", "$share/g//", "$share/g h/a"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        cr_expect(topic_filter_valid(bytes_str(good[i])), "%s", good[i]);
    }
    const char *bad[] = {"$share/",    "$share//t",  "$share/g",    "$share/g/", "$share/g+/t",
                         "$share/#/t", "$share/+/t", "$share/g/a#", "$share//"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_expect_not(topic_filter_valid(bytes_str(bad[i])), "%s", bad[i]);
    }
    struct bytes group;
    struct bytes filter;
    cr_assert(topic_share_split(bytes_str("$share/group/a/+/b"), &group, &filter));
    cr_expect(bytes_equal(group, bytes_str("group")));
    cr_expect(bytes_equal(filter, bytes_str("a/+/b")));
    cr_expect_not(topic_share_split(bytes_str("$shar/group/a"), &group, &filter));
    cr_expect(topic_filter_wild(bytes_str("a/+")));
    cr_expect_not(topic_filter_wild(bytes_str("a/b")));
}
