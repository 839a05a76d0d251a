/* receive - see receive.h. */
#include "broker/protocol/mqtt/receive.h"

#include "broker/protocol/mqtt/connect.h"
#include "broker/protocol/mqtt/decode.h"
#include "broker/protocol/mqtt/dispatch.h"
#include "broker/protocol/mqtt/life.h"
#include "broker/protocol/mqtt/login.h"
#include "broker/protocol/mqtt/pace.h"

enum { INPUT_HELD_MAX_BYTES = 16 * 1024 }; /* that may wait before receiving is stopped: one receive buffer */

bool mqtt_conn_reads(const struct mqtt_conn *conn)
{
    return (conn->state == CONN_OPEN || conn->state == CONN_WAIT_CONNECT ||
            (conn->state == CONN_AUTHENTICATING && mqtt_login_listens(&conn->client))) &&
           !conn->paused && mqtt_client_takes_input(&conn->client);
}

/* May this packet come now? Asked as soon as its header is there, so that nothing is kept for one that may not. */
static struct mqtt_fault conn_admit(const struct mqtt_conn *conn, struct mqtt_frame frame)
{
    enum mqtt_type type = mqtt_frame_type(frame);
    if (conn->state == CONN_WAIT_CONNECT && type != MQTT_CONNECT) {
        return mqtt_fault(MQTT_PROTOCOL_ERROR, "the first packet is not CONNECT"); /* [MQTT-3.1.0-1] */
    }
    if (conn->state != CONN_WAIT_CONNECT && type == MQTT_CONNECT) {
        return mqtt_fault(MQTT_PROTOCOL_ERROR, "a second CONNECT"); /* [MQTT-3.1.0-2] */
    }
    if (!mqtt_type_from_client(type)) {
        return mqtt_fault(MQTT_PROTOCOL_ERROR,
                          type == MQTT_RESERVED ? "packet type 0" : "a packet that only a server sends");
    }
    if (conn->state == CONN_AUTHENTICATING && type != MQTT_AUTH && type != MQTT_DISCONNECT) { /* [MQTT-3.1.2-30] */
        return mqtt_fault(MQTT_PROTOCOL_ERROR, "something else than AUTH before it is let in");
    }
    if (mqtt_frame_bytes(frame) > conn->client.env->limits->packet_max_bytes) {
        return mqtt_fault(MQTT_PACKET_TOO_LARGE, "a packet that is larger than allowed");
    }
    return MQTT_FINE;
}

/* The header of the packet at the front of in. False: it is not all there yet, or not admitted (then the connection is closing). */
static bool conn_header(struct mqtt_conn *conn, struct bytes in, struct mqtt_frame *out)
{
    if (in.size > 0 && conn->state == CONN_WAIT_CONNECT && in.data[0] >> 4 != MQTT_CONNECT) {
        mqtt_conn_fault(conn, 0, conn_admit(conn, (struct mqtt_frame){.first = in.data[0]}));
        return false;
    }
    int header = mqtt_frame_read(in, out);
    if (UNLIKELY(header < 0)) {
        mqtt_conn_fault(conn, 0, mqtt_fault(MQTT_MALFORMED_PACKET, "a remaining length that is malformed"));
        return false;
    }
    if (header == 0) {
        return false;
    }
    if (LIKELY(conn->state == CONN_OPEN && mqtt_frame_type(*out) == MQTT_PUBLISH &&
               mqtt_frame_bytes(*out) <= conn->client.env->limits->packet_max_bytes)) {
        return true; /* what conn_admit would say of most packets */
    }
    struct mqtt_fault fault = conn_admit(conn, *out);
    if (UNLIKELY(fault.why != NULL)) {
        struct bytes body    = bytes_of(in.data + out->header_bytes, in.size - out->header_bytes);
        uint8_t      version = conn->state == CONN_WAIT_CONNECT ? mqtt_connect_peek_version(body) : 0;
        mqtt_conn_fault(conn, version, fault);
        return false;
    }
    return true;
}

