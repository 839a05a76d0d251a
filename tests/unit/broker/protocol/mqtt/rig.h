/* rig - one connection between a test and a kernel that does what the test says: packets in and out as text (hex.h). */
#ifndef KEEL_TESTS_UNIT_BROKER_PROTOCOL_MQTT_RIG_H
#define KEEL_TESTS_UNIT_BROKER_PROTOCOL_MQTT_RIG_H

#include "broker/protocol/mqtt/conn.h"
#include "shared/base/err.h"
#include "tests/unit/broker/protocol/mqtt/hex.h"

#include <criterion/criterion.h>
#include <stdio.h>

struct call {
    char     what[16];
    uint16_t id;
    char     text[256];
};

enum { CALLS_MAX = 4096 };

/* Stands where the kernel stands; the pointer is cast. */
struct fake {
    bool                 answers; /* in call: open, publishes matched, everything granted; else the test answers */
    int                  status;  /* that is answered */
    bool                 matched;
    bool                 pauses; /* pauses the client in the call of the next publish */
    struct client       *client;
    struct call          calls[CALLS_MAX];
    int                  call_count;
    struct close_request closed;
    struct open_request  opened; /* views are not kept */
    char                 will_topic[64];
    char                 properties[256];
    size_t               properties_size;
    uint64_t             expires_wall_ns;
    struct subscription  subscriptions[8];
    int                  received_status;
    int                  done_status;
};

struct rig {
    struct fake        fake;
    struct mqtt_limits limits;
    struct mqtt_env    env;
    struct outq_pool  *pool;
    struct list        dirty;
    struct outq        out;
    struct mqtt_conn  *conn;
    int                closes;
    bool               receiving;
    int                receiving_calls;
};

#define RIG_SECOND_NS (1000ull * 1000 * 1000)

static struct call *fake_call(struct fake *f, const char *what, uint16_t id, struct bytes text)
{
    cr_assert_lt(f->call_count, CALLS_MAX);
    struct call *call = &f->calls[f->call_count++];
    snprintf(call->what, sizeof call->what, "%s", what);
    snprintf(call->text, sizeof call->text, "%.*s", (int)text.size, (const char *)text.data);
    call->id = id;
    return call;
}

static struct fake *fake_of(struct kernel *kernel)
{
    return (struct fake *)(void *)kernel;
}

static void fake_open(struct kernel *kernel, struct client *client, const struct open_request *request)
{
    struct fake *f = fake_of(kernel);
    f->client      = client;
    f->opened      = *request;
    snprintf(f->will_topic, sizeof f->will_topic, "%.*s", (int)request->will.topic.size,
             (const char *)request->will.topic.data);
    f->properties_size = request->will.properties.size;
    if (request->will.properties.size > 0) {
        memcpy(f->properties, request->will.properties.data, request->will.properties.size);
    }
    fake_call(f, "open", 0, request->client_id);
    if (f->answers) {
        client->ops->opened(client, f->status, false);
    }
}

static void fake_publish(struct kernel *kernel, struct client *client, struct message *message, uint16_t id)
{
    struct fake *f = fake_of(kernel);
    char         text[256];
    int          size =
        snprintf(text, sizeof text, "%.*s=%.*s q%d%s", (int)message->topic.size, (const char *)message->topic.data,
                 (int)(message->payload.size < 64 ? message->payload.size : 64), (const char *)message->payload.data,
                 message->qos, message->retain ? " r" : "");
    f->expires_wall_ns = message->expires_wall_ns;
    f->properties_size = message->properties.size;
    cr_assert_leq(message->properties.size, sizeof f->properties);
    if (message->properties.size > 0) {
        memcpy(f->properties, message->properties.data, message->properties.size);
    }
    fake_call(f, "publish", id, bytes_of(text, (size_t)size));
    if (f->pauses) {
        f->pauses = false;
        client->ops->pause(client, true);
    }
    if (f->answers && message->qos > 0) {
        client->ops->published(client, id, message->qos, f->status, f->matched);
    }
}

