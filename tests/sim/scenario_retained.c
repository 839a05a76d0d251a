/* scenario_retained - retained messages are set, cleared and expire, messages wait for a sleeper and expire, while both processes are killed.
 *
 *   a new subscriber   is shown per topic what was acknowledged last before it asked, or something newer; nothing where that was cleared
 *   a sleeper          gets what has no expiry, and the rest not later than it expires; the expiry that it is told has shrunk */
#include "tests/sim/cluster.h"
#include "tests/sim/mqtt5_client.h"
#include "tests/sim/scenarios.h"

#include <stdio.h>
#include <stdlib.h>

enum { TOPICS = 3, READINGS = 12, WRITES = 100, QUEUED = 150, PATIENCE_S = 300 };

#define SETTLE_NS (8 * SIM_S) /* a reader has everything after this */
#define SLACK_NS  (10 * SIM_S)

struct story {
    struct cluster      cluster;
    struct mqtt5_client writers[TOPICS];
    struct mqtt5_client reader;
    struct mqtt5_client sleeper;
    struct mqtt5_client feeder; /* of the sleeper */
    bool                came[QUEUED];
    /* the reading that is made */
    uint64_t asked_ns;
    uint64_t suback_ns;
    bool     broken;
    bool     shown[TOPICS];
    uint32_t number[TOPICS];
    uint32_t readings;
};

static uint32_t number_of(const struct mqtt5_message *m)
{
    return (uint32_t)strtoul(m->text, NULL, 10);
}

static bool cleared(const struct mqtt5_ask *ask)
{
    return ask->text[0] == '\0';
}

/* ---- readings ---- */

static void reader_connected(struct mqtt5_client *c, bool present)
{
    struct story *s = c->ctx;
    (void)present;
    if (mqtt5_idle(c)) { /* else the SUBSCRIBE of a connection that broke is sent again */
        mqtt5_subscribe(c, "r/#", 1);
    }
    s->asked_ns = c->world->now_ns;
}

/* What may be left of it: of two brokers' clocks one is behind the other, by less than a second. */
static uint32_t longest(const struct story *s, const struct mqtt5_ask *ask)
{
    return ask->expiry_s + (s->cluster.broker_count > 1 && ask->expiry_s != MQTT5_NEVER);
}

static void reader_answered(struct mqtt5_client *c, struct mqtt5_ask *ask)
{
    struct story *s = c->ctx;
    sim_check(c->world, ask->reason == 1, "SUBACK says %u", ask->reason);
    s->suback_ns = c->world->now_ns;
}

static void reader_ended(struct mqtt5_client *c, enum mqtt5_end how, uint8_t reason, bool was_up)
{
    (void)how;
    (void)reason;
    (void)was_up;
    ((struct story *)c->ctx)->broken = true;
}

static bool reader_message(struct mqtt5_client *c, const struct mqtt5_message *m)
{
    struct story *s     = c->ctx;
    uint32_t      topic = (uint32_t)strtoul(m->topic + strlen("r/"), NULL, 10);
    if (!m->retain) {
        return true;
    }
    sim_check(c->world, topic < TOPICS && !s->shown[topic], "%s is shown twice", m->topic);
    sim_check(c->world, m->text[0] != '\0', "%s: a retained message that is empty", m->topic);
    s->shown[topic]             = true;
    s->number[topic]            = number_of(m);
    const struct mqtt5_ask *ask = &s->writers[topic].asks[s->number[topic]];
    sim_check(c->world, s->number[topic] < s->writers[topic].ask_count && ask->sent_ns != 0,
              "%s %s was never published", m->topic, m->text);
    sim_check(c->world,
              (ask->expiry_s == MQTT5_NEVER) == (m->expiry_s == MQTT5_NEVER) && m->expiry_s <= longest(s, ask),
              "%s %s: an expiry of %u s became %u", m->topic, m->text, ask->expiry_s, m->expiry_s);
    sim_check(c->world,
              ask->expiry_s == MQTT5_NEVER || ask->state != ASK_ANSWERED ||
                  c->world->now_ns <= ask->answered_ns + ask->expiry_s * SIM_S + SLACK_NS,
              "%s %s is shown long after it expired", m->topic, m->text);
    return true;
}

static void check_topic(const struct story *s, uint32_t topic)
{
    const struct mqtt5_client *w      = &s->writers[topic];
    struct world              *world  = s->cluster.world;
    uint32_t                   oldest = 0; /* the first that may be shown, + 1; 0: nothing also */
    for (uint32_t n = 0; n < w->ask_count; n++) {
        if (w->asks[n].state == ASK_ANSWERED && w->asks[n].answered_ns < s->asked_ns) {
            oldest = n + 1;
        }
    }
    bool nothing = oldest == 0;
    for (uint32_t n = oldest == 0 ? 0 : oldest - 1; n < w->ask_count; n++) {
        const struct mqtt5_ask *ask = &w->asks[n];
        nothing                     = nothing || (ask->sent_ns != 0 && cleared(ask)) ||
                  (ask->sent_ns != 0 && ask->expiry_s != MQTT5_NEVER &&
                   ask->sent_ns + ask->expiry_s * SIM_S < world->now_ns + SIM_S);
    }
    sim_check(world, s->shown[topic] || nothing, "r/%u shows nothing, %u was acknowledged", topic, oldest - 1);
    sim_check(world, !s->shown[topic] || s->number[topic] + 1 >= oldest, "r/%u shows %u, %u was acknowledged", topic,
              s->number[topic], oldest - 1);
}

