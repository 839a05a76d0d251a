/* Which member of a shared subscription gets a message, and who gets what a member left behind. */
#include "broker/kernel/share.h"

#include "broker/kernel/tables.h"
#include "shared/base/err.h"
#include "tests/unit/broker/kernel/stage.h"

#include <criterion/criterion.h>
#include <stdio.h>

enum { MEMBERS = 4 };

static struct fake_world *world;
static struct broker     *b;
static struct actor      *ann;
static struct actor      *members[MEMBERS];
static unsigned           shards;

static void up_with(enum share_strategy strategy, unsigned shard_count, uint16_t receive_max, uint32_t expiry_s)
{
    static struct share_rules      rules;
    static const struct share_rule own = {.group = {.data = (const uint8_t *)"turns", .size = 5}};
    rules                              = (struct share_rules){.strategy = strategy, .rules = &own, .count = 1};
    struct kernel_limits limits        = stage_limits;
    limits.share                       = &rules;
    limits.live_queue_bytes            = 65536;
    limits.publish_pending_max         = 1000;
    shards                             = shard_count;
    world                              = fake_world_new(STAGE_STRIPES, 0);
    b                                  = broker_new(world, shards, &limits);
    ann                                = actor_new("ann");
    enter(b, 0, ann, true, 0);
    for (unsigned i = 0; i < MEMBERS; i++) {
        char id[16];
        snprintf(id, sizeof id, "member-%u", i);
        members[i] = actor_new(id);
        open_only(b, i % shards, members[i], true, expiry_s, receive_max, NULL);
        settle(b);
        cr_assert_eq(follow(b, i % shards, members[i], "$share/g/t/+", 2), 2);
        fake_world_advance(world, 1000000); /* so that all shards know who came first */
        settle(b);
    }
}

static void down(void)
{
    broker_kill(b);
    fake_world_free(world);
    actor_free(ann);
    for (int i = 0; i < MEMBERS; i++) {
        actor_free(members[i]);
    }
}

static void say_to(const char *topic, int from, int to, uint8_t qos)
{
    for (int i = from; i < to; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", i);
        say(b, 0, ann, topic, text, qos, (uint16_t)(qos == 0 ? 0 : i + 1));
    }
    settle(b);
}

static int total(void)
{
    int all = 0;
    for (int i = 0; i < MEMBERS; i++) {
        all += members[i]->got_count;
    }
    return all;
}

Test(kernel_share, names_and_rules)
{
    enum share_strategy      strategy;
    const struct share_rule  rule  = {.group = bytes_str("g"), .strategy = SHARE_STICKY};
    const struct share_rules rules = {.strategy = SHARE_RANDOM, .rules = &rule, .count = 1};
    cr_assert(share_strategy_named(bytes_str("least_inflight"), &strategy));
    cr_assert_eq(strategy, SHARE_LEAST_INFLIGHT);
    cr_assert_not(share_strategy_named(bytes_str("sticky "), &strategy));
    cr_assert_eq(share_strategy_of(&rules, bytes_str("g")), SHARE_STICKY);
    cr_assert_eq(share_strategy_of(&rules, bytes_str("gg")), SHARE_RANDOM);
    cr_assert_eq(share_strategy_of(NULL, bytes_str("g")), SHARE_ROUND_ROBIN);
}

Test(kernel_share, a_group_may_have_a_strategy_of_its_own)
{
    up_with(SHARE_STICKY, 2, 50, 0);
    for (unsigned i = 0; i < MEMBERS; i++) {
        follow(b, i % shards, members[i], "$share/turns/u", 0);
    }
    say_to("u", 0, 40, 0);
    for (int i = 0; i < MEMBERS; i++) {
        cr_assert_eq(members[i]->got_count, 10);
    }
    down();
}

Test(kernel_share, random_reaches_everybody)
{
    up_with(SHARE_RANDOM, 2, 50, 0);
    say_to("t/x", 0, 400, 0);
    cr_assert_eq(total(), 400);
    for (int i = 0; i < MEMBERS; i++) {
        cr_assert(members[i]->got_count > 50 && members[i]->got_count < 150, "%d", members[i]->got_count);
    }
    down();
}

Test(kernel_share, sticky_stays_with_the_one_that_came_first_until_it_goes)
{
    up_with(SHARE_STICKY, 3, 50, 0);
    say_to("t/x", 0, 20, 0);
    cr_assert_eq(members[0]->got_count, 20);
    struct actor *ben = actor_new("ben"); /* publishes on another shard */
    enter(b, 2, ben, true, 0);
    say(b, 2, ben, "t/x", "x", 0, 0);
    settle(b);
    cr_assert_eq(members[0]->got_count, 21);
    leave(b, 0, members[0]);
    say_to("t/x", 0, 20, 0);
    say(b, 2, ben, "t/x", "x", 0, 0);
    settle(b);
    cr_assert_eq(members[1]->got_count, 21);
    actor_free(ben);
    down();
}

