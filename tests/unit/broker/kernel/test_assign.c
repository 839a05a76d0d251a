/* A QoS 2 message comes to a group once, wherever the broker is killed over it. */
#include "broker/kernel/assign.h"

#include "broker/kernel/company.h"
#include "broker/kernel/publisher.h"
#include "shared/base/err.h"
#include "shared/rpc/op.h"
#include "tests/unit/broker/kernel/stage.h"

#include <criterion/criterion.h>
#include <stdio.h>

enum { MEMBERS = 3, MESSAGES = 5, CUTS = 14 };

static struct fake_world   *world;
static struct broker       *b;
static struct actor        *ann;
static struct actor        *members[MEMBERS];
static struct kernel_limits limits;

static void up(unsigned shards, uint32_t expiry_s, const char *filter, int count)
{
    world                = fake_world_new(STAGE_STRIPES, 0);
    limits               = stage_limits;
    limits.delayed_max_s = 1000;
    b                    = broker_new(world, shards, &limits);
    ann                  = actor_new("ann");
    enter(b, 0, ann, false, 1000);
    for (unsigned i = 0; i < MEMBERS; i++) {
        char id[16];
        snprintf(id, sizeof id, "member-%u", i);
        members[i] = actor_new(id);
        if ((int)i < count) {
            enter(b, i % shards, members[i], false, expiry_s);
            cr_assert_eq(follow(b, i % shards, members[i], filter, 2), 2);
        }
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

static void say_all(unsigned shard)
{
    for (int n = 0; n < MESSAGES; n++) {
        char text[16];
        snprintf(text, sizeof text, "%d", n);
        say(b, shard, ann, "t/x", text, 2, (uint16_t)(n + 1));
    }
}

/* The broker comes so far, dies, and another one is sent all of it again. */
static void die_and_repeat(int turns, unsigned shards)
{
    for (int i = 0; i < turns; i++) {
        broker_turn(b, 1);
    }
    broker_kill(b);
    b = broker_new(world, shards, &limits);
    actor_clear(ann);
    enter(b, shards - 1, ann, false, 1000);
    cr_assert(ann->present);
    say_all(shards - 1);
    settle(b);
    cr_assert_eq(ann->published_count, MESSAGES);
    for (int i = 0; i < MESSAGES; i++) {
        cr_assert_eq(ann->published[i].status, 0);
    }
}

/* How often each message came, on this connection of each. */
static void count(int out[MESSAGES])
{
    memset(out, 0, MESSAGES * sizeof *out);
    for (int m = 0; m < MEMBERS; m++) {
        for (int i = 0; i < members[m]->got_count; i++) {
            out[members[m]->gots[i].payload[0] - '0']++;
        }
    }
}

static void each_came_once(const char *where, int turns)
{
    int times[MESSAGES];
    count(times);
    for (int n = 0; n < MESSAGES; n++) {
        cr_assert_eq(times[n], 1, "%s, killed after %d turns: message %d came %d times", where, turns, n, times[n]);
    }
}

Test(kernel_assign, stored_members_get_it_once_wherever_the_broker_is_killed)
{
    for (unsigned shards = 1; shards <= 2; shards++) {
        for (int turns = 0; turns < CUTS; turns++) {
            up(shards, 1000, "$share/g/t/+", MEMBERS);
            for (unsigned i = 0; i < MEMBERS; i++) {
                leave(b, i % shards, members[i]);
            }
            say_all(0);
            die_and_repeat(turns, shards);
            for (unsigned i = 0; i < MEMBERS; i++) {
                enter(b, 0, members[i], false, 1000);
            }
            each_came_once("stored", turns);
            down();
        }
    }
}

Test(kernel_assign, connected_stored_members_finish_what_they_have)
{
    for (int turns = 0; turns < CUTS; turns++) {
        up(1, 1000, "$share/g/t/+", MEMBERS);
        say_all(0);
        die_and_repeat(turns, 1);
        for (unsigned i = 0; i < MEMBERS; i++) {
            actor_clear(members[i]); /* what it had before comes again, by its packet id */
            enter(b, 0, members[i], false, 1000);
        }
        each_came_once("connected", turns);
        down();
    }
}

Test(kernel_assign, an_exclusive_subscriber_gets_it_once)
{
    for (int turns = 0; turns < CUTS; turns++) {
        up(1, 1000, "$exclusive/t/+", 1);
        leave(b, 0, members[0]);
        say_all(0);
        die_and_repeat(turns, 1);
        enter(b, 0, members[0], false, 1000);
        each_came_once("exclusive", turns);
        down();
    }
}

static void apply_until(uint64_t more)
{
    uint64_t until = fake_world_applied(world) + more;
    while (fake_world_applied(world) < until) {
        broker_turn(b, 1);
    }
}

/* One message to a group of two whose member that has it ends its session before the message is sent again: how often it came to the other. */
static int came_when_its_session_ended(uint64_t transactions)
{
    int came = 0;
    for (int ends = 0; ends < 2; ends++) { /* one of them is the one that has it */
        up(1, 1000, "$share/g/t/+", 2);
        leave(b, 0, members[0]);
        leave(b, 0, members[1]);
        say(b, 0, ann, "t/x", "0", 2, 1);
        apply_until(transactions);
        broker_kill(b);
        b = broker_new(world, 1, &limits);
        enter(b, 0, members[ends], true, 0);
        settle(b);
        enter(b, 0, ann, false, 1000);
        say(b, 0, ann, "t/x", "0", 2, 1);
        settle(b);
        cr_assert_eq(ann->published[ann->published_count - 1].status, 0);
        enter(b, 0, members[1 - ends], false, 1000);
        cr_assert_eq(members[ends]->got_count, 0);
        cr_assert_leq(members[1 - ends]->got_count, 1);
        came += members[1 - ends]->got_count;
        down();
    }
    return came;
}

Test(kernel_assign, what_a_member_cannot_have_goes_to_another_when_its_session_ends)
{
    cr_assert_eq(came_when_its_session_ended(0), 2);
    cr_assert_eq(came_when_its_session_ended(1), 2, "recorded, and not in its queue");
    cr_assert_eq(came_when_its_session_ended(2), 1, "it was in the queue of the one whose session ended");
}

Test(kernel_assign, what_a_live_member_may_have_been_sent_goes_to_nobody_when_the_broker_dies)
{
    for (int turns = 0; turns < CUTS; turns++) {
        up(1, 0, "$share/g/t/+", 2);
        say_all(0);
        for (int i = 0; i < turns; i++) {
            broker_turn(b, 1);
        }
        int before[MESSAGES];
        count(before);
        die_and_repeat(0, 1);
        for (unsigned i = 0; i < 2; i++) {
            actor_clear(members[i]);
        }
        actor_clear(ann);
        enter(b, 0, members[2], false, 0);
        follow(b, 0, members[2], "$share/g/t/+", 2);
        say_all(0);
        settle(b);
        int after[MESSAGES];
        count(after);
        for (int n = 0; n < MESSAGES; n++) {
            cr_assert_leq(before[n] + after[n], 1, "turns %d", turns);
        }
        down();
    }
}

Test(kernel_assign, what_was_not_recorded_goes_to_who_is_there_after_the_broker_died)
{
    up(1, 0, "$share/g/t/+", 1);
    say(b, 0, ann, "t/x", "0", 2, 1);
    broker_kill(b);
    b = broker_new(world, 1, &limits);
    enter(b, 0, members[1], false, 0);
    follow(b, 0, members[1], "$share/g/t/+", 2);
    enter(b, 0, ann, false, 1000);
    say(b, 0, ann, "t/x", "0", 2, 1);
    settle(b);
    cr_assert(heard(members[1], "0"));
    down();
}

Test(kernel_assign, a_member_that_leaves_before_it_is_given_the_message_is_replaced)
{
    for (uint32_t expiry_s = 0; expiry_s <= 1000; expiry_s += 1000) {
        up(1, expiry_s, "$share/g/t/+", 2);
        say(b, 0, ann, "t/x", "0", 2, 1);
        for (int i = 0; i < 2; i++) { /* the one whose turn it was among them */
            cr_assert_eq(members[i]->got_count, 0);
        }
        struct close_request end = {.set_expiry = true};
        kernel_close(b->kernels[0], &members[0]->client, &end);
        settle(b);
        cr_assert(heard(members[1], "0"), "expiry %u", expiry_s);
        cr_assert_eq(ann->published_count, 1);
        down();
    }
}

Test(kernel_assign, more_groups_than_there_are_parts_of_a_number_get_it_once_each)
{
    enum { GROUPS = ASSIGNED_PARTS + 6 };
    for (int turns = 0; turns < CUTS * GROUPS; turns += 29) {
        up(1, 1000, "$share/g0/t/+", 1);
        for (int g = 1; g < GROUPS; g++) {
            char filter[32];
            snprintf(filter, sizeof filter, "$share/g%d/t/+", g);
            follow(b, 0, members[0], filter, 2);
        }
        leave(b, 0, members[0]);
        say_all(0);
        die_and_repeat(turns, 1);
        open_only(b, 0, members[0], false, 1000, 1000, NULL);
        settle(b);
        int times[MESSAGES];
        for (int i = 0; i < members[0]->got_count; i++) { /* inflight_max */
            (void)ack(b, 0, members[0], i, 1);
            settle(b);
            (void)ack(b, 0, members[0], i, 2);
            settle(b);
        }
        count(times);
        for (int n = 0; n < MESSAGES; n++) {
            cr_assert_eq(times[n], GROUPS, "killed after %d turns: message %d came %d times", turns, n, times[n]);
        }
        down();
    }
}

/* ---- two processes ---- */

static struct broker *a;

Test(kernel_assign, a_live_member_at_another_process_gets_it_once_when_the_publishers_process_dies)
{
    for (int turns = 0; turns < CUTS; turns++) {
        world      = fake_world_new(STAGE_STRIPES, 0);
        a          = broker_beside(world, 1, NULL, NULL);
        b          = broker_beside(world, 2, a, NULL);
        ann        = actor_new("ann");
        members[0] = actor_new("member-0");
        members[1] = actor_new("member-1");
        members[2] = actor_new("member-2");
        for (unsigned i = 0; i < 2; i++) { /* one on each shard */
            open_only(b, i, members[i], true, 0, 50, NULL);
            settle_two(a, b);
            struct subscription s = {.filter = bytes_str("$share/g/t/+"), .qos = 2};
            kernel_subscribe(b->kernels[i], &members[i]->client, 1, &s, 1);
            settle_two(a, b);
        }
        open_only(a, 0, ann, false, 1000, 50, NULL);
        settle_two(a, b);
        struct broker *heir = b;
        b                   = a;
        say_all(0);
        b = heir;
        for (int i = 0; i < turns; i++) {
            broker_turn(a, 1);
            broker_turn(b, 1);
        }
        broker_kill(a);
        settle(b);
        enter(b, 1, ann, false, 1000);
        cr_assert(ann->present);
        actor_clear(ann);
        say_all(1);
        settle(b);
        cr_assert_eq(ann->published_count, MESSAGES);
        each_came_once("elsewhere", turns);
        down();
    }
}

Test(kernel_assign, a_message_that_a_dead_process_may_have_given_its_live_member_goes_to_nobody_else)
{
    int lost = 0;
    for (int turns = 0; turns < CUTS; turns++) {
        world      = fake_world_new(STAGE_STRIPES, 0);
        a          = broker_beside(world, 1, NULL, NULL);
        b          = broker_beside(world, 1, a, NULL);
        ann        = actor_new("ann");
        members[0] = actor_new("member-0");
        members[1] = actor_new("member-1");
        members[2] = actor_new("member-2");
        for (unsigned i = 0; i < 2; i++) { /* the first one at the process that dies */
            open_only(i == 0 ? a : b, 0, members[i], true, 0, 50, NULL);
            settle_two(a, b);
            struct subscription s = {.filter = bytes_str("$share/g/t/+"), .qos = 2};
            kernel_subscribe((i == 0 ? a : b)->kernels[0], &members[i]->client, 1, &s, 1);
            settle_two(a, b);
        }
        open_only(b, 0, ann, false, 0, 50, NULL); /* its publisher lives, and has no stored session */
        settle_two(a, b);
        say_all(0);
        for (int i = 0; i < turns; i++) {
            broker_turn(b, 1);
            broker_turn(a, 1);
        }
        broker_kill(a);
        pass(b, 60);
        settle(b);
        cr_assert_eq(ann->published_count, MESSAGES);
        int times[MESSAGES];
        count(times);
        for (int n = 0; n < MESSAGES; n++) {
            cr_assert_leq(times[n], 1, "killed after %d turns: message %d came %d times", turns, n, times[n]);
            lost += times[n] == 0;
        }
        down();
    }
    cr_assert_gt(lost, 0, "some were on their way to the one that died");
}

static void join_at(struct broker *at, struct actor *actor, const char *filter, uint8_t qos)
{
    struct subscription s = {.filter = bytes_str(filter), .qos = qos};
    kernel_subscribe(at->kernels[0], &actor->client, 1, &s, 1);
    settle_two(a, b);
}

/* The first member is at a, the second one at b, and so is the publisher. */
static void two_up(uint32_t publisher_expiry_s, uint8_t qos)
{
    world = fake_world_new(STAGE_STRIPES, 0);
    a     = broker_beside(world, 1, NULL, NULL);
    b     = broker_beside(world, 1, a, NULL);
    ann   = actor_new("ann");
    for (unsigned i = 0; i < MEMBERS; i++) {
        char id[16];
        snprintf(id, sizeof id, "member-%u", i);
        members[i] = actor_new(id);
        open_only(i == 0 ? a : b, 0, members[i], true, 0, 50, NULL);
        settle_two(a, b);
    }
    join_at(a, members[0], "$share/g/t/+", qos);
    join_at(b, members[1], "$share/g/t/+", qos);
    open_only(b, 0, ann, false, publisher_expiry_s, 50, NULL);
    settle_two(a, b);
}

/* It does nothing any more, and nobody knows: the other one goes on for a while. */
Test(kernel_assign, what_a_dead_process_was_not_sent_goes_to_a_member_that_lives)
{
    for (unsigned variant = 0; variant < 4;
         variant++) { /* with and without a stored session; to subscriptions of QoS 1 and 2 */
        for (int turns = 0; turns < CUTS; turns++) {
            two_up(variant / 2 * 1000, (uint8_t)(variant % 2 + 1));
            say_all(0);
            for (int i = 0; i < turns; i++) {
                broker_turn(b, 1);
            }
            broker_kill(a);
            pass(b, 60);
            settle(b);
            cr_assert_eq(ann->published_count, MESSAGES);
            for (int n = 0; n < MESSAGES; n++) {
                cr_assert_eq(ann->published[n].status, 0);
            }
            each_came_once("not sent", turns);
            down();
        }
    }
}

Test(kernel_assign, messages_that_are_sent_when_asked_come_among_others_of_their_publisher)
{
    for (unsigned variant = 0; variant < 2; variant++) {
        two_up(variant * 1000, 2);
        struct actor *plain = actor_new("plain");
        struct actor *other = actor_new("other");
        open_only(a, 0, plain, true, 0, 50, NULL);
        open_only(a, 0, other, true, 0, 50, NULL);
        settle_two(a, b);
        join_at(a, plain, "t/x", 2);
        join_at(a, other, "$share/other/t/+", 1);
        say_all(0);
        settle_two(a, b);
        cr_assert_eq(ann->published_count, MESSAGES);
        each_came_once("among others", (int)variant);
        cr_assert(heard(plain, "0 1 2 3 4"));
        cr_assert(heard(other, "0 1 2 3 4"));
        broker_kill(a);
        actor_free(plain);
        actor_free(other);
        down();
    }
}

/* A will has one writer for all of its parts (publish.h): who is asked first may take its part late, behind parts of others. */
Test(kernel_assign, who_is_asked_first_of_a_will_is_counted_apart)
{
    struct assigned    items[]  = {{.apart = false}, {.apart = true}};
    struct assignments assigned = {.items = items, .count = 2};
    struct publisher   wills    = {.count = 77};
    struct pending     pending  = {.publisher = &wills, .writer_epoch = 3, .sequence = 9 << 8, .assigned = &assigned};
    struct number      given    = assign_number(&pending, 0);
    struct number      asked    = assign_number(&pending, 1);
    cr_assert_eq(given.writer, 77);
    cr_assert(asked.writer != 77 && asked.writer != 0);
    cr_assert_eq(asked.epoch, given.epoch);
    cr_assert_eq(asked.sequence, given.sequence + 1);
}

static void settle_three(struct broker *c)
{
    for (int i = 0; i < 5; i++) {
        settle_two(a, b);
        settle_two(b, c);
        settle_two(a, c);
    }
}

static void join_one_of_three(struct broker *at, struct actor *actor, struct broker *c)
{
    struct subscription s = {.filter = bytes_str("$share/g/t/+"), .qos = 2};
    open_only(at, 0, actor, true, 0, 50, NULL);
    settle_three(c);
    kernel_subscribe(at->kernels[0], &actor->client, 1, &s, 1);
    settle_three(c);
}

/* The publisher's process dies, then the member's; a third one finishes it. */
Test(kernel_assign, what_an_earlier_process_may_have_sent_a_member_goes_to_nobody_when_it_does_not_answer)
{
    int had = 0;
    for (int turns = 0; turns < CUTS; turns++) {
        world            = fake_world_new(STAGE_STRIPES, 0);
        a                = broker_beside(world, 1, NULL, NULL);
        b                = broker_beside(world, 1, a, NULL);
        struct broker *c = broker_beside(world, 1, a, b);
        ann              = actor_new("ann");
        members[0]       = actor_new("member-0");
        members[1]       = actor_new("member-1");
        members[2]       = actor_new("member-2");
        settle_three(c);
        join_one_of_three(c, members[0], c);
        join_one_of_three(a, members[1], c);
        open_only(b, 0, ann, false, 1000, 50, NULL);
        settle_three(c);
        say_all(0);
        for (int i = 0; i < turns; i++) {
            broker_turn(b, 1);
            broker_turn(c, 1);
        }
        broker_kill(b);
        b = a;
        had += members[0]->got_count;
        actor_clear(ann);
        open_only(a, 0, ann, false, 1000, 50, NULL);
        for (int i = 0; i < 5; i++) {
            settle_two(a, c);
        }
        cr_assert(ann->opened == 1 && ann->present);
        fake_cut(c->stores[0], true);
        say_all(0);
        settle(a);
        broker_kill(c);
        pass(a, 60);
        cr_assert_eq(ann->published_count, MESSAGES);
        int times[MESSAGES];
        count(times);
        for (int n = 0; n < MESSAGES; n++) {
            cr_assert_leq(times[n], 1, "killed after %d turns: message %d came %d times", turns, n, times[n]);
        }
        down();
    }
    cr_assert_gt(had, 0, "the one whose process did not answer had some");
}

static void row_went(struct store_call *call, int status, struct bytes results)
{
    (void)call;
    (void)results;
    cr_assert_eq(status, 0);
}

/* A store that has not heard of a process for too long deletes its row. */
static void take_for_dead(struct broker *process, struct store_call *call)
{
    uint8_t            key[8];
    struct wire_writer row = wire_writer_fixed(key, sizeof key);
    wire_put_u64(&row, process->kernels[0]->port.instance);
    *call                 = (struct store_call){.done = row_went};
    struct wire_writer *w = store_txn_begin(b->stores[0], 0);
    op_encode(w, &(struct op){.kind = OP_TABLE_DELETE, .table = TABLE_BROKERS, .name = wire_written(&row)});
    store_txn_end(b->stores[0], call);
}

/* Who had been recorded to be served by it is so no more. */
Test(kernel_assign, a_process_that_was_taken_for_dead_is_another_one)
{
    two_up(0, 2);
    uint64_t first = assign_life(a->kernels[0], 0);
    cr_assert_eq(assign_shard(a->kernels[0], first), 0);
    cr_assert_lt(assign_shard(b->kernels[0], first), SHARDS_MAX);
    struct store_call call;
    take_for_dead(a, &call);
    for (int i = 0; i < 5; i++) {
        settle_two(a, b);
    }
    uint64_t second = assign_life(a->kernels[0], 0);
    cr_assert_neq(second, first);
    cr_assert_eq(assign_shard(a->kernels[0], first), SHARDS_MAX);
    cr_assert_eq(assign_shard(b->kernels[0], first), SHARDS_MAX);
    cr_assert_lt(assign_shard(b->kernels[0], second), SHARDS_MAX);
    down();
}

/* ---- wills and delayed messages ---- */

Test(kernel_assign, a_delayed_message_comes_once_wherever_the_broker_that_publishes_it_is_killed)
{
    for (int twice = 0; twice < 2; twice++) {
        for (int turns = 0; turns < CUTS; turns++) {
            up(1, 1000, "$share/g/t/+", MEMBERS);
            for (unsigned i = 0; i < MEMBERS; i++) {
                leave(b, 0, members[i]);
            }
            for (int n = 0; n < MESSAGES; n++) {
                char text[16];
                snprintf(text, sizeof text, "%d", n);
                say(b, 0, ann, "$delayed/5/t/x", text, 2, (uint16_t)(n + 1));
            }
            settle(b);
            fake_world_advance(world, 6000000000ull);
            for (int death = 0; death <= twice; death++) {
                for (int i = 0; i < turns; i++) {
                    broker_turn(b, 1);
                }
                broker_kill(b);
                b = broker_new(world, 1, &limits);
            }
            settle(b);
            for (unsigned i = 0; i < MEMBERS; i++) {
                enter(b, 0, members[i], false, 1000);
            }
            each_came_once("delayed", turns);
            cr_assert_eq(fake_world_rows(world, TABLE_ASSIGNED), 0, "killed after %d turns", turns);
            down();
        }
    }
}

Test(kernel_assign, a_will_that_waits_for_a_live_member_is_given_to_one_that_is_there)
{
    up(1, 0, "$share/g/t/+", 2);
    struct actor *mortal = actor_new("mortal");
    struct will   will   = {.topic = bytes_str("t/x"), .payload = bytes_str("0"), .qos = 2};
    enter_will(b, 0, mortal, true, 0, will);
    leave(b, 0, mortal);
    kernel_close(b->kernels[0], &members[0]->client, &(struct close_request){0});
    settle(b);
    cr_assert_eq(members[0]->got_count + members[1]->got_count, 1);
    cr_assert_eq(fake_world_rows(world, TABLE_ASSIGNED), 0);
    actor_free(mortal);
    down();
}

/* MESSAGES delayed ones for live members of so many groups, of whom one leaves after so many turns: each comes once to each group. */
static void leaves_over_delayed_ones(int leaver, unsigned shards, int groups, int turns)
{
    up(shards, 0, "$share/g0/t/+", 2);
    for (int m = 0; m < 2 && groups > 1; m++) {
        cr_assert_eq(follow(b, (unsigned)m % shards, members[m], "$share/g1/t/+", 2), 2);
    }
    for (int n = 0; n < MESSAGES; n++) {
        char text[16];
        snprintf(text, sizeof text, "%d", n);
        say(b, 0, ann, "$delayed/5/t/x", text, 2, (uint16_t)(n + 1));
    }
    settle(b);
    fake_world_repeat(world,
                      groups == 1); /* two groups of which one is chosen from again write one row, without that */
    fake_world_advance(world, 6000000000ull);
    for (int i = 0; i < turns; i++) {
        broker_turn(b, 1);
    }
    kernel_close(b->kernels[(unsigned)leaver % shards], &members[leaver]->client, &(struct close_request){0});
    settle(b);
    pass(b, 3);
    int times[MESSAGES];
    count(times);
    for (int n = 0; n < MESSAGES; n++) {
        cr_assert_eq(times[n], groups, "%d left after %d turns, %u shards: message %d came %d times", leaver, turns,
                     shards, n, times[n]);
    }
    cr_assert_eq(fake_world_rows(world, TABLE_ASSIGNED), 0);
    down();
}

Test(kernel_assign, a_member_that_leaves_over_delayed_messages_makes_none_of_them_come_twice)
{
    for (int leaver = 0; leaver < 2; leaver++) {
        for (unsigned shards = 1; shards <= 2; shards++) {
            for (int turns = 0; turns < CUTS; turns++) {
                leaves_over_delayed_ones(leaver, shards, 1, turns);
                leaves_over_delayed_ones(leaver, shards, 2, turns);
            }
        }
    }
}

/* The senior is cut off over a will that it gives to one of two members at the other process, when one of them has left; what it had on its way to the store comes there when the
 * other one is done with it. */
static void cut_off_over_a_will(unsigned leaver, int turns, int more)
{
    two_up(0, 2);
    struct actor *mortal = actor_new("mortal");
    struct will will = {.topic = bytes_str("t/x"), .payload = bytes_str("0"), .qos = 2, .message_expiry_s = UINT32_MAX};
    join_at(b, members[2], "$share/g/t/+", 2);
    kernel_close(a->kernels[0], &members[0]->client, &(struct close_request){0});
    open_only(b, 0, mortal, true, 0, 50, &will);
    settle_two(a, b);
    kernel_close(b->kernels[0], &mortal->client, &(struct close_request){0});
    for (int i = 0; i < turns + more; i++) {
        if (i == turns) {
            kernel_close(b->kernels[0], &members[leaver]->client, &(struct close_request){0});
        }
        broker_turn(b, 1);
        broker_turn(a, 1);
    }
    fake_cut(a->stores[0], true);
    struct store_call call;
    take_for_dead(a, &call);
    settle(b);
    pass(b, 2);
    cr_assert_eq(fake_world_rows(world, TABLE_ASSIGNED), 0);
    fake_cut(a->stores[0], false);
    for (int i = 0; i < 5; i++) {
        settle_two(a, b);
    }
    cr_assert_eq(members[1]->got_count + members[2]->got_count, 1, "%u left after %d turns, cut off after %d more",
                 leaver, turns, more);
    cr_assert_eq(fake_world_rows(world, TABLE_ASSIGNED), 0, "%u left after %d turns, cut off after %d more", leaver,
                 turns, more);
    actor_free(mortal);
    broker_kill(a);
    down();
}

Test(kernel_assign, who_gets_a_will_is_its_heirs_to_say_when_a_process_was_taken_for_dead)
{
    for (unsigned leaver = 1; leaver <= 2; leaver++) {
        for (int turns = 0; turns < CUTS; turns++) {
            for (int more = 1; more < 8; more++) {
                cut_off_over_a_will(leaver, turns, more);
            }
        }
    }
}

/* ---- rows ---- */

Test(kernel_assign, a_row_that_is_cut_off_is_refused)
{
    up(1, 1000, "$share/g/t/+", 0);
    struct publisher p;
    publisher_init(&p, b->kernels[0], NULL, NULL);
    struct assignments all = {.count = 2};
    all.items              = all.few;
    all.few[0]             = (struct assigned){.hash = 1, .stream_id = 1ull << 48 | 7, .sub_id = 3, .flags = 2};
    all.few[1] = (struct assigned){.hash = 2, .life = 9, .serial = 4, .flags = 1, .attempt = 5, .apart = true};
    uint8_t            bytes[2 * ASSIGNED_BYTES];
    struct wire_writer w = wire_writer_fixed(bytes, sizeof bytes);
    assign_write(&w, &all);
    cr_assert(!w.bad && w.size == sizeof bytes);
    for (size_t size = 1; size < sizeof bytes; size++) {
        cr_assert(assign_restore(&p, 6, bytes_of(bytes, size)) == (size == ASSIGNED_BYTES));
    }
    assign_free(b->kernels[0], assign_recall(&p, 6));
    cr_assert(assign_restore(&p, 7, bytes_of(bytes, sizeof bytes)));
    cr_assert_null(assign_recall(&p, 6));
    struct assignments *back = assign_recall(&p, 7);
    cr_assert(back != NULL && back->again && back->count == 2);
    cr_assert_eq(back->items[0].stream_id, 1ull << 48 | 7);
    cr_assert_eq(back->items[0].sub_id, 3);
    cr_assert_eq(back->items[1].stream_id, 0);
    cr_assert_eq(back->items[1].life, 9);
    cr_assert_eq(back->items[1].serial, 4);
    cr_assert_eq(back->items[1].attempt, 5);
    cr_assert(!back->items[0].apart && back->items[1].apart && back->items[1].again);
    assign_free(b->kernels[0], back);
    bytes[ASSIGNED_BYTES] = 1; /* as a release before this one writes it */
    cr_assert(assign_restore(&p, 9, bytes_of(bytes, sizeof bytes)));
    back = assign_recall(&p, 9);
    cr_assert(back->items[1].life == 9 && !back->items[1].apart);
    assign_free(b->kernels[0], back);
    bytes[15 + 7] = 0xff; /* a stripe that there is not */
    cr_assert_not(assign_restore(&p, 8, bytes_of(bytes, sizeof bytes)));
    publisher_fini(&p);
    down();
}
