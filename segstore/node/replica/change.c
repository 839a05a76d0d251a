/* change.c - who the nodes of the cluster shall be, and how a stripe gets there: one step at a time, each an entry of its log, so that it may be
 * interrupted anywhere and whoever leads next goes on.
 *
 *   wanted {1 2 4}, members {1 2 3}:
 *      {1 2 3} + learner 4 ──▶ 4 has caught up ──▶ joint: {1 2 4} and {1 2 3} ──▶ {1 2 4}
 *   a leader that is to go hands its lead over before the last step
 *
 * What is wanted is a row of stripe 0 (schema.h: RPC_TABLE_CLUSTER), which every node of that stripe reads; the first shard tells the others. */
#include "segstore/node/replica/members.h"
#include "segstore/node/state.h"

#include "shared/loop/mailbox.h"

#include <stdlib.h>

enum { CAUGHT_UP_ENTRIES = 1000 };

/* ---- what is wanted ---- */

static bool take_row(void *ctx, const struct stripe_item *item)
{
    struct wanted     *w = ctx;
    struct wire_reader r = wire_reader_of(item->value);
    uint16_t           n = wire_get_u16(&r);
    if (n == 0 || n > RAFT_MEMBERS_MAX || wire_left(&r) != n * 2u) {
        return false;
    }
    w->count = n;
    for (uint16_t i = 0; i < n; i++) {
        w->nodes[i] = wire_get_u16(&r);
    }
    return false;
}

static void tell(struct node *node, uint32_t shard)
{
    struct wanted *copy = malloc(sizeof *copy);
    ASSERT(copy != NULL); /* out of memory */
    *copy            = node->wanted;
    struct mail mail = {.kind = NODE_MAIL_WANTED, .body = copy};
    if (mailbox_push(node->outbox[shard], &mail)) {
        mailbox_ring(node->outbox[shard]);
    } else {
        free(copy); /* again with the next look */
    }
}

/* The first shard looks into its replica of stripe 0. */
static void look(struct node *node)
{
    if (node->shard != 0) {
        return;
    }
    node->wanted = (struct wanted){0};
    (void)stripe_scan(node->stripes[0].stripe, RPC_TABLE_CLUSTER, RPC_SCAN_KEY, bytes_str("members"), (struct bytes){0},
                      io_wall_ns(node->io), NULL, take_row, &node->wanted);
    for (uint32_t shard = 1; shard < node->config->shards; shard++) {
        tell(node, shard);
    }
}

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
                                              p.match + CAUGHT_UP_ENTRIES >= raft_last(st->raft));
}

bool change_next(const struct node_stripe *st, const struct wanted *wanted, struct raft_members *next)
{
    const struct raft_members *now = raft_members(st->raft);
    *next                          = *now;
    if (now->outgoing_count > 0) { /* out of the joint one */
        next->outgoing_count = 0;
        memset(next->outgoing, 0, sizeof next->outgoing);
        return true;
    }
    bool ready = true;
    for (uint16_t i = 0; i < wanted->count; i++) {
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
    next->voter_count = (uint8_t)wanted->count;
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

static bool known(const struct node *node, const struct wanted *wanted)
{
    for (uint16_t i = 0; i < wanted->count; i++) {
        if (wanted->nodes[i] != node->config->node && peer_find(node, wanted->nodes[i]) == NULL) {
            return false;
        }
    }
    return true;
}

static void step(struct node_stripe *st)
{
    struct node        *node = st->node;
    struct raft_members next;
    if (!st->led || !raft_may_change(st->raft) || !change_next(st, &node->wanted, &next)) {
        return;
    }
    bool leaves = next.outgoing_count == 0 && !within(next.voters, next.voter_count, node->config->node);
    if (leaves) {
        (void)hand_over(st, &next);
        return;
    }
    propose_members(st, &next);
}

void change_turn(struct node *node)
{
    look(node);
    if (node->wanted.count == 0 || node->peer_count == 0) {
        return;
    }
    if (!known(node, &node->wanted)) {
        uint64_t suppressed;
        if (log_allowed(&node->refused_limit, io_now_ns(node->io), 10000000000, &suppressed)) {
            log_warn("the cluster is to have nodes that segstore.nodes of this one does not name: it waits for that");
        }
        return;
    }
    for (uint32_t i = 0; i < node->stripe_count; i++) {
        step(&node->stripes[i]);
    }
}
