/* decode.c - one function per packet, over a reader that never passes the end. */
#include "broker/protocol/mqtt/decode.h"

#include "broker/protocol/mqtt/utf8.h"

#define MALFORMED(why) mqtt_fault(MQTT_MALFORMED_PACKET, why)
#define PROTOCOL(why)  mqtt_fault(MQTT_PROTOCOL_ERROR, why)

/* ---- parts ------------------------------------------------------------------------------------------------------------ */

/* Big-endian, over struct wire_reader: bad stays set once something was missing. */
static uint8_t get_u8(struct wire_reader *r)
{
    return wire_get_u8(r);
}

static uint16_t get_u16(struct wire_reader *r)
{
    return __builtin_bswap16(wire_get_u16(r));
}

static struct bytes get_binary(struct wire_reader *r)
{
    return wire_get(r, get_u16(r));
}

static struct bytes rest_of(const struct wire_reader *r)
{
    return bytes_of(r->at, wire_left(r));
}

static struct mqtt_fault get_properties(struct wire_reader *r, enum mqtt_type type, enum mqtt_sender sender,
                                        struct mqtt_properties *out)
{
    uint32_t size;
    int      taken = mqtt_varint_read(rest_of(r), &size);
    if (r->bad || taken <= 0 || wire_left(r) - (size_t)taken < size) {
        return MALFORMED("properties that are longer than the packet");
    }
    r->at += taken;
    return mqtt_properties_decode(wire_get(r, size), type, sender, out);
}

static void no_properties(struct mqtt_properties *out)
{
    out->raw     = (struct bytes){0};
    out->present = 0;
}

/* ---- CONNECT ------------------------------------------------------------------------------------------------------------ */

enum connect_flags {
    CONNECT_RESERVED    = 0x01,
    CONNECT_CLEAN_START = 0x02,
    CONNECT_WILL        = 0x04,
    CONNECT_WILL_QOS    = 0x18,
    CONNECT_WILL_RETAIN = 0x20,
    CONNECT_PASSWORD    = 0x40,
    CONNECT_USER_NAME   = 0x80,
};

enum { LEVEL_BRIDGE = 0x80 };

static struct mqtt_fault decode_protocol(struct wire_reader *r, struct mqtt_connect *out)
{
    struct bytes name  = get_binary(r);
    uint8_t      level = get_u8(r);
    if (r->bad) {
        return MALFORMED("CONNECT without a protocol name and level");
    }
    bool mqtt = bytes_equal(name, bytes_str("MQTT"));
    bool isdp = bytes_equal(name, bytes_str("MQIsdp"));
    if (!mqtt && !isdp) {
        return mqtt_fault(MQTT_UNSUPPORTED_PROTOCOL_VERSION, "CONNECT with an unknown protocol name");
    }
    uint8_t version = level & (uint8_t)~LEVEL_BRIDGE;
    if (isdp ? version != MQTT_V31 : (version != MQTT_V311 && level != MQTT_V5)) {
        out->version = mqtt && level > MQTT_V5 && version != MQTT_V311 ? MQTT_V5 : MQTT_V311;
        return mqtt_fault(MQTT_UNSUPPORTED_PROTOCOL_VERSION, "CONNECT with an unsupported protocol level");
    }
    out->version = version;
    out->bridge  = (level & LEVEL_BRIDGE) != 0;
    return MQTT_FINE;
}

static struct mqtt_fault decode_connect_flags(uint8_t flags, struct mqtt_connect *out)
{
    out->clean_start   = (flags & CONNECT_CLEAN_START) != 0;
    out->has_will      = (flags & CONNECT_WILL) != 0;
    out->has_user_name = (flags & CONNECT_USER_NAME) != 0;
    out->has_password  = (flags & CONNECT_PASSWORD) != 0;
    out->will_retain   = (flags & CONNECT_WILL_RETAIN) != 0;
    out->will_qos      = (uint8_t)((flags & CONNECT_WILL_QOS) >> 3);
    if ((flags & CONNECT_RESERVED) != 0 && out->version != MQTT_V31) { /* unused there */
        return MALFORMED("CONNECT with its reserved flag set");        /* [MQTT-3.1.2-3] */
    }
    if (out->will_qos == 3) {
        return MALFORMED("CONNECT with will QoS 3"); /* [MQTT-3.1.2-12] */
    }
    if (!out->has_will && (out->will_qos != 0 || out->will_retain)) {
        return MALFORMED("CONNECT with will flags and no will"); /* [MQTT-3.1.2-11] [MQTT-3.1.2-13] */
    }
    if (out->version != MQTT_V5 && out->has_password && !out->has_user_name) {
        return MALFORMED("CONNECT with a password and no user name"); /* [MQTT-3.1.2-22] of 3.1.1 */
    }
    return MQTT_FINE;
}

