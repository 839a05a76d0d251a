/* $events: who comes and goes, for those who want to know. */
#include "tests/unit/broker/kernel/stage.h"

#include <criterion/criterion.h>
#include <jansson.h>

static struct fake_world *world;
static struct broker     *b;
static struct actor      *ann;
static struct actor      *eye;

static void up(unsigned shards, uint32_t per_s)
{
    struct kernel_limits limits = stage_limits;
    limits.events_per_s         = per_s;
    world                       = fake_world_new(STAGE_STRIPES, 0);
    b                           = broker_new(world, shards, &limits);
    ann                         = actor_new("ann");
    eye                         = actor_new("eye");
    enter(b, shards - 1, eye, true, 1000);
}

static void down(void)
{
    broker_kill(b);
    fake_world_free(world);
    actor_free(ann);
    actor_free(eye);
}

/* The last event: has it this name and this text? Texts of events are cut at 63 bytes on the stage. */
static bool last(const char *topic, const char *begins)
{
    const struct got *g = &eye->gots[eye->got_count - 1];
    bool is = eye->got_count != 0 && strcmp(g->topic, topic) == 0 && strncmp(g->payload, begins, strlen(begins)) == 0;
    if (!is && eye->got_count != 0) {
        fprintf(stderr, "%s %s\n", g->topic, g->payload);
    }
    return is;
}

static void all_acked(void)
{
    for (int i = 0; i < eye->got_count; i++) {
        (void)ack(b, b->shard_count - 1, eye, i, 1);
    }
    settle(b);
}

Test(kernel_events, every_step_of_a_client_is_told_to_those_who_subscribe)
{
    for (unsigned shards = 1; shards <= 2; shards++) {
        up(shards, 1000);
        enter(b, 0, ann, true, 0);
        leave(b, 0, ann);
        cr_assert_eq(eye->got_count, 0);
        follow(b, shards - 1, eye, "$events/client/#", 1);
        cr_assert_eq(eye->got_count, 1); /* its own */
        enter(b, 0, ann, true, 0);
        cr_assert(last("$events/client/connected", "{\"clientid\":\"ann\",\"ts\":"));
        cr_assert_eq(eye->gots[eye->got_count - 1].qos, 1);
        follow(b, 0, ann, "t/+", 2);
        cr_assert(last("$events/client/subscribed", "{\"clientid\":\"ann\",\"ts\":"));
        unfollow(b, 0, ann, "t/+");
        cr_assert(last("$events/client/unsubscribed", "{\"clientid\":\"ann\",\"ts\":"));
        int before = eye->got_count;
        unfollow(b, 0, ann, "t/+");
        cr_assert_eq(eye->got_count, before); /* nothing was there */
        leave(b, 0, ann);
        cr_assert(last("$events/client/disconnected", "{\"clientid\":\"ann\",\"ts\":"));
        cr_assert_eq(eye->got_count, 5);
        down();
    }
}

Test(kernel_events, a_stored_session_gets_what_happened_while_it_was_away)
{
    up(1, 1000);
    follow(b, 0, eye, "$events/client/connected", 1);
    leave(b, 0, eye);
    enter(b, 0, ann, true, 0);
    enter(b, 0, eye, false, 1000);
    cr_assert_eq(eye->got_count, 2); /* ann and its own */
    down();
}

Test(kernel_events, too_many_in_a_second_are_left_out_and_counted)
{
    up(1, 3);
    follow(b, 0, eye, "$events/client/subscribed", 1);
    enter(b, 0, ann, true, 0);
    for (int i = 0; i < 10; i++) {
        follow(b, 0, ann, "t", 1);
        all_acked();
    }
    cr_assert_eq(eye->got_count, 3);
    pass(b, 1);
    follow(b, 0, ann, "t", 1);
    cr_assert_eq(eye->got_count, 4);
    cr_assert(strstr(eye->gots[3].payload, "\"left_out\":8") != NULL, "%s", eye->gots[3].payload);
    down();
    up(1, 0);
    follow(b, 0, eye, "$events/#", 1);
    cr_assert_eq(eye->got_count, 0);
    down();
}
