/* Retained messages: the last of each topic, for whoever subscribes later. */
#include "broker/kernel/tables.h"
#include "shared/base/err.h"
#include "tests/unit/broker/kernel/stage.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

static struct fake_world *world;
static struct broker     *b;
static struct actor      *ann;
static struct actor      *bob;

static void up(unsigned shards)
{
    world = fake_world_new(STAGE_STRIPES, 0);
    b     = broker_new(world, shards, NULL);
    ann   = actor_new("ann");
    bob   = actor_new("bob");
    enter(b, 0, ann, true, 0);
    enter(b, shards - 1, bob, true, 0);
}

static void down(void)
{
    broker_kill(b);
    fake_world_free(world);
    actor_free(ann);
    actor_free(bob);
}

Test(kernel_retain, the_last_one_is_shown_and_an_empty_one_clears_it)
{
    up(2);
    say_retained(b, 0, ann, "a/1", "old", 1, 1, 0);
    say_retained(b, 0, ann, "a/1", "new", 1, 2, 0);
    cr_assert_eq(ann->published_count, 0, "not before it is stored");
    settle(b);
    cr_assert_eq(ann->published_count, 2);
    cr_assert_not(ann->published[0].matched);
    follow_with(b, 1, bob, (struct subscription){.filter = bytes_str("a/+"), .qos = 2, .id = 9});
    cr_assert(heard(bob, "new"));
    cr_assert(bob->gots[0].retain);
    cr_assert_eq(bob->gots[0].qos, 1);
    cr_assert_eq(bob->gots[0].count, 1);
    cr_assert_eq(bob->gots[0].ids[0], 9);
    cr_assert_eq(ack(b, 1, bob, 0, 1), 0);
    say_retained(b, 0, ann, "a/1", "", 1, 3, 0);
    settle(b);
    cr_assert_eq(bob->got_count, 2, "the clearing one is forwarded");
    cr_assert_not(bob->gots[1].retain);
    cr_assert_eq(fake_world_rows(world, TABLE_RETAINED), 0);
    follow(b, 1, bob, "a/+", 2);
    cr_assert_eq(bob->got_count, 2);
    down();
}

Test(kernel_retain, retain_handling_decides_per_filter_and_session)
{
    up(1);
    say_retained(b, 0, ann, "t", "x", 0, 0, 0);
    settle(b);
    struct subscription sub = {.filter = bytes_str("t"), .retain_handling = 2};
    follow_with(b, 0, bob, sub);
    cr_assert_eq(bob->got_count, 0);
    sub.retain_handling = 1;
    follow_with(b, 0, bob, sub);
    cr_assert_eq(bob->got_count, 0, "it existed");
    sub.filter = bytes_str("+");
    follow_with(b, 0, bob, sub);
    cr_assert_eq(bob->got_count, 1);
    sub.retain_handling = 0;
    follow_with(b, 0, bob, sub);
    cr_assert_eq(bob->got_count, 2);
    sub.filter = bytes_str("$share/g/t");
    follow_with(b, 0, bob, sub);
    cr_assert_eq(bob->got_count, 2);
    /* Of a stored session that is resumed, the subscription existed. */
    struct actor *carl = actor_new("carl");
    enter(b, 0, carl, false, 1000);
    sub.filter          = bytes_str("t");
    sub.retain_handling = 1;
    sub.qos             = 1;
    follow_with(b, 0, carl, sub);
    cr_assert_eq(carl->got_count, 1);
    leave(b, 0, carl);
    enter(b, 0, carl, false, 1000);
    follow_with(b, 0, carl, sub);
    cr_assert_eq(carl->got_count, 1);
    leave(b, 0, carl);
    actor_free(carl);
    down();
}

Test(kernel_retain, no_local_leaves_out_what_the_same_client_published)
{
    up(1);
    say_retained(b, 0, ann, "t/ann", "a", 0, 0, 0);
    say_retained(b, 0, bob, "t/bob", "b", 0, 0, 0);
    settle(b);
    struct subscription sub = {.filter = bytes_str("t/+"), .no_local = true};
    follow_with(b, 0, bob, sub);
    cr_assert(heard(bob, "a"));
    leave(b, 0, bob);
    enter(b, 0, bob, true, 0); /* whose identifier it is counts, not whose connection */
    follow_with(b, 0, bob, sub);
    cr_assert(heard(bob, "a a"));
    sub.no_local = false;
    follow_with(b, 0, bob, sub);
    cr_assert_eq(bob->got_count, 4);
    down();
}

Test(kernel_retain, it_expires_and_is_counted_down)
{
    up(1);
    say_retained(b, 0, ann, "t", "x", 0, 0, 10);
    settle(b);
    pass(b, 5);
    follow(b, 0, bob, "t", 0);
    cr_assert_eq(bob->got_count, 1);
    cr_assert_eq(bob->gots[0].expires_wall_ns, fake_world_wall_ns(world) + 5000000000ull);
    pass(b, 5);
    follow(b, 0, bob, "t", 0);
    cr_assert_eq(bob->got_count, 1);
    down();
}

