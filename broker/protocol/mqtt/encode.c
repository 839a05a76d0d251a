/* encode.c - each packet is measured and written by the same function: a writer without memory only counts. */
#include "broker/protocol/mqtt/encode.h"

#include "broker/protocol/mqtt/property.h"

struct sink {
    uint8_t *out; /* NULL: count only */
    size_t   size;
};

static void put(struct sink *s, const void *data, size_t size)
{
    if (s->out != NULL && size > 0) {
        memcpy(s->out + s->size, data, size);
    }
    s->size += size;
}

static void put_u8(struct sink *s, uint8_t value)
{
    put(s, &value, 1);
}

static void put_u16(struct sink *s, uint16_t value)
{
    uint16_t swapped = __builtin_bswap16(value);
    put(s, &swapped, 2);
}

static void put_binary(struct sink *s, struct bytes data)
{
    ASSERT(data.size <= MQTT_STRING_BYTES_MAX);
    put_u16(s, (uint16_t)data.size);
    put(s, data.data, data.size);
}

static void put_varint(struct sink *s, size_t value)
{
    uint8_t  room[4];
    uint8_t *end = mqtt_varint_write(room, (uint32_t)value);
    put(s, room, (size_t)(end - room));
}

static void put_properties(struct sink *s, enum mqtt_version version, const struct mqtt_properties *p)
{
    if (version == MQTT_V5) {
        ASSERT(p->raw.size <= MQTT_REMAINING_MAX);
        put_varint(s, p->raw.size);
        put(s, p->raw.data, p->raw.size);
    }
}

static void put_connect(struct sink *s, const struct mqtt_connect *c)
{
    put_binary(s, c->version == MQTT_V31 ? bytes_str("MQIsdp") : bytes_str("MQTT"));
    put_u8(s, (uint8_t)(c->version | (c->bridge ? 0x80 : 0)));
    put_u8(s, (uint8_t)(c->has_user_name << 7 | c->has_password << 6 | c->will_retain << 5 | c->will_qos << 3 |
                        c->has_will << 2 | c->clean_start << 1));
    put_u16(s, c->keep_alive_s);
    put_properties(s, c->version, &c->properties);
    put_binary(s, c->client_id);
    if (c->has_will) {
        put_properties(s, c->version, &c->will_properties);
        put_binary(s, c->will_topic);
        put_binary(s, c->will_payload);
    }
    if (c->has_user_name) {
        put_binary(s, c->user_name);
    }
    if (c->has_password) {
        put_binary(s, c->password);
    }
}

static void put_publish(struct sink *s, enum mqtt_version version, const struct mqtt_publish *p)
{
    put_binary(s, p->topic);
    if (p->qos > 0) {
        put_u16(s, p->packet_id);
    }
    put_properties(s, version, &p->properties);
    put(s, p->payload.data, p->payload.size);
}

/* A reason code and properties that are left out when they say nothing. */
static void put_reason(struct sink *s, enum mqtt_version version, uint8_t reason_code, const struct mqtt_properties *p)
{
    if (version != MQTT_V5 || (reason_code == 0 && p->raw.size == 0)) {
        return;
    }
    put_u8(s, reason_code);
    if (p->raw.size > 0) {
        put_properties(s, version, p);
    }
}

static void put_body(struct sink *s, enum mqtt_version version, const struct mqtt_packet *packet)
{
    switch ((enum mqtt_type)packet->type) {
    case MQTT_CONNECT:
        put_connect(s, &packet->connect);
        break;
    case MQTT_CONNACK:
        put_u8(s, packet->connack.session_present);
        put_u8(s, packet->connack.reason_code);
        put_properties(s, version, &packet->connack.properties);
        break;
    case MQTT_PUBLISH:
        put_publish(s, version, &packet->publish);
        break;
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP:
        put_u16(s, packet->ack.packet_id);
        put_reason(s, version, packet->ack.reason_code, &packet->ack.properties);
        break;
    case MQTT_SUBSCRIBE:
    case MQTT_UNSUBSCRIBE:
        put_u16(s, packet->subscribe.packet_id);
        put_properties(s, version, &packet->subscribe.properties);
        put(s, packet->subscribe.filters.data, packet->subscribe.filters.size);
        break;
    case MQTT_SUBACK:
    case MQTT_UNSUBACK:
        put_u16(s, packet->suback.packet_id);
        put_properties(s, version, &packet->suback.properties);
        put(s, packet->suback.reason_codes.data, packet->suback.reason_codes.size);
        break;
    case MQTT_DISCONNECT:
    case MQTT_AUTH:
        put_reason(s, version, packet->disconnect.reason_code, &packet->disconnect.properties);
        break;
    case MQTT_PINGREQ:
    case MQTT_PINGRESP:
        break;
    case MQTT_RESERVED:
    case MQTT_WILL:
    case MQTT_TYPES:
        ASSERT(!"a type that is no packet");
    }
}

