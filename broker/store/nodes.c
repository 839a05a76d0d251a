/* nodes.c - learned from those who answer. */
#include "broker/store/nodes.h"

#include "broker/store/route.h"
#include "shared/loop/io.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static const uint64_t complain_every_ns = 10000000000u;

static struct store_node *node_of(struct store *store, uint16_t id)
{
    for (uint32_t i = 0; i < store->node_count; i++) {
        if (store->nodes[i].id == id) {
            return &store->nodes[i];
        }
    }
    return NULL;
}

struct link *nodes_link(const struct store *store, uint16_t id, uint16_t stripe)
{
    for (uint32_t i = 0; i < store->node_count && id != 0; i++) {
        const struct store_node *node = &store->nodes[i];
        if (node->id == id && node->link_count == store->shard_count) {
            return node->links[stripe % store->shard_count];
        }
    }
    return NULL;
}

static void link_make(struct store *store, struct store_node *node, uint32_t shard)
{
    struct link *link = calloc(1, sizeof *link);
    store->links      = realloc(store->links, (store->link_count + 1) * sizeof(struct link *));
    ASSERT(link != NULL && store->links != NULL);
    link_init(link);
    link->io                          = store->io;
    link->timers                      = store->timers;
    link->handler                     = store->handler;
    link->ctx                         = store;
    link->address                     = node->address;
    link->port                        = node->port;
    link->shard                       = shard;
    link->instance                    = store->config.instance;
    link->owner                       = store->config.owner;
    link->place                       = store->config.place;
    store->links[store->link_count++] = link;
    node->links[shard]                = link;
    node->link_count                  = shard + 1;
    link_start(link);
}

/* As many as it has shards, as far as that is known. */
static void links_make(struct store *store, struct store_node *node)
{
    node->links = realloc(node->links, store->shard_count * sizeof(struct link *));
    ASSERT(node->links != NULL);
    while (node->link_count < store->shard_count) {
        link_make(store, node, node->link_count);
    }
}

/* NULL: there are too many. */
static struct store_node *node_add(struct store *store, uint16_t id, const char *address, uint16_t port)
{
    if (store->node_count == STORE_NODES_MAX) {
        return NULL;
    }
    struct store_node *node = &store->nodes[store->node_count++];
    *node                   = (struct store_node){.id = id, .port = port};
    snprintf(node->address, sizeof node->address, "%s", address);
    links_make(store, node);
    return node;
}

void nodes_start(struct store *store)
{
    store->shard_count = 1;
    for (uint32_t i = 0; i < store->config.seed_count; i++) {
        (void)node_add(store, 0, store->config.seeds[i].address, store->config.seeds[i].port);
    }
}

void nodes_fini(struct store *store)
{
    for (uint32_t i = 0; i < store->link_count; i++) {
        link_fini(store->links[i]);
        free(store->links[i]);
    }
    for (uint32_t i = 0; i < store->node_count; i++) {
        free(store->nodes[i].links);
    }
    free(store->links);
}

/* ---- what is heard ---------------------------------------------------------------------------------------------- */

static bool may_complain(struct store *store)
{
    uint64_t suppressed = 0;
    return log_allowed(&store->odd, io_now_ns(store->io), complain_every_ns, &suppressed);
}

static bool belongs(struct store *store, const struct link *link, const struct link_welcome *welcome)
{
    if (store->stripe_count == 0) {
        store->cluster      = welcome->cluster;
        store->stripe_count = (uint16_t)welcome->stripe_count;
        store->shard_count  = welcome->shard_count;
        routes_make(store);
        return true;
    }
    if (store->cluster != welcome->cluster) {
        if (may_complain(store)) {
            log_error("the segment store at %s:%u belongs to cluster %016" PRIx64 ", this broker uses %016" PRIx64
                      ": it is not used. Correct segstore.address, or start the broker again if the data directory was "
                      "replaced",
                      link->address, link->port, welcome->cluster, store->cluster);
        }
        return false;
    }
    if (store->stripe_count != welcome->stripe_count || store->shard_count != welcome->shard_count) {
        if (may_complain(store)) {
            log_error("the segment store at %s:%u has %u stripes on %u shards, this broker knows %u on %u: it is not "
                      "used. All nodes need the same numbers; start the broker again if they were changed",
                      link->address, link->port, welcome->stripe_count, welcome->shard_count, store->stripe_count,
                      store->shard_count);
        }
        return false;
    }
    return true;
}

static struct store_node *node_with(struct store *store, const struct link *link)
{
    for (uint32_t i = 0; i < store->node_count; i++) {
        for (uint32_t shard = 0; shard < store->nodes[i].link_count; shard++) {
            if (store->nodes[i].links[shard] == link) {
                return &store->nodes[i];
            }
        }
    }
    return NULL;
}

/* The node at that address has said who it is. */
static bool recognize(struct store *store, struct link *link, uint16_t id)
{
    struct store_node *node = node_with(store, link);
    ASSERT(node != NULL);
    if (node->id == id) {
        return true;
    }
    if (node->id == 0 && node_of(store, id) == NULL) {
        node->id = id;
        return true;
    }
    if (node->id == 0) {
        link->retired = true; /* known by another address */
    } else if (may_complain(store)) {
        log_error(
            "the segment store at %s:%u says that it is node %u, this broker knows it as node %u: it is not used. "
            "Start the broker again if that was changed",
            link->address, link->port, id, node->id);
    }
    return false;
}

/* Where the others are. */
static bool learn(struct store *store, struct wire_reader *r)
{
    uint16_t count = wire_get_u16(r);
    for (uint16_t i = 0; i < count; i++) {
        uint16_t     id   = wire_get_u16(r);
        uint16_t     port = wire_get_u16(r);
        struct bytes text = wire_get_blob(r);
        char         address[STORE_ADDRESS_MAX];
        if (r->bad || id == 0 || text.size == 0 || text.size >= sizeof address) {
            return false;
        }
        memcpy(address, text.data, text.size);
        address[text.size]    = '\0';
        struct store_node *at = node_of(store, id);
        for (uint32_t n = 0; at == NULL && n < store->node_count; n++) {
            struct store_node *seed = &store->nodes[n];
            if (seed->id == 0 && seed->port == port && strcmp(seed->address, address) == 0) {
                at     = seed;
                at->id = id;
            }
        }
        if (at == NULL && node_add(store, id, address, port) == NULL && may_complain(store)) {
            log_error("more than %u nodes and seeds: node %u at %s:%u is not used", (unsigned)STORE_NODES_MAX, id,
                      address, port);
        }
    }
    return true;
}

bool nodes_welcome(struct store *store, struct link *link, const struct link_welcome *welcome)
{
    struct wire_reader r = welcome->nodes;
    if (!belongs(store, link, welcome) || !recognize(store, link, welcome->node) || !learn(store, &r)) {
        return false;
    }
    for (uint32_t i = 0; i < store->node_count; i++) {
        if (store->nodes[i].id != 0) {
            links_make(store, &store->nodes[i]);
        }
    }
    routes_resolve(store);
    return routes_heard(store, &r);
}
