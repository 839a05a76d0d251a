/* property.c - one table row per property, one loop over a section. */
#include "broker/protocol/mqtt/property.h"

#include "broker/protocol/mqtt/utf8.h"

#include <assert.h>

enum form { UNKNOWN, BYTE, TWO_BYTES, FOUR_BYTES, VARINT, BINARY, STRING, PAIR };

/* Where a property may stand: a bit per packet; PUBLISH and DISCONNECT have another one for what only the server may write there. */
#define IN(type)        (1u << MQTT_##type)
#define ACKS            (IN(PUBACK) | IN(PUBREC) | IN(PUBREL) | IN(PUBCOMP) | IN(SUBACK) | IN(UNSUBACK))
#define BY_SERVER(type) (1u << (MQTT_##type + 17))
static_assert(MQTT_TYPES <= 17 && MQTT_DISCONNECT + 17 < 32, "the bits of the server lie above those of the packets");

struct row {
    uint8_t  form;   /* enum form */
    uint16_t offset; /* of the value in struct mqtt_properties; none for PAIR */
    uint32_t where;
    uint32_t least;
    uint32_t most;
};

#define AT(field) offsetof(struct mqtt_properties, field)
#define ANY       0xffffffffu

/* clang-format off */
static const struct row rows[MQTT_PROPERTY_IDS] = {
    /*                                        form        value                                  allowed in                            from  to */
    [MQTT_PAYLOAD_FORMAT_INDICATOR]          = {BYTE,       AT(payload_format_indicator),          IN(PUBLISH) | IN(WILL),               0, 1},
    [MQTT_MESSAGE_EXPIRY_INTERVAL]           = {FOUR_BYTES, AT(message_expiry_interval_s),         IN(PUBLISH) | IN(WILL),               0, ANY},
    [MQTT_CONTENT_TYPE]                      = {STRING,     AT(content_type),                      IN(PUBLISH) | IN(WILL),               0, ANY},
    [MQTT_RESPONSE_TOPIC]                    = {STRING,     AT(response_topic),                    IN(PUBLISH) | IN(WILL),               0, ANY},
    [MQTT_CORRELATION_DATA]                  = {BINARY,     AT(correlation_data),                  IN(PUBLISH) | IN(WILL),               0, ANY},
    [MQTT_SUBSCRIPTION_IDENTIFIER]           = {VARINT,     AT(subscription_identifier),           BY_SERVER(PUBLISH) | IN(SUBSCRIBE),   1, MQTT_REMAINING_MAX},
    [MQTT_SESSION_EXPIRY_INTERVAL]           = {FOUR_BYTES, AT(session_expiry_interval_s),         IN(CONNECT) | IN(CONNACK) | IN(DISCONNECT), 0, ANY},
    [MQTT_ASSIGNED_CLIENT_IDENTIFIER]        = {STRING,     AT(assigned_client_identifier),        IN(CONNACK),                          0, ANY},
    [MQTT_SERVER_KEEP_ALIVE]                 = {TWO_BYTES,  AT(server_keep_alive_s),               IN(CONNACK),                          0, 65535},
    [MQTT_AUTHENTICATION_METHOD]             = {STRING,     AT(authentication_method),             IN(CONNECT) | IN(CONNACK) | IN(AUTH), 0, ANY},
    [MQTT_AUTHENTICATION_DATA]               = {BINARY,     AT(authentication_data),               IN(CONNECT) | IN(CONNACK) | IN(AUTH), 0, ANY},
    [MQTT_REQUEST_PROBLEM_INFORMATION]       = {BYTE,       AT(request_problem_information),       IN(CONNECT),                          0, 1},
    [MQTT_WILL_DELAY_INTERVAL]               = {FOUR_BYTES, AT(will_delay_interval_s),             IN(WILL),                             0, ANY},
    [MQTT_REQUEST_RESPONSE_INFORMATION]      = {BYTE,       AT(request_response_information),      IN(CONNECT),                          0, 1},
    [MQTT_RESPONSE_INFORMATION]              = {STRING,     AT(response_information),              IN(CONNACK),                          0, ANY},
    [MQTT_SERVER_REFERENCE]                  = {STRING,     AT(server_reference),                  IN(CONNACK) | BY_SERVER(DISCONNECT),  0, ANY},
    [MQTT_REASON_STRING]                     = {STRING,     AT(reason_string),                     IN(CONNACK) | ACKS | IN(DISCONNECT) | IN(AUTH), 0, ANY},
    [MQTT_RECEIVE_MAXIMUM]                   = {TWO_BYTES,  AT(receive_maximum),                   IN(CONNECT) | IN(CONNACK),            1, 65535},
    [MQTT_TOPIC_ALIAS_MAXIMUM]               = {TWO_BYTES,  AT(topic_alias_maximum),               IN(CONNECT) | IN(CONNACK),            0, 65535},
    [MQTT_TOPIC_ALIAS]                       = {TWO_BYTES,  AT(topic_alias),                       IN(PUBLISH),                          0, 65535},
    [MQTT_MAXIMUM_QOS]                       = {BYTE,       AT(maximum_qos),                       IN(CONNACK),                          0, 1},
    [MQTT_RETAIN_AVAILABLE]                  = {BYTE,       AT(retain_available),                  IN(CONNACK),                          0, 1},
    [MQTT_USER_PROPERTY]                     = {PAIR,       0,                                     ~0u,                                  0, ANY},
    [MQTT_MAXIMUM_PACKET_SIZE]               = {FOUR_BYTES, AT(maximum_packet_size),               IN(CONNECT) | IN(CONNACK),            1, ANY},
    [MQTT_WILDCARD_SUBSCRIPTION_AVAILABLE]   = {BYTE,       AT(wildcard_subscription_available),   IN(CONNACK),                          0, 1},
    [MQTT_SUBSCRIPTION_IDENTIFIER_AVAILABLE] = {BYTE,       AT(subscription_identifier_available), IN(CONNACK),                          0, 1},
    [MQTT_SHARED_SUBSCRIPTION_AVAILABLE]     = {BYTE,       AT(shared_subscription_available),     IN(CONNACK),                          0, 1},
};
/* clang-format on */

