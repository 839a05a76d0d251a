#include "broker/kernel/stored.h"

#include "broker/kernel/route.h"
#include "broker/kernel/topic.h"
#include "shared/base/rand.h"
#include "tests/unit/broker/kernel/stage.h"

#include <criterion/criterion.h>
#include <stdio.h>

static struct fake_world *world;
static struct broker     *b;
static struct actor      *bob; /* stored */
static struct actor      *ann; /* publishes at the last shard */

static void up(unsigned shards)
{
    world = fake_world_new(STAGE_STRIPES, 10000);
    b     = broker_beside(world, shards, NULL, NULL);
    bob   = actor_new("bob");
    ann   = actor_new("ann");
    enter(b, shards - 1, ann, true, 0);
}

static void down(void)
{
    broker_kill(b);
    fake_world_free(world);
    actor_free(bob);
    actor_free(ann);
}

/* What QoS 0 does, that nobody keeps. */
static bool reaches(struct actor *actor)
{
    actor_clear(actor);
    say(b, b->shard_count - 1, ann, "t", "now", 0, 0);
    settle(b);
    return heard(actor, "now");
}

static uint64_t seen_at(unsigned shard)
{
    const struct stored *stored = stored_find(b->kernels[shard], bytes_str("bob"));
    return stored == NULL ? 0 : stored->at;
}

Test(kernel_stored, qos_0_follows_a_session_from_shard_to_shard_and_ends_with_its_connection)
{
    up(3);
    enter(b, 0, bob, false, 1000);
    follow(b, 0, bob, "t", 1);
    cr_expect(reaches(bob));
    cr_expect_eq(seen_at(2), 1);
    struct actor *heir = actor_new("bob");
    enter(b, 1, heir, false, 1000);
    cr_assert_eq(bob->evicted, 1);
    cr_assert(heir->present);
    cr_expect(reaches(heir));
    cr_expect_eq(seen_at(2), 2);
    cr_expect_eq(seen_at(1), 0);
    leave(b, 1, heir);
    cr_expect_eq(seen_at(2), 0);
    enter(b, 2, heir, false, 1000); /* where the publisher is */
    cr_expect(reaches(heir));
    unfollow(b, 2, heir, "t");
    cr_expect_not(reaches(heir));
    leave(b, 2, heir);
    for (unsigned i = 0; i < 3; i++) {
        cr_expect_null(stored_find(b->kernels[i], bytes_str("bob")));
    }
    actor_free(heir);
    down();
}

Test(kernel_stored, nothing_is_kept_of_a_session_that_had_shared_subscriptions_alone)
{
    up(2);
    enter(b, 0, bob, false, 1000);
    follow(b, 0, bob, "$share/g/t", 1);
    cr_expect_eq(seen_at(1), 0); /* the group knows where its members are */
    leave_with(b, 0, bob, (struct close_request){.set_expiry = true});
    settle(b);
    pass(b, 5);
    settle(b);
    cr_expect_null(stored_find(b->kernels[0], bytes_str("bob")));
    cr_expect_null(stored_find(b->kernels[1], bytes_str("bob")));
    down();
}

Test(kernel_stored, qos_0_follows_a_session_to_another_process_and_forgets_one_that_died)
{
    up(1);
    struct broker *other = broker_beside(world, 2, b, NULL);
    open_only(other, 1, bob, false, 1000, 50, NULL);
    settle_two(b, other);
    struct subscription s = {.filter = bytes_str("t/+"), .qos = 1};
    kernel_subscribe(other->kernels[1], &bob->client, 1, &s, 1);
    settle_two(b, other);
    say(b, 0, ann, "t/1", "a", 0, 0);
    settle_two(b, other);
    cr_expect(heard(bob, "a"));
    struct broker *third = broker_beside(world, 1, b, other); /* it is told what stood before */
    cr_expect_neq(stored_find(third->kernels[0], bytes_str("bob"))->at, 0);
    broker_kill(third);
    cr_expect_neq(seen_at(0), 0);
    broker_kill(other);
    settle(b);
    pass(b, 20); /* the lease */
    settle(b);
    cr_expect_eq(seen_at(0), 0);
    cr_expect_eq(b->kernels[0]->rows.count, 1);
    down();
}

