/* scenario_trouble - the machines misbehave while messages flow: disks that are slow, stall for seconds, err or are full, a network between
 * broker and store that is cut in one direction or both, processes that do not get the processor, and the usual crashes.
 *
 * A publish that is refused (disk full) is tried again as another one. Whatever was acknowledged arrives, with QoS 2 once; and when the trouble is
 * over everything is acknowledged: nobody stays stuck. */
#include "tests/sim/cluster.h"
#include "tests/sim/disk.h"
#include "tests/sim/mqtt5_client.h"
#include "tests/sim/net.h"
#include "tests/sim/scenarios.h"

#include <stdio.h>
#include <stdlib.h>

enum { PUBLISHERS = 2, MESSAGES = 150, PATIENCE_S = 600, REFUSED = 0x80 };

struct fate {
    uint32_t came;
    bool     accepted;
    bool     again; /* it was refused, and is to be tried again */
    bool refused;   /* once: it may have been stored all the same, before its answer was lost and it was asked again */
};

struct story {
    struct cluster      cluster;
    struct mqtt5_client publishers[PUBLISHERS];
    struct mqtt5_client subscriber;
    struct fate         fates[PUBLISHERS][MESSAGES];
    uint32_t            counts[PUBLISHERS];
    uint64_t            healthy_bytes; /* capacity of the disk */
};

static struct mqtt5_ask *publish(struct story *s, uint32_t p, uint32_t n)
{
    char topic[MQTT5_TEXT_MAX];
    char text[MQTT5_TEXT_MAX];
    snprintf(topic, sizeof topic, "t/%u", p);
    snprintf(text, sizeof text, "%u", n);
    struct mqtt5_ask *ask = mqtt5_publish(&s->publishers[p], topic, text, (uint8_t)(p + 1));
    ask->size             = (uint32_t)world_between(s->cluster.world, SALT_SCENARIO, 0, 4000);
    return ask;
}

static void answered(struct mqtt5_client *c, struct mqtt5_ask *ask)
{
    struct story *s    = c->ctx;
    uint32_t      p    = (uint32_t)(c - s->publishers);
    uint32_t      n    = (uint32_t)strtoul(ask->text, NULL, 10);
    struct fate  *fate = &s->fates[p][n];
    if (ask->reason < REFUSED) {
        fate->accepted = true;
        return;
    }
    sim_check(c->world, ask->reason == 0x97 || ask->reason == 0x88, "a publish is refused with %02x", ask->reason);
    fate->refused = true;
    fate->again   = true;
}

static bool message(struct mqtt5_client *c, const struct mqtt5_message *m)
{
    struct story *s = c->ctx;
    uint32_t      p = (uint32_t)strtoul(m->topic + strlen("t/"), NULL, 10);
    uint32_t      n = (uint32_t)strtoul(m->text, NULL, 10);
    sim_check(c->world, p < PUBLISHERS && n < s->counts[p], "%s %s was never published", m->topic, m->text);
    struct fate *fate = &s->fates[p][n];
    fate->came++;
    sim_check(c->world, m->qos != 2 || fate->came == 1 || fate->refused, "%s %s came %u times", m->topic, m->text,
              fate->came);
    return true;
}

static bool subscribed(void *ctx)
{
    const struct story *s = ctx;
    return s->subscriber.ask_count != 0 && mqtt5_idle(&s->subscriber);
}

static bool all_there(void *ctx)
{
    const struct story *s = ctx;
    for (uint32_t p = 0; p < PUBLISHERS; p++) {
        if (!mqtt5_idle(&s->publishers[p])) {
            return false;
        }
        for (uint32_t n = 0; n < s->counts[p]; n++) {
            if (s->fates[p][n].accepted && s->fates[p][n].came == 0) {
                return false;
            }
        }
    }
    return true;
}

static void publish_refused(struct story *s)
{
    for (uint32_t p = 0; p < PUBLISHERS; p++) {
        for (uint32_t n = 0; n < s->counts[p]; n++) {
            if (s->fates[p][n].again) {
                s->fates[p][n].again = false;
                (void)publish(s, p, n);
            }
        }
    }
}

/* ---- trouble ---- */

static void cut(struct story *s, bool on)
{
    struct machine *a   = s->cluster.brokers[0].machine;
    struct machine *b   = s->cluster.stores[0].machine;
    uint64_t        way = on ? world_between(s->cluster.world, SALT_SCENARIO, 0, 2) : 2;
    if (way != 1) {
        net_link(a, b)->cut = on;
    }
    if (way != 0) {
        net_link(b, a)->cut = on;
    }
}

static void heal(struct story *s)
{
    struct disk *disk  = s->cluster.stores[0].machine->disk;
    *disk_faults(disk) = (struct disk_faults){0};
    disk_set_capacity(disk, s->healthy_bytes);
    net_cut(s->cluster.brokers[0].machine, s->cluster.stores[0].machine, false);
}

