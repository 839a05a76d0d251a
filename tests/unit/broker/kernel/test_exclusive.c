/* "$exclusive/<filter>": one subscriber at a time. */
#include "broker/kernel/topic.h"

#include "shared/base/err.h"
#include "tests/unit/broker/kernel/stage.h"

#include <criterion/criterion.h>

static struct fake_world *world;
static struct broker     *b;
static struct actor      *ann;
static struct actor      *ben;
static struct actor      *eve;

static void up(unsigned shards, uint32_t expiry_s)
{
    world = fake_world_new(STAGE_STRIPES, 0);
    b     = broker_new(world, shards, NULL);
    ann   = actor_new("ann");
    ben   = actor_new("ben");
    eve   = actor_new("eve");
    enter(b, 0, ann, true, expiry_s);
    enter(b, shards - 1, ben, true, expiry_s);
    enter(b, shards / 2, eve, true, 0);
}

static void down(void)
{
    broker_kill(b);
    fake_world_free(world);
    actor_free(ann);
    actor_free(ben);
    actor_free(eve);
}

/* So that homes are on every shard. */
static const char *const filters[] = {"$exclusive/t/x", "$exclusive/t/+", "$exclusive/#", "$exclusive/t"};

Test(kernel_exclusive, filters_are_checked_and_matched)
{
    struct bytes rest;
    cr_expect(topic_filter_valid(bytes_str("$exclusive/a/+/#")));
    cr_expect_not(topic_filter_valid(bytes_str("$exclusive/")));
    cr_expect_not(topic_filter_valid(bytes_str("$exclusive/a#")));
    cr_expect_not(topic_filter_valid(bytes_str("$exclusive/$share/g/a")));
    cr_expect_not(topic_filter_valid(bytes_str("$exclusive/$exclusive/a")));
    cr_expect_not(topic_filter_valid(bytes_str("$share/g/$exclusive/a")));
    cr_expect(topic_exclusive_split(bytes_str("$exclusive/a/b"), &rest));
    cr_expect(bytes_equal(rest, bytes_str("a/b")));
    cr_expect_not(topic_exclusive_split(bytes_str("$exclusive"), &rest));
    static const struct {
        const char *filter, *topic;
        bool        matches;
    } cases[] = {
        {"a/b", "a/b", true},    {"a/b", "a/bc", false},   {"a/bc", "a/b", false},     {"a/+", "a/b", true},
        {"a/+", "a/", true},     {"a/+", "a", false},      {"a/+", "a/b/c", false},    {"+/b", "a/b", true},
        {"a/#", "a", true},      {"a/#", "a/b/c", true},   {"a/#", "ab", false},       {"#", "a/b", true},
        {"#", "$SYS/a", false},  {"+/a", "$SYS/a", false}, {"$SYS/#", "$SYS/a", true}, {"$SYS/#", "$SYS", true},
        {"a/+/c", "a//c", true}, {"/+", "/a", true},       {"+", "/a", false},         {"+/+", "/a", true},
        {"a", "a/", false},      {"a/", "a", false},       {"+/#", "a", true},         {"a/+/#", "a", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cr_expect_eq(topic_matches(bytes_str(cases[i].filter), bytes_str(cases[i].topic)), cases[i].matches, "%s %s",
                     cases[i].filter, cases[i].topic);
    }
}

Test(kernel_exclusive, the_second_is_refused_until_the_first_unsubscribes_or_leaves)
{
    for (unsigned shards = 1; shards <= 3; shards++) {
        up(shards, 0);
        for (size_t i = 0; i < sizeof filters / sizeof *filters; i++) {
            cr_assert_eq(follow(b, 0, ann, filters[i], 1), 1);
            cr_assert_eq(follow(b, 0, ann, filters[i], 2), 2); /* again */
            cr_assert_eq(follow(b, shards - 1, ben, filters[i], 1), ERR_QUOTA);
            cr_assert_eq(unfollow(b, shards - 1, ben, filters[i]), ERR_NOT_FOUND);
            cr_assert_eq(unfollow(b, 0, ann, filters[i]), 0);
            cr_assert_eq(follow(b, shards - 1, ben, filters[i], 1), 1);
            cr_assert_eq(follow(b, 0, ann, filters[i], 1), ERR_QUOTA);
        }
        leave(b, shards - 1, ben);
        for (size_t i = 0; i < sizeof filters / sizeof *filters; i++) {
            cr_assert_eq(follow(b, 0, ann, filters[i], 1), 1);
        }
        down();
    }
}

Test(kernel_exclusive, both_at_once_on_two_shards_make_one_holder)
{
    for (size_t i = 0; i < sizeof filters / sizeof *filters; i++) {
        up(3, 0);
        struct subscription sub = {.filter = bytes_str(filters[i]), .qos = 1};
        kernel_subscribe(b->kernels[0], &ann->client, 1, &sub, 1);
        kernel_subscribe(b->kernels[2], &ben->client, 1, &sub, 1);
        settle(b);
        cr_assert_eq((ann->results[0] == 1) + (ben->results[0] == 1), 1);
        cr_assert_eq((ann->results[0] == ERR_QUOTA) + (ben->results[0] == ERR_QUOTA), 1);
        down();
    }
}

Test(kernel_exclusive, it_gets_what_matches_once_with_what_is_retained_and_beside_other_subscriptions)
{
    for (unsigned shards = 1; shards <= 3; shards++) {
        up(shards, 0);
        say_retained(b, shards / 2, eve, "t/r", "kept", 1, 1, 0);
        settle(b);
        follow(b, 0, ann, "$exclusive/t/+", 1);
        follow(b, shards - 1, ben, "t/#", 1);
        say(b, shards / 2, eve, "t/x", "1", 1, 2);
        settle(b);
        cr_assert(heard(ann, "kept 1"));
        cr_assert(ann->gots[0].retain);
        cr_assert_eq(ben->got_count, 2);
        down();
    }
}

Test(kernel_exclusive, no_local_is_kept)
{
    up(1, 0);
    follow_with(b, 0, ann, (struct subscription){.filter = bytes_str("$exclusive/t/x"), .qos = 1, .no_local = true});
    say(b, 0, ann, "t/x", "own", 1, 1);
    say(b, 0, ben, "t/x", "other", 1, 1);
    settle(b);
    cr_assert(heard(ann, "other"));
    down();
}

Test(kernel_exclusive, a_stored_session_that_is_away_still_has_it_until_it_ends)
{
    for (unsigned shards = 1; shards <= 3; shards++) {
        up(shards, 100);
        cr_assert_eq(follow(b, 0, ann, "$exclusive/t/x", 1), 1);
        leave(b, 0, ann);
        cr_assert_eq(follow(b, shards - 1, ben, "$exclusive/t/x", 1), ERR_QUOTA);
        say(b, shards / 2, eve, "t/x", "1", 1, 1);
        settle(b);
        enter(b, shards - 1, ann, false, 100); /* on another shard */
        cr_assert(heard(ann, "1"));
        cr_assert_eq(follow(b, shards - 1, ben, "$exclusive/t/x", 1), ERR_QUOTA);
        leave(b, shards - 1, ann);
        broker_kill(b);
        b = broker_new(world, shards, NULL);
        enter(b, shards - 1, ben, true, 100);
        cr_assert_eq(follow(b, shards - 1, ben, "$exclusive/t/x", 1), ERR_QUOTA);
        pass(b, 101); /* ann's session expires */
        cr_assert_eq(follow(b, shards - 1, ben, "$exclusive/t/x", 1), 1);
        down();
    }
}

Test(kernel_exclusive, a_session_that_closes_before_the_answer_leaves_nothing_behind)
{
    for (int turns = 0; turns < 6; turns++) {
        for (size_t i = 0; i < sizeof filters / sizeof *filters; i++) {
            for (uint32_t expiry_s = 0; expiry_s <= 100; expiry_s += 100) {
                up(3, expiry_s);
                struct subscription sub = {.filter = bytes_str(filters[i]), .qos = 1};
                kernel_subscribe(b->kernels[0], &ann->client, 1, &sub, 1);
                for (int t = 0; t < turns; t++) {
                    (void)broker_turn(b, 1);
                }
                leave_with(b, 0, ann, (struct close_request){.set_expiry = true});
                cr_assert_eq(follow(b, 2, ben, filters[i], 1), 1, "%d turns, %s, %u", turns, filters[i], expiry_s);
                down();
            }
        }
    }
}
