/* The packet id of a QoS 2 message that one stripe took and another one refused: neither it nor the next one under that id is lost or doubled, wherever the
 * broker dies. */
#include "broker/kernel/tables.h"
#include "shared/base/err.h"
#include "tests/unit/broker/kernel/stage.h"

#include <criterion/criterion.h>
#include <stdio.h>

enum { QUEUE_RECORDS_MAX = 3, ID = 9, STEPS_MAX = 12 };

static struct fake_world *world;
static struct broker     *b;
static struct actor      *pub;
static struct actor      *full;  /* its queue takes nothing more .. */
static struct actor      *roomy; /* .. and that one, in another stripe, does */

static void begin(void)
{
    world = fake_world_new(STAGE_STRIPES, QUEUE_RECORDS_MAX);
    b     = broker_new(world, 1, NULL);
    pub   = actor_new("publisher");
    full  = actor_new("full");
    roomy = actor_new("roomy");
    enter(b, 0, full, false, 1000);
    follow(b, 0, full, "#", 1);
    leave(b, 0, full);
    enter(b, 0, pub, false, 1000);
    for (uint16_t id = 1; id <= QUEUE_RECORDS_MAX; id++) {
        say(b, 0, pub, "before", "x", 1, id);
    }
    enter(b, 0, roomy, false, 1000);
    follow(b, 0, roomy, "t", 2);
    settle(b);
    actor_clear(pub);
}

static void end(void)
{
    broker_kill(b);
    fake_world_free(world);
    actor_free(pub);
    actor_free(full);
    actor_free(roomy);
}

TestSuite(kernel_once, .init = begin, .fini = end);

/* One transaction is applied, then answered, and so on. */
static void go_on(int steps)
{
    for (int i = 0; i < steps; i++) {
        if (i % 2 == 0) {
            fake_apply(b->stores[0], 1);
        } else {
            fake_answer(b->stores[0]);
            kernel_end(b->kernels[0]);
        }
    }
}

/* The broker dies; in the next one nobody is full any more. */
static void restart(void)
{
    broker_kill(b);
    b = broker_new(world, 1, NULL);
    enter(b, 0, full, true, 0);
    leave(b, 0, full);
    enter(b, 0, roomy, false, 1000);
    enter(b, 0, pub, false, 1000);
    cr_assert(pub->present);
}

static void release(void)
{
    kernel_publish_release(b->kernels[0], &pub->client, ID);
    settle(b);
    cr_assert_eq(pub->released[pub->released_count - 1].status, 0);
    cr_assert_eq(fake_world_rows(world, TABLE_INBOUND), 0);
}

/* Returns whether the publisher was told of the refusal. */
static bool refused_in_part(int steps)
{
    say(b, 0, pub, "t", "refused", 2, ID);
    go_on(steps);
    bool told = pub->published_count == 1;
    cr_assert(!told || pub->published[0].status == ERR_QUOTA);
    restart();
    say(b, 0, pub, "t", told ? "next" : "refused", 2, ID);
    settle(b);
    cr_assert_eq(pub->published_count, told ? 2 : 1);
    cr_assert_eq(pub->published[pub->published_count - 1].status, 0);
    cr_assert_eq(times_heard(roomy, "next"), told, "told %d, killed after %d", told, steps);
    cr_assert_leq(times_heard(roomy, "refused"), 1, "killed after %d", steps);
    cr_assert(told || times_heard(roomy, "refused") == 1, "killed after %d", steps);
    release();
    return told;
}

Test(kernel_once, what_is_refused_in_part_makes_neither_itself_nor_the_next_one_of_its_id_lost_or_doubled)
{
    bool told[STEPS_MAX + 1];
    for (int steps = 0; steps <= STEPS_MAX; steps++) {
        told[steps] = refused_in_part(steps);
        end();
        begin();
    }
    cr_assert(!told[0] && told[STEPS_MAX], "both cases were there");
}

Test(kernel_once, what_is_refused_in_part_is_not_doubled_by_a_client_that_is_not_told_and_sends_it_again)
{
    leave(b, 0, pub);
    pub->untold = true;
    enter(b, 0, pub, false, 1000);
    say(b, 0, pub, "t", "refused", 2, ID);
    settle(b);
    cr_assert_eq(pub->published[0].status, ERR_QUOTA);
    cr_assert_eq(times_heard(roomy, "refused"), 1);
    leave(b, 0, pub);
    enter(b, 0, full, true, 0);
    leave(b, 0, full);
    enter(b, 0, pub, false, 1000);
    say(b, 0, pub, "t", "refused", 2, ID);
    settle(b);
    cr_assert_eq(pub->published[1].status, 0);
    cr_assert_eq(times_heard(roomy, "refused"), 1);
    release();
}

