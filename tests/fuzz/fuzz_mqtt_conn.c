/* fuzz_mqtt_conn - a whole connection against a kernel of four lines that answers at random: whatever bytes come, in whatever pieces, what is sent
 * back is whole valid packets, the first of them CONNACK, nothing behind the end, and no memory is left.
 *   a byte n: the next n % 64 bytes are one piece; n >= 192: an event instead (time, pause, go on, deliver, evict, output sent) */
#include "broker/protocol/mqtt/conn.h"
#include "broker/protocol/mqtt/decode.h"
#include "shared/base/err.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct world {
    struct client *client; /* open or opening */
    bool           opening;
    bool           ended;
    uint32_t       dice;
    uint16_t       late_id; /* a publish to be answered later */
    uint8_t        late_qos;
    uint8_t       *sent;
    size_t         sent_size;
};

static struct world world;

static uint32_t roll(uint32_t sides)
{
    world.dice = world.dice * 1664525 + 1013904223;
    return (world.dice >> 16) % sides;
}

static void k_open(struct kernel *kernel, struct client *client, const struct open_request *request)
{
    (void)kernel;
    ASSERT(world.client == NULL && request->client_id.size > 0 && request->receive_max > 0);
    world.client  = client;
    world.opening = roll(2) == 0;
    if (!world.opening) {
        int status   = roll(8) == 0 ? ERR_UNAVAILABLE : 0;
        world.client = status == 0 ? client : NULL;
        client->ops->opened(client, status, roll(2) == 0);
    }
}

static void answer_late(void)
{
    if (world.late_id != 0 && world.client != NULL) {
        uint16_t id   = world.late_id;
        world.late_id = 0;
        world.client->ops->published(world.client, id, world.late_qos, roll(8) == 0 ? ERR_QUOTA : 0, roll(2) == 0);
    }
}

static void deliver(struct client *client, struct message *message)
{
    for (uint32_t copies = roll(4); copies > 0; copies--) {
        struct delivery d       = {.message = message, .qos = (uint8_t)roll(3), .retain = roll(2) == 0};
        d.id                    = d.qos == 0 ? 0 : (uint16_t)(1 + roll(65535));
        d.duplicate             = d.qos > 0 && roll(4) == 0;
        const uint32_t sub_id   = 1 + roll(1 << 20);
        d.subscription_id_count = roll(4) == 0;
        d.subscription_ids      = &sub_id;
        (void)client->ops->deliver(client, &d);
    }
    if (message->cache != NULL) {
        client->ops->uncache(message->cache);
        message->cache = NULL;
    }
}

static void k_publish(struct kernel *kernel, struct client *client, struct message *message, uint16_t id)
{
    (void)kernel;
    ASSERT(client == world.client && !world.opening && message->topic.size > 0 && (id != 0) == (message->qos > 0));
    if (message->qos > 0) {
        answer_late();
        world.late_id  = id;
        world.late_qos = message->qos;
        if (roll(2) == 0) {
            answer_late();
        }
    }
    deliver(client, message);
    if (roll(8) == 0) {
        client->ops->pause(client, true);
    }
}

static void k_release(struct kernel *kernel, struct client *client, uint16_t id)
{
    (void)kernel;
    ASSERT(client == world.client);
    client->ops->publish_released(client, id, roll(2) == 0 ? 0 : ERR_NOT_FOUND);
}

static void k_subscribe(struct kernel *kernel, struct client *client, uint16_t id,
                        const struct subscription *subscriptions, int count)
{
    int results[256];
    (void)kernel;
    ASSERT(client == world.client && count > 0 && count <= 256);
    for (int i = 0; i < count; i++) {
        results[i] = roll(4) == 0 ? ERR_DENIED : subscriptions[i].qos;
    }
    client->ops->subscribed(client, id, results, count);
}

static void k_unsubscribe(struct kernel *kernel, struct client *client, uint16_t id, const struct bytes *filters,
                          int count)
{
    int results[256];
    (void)kernel;
    ASSERT(client == world.client && count > 0 && count <= 256);
    for (int i = 0; i < count; i++) {
        results[i] = filters[i].size % 2 == 0 ? 0 : ERR_NOT_FOUND;
    }
    client->ops->unsubscribed(client, id, results, count);
}

static int k_received(struct kernel *kernel, struct client *client, uint16_t id)
{
    (void)kernel;
    ASSERT(client == world.client);
    if (id % 2 == 0) {
        return ERR_NOT_FOUND;
    }
    client->ops->deliver_release(client, id);
    return 0;
}

static int k_done(struct kernel *kernel, struct client *client, uint16_t id, enum delivery_end end)
{
    (void)kernel;
    (void)end;
    ASSERT(client == world.client && id != 0);
    return 0;
}

static void k_writable(struct kernel *kernel, struct client *client)
{
    (void)kernel;
    ASSERT(client == world.client);
}

static void k_close(struct kernel *kernel, struct client *client, const struct close_request *request)
{
    (void)kernel;
    (void)request;
    ASSERT(client == world.client);
    world.client  = NULL;
    world.opening = false;
    world.late_id = 0;
}

static const struct mqtt_kernel_api api = {
    .open            = k_open,
    .publish         = k_publish,
    .publish_release = k_release,
    .subscribe       = k_subscribe,
    .unsubscribe     = k_unsubscribe,
    .received        = k_received,
    .done            = k_done,
    .writable        = k_writable,
    .close           = k_close,
};

