/* $delayed/<seconds>/<topic>, and the other topics that begin with '$' and mean something here. */
#include "broker/kernel/reserved.h"

#include "broker/kernel/tables.h"
#include "shared/base/err.h"
#include "tests/unit/broker/kernel/stage.h"

#include <criterion/criterion.h>

static struct fake_world   *world;
static struct broker       *b;
static struct actor        *ann;
static struct actor        *ben;
static struct kernel_limits limits;

static void up(unsigned shards)
{
    limits               = stage_limits;
    limits.delayed_max_s = 1000;
    world                = fake_world_new(STAGE_STRIPES, 0);
    b                    = broker_new(world, shards, &limits);
    ann                  = actor_new("ann");
    ben                  = actor_new("ben");
    enter(b, 0, ann, true, 1000);
    enter(b, shards - 1, ben, true, 1000);
    follow(b, shards - 1, ben, "t/#", 2);
}

static void restart(void)
{
    unsigned shards = b->shard_count;
    broker_kill(b);
    b = broker_new(world, shards, &limits);
}

static void down(void)
{
    broker_kill(b);
    fake_world_free(world);
    actor_free(ann);
    actor_free(ben);
}

static int answer(void)
{
    cr_assert(ann->published_count > 0);
    return ann->published[ann->published_count - 1].status;
}

Test(kernel_delayed, what_the_topic_says_is_understood_or_refused)
{
    static const struct {
        const char *topic;
        int         status;
        uint32_t    delay_s;
        const char *rest;
    } cases[] = {
        {"$delayed/5/a/b", 0, 5, "a/b"},
        {"$delayed/0/a", 0, 0, "a"},
        {"$delayed/1000//", 0, 1000, "/"},
        {"$delayed/5/$other/x", 0, 5, "$other/x"},
        {"$delayed/1001/a", ERR_QUOTA, 0, ""},
        {"$delayed/99999999999999999999/a", ERR_QUOTA, 0, ""},
        {"$delayed", ERR_MALFORMED, 0, ""},
        {"$delayed/", ERR_MALFORMED, 0, ""},
        {"$delayed/5", ERR_MALFORMED, 0, ""},
        {"$delayed/5/", ERR_MALFORMED, 0, ""},
        {"$delayed//a", ERR_MALFORMED, 0, ""},
        {"$delayed/x/a", ERR_MALFORMED, 0, ""},
        {"$delayed/-1/a", ERR_MALFORMED, 0, ""},
        {"$delayed/1.5/a", ERR_MALFORMED, 0, ""},
        {"$delayed/5/$delayed/5/a", ERR_MALFORMED, 0, ""},
        {"$delayed/5/$SYS/a", ERR_DENIED, 0, ""},
        {"$SYS/broker/version", ERR_DENIED, 0, ""},
        {"$SYS/broker/connection/a.b/state", 0, 0, "$SYS/broker/connection/a.b/state"},
        {"$SYS/broker/connection//state", ERR_DENIED, 0, ""},
        {"$SYS/broker/connection/state", ERR_DENIED, 0, ""},
        {"$SYS/broker/connection/a/b/state", ERR_DENIED, 0, ""},
        {"$SYS/broker/connection/a/stale", ERR_DENIED, 0, ""},
        {"$SYS/broker/connection/a", ERR_DENIED, 0, ""},
        {"$events/client/connected", ERR_DENIED, 0, ""},
        {"$exclusive/a", ERR_DENIED, 0, ""},
        {"$share/g/a", ERR_DENIED, 0, ""},
        {"$SYSTEM/a", 0, 0, "$SYSTEM/a"},
        {"$", 0, 0, "$"},
    };
    up(1);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct reserved got = reserved_look(&limits, bytes_str(cases[i].topic));
        cr_expect_eq(got.status, cases[i].status, "%s: %d", cases[i].topic, got.status);
        cr_expect_eq(got.delay_s, cases[i].delay_s, "%s", cases[i].topic);
        cr_expect(got.status != 0 || bytes_equal(got.topic, bytes_str(cases[i].rest)), "%s", cases[i].topic);
    }
    struct kernel_limits other = {.own_topics_ignored = true};
    cr_expect(reserved_look(&other, bytes_str("$SYS/x")).ignored);
    cr_expect_not(reserved_look(&other, bytes_str("$delayed/5/x")).delayed); /* it is off */
    down();
}

Test(kernel_delayed, it_comes_after_its_time_with_its_qos)
{
    for (unsigned shards = 1; shards <= 2; shards++) {
        up(shards);
        say(b, 0, ann, "$delayed/10/t/x", "0", 0, 0);
        say(b, 0, ann, "$delayed/10/t/x", "1", 1, 1);
        say(b, 0, ann, "$delayed/10/t/x", "2", 2, 2);
        say(b, 0, ann, "t/x", "now", 1, 3);
        settle(b);
        cr_assert_eq(ann->published_count, 3);
        for (int i = 0; i < 3; i++) {
            cr_assert_eq(ann->published[i].status, 0);
            cr_assert(ann->published[i].matched);
        }
        cr_assert(heard(ben, "now"));
        pass(b, 9);
        cr_assert_eq(ben->got_count, 1);
        pass(b, 1);
        cr_assert_eq(ben->got_count, 4, "%d", ben->got_count);
        cr_assert_str_eq(ben->gots[1].topic, "t/x");
        int qos = 0;
        for (int i = 1; i < 4; i++) {
            cr_assert_eq(ben->gots[i].qos, ben->gots[i].payload[0] - '0');
            qos += ben->gots[i].qos;
        }
        cr_assert_eq(qos, 3);
        pass(b, 100);
        cr_assert_eq(ben->got_count, 4);
        down();
    }
}

