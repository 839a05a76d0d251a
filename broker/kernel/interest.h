/* interest - which other shards of this broker have live subscribers of a filter, so that a publish is mailed to those alone.
 *
 *     first live subscriber of a filter here, last one gone, first to whom QoS 1 and 2 are owed ..
 *         ──▶ MAIL_INTEREST, announced to every other shard ──▶ filter without wildcards: by hash (exact.h)
 *                                                             with wildcards: LINK_INTEREST in the filter tree
 *
 * Threads: the shard. */
#ifndef KEEL_BROKER_KERNEL_INTEREST_H
#define KEEL_BROKER_KERNEL_INTEREST_H

#include "broker/kernel/state.h"

/* Of a filter with wildcards. */
struct interest {
    struct match_link   link;
    struct hashmap_node by_node;
    uint64_t            any;     /* shards: for QoS 0 */
    uint64_t            quality; /* shards: for QoS 1 and 2 too: live sessions, or granted 0 */
    uint32_t            any_here;
    uint32_t            quality_here;
};

/* A live subscriber of filter came; quality: QoS 1 and 2 are owed to it. False when memory is out. */
MUST_CHECK bool interest_in(struct kernel *kernel, struct bytes filter, bool quality);
/* One that came has gone. */
void interest_out(struct kernel *kernel, struct bytes filter, bool quality);
/* From now on what is here is counted, if it was not: it is about to be told to somebody. */
void interest_track(struct kernel *kernel);
/* All that is here, to one shard. */
void interest_tell(struct kernel *kernel, unsigned shard);
/* That shard has gone. */
void interest_lost(struct kernel *kernel, unsigned shard);
/* MAIL_INTEREST of another shard. */
void interest_receive(struct kernel *kernel, unsigned from, const struct kernel_mail *mail);
/* Shards with live subscribers of exactly this topic; those with wildcards are in the tree. */
uint64_t interest_exact(const struct kernel *kernel, struct bytes topic, uint8_t qos);
void     interest_fini(struct kernel *kernel);

#endif
