/* stage - what the shard does around a kernel, in one thread. */
#include "tests/unit/broker/kernel/stage.h"

#include "shared/base/err.h"
#include "shared/base/list.h"
#include "shared/base/timer.h"

#include <stdio.h>
#include <stdlib.h>

const struct kernel_limits stage_limits = {
    .subscriptions_max    = 200,
    .inflight_max         = 100,
    .publish_pending_max  = 64,
    .live_queue_bytes     = 8192,
    .overrun_after_ns     = 5000000000ull,
    .session_expiry_max_s = EXPIRY_NEVER,
    .retain_available     = true,
};

struct port {
    struct broker *broker;
    unsigned       shard;
};

struct mail {
    struct list        link;
    unsigned           from;
    struct kernel_mail mail;
};

static uint64_t owners = 1000;

static bool port_post(void *ctx, unsigned to, const struct kernel_mail *mail)
{
    struct port   *port = ctx;
    struct broker *b    = port->broker;
    int            held = 0;
    LIST_EACH (&b->mails[to], link) {
        held += CONTAINER_OF(link, struct mail, link)->from == port->shard;
    }
    if (held >= b->mail_room) {
        return false;
    }
    struct mail *m = malloc(sizeof *m);
    *m             = (struct mail){.from = port->shard, .mail = *mail};
    list_push_back(&b->mails[to], &m->link);
    return true;
}

static uint64_t port_random(void *ctx)
{
    (void)ctx;
    return ++owners * 0x9e3779b97f4a7c15u;
}

static uint64_t steady(const struct broker *b)
{
    return fake_world_wall_ns(b->world) - 1600000000ull * 1000000000ull;
}

static struct broker *make(struct fake_world *world, unsigned shards, const struct kernel_limits *limits,
                           uint64_t instance)
{
    struct broker *b = calloc(1, sizeof *b);
    b->world         = world;
    b->shard_count   = shards;
    b->mail_room     = 1000000;
    b->ports         = calloc(shards, sizeof *b->ports);
    for (unsigned i = 0; i < shards; i++) {
        b->ports[i] = (struct port){.broker = b, .shard = i};
        list_init(&b->mails[i]);
        b->stores[i]                  = fake_store_new(world, instance != 0 ? kernel_owner(instance, i) : ++owners);
        b->timers[i]                  = timer_wheel_new(steady(b));
        const struct kernel_port port = {
            .ctx = &b->ports[i], .post = port_post, .random = port_random, .instance = instance};
        b->kernels[i] =
            kernel_new(i, shards, limits != NULL ? limits : &stage_limits, &port, b->stores[i], b->timers[i]);
    }
    return b;
}

static struct broker *ready(struct broker *b)
{
    for (unsigned i = 0; i < b->shard_count; i++) {
        ASSERT(kernel_ready(b->kernels[i]));
    }
    return b;
}

struct broker *broker_new(struct fake_world *world, unsigned shards, const struct kernel_limits *limits)
{
    struct broker *b = make(world, shards, limits, 0);
    settle(b);
    return ready(b);
}

struct broker *broker_beside(struct fake_world *world, unsigned shards, struct broker *other, struct broker *third)
{
    struct broker *b = make(world, shards, NULL, ++owners);
    for (int quiet = 0; quiet < 3;) {
        bool any = broker_turn(b, 1000000);
        any      = (other != NULL && broker_turn(other, 1000000)) || any;
        any      = (third != NULL && broker_turn(third, 1000000)) || any;
        quiet    = any ? 0 : quiet + 1;
    }
    return ready(b);
}

void broker_kill(struct broker *b)
{
    for (unsigned i = 0; i < b->shard_count; i++) {
        kernel_free(b->kernels[i]);
    }
    for (unsigned i = 0; i < b->shard_count; i++) {
        fake_store_lose(b->stores[i]);
        timer_wheel_free(b->timers[i]);
        struct list *link;
        while ((link = list_pop_front(&b->mails[i])) != NULL) {
            struct mail *m = CONTAINER_OF(link, struct mail, link);
            free(m->mail.body);
            free(m);
        }
    }
    free(b->ports);
    free(b);
}

bool broker_turn(struct broker *b, int applies)
{
    bool any = false;
    for (unsigned i = 0; i < b->shard_count; i++) {
        kernel_begin(b->kernels[i], steady(b), fake_world_wall_ns(b->world));
        struct list  arrived;
        struct list *link;
        list_init(&arrived);
        while ((link = list_pop_front(&b->mails[i])) != NULL) {
            list_push_back(&arrived, link);
        }
        while ((link = list_pop_front(&arrived)) != NULL) {
            struct mail *m = CONTAINER_OF(link, struct mail, link);
            kernel_receive(b->kernels[i], m->from, &m->mail);
            free(m);
            any = true;
        }
        any = fake_apply(b->stores[i], applies) || any;
        any = fake_answer(b->stores[i]) || any;
        timer_expire(b->timers[i], steady(b));
        uint64_t wish_ns = kernel_end(b->kernels[i]);
        any              = any || wish_ns <= steady(b);
    }
    return any;
}

