/* change.c - how the replicas of a stripe get where they belong (segstore/placement): one step at a time, each an entry of its log, so that it may be
 * interrupted anywhere and whoever leads next goes on.
 *
 *   wanted {1 2 4}, members {1 2 3}:
 *      {1 2 3} + learner 4 ──▶ 4 has caught up ──▶ joint: {1 2 4} and {1 2 3} ──▶ {1 2 4}
 *   a leader that is to go hands its lead over before the last step
 *
 * A few stripes at a time get a new replica, so that those who are to send and to take images are not overrun. */
#include "segstore/node/peers/peers.h"
#include "segstore/node/replica/members.h"
#include "segstore/node/state.h"

enum { CAUGHT_UP_ENTRIES = 1000, MOVES_MAX = 2 };

/* ---- one step ---- */

static bool within(const uint16_t *nodes, size_t count, uint16_t node)
{
    for (size_t i = 0; i < count; i++) {
        if (nodes[i] == node) {
            return true;
        }
    }
    return false;
}

static bool same(const uint16_t *a, size_t a_count, const uint16_t *b, size_t b_count)
{
    for (size_t i = 0; i < a_count; i++) {
        if (!within(b, b_count, a[i])) {
            return false;
        }
    }
    return a_count == b_count;
}

static bool caught_up(const struct node_stripe *st, uint16_t node)
{
    struct raft_progress p;
    return node == st->node->config->node || (raft_progress(st->raft, node, &p) && p.active && p.keeps_up &&
                                              !p.damaged && p.match + CAUGHT_UP_ENTRIES >= raft_last(st->raft));
}

/* The next step of a stripe towards where it belongs; false: none, or not yet. */
static bool change_next(const struct node_stripe *st, const struct placement *wanted, struct raft_members *next)
{
    const struct raft_members *now = raft_members(st->raft);
    *next                          = *now;
    if (now->outgoing_count > 0) { /* out of the joint one */
        next->outgoing_count = 0;
        memset(next->outgoing, 0, sizeof next->outgoing);
        return true;
    }
    bool ready = true;
    for (uint8_t i = 0; i < wanted->count; i++) {
        uint16_t node = wanted->nodes[i];
        if (!within(now->voters, now->voter_count, node) && !within(now->learners, now->learner_count, node)) {
            if (now->learner_count == RAFT_MEMBERS_MAX) {
                return false;
            }
            next->learners[next->learner_count++] = node; /* one at a time */
            return true;
        }
        ready = ready && caught_up(st, node);
    }
    bool   voters   = same(now->voters, now->voter_count, wanted->nodes, wanted->count);
    size_t learners = 0;
    memset(next->learners, 0, sizeof next->learners);
    for (uint8_t i = 0; voters && i < now->learner_count; i++) { /* that nobody wants any more */
        if (within(wanted->nodes, wanted->count, now->learners[i])) {
            next->learners[learners++] = now->learners[i];
        }
    }
    next->learner_count = (uint8_t)learners;
    if (voters) {
        return learners != now->learner_count;
    }
    memcpy(next->outgoing, now->voters, sizeof next->outgoing);
    next->outgoing_count = now->voter_count;
    memset(next->voters, 0, sizeof next->voters);
    memcpy(next->voters, wanted->nodes, wanted->count * sizeof wanted->nodes[0]);
    next->voter_count = wanted->count;
    return ready;
}

/* To one that stays and holds all. */
static bool hand_over(struct node_stripe *st, const struct raft_members *m)
{
    for (uint8_t i = 0; i < m->voter_count; i++) {
        if (caught_up(st, m->voters[i]) && raft_transfer(st->raft, m->voters[i], io_now_ns(st->node->io))) {
            replica_touch(st);
            return true;
        }
    }
    return false;
}

static bool known(const struct node *node, const struct placement *wanted)
{
    for (uint8_t i = 0; i < wanted->count; i++) {
        if (wanted->nodes[i] != node->config->node && peer_find(node, wanted->nodes[i]) == NULL) {
            return false;
        }
    }
    return true;
}

/* Somebody new is getting all that there is, and lives. */
static bool is_moving(const struct node_stripe *st)
{
    const struct raft_members *m   = raft_members(st->raft);
    bool                       any = false;
    for (uint8_t i = 0; i < m->learner_count; i++) {
        struct raft_progress p;
        any = any || (raft_progress(st->raft, m->learners[i], &p) && p.active);
    }
    return any || m->outgoing_count > 0;
}

/* May the learner that `next` has more than now be sent everything now? */
static bool may_begin(const struct node_stripe *st, const struct raft_members *next, uint32_t moving)
{
    const struct raft_members *now = raft_members(st->raft);
    if (next->learner_count <= now->learner_count) {
        return true;
    }
    const struct peer *peer = peer_find(st->node, next->learners[next->learner_count - 1]);
    return peer != NULL && peer->state == PEER_UP && moving < MOVES_MAX;
}

/* Returns how many more stripes get a new replica now. */
static uint32_t step(struct node_stripe *st, uint32_t moving)
{
    struct node            *node   = st->node;
    const struct placement *wanted = &node->placements[st->id];
    bool                    begun  = is_moving(st);
    struct raft_members     next;
    if (!st->led || !raft_may_change(st->raft) || !known(node, wanted) || !change_next(st, wanted, &next) ||
        !may_begin(st, &next, begun ? 0 : moving)) {
        return 0;
    }
    bool leaves = next.outgoing_count == 0 && !within(next.voters, next.voter_count, node->config->node);
    if (leaves) {
        (void)hand_over(st, &next);
        return 0;
    }
    propose_members(st, &next);
    return !begun && next.learner_count > 0;
}

void change_turn(struct node *node)
{
    uint32_t moving = 0;
    if (node->plan.epoch == 0) {
        return;
    }
    for (uint32_t i = 0; i < node->stripe_count; i++) {
        moving += node->stripes[i].led && is_moving(&node->stripes[i]);
    }
    for (uint32_t i = 0; i < node->stripe_count; i++) {
        moving += step(&node->stripes[i], moving);
    }
}
