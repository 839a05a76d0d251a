/* scenario_will - mortals with wills and sessions that expire come, leave in order and without, and come back, while broker and segment store
 * are killed.
 *
 *   a will     comes once when its connection ended without DISCONNECT 0, not before its delay or the session's end and, while nothing crashes,
 *              soon after; never after a DISCONNECT 0 that was read, nor when the client came back in time
 *   a session  is there until it expires, and gone with its queue afterwards
 *
 * Where a crash leaves open what the broker had read, both answers are taken. */
#include "tests/sim/cluster.h"
#include "tests/sim/mqtt5_client.h"
#include "tests/sim/scenarios.h"

#include <stdio.h>
#include <stdlib.h>

enum { MORTALS = 3, LIVES = 40, CRASHES = 64, PATIENCE_S = 300 };

#define SLACK_NS (30 * SIM_S) /* leases and grace after crashes, and what a slow machine adds */
#define SOON_NS  (12 * SIM_S)
#define EARLY_NS (100 * SIM_MS) /* clocks differ */

/* One connection of a mortal. */
struct life {
    uint64_t said_ns; /* CONNECT */
    uint64_t up_ns;   /* CONNACK, or 0 */
    uint64_t end_ns;  /* what the client saw */
    uint64_t left_ns; /* it closed the connection itself, or 0 */
    uint64_t came_ns; /* its will */
    uint32_t came;
    uint32_t delay_s; /* of the will: also the session's end */
    uint32_t expiry_s;
    bool     clean_start;
    bool     present;
    bool     has_will;
    bool     goodbye;      /* DISCONNECT 0 was said */
    bool     goodbye_read; /* and the broker has closed */
};

struct mortal {
    struct mqtt5_client client;
    const char         *will_topic;
    struct life         lives[LIVES];
    uint32_t            count;
};

struct story {
    struct cluster      cluster;
    struct mortal       mortals[MORTALS];
    struct mqtt5_client publisher;
    struct mqtt5_client observer;
    uint64_t            crashes[CRASHES];
    uint32_t            crash_count;
};

