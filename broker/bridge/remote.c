/* remote.c - the other broker: what is said to it, and what its packets mean. */
#include "broker/bridge/inside.h"

#include "shared/base/err.h"
#include "shared/base/log.h"
#include "shared/base/wire.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- out to the other broker ----------------------------------------------------------------------------------------------- */

void bridge_send_packet(struct bridge *b, const struct mqtt_packet *packet)
{
    uint8_t memory[OUTQ_RESERVE_MAX_BYTES];
    size_t  size = mqtt_encode_size((enum mqtt_version)b->spec.version, packet);
    ASSERT(size <= sizeof memory);
    mqtt_encode((enum mqtt_version)b->spec.version, packet, memory);
    b->sent_ns = b->now_ns;
    b->doomed  = outq_put(b->out, bytes_of(memory, size)) != 0 || b->doomed; /* no memory: begin anew */
}

void bridge_send_ack(struct bridge *b, enum mqtt_type type, uint16_t id, uint8_t reason)
{
    struct mqtt_packet packet = {.type = (uint8_t)type, .ack = {.packet_id = id, .reason_code = reason}};
    if (b->state == BRIDGE_UP) {
        bridge_send_packet(b, &packet);
    }
}

void bridge_greet(struct bridge *b)
{
    uint8_t              memory[16];
    struct wire_writer   w      = wire_writer_fixed(memory, sizeof memory);
    struct mqtt_packet   packet = {.type = MQTT_CONNECT};
    struct mqtt_connect *c      = &packet.connect;
    c->version                  = b->spec.version;
    c->bridge                   = !bridge_v5(b) && b->bridge_bit;
    c->keep_alive_s             = b->spec.keep_alive_s;
    c->client_id                = bytes_str(b->spec.client_id);
    c->has_user_name            = b->spec.user[0] != '\0';
    c->has_password             = b->spec.password[0] != '\0';
    c->user_name                = bytes_str(b->spec.user);
    c->password                 = bytes_str(b->spec.password);
    if (bridge_v5(b)) {
        mqtt_property_put_u32(&w, MQTT_SESSION_EXPIRY_INTERVAL, BRIDGE_EXPIRY_S);
        mqtt_property_put_u16(&w, MQTT_RECEIVE_MAXIMUM, RECEIVE_MAX);
        mqtt_property_put_u32(&w, MQTT_MAXIMUM_PACKET_SIZE, INPUT_MAX_BYTES);
        c->properties.raw = wire_written(&w);
    }
    bridge_send_packet(b, &packet);
}

/* Everything that is to come in. */
void bridge_subscribe_there(struct bridge *b)
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
        wire_put_u8(&filters, (uint8_t)(t->qos | (bridge_v5(b) ? 4 | 8 | 16 : 0)));
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

/* ---- packets of the other broker ----------------------------------------------------------------------------------------------- */

static void on_connack(struct bridge *b, const struct mqtt_connack *ack)
{
    const struct mqtt_properties *p = &ack->properties;
    char                          why[80];
    if (ack->reason_code != 0) {
        if (!bridge_v5(b) && b->bridge_bit && ack->reason_code == MQTT_V3_UNACCEPTABLE_PROTOCOL) {
            b->bridge_bit = false;
        }
        (void)snprintf(why, sizeof why, "the connection was refused with reason code 0x%02x", ack->reason_code);
        bridge_drop(b, why);
        return;
    }
    bool     five       = bridge_v5(b);
    uint16_t theirs     = five && mqtt_has(p, MQTT_RECEIVE_MAXIMUM) ? p->receive_maximum : 65535;
    b->receive_max      = five ? theirs : RECEIVE_MAX_V311;
    b->qos_max          = five && mqtt_has(p, MQTT_MAXIMUM_QOS) ? p->maximum_qos : 2;
    b->retain_available = !five || !mqtt_has(p, MQTT_RETAIN_AVAILABLE) || p->retain_available != 0;
    b->packet_max_bytes = five && mqtt_has(p, MQTT_MAXIMUM_PACKET_SIZE) ? p->maximum_packet_size : UINT32_MAX;
    b->keep_alive_s     = five && mqtt_has(p, MQTT_SERVER_KEEP_ALIVE) && p->server_keep_alive_s != 0
                              ? p->server_keep_alive_s
                              : b->spec.keep_alive_s;
    bridge_step(b, BRIDGE_OPENING);
    b->port.receiving(b->port.ctx, false); /* until there is somebody to take it */
    bridge_local_open(b);
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
            bridge_send_ack(b, p->qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, p->packet_id, MQTT_SUCCESS);
        }
        return;
    }
    struct message m       = {.topic           = bytes_of(b->topic, size),
                              .payload         = p->payload,
                              .qos             = p->qos,
                              .retain          = p->retain,
                              .publish_wall_ns = b->wall_ns};
    uint8_t       *scratch = NULL;
    if (bridge_v5(b)) {
        if (mqtt_properties_scattered(&p->properties)) {
            scratch = malloc(p->properties.raw.size);
            if (scratch == NULL) {
                bridge_drop(b, "no memory for a message");
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
            bridge_send_ack(b, MQTT_PUBREL, ack->packet_id, bridge_v5(b) ? MQTT_PACKET_IDENTIFIER_NOT_FOUND : 0);
        }
    } else {
        found = kernel_done(b->kernel, c, ack->packet_id,
                            type == MQTT_PUBACK    ? DELIVERY_TAKEN
                            : type == MQTT_PUBCOMP ? DELIVERY_RELEASED
                                                   : DELIVERY_REFUSED);
    }
    if (found == ERR_CONFLICT) {
        bridge_drop(b, "it acknowledged a message in another way than its QoS asks for");
    }
}

