/* sub - who is subscribed to what: the tree's contents, and what the other shards are told of them.
 * Threads: the shard. */
#ifndef KEEL_BROKER_KERNEL_SUB_H
#define KEEL_BROKER_KERNEL_SUB_H

#include "broker/kernel/state.h"

/* Which other shards have live subscribers of one filter, and how many there are here. */
struct interest {
    struct match_link   link;
    struct hashmap_node by_node;
    uint64_t            any;     /* shards: for QoS 0 */
    uint64_t            quality; /* shards: for QoS 1 and 2 too: live sessions, or granted 0 */
    uint32_t            any_here;
    uint32_t            quality_here;
};

/* The subscription of owner to filter, or NULL. */
struct sub *sub_find(struct kernel *kernel, const struct subscriber *owner, struct bytes filter);
/* Adds or replaces. kind: LINK_LIVE, LINK_STORED. NULL when memory is out. Announces what other shards must know of a LINK_LIVE. */
struct sub *sub_put(struct kernel *kernel, struct subscriber *owner, enum link_kind kind, struct bytes filter,
                    uint8_t flags, uint32_t id);
void        sub_remove(struct kernel *kernel, struct sub *sub);
void        sub_remove_all(struct kernel *kernel, struct subscriber *owner);
/* Another shard said so. flags: 1 any, 2 quality; 0: none any more. */
void sub_interest(struct kernel *kernel, unsigned from, uint8_t flags, struct bytes filter);

#endif