static void trouble(struct story *s)
{
    struct world *world = s->cluster.world;
    struct disk  *disk  = s->cluster.stores[0].machine->disk;
    switch (world_between(world, SALT_SCENARIO, 0, 7)) {
    case 0:
    case 1:
        disk_faults_draw(disk);
        break;
    case 2:
        disk_set_capacity(disk, disk_used_bytes(disk) + world_between(world, SALT_SCENARIO, 0, 1) * (1u << 20));
        break;
    case 3:
        cut(s, true);
        break;
    case 4:
        process_pause(s->cluster.stores[0].process, world_between(world, SALT_SCENARIO, SIM_MS, 4 * SIM_S));
        break;
    case 5:
        process_pause(s->cluster.brokers[0].process, world_between(world, SALT_SCENARIO, SIM_MS, 4 * SIM_S));
        break;
    case 6:
        cluster_accident(&s->cluster);
        break;
    default:
        heal(s);
    }
}

static void act(struct story *s)
{
    struct world *world = s->cluster.world;
    if (world_chance(world, SALT_SCENARIO, 8)) {
        trouble(s);
        world_run_ns(world, world_between(world, SALT_SCENARIO, SIM_MS,
                                          world_chance(world, SALT_SCENARIO, 3) ? 20 * SIM_S : SIM_S));
        return;
    }
    uint32_t p = (uint32_t)world_between(world, SALT_SCENARIO, 0, PUBLISHERS - 1);
    if (s->counts[p] < MESSAGES) {
        (void)publish(s, p, s->counts[p]++);
    }
    if (world_chance(world, SALT_SCENARIO, 20)) {
        mqtt5_drop(&s->subscriber);
        world_run_ns(world, world_between(world, SALT_SCENARIO, SIM_MS, SIM_S));
        mqtt5_connect(&s->subscriber);
    }
}

void scenario_trouble(struct world *world)
{
    static const char *const names[PUBLISHERS] = {"publisher1", "publisher2"};
    struct story            *s                 = calloc(1, sizeof *s);
    sim_check(world, s != NULL, "memory");
    world->faults.reset_one_in = world->faults.reset_one_in == 0 ? 0 : 2000;
    world->faults.window_bytes = world->faults.window_bytes < 16384 ? 16384 : world->faults.window_bytes;
    cluster_start(&s->cluster, world);
    s->cluster.supervised = true;
    s->healthy_bytes      = 256u << 20;
    s->subscriber.world   = world;
    s->subscriber.name = s->subscriber.id = "subscriber";
    s->subscriber.expiry_s                = MQTT5_NEVER;
    s->subscriber.message                 = message;
    s->subscriber.ctx                     = s;
    mqtt5_start(&s->subscriber);
    mqtt5_subscribe(&s->subscriber, "t/+", 2);
    mqtt5_connect(&s->subscriber);
    sim_check(world, world_run_until(world, subscribed, s, PATIENCE_S * SIM_S), "the subscriber is subscribed");
    for (uint32_t p = 0; p < PUBLISHERS; p++) {
        struct mqtt5_client *c = &s->publishers[p];
        c->world               = world;
        c->name = c->id = names[p];
        c->expiry_s     = MQTT5_NEVER;
        c->answered     = answered;
        c->ctx          = s;
        mqtt5_start(c);
        mqtt5_connect(c);
    }
    uint64_t acts = world_between(world, SALT_SCENARIO, 20, 200);
    for (uint64_t i = 0; i < acts; i++) {
        act(s);
        if (world_chance(world, SALT_SCENARIO, 4)) {
            world_run_ns(world, world_between(world, SALT_SCENARIO, SIM_US, 50 * SIM_MS));
        }
    }
    heal(s);
    mqtt5_connect(&s->subscriber);
    for (int tries = 0; tries < 3; tries++) { /* the store looks for space every second, reclaims and looks again */
        world_run_ns(world, 40 * SIM_S);
        publish_refused(s);
    }
    bool there = world_run_until(world, all_there, s, PATIENCE_S * SIM_S);
    for (uint32_t p = 0; p < PUBLISHERS; p++) {
        for (uint32_t n = 0; n < s->counts[p]; n++) {
            const struct fate *fate = &s->fates[p][n];
            sim_check(world, !fate->accepted || fate->came != 0,
                      "message %u of publisher %u was acknowledged and did not arrive", n, p);
            sim_check(world, !fate->again, "message %u of publisher %u is refused still, minutes after the trouble", n,
                      p);
        }
        sim_check(world, mqtt5_idle(&s->publishers[p]), "publisher %u is stuck for %d s after the trouble is over", p,
                  PATIENCE_S);
    }
    sim_check(world, there, "everything arrived");
    world_run_ns(world, 5 * SIM_S);
    mqtt5_end(&s->subscriber);
    for (uint32_t p = 0; p < PUBLISHERS; p++) {
        mqtt5_end(&s->publishers[p]);
    }
    cluster_end(&s->cluster);
    free(s);
}
