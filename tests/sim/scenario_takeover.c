/* scenario_takeover - several devices connect with the same client id, to any shard, while broker and segment store are killed.
 *
 *   one live connection   what was published after a device was let in never reaches a device that was let in before
 *   nothing is lost       what a publisher was acknowledged while the session was subscribed reaches some device; so does what devices publish
 *   Session Present       as the history of the id says; after a clean start nothing of the time before comes back */
#include "tests/sim/cluster.h"
#include "tests/sim/mqtt5_client.h"
#include "tests/sim/scenarios.h"

#include <stdio.h>
#include <stdlib.h>

enum { DEVICES = 3, MESSAGES = 120, PATIENCE_S = 600 };

struct owed {
    const struct mqtt5_ask *ask;
    bool                    subscribed; /* when it was sent, and no clean start since */
    bool                    came;
};

struct story {
    struct cluster      cluster;
    struct mqtt5_client devices[DEVICES];
    struct mqtt5_client publisher;
    struct mqtt5_client observer;
    struct owed         down[MESSAGES]; /* from the publisher to the id */
    uint32_t            down_count;
    struct owed         up[DEVICES][MQTT5_ASKS_MAX]; /* from devices to the observer; by number */
    uint32_t            up_count[DEVICES];
    bool                exists[DEVICES]; /* the session was there for sure when this device said CONNECT */
    bool                nothing[DEVICES];
    uint64_t            reset_ns[DEVICES]; /* when it said CONNECT with clean start; 0: without */
    bool                there;             /* somebody was let in */
    bool                tried;             /* somebody asked to be */
    bool                subscribed;
    uint32_t            speaker;           /* the device that said CONNECT last */
    uint64_t            reset_at;          /* clean start: everything acknowledged before it is gone */
    uint64_t            reset_done;        /* when its CONNACK came */
    uint64_t            said_ns[DEVICES];  /* CONNECT */
    uint64_t            asked_ns[DEVICES]; /* the same, of the connection that was let in last */
    bool                resetting;
};

static uint32_t index_of(const struct story *s, const struct mqtt5_client *device)
{
    return (uint32_t)(device - s->devices);
}

static void connecting(struct mqtt5_client *device)
{
    struct story *s     = device->ctx;
    uint32_t      i     = index_of(s, device);
    device->clean_start = s->resetting && world_chance(device->world, SALT_SCENARIO, 6);
    s->exists[i]        = s->there;
    memset(s->nothing, 0, sizeof s->nothing);
    s->nothing[i]  = !s->tried;
    s->tried       = true;
    s->speaker     = i;
    s->said_ns[i]  = device->world->now_ns;
    s->reset_ns[i] = 0;
    if (device->clean_start) {
        s->reset_ns[i] = device->world->now_ns;
        s->subscribed  = false;
        for (uint32_t n = 0; n < s->down_count; n++) {
            s->down[n].subscribed = false;
        }
    }
}

static void connected(struct mqtt5_client *device, bool present)
{
    struct story *s = device->ctx;
    uint32_t      i = index_of(s, device);
    sim_check(device->world, present || device->clean_start || !s->exists[i], "%s: the session was forgotten",
              device->name);
    sim_check(device->world, !present || !s->nothing[i], "%s: a session that nobody has made", device->name);
    s->there       = true;
    s->asked_ns[i] = s->said_ns[i];
    if (s->reset_ns[i] > s->reset_at) {
        s->reset_at   = s->reset_ns[i];
        s->reset_done = device->world->now_ns;
    }
    if (!present || !s->subscribed) {
        mqtt5_subscribe(device, "down/#", 1);
    }
}

static void answered(struct mqtt5_client *device, struct mqtt5_ask *ask)
{
    struct story *s = device->ctx;
    if (ask->kind == ASK_SUBSCRIBE) {
        sim_check(device->world, ask->reason == 1, "%s: SUBACK says %u", device->name, ask->reason);
        /* Who has said CONNECT since may have begun anew in between. */
        s->subscribed = s->subscribed || (s->speaker == index_of(s, device) && device->up);
    }
}

