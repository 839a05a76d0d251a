/* Stored sessions: what is owed to them survives connections, shards and brokers. */
#include "broker/kernel/tables.h"
#include "shared/base/err.h"
#include "tests/unit/broker/kernel/stage.h"

#include <criterion/criterion.h>
#include <stdio.h>

static struct fake_world *world;
static struct broker     *b;
static struct actor      *ann; /* publishes */
static struct actor      *bob; /* is owed */

static void up(unsigned shards)
{
    world = fake_world_new(STAGE_STRIPES, 0);
    b     = broker_new(world, shards, NULL);
    ann   = actor_new("ann");
    bob   = actor_new("bob");
    enter(b, 0, ann, true, 0);
}

static void down(void)
{
    broker_kill(b);
    fake_world_free(world);
    actor_free(ann);
    actor_free(bob);
}

static void restart(void)
{
    unsigned shards = b->shard_count;
    broker_kill(b);
    b = broker_new(world, shards, NULL);
    actor_clear(bob);
    enter(b, 0, ann, true, 0);
    actor_clear(ann);
}

Test(kernel_session, what_comes_while_it_is_away_waits_in_order)
{
    up(2);
    enter(b, 1, bob, false, 1000);
    cr_assert_not(bob->present);
    follow(b, 1, bob, "t/#", 2);
    leave(b, 1, bob);
    say(b, 0, ann, "t/1", "a", 1, 1);
    say(b, 0, ann, "t/2", "b", 2, 2);
    say(b, 0, ann, "t/1", "zero", 0, 0);
    say(b, 0, ann, "t/1", "c", 1, 3);
    cr_assert_eq(ann->published_count, 0, "not before it is stored");
    settle(b);
    cr_assert_eq(ann->published_count, 3);
    cr_assert(ann->published[0].matched);
    actor_clear(bob);
    enter(b, 0, bob, false, 1000);
    cr_assert(bob->present);
    cr_assert(heard(bob, "a b c"));
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(bob->gots[i].id, i + 1);
        cr_assert_not(bob->gots[i].duplicate, "it was never sent");
    }
    say(b, 0, ann, "t/1", "d", 1, 4);
    say(b, 0, ann, "t/1", "live", 0, 0);
    settle(b);
    cr_assert(heard(bob, "a b c live d"));
    down();
}

Test(kernel_session, a_clean_start_forgets_and_an_unacknowledged_one_comes_again)
{
    up(1);
    enter(b, 0, bob, false, 1000);
    follow(b, 0, bob, "t", 2);
    say(b, 0, ann, "t", "one", 1, 1);
    say(b, 0, ann, "t", "two", 2, 2);
    say(b, 0, ann, "t", "three", 2, 3);
    settle(b);
    cr_assert(heard(bob, "one two three"));
    cr_assert_eq(ack(b, 0, bob, 2, 1), 0);
    cr_assert_eq(bob->release_count, 0, "not before it is recorded");
    settle(b);
    cr_assert_eq(bob->release_count, 1);
    leave(b, 0, bob);
    actor_clear(bob);
    enter(b, 0, bob, false, 1000);
    cr_assert(heard(bob, "one two"));
    cr_assert(bob->gots[0].duplicate && bob->gots[1].duplicate);
    cr_assert_eq(bob->gots[0].id, 1);
    cr_assert_eq(bob->gots[1].id, 2);
    cr_assert_eq(bob->release_count, 1);
    cr_assert_eq(bob->releases[0], 3);
    ack(b, 0, bob, 0, 1);
    ack(b, 0, bob, 1, 1);
    settle(b);
    ack(b, 0, bob, 1, 2);
    cr_assert_eq(kernel_done(b->kernels[0], &bob->client, 3, DELIVERY_RELEASED), 0);
    settle(b);
    leave(b, 0, bob);
    actor_clear(bob);
    enter(b, 0, bob, false, 1000);
    cr_assert_eq(bob->got_count, 0);
    cr_assert_eq(bob->release_count, 0);
    leave(b, 0, bob);
    say(b, 0, ann, "t", "x", 1, 9);
    settle(b);
    actor_clear(bob);
    enter(b, 0, bob, true, 1000);
    cr_assert_not(bob->present);
    cr_assert_eq(bob->got_count, 0);
    say(b, 0, ann, "t", "x", 1, 10);
    settle(b);
    cr_assert_eq(bob->got_count, 0, "its subscriptions are gone");
    cr_assert_not(ann->published[ann->published_count - 1].matched);
    down();
}

