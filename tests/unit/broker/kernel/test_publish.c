/* Live sessions: nothing of them is stored. */
#include "shared/base/err.h"
#include "tests/unit/broker/kernel/stage.h"

#include <criterion/criterion.h>
#include <stdio.h>

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
    cr_assert_not(ann->present);
}

static void down(void)
{
    broker_kill(b);
    fake_world_free(world);
    actor_free(ann);
    actor_free(bob);
}

Test(kernel_publish, qos_0_and_1_reach_a_live_subscriber_in_the_call)
{
    up(1);
    cr_assert_eq(follow(b, 0, bob, "a/+", 1), 1);
    say(b, 0, ann, "a/x", "one", 0, 0);
    cr_assert(heard(bob, "one"));
    say(b, 0, ann, "a/y", "two", 1, 7);
    cr_assert(heard(bob, "one two"));
    cr_assert_eq(ann->published_count, 1);
    cr_assert_eq(ann->published[0].id, 7);
    cr_assert_eq(ann->published[0].status, 0);
    cr_assert(ann->published[0].matched);
    cr_assert_eq(bob->gots[0].qos, 0);
    cr_assert_eq(bob->gots[1].qos, 1);
    cr_assert_eq(bob->gots[1].id, 1);
    cr_assert_eq(ack(b, 0, bob, 1, 1), 0);
    cr_assert_eq(ack(b, 0, bob, 1, 1), ERR_NOT_FOUND);
    say(b, 0, ann, "b", "nobody", 1, 8);
    cr_assert_not(ann->published[1].matched);
    cr_assert_eq(unfollow(b, 0, bob, "a/+"), 0);
    cr_assert_eq(unfollow(b, 0, bob, "a/+"), ERR_NOT_FOUND);
    say(b, 0, ann, "a/x", "gone", 1, 9);
    cr_assert_not(ann->published[2].matched);
    cr_assert(heard(bob, "one two"));
    down();
}

Test(kernel_publish, qos_2_of_a_live_publisher_is_delivered_once_until_it_is_released)
{
    up(1);
    follow(b, 0, bob, "#", 2);
    for (int i = 0; i < 3; i++) {
        say(b, 0, ann, "t", "x", 2, 5);
    }
    cr_assert_eq(ann->published_count, 3);
    cr_assert(heard(bob, "x"));
    kernel_publish_release(b->kernels[0], &ann->client, 5);
    cr_assert_eq(ann->released[0].status, 0);
    kernel_publish_release(b->kernels[0], &ann->client, 5);
    cr_assert_eq(ann->released[1].status, ERR_NOT_FOUND);
    say(b, 0, ann, "t", "y", 2, 5);
    cr_assert(heard(bob, "x y"));
    /* And outward: PUBREC, PUBREL, PUBCOMP. */
    cr_assert_eq(ack(b, 0, bob, 0, 1), 0);
    cr_assert_eq(bob->release_count, 1);
    cr_assert_eq(bob->releases[0], bob->gots[0].id);
    cr_assert_eq(ack(b, 0, bob, 0, 1), 0);
    cr_assert_eq(bob->release_count, 2);
    cr_assert_eq(kernel_done(b->kernels[0], &bob->client, bob->gots[0].id, DELIVERY_TAKEN), ERR_CONFLICT);
    cr_assert_eq(ack(b, 0, bob, 0, 2), 0);
    cr_assert_eq(ack(b, 0, bob, 0, 2), ERR_NOT_FOUND);
    cr_assert_eq(kernel_received(b->kernels[0], &bob->client, 4711), ERR_NOT_FOUND);
    cr_assert_eq(kernel_done(b->kernels[0], &bob->client, 0, DELIVERY_TAKEN), ERR_NOT_FOUND);
    down();
}

