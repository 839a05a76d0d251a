/* config - what the shards of a broker are told: the settings (shared/config/settings.h) in the shapes that its rooms take.
 * Lifetime: filled by main.c before any shard starts, constant from then on.   Threads: any. */
#ifndef KEEL_BROKER_SHARD_CONFIG_H
#define KEEL_BROKER_SHARD_CONFIG_H

#include "broker/auth/config.h"
#include "broker/kernel/kernel.h"
#include "broker/protocol/mqtt/conn.h"
#include "broker/shard/networks.h"
#include "broker/shard/rules.h"
#include "broker/store/client.h"
#include "broker/transport/transport.h"

#include <stdint.h>

struct settings;

struct broker_config {
    /* Where each kind of connection is accepted; an empty address: nowhere. */
    struct listen_at {
        char     address[128]; /* numeric, or "unix:/path" */
        uint16_t port;
        uint32_t mode; /* of a Unix socket */
    } listen[TRANSPORT_KINDS];
    char                       ws_path[256];
    uint32_t                   handshakes_max; /* TLS, per shard */
    struct store_client_config store;          /* seeds; each shard fills in who it is */
    uint32_t                   sockets_max;    /* per shard; clients are counted by the gate (auth.connections_max) */
    uint64_t                   output_pool_bytes;         /* per shard: what all connections together may have queued */
    bool                       proxied[TRANSPORT_KINDS];  /* a PROXY header comes first */
    struct networks            proxies;                   /* who may send one */
    bool                       loopback[TRANSPORT_KINDS]; /* that address is reached from this machine only */
    struct auth_config         auth;
    uint64_t                   sys_interval_ns; /* 0: nothing under $SYS */
    struct mqtt_limits         mqtt;
    struct kernel_limits       kernel;
    struct rules               rules;
};

/* The settings outlive the config. The texts of files and keys are filled in by main.c (config->auth). 0, or ERR_MALFORMED with a sentence about what cannot be understood. */
MUST_CHECK int broker_config_init(struct broker_config *config, const struct settings *settings, unsigned shard_count,
                                  char *why, size_t why_size);

#endif
