/* bridge.c - see the picture in bridge.h: the connection's life, packets of the other broker, and what the kernel asks. */
#include "broker/bridge/bridge.h"

#include "broker/protocol/mqtt/decode.h"
#include "broker/protocol/mqtt/encode.h"
#include "shared/base/err.h"
#include "shared/base/log.h"
#include "shared/base/sm.h"
#include "shared/base/wire.h"

#include <stdio.h>
#include <stdlib.h>

#define SECOND_NS        1000000000ull
#define BACKOFF_FIRST_NS (SECOND_NS / 4)
#define BACKOFF_LAST_NS  (30 * SECOND_NS)
#define GREET_NS         (10 * SECOND_NS)
#define PREPARE_NS       (SECOND_NS / 20)

enum {
    OUTPUT_MAX_BYTES  = 1 << 20,
    INPUT_MAX_BYTES   = 4 << 20,
    RECEIVE_MAX       = 100,   /* theirs to us */
    RECEIVE_MAX_V311  = 20,    /* ours to a broker that cannot say */
    SUBSCRIBE_ID      = 65535, /* the kernel's ids of a session's own stream are below 32768 */
    CONNECT_BYTES_MAX = 2048,
};

static const struct sm_state states[] = {
    /*                     name          may be followed by */
    [BRIDGE_AWAY]       = {"away", SM(BRIDGE_CONNECTING)},
    [BRIDGE_CONNECTING] = {"connecting", SM(BRIDGE_GREETING) | SM(BRIDGE_AWAY)},
    [BRIDGE_GREETING]   = {"greeting", SM(BRIDGE_OPENING) | SM(BRIDGE_AWAY)},
    [BRIDGE_OPENING]    = {"opening", SM(BRIDGE_UP) | SM(BRIDGE_AWAY)},
    [BRIDGE_UP]         = {"up", SM(BRIDGE_AWAY)},
};

const char *bridge_state_name(const struct bridge *b)
{
    return states[b->state].name;
}

const char *bridge_why(const struct bridge *b)
{
    return b->state == BRIDGE_UP ? "" : b->why;
}

static struct bridge *bridge_of(struct client *client)
{
    return CONTAINER_OF(client, struct bridge, client);
}

static void step(struct bridge *b, enum bridge_state next)
{
    sm_step(states, &b->state, (uint8_t)next);
}

static void on_timer(struct timer *timer, uint64_t now_ns);
static void local_open(struct bridge *b);
static void drop(struct bridge *b, const char *why);

static bool is_v5(const struct bridge *b)
{
    return b->spec.version == MQTT_V5;
}

/* ---- out to the other broker ----------------------------------------------------------------------------------------------- */

static void send_packet(struct bridge *b, const struct mqtt_packet *packet)
{
    uint8_t memory[OUTQ_RESERVE_MAX_BYTES];
    size_t  size = mqtt_encode_size((enum mqtt_version)b->spec.version, packet);
    ASSERT(size <= sizeof memory);
    mqtt_encode((enum mqtt_version)b->spec.version, packet, memory);
    b->sent_ns = b->now_ns;
    b->doomed  = outq_put(b->out, bytes_of(memory, size)) != 0 || b->doomed; /* no memory: begin anew */
}

static void send_ack(struct bridge *b, enum mqtt_type type, uint16_t id, uint8_t reason)
{
    struct mqtt_packet packet = {.type = (uint8_t)type, .ack = {.packet_id = id, .reason_code = reason}};
    if (b->state == BRIDGE_UP) {
        send_packet(b, &packet);
    }
}

static void greet(struct bridge *b)
{
    uint8_t              memory[16];
    struct wire_writer   w      = wire_writer_fixed(memory, sizeof memory);
    struct mqtt_packet   packet = {.type = MQTT_CONNECT};
    struct mqtt_connect *c      = &packet.connect;
    c->version                  = b->spec.version;
    c->bridge                   = !is_v5(b) && b->bridge_bit;
    c->keep_alive_s             = b->spec.keep_alive_s;
    c->client_id                = bytes_str(b->spec.client_id);
    c->has_user_name            = b->spec.user[0] != '\0';
    c->has_password             = b->spec.password[0] != '\0';
    c->user_name                = bytes_str(b->spec.user);
    c->password                 = bytes_str(b->spec.password);
    if (is_v5(b)) {
        mqtt_property_put_u32(&w, MQTT_SESSION_EXPIRY_INTERVAL, BRIDGE_EXPIRY_S);
        mqtt_property_put_u16(&w, MQTT_RECEIVE_MAXIMUM, RECEIVE_MAX);
        mqtt_property_put_u32(&w, MQTT_MAXIMUM_PACKET_SIZE, INPUT_MAX_BYTES);
        c->properties.raw = wire_written(&w);
    }
    send_packet(b, &packet);
}

