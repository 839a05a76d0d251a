#include "shared/base/err.h"
#include "tests/unit/broker/kernel/stage.h"

#include <criterion/criterion.h>
#include <stdio.h>

static struct fake_world *world;
static struct broker     *a;
static struct broker     *b;
static struct actor      *actors[4]; /* 0 and 1 at a, 2 and 3 at b */

static void begin(void)
{
    static const char *const names[] = {"a0", "a1", "b0", "b1"};
    world                            = fake_world_new(STAGE_STRIPES, 10000);
    a                                = broker_beside(world, 1, NULL, NULL);
    b                                = broker_beside(world, 2, a, NULL);
    for (int i = 0; i < 4; i++) {
        actors[i] = actor_new(names[i]);
    }
}

static void end(void)
{
    if (a != NULL) {
        broker_kill(a);
    }
    if (b != NULL) {
        broker_kill(b);
    }
    for (int i = 0; i < 4; i++) {
        actor_free(actors[i]);
    }
    fake_world_free(world);
}

TestSuite(kernel_company, .init = begin, .fini = end);

static void both(void)
{
    settle_two(a, b);
}

static void come(struct broker *at, unsigned shard, struct actor *actor, uint32_t expiry_s)
{
    open_only(at, shard, actor, false, expiry_s, 50, NULL);
    both();
    cr_assert_eq(actor->opened, 1);
    cr_assert_eq(actor->status, 0, "%s", err_name(actor->status));
}

static void subscribe(struct broker *at, unsigned shard, struct actor *actor, const char *filter, uint8_t qos)
{
    int                 before = actor->subscribed;
    struct subscription s      = {.filter = bytes_str(filter), .qos = qos};
    kernel_subscribe(at->kernels[shard], &actor->client, 1, &s, 1);
    both();
    cr_assert_eq(actor->subscribed, before + 1);
    cr_assert_eq(actor->results[0], qos);
}

Test(kernel_company, a_live_subscriber_gets_what_is_published_at_the_other_process)
{
    come(a, 0, actors[0], 0);
    come(b, 1, actors[2], 0);
    subscribe(b, 1, actors[2], "t/+", 1);
    subscribe(b, 1, actors[2], "exact", 2);
    say(a, 0, actors[0], "t/1", "one", 0, 0);
    say(a, 0, actors[0], "t/1", "two", 1, 1);
    say(a, 0, actors[0], "exact", "three", 2, 2);
    both();
    cr_assert(heard(actors[2], "one two three"));
    cr_assert_eq(actors[0]->published_count, 2);
    cr_assert(actors[0]->published[0].matched && actors[0]->published[0].status == 0);
}

Test(kernel_company, who_was_subscribed_before_a_process_came_gets_what_is_published_there)
{
    come(a, 0, actors[0], 0);
    subscribe(a, 0, actors[0], "t/+", 1);
    subscribe(a, 0, actors[0], "exact", 1);
    struct broker *c = broker_beside(world, 2, a, b);
    struct actor  *x = actor_new("x");
    open_only(c, 1, x, true, 0, 50, NULL);
    for (int i = 0; i < 3; i++) {
        settle_two(a, c);
        both();
    }
    cr_assert_eq(x->opened, 1);
    say(c, 1, x, "t/1", "one", 1, 1);
    say(c, 1, x, "exact", "two", 0, 0);
    settle_two(a, c);
    cr_assert(heard(actors[0], "one two"));
    broker_kill(c);
    actor_free(x);
}

Test(kernel_company, a_subscribe_is_answered_when_the_other_process_knows_it)
{
    come(b, 0, actors[2], 0);
    struct subscription s = {.filter = bytes_str("t/+"), .qos = 1};
    kernel_subscribe(b->kernels[0], &actors[2]->client, 1, &s, 1);
    settle(b);
    cr_assert_eq(actors[2]->subscribed, 0);
    both();
    cr_assert_eq(actors[2]->subscribed, 1);
}

Test(kernel_company, a_publish_is_answered_when_the_other_process_has_taken_it)
{
    come(a, 0, actors[0], 0);
    come(b, 0, actors[2], 0);
    subscribe(b, 0, actors[2], "t/+", 1);
    say(a, 0, actors[0], "t/1", "one", 1, 1);
    settle(a);
    cr_assert_eq(actors[0]->published_count, 0);
    both();
    cr_assert_eq(actors[0]->published_count, 1);
    cr_assert(heard(actors[2], "one"));
}