void settle(struct broker *b)
{
    /* One quiet turn may only have submitted what the next one answers. */
    for (int quiet = 0, turns = 0; quiet < 3; turns++) {
        ASSERT(turns < 100000);
        quiet = broker_turn(b, 1000000) ? 0 : quiet + 1;
    }
}

void settle_two(struct broker *a, struct broker *b)
{
    for (int quiet = 0; quiet < 3;) {
        bool any = broker_turn(a, 1000000);
        any      = broker_turn(b, 1000000) || any;
        quiet    = any ? 0 : quiet + 1;
    }
}

void pass(struct broker *b, uint64_t seconds)
{
    fake_world_advance(b->world, seconds * 1000000000ull);
    settle(b);
}

/* ---- actors ---------------------------------------------------------------------------------------------------------- */

static void on_opened(struct client *client, int status, bool present)
{
    struct actor *a = (struct actor *)client;
    a->opened++;
    a->status  = status;
    a->present = present;
}

static void on_evicted(struct client *client, enum evict_reason why)
{
    struct actor *a = (struct actor *)client;
    a->evicted++;
    a->why = why;
}

static void on_published(struct client *client, uint16_t id, uint8_t qos, int status, bool matched)
{
    struct actor *a = (struct actor *)client;
    ASSERT(a->published_count < 4096);
    a->published[a->published_count].id        = id;
    a->published[a->published_count].qos       = qos;
    a->published[a->published_count].status    = status;
    a->published[a->published_count++].matched = matched;
}

static void on_publish_released(struct client *client, uint16_t id, int status)
{
    struct actor *a = (struct actor *)client;
    ASSERT(a->released_count < 1024);
    a->released[a->released_count].id       = id;
    a->released[a->released_count++].status = status;
}

static void copy_text(char *out, size_t room, struct bytes text)
{
    size_t size = text.size < room - 1 ? text.size : room - 1;
    if (size != 0) {
        memcpy(out, text.data, size);
    }
    out[size] = 0;
}

static enum deliver_result on_deliver(struct client *client, struct delivery *delivery)
{
    struct actor         *a = (struct actor *)client;
    const struct message *m = delivery->message;
    if (a->full || a->full_in == 0) {
        a->full = true;
        return DELIVER_FULL;
    }
    if (a->too_big != 0 && m->payload.size > a->too_big) {
        return DELIVER_TOO_BIG;
    }
    a->full_in -= a->full_in > 0;
    if (a->got_count == a->got_capacity) {
        a->got_capacity = a->got_capacity == 0 ? 16 : a->got_capacity * 2;
        a->gots         = realloc(a->gots, (size_t)a->got_capacity * sizeof *a->gots);
    }
    struct got *g = &a->gots[a->got_count++];
    memset(g, 0, sizeof *g);
    copy_text(g->topic, sizeof g->topic, m->topic);
    copy_text(g->payload, sizeof g->payload, m->payload);
    copy_text(g->properties, sizeof g->properties, m->properties);
    for (size_t i = 0; i < m->properties.size && i + 1 < sizeof g->properties; i++) {
        g->properties[i] = (char)(g->properties[i] < ' ' ? '.' : g->properties[i]);
    }
    g->expires_wall_ns = m->expires_wall_ns;
    g->qos             = delivery->qos;
    g->retain          = delivery->retain;
    g->duplicate       = delivery->duplicate;
    g->id              = delivery->id;
    g->count           = delivery->subscription_id_count;
    memcpy(g->ids, delivery->subscription_ids, g->count * sizeof *g->ids);
    return DELIVER_OK;
}

static void on_deliver_release(struct client *client, uint16_t id)
{
    struct actor *a                      = (struct actor *)client;
    a->releases[a->release_count++ % 64] = id;
}

static void on_subscribed(struct client *client, uint16_t id, const int *results, int count)
{
    struct actor *a = (struct actor *)client;
    (void)id;
    a->subscribed++;
    memcpy(a->results, results, (size_t)count * sizeof *results);
}

static void on_unsubscribed(struct client *client, uint16_t id, const int *results, int count)
{
    struct actor *a = (struct actor *)client;
    (void)id;
    a->unsubscribed++;
    memcpy(a->results, results, (size_t)count * sizeof *results);
}

static void on_pause(struct client *client, bool paused)
{
    struct actor *a = (struct actor *)client;
    ASSERT(a->paused != paused);
    a->paused = paused;
    a->pauses += paused;
}

static void on_uncache(void *cache)
{
    (void)cache;
}

static const struct client_ops actor_ops = {
    .opened           = on_opened,
    .evicted          = on_evicted,
    .published        = on_published,
    .publish_released = on_publish_released,
    .deliver          = on_deliver,
    .deliver_release  = on_deliver_release,
    .subscribed       = on_subscribed,
    .unsubscribed     = on_unsubscribed,
    .pause            = on_pause,
    .uncache          = on_uncache,
};

struct actor *actor_new(const char *id)
{
    struct actor *a = calloc(1, sizeof *a);
    a->client.ops   = &actor_ops;
    a->full_in      = -1;
    snprintf(a->id, sizeof a->id, "%s", id);
    return a;
}

