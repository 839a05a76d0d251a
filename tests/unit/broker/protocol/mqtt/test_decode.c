#include "broker/protocol/mqtt/decode.h"
#include "broker/protocol/mqtt/encode.h"
#include "tests/unit/broker/protocol/mqtt/hex.h"

#include <criterion/criterion.h>

/* Lays the packet at the end of an allocation of its own size, so that a sanitizer sees a read behind it. */
static struct mqtt_fault decode_bytes(enum mqtt_version version, enum mqtt_sender sender, struct bytes bytes,
                                      struct mqtt_packet *out)
{
    struct mqtt_frame frame;
    int               header = mqtt_frame_read(bytes, &frame);
    if (header <= 0) {
        return mqtt_fault(MQTT_MALFORMED_PACKET, "header");
    }
    cr_assert_eq(mqtt_frame_bytes(frame), bytes.size, "the length in the test's packet is wrong: %u of %zu",
                 mqtt_frame_bytes(frame), bytes.size);
    return mqtt_decode(version, sender, frame, bytes_of(bytes.data + frame.header_bytes, frame.body_bytes), out);
}

struct example {
    int         version;
    const char *packet;
    int         reason_code; /* -1: valid */
};

static void check(const struct example *e, enum mqtt_sender sender)
{
    uint8_t            room[512];
    size_t             size = hex_parse(e->packet, room, sizeof room);
    uint8_t           *data = malloc(size);
    struct mqtt_packet packet;
    memcpy(data, room, size);
    struct mqtt_fault fault = decode_bytes((enum mqtt_version)e->version, sender, bytes_of(data, size), &packet);
    if (e->reason_code < 0) {
        cr_assert_null(fault.why, "v%d %s: %s", e->version, e->packet, fault.why);
        uint8_t again[512];
        size_t  again_size = mqtt_encode_size((enum mqtt_version)e->version, &packet);
        cr_assert_leq(again_size, size);
        mqtt_encode((enum mqtt_version)e->version, &packet, again);
        struct mqtt_packet second;
        fault = decode_bytes((enum mqtt_version)e->version, sender, bytes_of(again, again_size), &second);
        cr_assert_null(fault.why, "again: %s", e->packet);
        if (again_size == size && e->version != MQTT_V31) { /* DUP of 3.1 is not kept */
            cr_assert_arr_eq(again, data, size, "%s", e->packet);
        }
    } else {
        cr_assert_not_null(fault.why, "v%d %s is valid", e->version, e->packet);
        cr_assert_eq(fault.reason_code, e->reason_code, "v%d %s: 0x%02x %s", e->version, e->packet, fault.reason_code,
                     fault.why);
    }
    free(data);
}

static void check_all(const struct example *examples, size_t count, enum mqtt_sender sender)
{
    for (size_t i = 0; i < count; i++) {
        check(&examples[i], sender);
    }
}

#define CLIENT(examples) check_all(examples, sizeof examples / sizeof *examples, MQTT_FROM_CLIENT)
#define SERVER(examples) check_all(examples, sizeof examples / sizeof *examples, MQTT_FROM_SERVER)

Test(mqtt_decode, the_header_says_where_a_packet_ends_before_its_body_is_there)
{
    static const struct {
        const char *bytes;
        int         result;
        uint32_t    body_bytes;
    } headers[] = {
        {"", 0, 0},
        {"30", 0, 0},
        {"30 00", 1, 0},
        {"30 7f", 1, 127},
        {"30 80", 0, 0},
        {"30 8001", 1, 128},
        {"30 ff7f", 1, 16383},
        {"30 808001", 1, 16384},
        {"30 ffffff7f", 1, 268435455},
        {"30 ffffff80", -1, 0},
        {"30 8000", -1, 0},
        {"30 808000", -1, 0},
        {"30 80808000", -1, 0},
        {"30 8080808001", -1, 0},
        {"30 ffffff", 0, 0},
    };
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        uint8_t           room[16];
        struct mqtt_frame frame = {0};
        size_t            size  = hex_parse(headers[i].bytes, room, sizeof room);
        cr_assert_eq(mqtt_frame_read(bytes_of(room, size), &frame), headers[i].result, "%s", headers[i].bytes);
        cr_assert(IMPLIES(headers[i].result == 1, frame.body_bytes == headers[i].body_bytes), "%s", headers[i].bytes);
    }
}