/* A property of a section: its id and where its value begins and ends. */
struct item {
    uint32_t       id;
    const uint8_t *value;
    const uint8_t *end;
};

static uint32_t big_endian(const uint8_t *at, size_t size)
{
    uint32_t value = 0;
    for (size_t i = 0; i < size; i++) {
        value = value << 8 | at[i];
    }
    return value;
}

/* Behind the two-byte length and that many bytes at at; NULL when there are fewer. */
static const uint8_t *skip_string(const uint8_t *at, const uint8_t *end)
{
    if (at == NULL || end - at < 2) {
        return NULL;
    }
    size_t size = big_endian(at, 2);
    at += 2;
    return (size_t)(end - at) < size ? NULL : at + size;
}

static const uint8_t *value_end(enum form form, const uint8_t *at, const uint8_t *end)
{
    static const uint8_t fixed[] = {[BYTE] = 1, [TWO_BYTES] = 2, [FOUR_BYTES] = 4};
    uint32_t             ignored;
    int                  size;
    switch (form) {
    case BYTE:
    case TWO_BYTES:
    case FOUR_BYTES:
        return end - at < fixed[form] ? NULL : at + fixed[form];
    case VARINT:
        size = mqtt_varint_read(bytes_of(at, (size_t)(end - at)), &ignored);
        return size <= 0 ? NULL : at + size;
    case BINARY:
    case STRING:
        return skip_string(at, end);
    case PAIR:
        return skip_string(skip_string(at, end), end);
    case UNKNOWN:
        break;
    }
    return NULL;
}

/* The property at at; what lies behind it is item->end. */
static struct mqtt_fault item_read(const uint8_t *at, const uint8_t *end, struct item *out)
{
    int size = mqtt_varint_read(bytes_of(at, (size_t)(end - at)), &out->id);
    if (size <= 0 || out->id >= MQTT_PROPERTY_IDS || rows[out->id].form == UNKNOWN) {
        return mqtt_fault(MQTT_MALFORMED_PACKET, "a property with an unknown identifier");
    }
    out->value = at + size;
    out->end   = value_end(rows[out->id].form, out->value, end);
    if (out->end == NULL) {
        return mqtt_fault(MQTT_MALFORMED_PACKET, "a property that is longer than its section");
    }
    return MQTT_FINE;
}