Test(kernel_session, a_clean_start_without_expiry_ends_a_stored_session)
{
    up(1);
    enter(b, 0, bob, false, 1000);
    follow(b, 0, bob, "t", 1);
    leave(b, 0, bob);
    enter(b, 0, bob, true, 0);
    cr_assert_not(bob->present);
    cr_assert_eq(fake_world_rows(world, TABLE_SESSIONS), 0);
    cr_assert_eq(fake_world_rows(world, TABLE_SUBSCRIPTIONS), 0);
    say(b, 0, ann, "t", "x", 1, 1);
    settle(b);
    cr_assert_not(ann->published[0].matched);
    down();
}

Test(kernel_session, a_resume_without_expiry_serves_the_stored_session_until_it_closes)
{
    up(1);
    enter(b, 0, bob, false, 1000);
    follow(b, 0, bob, "t", 1);
    leave(b, 0, bob);
    say(b, 0, ann, "t", "x", 1, 1);
    settle(b);
    enter(b, 0, bob, false, 0);
    cr_assert(bob->present);
    cr_assert(heard(bob, "x"));
    leave(b, 0, bob);
    cr_assert_eq(fake_world_rows(world, TABLE_SESSIONS), 0);
    enter(b, 0, bob, false, 0);
    cr_assert_not(bob->present);
    down();
}

Test(kernel_session, it_expires_when_its_time_is_over_and_a_disconnect_may_change_that)
{
    up(1);
    enter(b, 0, bob, false, 10);
    follow(b, 0, bob, "t", 1);
    leave(b, 0, bob);
    pass(b, 9);
    enter(b, 0, bob, false, 10);
    cr_assert(bob->present);
    pass(b, 100);
    leave(b, 0, bob);
    pass(b, 11);
    cr_assert_eq(fake_world_rows(world, TABLE_SESSIONS), 0);
    cr_assert_eq(fake_world_rows(world, TABLE_SUBSCRIPTIONS), 0);
    enter(b, 0, bob, false, 10);
    cr_assert_not(bob->present);
    leave_with(b, 0, bob, (struct close_request){.set_expiry = true, .expiry_s = 100});
    pass(b, 50);
    enter(b, 0, bob, false, 10);
    cr_assert(bob->present);
    leave_with(b, 0, bob, (struct close_request){.set_expiry = true, .expiry_s = EXPIRY_NEVER});
    pass(b, 5000000);
    enter(b, 0, bob, false, 10);
    cr_assert(bob->present);
    leave_with(b, 0, bob, (struct close_request){.set_expiry = true, .expiry_s = 0});
    enter(b, 0, bob, false, 10);
    cr_assert_not(bob->present);
    /* A broker that dies lets go of what it owned. */
    restart();
    pass(b, 11);
    cr_assert_eq(fake_world_rows(world, TABLE_SESSIONS), 0);
    down();
}

Test(kernel_session, a_take_over_moves_it_whole_to_the_other_shard)
{
    up(3);
    struct actor *new = actor_new("bob");
    enter(b, 2, bob, false, 1000);
    follow(b, 2, bob, "t", 2);
    say(b, 0, ann, "t", "a", 2, 1);
    say(b, 0, ann, "t", "b", 1, 2);
    settle(b);
    ack(b, 2, bob, 0, 1); /* not recorded yet when the other one comes */
    open_only(b, 1, new, false, 1000, 20, NULL);
    say(b, 0, ann, "t", "c", 1, 3);
    settle(b);
    cr_assert_eq(bob->evicted, 1);
    cr_assert_eq(bob->why, EVICT_TAKEN_OVER);
    cr_assert(new->present);
    cr_assert(heard(new, "b c"));
    cr_assert(new->gots[0].duplicate);
    cr_assert_eq(new->gots[1].duplicate, bob->got_count == 3); /* if it was sent to the former one in its last turn */
    cr_assert_eq(new->release_count, 1);
    leave(b, 1, new);
    actor_free(new);
    down();
}