Test(mqtt_decode, connect)
{
    static const struct example examples[] = {
        {0, "10 0e 0006'MQIsdp' 03 02 000a 0000", -1},
        {0, "10 0c 0004'MQTT' 04 02 000a 0000", -1},
        {0, "10 0c 0004'MQTT' 84 02 000a 0000", -1},
        {0, "10 0d 0004'MQTT' 05 02 000a 00 0000", -1},
        {0, "10 0e 0004'MQTT' 05 00 000a 00 0001 'p'", -1},
        {0, "10 0c 0004'MQTT' 02 02 000a 0000", 0x84},
        {0, "10 0d 0004'MQTT' 06 02 000a 00 0000", 0x84},
        {0, "10 0d 0004'MQTT' 85 02 000a 00 0000", 0x84},
        {0, "10 0e 0006'MQIsdp' 04 02 000a 0000", 0x84},
        {0, "10 0c 0004'MQTX' 04 02 000a 0000", 0x84},
        {0, "11 0c 0004'MQTT' 04 02 000a 0000", 0x81},
        {0, "10 00", 0x81},
        {0, "10 02 0004", 0x81},
        {0, "10 06 0004'MQTT'", 0x81},
        {0, "10 07 0004'MQTT' 04", 0x81},
        {0, "10 0a 0004'MQTT' 04 02 000a", 0x81},
        {0, "10 0c 0004'MQTT' 04 03 000a 0000", 0x81},             /* reserved flag */
        {0, "10 0d 0004'MQTT' 04 02 000a 0000 00", 0x81},          /* one byte too many */
        {0, "10 0c 0004'MQTT' 04 22 000a 0000", 0x81},             /* will retain without will */
        {0, "10 0c 0004'MQTT' 04 0a 000a 0000", 0x81},             /* will QoS without will */
        {0, "10 11 0004'MQTT' 04 1e 000a 0000 0001'w'0000", 0x81}, /* will QoS 3 */
        {0, "10 11 0004'MQTT' 04 36 000a 0000 0001'w'0000", -1},
        {0, "10 0d 0004'MQTT' 04 06 000a 0000 00", 0x81},
        {0, "10 10 0004'MQTT' 04 06 000a 0000 0000 0000", 0x81},   /* empty will topic */
        {0, "10 11 0004'MQTT' 04 06 000a 0000 0001'#'0000", 0x81}, /* wildcard in it */
        {0, "10 11 0004'MQTT' 04 06 000a 0000 0001 00 0000", 0x81},
        {0, "10 12 0004'MQTT' 04 c2 000a 0000 0001'u' 0001'p'", -1},
        {0, "10 0f 0004'MQTT' 04 42 000a 0000 0001'p'", 0x81}, /* password alone: not before MQTT 5 */
        {0, "10 10 0004'MQTT' 05 42 000a 00 0000 0001'p'", -1},
        {0, "10 0f 0004'MQTT' 04 82 000a 0000 0001 00", 0x81},
        {0, "10 0f 0004'MQTT' 04 82 000a 0000 0001 ff", 0x81},
        {0, "10 0f 0004'MQTT' 04 82 000a 0000 0001 1f", 0x81},
        {0, "10 10 0004'MQTT' 04 82 000a 0000 0002 c29f", 0x81},
        {0, "10 0d 0004'MQTT' 04 02 000a 0001 7f", 0x81},
        {0, "10 0d 0004'MQTT' 04 02 000a 0001 00", 0x81},
        {0, "10 0f 0004'MQTT' 04 02 000a 0003 eda080", 0x81},
        {0, "10 0e 0004'MQTT' 05 02 000a 8000 0000", 0x81}, /* property length not minimal */
        {0, "10 0d 0004'MQTT' 05 02 000a 7f 0000", 0x81},
        {0, "10 13 0004'MQTT' 05 06 000a 00 0000 00 0001'w' 0000", -1},
        {0, "10 18 0004'MQTT' 05 06 000a 00 0000 05 1800000005 0001'w' 0000", -1},
        {0, "10 18 0004'MQTT' 05 06 000a 00 0000 05 1100000005 0001'w' 0000",
         0x82}, /* session expiry among the will's */
    };
    CLIENT(examples);
}