/* Everything that is to come in. */
static void subscribe_there(struct bridge *b)
{
    struct wire_writer filters = wire_writer_growing(1 << 20);
    uint32_t           count   = 0;
    for (uint32_t i = 0; i < b->spec.topic_count; i++) {
        const struct bridge_topic *t = &b->spec.topics[i];
        if ((t->ways & BRIDGE_IN) == 0) {
            continue;
        }
        wire_put_u8(&filters, (uint8_t)(t->remote_size >> 8));
        wire_put_u8(&filters, (uint8_t)t->remote_size);
        wire_put_bytes(&filters, bridge_remote(t));
        /* No Local, Retain As Published, and retained messages when the subscription is new. */
        wire_put_u8(&filters, (uint8_t)(t->qos | (is_v5(b) ? 4 | 8 | 16 : 0)));
        count++;
    }
    struct mqtt_packet packet = {
        .type      = MQTT_SUBSCRIBE,
        .subscribe = {.packet_id = SUBSCRIBE_ID, .count = count, .filters = wire_written(&filters)}};
    size_t      size  = count == 0 ? 0 : mqtt_encode_size((enum mqtt_version)b->spec.version, &packet);
    struct buf *block = size == 0 ? NULL : buf_new((uint32_t)size);
    if (block != NULL) {
        mqtt_encode((enum mqtt_version)b->spec.version, &packet, block->data);
        b->doomed  = outq_put(b->out, bytes_of(block->data, size)) != 0 || b->doomed;
        b->sent_ns = b->now_ns;
    }
    buf_unref(block);
    wire_writer_fini(&filters);
}

/* ---- the connection's life --------------------------------------------------------------------------------------------------- */

static void local_close(struct bridge *b)
{
    if (b->local && b->client.session != NULL) {
        struct close_request request = {.discard_will = b->ending};
        kernel_close(b->kernel, &b->client, &request); /* its will says that it is away */
    }
    b->local = false;
}

static void wait_again(struct bridge *b)
{
    uint64_t wait_ns = b->backoff_ns / 2 + b->port.random(b->port.ctx) % (b->backoff_ns / 2);
    b->backoff_ns    = b->backoff_ns * 2 < BACKOFF_LAST_NS ? b->backoff_ns * 2 : BACKOFF_LAST_NS;
    timer_arm(b->timers, &b->timer, b->now_ns + wait_ns, on_timer);
}

/* For those who ask later. */
static void explain(struct bridge *b, const char *why)
{
    if (why != b->why) {
        (void)snprintf(b->why, sizeof b->why, "%s", why);
    }
}

static void gone(struct bridge *b, const char *why)
{
    explain(b, why);
    b->explained = false;
    if (b->stopped) {
        log_info("bridge %.*s to %s:%u is stopped", (int)b->name_size, (const char *)b->name, b->spec.host,
                 b->spec.port);
    } else if (b->state == BRIDGE_UP || b->backoff_ns >= BACKOFF_LAST_NS || b->backoff_ns == BACKOFF_FIRST_NS) {
        log_warn("bridge %.*s to %s:%u: %s; trying again", (int)b->name_size, (const char *)b->name, b->spec.host,
                 b->spec.port, why);
    }
    if (b->state == BRIDGE_UP && b->now_ns - b->up_ns > BACKOFF_LAST_NS) {
        b->backoff_ns = BACKOFF_FIRST_NS;
    }
    step(b, BRIDGE_AWAY);
    mqtt_input_fini(&b->input);
    b->full   = false;
    b->pinged = false;
    b->paused = false;
    local_close(b);
    if (!b->stopped) {
        wait_again(b);
    }
}

/* We end it. Inside of input or a call of the kernel it is done at the end. */
static void drop(struct bridge *b, const char *why)
{
    if (b->state == BRIDGE_AWAY) {
        return;
    }
    if (b->in_input) {
        b->doomed    = true;
        b->explained = true;
        explain(b, why);
        log_warn("bridge %.*s to %s:%u: %s", (int)b->name_size, (const char *)b->name, b->spec.host, b->spec.port, why);
        return;
    }
    b->doomed = false;
    b->port.close(b->port.ctx);
    gone(b, why);
}

static void end_call(struct bridge *b)
{
    if (b->doomed) {
        drop(b, b->explained ? b->why : "the connection is given up");
    }
}

