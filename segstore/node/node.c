/* node.c - the tick of one shard, from its start to its end. */
#include "segstore/node/state.h"

#include "segstore/node/refill/refill.h"
#include "shared/base/err.h"
#include "shared/base/hash.h"
#include "shared/loop/mailbox.h"

#include <stdio.h>
#include <stdlib.h>

static const uint64_t STOP_PATIENCE_NS = 2000000000;
enum { EXIT_IO = 74, TASKS_PER_TURN = 512 };

/* ---- storage ---- */

/* The same name, the same number; 1 for none. */
static uint64_t cluster_id(const char *name)
{
    return hash_bytes(bytes_str(name == NULL ? "" : name)) | 1;
}

static void shard_is_ready(struct node *node)
{
    if (node->shard == 0) {
        node->shards_ready++;
        return;
    }
    struct mail mail = {.kind = NODE_MAIL_READY, .number = node->shard};
    bool        sent = mailbox_push(node->outbox[0], &mail); /* the first mail of this shard */
    ASSERT(sent);
    mailbox_ring(node->outbox[0]);
}

/* The clocks of its replicas run from here on. */
static void serve(struct node *node)
{
    node->serving = true;
    for (uint32_t i = 0; i < node->stripe_count; i++) {
        if (!node->stripes[i].stopped) {
            replica_start(&node->stripes[i]);
        }
    }
}

/* One that stands alone is ready when it leads everything that it keeps; one of several when it can be talked to. */
static void ready_turn(struct node *node)
{
    if (!node->serving || node->ready_told) {
        return;
    }
    for (uint32_t i = 0; i < node->stripe_count; i++) {
        const struct node_stripe *st = &node->stripes[i];
        if (!st->led && !st->stopped && replica_alone(st)) {
            return;
        }
    }
    node->ready_told = true;
    shard_is_ready(node);
}

static void on_opened(void *ctx, int result, const char *why)
{
    struct node *node = ctx;
    if (result < 0) {
        node->dead = true;
        node->hooks.refused(node->hooks.ctx, result, why);
        return;
    }
    node->opened = true;
    replicas_restored(node);
    if (!node->storage->save.wanted) { /* else the checkpoint comes first */
        serve(node);
    }
}

static void on_saved(void *ctx)
{
    struct node *node = ctx;
    if (!node->serving) {
        serve(node);
    }
    node->counts.checkpoints++;
    images_saved(node);
}

static void on_loaded(void *ctx)
{
    struct node *node = ctx;
    for (struct list *link; (link = list_pop_front(&node->disk_waiters)) != NULL;) {
        list_push_back(&node->ready, link);
    }
}

/* Alone: what runs has all but the records in memory, and those are refused when read. Else the others give back what of it is still wanted. */
static void on_damage_found(void *ctx, uint64_t position, uint64_t bytes, uint64_t stripes)
{
    struct node *node = ctx;
    node->counts.scrub_damages++;
    for (uint32_t i = 0; i < node->stripe_count; i++) {
        struct node_stripe *st = &node->stripes[i];
        if ((stripes & BLOCK_STRIPE_BIT(st->id)) != 0 && !replica_alone(st)) {
            repair_survey(st, position, position + bytes);
        }
    }
}

static void on_failed(void *ctx, const char *what, int error)
{
    struct node *node = ctx;
    node->dead        = true;
    fatal(EXIT_IO,
          "%s in %s failed (%s): what was not acknowledged may be lost, nothing else is. The store stops, because a "
          "write "
          "that failed cannot be trusted when it is tried again; look at the disk, then start again",
          what, node->config->data_directory, err_sentence(error));
}

/* ---- life ---- */