static struct bytes string_at(const uint8_t *at)
{
    return bytes_of(at + 2, big_endian(at, 2));
}

static bool strings_valid(const struct item *item)
{
    enum form form = rows[item->id].form;
    if (form == STRING) {
        return mqtt_string_valid(string_at(item->value));
    }
    if (form == PAIR) {
        struct bytes name = string_at(item->value);
        return mqtt_string_valid(name) && mqtt_string_valid(string_at(name.data + name.size));
    }
    return true;
}

static uint32_t number_at(const struct item *item)
{
    uint32_t value = 0;
    if (rows[item->id].form == VARINT) {
        (void)mqtt_varint_read(bytes_of(item->value, (size_t)(item->end - item->value)), &value);
        return value;
    }
    return big_endian(item->value, (size_t)(item->end - item->value));
}

static void store(const struct item *item, uint32_t number, struct mqtt_properties *out)
{
    uint8_t     *field = (uint8_t *)out + rows[item->id].offset;
    uint8_t      byte  = (uint8_t)number;
    uint16_t     two   = (uint16_t)number;
    struct bytes text;
    switch ((enum form)rows[item->id].form) {
    case BYTE:
        memcpy(field, &byte, sizeof byte);
        break;
    case TWO_BYTES:
        memcpy(field, &two, sizeof two);
        break;
    case FOUR_BYTES:
    case VARINT:
        memcpy(field, &number, sizeof number);
        break;
    case BINARY:
    case STRING:
        text = string_at(item->value);
        memcpy(field, &text, sizeof text);
        break;
    case PAIR:
    case UNKNOWN:
        break;
    }
}

/* MQTT 5.0, 2.2.2.2 says malformed, of any packet. Brokers that clients are tested with say so of these two, and protocol error of all others. */
enum { UNEXPECTED_IS_MALFORMED = 1 << MQTT_SUBSCRIBE | 1 << MQTT_UNSUBSCRIBE };

static struct mqtt_fault item_check(const struct item *item, uint32_t number, uint32_t where, uint64_t present)
{
    const struct row *row = &rows[item->id];
    if ((row->where & where) == 0) {
        return mqtt_fault((where & UNEXPECTED_IS_MALFORMED) != 0 ? MQTT_MALFORMED_PACKET : MQTT_PROTOCOL_ERROR,
                          "a property that does not belong in this packet");
    }
    /* What may repeat: user properties, and the subscription identifiers that the server adds. */
    bool repeats = row->form == PAIR || (item->id == MQTT_SUBSCRIPTION_IDENTIFIER && where != IN(SUBSCRIBE));
    if (!repeats && (present >> item->id & 1) != 0) {
        return mqtt_fault(MQTT_PROTOCOL_ERROR, "a property that is there twice");
    }
    if (row->form < BINARY && (number < row->least || number > row->most)) {
        return mqtt_fault(MQTT_PROTOCOL_ERROR, "a property with a value out of range");
    }
    if (!strings_valid(item)) {
        return mqtt_fault(MQTT_MALFORMED_PACKET, "a property that is not UTF-8");
    }
    if (item->id == MQTT_RESPONSE_TOPIC && !mqtt_topic_name_valid(string_at(item->value))) {
        return mqtt_fault(MQTT_PROTOCOL_ERROR, "a response topic that is not a topic name");
    }
    return MQTT_FINE;
}

