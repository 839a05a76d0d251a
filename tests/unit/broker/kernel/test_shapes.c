#include "broker/kernel/shapes.h"
#include "broker/kernel/topic.h"
#include "shared/base/rand.h"

#include <criterion/criterion.h>
#include <stdio.h>

static struct shapes shapes;

static void begin(void)
{
    shapes_init(&shapes, 4711);
}

TestSuite(kernel_shapes, .init = begin);

static uint64_t enter(const char *filter, unsigned shard)
{
    uint64_t key;
    cr_assert(shapes_enter(&shapes, bytes_str(filter), shard, &key), "%s", filter);
    return key;
}

static bool finds(const char *topic, uint64_t key)
{
    uint64_t keys[SHAPES_MAX];
    uint8_t  which[SHAPES_MAX];
    uint32_t count = shapes_match(&shapes, bytes_str(topic), keys, which);
    for (uint32_t i = 0; i < count; i++) {
        if (keys[i] == key) {
            return true;
        }
    }
    return false;
}

/* A topic, or a filter with at least one wildcard, of few different levels. */
static void make(struct rand *r, char *out, bool filter)
{
    static const char *const levels[] = {"a", "b", "", "$x"};
    bool                     wild     = !filter;
    do {
        uint64_t count = rand_below(r, 5) + 1;
        size_t   at    = 0;
        out[0]         = 0;
        for (uint64_t i = 0; i < count; i++) {
            const char *level = levels[rand_below(r, 4)];
            uint64_t    dice  = filter ? rand_below(r, 8) : 7;
            level             = dice < 2 ? "+" : dice == 2 && i + 1 == count ? "#" : level;
            wild |= level[0] == '+' || level[0] == '#';
            at += (size_t)sprintf(out + at, "%s%s", i == 0 ? "" : "/", level);
        }
    } while (!wild || out[0] == 0);
}

Test(kernel_shapes, a_topic_finds_exactly_the_filters_that_match_it)
{
    enum { FILTERS = 800 };
    static char     filters[FILTERS][64];
    static uint64_t keys[FILTERS];
    static bool     there[FILTERS];
    struct rand     r;
    unsigned        hits = 0;
    rand_init(&r, 3, 1);
    for (unsigned i = 0; i < FILTERS; i++) {
        make(&r, filters[i], true);
        there[i] = shapes_enter(&shapes, bytes_str(filters[i]), 1, &keys[i]);
    }
    cr_assert_eq(shapes.count, SHAPES_MAX, "%u", shapes.count);
    for (unsigned i = 0; i < 2000; i++) {
        char topic[64];
        make(&r, topic, false);
        for (unsigned f = 0; f < FILTERS; f++) {
            bool matches = there[f] && topic_matches(bytes_str(filters[f]), bytes_str(topic));
            cr_assert_eq(finds(topic, keys[f]) && there[f], matches, "%s %s", filters[f], topic);
            hits += matches;
        }
    }
    cr_assert_gt(hits, 1000);
    for (unsigned f = 0; f < FILTERS; f++) {
        if (there[f]) {
            shapes_leave(&shapes, bytes_str(filters[f]), 1);
        }
    }
    cr_assert_eq(shapes.count, 0);
}

Test(kernel_shapes, the_parent_of_the_rest_matches_and_first_wildcards_leave_dollar_topics_alone)
{
    uint64_t rest   = enter("a/#", 0);
    uint64_t all    = enter("#", 0);
    uint64_t plus   = enter("+/b", 0);
    uint64_t inside = enter("$sys/+", 0);
    cr_expect(finds("a", rest) && finds("a/", rest) && finds("a/b/c/d/e", rest) && !finds("ab", rest));
    cr_expect(finds("a", all) && finds("/", all) && !finds("$sys/b", all) && !finds("$", all));
    cr_expect(finds("x/b", plus) && finds("/b", plus) && !finds("$sys/b", plus) && !finds("x/b/c", plus));
    cr_expect(finds("$sys/b", inside) && !finds("$sys", inside));
}

