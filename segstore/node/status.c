/* status.c - how a shard is, put into plain numbers for operators (status/status.h). */
#include "segstore/status/status.h"

#include "segstore/node/peers/peers.h"

#include <string.h>

static const uint64_t WITHHELD_NS = 3000000000;

static void put_followers(const struct node_stripe *st, struct stripe_status *out)
{
    uint16_t nodes[3 * RAFT_MEMBERS_MAX];
    size_t   count = raft_members_list(raft_members(st->raft), nodes);
    for (size_t i = 0; i < count && out->role == RAFT_LEADER; i++) {
        struct follower_status *f = &out->followers[out->follower_count];
        if (nodes[i] != st->node->config->node && raft_progress(st->raft, nodes[i], &f->progress)) {
            f->node = nodes[i];
            out->follower_count++;
        }
    }
}

/* Whoever wants an image asks at least once a second. */
static bool is_withheld(const struct node_stripe *st)
{
    return st->withheld_ns != 0 && st->led && io_now_ns(st->node->io) < st->withheld_ns + WITHHELD_NS;
}

static void put_stripe(const struct node_stripe *st, struct stripe_status *out)
{
    const struct raft *raft = st->raft;
    *out                    = (struct stripe_status){.id      = st->id,
                                                     .leader  = st->node->opened ? stripe_leader(st) : RAFT_NONE,
                                                     .role    = (uint8_t)raft_role(raft),
                                                     .led     = st->led,
                                                     .term    = raft_term(raft),
                                                     .commit  = raft_commit(raft),
                                                     .applied = stripe_applied(st->stripe),
                                                     .last    = raft_last(raft),
                                                     .members = *raft_members(raft),
                                                     .damaged = raft_is_damaged(raft) &&
                                                                raft_members_any(raft_members(raft), st->node->config->node),
                                                     .repairing = st->repairing,
                                                     .missed    = st->missed,
                                                     .lost      = st->lost,
                                                     .withheld  = is_withheld(st),
                                                     .stopped   = st->stopped,
                                                     .place     = st->node->placements[st->id]};
    put_followers(st, out);
}

static uint64_t brokers(const struct node *node)
{
    uint64_t count = 0;
    LIST_EACH (&node->sessions, link) {
        const struct session *s = CONTAINER_OF(link, struct session, link);
        count += s->state == SESSION_OPEN && s->peer == 0;
    }
    return count;
}

void node_status(const struct node *node, struct shard_status *out)
{
    const struct node_counts c      = node_counts(node);
    struct stripe_status    *places = out->stripes;

    *out                                  = (struct shard_status){.shard        = node->shard,
                                                                  .fresh        = true,
                                                                  .cluster_id   = node->opened ? node->storage->super.cluster : 0,
                                                                  .peer_count   = node->peer_count,
                                                                  .plan         = node->plan,
                                                                  .unnamed      = node->unnamed,
                                                                  .stripe_count = node->stripe_count,
                                                                  .stripes      = places};
    const uint64_t counted[STATUS_VALUES] = {
        [STATUS_CONNECTIONS]      = brokers(node),
        [STATUS_REQUESTS]         = c.requests,
        [STATUS_TRANSACTIONS]     = c.transactions,
        [STATUS_COMMITTED]        = c.committed,
        [STATUS_RECORDS_PUSHED]   = c.records_pushed,
        [STATUS_LOG_WRITES]       = c.wal_writes,
        [STATUS_LOG_BYTES]        = c.wal_bytes,
        [STATUS_LOG_ENTRIES]      = c.wal_entries,
        [STATUS_COLD_READS]       = c.cold_reads,
        [STATUS_RECLAIM_FILES]    = c.reclaim_files,
        [STATUS_RECLAIM_RECORDS]  = c.reclaim_records,
        [STATUS_RECLAIM_READ]     = c.reclaim_read_bytes,
        [STATUS_RECLAIM_WRITTEN]  = c.reclaim_written_bytes,
        [STATUS_RECLAIM_CREDIT]   = c.reclaim_credit,
        [STATUS_RECLAIM_DAMAGED]  = c.reclaim_damaged,
        [STATUS_LOG_FILE_BYTES]   = c.log_file_bytes,
        [STATUS_RUN_BYTES]        = c.run_bytes,
        [STATUS_CHECKPOINTS]      = c.checkpoints,
        [STATUS_DISK_FULL]        = node->storage->prepare.full,
        [STATUS_ELECTIONS]        = c.elections,
        [STATUS_IMAGES_SENT]      = c.images_sent,
        [STATUS_IMAGES_TAKEN]     = c.images_taken,
        [STATUS_RELAYED]          = c.relayed,
        [STATUS_RELAYS_DROPPED]   = c.relays_dropped,
        [STATUS_RECORDS_REPAIRED] = c.records_repaired,
    };
    memcpy(out->values, counted, sizeof counted);
    for (uint32_t i = 0; i < node->peer_count; i++) {
        const struct peer *p = &node->peers[i];
        out->peers[i]        = (struct peer_status){.node  = p->spec->id,
                                                    .up    = p->state == PEER_UP,
                                                    .for_s = (io_now_ns(node->io) - p->changed_ns) / 1000000000};
    }
    for (uint32_t i = 0; i < node->stripe_count; i++) {
        put_stripe(&node->stripes[i], &out->stripes[i]);
    }
    shard_status_sum(out);
}
