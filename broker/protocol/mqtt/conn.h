/* conn - the life of one MQTT client over bytes: no socket, no clock, no thread of its own.
 *
 *                 CONNECT                  let in             opened(0)
 *   WAIT_CONNECT ---------->  AUTHENTICATING ------->  OPENING ---------->  OPEN
 *        |                       |                         |                  |    DISCONNECT, a fault, keep alive, evicted
 *        | fault, time-out       | refused, time-out       | refused, evicted |
 *        '-----------------------'-------------------------'--> CLOSING <-----'    what is queued is sent, then the shard closes
 *                                                 |
 *                                            mqtt_conn_closed: freed, from any state
 *
 * Input is read where it lies. Only the tail of a packet that is incomplete is copied, into memory that grows with what has arrived (never
 * beyond the packet's announced size, which was checked first) and is given back with the packet. While the client may not be read (the
 * kernel pauses it, the session is being opened, its output or its replies pile up) all of the rest is kept.
 *
 * A fault of the client is answered as its version has it: MQTT 5 with CONNACK or DISCONNECT and a reason code, 3.x by closing (CONNACK when
 * there is a return code); it is logged once per client and second.
 *
 * Threads: the shard that made it.   Memory: 512 bytes or less when idle, the session in the kernel apart. */
#ifndef KEEL_BROKER_PROTOCOL_MQTT_CONN_H
#define KEEL_BROKER_PROTOCOL_MQTT_CONN_H

#include "broker/protocol/mqtt/env.h"
#include "shared/mem/outq.h"

struct mqtt_conn;
struct peer_identity;

/* A client that connected just now. out: where to write to it; peer: handed to the port; peer_name: for the log. All outlive the connection.
 * NULL: out of memory. */
struct mqtt_conn *mqtt_conn_new(struct mqtt_env *env, struct outq *out, void *peer, const char *peer_name);

/* Before its first byte: what is known of the peer. Outlives the connection. */
void mqtt_conn_identify(struct mqtt_conn *conn, const struct peer_identity *identity);
/* Bytes from the client, split anywhere. Borrowed. */
void mqtt_conn_receive(struct mqtt_conn *conn, struct bytes in);
/* Once per turn, before kernel_end: takes up what callbacks of the kernel left to be done. */
void mqtt_conn_turn(struct mqtt_env *env);
/* Should the next turn come without sleeping? Asked last thing in a turn. */
bool mqtt_conn_turn_wanted(const struct mqtt_env *env);
/* Output was sent: less of it is queued than before. */
void mqtt_conn_writable(struct mqtt_conn *conn);
/* The broker stops: says so to the client (0x8B) and asks the port to close. */
void mqtt_conn_stop(struct mqtt_conn *conn);
/* env.moved is set: tells the client so and asks the port to close. False: it is not let in, or closing already. */
bool mqtt_conn_move(struct mqtt_conn *conn);
/* The socket is gone; so is conn when this returns. */
void mqtt_conn_closed(struct mqtt_conn *conn);

/* "open" and the like; never NULL. */
const char *mqtt_conn_state_name(const struct mqtt_conn *conn);
uint8_t     mqtt_conn_version(const struct mqtt_conn *conn);
/* Memory that this connection holds now, what it reaches included, kernel and output apart. */
size_t mqtt_conn_memory_bytes(const struct mqtt_conn *conn);

#endif