struct node *node_new(struct io *io, const struct segstore_config *config, uint32_t shard, struct mailbox **inbox,
                      struct mailbox **outbox, const struct node_hooks *hooks)
{
    struct node *node = calloc(1, sizeof *node);
    ASSERT_MEMORY(node != NULL);
    ASSERT(shard < config->shards && config->shards <= config->stripes);
    node->io     = io;
    node->config = config;
    node->hooks  = *hooks;
    node->shard  = shard;
    node->inbox  = inbox;
    for (uint32_t i = 0; inbox != NULL && i < config->shards; i++) {
        if (inbox[i] != NULL) {
            mailbox_reader(inbox[i], io);
        }
    }
    node->outbox      = outbox;
    node->results     = wire_writer_growing(RPC_BODY_MAX_BYTES - 16);
    node->scratch     = wire_writer_growing(RPC_BODY_MAX_BYTES);
    node->next_due_ns = UINT64_MAX;
    list_init(&node->sessions);
    list_init(&node->dirty);
    list_init(&node->stalled);
    list_init(&node->graves);
    list_init(&node->led);
    list_init(&node->ready);
    list_init(&node->disk_waiters);
    list_init(&node->owners);
    list_init(&node->touched);
    list_init(&node->paced);
    list_init(&node->images_out);
    list_init(&node->images_waiting);
    list_init(&node->images_behind);
    list_init(&node->burials);
    list_init(&node->refills);
    node->raft_next_ns  = UINT64_MAX;
    node->image_next_ns = UINT64_MAX;
    pace_init(&node->own_transfer, config->transfer_rate_min / config->shards + 1,
              config->transfer_rate / config->shards + 1);
    node->transfer       = config->transfer != NULL ? config->transfer : &node->own_transfer;
    node->incoming       = calloc(MESSAGE_ENTRIES_MAX, sizeof *node->incoming);
    node->incoming_terms = calloc(MESSAGE_ENTRIES_MAX, sizeof *node->incoming_terms);
    ASSERT_MEMORY(node->incoming != NULL && node->incoming_terms != NULL);
    index_init(&node->subscriptions);
    index_init(&node->followers);
    index_init(&node->relays);

    struct storage_config storage_config = {
        .data_directory     = config->data_directory,
        .shard              = shard,
        .shard_count        = config->shards,
        .stripe_count       = config->stripes,
        .shard_stripe_count = (config->stripes - shard + config->shards - 1) / config->shards,
        .segment_bytes      = config->segment_bytes,
        .checkpoint_bytes   = config->checkpoint_bytes,
        .checkpoint_ns      = config->checkpoint_ns,
        .tail_bytes         = config->tail_bytes,
        .reserve_bytes      = config->disk_reserve_bytes,
        .wal_depth          = config->wal_depth,
        .segments_ready     = config->segments_ready,
        .cold_chunks        = config->cold_chunks,
        .cold_depth         = config->cold_depth,
        .cold_rate          = config->cold_rate / config->shards + (config->cold_rate != 0),
        .sector_bytes       = config->disk_sector_bytes,
        .log_bytes          = config->log_bytes,
        .reclaim_ns         = config->reclaim_ns,
        .reclaim_rate       = config->reclaim_rate / config->shards + (config->reclaim_rate != 0),
        .scrub_ns           = config->scrub_ns,
        .accept_damage      = config->accept_damage || config->node_count > 1,
        .node               = config->node,
        .cluster            = config->node_count > 0 ? cluster_id(config->cluster) : 0,
        .member_count       = 1,
        .members            = {config->node},
    };
    if (config->node_count > 0) {
        storage_config.member_count = segstore_config_founders(config, storage_config.members);
    }
    const struct storage_hooks storage_hooks = {
        .ctx          = node,
        .load         = stripes_load,
        .replay       = stripes_replay,
        .damaged      = stripes_damaged,
        .opened       = on_opened,
        .durable      = entry_durable,
        .image        = stripes_image,
        .saved        = on_saved,
        .loaded       = on_loaded,
        .walk         = moves_walk,
        .holds        = moves_holds,
        .move         = moves_move,
        .damage_found = on_damage_found,
        .failed       = on_failed,
    };
    node->storage = storage_new(io, &storage_config, &storage_hooks);
    repairs_make(node);
    stripes_make(node);
    peers_make(node);
    node->placements = calloc(config->stripes, sizeof *node->placements);
    node->plan_told  = calloc(config->shards, sizeof *node->plan_told);
    ASSERT_MEMORY(node->placements != NULL && node->plan_told != NULL);
    storage_open(node->storage);
    return node;
}

