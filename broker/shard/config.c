/* config.c - settings to the limits of each room. */
#include "broker/shard/config.h"

#include "shared/base/err.h"
#include "shared/config/settings.h"

#include <stdio.h>
#include <string.h>

/* What all clients of a process may have queued for sending: far above what sockets take, far below what hurts. */
static const uint64_t output_pool_bytes = UINT64_C(1) << 30;
/* Publishes of one client that may wait for the segment store besides its Receive Maximum, which bounds QoS 1 and 2 anyway. */
enum { PUBLISH_PENDING_SLACK = 64, UNIX_ADDRESS_MAX_BYTES = 112, SOCKETS_SLACK = 1024 };
_Static_assert((int)CONFIG_ADDRESSES_MAX <= (int)STORE_SEEDS_MAX, "seeds of the segment store");

/* Clients are counted over all shards; the kernel hands their connections out by chance, and other sockets need places too. */
static uint32_t sockets_max(uint64_t connections_max, unsigned shard_count)
{
    uint64_t fair = connections_max / shard_count;
    return (uint32_t)(fair + fair / 4 + SOCKETS_SLACK);
}

int broker_config_init(struct broker_config *config, const struct settings *settings, unsigned shard_count, char *why,
                       size_t why_size)
{
    *config = (struct broker_config){
        .handshakes_max    = (uint32_t)settings->tls_handshakes_max,
        .sockets_max       = sockets_max(settings->connections_max, shard_count),
        .output_pool_bytes = output_pool_bytes / shard_count,
    };
    const struct config_address *listen[TRANSPORT_KINDS] = {
        [TRANSPORT_TCP] = &settings->mqtt_listen,
        [TRANSPORT_TLS] = &settings->mqtts_listen,
        [TRANSPORT_WS]  = &settings->ws_listen,
        [TRANSPORT_WSS] = &settings->wss_listen,
    };
    config->proxied[TRANSPORT_TCP] = settings->mqtt_proxy;
    config->proxied[TRANSPORT_TLS] = settings->mqtts_proxy;
    config->proxied[TRANSPORT_WS]  = settings->ws_proxy;
    config->proxied[TRANSPORT_WSS] = settings->wss_proxy;
    if (!networks_read(settings->proxy_trusted, &config->proxies, why, why_size)) {
        return ERR_MALFORMED;
    }
    static const uint32_t modes[] = {0600, 0660, 0666};
    struct listen_at     *local   = &config->listen[TRANSPORT_UNIX];
    local->mode                   = modes[settings->mqtt_unix_mode];
    if (*settings->mqtt_unix != '\0' &&
        snprintf(local->address, sizeof local->address, "unix:%s", settings->mqtt_unix) > UNIX_ADDRESS_MAX_BYTES) {
        snprintf(why, why_size, "mqtt.unix: the path of a socket has at most 107 bytes, not %zu",
                 strlen(settings->mqtt_unix));
        return ERR_MALFORMED;
    }
    config->loopback[TRANSPORT_UNIX] = true;
    for (int kind = 0; kind < TRANSPORT_UNIX; kind++) {
        snprintf(config->listen[kind].address, sizeof config->listen[kind].address, "%s", listen[kind]->host);
        config->listen[kind].port = listen[kind]->port;
        config->loopback[kind]    = network_is_loopback(listen[kind]->host);
    }
    snprintf(config->ws_path, sizeof config->ws_path, "%s", settings->ws_path);
    for (uint32_t i = 0; i < settings->segstore_address.count; i++) {
        const struct config_address *seed = &settings->segstore_address.at[i];
        snprintf(config->store.seeds[i].address, sizeof config->store.seeds[i].address, "%s", seed->host);
        config->store.seeds[i].port = seed->port;
    }
    config->store.seed_count = settings->segstore_address.count;

    config->auth = (struct auth_config){
        .links                   = {AUTH_LINK_CERT, AUTH_LINK_PASSWORD, AUTH_LINK_JWT, AUTH_LINK_HTTP},
        .link_count              = AUTH_LINKS,
        .anonymous               = (uint8_t)settings->auth_anonymous,
        .default_allow           = settings->acl_default == 0,
        .argon2_memory_kib       = (uint32_t)settings->argon2_memory_kib,
        .argon2_passes           = (uint32_t)settings->argon2_passes,
        .scram_iterations        = (uint32_t)settings->scram_iterations,
        .login_url               = settings->auth_http_url,
        .access_url              = settings->acl_http_url,
        .hook_token              = settings->hook_token,
        .hook_down               = (uint8_t)settings->hook_down,
        .connections_max         = (uint32_t)settings->connections_max,
        .connections_per_address = (uint32_t)settings->connections_per_address,
        .connections_per_user    = (uint32_t)settings->connections_per_user,
        .flap_connects           = (uint32_t)settings->flap_connects,
        .flap_window_ns          = settings->flap_window_s * 1000000000u,
        .flap_ban_ns             = settings->flap_ban_s * 1000000000u,
        .hook_timeout_ms         = (uint32_t)settings->hook_timeout_ms,
        .hook_cache_entries      = (uint32_t)settings->hook_cache_entries,
        .hook_cache_ms           = (uint32_t)settings->hook_cache_ms,
        .jwt_issuer              = settings->jwt_issuer,
        .jwt_audience            = settings->jwt_audience,
        .jwt_user_claim          = settings->jwt_user_claim,
        .jwt_leeway_s            = (uint32_t)settings->jwt_leeway_s,
        .jwt_disconnects         = settings->jwt_disconnect,
        .password_name           = settings->auth_password_file,
        .acl_name                = settings->acl_file,
    };
    config->sys_interval_ns           = settings->sys_interval_s * 1000000000u;
    config->mqtt                      = mqtt_limits_default;
    config->mqtt.denied_ends_v3       = settings->acl_denied_v3 == 1;
    config->mqtt.denied_hidden        = settings->acl_denied == 1;
    config->mqtt.packet_max_bytes     = (uint32_t)settings->packet_max_bytes;
    config->mqtt.receive_max          = (uint16_t)settings->receive_max;
    config->mqtt.topic_alias_in_max   = (uint16_t)settings->topic_alias_max;
    config->mqtt.keep_alive_max_s     = (uint16_t)settings->keep_alive_max_s;
    config->mqtt.connect_timeout_ns   = settings->connect_timeout_s * 1000000000u;
    config->mqtt.retain_available     = settings->retain;
    config->mqtt.qos_max              = (uint8_t)settings->qos_max;
    config->mqtt.wildcard_available   = settings->wildcards;
    config->mqtt.shared_available     = settings->shared;
    config->mqtt.session_expiry_max_s = (uint32_t)settings->session_expiry_max_s;
    config->mqtt.topic_bytes_max      = (uint32_t)settings->topic_bytes_max;
    config->mqtt.topic_levels_max     = (uint32_t)settings->topic_levels_max;
    config->mqtt.client_id_bytes_max  = (uint32_t)settings->client_id_bytes_max;
    config->mqtt.publish_rate         = settings->publish_rate;
    config->mqtt.publish_bytes_rate   = settings->publish_bytes_rate;
    config->mqtt.publish_patience_ns  = settings->publish_patience_s * 1000000000u;
    config->mqtt.connect_rate         = (settings->connection_rate + shard_count - 1) / shard_count;

    config->kernel = (struct kernel_limits){
        .subscriptions_max    = (uint32_t)settings->subscriptions_max,
        .inflight_max         = (uint32_t)settings->inflight_max,
        .publish_pending_max  = (uint32_t)settings->receive_max + PUBLISH_PENDING_SLACK,
        .live_queue_bytes     = (uint32_t)settings->live_queue_bytes,
        .overrun_after_ns     = settings->overrun_after_ms * 1000000u,
        .session_expiry_max_s = (uint32_t)settings->session_expiry_max_s,
        .retain_available     = settings->retain,
        .events_per_s         = (uint32_t)settings->events_rate,
        .own_topics_ignored   = settings->sys_publish == 1,
        .delayed_max_s        = (uint32_t)settings->delayed_max_s,
        .share                = &config->rules.share,
    };
    return rules_read(&config->rules, settings, why, why_size);
}