Test(kernel_stored, where_it_is_seen_does_not_hang_on_the_order_in_which_shards_say_so)
{
    up(1);
    struct kernel *k  = b->kernels[0];
    struct bytes   id = bytes_str("bob");
    stored_seen(k, 1, id, false); /* nothing is known of it */
    cr_expect_null(stored_find(k, id));
    stored_seen(k, 2, id, true);
    stored_seen(k, 1, id, true); /* it was there before, and this took longer */
    stored_seen(k, 1, id, false);
    cr_expect_eq(seen_at(0), 1 << 2);
    stored_seen(k, 3, id, true);
    stored_lost(k, 1 << 2);
    cr_expect_eq(seen_at(0), 1 << 3);
    stored_lost(k, 1 << 3);
    cr_expect_null(stored_find(k, id));
    cr_expect_eq(kernel_counters(k)->stored_sessions, 0);
    down();
}

/* A shard that is slow to hear of the store knows of a session what was before; its publishes are not for the one of the same name that is now. */
Test(kernel_stored, a_new_session_gets_nothing_that_an_earlier_one_of_its_name_asked_for)
{
    for (unsigned slow = 0; slow < 2; slow++) {
        up(2);
        enter(b, 0, bob, false, 1000);
        follow(b, 0, bob, "old", 1);
        follow(b, 0, bob, "old/+", 0);
        leave(b, 0, bob);
        fake_cut(b->stores[1], true);
        enter(b, 0, bob, true, 1000);
        follow(b, 0, bob, "new", 1);
        actor_clear(bob);
        say(b, 1, ann, slow == 0 ? "old" : "old/1", "1", 0, 0);
        say(b, 1, ann, slow == 0 ? "old" : "old/1", "2", 1, 1);
        say(b, 1, ann, "new", "3", 1, 2);
        settle(b);
        fake_cut(b->stores[1], false);
        settle(b);
        cr_expect(heard(bob, "3"), "%d", bob->got_count);
        down();
    }
}

Test(kernel_stored, a_row_of_an_earlier_session_that_is_shown_late_is_passed_over)
{
    up(1);
    struct kernel *k = b->kernels[0];
    enter(b, 0, bob, false, 1000);
    follow(b, 0, bob, "new", 1);
    const struct stored *stored = stored_find(k, bytes_str("bob"));
    uint8_t              bytes[SUB_ROW_BYTES];
    struct sub_row       row = {.flags = 1, .stream_id = stored->who.stream_id ^ 1};
    uint8_t              key[64];
    struct store_item    item = {.key     = tables_sub_key(key, bytes_str("bob"), bytes_str("old")),
                                 .value   = sub_row_write(bytes, &row),
                                 .version = stored->version - 1};
    k->routes.changed(&k->routes, &item);
    cr_expect_eq(stored->rows.count, 1);
    cr_expect(route_has(bob->client.session, bytes_str("new")));
    item.version = stored->version + 1; /* a newer session: it was ended elsewhere, and that is not known here */
    k->routes.changed(&k->routes, &item);
    cr_expect_eq(stored->rows.count, 1);
    cr_expect_eq(stored->who.stream_id, row.stream_id);
    cr_expect_not(route_has(bob->client.session, bytes_str("new")));
    actor_clear(bob);
    say(b, 0, ann, "old", "not his", 0, 0);
    settle(b);
    cr_expect(heard(bob, ""));
    leave(b, 0, bob);
    down();
}

/* ---- rights ---------------------------------------------------------------------------------------------------------- */

static char     filters[200][40];
static unsigned filter_count;

