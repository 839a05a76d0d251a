/* pace - how fast a client may publish, and how fast clients may come.
 *
 *   PUBLISH ──▶ within publish_rate and publish_bytes_rate ──▶ on
 *                 └ over ──▶ it is not read until it is within again (TCP slows it down)
 *                              └ over without a break for publish_patience_ns ──▶ DISCONNECT 0x96
 *
 * A burst of what one second allows comes through at once. Nothing is kept for a client when there is no rate.
 * Threads: the shard. */
#ifndef KEEL_BROKER_PROTOCOL_MQTT_PACE_H
#define KEEL_BROKER_PROTOCOL_MQTT_PACE_H

#include "broker/protocol/mqtt/client.h"

struct mqtt_pace;

/* A PUBLISH of so many bytes was taken. */
void mqtt_pace_publish(struct mqtt_client *client, uint64_t bytes);
void mqtt_pace_free(struct mqtt_client *client);

/* Is there a rate for publishes at all? */
static inline bool mqtt_paced(const struct mqtt_limits *limits)
{
    return (limits->publish_rate | limits->publish_bytes_rate) != 0;
}

#endif
