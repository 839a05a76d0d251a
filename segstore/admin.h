/* admin - what a segment store answers to operators over HTTP (shared/admin/admin.h), from what its shards put on the board.
 *
 *   GET /ready     200 when brokers and other nodes can come; whether every stripe is served is told by /cluster
 *   GET /metrics   segstore/status/metrics.c        GET /cluster   segstore/status/cluster.c
 *
 * Nothing can be changed here.
 * Lifetime: from before the shards start until they have ended.   Threads: start and stop from main, the marks from any. */
#ifndef KEEL_SEGSTORE_ADMIN_H
#define KEEL_SEGSTORE_ADMIN_H

#include "segstore/node/config.h"
#include "shared/config/config.h"

#include <stdatomic.h>

struct admin;
struct board;

struct store_admin {
    struct admin                 *http; /* NULL: off */
    struct board                 *board;
    const struct segstore_config *config;
    struct config_address         at;   /* where it listens */
    _Atomic uint32_t              port; /* of RPC; 0: not ready */
    _Atomic bool                  stopping;
};

/* at: an empty host is off. config and board outlive it. 0, or -errno with a sentence in why. */
MUST_CHECK int store_admin_start(struct store_admin *admin, const struct config_address *at,
                                 const struct segstore_config *config, struct board *board, char *why, size_t why_size);
/* Brokers can connect to this port: from here on /ready is 200. Relaxed, like the next one: it pairs with nothing. */
void store_admin_ready(struct store_admin *admin, uint16_t port);
/* From here on it is 503. */
void store_admin_stopping(struct store_admin *admin);
void store_admin_stop(struct store_admin *admin);

#endif