static void note(void *ctx, struct bytes filter, uint8_t qos)
{
    (void)ctx;
    snprintf(filters[filter_count++], sizeof filters[0], "%.*s %u", (int)filter.size, (const char *)filter.data, qos);
}

static bool noted(const char *text)
{
    for (unsigned i = 0; i < filter_count; i++) {
        if (strcmp(filters[i], text) == 0) {
            return true;
        }
    }
    return false;
}

Test(kernel_stored, a_client_is_asked_after_all_its_filters_shared_ones_and_those_without_a_shape_too)
{
    enum { SHAPES = SHAPES_MAX + 6 };
    up(2);
    enter(b, 0, bob, false, 1000);
    follow(b, 0, bob, "a", 0);
    follow(b, 0, bob, "a", 2);
    follow(b, 0, bob, "$share/g/c", 1);
    char deep[80];
    for (unsigned i = 0; i < SHAPES; i++) {
        size_t at = (size_t)sprintf(deep, "x");
        for (unsigned bit = 0; bit < 7; bit++) {
            at += (size_t)sprintf(deep + at, "/%s", (i >> bit & 1) != 0 ? "y" : "+");
        }
        follow(b, 0, bob, deep, i % 2);
    }
    cr_assert_eq(b->kernels[1]->rows.count, 1 + SHAPES_MAX);
    leave(b, 0, bob);
    enter(b, 0, bob, false, 1000);
    actor_clear(bob);
    say(b, 1, ann, "x/y/y/y/y/y/y/y", "0", 0, 0);
    say(b, 1, ann, "x/y/y/y/y/y/y/y", "1", 1, 1);
    settle(b);
    cr_expect(heard(bob, "0 1") || heard(bob, "1 0"));
    kernel_subscriptions(b->kernels[0], &bob->client, note, NULL);
    cr_expect_eq(filter_count, 2 + SHAPES);
    cr_expect(noted("a 2") && noted("$share/g/c 1"));
    cr_expect(noted("x/+/+/+/+/+/+/+ 0") && noted("x/y/+/y/+/+/+/y 1"));
    cr_expect_eq(kernel_counters(b->kernels[0])->stored_subscriptions_open, 2 + SHAPES);
    while (filter_count != 0) {
        char *filter          = filters[--filter_count];
        *strrchr(filter, ' ') = 0;
        cr_assert_eq(unfollow(b, 0, bob, filter), 0, "%s", filter);
    }
    cr_expect_eq(kernel_counters(b->kernels[0])->stored_subscriptions_open, 0);
    cr_expect_eq(kernel_counters(b->kernels[0])->stored_sessions_open, 0);
    cr_expect_eq(kernel_counters(b->kernels[1])->stored_sessions, 0);
    cr_expect_eq(b->kernels[1]->shapes.count + b->kernels[0]->shapes.count, 0);
    leave(b, 0, bob);
    down();
}

/* ---- the watch begins anew --------------------------------------------------------------------------------------------- */

