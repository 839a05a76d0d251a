/* acl: rules read, and what they say. */
#include "broker/auth/acl.h"

#include "broker/auth/acl_file.h"

#include <criterion/criterion.h>
#include <stdio.h>

static struct acl_rule *rule(const char *text)
{
    char             why[256] = "";
    struct acl_rule *read     = acl_rule_read(bytes_str(text), why, sizeof why);
    cr_assert(read != NULL, "%s: %s", text, why);
    return read;
}

static enum acl_verdict says(const char *text, const char *user, const char *client, enum acl_action action,
                             const char *topic, int qos, bool retain)
{
    struct acl_rule      *read = rule(text);
    const struct acl_who  who  = {.user = bytes_str(user), .client = bytes_str(client), .groups = "g1,g2"};
    const struct acl_wish wish = {
        .action = (uint8_t)action, .qos = (uint8_t)qos, .retain = retain, .topic = bytes_str(topic)};
    enum acl_verdict verdict = acl_rule_concerns(read, &who) ? acl_rule_says(read, &who, &wish) : ACL_SILENT;
    acl_rule_free(read);
    return verdict;
}

#define PUB(text, topic) says(text, "alice", "c1", ACL_PUBLISH, topic, 0, false)
#define SUB(text, topic) says(text, "alice", "c1", ACL_SUBSCRIBE, topic, 0, false)

Test(auth_acl, a_publish_is_spoken_of_by_the_filters_that_match_its_topic)
{
    static const struct {
        const char *filter, *topic;
        bool        matches;
    } table[] = {
        {"a/b", "a/b", true},   {"a/b", "a/c", false},    {"a/b", "a", false},        {"a", "a/b", false},
        {"a/+", "a/b", true},   {"a/+", "a/", true},      {"a/+", "a", false},        {"a/+", "a/b/c", false},
        {"+/b", "a/b", true},   {"+", "a", true},         {"+", "/a", false},         {"/+", "/a", true},
        {"a/#", "a", true},     {"a/#", "a/b/c", true},   {"a/#", "ab", false},       {"#", "a/b", true},
        {"#", "$SYS/x", false}, {"+/x", "$SYS/x", false}, {"$SYS/#", "$SYS/x", true}, {"$SYS/+", "$SYS/x", true},
        {"+/+/#", "a/b", true}, {"a//b", "a//b", true},   {"a/+/b", "a//b", true},    {"a/+/b", "a/x/c", false},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char text[128];
        snprintf(text, sizeof text, "allow all publish topic \"%s\"", table[i].filter);
        cr_expect_eq(PUB(text, table[i].topic), table[i].matches ? ACL_ALLOW : ACL_SILENT, "%s %s", table[i].filter,
                     table[i].topic);
        snprintf(text, sizeof text, "deny all publish topic \"%s\"", table[i].filter);
        cr_expect_eq(PUB(text, table[i].topic), table[i].matches ? ACL_DENY : ACL_SILENT, "%s %s", table[i].filter,
                     table[i].topic);
    }
}