Test(kernel_session, another_broker_fences_the_former_owner)
{
    up(1);
    struct broker *other = broker_new(world, 1, NULL);
    struct actor *new    = actor_new("bob");
    enter(b, 0, bob, false, 1000);
    follow(b, 0, bob, "t", 1);
    settle_two(b, other);
    say(b, 0, ann, "t", "a", 1, 1);
    say(b, 0, ann, "t", "b", 1, 2);
    settle(b);
    open_only(other, 0, new, false, 1000, 20, NULL);
    settle(other);
    cr_assert(new->present);
    cr_assert(heard(new, "a b"));
    /* The former owner's acknowledgement comes too late, and takes nobody with it. */
    struct actor *carl = actor_new("carl");
    enter(b, 0, carl, false, 1000);
    cr_assert_eq(bob->evicted, 1);
    cr_assert_eq(bob->why, EVICT_TAKEN_OVER);
    settle_two(b, other);
    cr_assert_eq(new->evicted, 0);
    leave(other, 0, new);
    leave(b, 0, carl);
    pass(other, 999);
    cr_assert_eq(fake_world_rows(world, TABLE_SESSIONS), 2);
    broker_kill(other);
    actor_free(new);
    actor_free(carl);
    down();
}

Test(kernel_session, one_fenced_session_does_not_fail_the_acknowledgements_of_the_others)
{
    up(1);
    /* One stripe for all. */
    broker_kill(b);
    fake_world_free(world);
    world                = fake_world_new(1, 0);
    b                    = broker_new(world, 1, NULL);
    struct broker *other = broker_new(world, 1, NULL);
    struct actor  *carl  = actor_new("carl");
    struct actor *new    = actor_new("bob");
    enter(b, 0, ann, true, 0);
    enter(b, 0, bob, false, 1000);
    enter(b, 0, carl, false, 1000);
    follow(b, 0, bob, "t", 2);
    follow(b, 0, carl, "t", 2);
    say(b, 0, ann, "t", "a", 2, 1);
    settle(b);
    ack(b, 0, bob, 0, 1);
    ack(b, 0, carl, 0, 1);
    kernel_end(b->kernels[0]); /* one transaction with both moves is on its way */
    open_only(other, 0, new, false, 1000, 20, NULL);
    settle(other);
    settle(b);
    cr_assert_eq(bob->evicted, 1);
    cr_assert_eq(bob->release_count, 0);
    cr_assert_eq(carl->evicted, 0);
    cr_assert_eq(carl->release_count, 1);
    cr_assert(heard(new, "a"));
    broker_kill(other);
    actor_free(carl);
    actor_free(new);
    down();
}

Test(kernel_session, a_killed_broker_loses_nothing_acknowledged_and_says_duplicate)
{
    up(2);
    enter(b, 1, bob, false, 1000);
    follow(b, 1, bob, "t", 2);
    say(b, 0, ann, "t", "a", 1, 1);
    say(b, 0, ann, "t", "b", 2, 2);
    say(b, 0, ann, "t", "c", 2, 3);
    say(b, 0, ann, "t", "d", 1, 4);
    settle(b);
    cr_assert_eq(ann->published_count, 4);
    ack(b, 1, bob, 0, 1);
    ack(b, 1, bob, 2, 1);
    settle(b);
    restart();
    enter(b, 0, bob, false, 1000);
    cr_assert(bob->present);
    cr_assert(heard(bob, "b d"));
    cr_assert(bob->gots[0].duplicate && bob->gots[1].duplicate);
    cr_assert_eq(bob->gots[0].id, 2);
    cr_assert_eq(bob->gots[1].id, 4);
    cr_assert_eq(bob->release_count, 1);
    cr_assert_eq(bob->releases[0], 3);
    say(b, 1, ann, "t", "e", 1, 1);
    down();
}