static void on_packet(struct bridge *b, const struct mqtt_packet *packet)
{
    struct client *c = &b->client;
    if (b->state == BRIDGE_GREETING) {
        if (packet->type == MQTT_CONNACK) {
            on_connack(b, &packet->connack);
        } else {
            bridge_drop(b, "something came before CONNACK");
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
        bridge_drop(b, "the other broker disconnected");
        break;
    default:
        bridge_drop(b, "a packet that a broker does not send");
    }
}

/* A packet that is longer than we take. A broker of MQTT 5 was told and must not send it; one of 3.1.1 cannot be told, and would send it again on every
 * connection: a message is acknowledged and passed over, once what says which one it is has come. How many bytes of what came are done with. */
static size_t pass_over(struct bridge *b, struct mqtt_frame frame, struct bytes rest)
{
    uint8_t      qos   = frame.first >> 1 & 3;
    struct bytes body  = bytes_of(rest.data + frame.header_bytes, rest.size - frame.header_bytes);
    size_t       topic = body.size < 2 ? 0 : (size_t)(body.data[0] << 8 | body.data[1]);
    if (bridge_v5(b)) {
        bridge_send_packet(
            b, &(struct mqtt_packet){.type = MQTT_DISCONNECT, .disconnect = {.reason_code = MQTT_PACKET_TOO_LARGE}});
        bridge_drop(b, "a packet longer than the 4 MiB that the other broker was told");
        return 0;
    }
    if (b->state != BRIDGE_UP || mqtt_frame_type(frame) != MQTT_PUBLISH || qos == 3) {
        bridge_drop(b, "a packet longer than 4 MiB that is no message");
        return 0;
    }
    if (body.size < 2 || body.size < 2 + topic + 2) {
        return 0; /* later */
    }
    b->counters.received++;
    b->counters.dropped++;
    if (!b->warned_size) {
        b->warned_size = true;
        log_warn("bridge %.*s to %s:%u: a message of %u bytes on %.*s is dropped, as a bridge takes at most 4 MiB; "
                 "others are counted only",
                 (int)b->name_size, (const char *)b->name, b->spec.host, b->spec.port, mqtt_frame_bytes(frame),
                 (int)topic, (const char *)body.data + 2);
    }
    if (qos != 0) {
        uint16_t id = (uint16_t)(body.data[2 + topic] << 8 | body.data[2 + topic + 1]);
        bridge_send_ack(b, qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, id, MQTT_SUCCESS);
    }
    uint32_t all  = mqtt_frame_bytes(frame);
    uint32_t here = rest.size < all ? (uint32_t)rest.size : all;
    b->skip_bytes = all - here;
    return here;
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
        if (got < 0) {
            bridge_drop(b, "a packet with a wrong length");
            break;
        }
        if (got > 0 && mqtt_frame_bytes(frame) > INPUT_MAX_BYTES) {
            size_t passed = pass_over(b, frame, rest);
            at += passed;
            if (passed == 0) {
                break;
            }
            continue;
        }
        if (got == 0 || mqtt_frame_bytes(frame) > rest.size) {
            break;
        }
        struct bytes      body = bytes_of(rest.data + frame.header_bytes, frame.body_bytes);
        struct mqtt_fault fault =
            mqtt_decode((enum mqtt_version)b->spec.version, MQTT_FROM_SERVER, frame, body, &packet);
        if (fault.why != NULL) {
            bridge_drop(b, fault.why);
            break;
        }
        on_packet(b, &packet);
        at += mqtt_frame_bytes(frame);
    }
    return at;
}

/* Input stays in b->input while it is worked on: nothing else takes from it. */
void bridge_work(struct bridge *b)
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
    bridge_end_call(b);
}

void bridge_receive(struct bridge *b, struct bytes data)
{
    b->heard_ns = b->now_ns;
    if (b->skip_bytes != 0) {
        uint32_t skipped = data.size < b->skip_bytes ? (uint32_t)data.size : b->skip_bytes;
        b->skip_bytes -= skipped;
        data = bytes_of(data.data + skipped, data.size - skipped);
    }
    if (mqtt_input_add(&b->input, data, 0) != 0) {
        bridge_drop(b, "no memory for what was received");
        return;
    }
    bridge_work(b);
}

void bridge_writable(struct bridge *b)
{
    if (b->full && b->out->size_bytes < OUTPUT_MAX_BYTES / 2 && b->state == BRIDGE_UP) {
        b->full = false;
        kernel_writable(b->kernel, &b->client);
    }
}