static bool reading_over(void *ctx)
{
    const struct story *s = ctx;
    return s->broken || s->suback_ns != 0;
}

/* Looks at everything retained with a new session; a connection that breaks makes no reading. */
static bool read_all(struct story *s)
{
    struct world *world = s->cluster.world;
    if (s->reader.ask_count + 1 >= MQTT5_ASKS_MAX) {
        return true;
    }
    s->broken    = false;
    s->suback_ns = s->asked_ns = 0;
    memset(s->shown, 0, sizeof s->shown);
    mqtt5_connect(&s->reader);
    (void)world_run_until(world, reading_over, s, 60 * SIM_S);
    bool made = !s->broken && s->suback_ns != 0;
    if (made) {
        world_run_ns(world, SETTLE_NS);
        made = !s->broken;
    }
    for (uint32_t topic = 0; made && topic < TOPICS; topic++) {
        check_topic(s, topic);
    }
    s->readings += made;
    mqtt5_drop(&s->reader);
    world_run_ns(world, 200 * SIM_MS);
    return made;
}

/* ---- the sleeper ---- */

static void sleeper_connected(struct mqtt5_client *c, bool present)
{
    if (!present || c->ask_count == 0) {
        mqtt5_subscribe(c, "e/#", 1);
    }
}

static bool sleeper_message(struct mqtt5_client *c, const struct mqtt5_message *m)
{
    struct story           *s   = c->ctx;
    uint32_t                n   = number_of(m);
    const struct mqtt5_ask *ask = &s->feeder.asks[n];
    sim_check(c->world, n < s->feeder.ask_count && ask->sent_ns != 0, "%s was never published", m->text);
    s->came[n] = true;
    sim_check(c->world,
              (ask->expiry_s == MQTT5_NEVER) == (m->expiry_s == MQTT5_NEVER) && m->expiry_s <= longest(s, ask),
              "%s: an expiry of %u s became %u", m->text, ask->expiry_s, m->expiry_s);
    if (ask->expiry_s == MQTT5_NEVER || ask->state != ASK_ANSWERED || m->duplicate) {
        return true;
    }
    uint64_t waited_ns = c->world->now_ns - ask->answered_ns;
    sim_check(c->world, waited_ns <= ask->expiry_s * SIM_S + SLACK_NS, "%s came %.3f s after it expired", m->text,
              (double)waited_ns / 1e9 - ask->expiry_s);
    sim_check(c->world, m->expiry_s * SIM_S + waited_ns <= ask->expiry_s * SIM_S + SLACK_NS,
              "%s waited %.3f s, its expiry went from %u s to %u s", m->text, (double)waited_ns / 1e9, ask->expiry_s,
              m->expiry_s);
    return true;
}

static bool all_there(void *ctx)
{
    const struct story *s = ctx;
    for (uint32_t n = 0; n < s->feeder.ask_count; n++) {
        if (s->feeder.asks[n].expiry_s == MQTT5_NEVER && !s->came[n]) {
            return false;
        }
    }
    for (uint32_t topic = 0; topic < TOPICS; topic++) {
        if (!mqtt5_idle(&s->writers[topic])) {
            return false;
        }
    }
    return mqtt5_idle(&s->feeder);
}

static bool sleeper_ready(void *ctx)
{
    const struct story *s = ctx;
    return s->sleeper.ask_count != 0 && mqtt5_idle(&s->sleeper);
}

/* ---- the story ---- */

static uint32_t some_expiry(struct world *world)
{
    return world_chance(world, SALT_SCENARIO, 2) ? MQTT5_NEVER : (uint32_t)world_between(world, SALT_SCENARIO, 1, 15);
}

static void write_topic(struct story *s)
{
    struct world        *world = s->cluster.world;
    uint32_t             topic = (uint32_t)world_between(world, SALT_SCENARIO, 0, TOPICS - 1);
    struct mqtt5_client *w     = &s->writers[topic];
    char                 name[MQTT5_TEXT_MAX];
    char                 text[MQTT5_TEXT_MAX] = "";
    if (w->ask_count == WRITES) {
        return;
    }
    snprintf(name, sizeof name, "r/%u", topic);
    if (!world_chance(world, SALT_SCENARIO, 4)) {
        snprintf(text, sizeof text, "%u", w->ask_count);
    }
    struct mqtt5_ask *ask = mqtt5_publish(w, name, text, (uint8_t)world_between(world, SALT_SCENARIO, 1, 2));
    ask->retain           = true;
    ask->expiry_s         = world_chance(world, SALT_SCENARIO, 2) ? some_expiry(world) : MQTT5_NEVER;
}