static void fake_release(struct kernel *kernel, struct client *client, uint16_t id)
{
    fake_call(fake_of(kernel), "release", id, bytes_str(""));
    if (fake_of(kernel)->answers) {
        client->ops->publish_released(client, id, fake_of(kernel)->status);
    }
}

static void fake_subscribe(struct kernel *kernel, struct client *client, uint16_t id, const struct subscription *s,
                           int count)
{
    struct fake *f = fake_of(kernel);
    int          results[256];
    for (int i = 0; i < count; i++) {
        results[i] = f->status != 0 ? f->status : s[i].qos;
        if (i < 8) {
            f->subscriptions[i] = s[i];
        }
    }
    fake_call(f, "subscribe", id, s[0].filter);
    if (f->answers) {
        client->ops->subscribed(client, id, results, count);
    }
}

static void fake_unsubscribe(struct kernel *kernel, struct client *client, uint16_t id, const struct bytes *filters,
                             int count)
{
    struct fake *f = fake_of(kernel);
    int          results[256];
    for (int i = 0; i < count; i++) {
        results[i] = i % 2 == 0 ? 0 : ERR_NOT_FOUND;
    }
    fake_call(f, "unsubscribe", id, filters[0]);
    if (f->answers) {
        client->ops->unsubscribed(client, id, results, count);
    }
}

static int fake_received(struct kernel *kernel, struct client *client, uint16_t id)
{
    fake_call(fake_of(kernel), "received", id, bytes_str(""));
    if (fake_of(kernel)->received_status == 0) {
        client->ops->deliver_release(client, id);
    }
    return fake_of(kernel)->received_status;
}

static int fake_done(struct kernel *kernel, struct client *client, uint16_t id, enum delivery_end end)
{
    static const char *const names[] = {
        [DELIVERY_TAKEN] = "taken", [DELIVERY_RELEASED] = "released", [DELIVERY_REFUSED] = "refused"};
    (void)client;
    fake_call(fake_of(kernel), names[end], id, bytes_str(""));
    return fake_of(kernel)->done_status;
}

static void fake_writable(struct kernel *kernel, struct client *client)
{
    (void)client;
    fake_call(fake_of(kernel), "writable", 0, bytes_str(""));
}

static void fake_close(struct kernel *kernel, struct client *client, const struct close_request *request)
{
    (void)client;
    fake_of(kernel)->closed = *request;
    fake_call(fake_of(kernel), "close", 0, bytes_str(""));
}

static const struct mqtt_kernel_api fake_api = {
    .open            = fake_open,
    .publish         = fake_publish,
    .publish_release = fake_release,
    .subscribe       = fake_subscribe,
    .unsubscribe     = fake_unsubscribe,
    .received        = fake_received,
    .done            = fake_done,
    .writable        = fake_writable,
    .close           = fake_close,
};

static void rig_on_close(void *peer)
{
    ((struct rig *)peer)->closes++;
}

static void rig_on_receiving(void *peer, bool on)
{
    struct rig *rig = peer;
    cr_assert_neq(rig->receiving, on);
    rig->receiving = on;
    rig->receiving_calls++;
}

static uint64_t rig_random(void *ctx)
{
    (void)ctx;
    return 0x1234567812345678u;
}

static inline struct rig *rig_new(void)
{
    struct rig *rig     = calloc(1, sizeof *rig);
    rig->limits         = mqtt_limits_default;
    rig->fake.answers   = true;
    rig->fake.matched   = true;
    rig->receiving      = true;
    rig->env.kernel     = (struct kernel *)(void *)&rig->fake;
    rig->env.kernel_api = &fake_api;
    rig->env.now_ns     = 5 * RIG_SECOND_NS;
    rig->env.wall_ns    = 1000 * RIG_SECOND_NS;
    rig->env.timers     = timer_wheel_new(rig->env.now_ns);
    rig->env.limits     = &rig->limits;
    rig->env.port = (struct mqtt_port){.close = rig_on_close, .receiving = rig_on_receiving, .random = rig_random};
    mqtt_env_init(&rig->env);
    rig->pool = outq_pool_new(16 << 20);
    list_init(&rig->dirty);
    outq_init(&rig->out, rig->pool, &rig->dirty);
    rig->conn = mqtt_conn_new(&rig->env, &rig->out, rig, "192.0.2.1:1000");
    log_setup("test", LOG_ERROR, NULL);
    return rig;
}

