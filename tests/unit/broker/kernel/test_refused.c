/* A QoS 2 message that a full queue refuses while its stripe takes one that the client, which is not told, had sent behind it: sent again it is in all
 * queues once, wherever the broker dies. */
#include "broker/kernel/publish.h"
#include "broker/kernel/tables.h"
#include "shared/base/err.h"
#include "shared/rpc/op.h"
#include "tests/unit/broker/kernel/stage.h"

#include <criterion/criterion.h>
#include <stdio.h>

enum { QUEUE_RECORDS_MAX = 3, FIRST = 9, SECOND = 10, OTHERS = 3 * STAGE_STRIPES, STEPS_MAX = 40 };

static struct fake_world *world;
static struct broker     *b;
static struct actor      *pub;
static struct actor      *full;           /* its queue takes nothing more .. */
static struct actor      *others[OTHERS]; /* .. and those, in every stripe, do */
static bool               members;        /* the others share the first topic */

static void enter_others(void)
{
    for (int i = 0; i < OTHERS; i++) {
        enter(b, 0, others[i], false, 1000);
    }
}

static void begin_with(bool shared)
{
    members = shared;
    world   = fake_world_new(STAGE_STRIPES, QUEUE_RECORDS_MAX);
    b       = broker_new(world, 1, NULL);
    full    = actor_new("full");
    pub     = actor_new("publisher");
    enter(b, 0, full, false, 1000);
    follow(b, 0, full, "first", 2);
    follow(b, 0, full, "before", 1);
    leave(b, 0, full);
    enter(b, 0, pub, false, 1000);
    for (uint16_t id = 1; id <= QUEUE_RECORDS_MAX; id++) {
        say(b, 0, pub, "before", "x", 1, id);
    }
    settle(b);
    leave(b, 0, pub);
    for (int i = 0; i < OTHERS; i++) {
        char text[32];
        snprintf(text, sizeof text, "other %d", i);
        others[i] = actor_new(text);
        enter(b, 0, others[i], false, 1000);
        snprintf(text, sizeof text, "$share/group %d/first", i);
        follow(b, 0, others[i], shared ? text : "second", 2);
    }
    pub->untold = true;
    enter(b, 0, pub, false, 1000);
    actor_clear(pub);
}

static void begin(void)
{
    begin_with(false);
}

static void end(void)
{
    broker_kill(b);
    fake_world_free(world);
    actor_free(pub);
    actor_free(full);
    for (int i = 0; i < OTHERS; i++) {
        actor_free(others[i]);
    }
}

TestSuite(kernel_refused, .init = begin, .fini = end);

/* What filled the queue is taken and acknowledged. */
static void make_room(void)
{
    enter(b, 0, full, false, 1000);
    for (int i = 0; i < full->got_count; i++) {
        if (full->gots[i].qos == 1) {
            ack(b, 0, full, i, 1);
        }
    }
    settle(b);
}

static void send_both(void)
{
    say(b, 0, pub, "first", "first", 2, FIRST);
    say(b, 0, pub, "second", "second", 2, SECOND);
}

static void both_came_once(const char *when, int steps)
{
    cr_assert_geq(pub->published_count, 2);
    for (int i = 1; i <= 2; i++) {
        cr_assert_eq(pub->published[pub->published_count - i].status, 0, "%s %d", when, steps);
    }
    cr_assert_eq(times_heard(full, "first"), 1, "%s %d: the queue that was full has it %d times", when, steps,
                 times_heard(full, "first"));
    for (int i = 0; i < OTHERS; i++) {
        const char *text = members ? "first" : "second";
        cr_assert_eq(times_heard(others[i], text), 1, "%s %d: %s has it %d times", when, steps, others[i]->id,
                     times_heard(others[i], text));
    }
    for (uint16_t id = FIRST; id <= SECOND; id++) {
        kernel_publish_release(b->kernels[0], &pub->client, id);
    }
    settle(b);
    cr_assert_eq(fake_world_rows(world, TABLE_INBOUND), 0);
}

Test(kernel_refused, what_a_full_queue_refused_is_in_it_when_it_comes_again_behind_a_later_one)
{
    send_both();
    settle(b);
    cr_assert_eq(pub->published[0].status, ERR_QUOTA);
    cr_assert_eq(pub->published[1].status, 0);
    leave(b, 0, pub);
    make_room();
    enter(b, 0, pub, false, 1000);
    send_both();
    settle(b);
    both_came_once("with nothing killed", 0);
}

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