Test(mqtt_decode, connect_properties)
{
    static const struct {
        const char *properties;
        int         reason_code;
    } examples[] = {
        {"", -1},
        {"11 0000000a", -1},
        {"11 0000000a 11 0000000a", 0x82},
        {"11 0000", 0x81},
        {"17 00", -1},
        {"17 02", 0x82},
        {"19 01", -1},
        {"19 02", 0x82},
        {"21 0001", -1},
        {"21 0000", 0x82},
        {"27 00000001", -1},
        {"27 00000000", 0x82},
        {"22 0000", -1},
        {"22 ffff", -1},
        {"15 0001'm'", -1},
        {"15 0001'm' 16 0001'd'", -1},
        {"16 0001'd'", 0x82},
        {"15 0001 00", 0x81},
        {"26 0001'a' 0001'b' 26 0001'a' 0001'c'", -1},
        {"26 0001'a'", 0x81},
        {"26 0001 00 0001'b'", 0x81},
        {"26 0001'b' 0001 ff", 0x81},
        {"01 00", 0x82},
        {"12 0001'a'", 0x82},
        {"24 01", 0x82},
        {"00 00", 0x81},
        {"04 00", 0x81},
        {"2b 00", 0x81},
        {"7f", 0x81},
        {"80 01", 0x81},
        {"91 00 0000000a", 0x81}, /* identifier not minimal */
        {"ffffff7f", 0x81},
    };
    for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
        uint8_t            room[256];
        uint8_t            packet[300];
        size_t             size   = hex_parse(examples[i].properties, room, sizeof room);
        uint8_t            head[] = {0x10, (uint8_t)(13 + size), 0, 4, 'M', 'Q', 'T', 'T', 5, 2, 0, 10, (uint8_t)size};
        struct mqtt_packet out;
        memcpy(packet, head, sizeof head);
        memcpy(packet + sizeof head, room, size);
        memset(packet + sizeof head + size, 0, 2);
        struct mqtt_fault fault =
            decode_bytes(MQTT_V5, MQTT_FROM_CLIENT, bytes_of(packet, sizeof head + size + 2), &out);
        cr_assert_eq(fault.why != NULL, examples[i].reason_code >= 0, "%s", examples[i].properties);
        cr_assert(IMPLIES(fault.why != NULL, fault.reason_code == examples[i].reason_code), "%s: %02x",
                  examples[i].properties, fault.reason_code);
    }
}

Test(mqtt_decode, connect_yields_every_field)
{
    uint8_t data[256];
    size_t  size = hex_parse("10 43 0004'MQTT' 05 ee 003c 08 11 00000064 21 0014 0003'cid' 0a 18 00000007 02 00000009 "
                              "0005'w/ill' 0003'bye' 0004'user' 0004'pass'",
                             data, sizeof data);
    struct mqtt_packet p;
    data[1] = (uint8_t)(size - 2);
    cr_assert_null(decode_bytes(MQTT_V5, MQTT_FROM_CLIENT, bytes_of(data, size), &p).why);
    const struct mqtt_connect *c = &p.connect;
    cr_assert(c->version == MQTT_V5 && c->clean_start && c->has_will && c->will_qos == 1 && c->will_retain &&
              c->keep_alive_s == 60);
    cr_assert(mqtt_has(&c->properties, MQTT_SESSION_EXPIRY_INTERVAL) && c->properties.session_expiry_interval_s == 100);
    cr_assert_eq(c->properties.receive_maximum, 20);
    cr_assert(bytes_equal(c->client_id, bytes_str("cid")) && bytes_equal(c->will_topic, bytes_str("w/ill")));
    cr_assert(bytes_equal(c->will_payload, bytes_str("bye")) && bytes_equal(c->user_name, bytes_str("user")));
    cr_assert(bytes_equal(c->password, bytes_str("pass")));
    cr_assert_eq(c->will_properties.will_delay_interval_s, 7);
    cr_assert_eq(c->will_properties.message_expiry_interval_s, 9);
}

