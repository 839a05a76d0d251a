/* conn.c - on top: what the kernel, the clock and the shard tell the connection of one client. */
#include "broker/protocol/mqtt/conn.h"

#include "broker/protocol/mqtt/alias.h"
#include "broker/protocol/mqtt/connect.h"
#include "broker/protocol/mqtt/deliver.h"
#include "broker/protocol/mqtt/life.h"
#include "broker/protocol/mqtt/login.h"
#include "broker/protocol/mqtt/publish.h"
#include "broker/protocol/mqtt/receive.h"
#include "broker/protocol/mqtt/subscribe.h"
#include "broker/protocol/mqtt/topics.h"

#include <stdlib.h>

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
    if (conn->state == CONN_WAIT_CONNECT || conn->state == CONN_AUTHENTICATING) {
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
    if (!mqtt_conn_reads(conn)) { /* it is we who do not read: its time starts again */
        conn->last_packet_ns = now_ns;
        return false;
    }
    return true;
}

/* Packets are armed for lazily: the timer is moved when it fires, not when they come. */
static void conn_tick(struct timer *timer, uint64_t now_ns)
{
    struct mqtt_conn *conn = mqtt_conn_of(CONTAINER_OF(timer, struct mqtt_client, timer));
    mqtt_conn_check(conn);
    if (conn->state == CONN_WAIT_CONNECT && now_ns >= conn->connect_deadline_ns) {
        conn->client.env->counters.timeouts++;
        mqtt_conn_fault(conn, 0, mqtt_fault(MQTT_UNSPECIFIED_ERROR, "no CONNECT within the time allowed"));
        return;
    }
    if (conn->state == CONN_AUTHENTICATING && now_ns >= conn->connect_deadline_ns) {
        conn->client.env->counters.timeouts++;
        mqtt_conn_fault(
            conn, conn->client.version,
            mqtt_login_listens(&conn->client)
                ? mqtt_fault(MQTT_NOT_AUTHORIZED, "it did not say who it is within the time allowed")
                : mqtt_fault(MQTT_SERVER_UNAVAILABLE, "who it is was not found out within the time allowed"));
        return;
    }
    if (keep_alive_passed(conn, now_ns)) {
        conn->client.env->counters.timeouts++;
        mqtt_conn_fault(conn, 0,
                        mqtt_fault(MQTT_KEEP_ALIVE_TIMEOUT, "nothing came within one and a half times its keep alive"));
        return;
    }
    conn_arm(conn);
    mqtt_conn_check(conn);
}

/* ---- kernel -> connection ---------------------------------------------------------------------------------------------------- */

static void on_opened(struct client *kernel_client, int status, bool session_present)
{
    struct mqtt_conn *conn = mqtt_conn_of(mqtt_client_of(kernel_client));
    if (conn->state != CONN_OPENING) {
        return;
    }
    if (status != 0) {
        conn->session = false;
        mqtt_conn_dismiss(conn, conn->client.version, mqtt_connect_fault(status));
        return;
    }
    sm_step(mqtt_conn_states, &conn->state, CONN_OPEN);
    conn->last_packet_ns = conn->client.env->now_ns;
    mqtt_connack_accept(&conn->client, session_present);
    mqtt_login_done(&conn->client);
    conn_arm(conn);
    if (session_present && conn->client.ticket != NULL) { /* rules may have changed while it was away */
        conn->client.recheck = true;
        mqtt_client_soon(&conn->client);
    }
    if (conn->client.env->topics != NULL && conn->client.env->topics->automatic->count != 0) {
        conn->client.automatic = true; /* before it is read again */
        mqtt_client_soon(&conn->client);
    }
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
    struct mqtt_conn *conn  = mqtt_conn_of(mqtt_client_of(kernel_client));
    struct mqtt_fault fault = mqtt_fault(reasons[why].reason_code, reasons[why].why);
    conn->session           = false;
    if (conn->state == CONN_OPENING) { /* CONNACK knows fewer reasons than DISCONNECT */
        fault.reason_code =
            why == EVICT_UNAVAILABLE || why == EVICT_SHUTDOWN ? MQTT_SERVER_UNAVAILABLE : MQTT_SERVER_BUSY;
    }
    if (why == EVICT_OVERRUN) {
        mqtt_conn_log(conn, fault);
    }
    if (conn->state != CONN_CLOSING) {
        mqtt_conn_dismiss(conn, conn->client.version, fault);
    }
}

static void on_pause(struct client *kernel_client, bool paused)
{
    struct mqtt_conn *conn = mqtt_conn_of(mqtt_client_of(kernel_client));
    conn->paused           = paused;
    if (!conn->busy) {
        if (paused) {
            mqtt_conn_flow(conn);
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

void mqtt_conn_identify(struct mqtt_conn *conn, const struct peer_identity *identity)
{
    conn->client.identity = identity;
}

static void conn_look_after(struct mqtt_conn *conn)
{
    mqtt_conn_check(conn);
    if (conn->client.doom.why != NULL) {
        mqtt_conn_fault(conn, conn->client.version, conn->client.doom);
        return;
    }
    if (UNLIKELY(conn->client.recheck)) {
        mqtt_login_recheck(conn);
    }
    if (conn->client.automatic) {
        conn->client.automatic = false;
        mqtt_topics_subscribe(&conn->client);
    }
    mqtt_conn_take_waiting(conn);
    mqtt_conn_flow(conn);
    mqtt_conn_check(conn);
}

void mqtt_conn_turn(struct mqtt_env *env)
{
    size_t count = 0; /* what is added from now on is for the next turn */
    LIST_EACH (&env->soon, counted) {
        count++;
    }
    for (; count > 0 && !list_empty(&env->soon); count--) {
        struct list *link = list_pop_front(&env->soon);
        conn_look_after(mqtt_conn_of(CONTAINER_OF(link, struct mqtt_client, soon)));
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
    mqtt_conn_take_waiting(conn);
    mqtt_conn_flow(conn);
}

void mqtt_conn_stop(struct mqtt_conn *conn)
{
    if (conn->state != CONN_CLOSING) {
        uint8_t reason_code = conn->state == CONN_OPEN ? MQTT_SERVER_SHUTTING_DOWN : MQTT_SERVER_UNAVAILABLE;
        mqtt_conn_dismiss(conn, conn->client.version, mqtt_fault(reason_code, "this broker stops"));
    }
}

bool mqtt_conn_move(struct mqtt_conn *conn)
{
    ASSERT(conn->client.env->moved != NULL);
    if (conn->state != CONN_OPEN) {
        return false;
    }
    mqtt_conn_dismiss(conn, conn->client.version, mqtt_connect_moved(conn->client.env));
    return true;
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
    return mqtt_conn_states[conn->state].name;
}

uint8_t mqtt_conn_version(const struct mqtt_conn *conn)
{
    return conn->client.version;
}

size_t mqtt_conn_memory_bytes(const struct mqtt_conn *conn)
{
    const struct mqtt_client *client = &conn->client;
    return sizeof *conn + mqtt_login_memory_bytes(client) + (client->id == NULL ? 0 : client->id_size + 1) +
           conn->input.capacity + client->qos2_in.capacity * sizeof(uint16_t) +
           mqtt_aliases_memory_bytes(client->aliases_in) + mqtt_aliases_memory_bytes(client->aliases_out);
}
