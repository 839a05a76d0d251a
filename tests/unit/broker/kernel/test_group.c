/* Shared subscriptions: one member gets each message. */
#include "shared/base/err.h"
#include "tests/unit/broker/kernel/stage.h"

#include <criterion/criterion.h>
#include <stdio.h>

static struct fake_world *world;
static struct broker     *b;
static struct actor      *ann;
static struct actor      *members[3];

static void up(unsigned shards, uint32_t expiry_s)
{
    world = fake_world_new(STAGE_STRIPES, 0);
    b     = broker_new(world, shards, NULL);
    ann   = actor_new("ann");
    enter(b, 0, ann, true, 0);
    for (unsigned i = 0; i < 3; i++) {
        char id[16];
        snprintf(id, sizeof id, "member-%u", i);
        members[i] = actor_new(id);
        enter(b, i % shards, members[i], true, expiry_s);
        cr_assert_eq(follow_with(b, i % shards, members[i],
                                 (struct subscription){.filter = bytes_str("$share/g/t/+"), .qos = 1, .id = i + 1}),
                     1);
    }
}

static void down(void)
{
    broker_kill(b);
    fake_world_free(world);
    actor_free(ann);
    for (int i = 0; i < 3; i++) {
        actor_free(members[i]);
    }
}

static void say_many(int count, uint8_t qos)
{
    for (int i = 0; i < count; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", i);
        say(b, 0, ann, "t/x", text, qos, (uint16_t)(qos == 0 ? 0 : i + 1));
        settle(b);
        for (unsigned m = 0; m < 3; m++) {
            struct actor *a = members[m];
            for (int j = 0; j < a->got_count; j++) {
                if (a->gots[j].qos != 0 && a->client.session != NULL) {
                    (void)ack(b, m % b->shard_count, a, j, 1);
                }
            }
        }
        settle(b);
    }
}

static void takes_turns(unsigned shards, uint32_t expiry_s, uint8_t qos)
{
    up(shards, expiry_s);
    say_many(30, qos);
    for (unsigned i = 0; i < 3; i++) {
        cr_assert_eq(members[i]->got_count, 10, "%u shards, expiry %u, member %u got %d", shards, expiry_s, i,
                     members[i]->got_count);
        cr_assert_eq(members[i]->gots[0].count, 1);
        cr_assert_eq(members[i]->gots[0].ids[0], i + 1);
    }
    if (qos != 0) {
        cr_assert(ann->published[29].matched);
    }
    down();
}

Test(kernel_group, members_take_turns_on_any_shard_live_or_stored)
{
    for (unsigned shards = 1; shards <= 3; shards++) {
        takes_turns(shards, 0, 0);
        takes_turns(shards, 0, 1);
        takes_turns(shards, 1000, 0);
        takes_turns(shards, 1000, 1);
    }
}

Test(kernel_group, those_who_are_connected_come_first_and_the_others_keep_what_nobody_took)
{
    up(2, 1000);
    leave(b, 0, members[0]);
    leave(b, 0, members[2]);
    say_many(6, 1);
    cr_assert_eq(members[1]->got_count, 6);
    leave(b, 1, members[1]);
    say_many(9, 1);
    say_many(1, 0);
    cr_assert(ann->published[ann->published_count - 1].matched);
    int got = 0;
    for (unsigned i = 0; i < 3; i++) {
        actor_clear(members[i]);
        enter(b, i % 2, members[i], false, 1000);
        got += members[i]->got_count;
        cr_assert_eq(members[i]->got_count, 3);
    }
    cr_assert_eq(got, 9);
    down();
}

Test(kernel_group, a_group_and_a_plain_subscription_of_one_client_are_two_copies)
{
    up(1, 0);
    leave(b, 0, members[1]);
    leave(b, 0, members[2]);
    follow(b, 0, members[0], "t/#", 1);
    say(b, 0, ann, "t/x", "x", 1, 1);
    settle(b);
    cr_assert_eq(members[0]->got_count, 2);
    cr_assert_eq(unfollow(b, 0, members[0], "$share/h/t/+"), ERR_NOT_FOUND);
    cr_assert_eq(unfollow(b, 0, members[0], "$share/g/t/+"), 0);
    say(b, 0, ann, "t/x", "y", 1, 2);
    settle(b);
    cr_assert_eq(members[0]->got_count, 3);
    down();
}

Test(kernel_group, groups_are_apart)
{
    up(2, 0);
    struct actor *other = actor_new("other");
    enter(b, 1, other, true, 0);
    follow(b, 1, other, "$share/h/t/+", 0);
    say_many(9, 1);
    cr_assert_eq(other->got_count, 9);
    cr_assert_eq(members[0]->got_count + members[1]->got_count + members[2]->got_count, 9);
    leave(b, 1, other);
    say_many(3, 1);
    leave(b, 0, members[0]);
    leave(b, 1, members[1]);
    leave(b, 0, members[2]);
    say(b, 0, ann, "t/x", "x", 1, 99);
    cr_assert_not(ann->published[ann->published_count - 1].matched);
    actor_free(other);
    down();
}

Test(kernel_group, a_message_for_a_member_that_just_left_goes_to_another)
{
    up(3, 0);
    say(b, 0, ann, "t/x", "0", 1, 1);
    say(b, 0, ann, "t/x", "1", 1, 2); /* for members[1], on shard 1 */
    kernel_close(b->kernels[1], &members[1]->client, &(struct close_request){0});
    settle(b);
    cr_assert_eq(members[1]->got_count, 0);
    cr_assert_eq(members[0]->got_count + members[2]->got_count, 2);
    down();
}
