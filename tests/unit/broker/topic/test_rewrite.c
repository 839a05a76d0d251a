/* What rules make of topics and filters, and which rules are none. */
#include "broker/topic/rewrite.h"

#include "shared/base/err.h"

#include <criterion/criterion.h>
#include <stdio.h>

static char why[512];

static struct rewrite *rules(const char *const *texts)
{
    struct rewrite *r = rewrite_new();
    for (; *texts != NULL; texts++) {
        cr_assert_eq(rewrite_add(r, *texts, why, sizeof why), 0, "%s", why);
    }
    return r;
}

static bool becomes(const struct rewrite *r, enum rewrite_action action, const char *from, const char *to)
{
    static uint8_t out[TEMPLATE_RESULT_MAX];
    struct bytes   got = rewrite_apply(r, action, bytes_str(from), bytes_str("me"), bytes_str("joe"), out);
    bool           is  = bytes_equal(got, bytes_str(to));
    if (!is) {
        fprintf(stderr, "%s became %.*s, not %s\n", from, (int)got.size, (const char *)got.data, to);
    }
    return is;
}

Test(topic_rewrite, wildcards_are_captured_in_order)
{
    struct rewrite *r = rules((const char *const[]){"all a/+/b/# x/$2/$1", "all c/# d/$1", "all /+ e$1", NULL});
    cr_expect(becomes(r, REWRITE_PUBLISH, "a/1/b/2/3", "x/2/3/1"));
    cr_expect(becomes(r, REWRITE_PUBLISH, "a//b/2", "x/2/"));
    cr_expect(becomes(r, REWRITE_PUBLISH, "a/1/b", "x//1"));
    cr_expect(becomes(r, REWRITE_PUBLISH, "a/1/c/2", "a/1/c/2"));
    cr_expect(becomes(r, REWRITE_PUBLISH, "a/1", "a/1"));
    cr_expect(becomes(r, REWRITE_PUBLISH, "c", "d/"));
    cr_expect(becomes(r, REWRITE_PUBLISH, "/f", "ef"));
    cr_expect(becomes(r, REWRITE_PUBLISH, "/f/", "/f/"));
    rewrite_free(r);
}

Test(topic_rewrite, the_first_rule_that_matches_is_used_once_and_only_for_its_action)
{
    struct rewrite *r = rules((const char *const[]){"publish a b", "subscribe a c", "all b d", "all b e", NULL});
    cr_expect(becomes(r, REWRITE_PUBLISH, "a", "b"));
    cr_expect(becomes(r, REWRITE_SUBSCRIBE, "a", "c"));
    cr_expect(becomes(r, REWRITE_PUBLISH, "b", "d"));
    cr_expect(rewrite_any(r, REWRITE_PUBLISH));
    rewrite_free(r);
    r = rules((const char *const[]){"publish a b", NULL});
    cr_expect_not(rewrite_any(r, REWRITE_SUBSCRIBE));
    rewrite_free(r);
}

Test(topic_rewrite, filters_are_rewritten_inside_shares)
{
    struct rewrite *r = rules((const char *const[]){"subscribe a/# x/$1", NULL});
    cr_expect(becomes(r, REWRITE_SUBSCRIBE, "a/+/#", "x/+/#"));
    cr_expect(becomes(r, REWRITE_SUBSCRIBE, "$share/a/a/b", "$share/a/x/b"));
    cr_expect(becomes(r, REWRITE_SUBSCRIBE, "$exclusive/a/b", "$exclusive/x/b"));
    cr_expect(becomes(r, REWRITE_SUBSCRIBE, "$share/a/b", "$share/a/b"));
    rewrite_free(r);
}

Test(topic_rewrite, a_regular_expression_narrows_and_captures)
{
    struct rewrite *r = rules((const char *const[]){"all y/+/# ^y/(.+)/z/(.+)$ y/z/$2",
                                                    "all t/# \"^t/([a-z]+)-([0-9]+)(x)?$\" $1/$2/$3", NULL});
    cr_expect(becomes(r, REWRITE_PUBLISH, "y/a/z/b", "y/z/b"));
    cr_expect(becomes(r, REWRITE_PUBLISH, "y/def", "y/def"));
    cr_expect(becomes(r, REWRITE_PUBLISH, "t/abc-12", "abc/12/"));
    cr_expect(becomes(r, REWRITE_PUBLISH, "t/abc-12x", "abc/12/x"));
    cr_expect(becomes(r, REWRITE_PUBLISH, "t/ABC-12", "t/ABC-12"));
    rewrite_free(r);
}

Test(topic_rewrite, the_client_is_filled_in_when_it_is_one_level)
{
    struct rewrite *r = rules((const char *const[]){"all in/# by/%c/%u/$1/100%%/$$1", NULL});
    static uint8_t  out[TEMPLATE_RESULT_MAX];
    cr_expect(rewrite_wants_user(r));
    cr_expect(becomes(r, REWRITE_PUBLISH, "in/x", "by/me/joe/x/100%/$1"));
    struct bytes in = bytes_str("in/x");
    cr_expect(bytes_equal(rewrite_apply(r, REWRITE_PUBLISH, in, bytes_str("a/b"), bytes_str("joe"), out), in));
    cr_expect(bytes_equal(rewrite_apply(r, REWRITE_PUBLISH, in, bytes_str("+"), bytes_str("joe"), out), in));
    cr_expect(bytes_equal(rewrite_apply(r, REWRITE_PUBLISH, in, bytes_str("me"), (struct bytes){0}, out), in));
    rewrite_free(r);
}

Test(topic_rewrite, leading_wildcards_leave_reserved_topics_alone)
{
    struct rewrite *r = rules((const char *const[]){"all # x/$1", "all $SYS/# y/$1", NULL});
    cr_expect(becomes(r, REWRITE_PUBLISH, "a", "x/a"));
    cr_expect(becomes(r, REWRITE_PUBLISH, "$SYS/a", "y/a"));
    rewrite_free(r);
}

Test(topic_rewrite, what_is_no_rule_is_refused)
{
    static const char *const bad[] = {
        "",           "all a",      "all a b c d", "some a b", "all a# b",  "all a/#/b b",
        "all a/+ $2", "all a $1",   "all a/+ $0",  "all a %x", "all a ( b", "all a ^(.*)$ $2",
        "all a \"b",  "all \"\" b", "all a b%",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct rewrite *r = rewrite_new();
        cr_expect_eq(rewrite_add(r, bad[i], why, sizeof why), ERR_MALFORMED, "%s", bad[i]);
        rewrite_free(r);
    }
}

Test(topic_rewrite, a_result_that_has_no_room_is_not_made)
{
    struct rewrite *r = rules((const char *const[]){"all a/# b/$1/$1", NULL});
    static uint8_t  topic[40000];
    static uint8_t  out[TEMPLATE_RESULT_MAX];
    memset(topic, 'x', sizeof topic);
    memcpy(topic, "a/", 2);
    struct bytes in = bytes_of(topic, sizeof topic);
    cr_expect(rewrite_apply(r, REWRITE_PUBLISH, in, bytes_str("me"), bytes_str(""), out).data == topic);
    rewrite_free(r);
}
