/* subscribe - SUBSCRIBE and UNSUBSCRIBE, and the one reply each gets [MQTT-3.8.4-5] [MQTT-3.8.4-6].
 *
 *   filters of the packet   f0 f1 f2 .. f299
 *   asked of the kernel     [f0 .. f255] [f256 .. f299]    in order; what a limit of ours forbids is not asked
 *   reply                   one code each, sent when the last is there
 *
 * Threads: the shard of the connection.   Memory: a reply that waits is one allocation of a byte per filter. */
#ifndef KEEL_BROKER_PROTOCOL_MQTT_SUBSCRIBE_H
#define KEEL_BROKER_PROTOCOL_MQTT_SUBSCRIBE_H

#include "broker/protocol/mqtt/client.h"

MUST_CHECK struct mqtt_fault mqtt_subscribe_take(struct mqtt_client *client, const struct mqtt_subscribe *subscribe);
MUST_CHECK struct mqtt_fault mqtt_unsubscribe_take(struct mqtt_client          *client,
                                                   const struct mqtt_subscribe *unsubscribe);

/* client_ops.subscribed and .unsubscribed. */
void mqtt_subscribed(struct client *client, uint16_t id, const int *results, int count);
void mqtt_unsubscribed(struct client *client, uint16_t id, const int *results, int count);

/* Forgets the replies that wait. */
void mqtt_replies_free(struct mqtt_client *client);

#endif