Test(mqtt_decode, connect_cut_anywhere_is_malformed)
{
    uint8_t data[256];
    size_t  size = hex_parse("10 00 0004'MQTT' 05 ee 003c 08 11 00000064 21 0014 0003'cid' 0a 18 00000007 02 00000009 "
                              "0005'w/ill' 0003'bye' 0004'user' 0004'pass'",
                             data, sizeof data);
    struct mqtt_packet p;
    for (size_t cut = 2; cut < size; cut++) {
        uint8_t *exact = malloc(cut);
        memcpy(exact, data, cut);
        exact[1] = (uint8_t)(cut - 2);
        cr_assert_eq(decode_bytes(MQTT_V5, MQTT_FROM_CLIENT, bytes_of(exact, cut), &p).reason_code,
                     MQTT_MALFORMED_PACKET, "at %zu", cut);
        free(exact);
    }
}

Test(mqtt_decode, publish)
{
    static const struct example examples[] = {
        {4, "30 0e 0005'topic''payload'", -1},
        {4, "31 07 0005'topic'", -1},
        {4, "32 10 0005'topic' 1234 'payload'", -1},
        {4, "3a 10 0005'topic' 1234 'payload'", -1},
        {4, "3d 10 0005'topic' 1234 'payload'", -1},
        {4, "30 09 0000 'payload'", 0x81},
        {4, "38 0e 0005'topic''payload'", 0x81},
        {4, "36 0e 0005'topic''payload'", 0x81},
        {4, "36 10 0005'topic' 1234 'payload'", 0x81},
        {4, "32 07 0005'topic'", 0x81},
        {4, "32 10 0005'topic' 0000 'payload'", 0x82},
        {4, "34 10 0005'topic' 0000 'payload'", 0x82},
        {4, "30 00", 0x81},
        {4, "30 01 00", 0x81},
        {4, "30 06 0005'topi'", 0x81},
        {4, "30 07 0005'top'0000", 0x81},
        {4, "30 07 0005'to'eda080", 0x81},
        {4, "30 07 0005'+opic'", 0x81},
        {4, "30 07 0005'#opic'", 0x81},
        {4, "30 07 0005'A'f0aa9b94", -1},
        {4, "30 0e 0005'topic''payload'", -1},
        {5, "30 08 0005'topic' 00", -1},
        {5, "30 07 0005'topic'", 0x81},
        {5, "30 09 0005'topic' 8000", 0x81},
        {5, "30 0a 0005'topic' 02 0101", -1},
        {5, "30 0a 0005'topic' 02 0102", 0x82},
        {5, "30 0c 0005'topic' 04 0101 0101", 0x82},
        {5, "30 09 0005'topic' 01 01", 0x81},
        {5, "30 0d 0005'topic' 05 0200000001", -1},
        {5, "30 0d 0005'topic' 05 0200000000", -1},
        {5, "30 0b 0005'topic' 03 230001", -1},
        {5, "30 06 0000 03 230001", -1},
        {5, "30 03 0000 00", 0x81},
        {5, "30 0c 0005'topic' 04 08 0001'p'", -1},
        {5, "30 0b 0005'topic' 03 08 0000", 0x82},
        {5, "30 0c 0005'topic' 04 08 0001'#'", 0x82},
        {5, "30 0c 0005'topic' 04 08 0001'+'", 0x82},
        {5, "30 0c 0005'topic' 04 08 0001 00", 0x81},
        {5, "30 0b 0005'topic' 03 09 0000", -1},
        {5, "30 0c 0005'topic' 04 09 0001 00", -1},
        {5, "30 10 0005'topic' 08 09 0001'a' 09 0001'b'", 0x82},
        {5, "30 0c 0005'topic' 04 03 0001'c'", -1},
        {5, "30 16 0005'topic' 0e 26 0001'p'0001'q' 26 0001'p'0001'q'", -1},
        {5, "30 0a 0005'topic' 02 0b01", 0x82},       /* subscription identifier from a client */
        {5, "30 0d 0005'topic' 05 1100000001", 0x82}, /* session expiry */
        {5, "30 0d 0005'topic' 05 1800000001", 0x82}, /* will delay */
    };
    static const struct example from_server[] = {
        {5, "30 0a 0005'topic' 02 0b01", -1},
        {5, "30 0c 0005'topic' 04 0b01 0b02", -1},
        {5, "30 0a 0005'topic' 02 0b00", 0x82},
    };
    CLIENT(examples);
    SERVER(from_server);
}

