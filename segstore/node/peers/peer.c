/* peer.c - what comes from the other nodes: who they are, and what their replicas say. */
#include "segstore/node/replica/members.h"
#include "segstore/node/replica/message.h"
#include "segstore/node/peers/peers.h"
#include "segstore/node/refill/refill.h"

#include "shared/base/err.h"
#include "shared/base/log.h"

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

/* Entries: taken whole, refused, or later. */
static int append(struct session *s, struct node_stripe *st, const struct raft_message *m, uint64_t chain,
                  struct wire_reader *r)
{
    st->left_nonce     = 0; /* what is acknowledged from here on may count */
    struct node *node  = s->node;
    uint64_t     now   = io_now_ns(node->io);
    size_t       bytes = wire_left(r);
    if (!message_get_entries(r, st->id, m, chain, node->incoming, node->incoming_terms)) {
        log_error("node %u sent entries of stripe %u that are damaged: its connection is closed", s->peer, st->id);
        session_close(s);
        return 0;
    }
    if (!wal_roomy(&node->storage->wal, bytes + m->count * (size_t)BLOCK_ENTRY_BYTES)) {
        return ERR_FULL;
    }
    bool fits = true;
    for (uint32_t i = 0; i < m->count; i++) {
        struct raft_members members;
        fits = fits && block_size_for(node->incoming[i].ops.size) <= node->storage->segments.segment_bytes;
        fits = fits && (node->incoming[i].kind != LOG_MEMBERS || members_get(node->incoming[i].ops, &members));
    }
    if (bytes >= STORAGE_LARGE_BYTES && !storage_places(node->storage, bytes)) {
        fits = false;
    }
    if (!fits || st->stopped || st->installing || (m->count > 0 && !storage_admits(node->storage, STORAGE_SMALL))) {
        raft_append_refuse(st->raft, m, now);
        return 0;
    }
    if (m->index + 1 >= st->entries.first && m->index < st->entries.end &&
        raft_term_at(st->raft, m->index) == m->log_term && entries_chain(&st->entries, m->index) != chain) {
        log_error("stripe %u: node %u has another history up to entry %llu than this node", st->id, s->peer,
                  (unsigned long long)m->index);
        replica_repair(st, "its history differs from the leader's");
        return 0;
    }
    struct raft_message message = *m;
    message.terms               = node->incoming_terms;
    struct raft_taken taken     = raft_append(st->raft, &message, now);
    if (taken.take) {
        replica_take(st, node->incoming + taken.skip, m->count - taken.skip);
    }
    return 0;
}

static void pulse(struct session *s, uint16_t kind, struct wire_reader *r)
{
    struct peer *p      = peer_find(s->node, s->peer);
    int          result = kind == RPC_PULSE ? pulse_receive(p, r) : pulse_answered(p, r);
    if (result == ERR_CONFLICT) {
        log_info("node %u said over an old connection that its stripes beat, or something was lost on the way: this "
                 "connection is closed, the next one begins anew",
                 s->peer);
    } else if (result < 0) {
        log_error("node %u sent heartbeats that are malformed: its connection is closed", s->peer);
    }
    if (result < 0) {
        session_close(s);
    }
}

int peer_frame(struct session *s, uint16_t kind, uint64_t id, struct bytes body)
{
    struct node        *node = s->node;
    struct wire_reader  r    = wire_reader_of(body);
    struct raft_message message;
    uint16_t            stripe;
    uint64_t            chain;
    if (kind == RPC_PING) {
        size_t   begun    = session_begin(s, RPC_PONG, id);
        uint64_t asked_ns = wire_get_u64(&r);
        if (!r.bad) {
            wire_put_u64(&s->out, asked_ns);
            wire_put_u64(&s->out, io_wall_ns(node->io));
        }
        session_end(s, begun);
        return 0;
    }
    if (kind == RPC_IMAGE) {
        return image_receive(s, &r);
    }
    if (kind == RPC_REPAIR_ASK) {
        repair_asked(s, &r);
        return 0;
    }
    if (kind == RPC_REPAIR_ANSWER) {
        repair_answered(s, &r);
        return 0;
    }
    if (kind == RPC_REFILL_ASK) {
        refill_asked(s, &r);
        return 0;
    }
    if (kind == RPC_REFILL) {
        refill_answered(s, &r);
        return 0;
    }
    if (kind == RPC_PULSE || kind == RPC_PULSE_ACK) {
        pulse(s, kind, &r);
        return 0;
    }
    if (kind == RPC_PLAN) {
        plan_receive(node, &r);
        return 0;
    }
    if (kind == RPC_LEFT_ASK) {
        leave_asked(s, &r);
        return 0;
    }
    if (kind == RPC_LEFT) {
        leave_told(s, &r);
        return 0;
    }
    if (kind != RPC_RAFT) {
        return 0;
    }
    if (!message_get(&r, &stripe, &message, &chain)) {
        log_error("node %u sent a message that is malformed: its connection is closed", s->peer);
        session_close(s);
        return 0;
    }
    struct node_stripe *st = stripe_slot(node, stripe);
    if (st == NULL) {
        return 0;
    }
    message.from = s->peer;
    message.to   = node->config->node;
    replica_touch(st);
    if (message.kind == RAFT_APPEND) {
        return append(s, st, &message, chain, &r);
    }
    raft_receive(st->raft, &message, io_now_ns(node->io));
    return 0;
}
