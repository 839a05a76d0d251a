/* local.c - our side: a session of the kernel, whose messages go out, and into which go those that come in. */
#include "broker/bridge/inside.h"

#include "shared/base/err.h"
#include "shared/base/log.h"
#include "shared/base/wire.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- our session ----------------------------------------------------------------------------------------------------------------- */

static size_t state_topic(const struct bridge *b, char out[128])
{
    return (size_t)snprintf(out, 128, "$SYS/broker/connection/%.*s/state", (int)b->name_size, (const char *)b->name);
}

void bridge_local_open(struct bridge *b)
{
    char id[BRIDGE_NAME_MAX + 16];
    char topic[128];
    (void)snprintf(id, sizeof id, BRIDGE_CLIENT_PREFIX "%.*s", (int)b->name_size, (const char *)b->name);
    size_t                    topic_size = state_topic(b, topic);
    const struct open_request request    = {
           .own         = true,
           .client_id   = bytes_str(id),
           .clean_start = b->ending,
           .expiry_s    = b->ending ? 0 : BRIDGE_EXPIRY_S,
           .receive_max = b->receive_max,
           .will        = {.topic            = bytes_of(topic, topic_size),
                           .payload          = bytes_str("0"),
                           .qos              = 1,
                           .retain           = true,
                           .message_expiry_s = UINT32_MAX},
    };
    b->local = true;
    kernel_open(b->kernel, &b->client, &request);
}

struct former {
    struct bridge     *bridge;
    struct wire_writer text;
    uint32_t           count;
};

static void look_at(void *ctx, struct bytes filter, uint8_t qos)
{
    (void)qos;
    struct former *f     = ctx;
    bool           known = false;
    for (uint32_t i = 0; i < f->bridge->spec.topic_count; i++) {
        const struct bridge_topic *t = &f->bridge->spec.topics[i];
        known                        = known || ((t->ways & BRIDGE_OUT) != 0 && bytes_equal(bridge_local(t), filter));
    }
    if (!known && f->count < BRIDGE_TOPICS_MAX) {
        wire_put_blob(&f->text, filter);
        f->count++;
    }
}

/* What former rules were subscribed to. */
static void unsubscribe_former(struct bridge *b)
{
    struct former f = {.bridge = b, .text = wire_writer_growing(1 << 23)};
    struct bytes  filters[BRIDGE_TOPICS_MAX];
    kernel_subscriptions(b->kernel, &b->client, look_at, &f);
    struct wire_reader r = wire_reader_of(wire_written(&f.text));
    for (uint32_t i = 0; i < f.count; i++) {
        filters[i] = wire_get_blob(&r);
    }
    if (f.count != 0 && !f.text.bad) {
        kernel_unsubscribe(b->kernel, &b->client, 2, filters, (int)f.count);
    }
    wire_writer_fini(&f.text);
}

static void subscribe_here(struct bridge *b)
{
    struct subscription subs[BRIDGE_TOPICS_MAX];
    int                 count = 0;
    for (uint32_t i = 0; i < b->spec.topic_count; i++) {
        const struct bridge_topic *t = &b->spec.topics[i];
        if ((t->ways & BRIDGE_OUT) != 0) {
            subs[count++] = (struct subscription){.filter              = bridge_local(t),
                                                  .qos                 = t->qos,
                                                  .no_local            = true,
                                                  .retain_as_published = true,
                                                  .retain_handling     = 1};
        }
    }
    if (count != 0) {
        kernel_subscribe(b->kernel, &b->client, 1, subs, count);
    }
}

/* The kernel may call back in the call, and closes nothing then: our own way out waits as well. */
static void publish_state(struct bridge *b, const char *text)
{
    char           topic[128];
    size_t         size = state_topic(b, topic);
    struct message m    = {
           .topic = bytes_of(topic, size), .payload = bytes_str(text), .retain = true, .publish_wall_ns = b->wall_ns};
    kernel_publish(b->kernel, &b->client, &m, 0);
}

static void on_opened(struct client *client, int status, bool present)
{
    (void)present;
    struct bridge *b = bridge_of(client);
    if (status != 0) {
        b->local  = false;
        b->doomed = b->state == BRIDGE_OPENING; /* the caller is the kernel: dropped in bridge_turn */
        return;
    }
    if (b->ending) {
        publish_state(b, "");
        b->ended = true;
        return;
    }
    if (b->state != BRIDGE_OPENING && b->prepared) {
        return; /* what it was opened for is over: bridge_turn closes it */
    }
    unsubscribe_former(b);
    subscribe_here(b);
    if (b->state == BRIDGE_OPENING) {
        bridge_step(b, BRIDGE_UP);
        b->up_ns = b->now_ns;
        log_info("bridge %.*s to %s:%u is up", (int)b->name_size, (const char *)b->name, b->spec.host, b->spec.port);
        b->port.receiving(b->port.ctx, true);
        bridge_arm_keep_alive(b);
        bridge_subscribe_there(b);
        publish_state(b, "1");
    }
}

