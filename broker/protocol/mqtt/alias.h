/* alias - topic aliases of MQTT 5 (3.3.2.3.4) of one connection, in both directions.
 *
 *   in    alias 1..max -> topic, as the client sets and changes them
 *   out   topic -> alias 1..max, ours: the one used longest ago makes room for a new topic
 *
 * Tables are allocated with the first alias, topics are copied. Both end with the connection [MQTT-3.3.2-7].
 * Threads: the shard of the connection. */
#ifndef KEEL_BROKER_PROTOCOL_MQTT_ALIAS_H
#define KEEL_BROKER_PROTOCOL_MQTT_ALIAS_H

#include "shared/base/assert.h"
#include "shared/base/bytes.h"

struct mqtt_aliases;

/* alias 1..max of a table that may be NULL; max is always the same for one table. 0, or ERR_FULL: out of memory. */
MUST_CHECK int mqtt_alias_set(struct mqtt_aliases **table, uint16_t max, uint16_t alias, struct bytes topic);
/* Its topic; size 0: it was never set. */
struct bytes mqtt_alias_topic(const struct mqtt_aliases *table, uint16_t alias);

/* The alias of topic: *out_known says that the client has been told; otherwise it is the one to tell, and mqtt_alias_set must follow once the packet
 * that tells is queued. */
uint16_t mqtt_alias_choose(struct mqtt_aliases *table, uint16_t max, struct bytes topic, bool *out_known);

/* Topics included; 0 for NULL. */
size_t mqtt_aliases_memory_bytes(const struct mqtt_aliases *table);
void   mqtt_aliases_free(struct mqtt_aliases *table);

#endif
