/* login: what happens between CONNECT and CONNACK, and when rights change. */
#include "broker/auth/ticket.h"
#include "broker/protocol/mqtt/identity.h"
#include "tests/unit/broker/protocol/mqtt/rig.h"

/* A port whose answers the test gives. */
struct door {
    struct ticket_office  office;
    struct auth_port      port;
    struct auth_attempt  *attempt;
    struct auth_request   request; /* texts are not kept */
    char                  user[32], address[48], said[64];
    int                   begins, cancels;
    bool                  at_once; /* allowed in the call */
    struct auth_question *question;
};

static struct door door;

static void answer(enum auth_outcome outcome, enum auth_refusal refusal, const char *data)
{
    struct auth_answer a = {.outcome = outcome, .refusal = refusal, .why = "no"};
    if (data != NULL) {
        a.has_data = true;
        a.data     = bytes_str(data);
    }
    if (outcome == AUTH_ALLOWED && !door.request.again) {
        const struct ticket_spec spec = {.user = bytes_str(door.user), .client_id = bytes_str("c")};
        a.ticket                      = ticket_new(&door.office, &spec);
    }
    struct auth_attempt *attempt = door.attempt;
    if (outcome != AUTH_CONTINUES) {
        door.attempt = NULL;
    }
    attempt->answered(attempt, &a);
}

static void door_begin(void *ctx, struct auth_attempt *attempt, const struct auth_request *request)
{
    cr_assert_eq(ctx, &door);
    cr_assert_null(door.attempt);
    door.begins++;
    door.attempt = attempt;
    door.request = *request;
    snprintf(door.user, sizeof door.user, "%.*s", (int)request->user_name.size, (const char *)request->user_name.data);
    snprintf(door.address, sizeof door.address, "%s", request->address != NULL ? request->address : "");
    snprintf(door.said, sizeof door.said, "%.*s", (int)request->data.size, (const char *)request->data.data);
    if (door.at_once) {
        answer(AUTH_ALLOWED, 0, NULL);
    }
}

static void door_respond(void *ctx, struct auth_attempt *attempt, struct bytes data)
{
    (void)ctx;
    cr_assert_eq(attempt, door.attempt);
    snprintf(door.said, sizeof door.said, "%.*s", (int)data.size, (const char *)data.data);
}

static void door_cancel(void *ctx, struct auth_attempt *attempt)
{
    (void)ctx;
    cr_assert_eq(attempt, door.attempt);
    door.attempt = NULL;
    door.cancels++;
}

static struct rig *rig_with_door(bool at_once)
{
    struct rig *rig = rig_new();
    door            = (struct door){.at_once = at_once,
                                    .office  = {.default_allow = true, .timers = rig->env.timers, .acl = acl_new(NULL, 0)},
                                    .port = {.ctx = &door, .begin = door_begin, .respond = door_respond, .cancel = door_cancel}};
    list_init(&door.office.tickets);
    rig->env.auth = &door.port;
    return rig;
}

static void rig_close(struct rig *rig)
{
    rig_free(rig);
    cr_assert(list_empty(&door.office.tickets));
    cr_assert_null(door.attempt);
    acl_unref(door.office.acl);
}

static void rules(const char *line)
{
    char             why[128];
    struct acl_rule *rule = acl_rule_read(bytes_str(line), why, sizeof why);
    cr_assert_not_null(rule, "%s", why);
    ticket_office_rules(&door.office, acl_new(&rule, 1));
}

static const char plain[]  = "10 0e 0004'MQTT' 05 02 000a 00 0001'c'";
static const char plain4[] = "10 0d 0004'MQTT' 04 02 000a 0001'c'";
static const char scram[]  = "10 17 0004'MQTT' 05 02 000a 09 15 0001'M' 16 0002'hi' 0001'c'";

Test(mqtt_login, a_client_that_is_known_at_once_is_let_in_in_the_same_call)
{
    struct rig                       *rig      = rig_with_door(true);
    static const struct peer_identity identity = {.address = "192.0.2.7", .port = 9, .loopback = true};
    mqtt_conn_identify(rig->conn, &identity);
    rig_send(rig, "10 14 0004'MQTT' 05 c2 000a 00 0001'c' 0001'u' 0001'p'");
    cr_assert_str_eq(mqtt_conn_state_name(rig->conn), "open");
    cr_assert_str_eq(door.user, "u");
    cr_assert_str_eq(door.address, "192.0.2.7");
    cr_assert(door.request.loopback && door.request.has_password && !door.request.has_method);
    rig_close(rig);
}

