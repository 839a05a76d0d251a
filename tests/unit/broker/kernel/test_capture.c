/* Capture rules and those who read what was captured. */
#include "broker/kernel/capture.h"
#include "broker/kernel/reader.h"
#include "shared/base/err.h"
#include "tests/unit/broker/kernel/stage.h"

#include <criterion/criterion.h>
#include <stdio.h>

static struct fake_world *world;
static struct broker     *b;
static struct actor      *ann; /* publishes */
static struct actor      *bob; /* reads */
static unsigned           away;

static void up(unsigned shards)
{
    world = fake_world_new(STAGE_STRIPES, 0);
    b     = broker_new(world, shards, NULL);
    ann   = actor_new("ann");
    bob   = actor_new("bob");
    away  = shards - 1;
    enter(b, 0, ann, true, 0);
}

static void down(void)
{
    broker_kill(b);
    fake_world_free(world);
    actor_free(ann);
    actor_free(bob);
}

static int answered;
static int answer;

static void on_done(struct capture_request *request, int status)
{
    (void)request;
    answered++;
    answer = status;
}

static struct capture_request request_of(const char *name, const char *filter)
{
    struct capture_request r = {.done = on_done};
    r.rule.name_size         = (uint32_t)strlen(name);
    r.rule.filter_size       = (uint32_t)strlen(filter);
    memcpy(r.rule.name, name, r.rule.name_size);
    memcpy(r.rule.filter, filter, r.rule.filter_size);
    return r;
}

static int ask(void (*verb)(struct kernel *, struct capture_request *), struct capture_request *r)
{
    answered = 0;
    verb(b->kernels[away], r);
    settle(b);
    cr_assert_eq(answered, 1);
    return answer;
}

static int rule(const char *name, const char *filter, bool latest)
{
    struct capture_request r = request_of(name, filter);
    r.rule.latest            = latest;
    return ask(capture_put, &r);
}

static struct capture_request stat_of(const char *name)
{
    struct capture_request r = request_of(name, "");
    cr_assert_eq(ask(capture_stat, &r), 0);
    return r;
}

static void said(const char *topic, const char *payload, uint8_t qos)
{
    say(b, 0, ann, topic, payload, qos, qos == 0 ? 0 : 1);
    settle(b);
    ann->published_count = 0;
    if (qos == 2) {
        kernel_publish_release(b->kernels[0], &ann->client, 1);
        settle(b);
    }
}

static void say_numbers(int from, int to)
{
    for (int i = from; i < to; i++) {
        char text[12];
        snprintf(text, sizeof text, "%d", i);
        said("t", text, 1);
    }
}

Test(kernel_capture, every_qos_is_kept_and_read_again_from_the_first)
{
    for (unsigned shards = 1; shards <= 3; shards += 2) {
        up(shards);
        cr_assert_eq(rule("s", "t/#", false), 0);
        said("t/a", "0", 0);
        said("t", "1", 1);
        said("u", "no", 1);
        said("t/b", "2", 2);
        cr_assert_eq(stat_of("s").stat.count, 3);
        enter(b, away, bob, true, 0);
        cr_assert_eq(follow(b, away, bob, "$stream/s", 2), 1);
        cr_assert(heard(bob, "0 1 2"));
        cr_assert(bob->gots[0].qos == 0 && bob->gots[1].qos == 1 && bob->gots[2].qos == 1);
        cr_assert_str_eq(bob->gots[2].topic, "t/b");
        cr_assert(strstr(bob->gots[2].properties, "keel-offset..2") != NULL, "%s", bob->gots[2].properties);
        cr_assert(strstr(bob->gots[2].properties, "keel-time..2023-11-14T22:13:20.000Z") != NULL);
        said("t/c", "3", 1);
        cr_assert(heard(bob, "0 1 2 3"));
        cr_assert_eq(unfollow(b, away, bob, "$stream/s"), 0);
        cr_assert_eq(unfollow(b, away, bob, "$stream/s"), ERR_NOT_FOUND);
        said("t/c", "4", 1);
        cr_assert_eq(bob->got_count, 4);
        leave(b, away, bob);
        down();
    }
}

Test(kernel_capture, a_puback_waits_until_the_stream_has_the_message)
{
    up(1);
    cr_assert_eq(rule("s", "#", false), 0);
    say(b, 0, ann, "t", "x", 1, 7);
    cr_assert_eq(ann->published_count, 0);
    settle(b);
    cr_assert(ann->published_count == 1 && ann->published[0].status == 0 && ann->published[0].matched);
    fake_world_refuse_appends(world, ERR_DISK_FULL);
    say(b, 0, ann, "t", "y", 1, 8);
    settle(b);
    cr_assert(ann->published_count == 2 && ann->published[1].status == ERR_DISK_FULL);
    down();
}

