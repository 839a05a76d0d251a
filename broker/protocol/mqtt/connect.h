/* connect - CONNECT and CONNACK: who the client is, what it may do, what it is told.
 * Threads: the shard of the connection. */
#ifndef KEEL_BROKER_PROTOCOL_MQTT_CONNECT_H
#define KEEL_BROKER_PROTOCOL_MQTT_CONNECT_H

#include "broker/protocol/mqtt/client.h"
#include "shared/base/wire.h"

/* A decoded CONNECT: takes over all it says but the will. A fault refuses it. */
/* env.moved is set: why clients are not let in, and the property that says where to go, if reason_code is that one. */
struct mqtt_fault            mqtt_connect_moved(const struct mqtt_env *env);
void                         mqtt_put_reference(const struct mqtt_env *env, uint8_t reason_code, struct wire_writer *w);
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
