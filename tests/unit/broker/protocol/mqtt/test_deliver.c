#include "broker/protocol/mqtt/alias.h"
#include "broker/protocol/mqtt/ids.h"
#include "tests/unit/broker/protocol/mqtt/rig.h"

static enum deliver_result deliver(struct rig *rig, struct message *message, uint8_t qos, uint16_t id)
{
    struct delivery d = {.message = message, .qos = qos, .id = id};
    return rig->fake.client->ops->deliver(rig->fake.client, &d);
}

static void uncache(struct rig *rig, struct message *message)
{
    if (message->cache != NULL) {
        rig->fake.client->ops->uncache(message->cache);
        message->cache = NULL;
    }
}

static struct message message_of(const char *topic, const char *payload)
{
    return (struct message){.topic = bytes_str(topic), .payload = bytes_str(payload)};
}

Test(mqtt_deliver, a_message_is_encoded_for_the_version)
{
    struct message m   = message_of("t/1", "hi");
    struct rig    *rig = rig_connected(4);
    m.properties       = bytes_str("\x01\x01");
    m.expires_wall_ns  = 1010 * RIG_SECOND_NS;
    cr_assert_eq(deliver(rig, &m, 1, 0x1234), DELIVER_OK);
    uncache(rig, &m);
    rig_expect(rig, "32 09 0003't/1' 1234 'hi'");
    rig_free(rig);

    rig = rig_connected(5);
    rig_advance(rig, 3 * RIG_SECOND_NS + 1);
    cr_assert_eq(deliver(rig, &m, 0, 0), DELIVER_OK);
    uncache(rig, &m);
    rig_expect(rig, "30 0f 0003't/1' 07 02 00000007 0101 'hi'");
    rig_free(rig);
}

Test(mqtt_deliver, retain_dup_and_subscription_ids_are_written)
{
    struct message  m   = message_of("t", "x");
    struct rig     *rig = rig_connected(5);
    struct delivery d   = {.message               = &m,
                           .qos                   = 2,
                           .id                    = 7,
                           .retain                = true,
                           .duplicate             = true,
                           .subscription_id_count = 2,
                           .subscription_ids      = (const uint32_t[]){1, 200}};
    cr_assert_eq(rig->fake.client->ops->deliver(rig->fake.client, &d), DELIVER_OK);
    rig_expect(rig, "3d 0c 0001't' 0007 05 0b01 0bc801 'x'");
    cr_assert_null(m.cache);
    rig_free(rig);
}

/* Delivers the same message to n clients (here one client, n times) and checks that every copy is the first with its own id. */
static void fan_out(int version, size_t payload_bytes, uint8_t qos)
{
    char *payload = malloc(payload_bytes);
    memset(payload, 'p', payload_bytes);
    struct message m     = {.topic = bytes_str("to/pic"), .payload = bytes_of(payload, payload_bytes)};
    struct rig    *rig   = rig_connected(version);
    size_t         room  = payload_bytes + 64;
    uint8_t       *first = malloc(room);
    uint8_t       *next  = malloc(room);
    size_t         size  = 0;
    for (uint16_t i = 1; i <= 4; i++) {
        cr_assert_eq(deliver(rig, &m, qos, qos == 0 ? 0 : (uint16_t)(0x0100 + i)), DELIVER_OK);
        size_t got = rig_output(rig, i == 1 ? first : next, room);
        if (i == 1) {
            size = got;
            continue;
        }
        cr_assert_eq(got, size);
        if (qos > 0) {
            size_t id = size - payload_bytes - (version == 5 ? 3 : 2);
            cr_assert_eq(next[id + 1], i);
            next[id + 1] = 1;
        }
        cr_assert_arr_eq(first, next, size);
    }
    uncache(rig, &m);
    rig_free(rig);
    free(first);
    free(next);
    free(payload);
}

Test(mqtt_deliver, a_fan_out_repeats_the_packet_with_its_own_packet_id)
{
    static const size_t sizes[] = {1, 100, 2030, 2048, 3000, 16300, 16384, 20000, 200000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (uint8_t qos = 0; qos < 3; qos++) {
            fan_out(4, sizes[i], qos);
            fan_out(5, sizes[i], qos);
        }
    }
}

Test(mqtt_deliver, variants_of_one_message_do_not_mix)
{
    struct message m   = message_of("t", "x");
    struct rig    *rig = rig_connected(5);
    for (int round = 0; round < 3; round++) {
        for (uint8_t qos = 0; qos < 3; qos++) {
            for (int retain = 0; retain < 2; retain++) {
                struct delivery d = {.message = &m, .qos = qos, .id = qos == 0 ? 0 : 9, .retain = retain != 0};
                char            want[64];
                cr_assert_eq(rig->fake.client->ops->deliver(rig->fake.client, &d), DELIVER_OK);
                snprintf(want, sizeof want, "%02x %s 0001't' %s 00 'x'", 0x30 | qos << 1 | retain,
                         qos == 0 ? "05" : "07", qos == 0 ? "" : "0009");
                rig_expect(rig, want);
            }
        }
    }
    uncache(rig, &m);
    rig_free(rig);
}

