/* pulses.c - between the replicas of this shard and pulse.h: heartbeats and their answers are gathered on their way out and become messages again on
 * their way in. A stripe in which a heartbeat has changed nothing is not looked at. */
#include "segstore/node/peers/peers.h"

#include "shared/base/err.h"
#include "shared/base/log.h"

static uint32_t slot_of(const struct node_stripe *st)
{
    return (uint32_t)(st - st->node->stripes);
}

bool pulse_gather(struct peer *p, struct node_stripe *st, const struct raft_message *m)
{
    if (m->damaged) { /* rare, and says more */
        return false;
    }
    if (m->kind == RAFT_HEARTBEAT) {
        pulse_beat(&p->pulse_out, slot_of(st), m->term, m->commit, m->clock);
        return true;
    }
    if (m->kind == RAFT_HEARTBEAT_ACK && p->pulsing && m->clock == p->pulse_in.clock_ns) {
        pulse_ack_add(&p->pulse_in, slot_of(st));
        return true;
    }
    return false;
}

void pulses_flush(struct node *node)
{
    for (uint32_t i = 0; i < node->peer_count; i++) {
        struct peer *p = &node->peers[i];
        if (p->state == PEER_UP && p->pulse_out.due_count > 0) {
            pulse_put(&p->pulse_out, node->strained, peer_begin(p, RPC_PULSE));
            peer_end(p);
        }
    }
}

/* ---- in ---- */

/* What else goes on in the stripe that waits to be looked at again. */
static bool quiet(const struct node_stripe *st)
{
    return !st->repairing && !st->installing && st->image_in == NULL && !raft_is_damaged(st->raft) &&
           !st->was_damaged && raft_commit(st->raft) == stripe_applied(st->stripe);
}

static void beat(void *ctx, uint32_t slot, uint64_t term, uint64_t commit, uint64_t clock_ns)
{
    struct peer              *p  = ctx;
    struct node_stripe       *st = &p->node->stripes[slot];
    const struct raft_message m  = {.kind   = RAFT_HEARTBEAT,
                                    .from   = p->spec->id,
                                    .to     = p->node->config->node,
                                    .term   = term,
                                    .commit = commit,
                                    .clock  = clock_ns};
    raft_receive(st->raft, &m, io_now_ns(p->node->io));
    uint64_t next = raft_next_ns(st->raft); /* drawn anew, sooner perhaps than what the node waits for */
    if (next < p->node->raft_next_ns) {
        p->node->raft_next_ns = next;
    }
    if (raft_term(st->raft) != st->seen_term || raft_leader(st->raft) != st->seen_leader || !quiet(st)) {
        replica_touch(st);
    }
}

int pulse_receive(struct peer *p, struct wire_reader *r)
{
    p->pulsing = true;
    int result = pulse_get(&p->pulse_in, r, beat, p);
    p->pulsing = false;
    if (result == 0) {
        pace_tell(p->node->transfer, p->pulse_in.strain, io_now_ns(p->node->io));
    }
    if (result == 0 && p->pulse_in.ack_count > 0 && peer_roomy(p)) {
        pulse_ack_put(&p->pulse_in, peer_begin(p, RPC_PULSE_ACK));
        peer_end(p);
    }
    return result;
}

static void answered(void *ctx, uint32_t slot, uint64_t term, uint64_t clock_ns)
{
    struct peer              *p  = ctx;
    struct node_stripe       *st = &p->node->stripes[slot];
    const struct raft_message m  = {
         .kind = RAFT_HEARTBEAT_ACK, .from = p->spec->id, .to = p->node->config->node, .term = term, .clock = clock_ns};
    struct raft_want want;
    raft_receive(st->raft, &m, io_now_ns(p->node->io));
    if (raft_wants(st->raft, p->spec->id, &want)) {
        replica_touch(st);
    }
}

int pulse_answered(struct peer *p, struct wire_reader *r)
{
    return pulse_ack_get(&p->pulse_out, r, answered, p) ? 0 : ERR_MALFORMED;
}