Test(kernel_delayed, it_comes_though_everybody_was_away_meanwhile)
{
    up(2);
    say(b, 0, ann, "$delayed/10/t/x", "1", 1, 1);
    say(b, 0, ann, "$delayed/20/t/x", "2", 2, 2);
    settle(b);
    leave(b, 0, ann);
    leave(b, 1, ben);
    broker_kill(b);
    fake_world_advance(world, 15000000000ull); /* due while no broker is there */
    b = broker_new(world, 2, &limits);
    pass(b, 5);
    enter(b, 1, ben, false, 1000);
    cr_assert(heard(ben, "1 2"));
    down();
}

Test(kernel_delayed, a_retained_one_is_retained_when_its_time_has_come)
{
    up(1);
    say_retained(b, 0, ann, "$delayed/10/t/r", "kept", 1, 1, 0);
    settle(b);
    cr_assert_eq(fake_world_rows(world, TABLE_RETAINED), 0);
    pass(b, 10);
    cr_assert_eq(fake_world_rows(world, TABLE_RETAINED), 1);
    cr_assert(heard(ben, "kept"));
    cr_assert_not(ben->gots[0].retain);
    down();
}

Test(kernel_delayed, one_that_expires_before_its_time_is_not_published)
{
    up(1);
    struct actor *eve = actor_new("eve"); /* whose messages pass through memory only */
    enter(b, 0, eve, true, 0);
    follow(b, 0, eve, "t/#", 1);
    say_retained(b, 0, ann, "$delayed/10/t/r", "old", 1, 1, 5);
    say_retained(b, 0, ann, "$delayed/10/t/r", "good", 1, 2, 15);
    settle(b);
    pass(b, 10);
    cr_assert(heard(ben, "good"));
    cr_assert(heard(eve, "good"));
    cr_assert_eq(ben->gots[0].expires_wall_ns, fake_world_wall_ns(world) + 5000000000ull);
    actor_free(eve);
    down();
}

Test(kernel_delayed, a_qos_2_one_is_published_once_though_it_is_sent_again_after_a_crash)
{
    for (int lost = 0; lost <= 60; lost++) {
        uint64_t away_s = lost % 2 == 0 ? 0 : 20; /* it may be due before it is sent again */
        up(1);
        say(b, 0, ann, "$delayed/10/t/x", "once", 2, 7);
        for (int i = 0; i < lost / 2; i++) {
            (void)broker_turn(b, 1);
        }
        fake_world_advance(world, away_s * 1000000000u);
        restart();
        enter(b, 0, ann, false, 1000);
        enter(b, 0, ben, false, 1000);
        ann->published_count = 0;
        say(b, 0, ann, "$delayed/10/t/x", "once", 2, 7);
        settle(b);
        cr_assert_eq(answer(), 0);
        pass(b, 30);
        cr_assert(heard(ben, "once"), "lost after %d", lost);
        down();
    }
}

Test(kernel_delayed, refusals_are_answered_in_order_and_free_the_id)
{
    up(1);
    say(b, 0, ann, "$delayed/1001/t/x", "x", 1, 1);
    say(b, 0, ann, "$SYS/x", "x", 2, 2);
    say(b, 0, ann, "$SYS/x", "x", 0, 0);
    say(b, 0, ann, "$delayed/x", "x", 1, 3);
    say(b, 0, ann, "t/x", "fine", 2, 2);
    settle(b);
    cr_assert_eq(ann->published_count, 4);
    cr_assert_eq(ann->published[0].status, ERR_QUOTA);
    cr_assert_eq(ann->published[1].status, ERR_DENIED);
    cr_assert_eq(ann->published[2].status, ERR_MALFORMED);
    cr_assert_eq(ann->published[3].status, 0);
    cr_assert(heard(ben, "fine"));
    cr_assert_eq(kernel_counters(b->kernels[0])->denied, 4);
    down();
}

Test(kernel_delayed, a_will_may_not_use_them)
{
    up(1);
    struct actor *eve  = actor_new("eve");
    struct will   will = {.topic = bytes_str("$delayed/5/t/x"), .payload = bytes_str("x"), .qos = 1};
    open_only(b, 0, eve, true, 0, 10, &will);
    settle(b);
    cr_assert_eq(eve->status, ERR_MALFORMED);
    will.topic = bytes_str("$SYS/x");
    open_only(b, 0, eve, true, 0, 10, &will);
    settle(b);
    cr_assert_eq(eve->status, ERR_DENIED);
    actor_free(eve);
    down();
}