Test(kernel_share, hash_by_topic_gives_a_topic_to_one_member_wherever_it_is_published)
{
    up_with(SHARE_HASH_TOPIC, 3, 50, 0);
    struct actor *ben = actor_new("ben");
    enter(b, 1, ben, true, 0);
    int used = 0;
    for (int t = 0; t < 20; t++) {
        char topic[16];
        snprintf(topic, sizeof topic, "t/%d", t);
        for (int i = 0; i < MEMBERS; i++) {
            actor_clear(members[i]);
        }
        say_to(topic, 0, 3, 0);
        say(b, 1, ben, topic, "x", 0, 0);
        settle(b);
        for (int i = 0; i < MEMBERS; i++) {
            cr_assert(members[i]->got_count == 0 || members[i]->got_count == 4);
            used |= (members[i]->got_count != 0) << i;
        }
    }
    cr_assert_eq(used, 15); /* every member has some of 20 topics */
    actor_free(ben);
    down();
}

Test(kernel_share, hash_by_client_gives_a_publisher_to_one_member_and_moves_only_what_it_must)
{
    up_with(SHARE_HASH_CLIENT, 2, 50, 0);
    int whose[20];
    for (int round = 0; round < 2; round++) {
        for (int p = 0; p < 20; p++) {
            char id[16];
            snprintf(id, sizeof id, "pub-%d", p);
            struct actor *pub = actor_new(id);
            enter(b, (unsigned)p % 2, pub, true, 0);
            for (int i = 0; i < MEMBERS; i++) {
                actor_clear(members[i]);
            }
            say(b, (unsigned)p % 2, pub, "t/1", "x", 0, 0);
            say(b, (unsigned)p % 2, pub, "t/2", "x", 0, 0);
            settle(b);
            for (int i = 0; i < MEMBERS; i++) {
                cr_assert(members[i]->got_count == 0 || members[i]->got_count == 2);
                if (members[i]->got_count != 0 && round == 0) {
                    whose[p] = i;
                } else if (members[i]->got_count != 0) {
                    cr_assert(whose[p] == i || whose[p] == 1);
                }
            }
            leave(b, (unsigned)p % 2, pub);
            actor_free(pub);
        }
        if (round == 0) {
            leave(b, 1 % shards, members[1]);
        }
    }
    down();
}

Test(kernel_share, least_inflight_goes_to_the_one_that_owes_least)
{
    for (unsigned count = 1; count <= 3; count++) {
        up_with(SHARE_LEAST_INFLIGHT, count, 50, 0);
        for (int i = 0; i < 40; i++) {
            say_to("t/x", i, i + 1, 1);
            for (int m = 0; m < MEMBERS; m++) { /* one of them, on another shard, acknowledges nothing */
                struct actor *a = members[m];
                if (m != 1 && a->got_count != 0) {
                    (void)ack(b, (unsigned)m % count, a, a->got_count - 1, 1);
                }
            }
            settle(b);
        }
        cr_assert_eq(members[1]->got_count, 1, "%u shards: %d", count, members[1]->got_count);
        cr_assert_eq(total(), 40);
        down();
    }
}

Test(kernel_share, one_that_takes_nothing_now_is_passed_over_and_waits_only_when_all_do)
{
    for (unsigned count = 1; count <= 2; count++) {
        for (uint32_t expiry_s = 0; expiry_s <= 1000; expiry_s += 1000) {
            up_with(SHARE_ROUND_ROBIN, count, 3, expiry_s);
            for (int i = 0; i < 30; i++) {
                say_to("t/x", i, i + 1, 1);
                for (int m = 0; m < MEMBERS; m++) {
                    struct actor *a = members[m];
                    if (m != 1 && a->got_count != 0) {
                        (void)ack(b, (unsigned)m % count, a, a->got_count - 1, 1);
                    }
                }
                settle(b);
            }
            cr_assert_eq(members[1]->got_count, 3);
            cr_assert_eq(total(), 30, "%u shards, expiry %u: %d", count, expiry_s, total());
            say_to("t/x", 30, 60, 1); /* now nobody acknowledges: nothing is lost */
            for (int round = 0; round < 40; round++) {
                for (int m = 0; m < MEMBERS; m++) {
                    for (int i = 0; i < members[m]->got_count; i++) {
                        (void)ack(b, (unsigned)m % count, members[m], i, 1);
                    }
                }
                settle(b);
            }
            cr_assert_eq(total(), 60, "%u shards, expiry %u: %d", count, expiry_s, total());
            down();
        }
    }
}

