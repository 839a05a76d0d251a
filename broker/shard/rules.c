/* rules.c - one function per list. */
#include "broker/shard/rules.h"

#include "broker/topic/rewrite.h"
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

static int read_rewrites(struct rules *rules, const struct settings *settings, char *why, size_t why_size)
{
    char            what[256];
    struct rewrite *tried  = rewrite_new();
    int             result = tried == NULL ? ERR_MALFORMED : 0;
    what[0]                = '\0';
    rules->rewrites        = settings->rewrites;
    for (const char *item = NULL; result == 0 && (item = config_list_next(&settings->rewrites, item)) != NULL;) {
        result = rewrite_add(tried, item, what, sizeof what);
    }
    if (result != 0) {
        snprintf(why, why_size, "mqtt.rewrite: %s", what);
    }
    rewrite_free(tried);
    return result;
}

struct rewrite *rules_rewrite(const struct rules *rules)
{
    char            why[256];
    struct rewrite *rewrite = rewrite_new();
    for (const char *item = NULL; rewrite != NULL && (item = config_list_next(&rules->rewrites, item)) != NULL;) {
        if (rewrite_add(rewrite, item, why, sizeof why) != 0) {
            rewrite_free(rewrite);
            rewrite = NULL;
        }
    }
    return rewrite;
}

static int read_automatic(struct rules *rules, const struct settings *settings, char *why, size_t why_size)
{
    char what[256];
    rules->automatic = (struct automatic){0};
    for (const char *item = NULL; (item = config_list_next(&settings->automatics, item)) != NULL;) {
        if (automatic_add(&rules->automatic, item, what, sizeof what) != 0) {
            snprintf(why, why_size, "mqtt.auto_subscribe: %s", what);
            return ERR_MALFORMED;
        }
    }
    return 0;
}

int rules_read(struct rules *rules, const struct settings *settings, char *why, size_t why_size)
{
    int result = read_share(rules, settings, why, why_size);
    if (result == 0) {
        result = read_rewrites(rules, settings, why, why_size);
    }
    return result != 0 ? result : read_automatic(rules, settings, why, why_size);
}
