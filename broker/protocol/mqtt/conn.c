/* conn.c - the state machine of one client, and the dispatch of its packets. */
#include "broker/protocol/mqtt/conn.h"

#include "broker/protocol/mqtt/alias.h"
#include "broker/protocol/mqtt/client.h"
#include "broker/protocol/mqtt/connect.h"
#include "broker/protocol/mqtt/decode.h"
#include "broker/protocol/mqtt/deliver.h"
#include "broker/protocol/mqtt/encode.h"
#include "broker/protocol/mqtt/input.h"
#include "broker/protocol/mqtt/publish.h"
#include "broker/protocol/mqtt/subscribe.h"
#include "shared/base/hash.h"
#include "shared/base/log.h"
#include "shared/base/sm.h"

#include <assert.h>
#include <stdlib.h>

enum conn_state { CONN_WAIT_CONNECT, CONN_OPENING, CONN_OPEN, CONN_CLOSING };

static const struct sm_state conn_states[] = {
    /*                      name            may be followed by */
    [CONN_WAIT_CONNECT] = {"wait_connect", SM(CONN_OPENING) | SM(CONN_CLOSING)},
    [CONN_OPENING]      = {"opening", SM(CONN_OPEN) | SM(CONN_CLOSING)},
    [CONN_OPEN]         = {"open", SM(CONN_CLOSING)},
    [CONN_CLOSING]      = {"closing", 0},
};

struct mqtt_conn {
    struct mqtt_client client; /* first */
    void              *peer;
    const char        *peer_name;
    struct mqtt_input  input;
    uint64_t           last_packet_ns;
    uint64_t           connect_deadline_ns;
    uint8_t            state;  /* enum conn_state */
    bool               paused; /* by the kernel */
    bool               busy;   /* packets are being taken right now */
    bool               receiving;
    bool               session; /* the kernel knows the client: kernel_close is owed */
};

static_assert(sizeof(struct mqtt_conn) <= 384,
              "with a client id and what malloc adds, an idle connection stays under 512 bytes");

enum { INPUT_HELD_MAX_BYTES = 16 * 1024 }; /* that may wait before receiving is stopped: one receive buffer */

static struct mqtt_conn *conn_of(struct mqtt_client *client)
{
    return CONTAINER_OF(client, struct mqtt_conn, client);
}

static void conn_check(const struct mqtt_conn *conn)
{
    ASSERT_SLOW(IMPLIES(conn->state == CONN_WAIT_CONNECT || conn->state == CONN_CLOSING, !conn->session));
    ASSERT_SLOW(IMPLIES(conn->state == CONN_OPEN, conn->session && conn->client.version != 0));
    ASSERT_SLOW(IMPLIES(conn->state == CONN_CLOSING, conn->input.data == NULL));
}

/* ---- the end -------------------------------------------------------------------------------------------------------------- */

static void conn_log(struct mqtt_conn *conn, struct mqtt_fault fault)
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

/* The last step from our side, and the only way into CLOSING. */
static void conn_end(struct mqtt_conn *conn, const struct close_request *request)
{
    struct mqtt_env *env = conn->client.env;
    sm_step(conn_states, &conn->state, CONN_CLOSING);
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
    uint8_t             room[128];
    struct wire_writer  w = wire_writer_fixed(room, sizeof room);
    if (client->version != MQTT_V5) {
        return; /* 3.x has no DISCONNECT from the server */
    }
    if (client->env->limits->reason_strings && client->problem_information) {
        mqtt_property_put_bytes(&w, MQTT_REASON_STRING, bytes_str(fault.why));
        packet.disconnect.properties.raw = w.bad ? (struct bytes){0} : wire_written(&w);
        if (mqtt_encode_size(MQTT_V5, &packet) > client->packet_max_bytes) { /* [MQTT-3.14.2-3] */
            packet.disconnect.properties.raw = (struct bytes){0};
        }
    }
    mqtt_client_send(client, &packet);
}