Test(kernel_publish, overlapping_subscriptions_are_one_copy_at_the_highest_qos_with_all_ids)
{
    up(1);
    follow_with(b, 0, bob, (struct subscription){.filter = bytes_str("a/#"), .qos = 0, .id = 11});
    follow_with(b, 0, bob, (struct subscription){.filter = bytes_str("a/b"), .qos = 2, .id = 12});
    follow_with(b, 0, bob, (struct subscription){.filter = bytes_str("+/b"), .qos = 1});
    say(b, 0, ann, "a/b", "x", 2, 1);
    cr_assert_eq(bob->got_count, 1);
    cr_assert_eq(bob->gots[0].qos, 2);
    cr_assert_eq(bob->gots[0].count, 2);
    cr_assert_eq(bob->gots[0].ids[0] + bob->gots[0].ids[1], 23);
    down();
}

Test(kernel_publish, no_local_and_retain_as_published)
{
    up(1);
    follow_with(b, 0, ann, (struct subscription){.filter = bytes_str("t"), .no_local = true});
    follow_with(b, 0, bob,
                (struct subscription){.filter = bytes_str("t"), .no_local = true, .retain_as_published = true});
    say(b, 0, ann, "t", "x", 0, 0);
    say_retained(b, 0, ann, "t", "y", 0, 0, 0);
    settle(b);
    cr_assert_eq(ann->got_count, 0);
    cr_assert(heard(bob, "x y"));
    cr_assert_not(bob->gots[0].retain);
    cr_assert(bob->gots[1].retain);
    /* The same filter again replaces the options. */
    follow_with(b, 0, bob, (struct subscription){.filter = bytes_str("t"), .retain_handling = 2});
    say_retained(b, 0, ann, "t", "z", 0, 0, 0);
    settle(b);
    cr_assert_eq(bob->got_count, 3);
    cr_assert_not(bob->gots[2].retain);
    down();
}

Test(kernel_publish, subscribers_on_other_shards_are_reached_from_the_suback_on)
{
    up(3);
    struct subscription sub = {.filter = bytes_str("t/#"), .qos = 1};
    kernel_subscribe(b->kernels[2], &bob->client, 1, &sub, 1);
    cr_assert_eq(bob->subscribed, 0, "the other shards have not heard of it");
    while (bob->subscribed == 0) {
        broker_turn(b, 100);
    }
    say(b, 0, ann, "t/1", "x", 1, 1);
    cr_assert(ann->published[0].matched);
    settle(b);
    cr_assert(heard(bob, "x"));
    unfollow(b, 2, bob, "t/#");
    say(b, 0, ann, "t/1", "y", 1, 2);
    cr_assert_not(ann->published[1].matched);
    leave(b, 2, bob);
    down();
}

Test(kernel_publish, a_full_mailbox_delays_and_loses_nothing_and_keeps_the_order)
{
    up(2);
    follow(b, 1, bob, "t", 1);
    b->mail_room = 1;
    for (int i = 0; i < 20; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", i);
        say(b, 0, ann, "t", text, 1, (uint16_t)(i + 1));
    }
    settle(b);
    cr_assert(heard(bob, "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19"));
    down();
}

Test(kernel_publish, the_receive_maximum_is_never_exceeded_and_what_waits_follows_in_order)
{
    up(1);
    struct actor *slow = actor_new("slow");
    open_only(b, 0, slow, true, 0, 2, NULL);
    settle(b);
    follow(b, 0, slow, "t", 2);
    const char *text[] = {"a", "b", "c", "d", "e"};
    for (int i = 0; i < 5; i++) {
        say(b, 0, ann, "t", text[i], i % 2 == 0 ? 1 : 2, (uint16_t)(i + 1));
    }
    cr_assert(heard(slow, "a b"));
    ack(b, 0, slow, 1, 1);
    cr_assert(heard(slow, "a b"), "QoS 2 counts until PUBCOMP");
    ack(b, 0, slow, 1, 2);
    cr_assert(heard(slow, "a b c"));
    ack(b, 0, slow, 0, 1);
    cr_assert(heard(slow, "a b c d"));
    /* Output full: QoS 0 is dropped, QoS 1 waits. */
    slow->full = true;
    ack(b, 0, slow, 2, 1);
    say(b, 0, ann, "t", "dropped", 0, 0);
    cr_assert(heard(slow, "a b c d"));
    slow->full = false;
    kernel_writable(b->kernels[0], &slow->client);
    cr_assert(heard(slow, "a b c d e"));
    for (int i = 0; i < 5; i++) {
        cr_assert_eq(slow->gots[i].id, i + 1);
    }
    cr_assert_eq(kernel_counters(b->kernels[0])->dropped, 1);
    leave(b, 0, slow);
    actor_free(slow);
    down();
}

