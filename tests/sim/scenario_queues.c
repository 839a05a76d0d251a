/* scenario_queues.c - queues that are full again and again: a publisher of 3.1.1 is not told that its message was refused, its connection ends, and it sends again what was
 * not answered. What one queue refused another one took, and what came behind it the first one may have taken when there was room again. Whatever was acknowledged
 * is in every queue; with QoS 2 once. In which order is not promised: what is refused stands behind what came later. */
#include "broker/kernel/tables.h"
#include "shared/base/hash.h"
#include "tests/sim/cluster.h"
#include "tests/sim/mqtt_client.h"
#include "tests/sim/scenarios.h"

#include <stdio.h>
#include <stdlib.h>

enum { PUBLISHERS = 2, ALL = PUBLISHERS, MEMBER, SUBSCRIBERS };

struct story {
    struct cluster     cluster;
    struct mqtt_client subscribers[SUBSCRIBERS]; /* one of each publisher, one of all, and the only member of a group */
    char               names[SUBSCRIBERS][32];
    struct mqtt_client publishers[PUBLISHERS];
    int      subscriber_count; /* with QoS 2 there is a group: its queue is written apart from others of that stripe */
    uint16_t times[SUBSCRIBERS][PUBLISHERS][MQTT_CLIENT_MESSAGES_MAX]; /* each message arrived */
};

static bool owed(int who, int publisher)
{
    return who >= ALL || who == publisher;
}

static void arrived(struct mqtt_client *client, uint8_t publisher, uint32_t number)
{
    struct story *s   = client->ctx;
    int           who = (int)(client - s->subscribers);
    sim_check(client->world, publisher < PUBLISHERS && number < s->publishers[publisher].next && owed(who, publisher),
              "message %u of publisher %u is not for %s", number, publisher, client->id);
    uint16_t times = ++s->times[who][publisher][number];
    sim_check(client->world, client->qos != 2 || times == 1, "message %u of publisher %u came to %s %u times", number,
              publisher, client->id, times);
}

static bool subscribed(void *ctx)
{
    const struct story *s = ctx;
    for (int i = 0; i < s->subscriber_count; i++) {
        if (!s->subscribers[i].subscribed) {
            return false;
        }
    }
    return true;
}

/* The first message that was answered and did not come to everybody who is owed it; true: there is none. */
static bool complete(const struct story *s, int *out_who, int *out_publisher, uint32_t *out_number)
{
    for (int p = 0; p < PUBLISHERS; p++) {
        for (uint32_t n = 0; n < s->publishers[p].next; n++) {
            for (int who = 0; who < s->subscriber_count; who++) {
                if (owed(who, p) && s->publishers[p].states[n] == PUBLISH_ANSWERED && s->times[who][p][n] == 0) {
                    *out_who       = who;
                    *out_publisher = p;
                    *out_number    = n;
                    return false;
                }
            }
        }
    }
    return true;
}

static bool all_there(void *ctx)
{
    const struct story *s = ctx;
    int                 who, publisher;
    uint32_t            number;
    return mqtt_client_done(&s->publishers[0]) && mqtt_client_done(&s->publishers[1]) &&
           complete(s, &who, &publisher, &number);
}

static void explain(struct story *s)
{
    int      who = 0, publisher = 0;
    uint32_t number = 0;
    bool     there  = complete(s, &who, &publisher, &number);
    sim_check(s->cluster.world, there, "message %u of publisher %d was acknowledged and did not come to %s", number,
              publisher, s->subscribers[who].id);
    for (int p = 0; p < PUBLISHERS; p++) {
        sim_check(s->cluster.world, mqtt_client_done(&s->publishers[p]),
                  "publisher %d was answered up to %u of %u only", p, s->publishers[p].first, s->publishers[p].target);
    }
}

static uint64_t stripe_of(const struct story *s, const char *id)
{
    uint8_t name[64];
    return hash_bytes(tables_stream(name, bytes_str(id))) % s->cluster.stores[0].config.stripes;
}

/* In another stripe than who has all: a stripe that put a message into one queue passes over those that are full. */
static void name_them(struct story *s)
{
    snprintf(s->names[ALL], sizeof s->names[ALL], "all");
    snprintf(s->names[MEMBER], sizeof s->names[MEMBER], "member");
    for (int i = 0; i < PUBLISHERS; i++) {
        int attempt = 0;
        do {
            snprintf(s->names[i], sizeof s->names[i], "one %d %d", i, attempt++);
        } while (stripe_of(s, s->names[i]) == stripe_of(s, s->names[ALL]));
    }
}

static void subscribe(struct story *s, struct world *world, uint8_t qos)
{
    static const char *const filters[SUBSCRIBERS] = {"t/0", "t/1", "t/+", "$share/group/t/+"};
    s->subscriber_count                           = qos == 2 ? SUBSCRIBERS : MEMBER;
    name_them(s);
    for (int i = 0; i < s->subscriber_count; i++) {
        s->subscribers[i] = (struct mqtt_client){.world         = world,
                                                 .id            = s->names[i],
                                                 .qos           = qos,
                                                 .filter        = filters[i],
                                                 .message       = arrived,
                                                 .ctx           = s,
                                                 .topic         = "unused",
                                                 .payload_bytes = 3};
        mqtt_client_start(&s->subscribers[i]);
    }
    bool began = world_run_until(world, subscribed, s, 300 * SIM_S);
    sim_check(world, began, "the subscribers are not subscribed after 300 s");
}

static void run(struct world *world, uint8_t qos)
{
    static const char *const names[PUBLISHERS] = {"pub0", "pub1"};
    struct story            *s                 = calloc(1, sizeof *s);
    sim_check(world, s != NULL, "memory");
    world->faults.reset_one_in = world->faults.reset_one_in == 0 ? 0 : 2000;
    cluster_queue_max          = world_between(world, SALT_SCENARIO, 2, 20);
    cluster_start(&s->cluster, world);
    subscribe(s, world, qos);
    for (int p = 0; p < PUBLISHERS; p++) {
        s->publishers[p] = (struct mqtt_client){
            .world         = world,
            .id            = names[p],
            .publisher     = (uint8_t)p,
            .qos           = qos,
            .topic         = p == 0 ? "t/0" : "t/1",
            .target        = (uint32_t)world_between(world, SALT_SCENARIO, 20, 150),
            .payload_bytes = (uint32_t)world_between(world, SALT_SCENARIO, 3, 500),
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
    for (int i = 0; i < s->subscriber_count; i++) {
        mqtt_client_end(&s->subscribers[i]);
    }
    for (int p = 0; p < PUBLISHERS; p++) {
        mqtt_client_end(&s->publishers[p]);
    }
    cluster_end(&s->cluster);
    free(s);
}

void scenario_queues_qos1(struct world *world)
{
    run(world, 1);
}

void scenario_queues_qos2(struct world *world)
{
    run(world, 2);
}
