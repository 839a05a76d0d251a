/* share - a handful of rules, looked through when a group is made. */
#include "broker/kernel/share.h"

static const char *const names[SHARE_STRATEGIES] = {
    [SHARE_ROUND_ROBIN] = "round_robin", [SHARE_RANDOM] = "random",         [SHARE_STICKY] = "sticky",
    [SHARE_HASH_CLIENT] = "hash_client", [SHARE_HASH_TOPIC] = "hash_topic", [SHARE_LEAST_INFLIGHT] = "least_inflight",
};

enum share_strategy share_strategy_of(const struct share_rules *rules, struct bytes group)
{
    for (uint32_t i = 0; rules != NULL && i < rules->count; i++) {
        if (bytes_equal(rules->rules[i].group, group)) {
            return rules->rules[i].strategy;
        }
    }
    return rules == NULL ? SHARE_ROUND_ROBIN : rules->strategy;
}

bool share_strategy_named(struct bytes name, enum share_strategy *out)
{
    for (int i = 0; i < SHARE_STRATEGIES; i++) {
        if (bytes_equal(name, bytes_str(names[i]))) {
            *out = (enum share_strategy)i;
            return true;
        }
    }
    return false;
}
