/* Subscribers on other shards: whatever comes, goes and changes, a publish reaches those who are subscribed. */
#include "broker/kernel/interest.h"
#include "broker/kernel/mail.h"
#include "broker/kernel/topic.h"
#include "shared/base/hash.h"
#include "shared/base/rand.h"
#include "tests/unit/broker/kernel/stage.h"

#include <criterion/criterion.h>
#include <stdio.h>

enum { ACTORS = 6, SHARDS = 3 };

static struct fake_world *world;
static struct broker     *b;
static struct actor      *actors[ACTORS]; /* actor i on shard i % SHARDS */

static void begin(void)
{
    world = fake_world_new(STAGE_STRIPES, 0);
    b     = broker_new(world, SHARDS, NULL);
    for (unsigned i = 0; i < ACTORS; i++) {
        char id[8];
        sprintf(id, "c%u", i);
        actors[i] = actor_new(id);
        enter(b, i % SHARDS, actors[i], true,
              i < 4 ? 0 : 100); /* the last two are stored: owed QoS 1 by their stream */
    }
}

static void end(void)
{
    broker_kill(b);
    fake_world_free(world);
    for (unsigned i = 0; i < ACTORS; i++) {
        actor_free(actors[i]);
    }
}

TestSuite(kernel_interest, .init = begin, .fini = end);

/* ---- a model --------------------------------------------------------------------------------------------------------------- */

enum { FILTERS = 300 };
static char   filters[FILTERS][32];
static int8_t granted[ACTORS][FILTERS]; /* -1: no */

static void make(struct rand *r, char *out, bool filter)
{
    uint64_t count = rand_below(r, filter ? 6 : 4) + 1;
    size_t   at    = 0;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t    dice = filter ? rand_below(r, 6) : 5;
        const char *text = dice < 2 ? "+" : dice == 2 && i + 1 == count ? "#" : rand_below(r, 2) == 0 ? "a" : "b";
        at += (size_t)sprintf(out + at, "%s%s", i == 0 ? "" : "/", text);
    }
}

static bool expects(unsigned actor, const char *topic)
{
    for (unsigned f = 0; f < FILTERS; f++) {
        if (granted[actor][f] >= 0 && topic_matches(bytes_str(filters[f]), bytes_str(topic))) {
            return true;
        }
    }
    return false;
}

static void publish_and_look(struct rand *r)
{
    char topic[32];
    make(r, topic, false);
    unsigned from = (unsigned)rand_below(r, ACTORS);
    uint8_t  qos  = (uint8_t)rand_below(r, 2);
    say(b, from % SHARDS, actors[from], topic, "x", qos, 1);
    settle(b);
    for (unsigned i = 0; i < ACTORS; i++) {
        cr_assert_eq(actors[i]->got_count, expects(i, topic), "%s from %u to %u with QoS %u", topic, from, i, qos);
        if (actors[i]->got_count != 0 && actors[i]->gots[0].qos == 1) {
            ack(b, i % SHARDS, actors[i], 0, 1);
        }
        actor_clear(actors[i]);
    }
    settle(b);
}

Test(kernel_interest, what_comes_goes_and_changes_is_followed)
{
    struct rand r;
    rand_init(&r, 11, 1);
    memset(granted, -1, sizeof granted);
    for (unsigned f = 0; f < FILTERS; f++) {
        bool fresh;
        do {
            make(&r, filters[f], true);
            fresh = true;
            for (unsigned i = 0; i < f; i++) {
                fresh = fresh && strcmp(filters[i], filters[f]) != 0;
            }
        } while (!fresh);
    }
    bool crowded = false;
    for (unsigned step = 0; step < 3000; step++) {
        unsigned growing = step / 600 % 2 == 0 ? 80 : 15;
        unsigned actor   = (unsigned)rand_below(&r, ACTORS);
        unsigned f       = (unsigned)rand_below(&r, FILTERS);
        if (rand_below(&r, 100) < growing) {
            granted[actor][f] =
                (int8_t)follow(b, actor % SHARDS, actors[actor], filters[f], (uint8_t)rand_below(&r, 2));
            cr_assert_geq(granted[actor][f], 0);
        } else if (granted[actor][f] >= 0) {
            cr_assert_eq(unfollow(b, actor % SHARDS, actors[actor], filters[f]), 0);
            granted[actor][f] = -1;
        }
        publish_and_look(&r);
        crowded |= b->kernels[0]->interests.count != 0 && b->kernels[0]->shapes.count == SHAPES_MAX;
    }
    cr_assert(crowded); /* some had to go to the tree */
    for (unsigned actor = 0; actor < ACTORS; actor++) {
        leave(b, actor % SHARDS, actors[actor]);
    }
    pass(b, 1000);
    settle(b);
    for (unsigned i = 0; i < SHARDS; i++) {
        const struct kernel *k = b->kernels[i];
        cr_expect_eq(k->tallies.count + k->interests.count + k->wants.count + k->shapes.count, 0);
    }
}

/* ---- collisions ------------------------------------------------------------------------------------------------------------- */

/* Not inlined: the compiler would look into vectors beyond the end of a short constant. */
static __attribute__((noipa)) uint64_t hash_of(struct bytes topic)
{
    return hash_bytes(topic);
}

static uint64_t shards(struct bytes topic, uint8_t qos)
{
    struct interest_question question;
    interest_ask(b->kernels[0], topic, &question);
    return interest_answer(b->kernels[0], &question, qos);
}

/* As shard 1 says it of a topic: how it stands and how it stood (1 any, 2 QoS 1 and 2 too). */
static void hear(uint64_t hash, uint8_t now, uint8_t stood)
{
    struct wire_writer w = mail_begin();
    wire_put_u8(&w, (uint8_t)(now | stood << 3 | 4));
    wire_put_u64(&w, hash);
    uint32_t size = (uint32_t)w.size;
    memcpy(w.data, &size, sizeof size);
    struct kernel_mail mail = {.kind = MAIL_INTEREST, .body = w.data};
    interest_receive(b->kernels[0], 1, &mail);
    free(w.data);
}

Test(kernel_interest, of_two_filters_with_one_hash_one_may_go_and_the_other_stays)
{
    struct bytes topic = bytes_str("t");
    uint64_t     hash  = hash_of(topic);
    hear(hash, 3, 0);
    hear(hash, 1, 0); /* another filter, whose hash is the same by chance */
    cr_expect_eq(shards(topic, 1), 2);
    hear(hash, 0, 3);
    cr_expect_eq(shards(topic, 1), 0);
    cr_expect_eq(shards(topic, 0), 2);
    hear(hash, 3, 1);
    cr_expect_eq(shards(topic, 1), 2);
    hear(hash, 0, 3);
    cr_expect_eq(shards(topic, 0), 0);
}
