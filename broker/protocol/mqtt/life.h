/* life - one connection and the states of its life; how it ends. The picture is in conn.h.
 *
 * dispatch.c and receive.c stand on it, conn.c on top of them. Nothing else looks inside.
 * Threads: the shard that made it. */
#ifndef KEEL_BROKER_PROTOCOL_MQTT_LIFE_H
#define KEEL_BROKER_PROTOCOL_MQTT_LIFE_H

#include "broker/protocol/mqtt/client.h"
#include "broker/protocol/mqtt/conn.h"
#include "broker/protocol/mqtt/input.h"
#include "shared/base/assert.h"
#include "shared/base/sm.h"

enum conn_state { CONN_WAIT_CONNECT, CONN_AUTHENTICATING, CONN_OPENING, CONN_OPEN, CONN_CLOSING };

extern const struct sm_state mqtt_conn_states[];

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

static inline struct mqtt_conn *mqtt_conn_of(struct mqtt_client *client)
{
    return CONTAINER_OF(client, struct mqtt_conn, client);
}

/* Its invariant. */
static inline void mqtt_conn_check(const struct mqtt_conn *conn)
{
    ASSERT_SLOW(IMPLIES(conn->state < CONN_OPENING || conn->state == CONN_CLOSING, !conn->session));
    ASSERT_SLOW(IMPLIES(conn->state == CONN_OPEN, conn->session && conn->client.version != 0));
    ASSERT_SLOW(IMPLIES(conn->state == CONN_CLOSING, conn->input.data == NULL));
}

/* Why it is closed, once per client and second. */
void mqtt_conn_log(struct mqtt_conn *conn, struct mqtt_fault fault);
/* The last step from our side, and the only way into CLOSING. */
void mqtt_conn_end(struct mqtt_conn *conn, const struct close_request *request);
/* Says goodbye as state and version have it, then ends. Nothing was said yet: version is what CONNECT asked for, 0 when that is not known. */
void mqtt_conn_dismiss(struct mqtt_conn *conn, uint8_t version, struct mqtt_fault fault);
/* Counted, logged, dismissed. */
void mqtt_conn_fault(struct mqtt_conn *conn, uint8_t version, struct mqtt_fault fault);

#endif