Test(kernel_publish, what_is_too_big_for_a_client_counts_as_delivered)
{
    up(1);
    bob->too_big = 3;
    follow(b, 0, bob, "t", 1);
    say(b, 0, ann, "t", "large", 1, 1);
    say(b, 0, ann, "t", "ok", 1, 2);
    cr_assert(heard(bob, "ok"));
    cr_assert_eq(bob->gots[0].id, 1);
    down();
}

static void overrun(unsigned shards)
{
    up(shards);
    bob->full = true;
    follow(b, shards - 1, bob, "t", 1);
    int said = 0;
    for (; said < 40 && !ann->paused; said++) {
        say(b, 0, ann, "t", "0123456789012345678901234567890123456789", 1, (uint16_t)(said + 1));
        settle(b);
    }
    cr_assert(ann->paused);
    cr_assert_gt(said, 10);
    pass(b, 2);
    cr_assert_eq(bob->evicted, 0);
    pass(b, 5);
    cr_assert_eq(bob->evicted, 1);
    cr_assert_eq(bob->why, EVICT_OVERRUN);
    cr_assert_not(ann->paused);
    say(b, 0, ann, "t", "x", 1, 100);
    settle(b);
    down();
}

Test(kernel_publish, who_does_not_keep_up_pauses_its_publishers_and_is_evicted)
{
    overrun(1);
}

Test(kernel_publish, so_it_is_across_shards)
{
    overrun(2);
}

Test(kernel_publish, who_catches_up_in_time_stays)
{
    up(2);
    bob->full = true;
    follow(b, 1, bob, "t", 1);
    for (int i = 0; i < 40 && !ann->paused; i++) {
        say(b, 0, ann, "t", "0123456789012345678901234567890123456789", 1, (uint16_t)(i + 1));
        settle(b);
    }
    pass(b, 2);
    bob->full = false;
    kernel_writable(b->kernels[1], &bob->client);
    settle(b);
    cr_assert_not(ann->paused);
    pass(b, 20);
    cr_assert_eq(bob->evicted, 0);
    cr_assert_eq(bob->got_count, ann->published_count);
    down();
}

Test(kernel_publish, expired_messages_are_not_given_late)
{
    up(1);
    bob->full = true;
    follow(b, 0, bob, "t", 1);
    struct message m = {.topic           = bytes_str("t"),
                        .payload         = bytes_str("old"),
                        .qos             = 1,
                        .expires_wall_ns = fake_world_wall_ns(world) + 1000000000ull};
    kernel_publish(b->kernels[0], &ann->client, &m, 1);
    say(b, 0, ann, "t", "new", 1, 2);
    fake_world_advance(world, 2000000000ull);
    settle(b);
    bob->full = false;
    kernel_writable(b->kernels[0], &bob->client);
    cr_assert(heard(bob, "new"));
    cr_assert_eq(kernel_counters(b->kernels[0])->expired, 1);
    down();
}