Test(mqtt_decode, acknowledgements)
{
    static const struct example examples[] = {
        {4, "40 02 0001", -1},
        {4, "50 02 0001", -1},
        {4, "62 02 0001", -1},
        {4, "70 02 ffff", -1},
        {3, "6a 02 0001", -1},
        {4, "6a 02 0001", 0x81},
        {4, "60 02 0001", 0x81},
        {4, "41 02 0001", 0x81},
        {4, "40 00", 0x81},
        {4, "40 01 00", 0x81},
        {4, "40 02 0000", 0x82},
        {4, "40 03 0001 00", 0x81},
        {5, "40 02 0001", -1},
        {5, "40 03 0001 00", -1},
        {5, "40 03 0001 10", -1},
        {5, "40 03 0001 97", -1},
        {5, "40 03 0001 01", 0x82},
        {5, "40 03 0001 92", 0x82},
        {5, "50 03 0001 99", -1},
        {5, "62 03 0001 92", -1},
        {5, "62 03 0001 10", 0x82},
        {5, "70 03 0001 92", -1},
        {5, "70 03 0001 80", 0x82},
        {5, "40 04 0001 00 00", -1},
        {5, "40 08 0001 00 04 1f 0001'r'", -1},
        {5, "40 0c 0001 00 08 1f 0001'r' 1f 0001'r'", 0x82},
        {5, "40 05 0001 00 00 00", 0x81},
        {5, "40 06 0001 00 02 0100", 0x82},
        {5, "40 08 0001 00 04 23000170", 0x81}, /* what cannot be read goes before what does not belong there */
        {5, "40 04 0001 00 01", 0x81},
        {5, "40 0b 0001 00 07 26 0001'a'0001'b'", -1},
    };
    CLIENT(examples);
}