Test(kernel_shapes, the_same_level_at_another_place_is_another_key)
{
    uint64_t key = enter("a/b/+", 0);
    cr_expect(finds("a/b/c", key));
    cr_expect_not(finds("b/a/c", key));
    cr_expect_neq(key, enter("b/a/+", 0));
}

Test(kernel_shapes, more_shapes_than_there_is_room_for_are_refused_until_one_has_gone)
{
    uint64_t key;
    char     filter[200];
    for (unsigned i = 0; i < SHAPES_MAX + 1; i++) {
        size_t at = (size_t)sprintf(filter, "a");
        for (unsigned bit = 0; bit < 7; bit++) {
            at += (size_t)sprintf(filter + at, "/%s", (i >> bit & 1) != 0 ? "x" : "+");
        }
        if (i < SHAPES_MAX) {
            (void)enter(filter, i % 3);
            (void)enter(filter, i % 3 + 1);
        } else {
            cr_expect_not(shapes_enter(&shapes, bytes_str(filter), 0, &key));
        }
    }
    shapes_forget(&shapes, 0); /* none had filters of this shard alone */
    cr_expect_eq(shapes.count, SHAPES_MAX);
    shapes_forget(&shapes, 1);
    cr_expect_lt(shapes.count, SHAPES_MAX);
    cr_expect(shapes_enter(&shapes, bytes_str(filter), 0, &key));
    cr_expect(finds("a/+/+/+/+/+/+/x", key));
}

Test(kernel_shapes, a_filter_that_is_too_deep_is_refused_and_deep_topics_are_matched)
{
    uint64_t key;
    char     deep[2 * SHAPE_LEVELS_MAX + 8] = "";
    for (unsigned i = 0; i < SHAPE_LEVELS_MAX - 1; i++) {
        strcat(deep, "a/");
    }
    strcat(deep, "+");
    key = enter(deep, 0);
    cr_expect(finds(deep, key));
    strcat(deep, "/#");
    uint64_t below = enter(deep, 0);
    cr_expect(finds(deep, below));
    cr_expect_not(finds(deep, key));
    deep[strlen(deep) - 1] = '+';
    uint64_t unused;
    cr_expect_not(shapes_enter(&shapes, bytes_str(deep), 0, &unused));
}

Test(kernel_shapes, of_a_shape_one_filter_fits_a_topic_and_no_other)
{
    static const char *const texts[] = {"a/+/c", "a/+/d", "a/+/c/#", "+/b/c", "a/b/#", "a/#",
                                        "#",     "a/+/",  "a/+/cc",  "+/+/c", "+/#"};
    enum { COUNT = sizeof texts / sizeof texts[0] };
    for (unsigned i = 0; i < COUNT; i++) {
        (void)enter(texts[i], 0);
    }
    static const char *const topics[] = {"a/b/c", "a/b/d", "a/b", "a", "a/b/", "a/b/c/d", "x/b/c", "a//c", "$s/b/c"};
    unsigned                 hits     = 0;
    for (unsigned t = 0; t < sizeof topics / sizeof topics[0]; t++) {
        uint64_t     keys[SHAPES_MAX];
        uint8_t      which[SHAPES_MAX];
        struct bytes topic   = bytes_str(topics[t]);
        uint32_t     count   = shapes_match(&shapes, topic, keys, which);
        unsigned     matches = 0;
        for (unsigned f = 0; f < COUNT; f++) {
            unsigned fits = 0;
            for (uint32_t i = 0; i < count; i++) {
                fits += shapes_fits(&shapes, which[i], bytes_str(texts[f]), topic);
            }
            cr_expect_eq(fits, topic_matches(bytes_str(texts[f]), topic), "%s %s", texts[f], topics[t]);
            matches += fits;
        }
        hits += matches;
    }
    cr_expect_gt(hits, 20);
}
