/* sub - who is subscribed to what: the tree's contents, and what the other shards are told of them.
 * Threads: the shard. */
#ifndef KEEL_BROKER_KERNEL_SUB_H
#define KEEL_BROKER_KERNEL_SUB_H

#include "broker/kernel/state.h"

/* The subscription of owner to filter, or NULL. */
struct sub *sub_find(struct kernel *kernel, const struct subscriber *owner, struct bytes filter);
/* Adds or replaces. kind: LINK_LIVE, LINK_STORED. NULL when memory is out. Announces what other shards must know of a LINK_LIVE. */
struct sub *sub_put(struct kernel *kernel, struct subscriber *owner, enum link_kind kind, struct bytes filter,
                    uint8_t flags, uint32_t id);
void        sub_remove(struct kernel *kernel, struct sub *sub);
void        sub_remove_all(struct kernel *kernel, struct subscriber *owner);

/* Of one that is not shared; valid until kernel.key is used again. */
struct bytes sub_filter(struct kernel *kernel, const struct sub *sub);

#endif