Test(mqtt_decode, subscribe)
{
    static const struct example examples[] = {
        {4, "82 06 0001 0001'a' 00", -1},
        {4, "82 0a 0001 0001'a' 00 0001'b' 02", -1},
        {3, "8a 06 0001 0001'a' 00", -1},
        {4, "80 06 0001 0001'a' 00", 0x81},
        {4, "83 06 0001 0001'a' 00", 0x81},
        {4, "82 06 0000 0001'a' 00", 0x81},
        {4, "82 02 0001", 0x82},
        {4, "82 00", 0x81},
        {4, "82 05 0001 0001'a'", 0x81},
        {4, "82 06 0001 0001'a' 03", 0x81},
        {4, "82 06 0001 0001'a' 04", 0x81},
        {4, "82 06 0001 0001'a' 80", 0x81},
        {4, "82 05 0001 0000 00", 0x81},
        {4, "82 06 0001 0001 00 00", 0x81},
        {4, "82 07 0001 0002'a#' 00", 0x81},
        {4, "82 0c 0001 0007'$share/' 00", 0x81},
        {5, "82 0e 0001 00 0008'$share/g' 00", 0x82},
        {5, "82 0f 0001 00 0009'$share/g/' 00", 0x82},
        {5, "82 0f 0001 00 0009'$share/+/' 00", 0x81},
        {5, "82 0f 0001 00 0009'$share//a' 00", 0x81},
        {5, "82 0a 0001 03 230001 0001'a' 00", 0x81}, /* a property of others */
        {5, "82 07 0001 00 0001'a' 2e", -1},
        {5, "82 03 0001 00", 0x82},
        {5, "82 07 0001 00 0001'a' 40", 0x81},
        {5, "82 07 0001 00 0001'a' 80", 0x81},
        {5, "82 07 0001 00 0001'a' 03", 0x81},
        {5, "82 07 0001 00 0001'a' 30", 0x82},
        {5, "82 09 0001 02 0b01 0001'a' 00", -1},
        {5, "82 0c 0001 05 0bffffff7f 0001'a' 00", -1},
        {5, "82 09 0001 02 0b00 0001'a' 00", 0x82},
        {5, "82 0a 0001 03 0b8000 0001'a' 00", 0x81},
        {5, "82 0d 0001 06 0bffffffff7f 0001'a' 00", 0x81},
        {5, "82 0b 0001 04 0b01 0b02 0001'a' 00", 0x82},
        {5, "82 0b 0001 04 1f 0001'r' 0001'a' 00", 0x81},
        {5, "82 10 0001 00 000a'$share/g/t' 00", -1},
        {5, "82 10 0001 00 000a'$share/g/t' 04", 0x82},
    };
    CLIENT(examples);
}

Test(mqtt_decode, subscribe_walks_its_filters)
{
    uint8_t            data[64];
    size_t             size = hex_parse("82 0f 0001 02 0b07 0001'a' 00 0003'b/#' 1d", data, sizeof data);
    struct mqtt_packet p;
    cr_assert_null(decode_bytes(MQTT_V5, MQTT_FROM_CLIENT, bytes_of(data, size), &p).why);
    cr_assert_eq(p.subscribe.count, 2);
    cr_assert_eq(p.subscribe.properties.subscription_identifier, 7);
    struct bytes       left = p.subscribe.filters;
    struct mqtt_filter f;
    cr_assert(mqtt_filter_next(&left, true, &f) && bytes_equal(f.filter, bytes_str("a")) && f.qos == 0 && !f.no_local);
    cr_assert(mqtt_filter_next(&left, true, &f) && bytes_equal(f.filter, bytes_str("b/#")));
    cr_assert(f.qos == 1 && f.no_local && f.retain_as_published && f.retain_handling == 1);
    cr_assert(!mqtt_filter_next(&left, true, &f));
}

