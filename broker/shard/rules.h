/* rules - the lists among the settings, read into what the rooms take.
 * Lifetime: filled once at start; borrows its texts from the settings, which outlive it.   Threads: constant once shards run. */
#ifndef KEEL_BROKER_SHARD_RULES_H
#define KEEL_BROKER_SHARD_RULES_H

#include "broker/kernel/share.h"
#include "broker/topic/automatic.h"
#include "shared/base/assert.h"
#include "shared/config/config.h"

#include <stddef.h>

struct settings;

enum { SHARE_RULES_MAX = 1024 };

struct rules {
    struct share_rules share;
    struct share_rule  share_rules[SHARE_RULES_MAX];
    struct automatic   automatic;
    struct config_list rewrites; /* understood; each shard compiles its own */
};

/* 0, or ERR_MALFORMED with a sentence that names the item. */
MUST_CHECK int rules_read(struct rules *rules, const struct settings *settings, char *why, size_t why_size);

struct rewrite;
/* The rules for one shard. NULL: no memory. */
struct rewrite *rules_rewrite(const struct rules *rules);

#endif
