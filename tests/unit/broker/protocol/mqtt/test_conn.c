#include "tests/unit/broker/protocol/mqtt/rig.h"

/* The CONNACK of MQTT 5 with default limits: Receive Maximum 1024, Maximum Packet Size 1 MiB, Topic Alias Maximum 32. */
#define CONNACK_5 "20 0e 00 00 0b 22 0020 27 00100000 21 0400"

/* ---- connect ------------------------------------------------------------------------------------------------------------- */

Test(mqtt_conn, connect_opens_a_session_and_is_acknowledged_in_each_version)
{
    static const char *const connects[] = {"10 0f 0006'MQIsdp' 03 02 000a 0001'c'",
                                           "10 0d 0004'MQTT' 04 02 000a 0001'c'",
                                           "10 0e 0004'MQTT' 05 02 000a 00 0001'c'"};
    for (int i = 0; i < 3; i++) {
        struct rig *rig = rig_new();
        rig_send(rig, connects[i]);
        rig_expect(rig, i < 2 ? "20 02 0000" : CONNACK_5);
        cr_assert_str_eq(rig_last(rig)->what, "open");
        cr_assert_str_eq(rig_last(rig)->text, "c");
        cr_assert(rig->fake.opened.clean_start && rig->fake.opened.expiry_s == 0 &&
                  rig->fake.opened.receive_max == 65535);
        cr_assert_eq(mqtt_conn_version(rig->conn), i + 3);
        rig_free(rig);
    }
}

Test(mqtt_conn, session_present_and_expiry_follow_the_version)
{
    struct rig *rig   = rig_new();
    rig->fake.answers = false;
    rig_send(rig, "10 0d 0004'MQTT' 04 00 000a 0001'c'");
    cr_assert_str_eq(mqtt_conn_state_name(rig->conn), "opening");
    cr_assert_eq(rig->fake.opened.expiry_s, EXPIRY_NEVER);
    cr_assert(!rig->fake.opened.clean_start);
    cr_assert(!rig->fake.opened.told, "its connection is closed instead");
    rig_expect(rig, "");
    rig->fake.client->ops->opened(rig->fake.client, 0, true);
    rig_expect(rig, "20 02 0100");
    rig_free(rig);

    rig                              = rig_new();
    rig->limits.session_expiry_max_s = 100;
    rig_send(rig, "10 13 0004'MQTT' 05 00 000a 05 11 00000200 0001'c'");
    cr_assert_eq(rig->fake.opened.expiry_s, 100);
    cr_assert(rig->fake.opened.told);
    rig_expect(rig, "20 13 00 00 10 22 0020 11 00000064 27 00100000 21 0400");
    rig_free(rig);
}

Test(mqtt_conn, an_empty_client_id_is_assigned_or_refused)
{
    struct rig *rig = rig_new();
    rig_send(rig, "10 0d 0004'MQTT' 05 00 000a 00 0000");
    uint8_t out[128];
    size_t  size = rig_output(rig, out, sizeof out);
    cr_assert_eq(size, 16 + 3 + 23);
    cr_assert_eq(out[3], 0);
    cr_assert_eq(out[4], 11 + 26);
    cr_assert_eq(out[8], 0x12);
    cr_assert_eq(strlen(rig_last(rig)->text), 23);
    cr_assert_arr_eq(out + 11, rig_last(rig)->text, 23);
    rig_free(rig);

    rig = rig_new();
    rig_send(rig, "10 0c 0004'MQTT' 04 02 000a 0000");
    rig_expect(rig, "20 02 0000");
    rig_free(rig);

    rig = rig_new();
    rig_send(rig, "10 0c 0004'MQTT' 04 00 000a 0000");
    rig_expect(rig, "20 02 0002");
    cr_assert(rig_closed(rig) && rig->fake.call_count == 0);
    rig_free(rig);

    rig = rig_new();
    rig_send(rig, "10 0e 0006'MQIsdp' 03 02 000a 0000");
    rig_expect(rig, "20 02 0002");
    rig_free(rig);
}