Test(mqtt_decode, the_rest)
{
    static const struct example examples[] = {
        {4, "a2 05 0001 0001'a'", -1},
        {4, "a0 05 0001 0001'a'", 0x81},
        {4, "a2 02 0001", 0x82},
        {4, "a2 05 0000 0001'a'", 0x81},
        {4, "a2 06 0001 0002'a+'", 0x81},
        {4, "a2 06 0001 0001'a' 00", 0x81},
        {5, "a2 06 0001 00 0001'a'", -1},
        {5, "a2 08 0001 02 0b01 0001'a'", 0x81},
        {4, "c0 00", -1},
        {4, "c1 00", 0x81},
        {4, "c2 00", 0x81},
        {4, "c4 00", 0x81},
        {4, "c8 00", 0x81},
        {4, "c0 01 00", 0x81},
        {4, "d1 00", 0x81},
        {4, "e0 00", -1},
        {4, "e1 00", 0x81},
        {4, "e0 01 00", 0x81},
        {5, "e0 00", -1},
        {5, "e0 01 00", -1},
        {5, "e0 01 04", -1},
        {5, "e0 01 8e", 0x82},
        {5, "e0 01 01", 0x82},
        {5, "e0 07 00 05 11 00000001", -1},
        {5, "e0 0c 00 0a 11 00000001 11 00000001", 0x82},
        {5, "e0 06 00 04 1c 0001's'", 0x82},
        {5, "e0 02 00 00", -1},
        {5, "e0 03 00 00 00", 0x81},
        {5, "f0 00", -1},
        {5, "f0 01 18", -1},
        {5, "f0 06 18 04 15 0001'm'", -1},
        {5, "f0 01 80", 0x82},
        {5, "f1 00", 0x81},
        {4, "f0 00", 0x81},
        {5, "00 00", 0x81},
        {4, "00 00", 0x81},
    };
    static const struct example from_server[] = {
        {4, "20 02 0000", -1},
        {4, "20 02 0105", -1},
        {4, "20 02 0200", 0x81},
        {4, "20 03 000000", 0x81},
        {5, "20 03 000000", -1},
        {5, "20 06 0000 03 21 0400", -1},
        {5, "20 06 0000 03 21 0000", 0x82},
        {5, "20 05 0000 02 2402", 0x82},
        {5, "20 07 0000 04 12 0001'i'", -1},
        {4, "90 03 0001 80", -1},
        {4, "90 02 0001", 0x81},
        {5, "90 04 0001 00 87", -1},
        {4, "b0 02 0001", -1},
        {4, "b0 03 0001 00", 0x81},
        {5, "b0 04 0001 00 11", -1},
        {5, "b0 03 0001 00", 0x81},
        {4, "d0 00", -1},
        {5, "e0 06 9c 04 1c 0001's'", -1},
        {5, "e0 01 8e", -1},
        {5, "e0 01 04", 0x82},
    };
    CLIENT(examples);
    SERVER(from_server);
}

Test(mqtt_decode, properties_that_travel_are_a_view_when_they_lie_together_and_a_copy_when_not)
{
    static const struct {
        const char *raw;
        const char *forward;
        bool        scattered;
    } cases[] = {
        {"", "", false},
        {"01 01 26 0001'a'0001'b'", "01 01 26 0001'a'0001'b'", false},
        {"02 00000001", "", false},
        {"23 0001 02 00000001", "", false},
        {"01 01 02 00000001 26 0001'a'0001'b' 23 0001 09 0000", "01 01 26 0001'a'0001'b' 09 0000", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t                raw[64];
        uint8_t                forward[64];
        uint8_t                scratch[64];
        struct mqtt_properties p;
        size_t                 raw_size     = hex_parse(cases[i].raw, raw, sizeof raw);
        size_t                 forward_size = hex_parse(cases[i].forward, forward, sizeof forward);
        cr_assert_null(mqtt_properties_decode(bytes_of(raw, raw_size), MQTT_PUBLISH, MQTT_FROM_CLIENT, &p).why);
        cr_assert_eq(mqtt_properties_scattered(&p), cases[i].scattered);
        cr_assert(bytes_equal(mqtt_properties_forward(&p, scratch), bytes_of(forward, forward_size)), "case %zu", i);
    }
}

Test(mqtt_decode, the_version_of_a_connect_is_known_from_its_first_bytes)
{
    uint8_t data[16];
    cr_assert_eq(mqtt_connect_peek_version(bytes_of(data, hex_parse("0004'MQTT' 05", data, sizeof data))), MQTT_V5);
    cr_assert_eq(mqtt_connect_peek_version(bytes_of(data, hex_parse("0004'MQTT' 04 02", data, sizeof data))),
                 MQTT_V311);
    cr_assert_eq(mqtt_connect_peek_version(bytes_of(data, hex_parse("0004'MQTT'", data, sizeof data))), 0);
    cr_assert_eq(mqtt_connect_peek_version(bytes_of(data, 0)), 0);
}
