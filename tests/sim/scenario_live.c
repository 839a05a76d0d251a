/* scenario_live.c - two brokers at one segment store, subscribers without stored sessions on either, while brokers and the store are killed, paused and
 * cut off from each other.
 *
 *   subscribed means subscribed   what is published after a SUBACK, by whomever and wherever, reaches the subscriber for as long as its connection lasts
 *   acknowledged means taken      what was acknowledged before the connection ended was delivered on it, in each publisher's order; what the publisher sent
 *                                 again may come behind later ones: the first time was perhaps before the SUBACK
 *   QoS 2                         comes once on a connection, also when the publisher's broker died over it
 *   a group                       gets each message; with QoS 1 more than once only when somebody died, with QoS 2 never */
#include "tests/sim/cluster.h"
#include "tests/sim/mqtt5_client.h"
#include "tests/sim/net.h"
#include "tests/sim/scenarios.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LISTENERS = 2, MEMBERS = 2, PUBLISHERS = 2, EACH = 120, PATIENCE_S = 600 };

struct hearer {
    struct mqtt5_client client;
    const char         *filter;
    bool                subscribed;
    uint64_t            since_ns;                /* of its SUBACK */
    uint8_t             times[PUBLISHERS][EACH]; /* on this connection */
    uint32_t            newest[PUBLISHERS];      /* number + 1 */
};

struct story {
    struct cluster      cluster;
    struct hearer       listeners[LISTENERS];
    struct hearer       members[MEMBERS];
    struct mqtt5_client publishers[PUBLISHERS];
    uint16_t            shared[PUBLISHERS][EACH]; /* came to some member */
    bool                member_lost;              /* once */
    uint64_t            healed_ns;                /* when the last cable is back, and nobody stands still any more */
};

/* At the end, on the last connection: everything that was published since its SUBACK and is acknowledged. */
static void check_all(const struct story *s, struct hearer *l)
{
    int wanted = strcmp(l->filter, "t/0") == 0 ? 1 : PUBLISHERS;
    for (int p = 0; p < wanted && l->subscribed; p++) {
        for (uint32_t n = 0; n < s->publishers[p].ask_count; n++) {
            const struct mqtt5_ask *ask = &s->publishers[p].asks[n];
            sim_check(l->client.world,
                      ask->sent_ns <= l->since_ns || ask->state == ASK_NEW || ask->state == ASK_SENT ||
                          l->times[p][n] != 0,
                      "message %u of publisher %d was acknowledged and did not reach %s, which was subscribed", n, p,
                      l->client.name);
        }
    }
}

static void connected(struct mqtt5_client *c, bool present)
{
    (void)present;
    struct hearer *l = (struct hearer *)c;
    l->subscribed    = false;
    memset(l->times, 0, sizeof l->times);
    memset(l->newest, 0, sizeof l->newest);
    mqtt5_subscribe(c, l->filter, 2);
}

static void answered(struct mqtt5_client *c, struct mqtt5_ask *ask)
{
    struct hearer *l = (struct hearer *)c;
    sim_check(c->world, ask->reason == 2, "%s: SUBACK says %u", c->name, ask->reason);
    l->subscribed = true;
    l->since_ns   = c->world->now_ns;
}

static void read_number(struct mqtt5_client *c, const struct mqtt5_message *m, uint32_t *out_p, uint32_t *out_n)
{
    struct story *s = c->ctx;
    *out_p          = (uint32_t)strtoul(m->topic + strlen("t/"), NULL, 10);
    *out_n          = (uint32_t)strtoul(m->text, NULL, 10);
    sim_check(c->world, *out_p < PUBLISHERS && *out_n < s->publishers[*out_p].ask_count, "%s %s was never published",
              m->topic, m->text);
}

static bool heard(struct mqtt5_client *c, const struct mqtt5_message *m)
{
    struct hearer *l = (struct hearer *)c;
    struct story  *s = c->ctx;
    uint32_t       p, n;
    read_number(c, m, &p, &n);
    l->times[p][n]++;
    sim_check(c->world, m->qos != 2 || l->times[p][n] == 1, "%s: message %u of publisher %u came twice", c->name, n, p);
    sim_check(c->world, n + 1 > l->newest[p] || l->times[p][n] > 1 || s->publishers[p].asks[n].again,
              "%s: message %u of publisher %u came behind %u", c->name, n, p, l->newest[p] - 1);
    l->newest[p] = n + 1 > l->newest[p] ? n + 1 : l->newest[p];
    return true;
}

static bool shared(struct mqtt5_client *c, const struct mqtt5_message *m)
{
    struct story *s = c->ctx;
    uint32_t      p, n;
    read_number(c, m, &p, &n);
    s->shared[p][n]++;
    sim_check(c->world, s->publishers[p].asks[n].qos != 2 || s->shared[p][n] == 1,
              "message %u of publisher %u came to the group again, to %s", n, p, c->name);
    return true;
}

static void ended(struct mqtt5_client *c, enum mqtt5_end how, uint8_t reason, bool was_connected)
{
    (void)how;
    (void)reason;
    (void)was_connected;
    struct hearer *l = (struct hearer *)c;
    struct story  *s = c->ctx;
    s->member_lost   = s->member_lost || l >= s->members;
    l->subscribed    = false;
}

static void start(struct story *s, struct hearer *l, const char *name, const char *filter, bool member)
{
    l->filter = filter;
    l->client = (struct mqtt5_client){.world       = s->cluster.world,
                                      .name        = name,
                                      .id          = name,
                                      .clean_start = true,
                                      .connected   = connected,
                                      .answered    = answered,
                                      .message     = member ? shared : heard,
                                      .ended       = ended,
                                      .ctx         = s};
    mqtt5_start(&l->client);
    mqtt5_connect(&l->client);
}

