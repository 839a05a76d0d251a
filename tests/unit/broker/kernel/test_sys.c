/* $SYS: values of the first shard, for those who subscribe; and the counts that they are made of. */
#include "shared/base/wire.h"
#include "tests/unit/broker/kernel/stage.h"

#include <criterion/criterion.h>

static struct fake_world *world;
static struct broker     *b;
static struct actor      *ann;
static struct actor      *ben;

static void up(unsigned shards)
{
    world = fake_world_new(STAGE_STRIPES, 0);
    b     = broker_new(world, shards, NULL);
    ann   = actor_new("ann");
    ben   = actor_new("ben");
    enter(b, 0, ann, true, 0);
    enter(b, shards - 1, ben, true, 1000);
}

static void down(void)
{
    broker_kill(b);
    fake_world_free(world);
    actor_free(ann);
    actor_free(ben);
}

static void tell(const char *version, const char *total)
{
    struct wire_writer w = wire_writer_growing(1000);
    wire_put_blob(&w, bytes_str("$SYS/broker/version"));
    wire_put_blob(&w, bytes_str(version));
    wire_put_blob(&w, bytes_str("$SYS/broker/clients/total"));
    wire_put_blob(&w, bytes_str(total));
    kernel_sys(b->kernels[0], wire_written(&w));
    wire_writer_fini(&w);
    settle(b);
}

Test(kernel_sys, a_new_subscriber_gets_what_is_kept_and_then_what_changes)
{
    for (unsigned shards = 1; shards <= 3; shards++) {
        up(shards);
        struct subscription sub = {.filter = bytes_str("$SYS/#"), .qos = 2, .id = 7};
        follow_with(b, shards - 1, ben, sub);
        cr_assert_eq(ben->got_count, 0);
        tell("1", "2");
        cr_assert(heard(ben, "1 2"));
        cr_assert(!ben->gots[0].retain && ben->gots[0].qos == 0 && ben->gots[0].ids[0] == 7);
        follow(b, 0, ann, "$SYS/broker/+", 1);
        cr_assert(heard(ann, "1"));
        cr_assert(ann->gots[0].retain);
        follow(b, 0, ann, "$exclusive/$SYS/broker/clients/#", 1);
        cr_assert(heard(ann, "1 2"));
        actor_clear(ann);
        actor_clear(ben);
        sub.retain_handling     = 2;
        sub.retain_as_published = true;
        follow_with(b, shards - 1, ben, sub);
        cr_assert_eq(ben->got_count, 0);
        tell("3", "4");
        cr_assert(heard(ann, "3 4"));
        cr_assert(heard(ben, "3 4"));
        cr_assert(ben->gots[0].retain);
        leave(b, 0, ann);
        leave(b, shards - 1, ben);
        tell("5", "6"); /* to nobody */
        down();
    }
}

Test(kernel_sys, leading_wildcards_do_not_match_and_a_group_gets_each_once)
{
    up(2);
    follow(b, 0, ann, "#", 1);
    follow(b, 0, ann, "+/broker/version", 1);
    follow(b, 0, ann, "$share/g/$SYS/#", 1);
    follow(b, 1, ben, "$share/g/$SYS/#", 1);
    tell("1", "2");
    cr_assert_eq(ann->got_count + ben->got_count, 2);
    down();
}

Test(kernel_sys, sessions_and_subscriptions_are_counted)
{
    up(2);
    const struct kernel_counters *zero = kernel_counters(b->kernels[0]);
    const struct kernel_counters *one  = kernel_counters(b->kernels[1]);
    follow(b, 0, ann, "a", 1);
    follow(b, 0, ann, "a", 2);
    follow(b, 0, ann, "$share/g/b", 1);
    follow(b, 1, ben, "c", 1);
    follow(b, 1, ben, "$share/g/b", 1);
    cr_assert(zero->sessions_open == 1 && one->sessions_open == 1);
    cr_assert(zero->subscriptions == 2 && one->subscriptions == 2 && one->stored_subscriptions_open == 2);
    cr_assert(zero->stored_sessions == 1 && zero->stored_subscriptions == 2);
    cr_assert(zero->stored_sessions_open == 0 && one->stored_sessions_open == 1);
    unfollow(b, 0, ann, "a");
    leave(b, 1, ben);
    cr_assert(zero->subscriptions == 1 && one->subscriptions == 0 && one->stored_subscriptions_open == 0);
    cr_assert(zero->stored_sessions == 1 && zero->stored_subscriptions == 2 && one->stored_sessions_open == 0);
    cr_assert(one->sessions_open == 0);
    enter(b, 0, ben, false, 1000);
    cr_assert(zero->stored_sessions_open == 1 && zero->subscriptions == 3);
    leave(b, 0, ann);
    leave_with(b, 0, ben, (struct close_request){.set_expiry = true});
    cr_assert(zero->stored_sessions == 0 && zero->stored_subscriptions == 0 && zero->stored_sessions_open == 0);
    cr_assert(zero->subscriptions == 0 && zero->sessions_open == 0);
    down();
}