void bridge_connected(struct bridge *b)
{
    step(b, BRIDGE_GREETING);
    b->heard_ns = b->now_ns;
    timer_arm(b->timers, &b->timer, b->now_ns + GREET_NS, on_timer);
    greet(b);
}

void bridge_lost(struct bridge *b, const char *why)
{
    gone(b, why);
}

static void arm_keep_alive(struct bridge *b)
{
    uint64_t each_ns = b->keep_alive_s * SECOND_NS;
    timer_arm(b->timers, &b->timer, b->now_ns + each_ns / 2, on_timer);
}

static void keep_alive(struct bridge *b)
{
    uint64_t each_ns = b->keep_alive_s * SECOND_NS;
    if (b->now_ns - b->heard_ns >= each_ns + each_ns / 2) {
        drop(b, "nothing was heard for one and a half keep alives");
        return;
    }
    if (b->now_ns - b->sent_ns >= each_ns / 2 || b->now_ns - b->heard_ns >= each_ns / 2) {
        send_packet(b, &(struct mqtt_packet){.type = MQTT_PINGREQ});
    }
    if (b->state != BRIDGE_AWAY) {
        arm_keep_alive(b);
    }
}

static void on_timer(struct timer *timer, uint64_t now_ns)
{
    struct bridge *b = CONTAINER_OF(timer, struct bridge, timer);
    b->now_ns        = now_ns;
    switch ((enum bridge_state)b->state) {
    case BRIDGE_AWAY:
        if (!b->prepared || b->local) { /* our subscriptions first, or what is owed before we come is not kept */
            if (!b->local) {
                local_open(b);
            }
            timer_arm(b->timers, &b->timer, b->now_ns + PREPARE_NS, on_timer);
            return;
        }
        step(b, BRIDGE_CONNECTING);
        b->counters.connects++;
        timer_arm(b->timers, &b->timer, b->now_ns + GREET_NS, on_timer);
        b->port.connect(b->port.ctx);
        break;
    case BRIDGE_CONNECTING:
    case BRIDGE_GREETING:
    case BRIDGE_OPENING:
        drop(b, "no answer within 10 s");
        break;
    case BRIDGE_UP:
        keep_alive(b);
        break;
    }
}

/* ---- packets of the other broker ----------------------------------------------------------------------------------------------- */

static void on_connack(struct bridge *b, const struct mqtt_connack *ack)
{
    const struct mqtt_properties *p = &ack->properties;
    char                          why[80];
    if (ack->reason_code != 0) {
        if (!is_v5(b) && b->bridge_bit && ack->reason_code == MQTT_V3_UNACCEPTABLE_PROTOCOL) {
            b->bridge_bit = false;
        }
        (void)snprintf(why, sizeof why, "the connection was refused with reason code 0x%02x", ack->reason_code);
        drop(b, why);
        return;
    }
    bool     five       = is_v5(b);
    uint16_t theirs     = five && mqtt_has(p, MQTT_RECEIVE_MAXIMUM) ? p->receive_maximum : 65535;
    b->receive_max      = five ? theirs : RECEIVE_MAX_V311;
    b->qos_max          = five && mqtt_has(p, MQTT_MAXIMUM_QOS) ? p->maximum_qos : 2;
    b->retain_available = !five || !mqtt_has(p, MQTT_RETAIN_AVAILABLE) || p->retain_available != 0;
    b->packet_max_bytes = five && mqtt_has(p, MQTT_MAXIMUM_PACKET_SIZE) ? p->maximum_packet_size : UINT32_MAX;
    b->keep_alive_s     = five && mqtt_has(p, MQTT_SERVER_KEEP_ALIVE) && p->server_keep_alive_s != 0
                              ? p->server_keep_alive_s
                              : b->spec.keep_alive_s;
    step(b, BRIDGE_OPENING);
    b->port.receiving(b->port.ctx, false); /* until there is somebody to take it */
    local_open(b);
}

static void on_publish(struct bridge *b, const struct mqtt_publish *p)
{
    const struct bridge_topic *rule = NULL;
    size_t                     size = bridge_map(&b->spec, BRIDGE_IN, p->topic, &rule, b->topic);
    b->counters.received++;
    if (size == 0 ||
        p->topic.size == 0) { /* of a subscription that is ours no longer, or with an alias that we did not allow */
        b->counters.dropped++;
        if (p->qos != 0) {
            send_ack(b, p->qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, p->packet_id, MQTT_SUCCESS);
        }
        return;
    }
    struct message m       = {.topic           = bytes_of(b->topic, size),
                              .payload         = p->payload,
                              .qos             = p->qos,
                              .retain          = p->retain,
                              .publish_wall_ns = b->wall_ns};
    uint8_t       *scratch = NULL;
    if (is_v5(b)) {
        if (mqtt_properties_scattered(&p->properties)) {
            scratch = malloc(p->properties.raw.size);
            if (scratch == NULL) {
                drop(b, "no memory for a message");
                return;
            }
        }
        m.properties = mqtt_properties_forward(&p->properties, scratch);
        if (mqtt_has(&p->properties, MQTT_MESSAGE_EXPIRY_INTERVAL)) {
            m.expires_wall_ns = b->wall_ns + p->properties.message_expiry_interval_s * SECOND_NS;
        }
    }
    kernel_publish(b->kernel, &b->client, &m, p->packet_id);
    free(scratch);
}