Test(kernel_stored, rows_that_are_not_shown_again_are_forgotten_and_others_stay)
{
    up(1);
    struct kernel *k = b->kernels[0];
    enter(b, 0, bob, false, 1000);
    char filter[40];
    for (unsigned i = 0; i < 60; i++) {
        sprintf(filter, i % 3 == 0 ? "f/%u/+" : "f/%u", i);
        follow(b, 0, bob, filter, 1);
    }
    leave(b, 0, bob);
    /* Half of them are of a store that has not got them any more. */
    const struct stored *stored = stored_find(k, bytes_str("bob"));
    for (unsigned i = 0; i < 60; i++) {
        uint8_t           bytes[SUB_ROW_BYTES];
        struct sub_row    row = {.flags = 1, .stream_id = stored->who.stream_id};
        uint8_t           key[64];
        struct store_item item = {.value = sub_row_write(bytes, &row), .version = stored->version};
        sprintf(filter, i % 3 == 0 ? "g/%u/#" : "g/%u", i);
        item.key = tables_sub_key(key, bytes_str("bob"), bytes_str(filter));
        k->routes.changed(&k->routes, &item);
    }
    cr_assert_eq(k->rows.count, 120);
    cr_assert_eq(k->shapes.count, 2);
    fake_reconnect(b->stores[0], 0);
    fake_reconnect(b->stores[0], 1);
    settle(b);
    cr_expect_eq(k->rows.count, 60);
    cr_expect_eq(k->shapes.count, 1);
    cr_expect_eq(kernel_counters(k)->stored_subscriptions, 60);
    enter(b, 0, bob, false, 1000);
    say(b, 0, ann, "f/7", "1", 1, 1);
    say(b, 0, ann, "g/7", "2", 1, 2);
    say(b, 0, ann, "f/9/x", "3", 1, 3);
    settle(b);
    cr_expect(heard(bob, "1 3"));
    leave(b, 0, bob);
    down();
}

/* ---- a model ------------------------------------------------------------------------------------------------------------ */

enum { PEOPLE = 4, SHARDS = 3 };

static const char *const all[] = {"a", "a/b", "a/+",   "a/#",   "#",     "+/b", "b",    "b/+",
                                  "+", "/",   "a/b/#", "+/+/c", "b/c/#", "+/#", "a/+/c"};
enum { FILTERS = sizeof all / sizeof all[0] };

struct person {
    struct actor *now;
    struct actor *before; /* whose connection was taken over */
    int           shard;  /* -1: away */
    bool          exists;
    int8_t        granted[FILTERS]; /* -1: no */
    int           owed;             /* while away */
};
static struct person people[PEOPLE];

/* What one gets of a message: the QoS, or -1; the number of its subscriptions that match. */
static int expected(const struct person *p, const char *topic, uint8_t qos, int *out_count)
{
    int most   = -1;
    *out_count = 0;
    for (unsigned f = 0; f < FILTERS; f++) {
        if (p->granted[f] >= 0 && topic_matches(bytes_str(all[f]), bytes_str(topic))) {
            most = p->granted[f] > most ? p->granted[f] : most;
            ++*out_count;
        }
    }
    return most > qos ? qos : most;
}

static void acknowledge(struct person *p)
{
    for (int i = 0; i < p->now->got_count; i++) {
        if (p->now->gots[i].qos == 1) {
            ack(b, (unsigned)p->shard, p->now, i, 1);
        }
    }
    settle(b);
    actor_clear(p->now);
}

static void come_in(struct person *p, struct rand *r)
{
    bool clean = rand_below(r, 5) == 0;
    if (p->shard >= 0) {
        struct actor *free = p->before;
        p->before          = p->now;
        p->now             = free;
    }
    int queued = p->shard >= 0 || clean ? 0 : p->owed;
    if (clean) {
        memset(p->granted, -1, sizeof p->granted);
    }
    actor_clear(p->now);
    p->now->opened = 0;
    p->shard       = (int)rand_below(r, SHARDS);
    enter(b, (unsigned)p->shard, p->now, clean, 100000);
    cr_assert_eq(p->now->present, p->exists && !clean);
    p->exists = true;
    cr_assert_eq(p->now->got_count, queued);
    p->owed = 0;
    acknowledge(p);
}

static void publish(struct actor *const *speakers, struct rand *r)
{
    static const char *const topics[] = {"a", "a/b", "b/", "b/c", "a/b/c", "b/c/d", "/", "$a/b", "x"};
    const char              *topic    = topics[rand_below(r, sizeof topics / sizeof topics[0])];
    unsigned                 from     = (unsigned)rand_below(r, SHARDS);
    uint8_t                  qos      = (uint8_t)rand_below(r, 2);
    say(b, from, speakers[from], topic, "x", qos, qos);
    settle(b);
    actor_clear(speakers[from]);
    for (unsigned i = 0; i < PEOPLE; i++) {
        struct person *p = &people[i];
        int            count;
        int            best = expected(p, topic, qos, &count);
        if (p->shard < 0) {
            p->owed += best > 0;
            continue;
        }
        cr_assert_eq(p->now->got_count, best >= 0, "%s with QoS %u to %u: %d copies, expected QoS %d", topic, qos, i,
                     p->now->got_count, best);
        cr_assert(best < 0 || (p->now->gots[0].qos == best && p->now->gots[0].count == count));
        acknowledge(p);
    }
}

