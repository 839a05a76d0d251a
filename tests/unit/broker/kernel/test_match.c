/* The tree against the obvious recursion, on chosen pairs and on random ones, with and without its cache. */
#include "broker/kernel/match.h"
#include "broker/kernel/topic.h"
#include "shared/base/rand.h"

#include <criterion/criterion.h>
#include <stdio.h>

static bool naive_levels(const char *f, const char *t)
{
    for (;;) {
        if (strcmp(f, "#") == 0) {
            return true;
        }
        const char *fe   = strchrnul(f, '/');
        const char *te   = strchrnul(t, '/');
        bool        same = fe - f == te - t && memcmp(f, t, (size_t)(fe - f)) == 0;
        if (!same && !(fe - f == 1 && *f == '+')) {
            return false;
        }
        if (*te == 0) {
            return *fe == 0 || strcmp(fe, "/#") == 0;
        }
        if (*fe == 0) {
            return false;
        }
        f = fe + 1;
        t = te + 1;
    }
}

static bool naive(const char *filter, const char *topic)
{
    return !(topic[0] == '$' && (filter[0] == '+' || filter[0] == '#')) && naive_levels(filter, topic);
}

static bool tree_matches(const char *filter, const char *topic)
{
    struct match     *m    = match_new(16);
    struct match_link link = {0};
    const uint32_t   *nodes;
    cr_assert_eq(match_add(m, bytes_str(filter), &link), 0);
    uint32_t first  = match_find(m, bytes_str(topic), &nodes);
    uint32_t second = match_find(m, bytes_str(topic), &nodes);
    cr_assert_eq(first, second);
    bool hit = second == 1 && nodes[0] == link.node && match_first(m, nodes[0]) == &link;
    match_remove(m, &link);
    cr_assert_eq(match_find(m, bytes_str(topic), &nodes), 0);
    cr_assert_eq(match_nodes(m), 2);
    match_free(m);
    return hit;
}

struct pair {
    const char *filter;
    const char *topic;
    bool        hit;
};

static const struct pair pairs[] = {
    {"a", "a", true},
    {"a", "b", false},
    {"a", "A", false},
    {"a", "a/", false},
    {"a", "/a", false},
    {"a/", "a/", true},
    {"/a", "/a", true},
    {"/", "/", true},
    {"//", "//", true},
    {"/", "//", false},
    {"foo/bar", "foo/bar", true},
    {"foo/bar", "foo", false},
    {"foo", "foo/bar", false},
    {"foo/+", "foo/bar", true},
    {"foo/+", "foo", false},
    {"foo/+", "foo/", true},
    {"foo/+", "foo/bar/baz", false},
    {"foo/+/baz", "foo/bar/baz", true},
    {"foo/+/baz", "foo/bar/bar", false},
    {"foo/+/#", "foo/bar/baz", true},
    {"foo/+/#", "foo/bar", true},
    {"foo/+/#", "foo", false},
    {"foo/+/#", "foo/", true},
    {"A/B/+/#", "A/B/B/C", true},
    {"foo/#", "foo/bar/baz", true},
    {"foo/#", "foo", true},
    {"foo/#", "foo/", true},
    {"foo/#", "fo", false},
    {"foo/#", "fooo", false},
    {"foo/#", "fooo/x", false},
    {"#", "foo/bar/baz", true},
    {"#", "foo", true},
    {"#", "/", true},
    {"#", "/foo", true},
    {"/#", "/foo/bar", true},
    {"/#", "foo/bar", false},
    {"/#", "/", true},
    {"/#", "//", true},
    {"//", "/", false},
    {"+", "foo", true},
    {"+", "/foo", false},
    {"+", "foo/", false},
    {"/+", "/foo", true},
    {"/+", "/", true},
    {"/+", "//", false},
    {"+/+", "/foo", true},
    {"+/+", "/", true},
    {"+/+", "foo", false},
    {"+/+", "a/b/c", false},
    {"+/", "foo/", true},
    {"+/", "/", true},
    {"+/#", "foo", true},
    {"+/#", "foo/bar", true},
    {"+/#", "/", true},
    {"+/a/#", "x/a", true},
    {"+/a/#", "x/a/b/c", true},
    {"+/a/#", "x/b", false},
    {"a/+/c/+", "a/b/c/d", true},
    {"a/+/c/+", "a/b/c", false},
    {"a/+/c/+", "a//c/", true},
    {"+/b/+", "a/b/c", true},
    {"+/b/+", "a/c/c", false},
    {"+/+/+", "a/b/c", true},
    {"+/+/+", "//", true},
    {"#", "$SYS", false},
    {"#", "$SYS/bar", false},
    {"+", "$SYS", false},
    {"+/bar", "$SYS/bar", false},
    {"+/#", "$SYS/bar", false},
    {"$SYS/#", "$SYS/bar", true},
    {"$SYS/#", "$SYS", true},
    {"$SYS/+", "$SYS/bar", true},
    {"$SYS/bar", "$SYS/bar", true},
    {"$BOB/bar", "$SYS/bar", false},
    {"#", "a/$SYS", true},
    {"a/+", "a/$SYS", true},
    {"a/#", "a/$b/c", true},
    {"+/$b", "a/$b", true},
    {"$", "$", true},
    {"+", "$", false},
    {"#", "$/x", false},
    {"$/#", "$/x", true},
    {"a/b/c/d/e/f/g/h", "a/b/c/d/e/f/g/h", true},
    {"a-level-that-does-not-fit-inline/x", "a-level-that-does-not-fit-inline/x", true},
    {"a-level-that-does-not-fit-inline/x", "a-level-that-does-not-fit-inlinE/x", false},
    {"fourteen-bytes", "fourteen-bytes", true},
    {"fifteen-bytes-x", "fifteen-bytes-x", true},
    {" /+", " /x", true},
    {"+/x", "/x", true},
};

