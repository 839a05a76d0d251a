/* peer.c - what comes from the other nodes: what their replicas say. Who they are: known.c. */
#include "segstore/node/replica/members.h"
#include "segstore/node/replica/message.h"
#include "segstore/node/peers/peers.h"
#include "segstore/node/refill/refill.h"

#include "shared/base/err.h"
#include "shared/base/log.h"

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
