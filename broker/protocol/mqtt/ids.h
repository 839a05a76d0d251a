/* ids - a set of packet identifiers: the QoS 2 publishes that a client has not completed, so that each counts once against Receive Maximum
 * however often it is sent. Open addressing, a power of two of slots, 0 is an empty slot (no packet id is 0). Empty it takes no memory.
 * Threads: the shard of the connection. */
#ifndef KEEL_BROKER_PROTOCOL_MQTT_IDS_H
#define KEEL_BROKER_PROTOCOL_MQTT_IDS_H

#include "shared/base/assert.h"

#include <stdint.h>

struct mqtt_ids {
    uint16_t *slots;
    uint32_t  capacity; /* of slots; at least 4/3 of count */
    uint32_t  count;
};

bool mqtt_ids_has(const struct mqtt_ids *ids, uint16_t id);
/* 0, also when it is there already; ERR_FULL: out of memory. */
MUST_CHECK int mqtt_ids_add(struct mqtt_ids *ids, uint16_t id);
/* Does nothing when it is not there. */
void mqtt_ids_remove(struct mqtt_ids *ids, uint16_t id);
void mqtt_ids_fini(struct mqtt_ids *ids);

#endif