static struct mqtt_fault decode_will(struct wire_reader *r, enum mqtt_sender sender, struct mqtt_connect *out)
{
    if (out->version == MQTT_V5) {
        struct mqtt_fault fault = get_properties(r, MQTT_WILL, sender, &out->will_properties);
        if (fault.why != NULL) {
            return fault;
        }
    }
    out->will_topic   = get_binary(r);
    out->will_payload = get_binary(r);
    if (!r->bad && !mqtt_topic_name_valid(out->will_topic)) {
        return MALFORMED("CONNECT with a will topic that is not a topic name");
    }
    return MQTT_FINE;
}

static struct mqtt_fault decode_connect(enum mqtt_sender sender, struct bytes body, struct mqtt_connect *out)
{
    struct wire_reader r = wire_reader_of(body);
    memset(out, 0, sizeof *out);
    struct mqtt_fault fault = decode_protocol(&r, out);
    if (fault.why != NULL) {
        return fault;
    }
    fault             = decode_connect_flags(get_u8(&r), out);
    out->keep_alive_s = get_u16(&r);
    if (fault.why != NULL) {
        return fault;
    }
    if (out->version == MQTT_V5) {
        fault = get_properties(&r, MQTT_CONNECT, sender, &out->properties);
        if (fault.why != NULL) {
            return fault;
        }
    }
    out->client_id = get_binary(&r);
    if (out->has_will) {
        fault = decode_will(&r, sender, out);
        if (fault.why != NULL) {
            return fault;
        }
    }
    if (out->version == MQTT_V31) { /* in 3.1 the length of the packet comes before these flags */
        out->has_user_name = out->has_user_name && wire_left(&r) > 0;
    }
    out->user_name = out->has_user_name ? get_binary(&r) : (struct bytes){0};
    if (out->version == MQTT_V31) {
        out->has_password = out->has_password && wire_left(&r) > 0;
    }
    out->password = out->has_password ? get_binary(&r) : (struct bytes){0};
    if (r.bad || wire_left(&r) != 0) {
        return MALFORMED("CONNECT whose fields do not end with the packet");
    }
    if (!mqtt_identity_valid(out->client_id) || !mqtt_identity_valid(out->user_name)) {
        return MALFORMED("CONNECT with a client identifier or user name that is not UTF-8 or has control characters");
    }
    if (mqtt_has(&out->properties, MQTT_AUTHENTICATION_DATA) &&
        !mqtt_has(&out->properties, MQTT_AUTHENTICATION_METHOD)) {
        return PROTOCOL("CONNECT with authentication data and no method");
    }
    return MQTT_FINE;
}

uint8_t mqtt_connect_peek_version(struct bytes body)
{
    struct wire_reader  r = wire_reader_of(body);
    struct mqtt_connect connect;
    connect.version = 0;
    return decode_protocol(&r, &connect).why == NULL ? connect.version : 0;
}

/* ---- CONNACK, DISCONNECT, AUTH --------------------------------------------------------------------------------------------- */

static struct mqtt_fault decode_connack(enum mqtt_version version, enum mqtt_sender sender, struct bytes body,
                                        struct mqtt_connack *out)
{
    struct wire_reader r     = wire_reader_of(body);
    uint8_t            flags = get_u8(&r);
    out->session_present     = flags == 1;
    out->reason_code         = get_u8(&r);
    no_properties(&out->properties);
    if (r.bad || flags > 1) {
        return MALFORMED("CONNACK that is too short or has reserved flags");
    }
    if (version == MQTT_V5) {
        struct mqtt_fault fault = get_properties(&r, MQTT_CONNACK, sender, &out->properties);
        if (fault.why != NULL) {
            return fault;
        }
    }
    return wire_left(&r) == 0 ? MQTT_FINE : MALFORMED("CONNACK that is too long");
}