static bool message(struct mqtt5_client *device, const struct mqtt5_message *m)
{
    struct story *s = device->ctx;
    uint32_t      n = (uint32_t)strtoul(m->text, NULL, 10);
    sim_check(device->world, n < s->down_count && s->down[n].ask->sent_ns != 0, "%s: %s was never published",
              device->name, m->text);
    const struct mqtt5_ask *ask = s->down[n].ask;
    /* Of two that asked at the same time it is not known who was first: a CONNACK may be read late. */
    for (uint32_t other = 0; other < DEVICES; other++) {
        const struct mqtt5_client *heir = &s->devices[other];
        sim_check(device->world,
                  heir == device || s->asked_ns[other] <= device->connected_ns || heir->connected_ns > ask->sent_ns,
                  "%s was let in after %s, which got %s all the same", heir->name, device->name, m->text);
    }
    sim_check(device->world,
              ask->state != ASK_ANSWERED || ask->answered_ns > s->reset_at ||
                  s->said_ns[index_of(s, device)] < s->reset_done,
              "%s: %s is of the time before a clean start", device->name, m->text);
    s->down[n].came = true;
    return true;
}

static bool observed(struct mqtt5_client *observer, const struct mqtt5_message *m)
{
    struct story *s      = observer->ctx;
    uint32_t      device = (uint32_t)strtoul(m->topic + strlen("up/"), NULL, 10);
    uint32_t      n      = (uint32_t)strtoul(m->text, NULL, 10);
    sim_check(observer->world, device < DEVICES && n < s->up_count[device], "%s %s was never published", m->topic,
              m->text);
    s->up[device][n].came = true;
    return true;
}

/* ---- the story ---- */

static bool observer_ready(void *ctx)
{
    const struct story *s = ctx;
    return s->observer.ask_count != 0 && mqtt5_idle(&s->observer);
}

static void publish_down(struct story *s)
{
    char text[MQTT5_TEXT_MAX];
    if (s->down_count == MESSAGES) {
        return;
    }
    snprintf(text, sizeof text, "%u", s->down_count);
    struct owed *owed = &s->down[s->down_count++];
    *owed = (struct owed){.ask = mqtt5_publish(&s->publisher, "down/x", text, 1), .subscribed = s->subscribed};
}

static void publish_up(struct story *s, uint32_t device)
{
    char topic[MQTT5_TEXT_MAX];
    char text[MQTT5_TEXT_MAX];
    if (s->devices[device].ask_count > MQTT5_ASKS_MAX / 2) {
        return;
    }
    snprintf(topic, sizeof topic, "up/%u", device);
    snprintf(text, sizeof text, "%u", s->up_count[device]);
    s->up[device][s->up_count[device]++].ask = mqtt5_publish(&s->devices[device], topic, text, 1);
}

static void act(struct story *s)
{
    struct world *world  = s->cluster.world;
    uint32_t      device = (uint32_t)world_between(world, SALT_SCENARIO, 0, DEVICES - 1);
    switch (world_between(world, SALT_SCENARIO, 0, 9)) {
    case 0:
    case 1:
    case 2:
        mqtt5_connect(&s->devices[device]);
        break;
    case 3:
        mqtt5_drop(&s->devices[device]);
        break;
    case 4:
        mqtt5_leave(&s->devices[device], 0);
        break;
    case 5:
        publish_up(s, device);
        break;
    case 6:
        if (world_chance(world, SALT_SCENARIO, 3)) {
            cluster_accident(&s->cluster);
        }
        break;
    default:
        publish_down(s);
    }
}

