/* scenario_members.c - two brokers at one segment store, members of a group on either, none of them stored; one broker dies, and publishers at the other one
 * go on before anybody knows.
 *
 *   given to one that lives   what is published when a broker has died, and acknowledged, comes to a member
 *   once                      with QoS 2 nothing comes twice */
#include "tests/sim/cluster.h"
#include "tests/sim/mqtt5_client.h"
#include "tests/sim/scenarios.h"

#include <stdio.h>
#include <stdlib.h>

enum { NEAR = 1, FAR = 3, MEMBERS = NEAR + FAR, PUBLISHERS = 2, EACH = 100, PATIENCE_S = 300 };

struct story {
    struct cluster      cluster;
    struct mqtt5_client members[MEMBERS]; /* those who are near are at the broker that lives */
    struct mqtt5_client publishers[PUBLISHERS];
    uint8_t             times[PUBLISHERS][EACH];
    uint64_t            died_ns; /* UINT64_MAX: it lives */
    uint64_t            back_ns; /* likewise, not yet */
    uint8_t             far_qos;
    bool member_lost; /* with its connection, not with the broker: what it was sent goes to nobody else */
};

static bool is_near(const struct story *s, const struct mqtt5_client *c)
{
    return c < s->members + NEAR;
}

static void connected(struct mqtt5_client *c, bool present)
{
    const struct story *s = c->ctx;
    (void)present;
    mqtt5_subscribe(c, "$share/g/t/#", is_near(s, c) ? 2 : s->far_qos);
}

static void ended(struct mqtt5_client *c, enum mqtt5_end how, uint8_t reason, bool was_connected)
{
    struct story *s = c->ctx;
    (void)how;
    (void)reason;
    s->member_lost = s->member_lost || (was_connected && (is_near(s, c) || c->connected_ns > s->back_ns));
}

static bool message(struct mqtt5_client *c, const struct mqtt5_message *m)
{
    struct story *s = c->ctx;
    uint32_t      p = (uint32_t)strtoul(m->topic + strlen("t/"), NULL, 10);
    uint32_t      n = (uint32_t)strtoul(m->text, NULL, 10);
    sim_check(c->world, p < PUBLISHERS && n < s->publishers[p].ask_count, "%s %s was never published", m->topic,
              m->text);
    const struct mqtt5_ask *ask = &s->publishers[p].asks[n];
    s->times[p][n]++;
    sim_check(c->world, s->times[p][n] == 1 || ask->qos != 2 || ask->anew || s->far_qos != 2,
              "message %u of publisher %u came to the group again, to %s", n, p, c->name);
    return true;
}

static void start(struct story *s, struct mqtt5_client *c, const char *name, const char *at)
{
    *c = (struct mqtt5_client){.world = s->cluster.world, .name = name, .id = name, .at = at, .ctx = s};
}

static bool members_ready(void *ctx)
{
    return mqtt5_all_idle(((const struct story *)ctx)->members, MEMBERS, 1);
}

static bool all_answered(void *ctx)
{
    return mqtt5_all_idle(((const struct story *)ctx)->publishers, PUBLISHERS, 0);
}

static void publish_some(struct story *s, uint64_t most, uint64_t apart_ns)
{
    for (uint64_t i = world_between(s->cluster.world, SALT_SCENARIO, 0, most); i > 0; i--) {
        mqtt5_publish_count(s->publishers, EACH);
        if (world_chance(s->cluster.world, SALT_SCENARIO, 2)) {
            world_run_ns(s->cluster.world, world_between(s->cluster.world, SALT_SCENARIO, SIM_US, apart_ns));
        }
    }
}

/* By itself, which the store sees at once, or with its machine, which nobody sees for a while. */
static void die_and_come_back(struct story *s)
{
    struct world          *world = s->cluster.world;
    struct cluster_broker *b     = &s->cluster.brokers[1];
    bool                   power = world_chance(world, SALT_SCENARIO, 2);
    if (power) {
        machine_power_off(b->machine);
    } else {
        process_crash(b->process);
    }
    s->died_ns = world->now_ns;
    publish_some(s, 80, world_chance(world, SALT_SCENARIO, 2) ? 50 * SIM_MS : 500 * SIM_MS);
    if (world_chance(world, SALT_SCENARIO, 2)) {
        world_run_ns(world, world_between(world, SALT_SCENARIO, SIM_MS, 20 * SIM_S));
    }
    if (power) {
        machine_power_on(b->machine);
    }
    s->back_ns = world->now_ns;
    sim_check(world, process_start(b->process) == 0, "the broker starts again");
    for (int i = NEAR; i < MEMBERS; i++) { /* they do not know either */
        mqtt5_drop(&s->members[i]);
        mqtt5_connect(&s->members[i]);
    }
}

static void check(const struct story *s)
{
    for (int p = 0; p < PUBLISHERS; p++) {
        for (uint32_t n = 0; n < s->publishers[p].ask_count; n++) {
            const struct mqtt5_ask *ask = &s->publishers[p].asks[n];
            bool                    due = ask->sent_ns > s->died_ns && !s->member_lost;
            sim_check(s->cluster.world, s->times[p][n] != 0 || !due,
                      "message %u of publisher %d, QoS %u, was acknowledged and came to nobody", n, p, ask->qos);
        }
    }
}

void scenario_two_members(struct world *world)
{
    static const char *const members[MEMBERS]       = {"near0", "far0", "far1", "far2"};
    static const char *const publishers[PUBLISHERS] = {"publisher0", "publisher1"};
    struct story            *s                      = calloc(1, sizeof *s);
    sim_check(world, s != NULL, "memory");
    world->faults.reset_one_in = world->faults.reset_one_in == 0 ? 0 : 5000;
    cluster_brokers            = 2;
    cluster_start(&s->cluster, world);
    s->far_qos = (uint8_t)(world_chance(world, SALT_SCENARIO, 4) ? 1 : 2);
    s->died_ns = UINT64_MAX;
    s->back_ns = UINT64_MAX;
    for (int i = 0; i < MEMBERS; i++) {
        struct mqtt5_client *c = &s->members[i];
        start(s, c, members[i], i < NEAR ? "broker" : "broker2");
        c->clean_start = true;
        c->connected   = connected;
        c->message     = message;
        c->ended       = ended;
        mqtt5_start(c);
        mqtt5_connect(c);
    }
    for (int p = 0; p < PUBLISHERS; p++) {
        struct mqtt5_client *c = &s->publishers[p];
        start(s, c, publishers[p], "broker");
        c->expiry_s = p == 0 ? MQTT5_NEVER : 0;
        mqtt5_start(c);
        mqtt5_connect(c);
    }
    sim_check(world, world_run_until(world, members_ready, s, PATIENCE_S * SIM_S), "somebody is not subscribed");
    publish_some(s, 40, 10 * SIM_MS);
    die_and_come_back(s);
    publish_some(s, 40, 200 * SIM_MS);
    sim_check(world, world_run_until(world, all_answered, s, PATIENCE_S * SIM_S), "a publisher is not answered");
    world_run_ns(world, 5 * SIM_S);
    check(s);
    for (int i = 0; i < MEMBERS; i++) {
        mqtt5_end(&s->members[i]);
    }
    for (int p = 0; p < PUBLISHERS; p++) {
        mqtt5_end(&s->publishers[p]);
    }
    cluster_end(&s->cluster);
    free(s);
}
