/* upgrade - the HTTP request that begins a WebSocket, and its answer.
 * The request may come in any pieces; it is bounded (8 KiB) and not kept but for the few fields that matter.
 * Threads: the shard.   Source: RFC 6455, 4.2; MQTT 5.0, 6 [MQTT-6.0.0-3] [MQTT-6.0.0-4]. */
#ifndef KEEL_BROKER_TRANSPORT_UPGRADE_H
#define KEEL_BROKER_TRANSPORT_UPGRADE_H

#include "shared/base/assert.h"
#include "shared/base/bytes.h"

enum { UPGRADE_ANSWER_MAX_BYTES = 512 };

struct upgrade;
/* NULL: out of memory. path: what the request must ask for; outlives the upgrade. */
struct upgrade *upgrade_new(const char *path);
void            upgrade_free(struct upgrade *upgrade);

/* Takes bytes; *used: how many, less than all when the request ended before. 0: more is needed; 101: the answer says yes and frames follow; another
 * HTTP status: the answer says why not. */
MUST_CHECK int upgrade_feed(struct upgrade *upgrade, struct bytes in, size_t *used);
/* After a status: what to send. */
struct bytes upgrade_answer(const struct upgrade *upgrade);

#endif