/* QoS 2 of a stored publisher, with the broker killed after `applies` transactions, and again before the retry's answer. */
static void exactly_once(int applies, bool release_first)
{
    up(1);
    struct actor *pub = actor_new("publisher");
    enter(b, 0, bob, false, 1000);
    follow(b, 0, bob, "t", 2);
    enter(b, 0, pub, false, 1000);
    int done = 0;
    for (int round = 0; round < 3; round++) {
        char text[16];
        snprintf(text, sizeof text, "m%d", round);
        bool crash = round == 1;
        say(b, 0, pub, "t", text, 2, 9);
        for (int i = 0; crash && i < applies; i++) {
            fake_apply(b->stores[0], 1);
            if (i + 1 < applies) {
                fake_answer(b->stores[0]);
                kernel_end(b->kernels[0]);
            }
        }
        if (crash) {
            int answered = pub->published_count;
            broker_kill(b);
            b = broker_new(world, 1, NULL);
            enter(b, 0, ann, true, 0);
            enter(b, 0, bob, false, 1000);
            enter(b, 0, pub, false, 1000);
            if (answered == done && !(release_first && answered > done)) {
                say(b, 0, pub, "t", text, 2, 9); /* no PUBREC came: sent again */
                say(b, 0, pub, "t", text, 2, 9);
            }
        }
        settle(b);
        cr_assert_gt(pub->published_count, done, "killed after %d, round %d, evicted %d, published %d", applies, round,
                     pub->evicted, pub->published_count);
        done = pub->published_count;
        kernel_publish_release(b->kernels[0], &pub->client, 9);
        settle(b);
        cr_assert_eq(pub->released[pub->released_count - 1].status, 0);
    }
    /* What bob saw, without the repetitions that say so. */
    int seen[3] = {0};
    for (int i = 0; i < bob->got_count; i++) {
        bool again = false;
        for (int j = 0; j < i; j++) {
            again = again || bob->gots[j].id == bob->gots[i].id;
        }
        seen[bob->gots[i].payload[1] - '0'] += !again;
    }
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(seen[i], 1, "m%d came %d times, killed after %d", i, seen[i], applies);
    }
    cr_assert_eq(fake_world_rows(world, TABLE_INBOUND), 0);
    actor_free(pub);
    down();
}

Test(kernel_session, qos_2_of_a_stored_publisher_is_exactly_once_wherever_the_broker_dies)
{
    for (int applies = 0; applies <= 5; applies++) {
        exactly_once(applies, false);
    }
}

/* pub's ids 1 to count are recorded, nothing of them is appended, and the broker dies. */
static void recorded_only(struct actor *pub, const char *const *texts, uint16_t first, int count)
{
    for (int i = 0; i < count; i++) {
        say(b, 0, pub, "t", texts[i], 2, (uint16_t)(first + i));
    }
    fake_apply(b->stores[0], count);
    broker_kill(b);
    b = broker_new(world, 1, NULL);
    enter(b, 0, bob, false, 1000);
    enter(b, 0, pub, false, 1000);
    cr_assert(pub->present);
}

Test(kernel_session, a_qos_2_message_that_was_refused_and_comes_again_does_not_make_those_behind_it_old)
{
    up(1);
    struct actor *pub = actor_new("publisher");
    enter(b, 0, bob, false, 1000);
    follow(b, 0, bob, "t", 2);
    enter(b, 0, pub, false, 1000);
    fake_world_refuse_appends(world, ERR_DISK_FULL);
    say(b, 0, pub, "t", "a", 2, 1);
    settle(b);
    fake_world_refuse_appends(world, 0);
    recorded_only(pub, (const char *const[]){"b", "c"}, 2, 2);
    say(b, 0, pub, "t", "a", 2, 1);
    say(b, 0, pub, "t", "b", 2, 2);
    say(b, 0, pub, "t", "c", 2, 3);
    settle(b);
    cr_assert_eq(pub->published[pub->published_count - 1].status, 0);
    cr_assert(heard(bob, "a b c"));
    /* and once more over another death: what came of the earlier connections stays apart */
    recorded_only(pub, (const char *const[]){"d"}, 4, 1);
    say(b, 0, pub, "t", "b", 2, 2);
    say(b, 0, pub, "t", "e", 2, 5);
    say(b, 0, pub, "t", "d", 2, 4);
    settle(b);
    actor_clear(bob);
    leave(b, 0, bob);
    enter(b, 0, bob, false, 1000);
    cr_assert(heard(bob, "a b c e d"));
    actor_free(pub);
    down();
}