void actor_free(struct actor *a)
{
    free(a->gots);
    free(a);
}

void actor_clear(struct actor *a)
{
    a->got_count = a->published_count = a->released_count = a->release_count = 0;
    a->opened = a->evicted = a->subscribed = a->unsubscribed = 0;
}

void open_only(struct broker *b, unsigned shard, struct actor *a, bool clean_start, uint32_t expiry_s,
               uint16_t receive_max, const struct will *will)
{
    struct open_request request = {
        .client_id   = bytes_str(a->id),
        .clean_start = clean_start,
        .expiry_s    = expiry_s,
        .receive_max = receive_max,
        .told        = !a->untold,
    };
    if (will != NULL) {
        request.will = *will;
    }
    a->client.session = NULL;
    a->paused         = false;
    kernel_open(b->kernels[shard], &a->client, &request);
}

void enter_will(struct broker *b, unsigned shard, struct actor *a, bool clean_start, uint32_t expiry_s,
                struct will will)
{
    int before = a->opened;
    open_only(b, shard, a, clean_start, expiry_s, 50, &will);
    settle(b);
    ASSERT(a->opened == before + 1 && a->status == 0);
}

void enter(struct broker *b, unsigned shard, struct actor *a, bool clean_start, uint32_t expiry_s)
{
    enter_will(b, shard, a, clean_start, expiry_s, (struct will){0});
}

void leave_with(struct broker *b, unsigned shard, struct actor *a, struct close_request request)
{
    kernel_close(b->kernels[shard], &a->client, &request);
    settle(b);
}

void leave(struct broker *b, unsigned shard, struct actor *a)
{
    leave_with(b, shard, a, (struct close_request){0});
}

int follow_with(struct broker *b, unsigned shard, struct actor *a, struct subscription subscription)
{
    int before = a->subscribed;
    kernel_subscribe(b->kernels[shard], &a->client, 1, &subscription, 1);
    settle(b);
    ASSERT(a->subscribed == before + 1);
    return a->results[0];
}

int follow(struct broker *b, unsigned shard, struct actor *a, const char *filter, uint8_t qos)
{
    return follow_with(b, shard, a, (struct subscription){.filter = bytes_str(filter), .qos = qos});
}

int unfollow(struct broker *b, unsigned shard, struct actor *a, const char *filter)
{
    int          before = a->unsubscribed;
    struct bytes f      = bytes_str(filter);
    kernel_unsubscribe(b->kernels[shard], &a->client, 2, &f, 1);
    settle(b);
    ASSERT(a->unsubscribed == before + 1);
    return a->results[0];
}

static void say_message(struct broker *b, unsigned shard, struct actor *a, const char *topic, const char *payload,
                        uint8_t qos, uint16_t id, bool retain, uint32_t expiry_s)
{
    struct message m = {
        .topic           = bytes_str(topic),
        .payload         = bytes_str(payload),
        .qos             = qos,
        .retain          = retain,
        .publish_wall_ns = fake_world_wall_ns(b->world),
    };
    m.expires_wall_ns = expiry_s == 0 ? 0 : m.publish_wall_ns + expiry_s * 1000000000ull;
    kernel_publish(b->kernels[shard], &a->client, &m, id);
}

void say(struct broker *b, unsigned shard, struct actor *a, const char *topic, const char *payload, uint8_t qos,
         uint16_t id)
{
    say_message(b, shard, a, topic, payload, qos, id, false, 0);
}

void say_retained(struct broker *b, unsigned shard, struct actor *a, const char *topic, const char *payload,
                  uint8_t qos, uint16_t id, uint32_t expiry_s)
{
    say_message(b, shard, a, topic, payload, qos, id, true, expiry_s);
}

int ack(struct broker *b, unsigned shard, struct actor *a, int got, int step)
{
    const struct got *g = &a->gots[got];
    ASSERT(got < a->got_count && g->qos != 0);
    return g->qos == 2 && step == 1
               ? kernel_received(b->kernels[shard], &a->client, g->id)
               : kernel_done(b->kernels[shard], &a->client, g->id, g->qos == 1 ? DELIVERY_TAKEN : DELIVERY_RELEASED);
}

bool heard(const struct actor *a, const char *payloads)
{
    char   all[4096] = "";
    size_t at        = 0;
    for (int i = 0; i < a->got_count && at < sizeof all - 80; i++) {
        at += (size_t)snprintf(all + at, sizeof all - at, "%s%s", i == 0 ? "" : " ", a->gots[i].payload);
    }
    bool same = strcmp(all, payloads) == 0;
    if (!same) {
        fprintf(stderr, "%s heard \"%s\", not \"%s\"\n", a->id, all, payloads);
    }
    return same;
}

int times_heard(const struct actor *actor, const char *payload)
{
    int count = 0;
    for (int i = 0; i < actor->got_count; i++) {
        bool again = false;
        for (int j = 0; j < i; j++) {
            again = again || actor->gots[j].id == actor->gots[i].id;
        }
        count += !again && strcmp(actor->gots[i].payload, payload) == 0;
    }
    return count;
}