static void change(struct person *p, struct rand *r)
{
    unsigned f = (unsigned)rand_below(r, FILTERS);
    if (p->shard < 0) {
        return;
    }
    if (rand_below(r, 3) != 0) {
        struct subscription s = {.filter = bytes_str(all[f]), .qos = (uint8_t)rand_below(r, 2), .id = f + 1};
        p->granted[f]         = (int8_t)follow_with(b, (unsigned)p->shard, p->now, s);
        cr_assert_eq(p->granted[f], s.qos);
    } else {
        int status = unfollow(b, (unsigned)p->shard, p->now, all[f]);
        cr_assert_eq(status == 0, p->granted[f] >= 0);
        p->granted[f] = -1;
    }
}

static void check_counters(void)
{
    uint64_t subs     = 0;
    uint64_t open     = 0;
    uint64_t sessions = 0;
    for (unsigned i = 0; i < PEOPLE; i++) {
        unsigned mine = 0;
        for (unsigned f = 0; f < FILTERS; f++) {
            mine += people[i].granted[f] >= 0;
        }
        subs += mine;
        sessions += mine != 0;
        open += people[i].shard >= 0 ? mine : 0;
    }
    uint64_t counted = 0;
    for (unsigned i = 0; i < SHARDS; i++) {
        const struct kernel_counters *c = kernel_counters(b->kernels[i]);
        cr_assert_eq(c->stored_subscriptions, subs);
        cr_assert_eq(c->stored_sessions, sessions);
        cr_assert_eq(c->subscriptions, c->stored_subscriptions_open);
        counted += c->stored_subscriptions_open;
    }
    cr_assert_eq(counted, open);
}

Test(kernel_stored, sessions_that_come_and_go_and_move_get_what_a_model_says)
{
    struct actor *speakers[SHARDS];
    struct rand   r;
    rand_init(&r, 17, 1);
    up(SHARDS);
    for (unsigned i = 0; i < SHARDS; i++) {
        char id[8];
        sprintf(id, "s%u", i);
        speakers[i] = actor_new(id);
        enter(b, i, speakers[i], true, 0);
    }
    for (unsigned i = 0; i < PEOPLE; i++) {
        char id[8];
        sprintf(id, "p%u", i);
        people[i] = (struct person){.now = actor_new(id), .before = actor_new(id), .shard = -1};
        memset(people[i].granted, -1, sizeof people[i].granted);
    }
    for (unsigned step = 0; step < 4000; step++) {
        struct person *p = &people[rand_below(&r, PEOPLE)];
        switch (rand_below(&r, 10)) {
        case 0:
            come_in(p, &r);
            break;
        case 1:
            if (p->shard >= 0) {
                leave(b, (unsigned)p->shard, p->now);
                p->shard = -1;
            }
            break;
        case 2:
            fake_reconnect(b->stores[rand_below(&r, SHARDS)], (uint32_t)rand_below(&r, FAKE_SHARDS));
            settle(b);
            break;
        case 3:
        case 4:
        case 5:
            change(p, &r);
            check_counters();
            break;
        default:
            publish(speakers, &r);
        }
    }
    for (unsigned i = 0; i < PEOPLE; i++) {
        actor_free(people[i].now);
        actor_free(people[i].before);
    }
    for (unsigned i = 0; i < SHARDS; i++) {
        actor_free(speakers[i]);
    }
    down();
}