/* The reason codes that a packet may carry, by who sends it. */
static bool reason_allowed(enum mqtt_type type, enum mqtt_sender sender, uint8_t code)
{
    static const uint8_t puback[]        = {0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99};
    static const uint8_t pubrel[]        = {0x00, 0x92};
    static const uint8_t auth[]          = {0x00, 0x18, 0x19};
    static const uint8_t client_leaves[] = {0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90,
                                            0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99};
    static const uint8_t server_leaves[] = {0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8b, 0x8c, 0x8d,
                                            0x8e, 0x8f, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99,
                                            0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1, 0xa2};
    switch (type) {
    case MQTT_PUBACK:
    case MQTT_PUBREC:
        return memchr(puback, code, sizeof puback) != NULL;
    case MQTT_PUBREL:
    case MQTT_PUBCOMP:
        return memchr(pubrel, code, sizeof pubrel) != NULL;
    case MQTT_AUTH:
        return memchr(auth, code, sizeof auth) != NULL;
    case MQTT_DISCONNECT:
        return sender == MQTT_FROM_CLIENT ? memchr(client_leaves, code, sizeof client_leaves) != NULL
                                          : memchr(server_leaves, code, sizeof server_leaves) != NULL;
    default:
        return false;
    }
}

static struct mqtt_fault decode_disconnect(enum mqtt_version version, enum mqtt_type type, enum mqtt_sender sender,
                                           struct bytes body, struct mqtt_disconnect *out)
{
    out->reason_code = MQTT_SUCCESS;
    no_properties(&out->properties);
    if (body.size == 0) {
        return MQTT_FINE;
    }
    if (version != MQTT_V5) {
        return MALFORMED("DISCONNECT with a body");
    }
    struct wire_reader r = wire_reader_of(body);
    out->reason_code     = get_u8(&r);
    if (!reason_allowed(type, sender, out->reason_code)) {
        return PROTOCOL("a reason code that does not belong in this packet");
    }
    if (wire_left(&r) > 0) {
        struct mqtt_fault fault = get_properties(&r, type, sender, &out->properties);
        if (fault.why != NULL) {
            return fault;
        }
    }
    return wire_left(&r) == 0 ? MQTT_FINE : MALFORMED("DISCONNECT or AUTH that is too long");
}

/* ---- PUBLISH and its answers ---------------------------------------------------------------------------------------------- */

struct mqtt_fault mqtt_decode_publish(enum mqtt_version version, enum mqtt_sender sender, uint8_t flags,
                                      struct bytes body, struct mqtt_publish *out)
{
    struct wire_reader r = wire_reader_of(body);
    out->retain          = (flags & 1) != 0;
    out->qos             = flags >> 1 & 3;
    out->duplicate       = (flags & 8) != 0;
    out->topic           = get_binary(&r);
    out->packet_id       = out->qos == 0 ? 0 : get_u16(&r);
    no_properties(&out->properties);
    if (UNLIKELY(r.bad)) {
        return MALFORMED("PUBLISH that ends inside its header");
    }
    if (UNLIKELY(out->qos == 3)) {
        return MALFORMED("PUBLISH with QoS 3"); /* [MQTT-3.3.1-4] */
    }
    if (UNLIKELY(out->duplicate && out->qos == 0)) {
        return MALFORMED("PUBLISH with DUP and QoS 0"); /* [MQTT-3.3.1-2] */
    }
    if (UNLIKELY(out->qos > 0 && out->packet_id == 0)) {
        return PROTOCOL("PUBLISH with packet identifier 0"); /* [MQTT-2.2.1-3] */
    }
    if (version == MQTT_V5) {
        if (LIKELY(wire_left(&r) > 0 && *r.at == 0)) {
            r.at++;
        } else {
            struct mqtt_fault fault = get_properties(&r, MQTT_PUBLISH, sender, &out->properties);
            if (fault.why != NULL) {
                return fault;
            }
        }
    }
    out->payload = rest_of(&r);
    if (UNLIKELY(!mqtt_topic_name_valid(out->topic))) {
        if (out->topic.size == 0) {
            return mqtt_has(&out->properties, MQTT_TOPIC_ALIAS) ? MQTT_FINE
                                                                : MALFORMED("PUBLISH without topic and topic alias");
        }
        return MALFORMED("PUBLISH with a topic that is not a topic name"); /* [MQTT-3.3.2-1] [MQTT-3.3.2-2] */
    }
    return MQTT_FINE;
}

