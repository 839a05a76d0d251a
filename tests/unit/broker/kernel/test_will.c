/* Wills: when they are published, how often, and what becomes of the session's own deadlines. */
#include "broker/kernel/tables.h"
#include "tests/unit/broker/kernel/stage.h"

#include <criterion/criterion.h>

static struct fake_world *world;
static struct broker     *b;
static struct actor      *ann; /* hears */
static struct actor      *bob; /* has a will */

static struct will will_of(uint32_t delay_s)
{
    return (struct will){.topic            = bytes_str("will"),
                         .payload          = bytes_str("gone"),
                         .qos              = 1,
                         .delay_s          = delay_s,
                         .message_expiry_s = UINT32_MAX};
}

static void up(unsigned shards)
{
    world = fake_world_new(STAGE_STRIPES, 0);
    b     = broker_new(world, shards, NULL);
    ann   = actor_new("ann");
    bob   = actor_new("bob");
    enter(b, 0, ann, false, 100000);
    follow(b, 0, ann, "#", 2);
}

static void down(void)
{
    broker_kill(b);
    fake_world_free(world);
    actor_free(ann);
    actor_free(bob);
}

Test(kernel_will, a_lost_connection_publishes_it_and_an_orderly_one_does_not)
{
    for (unsigned stored = 0; stored < 2; stored++) {
        up(3);
        enter_will(b, 1, bob, true, stored ? 1000 : 0, will_of(0));
        leave_with(b, 1, bob, (struct close_request){.discard_will = true});
        cr_assert_eq(ann->got_count, 0);
        enter_will(b, 2, bob, false, stored ? 1000 : 0, will_of(0));
        leave(b, 2, bob);
        cr_assert(heard(ann, "gone"));
        cr_assert_eq(ann->gots[0].qos, 1);
        cr_assert_str_eq(ann->gots[0].topic, "will");
        pass(b, 5000);
        cr_assert(heard(ann, "gone"));
        down();
    }
}

Test(kernel_will, its_delay_is_kept_and_a_resume_within_it_cancels_it)
{
    up(1);
    enter_will(b, 0, bob, true, 1000, will_of(10));
    leave(b, 0, bob);
    pass(b, 9);
    cr_assert_eq(ann->got_count, 0);
    enter(b, 0, bob, false, 1000);
    pass(b, 100);
    cr_assert_eq(ann->got_count, 0);
    leave(b, 0, bob);
    enter_will(b, 0, bob, false, 1000, will_of(10));
    leave(b, 0, bob);
    pass(b, 10);
    cr_assert(heard(ann, "gone"));
    down();
}

Test(kernel_will, the_end_of_the_session_is_the_latest_time_for_it)
{
    up(1);
    enter_will(b, 0, bob, true, 5, will_of(100));
    leave(b, 0, bob);
    pass(b, 4);
    cr_assert_eq(ann->got_count, 0);
    pass(b, 1);
    cr_assert(heard(ann, "gone"));
    pass(b, 200);
    cr_assert(heard(ann, "gone"));
    /* A clean start ends it, too, before its delay is over; and an expiry that was set to 0. */
    enter_will(b, 0, bob, true, 1000, will_of(100));
    leave(b, 0, bob);
    enter(b, 0, bob, true, 0);
    settle(b);
    cr_assert(heard(ann, "gone gone"));
    leave(b, 0, bob);
    enter_will(b, 0, bob, true, 1000, will_of(100));
    leave_with(b, 0, bob, (struct close_request){.set_expiry = true});
    cr_assert(heard(ann, "gone gone gone"));
    /* A live session ends with its connection, whatever the delay. */
    enter_will(b, 0, bob, true, 0, will_of(100));
    leave(b, 0, bob);
    cr_assert(heard(ann, "gone gone gone gone"));
    down();
}

Test(kernel_will, a_take_over_publishes_one_without_delay_and_keeps_a_delayed_one_quiet)
{
    for (uint32_t delay_s = 0; delay_s < 2; delay_s++) {
        up(2);
        struct actor *new = actor_new("bob");
        enter_will(b, 0, bob, true, 1000, will_of(delay_s));
        enter(b, 1, new, false, 1000);
        settle(b);
        cr_assert_eq(bob->evicted, 1);
        cr_assert(heard(ann, delay_s == 0 ? "gone" : ""));
        pass(b, 100);
        cr_assert(heard(ann, delay_s == 0 ? "gone" : ""));
        leave(b, 1, new);
        actor_free(new);
        down();
    }
}

Test(kernel_will, a_killed_broker_leaves_the_wills_of_all_its_clients)
{
    up(2);
    struct actor *carl = actor_new("carl");
    enter_will(b, 0, bob, true, 0, will_of(0));
    enter_will(b, 1, carl, true, 1000, will_of(10));
    leave(b, 0, ann);
    broker_kill(b);
    b = broker_new(world, 2, NULL);
    enter(b, 1, ann, false, 100000);
    cr_assert(heard(ann, "gone"));
    pass(b, 11);
    cr_assert(heard(ann, "gone gone"));
    actor_free(carl);
    down();
}

Test(kernel_will, it_reaches_a_stored_session_once_wherever_the_broker_dies)
{
    for (int steps = 0; steps < 8; steps++) {
        up(1);
        enter_will(b, 0, bob, true, 0, will_of(0));
        leave(b, 0, ann);
        kernel_close(b->kernels[0], &bob->client, &(struct close_request){0});
        for (int i = 0; i < steps; i++) {
            broker_turn(b, 1);
        }
        broker_kill(b);
        b = broker_new(world, 1, NULL);
        enter(b, 0, ann, false, 100000);
        cr_assert(heard(ann, "gone"), "killed after %d turns", steps);
        down();
    }
}

Test(kernel_will, its_message_expiry_counts_from_its_publication)
{
    up(1);
    struct will will      = will_of(0);
    will.message_expiry_s = 20;
    will.retain           = true;
    enter_will(b, 0, bob, true, 0, will);
    pass(b, 100);
    leave(b, 0, bob);
    cr_assert(heard(ann, "gone"));
    cr_assert_eq(ann->gots[0].expires_wall_ns, fake_world_wall_ns(world) + 20000000000ull);
    cr_assert_eq(fake_world_rows(world, TABLE_RETAINED), 1);
    pass(b, 21);
    cr_assert_eq(fake_world_rows(world, TABLE_RETAINED), 0);
    down();
}