Test(mqtt_login, until_it_is_known_the_client_is_not_read_and_what_it_sent_comes_after)
{
    struct rig *rig = rig_with_door(false);
    rig_send(rig, plain);
    cr_assert_str_eq(mqtt_conn_state_name(rig->conn), "authenticating");
    cr_assert_eq(rig_count(rig, "open"), 0);
    rig_send(rig, "30 04 0001't' 00");
    cr_assert_eq(rig_count(rig, "publish"), 0);
    answer(AUTH_ALLOWED, 0, NULL);
    cr_assert_str_eq(mqtt_conn_state_name(rig->conn), "open");
    rig_advance(rig, 0);
    cr_assert_eq(rig_count(rig, "publish"), 1);
    rig_close(rig);
}

Test(mqtt_login, a_refusal_is_told_as_the_version_has_it)
{
    static const struct {
        enum auth_refusal refusal;
        const char       *five, *four;
    } table[] = {
        {AUTH_BAD_CREDENTIALS, "20 03 00 86 00", "20 02 0004"},
        {AUTH_NOT_AUTHORIZED, "20 03 00 87 00", "20 02 0005"},
        {AUTH_BAD_METHOD, "20 03 00 8c 00", ""},
        {AUTH_BUSY, "20 03 00 89 00", "20 02 0003"},
        {AUTH_UNAVAILABLE, "20 03 00 88 00", "20 02 0003"},
        {AUTH_PROTOCOL, "20 03 00 87 00", "20 02 0005"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        for (int version = 4; version <= 5; version++) {
            struct rig *rig = rig_with_door(false);
            rig_send(rig, version == 5 ? plain : plain4);
            answer(AUTH_REFUSED, table[i].refusal, NULL);
            rig_expect(rig, version == 5 ? table[i].five : table[i].four);
            cr_assert(rig_closed(rig) && rig->fake.call_count == 0);
            rig_close(rig);
        }
    }
}

Test(mqtt_login, a_client_that_goes_away_meanwhile_is_not_asked_about_any_more)
{
    struct rig *rig = rig_with_door(false);
    rig_send(rig, plain);
    rig_close(rig);
    cr_assert_eq(door.cancels, 1);
}

Test(mqtt_login, the_connect_time_out_holds_while_it_is_asked_about)
{
    struct rig *rig = rig_with_door(false);
    rig_send(rig, plain);
    rig_advance(rig, rig->limits.connect_timeout_ns + RIG_SECOND_NS);
    rig_expect(rig, "20 03 00 88 00");
    cr_assert(rig_closed(rig));
    rig_close(rig);
}

Test(mqtt_login, an_exchange_goes_on_until_the_port_has_heard_enough)
{
    struct rig *rig = rig_with_door(false);
    rig_send(rig, scram);
    cr_assert_str_eq(door.said, "hi");
    answer(AUTH_CONTINUES, 0, "who");
    rig_expect(rig, "f0 0c 18 0a 15 0001'M' 16 0003'who'");
    rig_send(rig, "f0 0a 18 08 15 0001'M' 16 0001'x'");
    cr_assert_str_eq(door.said, "x");
    answer(AUTH_ALLOWED, 0, "ok");
    cr_assert_str_eq(mqtt_conn_state_name(rig->conn), "open");
    uint8_t out[256];
    size_t  size = rig_output(rig, out, sizeof out);
    cr_assert(memmem(out, size, "\x15\x00\x01M\x16\x00\x02ok", 9) != NULL,
              "CONNACK names the method and has the last word");
    /* again, and in between something else */
    rig_send(rig, "f0 0a 19 08 15 0001'M' 16 0001'y'");
    cr_assert(door.begins == 2 && door.request.again);
    rig_send(rig, "c0 00");
    rig_expect(rig, "d0 00");
    answer(AUTH_ALLOWED, 0, "ok");
    rig_expect(rig, "f0 0b 00 09 15 0001'M' 16 0002'ok'");
    rig_send(rig, "f0 0a 19 08 15 0001'M' 16 0001'z'");
    answer(AUTH_REFUSED, AUTH_BAD_CREDENTIALS, NULL);
    rig_expect(rig, "e0 01 87");
    rig_close(rig);
}

Test(mqtt_login, in_an_exchange_nothing_but_auth_and_disconnect_is_taken)
{
    static const char *const wrong[] = {
        "c0 00", "30 04 0001't' 00", "f0 0a 18 08 15 0001'N' 16 0001'x'", "f0 0a 19 08 15 0001'M' 16 0001'x'", "f0 00",
        "10 00",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct rig *rig = rig_with_door(false);
        rig_send(rig, scram);
        answer(AUTH_CONTINUES, 0, NULL);
        rig_drop_output(rig);
        rig_send(rig, wrong[i]);
        cr_assert(rig_closed(rig), "%s", wrong[i]);
        rig_expect(rig, "20 03 00 82 00");
        rig_close(rig);
    }
    struct rig *rig = rig_with_door(false);
    rig_send(rig, scram);
    answer(AUTH_CONTINUES, 0, NULL);
    rig_send(rig, "e0 00");
    cr_assert(rig_closed(rig));
    rig_close(rig);
}

Test(mqtt_login, what_is_denied_is_refused_with_its_code)
{
    struct rig *rig = rig_with_door(true);
    rules("deny all both no");
    rig_send(rig, plain);
    rig_drop_output(rig);
    rig->fake.answers = false;
    rig_send(rig, "32 07 0002'no' 0001 00");
    cr_assert_eq(rig_count(rig, "publish"), 1, "the kernel answers it in its turn");
    rig->fake.answers = true;
    rig_send(rig, "82 10 0002 00 0001'a' 00 0002'no' 01 0001'b' 01");
    rig_expect(rig, "90 06 0002 00 00 87 01");
    cr_assert_eq(rig_count(rig, "subscribe"), 1);
    cr_assert_str_eq(rig_last(rig)->text, "a");
    rig_close(rig);
}

Test(mqtt_login, a_will_to_a_topic_that_is_denied_refuses_its_connect)
{
    struct rig *rig = rig_with_door(true);
    rules("deny all publish w");
    rig_send(rig, "10 14 0004'MQTT' 05 06 000a 00 0001'c' 00 0001'w' 0000");
    rig_expect(rig, "20 03 00 87 00");
    cr_assert(rig_closed(rig) && rig->fake.call_count == 0);
    rig_close(rig);
}

static enum access door_ask(struct ticket_office *office, struct ticket *ticket, const struct acl_wish *wish,
                            struct auth_question **out)
{
    (void)office;
    door.question = *out = ticket_question(ticket, wish);
    door.question->asked = &door;
    return ACCESS_WAIT;
}

static void door_forget(struct ticket_office *office, struct auth_question *question)
{
    (void)office;
    (void)question;
    door.question = NULL;
}

Test(mqtt_login, a_packet_that_waits_for_the_hook_keeps_its_place)
{
    struct rig *rig = rig_with_door(true);
    rig_send(rig, plain);
    rig_drop_output(rig);
    door.office.ask    = door_ask;
    door.office.forget = door_forget;
    rules("allow all subscribe #");
    rig_send(rig, "32 06 0001'a' 0001 00 c0 00 32 06 0001'b' 0002 00");
    cr_assert_eq(rig_count(rig, "publish"), 0);
    rig_expect(rig, "");
    ticket_answer(door.question, true);
    rig_advance(rig, 0);
    rig_expect(rig, "40 02 0001 d0 00");
    cr_assert_eq(rig_count(rig, "publish"), 1);
    ticket_answer(door.question, true);
    rig_advance(rig, 0);
    rig_expect(rig, "40 02 0002");
    rig_send(rig, "32 06 0001'c' 0003 00"); /* and one that nobody answers */
    rig_close(rig);
    cr_assert_null(door.question);
}

Test(mqtt_login, a_user_that_is_removed_is_disconnected)
{
    struct rig *rig = rig_with_door(true);
    rig_send(rig, "10 14 0004'MQTT' 05 c2 000a 00 0001'c' 0001'u' 0001'p'");
    rig_drop_output(rig);
    CONTAINER_OF(door.office.tickets.next, struct ticket, link)->in_table = true;
    ticket_office_revoke(&door.office, bytes_str("u"), "its user was removed");
    rig_advance(rig, 0);
    rig_expect(rig, "e0 01 87");
    cr_assert(rig_closed(rig));
    rig_close(rig);
}