Test(kernel_match, every_pattern_of_the_standard_matches_as_written)
{
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        cr_expect_eq(tree_matches(pairs[i].filter, pairs[i].topic), pairs[i].hit, "%s on %s", pairs[i].filter,
                     pairs[i].topic);
        cr_expect_eq(naive(pairs[i].filter, pairs[i].topic), pairs[i].hit, "the naive one: %s on %s", pairs[i].filter,
                     pairs[i].topic);
    }
    cr_assert_geq(sizeof pairs / sizeof *pairs, 75);
}

static void draw(struct rand *r, char *out, bool filter)
{
    static const char *const words[] = {"a", "b", "", "$s", "a-rather-long-level", "c"};
    int                      depth   = 1 + (int)rand_below(r, 5);
    out[0]                           = 0;
    for (int i = 0; i < depth; i++) {
        strcat(out, i == 0 ? "" : "/");
        if (filter && rand_chance(r, 4)) {
            strcat(out, "+");
        } else if (filter && i + 1 == depth && rand_chance(r, 4)) {
            strcat(out, "#");
        } else {
            strcat(out, words[rand_below(r, 6)]);
        }
    }
    if (out[0] == 0) {
        strcpy(out, "x");
    }
}

enum { FILTERS = 300 };

static void churn(uint32_t cache_slots)
{
    static char              filters[FILTERS][160];
    static struct match_link links[FILTERS];
    static bool              in[FILTERS];
    struct rand              r;
    rand_init(&r, 7, cache_slots);
    memset(links, 0, sizeof links);
    memset(in, 0, sizeof in);
    struct match *m = match_new(cache_slots);
    for (int step = 0; step < 40000; step++) {
        int  i = (int)rand_below(&r, FILTERS);
        char topic[160];
        if (rand_chance(&r, 8)) {
            if (in[i]) {
                match_remove(m, &links[i]);
            } else {
                draw(&r, filters[i], true);
                cr_assert(topic_filter_valid(bytes_str(filters[i])), "%s", filters[i]);
                cr_assert_eq(match_add(m, bytes_str(filters[i]), &links[i]), 0);
                uint8_t text[160];
                size_t  size = match_filter(m, links[i].node, text, sizeof text);
                cr_assert(bytes_equal(bytes_of(text, size), bytes_str(filters[i])));
                cr_assert_eq(match_node(m, bytes_str(filters[i])), links[i].node);
            }
            in[i] = !in[i];
        }
        draw(&r, topic, false);
        const uint32_t *nodes;
        uint32_t        count = match_find(m, bytes_str(topic), &nodes);
        int             seen  = 0;
        for (uint32_t n = 0; n < count; n++) {
            for (struct match_link *link = match_first(m, nodes[n]); link != NULL; link = link->next) {
                size_t which = (size_t)(link - links);
                cr_assert(in[which] && naive(filters[which], topic), "%s on %s", filters[which], topic);
                seen++;
            }
        }
        for (int f = 0; f < FILTERS; f++) {
            seen -= in[f] && naive(filters[f], topic);
        }
        cr_assert_eq(seen, 0, "step %d: %d links too many on %s", step, seen, topic);
    }
    for (int f = 0; f < FILTERS; f++) {
        match_remove(m, &links[f]);
    }
    cr_assert_eq(match_nodes(m), 2);
    cr_assert_eq(match_misses(m), 0);
    match_free(m);
}