Test(kernel_publish, a_live_take_over_evicts_the_older_connection)
{
    up(2);
    follow(b, 1, bob, "t", 1);
    struct actor *again = actor_new("bob");
    enter(b, 0, again, true, 0);
    cr_assert_not(again->present);
    cr_assert_eq(bob->evicted, 1);
    cr_assert_eq(bob->why, EVICT_TAKEN_OVER);
    say(b, 0, ann, "t", "x", 1, 1);
    settle(b);
    cr_assert_eq(again->got_count, 0, "its subscriptions ended with it");
    cr_assert_eq(bob->got_count, 0);
    leave(b, 0, again);
    actor_free(again);
    down();
}

Test(kernel_publish, of_a_storm_of_connects_with_one_id_the_last_stays)
{
    up(3);
    struct actor *storm[60];
    for (int i = 0; i < 60; i++) {
        storm[i] = actor_new("storm");
        open_only(b, (unsigned)i % 3, storm[i], i % 2 == 0, i % 3 == 0 ? 0 : 100, 10, NULL);
        if (i % 7 == 0) {
            broker_turn(b, 2);
        }
    }
    settle(b);
    int open = 0;
    for (int i = 0; i < 60; i++) {
        cr_assert_eq(storm[i]->opened, 1, "%d", i);
        cr_assert_leq(storm[i]->evicted, 1);
        open += storm[i]->client.session != NULL;
    }
    cr_assert_eq(open, 1);
    for (int i = 0; i < 60; i++) {
        kernel_close(b->kernels[i % 3], &storm[i]->client, &(struct close_request){0});
        actor_free(storm[i]);
    }
    settle(b);
    down();
}

Test(kernel_publish, too_many_subscriptions_are_refused_one_by_one)
{
    up(1);
    for (int i = 0; i < 201; i++) {
        char filter[16];
        snprintf(filter, sizeof filter, "f/%d", i);
        cr_assert_eq(follow(b, 0, bob, filter, 1), i < 200 ? 1 : ERR_QUOTA);
    }
    cr_assert_eq(follow(b, 0, bob, "f/7", 2), 2);
    down();
}

extern int mallctl(const char *name, void *old, size_t *old_size, void *new_value, size_t new_size)
    __attribute__((weak));

Test(kernel_publish, an_idle_live_session_with_one_subscription_takes_at_most_400_bytes)
{
    enum { COUNT = 20000 };
    if (mallctl == NULL) {
        return; /* a sanitizer's allocator does not tell */
    }
    up(1);
    struct actor *all = calloc(COUNT, sizeof *all);
    uint64_t      took;
    uint64_t      gave;
    uint64_t      before = 0;
    size_t        size   = sizeof took;
    for (int i = 0; i < COUNT; i++) {
        if (i == 4096) { /* tables have their size; growth is in the average below */
            mallctl("thread.allocated", &took, &size, NULL, 0);
            mallctl("thread.deallocated", &gave, &size, NULL, 0);
            before = took - gave;
        }
        all[i].client.ops = ann->client.ops;
        all[i].full_in    = -1;
        snprintf(all[i].id, sizeof all[i].id, "client-%07d", i);
        char filter[32];
        snprintf(filter, sizeof filter, "command/device-%07d", i);
        open_only(b, 0, &all[i], true, 0, 10, NULL);
        broker_turn(b, 10);
        struct subscription sub = {.filter = bytes_str(filter), .qos = 0, .retain_handling = 2};
        kernel_subscribe(b->kernels[0], &all[i].client, 1, &sub, 1);
        broker_turn(b, 10);
        cr_assert_eq(all[i].subscribed, 1);
    }
    mallctl("thread.allocated", &took, &size, NULL, 0);
    mallctl("thread.deallocated", &gave, &size, NULL, 0);
    double each = (double)(took - gave - before) / (COUNT - 4096);
    fprintf(stderr, "an idle live session with one subscription: %.0f bytes\n", each);
    cr_expect_leq(each, 400.0);
    for (int i = 0; i < COUNT; i++) {
        kernel_close(b->kernels[0], &all[i].client, &(struct close_request){0});
    }
    free(all);
    down();
}
