/* balance.c - the lead of the stripes is spread over their nodes: stripe s belongs to the voter s % voters, when it is up and holds all that the
 * leader holds. One that leads a stripe of another hands it over, one at a time. */
#include "segstore/node/state.h"

static const uint64_t LOOK_EVERY_NS = 1000000000;
static const uint64_t SETTLED_NS    = 5000000000; /* after the last change of leaders here */

static uint16_t preferred(const struct node_stripe *st)
{
    const struct raft_members *m = raft_members(st->raft);
    return m->voter_count == 0 ? RAFT_NONE : m->voters[st->id % m->voter_count];
}

void balance_start(struct node_stripe *st)
{
    if (!replica_alone(st) && raft_term(st->raft) == 0 && preferred(st) == st->node->config->node) {
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
    change_turn(node);
    for (uint32_t i = 0; i < node->stripe_count && now_ns >= node->leaders_ns + SETTLED_NS; i++) {
        struct node_stripe  *st = &node->stripes[i];
        struct raft_progress progress;
        if (st->led && raft_members(st->raft)->outgoing_count == 0 && preferred(st) != node->config->node &&
            raft_progress(st->raft, preferred(st), &progress) && progress.keeps_up && progress.active &&
            progress.match == raft_commit(st->raft) && raft_transfer(st->raft, preferred(st), now_ns)) {
            replica_touch(st);
            return;
        }
    }
}

uint64_t balance_next_ns(const struct node *node)
{
    return node->peer_count == 0 ? UINT64_MAX : node->balance_ns;
}