static inline void rig_free(struct rig *rig)
{
    if (rig->conn != NULL) {
        mqtt_conn_closed(rig->conn);
    }
    outq_fini(&rig->out);
    outq_pool_free(rig->pool);
    mqtt_env_fini(&rig->env);
    cr_assert_eq(timer_next_ns(rig->env.timers), UINT64_MAX, "a timer is left");
    timer_wheel_free(rig->env.timers);
    free(rig);
}

/* In an allocation of its own size: a sanitizer sees reads behind it. */
static inline void rig_receive(struct rig *rig, const uint8_t *data, size_t size)
{
    uint8_t *exact = malloc(size);
    memcpy(exact, data, size);
    mqtt_conn_receive(rig->conn, bytes_of(exact, size));
    free(exact);
}

static inline void rig_send(struct rig *rig, const char *text)
{
    uint8_t data[4096];
    size_t  size = hex_parse(text, data, sizeof data);
    rig_receive(rig, data, size);
}

/* Takes all output; returns its size. */
static inline size_t rig_output(struct rig *rig, uint8_t *out, size_t room)
{
    size_t size = 0;
    while (rig->out.size_bytes > 0) {
        struct iovec iov[16];
        int          count = outq_gather(&rig->out, iov, 16);
        size_t       part  = 0;
        for (int i = 0; i < count; i++) {
            cr_assert_leq(size + part + iov[i].iov_len, room);
            memcpy(out + size + part, iov[i].iov_base, iov[i].iov_len);
            part += iov[i].iov_len;
        }
        outq_consume(&rig->out, part);
        size += part;
    }
    return size;
}

static inline void rig_expect_at(struct rig *rig, const char *text, const char *file, int line)
{
    uint8_t want[4096];
    uint8_t got[4096];
    char    shown[4096 * 3 + 1] = "nothing";
    size_t  want_size           = hex_parse(text, want, sizeof want);
    size_t  got_size            = rig_output(rig, got, sizeof got);
    for (size_t i = 0; i < got_size; i++) {
        snprintf(shown + 3 * i, 4, "%02x ", got[i]);
    }
    if (got_size > 0) {
        shown[3 * got_size - 1] = '\0';
    }
    cr_assert(got_size == want_size && memcmp(got, want, got_size) == 0, "%s:%d: got %s instead of %s", file, line,
              shown, text[0] != '\0' ? text : "nothing");
}
#define rig_expect(rig, text) rig_expect_at(rig, text, __FILE__, __LINE__)

static inline void rig_advance(struct rig *rig, uint64_t ns)
{
    rig->env.now_ns += ns;
    rig->env.wall_ns += ns;
    timer_expire(rig->env.timers, rig->env.now_ns);
    mqtt_conn_turn(&rig->env);
}

static inline const struct call *rig_last(struct rig *rig)
{
    return rig->fake.call_count == 0 ? NULL : &rig->fake.calls[rig->fake.call_count - 1];
}

static inline int rig_count(struct rig *rig, const char *what)
{
    int count = 0;
    for (int i = 0; i < rig->fake.call_count; i++) {
        count += strcmp(rig->fake.calls[i].what, what) == 0;
    }
    return count;
}

static inline void rig_drop_output(struct rig *rig)
{
    while (rig->out.size_bytes > 0) {
        outq_consume(&rig->out, rig->out.size_bytes);
    }
}

/* Connected, output thrown away. */
static inline struct rig *rig_connected(int version)
{
    struct rig *rig = rig_new();
    rig_send(rig, version == 5 ? "10 0e 0004'MQTT' 05 02 000a 00 0001'c'" : "10 0d 0004'MQTT' 04 02 000a 0001'c'");
    cr_assert_str_eq(mqtt_conn_state_name(rig->conn), "open");
    rig_drop_output(rig);
    return rig;
}

static inline bool rig_closed(const struct rig *rig)
{
    cr_assert_leq(rig->closes, 1);
    return rig->closes == 1;
}

#endif