/* What live sessions are given goes out at once, before it is known that a queue takes nothing. */
static void comes_once_to_live_ones(unsigned shards)
{
    struct actor *live   = actor_new("live");
    struct actor *member = actor_new("member");
    struct actor *other  = actor_new("other");
    broker_kill(b);
    b = broker_new(world, shards, NULL);
    enter(b, shards - 1, live, true, 0);
    follow(b, shards - 1, live, "t", 2);
    enter(b, shards - 1, member, true, 0);
    follow(b, shards - 1, member, "$share/g/t", 2);
    pub->untold = true;
    for (int i = 0; i < 2; i++) {
        enter(b, 0, pub, false, 1000);
        say(b, 0, pub, "t", "refused", 2, ID);
        settle(b);
        cr_assert_eq(pub->published[i].status, i == 0 ? ERR_QUOTA : 0);
        cr_assert(heard(live, "refused"));
        cr_assert(heard(member, "refused"));
        cr_assert(heard(other, ""));
        if (i == 0) {
            leave(b, 0, pub);
            leave(b, shards - 1, member);
            enter(b, shards - 1, other, true, 0);
            follow(b, shards - 1, other, "$share/g/t", 2);
            enter(b, 0, full, true, 0);
            leave(b, 0, full);
        }
    }
    release();
    actor_free(live);
    actor_free(member);
    actor_free(other);
}

Test(kernel_once, what_is_refused_in_part_comes_once_to_live_sessions_though_it_is_sent_again)
{
    comes_once_to_live_ones(1);
    end();
    begin();
    comes_once_to_live_ones(2);
}

Test(kernel_once, what_is_refused_before_it_is_handed_out_is_not_passed_by_what_is_behind_it)
{
    struct actor *live = actor_new("live");
    enter(b, 0, live, true, 0);
    follow(b, 0, live, "t", 2);
    enter(b, 0, full, true, 0);
    leave(b, 0, full);
    leave(b, 0, pub);
    pub->untold = true;
    enter(b, 0, pub, false, 1000);
    fake_world_refuse_puts(world, TABLE_RETAINED, ERR_QUOTA);
    say_retained(b, 0, pub, "t", "first", 2, ID, 0);
    say(b, 0, pub, "t", "second", 2, ID + 1);
    settle(b);
    cr_assert_eq(pub->published[0].status, ERR_QUOTA);
    cr_assert_eq(pub->published[1].status, 0);
    leave(b, 0, pub);
    fake_world_refuse_puts(world, TABLE_RETAINED, 0);
    enter(b, 0, pub, false, 1000);
    say_retained(b, 0, pub, "t", "first", 2, ID, 0);
    settle(b);
    cr_assert_eq(pub->published[2].status, 0);
    cr_assert_eq(times_heard(roomy, "first"), 1);
    cr_assert(heard(live, "second first"));
    actor_free(live);
}

Test(kernel_once, what_is_refused_before_it_is_handed_out_may_go_to_another_member_when_it_comes_again)
{
    struct actor *member = actor_new("member");
    struct actor *other  = actor_new("other");
    enter(b, 0, member, true, 0);
    follow(b, 0, member, "$share/g/t", 2);
    leave(b, 0, pub);
    pub->untold = true;
    enter(b, 0, pub, false, 1000);
    fake_world_refuse_puts(world, TABLE_RETAINED, ERR_QUOTA);
    say_retained(b, 0, pub, "t", "first", 2, ID, 0);
    settle(b);
    cr_assert_eq(pub->published[0].status, ERR_QUOTA);
    leave(b, 0, pub);
    broker_kill(b); /* with the member */
    b = broker_new(world, 1, NULL);
    enter(b, 0, other, true, 0);
    follow(b, 0, other, "$share/g/t", 2);
    fake_world_refuse_puts(world, TABLE_RETAINED, 0);
    enter(b, 0, full, true, 0);
    leave(b, 0, full);
    enter(b, 0, pub, false, 1000);
    say_retained(b, 0, pub, "t", "first", 2, ID, 0);
    settle(b);
    cr_assert_eq(pub->published[1].status, 0);
    cr_assert(heard(member, ""));
    cr_assert(heard(other, "first"));
    actor_free(member);
    actor_free(other);
}

Test(kernel_once, what_is_in_doubt_stays_so_when_it_is_refused_before_it_is_handed_out_again)
{
    leave(b, 0, pub);
    pub->untold = true;
    for (int i = 0; i < 3; i++) { /* a queue is full; the table of retained messages is; neither is */
        fake_world_refuse_puts(world, TABLE_RETAINED, i == 1 ? ERR_QUOTA : 0);
        if (i == 2) {
            enter(b, 0, full, true, 0);
            leave(b, 0, full);
        }
        enter(b, 0, pub, false, 1000);
        say_retained(b, 0, pub, "t", "refused", 2, ID, 0);
        settle(b);
        cr_assert_eq(pub->published[i].status, i == 2 ? 0 : ERR_QUOTA);
        cr_assert_eq(times_heard(roomy, "refused"), 1);
        if (i < 2) {
            leave(b, 0, pub);
        }
    }
    release();
}

