/* life - see life.h. */
#include "broker/protocol/mqtt/life.h"

#include "broker/protocol/mqtt/connect.h"
#include "broker/protocol/mqtt/encode.h"
#include "broker/protocol/mqtt/property.h"
#include "shared/base/hash.h"
#include "shared/base/log.h"
#include "shared/base/wire.h"

#include <assert.h>

const struct sm_state mqtt_conn_states[] = {
    /*                        name            may be followed by */
    [CONN_WAIT_CONNECT]   = {"wait_connect", SM(CONN_AUTHENTICATING) | SM(CONN_CLOSING)},
    [CONN_AUTHENTICATING] = {"authenticating", SM(CONN_OPENING) | SM(CONN_CLOSING)},
    [CONN_OPENING]        = {"opening", SM(CONN_OPEN) | SM(CONN_CLOSING)},
    [CONN_OPEN]           = {"open", SM(CONN_CLOSING)},
    [CONN_CLOSING]        = {"closing", 0},
};

static_assert(sizeof(struct mqtt_conn) <= 384,
              "with a client id and what malloc adds, an idle connection stays under 512 bytes");

void mqtt_conn_log(struct mqtt_conn *conn, struct mqtt_fault fault)
{
    struct mqtt_client *client = &conn->client;
    struct mqtt_env    *env    = client->env;
    struct bytes source = client->id != NULL ? bytes_of(client->id, client->id_size) : bytes_str(conn->peer_name);
    uint64_t     left_out;
    if (!log_allowed(&env->logs[hash_bytes(source) % MQTT_LOG_SLOTS], env->now_ns, 1000ull * 1000 * 1000, &left_out)) {
        return;
    }
    log_warn("mqtt: client \"%.64s\" at %s closed: %s (reason 0x%02x%s)", client->id != NULL ? client->id : "",
             conn->peer_name, fault.why, fault.reason_code, left_out > 0 ? "; more like it were not logged" : "");
}

void mqtt_conn_end(struct mqtt_conn *conn, const struct close_request *request)
{
    struct mqtt_env *env = conn->client.env;
    sm_step(mqtt_conn_states, &conn->state, CONN_CLOSING);
    if (conn->session) {
        conn->session = false;
        env->kernel_api->close(env->kernel, &conn->client.kernel, request);
    }
    timer_cancel(env->timers, &conn->client.timer);
    list_remove(&conn->client.soon);
    mqtt_input_fini(&conn->input);
    env->port.close(conn->peer);
}

static void send_disconnect(struct mqtt_conn *conn, struct mqtt_fault fault)
{
    struct mqtt_client *client = &conn->client;
    struct mqtt_packet  packet = {.type = MQTT_DISCONNECT, .disconnect = {.reason_code = fault.reason_code}};
    uint8_t             room[512];
    struct wire_writer  w = wire_writer_fixed(room, sizeof room);
    if (client->version != MQTT_V5) {
        return; /* 3.x has no DISCONNECT from the server */
    }
    mqtt_put_reference(client->env, fault.reason_code, &w);
    if (client->env->limits->reason_strings && client->problem_information) {
        mqtt_property_put_bytes(&w, MQTT_REASON_STRING, bytes_str(fault.why));
    }
    if (w.size > 0) {
        packet.disconnect.properties.raw = w.bad ? (struct bytes){0} : wire_written(&w);
        if (mqtt_encode_size(MQTT_V5, &packet) > client->packet_max_bytes) { /* [MQTT-3.14.2-3] */
            packet.disconnect.properties.raw = (struct bytes){0};
        }
    }
    mqtt_client_send(client, &packet);
}

void mqtt_conn_dismiss(struct mqtt_conn *conn, uint8_t version, struct mqtt_fault fault)
{
    static const struct close_request keep_will = {0};
    if (conn->state == CONN_OPEN) {
        send_disconnect(conn, fault);
    } else { /* [MQTT-3.14.0-1]: no DISCONNECT before CONNACK */
        conn->client.env->counters.refused++;
        mqtt_connack_refuse(&conn->client, version != 0 ? version : conn->client.version, fault);
    }
    mqtt_conn_end(conn, &keep_will);
}

void mqtt_conn_fault(struct mqtt_conn *conn, uint8_t version, struct mqtt_fault fault)
{
    conn->client.env->counters.faults++;
    mqtt_conn_log(conn, fault);
    mqtt_conn_dismiss(conn, version, fault);
}
