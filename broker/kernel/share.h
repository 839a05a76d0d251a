/* share - what an operator says about shared subscriptions: which member of a group gets a message.
 *
 *   round_robin     each in its turn
 *   random          any
 *   sticky          the one that has been a member for longest, until it goes or takes nothing now
 *   hash_client     by who published; members that stay keep their publishers when others come and go
 *   hash_topic      by topic, likewise
 *   least_inflight  the one with the fewest unacknowledged messages
 *
 * Threads: any; constant once the broker runs. */
#ifndef KEEL_BROKER_KERNEL_SHARE_H
#define KEEL_BROKER_KERNEL_SHARE_H

#include "shared/base/bytes.h"

enum share_strategy {
    SHARE_ROUND_ROBIN,
    SHARE_RANDOM,
    SHARE_STICKY,
    SHARE_HASH_CLIENT,
    SHARE_HASH_TOPIC,
    SHARE_LEAST_INFLIGHT,
    SHARE_STRATEGIES
};

struct share_rule {
    struct bytes        group;
    enum share_strategy strategy;
};

struct share_rules {
    enum share_strategy      strategy; /* of groups without a rule */
    const struct share_rule *rules;
    uint32_t                 count;
};

/* rules may be NULL: round robin. */
enum share_strategy share_strategy_of(const struct share_rules *rules, struct bytes group);
/* The strategy of that name; false: there is none. */
bool share_strategy_named(struct bytes name, enum share_strategy *out);

#endif