static void on_evicted(struct client *client, enum evict_reason why)
{
    struct bridge *b = bridge_of(client);
    b->local         = false;
    b->doomed        = b->state != BRIDGE_AWAY;
    if (why != EVICT_SHUTDOWN) {
        log_warn("bridge %.*s: its session was given up by the kernel", (int)b->name_size, (const char *)b->name);
    }
}

static void on_published(struct client *client, uint16_t id, uint8_t qos, int status, bool matched)
{
    (void)matched;
    struct bridge *b = bridge_of(client);
    if (id == 0) {
        return;
    }
    if (status == ERR_TOO_BIG) {
        b->counters.dropped++;
    } else if (status != 0) { /* not accepted now: it is sent to us again when we are back */
        b->doomed = true;
        return;
    }
    bridge_send_ack(b, qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, id, MQTT_SUCCESS);
}

static void on_publish_released(struct client *client, uint16_t id, int status)
{
    struct bridge *b = bridge_of(client);
    bridge_send_ack(b, MQTT_PUBCOMP, id, status != 0 && bridge_v5(b) ? MQTT_PACKET_IDENTIFIER_NOT_FOUND : MQTT_SUCCESS);
}

static bool put_publish(struct bridge *b, const struct mqtt_outgoing *p, size_t size)
{
    b->sent_ns = b->now_ns;
    if (size <= OUTQ_RESERVE_MAX_BYTES) {
        uint8_t *room = outq_reserve(b->out, size);
        if (room == NULL) {
            return false;
        }
        mqtt_publish_write(p, room, NULL);
        outq_commit(b->out, size);
        return true;
    }
    struct buf *block = buf_new((uint32_t)size);
    if (block == NULL) {
        return false;
    }
    mqtt_publish_write(p, block->data, NULL);
    block->size = (uint32_t)size;
    bool queued = outq_ref(b->out, block, 0, block->size) == 0;
    buf_unref(block);
    return queued;
}

static enum deliver_result on_deliver(struct client *client, struct delivery *d)
{
    struct bridge             *b    = bridge_of(client);
    const struct message      *m    = d->message;
    const struct bridge_topic *rule = NULL;
    if (b->state != BRIDGE_UP || b->out->size_bytes >= OUTPUT_MAX_BYTES || b->doomed) {
        b->full = true;
        return DELIVER_FULL;
    }
    size_t size = bridge_map(&b->spec, BRIDGE_OUT, m->topic, &rule, b->topic);
    if (size == 0) {
        b->counters.dropped++;
        return DELIVER_TOO_BIG; /* of a former rule: done with */
    }
    struct mqtt_outgoing p = {.version    = (enum mqtt_version)b->spec.version,
                              .qos        = d->qos < b->qos_max ? d->qos : b->qos_max,
                              .duplicate  = d->duplicate,
                              .retain     = d->retain && b->retain_available,
                              .packet_id  = d->id,
                              .topic      = bytes_of(b->topic, size),
                              .payload    = m->payload,
                              .properties = m->properties};
    if (m->expires_wall_ns != 0) {
        uint64_t left_s =
            m->expires_wall_ns > b->wall_ns ? (m->expires_wall_ns - b->wall_ns + SECOND_NS - 1) / SECOND_NS : 0;
        p.expires  = true;
        p.expiry_s = left_s < UINT32_MAX ? (uint32_t)left_s : UINT32_MAX;
    }
    p.duplicate  = p.duplicate && p.qos != 0;
    size_t bytes = mqtt_publish_size(&p);
    if (bytes == 0 || bytes > b->packet_max_bytes) {
        b->counters.dropped++;
        return DELIVER_TOO_BIG;
    }
    if (!put_publish(b, &p, bytes)) {
        b->full = true;
        return DELIVER_FULL;
    }
    b->counters.sent++;
    return d->qos != 0 && p.qos == 0 ? DELIVER_TOO_BIG : DELIVER_OK; /* nothing will acknowledge it: done with */
}

static void on_deliver_release(struct client *client, uint16_t id)
{
    struct bridge *b = bridge_of(client);
    if (b->state == BRIDGE_UP || b->state == BRIDGE_OPENING) {
        struct mqtt_packet packet = {.type = MQTT_PUBREL, .ack = {.packet_id = id}};
        bridge_send_packet(b, &packet);
    }
}

static void on_subscribed(struct client *client, uint16_t id, const int *results, int count)
{
    (void)id;
    struct bridge *b = bridge_of(client);
    for (int i = 0; i < count; i++) {
        if (results[i] < 0) {
            log_error("bridge %.*s: a subscription of ours was refused: %s", (int)b->name_size, (const char *)b->name,
                      err_sentence(results[i]));
        }
    }
    b->prepared = true;
}

static void on_unsubscribed(struct client *client, uint16_t id, const int *results, int count)
{
    (void)client;
    (void)id;
    (void)results;
    (void)count;
}

static void on_pause(struct client *client, bool paused)
{
    struct bridge *b = bridge_of(client);
    b->paused        = paused;
    if (b->state != BRIDGE_AWAY) {
        b->port.receiving(b->port.ctx, !paused);
    }
}

static void on_uncache(void *cache)
{
    (void)cache;
}

const struct client_ops bridge_ops = {
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
