/* scenario_mqtt.c - promise 1 from end to end: publishers and a subscriber with stored sessions, while broker and segment store are killed
 * and the store's machine loses power. Whatever was acknowledged arrives, in each publisher's order; with QoS 2 exactly once. */
#include "tests/sim/cluster.h"
#include "tests/sim/mqtt_client.h"
#include "tests/sim/scenarios.h"

#include <stdlib.h>
#include <string.h>

enum { PUBLISHERS = 2 };

struct story {
    struct cluster     cluster;
    struct mqtt_client subscriber;
    struct mqtt_client publishers[PUBLISHERS];
    uint16_t           times[PUBLISHERS][MQTT_CLIENT_MESSAGES_MAX]; /* each message arrived */
    uint32_t           newest[PUBLISHERS]; /* number + 1 of the last one that came for the first time */
};

static void arrived(struct mqtt_client *client, uint8_t publisher, uint32_t number)
{
    struct story *s = client->ctx;
    sim_check(client->world, publisher < PUBLISHERS && number < s->publishers[publisher].next,
              "message %u of publisher %u was never published", number, publisher);
    uint16_t times = ++s->times[publisher][number];
    sim_check(client->world, client->qos != 2 || times == 1, "message %u of publisher %u came %u times", number,
              publisher, times);
    if (times == 1) { /* [MQTT-4.6.0-5] */
        sim_check(client->world, number >= s->newest[publisher], "message %u of publisher %u came behind %u", number,
                  publisher, s->newest[publisher] - 1);
        s->newest[publisher] = number + 1;
    }
}

static bool subscribed(void *ctx)
{
    return ((struct story *)ctx)->subscriber.subscribed;
}

static bool all_there(void *ctx)
{
    struct story *s = ctx;
    for (int p = 0; p < PUBLISHERS; p++) {
        if (!mqtt_client_done(&s->publishers[p])) {
            return false;
        }
        for (uint32_t n = 0; n < s->publishers[p].target; n++) {
            if (s->times[p][n] == 0) {
                return false;
            }
        }
    }
    return true;
}

/* What was answered is owed; said at the end of a run that does not get there. */
static void explain(struct story *s)
{
    for (int p = 0; p < PUBLISHERS; p++) {
        for (uint32_t n = 0; n < s->publishers[p].target; n++) {
            sim_check(s->cluster.world, s->publishers[p].states[n] != PUBLISH_ANSWERED || s->times[p][n] != 0,
                      "message %u of publisher %d was acknowledged and did not arrive", n, p);
        }
        sim_check(s->cluster.world, mqtt_client_done(&s->publishers[p]),
                  "publisher %d was answered up to %u of %u only", p, s->publishers[p].first, s->publishers[p].target);
    }
}

static void run(struct world *world, uint8_t qos)
{
    static const char *const names[PUBLISHERS] = {"pub0", "pub1"};
    struct story            *s                 = calloc(1, sizeof *s);
    sim_check(world, s != NULL, "memory");
    /* Streams break by crashes here; a network that resets as well has scenarios of its own. */
    world->faults.reset_one_in = world->faults.reset_one_in == 0 ? 0 : 2000;
    if (world_between(world, SALT_SCENARIO, 0, 1) == 0) {
        cluster_start(&s->cluster, world);
    } else {
        cluster_start_named(&s->cluster, world);
    }
    s->subscriber = (struct mqtt_client){.world         = world,
                                         .id            = "sub",
                                         .qos           = qos,
                                         .filter        = "t/+",
                                         .message       = arrived,
                                         .ctx           = s,
                                         .topic         = "unused",
                                         .payload_bytes = 3};
    mqtt_client_start(&s->subscriber);
    bool began = world_run_until(world, subscribed, s, 300 * SIM_S);
    sim_check(world, began, "the subscriber is not subscribed after 300 s");
    for (int p = 0; p < PUBLISHERS; p++) {
        s->publishers[p] = (struct mqtt_client){
            .world         = world,
            .id            = names[p],
            .publisher     = (uint8_t)p,
            .qos           = qos,
            .topic         = p == 0 ? "t/0" : "t/1",
            .target        = (uint32_t)world_between(world, SALT_SCENARIO, 20, MQTT_CLIENT_MESSAGES_MAX),
            .payload_bytes = (uint32_t)world_between(world, SALT_SCENARIO, 3, 2000),
        };
        mqtt_client_start(&s->publishers[p]);
    }
    uint64_t crashes = world_between(world, SALT_SCENARIO, 0, 6);
    for (uint64_t i = 0; i < crashes; i++) {
        world_run_ns(world, world_between(world, SALT_SCENARIO, SIM_MS, 600 * SIM_MS));
        cluster_accident(&s->cluster);
    }
    if (!world_run_until(world, all_there, s, 600 * SIM_S)) {
        explain(s);
        sim_fail(world, "everything was acknowledged, and after 600 s not everything has arrived");
    }
    world_run_ns(world, 5 * SIM_S); /* nothing comes twice afterwards either */
    mqtt_client_end(&s->subscriber);
    for (int p = 0; p < PUBLISHERS; p++) {
        mqtt_client_end(&s->publishers[p]);
    }
    cluster_end(&s->cluster);
    free(s);
}

void scenario_mqtt_qos1(struct world *world)
{
    run(world, 1);
}

void scenario_mqtt_qos2(struct world *world)
{
    run(world, 2);
}
