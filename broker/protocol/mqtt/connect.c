/* connect.c - from the fields of CONNECT to the client and the kernel's request, and the two forms of CONNACK. */
#include "broker/protocol/mqtt/connect.h"

#include "broker/protocol/mqtt/encode.h"
#include "broker/protocol/mqtt/login.h"
#include "broker/protocol/mqtt/property.h"
#include "broker/protocol/mqtt/topics.h"
#include "shared/base/err.h"

#include <stdlib.h>

/* ---- the client's name ------------------------------------------------------------------------------------------------ */

enum { ASSIGNED_ID_BYTES = 23 }; /* what every server must accept [MQTT-3.1.3-5] */

/* "keel" and 19 letters and digits: 113 random bits. */
static void assign_id(struct mqtt_env *env, char id[ASSIGNED_ID_BYTES])
{
    static const char letters[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    unsigned __int128 number =
        (unsigned __int128)env->port.random(env->port.ctx) << 64 | env->port.random(env->port.ctx);
    memcpy(id, "keel", 4);
    for (int i = 4; i < ASSIGNED_ID_BYTES; i++) {
        id[i] = letters[number % 62];
        number /= 62;
    }
}

static struct mqtt_fault take_id(struct mqtt_client *client, const struct mqtt_connect *connect)
{
    char         assigned[ASSIGNED_ID_BYTES];
    struct bytes id = connect->client_id;
    if (id.size == 0) {
        /* [MQTT-3.1.3-6] of 5; [MQTT-3.1.3-8] of 3.1.1; in 3.1 a name is a must */
        if (connect->version == MQTT_V31 || (connect->version == MQTT_V311 && !connect->clean_start)) {
            return mqtt_fault(MQTT_CLIENT_IDENTIFIER_NOT_VALID, "CONNECT without a client identifier");
        }
        assign_id(client->env, assigned);
        id                  = bytes_of(assigned, sizeof assigned);
        client->assigned_id = true;
    }
    if (bytes_starts_with(id, bytes_str("$bridge/"))) { /* sessions of ours: broker/bridge */
        return mqtt_fault(MQTT_CLIENT_IDENTIFIER_NOT_VALID, "a client identifier that belongs to a bridge");
    }
    client->id = malloc(id.size + 1);
    if (client->id == NULL) {
        return mqtt_fault(MQTT_SERVER_BUSY, "no memory for a client identifier");
    }
    memcpy(client->id, id.data, id.size);
    client->id[id.size] = '\0';
    client->id_size     = (uint32_t)id.size;
    return MQTT_FINE;
}

/* ---- CONNECT ------------------------------------------------------------------------------------------------------------ */

static struct mqtt_fault check_limits(const struct mqtt_limits *limits, const struct mqtt_connect *connect)
{
    if (connect->has_will && connect->will_qos > limits->qos_max) {
        return mqtt_fault(MQTT_QOS_NOT_SUPPORTED, "a will with a QoS over the maximum"); /* [MQTT-3.2.2-12] */
    }
    if (connect->will_retain && !limits->retain_available) {
        return mqtt_fault(MQTT_RETAIN_NOT_SUPPORTED,
                          "a will with RETAIN, which is not available"); /* [MQTT-3.2.2-13] */
    }
    return MQTT_FINE;
}

static uint32_t session_expiry(const struct mqtt_connect *connect)
{
    if (connect->version != MQTT_V5) {
        return connect->clean_start ? 0 : EXPIRY_NEVER;
    }
    return mqtt_has(&connect->properties, MQTT_SESSION_EXPIRY_INTERVAL) ? connect->properties.session_expiry_interval_s
                                                                        : 0;
}

static void take_properties(struct mqtt_client *client, const struct mqtt_connect *connect)
{
    const struct mqtt_properties *p      = &connect->properties;
    const struct mqtt_limits     *limits = client->env->limits;
    client->version                      = connect->version;
    client->bridge                       = connect->bridge;
    client->session_expiry_s             = session_expiry(connect);
    client->keep_alive_s                 = connect->keep_alive_s;
    if (client->session_expiry_s > limits->session_expiry_max_s) {
        client->session_expiry_s = limits->session_expiry_max_s;
    }
    if (connect->version != MQTT_V5) {
        return;
    }
    if (mqtt_has(p, MQTT_RECEIVE_MAXIMUM)) {
        client->receive_max = p->receive_maximum;
    }
    if (mqtt_has(p, MQTT_MAXIMUM_PACKET_SIZE)) {
        client->packet_max_bytes = p->maximum_packet_size;
    }
    if (mqtt_has(p, MQTT_TOPIC_ALIAS_MAXIMUM)) {
        uint16_t max          = limits->topic_alias_out_max;
        client->alias_out_max = p->topic_alias_maximum < max ? p->topic_alias_maximum : max;
    }
    if (mqtt_has(p, MQTT_REQUEST_PROBLEM_INFORMATION)) {
        client->problem_information = p->request_problem_information != 0;
    }
    if (limits->keep_alive_max_s != 0 &&
        (client->keep_alive_s == 0 || client->keep_alive_s > limits->keep_alive_max_s)) {
        client->keep_alive_s = limits->keep_alive_max_s;
    }
}

static struct mqtt_fault take_will(struct mqtt_client *client, const struct mqtt_connect *connect, struct will *out)
{
    struct mqtt_env              *env     = client->env;
    const struct mqtt_properties *p       = &connect->will_properties;
    uint8_t                      *scratch = NULL;
    if (mqtt_properties_scattered(p)) {
        scratch = mqtt_env_scratch(env, p->raw.size);
        if (scratch == NULL) {
            return mqtt_fault(MQTT_SERVER_BUSY, "no memory for the properties of a will");
        }
    }
    *out = (struct will){
        .topic      = env->topics == NULL ? connect->will_topic : mqtt_topics_publish(client, connect->will_topic),
        .properties = mqtt_properties_forward(p, scratch),
        .payload    = connect->will_payload,
        .qos        = connect->will_qos,
        .retain     = connect->will_retain,
        .delay_s    = mqtt_has(p, MQTT_WILL_DELAY_INTERVAL) ? p->will_delay_interval_s : 0,
        .message_expiry_s = mqtt_has(p, MQTT_MESSAGE_EXPIRY_INTERVAL) ? p->message_expiry_interval_s : UINT32_MAX,
    };
    return MQTT_FINE;
}

struct mqtt_fault mqtt_connect_moved(const struct mqtt_env *env)
{
    return mqtt_fault((enum mqtt_reason)env->moved->reason_code, "clients are sent to another server (keel ctl drain)");
}

void mqtt_put_reference(const struct mqtt_env *env, uint8_t reason_code, struct wire_writer *w)
{
    if (env->moved != NULL && reason_code == env->moved->reason_code && env->moved->reference[0] != '\0') {
        mqtt_property_put_bytes(w, MQTT_SERVER_REFERENCE, bytes_str(env->moved->reference));
    }
}

/* What the operator allows. */
static struct mqtt_fault check_bounds(struct mqtt_client *client, const struct mqtt_connect *connect)
{
    struct mqtt_env          *env    = client->env;
    const struct mqtt_limits *limits = env->limits;
    struct mqtt_fault         fault  = MQTT_FINE;
    if (limits->connect_rate != 0 && !bucket_try(&env->connects, limits->connect_rate, env->now_ns)) {
        fault = mqtt_fault(MQTT_CONNECTION_RATE_EXCEEDED, "more connections come than mqtt.connection_rate allows");
    } else if (connect->client_id.size > limits->client_id_bytes_max) {
        fault = mqtt_fault(MQTT_CLIENT_IDENTIFIER_NOT_VALID, "a client identifier longer than mqtt.client_id_max");
    } else if (connect->has_will && !mqtt_client_topic_fits(client, connect->will_topic)) {
        fault = mqtt_fault(
            MQTT_TOPIC_NAME_INVALID,
            "a will whose topic is longer than mqtt.topic_max or has more levels than mqtt.topic_levels_max");
    }
    env->counters.over_limit += fault.why != NULL;
    return fault;
}

struct mqtt_fault mqtt_connect_take(struct mqtt_client *client, const struct mqtt_connect *connect)
{
    struct mqtt_fault fault = check_limits(client->env->limits, connect);
    if (UNLIKELY(client->env->moved != NULL)) {
        return mqtt_connect_moved(client->env);
    }
    if (fault.why == NULL) {
        fault = check_bounds(client, connect);
    }
    if (fault.why != NULL) {
        return fault;
    }
    fault = take_id(client, connect);
    if (fault.why != NULL) {
        return fault;
    }
    take_properties(client, connect);
    if (client->session_expiry_s != 0 && client->id_size > STORED_ID_MAX_BYTES) {
        return mqtt_fault(MQTT_CLIENT_IDENTIFIER_NOT_VALID,
                          "a client identifier that is too long for a session that is kept");
    }
    return MQTT_FINE;
}

struct mqtt_fault mqtt_connect_open(struct mqtt_client *client, const struct mqtt_connect *connect)
{
    struct mqtt_env    *env     = client->env;
    struct open_request request = {
        .client_id   = bytes_of(client->id, client->id_size),
        .clean_start = connect->clean_start,
        .expiry_s    = client->session_expiry_s,
        .receive_max = client->receive_max,
        .told        = client->version == MQTT_V5,
    };
    if (connect->has_will) {
        struct mqtt_fault fault = take_will(client, connect, &request.will);
        if (fault.why != NULL) {
            return fault;
        }
    }
    env->kernel_api->open(env->kernel, &client->kernel, &request);
    return MQTT_FINE;
}

/* ---- CONNACK ------------------------------------------------------------------------------------------------------------ */

enum {
    CONNACK_PROPERTIES_MAX_BYTES = 128,
    CONNACK_AUTH_MAX_BYTES       = 384
}; /* all that is written below: under 70; of an exchange: under 350 */

void mqtt_connack_accept(struct mqtt_client *client, bool session_present)
{
    const struct mqtt_limits *limits = client->env->limits;
    struct mqtt_packet        packet = {.type = MQTT_CONNACK, .connack = {.session_present = session_present}};
    uint8_t                   room[CONNACK_PROPERTIES_MAX_BYTES + CONNACK_AUTH_MAX_BYTES];
    struct wire_writer        w = wire_writer_fixed(room, sizeof room);
    if (client->version != MQTT_V5) {
        packet.connack.session_present = session_present && client->version != MQTT_V31; /* a reserved byte in 3.1 */
        mqtt_client_send(client, &packet);
        return;
    }
    if (limits->keep_alive_max_s != 0 && client->keep_alive_s == limits->keep_alive_max_s) {
        mqtt_property_put_u16(&w, MQTT_SERVER_KEEP_ALIVE, client->keep_alive_s);
    }
    if (limits->topic_alias_in_max > 0) {
        mqtt_property_put_u16(&w, MQTT_TOPIC_ALIAS_MAXIMUM, limits->topic_alias_in_max);
    }
    if (client->assigned_id) {
        mqtt_property_put_bytes(&w, MQTT_ASSIGNED_CLIENT_IDENTIFIER, bytes_of(client->id, client->id_size));
    }
    if (mqtt_login_method(client).size > 0) { /* [MQTT-4.12.0-5] */
        mqtt_property_put_bytes(&w, MQTT_AUTHENTICATION_METHOD, mqtt_login_method(client));
        mqtt_property_put_bytes(&w, MQTT_AUTHENTICATION_DATA, mqtt_login_data(client));
    }
    if (limits->session_expiry_max_s != EXPIRY_NEVER && client->session_expiry_s == limits->session_expiry_max_s) {
        mqtt_property_put_u32(&w, MQTT_SESSION_EXPIRY_INTERVAL, client->session_expiry_s);
    }
    if (!limits->retain_available) {
        mqtt_property_put_u8(&w, MQTT_RETAIN_AVAILABLE, 0);
    }
    mqtt_property_put_u32(&w, MQTT_MAXIMUM_PACKET_SIZE, limits->packet_max_bytes);
    if (limits->receive_max != 65535) {
        mqtt_property_put_u16(&w, MQTT_RECEIVE_MAXIMUM, limits->receive_max);
    }
    if (limits->qos_max < 2) {
        mqtt_property_put_u8(&w, MQTT_MAXIMUM_QOS, limits->qos_max);
    }
    if (!limits->wildcard_available) {
        mqtt_property_put_u8(&w, MQTT_WILDCARD_SUBSCRIPTION_AVAILABLE, 0);
    }
    if (!limits->subscription_id_available) {
        mqtt_property_put_u8(&w, MQTT_SUBSCRIPTION_IDENTIFIER_AVAILABLE, 0);
    }
    if (!limits->shared_available) {
        mqtt_property_put_u8(&w, MQTT_SHARED_SUBSCRIPTION_AVAILABLE, 0);
    }
    ASSERT(!w.bad);
    packet.connack.properties.raw = wire_written(&w);
    if (mqtt_encode_size(MQTT_V5, &packet) > client->packet_max_bytes) {
        mqtt_client_doom(client, MQTT_PACKET_TOO_LARGE, "a maximum packet size that has no room for CONNACK");
    }
    mqtt_client_send(client, &packet);
}

/* The return code of 3.x, or -1 when there is none: then the connection is closed without a word. */
static int v3_return(uint8_t reason_code)
{
    switch (reason_code) {
    case MQTT_UNSUPPORTED_PROTOCOL_VERSION:
        return MQTT_V3_UNACCEPTABLE_PROTOCOL;
    case MQTT_CLIENT_IDENTIFIER_NOT_VALID:
        return MQTT_V3_IDENTIFIER_REJECTED;
    case MQTT_SERVER_UNAVAILABLE:
    case MQTT_SERVER_BUSY:
    case MQTT_SERVER_SHUTTING_DOWN:
    case MQTT_QUOTA_EXCEEDED:
    case MQTT_CONNECTION_RATE_EXCEEDED:
    case MQTT_USE_ANOTHER_SERVER:
    case MQTT_SERVER_MOVED:
        return MQTT_V3_SERVER_UNAVAILABLE;
    case MQTT_BAD_USER_NAME_OR_PASSWORD:
        return MQTT_V3_BAD_USER_OR_PASSWORD;
    case MQTT_NOT_AUTHORIZED:
    case MQTT_BANNED:
        return MQTT_V3_NOT_AUTHORIZED;
    default:
        return -1;
    }
}

void mqtt_connack_refuse(struct mqtt_client *client, uint8_t version, struct mqtt_fault fault)
{
    struct mqtt_packet packet = {.type = MQTT_CONNACK, .connack = {.reason_code = fault.reason_code}};
    uint8_t            room[CONNACK_PROPERTIES_MAX_BYTES + CONNACK_AUTH_MAX_BYTES];
    struct wire_writer w = wire_writer_fixed(room, sizeof room);
    if (version == 0) {
        return;
    }
    if (version != MQTT_V5) {
        int code = v3_return(fault.reason_code);
        if (code < 0) {
            return;
        }
        packet.connack.reason_code = (uint8_t)code;
    } else {
        mqtt_put_reference(client->env, fault.reason_code, &w);
        if (client->env->limits->reason_strings) {
            mqtt_property_put_bytes(&w, MQTT_REASON_STRING, bytes_str(fault.why));
        }
        packet.connack.properties.raw = w.bad ? (struct bytes){0} : wire_written(&w);
    }
    client->version = version;
    mqtt_client_send(client, &packet);
}

struct mqtt_fault mqtt_connect_fault(int status)
{
    switch (status) {
    case ERR_DENIED:
        return mqtt_fault(MQTT_NOT_AUTHORIZED, err_sentence(status));
    case ERR_MALFORMED:
        return mqtt_fault(MQTT_TOPIC_NAME_INVALID, "a will to a topic that nothing can be published to that way");
    case ERR_QUOTA:
    case ERR_FULL:
    case ERR_DISK_FULL:
        return mqtt_fault(MQTT_QUOTA_EXCEEDED, err_sentence(status));
    case ERR_TOO_BIG:
        return mqtt_fault(MQTT_PACKET_TOO_LARGE, err_sentence(status));
    default:
        return mqtt_fault(MQTT_SERVER_UNAVAILABLE, err_sentence(status));
    }
}