Test(kernel_company, lost_packets_are_sent_again_and_nothing_comes_twice)
{
    come(a, 0, actors[0], 0);
    come(b, 0, actors[2], 0);
    subscribe(b, 0, actors[2], "t/+", 1);
    for (int i = 0; i < 2; i++) {
        fake_lose_packets(a->stores[0], 3);
        fake_lose_packets(b->stores[0], 2);
    }
    char all[400] = "";
    for (uint16_t i = 1; i <= 40; i++) {
        char text[8];
        snprintf(text, sizeof text, "%u", i);
        snprintf(all + strlen(all), sizeof all - strlen(all), "%s%u", i == 1 ? "" : " ", i);
        say(a, 0, actors[0], "t/1", text, 1, i);
        broker_turn(a, 10);
        broker_turn(b, 10);
    }
    for (int i = 0; i < 40; i++) {
        fake_world_advance(world, 300000000);
        both();
    }
    cr_assert(heard(actors[2], all));
    cr_assert_eq(actors[0]->published_count, 40);
}

Test(kernel_company, when_a_process_dies_those_who_wait_for_it_go_on)
{
    come(a, 0, actors[0], 0);
    come(a, 0, actors[1], 0);
    come(b, 0, actors[2], 0);
    subscribe(b, 0, actors[2], "t/+", 1);
    say(a, 0, actors[0], "t/1", "one", 1, 1);
    struct subscription s = {.filter = bytes_str("other"), .qos = 1};
    kernel_subscribe(a->kernels[0], &actors[1]->client, 1, &s, 1);
    settle(a);
    cr_assert_eq(actors[0]->published_count, 0);
    cr_assert_eq(actors[1]->subscribed, 0);
    broker_kill(b);
    b = NULL;
    settle(a);
    cr_assert_eq(actors[0]->published_count, 1);
    cr_assert_eq(actors[1]->subscribed, 1);
    say(a, 0, actors[0], "t/1", "two", 1, 2);
    settle(a);
    cr_assert_eq(actors[0]->published_count, 2);
    cr_assert_not(actors[0]->published[1].matched);
}

Test(kernel_company, one_client_id_is_connected_at_one_process)
{
    struct actor *twin = actor_new("b0");
    come(b, 1, actors[2], 0);
    come(a, 0, twin, 0);
    cr_assert_eq(actors[2]->evicted, 1);
    cr_assert_eq(actors[2]->why, EVICT_TAKEN_OVER);
    cr_assert_eq(twin->evicted, 0);
    actor_clear(actors[2]);
    come(b, 0, actors[2], 600);
    cr_assert_eq(twin->evicted, 1);
    actor_free(twin);
}

Test(kernel_company, of_two_that_come_at_the_same_time_with_one_client_id_one_stays)
{
    struct actor *twin = actor_new("b0");
    open_only(b, 1, actors[2], true, 0, 50, NULL);
    open_only(a, 0, twin, true, 0, 50, NULL);
    both();
    bool first  = actors[2]->opened == 1 && actors[2]->status == 0 && actors[2]->evicted == 0;
    bool second = twin->opened == 1 && twin->status == 0 && twin->evicted == 0;
    cr_assert_neq(first, second);
    actor_free(twin);
}

Test(kernel_company, a_stored_session_goes_from_one_process_to_the_other)
{
    struct actor *twin = actor_new("b0");
    come(a, 0, actors[0], 0);
    come(b, 1, actors[2], 600);
    subscribe(b, 1, actors[2], "t/+", 1);
    say(a, 0, actors[0], "t/1", "one", 1, 1);
    both();
    cr_assert(heard(actors[2], "one"));
    come(a, 0, twin, 600);
    cr_assert(twin->present);
    cr_assert_eq(actors[2]->why, EVICT_TAKEN_OVER);
    cr_assert(heard(twin, "one"));
    cr_assert(twin->gots[0].duplicate);
    actor_free(twin);
}