static void killed_after(int steps)
{
    send_both();
    go_on(steps);
    broker_kill(b);
    b = broker_new(world, 1, NULL);
    enter_others();
    make_room();
    enter(b, 0, pub, false, 1000);
    send_both();
    settle(b);
    both_came_once("killed after", steps);
}

Test(kernel_refused, so_it_is_wherever_the_broker_dies)
{
    for (int steps = 0; steps <= STEPS_MAX; steps++) {
        killed_after(steps);
        end();
        begin();
    }
}

Test(kernel_refused, what_one_queue_of_a_stripe_refused_and_members_of_groups_in_it_took_is_in_all_once)
{
    for (int steps = 0; steps <= STEPS_MAX; steps++) {
        end();
        begin_with(true);
        killed_after(steps);
    }
}

/* What this shard counts itself: QoS 1, and QoS 2 of a session that is not stored. */
static void asked_again(uint32_t expiry_s, uint8_t qos)
{
    leave(b, 0, pub);
    enter(b, 0, pub, true, expiry_s);
    say(b, 0, pub, "first", "first", qos, FIRST);
    say(b, 0, pub, "second", "second", qos, SECOND);
    while (fake_apply(b->stores[0], 1)) {
    }
    fake_ask_again(b->stores[0]);
    settle(b);
    cr_assert_eq(pub->published_count, 2);
    cr_assert_eq(pub->published[0].status, ERR_QUOTA, "it is in no queue");
    cr_assert_eq(pub->published[1].status, 0);
    enter_others();
    for (int i = 0; i < OTHERS; i++) {
        cr_assert_eq(times_heard(others[i], "second"), 1, "%s has it %d times", others[i]->id,
                     times_heard(others[i], "second"));
    }
}

Test(kernel_refused, what_was_refused_is_not_taken_for_a_duplicate_when_the_store_is_asked_again_qos_1)
{
    asked_again(1000, 1);
}

Test(kernel_refused, what_was_refused_is_not_taken_for_a_duplicate_when_the_store_is_asked_again_qos_2)
{
    asked_again(0, 2);
}

/* A bridge is not told either, and its connection may go on. */
Test(kernel_refused, what_is_in_doubt_is_alone_in_its_lane_while_its_client_stays)
{
    say(b, 0, pub, "first", "first", 2, FIRST);
    settle(b);
    cr_assert_eq(pub->published[0].status, ERR_QUOTA);
    say(b, 0, pub, "second", "second", 2, SECOND);
    settle(b);
    make_room();
    say(b, 0, pub, "first", "first", 2, FIRST);
    settle(b);
    both_came_once("with nothing killed", 0);
}

Test(kernel_refused, what_is_in_doubt_from_before_is_not_passed_by_a_new_message)
{
    say(b, 0, pub, "first", "first", 2, FIRST);
    settle(b);
    leave(b, 0, pub);
    make_room();
    enter(b, 0, pub, false, 1000);
    say(b, 0, pub, "second", "second", 2, SECOND);
    say(b, 0, pub, "first", "first", 2, FIRST);
    settle(b);
    both_came_once("with nothing killed", 0);
}

/* The row that says so stays: the next message that says the same is taken for the same. */
Test(kernel_refused, what_is_not_forgotten_is_alone_in_its_lane_though_its_client_was_told)
{
    leave(b, 0, pub);
    pub->untold = false;
    enter(b, 0, pub, false, 1000);
    fake_world_refuse_deletes(world, TABLE_INBOUND, ERR_DISK_FULL);
    send_both();
    settle(b);
    cr_assert_eq(pub->published[0].status, ERR_QUOTA);
    say(b, 0, pub, "second", "third", 2, SECOND + 1);
    settle(b);
    cr_assert_eq(pub->published[2].status, 0);
    fake_world_refuse_deletes(world, TABLE_INBOUND, 0);
    broker_kill(b);
    b = broker_new(world, 1, NULL);
    enter_others();
    make_room();
    enter(b, 0, pub, false, 1000);
    kernel_publish_release(b->kernels[0], &pub->client, SECOND + 1);
    send_both();
    settle(b);
    both_came_once("with nothing forgotten", 0);
}

