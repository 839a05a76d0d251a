/* config - what the shards of a broker are told: the settings (shared/config/settings.h) in the shapes that its rooms take.
 * Lifetime: filled by main.c before any shard starts, constant from then on. */
#ifndef KEEL_BROKER_SHARD_CONFIG_H
#define KEEL_BROKER_SHARD_CONFIG_H

#include "broker/auth/config.h"
#include "broker/kernel/kernel.h"
#include "broker/protocol/mqtt/conn.h"

#include <stdint.h>

struct settings;

struct broker_config {
    char                 mqtt_address[64];
    uint16_t             mqtt_port;
    char                 segstore_address[64];
    uint16_t             segstore_port;
    uint32_t             connections_max;   /* per shard */
    uint64_t             output_pool_bytes; /* per shard: what all connections together may have queued */
    bool                 mqtt_loopback;     /* that address is reached from this machine only */
    struct auth_config   auth;
    struct mqtt_limits   mqtt;
    struct kernel_limits kernel;
};

/* The texts of files and the chain are filled in by main.c (config->auth). */
void broker_config_init(struct broker_config *config, const struct settings *settings, unsigned shard_count);

#endif
