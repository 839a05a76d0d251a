/* balance.c - the lead of the stripes is spread over their nodes and shards, as segstore/placement says. One that leads a stripe of another hands it
 * over, a few at a time, when that one is up and holds all that the leader holds. */
#include "segstore/node/state.h"

static const uint64_t LOOK_EVERY_NS = 1000000000;
static const uint64_t SETTLED_NS    = 5000000000; /* after the last change of leaders here that was not wanted */
enum { HANDED_AT_ONCE = 4 };

uint16_t balance_preferred(const struct node_stripe *st)
{
    const struct raft_members *m    = raft_members(st->raft);
    uint16_t                   lead = st->node->placements[st->id].lead;
    if (st->node->plan.epoch == 0) { /* not known yet */
        return m->voter_count == 0 ? RAFT_NONE : m->voters[st->id % m->voter_count];
    }
    return lead != RAFT_NONE && raft_members_voter(m, lead) ? lead : st->node->config->node;
}

void balance_start(struct node_stripe *st)
{
    if (!replica_alone(st) && raft_term(st->raft) == 0 && balance_preferred(st) == st->node->config->node) {
        raft_hurry(st->raft, io_now_ns(st->node->io));
    }
}

void balance_turn(struct node *node)
{
    uint64_t now_ns = io_now_ns(node->io);
    if (node->peer_count == 0 || now_ns < node->balance_ns) {
        return;
    }
    node->balance_ns = now_ns + LOOK_EVERY_NS;
    plans_turn(node);
    change_turn(node);
    int handed = 0;
    for (uint32_t i = 0; i < node->stripe_count && now_ns >= node->leaders_ns + SETTLED_NS; i++) {
        struct node_stripe  *st   = &node->stripes[i];
        uint16_t             lead = balance_preferred(st);
        struct raft_progress progress;
        if (st->led && raft_members(st->raft)->outgoing_count == 0 && lead != node->config->node &&
            raft_progress(st->raft, lead, &progress) && progress.keeps_up && progress.active &&
            progress.match == raft_commit(st->raft) && raft_transfer(st->raft, lead, now_ns)) {
            replica_touch(st);
            if (++handed == HANDED_AT_ONCE) {
                return;
            }
        }
    }
}

uint64_t balance_next_ns(const struct node *node)
{
    return node->peer_count == 0 ? UINT64_MAX : node->balance_ns;
}
