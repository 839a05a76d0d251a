/* A bridge between the kernel over real stripes and another broker that is played by the test, packet by packet. */
#include "broker/bridge/bridge.h"
#include "broker/protocol/mqtt/decode.h"
#include "broker/protocol/mqtt/encode.h"
#include "tests/unit/broker/kernel/stage.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static struct fake_world *world;
static struct broker     *stage;
static struct actor      *ann;
static struct bridge     *b;
static struct outq_pool  *chunks;
static struct list        dirty;
static struct outq        out;
static int                connects;
static int                closes;
static bool               receiving;
static uint8_t            taken[1 << 20]; /* what the bridge sent: packets are views into it */
static size_t             taken_size;

static void on_connect(void *ctx)
{
    (void)ctx;
    connects++;
}
static void on_close(void *ctx)
{
    (void)ctx;
    closes++;
    outq_fini(&out);
    outq_init(&out, chunks, &dirty);
}
static void on_receiving(void *ctx, bool on)
{
    (void)ctx;
    receiving = on;
}
static uint64_t on_random(void *ctx)
{
    (void)ctx;
    return 0;
}

static uint64_t steady(void)
{
    return fake_world_wall_ns(world) - 1600000000ull * 1000000000ull;
}

static void turn(void)
{
    settle(stage);
    bridge_begin(b, steady(), fake_world_wall_ns(world));
    timer_expire(stage->timers[0], steady());
    bridge_turn(b);
    settle(stage);
    bridge_turn(b);
    settle(stage);
}

static void pass_ms(uint64_t ms)
{
    fake_world_advance(world, ms * 1000000);
    turn();
}

static void up(const char *text)
{
    static struct bridge_spec spec;
    char                      why[256];
    const struct bridge_port  port = {
         .connect = on_connect, .close = on_close, .receiving = on_receiving, .random = on_random};
    world = fake_world_new(STAGE_STRIPES, 0);
    stage = broker_new(world, 1, NULL);
    ann   = actor_new("ann");
    enter(stage, 0, ann, true, 0);
    chunks = outq_pool_new(1 << 24);
    list_init(&dirty);
    outq_init(&out, chunks, &dirty);
    connects = closes = 0;
    receiving         = true;
    cr_assert_eq(bridge_spec_read(bytes_str("b"), bytes_str(text), &spec, why, sizeof why), 0, "%s", why);
    b = bridge_new(stage->kernels[0], stage->timers[0], &out, &port, bytes_str("b"), &spec);
}

static void down(void)
{
    bridge_stop(b);
    settle(stage);
    bridge_free(b);
    outq_fini(&out);
    outq_pool_free(chunks);
    broker_kill(stage);
    fake_world_free(world);
    actor_free(ann);
}

/* The next packet that the bridge sent; type 0: none. */
static struct mqtt_packet sent(void)
{
    struct iovec       iov[64];
    struct mqtt_packet packet = {0};
    struct mqtt_frame  frame;
    int                count = outq_gather(&out, iov, 64);
    size_t             size  = 0;
    for (int i = 0; i < count; i++) {
        memcpy(taken + taken_size + size, iov[i].iov_base, iov[i].iov_len);
        size += iov[i].iov_len;
    }
    if (mqtt_frame_read(bytes_of(taken + taken_size, size), &frame) <= 0) {
        return packet;
    }
    struct bytes      body  = bytes_of(taken + taken_size + frame.header_bytes, frame.body_bytes);
    struct mqtt_fault fault = mqtt_decode((enum mqtt_version)b->spec.version, MQTT_FROM_CLIENT, frame, body, &packet);
    cr_assert(fault.why == NULL, "%s", fault.why);
    outq_consume(&out, mqtt_frame_bytes(frame));
    taken_size += mqtt_frame_bytes(frame);
    cr_assert_lt(taken_size, sizeof taken / 2);
    return packet;
}

static void tell(struct mqtt_packet packet)
{
    uint8_t bytes[1024];
    size_t  size = mqtt_encode_size((enum mqtt_version)b->spec.version, &packet);
    cr_assert_leq(size, sizeof bytes);
    mqtt_encode((enum mqtt_version)b->spec.version, &packet, bytes);
    for (size_t at = 0; at < size; at += 3) { /* in pieces, as a network may */
        bridge_receive(b, bytes_of(bytes + at, size - at < 3 ? size - at : 3));
    }
    turn();
}

static void tell_ack(uint8_t type, uint16_t id)
{
    tell((struct mqtt_packet){.type = type, .ack = {.packet_id = id}});
}

static void come(bool present)
{
    for (int i = 0; i < 100 && b->state == BRIDGE_AWAY; i++) {
        pass_ms(500);
    }
    cr_assert_eq(b->state, BRIDGE_CONNECTING);
    bridge_connected(b);
    struct mqtt_packet hello = sent();
    cr_assert(hello.type == MQTT_CONNECT && !hello.connect.clean_start);
    tell((struct mqtt_packet){.type = MQTT_CONNACK, .connack = {.session_present = present}});
    cr_assert_eq(b->state, BRIDGE_UP);
    cr_assert(receiving);
}