Test(mqtt_conn, a_bad_connect_is_refused_as_its_version_has_it)
{
    static const struct {
        const char *connect;
        const char *answer;
    } cases[] = {
        {"10 0d 0004'MQTT' 02 02 000a 0001'c'", "20 02 0001"},
        {"10 0e 0004'MQTT' 06 02 000a 00 0001'c'", "20 03 00 84 00"},
        {"10 0d 0004'MQTX' 04 02 000a 0001'c'", ""},
        {"10 0d 0004'MQTT' 04 03 000a 0001'c'", ""},
        {"10 0e 0004'MQTT' 05 03 000a 00 0001'c'", "20 03 00 81 00"},
        {"10 12 0004'MQTT' 05 02 000a 04 15 0001'x' 0001'c'", "20 03 00 8c 00"},
        {"10 12 0004'MQTT' 05 02 000a 04 16 0001'x' 0001'c'", "20 03 00 82 00"},
        {"10 11 0004'MQTT' 05 02 000a 03 21 0000 0001'c'", "20 03 00 82 00"},
        {"10 ff ff ff 7f 0004'MQTT' 05", "20 03 00 95 00"},
        {"10 ff ff ff 7f", ""},
        {"10 ff ff ff ff", ""},
        {"30 07 0005'topic'", ""},
        {"30", ""},
        {"c0 00", ""},
        {"f0 00", ""},
        {"20 02 0000", ""},
        {"00 00", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rig *rig = rig_new();
        rig_send(rig, cases[i].connect);
        cr_assert(rig_closed(rig), "%s", cases[i].connect);
        rig_expect(rig, cases[i].answer);
        cr_assert_eq(rig->fake.call_count, 0);
        cr_assert_leq(mqtt_conn_memory_bytes(rig->conn), 512);
        rig_free(rig);
    }
}

Test(mqtt_conn, wills_over_the_limits_are_refused_and_the_others_handed_over)
{
    struct rig *rig              = rig_new();
    rig->limits.retain_available = false;
    rig_send(rig, "10 14 0004'MQTT' 05 26 000a 00 0001'c' 00 0001'w' 0000");
    rig_expect(rig, "20 03 00 9a 00");
    rig_free(rig);

    rig                 = rig_new();
    rig->limits.qos_max = 1;
    rig_send(rig, "10 14 0004'MQTT' 05 16 000a 00 0001'c' 00 0001'w' 0000");
    rig_expect(rig, "20 03 00 9b 00");
    rig_free(rig);

    rig = rig_new();
    rig_send(rig, "10 20 0004'MQTT' 05 36 000a 00 0001'c' 0c 18 00000007 01 01 02 00000009 0001'w' 0000");
    cr_assert_str_eq(rig->fake.will_topic, "w");
    cr_assert(rig->fake.opened.will.qos == 2 && rig->fake.opened.will.retain);
    cr_assert(rig->fake.opened.will.delay_s == 7 && rig->fake.opened.will.message_expiry_s == 9);
    cr_assert(rig->fake.properties_size == 2 && rig->fake.properties[0] == 1 && rig->fake.properties[1] == 1);
    rig_free(rig);
}

Test(mqtt_conn, a_kernel_that_says_no_is_passed_on)
{
    static const struct {
        int         status;
        const char *v3;
        const char *v5;
    } cases[] = {
        {ERR_UNAVAILABLE, "20 02 0003", "20 03 00 88 00"},
        {ERR_DENIED, "20 02 0005", "20 03 00 87 00"},
        {ERR_QUOTA, "20 02 0003", "20 03 00 97 00"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int version = 4; version <= 5; version++) {
            struct rig *rig  = rig_new();
            rig->fake.status = cases[i].status;
            rig_send(rig, version == 5 ? "10 0e 0004'MQTT' 05 02 000a 00 0001'c' c000"
                                       : "10 0d 0004'MQTT' 04 02 000a 0001'c' c000");
            rig_expect(rig, version == 5 ? cases[i].v5 : cases[i].v3);
            cr_assert(rig_closed(rig));
            cr_assert_eq(rig_count(rig, "close"), 0);
            rig_free(rig);
        }
    }
}

Test(mqtt_conn, packets_behind_connect_wait_for_the_session_and_die_with_its_refusal)
{
    struct rig *rig   = rig_new();
    rig->fake.answers = false;
    rig_send(rig, "10 0d 0004'MQTT' 04 02 000a 0001'c' 30 03 0001't' c0");
    rig_send(rig, "00");
    cr_assert_eq(rig->fake.call_count, 1);
    rig->fake.client->ops->opened(rig->fake.client, 0, false);
    rig_advance(rig, 1);
    cr_assert_eq(rig_count(rig, "publish"), 1);
    rig_expect(rig, "20 02 0000 d0 00");
    rig_free(rig);

    rig               = rig_new();
    rig->fake.answers = false;
    rig_send(rig, "10 0d 0004'MQTT' 04 02 000a 0001'c' 30 03 0001't' c0");
    rig->fake.client->ops->opened(rig->fake.client, ERR_DENIED, false);
    rig_advance(rig, RIG_SECOND_NS);
    cr_assert_eq(rig->fake.call_count, 1);
    rig_expect(rig, "20 02 0005");
    rig_free(rig);
}

Test(mqtt_conn, a_socket_that_goes_while_opening_closes_the_session)
{
    struct rig *rig   = rig_new();
    rig->fake.answers = false;
    rig_send(rig, "10 0d 0004'MQTT' 04 02 000a 0001'c'");
    mqtt_conn_closed(rig->conn);
    rig->conn = NULL;
    cr_assert_eq(rig_count(rig, "close"), 1);
    rig_free(rig);
}

Test(mqtt_conn, a_second_connect_is_a_protocol_error)
{
    struct rig *rig = rig_connected(5);
    rig_send(rig, "10 0e 0004'MQTT' 05 02 000a 00 0001'c'");
    rig_expect(rig, "e0 01 82");
    cr_assert(rig_closed(rig) && rig_count(rig, "close") == 1 && !rig->fake.closed.discard_will);
    rig_free(rig);
    rig = rig_connected(4);
    rig_send(rig, "10 0d 0004'MQTT' 04 02 000a 0001'c'");
    rig_expect(rig, "");
    cr_assert(rig_closed(rig));
    rig_free(rig);
}

Test(mqtt_conn, limits_are_told_in_connack)
{
    struct rig *rig = rig_new();
    rig->limits     = (struct mqtt_limits){.packet_max_bytes     = 1000,
                                           .receive_max          = 65535,
                                           .qos_max              = 1,
                                           .keep_alive_max_s     = 60,
                                           .session_expiry_max_s = EXPIRY_NEVER,
                                           .connect_timeout_ns   = 1,
                                           .client_id_bytes_max  = 23,
                                           .output_max_bytes     = 1000};
    rig_send(rig, "10 0e 0004'MQTT' 05 02 0000 00 0001'c'");
    rig_expect(rig, "20 15 00 00 12 13 003c 25 00 27 000003e8 24 01 28 00 29 00 2a 00");
    rig_free(rig);
}

/* ---- closing -------------------------------------------------------------------------------------------------------------- */

Test(mqtt_conn, disconnect_says_what_becomes_of_will_and_session)
{
    static const struct {
        const char *connect;
        const char *packet;
        bool        discard_will;
        bool        set_expiry;
        uint32_t    expiry_s;
        const char *answer;
    } cases[] = {
        {"10 0d 0004'MQTT' 04 02 000a 0001'c'", "e0 00", true, false, 0, ""},
        {"10 0e 0004'MQTT' 05 02 000a 00 0001'c'", "e0 00", true, false, 0, ""},
        {"10 0e 0004'MQTT' 05 02 000a 00 0001'c'", "e0 01 00", true, false, 0, ""},
        {"10 0e 0004'MQTT' 05 02 000a 00 0001'c'", "e0 01 04", false, false, 0, ""},
        {"10 0e 0004'MQTT' 05 02 000a 00 0001'c'", "e0 01 80", false, false, 0, ""},
        {"10 0e 0004'MQTT' 05 02 000a 00 0001'c'", "e0 07 00 05 11 00000000", true, true, 0, ""},
        {"10 0e 0004'MQTT' 05 02 000a 00 0001'c'", "e0 07 00 05 11 00000001", false, false, 0, "e0 01 82"},
        {"10 13 0004'MQTT' 05 02 000a 05 11 00000009 0001'c'", "e0 07 00 05 11 00000001", true, true, 1, ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rig *rig = rig_new();
        rig_send(rig, cases[i].connect);
        rig_drop_output(rig);
        rig_send(rig, cases[i].packet);
        rig_send(rig, "c0 00");
        rig_expect(rig, cases[i].answer);
        cr_assert(rig_closed(rig));
        cr_assert_eq(rig_count(rig, "close"), 1);
        cr_assert_eq(rig->fake.closed.discard_will, cases[i].discard_will, "case %zu", i);
        cr_assert_eq(rig->fake.closed.set_expiry, cases[i].set_expiry);
        cr_assert_eq(rig->fake.closed.expiry_s, cases[i].expiry_s);
        rig_free(rig);
    }
}

Test(mqtt_conn, evictions_carry_their_reason)
{
    static const char *const answers[] = {[EVICT_TAKEN_OVER]  = "e0 01 8e",
                                          [EVICT_OVERRUN]     = "e0 01 97",
                                          [EVICT_UNAVAILABLE] = "e0 01 89",
                                          [EVICT_SHUTDOWN]    = "e0 01 8b"};
    for (int why = EVICT_TAKEN_OVER; why <= EVICT_SHUTDOWN; why++) {
        for (int version = 4; version <= 5; version++) {
            struct rig *rig = rig_connected(version);
            rig->fake.client->ops->evicted(rig->fake.client, (enum evict_reason)why);
            rig_expect(rig, version == 5 ? answers[why] : "");
            cr_assert(rig_closed(rig) && rig_count(rig, "close") == 0);
            rig_free(rig);
        }
    }
}

Test(mqtt_conn, faults_are_answered_with_their_reason_in_5_and_by_closing_before)
{
    static const struct {
        const char *packet;
        int         reason_code;
    } cases[] = {
        {"30 ffffffff", 0x81},
        {"30 8000", 0x81},
        {"00 00", 0x82},
        {"20 02 0000", 0x82},
        {"90 03 000100", 0x82},
        {"b0 02 0001", 0x82},
        {"d0 00", 0x82},
        {"c1 00", 0x81},
        {"f0 00", 0x82},
        {"f0 06 19 04 15 0001'm'", 0x8c},
        {"30 ffffff7f", 0x95},
        {"30 818040", 0x95},
        {"36 06 0001't' 0001 00", 0x81},
        {"30 07 0001't' 03 230000", 0x94},
        {"30 07 0001't' 03 230021", 0x94},
        {"30 06 0000 03 230001", 0x82},
        {"82 09 0001 00 0003'a#b' 00", 0x81},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rig *rig = rig_connected(5);
        char        answer[32];
        snprintf(answer, sizeof answer, "e0 01 %02x", cases[i].reason_code);
        rig_send(rig, cases[i].packet);
        rig_expect(rig, answer);
        cr_assert(rig_closed(rig) && rig_count(rig, "close") == 1, "%s", cases[i].packet);
        rig_free(rig);
    }
    static const char *const packets_3[] = {"30 ffffffff", "00 00",       "20 02 0000",        "c1 00",
                                            "f0 00",       "30 ffffff7f", "36 05 0001't' 0001"};
    for (size_t i = 0; i < sizeof packets_3 / sizeof *packets_3; i++) {
        struct rig *rig = rig_connected(4);
        rig_send(rig, packets_3[i]);
        rig_expect(rig, "");
        cr_assert(rig_closed(rig), "%s", packets_3[i]);
        rig_free(rig);
    }
}

Test(mqtt_conn, reason_strings_are_said_when_configured_and_wanted)
{
    struct rig *rig            = rig_connected(5);
    rig->limits.reason_strings = true;
    rig_send(rig, "d0 00");
    uint8_t out[256];
    size_t  size = rig_output(rig, out, sizeof out);
    cr_assert(size > 8 && out[2] == 0x82 && out[4] == 0x1f);
    rig_free(rig);

    rig                        = rig_new();
    rig->limits.reason_strings = true;
    rig_send(rig, "10 10 0004'MQTT' 05 02 000a 02 17 00 0001'c'");
    rig_drop_output(rig);
    rig_send(rig, "d0 00");
    rig_expect(rig, "e0 01 82");
    rig_free(rig);
}

/* ---- the clock -------------------------------------------------------------------------------------------------------------- */

Test(mqtt_conn, connect_has_ten_seconds)
{
    struct rig *rig = rig_new();
    rig_send(rig, "10 0d 0004");
    rig_advance(rig, 9 * RIG_SECOND_NS);
    cr_assert(!rig_closed(rig));
    rig_send(rig, "'MQTT'");
    rig_advance(rig, RIG_SECOND_NS + 2000000);
    cr_assert(rig_closed(rig));
    rig_expect(rig, "");
    rig_free(rig);
}

Test(mqtt_conn, keep_alive_is_one_and_a_half_times_and_any_packet_counts)
{
    struct rig *rig = rig_connected(5); /* 10 s */
    rig_advance(rig, 14 * RIG_SECOND_NS);
    rig_send(rig, "c0 00");
    rig_expect(rig, "d0 00");
    rig_advance(rig, 14 * RIG_SECOND_NS);
    rig_send(rig, "30 04 0001't' 00");
    rig_advance(rig, 14 * RIG_SECOND_NS);
    rig_send(rig, "c0"); /* half a packet is none */
    cr_assert(!rig_closed(rig));
    rig_advance(rig, RIG_SECOND_NS + 2000000);
    cr_assert(rig_closed(rig));
    rig_expect(rig, "e0 01 8d");
    rig_free(rig);
}

Test(mqtt_conn, keep_alive_0_is_none)
{
    struct rig *rig = rig_new();
    rig_send(rig, "10 0d 0004'MQTT' 04 02 0000 0001'c'");
    rig_drop_output(rig);
    rig_advance(rig, 1000000 * RIG_SECOND_NS);
    cr_assert(!rig_closed(rig));
    rig_free(rig);
}

Test(mqtt_conn, keep_alive_does_not_run_while_the_kernel_holds_the_client)
{
    struct rig *rig = rig_connected(4);
    rig->fake.client->ops->pause(rig->fake.client, true);
    cr_assert(!rig->receiving);
    rig_advance(rig, 100 * RIG_SECOND_NS);
    cr_assert(!rig_closed(rig));
    rig->fake.client->ops->pause(rig->fake.client, false);
    rig_advance(rig, 1);
    cr_assert(rig->receiving);
    rig_advance(rig, 100 * RIG_SECOND_NS);
    cr_assert(rig_closed(rig));
    rig_free(rig);
}

/* ---- input -------------------------------------------------------------------------------------------------------------------- */

static const char story[] = "10 0e 0004'MQTT' 05 02 000a 00 0001'c'"
                            "82 08 0001 00 0002'a/' 01"
                            "c0 00"
                            "30 0a 0003'a/b' 00 'body'"
                            "32 0c 0003'a/b' 0002 00 'body'"
                            "34 0c 0003'a/b' 0003 00 'body'"
                            "62 02 0003"
                            "a2 07 0004 00 0002'a/'"
                            "40 02 0009"
                            "e0 00";
#define STORY_ANSWER CONNACK_5 "90 04 0001 00 01 d0 00 40 02 0002 50 02 0003 70 02 0003 b0 04 0004 00 00"

Test(mqtt_conn, a_story_split_at_every_byte_is_the_same_story)
{
    uint8_t data[256];
    size_t  size = hex_parse(story, data, sizeof data);
    for (size_t cut = 0; cut <= size; cut++) {
        struct rig *rig = rig_new();
        if (cut > 0) {
            rig_receive(rig, data, cut);
        }
        if (cut < size) {
            rig_receive(rig, data + cut, size - cut);
        }
        rig_expect(rig, STORY_ANSWER);
        cr_assert(rig_closed(rig));
        cr_assert_eq(rig_count(rig, "publish"), 3, "cut at %zu", cut);
        rig_free(rig);
    }
    for (size_t step = 1; step < 9; step++) {
        struct rig *rig = rig_new();
        for (size_t at = 0; at < size; at += step) {
            rig_receive(rig, data + at, size - at < step ? size - at : step);
        }
        rig_expect(rig, STORY_ANSWER);
        rig_free(rig);
    }
}

Test(mqtt_conn, input_behind_a_pause_is_kept_and_taken_in_order)
{
    uint8_t data[256];
    size_t  size = hex_parse(story, data, sizeof data);
    for (size_t cut = 1; cut < size; cut++) {
        struct rig *rig  = rig_new();
        rig->fake.pauses = true; /* at the first publish */
        rig_receive(rig, data, cut);
        rig_receive(rig, data + cut, size - cut);
        cr_assert_eq(rig_count(rig, "publish"), 1, "cut at %zu", cut);
        cr_assert(!rig->receiving && !rig_closed(rig));
        rig->fake.pauses = true; /* and at the second */
        rig->fake.client->ops->pause(rig->fake.client, false);
        rig_advance(rig, 1);
        cr_assert_eq(rig_count(rig, "publish"), 2, "cut at %zu", cut);
        cr_assert(!rig->receiving);
        rig->fake.client->ops->pause(rig->fake.client, false);
        rig_advance(rig, 1);
        rig_expect(rig, STORY_ANSWER);
        cr_assert(rig_closed(rig));
        rig_free(rig);
    }
}

Test(mqtt_conn, a_large_packet_grows_with_what_arrives_and_gives_its_memory_back)
{
    struct rig *rig    = rig_connected(4);
    size_t      idle   = mqtt_conn_memory_bytes(rig->conn);
    uint8_t     head[] = {0x30, 0x84, 0x80, 0x20, 0, 1, 't'}; /* 512 KiB + 4 */
    uint8_t     part[1000];
    size_t      left = 512 * 1024 + 4 - 3;
    memset(part, 'x', sizeof part);
    rig_receive(rig, head, sizeof head);
    cr_assert_leq(mqtt_conn_memory_bytes(rig->conn), idle + 64);
    size_t sent = sizeof head;
    while (left > 0) {
        size_t size = left < sizeof part ? left : sizeof part;
        rig_receive(rig, part, size);
        left -= size;
        sent += size;
        cr_assert_leq(mqtt_conn_memory_bytes(rig->conn), idle + 2 * sent);
        cr_assert_leq(mqtt_conn_memory_bytes(rig->conn), idle + 512 * 1024 + 8);
    }
    cr_assert_eq(rig_count(rig, "publish"), 1);
    cr_assert_eq(mqtt_conn_memory_bytes(rig->conn), idle);
    rig_free(rig);
}

Test(mqtt_conn, an_idle_connection_takes_under_512_bytes)
{
    struct rig *rig = rig_new();
    rig_send(rig, "10 24 0004'MQTT' 05 02 000a 00 0017'abcdefghijklmnopqrstuvw'");
    cr_assert_str_eq(mqtt_conn_state_name(rig->conn), "open");
    cr_assert_leq(mqtt_conn_memory_bytes(rig->conn), 448, "%zu", mqtt_conn_memory_bytes(rig->conn));
    rig_free(rig);
}

Test(mqtt_conn, a_client_that_does_not_read_its_replies_is_not_read)
{
    struct rig *rig              = rig_connected(4);
    rig->limits.output_max_bytes = 100;
    uint8_t pings[400];
    for (size_t i = 0; i < sizeof pings; i += 2) {
        pings[i]     = 0xc0;
        pings[i + 1] = 0;
    }
    rig_receive(rig, pings, sizeof pings);
    cr_assert_eq(rig->out.size_bytes, 200);
    rig_drop_output(rig);
    mqtt_conn_writable(rig->conn);
    cr_assert_eq(rig->out.size_bytes, 200);
    rig_drop_output(rig);
    mqtt_conn_writable(rig->conn);
    cr_assert_eq(rig->out.size_bytes, 0);
    rig_free(rig);
}