Test(kernel_session, the_packet_id_of_a_message_that_is_refused_when_its_client_is_gone_is_kept)
{
    up(1);
    struct actor *pub = actor_new("publisher");
    enter(b, 0, bob, false, 1000);
    follow(b, 0, bob, "t", 2);
    enter(b, 0, pub, false, 1000);
    say(b, 0, pub, "t", "a", 2, 1);
    fake_apply(b->stores[0], 1);
    fake_world_refuse_appends(world, ERR_DISK_FULL);
    leave(b, 0, pub);
    cr_assert_eq(fake_world_rows(world, TABLE_INBOUND), 1,
                 "a part of it may be appended: it has its number when it comes again");
    fake_world_refuse_appends(world, 0);
    enter(b, 0, pub, false, 1000);
    say(b, 0, pub, "t", "a", 2, 1);
    settle(b);
    cr_assert(heard(bob, "a"));
    actor_free(pub);
    down();
}

Test(kernel_session, qos_2_messages_that_come_again_in_another_order_are_all_taken)
{
    up(1);
    struct actor *pub = actor_new("publisher");
    enter(b, 0, bob, false, 1000);
    follow(b, 0, bob, "t", 2);
    enter(b, 0, pub, false, 1000);
    recorded_only(pub, (const char *const[]){"a", "b", "c"}, 1, 3);
    say(b, 0, pub, "t", "b", 2, 2);
    say(b, 0, pub, "t", "a", 2, 1);
    say(b, 0, pub, "t", "c", 2, 3);
    settle(b);
    cr_assert(heard(bob, "b a c"));
    for (uint16_t id = 1; id <= 3; id++) {
        kernel_publish_release(b->kernels[0], &pub->client, id);
    }
    settle(b);
    cr_assert_eq(fake_world_rows(world, TABLE_INBOUND), 0);
    actor_free(pub);
    down();
}

Test(kernel_session, a_packet_id_published_before_an_orderly_close_is_not_published_again)
{
    up(2);
    struct actor *pub = actor_new("publisher");
    enter(b, 0, pub, false, 1000);
    follow(b, 0, ann, "t", 2);
    say(b, 0, pub, "t", "once", 2, 3);
    settle(b);
    leave(b, 0, pub);
    enter(b, 1, pub, false, 1000);
    say(b, 1, pub, "t", "once", 2, 3);
    settle(b);
    cr_assert_eq(pub->published_count, 2);
    cr_assert_eq(pub->published[1].status, 0);
    cr_assert(heard(ann, "once"));
    kernel_publish_release(b->kernels[1], &pub->client, 3);
    settle(b);
    say(b, 1, pub, "t", "twice", 2, 3);
    settle(b);
    cr_assert(heard(ann, "once twice"));
    leave(b, 1, pub);
    actor_free(pub);
    down();
}