static struct mqtt_fault decode_ack(enum mqtt_version version, enum mqtt_type type, enum mqtt_sender sender,
                                    struct bytes body, struct mqtt_ack *out)
{
    struct wire_reader r = wire_reader_of(body);
    out->packet_id       = get_u16(&r);
    out->reason_code     = MQTT_SUCCESS;
    no_properties(&out->properties);
    if (r.bad) {
        return MALFORMED("an acknowledgement without a packet identifier");
    }
    if (out->packet_id == 0) {
        return PROTOCOL("an acknowledgement with packet identifier 0");
    }
    if (wire_left(&r) == 0) {
        return MQTT_FINE;
    }
    if (version != MQTT_V5) {
        return MALFORMED("an acknowledgement that is too long");
    }
    out->reason_code = get_u8(&r);
    if (!reason_allowed(type, sender, out->reason_code)) {
        return PROTOCOL("a reason code that does not belong in this packet");
    }
    if (wire_left(&r) > 0) {
        struct mqtt_fault fault = get_properties(&r, type, sender, &out->properties);
        if (fault.why != NULL) {
            return fault;
        }
    }
    return wire_left(&r) == 0 ? MQTT_FINE : MALFORMED("an acknowledgement that is too long");
}

/* ---- SUBSCRIBE, UNSUBSCRIBE and their answers ------------------------------------------------------------------------------- */

enum {
    OPTION_QOS                 = 0x03,
    OPTION_NO_LOCAL            = 0x04,
    OPTION_RETAIN_AS_PUBLISHED = 0x08,
    OPTION_RETAIN_HANDLING     = 0x30,
    OPTION_RESERVED            = 0xc0
};

bool mqtt_filter_next(struct bytes *filters, bool options, struct mqtt_filter *out)
{
    if (filters->size == 0) {
        return false;
    }
    struct wire_reader r     = wire_reader_of(*filters);
    out->filter              = get_binary(&r);
    uint8_t option           = options ? get_u8(&r) : 0;
    out->qos                 = option & OPTION_QOS;
    out->no_local            = (option & OPTION_NO_LOCAL) != 0;
    out->retain_as_published = (option & OPTION_RETAIN_AS_PUBLISHED) != 0;
    out->retain_handling     = (uint8_t)((option & OPTION_RETAIN_HANDLING) >> 4);
    ASSERT(!r.bad);
    *filters = rest_of(&r);
    return true;
}

static struct mqtt_fault check_options(enum mqtt_version version, struct bytes filter, uint8_t option)
{
    if ((option & OPTION_RESERVED) != 0 || (version != MQTT_V5 && (option & ~OPTION_QOS) != 0)) {
        return MALFORMED("SUBSCRIBE with reserved option bits"); /* [MQTT-3.8.3-5] */
    }
    if ((option & OPTION_QOS) == 3) {
        return MALFORMED("SUBSCRIBE with QoS 3");
    }
    if ((option & OPTION_RETAIN_HANDLING) == OPTION_RETAIN_HANDLING) {
        return PROTOCOL("SUBSCRIBE with retain handling 3");
    }
    if ((option & OPTION_NO_LOCAL) != 0 && mqtt_topic_filter_shared(filter)) {
        return PROTOCOL("SUBSCRIBE with No Local to a shared subscription"); /* [MQTT-3.8.3-4] */
    }
    return MQTT_FINE;
}

static struct mqtt_fault decode_filters(enum mqtt_version version, bool options, struct bytes filters,
                                        uint32_t *out_count)
{
    struct wire_reader r     = wire_reader_of(filters);
    uint32_t           count = 0;
    while (wire_left(&r) > 0) {
        struct bytes filter = get_binary(&r);
        uint8_t      option = options ? get_u8(&r) : 0;
        if (r.bad) {
            return MALFORMED("a topic filter that is longer than the packet");
        }
        if (!mqtt_topic_filter_valid(filter)) {
            return mqtt_topic_filter_only_share(filter)
                       ? PROTOCOL("a shared subscription without a topic filter") /* [MQTT-4.8.2-2] */
                       : MALFORMED("a topic filter that breaks the rules of filters");
        }
        struct mqtt_fault fault = check_options(version, filter, option);
        if (fault.why != NULL) {
            return fault;
        }
        count++;
    }
    *out_count = count;
    return count > 0 ? MQTT_FINE : PROTOCOL("a packet without topic filters"); /* [MQTT-3.8.3-2] [MQTT-3.10.3-2] */
}