static bool all_there(void *ctx)
{
    const struct story *s = ctx;
    if (!mqtt5_idle(&s->publisher) || !mqtt5_idle(&s->devices[0])) {
        return false;
    }
    for (uint32_t n = 0; n < s->down_count; n++) {
        if (s->down[n].subscribed && !s->down[n].came) {
            return false;
        }
    }
    for (uint32_t d = 0; d < DEVICES; d++) {
        for (uint32_t n = 0; n < s->up_count[d]; n++) {
            if (s->up[d][n].ask->state == ASK_ANSWERED && !s->up[d][n].came) {
                return false;
            }
        }
    }
    return true;
}

static void explain(const struct story *s)
{
    struct world *world = s->cluster.world;
    for (uint32_t n = 0; n < s->down_count; n++) {
        sim_check(world, !s->down[n].subscribed || s->down[n].came || s->down[n].ask->state != ASK_ANSWERED,
                  "message %u was acknowledged and reached no device", n);
    }
    for (uint32_t d = 0; d < DEVICES; d++) {
        for (uint32_t n = 0; n < s->up_count[d]; n++) {
            sim_check(world, s->up[d][n].ask->state != ASK_ANSWERED || s->up[d][n].came,
                      "message %u of device %u was acknowledged and did not arrive", n, d);
        }
    }
    sim_fail(world, "somebody is not answered after %d s", PATIENCE_S);
}

void scenario_takeover(struct world *world)
{
    static const char *const names[DEVICES] = {"device0", "device1", "device2"};
    struct story            *s              = calloc(1, sizeof *s);
    sim_check(world, s != NULL, "memory");
    world->faults.reset_one_in = world->faults.reset_one_in == 0 ? 0 : 2000;
    cluster_start(&s->cluster, world);
    s->resetting = world_chance(world, SALT_SCENARIO, 2);
    for (uint32_t i = 0; i < DEVICES; i++) {
        struct mqtt5_client *device = &s->devices[i];
        device->world               = world;
        device->name                = names[i];
        device->id                  = "the one id";
        device->expiry_s            = MQTT5_NEVER;
        device->once                = true;
        device->connecting          = connecting;
        device->connected           = connected;
        device->answered            = answered;
        device->message             = message;
        device->ctx                 = s;
        mqtt5_start(device);
    }
    s->publisher.world = s->observer.world = world;
    s->publisher.name = s->publisher.id = "publisher";
    s->observer.name = s->observer.id = "observer";
    s->observer.expiry_s              = MQTT5_NEVER;
    s->observer.message               = observed;
    s->observer.ctx                   = s;
    mqtt5_start(&s->publisher);
    mqtt5_start(&s->observer);
    mqtt5_connect(&s->publisher);
    mqtt5_subscribe(&s->observer, "up/#", 1);
    mqtt5_connect(&s->observer);
    bool began = world_run_until(world, observer_ready, s, PATIENCE_S * SIM_S);
    sim_check(world, began, "the observer is not subscribed after %d s", PATIENCE_S);

    uint64_t acts = world_between(world, SALT_SCENARIO, 20, 200);
    for (uint64_t i = 0; i < acts; i++) {
        act(s);
        if (world_chance(world, SALT_SCENARIO, 3)) { /* else at the same moment */
            world_run_ns(world, world_between(world, SALT_SCENARIO, SIM_US, 100 * SIM_MS));
        }
    }
    s->resetting = false;
    for (uint32_t i = 1; i < DEVICES; i++) {
        mqtt5_drop(&s->devices[i]);
    }
    world_run_ns(world, 30 * SIM_S);
    s->devices[0].once = false; /* it comes, and comes again until it has everything */
    mqtt5_connect(&s->devices[0]);
    if (!world_run_until(world, all_there, s, PATIENCE_S * SIM_S)) {
        explain(s);
    }
    for (uint32_t i = 0; i < DEVICES; i++) {
        mqtt5_end(&s->devices[i]);
    }
    mqtt5_end(&s->publisher);
    mqtt5_end(&s->observer);
    cluster_end(&s->cluster);
    free(s);
}