static uint8_t flags_of(const struct mqtt_packet *packet)
{
    const struct mqtt_publish *p = &packet->publish;
    switch ((enum mqtt_type)packet->type) {
    case MQTT_PUBLISH:
        return (uint8_t)(p->duplicate << 3 | p->qos << 1 | p->retain);
    case MQTT_PUBREL:
    case MQTT_SUBSCRIBE:
    case MQTT_UNSUBSCRIBE:
        return 2;
    default:
        return 0;
    }
}

size_t mqtt_encode_size(enum mqtt_version version, const struct mqtt_packet *packet)
{
    struct sink count = {0};
    put_body(&count, version, packet);
    return count.size > MQTT_REMAINING_MAX ? 0 : 1 + mqtt_varint_size((uint32_t)count.size) + count.size;
}

void mqtt_encode(enum mqtt_version version, const struct mqtt_packet *packet, uint8_t *out)
{
    struct sink count = {0};
    put_body(&count, version, packet);
    struct sink s = {.out = out};
    put_u8(&s, (uint8_t)(packet->type << 4 | flags_of(packet)));
    put_varint(&s, count.size);
    put_body(&s, version, packet);
}

size_t mqtt_encode_ack(enum mqtt_version version, enum mqtt_type type, uint16_t packet_id, uint8_t reason_code,
                       uint8_t out[MQTT_ACK_BYTES_MAX])
{
    bool with_reason = version == MQTT_V5 && reason_code != MQTT_SUCCESS;
    out[0]           = (uint8_t)(type << 4 | (type == MQTT_PUBREL ? 2 : 0));
    out[1]           = with_reason ? 3 : 2;
    out[2]           = (uint8_t)(packet_id >> 8);
    out[3]           = (uint8_t)packet_id;
    out[4]           = reason_code;
    return with_reason ? 5 : 4;
}

/* ---- PUBLISH ------------------------------------------------------------------------------------------------------------------ */

enum { EXPIRY_BYTES = 5, ALIAS_BYTES = 3 };

size_t mqtt_publish_size(struct mqtt_outgoing *p)
{
    size_t body = 2 + p->topic.size + (p->qos > 0 ? 2 : 0) + p->payload.size;
    if (p->version == MQTT_V5) {
        size_t properties = p->properties.size + (p->expires ? EXPIRY_BYTES : 0) + (p->alias != 0 ? ALIAS_BYTES : 0);
        for (uint32_t i = 0; i < p->subscription_id_count; i++) {
            properties += 1 + mqtt_varint_size(p->subscription_ids[i]);
        }
        if (properties > MQTT_REMAINING_MAX) {
            return 0;
        }
        p->properties_bytes = (uint32_t)properties;
        body += mqtt_varint_size((uint32_t)properties) + properties;
    }
    if (body > MQTT_REMAINING_MAX) {
        return 0;
    }
    p->body_bytes = (uint32_t)body;
    return 1 + mqtt_varint_size((uint32_t)body) + body;
}

static uint8_t *write_u16(uint8_t *out, uint32_t value)
{
    uint16_t swapped = __builtin_bswap16((uint16_t)value);
    memcpy(out, &swapped, sizeof swapped);
    return out + sizeof swapped;
}

static uint8_t *write_bytes(uint8_t *out, struct bytes data)
{
    if (data.size > 0) {
        memcpy(out, data.data, data.size);
    }
    return out + data.size;
}

static uint8_t *write_properties(const struct mqtt_outgoing *p, uint8_t *out)
{
    out = mqtt_varint_write(out, p->properties_bytes);
    if (p->properties_bytes == 0) {
        return out;
    }
    if (p->expires) {
        uint32_t swapped = __builtin_bswap32(p->expiry_s);
        *out++           = MQTT_MESSAGE_EXPIRY_INTERVAL;
        memcpy(out, &swapped, sizeof swapped);
        out += sizeof swapped;
    }
    if (p->alias != 0) {
        *out++ = MQTT_TOPIC_ALIAS;
        out    = write_u16(out, p->alias);
    }
    for (uint32_t i = 0; i < p->subscription_id_count; i++) {
        *out++ = MQTT_SUBSCRIPTION_IDENTIFIER;
        out    = mqtt_varint_write(out, p->subscription_ids[i]);
    }
    return write_bytes(out, p->properties);
}

uint8_t *mqtt_publish_write(const struct mqtt_outgoing *p, uint8_t *out, uint8_t **out_packet_id)
{
    *out++ = (uint8_t)(MQTT_PUBLISH << 4 | p->duplicate << 3 | p->qos << 1 | p->retain);
    out    = mqtt_varint_write(out, p->body_bytes);
    out    = write_u16(out, (uint32_t)p->topic.size);
    out    = write_bytes(out, p->topic);
    if (p->qos > 0) {
        if (out_packet_id != NULL) {
            *out_packet_id = out;
        }
        out = write_u16(out, p->packet_id);
    }
    if (p->version == MQTT_V5) {
        out = write_properties(p, out);
    }
    return write_bytes(out, p->payload);
}