static void on_suback(struct bridge *b, const struct mqtt_suback *ack)
{
    for (size_t i = 0; i < ack->reason_codes.size; i++) {
        if (ack->reason_codes.data[i] >= 0x80) {
            log_error("bridge %.*s to %s:%u: a subscription was refused with 0x%02x", (int)b->name_size,
                      (const char *)b->name, b->spec.host, b->spec.port, ack->reason_codes.data[i]);
        }
    }
}

static void on_ack(struct bridge *b, enum mqtt_type type, const struct mqtt_ack *ack)
{
    struct client *c     = &b->client;
    int            found = 0;
    if (type == MQTT_PUBREC && ack->reason_code < 0x80) {
        found = kernel_received(b->kernel, c, ack->packet_id);
        if (found == ERR_NOT_FOUND) {
            send_ack(b, MQTT_PUBREL, ack->packet_id, is_v5(b) ? MQTT_PACKET_IDENTIFIER_NOT_FOUND : 0);
        }
    } else {
        found = kernel_done(b->kernel, c, ack->packet_id,
                            type == MQTT_PUBACK    ? DELIVERY_TAKEN
                            : type == MQTT_PUBCOMP ? DELIVERY_RELEASED
                                                   : DELIVERY_REFUSED);
    }
    if (found == ERR_CONFLICT) {
        drop(b, "it acknowledged a message in another way than its QoS asks for");
    }
}

static void on_packet(struct bridge *b, const struct mqtt_packet *packet)
{
    struct client *c = &b->client;
    if (b->state == BRIDGE_GREETING) {
        if (packet->type == MQTT_CONNACK) {
            on_connack(b, &packet->connack);
        } else {
            drop(b, "something came before CONNACK");
        }
        return;
    }
    switch ((enum mqtt_type)packet->type) {
    case MQTT_PUBLISH:
        on_publish(b, &packet->publish);
        break;
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBCOMP:
        on_ack(b, (enum mqtt_type)packet->type, &packet->ack);
        break;
    case MQTT_PUBREL:
        kernel_publish_release(b->kernel, c, packet->ack.packet_id);
        break;
    case MQTT_SUBACK:
        on_suback(b, &packet->suback);
        break;
    case MQTT_UNSUBACK:
    case MQTT_PINGRESP:
        break;
    case MQTT_DISCONNECT:
        drop(b, "the other broker disconnected");
        break;
    default:
        drop(b, "a packet that a broker does not send");
    }
}

/* Takes whole packets from the front; how many bytes. */
static size_t consume(struct bridge *b, struct bytes data)
{
    size_t at = 0;
    while (!b->doomed && (b->state == BRIDGE_GREETING || b->state == BRIDGE_UP)) {
        struct mqtt_frame  frame;
        struct mqtt_packet packet = {0};
        struct bytes       rest   = bytes_of(data.data + at, data.size - at);
        int                got    = mqtt_frame_read(rest, &frame);
        if (got < 0 || (got > 0 && mqtt_frame_bytes(frame) > INPUT_MAX_BYTES)) {
            drop(b, "a packet with a wrong length, or longer than 4 MiB");
            break;
        }
        if (got == 0 || mqtt_frame_bytes(frame) > rest.size) {
            break;
        }
        struct bytes      body = bytes_of(rest.data + frame.header_bytes, frame.body_bytes);
        struct mqtt_fault fault =
            mqtt_decode((enum mqtt_version)b->spec.version, MQTT_FROM_SERVER, frame, body, &packet);
        if (fault.why != NULL) {
            drop(b, fault.why);
            break;
        }
        on_packet(b, &packet);
        at += mqtt_frame_bytes(frame);
    }
    return at;
}

/* Input stays in b->input while it is worked on: nothing else takes from it. */
static void work(struct bridge *b)
{
    if (b->in_input) {
        return;
    }
    b->in_input  = true;
    size_t taken = consume(b, mqtt_input_waiting(&b->input));
    b->in_input  = false;
    if (taken != 0) {
        mqtt_input_take(&b->input, taken);
    }
    end_call(b);
}

