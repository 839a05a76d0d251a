/* env.c - defaults, and the memory that connections share. */
#include "broker/protocol/mqtt/env.h"

#include "broker/protocol/mqtt/deliver.h"

#include <stdlib.h>

const struct mqtt_limits mqtt_limits_default = {
    .packet_max_bytes          = 1 << 20,
    .receive_max               = 1024,
    .topic_alias_in_max        = 32,
    .topic_alias_out_max       = 32,
    .qos_max                   = 2,
    .retain_available          = true,
    .wildcard_available        = true,
    .shared_available          = true,
    .subscription_id_available = true,
    .session_expiry_max_s      = EXPIRY_NEVER,
    .connect_timeout_ns        = 10ull * 1000 * 1000 * 1000,
    .topic_bytes_max           = 65535,
    .topic_levels_max          = 65536,
    .client_id_bytes_max       = 65535,
    .output_max_bytes          = 1 << 20,
};

void mqtt_env_init(struct mqtt_env *env)
{
    list_init(&env->soon);
    env->cache_free    = NULL;
    env->scratch       = NULL;
    env->scratch_bytes = 0;
    memset(env->logs, 0, sizeof env->logs);
}

void mqtt_env_fini(struct mqtt_env *env)
{
    mqtt_caches_free(env);
    free(env->scratch);
    env->scratch       = NULL;
    env->scratch_bytes = 0;
}

uint8_t *mqtt_env_scratch(struct mqtt_env *env, size_t size)
{
    if (env->scratch_bytes < size) {
        uint8_t *larger = realloc(env->scratch, size);
        if (larger == NULL) {
            return NULL;
        }
        env->scratch       = larger;
        env->scratch_bytes = size;
    }
    return env->scratch;
}
