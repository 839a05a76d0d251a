#include "tests/unit/broker/protocol/mqtt/rig.h"

Test(mqtt_subscribe, options_reach_the_kernel_and_codes_come_back_in_order)
{
    struct rig *rig = rig_connected(5);
    rig_send(rig, "82 0f 0001 02 0b07 0001'a' 00 0003'b/#' 1e");
    rig_expect(rig, "90 05 0001 00 00 02");
    const struct subscription *s = &rig->fake.subscriptions[1];
    cr_assert(s->qos == 2 && s->no_local && s->retain_as_published && s->retain_handling == 1 && s->id == 7);
    rig_send(rig, "a2 0b 0002 00 0001'a' 0003'b/#'");
    rig_expect(rig, "b0 05 0002 00 00 11");
    rig_free(rig);

    rig = rig_connected(4);
    rig_send(rig, "82 06 0001 0001'a' 01 a2 05 0002 0001'a'");
    rig_expect(rig, "90 03 0001 01 b0 02 0002");
    rig_free(rig);
}

Test(mqtt_subscribe, refusals_have_the_code_of_the_version)
{
    static const struct {
        int         status;
        const char *v5;
    } cases[] = {
        {ERR_DENIED, "90 04 0001 00 87"}, {ERR_QUOTA, "90 04 0001 00 97"}, {ERR_UNAVAILABLE, "90 04 0001 00 80"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rig *rig  = rig_connected(5);
        rig->fake.status = cases[i].status;
        rig_send(rig, "82 07 0001 00 0001'a' 01");
        rig_expect(rig, cases[i].v5);
        rig_free(rig);
        rig              = rig_connected(4);
        rig->fake.status = cases[i].status;
        rig_send(rig, "82 06 0001 0001'a' 01");
        rig_expect(rig, "90 03 0001 80");
        rig_free(rig);
    }
}

Test(mqtt_subscribe, what_is_not_available_is_not_asked_for)
{
    struct rig *rig                       = rig_connected(5);
    rig->limits.shared_available          = false;
    rig->limits.wildcard_available        = false;
    rig->limits.subscription_id_available = false;
    rig_send(rig, "82 18 0001 00 000a'$share/g/t' 00 0001'a' 01 0001'#' 02");
    rig_expect(rig, "90 06 0001 00 9e 01 a2");
    rig_send(rig, "82 07 0002 00 0001'#' 00");
    rig_expect(rig, "90 04 0002 00 a2");
    cr_assert_eq(rig_count(rig, "subscribe"), 1);
    rig_send(rig, "82 09 0003 02 0b01 0001'a' 00");
    rig_expect(rig, "e0 01 a1");
    rig_free(rig);
}

Test(mqtt_subscribe, granted_qos_is_at_most_the_maximum)
{
    struct rig *rig     = rig_connected(4);
    rig->limits.qos_max = 1;
    rig_send(rig, "82 06 0001 0001'a' 02");
    rig_expect(rig, "90 03 0001 01");
    rig_free(rig);
}

Test(mqtt_subscribe, a_bridge_gets_no_messages_of_its_own_and_retain_as_published)
{
    struct rig *rig = rig_new();
    rig_send(rig, "10 0d 0004'MQTT' 84 02 000a 0001'c'");
    rig_drop_output(rig);
    rig_send(rig, "82 06 0001 0001'a' 01");
    cr_assert(rig->fake.subscriptions[0].no_local && rig->fake.subscriptions[0].retain_as_published);
    rig_free(rig);
}

static void subscribe_many(struct rig *rig, uint32_t count, uint8_t code)
{
    size_t   body = 3 + count * 6;
    uint8_t *data = malloc(body + 4);
    size_t   size = 0;
    data[size++]  = 0x82;
    data[size++]  = (uint8_t)(body | 0x80);
    data[size++]  = (uint8_t)(body >> 7);
    size += hex_parse("0001 00", data + size, 16);
    for (uint32_t i = 0; i < count; i++) {
        data[size++] = 0;
        data[size++] = 3;
        size += (size_t)snprintf((char *)data + size, 5, "%03x", i);
        data[size++] = 1;
    }
    cr_assert_eq(size, body + 3);
    rig_receive(rig, data, size);
    free(data);
    uint8_t out[2048];
    size_t  got = rig_output(rig, out, sizeof out);
    cr_assert_eq(got, 1 + 2 + 3 + count);
    for (uint32_t i = 0; i < count; i++) {
        cr_assert_eq(out[6 + i], code);
    }
}

Test(mqtt_subscribe, more_filters_than_the_kernel_takes_at_once_get_one_reply)
{
    struct rig *rig = rig_connected(5);
    subscribe_many(rig, 256, 1);
    cr_assert_eq(rig_count(rig, "subscribe"), 1);
    subscribe_many(rig, 600, 1);
    cr_assert_eq(rig_count(rig, "subscribe"), 4);
    rig_free(rig);
}

Test(mqtt_subscribe, replies_may_come_late_and_in_any_order_and_are_bounded)
{
    struct rig *rig   = rig_connected(5);
    rig->fake.answers = false;
    int one           = 1;
    int two           = 2;
    rig_send(rig, "82 07 0001 00 0001'a' 02 82 07 0002 00 0001'b' 02 a2 06 0001 00 0001'a'");
    rig_expect(rig, "");
    rig->fake.client->ops->subscribed(rig->fake.client, 2, &two, 1);
    rig_expect(rig, "90 04 0002 00 02");
    rig_send(rig, "82 07 0001 00 0001'a' 02");
    rig_expect(rig, "90 04 0001 00 91");
    rig->fake.client->ops->unsubscribed(rig->fake.client, 1, (int[]){0}, 1);
    rig->fake.client->ops->subscribed(rig->fake.client, 1, &one, 1);
    rig_expect(rig, "b0 04 0001 00 00 90 04 0001 00 01");
    for (int i = 1; i <= 40; i++) {
        char text[64];
        snprintf(text, sizeof text, "82 07 %04x 00 0001'a' 02", i);
        rig_send(rig, text);
    }
    cr_assert_eq(rig_count(rig, "subscribe"), 2 + 32);
    rig->fake.client->ops->subscribed(rig->fake.client, 5, &one, 1);
    rig_advance(rig, 1);
    cr_assert_eq(rig_count(rig, "subscribe"), 2 + 33);
    rig_free(rig); /* with replies that never come */
}