Test(bridge, out_goes_with_the_kernels_ids_and_again_until_it_is_acknowledged)
{
    up("address=h\ntopic=o/# out 2 \"\" far/\n");
    come(false);
    say(stage, 0, ann, "o/1", "one", 1, 1);
    say(stage, 0, ann, "o/2", "two", 2, 2);
    say(stage, 0, ann, "p", "no", 1, 3);
    turn();
    struct mqtt_packet one = sent();
    struct mqtt_packet two = sent();
    cr_assert(one.type == MQTT_PUBLISH && one.publish.qos == 1 && !one.publish.duplicate);
    cr_assert(bytes_equal(one.publish.topic, bytes_str("far/o/1")) &&
              bytes_equal(one.publish.payload, bytes_str("one")));
    cr_assert(two.publish.qos == 2 && sent().type == 0);
    tell_ack(MQTT_PUBREC, two.publish.packet_id);
    cr_assert_eq(sent().type, MQTT_PUBREL);
    bridge_lost(b, "test");
    say(stage, 0, ann, "o/3", "three", 1, 4); /* nobody is there */
    turn();
    come(true);
    struct mqtt_packet again[3] = {sent(), sent(), sent()};
    cr_assert(again[0].type == MQTT_PUBREL && again[0].ack.packet_id == two.publish.packet_id);
    cr_assert(again[1].publish.duplicate && again[1].publish.packet_id == one.publish.packet_id);
    cr_assert(bytes_equal(again[2].publish.payload, bytes_str("three")) && !again[2].publish.duplicate);
    tell_ack(MQTT_PUBACK, again[1].publish.packet_id);
    tell_ack(MQTT_PUBCOMP, two.publish.packet_id);
    tell_ack(MQTT_PUBACK, again[2].publish.packet_id);
    bridge_lost(b, "test");
    come(true);
    cr_assert_eq(sent().type, 0); /* all of it was acknowledged */
    down();
}

Test(bridge, what_comes_in_is_acknowledged_when_it_is_kept_and_not_sent_back)
{
    up("address=h\ntopic=i/# both 2\nversion=4\n");
    come(false);
    struct mqtt_packet sub = sent();
    cr_assert(sub.type == MQTT_SUBSCRIBE && sub.subscribe.count == 1);
    follow(stage, 0, ann, "#", 2);
    tell((struct mqtt_packet){
        .type    = MQTT_PUBLISH,
        .publish = {.qos = 2, .packet_id = 9, .topic = bytes_str("i/x"), .payload = bytes_str("p")}});
    struct mqtt_packet rec = sent();
    cr_assert(rec.type == MQTT_PUBREC && rec.ack.packet_id == 9);
    tell((struct mqtt_packet){
        .type    = MQTT_PUBLISH,
        .publish = {
            .qos = 2, .duplicate = true, .packet_id = 9, .topic = bytes_str("i/x"), .payload = bytes_str("p")}});
    cr_assert_eq(sent().type, MQTT_PUBREC);
    tell_ack(MQTT_PUBREL, 9);
    cr_assert_eq(sent().type, MQTT_PUBCOMP);
    cr_assert_eq(sent().type, 0);
    int copies = 0;
    for (int i = 0; i < ann->got_count; i++) {
        copies += strcmp(ann->gots[i].payload, "p") == 0;
    }
    cr_assert_eq(copies, 1);
    fake_world_refuse_appends(world, -1);
    down();
}

/* A message of so many bytes in all, and then a small one, in pieces that end anywhere. */
static void tell_big(uint8_t qos, uint32_t size, uint32_t piece)
{
    uint8_t           *bytes = calloc(1, size + 64);
    struct mqtt_packet big   = {.type    = MQTT_PUBLISH,
                                .publish = {.qos       = qos,
                                            .packet_id = 7,
                                            .topic     = bytes_str("i/big"),
                                            .payload   = bytes_of(bytes, size - 14 + (qos == 0 ? 2 : 0))}};
    struct mqtt_packet small = {
        .type    = MQTT_PUBLISH,
        .publish = {.qos = 1, .packet_id = 8, .topic = bytes_str("i/x"), .payload = bytes_str("small")}};
    size_t   first = mqtt_encode_size(MQTT_V311, &big);
    size_t   last  = mqtt_encode_size(MQTT_V311, &small);
    uint8_t *sum   = malloc(first + last);
    mqtt_encode(MQTT_V311, &big, sum);
    mqtt_encode(MQTT_V311, &small, sum + first);
    for (size_t at = 0; at < first + last && b->state == BRIDGE_UP; at += piece) {
        bridge_receive(b, bytes_of(sum + at, first + last - at < piece ? first + last - at : piece));
    }
    turn();
    free(sum);
    free(bytes);
}