Test(kernel_capture, where_to_begin_is_said_in_the_filter_or_beside_it)
{
    up(1);
    cr_assert_eq(rule("s", "t", false), 0);
    say_numbers(0, 4);
    pass(b, 100);
    say_numbers(4, 6);
    static const struct {
        const char *filter, *from, *heard;
    } cases[] = {
        {"$stream/s", "", "0 1 2 3 4 5"},
        {"$stream/s/from/first", "", "0 1 2 3 4 5"},
        {"$stream/s", "last", "5"},
        {"$stream/s", "next", ""},
        {"$stream/s", "offset:4", "4 5"},
        {"$stream/s/from/offset:99", "", ""},
        {"$stream/s", "time:2023-11-14T22:14:00Z", "4 5"},
        {"$stream/s/from/time:2020-01-01T00:00:00Z", "", "0 1 2 3 4 5"},
        {"$stream/s", "time:2100-01-01T00:00:00Z", ""},
        {"$stream/s/from/last", "first", "5"}, /* what the filter says counts */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        enter(b, 0, bob, true, 0);
        int granted = follow_with(
            b, 0, bob,
            (struct subscription){.filter = bytes_str(cases[i].filter), .from = bytes_str(cases[i].from), .qos = 1});
        cr_assert(granted == 1 && heard(bob, cases[i].heard), "%zu", i);
        leave(b, 0, bob);
        actor_clear(bob);
    }
    enter(b, 0, bob, true, 0);
    static const struct {
        const char *filter, *from;
        int         error;
    } bad[] = {{"$stream/none", "", ERR_NOT_FOUND},     {"$stream/", "", ERR_MALFORMED},
               {"$stream/s/x", "", ERR_MALFORMED},      {"$stream/+", "", ERR_MALFORMED},
               {"$stream/s/from/", "", ERR_MALFORMED},  {"$stream/s/from/soon", "", ERR_MALFORMED},
               {"$stream/s", "offset:", ERR_MALFORMED}, {"$stream/s", "offset:99999999999999999999", ERR_MALFORMED}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct subscription sub = {.filter = bytes_str(bad[i].filter), .from = bytes_str(bad[i].from), .qos = 1};
        cr_assert_eq(follow_with(b, 0, bob, sub), bad[i].error, "%zu", i);
    }
    struct subscription local = {.filter = bytes_str("$stream/s"), .no_local = true};
    cr_assert_eq(follow_with(b, 0, bob, local), ERR_DENIED);
    cr_assert_eq(follow(b, 0, bob, "$share/g/$stream/s", 1), ERR_DENIED);
    cr_assert_eq(follow(b, 0, bob, "$exclusive/$stream/s", 1), ERR_DENIED);
    down();
}

/* Which of its deliveries carries that payload, from the last one on. */
static int got_of(const char *payload)
{
    for (int i = bob->got_count; i-- > 0;) {
        if (strcmp(bob->gots[i].payload, payload) == 0) {
            return i;
        }
    }
    return -1;
}

Test(kernel_capture, a_stored_session_goes_on_behind_what_it_acknowledged)
{
    for (int killed = 0; killed < 2; killed++) {
        up(2);
        cr_assert_eq(rule("s", "t", false), 0);
        say_numbers(0, 6);
        enter(b, 1, bob, true, 1000);
        cr_assert_eq(follow(b, 1, bob, "$stream/s", 1), 1);
        cr_assert(heard(bob, "0 1 2 3 4 5"));
        cr_assert_eq(ack(b, 1, bob, 0, 1), 0);
        cr_assert_eq(ack(b, 1, bob, 1, 1), 0);
        cr_assert_eq(ack(b, 1, bob, 3, 1), 0); /* ahead: 2 holds it back */
        settle(b);
        if (killed) {
            broker_kill(b);
            b = broker_new(world, 2, NULL);
            enter(b, 0, ann, true, 0);
        } else {
            leave(b, 1, bob);
        }
        say_numbers(6, 7);
        actor_clear(bob);
        enter(b, 0, bob, false, 1000);
        cr_assert(heard(bob, "2 3 4 5 6"));
        cr_assert_eq(follow(b, 0, bob, "$stream/s", 1), 1); /* as libraries do on every connection */
        cr_assert_eq(bob->got_count, 5);
        struct subscription again = {.filter = bytes_str("$stream/s"), .from = bytes_str("offset:5"), .qos = 1};
        actor_clear(bob);
        cr_assert_eq(follow_with(b, 0, bob, again), 1);
        cr_assert(heard(bob, "5 6"));
        cr_assert_eq(unfollow(b, 0, bob, "$stream/s"), 0);
        cr_assert_eq(fake_world_rows(world, TABLE_CURSORS), 0);
        cr_assert_eq(fake_world_rows(world, TABLE_SUBSCRIPTIONS), 0);
        leave(b, 0, bob);
        down();
    }
}

Test(kernel_capture, a_session_that_ends_leaves_no_cursor)
{
    up(1);
    cr_assert_eq(rule("s", "t", false), 0);
    enter(b, 0, bob, true, 10);
    cr_assert_eq(follow(b, 0, bob, "$stream/s", 1), 1);
    cr_assert_eq(fake_world_rows(world, TABLE_CURSORS), 1);
    leave(b, 0, bob);
    pass(b, 20);
    cr_assert_eq(fake_world_rows(world, TABLE_CURSORS), 0);
    enter(b, 0, bob, false, 10);
    cr_assert_eq(follow(b, 0, bob, "$stream/s", 1), 1);
    leave(b, 0, bob);
    enter(b, 0, bob, true, 10);
    cr_assert_eq(fake_world_rows(world, TABLE_CURSORS), 0);
    down();
}

