/* What a publish costs inside the kernel, to clients that only count: nanoseconds, one shard, no sockets, nothing stored. */
#include "broker/kernel/kernel.h"
#include "shared/base/timer.h"
#include "tests/unit/broker/kernel/fake_store.c"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* A client and the id it was last given. */
struct reader {
    struct client client;
    uint16_t      id;
};

static uint64_t delivered;
static uint64_t opened;

static uint64_t clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void on_opened(struct client *client, int status, bool present)
{
    (void)client;
    (void)present;
    opened += status == 0;
}

static struct kernel *kernel;

static enum deliver_result on_deliver(struct client *client, struct delivery *delivery)
{
    (void)client;
    (void)delivery;
    delivered++;
    return DELIVER_OK;
}

static enum deliver_result on_deliver_acknowledged(struct client *client, struct delivery *delivery)
{
    delivered++;
    ((struct reader *)client)->id = delivery->id;
    return DELIVER_OK;
}

static void on_published(struct client *client, uint16_t id, uint8_t qos, int status, bool matched)
{
    (void)client;
    (void)id;
    (void)qos;
    (void)status;
    (void)matched;
}

static void on_subscribed(struct client *client, uint16_t id, const int *results, int count)
{
    (void)client;
    (void)id;
    (void)results;
    (void)count;
}

static const struct client_ops ops = {
    .opened = on_opened, .deliver = on_deliver, .published = on_published, .subscribed = on_subscribed};
static const struct client_ops ops_acknowledged = {
    .opened = on_opened, .deliver = on_deliver_acknowledged, .published = on_published, .subscribed = on_subscribed};

static bool post(void *ctx, unsigned shard, const struct kernel_mail *mail)
{
    (void)ctx;
    (void)shard;
    (void)mail;
    return false;
}

static uint64_t random_of(void *ctx)
{
    (void)ctx;
    return 42;
}

static void turn(struct store *store)
{
    for (int i = 0; i < 4; i++) {
        kernel_begin(kernel, 1000000000, 1700000000000000000u);
        fake_apply(store, 1000000);
        fake_answer(store);
        kernel_end(kernel);
    }
}

static void enter(struct store *store, struct client *client, const char *id, const char *filter, uint8_t qos)
{
    struct open_request request = {.client_id = bytes_str(id), .clean_start = true, .receive_max = 100};
    kernel_open(kernel, client, &request);
    turn(store);
    if (filter != NULL) {
        struct subscription sub = {.filter = bytes_str(filter), .qos = qos, .retain_handling = 2};
        kernel_subscribe(kernel, client, 1, &sub, 1);
        turn(store);
    }
}

static void report(const char *name, uint64_t began_ns, uint64_t count, const char *unit)
{
    printf("%-48s %8.1f ns per %s\n", name, (double)(clock_ns() - began_ns) / (double)count, unit);
}

int main(void)
{
    enum { READERS = 1000, ROUNDS = 5000000 };
    const struct kernel_limits limits = {
        .subscriptions_max    = 100,
        .inflight_max         = 100,
        .publish_pending_max  = 1000,
        .live_queue_bytes     = 1 << 20,
        .overrun_after_ns     = 1000000000,
        .session_expiry_max_s = EXPIRY_NEVER,
        .retain_available     = true,
    };
    const struct kernel_port port   = {.post = post, .random = random_of};
    struct fake_world       *world  = fake_world_new(4, 0);
    struct store            *store  = fake_store_new(world, 1);
    struct timer_wheel      *timers = timer_wheel_new(0);
    kernel                          = kernel_new(0, 1, &limits, &port, store, timers);
    turn(store);

    struct client  writer   = {.ops = &ops};
    struct client  one      = {.ops = &ops};
    struct reader  quality  = {.client = {.ops = &ops_acknowledged}};
    struct client *many     = calloc(READERS, sizeof *many);
    uint8_t        body[64] = {0};
    enter(store, &writer, "writer", NULL, 0);
    enter(store, &one, "one", "sensor/1/temperature", 0);
    enter(store, &quality.client, "quality", "sensor/2/temperature", 1);
    for (int i = 0; i < READERS; i++) {
        char id[32];
        snprintf(id, sizeof id, "reader-%d", i);
        many[i].ops = &ops;
        enter(store, &many[i], id, "all/+", 0);
    }
    if (opened != READERS + 3) {
        return 1;
    }

    struct message m        = {.topic = bytes_str("sensor/1/temperature"), .payload = bytes_of(body, sizeof body)};
    uint64_t       began_ns = clock_ns();
    for (int i = 0; i < ROUNDS; i++) {
        kernel_publish(kernel, &writer, &m, 0);
    }
    report("QoS 0, one subscriber", began_ns, ROUNDS, "publish");

    m.topic  = bytes_str("sensor/2/temperature");
    m.qos    = 1;
    began_ns = clock_ns();
    for (int i = 0; i < ROUNDS; i++) {
        kernel_publish(kernel, &writer, &m, 1);
        if (kernel_done(kernel, &quality.client, quality.id, DELIVERY_TAKEN) != 0) {
            return 1;
        }
    }
    report("QoS 1, one live subscriber, acknowledged", began_ns, ROUNDS, "publish");

    m.topic  = bytes_str("nobody/at/all");
    m.qos    = 0;
    began_ns = clock_ns();
    for (int i = 0; i < ROUNDS; i++) {
        kernel_publish(kernel, &writer, &m, 0);
    }
    report("QoS 0, no subscriber", began_ns, ROUNDS, "publish");

    m.topic  = bytes_str("all/x");
    began_ns = clock_ns();
    for (int i = 0; i < ROUNDS / READERS; i++) {
        kernel_publish(kernel, &writer, &m, 0);
    }
    report("QoS 0, 1000 subscribers", began_ns, ROUNDS, "delivery");
    if (delivered != 3ull * ROUNDS) {
        return 1;
    }
    kernel_free(kernel);
    fake_world_free(world);
    timer_wheel_free(timers);
    free(many);
    return 0;
}