static struct mortal *mortal_of(struct mqtt5_client *client)
{
    return CONTAINER_OF(client, struct mortal, client);
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static bool crashed_within(const struct story *s, uint64_t from_ns, uint64_t to_ns)
{
    for (uint32_t i = 0; i < s->crash_count; i++) {
        if (s->crashes[i] >= from_ns && s->crashes[i] <= to_ns) {
            return true;
        }
    }
    return false;
}

/* How long after the end of the connection the will is due. */
static uint64_t due_after_ns(const struct life *life)
{
    return (life->delay_s < life->expiry_s ? life->delay_s : life->expiry_s) * SIM_S;
}

/* The broker cannot have seen the end before. */
static uint64_t end_at_least(const struct life *life)
{
    return life->left_ns != 0 ? life->left_ns : life->end_ns > SLACK_NS ? life->end_ns - SLACK_NS : 0;
}

/* ---- mortals ---- */

static void connecting(struct mqtt5_client *c)
{
    struct mortal *m     = mortal_of(c);
    struct world  *world = c->world;
    sim_check(world, m->count < LIVES, "%s has lives enough", c->name);
    struct life *life = &m->lives[m->count++];
    uint32_t     kind = (uint32_t)world_between(world, SALT_SCENARIO, 0, 4);
    c->expiry_s       = kind == 0   ? 0
                        : kind == 1 ? MQTT5_NEVER
                                    : (uint32_t)world_between(world, SALT_SCENARIO, 1, kind == 2 ? 1000 : 8);
    c->clean_start    = world_chance(world, SALT_SCENARIO, 4);
    c->will.delay_s = world_chance(world, SALT_SCENARIO, 3) ? 0 : (uint32_t)world_between(world, SALT_SCENARIO, 1, 15);
    c->will.topic   = world_chance(world, SALT_SCENARIO, 5) ? NULL : m->will_topic;
    c->will.qos     = (uint8_t)world_between(world, SALT_SCENARIO, 1, 2);
    snprintf(c->will.text, sizeof c->will.text, "%u", m->count - 1);
    *life = (struct life){.said_ns     = world->now_ns,
                          .delay_s     = c->will.delay_s,
                          .expiry_s    = c->expiry_s,
                          .clean_start = c->clean_start,
                          .has_will    = c->will.topic != NULL};
}

/* What CONNACK may say of the session, from the life before. */
static void check_present(const struct mortal *m, const struct life *life)
{
    struct world      *world  = m->client.world;
    const struct life *before = life == m->lives ? NULL : life - 1;
    if (before == NULL || life->clean_start) {
        sim_check(world, !life->present, "%s: a session out of nothing", m->client.name);
        return;
    }
    if (before->up_ns == 0) {
        return;
    }
    sim_check(world, !life->present || before->expiry_s != 0,
              "%s: life %u: the session ended with the connection before, and is there", m->client.name, m->count - 1);
    uint64_t expiry_ns = before->expiry_s == MQTT5_NEVER ? UINT64_MAX / 2 : before->expiry_s * SIM_S;
    sim_check(world,
              life->present || before->expiry_s == 0 || life->up_ns + EARLY_NS >= end_at_least(before) + expiry_ns,
              "%s: life %u: the session was forgotten %u s before it expires", m->client.name, m->count - 1,
              before->expiry_s);
    sim_check(world, !life->present || life->said_ns <= before->end_ns + expiry_ns + SLACK_NS,
              "%s: life %u: the session is there long after it expired", m->client.name, m->count - 1);
}

static void connected(struct mqtt5_client *c, bool present)
{
    struct mortal *m    = mortal_of(c);
    struct life   *life = &m->lives[m->count - 1];
    life->up_ns         = c->world->now_ns;
    life->present       = present;
    check_present(m, life);
    if (!present) {
        char filter[MQTT5_TEXT_MAX];
        snprintf(filter, sizeof filter, "q/%s", c->id);
        mqtt5_subscribe(c, filter, 1);
    }
}

static bool queued(struct mqtt5_client *c, const struct mqtt5_message *message)
{
    struct story           *s    = c->ctx;
    const struct mortal    *m    = mortal_of(c);
    const struct life      *life = &m->lives[m->count - 1];
    const struct mqtt5_ask *ask  = &s->publisher.asks[strtoul(message->text, NULL, 10)];
    sim_check(c->world, life->present || ask->state != ASK_ANSWERED || ask->answered_ns >= life->said_ns,
              "%s: life %u got %s out of the queue of a session that was gone", c->name, m->count - 1, message->text);
    return true;
}

static void ended(struct mqtt5_client *c, enum mqtt5_end how, uint8_t reason, bool was_up)
{
    struct mortal *m = mortal_of(c);
    (void)reason;
    if (m->count == 0) {
        return;
    }
    struct life *life = &m->lives[m->count - 1];
    if (life->end_ns == 0) {
        life->end_ns       = c->world->now_ns;
        life->goodbye_read = life->goodbye && how == MQTT5_LEFT && was_up;
    }
}

/* ---- the observer ---- */

static bool observed(struct mqtt5_client *c, const struct mqtt5_message *message)
{
    struct story  *s     = c->ctx;
    uint32_t       which = (uint32_t)strtoul(message->topic + strlen("w/"), NULL, 10);
    uint32_t       n     = (uint32_t)strtoul(message->text, NULL, 10);
    struct mortal *m     = &s->mortals[which];
    sim_check(c->world, which < MORTALS && n < m->count, "a will of nobody: %s %s", message->topic, message->text);
    struct life *life = &m->lives[n];
    if (message->qos == 1 && message->duplicate && life->came == 1) {
        return true;
    }
    life->came++;
    life->came_ns = c->world->now_ns;
    sim_check(c->world, life->came == 1, "the will of %s, life %u, came %u times", m->client.name, n, life->came);
    return true;
}

enum verdict { MUST, MUST_NOT, MAY };

/* The next lives decide whether the will was still due. */
static enum verdict judge(const struct story *s, const struct mortal *m, uint32_t n)
{
    const struct life *life = &m->lives[n];
    if (!life->has_will) {
        return MUST_NOT;
    }
    if (life->up_ns == 0) {
        return MAY;
    }
    if (life->goodbye) {
        /* A broker that died before is not the one that closed, though its machine has not said so yet. */
        return life->goodbye_read && !crashed_within(s, life->up_ns, life->left_ns + SLACK_NS) ? MUST_NOT : MAY;
    }
    uint64_t after_ns = due_after_ns(life);
    if (after_ns == 0) {
        return MUST;
    }
    for (uint32_t i = n + 1; i < m->count; i++) {
        const struct life *next = &m->lives[i];
        if (next->said_ns > life->end_ns + after_ns + SLACK_NS) {
            return MUST;
        }
        if (next->up_ns == 0) {
            return MAY;
        }
        if (next->clean_start) {
            return MUST; /* [MQTT-3.1.2-4] the session has ended, and with it the delay */
        }
        return next->up_ns + EARLY_NS < end_at_least(life) + after_ns ? MUST_NOT : MAY;
    }
    return MUST;
}

static void check_time(const struct story *s, const struct mortal *m, uint32_t n)
{
    const struct life *life     = &m->lives[n];
    uint64_t           after_ns = due_after_ns(life);
    uint64_t           first_ns = end_at_least(life) + after_ns;
    uint64_t           last_ns  = life->end_ns + after_ns + SOON_NS;
    for (uint32_t i = n + 1; i < m->count;
         i++) { /* one that nobody answered may not have come at all, so the next one counts, too */
        if (m->lives[i].clean_start) {
            first_ns = least(first_ns, m->lives[i].said_ns);
        }
        if (m->lives[i].up_ns != 0) {
            break;
        }
    }
    sim_check(s->cluster.world, life->came_ns + EARLY_NS >= first_ns,
              "the will of %s, life %u, came %.3f s before it was due", m->client.name, n,
              (double)(first_ns - life->came_ns) / 1e9);
    sim_check(s->cluster.world, life->came_ns <= last_ns || crashed_within(s, life->said_ns, life->came_ns),
              "the will of %s, life %u, came %.3f s late", m->client.name, n,
              (double)(life->came_ns - (life->end_ns + after_ns)) / 1e9);
}

static bool all_came(void *ctx)
{
    struct story *s = ctx;
    for (int i = 0; i < MORTALS; i++) {
        for (uint32_t n = 0; n < s->mortals[i].count; n++) {
            if (judge(s, &s->mortals[i], n) == MUST && s->mortals[i].lives[n].came == 0) {
                return false;
            }
        }
    }
    return mqtt5_idle(&s->publisher);
}

static void check_all(const struct story *s)
{
    for (int i = 0; i < MORTALS; i++) {
        const struct mortal *m = &s->mortals[i];
        for (uint32_t n = 0; n < m->count; n++) {
            const struct life *life    = &m->lives[n];
            enum verdict       verdict = judge(s, m, n);
            sim_check(s->cluster.world, verdict != MUST || life->came != 0, "the will of %s, life %u, never came",
                      m->client.name, n);
            sim_check(s->cluster.world, verdict != MUST_NOT || life->came == 0,
                      "the will of %s, life %u, came although it %s", m->client.name, n,
                      !life->has_will ? "had none"
                      : life->goodbye ? "said goodbye"
                                      : "was back in time");
            if (life->came != 0 && life->up_ns != 0) {
                check_time(s, m, n);
            }
        }
    }
}

/* ---- the story ---- */

static bool observer_ready(void *ctx)
{
    const struct story *s = ctx;
    return s->observer.ask_count != 0 && mqtt5_idle(&s->observer);
}

static void act_on(struct story *s, struct mortal *m)
{
    struct world *world = s->cluster.world;
    struct life  *life  = m->count == 0 ? NULL : &m->lives[m->count - 1];
    if (m->client.socket == NULL) {
        if (m->count < LIVES) {
            mqtt5_connect(&m->client);
        }
        return;
    }
    if (!m->client.up || m->client.leaving || m->client.dropping) {
        return;
    }
    life->left_ns = world->now_ns;
    switch (world_between(world, SALT_SCENARIO, 0, 2)) {
    case 0:
        mqtt5_drop(&m->client);
        break;
    case 1:
        mqtt5_leave(&m->client, 4); /* with will */
        break;
    default:
        life->goodbye = true;
        mqtt5_leave(&m->client, 0);
    }
}

static void act(struct story *s)
{
    struct world  *world = s->cluster.world;
    struct mortal *m     = &s->mortals[world_between(world, SALT_SCENARIO, 0, MORTALS - 1)];
    switch (world_between(world, SALT_SCENARIO, 0, 7)) {
    case 0:
        if (s->crash_count < CRASHES) {
            s->crashes[s->crash_count++] = world->now_ns;
            cluster_accident(&s->cluster);
        }
        break;
    case 1:
    case 2: {
        char topic[MQTT5_TEXT_MAX];
        char text[MQTT5_TEXT_MAX];
        snprintf(topic, sizeof topic, "q/%s", m->client.id);
        snprintf(text, sizeof text, "%u", s->publisher.ask_count);
        mqtt5_publish(&s->publisher, topic, text, 1);
        break;
    }
    default:
        act_on(s, m);
    }
}

void scenario_will(struct world *world)
{
    static const char *const names[MORTALS]  = {"mortal0", "mortal1", "mortal2"};
    static const char *const topics[MORTALS] = {"w/0", "w/1", "w/2"};
    struct story            *s               = calloc(1, sizeof *s);
    sim_check(world, s != NULL, "memory");
    world->faults.reset_one_in = world->faults.reset_one_in == 0 ? 0 : 2000;
    cluster_start(&s->cluster, world);
    for (uint32_t i = 0; i < MORTALS; i++) {
        struct mqtt5_client *c = &s->mortals[i].client;
        c->world               = world;
        c->name = c->id          = names[i];
        s->mortals[i].will_topic = topics[i];
        c->once                  = true;
        c->connecting            = connecting;
        c->connected             = connected;
        c->message               = queued;
        c->ended                 = ended;
        c->ctx                   = s;
        mqtt5_start(c);
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
    mqtt5_subscribe(&s->observer, "w/#", 2);
    mqtt5_connect(&s->observer);
    sim_check(world, world_run_until(world, observer_ready, s, PATIENCE_S * SIM_S), "the observer is subscribed");

    uint64_t acts = world_between(world, SALT_SCENARIO, 10, 80);
    for (uint64_t i = 0; i < acts; i++) {
        act(s);
        uint64_t most_ns = world_chance(world, SALT_SCENARIO, 8) ? 40 * SIM_S : 2 * SIM_S;
        world_run_ns(world, world_between(world, SALT_SCENARIO, SIM_US, most_ns));
    }
    for (uint32_t i = 0; i < MORTALS; i++) {
        struct mortal *m = &s->mortals[i];
        if (m->client.up && m->lives[m->count - 1].left_ns == 0) {
            m->lives[m->count - 1].left_ns = world->now_ns;
        }
        mqtt5_drop(&m->client);
    }
    world_run_ns(world, 60 * SIM_S);
    (void)world_run_until(world, all_came, s, PATIENCE_S * SIM_S);
    world_run_ns(world, 20 * SIM_S); /* nothing comes twice afterwards either */
    check_all(s);
    sim_check(world, mqtt5_idle(&s->publisher), "the publisher is answered");
    for (uint32_t i = 0; i < MORTALS; i++) {
        mqtt5_end(&s->mortals[i].client);
    }
    mqtt5_end(&s->publisher);
    mqtt5_end(&s->observer);
    cluster_end(&s->cluster);
    free(s);
}