Test(kernel_refused, another_message_under_an_id_in_doubt_leaves_the_lane_of_that_one_alone)
{
    say(b, 0, pub, "first", "of the past", 2, FIRST);
    go_on(4); /* its row is there */
    broker_kill(b);
    b = broker_new(world, 1, NULL);
    enter_others();
    make_room();
    enter(b, 0, pub, false, 1000);
    send_both();
    settle(b);
    both_came_once("with an id that was in doubt", 0);
}

static uint32_t lanes_used(void)
{
    return pub->client.session->publisher->lanes.capacity;
}

Test(kernel_refused, a_publisher_has_as_many_lanes_as_messages_under_way)
{
    enum { MANY = 60 };
    leave(b, 0, pub);
    pub->untold = false;
    enter(b, 0, pub, false, 1000);
    for (uint16_t id = FIRST; id < FIRST + MANY; id++) {
        say(b, 0, pub, id % 2 == 0 ? "first" : "nobody", "x", 2, id);
        settle(b);
        cr_assert_eq(pub->published[pub->published_count - 1].status, id % 2 == 0 ? ERR_QUOTA : 0);
    }
    uint32_t few = lanes_used();
    cr_assert_leq(few, 4);
    for (uint16_t id = FIRST + MANY; id < FIRST + 2 * MANY; id++) {
        say(b, 0, pub, "nobody", "x", 2, id);
    }
    settle(b);
    cr_assert_geq(lanes_used(), MANY);
}

Test(kernel_refused, a_shard_has_as_many_lanes_in_a_stripe_as_appends_under_way)
{
    enum { SOME = 20 };
    const struct kernel *k = b->kernels[0];
    for (uint16_t id = FIRST; id < FIRST + SOME; id++) {
        say(b, 0, pub, id % 2 == 0 ? "first" : "second", "x", 1, id);
        settle(b);
    }
    for (uint32_t i = 0; i < k->stripe_count; i++) {
        cr_assert_leq(k->stripe_lanes[i].capacity, 4);
    }
}

static void put(struct store_call *call, int status, struct bytes results)
{
    (void)call;
    (void)results;
    cr_assert_eq(status, 0);
}

/* A row as brokers before this one wrote it: all messages of a session in one writer. */
static void put_old_row(uint16_t id, uint64_t count)
{
    static uint8_t      key[SUB_KEY_MAX_BYTES];
    static uint8_t      name[NAME_MAX_BYTES];
    uint8_t             value[INBOUND_ROW_MAX_BYTES];
    struct bytes        client = bytes_str("publisher");
    struct inbound_row  row    = {.writer_epoch = 1, .sequence = publish_sequence(1, count)};
    struct store       *store  = b->stores[0];
    struct store_call   call   = {.done = put};
    struct wire_writer *w      = store_txn_begin(store, store_stripe(store, tables_stream(name, client)));
    const struct op     op     = {.kind  = OP_TABLE_PUT,
                                  .table = TABLE_INBOUND,
                                  .name  = tables_inbound_key(key, client, id),
                                  .value = inbound_row_write(value, &row)};
    op_encode(w, &op);
    store_txn_end(store, &call);
    settle(b);
}

Test(kernel_refused, what_an_earlier_release_numbered_is_taken_in_any_order)
{
    enum { OLD = 3 };
    const char *const texts[OLD] = {"a", "b", "c"};
    leave(b, 0, pub);
    for (uint16_t i = 0; i < OLD; i++) {
        put_old_row(FIRST + i, i + 1u);
    }
    broker_kill(b);
    b = broker_new(world, 1, NULL);
    enter_others();
    enter(b, 0, pub, false, 1000);
    say(b, 0, pub, "second", texts[1], 2, FIRST + 1);
    say(b, 0, pub, "second", texts[0], 2, FIRST);
    say(b, 0, pub, "second", texts[2], 2, FIRST + 2);
    settle(b);
    cr_assert_eq(pub->published_count, OLD);
    for (int text = 0; text < OLD; text++) {
        cr_assert_eq(pub->published[text].status, 0);
        for (int i = 0; i < OTHERS; i++) {
            cr_assert_eq(times_heard(others[i], texts[text]), 1, "%s has %s %d times", others[i]->id, texts[text],
                         times_heard(others[i], texts[text]));
        }
    }
}