static void many(uint8_t published, uint8_t granted, uint32_t expiry_s)
{
    up(1);
    leave(b, 0, bob);
    open_only(b, 0, bob, true, expiry_s, 4, NULL);
    settle(b);
    for (int i = 0; i < 100; i++) {
        char topic[16];
        char text[16];
        snprintf(topic, sizeof topic, "r/%d", i);
        snprintf(text, sizeof text, "%d", i);
        say_retained(b, 0, ann, topic, text, published, (uint16_t)(i + 1), 0);
        settle(b);
    }
    bob->full_in = 3;
    follow(b, 0, bob, "r/#", granted);
    cr_assert_eq(bob->got_count, 3);
    int acked = 0;
    for (int round = 0; round < 300 && (bob->got_count < 100 || acked < bob->got_count); round++) {
        bob->full_in = 2;
        bob->full    = false;
        kernel_writable(b->kernels[0], &bob->client);
        settle(b);
        for (; acked < bob->got_count; acked++) {
            if (bob->gots[acked].qos != 0) {
                cr_assert_eq(ack(b, 0, bob, acked, 1), 0);
            }
        }
        settle(b);
    }
    cr_assert_eq(bob->got_count, 100, "%d", bob->got_count);
    bool seen[100] = {false};
    for (int i = 0; i < 100; i++) {
        int which = atoi(bob->gots[i].payload);
        cr_assert(bob->gots[i].retain && !seen[which]);
        cr_assert_eq(bob->gots[i].qos, published < granted ? published : granted);
        seen[which] = true;
    }
    cr_assert_eq(bob->evicted, 0);
    down();
}

Test(kernel_retain, many_are_paced_by_the_output_of_a_live_client)
{
    many(0, 0, 0);
    many(1, 1, 0);
    many(1, 0, 0);
}

Test(kernel_retain, many_go_to_a_stored_session_and_wait_for_it)
{
    many(1, 1, 1000);
    many(0, 1, 1000);
}

Test(kernel_retain, a_subscriber_that_goes_away_during_a_replay_is_no_harm)
{
    for (int turns = 0; turns < 6; turns++) {
        up(1);
        for (int i = 0; i < 100; i++) {
            char topic[16];
            snprintf(topic, sizeof topic, "r/%d", i);
            say_retained(b, 0, ann, topic, "x", 1, (uint16_t)(i + 1), 0);
            settle(b);
        }
        struct actor *carl = actor_new("carl");
        enter(b, 0, carl, true, turns % 2 == 0 ? 1000 : 0);
        carl->full_in           = 5;
        struct subscription sub = {.filter = bytes_str("#"), .qos = 1};
        kernel_subscribe(b->kernels[0], &carl->client, 1, &sub, 1);
        for (int i = 0; i < turns; i++) {
            broker_turn(b, 3);
        }
        leave(b, 0, carl);
        settle(b);
        actor_free(carl);
        down();
    }
}

Test(kernel_retain, whoever_subscribes_while_it_is_replaced_gets_the_new_one)
{
    for (int before = 0; before < 4; before++) {
        for (int after = 0; after < 4; after++) {
            up(2);
            say_retained(b, 0, ann, "t", "old", 0, 0, 0);
            settle(b);
            say_retained(b, 0, ann, "t", "new", 0, 0, 0);
            for (int i = 0; i < before; i++) {
                broker_turn(b, 1);
            }
            struct subscription sub = {.filter = bytes_str("t")};
            kernel_subscribe(b->kernels[1], &bob->client, 1, &sub, 1);
            for (int i = 0; i < after; i++) {
                broker_turn(b, 1);
            }
            settle(b);
            cr_assert_gt(bob->got_count, 0);
            cr_assert_str_eq(bob->gots[bob->got_count - 1].payload, "new", "%d %d", before, after);
            down();
        }
    }
}

Test(kernel_retain, a_publisher_keeps_its_order_around_a_retained_message)
{
    up(1);
    follow(b, 0, bob, "t", 2);
    say(b, 0, ann, "t", "1", 1, 1);
    say_retained(b, 0, ann, "t", "2", 1, 2, 0);
    say(b, 0, ann, "t", "3", 1, 3);
    say(b, 0, ann, "t", "4", 0, 0);
    say(b, 0, ann, "t", "5", 2, 4);
    settle(b);
    cr_assert(heard(bob, "1 2 3 4 5"));
    cr_assert_eq(ann->published_count, 4);
    for (int i = 0; i < 4; i++) {
        cr_assert_eq(ann->published[i].id, i + 1);
        cr_assert(ann->published[i].matched);
    }
    down();
}