Test(auth_acl, an_allowed_filter_covers_what_is_wanted_and_a_denied_one_only_has_to_meet_it)
{
    static const struct {
        const char *filter, *wanted;
        bool        covers, meets;
    } table[] = {
        {"a/#", "a/b", true, true},
        {"a/#", "a/+", true, true},
        {"a/#", "a/#", true, true},
        {"a/#", "#", false, true},
        {"a/#", "+/b", false, true},
        {"a/#", "b/#", false, false},
        {"a/+", "a/#", false, true},
        {"a/+", "a/+", true, true},
        {"a/+", "a/b/c", false, false},
        {"a/b", "+/+", false, true},
        {"a/b", "a/b/#", false, true},
        {"a/b/c", "a/+", false, false},
        {"a", "a/#", false, true},
        {"a/b/#", "a/b", true, true},
        {"a/b/#", "a/+", false, true},
        {"#", "$SYS/#", false, false},
        {"$SYS/#", "#", false, false},
        {"$SYS/#", "+/x", false, false},
        {"$SYS/#", "$SYS/+", true, true},
        {"+/x", "+/x", true, true},
        {"+/x", "y/x", true, true},
        {"x/+/z", "+/y/+", false, true},
        {"x/+/z", "+/y/w", false, false},
        {"#", "+", true, true},
        {"#", "a/#", true, true},
        {"+", "#", false, true},
        {"+/+", "#", false, true},
        {"#", "$share/g/a", true, true},
        {"a/#", "$share/g/b", false, false},
        {"a/#", "$exclusive/a/b", true, true},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char text[128];
        snprintf(text, sizeof text, "allow all subscribe topic \"%s\"", table[i].filter);
        cr_expect_eq(SUB(text, table[i].wanted), table[i].covers ? ACL_ALLOW : ACL_SILENT, "allow %s, wanted %s",
                     table[i].filter, table[i].wanted);
        snprintf(text, sizeof text, "deny all subscribe topic \"%s\"", table[i].filter);
        cr_expect_eq(SUB(text, table[i].wanted), table[i].meets ? ACL_DENY : ACL_SILENT, "deny %s, wanted %s",
                     table[i].filter, table[i].wanted);
    }
}

Test(auth_acl, names_stand_in_for_c_and_u)
{
    cr_expect_eq(PUB("allow all publish up/%u/%c/x", "up/alice/c1/x"), ACL_ALLOW);
    cr_expect_eq(PUB("allow all publish up/%u-%c", "up/alice-c1"), ACL_ALLOW);
    cr_expect_eq(PUB("allow all publish up/%u-%c", "up/alice-c"), ACL_SILENT);
    cr_expect_eq(PUB("allow all publish 100%", "100%"), ACL_ALLOW);
    cr_expect_eq(SUB("allow all subscribe %c/#", "c1/a/#"), ACL_ALLOW);
    cr_expect_eq(SUB("allow all subscribe eq %c/#", "c1/#"), ACL_ALLOW);
    cr_expect_eq(SUB("allow all subscribe eq %c/#", "c1/a"), ACL_SILENT);
}

Test(auth_acl, a_name_is_never_a_wildcard_and_never_more_than_a_level)
{
    cr_expect_eq(says("allow all subscribe in/%c", "", "+", ACL_SUBSCRIBE, "in/+", 0, false), ACL_SILENT);
    cr_expect_eq(says("allow all subscribe in/%c", "", "#", ACL_SUBSCRIBE, "in/#", 0, false), ACL_SILENT);
    cr_expect_eq(says("allow all publish in/%c", "", "a/b", ACL_PUBLISH, "in/a/b", 0, false), ACL_SILENT);
    cr_expect_eq(says("allow all publish in/%u", "", "c", ACL_PUBLISH, "in/", 0, false), ACL_SILENT, "anonymous");
    cr_expect_eq(says("deny all subscribe in/%c", "", "+", ACL_SUBSCRIBE, "in/+", 0, false), ACL_DENY);
}

Test(auth_acl, who_is_meant)
{
    cr_expect_eq(PUB("allow user alice publish a", "a"), ACL_ALLOW);
    cr_expect_eq(PUB("allow user bob publish a", "a"), ACL_SILENT);
    cr_expect_eq(PUB("allow user al* publish a", "a"), ACL_ALLOW);
    cr_expect_eq(PUB("allow user alice client c2 publish a", "a"), ACL_SILENT, "all conditions hold");
    cr_expect_eq(PUB("allow group g2 publish a", "a"), ACL_ALLOW);
    cr_expect_eq(PUB("allow group g publish a", "a"), ACL_SILENT);
    cr_expect_eq(says("allow user * publish a", "", "c", ACL_PUBLISH, "a", 0, false), ACL_SILENT, "* is somebody");
    cr_expect_eq(PUB("allow address 10.0.0.0/8 publish a", "a"), ACL_SILENT, "no address is none");
}