Test(kernel_session, the_errors_of_the_store_reach_the_publisher_and_free_the_packet_id)
{
    up(1);
    struct actor *pub = actor_new("publisher");
    enter(b, 0, pub, false, 1000);
    enter(b, 0, bob, false, 1000);
    follow(b, 0, bob, "t", 2);
    fake_world_refuse_appends(world, ERR_DISK_FULL);
    say(b, 0, pub, "t", "a", 1, 1);
    say(b, 0, pub, "t", "b", 2, 2);
    say(b, 0, pub, "none", "c", 1, 3);
    settle(b);
    cr_assert_eq(pub->published_count, 3);
    cr_assert_eq(pub->published[0].status, ERR_DISK_FULL);
    cr_assert_eq(pub->published[1].status, ERR_DISK_FULL);
    cr_assert_eq(pub->published[1].id, 2);
    cr_assert_eq(pub->published[2].status, 0);
    cr_assert_eq(fake_world_rows(world, TABLE_INBOUND), 0);
    fake_world_refuse_appends(world, 0);
    say(b, 0, pub, "t", "d", 2, 2);
    settle(b);
    cr_assert_eq(pub->published[3].status, 0);
    cr_assert(heard(bob, "d"));
    leave(b, 0, pub);
    actor_free(pub);
    down();
}

Test(kernel_session, a_full_backlog_is_a_quota)
{
    world = fake_world_new(STAGE_STRIPES, 3);
    b     = broker_new(world, 1, NULL);
    ann   = actor_new("ann");
    bob   = actor_new("bob");
    enter(b, 0, ann, true, 0);
    enter(b, 0, bob, false, 1000);
    follow(b, 0, bob, "t", 1);
    leave(b, 0, bob);
    for (uint16_t i = 1; i <= 4; i++) {
        say(b, 0, ann, "t", "x", 1, i);
    }
    settle(b);
    cr_assert_eq(ann->published[2].status, 0);
    cr_assert_eq(ann->published[3].status, ERR_QUOTA);
    down();
}

Test(kernel_session, the_window_bounds_what_a_stored_session_is_sent_and_output_that_is_full_is_waited_for)
{
    up(1);
    open_only(b, 0, bob, false, 1000, 3, NULL);
    settle(b);
    follow(b, 0, bob, "t", 1);
    char text[16];
    for (int i = 0; i < 12; i++) {
        snprintf(text, sizeof text, "%d", i);
        say(b, 0, ann, "t", text, 1, (uint16_t)(i + 1));
    }
    settle(b);
    cr_assert(heard(bob, "0 1 2"));
    bob->full_in = 2;
    ack(b, 0, bob, 1, 1);
    ack(b, 0, bob, 0, 1);
    ack(b, 0, bob, 2, 1);
    settle(b);
    cr_assert(heard(bob, "0 1 2 3 4"));
    bob->full    = false;
    bob->full_in = -1;
    kernel_writable(b->kernels[0], &bob->client);
    settle(b);
    cr_assert(heard(bob, "0 1 2 3 4 5"));
    for (int i = 3; i < bob->got_count; i++) {
        cr_assert_eq(ack(b, 0, bob, i, 1), 0);
        settle(b);
    }
    cr_assert(heard(bob, "0 1 2 3 4 5 6 7 8 9 10 11"));
    for (int i = 0; i < 12; i++) {
        cr_assert_eq(bob->gots[i].id, i + 1);
    }
    down();
}

Test(kernel_session, expired_and_too_large_messages_are_passed_over)
{
    up(1);
    enter(b, 0, bob, false, 1000);
    follow(b, 0, bob, "t", 1);
    leave(b, 0, bob);
    struct message m = {.topic           = bytes_str("t"),
                        .payload         = bytes_str("old"),
                        .qos             = 1,
                        .expires_wall_ns = fake_world_wall_ns(world) + 5000000000ull};
    kernel_publish(b->kernels[0], &ann->client, &m, 1);
    say(b, 0, ann, "t", "too large", 1, 2);
    say(b, 0, ann, "t", "ok", 1, 3);
    settle(b);
    pass(b, 6);
    bob->too_big = 3;
    enter(b, 0, bob, false, 1000);
    cr_assert(heard(bob, "ok"));
    ack(b, 0, bob, 0, 1);
    settle(b);
    leave(b, 0, bob);
    actor_clear(bob);
    bob->too_big = 0;
    enter(b, 0, bob, false, 1000);
    cr_assert_eq(bob->got_count, 0);
    down();
}

