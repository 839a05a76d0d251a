/* scenario_shared - a shared subscription with members that come and go, stored sessions and live ones, while both processes are killed.
 *
 *   each message to one   what was published with QoS 2 reaches one member once, whoever dies: neither another one, nor the same one again
 *   nothing is lost       what was acknowledged reaches somebody of the group: only what a live member holds goes down with its broker */
#include "tests/sim/cluster.h"
#include "tests/sim/mqtt5_client.h"
#include "tests/sim/scenarios.h"

#include <stdio.h>
#include <stdlib.h>

enum { STORED = 3, LIVE = 2, MEMBERS = STORED + LIVE, PUBLISHERS = 2, MESSAGES = 150, PATIENCE_S = 600 };

/* What a live session was given and did not acknowledge goes to another member when it leaves. */
static const bool live_redelivery = true;

#define GONE_NS (10 * SIM_S) /* the broker may take a live member for there so long */

struct fate {
    bool came[MEMBERS];
    bool maybe_live; /* a live member may have been chosen */
};

struct story {
    struct cluster      cluster;
    struct mqtt5_client members[MEMBERS];
    struct mqtt5_client publishers[PUBLISHERS];
    struct fate         fates[PUBLISHERS][MESSAGES];
    uint32_t            counts[PUBLISHERS];
    uint64_t            live_until_ns; /* no live member after this */
    bool                live;          /* there are such members */
    bool                holding;       /* live members acknowledge nothing */
};

static bool is_live(uint32_t member)
{
    return member >= STORED;
}

/* It is published a second later, by whichever broker does that then. */
static bool is_later(uint32_t publisher, uint32_t n)
{
    return publisher == 1 && n % 4 == 3;
}

static void connected(struct mqtt5_client *c, bool present)
{
    if (!present || c->ask_count == 0) { /* an earlier CONNACK may have been lost */
        mqtt5_subscribe(c, "$share/group/s/#", 2);
    }
}

static void ended(struct mqtt5_client *c, enum mqtt5_end how, uint8_t reason, bool was_up)
{
    struct story *s = c->ctx;
    (void)how;
    (void)reason;
    (void)was_up;
    if (is_live((uint32_t)(c - s->members))) {
        bool other = false;
        for (uint32_t i = STORED; i < MEMBERS; i++) {
            other = other || s->members[i].wanted || (&s->members[i] != c && s->members[i].socket != NULL);
        }
        s->live_until_ns = other ? UINT64_MAX : c->world->now_ns + GONE_NS;
    }
}

static bool message(struct mqtt5_client *c, const struct mqtt5_message *m)
{
    struct story *s         = c->ctx;
    uint32_t      member    = (uint32_t)(c - s->members);
    uint32_t      publisher = (uint32_t)strtoul(m->topic + strlen("s/"), NULL, 10);
    uint32_t      n         = (uint32_t)strtoul(m->text, NULL, 10);
    sim_check(c->world, publisher < PUBLISHERS && n < s->counts[publisher], "%s %s was never published", m->topic,
              m->text);
    struct fate            *fate = &s->fates[publisher][n];
    const struct mqtt5_ask *ask  = &s->publishers[publisher].asks[n];
    for (uint32_t other = 0; other < MEMBERS; other++) {
        sim_check(c->world, !fate->came[other] || ask->qos != 2, "%s was given %s %s, which %s has had", c->name,
                  m->topic, m->text, s->members[other].name);
    }
    fate->came[member] = true;
    return !is_live(member) || !s->holding;
}

static void answered(struct mqtt5_client *c, struct mqtt5_ask *ask)
{
    struct story *s           = c->ctx;
    uint32_t      p           = (uint32_t)(c - s->publishers);
    uint32_t      n           = (uint32_t)(ask - c->asks);
    s->fates[p][n].maybe_live = s->live_until_ns >= ask->sent_ns || (is_later(p, n) && s->live);
}

/* A live member had it in the memory of a broker that died, or had begun with QoS 2 [MQTT-4.8.2-5]. */
static bool may_be_lost(const struct story *s, uint32_t p, uint32_t n)
{
    const struct mqtt5_ask *ask = &s->publishers[p].asks[n];
    return s->fates[p][n].maybe_live &&
           (!live_redelivery || ask->qos == 2 || s->cluster.broker_crashed_ns >= ask->sent_ns);
}

static bool all_came(void *ctx)
{
    const struct story *s = ctx;
    for (uint32_t p = 0; p < PUBLISHERS; p++) {
        for (uint32_t n = 0; n < s->counts[p]; n++) {
            const struct fate *fate = &s->fates[p][n];
            bool               came = may_be_lost(s, p, n);
            for (uint32_t i = 0; i < MEMBERS; i++) {
                came = came || fate->came[i];
            }
            if (s->publishers[p].asks[n].state != ASK_ANSWERED || !came) {
                return false;
            }
        }
    }
    return true;
}