Test(kernel_once, another_message_under_an_id_in_doubt_goes_to_everybody)
{
    struct actor *member = actor_new("member");
    struct actor *other  = actor_new("other");
    enter(b, 0, member, true, 0);
    follow(b, 0, member, "$share/g/t", 2);
    say(b, 0, pub, "t", "recorded for the member", 2, ID);
    go_on(5);
    restart();
    enter(b, 0, other, true, 0);
    follow(b, 0, other, "$share/g/t", 2);
    say(b, 0, pub, "t", "next", 2, ID);
    settle(b);
    cr_assert(heard(other, "next"));
    cr_assert_eq(times_heard(roomy, "next"), 1);
    release();
    cr_assert_eq(roomy->got_count, 2, "a part of the first one had been taken");
    actor_free(member);
    actor_free(other);
}

/* The publisher goes to another process when the first one is cut off over its PUBREL, which that one sends the store when it is back. */
Test(kernel_once, what_a_process_that_was_cut_off_forgets_late_is_not_what_its_heir_recorded)
{
    struct fake_world *other = fake_world_new(STAGE_STRIPES, 0);
    struct broker     *cut   = broker_beside(other, 1, NULL, NULL);
    struct broker     *heir  = broker_beside(other, 1, cut, NULL);
    struct actor      *moved = actor_new("publisher"); /* the same client */
    leave(b, 0, pub);
    open_only(cut, 0, pub, false, 1000, 50, NULL);
    settle_two(cut, heir);
    say(cut, 0, pub, "t", "first", 2, ID);
    settle_two(cut, heir);
    kernel_publish_release(cut->kernels[0], &pub->client, ID);
    kernel_end(cut->kernels[0]);
    fake_cut(cut->stores[0], true);
    open_only(heir, 0, moved, false, 1000, 50, NULL);
    settle(heir);
    pass(heir, 1); /* it is not answered by the other one */
    settle(heir);
    cr_assert(moved->opened == 1 && moved->present);
    kernel_publish_release(heir->kernels[0], &moved->client, ID);
    settle(heir);
    cr_assert_eq(moved->released[0].status, 0);
    say(heir, 0, moved, "t", "next", 2, ID);
    fake_apply(heir->stores[0], 1);
    cr_assert_eq(fake_world_rows(other, TABLE_INBOUND), 1);
    fake_cut(cut->stores[0], false);
    while (fake_apply(cut->stores[0], 1)) {
    }
    cr_assert_eq(fake_world_rows(other, TABLE_INBOUND), 1, "it is the heir's");
    int released = pub->released_count;
    fake_answer(cut->stores[0]);
    kernel_end(cut->kernels[0]);
    cr_assert_eq(pub->released_count, released, "it is not told what is not so");
    cr_assert_eq(pub->evicted, 1);
    cr_assert_eq(pub->why, EVICT_TAKEN_OVER);
    broker_kill(cut);
    broker_kill(heir);
    fake_world_free(other);
    actor_free(moved);
}

/* The next message of that id may be refused in part as well, by a broker that goes on. */
Test(kernel_once, another_message_under_an_id_in_doubt_is_itself_when_it_comes_again)
{
    bool in_doubt = false;
    for (int steps = 0; steps <= STEPS_MAX; steps++) {
        say(b, 0, pub, "t", "refused", 2, ID);
        go_on(steps);
        if (pub->published_count == 1 && fake_world_rows(world, TABLE_INBOUND) == 1) {
            in_doubt = true;
            broker_kill(b);
            b = broker_new(world, 1, NULL);
            enter(b, 0, roomy, false, 1000);
            pub->untold = true;
            enter(b, 0, pub, false, 1000);
            say(b, 0, pub, "t", "next", 2, ID);
            settle(b);
            cr_assert_eq(pub->published[1].status, ERR_QUOTA);
            cr_assert_eq(times_heard(roomy, "next"), 1);
            enter(b, 0, full, true, 0);
            leave(b, 0, full);
            say(b, 0, pub, "t", "next", 2, ID);
            settle(b);
            cr_assert_eq(pub->published[2].status, 0);
            cr_assert_eq(times_heard(roomy, "next"), 1, "killed after %d", steps);
            release();
        }
        end();
        begin();
    }
    cr_assert(in_doubt);
}
