/* leave.c - a replica that has moved away from this node gives its disk back.
 *
 *   this node                                                             the stripe's leader
 *   holds entries of a stripe that has no place here ──RPC_LEFT_ASK──▶    certain of its lead, no change under way, this node is no member
 *   nothing of it came in between: empties it        ◀──RPC_LEFT──────
 *
 * An empty log would give its vote to anybody, and it may be asked by one who does not know yet that this node is no member: so it counts as damaged
 * (raft.h) and votes for nobody until it is a member again that holds everything. Term and vote stay. Until a checkpoint holds that, a restart finds the replica as
 * it was, files and all (save_keep), and asks again; or it is a member again by then, and counts as one that never left. */
#include "segstore/node/image/image.h"
#include "segstore/node/peers/peers.h"
#include "segstore/node/refill/refill.h"
#include "segstore/node/state.h"

#include "shared/base/log.h"

static bool has_place(const struct node_stripe *st)
{
    const struct placement *p = &st->node->placements[st->id];
    for (uint8_t i = 0; i < p->count; i++) {
        if (p->nodes[i] == st->node->config->node) {
            return true;
        }
    }
    return false;
}

static bool may_leave(const struct node_stripe *st)
{
    return !has_place(st) && raft_role(st->raft) != RAFT_LEADER && !st->led && !st->stopped && !st->installing &&
           st->still == 0 && (raft_last(st->raft) > 0 || stripe_applied(st->stripe) > 0 || st->image_in != NULL);
}

static void ask(struct node_stripe *st)
{
    const struct placement *place = &st->node->placements[st->id];
    st->left_nonce                = io_random(st->node->io) | 1;
    for (uint8_t i = 0; i < place->count; i++) {
        struct peer *peer = peer_find(st->node, place->nodes[i]);
        if (peer != NULL && peer_roomy(peer)) {
            struct wire_writer *w = peer_begin(peer, RPC_LEFT_ASK);
            wire_put_u16(w, st->id);
            wire_put_u64(w, st->left_nonce);
            peer_end(peer);
        }
    }
}

void leave_turn(struct node *node)
{
    for (uint32_t i = 0; i < node->stripe_count && node->plan.epoch != 0; i++) {
        if (may_leave(&node->stripes[i])) {
            ask(&node->stripes[i]);
        }
    }
}

void leave_asked(struct session *s, struct wire_reader *r)
{
    struct node_stripe *st    = stripe_slot(s->node, wire_get_u16(r));
    uint64_t            nonce = wire_get_u64(r);
    struct peer        *peer  = peer_find(s->node, s->peer);
    if (r->bad || st == NULL || !st->led || !raft_may_change(st->raft) || !peer_roomy(peer) ||
        !raft_lease(st->raft, io_now_ns(s->node->io)) || raft_members(st->raft)->outgoing_count > 0 ||
        raft_members_any(raft_members(st->raft), s->peer)) {
        return;
    }
    struct wire_writer *w = peer_begin(peer, RPC_LEFT);
    wire_put_u16(w, st->id);
    wire_put_u64(w, nonce);
    wire_put_u64(w, raft_term(st->raft));
    peer_end(peer);
}

void leave_told(struct session *s, struct wire_reader *r)
{
    struct node_stripe *st    = stripe_slot(s->node, wire_get_u16(r));
    uint64_t            nonce = wire_get_u64(r);
    uint64_t            term  = wire_get_u64(r);
    if (r->bad || st == NULL || nonce != st->left_nonce || term < raft_term(st->raft) || !may_leave(st)) {
        return;
    }
    log_info("stripe %u: it has moved to other nodes, what was here of it (up to entry %llu) is given up", st->id,
             (unsigned long long)stripe_applied(st->stripe));
    st->left_nonce = 0;
    st->node->counts.replicas_left++;
    save_keep(&st->node->storage->save);
    repairs_clear(st);
    refill_drop(st);
    image_drop(st); /* one that began before this node left */
    while (st->entries.end > st->entries.first) {
        entry_drop_last(st);
    }
    entries_fini(&st->entries);
    entries_init(&st->entries, 0, 0);
    proposals_drop(st);
    changes_cut(st, 0);
    st->applied_members = (struct raft_members){0};
    raft_leave(st->raft);
    bury(st->node, st->stripe, true);
    st->stripe       = stripe_of(st);
    st->noted_commit = 0;
    st->next_due_ns  = UINT64_MAX;
    st->repairing    = false;
    raft_shy(st->raft, false);
    replica_touch(st);
}