/* Says goodbye as state and version have it, then ends. Nothing was said yet: version is what CONNECT asked for, 0 when that is not known. */
static void conn_dismiss(struct mqtt_conn *conn, uint8_t version, struct mqtt_fault fault)
{
    static const struct close_request keep_will = {0};
    if (conn->state == CONN_OPEN) {
        send_disconnect(conn, fault);
    } else { /* [MQTT-3.14.0-1]: no DISCONNECT before CONNACK */
        conn->client.env->counters.refused++;
        mqtt_connack_refuse(&conn->client, version, fault);
    }
    conn_end(conn, &keep_will);
}

static void conn_fault(struct mqtt_conn *conn, uint8_t version, struct mqtt_fault fault)
{
    conn->client.env->counters.faults++;
    conn_log(conn, fault);
    conn_dismiss(conn, version, fault);
}

/* ---- packets -------------------------------------------------------------------------------------------------------------- */

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
    conn_end(conn, &request);
    return MQTT_FINE;
}

static void take_pingreq(struct mqtt_conn *conn)
{
    static const struct mqtt_packet pingresp = {.type = MQTT_PINGRESP};
    mqtt_client_send(&conn->client, &pingresp);
}

/* No method was agreed on in CONNECT, so there is nothing to go on with [MQTT-4.12.0-6]. */
static struct mqtt_fault take_auth(const struct mqtt_disconnect *auth)
{
    return mqtt_has(&auth->properties, MQTT_AUTHENTICATION_METHOD)
               ? mqtt_fault(MQTT_BAD_AUTHENTICATION_METHOD, "AUTH with a method that CONNECT did not name")
               : mqtt_fault(MQTT_PROTOCOL_ERROR, "AUTH without an authentication under way");
}

static void take_connect(struct mqtt_conn *conn, struct mqtt_frame frame, struct bytes body)
{
    struct mqtt_client *client = &conn->client;
    struct mqtt_packet  packet;
    struct mqtt_fault   fault = mqtt_decode(MQTT_V5, MQTT_FROM_CLIENT, frame, body, &packet);
    if (fault.why != NULL) {
        conn_fault(conn, packet.connect.version, fault);
        return;
    }
    sm_step(conn_states, &conn->state, CONN_OPENING);
    timer_cancel(client->env->timers, &client->timer);
    client->env->counters.connects++;
    conn->session = true;
    fault         = mqtt_connect_take(client, &packet.connect);
    if (fault.why != NULL) {
        conn->session = false; /* the kernel was not asked */
        conn_fault(conn, packet.connect.version, fault);
    }
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
        mqtt_ack_take(client, type, &packet.ack);
        return MQTT_FINE;
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
        return take_auth(&packet.disconnect);
    default:
        ASSERT(!"conn_admit lets no other type through");
        return MQTT_FINE;
    }
}

/* ---- input ----------------------------------------------------------------------------------------------------------------- */

static bool conn_reads(const struct mqtt_conn *conn)
{
    return (conn->state == CONN_OPEN || conn->state == CONN_WAIT_CONNECT) && !conn->paused &&
           mqtt_client_takes_input(&conn->client);
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
        return type == MQTT_RESERVED ? mqtt_fault(MQTT_MALFORMED_PACKET, "packet type 0")
                                     : mqtt_fault(MQTT_PROTOCOL_ERROR, "a packet that only a server sends");
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
        conn_fault(conn, 0, conn_admit(conn, (struct mqtt_frame){.first = in.data[0]}));
        return false;
    }
    int header = mqtt_frame_read(in, out);
    if (UNLIKELY(header < 0)) {
        conn_fault(conn, 0, mqtt_fault(MQTT_MALFORMED_PACKET, "a remaining length that is malformed"));
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
        conn_fault(conn, version, fault);
        return false;
    }
    return true;
}