Test(kernel_match, random_filters_and_topics_match_as_the_naive_matcher_says)
{
    churn(0);
}

Test(kernel_match, the_cache_never_answers_with_what_was)
{
    churn(64);
    churn(4096);
}

Test(kernel_match, a_topic_of_65535_levels_is_matched_without_recursion)
{
    static uint8_t topic[TOPIC_MAX_BYTES];
    memset(topic, '/', sizeof topic);
    struct match     *m       = match_new(4);
    struct match_link link[2] = {0};
    const uint32_t   *nodes;
    cr_assert_eq(match_add(m, bytes_of(topic, sizeof topic), &link[0]), 0);
    cr_assert_eq(match_add(m, bytes_str("#"), &link[1]), 0);
    cr_assert_eq(match_find(m, bytes_of(topic, sizeof topic), &nodes), 2);
    match_remove(m, &link[0]);
    match_remove(m, &link[1]);
    cr_assert_eq(match_nodes(m), 2);
    match_free(m);
}

Test(kernel_match, many_links_of_one_filter_come_and_go_in_any_order)
{
    static struct match_link links[1000];
    memset(links, 0, sizeof links);
    struct match *m = match_new(4);
    for (int i = 0; i < 1000; i++) {
        if (i % 2 == 0 || i == 1) {
            cr_assert_eq(match_add(m, bytes_str("a/b"), &links[i]), 0);
        } else {
            match_add_at(m, links[0].node, &links[i]);
        }
    }
    for (int i = 0; i < 1000; i++) {
        match_remove(m, &links[(i * 7) % 1000]);
        match_remove(m, &links[(i * 7) % 1000]);
    }
    cr_assert_eq(match_nodes(m), 2);
    match_free(m);
}

Test(kernel_match, marked_nodes_are_found_in_the_order_of_their_numbers_and_no_others)
{
    enum { MARKED = 3000 }; /* in more than one chunk of nodes */
    static struct match_link links[MARKED];
    struct match            *m = match_new(0);
    memset(links, 0, sizeof links);
    cr_assert_eq(match_next_marked(m, MATCH_NONE), MATCH_NONE);
    for (int i = 0; i < MARKED; i++) {
        char filter[16];
        snprintf(filter, sizeof filter, "f%d", i);
        cr_assert_eq(match_add(m, bytes_str(filter), &links[i]), 0);
        match_set_mark(m, links[i].node, i % 3 == 0 ? 1 + (unsigned)i % MATCH_MARK_MAX : 0);
    }
    for (int i = 0; i < MARKED; i += 9) { /* with its mark */
        match_remove(m, &links[i]);
    }
    uint32_t before = MATCH_NONE;
    int      found  = 0;
    for (uint32_t node = match_next_marked(m, MATCH_NONE); node != MATCH_NONE; node = match_next_marked(m, node)) {
        cr_assert(node > before && match_mark(m, node) != 0);
        before = node;
        found++;
    }
    cr_assert_eq(found, MARKED / 3 - (MARKED + 8) / 9);
    match_free(m);
}
