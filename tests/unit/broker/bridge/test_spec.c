/* What a bridge is told, and where topics go. */
#include "broker/bridge/spec.h"

#include "shared/base/err.h"

#include <criterion/criterion.h>

static struct bridge_spec spec;
static char               why[256];

static int read_spec(const char *text)
{
    return bridge_spec_read(bytes_str("b"), bytes_str(text), &spec, why, sizeof why);
}

static bool matches(const char *filter, const char *topic)
{
    return bridge_matches(bytes_str(filter), bytes_str(topic));
}

Test(bridge_spec, filters_match_as_the_standard_says)
{
    cr_assert(matches("a/b", "a/b") && matches("#", "a/b") && matches("a/#", "a") && matches("a/#", "a/b/c"));
    cr_assert(matches("+/b", "a/b") && matches("a/+", "a/") && matches("+", "a") && matches("/+", "/a"));
    cr_assert(matches("a/+/c", "a/b/c") && matches("+/+", "/") && matches("$x/#", "$x/a"));
    cr_assert(!matches("a/b", "a/b/c") && !matches("a/b/c", "a/b") && !matches("+", "a/b") && !matches("a/+", "a"));
    cr_assert(!matches("#", "$x/a") && !matches("+/a", "$x/a") && !matches("a/+/#", "a") && !matches("a", "b"));
}

static const char *mapped(enum bridge_way way, const char *topic)
{
    static uint8_t             out[65536];
    const struct bridge_topic *rule;
    size_t                     size = bridge_map(&spec, way, bytes_str(topic), &rule, out);
    out[size]                       = 0;
    return (const char *)out;
}

Test(bridge_spec, topics_get_the_prefix_of_the_other_side)
{
    cr_assert_eq(read_spec("address=h\ntopic=s/# out 1 here/ there/\ntopic=c/+ in 2 \"\" far/\ntopic=x both\n"), 0,
                 "%s", why);
    cr_assert_str_eq(mapped(BRIDGE_OUT, "here/s/1/2"), "there/s/1/2");
    cr_assert_str_eq(mapped(BRIDGE_OUT, "here/s"), "there/s");
    cr_assert_str_eq(mapped(BRIDGE_OUT, "s/1"), "");
    cr_assert_str_eq(mapped(BRIDGE_IN, "there/s/1"), "");
    cr_assert_str_eq(mapped(BRIDGE_IN, "far/c/1"), "c/1");
    cr_assert_str_eq(mapped(BRIDGE_OUT, "x"), "x");
    cr_assert_str_eq(mapped(BRIDGE_IN, "x"), "x");
    cr_assert(spec.topics[0].qos == 1 && spec.topics[1].qos == 2 && spec.topics[2].qos == 0);
}

Test(bridge_spec, a_name_that_would_be_too_long_goes_nowhere)
{
    static char text[1200] = "address=h\ntopic=# out 1 \"\" ";
    static char topic[65535];
    memset(text + strlen(text), 'p', 399);
    text[strlen(text)] = '/';
    memset(topic, 't', sizeof topic - 1);
    cr_assert_eq(read_spec(text), 0, "%s", why);
    cr_assert_str_eq(mapped(BRIDGE_OUT, topic), "");
    topic[65535 - 400] = 0;
    cr_assert_eq(strlen(mapped(BRIDGE_OUT, topic)), 65535);
}

Test(bridge_spec, addresses_and_defaults_are_read)
{
    cr_assert_eq(read_spec("address=broker.example:8883\ntopic=a\n"), 0);
    cr_assert(strcmp(spec.host, "broker.example") == 0 && spec.port == 8883 && spec.version == 5 &&
              spec.keep_alive_s == 60 && strcmp(spec.client_id, "keel.b") == 0 && spec.topics[0].ways == BRIDGE_OUT);
    cr_assert_eq(read_spec("address=[::1]:1884\ntopic=a\nversion=4\nuser=u\npassword=p=q\nkeep_alive=10\nclient_id=c"),
                 0);
    cr_assert(strcmp(spec.host, "::1") == 0 && spec.port == 1884 && spec.version == 4 && spec.keep_alive_s == 10 &&
              strcmp(spec.password, "p=q") == 0);
    cr_assert_eq(read_spec("address=[::1]\ntopic=a"), 0);
    cr_assert(strcmp(spec.host, "::1") == 0 && spec.port == 1883);
}

Test(bridge_spec, what_is_wrong_is_said)
{
    static const char *const bad[] = {"topic=a",
                                      "address=h",
                                      "address=h:0\ntopic=a",
                                      "address=h:65536\ntopic=a",
                                      "address=:1\ntopic=a",
                                      "address=[]:1\ntopic=a",
                                      "address=[::1]x\ntopic=a",
                                      "address=h\ntopic=",
                                      "address=h\ntopic=a/#/b",
                                      "address=h\ntopic=a up",
                                      "address=h\ntopic=a out 3",
                                      "address=h\ntopic=a out 1 x y z",
                                      "address=h\ntopic=a out 1 +/",
                                      "address=h\ntopic=b/# out 1 $share/g/",
                                      "address=h\ntopic=a\nversion=3",
                                      "address=h\ntopic=a\nkeep_alive=1",
                                      "address=h\ntopic=a\npassword=p",
                                      "address=h\ntopic=a\npassword_file=/p",
                                      "address=h\ntopic=a\nuser=u\npassword_file=p",
                                      "address=h\ntopic=a\nuser=u\npassword=p\npassword_file=/p",
                                      "address=h\ntopic=a\nnonsense=p",
                                      "address=h\ntopic=a\nnonsense"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_assert_eq(read_spec(bad[i]), ERR_MALFORMED, "%s", bad[i]);
    }
}