Test(auth_acl, qos_and_retain)
{
    cr_expect_eq(says("allow all publish qos 1,2 a", "", "c", ACL_PUBLISH, "a", 0, false), ACL_SILENT);
    cr_expect_eq(says("allow all publish qos 1,2 a", "", "c", ACL_PUBLISH, "a", 2, false), ACL_ALLOW);
    cr_expect_eq(says("deny all publish retain yes a", "", "c", ACL_PUBLISH, "a", 0, true), ACL_DENY);
    cr_expect_eq(says("deny all publish retain yes a", "", "c", ACL_PUBLISH, "a", 0, false), ACL_SILENT);
    cr_expect_eq(says("deny all publish retain no a", "", "c", ACL_PUBLISH, "a", 0, false), ACL_DENY);
    cr_expect_eq(PUB("allow all subscribe a", "a"), ACL_SILENT);
    cr_expect_eq(SUB("allow all both a", "a"), ACL_ALLOW);
}

Test(auth_acl, prefixes_of_our_own_are_not_part_of_a_topic)
{
    cr_expect_eq(PUB("deny all publish a", "$delayed/10/a"), ACL_DENY);
    cr_expect_eq(PUB("deny all publish a", "$delayed/10"), ACL_SILENT);
    cr_expect_eq(SUB("deny all subscribe a", "$share/group/a"), ACL_DENY);
    cr_expect_eq(SUB("deny all subscribe a", "$exclusive/a"), ACL_DENY);
    cr_expect_eq(PUB("allow all publish #", "$share/g/a"), ACL_SILENT, "only a filter is shared");
}

Test(auth_acl, addresses)
{
    static const struct {
        const char *cidr, *address;
        bool        in;
    } table[] = {
        {"10.0.0.0/8", "10.255.0.1", true},
        {"10.0.0.0/8", "11.0.0.1", false},
        {"192.0.2.1", "192.0.2.1", true},
        {"192.0.2.1", "192.0.2.2", false},
        {"0.0.0.0/0", "1.2.3.4", true},
        {"0.0.0.0/0", "::1", false},
        {"::/0", "::1", true},
        {"::/0", "1.2.3.4", true},
        {"2001:db8::/33", "2001:db8:7fff::1", true},
        {"2001:db8::/33", "2001:db8:8000::1", false},
        {"::ffff:10.0.0.0/104", "10.1.2.3", true},
        {"fe80::1", "fe80:0:0:0::1", true},
        {"192.0.2.128/25", "192.0.2.200", true},
        {"192.0.2.128/25", "192.0.2.100", false},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char text[128];
        snprintf(text, sizeof text, "allow address %s publish a", table[i].cidr);
        struct acl_rule *read = rule(text);
        struct acl_who   who  = {.groups = "", .has_address = true};
        cr_assert(acl_address(table[i].address, who.address), "%s", table[i].address);
        cr_expect_eq(acl_rule_concerns(read, &who), table[i].in, "%s in %s", table[i].address, table[i].cidr);
        acl_rule_free(read);
    }
    uint8_t                  out[ACL_ADDRESS_BYTES];
    static const char *const wrong[] = {"",        "1.2.3", "1.2.3.4.5", "256.1.1.1",     "1.2.3.4 ",
                                        ":",       ":::",   "1::2::3",   "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9",
                                        "12345::", "::g",   "1:",        "::1.2.3"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        cr_expect_not(acl_address(wrong[i], out), "%s", wrong[i]);
    }
}