struct mqtt_fault mqtt_properties_decode(struct bytes raw, enum mqtt_type type, enum mqtt_sender sender,
                                         struct mqtt_properties *out)
{
    const uint8_t *at    = raw.data;
    const uint8_t *end   = at + raw.size;
    uint32_t       where = 1u << type;
    if (sender == MQTT_FROM_SERVER && (type == MQTT_PUBLISH || type == MQTT_DISCONNECT)) {
        where |= 1u << (type + 17);
    }
    out->raw                = raw;
    out->present            = 0;
    struct mqtt_fault wrong = MQTT_FINE; /* the first that can be read; what cannot be read goes before it */
    while (at < end) {
        struct item       item;
        struct mqtt_fault fault = item_read(at, end, &item);
        if (fault.why != NULL) {
            return fault;
        }
        uint32_t number = rows[item.id].form < BINARY ? number_at(&item) : 0;
        fault           = item_check(&item, number, where, out->present);
        if (LIKELY(fault.why == NULL)) {
            store(&item, number, out);
            out->present |= 1ull << item.id;
        } else if (fault.reason_code == MQTT_MALFORMED_PACKET) {
            return fault;
        } else if (wrong.why == NULL) {
            wrong = fault;
        }
        at = item.end;
    }
    return wrong;
}

bool mqtt_user_property(const struct mqtt_properties *p, struct bytes name, struct bytes *out)
{
    const uint8_t *end = p->raw.data + p->raw.size;
    for (const uint8_t *at = p->raw.data; (p->present >> MQTT_USER_PROPERTY & 1) != 0 && at < end;) {
        struct item       item;
        struct mqtt_fault fault = item_read(at, end, &item);
        ASSERT(fault.why == NULL);
        if (item.id == MQTT_USER_PROPERTY && bytes_equal(string_at(item.value), name)) {
            *out = string_at(item.value + 2 + name.size);
            return true;
        }
        at = item.end;
    }
    return false;
}

/* ---- what travels with a message ----------------------------------------------------------------------------------- */

#define STAYS                                                                                                 \
    (1ull << MQTT_MESSAGE_EXPIRY_INTERVAL | 1ull << MQTT_TOPIC_ALIAS | 1ull << MQTT_SUBSCRIPTION_IDENTIFIER | \
     1ull << MQTT_WILL_DELAY_INTERVAL)

bool mqtt_properties_scattered(const struct mqtt_properties *p)
{
    return (p->present & STAYS) != 0 && (p->present & ~STAYS) != 0;
}

struct bytes mqtt_properties_forward(const struct mqtt_properties *p, uint8_t *scratch)
{
    if ((p->present & STAYS) == 0) {
        return p->raw;
    }
    if ((p->present & ~STAYS) == 0) {
        return (struct bytes){0};
    }
    size_t         size = 0;
    const uint8_t *end  = p->raw.data + p->raw.size;
    for (const uint8_t *at = p->raw.data; at < end;) {
        struct item       item;
        struct mqtt_fault fault = item_read(at, end, &item);
        ASSERT(fault.why == NULL);
        if ((STAYS >> item.id & 1) == 0) {
            memcpy(scratch + size, at, (size_t)(item.end - at));
            size += (size_t)(item.end - at);
        }
        at = item.end;
    }
    return bytes_of(scratch, size);
}

/* ---- writing ---------------------------------------------------------------------------------------------------------- */

static void put_big_endian(struct wire_writer *w, enum mqtt_property id, uint32_t value, size_t size)
{
    uint8_t *room = wire_reserve(w, 1 + size);
    if (room == NULL) {
        return;
    }
    *room++ = (uint8_t)id;
    for (size_t i = size; i-- > 0;) {
        *room++ = (uint8_t)(value >> (8 * i));
    }
}

void mqtt_property_put_u8(struct wire_writer *w, enum mqtt_property id, uint8_t value)
{
    put_big_endian(w, id, value, 1);
}

void mqtt_property_put_u16(struct wire_writer *w, enum mqtt_property id, uint16_t value)
{
    put_big_endian(w, id, value, 2);
}

void mqtt_property_put_u32(struct wire_writer *w, enum mqtt_property id, uint32_t value)
{
    put_big_endian(w, id, value, 4);
}

void mqtt_property_put_bytes(struct wire_writer *w, enum mqtt_property id, struct bytes value)
{
    ASSERT(value.size <= MQTT_STRING_BYTES_MAX);
    put_big_endian(w, id, (uint32_t)value.size, 2);
    wire_put_bytes(w, value);
}