void node_free(struct node *node)
{
    if (node == NULL) {
        return;
    }
    LIST_EACH (&node->sessions, link) {
        struct session *s = CONTAINER_OF(link, struct session, link);
        session_close(s);
    }
    for (struct list *link; (link = list_pop_front(&node->graves)) != NULL;) {
        session_discard(CONTAINER_OF(link, struct session, link));
    }
    owners_free(node);
    peers_free(node);
    images_free(node);
    for (uint32_t i = 0; i < node->stripe_count; i++) {
        replica_free(&node->stripes[i]);
        stripe_save_end(node->stripes[i].saving);
        stripe_free(node->stripes[i].stripe);
    }
    burials_free(node);
    repairs_free(node);
    storage_free(node->storage);
    index_fini(&node->subscriptions);
    index_fini(&node->followers);
    index_fini(&node->relays);
    wire_writer_fini(&node->results);
    wire_writer_fini(&node->scratch);
    free(node->stripes);
    free(node->placements);
    free(node->plan_told);
    free(node->incoming);
    free(node->incoming_terms);
    free(node->slots);
    free(node);
}

static void on_accepted(void *ctx, struct io_socket *socket)
{
    session_accept(ctx, socket);
}

static void listen_turn(struct node *node)
{
    if (node->shard != 0 || node->ready_sent || node->dead || node->shards_ready < node->config->shards) {
        return;
    }
    node->ready_sent             = true;
    struct io_listen_spec spec   = {.address  = node->config->listen_address,
                                    .port     = node->config->listen_port,
                                    .first    = true,
                                    .movable  = node->config->shards > 1,
                                    .backlog  = 128,
                                    .accepted = on_accepted,
                                    .ctx      = node};
    int                   result = io_listen(node->io, &spec, &node->listener);
    if (result < 0) {
        char why[256];
        snprintf(why, sizeof why,
                 "cannot listen on %s:%u: %s; choose another address with --segstore or stop what uses it",
                 spec.address, spec.port, err_sentence(result));
        node->dead = true;
        node->hooks.refused(node->hooks.ctx, result, why);
        return;
    }
    node->hooks.ready(node->hooks.ctx, node->config->listen_address, io_listener_port(node->listener));
}

static void mail_turn(struct node *node)
{
    struct mail mail;
    for (uint32_t i = 0; node->inbox != NULL && i < node->config->shards; i++) {
        while (node->inbox[i] != NULL && mailbox_pop(node->inbox[i], &mail)) {
            switch ((enum node_mail)mail.kind) {
            case NODE_MAIL_READY:
                node->shards_ready++;
                break;
            case NODE_MAIL_PLAN:
                plan_take(node, mail.body);
                free(mail.body);
                break;
            case NODE_MAIL_SOCKET:
                session_attach(node, (int64_t)mail.value, mail.body);
                break;
            }
        }
    }
}

void task_ready(struct node *node, struct task *task)
{
    list_remove(&task->link);
    list_push_back(&node->ready, &task->link);
}

static void tasks_turn(struct node *node)
{
    for (int i = 0; i < TASKS_PER_TURN; i++) {
        struct list *link = list_pop_front(&node->ready);
        if (link == NULL) {
            return;
        }
        struct task *task = CONTAINER_OF(link, struct task, link);
        task->run(node, task);
    }
}

static void sends_turn(struct node *node)
{
    for (struct list *link; (link = list_pop_front(&node->dirty)) != NULL;) {
        struct session *s = CONTAINER_OF(link, struct session, dirty_link);
        s->dirty          = false;
        session_flush(s);
    }
    for (struct list *link; (link = list_pop_front(&node->graves)) != NULL;) {
        session_discard(CONTAINER_OF(link, struct session, link));
    }
}

static bool unsent(const struct node *node)
{
    LIST_EACH (&node->sessions, link) {
        const struct session *s = CONTAINER_OF(link, struct session, link);
        if (s->sending || s->out.size > 0) {
            return true;
        }
    }
    return false;
}