Test(kernel_session, packet_ids_go_around_after_32767)
{
    up(1);
    enter(b, 0, bob, false, 1000);
    follow(b, 0, bob, "t", 1);
    for (int i = 0; i < 65600; i++) {
        say(b, 0, ann, "t", "x", 1, 1);
        if (i % 50 == 49) {
            settle(b);
            cr_assert_eq(bob->got_count, 50);
            for (int j = 0; j < 50; j++) {
                cr_assert_eq(bob->gots[j].id, (i - 49 + j) % 32767 + 1);
                cr_assert_eq(ack(b, 0, bob, 49 - j, 1), 0);
            }
            ann->published_count = 0;
            bob->got_count       = 0;
        }
    }
    settle(b);
    leave(b, 0, bob);
    down();
}

Test(kernel_session, overlapping_stored_subscriptions_are_one_record_with_all_ids)
{
    up(2);
    enter(b, 1, bob, false, 1000);
    follow_with(b, 1, bob, (struct subscription){.filter = bytes_str("a/#"), .qos = 0, .id = 5});
    follow_with(b, 1, bob, (struct subscription){.filter = bytes_str("a/b"), .qos = 1, .id = 6});
    say(b, 0, ann, "a/b", "x", 2, 1);
    say(b, 0, ann, "a/c", "y", 2, 2);
    settle(b);
    cr_assert_eq(bob->got_count, 2);
    for (int i = 0; i < 2; i++) {
        bool x = bob->gots[i].payload[0] == 'x';
        cr_assert_eq(bob->gots[i].qos, x ? 1 : 0);
        cr_assert_eq(bob->gots[i].count, x ? 2 : 1);
    }
    leave(b, 1, bob);
    actor_clear(bob);
    /* No local follows the client id over connections. */
    enter(b, 0, bob, false, 1000);
    follow_with(b, 0, bob, (struct subscription){.filter = bytes_str("n"), .qos = 1, .no_local = true});
    leave(b, 0, bob);
    enter(b, 1, bob, false, 1000);
    actor_clear(bob);
    say(b, 1, bob, "n", "mine", 1, 1);
    say(b, 1, bob, "n", "mine", 0, 0);
    say(b, 0, ann, "n", "hers", 1, 3);
    settle(b);
    cr_assert(heard(bob, "hers"));
    down();
}

Test(kernel_session, an_unsubscribe_ends_a_stored_subscription_everywhere)
{
    up(3);
    enter(b, 2, bob, false, 1000);
    follow(b, 2, bob, "t", 1);
    cr_assert_eq(unfollow(b, 2, bob, "t"), 0);
    cr_assert_eq(unfollow(b, 2, bob, "u"), ERR_NOT_FOUND);
    cr_assert_eq(fake_world_rows(world, TABLE_SUBSCRIPTIONS), 0);
    say(b, 0, ann, "t", "x", 1, 1);
    settle(b);
    cr_assert_not(ann->published[0].matched);
    cr_assert_eq(bob->got_count, 0);
    down();
}

Test(kernel_session, routes_survive_a_lost_connection_to_the_store)
{
    up(2);
    enter(b, 1, bob, false, 1000);
    follow(b, 1, bob, "t", 1);
    leave(b, 1, bob);
    for (int i = 0; i < 2; i++) {
        fake_reconnect(b->stores[i], 0);
        fake_reconnect(b->stores[i], 1);
    }
    settle(b);
    say(b, 0, ann, "t", "x", 1, 1);
    settle(b);
    cr_assert(ann->published[0].matched);
    enter(b, 0, bob, false, 1000);
    cr_assert(heard(bob, "x"));
    down();
}

Test(kernel_session, a_connection_that_ends_while_it_opens_is_undone)
{
    for (int turns = 0; turns < 6; turns++) {
        up(2);
        open_only(b, 1, bob, false, 10, 10, NULL);
        for (int i = 0; i < turns; i++) {
            broker_turn(b, 1);
        }
        leave(b, 1, bob);
        enter(b, 0, bob, false, 10);
        leave(b, 0, bob);
        pass(b, 11);
        cr_assert_eq(fake_world_rows(world, TABLE_SESSIONS), 0, "%d turns", turns);
        down();
    }
}