static bool all_subscribed(void *ctx)
{
    const struct story *s   = ctx;
    bool                all = true;
    for (int i = 0; i < LISTENERS; i++) {
        all = all && s->listeners[i].subscribed;
    }
    for (int i = 0; i < MEMBERS; i++) {
        all = all && s->members[i].subscribed;
    }
    return all;
}

static bool all_answered(void *ctx)
{
    return mqtt5_all_idle(((const struct story *)ctx)->publishers, PUBLISHERS, 0);
}

static void heal(void *ctx)
{
    struct cluster_broker *b = ctx;
    net_cut(b->machine, b->cluster->stores[0].machine, false);
}

/* A broker cannot be heard by the store, or does not hear it, or neither; or somebody stands still: for a moment, or for longer than anybody waits. */
static void separate(struct story *s)
{
    struct world          *world = s->cluster.world;
    struct cluster_broker *b     = &s->cluster.brokers[world_between(world, SALT_SCENARIO, 0, 1)];
    uint64_t               how   = world_between(world, SALT_SCENARIO, 0, 4);
    uint64_t               until_ns =
        world_between(world, SALT_SCENARIO, SIM_MS, world_chance(world, SALT_SCENARIO, 2) ? SIM_S : 30 * SIM_S);
    if (how <= 2) {
        if (how != 1) {
            net_link(b->machine, s->cluster.stores[0].machine)->cut = true;
        }
        if (how != 0) {
            net_link(s->cluster.stores[0].machine, b->machine)->cut = true;
        }
        world_after(world, until_ns, heal, b);
    } else {
        process_pause(how == 3 ? b->process : s->cluster.stores[0].process, until_ns);
    }
    s->healed_ns = s->healed_ns > world->now_ns + until_ns ? s->healed_ns : world->now_ns + until_ns;
}

static void act(struct story *s)
{
    struct world *world = s->cluster.world;
    switch (world_between(world, SALT_SCENARIO, 0, 19)) {
    case 0:
        cluster_accident(&s->cluster);
        break;
    case 1:
        mqtt5_drop(&s->listeners[world_between(world, SALT_SCENARIO, 0, LISTENERS - 1)].client);
        mqtt5_connect(&s->listeners[0].client);
        mqtt5_connect(&s->listeners[1].client);
        break;
    case 2:
        if (world_chance(world, SALT_SCENARIO, 4)) {
            separate(s);
        }
        break;
    default:
        mqtt5_publish_count(s->publishers, EACH);
    }
}

void scenario_two_live(struct world *world)
{
    static const char *const listeners[LISTENERS]   = {"listener0", "listener1"};
    static const char *const members[MEMBERS]       = {"member0", "member1"};
    static const char *const publishers[PUBLISHERS] = {"publisher0", "publisher1"};
    struct story            *s                      = calloc(1, sizeof *s);
    sim_check(world, s != NULL, "memory");
    world->faults.reset_one_in = world->faults.reset_one_in == 0 ? 0 : 2000;
    cluster_brokers            = 2;
    cluster_start(&s->cluster, world);
    for (int i = 0; i < LISTENERS; i++) {
        start(s, &s->listeners[i], listeners[i], i == 0 ? "t/+" : "t/0", false);
    }
    for (int i = 0; i < MEMBERS; i++) {
        start(s, &s->members[i], members[i], "$share/g/t/#", true);
    }
    for (int p = 0; p < PUBLISHERS; p++) {
        s->publishers[p] = (struct mqtt5_client){
            .world = world, .name = publishers[p], .id = publishers[p], .expiry_s = MQTT5_NEVER, .window = 10};
        mqtt5_start(&s->publishers[p]);
        mqtt5_connect(&s->publishers[p]);
    }
    sim_check(world, world_run_until(world, all_subscribed, s, PATIENCE_S * SIM_S), "somebody is not subscribed");
    bool     quiet = world_chance(world, SALT_SCENARIO, 4); /* nobody dies */
    uint64_t acts  = world_between(world, SALT_SCENARIO, 50, 200);
    for (uint64_t i = 0; i < acts; i++) {
        if (quiet) {
            mqtt5_publish_count(s->publishers, EACH);
        } else {
            act(s);
        }
        if (world_chance(world, SALT_SCENARIO, 2)) {
            world_run_ns(world, world_between(world, SALT_SCENARIO, SIM_US, 50 * SIM_MS));
        }
    }
    if (s->healed_ns > world->now_ns) {
        world_run_ns(world, s->healed_ns - world->now_ns + 20 * SIM_S);
    }
    sim_check(world, world_run_until(world, all_answered, s, PATIENCE_S * SIM_S), "a publisher is not answered");
    sim_check(world, world_run_until(world, all_subscribed, s, PATIENCE_S * SIM_S), "somebody is not subscribed");
    world_run_ns(world, 5 * SIM_S);
    for (int i = 0; i < LISTENERS; i++) {
        check_all(s, &s->listeners[i]);
    }
    for (int p = 0; p < PUBLISHERS; p++) {
        for (uint32_t n = 0; n < s->publishers[p].ask_count; n++) {
            sim_check(world, s->member_lost || s->shared[p][n] == 1 || s->cluster.crashes != 0,
                      "message %u of publisher %d came %u times to the group", n, p, s->shared[p][n]);
        }
    }
    for (int i = 0; i < LISTENERS; i++) {
        mqtt5_end(&s->listeners[i].client);
    }
    for (int i = 0; i < MEMBERS; i++) {
        mqtt5_end(&s->members[i].client);
    }
    for (int p = 0; p < PUBLISHERS; p++) {
        mqtt5_end(&s->publishers[p]);
    }
    cluster_end(&s->cluster);
    free(s);
}
