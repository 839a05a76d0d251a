#include "tests/unit/broker/protocol/mqtt/rig.h"

Test(mqtt_publish, qos_1_and_2_are_answered_in_the_words_of_the_version)
{
    for (int version = 4; version <= 5; version++) {
        struct rig *rig = rig_connected(version);
        rig_send(rig, version == 5 ? "32 07 0001't' 1234 00 'x'" : "32 06 0001't' 1234 'x'");
        cr_assert_str_eq(rig_last(rig)->text, "t=x q1");
        rig_expect(rig, "40 02 1234");
        rig->fake.matched = false;
        rig_send(rig, version == 5 ? "33 07 0001't' 1234 00 'x'" : "33 06 0001't' 1234 'x'");
        cr_assert_str_eq(rig_last(rig)->text, "t=x q1 r");
        rig_expect(rig, version == 5 ? "40 03 1234 10" : "40 02 1234");
        rig_send(rig, version == 5 ? "34 07 0001't' 0007 00 'x'" : "34 06 0001't' 0007 'x'");
        rig_expect(rig, version == 5 ? "50 03 0007 10" : "50 02 0007");
        rig_send(rig, "62 02 0007");
        rig_expect(rig, "70 02 0007");
        rig->fake.status = ERR_NOT_FOUND;
        rig_send(rig, "62 02 0008");
        rig_expect(rig, version == 5 ? "70 03 0008 92" : "70 02 0008");
        rig_free(rig);
    }
}