Test(auth_acl, what_is_no_rule_is_refused_with_a_sentence)
{
    static const char *const wrong[] = {
        "",
        "permit all publish a",
        "allow all",
        "allow all publish",
        "allow publish a",
        "allow all publish a/#/b",
        "allow all publish a+",
        "allow user",
        "allow user \"\" publish a",
        "allow user \"open publish a",
        "allow all publish qos 3 a",
        "allow all publish qos 0,,1 a",
        "allow all publish retain maybe a",
        "allow address 10.0.0.0/33 publish a",
        "allow address x publish a",
        "allow address 10.0.0.1/8x publish a",
        "allow nobody publish a",
        "allow all publish topic",
        "allow all publish eq",
        "allow all publish a\nb",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char why[256] = "";
        cr_expect_null(acl_rule_read(bytes_str(wrong[i]), why, sizeof why), "%s", wrong[i]);
        cr_expect(why[0] != '\0', "%s", wrong[i]);
    }
}

Test(auth_acl, words_in_quotes_have_blanks_and_are_no_keywords)
{
    cr_expect_eq(says("allow user \"a b\\\"\" publish \"x y\"", "a b\"", "c", ACL_PUBLISH, "x y", 0, false), ACL_ALLOW);
    cr_expect_eq(PUB("allow all publish topic user topic \"qos\"", "user"), ACL_ALLOW);
    cr_expect_eq(PUB("allow all publish topic user topic \"qos\"", "qos"), ACL_ALLOW);
}

Test(auth_acl, lines_and_maps_are_the_same_rules)
{
    static const char text[]   = "# who may do what\n"
                                 "rules:\n"
                                 "  - allow user alice both home/#\n"
                                 "  - {allow: publish, user: bob, topic: 'in/%c/#', qos: [0, 1], retain: 'no'}\n"
                                 "  - deny: both\n"
                                 "    topic: [secret/#, 'eq #']\n";
    struct acl_rule **rules    = NULL;
    uint32_t          count    = 0;
    char              why[256] = "";
    cr_assert(acl_file_read(bytes_str(text), &rules, &count, why, sizeof why), "%s", why);
    cr_assert_eq(count, 3);
    cr_expect(rules[0]->allow && bytes_equal(rules[0]->user, bytes_str("alice")));
    cr_expect(rules[1]->actions == ACL_PUBLISH && rules[1]->qos == 3 && rules[1]->retain == ACL_RETAIN_NO);
    cr_expect(bytes_equal(rules[1]->user, bytes_str("bob")) && rules[1]->topics[0].substitutes);
    cr_expect(!rules[2]->allow && rules[2]->topic_count == 2 && rules[2]->topics[1].literal);
    acl_file_free(rules, count);
}

Test(auth_acl, what_is_wrong_is_told_with_its_line)
{
    static const struct {
        const char *text, *begin;
    } table[] = {
        {"rules:\n  - allow all publish a\n  - fly\n", "3: "},
        {"rules:\n  - {allow: publish, deny: publish, topic: a}\n", "2: "},
        {"rules:\n  - {topic: a}\n", "2: "},
        {"rules:\n  - {allow: publish, colour: red}\n", "2: "},
        {"rules: 7\n", "1: "},
        {"- a\n", "1: "},
        {"role: []\n", "1: "},
        {"rules: [\n", "2: "},
        {"rules:\n  - {allow: publish, user: [a], topic: a}\n", "2: "},
        {"rules:\n  - [a]\n", "2: "},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct acl_rule **rules    = NULL;
        uint32_t          count    = 0;
        char              why[256] = "";
        cr_assert_not(acl_file_read(bytes_str(table[i].text), &rules, &count, why, sizeof why), "%s", table[i].text);
        cr_expect_eq(strncmp(why, table[i].begin, 3), 0, "%s: %s", table[i].text, why);
    }
    struct acl_rule **rules = NULL;
    uint32_t          count = 0;
    char              why[64];
    cr_assert(acl_file_read(bytes_str("# nothing\n"), &rules, &count, why, sizeof why) && count == 0);
    cr_assert(acl_file_read(bytes_str("rules:\n"), &rules, &count, why, sizeof why) && count == 0);
}