void bridge_receive(struct bridge *b, struct bytes data)
{
    b->heard_ns = b->now_ns;
    if (mqtt_input_add(&b->input, data, 0) != 0) {
        drop(b, "no memory for what was received");
        return;
    }
    work(b);
}

void bridge_writable(struct bridge *b)
{
    if (b->full && b->out->size_bytes < OUTPUT_MAX_BYTES / 2 && b->state == BRIDGE_UP) {
        b->full = false;
        kernel_writable(b->kernel, &b->client);
    }
}

/* ---- our session ----------------------------------------------------------------------------------------------------------------- */

static size_t state_topic(const struct bridge *b, char out[128])
{
    return (size_t)snprintf(out, 128, "$SYS/broker/connection/%.*s/state", (int)b->name_size, (const char *)b->name);
}

static void local_open(struct bridge *b)
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
        step(b, BRIDGE_UP);
        b->up_ns = b->now_ns;
        log_info("bridge %.*s to %s:%u is up", (int)b->name_size, (const char *)b->name, b->spec.host, b->spec.port);
        b->port.receiving(b->port.ctx, true);
        arm_keep_alive(b);
        subscribe_there(b);
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
    send_ack(b, qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, id, MQTT_SUCCESS);
}

static void on_publish_released(struct client *client, uint16_t id, int status)
{
    struct bridge *b = bridge_of(client);
    send_ack(b, MQTT_PUBCOMP, id, status != 0 && is_v5(b) ? MQTT_PACKET_IDENTIFIER_NOT_FOUND : MQTT_SUCCESS);
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
        send_packet(b, &packet);
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

static const struct client_ops ops = {
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

/* ---- from the shard ---------------------------------------------------------------------------------------------------------------- */

struct bridge *bridge_new(struct kernel *kernel, struct timer_wheel *timers, struct outq *out,
                          const struct bridge_port *port, struct bytes name, const struct bridge_spec *spec)
{
    struct bridge *b = calloc(1, sizeof *b);
    if (b == NULL) {
        return NULL;
    }
    ASSERT(name.size <= sizeof b->name);
    b->client.ops  = &ops;
    b->kernel      = kernel;
    b->timers      = timers;
    b->out         = out;
    b->port        = *port;
    b->spec        = *spec;
    b->bridge_bit  = true;
    b->receive_max = RECEIVE_MAX_V311;
    b->backoff_ns  = BACKOFF_FIRST_NS;
    b->name_size   = (uint16_t)name.size;
    b->prepared    = true;
    for (uint32_t i = 0; i < spec->topic_count; i++) {
        b->prepared = b->prepared && (spec->topics[i].ways & BRIDGE_OUT) == 0;
    }
    memcpy(b->name, name.data, name.size);
    return b;
}

void bridge_begin(struct bridge *b, uint64_t now_ns, uint64_t wall_ns)
{
    b->now_ns  = now_ns;
    b->wall_ns = wall_ns;
}

void bridge_turn(struct bridge *b)
{
    if (b->state == BRIDGE_AWAY && b->local && b->prepared && !b->ending) {
        local_close(b); /* it was opened to record our subscriptions, or for a connection that is gone */
    }
    if (b->state == BRIDGE_AWAY && !b->stopped && !timer_armed(&b->timer) && kernel_ready(b->kernel)) {
        timer_arm(b->timers, &b->timer, b->now_ns, on_timer);
    }
    end_call(b);
    if (b->state == BRIDGE_UP && !mqtt_input_empty(&b->input)) {
        work(b); /* what came while our session was opened */
    }
}

void bridge_stop(struct bridge *b)
{
    b->stopped = true;
    timer_cancel(b->timers, &b->timer);
    if (b->state == BRIDGE_UP) {
        send_packet(b, &(struct mqtt_packet){.type = MQTT_DISCONNECT});
    }
    if (b->state != BRIDGE_AWAY) {
        drop(b, "it is stopped");
    }
    local_close(b);
}

void bridge_end(struct bridge *b)
{
    bridge_stop(b);
    b->ending = true;
    if (!kernel_ready(b->kernel)) {
        b->ended = true; /* its session expires */
        return;
    }
    local_open(b);
}

bool bridge_ended(const struct bridge *b)
{
    return b->ended || (b->ending && !b->local);
}

void bridge_free(struct bridge *b)
{
    if (b == NULL) {
        return;
    }
    local_close(b);
    timer_cancel(b->timers, &b->timer);
    mqtt_input_fini(&b->input);
    free(b);
}
