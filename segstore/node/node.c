/* node.c - the tick of one shard; entries from proposal to reply. */
#include "segstore/node/state.h"

#include "shared/base/err.h"
#include "shared/loop/mailbox.h"
#include "shared/rpc/op.h"

#include <stdio.h>
#include <stdlib.h>

static const uint64_t STOP_PATIENCE_NS = 2000000000;
enum { EXIT_IO = 74, TASKS_PER_TURN = 512, TERM = 1 };

/* ---- stripes ---- */

struct node_stripe *stripe_slot(struct node *node, uint16_t stripe)
{
    uint32_t slot = stripe / node->config->shards;
    return stripe % node->config->shards == node->shard && slot < node->stripe_count ? &node->stripes[slot] : NULL;
}

static void on_retained(void *ctx, uint64_t position)
{
    struct node_stripe *st = ctx;
    segments_retain(&st->node->storage->segments, position);
}

static void on_released(void *ctx, uint64_t position)
{
    struct node_stripe *st = ctx;
    segments_release(&st->node->storage->segments, position);
}

static void on_appended(void *ctx, uint64_t stream_id, uint64_t offset, struct bytes tag, struct bytes record)
{
    struct node_stripe *st = ctx;
    follow_appended(st->node, stream_id, offset, tag, record);
}

static void on_ended(void *ctx, uint64_t stream_id, uint64_t below_epoch, int status)
{
    struct node_stripe *st = ctx;
    follow_ended(st->node, stream_id, below_epoch, status);
}

static void on_changed(void *ctx, uint32_t table, struct bytes key, struct bytes value, uint64_t version,
                       uint64_t expires_wall_ns, bool deleted)
{
    struct node_stripe *st = ctx;
    watch_changed(st->node, st->id, table, key, value, version, expires_wall_ns, deleted);
}

static void stripes_make(struct node *node)
{
    const struct segstore_config *c      = node->config;
    const struct stripe_limits    limits = {.table_bytes_max    = c->table_bytes_max,
                                            .streams_max        = c->streams_max,
                                            .delays_max         = c->delays_max,
                                            .stream_records_max = c->stream_records_max,
                                            .writers_max        = c->writers_max};
    node->stripe_count                   = (c->stripes - node->shard + c->shards - 1) / c->shards;
    node->stripes                        = calloc(node->stripe_count, sizeof *node->stripes);
    ASSERT(node->stripes != NULL); /* out of memory */
    for (uint32_t i = 0; i < node->stripe_count; i++) {
        struct node_stripe    *st       = &node->stripes[i];
        struct stripe_observer observer = {.ctx      = st,
                                           .retained = on_retained,
                                           .released = on_released,
                                           .appended = on_appended,
                                           .ended    = on_ended,
                                           .changed  = on_changed};
        st->node                        = node;
        st->id                          = (uint16_t)(i * c->shards + node->shard);
        st->next_due_ns                 = UINT64_MAX;
        st->stripe                      = stripe_new(st->id, &limits, &observer);
        ASSERT(st->stripe != NULL); /* out of memory */
    }
}

struct stripe *node_stripe(struct node *node, uint16_t stripe)
{
    struct node_stripe *st = stripe_slot(node, stripe);
    return st == NULL ? NULL : st->stripe;
}

/* ---- recovery ---- */

static int on_load(void *ctx, const struct checkpoint_section *section)
{
    struct node        *node = ctx;
    struct node_stripe *st   = stripe_slot(node, section->stripe);
    if (st == NULL) {
        return ERR_MALFORMED;
    }
    int result = stripe_load(st->stripe, section->image);
    return result < 0 ? result : stripe_applied(st->stripe) == section->index ? 0 : ERR_MALFORMED;
}

static void stripe_stop(struct node_stripe *st)
{
    if (!st->stopped) {
        st->stopped = true;
        log_error("stripe %u is stopped after entry %llu: entries may be missing from the damaged log", st->id,
                  (unsigned long long)stripe_applied(st->stripe));
    }
}

static void on_replay(void *ctx, const struct log_entry *entry)
{
    struct node        *node   = ctx;
    struct node_stripe *st     = stripe_slot(node, entry->stripe);
    bool                accept = node->config->accept_damage;
    if (st == NULL || st->stopped || entry->index <= stripe_applied(st->stripe)) {
        return;
    }
    struct stripe_entry e = {
        .index = entry->index, .wall_ns = entry->wall_ns, .ops = entry->ops, .position = entry->position};
    if (entry->index != stripe_applied(st->stripe) + 1) {
        if (!accept) {
            stripe_stop(st);
            return;
        }
        e.index = stripe_applied(st->stripe) + 1; /* a checkpoint is made before anything else is logged */
    }
    node->results.size = 0;
    (void)stripe_apply(st->stripe, &e, false,
                       &node->results); /* an entry that failed once fails again, in the same way */
}