static void feed(struct story *s)
{
    char text[MQTT5_TEXT_MAX];
    if (s->feeder.ask_count == QUEUED) {
        return;
    }
    snprintf(text, sizeof text, "%u", s->feeder.ask_count);
    struct mqtt5_ask *ask = mqtt5_publish(&s->feeder, "e/x", text, 1);
    ask->expiry_s         = some_expiry(s->cluster.world);
}

static void act(struct story *s)
{
    struct world *world = s->cluster.world;
    switch (world_between(world, SALT_SCENARIO, 0, 11)) {
    case 0:
        mqtt5_connect(&s->sleeper);
        break;
    case 1:
        mqtt5_drop(&s->sleeper);
        break;
    case 2:
        if (s->readings < READINGS) {
            (void)read_all(s);
        }
        break;
    case 3:
        if (world_chance(world, SALT_SCENARIO, 2)) {
            cluster_accident(&s->cluster);
        }
        break;
    case 4:
        world_run_ns(world, world_between(world, SALT_SCENARIO, 0, 10 * SIM_S));
        break;
    case 5:
    case 6:
    case 7:
        feed(s);
        break;
    default:
        write_topic(s);
    }
}

static void begin(struct story *s)
{
    static const char *const names[TOPICS] = {"writer0", "writer1", "writer2"};
    for (uint32_t i = 0; i < TOPICS; i++) {
        s->writers[i].name     = names[i];
        s->writers[i].window   = 1; /* the next when the last is answered: what is newest is plain */
        s->writers[i].expiry_s = MQTT5_NEVER;
    }
    s->reader.name             = "reader";
    s->reader.clean_start      = true;
    s->reader.once             = true;
    s->reader.connected        = reader_connected;
    s->reader.answered         = reader_answered;
    s->reader.ended            = reader_ended;
    s->reader.message          = reader_message;
    s->sleeper.name            = "sleeper";
    s->sleeper.expiry_s        = MQTT5_NEVER;
    s->sleeper.connected       = sleeper_connected;
    s->sleeper.message         = sleeper_message;
    s->feeder.name             = "feeder";
    s->feeder.expiry_s         = MQTT5_NEVER;
    struct mqtt5_client *all[] = {&s->writers[0], &s->writers[1], &s->writers[2], &s->feeder, &s->sleeper, &s->reader};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        all[i]->world = s->cluster.world;
        all[i]->id    = all[i]->name;
        all[i]->ctx   = s;
        mqtt5_start(all[i]);
        if (all[i] != &s->reader) {
            mqtt5_connect(all[i]);
        }
    }
}

static void end(struct story *s)
{
    for (uint32_t i = 0; i < TOPICS; i++) {
        mqtt5_end(&s->writers[i]);
    }
    mqtt5_end(&s->reader);
    mqtt5_end(&s->sleeper);
    mqtt5_end(&s->feeder);
    cluster_end(&s->cluster);
    free(s);
}

void scenario_retained(struct world *world)
{
    struct story *s = calloc(1, sizeof *s);
    sim_check(world, s != NULL, "memory");
    world->faults.reset_one_in = world->faults.reset_one_in == 0 ? 0 : 2000;
    cluster_start(&s->cluster, world);
    begin(s);
    bool began = world_run_until(world, sleeper_ready, s, PATIENCE_S * SIM_S);
    sim_check(world, began, "the sleeper is subscribed");
    uint64_t acts = world_between(world, SALT_SCENARIO, 20, 150);
    for (uint64_t i = 0; i < acts; i++) {
        act(s);
        if (world_chance(world, SALT_SCENARIO, 3)) {
            world_run_ns(world, world_between(world, SALT_SCENARIO, SIM_US, 100 * SIM_MS));
        }
    }
    mqtt5_connect(&s->sleeper);
    world_run_ns(world, SIM_S);
    mqtt5_connect(&s->sleeper);
    bool there = world_run_until(world, all_there, s, PATIENCE_S * SIM_S);
    for (uint32_t n = 0; n < s->feeder.ask_count; n++) {
        const struct mqtt5_ask *ask = &s->feeder.asks[n];
        sim_check(world, ask->state != ASK_ANSWERED || ask->expiry_s != MQTT5_NEVER || s->came[n],
                  "message %u was acknowledged and did not arrive", n);
    }
    sim_check(world, there, "somebody is not answered after %d s", PATIENCE_S);
    for (int tries = 0; !read_all(s); tries++) {
        sim_check(world, tries < 50, "no connection lives long enough to be shown what is retained");
    }
    end(s);
}
