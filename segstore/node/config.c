/* config.c - the list of nodes. */
#include "segstore/node/config.h"

#include "segstore/log/entries.h"
#include "shared/base/err.h"
#include "shared/config/settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool rack_read(const char *text, struct segstore_node *out)
{
    size_t size = strlen(text);
    if (size == 0 || size >= sizeof out->rack) {
        return false;
    }
    for (size_t i = 0; i < size; i++) {
        bool plain = (text[i] >= '0' && text[i] <= '9') || (text[i] >= 'a' && text[i] <= 'z') ||
                     (text[i] >= 'A' && text[i] <= 'Z') || strchr("-_.", text[i]) != NULL;
        if (!plain) {
            return false;
        }
    }
    memcpy(out->rack, text, size + 1);
    return true;
}

/* "2@10.0.0.2:7400", "3@[fd00::3]:7400", "4@store-4:7400", each with /RACK or without */
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
    if (size == 0 || size >= sizeof out->address || end == port + 1 || (*end != '\0' && *end != '/') || number == 0 ||
        number > UINT16_MAX) {
        return false;
    }
    *out = (struct segstore_node){.id = (uint16_t)id, .port = (uint16_t)number};
    memcpy(out->address, host, size);
    return *end == '\0' || rack_read(end + 1, out);
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
    c->node             = (uint16_t)settings->node;
    c->node_count       = 0;
    c->cluster          = NULL;
    c->join             = settings->join;
    c->heartbeat_ns     = settings->heartbeat_ms * 1000000u;
    c->election_ns      = settings->election_ms * 1000000u;
    c->replicas         = (uint32_t)settings->replicas;
    c->replace_after_ns = settings->replace_after_s * 1000000000u;
    c->kept_entries     = settings->catchup_memory / sizeof(struct log_slot);
    c->transfer_rate    = settings->transfer_rate;
    c->transfer_rate_min =
        settings->transfer_rate_min < settings->transfer_rate ? settings->transfer_rate_min : settings->transfer_rate;
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
            snprintf(why, why_size,
                     "segstore.nodes: \"%s\" is not NUMBER@HOST:PORT or NUMBER@HOST:PORT/RACK, like 2@10.0.0.2:7400/a "
                     "(a rack has "
                     "at most %d letters, digits, dots and dashes)",
                     item, SEGSTORE_RACK_MAX - 1);
            return ERR_MALFORMED;
        }
        if (known(c, node.id)) {
            snprintf(why, why_size, "segstore.nodes names node %u twice", node.id);
            return ERR_MALFORMED;
        }
        if (c->node_count > 0 && (node.rack[0] == '\0') != (c->nodes[0].rack[0] == '\0')) {
            snprintf(why, why_size,
                     "segstore.nodes names a rack for some nodes and none for others: name one for each, or for none");
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

uint16_t segstore_config_founders(const struct segstore_config *c, uint16_t out[SEGSTORE_FOUNDERS_MAX])
{
    uint16_t count = 0;
    bool     among = false;
    for (uint32_t i = 0; i < c->node_count && i < SEGSTORE_FOUNDERS_MAX && !c->join; i++) {
        out[count++] = c->nodes[i].id;
        among        = among || c->nodes[i].id == c->node;
    }
    return among ? count : 0;
}

uint16_t segstore_config_rack(const struct segstore_config *c, uint16_t id)
{
    const struct segstore_node *node = NULL;
    uint16_t                    rack = 0;
    for (uint32_t i = 0; i < c->node_count; i++) {
        node = c->nodes[i].id == id ? &c->nodes[i] : node;
    }
    for (uint32_t i = 0; node != NULL && node->rack[0] != '\0' && i < c->node_count; i++) {
        if (strcmp(c->nodes[i].rack, node->rack) == 0 && (rack == 0 || c->nodes[i].id < rack)) {
            rack = c->nodes[i].id;
        }
    }
    return rack;
}