/* Takes the whole packets at the front of in, as long as the client may be read. Returns their size. */
static size_t conn_consume(struct mqtt_conn *conn, struct bytes in)
{
    size_t taken = 0;
    conn->busy   = true;
    while (taken < in.size && mqtt_conn_reads(conn)) {
        struct mqtt_frame frame;
        struct bytes      left = bytes_of(in.data + taken, in.size - taken);
        if (!conn_header(conn, left, &frame) || mqtt_frame_bytes(frame) > left.size) {
            break;
        }
        mqtt_conn_dispatch(conn, frame, bytes_of(left.data + frame.header_bytes, frame.body_bytes));
        if (UNLIKELY(conn->client.waiting && conn->state == CONN_OPEN)) {
            break; /* it comes again when it is known whether it may */
        }
        taken += mqtt_frame_bytes(frame);
        if (UNLIKELY(mqtt_paced(conn->client.env->limits)) && mqtt_frame_type(frame) == MQTT_PUBLISH &&
            conn->state == CONN_OPEN) {
            mqtt_pace_publish(&conn->client, mqtt_frame_bytes(frame));
        }
    }
    conn->busy = false;
    if (taken > 0) {
        conn->last_packet_ns = conn->client.env->now_ns;
    }
    return taken;
}

static void conn_keep(struct mqtt_conn *conn, struct bytes in, uint32_t expected)
{
    if (conn->state != CONN_CLOSING && mqtt_input_add(&conn->input, in, expected) != 0) {
        mqtt_conn_fault(conn, 0, mqtt_fault(MQTT_SERVER_BUSY, "no memory for its input"));
    }
}

/* Moves from in to the packet at the front of what waits what it lacks; true when that packet is complete. */
static bool conn_complete(struct mqtt_conn *conn, struct bytes *in)
{
    for (;;) {
        struct mqtt_frame frame;
        struct bytes      waiting = mqtt_input_waiting(&conn->input);
        bool              known   = conn_header(conn, waiting, &frame);
        size_t total = known ? mqtt_frame_bytes(frame) : waiting.size + 1; /* a header is taken byte by byte */
        if (conn->state == CONN_CLOSING) {
            return false;
        }
        if (waiting.size >= total) {
            return true;
        }
        if (in->size == 0) {
            return false;
        }
        size_t lacks = total - waiting.size;
        size_t part  = lacks < in->size ? lacks : in->size;
        conn_keep(conn, bytes_of(in->data, part), known ? (uint32_t)total : 0);
        if (conn->state == CONN_CLOSING) {
            return false;
        }
        *in = bytes_of(in->data + part, in->size - part);
    }
}

void mqtt_conn_take_waiting(struct mqtt_conn *conn)
{
    if (mqtt_input_empty(&conn->input)) {
        return;
    }
    size_t taken = conn_consume(conn, mqtt_input_waiting(&conn->input));
    if (conn->state != CONN_CLOSING) {
        mqtt_input_take(&conn->input, taken);
    }
}

void mqtt_conn_flow(struct mqtt_conn *conn)
{
    size_t waiting = conn->input.end - conn->input.start;
    bool   wanted  = mqtt_conn_reads(conn) || (!conn->paused && waiting < INPUT_HELD_MAX_BYTES);
    if (conn->state != CONN_CLOSING && wanted != conn->receiving) {
        conn->receiving = wanted;
        conn->client.env->port.receiving(conn->peer, wanted);
    }
}

/* Behind what waits already. */
static void conn_receive_behind(struct mqtt_conn *conn, struct bytes in)
{
    while (!mqtt_input_empty(&conn->input)) {
        if (!mqtt_conn_reads(conn)) {
            conn_keep(conn, in, 0);
            return;
        }
        if (!conn_complete(conn, &in)) {
            return;
        }
        mqtt_conn_take_waiting(conn);
    }
    if (conn->state != CONN_CLOSING) {
        size_t taken = conn_consume(conn, in);
        conn_keep(conn, bytes_of(in.data + taken, in.size - taken), 0);
    }
}

void mqtt_conn_receive(struct mqtt_conn *conn, struct bytes in)
{
    mqtt_conn_check(conn);
    if (conn->state == CONN_CLOSING || in.size == 0) {
        return;
    }
    if (UNLIKELY(!mqtt_input_empty(&conn->input))) {
        conn_receive_behind(conn, in);
    } else {
        size_t taken = conn_consume(conn, in);
        if (taken < in.size) {
            conn_keep(conn, bytes_of(in.data + taken, in.size - taken), 0);
        }
    }
    mqtt_conn_flow(conn);
    mqtt_conn_check(conn);
}