Test(kernel_share, what_a_live_member_did_not_acknowledge_goes_to_another)
{
    for (unsigned count = 1; count <= 3; count++) {
        up_with(SHARE_STICKY, count, 5, 0);
        for (unsigned i = 1; i < MEMBERS; i++) {
            unfollow(b, i % shards, members[i], "$share/g/t/+");
        }
        say_to("t/x", 0, 10, 1);
        cr_assert_eq(members[0]->got_count, 5); /* five more wait in memory */
        (void)ack(b, 0, members[0], 1, 1);
        settle(b);
        cr_assert_eq(members[0]->got_count, 6);
        follow(b, 1 % shards, members[1], "$share/g/t/+", 1);
        leave(b, 0, members[0]);
        cr_assert_eq(members[1]->got_count, 5);
        cr_assert_not(members[1]->gots[0].duplicate);
        for (int i = 0; i < members[1]->got_count; i++) {
            (void)ack(b, 1 % shards, members[1], i, 1);
            settle(b);
        }
        cr_assert(heard(members[1], "0 2 3 4 5 6 7 8 9"));
        down();
    }
}

Test(kernel_share, what_a_live_member_left_is_stored_for_a_stored_member)
{
    up_with(SHARE_STICKY, 2, 50, 0);
    for (unsigned i = 1; i < MEMBERS; i++) {
        unfollow(b, i % shards, members[i], "$share/g/t/+");
    }
    struct actor *eve = actor_new("eve");
    enter(b, 1, eve, true, 1000);
    follow(b, 1, eve, "$share/g/t/+", 1);
    leave(b, 1, eve);
    say_to("t/x", 0, 3, 1);
    cr_assert_eq(members[0]->got_count, 3);
    leave(b, 0, members[0]);
    enter(b, 1, eve, false, 1000);
    cr_assert(heard(eve, "0 1 2"));
    actor_free(eve);
    down();
}

Test(kernel_share, qos_2_that_was_sent_goes_to_nobody_else_and_what_was_not_sent_does)
{
    up_with(SHARE_STICKY, 2, 2, 0);
    for (unsigned i = 1; i < MEMBERS; i++) {
        unfollow(b, i % shards, members[i], "$share/g/t/+");
    }
    say_to("t/x", 0, 4, 2);
    cr_assert_eq(members[0]->got_count, 2);
    follow(b, 1, members[1], "$share/g/t/+", 2);
    leave(b, 0, members[0]);
    cr_assert(heard(members[1], "2 3"));
    down();
}

Test(kernel_share, a_refused_or_acknowledged_message_goes_to_nobody_else)
{
    up_with(SHARE_STICKY, 1, 50, 0);
    say_to("t/x", 0, 3, 1);
    for (int i = 0; i < 3; i++) {
        (void)ack(b, 0, members[0], i, 1); /* the protocol tells the kernel of a PUBACK with an error likewise */
    }
    leave(b, 0, members[0]);
    cr_assert_eq(total(), 3);
    down();
}

Test(kernel_share, what_is_held_when_the_last_member_goes_is_dropped_with_the_group)
{
    up_with(SHARE_STICKY, 2, 2, 0);
    say_to("t/x", 0, 4, 1);
    for (unsigned i = 0; i < MEMBERS; i++) {
        unfollow(b, i % shards, members[i], "$share/g/t/+");
    }
    say(b, 0, ann, "t/x", "x", 1, 99);
    settle(b);
    cr_assert_not(ann->published[ann->published_count - 1].matched);
    for (unsigned i = 0; i < MEMBERS; i++) {
        leave(b, i % shards, members[i]);
    }
    cr_assert_eq(kernel_counters(b->kernels[0])->dropped + kernel_counters(b->kernels[shards - 1])->dropped, 4);
    down();
}

Test(kernel_share, a_qos_2_message_completes_with_the_stored_member_that_has_it)
{
    up_with(SHARE_STICKY, 2, 50, 1000);
    say_to("t/x", 0, 2, 2);
    cr_assert_eq(members[0]->got_count, 2);
    (void)ack(b, 0, members[0], 0, 1); /* PUBREC */
    settle(b);
    leave(b, 0, members[0]);
    cr_assert_eq(total(), 2);
    actor_clear(members[0]);
    enter(b, 0, members[0], false, 1000);
    cr_assert(heard(members[0], "1"));
    cr_assert(members[0]->gots[0].duplicate);
    cr_assert_eq(members[0]->release_count, 1);
    cr_assert_eq(total(), 1);
    down();
}

