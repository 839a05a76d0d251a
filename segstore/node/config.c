/* config.c - the list of nodes. */
#include "segstore/node/config.h"

#include "shared/base/err.h"
#include "shared/config/settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "2@10.0.0.2:7400", "3@[fd00::3]:7400", "4@store-4:7400" */
static bool node_read(const char *item, struct segstore_node *out)
{
    char         *end  = NULL;
    unsigned long id   = strtoul(item, &end, 10);
    const char   *host = end + 1;
    const char   *port = strrchr(item, ':');
    if (end == item || *end != '@' || id == 0 || id > UINT16_MAX || port == NULL || port < host) {
        return false;
    }
    size_t size = (size_t)(port - host);
    if (size >= 2 && host[0] == '[' && host[size - 1] == ']') {
        host++;
        size -= 2;
    }
    unsigned long number = strtoul(port + 1, &end, 10);
    if (size == 0 || size >= sizeof out->address || end == port + 1 || *end != '\0' || number == 0 ||
        number > UINT16_MAX) {
        return false;
    }
    *out = (struct segstore_node){.id = (uint16_t)id, .port = (uint16_t)number};
    memcpy(out->address, host, size);
    return true;
}

static bool known(const struct segstore_config *c, uint16_t id)
{
    for (uint32_t i = 0; i < c->node_count; i++) {
        if (c->nodes[i].id == id) {
            return true;
        }
    }
    return false;
}

int segstore_config_nodes(struct segstore_config *c, const struct settings *settings, char *why, size_t why_size)
{
    c->node         = (uint16_t)settings->node;
    c->node_count   = 0;
    c->cluster      = NULL;
    c->join         = settings->join;
    c->heartbeat_ns = settings->heartbeat_ms * 1000000u;
    c->election_ns  = settings->election_ms * 1000000u;
    if (settings->election_ms < 4 * settings->heartbeat_ms) {
        snprintf(why, why_size,
                 "segstore.election of %u ms is less than 4 times segstore.heartbeat (%u ms): raise it, or leaders are "
                 "given up while they live",
                 (unsigned)settings->election_ms, (unsigned)settings->heartbeat_ms);
        return ERR_MALFORMED;
    }
    for (const char *item = NULL; (item = config_list_next(&settings->nodes, item)) != NULL;) {
        struct segstore_node node;
        if (!node_read(item, &node)) {
            snprintf(why, why_size, "segstore.nodes: \"%s\" is not NUMBER@HOST:PORT, like 2@10.0.0.2:7400", item);
            return ERR_MALFORMED;
        }
        if (known(c, node.id)) {
            snprintf(why, why_size, "segstore.nodes names node %u twice", node.id);
            return ERR_MALFORMED;
        }
        if (c->node_count == SEGSTORE_NODES_MAX) {
            snprintf(why, why_size, "segstore.nodes names more than %d nodes", SEGSTORE_NODES_MAX);
            return ERR_MALFORMED;
        }
        c->nodes[c->node_count++] = node;
    }
    if (c->node_count == 0) {
        return 0;
    }
    if (!known(c, c->node)) {
        snprintf(why, why_size, "segstore.node is %u, but segstore.nodes does not name that node", c->node);
        return ERR_MALFORMED;
    }
    if (settings->cluster[0] == '\0') {
        snprintf(why, why_size, "segstore.nodes needs segstore.cluster: a name, the same on all nodes");
        return ERR_MALFORMED;
    }
    c->cluster = settings->cluster;
    return 0;
}
