/* publish - PUBLISH from the client and its answers, in both directions of the acknowledgement.
 *
 *   client                        kernel
 *   PUBLISH QoS 1 ------------->  publish ........ published -> PUBACK
 *   PUBLISH QoS 2 ------------->  publish ........ published -> PUBREC
 *   PUBREL -------------------->  publish_release  publish_released -> PUBCOMP
 *   PUBACK, PUBCOMP ----------->  done
 *   PUBREC -------------------->  received ....... deliver_release -> PUBREL   (deliver.h)
 *
 * Answers come in the order of the publishes, from the kernel [MQTT-4.6.0-2] [MQTT-4.6.0-3].
 * Threads: the shard of the connection. */
#ifndef KEEL_BROKER_PROTOCOL_MQTT_PUBLISH_H
#define KEEL_BROKER_PROTOCOL_MQTT_PUBLISH_H

#include "broker/protocol/mqtt/client.h"

/* A decoded PUBLISH. A fault closes the connection. */
MUST_CHECK struct mqtt_fault mqtt_publish_take(struct mqtt_client *client, const struct mqtt_publish *publish);
/* A decoded PUBACK, PUBREC, PUBREL or PUBCOMP. A fault closes the connection: it is not what the delivery waits for. */
MUST_CHECK struct mqtt_fault mqtt_ack_take(struct mqtt_client *client, enum mqtt_type type, const struct mqtt_ack *ack);

/* client_ops.published and .publish_released. */
void mqtt_published(struct client *client, uint16_t id, uint8_t qos, int status, bool matched);
void mqtt_publish_released(struct client *client, uint16_t id, int status);

#endif