static void explain(const struct story *s)
{
    for (uint32_t p = 0; p < PUBLISHERS; p++) {
        for (uint32_t n = 0; n < s->counts[p]; n++) {
            const struct fate *fate = &s->fates[p][n];
            bool               came = may_be_lost(s, p, n);
            for (uint32_t i = 0; i < MEMBERS; i++) {
                came = came || fate->came[i];
            }
            sim_check(s->cluster.world, came || s->publishers[p].asks[n].state != ASK_ANSWERED,
                      "message %u of publisher %u was acknowledged and reached no member", n, p);
        }
    }
    sim_fail(s->cluster.world, "a publisher is not answered after %d s", PATIENCE_S);
}

static bool members_ready(void *ctx)
{
    return mqtt5_all_idle(((const struct story *)ctx)->members, STORED, 1);
}

/* ---- the story ---- */

static void act(struct story *s, uint32_t live)
{
    struct world        *world  = s->cluster.world;
    uint32_t             member = (uint32_t)world_between(world, SALT_SCENARIO, 0, STORED + live - 1);
    struct mqtt5_client *c      = &s->members[member];
    switch (world_between(world, SALT_SCENARIO, 0, 9)) {
    case 0:
        mqtt5_drop(c);
        break;
    case 1:
        mqtt5_leave(c, 0);
        break;
    case 2:
    case 3:
        if (is_live(member)) {
            s->live_until_ns = UINT64_MAX;
            s->holding       = world_chance(world, SALT_SCENARIO, 2);
        }
        mqtt5_connect(c);
        break;
    case 4:
        if (world_chance(world, SALT_SCENARIO, 3)) {
            cluster_accident(&s->cluster);
        }
        break;
    default: {
        uint32_t p = (uint32_t)world_between(world, SALT_SCENARIO, 0, PUBLISHERS - 1);
        if (s->counts[p] < MESSAGES) {
            char topic[MQTT5_TEXT_MAX];
            char text[MQTT5_TEXT_MAX];
            bool later = is_later(p, s->counts[p]);
            snprintf(topic, sizeof topic, "%ss/%u", later ? "$delayed/1/" : "", p);
            snprintf(text, sizeof text, "%u", s->counts[p]++);
            mqtt5_publish(&s->publishers[p], topic, text, (uint8_t)(p + 1));
        }
    }
    }
}

void scenario_shared(struct world *world)
{
    static const char *const names[MEMBERS]        = {"stored0", "stored1", "stored2", "live0", "live1"};
    static const char *const pub_names[PUBLISHERS] = {"publisher1", "publisher2"};
    struct story            *s                     = calloc(1, sizeof *s);
    sim_check(world, s != NULL, "memory");
    world->faults.reset_one_in = world->faults.reset_one_in == 0 ? 0 : 2000;
    cluster_start(&s->cluster, world);
    uint32_t live = world_chance(world, SALT_SCENARIO, 2) ? 0 : LIVE;
    s->live       = live != 0;
    for (uint32_t i = 0; i < MEMBERS; i++) {
        struct mqtt5_client *c = &s->members[i];
        c->world               = world;
        c->name = c->id = names[i];
        c->clean_start  = is_live(i);
        c->expiry_s     = is_live(i) ? 0 : MQTT5_NEVER;
        c->receive_max  = (uint16_t)world_between(world, SALT_SCENARIO, 1, 20);
        c->connected    = connected;
        c->message      = message;
        c->ended        = ended;
        c->ctx          = s;
        mqtt5_start(c);
        if (!is_live(i)) {
            mqtt5_connect(c);
        }
    }
    for (uint32_t p = 0; p < PUBLISHERS; p++) {
        struct mqtt5_client *c = &s->publishers[p];
        c->world               = world;
        c->name = c->id = pub_names[p];
        c->expiry_s     = MQTT5_NEVER;
        c->answered     = answered;
        c->ctx          = s;
        mqtt5_start(c);
        mqtt5_connect(c);
    }
    bool began = world_run_until(world, members_ready, s, PATIENCE_S * SIM_S);
    sim_check(world, began, "the group is subscribed");
    uint64_t acts = world_between(world, SALT_SCENARIO, 20, 250);
    for (uint64_t i = 0; i < acts; i++) {
        act(s, live);
        if (world_chance(world, SALT_SCENARIO, 3)) {
            world_run_ns(world, world_between(world, SALT_SCENARIO, SIM_US, 100 * SIM_MS));
        }
    }
    for (uint32_t i = 0; i < MEMBERS; i++) {
        if (is_live(i)) {
            mqtt5_drop(&s->members[i]);
        } else {
            mqtt5_connect(&s->members[i]);
        }
    }
    world_run_ns(world, SIM_S);
    for (uint32_t i = 0; i < STORED; i++) {
        mqtt5_connect(&s->members[i]); /* some were leaving */
    }
    if (!world_run_until(world, all_came, s, PATIENCE_S * SIM_S)) {
        explain(s);
    }
    world_run_ns(world, 5 * SIM_S); /* nothing comes to a second one afterwards either */
    for (uint32_t i = 0; i < MEMBERS; i++) {
        mqtt5_end(&s->members[i]);
    }
    for (uint32_t p = 0; p < PUBLISHERS; p++) {
        mqtt5_end(&s->publishers[p]);
    }
    cluster_end(&s->cluster);
    free(s);
}