Test(bridge, a_message_that_is_too_long_is_passed_over_and_what_follows_is_taken)
{
    up("address=h\ntopic=i/# in 2\nversion=4\n");
    come(false);
    cr_assert_eq(sent().type, MQTT_SUBSCRIBE);
    follow(stage, 0, ann, "i/#", 0);
    static const uint32_t pieces[] = {1 << 16, 4 << 20, 1 << 23, 70001};
    for (unsigned i = 0; i < 4; i++) {
        for (uint8_t qos = 0; qos < 3; qos++) {
            tell_big(qos, (4u << 20) + 1 + i * 100000, pieces[i]);
            if (qos != 0) {
                struct mqtt_packet ack = sent();
                cr_assert(ack.type == (qos == 1 ? MQTT_PUBACK : MQTT_PUBREC) && ack.ack.packet_id == 7);
            }
            struct mqtt_packet ack = sent();
            cr_assert(ack.type == MQTT_PUBACK && ack.ack.packet_id == 8, "%u", ack.type);
            if (qos == 2) {
                tell_ack(MQTT_PUBREL, 7);
                cr_assert_eq(sent().type, MQTT_PUBCOMP);
            }
            cr_assert(heard(ann, "small"));
            actor_clear(ann);
        }
    }
    cr_assert(b->counters.dropped == 12 && closes == 0);
    down();
}

Test(bridge, a_message_of_4_MiB_is_taken)
{
    up("address=h\ntopic=i/# in 2\nversion=4\n");
    come(false);
    cr_assert_eq(sent().type, MQTT_SUBSCRIBE);
    follow(stage, 0, ann, "i/#", 0);
    tell_big(1, 4u << 20, 1 << 16);
    cr_assert(ann->got_count == 2 && b->counters.dropped == 0);
    down();
}

Test(bridge, a_broker_that_sends_more_than_it_was_told_it_may_is_left)
{
    up("address=h\ntopic=i/# in 1\n");
    for (int i = 0; i < 100 && b->state == BRIDGE_AWAY; i++) {
        pass_ms(500);
    }
    bridge_connected(b);
    struct mqtt_packet hello = sent();
    cr_assert_eq(hello.connect.properties.maximum_packet_size, 4u << 20);
    tell((struct mqtt_packet){.type = MQTT_CONNACK});
    tell_big(1, (4u << 20) + 1, 1 << 16);
    cr_assert(b->state == BRIDGE_AWAY && closes == 1);
    cr_assert_not_null(strstr(bridge_why(b), "4 MiB"));
    down();
}

Test(bridge, messages_queue_before_the_other_broker_was_ever_there)
{
    up("address=h\ntopic=o out 1\n");
    for (int i = 0; i < 20 && connects == 0; i++) {
        pass_ms(100);
    }
    bridge_lost(b, "refused");
    say(stage, 0, ann, "o", "early", 1, 1);
    turn();
    come(false);
    cr_assert(bytes_equal(sent().publish.payload, bytes_str("early")));
    down();
}

Test(bridge, a_silent_broker_is_pinged_and_then_left)
{
    up("address=h\ntopic=o out 1\nkeep_alive=10\n");
    come(false);
    int pings = 0;
    for (int i = 0; i < 30 && closes == 0; i++) {
        pass_ms(1000);
        pings += sent().type == MQTT_PINGREQ;
    }
    cr_assert(closes == 1 && pings >= 1 && b->state == BRIDGE_AWAY);
    int before = connects;
    for (int i = 0; i < 20; i++) {
        pass_ms(1000);
    }
    cr_assert_gt(connects, before);
    down();
}

Test(bridge, garbage_and_refusals_end_the_connection)
{
    up("address=h\ntopic=o out 1\n");
    come(false);
    bridge_receive(b, bytes_of("\x00\xff\xff\xff\xff\xff", 6));
    turn();
    cr_assert(closes == 1 && b->state == BRIDGE_AWAY);
    for (int i = 0; i < 100 && b->state == BRIDGE_AWAY; i++) {
        pass_ms(500);
    }
    bridge_connected(b);
    (void)sent();
    tell((struct mqtt_packet){.type = MQTT_CONNACK, .connack = {.reason_code = 0x87}});
    cr_assert(closes == 2 && b->state == BRIDGE_AWAY);
    down();
}

Test(bridge, why_it_is_away_is_told_until_it_is_up_again)
{
    up("address=h\ntopic=o out 1\n");
    cr_assert_str_eq(bridge_why(b), "");
    come(false);
    cr_assert_str_eq(bridge_why(b), "");
    bridge_lost(b, "the cable was cut");
    cr_assert_str_eq(bridge_why(b), "the cable was cut");
    for (int i = 0; i < 100 && b->state == BRIDGE_AWAY; i++) {
        pass_ms(500);
    }
    bridge_connected(b);
    (void)sent();
    tell((struct mqtt_packet){.type = MQTT_CONNACK, .connack = {.reason_code = 0x87}});
    cr_assert_str_eq(bridge_why(b), "the connection was refused with reason code 0x87");
    come(false);
    cr_assert_str_eq(bridge_why(b), "");
    down();
}