static void on_damaged(void *ctx, uint64_t stripes)
{
    struct node *node = ctx;
    for (uint32_t i = 0; i < node->stripe_count && !node->config->accept_damage; i++) {
        if ((stripes & BLOCK_STRIPE_BIT(node->stripes[i].id)) != 0) {
            stripe_stop(&node->stripes[i]);
        }
    }
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

static void on_opened(void *ctx, int result, const char *why)
{
    struct node *node = ctx;
    if (result < 0) {
        node->dead = true;
        node->hooks.refused(node->hooks.ctx, result, why);
        return;
    }
    for (uint32_t i = 0; i < node->stripe_count; i++) {
        struct node_stripe *st = &node->stripes[i];
        st->proposed_index     = stripe_applied(st->stripe);
        st->next_due_ns        = stripe_next_due_ns(st->stripe);
    }
    node->opened    = true;
    node->due_dirty = true;
    owners_found(node);
    if (!node->storage->save.wanted) { /* else the checkpoint comes first */
        node->serving = true;
        shard_is_ready(node);
    }
}

/* ---- entries ---- */

/* Larger than what keeps a session: a will, a retained message. */
enum { SMALL_ENTRY_BYTES = 4096 };

static enum storage_need need_of(struct bytes ops)
{
    struct wire_reader r    = wire_reader_of(ops);
    enum storage_need  need = ops.size > SMALL_ENTRY_BYTES ? STORAGE_DATA : STORAGE_ROOM;
    struct op          op;
    while (op_next(&r, &op) > 0) {
        switch (op.kind) {
        case OP_APPEND:
            return STORAGE_DATA;
        case OP_TABLE_PUT:
        case OP_STREAM_CREATE:
        case OP_TIMER_SET:
            need = need == STORAGE_ROOM ? STORAGE_SMALL : need;
            break;
        default:
            break;
        }
    }
    return need;
}

static void proposals_grow(struct node *node)
{
    uint64_t         capacity = node->proposal_capacity == 0 ? 1024 : node->proposal_capacity * 2;
    struct proposal *ring     = malloc(capacity * sizeof *ring);
    ASSERT(ring != NULL); /* out of memory */
    for (uint64_t i = node->proposal_first; i < node->proposal_end; i++) {
        ring[i & (capacity - 1)] = node->proposals[i & (node->proposal_capacity - 1)];
    }
    free(node->proposals);
    node->proposals         = ring;
    node->proposal_capacity = capacity;
}

int propose(struct node *node, struct node_stripe *stripe, struct bytes ops, const struct proposal *origin)
{
    if (stripe->stopped) {
        return ERR_UNAVAILABLE;
    }
    if (node->storage->prepare.full && !storage_admits(node->storage, need_of(ops))) {
        return ERR_DISK_FULL;
    }
    if (node->proposal_end - node->proposal_first == node->proposal_capacity) {
        proposals_grow(node);
    }
    struct log_entry entry  = {.stripe  = stripe->id,
                               .index   = stripe->proposed_index + 1,
                               .term    = TERM,
                               .wall_ns = io_wall_ns(node->io),
                               .ops     = ops};
    int              result = storage_append(node->storage, &entry);
    if (result < 0) {
        return result;
    }
    stripe->proposed_index++;
    node->proposals[node->proposal_end++ & (node->proposal_capacity - 1)] = *origin;
    return 0;
}

static void answer(struct node *node, const struct proposal *origin, int status)
{
    if (origin->session_serial == 0) {
        return;
    }
    struct session *s = node->slots[origin->session_slot];
    if (s == NULL || s->serial != origin->session_serial) {
        return; /* it went away; what it asked for has happened */
    }
    size_t begun = session_begin(s, RPC_TXN_DONE, origin->request_id);
    wire_put_u32(&s->out, (uint32_t)status);
    if (status == 0) {
        wire_put_bytes(&s->out, wire_written(&node->results));
    }
    session_end(s, begun);
    session_answered(s, origin->request_bytes);
}

static void on_committed(void *ctx, const struct log_entry *entry)
{
    struct node        *node = ctx;
    struct node_stripe *st   = stripe_slot(node, entry->stripe);
    ASSERT(st != NULL && entry->index == stripe_applied(st->stripe) + 1);
    ASSERT(node->proposal_first < node->proposal_end);
    struct proposal     origin = node->proposals[node->proposal_first++ & (node->proposal_capacity - 1)];
    struct stripe_entry e      = {
             .index = entry->index, .wall_ns = entry->wall_ns, .ops = entry->ops, .position = entry->position};
    node->results.size = 0;
    node->results.bad  = false;
    int status         = stripe_apply(st->stripe, &e, true, &node->results);
    ASSERT(status <= 0);
    if (status == 0 && node->results.bad) { /* it took effect, but what it says does not fit a frame */
        status = ERR_TOO_BIG;
    }
    if (origin.due) {
        st->due_proposed = false;
    }
    st->next_due_ns = stripe_next_due_ns(st->stripe);
    node->due_dirty = true;
    node->counts.transactions++;
    answer(node, &origin, status);
}

/* ---- what is due ---- */

static void due_turn(struct node *node)
{
    uint64_t wall_ns = io_wall_ns(node->io);
    if (!node->due_dirty && wall_ns < node->next_due_ns) {
        return;
    }
    node->due_dirty   = false;
    node->next_due_ns = UINT64_MAX;
    for (uint32_t i = 0; i < node->stripe_count; i++) {
        struct node_stripe *st = &node->stripes[i];
        if (st->stopped || st->due_proposed) {
            continue;
        }
        node->scratch.size = 0;
        if (st->next_due_ns <= wall_ns && stripe_due(st->stripe, wall_ns, &node->scratch)) {
            struct proposal origin = {.due = true};
            if (propose(node, st, wire_written(&node->scratch), &origin) == 0) {
                st->due_proposed = true;
                continue;
            }
            node->next_due_ns = wall_ns + 10000000; /* the log is full now */
        } else {
            node->next_due_ns = st->next_due_ns < node->next_due_ns ? st->next_due_ns : node->next_due_ns;
        }
    }
}

static uint64_t due_next_ns(const struct node *node)
{
    if (node->due_dirty) {
        return 0;
    }
    if (node->next_due_ns == UINT64_MAX) {
        return UINT64_MAX;
    }
    uint64_t wall_ns = io_wall_ns(node->io);
    return io_now_ns(node->io) + (node->next_due_ns > wall_ns ? node->next_due_ns - wall_ns : 0);
}

/* ---- storage ---- */

static void on_image(void *ctx, uint32_t nth, struct wire_writer *w, uint16_t *out_stripe, uint64_t *out_index)
{
    struct node              *node = ctx;
    const struct node_stripe *st   = &node->stripes[nth];
    *out_stripe                    = st->id;
    *out_index                     = stripe_applied(st->stripe);
    stripe_save(st->stripe, w);
}

static void on_saved(void *ctx)
{
    struct node *node = ctx;
    if (!node->serving) {
        node->serving = true;
        shard_is_ready(node);
    }
}

static void on_loaded(void *ctx)
{
    struct node *node = ctx;
    for (struct list *link; (link = list_pop_front(&node->disk_waiters)) != NULL;) {
        list_push_back(&node->ready, link);
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
    ASSERT(node != NULL); /* out of memory */
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
    list_init(&node->watchers);
    list_init(&node->ready);
    list_init(&node->disk_waiters);
    list_init(&node->owners);
    index_init(&node->subscriptions);
    index_init(&node->followers);

    const struct storage_config storage_config = {
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
        .sector_bytes       = config->disk_sector_bytes,
        .accept_damage      = config->accept_damage,
    };
    const struct storage_hooks storage_hooks = {
        .ctx       = node,
        .load      = on_load,
        .replay    = on_replay,
        .damaged   = on_damaged,
        .opened    = on_opened,
        .committed = on_committed,
        .image     = on_image,
        .saved     = on_saved,
        .loaded    = on_loaded,
        .failed    = on_failed,
    };
    node->storage = storage_new(io, &storage_config, &storage_hooks);
    stripes_make(node);
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
    for (uint32_t i = 0; i < node->stripe_count; i++) {
        stripe_free(node->stripes[i].stripe);
    }
    storage_free(node->storage);
    index_fini(&node->subscriptions);
    index_fini(&node->followers);
    wire_writer_fini(&node->results);
    wire_writer_fini(&node->scratch);
    free(node->stripes);
    free(node->proposals);
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
                                    .movable  = node->config->shards > 1,
                                    .backlog  = 128,
                                    .accepted = on_accepted,
                                    .ctx      = node};
    int                   result = io_listen(node->io, &spec, &node->listener);
    if (result < 0) {
        char why[256];
        snprintf(why, sizeof why, "cannot listen on %s:%u: %s", spec.address, spec.port, err_sentence(result));
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
    bool quiet = storage_idle(node->storage) && !unsent(node);
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
    listen_turn(node);
    if (node->serving && !node->stopping) {
        owners_turn(node);
        due_turn(node);
    }
    storage_turn(node->storage); /* applies what is durable, answers, submits what waits */
    sessions_resume(node);
    tasks_turn(node);
    sends_turn(node);
    if (node->stopping) {
        stop_turn(node);
        return least(node->stop_ns, storage_next_ns(node->storage));
    }
    uint64_t next = storage_next_ns(node->storage);
    if (node->serving) {
        next = least(next, least(due_next_ns(node), owners_next_ns(node)));
    }
    bool more = !list_empty(&node->ready) || !list_empty(&node->dirty);
    return more ? 0 : next;
}

struct node_counts node_counts(const struct node *node)
{
    struct node_counts counts = node->counts;
    counts.wal_writes         = node->storage->wal.counts.writes;
    counts.wal_bytes          = node->storage->wal.counts.bytes;
    counts.wal_entries        = node->storage->wal.counts.entries;
    counts.cold_reads         = node->storage->chunks.reads;
    return counts;
}