Test(mqtt_deliver, what_is_over_the_clients_maximum_packet_size_is_left_out)
{
    struct rig *rig = rig_new();
    rig_send(rig, "10 13 0004'MQTT' 05 02 000a 05 27 00000014 0001'c'");
    rig_drop_output(rig);
    struct message m = message_of("topic", "payloadpayl"); /* 21 bytes */
    cr_assert_eq(deliver(rig, &m, 0, 0), DELIVER_TOO_BIG);
    cr_assert_eq(deliver(rig, &m, 0, 0), DELIVER_TOO_BIG);
    uncache(rig, &m);
    rig_expect(rig, "");
    struct message fits = message_of("topic", "payloadpay");
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(deliver(rig, &fits, 0, 0), DELIVER_OK);
        rig_expect(rig, "30 12 0005'topic' 00 'payloadpay'");
    }
    uncache(rig, &fits);
    rig_free(rig);
}

Test(mqtt_deliver, a_full_output_refuses_until_it_is_writable)
{
    struct rig *rig              = rig_connected(4);
    rig->limits.output_max_bytes = 20;
    struct message m             = message_of("t", "0123456789");
    cr_assert_eq(deliver(rig, &m, 0, 0), DELIVER_OK);
    cr_assert_eq(deliver(rig, &m, 0, 0), DELIVER_OK);
    cr_assert_eq(deliver(rig, &m, 0, 0), DELIVER_FULL);
    uncache(rig, &m);
    mqtt_conn_writable(rig->conn);
    cr_assert_eq(rig_count(rig, "writable"), 0);
    rig_drop_output(rig);
    mqtt_conn_writable(rig->conn);
    mqtt_conn_writable(rig->conn);
    cr_assert_eq(rig_count(rig, "writable"), 1);
    rig_free(rig);
}

Test(mqtt_deliver, aliases_are_told_once_and_the_oldest_makes_room)
{
    struct rig *rig = rig_new();
    rig_send(rig, "10 11 0004'MQTT' 05 02 000a 03 22 0002 0001'c'");
    rig_drop_output(rig);
    struct message one   = message_of("topic/1", "x");
    struct message two   = message_of("topic/2", "x");
    struct message three = message_of("topic/3", "x");
    deliver(rig, &one, 0, 0);
    rig_expect(rig, "30 0e 0007'topic/1' 03 230001 'x'");
    deliver(rig, &two, 1, 5);
    rig_expect(rig, "32 10 0007'topic/2' 0005 03 230002 'x'");
    deliver(rig, &one, 1, 6);
    rig_expect(rig, "32 09 0000 0006 03 230001 'x'");
    deliver(rig, &three, 0, 0); /* in the place of topic/2 */
    rig_expect(rig, "30 0e 0007'topic/3' 03 230002 'x'");
    deliver(rig, &one, 0, 0);
    rig_expect(rig, "30 07 0000 03 230001 'x'");
    deliver(rig, &two, 0, 0); /* in the place of topic/3 */
    rig_expect(rig, "30 0e 0007'topic/2' 03 230002 'x'");
    cr_assert_null(one.cache);
    rig_free(rig);
}

Test(mqtt_deliver, an_alias_that_was_not_told_for_want_of_room_is_told_later)
{
    struct rig *rig = rig_new();
    rig_send(rig, "10 11 0004'MQTT' 05 02 000a 03 22 0002 0001'c'");
    rig_drop_output(rig);
    struct message    one   = message_of("topic/1", "x");
    struct outq_pool *empty = outq_pool_new(0);
    rig->out.pool           = empty;
    cr_assert_eq(deliver(rig, &one, 0, 0), DELIVER_FULL);
    rig->out.pool = rig->pool;
    outq_pool_free(empty);
    cr_assert_eq(deliver(rig, &one, 0, 0), DELIVER_OK);
    rig_expect(rig, "30 0e 0007'topic/1' 03 230001 'x'");
    rig_free(rig);
}

Test(mqtt_deliver, no_memory_for_a_reply_closes_the_client)
{
    struct rig       *rig   = rig_connected(4);
    struct outq_pool *empty = outq_pool_new(0);
    rig->out.pool           = empty;
    rig_send(rig, "c0 00 c0 00");
    cr_assert(!rig_closed(rig));
    mqtt_conn_turn(&rig->env);
    cr_assert(rig_closed(rig));
    rig->out.pool = rig->pool;
    outq_pool_free(empty);
    rig_free(rig);
}

Test(mqtt_deliver, a_set_of_packet_ids_keeps_what_was_added_and_not_removed)
{
    struct mqtt_ids ids = {0};
    static bool     in[65536];
    uint32_t        seed = 1;
    for (int i = 0; i < 200000; i++) {
        seed        = seed * 1664525 + 1013904223;
        uint16_t id = (uint16_t)((seed >> 8) % 3000 * 7 + 1);
        cr_assert_eq(mqtt_ids_has(&ids, id), in[id]);
        if ((seed >> 4) % 3 != 0) {
            cr_assert_eq(mqtt_ids_add(&ids, id), 0);
            in[id] = true;
        } else {
            mqtt_ids_remove(&ids, id);
            in[id] = false;
        }
    }
    for (uint32_t id = 1; id < 65536; id++) {
        cr_assert_eq(mqtt_ids_has(&ids, (uint16_t)id), in[id]);
        mqtt_ids_remove(&ids, (uint16_t)id);
    }
    cr_assert(ids.count == 0 && ids.slots == NULL);
}