Test(kernel_company, a_message_for_a_group_goes_to_one_member_of_all_processes)
{
    come(a, 0, actors[0], 0);
    come(a, 0, actors[1], 0);
    come(b, 0, actors[2], 0);
    come(b, 1, actors[3], 0);
    for (int i = 1; i < 4; i++) {
        subscribe(i == 1 ? a : b, i == 3, actors[i], "$share/g/t/+", 1);
    }
    for (uint16_t i = 1; i <= 30; i++) {
        say(a, 0, actors[0], "t/1", "x", 1, i);
        both();
        for (int other = 1; other < 4; other++) {
            struct actor *m = actors[other];
            if (m->got_count != 0) {
                cr_assert_eq(ack(other == 1 ? a : b, other == 3, m, m->got_count - 1, 1) < 0 ? 0 : 0, 0);
            }
        }
    }
    cr_assert_eq(actors[1]->got_count, 10);
    cr_assert_eq(actors[2]->got_count, 10);
    cr_assert_eq(actors[3]->got_count, 10);
    broker_kill(b);
    b = NULL;
    settle(a);
    say(a, 0, actors[0], "t/1", "y", 1, 31);
    settle(a);
    cr_assert_eq(actors[1]->got_count, 11);
}

Test(kernel_company, what_a_member_that_died_with_its_process_had_not_taken_goes_to_another)
{
    come(a, 0, actors[0], 0);
    come(a, 0, actors[1], 0);
    come(b, 0, actors[2], 0);
    subscribe(b, 0, actors[2], "$share/g/t/+", 1);
    subscribe(a, 0, actors[1], "$share/g/t/+", 1);
    for (uint16_t i = 1; i <= 4; i++) {
        say(a, 0, actors[0], "t/1", "x", 1, i);
    }
    settle(a);
    broker_kill(b);
    b = NULL;
    settle(a);
    cr_assert_eq(actors[1]->got_count, 4);
    cr_assert_eq(actors[0]->published_count, 4);
}

Test(kernel_company, an_exclusive_subscription_is_had_by_one_of_all_processes)
{
    come(a, 0, actors[0], 0);
    come(b, 0, actors[2], 0);
    come(b, 1, actors[3], 0);
    subscribe(b, 0, actors[2], "$exclusive/t", 1);
    struct subscription s = {.filter = bytes_str("$exclusive/t"), .qos = 1};
    kernel_subscribe(a->kernels[0], &actors[0]->client, 1, &s, 1);
    both();
    cr_assert_eq(actors[0]->results[0], ERR_QUOTA);
    /* The process that decides about it dies: who has it, keeps it. */
    broker_kill(a);
    a = NULL;
    settle(b);
    kernel_subscribe(b->kernels[1], &actors[3]->client, 1, &s, 1);
    settle(b);
    cr_assert_eq(actors[3]->results[0], ERR_QUOTA);
    leave(b, 0, actors[2]);
    kernel_subscribe(b->kernels[1], &actors[3]->client, 1, &s, 1);
    settle(b);
    cr_assert_eq(actors[3]->results[0], 1);
}

Test(kernel_company, a_will_is_published_once_and_by_the_other_process_when_its_own_has_died)
{
    struct will will = {
        .topic = bytes_str("will"), .payload = bytes_str("gone"), .qos = 1, .message_expiry_s = UINT32_MAX};
    come(b, 0, actors[2], 0);
    subscribe(b, 0, actors[2], "will", 1);
    open_only(a, 0, actors[0], true, 0, 50, &will);
    open_only(b, 1, actors[3], true, 0, 50, &will);
    both();
    kernel_close(b->kernels[1], &actors[3]->client, &(struct close_request){0});
    both();
    cr_assert(heard(actors[2], "gone"));
    broker_kill(a);
    a = NULL;
    settle(b);
    cr_assert(heard(actors[2], "gone gone"));
}

Test(kernel_company, a_process_that_does_not_hear_of_the_store_holds_back_what_others_may_be_owed)
{
    come(b, 0, actors[2], 0);
    come(b, 0, actors[3], 0);
    subscribe(b, 0, actors[3], "t/+", 1);
    fake_cut(b->stores[0], true);
    fake_world_advance(world, 4000000000u);
    broker_turn(b, 0);
    say(b, 0, actors[2], "t/1", "one", 1, 1);
    say(b, 0, actors[2], "t/1", "zero", 0, 0);
    for (int i = 0; i < 4; i++) {
        broker_turn(b, 0);
    }
    cr_assert_eq(actors[2]->published_count, 0);
    cr_assert_eq(actors[3]->got_count, 0);
    fake_cut(b->stores[0], false);
    both();
    cr_assert_eq(actors[2]->published_count, 1);
    cr_assert(heard(actors[3], "one zero"));
}
