#include "broker/protocol/mqtt/decode.h"
#include "broker/protocol/mqtt/encode.h"
#include "tests/unit/broker/protocol/mqtt/hex.h"

#include <criterion/criterion.h>

static void expect(const uint8_t *data, size_t size, const char *text)
{
    uint8_t want[256];
    size_t  want_size = hex_parse(text, want, sizeof want);
    cr_assert_eq(size, want_size, "%zu bytes instead of %zu: %s", size, want_size, text);
    cr_assert_arr_eq(data, want, size, "%s", text);
}

Test(mqtt_encode, acknowledgements_are_short)
{
    uint8_t out[MQTT_ACK_BYTES_MAX];
    expect(out, mqtt_encode_ack(MQTT_V5, MQTT_PUBACK, 0x1234, 0, out), "40 02 1234");
    expect(out, mqtt_encode_ack(MQTT_V5, MQTT_PUBACK, 0x1234, 0x10, out), "40 03 1234 10");
    expect(out, mqtt_encode_ack(MQTT_V311, MQTT_PUBACK, 0x1234, 0x10, out), "40 02 1234");
    expect(out, mqtt_encode_ack(MQTT_V311, MQTT_PUBREL, 1, 0, out), "62 02 0001");
    expect(out, mqtt_encode_ack(MQTT_V5, MQTT_PUBREL, 1, 0x92, out), "62 03 0001 92");
    expect(out, mqtt_encode_ack(MQTT_V31, MQTT_PUBCOMP, 1, 0x92, out), "70 02 0001");
}

static void expect_publish(struct mqtt_outgoing *p, const char *text)
{
    uint8_t  out[256];
    uint8_t *id   = NULL;
    size_t   size = mqtt_publish_size(p);
    cr_assert_eq((size_t)(mqtt_publish_write(p, out, &id) - out), size);
    expect(out, size, text);
    if (p->qos > 0) {
        cr_assert_eq(id[0] << 8 | id[1], p->packet_id);
    }
}

Test(mqtt_encode, publish_in_both_worlds)
{
    struct mqtt_outgoing p = {.version = MQTT_V311, .topic = bytes_str("t/1"), .payload = bytes_str("hi")};
    expect_publish(&p, "30 07 0003't/1''hi'");
    p.qos       = 1;
    p.packet_id = 0x1234;
    p.retain    = true;
    p.duplicate = true;
    expect_publish(&p, "3b 09 0003't/1' 1234 'hi'");
    p.version = MQTT_V5;
    expect_publish(&p, "3b 0a 0003't/1' 1234 00 'hi'");
    uint32_t ids[]          = {1, 300};
    p.expires               = true;
    p.expiry_s              = 5;
    p.alias                 = 2;
    p.subscription_ids      = ids;
    p.subscription_id_count = 2;
    p.properties            = bytes_str("\x01\x01");
    p.topic                 = bytes_str("");
    expect_publish(&p, "3b 16 0000 1234 0f 02 00000005 23 0002 0b 01 0b ac02 0101 'hi'");
}

Test(mqtt_encode, a_publish_that_the_format_cannot_say_has_no_size)
{
    struct mqtt_outgoing p = {.version = MQTT_V311, .topic = bytes_str("t")};
    p.payload              = bytes_of("", MQTT_REMAINING_MAX - 3);
    cr_assert_eq(mqtt_publish_size(&p), (size_t)MQTT_REMAINING_MAX + 5);
    p.payload = bytes_of("", MQTT_REMAINING_MAX - 2);
    cr_assert_eq(mqtt_publish_size(&p), 0);
}

Test(mqtt_encode, what_goes_through_the_general_way_and_the_hot_way_is_the_same)
{
    uint8_t              a[128];
    uint8_t              b[128];
    struct mqtt_outgoing hot       = {.version    = MQTT_V5,
                                      .qos        = 2,
                                      .packet_id  = 7,
                                      .topic      = bytes_str("a/b"),
                                      .payload    = bytes_str("x"),
                                      .properties = bytes_str("\x01\x01")};
    struct mqtt_packet   general   = {.type    = MQTT_PUBLISH,
                                      .publish = {.qos = 2, .packet_id = 7, .topic = hot.topic, .payload = hot.payload}};
    general.publish.properties.raw = hot.properties;
    size_t size                    = mqtt_publish_size(&hot);
    cr_assert_eq(size, mqtt_encode_size(MQTT_V5, &general));
    mqtt_publish_write(&hot, a, NULL);
    mqtt_encode(MQTT_V5, &general, b);
    cr_assert_arr_eq(a, b, size);
}

Test(mqtt_encode, remaining_length_grows_by_a_byte_at_the_edges)
{
    static const uint32_t edges[] = {0, 127, 128, 16383, 16384, 2097151, 2097152, MQTT_REMAINING_MAX};
    for (size_t i = 0; i < sizeof edges / sizeof *edges; i++) {
        uint8_t  room[4];
        uint32_t value;
        size_t   size = (size_t)(mqtt_varint_write(room, edges[i]) - room);
        cr_assert_eq(size, mqtt_varint_size(edges[i]));
        cr_assert_eq(mqtt_varint_read(bytes_of(room, size), &value), (int)size);
        cr_assert_eq(value, edges[i]);
        for (size_t cut = 0; cut < size; cut++) {
            cr_assert_eq(mqtt_varint_read(bytes_of(room, cut), &value), 0);
        }
    }
}
