/* plans.c - how a node learns which nodes hold places (segstore/placement), and how the leader of stripe 0 makes the next plan.
 *
 *   rows of stripe 0 (schema.h: RPC_TABLE_CLUSTER) ──▶ the first shard ──▶ the other shards (mail), the other nodes (RPC_PLAN): they may hold no replica of it
 *
 * Only plans that are committed are passed on, and the one with the highest epoch counts. */
#include "segstore/node/peers/peers.h"
#include "segstore/node/state.h"

#include "shared/base/err.h"
#include "shared/loop/mailbox.h"
#include "shared/rpc/op.h"

#include <stdlib.h>

static const uint64_t ALIVE_AFTER_NS   = 5000000000; /* who comes and goes holds no new place */
static const uint64_t COMPLAIN_NS      = 600000000000;
static const uint64_t COMPLAIN_SOON_NS = 10000000000;

/* ---- taken and passed on ---- */

void plan_take(struct node *node, const struct plan *plan)
{
    if (plan->epoch <= node->plan.epoch) {
        return;
    }
    node->plan = *plan;
    placement_make(&node->plan, node->config->stripes, node->config->shards, node->placements);
    node->balance_ns = 0;
}

void plan_receive(struct node *node, struct wire_reader *r)
{
    struct plan plan;
    if (plan_get(bytes_of(r->at, wire_left(r)), &plan)) {
        plan_take(node, &plan);
    }
}

static void tell_shards(struct node *node)
{
    for (uint32_t shard = 1; shard < node->config->shards; shard++) {
        if (node->plan_told[shard] == node->plan.epoch) {
            continue;
        }
        struct plan *copy = malloc(sizeof *copy);
        ASSERT_MEMORY(copy != NULL);
        *copy            = node->plan;
        struct mail mail = {.kind = NODE_MAIL_PLAN, .body = copy};
        if (mailbox_push(node->outbox[shard], &mail)) {
            mailbox_ring(node->outbox[shard]);
            node->plan_told[shard] = node->plan.epoch;
        } else {
            free(copy); /* again with the next look */
        }
    }
}

static void tell_peers(struct node *node)
{
    for (uint32_t i = 0; i < node->peer_count; i++) {
        struct peer *p = &node->peers[i];
        if (p->plan_told != node->plan.epoch && peer_roomy(p)) {
            plan_put(peer_begin(p, RPC_PLAN), &node->plan);
            peer_end(p);
            p->plan_told = node->plan.epoch;
        }
    }
}

/* ---- the rows ---- */

/* What an operator has said, and the plan. */
struct rows {
    struct plan_wish wish;
    struct plan      plan;
};

static void take_members(struct plan_wish *wish, const struct stripe_item *item)
{
    struct wire_reader r = wire_reader_of(item->value);
    uint16_t           n = wire_get_u16(&r);
    if (n == 0 || n > PLAN_NODES_MAX || wire_left(&r) != n * 2u) {
        return;
    }
    wish->basis = item->version;
    for (wish->count = 0; wish->count < n; wish->count++) {
        wish->nodes[wish->count] = wire_get_u16(&r);
    }
}

static bool take_row(void *ctx, const struct stripe_item *item)
{
    struct rows       *rows  = ctx;
    struct plan_wish  *wish  = &rows->wish;
    const struct bytes drain = bytes_str("drain/");
    struct wire_reader r     = wire_reader_of(item->value);
    if (bytes_equal(item->key, bytes_str("members"))) {
        take_members(wish, item);
    } else if (bytes_equal(item->key, bytes_str("replicas"))) {
        uint16_t replicas = wire_get_u16(&r);
        wish->replicas    = replicas >= 1 && replicas <= PLAN_REPLICAS_MAX ? (uint8_t)replicas : wish->replicas;
    } else if (bytes_equal(item->key, bytes_str("plan"))) {
        (void)plan_get(item->value, &rows->plan);
    } else if (item->key.size > drain.size && memcmp(item->key.data, drain.data, drain.size) == 0) {
        uint16_t node = wire_get_u16(&r);
        if (!r.bad && wish->drained_count < PLAN_NODES_MAX) {
            wish->drained[wish->drained_count++] = node;
        }
    }
    return true;
}

static void read_rows(struct node *node, struct rows *rows)
{
    *rows = (struct rows){.wish = {.replicas = (uint8_t)node->config->replicas}};
    (void)stripe_scan(node->stripes[0].stripe, RPC_TABLE_CLUSTER, RPC_SCAN_PREFIX, (struct bytes){0}, (struct bytes){0},
                      node_wall_ns(node), NULL, take_row, rows);
}

/* ---- the next plan ---- */

static size_t look_around(const struct node *node, struct plan_seen *seen)
{
    const struct segstore_config *c      = node->config;
    uint64_t                      now_ns = io_now_ns(node->io);
    size_t                        count  = 0;
    seen[count++] = (struct plan_seen){.node = c->node, .rack = segstore_config_rack(c, c->node), .alive = true};
    for (uint32_t i = 0; i < node->peer_count; i++) {
        const struct peer *p     = &node->peers[i];
        bool               up    = p->state == PEER_UP;
        uint64_t           since = p->changed_ns > node->company_ns ? p->changed_ns : node->company_ns;
        seen[count++] =
            (struct plan_seen){.node  = p->spec->id,
                               .rack  = segstore_config_rack(c, p->spec->id),
                               .alive = up && now_ns >= p->changed_ns + ALIVE_AFTER_NS,
                               .gone  = !up && c->replace_after_ns != 0 && now_ns >= since + c->replace_after_ns};
    }
    return count;
}