static void stop_turn(struct node *node)
{
    bool quiet = storage_idle(node->storage) && list_empty(&node->touched) && !unsent(node);
    if (node->stopped || (!quiet && io_now_ns(node->io) < node->stop_ns)) {
        return;
    }
    node->stopped = true;
    LIST_EACH (&node->sessions, link) {
        session_close(CONTAINER_OF(link, struct session, link));
    }
    node->hooks.stopped(node->hooks.ctx);
}

void node_stop(struct node *node)
{
    if (node->stopping) {
        return;
    }
    node->stopping = true;
    storage_stop(node->storage);
    node->stop_ns = io_now_ns(node->io) + STOP_PATIENCE_NS;
    if (node->listener != NULL) {
        io_listener_close(node->listener);
        node->listener = NULL;
    }
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t node_turn(void *ctx)
{
    struct node *node = ctx;
    if (node->dead && !node->stopping) {
        return UINT64_MAX;
    }
    mail_turn(node);
    if (node->serving && !node->stopping) {
        silence_turn(node);
        owners_turn(node);
        due_turn(node);
        peers_turn(node);
        replicas_tick(node);
        balance_turn(node);
        refills_turn(node);
        pacing_turn(node);
    }
    bool repairing = node->serving && !node->stopping && repairs_turn(node);
    storage_turn(node->storage); /* hands on what is durable, submits what waits */
    sessions_resume(node);
    tasks_turn(node);
    images_turn(node);
    bool behind = burials_turn(node) || repairing;
    behind      = replicas_turn(node) || behind; /* leads, applies, answers, sends to followers, acknowledges */
    ready_turn(node);
    listen_turn(node);
    leaders_turn(node);
    sends_turn(node);
    peers_flush(node);
    if (node->stopping) {
        stop_turn(node);
        return behind || node->stopped ? 0 : least(node->stop_ns, storage_next_ns(node->storage));
    }
    uint64_t next = storage_next_ns(node->storage);
    if (node->serving) {
        next = least(next, least(silence_next_ns(node), least(due_next_ns(node), owners_next_ns(node))));
        next = least(next, least(replicas_next_ns(node),
                                 least(peers_next_ns(node), least(node->image_next_ns, balance_next_ns(node)))));
        next = least(next, least(repairs_next_ns(node), least(pacing_next_ns(node), refills_next_ns(node))));
    }
    bool more = behind || !list_empty(&node->ready) || !list_empty(&node->dirty);
    return more ? 0 : next;
}

static void count_files(const struct segments *segments, struct node_counts *counts)
{
    for (const struct log_segment *s = segments_next(segments, 0); s != NULL;
         s                           = segments_next(segments, s->number + 1)) {
        if (segment_is_run(s->number)) {
            counts->run_bytes += s->bytes;
        } else {
            counts->log_file_bytes += segments->segment_bytes;
        }
    }
}

struct node_counts node_counts(const struct node *node)
{
    struct node_counts counts    = node->counts;
    counts.wal_writes            = node->storage->wal.counts.writes;
    counts.wal_bytes             = node->storage->wal.counts.bytes;
    counts.wal_entries           = node->storage->wal.counts.entries;
    counts.cold_reads            = node->storage->chunks.reads;
    counts.reclaim_files         = node->storage->reclaim.counts.files;
    counts.reclaim_records       = node->storage->reclaim.counts.records;
    counts.reclaim_read_bytes    = node->storage->reclaim.counts.read_bytes;
    counts.reclaim_written_bytes = node->storage->reclaim.counts.written_bytes;
    counts.reclaim_full_bytes    = node->storage->reclaim.counts.full_bytes;
    counts.reclaim_credit        = node->opened ? reclaim_credit(&node->storage->reclaim) : 0;
    counts.reclaim_damaged       = node->storage->reclaim.counts.damaged;
    count_files(&node->storage->segments, &counts);
    counts.scrub_rounds = node->storage->scrub.counts.rounds;
    counts.scrub_bytes  = node->storage->scrub.counts.bytes;
    return counts;
}
