/* deliver - a message on its way to one client, encoded straight into its output.
 *
 *   1st of a fan-out                 encoded in the client's output
 *   2nd with the same version, QoS   encoded once more, in the cache of the message, and copied
 *       and RETAIN, nothing of its own
 *   3rd and following                copied (under 2 KiB) or referenced; only the packet id is written anew
 *
 * What has DUP, subscription identifiers or a topic alias is encoded for its client alone.
 * Threads: the shard of the connection. */
#ifndef KEEL_BROKER_PROTOCOL_MQTT_DELIVER_H
#define KEEL_BROKER_PROTOCOL_MQTT_DELIVER_H

#include "broker/protocol/mqtt/client.h"

/* client_ops.deliver, .deliver_release and .uncache. */
enum deliver_result mqtt_deliver(struct client *client, struct delivery *delivery);
void                mqtt_deliver_release(struct client *client, uint16_t id);
void                mqtt_uncache(void *cache);

/* Frees the caches that are not in use. */
void mqtt_caches_free(struct mqtt_env *env);

#endif