static bool all_known(struct node *node, const struct plan_wish *wish)
{
    node->unnamed = 0;
    for (uint8_t i = 0; i < wish->count; i++) {
        uint64_t suppressed;
        if (wish->nodes[i] == node->config->node || peer_find(node, wish->nodes[i]) != NULL) {
            continue;
        }
        node->unnamed = wish->nodes[i];
        if (log_allowed(&node->refused_limit, io_now_ns(node->io), COMPLAIN_SOON_NS, &suppressed)) {
            log_warn(
                "the cluster is to have node %u, which segstore.nodes of this one does not name: it waits for that",
                wish->nodes[i]);
        }
        return false;
    }
    return true;
}

static void complain_of_gone(struct node *node, const struct plan_seen *seen, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t suppressed;
        if (seen[i].gone && plan_find(&node->plan, seen[i].node) != NULL &&
            log_allowed(&node->gone_limit, io_now_ns(node->io), COMPLAIN_NS, &suppressed)) {
            log_warn("node %u has been away for more than %llu s, and no other node is there to take its place",
                     seen[i].node, (unsigned long long)(node->config->replace_after_ns / 1000000000));
        }
    }
}

static void propose_plan(struct node *node, const struct plan *plan, const char *why)
{
    struct node_stripe   *st     = &node->stripes[0];
    const struct proposal nobody = {0};
    uint8_t               bytes[PLAN_ROW_MAX_BYTES];
    struct wire_writer    row = wire_writer_fixed(bytes, sizeof bytes);
    plan_put(&row, plan);
    const struct op op = {
        .kind = OP_TABLE_PUT, .table = RPC_TABLE_CLUSTER, .name = bytes_str("plan"), .value = wire_written(&row)};
    node->scratch.size = 0;
    op_encode(&node->scratch, &op);
    if (propose(node, st, wire_written(&node->scratch), &nobody) == 0) {
        node->plan_index = raft_last(st->raft);
        log_info("cluster: %s (plan %llu)", why[0] != '\0' ? why : "racks have changed",
                 (unsigned long long)plan->epoch);
    }
}

/* Who is cut off from most others does not know who of them is gone. Each node knows since when it has not been, and leaders change more often than nodes are given up:
 * so it is not counted from the moment on in which it began to lead. */
static void look_for_company(struct node *node)
{
    const struct node_stripe  *st = &node->stripes[0];
    const struct raft_members *m  = raft_members(st->raft);
    uint32_t                   up = 0;
    for (uint8_t i = 0; i < m->voter_count; i++) {
        const struct peer *p = m->voters[i] == node->config->node ? NULL : peer_find(node, m->voters[i]);
        up += m->voters[i] == node->config->node || (p != NULL && p->state == PEER_UP);
    }
    uint64_t since   = node->company_ns == 0 ? io_now_ns(node->io) : node->company_ns;
    node->company_ns = up > m->voter_count / 2u ? since : 0;
}

/* As if nobody had named nodes anew: those of the plan, or those who formed the cluster. */
static void keep_nodes(const struct node *node, struct plan_wish *wish)
{
    const struct raft_members *m    = raft_members(node->stripes[0].raft);
    bool                       have = node->plan.epoch != 0;
    wish->basis                     = node->plan.basis;
    wish->count                     = have ? node->plan.home_count : m->voter_count;
    memcpy(wish->nodes, have ? node->plan.home : m->voters, wish->count * sizeof wish->nodes[0]);
}

/* The leader of stripe 0, for as long as it is certain that it is. */
static void keep(struct node *node, struct rows *rows)
{
    struct node_stripe *st     = &node->stripes[0];
    uint64_t            now_ns = io_now_ns(node->io);
    struct plan_seen    seen[SEGSTORE_NODES_MAX];
    struct plan         next;
    char                why[PLAN_WHY_BYTES];
    if (!st->led || !raft_lease(st->raft, now_ns)) {
        node->unnamed = 0;
        return;
    }
    if (node->plan_index > stripe_applied(st->stripe) && node->plan_term == raft_term(st->raft)) {
        return; /* the last one is on its way */
    }
    struct plan_wish *wish = &rows->wish;
    if (!all_known(node, wish) || wish->count == 0) { /* only the names wait: who is drained or gone is seen to */
        keep_nodes(node, wish);
    }
    size_t count = look_around(node, seen);
    if (plan_next(&node->plan, wish, seen, count, &next, why)) {
        node->plan_term = raft_term(st->raft);
        propose_plan(node, &next, why);
    } else {
        complain_of_gone(node, seen, count);
    }
}

void plans_turn(struct node *node)
{
    struct rows rows;
    if (node->shard != 0) {
        return;
    }
    read_rows(node, &rows);
    plan_take(node, &rows.plan);
    look_for_company(node);
    keep(node, &rows);
    if (node->plan.epoch != 0) {
        tell_shards(node);
        tell_peers(node);
    }
}