/* member-0 is a stored session with unacknowledged messages, and the only member; others are live ones who join again when it is gone. */
static void leave_a_queue(unsigned shard_count)
{
    up_with(SHARE_STICKY, shard_count, 50, 0);
    for (unsigned i = 0; i < MEMBERS; i++) {
        unfollow(b, i % shards, members[i], "$share/g/t/+");
        actor_clear(members[i]);
    }
    struct actor *eve = members[0];
    leave(b, 0, eve);
    enter(b, 0, eve, true, 100);
    cr_assert_eq(follow(b, 0, eve, "$share/g/t/+", 1), 1);
    cr_assert_eq(follow(b, 0, eve, "$share/two/t/+", 2), 2);
    cr_assert_eq(follow(b, 0, eve, "own/#", 1), 1);
    say_to("t/x", 0, 4, 1);
    say(b, 0, ann, "own/x", "own", 1, 90);
    say(b, 0, ann, "t/x", "two", 2, 91); /* for g as QoS 1, for two as QoS 2 */
    settle(b);
    cr_assert_eq(eve->got_count, 11);
    for (int i = 0; i < eve->got_count; i++) {
        if (strcmp(eve->gots[i].payload, "1") == 0) {
            (void)ack(b, 0, eve, i, 1); /* both copies of it */
        }
    }
    settle(b);
}

static void others_join(void)
{
    follow(b, 1 % shards, members[1], "$share/g/t/+", 1);
    follow(b, 2 % shards, members[2], "$share/two/t/+", 2);
}

static void others_got_it(void)
{
    cr_assert(heard(members[1], "0 2 3 two"));
    cr_assert(heard(members[2], "0 2 3"));
    cr_assert_eq(fake_world_rows(world, TABLE_ORPHANS), 0);
}

Test(kernel_share, what_a_stored_member_left_goes_to_another_when_its_session_expires)
{
    for (unsigned count = 1; count <= 3; count++) {
        leave_a_queue(count);
        others_join();
        leave(b, 0, members[0]);
        cr_assert_eq(members[1]->got_count, 0); /* it may come back */
        pass(b, 101);
        others_got_it();
        enter(b, 0, members[0], false, 100);
        cr_assert_not(members[0]->present);
        cr_assert_eq(members[0]->got_count, 11);
        down();
    }
}

Test(kernel_share, what_a_stored_member_left_goes_to_another_when_its_session_is_ended)
{
    for (int how = 0; how < 3; how++) {
        leave_a_queue(2);
        others_join();
        actor_clear(members[0]);
        if (how == 0) {
            leave_with(b, 0, members[0], (struct close_request){.set_expiry = true}); /* DISCONNECT with expiry 0 */
        } else {
            leave(b, 0, members[0]);
            open_only(b, 1, members[0], true, how == 1 ? 100 : 0, 50, NULL); /* clean start */
            for (int i = 0; i < 50; i++) {
                pass(b, 1);
            }
            cr_assert(members[0]->opened == 1 && members[0]->status == 0 && !members[0]->present, "%d", how);
            cr_assert_eq(members[0]->got_count, 0);
        }
        others_got_it();
        down();
    }
}

Test(kernel_share, what_a_stored_member_left_goes_to_another_though_the_broker_was_away_or_is_killed_over_it)
{
    for (int turns = 0; turns < 30; turns++) {
        leave_a_queue(1);
        struct actor *ben = actor_new("ben"); /* stored, and away */
        enter(b, 0, ben, true, EXPIRY_NEVER);
        follow(b, 0, ben, "$share/g/t/+", 1);
        leave(b, 0, ben);
        leave(b, 0, members[0]);
        broker_kill(b);
        fake_world_advance(world, 101000000000ull);
        b = broker_new(world, 1, NULL);
        for (int i = 0; i < turns; i++) {
            (void)broker_turn(b, 1);
        }
        broker_kill(b);
        b = broker_new(world, 1, NULL);
        settle(b);
        enter(b, 0, ben, false, EXPIRY_NEVER);
        cr_assert(heard(ben, "0 2 3 two"), "%d turns", turns);
        cr_assert_eq(fake_world_rows(world, TABLE_ORPHANS), 0);
        actor_free(ben);
        down();
    }
}

Test(kernel_share, a_stored_session_without_shares_leaves_its_queue_to_nobody)
{
    up_with(SHARE_STICKY, 1, 50, 100);
    for (unsigned i = 0; i < MEMBERS; i++) {
        unfollow(b, i % shards, members[i], "$share/g/t/+");
    }
    struct actor *eve = actor_new("eve");
    enter(b, 0, eve, true, 100);
    follow(b, 0, eve, "t/#", 1);
    leave(b, 0, eve);
    say_to("t/x", 0, 3, 1);
    pass(b, 101);
    cr_assert_eq(total(), 0);
    cr_assert_eq(fake_world_rows(world, TABLE_ORPHANS), 0);
    actor_free(eve);
    down();
}