Test(mqtt_publish, what_cannot_be_kept_is_refused_in_5_and_closes_before)
{
    static const struct {
        int         status;
        const char *answer;
    } cases[] = {{ERR_QUOTA, "40 03 0001 97"},
                 {ERR_DISK_FULL, "40 03 0001 97"},
                 {ERR_TOO_BIG, "40 03 0001 97"},
                 {ERR_UNAVAILABLE, "40 03 0001 80"},
                 {ERR_DENIED, "40 03 0001 87"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rig *rig  = rig_connected(5);
        rig->fake.status = cases[i].status;
        rig_send(rig, "32 06 0001't' 0001 00");
        rig_expect(rig, cases[i].answer);
        rig_free(rig);

        rig              = rig_connected(4);
        rig->fake.status = cases[i].status;
        rig_send(rig, "32 05 0001't' 0001 c0 00");
        rig_advance(rig, 1);
        bool denied = cases[i].status == ERR_DENIED;
        rig_expect(rig, denied ? "40 02 0001 d0 00" : "");
        cr_assert_eq(rig_closed(rig), !denied);
        rig_free(rig);
    }
}

Test(mqtt_publish, acknowledgements_go_to_the_kernel)
{
    struct rig *rig = rig_connected(5);
    rig_send(rig, "40 02 0001");
    cr_assert_str_eq(rig_last(rig)->what, "taken");
    rig_send(rig, "40 03 0002 80");
    cr_assert(strcmp(rig_last(rig)->what, "taken") == 0 && rig_last(rig)->id == 2);
    rig_send(rig, "50 02 0003");
    cr_assert_str_eq(rig_last(rig)->what, "received");
    rig_expect(rig, "62 02 0003");
    rig_send(rig, "50 03 0004 87");
    cr_assert_str_eq(rig_last(rig)->what, "refused");
    rig_expect(rig, "");
    rig_send(rig, "70 02 0003");
    cr_assert_str_eq(rig_last(rig)->what, "released");
    rig->fake.received_status = ERR_NOT_FOUND;
    rig_send(rig, "50 02 0009");
    rig_expect(rig, "62 03 0009 92");
    rig->fake.done_status = ERR_CONFLICT; /* it waits for something else */
    rig_send(rig, "40 02 0005");
    rig_expect(rig, "e0 01 82");
    cr_assert(rig_closed(rig));
    rig_free(rig);
}

Test(mqtt_publish, receive_maximum_counts_what_is_unanswered)
{
    struct rig *rig         = rig_connected(5);
    rig->limits.receive_max = 2;
    rig->fake.answers       = false;
    rig_send(rig, "32 06 0001't' 0001 00  34 06 0001't' 0002 00");
    cr_assert(!rig_closed(rig));
    rig->fake.client->ops->published(rig->fake.client, 1, 1, 0, true);
    rig->fake.client->ops->published(rig->fake.client, 2, 2, 0, true);
    rig_expect(rig, "40 02 0001 50 02 0002");
    for (int i = 0; i < 5; i++) { /* a QoS 2 publish that comes again counts once */
        rig_send(rig, "3c 06 0001't' 0002 00");
        rig->fake.client->ops->published(rig->fake.client, 2, 2, 0, true);
        rig_expect(rig, "50 02 0002");
    }
    rig_send(rig, "62 02 0002");
    rig->fake.client->ops->publish_released(rig->fake.client, 2, 0);
    rig_expect(rig, "70 02 0002");
    rig_send(rig, "32 06 0001't' 0001 00  34 06 0001't' 0002 00 c0 00");
    rig_expect(rig, "d0 00");
    cr_assert(!rig_closed(rig));
    rig_send(rig, "34 06 0001't' 0003 00");
    rig_expect(rig, "e0 01 93");
    cr_assert(rig_closed(rig));
    rig_free(rig);

    rig                     = rig_connected(4);
    rig->limits.receive_max = 2;
    rig->fake.answers       = false;
    rig_send(rig, "32 05 0001't' 0001 32 05 0001't' 0002 32 05 0001't' 0003");
    cr_assert(!rig_closed(rig) && rig_count(rig, "publish") == 3);
    rig_free(rig);
}

Test(mqtt_publish, a_refused_qos_2_publish_is_not_counted_any_more)
{
    struct rig *rig         = rig_connected(5);
    rig->limits.receive_max = 1;
    rig->fake.status        = ERR_QUOTA;
    rig_send(rig, "34 06 0001't' 0001 00 34 06 0001't' 0002 00");
    rig_expect(rig, "50 03 0001 97 50 03 0002 97");
    rig_free(rig);
}

Test(mqtt_publish, limits_on_qos_and_retain)
{
    struct rig *rig     = rig_connected(5);
    rig->limits.qos_max = 1;
    rig_send(rig, "34 06 0001't' 0001 00");
    rig_expect(rig, "e0 01 9b");
    rig_free(rig);
    rig                          = rig_connected(5);
    rig->limits.retain_available = false;
    rig_send(rig, "31 04 0001't' 00");
    rig_expect(rig, "e0 01 9a");
    rig_free(rig);
}

Test(mqtt_publish, topic_aliases_are_set_used_and_changed)
{
    struct rig *rig = rig_connected(5);
    rig_send(rig, "30 0a 0003'one' 03 230001 'a'");
    cr_assert_str_eq(rig_last(rig)->text, "one=a q0");
    rig_send(rig, "30 07 0000 03 230001 'b'");
    cr_assert_str_eq(rig_last(rig)->text, "one=b q0");
    rig_send(rig, "30 0a 0003'two' 03 230001 'c' 30 0a 0003'new' 03 230020 'd'");
    rig_send(rig, "30 07 0000 03 230001 'e'");
    cr_assert_str_eq(rig_last(rig)->text, "two=e q0");
    rig_send(rig, "30 07 0000 03 230020 'f'");
    cr_assert_str_eq(rig_last(rig)->text, "new=f q0");
    rig_send(rig, "30 07 0000 03 230002 'g'");
    rig_expect(rig, "e0 01 82");
    rig_free(rig);
}

Test(mqtt_publish, properties_travel_without_expiry_and_alias)
{
    struct rig *rig = rig_connected(5);
    rig_send(rig, "30 18 0001't' 14 01 01 02 00000005 26 0001'a'0001'b' 23 0001 09 0000");
    uint8_t want[32];
    size_t  size = hex_parse("01 01 26 0001'a'0001'b' 09 0000", want, sizeof want);
    cr_assert_eq(rig->fake.properties_size, size);
    cr_assert_arr_eq(rig->fake.properties, want, size);
    cr_assert_eq(rig->fake.expires_wall_ns, 1005 * RIG_SECOND_NS);
    rig_free(rig);
}
