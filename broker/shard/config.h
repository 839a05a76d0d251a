/* config - what a broker can be told, with its defaults. deploy/keel.yaml documents every key.
 * Lifetime: filled by main.c before any shard starts, constant from then on. */
#ifndef KEEL_BROKER_SHARD_CONFIG_H
#define KEEL_BROKER_SHARD_CONFIG_H

#include "broker/kernel/kernel.h"
#include "broker/protocol/mqtt/conn.h"

#include <stdint.h>

struct broker_config {
    char                 mqtt_address[64];
    uint16_t             mqtt_port;
    char                 segstore_address[64];
    uint16_t             segstore_port;
    char                 admin_address[64];
    uint16_t             admin_port;
    uint32_t             shards;
    int32_t              cpu_first;         /* shard i is pinned to core cpu_first + i; -1: not pinned */
    uint32_t             connections_max;   /* per shard */
    uint64_t             output_pool_bytes; /* per shard: what all connections together may have queued */
    struct mqtt_limits   mqtt;
    struct kernel_limits kernel;
};

void broker_config_init(struct broker_config *config);

#endif