/* Its own messages and captured ones together never pass the Receive Maximum, and both come. */
Test(kernel_capture, slots_are_shared_with_the_sessions_own_messages)
{
    for (int stored = 0; stored < 2; stored++) {
        for (uint16_t most = 1; most <= 5; most++) {
            up(1);
            cr_assert_eq(rule("s", "t", false), 0);
            say_numbers(0, 20);
            open_only(b, 0, bob, true, stored ? 1000 : 0, most, NULL);
            settle(b);
            cr_assert_eq(follow(b, 0, bob, "own", 1), 1);
            cr_assert_eq(follow(b, 0, bob, "$stream/s", 1), 1);
            for (int i = 0; i < 20; i++) {
                said("own", "o", 1);
            }
            int acked = 0;
            while (acked < bob->got_count) {
                cr_assert(bob->got_count - acked <= most, "%d under way, %d", bob->got_count - acked, most);
                cr_assert_eq(ack(b, 0, bob, acked++, 1), 0);
                settle(b);
            }
            cr_assert_eq(acked, 40, "%d of 40, most %d, stored %d", acked, most, stored);
            int numbers = 0;
            for (int i = 0; i < acked; i++) {
                numbers += bob->gots[i].payload[0] != 'o' && atoi(bob->gots[i].payload) == numbers;
            }
            cr_assert_eq(numbers, 20);
            leave(b, 0, bob);
            down();
        }
    }
}

Test(kernel_capture, a_full_output_is_waited_for)
{
    up(1);
    cr_assert_eq(rule("s", "t", false), 0);
    for (int i = 0; i < 5; i++) {
        said("t", "x", 0);
    }
    enter(b, 0, bob, true, 0);
    bob->full_in = 2;
    cr_assert_eq(follow(b, 0, bob, "$stream/s", 1), 1);
    cr_assert_eq(bob->got_count, 2);
    bob->full    = false;
    bob->full_in = -1;
    kernel_writable(b->kernels[0], &bob->client);
    settle(b);
    cr_assert_eq(bob->got_count, 5);
    leave(b, 0, bob);
    down();
}

Test(kernel_capture, the_latest_of_each_topic_come_first_then_what_follows)
{
    up(2);
    cr_assert_eq(rule("l", "t/#", true), 0);
    said("t/a", "1", 1);
    said("t/b", "2", 1);
    said("t/a", "3", 1);
    enter(b, 1, bob, true, 0);
    cr_assert_eq(follow(b, 1, bob, "$stream/l", 1), 1);
    cr_assert(heard(bob, "2 3"));
    said("t/c", "4", 1);
    cr_assert(heard(bob, "2 3 4"));
    cr_assert_eq(rule("l", "t/#", false), ERR_EXISTS);
    cr_assert_eq(stat_of("l").stat.count, 3);
    down();
}

Test(kernel_capture, a_rule_that_goes_and_comes_again_is_read_anew)
{
    up(2);
    cr_assert_eq(rule("s", "t", false), 0);
    say_numbers(0, 2);
    enter(b, 0, bob, true, 1000);
    cr_assert_eq(follow(b, 0, bob, "$stream/s", 1), 1);
    cr_assert(heard(bob, "0 1"));
    struct capture_request r = request_of("s", "");
    cr_assert_eq(ask(capture_delete, &r), 0);
    cr_assert_eq(ask(capture_delete, &r), ERR_NOT_FOUND);
    say_numbers(2, 3);
    cr_assert(heard(bob, "0 1"));
    cr_assert_eq(rule("s", "t", false), 0);
    say_numbers(3, 4);
    cr_assert(heard(bob, "0 1 3"));
    cr_assert_geq(got_of("3"), 0);
    cr_assert_eq(ack(b, 0, bob, got_of("0"), 1), 0);
    leave(b, 0, bob);
    down();
}

Test(kernel_capture, a_rule_is_known_again_after_a_restart_and_a_lost_watch)
{
    up(2);
    cr_assert_eq(rule("s", "t", false), 0);
    cr_assert_eq(rule("s", "u", false), 0); /* another filter */
    broker_kill(b);
    b = broker_new(world, 2, NULL);
    enter(b, 0, ann, true, 0);
    said("t", "no", 1);
    said("u", "yes", 1);
    for (uint32_t shard = 0; shard < FAKE_SHARDS; shard++) {
        fake_reconnect(b->stores[0], shard);
    }
    settle(b);
    said("u", "again", 1);
    cr_assert_eq(stat_of("s").stat.count, 2);
    struct capture_request bad = request_of("a/b", "t");
    cr_assert_eq(ask(capture_put, &bad), ERR_MALFORMED);
    bad = request_of("a", "t/#/x");
    cr_assert_eq(ask(capture_put, &bad), ERR_MALFORMED);
    bad = request_of("a", "$share/g/x");
    cr_assert_eq(ask(capture_put, &bad), ERR_MALFORMED);
    down();
}
