/* known.c - who another node is: of this cluster, made like this one, and with the disk that it had before. */
#include "segstore/node/peers/peers.h"

#include "shared/base/err.h"

uint64_t node_incarnation(const struct node *node)
{
    uint64_t incarnation;
    memcpy(&incarnation, node->storage->super.id.bytes, sizeof incarnation);
    return incarnation;
}

static const struct known *known_find(const struct node *node, uint16_t id)
{
    for (uint32_t i = 0; i < node->known_count; i++) {
        if (node->known[i].node == id) {
            return &node->known[i];
        }
    }
    return NULL;
}

void peer_remember(struct node *node, uint16_t id, uint64_t incarnation)
{
    if (known_find(node, id) == NULL && node->known_count < NODE_KNOWN_MAX) {
        node->known[node->known_count++] = (struct known){.node = id, .incarnation = incarnation};
    }
}

void peers_known_put(const struct node *node, struct wire_writer *w)
{
    wire_put_u8(w, (uint8_t)node->known_count);
    for (uint32_t i = 0; i < node->known_count; i++) {
        wire_put_u16(w, node->known[i].node);
        wire_put_u64(w, node->known[i].incarnation);
    }
}

void peers_known_get(struct node *node, struct wire_reader *r)
{
    for (uint8_t count = wire_get_u8(r); count > 0 && !r->bad; count--) {
        uint16_t id = wire_get_u16(r);
        peer_remember(node, id, wire_get_u64(r));
    }
}

bool peer_known(struct node *node, uint16_t id, uint64_t incarnation)
{
    const struct known *known = known_find(node, id);
    if (known != NULL) {
        return known->incarnation == incarnation;
    }
    uint8_t                bytes[10];
    struct wire_writer     w     = wire_writer_fixed(bytes, sizeof bytes);
    const struct log_entry entry = {.stripe  = node->stripes[0].id,
                                    .kind    = LOG_PEER,
                                    .wall_ns = io_wall_ns(node->io),
                                    .ops     = bytes_of(bytes, sizeof bytes)};
    wire_put_u16(&w, id);
    wire_put_u64(&w, incarnation);
    if (storage_append(node->storage, &entry, NULL) < 0) {
        return false; /* no room in the log now: it calls again */
    }
    peer_remember(node, id, incarnation); /* what is promised to it is written behind this */
    return true;
}

int peer_hello(struct session *s, struct wire_reader *r, const char **why)
{
    struct node                  *node  = s->node;
    const struct segstore_config *c     = node->config;
    uint32_t                      magic = wire_get_u32(r);
    uint16_t                      major = wire_get_u16(r);
    (void)wire_get_u16(r);
    uint64_t cluster      = wire_get_u64(r);
    uint16_t from         = wire_get_u16(r);
    uint16_t to           = wire_get_u16(r);
    s->wanted_shard       = wire_get_u32(r);
    uint32_t shard_count  = wire_get_u32(r);
    uint32_t stripe_count = wire_get_u32(r);
    uint64_t incarnation  = wire_get_u64(r);
    if (r->bad || magic != RPC_MAGIC) {
        *why = "the first frame must be HELLO";
        return ERR_MALFORMED;
    }
    if (major != RPC_VERSION_MAJOR) {
        *why = "this node speaks another version";
        return ERR_VERSION;
    }
    if (cluster != node->storage->super.cluster) {
        *why = "this node belongs to another cluster: look at segstore.cluster and segstore.nodes";
        return ERR_CONFLICT;
    }
    if (to != c->node || peer_find(node, from) == NULL) {
        *why = "segstore.nodes differs between the two nodes: this one has another number, or does not know yours";
        return ERR_CONFLICT;
    }
    if (shard_count != c->shards || stripe_count != c->stripes) {
        *why = "this node has another number of shards or stripes: all nodes of a cluster have the same";
        return ERR_CONFLICT;
    }
    /* Of a directory per shard: the one that it is of knows. */
    if (s->wanted_shard == node->shard && !peer_known(node, from, incarnation)) {
        *why = "the data directory of your node is not the one that it had: a node whose disk was lost comes back "
               "under a new number";
        return ERR_CONFLICT;
    }
    s->peer = from;
    return 0;
}

void peer_welcome(struct session *s, uint64_t id)
{
    size_t begun = session_begin(s, RPC_PEER_WELCOME, id);
    wire_put_u64(&s->out, s->node->storage->super.cluster);
    wire_put_u64(&s->out, node_incarnation(s->node));
    wire_put_u64(&s->out, io_wall_ns(s->node->io));
    session_end(s, begun);
}
