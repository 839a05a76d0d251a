/* dispatch - see dispatch.h. */
#include "broker/protocol/mqtt/dispatch.h"

#include "broker/protocol/mqtt/connect.h"
#include "broker/protocol/mqtt/deliver.h"
#include "broker/protocol/mqtt/life.h"
#include "broker/protocol/mqtt/login.h"
#include "broker/protocol/mqtt/publish.h"
#include "broker/protocol/mqtt/subscribe.h"

static struct mqtt_fault take_disconnect(struct mqtt_conn *conn, const struct mqtt_disconnect *disconnect)
{
    struct mqtt_client  *client  = &conn->client;
    uint32_t             max_s   = client->env->limits->session_expiry_max_s;
    struct close_request request = {.discard_will = disconnect->reason_code == MQTT_SUCCESS}; /* [MQTT-3.14.4-3] */
    if (mqtt_has(&disconnect->properties, MQTT_SESSION_EXPIRY_INTERVAL)) {
        uint32_t expiry_s = disconnect->properties.session_expiry_interval_s;
        if (client->session_expiry_s == 0 && expiry_s != 0) {
            return mqtt_fault(MQTT_PROTOCOL_ERROR,
                              "DISCONNECT with a session expiry where CONNECT had none"); /* 3.14.2.2.2 */
        }
        request.set_expiry = true;
        request.expiry_s   = expiry_s < max_s ? expiry_s : max_s;
    }
    client->env->counters.disconnects++;
    mqtt_conn_end(conn, &request);
    return MQTT_FINE;
}

static void take_pingreq(struct mqtt_conn *conn)
{
    static const struct mqtt_packet pingresp = {.type = MQTT_PINGRESP};
    mqtt_client_send(&conn->client, &pingresp);
}

static void take_connect(struct mqtt_conn *conn, struct mqtt_frame frame, struct bytes body)
{
    struct mqtt_client *client = &conn->client;
    struct mqtt_packet  packet;
    struct mqtt_fault   fault = mqtt_decode(MQTT_V5, MQTT_FROM_CLIENT, frame, body, &packet);
    if (fault.why != NULL) {
        mqtt_conn_fault(conn, packet.connect.version, fault);
        return;
    }
    sm_step(mqtt_conn_states, &conn->state, CONN_AUTHENTICATING);
    client->env->counters.connects++;
    fault = mqtt_connect_take(client, &packet.connect);
    if (fault.why != NULL) {
        mqtt_conn_fault(conn, packet.connect.version, fault);
        return;
    }
    mqtt_login_begin(conn, frame, body, &packet.connect);
}

static struct mqtt_fault take_packet(struct mqtt_conn *conn, struct mqtt_frame frame, struct bytes body)
{
    struct mqtt_client *client  = &conn->client;
    enum mqtt_version   version = (enum mqtt_version)client->version;
    enum mqtt_type      type    = mqtt_frame_type(frame);
    struct mqtt_packet  packet;
    if (LIKELY(type == MQTT_PUBLISH)) {
        struct mqtt_fault fault =
            mqtt_decode_publish(version, MQTT_FROM_CLIENT, frame.first & 0x0f, body, &packet.publish);
        return UNLIKELY(fault.why != NULL) ? fault : mqtt_publish_take(client, &packet.publish);
    }
    struct mqtt_fault fault = mqtt_decode(version, MQTT_FROM_CLIENT, frame, body, &packet);
    if (fault.why != NULL) {
        return fault;
    }
    switch (type) {
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP:
        return mqtt_ack_take(client, type, &packet.ack);
    case MQTT_SUBSCRIBE:
        return mqtt_subscribe_take(client, &packet.subscribe);
    case MQTT_UNSUBSCRIBE:
        return mqtt_unsubscribe_take(client, &packet.subscribe);
    case MQTT_PINGREQ:
        take_pingreq(conn);
        return MQTT_FINE;
    case MQTT_DISCONNECT:
        return take_disconnect(conn, &packet.disconnect);
    case MQTT_AUTH:
        return mqtt_login_auth(conn, &packet.disconnect);
    default:
        ASSERT(!"conn_admit lets no other type through");
        return MQTT_FINE;
    }
}

void mqtt_conn_dispatch(struct mqtt_conn *conn, struct mqtt_frame frame, struct bytes body)
{
    conn->client.env->counters.packets_in++;
    if (UNLIKELY(conn->state == CONN_WAIT_CONNECT)) {
        take_connect(conn, frame, body);
        return;
    }
    struct mqtt_fault fault = take_packet(conn, frame, body);
    if (UNLIKELY(fault.why != NULL)) {
        mqtt_conn_fault(conn, 0, fault);
    }
}
