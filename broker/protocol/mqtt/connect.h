/* connect - CONNECT and CONNACK: who the client is, what it may do, what it is told.
 * Threads: the shard of the connection. */
#ifndef KEEL_BROKER_PROTOCOL_MQTT_CONNECT_H
#define KEEL_BROKER_PROTOCOL_MQTT_CONNECT_H

#include "broker/protocol/mqtt/client.h"

/* A decoded CONNECT: takes over all it says but the will. A fault refuses it. */
MUST_CHECK struct mqtt_fault mqtt_connect_take(struct mqtt_client *client, const struct mqtt_connect *connect);
/* The same CONNECT, from a client that is let in: asks the kernel to open the session; the answer is client_ops.opened. A fault: it was not asked. */
MUST_CHECK struct mqtt_fault mqtt_connect_open(struct mqtt_client *client, const struct mqtt_connect *connect);

/* The CONNACK that lets the client in. */
void mqtt_connack_accept(struct mqtt_client *client, bool session_present);
/* The CONNACK that does not. Nothing is sent when version is unknown (0), or is 3.x and what is wrong has no return code there. */
void mqtt_connack_refuse(struct mqtt_client *client, uint8_t version, struct mqtt_fault fault);
/* Why kernel_open failed, for mqtt_connack_refuse. */
struct mqtt_fault mqtt_connect_fault(int status);

#endif