static void conn_dispatch(struct mqtt_conn *conn, struct mqtt_frame frame, struct bytes body)
{
    conn->client.env->counters.packets_in++;
    if (UNLIKELY(conn->state == CONN_WAIT_CONNECT)) {
        take_connect(conn, frame, body);
        return;
    }
    struct mqtt_fault fault = take_packet(conn, frame, body);
    if (UNLIKELY(fault.why != NULL)) {
        conn_fault(conn, 0, fault);
    }
}

/* Takes the whole packets at the front of in, as long as the client may be read. Returns their size. */
static size_t conn_consume(struct mqtt_conn *conn, struct bytes in)
{
    size_t taken = 0;
    conn->busy   = true;
    while (taken < in.size && conn_reads(conn)) {
        struct mqtt_frame frame;
        struct bytes      left = bytes_of(in.data + taken, in.size - taken);
        if (!conn_header(conn, left, &frame) || mqtt_frame_bytes(frame) > left.size) {
            break;
        }
        conn_dispatch(conn, frame, bytes_of(left.data + frame.header_bytes, frame.body_bytes));
        taken += mqtt_frame_bytes(frame);
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
        conn_fault(conn, 0, mqtt_fault(MQTT_SERVER_BUSY, "no memory for its input"));
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

/* What waits, as far as the client may be read. */
static void conn_take_waiting(struct mqtt_conn *conn)
{
    if (mqtt_input_empty(&conn->input)) {
        return;
    }
    size_t taken = conn_consume(conn, mqtt_input_waiting(&conn->input));
    if (conn->state != CONN_CLOSING) {
        mqtt_input_take(&conn->input, taken);
    }
}

/* Receives while it reads; stops when it does not and enough waits. */
static void conn_flow(struct mqtt_conn *conn)
{
    size_t waiting = conn->input.end - conn->input.start;
    bool   wanted  = conn_reads(conn) || (!conn->paused && waiting < INPUT_HELD_MAX_BYTES);
    if (conn->state != CONN_CLOSING && wanted != conn->receiving) {
        conn->receiving = wanted;
        conn->client.env->port.receiving(conn->peer, wanted);
    }
}

/* Behind what waits already. */
static void conn_receive_behind(struct mqtt_conn *conn, struct bytes in)
{
    while (!mqtt_input_empty(&conn->input)) {
        if (!conn_reads(conn)) {
            conn_keep(conn, in, 0);
            return;
        }
        if (!conn_complete(conn, &in)) {
            return;
        }
        conn_take_waiting(conn);
    }
    if (conn->state != CONN_CLOSING) {
        size_t taken = conn_consume(conn, in);
        conn_keep(conn, bytes_of(in.data + taken, in.size - taken), 0);
    }
}

void mqtt_conn_receive(struct mqtt_conn *conn, struct bytes in)
{
    conn_check(conn);
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
    conn_flow(conn);
    conn_check(conn);
}

/* ---- the clock ------------------------------------------------------------------------------------------------------------- */

static uint64_t keep_alive_ns(const struct mqtt_conn *conn)
{
    return conn->client.keep_alive_s * 1500ull * 1000 * 1000; /* one and a half times [MQTT-3.1.2-22] */
}

static void conn_tick(struct timer *timer, uint64_t now_ns);

/* The next time at which a deadline of this state can pass. */
static void conn_arm(struct mqtt_conn *conn)
{
    struct mqtt_client *client = &conn->client;
    if (conn->state == CONN_WAIT_CONNECT) {
        timer_arm(client->env->timers, &client->timer, conn->connect_deadline_ns, conn_tick);
    } else if (conn->state == CONN_OPEN && client->keep_alive_s != 0) {
        timer_arm(client->env->timers, &client->timer, conn->last_packet_ns + keep_alive_ns(conn), conn_tick);
    }
}

static bool keep_alive_passed(struct mqtt_conn *conn, uint64_t now_ns)
{
    if (conn->state != CONN_OPEN || conn->client.keep_alive_s == 0 ||
        now_ns < conn->last_packet_ns + keep_alive_ns(conn)) {
        return false;
    }
    if (!conn_reads(conn)) { /* it is we who do not read: its time starts again */
        conn->last_packet_ns = now_ns;
        return false;
    }
    return true;
}

/* Packets are armed for lazily: the timer is moved when it fires, not when they come. */
static void conn_tick(struct timer *timer, uint64_t now_ns)
{
    struct mqtt_conn *conn = conn_of(CONTAINER_OF(timer, struct mqtt_client, timer));
    conn_check(conn);
    if (conn->state == CONN_WAIT_CONNECT && now_ns >= conn->connect_deadline_ns) {
        conn->client.env->counters.timeouts++;
        conn_fault(conn, 0, mqtt_fault(MQTT_UNSPECIFIED_ERROR, "no CONNECT within the time allowed"));
        return;
    }
    if (keep_alive_passed(conn, now_ns)) {
        conn->client.env->counters.timeouts++;
        conn_fault(conn, 0,
                   mqtt_fault(MQTT_KEEP_ALIVE_TIMEOUT, "nothing came within one and a half times its keep alive"));
        return;
    }
    conn_arm(conn);
    conn_check(conn);
}

/* ---- kernel -> connection ---------------------------------------------------------------------------------------------------- */

static void on_opened(struct client *kernel_client, int status, bool session_present)
{
    struct mqtt_conn *conn = conn_of(mqtt_client_of(kernel_client));
    if (conn->state != CONN_OPENING) {
        return;
    }
    if (status != 0) {
        conn->session = false;
        conn_dismiss(conn, conn->client.version, mqtt_connect_fault(status));
        return;
    }
    sm_step(conn_states, &conn->state, CONN_OPEN);
    conn->last_packet_ns = conn->client.env->now_ns;
    mqtt_connack_accept(&conn->client, session_present);
    conn_arm(conn);
    if (!conn->busy && !mqtt_input_empty(&conn->input)) {
        mqtt_client_soon(&conn->client);
    }
}

static void on_evicted(struct client *kernel_client, enum evict_reason why)
{
    static const struct {
        uint8_t     reason_code;
        const char *why;
    } reasons[] = {
        [EVICT_TAKEN_OVER]  = {MQTT_SESSION_TAKEN_OVER, "another connection took its session over"},
        [EVICT_OVERRUN]     = {MQTT_QUOTA_EXCEEDED, "it does not keep up with its messages"},
        [EVICT_UNAVAILABLE] = {MQTT_SERVER_BUSY, "its session cannot be served"},
        [EVICT_SHUTDOWN]    = {MQTT_SERVER_SHUTTING_DOWN, "this broker stops"},
    };
    struct mqtt_conn *conn  = conn_of(mqtt_client_of(kernel_client));
    struct mqtt_fault fault = mqtt_fault(reasons[why].reason_code, reasons[why].why);
    conn->session           = false;
    if (conn->state == CONN_OPENING) { /* CONNACK knows fewer reasons than DISCONNECT */
        fault.reason_code =
            why == EVICT_UNAVAILABLE || why == EVICT_SHUTDOWN ? MQTT_SERVER_UNAVAILABLE : MQTT_SERVER_BUSY;
    }
    if (why == EVICT_OVERRUN) {
        conn_log(conn, fault);
    }
    if (conn->state != CONN_CLOSING) {
        conn_dismiss(conn, conn->client.version, fault);
    }
}

static void on_pause(struct client *kernel_client, bool paused)
{
    struct mqtt_conn *conn = conn_of(mqtt_client_of(kernel_client));
    conn->paused           = paused;
    if (!conn->busy) {
        if (paused) {
            conn_flow(conn);
        } else {
            mqtt_client_soon(&conn->client);
        }
    }
}

static const struct client_ops conn_ops = {
    .opened           = on_opened,
    .evicted          = on_evicted,
    .published        = mqtt_published,
    .publish_released = mqtt_publish_released,
    .deliver          = mqtt_deliver,
    .deliver_release  = mqtt_deliver_release,
    .subscribed       = mqtt_subscribed,
    .unsubscribed     = mqtt_unsubscribed,
    .pause            = on_pause,
    .uncache          = mqtt_uncache,
};

/* ---- shard -> connection ------------------------------------------------------------------------------------------------------ */

struct mqtt_conn *mqtt_conn_new(struct mqtt_env *env, struct outq *out, void *peer, const char *peer_name)
{
    struct mqtt_conn *conn = calloc(1, sizeof *conn);
    if (conn == NULL) {
        return NULL;
    }
    mqtt_client_init(&conn->client, env, out);
    conn->client.kernel.ops   = &conn_ops;
    conn->peer                = peer;
    conn->peer_name           = peer_name;
    conn->receiving           = true;
    conn->connect_deadline_ns = env->now_ns + env->limits->connect_timeout_ns;
    conn_arm(conn);
    return conn;
}

static void conn_look_after(struct mqtt_conn *conn)
{
    conn_check(conn);
    if (conn->client.doom.why != NULL) {
        conn_fault(conn, conn->client.version, conn->client.doom);
        return;
    }
    conn_take_waiting(conn);
    conn_flow(conn);
    conn_check(conn);
}

void mqtt_conn_turn(struct mqtt_env *env)
{
    size_t count = 0; /* what is added from now on is for the next turn */
    LIST_EACH (&env->soon, counted) {
        count++;
    }
    for (; count > 0 && !list_empty(&env->soon); count--) {
        struct list *link = list_pop_front(&env->soon);
        conn_look_after(conn_of(CONTAINER_OF(link, struct mqtt_client, soon)));
    }
}

bool mqtt_conn_turn_wanted(const struct mqtt_env *env)
{
    return !list_empty(&env->soon);
}

void mqtt_conn_writable(struct mqtt_conn *conn)
{
    struct mqtt_client *client = &conn->client;
    struct mqtt_env    *env    = client->env;
    if (conn->state == CONN_OPEN && client->wants_writable &&
        client->out->size_bytes <= env->limits->output_max_bytes / 2) {
        client->wants_writable = false;
        env->kernel_api->writable(env->kernel, &client->kernel);
    }
    conn_take_waiting(conn);
    conn_flow(conn);
}

void mqtt_conn_stop(struct mqtt_conn *conn)
{
    if (conn->state != CONN_CLOSING) {
        uint8_t reason_code = conn->state == CONN_OPEN ? MQTT_SERVER_SHUTTING_DOWN : MQTT_SERVER_UNAVAILABLE;
        conn_dismiss(conn, conn->client.version, mqtt_fault(reason_code, "this broker stops"));
    }
}

void mqtt_conn_closed(struct mqtt_conn *conn)
{
    static const struct close_request keep_will = {0};
    struct mqtt_env                  *env       = conn->client.env;
    if (conn->session) {
        conn->session = false;
        env->kernel_api->close(env->kernel, &conn->client.kernel, &keep_will);
    }
    mqtt_input_fini(&conn->input);
    mqtt_client_fini(&conn->client);
    free(conn);
}

const char *mqtt_conn_state_name(const struct mqtt_conn *conn)
{
    return conn_states[conn->state].name;
}

struct bytes mqtt_conn_client_id(const struct mqtt_conn *conn)
{
    return bytes_of(conn->client.id, conn->client.id_size);
}

uint8_t mqtt_conn_version(const struct mqtt_conn *conn)
{
    return conn->client.version;
}

size_t mqtt_conn_memory_bytes(const struct mqtt_conn *conn)
{
    const struct mqtt_client *client = &conn->client;
    return sizeof *conn + (client->id == NULL ? 0 : client->id_size + 1) + conn->input.capacity +
           client->qos2_in.capacity * sizeof(uint16_t) + mqtt_aliases_memory_bytes(client->aliases_in) +
           mqtt_aliases_memory_bytes(client->aliases_out);
}
