/* rules.c - one function per list. */
#include "broker/shard/rules.h"

#include "shared/base/err.h"
#include "shared/config/settings.h"

#include <stdio.h>

static int read_share(struct rules *rules, const struct settings *settings, char *why, size_t why_size)
{
    rules->share =
        (struct share_rules){.strategy = (enum share_strategy)settings->share_strategy, .rules = rules->share_rules};
    for (const char *item = NULL; (item = config_list_next(&settings->share_strategies, item)) != NULL;) {
        const char        *equal = strrchr(item, '=');
        struct share_rule *rule  = &rules->share_rules[rules->share.count];
        if (rules->share.count == SHARE_RULES_MAX || equal == NULL || equal == item ||
            !share_strategy_named(bytes_str(equal + 1), &rule->strategy)) {
            snprintf(why, why_size,
                     "share.strategies: \"%.80s\" is not GROUP=STRATEGY with one of the strategies of share.strategy",
                     item);
            return ERR_MALFORMED;
        }
        rule->group = bytes_of((const uint8_t *)item, (size_t)(equal - item));
        rules->share.count++;
    }
    return 0;
}

int rules_read(struct rules *rules, const struct settings *settings, char *why, size_t why_size)
{
    return read_share(rules, settings, why, why_size);
}
