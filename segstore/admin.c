/* admin.c - see admin.h. */
#include "segstore/admin.h"

#include "segstore/board.h"
#include "segstore/status/status.h"
#include "shared/admin/admin.h"

#include <stdio.h>
#include <stdlib.h>

static bool is_ready(void *ctx, char *why, size_t why_size)
{
    struct store_admin *admin = ctx;
    if (atomic_load_explicit(&admin->stopping, memory_order_relaxed)) {
        snprintf(why, why_size, "the store stops");
        return false;
    }
    if (atomic_load_explicit(&admin->port, memory_order_relaxed) == 0) {
        snprintf(why, why_size, "the log in %s is being read", admin->config->data_directory);
        return false;
    }
    return true;
}

static char *print_metrics(void *ctx, size_t *out_size)
{
    struct store_admin  *admin  = ctx;
    struct shard_status *shards = board_look(admin->board);
    char                *text   = shards == NULL ? NULL : status_metrics(shards, admin->config->shards, out_size);
    free(shards);
    return text;
}

static void add_node(struct nodes_status *nodes, uint16_t node, const char *host, uint16_t port, const char *rack)
{
    struct config_address address = {.port = port};
    snprintf(address.host, sizeof address.host, "%s", host);
    config_address_text(&address, nodes->at[nodes->count].address, sizeof nodes->at[0].address);
    snprintf(nodes->at[nodes->count].rack, sizeof nodes->at[0].rack, "%s", rack);
    nodes->at[nodes->count++].node = node;
}

static void nodes_from(struct nodes_status *nodes, const struct store_admin *admin)
{
    const struct segstore_config *config = admin->config;

    nodes->cluster = config->cluster != NULL ? config->cluster : "";
    nodes->self    = config->node;
    nodes->count   = 0;
    for (uint32_t i = 0; i < config->node_count; i++) {
        add_node(nodes, config->nodes[i].id, config->nodes[i].address, config->nodes[i].port, config->nodes[i].rack);
    }
    if (nodes->count == 0) { /* it stands alone */
        add_node(nodes, config->node, config->listen_address,
                 (uint16_t)atomic_load_explicit(&admin->port, memory_order_relaxed), "");
    }
}

static char *print_cluster(void *ctx, size_t *out_size)
{
    struct store_admin  *admin  = ctx;
    struct shard_status *shards = board_look(admin->board);
    struct nodes_status  nodes;
    nodes_from(&nodes, admin);
    char *text = shards == NULL ? NULL : status_cluster(&nodes, shards, admin->config->shards, out_size);
    free(shards);
    return text;
}

int store_admin_start(struct store_admin *admin, const struct config_address *at, const struct segstore_config *config,
                      struct board *board, char *why, size_t why_size)
{
    const struct admin_page pages[] = {{"/metrics", ADMIN_TYPE_METRICS, print_metrics, admin},
                                       {"/cluster", "application/json", print_cluster, admin},
                                       {NULL}};
    const struct admin_spec spec    = {.address = at->host,
                                       .port    = at->port,
                                       .flag    = "--segstore-admin",
                                       .ready   = is_ready,
                                       .pages   = pages,
                                       .paths   = "/health /ready /metrics /cluster",
                                       .ctx     = admin};
    *admin                          = (struct store_admin){.board = board, .config = config, .at = *at};
    if (at->host[0] == '\0') {
        return 0;
    }
    int result = admin_start(&spec, &admin->http, why, why_size);
    if (result == 0) {
        admin->at.port = admin_port(admin->http);
    }
    return result;
}

void store_admin_ready(struct store_admin *admin, uint16_t port)
{
    atomic_store_explicit(&admin->port, port, memory_order_relaxed);
}

void store_admin_stopping(struct store_admin *admin)
{
    atomic_store_explicit(&admin->stopping, true, memory_order_relaxed);
}

void store_admin_stop(struct store_admin *admin)
{
    admin_stop(admin->http);
    admin->http = NULL;
}