static struct mqtt_fault decode_subscribe(enum mqtt_version version, enum mqtt_type type, enum mqtt_sender sender,
                                          struct bytes body, struct mqtt_subscribe *out)
{
    struct wire_reader r = wire_reader_of(body);
    out->packet_id       = get_u16(&r);
    no_properties(&out->properties);
    if (r.bad) {
        return MALFORMED("SUBSCRIBE or UNSUBSCRIBE without a packet identifier");
    }
    if (out->packet_id == 0) {
        return MALFORMED("SUBSCRIBE or UNSUBSCRIBE with packet identifier 0"); /* [MQTT-2.2.1-3] */
    }
    if (version == MQTT_V5) {
        struct mqtt_fault fault = get_properties(&r, type, sender, &out->properties);
        if (fault.why != NULL) {
            return fault;
        }
    }
    out->filters = rest_of(&r);
    return decode_filters(version, type == MQTT_SUBSCRIBE, out->filters, &out->count);
}

static struct mqtt_fault decode_suback(enum mqtt_version version, enum mqtt_type type, enum mqtt_sender sender,
                                       struct bytes body, struct mqtt_suback *out)
{
    struct wire_reader r = wire_reader_of(body);
    out->packet_id       = get_u16(&r);
    no_properties(&out->properties);
    if (r.bad || out->packet_id == 0) {
        return MALFORMED("SUBACK or UNSUBACK without a packet identifier");
    }
    if (version == MQTT_V5) {
        struct mqtt_fault fault = get_properties(&r, type, sender, &out->properties);
        if (fault.why != NULL) {
            return fault;
        }
    }
    out->reason_codes = rest_of(&r);
    bool codes        = type == MQTT_SUBACK || version == MQTT_V5;
    return (out->reason_codes.size > 0) == codes ? MQTT_FINE
                                                 : MALFORMED("SUBACK or UNSUBACK with a wrong number of reason codes");
}

/* ---- any ------------------------------------------------------------------------------------------------------------------- */

bool mqtt_type_from_client(enum mqtt_type type)
{
    return type != MQTT_RESERVED && type != MQTT_CONNACK && type != MQTT_SUBACK && type != MQTT_UNSUBACK &&
           type != MQTT_PINGRESP;
}

/* The low four bits of the first byte [MQTT-2.1.3-1]. In MQTT 3.1 they had QoS 1 and a DUP that may be set; those of CONNECT were not used. */
static bool flags_valid(enum mqtt_version version, enum mqtt_type type, uint8_t flags)
{
    switch (type) {
    case MQTT_PUBLISH:
        return true; /* its own */
    case MQTT_PUBREL:
    case MQTT_SUBSCRIBE:
    case MQTT_UNSUBSCRIBE:
        return flags == 2 || (version == MQTT_V31 && flags == 10);
    case MQTT_CONNECT:
        return flags == 0 || version == MQTT_V31;
    default:
        return flags == 0;
    }
}

struct mqtt_fault mqtt_decode(enum mqtt_version version, enum mqtt_sender sender, struct mqtt_frame frame,
                              struct bytes body, struct mqtt_packet *out)
{
    enum mqtt_type type = mqtt_frame_type(frame);
    ASSERT(body.size == frame.body_bytes);
    out->type = (uint8_t)type;
    if (type == MQTT_CONNECT) {
        out->connect.version = 0;
        version              = (enum mqtt_version)mqtt_connect_peek_version(body);
    }
    if (!flags_valid(version, type, frame.first & 0x0f)) {
        return MALFORMED("reserved bits of the fixed header are wrong");
    }
    switch (type) {
    case MQTT_CONNECT:
        return decode_connect(sender, body, &out->connect);
    case MQTT_CONNACK:
        return decode_connack(version, sender, body, &out->connack);
    case MQTT_PUBLISH:
        return mqtt_decode_publish(version, sender, frame.first & 0x0f, body, &out->publish);
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP:
        return decode_ack(version, type, sender, body, &out->ack);
    case MQTT_SUBSCRIBE:
    case MQTT_UNSUBSCRIBE:
        return decode_subscribe(version, type, sender, body, &out->subscribe);
    case MQTT_SUBACK:
    case MQTT_UNSUBACK:
        return decode_suback(version, type, sender, body, &out->suback);
    case MQTT_PINGREQ:
    case MQTT_PINGRESP:
        return body.size == 0 ? MQTT_FINE : MALFORMED("PINGREQ or PINGRESP with a body");
    case MQTT_AUTH:
        if (version != MQTT_V5) {
            return MALFORMED("AUTH before MQTT 5");
        }
        return decode_disconnect(version, type, sender, body, &out->disconnect);
    case MQTT_DISCONNECT:
        return decode_disconnect(version, type, sender, body, &out->disconnect);
    default:
        return MALFORMED("packet type 0");
    }
}