static void on_close(void *peer)
{
    (void)peer;
    ASSERT(!world.ended);
    world.ended = true;
}

static void on_receiving(void *peer, bool on)
{
    (void)peer;
    (void)on;
}

static uint64_t on_random(void *ctx)
{
    (void)ctx;
    return roll(1 << 16);
}

static void drain(struct outq *out)
{
    while (out->size_bytes > 0) {
        struct iovec iov;
        int          count = outq_gather(out, &iov, 1);
        ASSERT(count == 1 && iov.iov_len > 0);
        world.sent = realloc(world.sent, world.sent_size + iov.iov_len);
        ASSERT(world.sent != NULL);
        memcpy(world.sent + world.sent_size, iov.iov_base, iov.iov_len);
        world.sent_size += iov.iov_len;
        outq_consume(out, iov.iov_len);
    }
}

static void event(struct mqtt_env *env, struct mqtt_conn *conn, struct outq *out, uint8_t which)
{
    struct message message = {.topic = bytes_str("some/topic"), .payload = bytes_str("payload")};
    struct client *client  = world.client;
    switch (which % 8) {
    case 0:
        env->now_ns += 1ull << roll(36);
        env->wall_ns = env->now_ns;
        timer_expire(env->timers, env->now_ns);
        break;
    case 1:
        if (client != NULL && !world.opening) {
            client->ops->pause(client, roll(2) == 0);
        }
        break;
    case 2:
        if (world.opening) {
            int status    = roll(8) == 0 ? ERR_DENIED : 0;
            world.opening = false;
            world.client  = status == 0 ? client : NULL;
            client->ops->opened(client, status, false);
        }
        break;
    case 3:
        if (client != NULL && !world.opening) {
            deliver(client, &message);
        }
        break;
    case 4:
        if (client != NULL && roll(4) == 0) {
            world.client  = NULL;
            world.opening = false;
            world.late_id = 0;
            client->ops->evicted(client, (enum evict_reason)roll(4));
        }
        break;
    case 5:
        drain(out);
        mqtt_conn_writable(conn);
        break;
    case 6:
        answer_late();
        break;
    default:
        mqtt_conn_turn(env);
        break;
    }
}

/* What was sent is whole packets of the version that CONNECT asked for. */
static void check_sent(uint8_t version)
{
    struct bytes left  = bytes_of(world.sent, world.sent_size);
    bool         first = true;
    while (left.size > 0) {
        struct mqtt_frame  frame;
        struct mqtt_packet packet;
        ASSERT(mqtt_frame_read(left, &frame) == 1 && mqtt_frame_bytes(frame) <= left.size);
        ASSERT(first == (mqtt_frame_type(frame) == MQTT_CONNACK));
        struct mqtt_fault fault = mqtt_decode((enum mqtt_version)version, MQTT_FROM_SERVER, frame,
                                              bytes_of(left.data + frame.header_bytes, frame.body_bytes), &packet);
        ASSERT(fault.why == NULL);
        left  = bytes_of(left.data + mqtt_frame_bytes(frame), left.size - mqtt_frame_bytes(frame));
        first = false;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mqtt_limits limits = mqtt_limits_default;
    limits.packet_max_bytes   = 600;
    limits.output_max_bytes   = 400;
    limits.receive_max        = 3;
    limits.topic_alias_in_max = 2;
    struct mqtt_env env       = {.kernel_api = &api, .limits = &limits, .now_ns = 1, .wall_ns = 1};
    env.port                  = (struct mqtt_port){.close = on_close, .receiving = on_receiving, .random = on_random};
    env.timers                = timer_wheel_new(env.now_ns);
    mqtt_env_init(&env);
    log_setup("fuzz", LOG_ERROR, NULL);
    struct outq_pool *pool = outq_pool_new(1 << 20);
    struct list       dirty;
    struct outq       out;
    list_init(&dirty);
    outq_init(&out, pool, &dirty);
    free(world.sent);
    world                  = (struct world){.dice = (uint32_t)size};
    struct mqtt_conn *conn = mqtt_conn_new(&env, &out, &world, "peer");
    for (size_t at = 0; at < size;) {
        uint8_t code = data[at++];
        if (code >= 192) {
            event(&env, conn, &out, code);
            continue;
        }
        size_t   piece = (size_t)code % 64 < size - at ? (size_t)code % 64 : size - at;
        uint8_t *exact = malloc(piece + 1);
        memcpy(exact, data + at, piece);
        mqtt_conn_receive(conn, bytes_of(exact, piece));
        free(exact);
        at += piece;
        ASSERT(mqtt_conn_memory_bytes(conn) < 512 + 65536);
    }
    mqtt_conn_turn(&env);
    uint8_t version = mqtt_conn_version(conn);
    mqtt_conn_closed(conn);
    ASSERT(world.client == NULL);
    drain(&out);
    check_sent(version);
    free(world.sent);
    world.sent = NULL;
    outq_fini(&out);
    outq_pool_free(pool);
    mqtt_env_fini(&env);
    ASSERT(timer_next_ns(env.timers) == UINT64_MAX);
    timer_wheel_free(env.timers);
    return 0;
}
