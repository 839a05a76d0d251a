/* rules - the lists among the settings, read into what the rooms take.
 * Lifetime: filled once at start; borrows its texts from the settings, which outlive it.   Threads: constant once shards run. */
#ifndef KEEL_BROKER_SHARD_RULES_H
#define KEEL_BROKER_SHARD_RULES_H

#include "broker/kernel/share.h"
#include "shared/base/assert.h"

#include <stddef.h>

struct settings;

enum { SHARE_RULES_MAX = 1024 };

struct rules {
    struct share_rules share;
    struct share_rule  share_rules[SHARE_RULES_MAX];
};

/* 0, or ERR_MALFORMED with a sentence that names the item. */
MUST_CHECK int rules_read(struct rules *rules, const struct settings *settings, char *why, size_t why_size);

#endif
