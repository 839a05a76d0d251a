/* relay - packets to shards of other brokers and from them, over any link that is up. What it means is the kernel's (broker/kernel/channel.h).
 * Threads: the broker shard. */
#ifndef KEEL_BROKER_STORE_RELAY_H
#define KEEL_BROKER_STORE_RELAY_H

#include "broker/store/state.h"

/* RPC_RELAY. False: it is not for this shard. */
MUST_CHECK bool relay_arrived(struct store *store, const struct frame *frame);

#endif
