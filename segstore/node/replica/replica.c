/* replica.c - one stripe's replica on this node: joins its consensus (raft/raft.h), its entries in the log, and those who wait.
 *
 *   propose ──▶ raft_propose, storage_append ──(write)──▶ entry_durable ──▶ raft_stable ──(majority)──▶ commit ──▶ apply.c
 *                        └──▶ replicate.c ──▶ followers: replica_take ──(write)──▶ raft_stable ──▶ acknowledged
 *
 * What raft wants is noted by its hooks and done when the stripe is settled, at the end of the turn. */
#include "segstore/node/peers/peers.h"
#include "segstore/node/refill/refill.h"
#include "segstore/node/replica/members.h"
#include "segstore/node/state.h"

#include "shared/base/buggify.h"
#include "shared/base/err.h"
#include "shared/base/log.h"
#include "shared/rpc/op.h"

#include <stdlib.h>

/* Larger than what keeps a session: a will, a retained message. */
enum { SMALL_ENTRY_BYTES = 4096 };
enum { UNAPPLIED_MAX_BYTES = 32 * 1024 * 1024, STATE_BYTES = 19 };
/* A restart applies what it knows to be committed: the log says so every so many entries. */
enum { NOTE_EVERY = 256 };
enum { WINDOW_ENTRIES = 16384, WINDOW_BYTES = 8 * 1024 * 1024 };

/* ---- raft's hooks ---- */

static void on_send(void *ctx, const struct raft_message *message)
{
    struct node_stripe *st   = ctx;
    struct peer        *peer = peer_find(st->node, message->to);
    if (peer != NULL && peer_roomy(peer) && !pulse_gather(peer, st, message)) {
        message_put(peer_begin(peer, RPC_RAFT), st->id, message, 0);
        peer_end(peer);
    }
}

static void on_save(void *ctx, uint64_t term, uint16_t vote)
{
    struct node_stripe *st = ctx;
    (void)term;
    (void)vote;
    st->save_wanted = true;
    replica_touch(st);
}

static void on_lead(void *ctx)
{
    struct node_stripe *st = ctx;
    st->lead_wanted        = true;
    replica_touch(st);
}

/* ---- life ---- */

static void sending_run(struct node *node, struct task *task)
{
    (void)node;
    replica_touch(CONTAINER_OF(task, struct node_stripe, sending));
}

static void applying_run(struct node *node, struct task *task)
{
    (void)node;
    replica_touch(CONTAINER_OF(task, struct node_stripe, applying));
}

void replica_make(struct node_stripe *st)
{
    const struct segstore_config *c       = st->node->config;
    const struct raft_hooks       hooks   = {.ctx = st, .send = on_send, .save = on_save, .lead = on_lead};
    const struct raft_options     options = {.self           = c->node,
                                             .heartbeat_ns   = c->heartbeat_ns,
                                             .election_ns    = c->election_ns,
                                             .lease_ns       = c->election_ns / 2,
                                             .window_entries = WINDOW_ENTRIES,
                                             .window_bytes   = WINDOW_BYTES,
                                             .seed           = io_random(st->node->io)};
    st->raft                              = raft_new(&options, &hooks);
    ASSERT_MEMORY(st->raft != NULL);
    st->applying.run = applying_run;
    st->sending.run  = sending_run;
    entries_init(&st->entries, 0, 0);
}

void replica_free(struct node_stripe *st)
{
    list_remove(&st->touched);
    list_remove(&st->applying.link);
    list_remove(&st->sending.link);
    image_drop(st);
    repairs_clear(st);
    refill_drop(st);
    single_drop(st);
    while (st->entries.end > st->entries.first) {
        entry_drop_last(st);
    }
    entries_fini(&st->entries);
    raft_free(st->raft);
    free(st->proposals);
    free(st->changes);
}

bool replica_alone(const struct node_stripe *st)
{
    const struct raft_members *m = raft_members(st->raft);
    return m->voter_count == 1 && m->outgoing_count == 0 && m->learner_count == 0 &&
           m->voters[0] == st->node->config->node;
}

void replica_start(struct node_stripe *st)
{
    raft_shy(st->raft, st->repairing);
    if (st->refill != NULL) {
        raft_restore_state(st->raft, refill_term(st->refill), RAFT_NONE);
    }
    raft_start(st->raft, io_now_ns(st->node->io));
    balance_start(st);
    st->noted_commit = raft_commit(st->raft);
    replica_touch(st);
}

void replica_touch(struct node_stripe *st)
{
    if (!list_linked(&st->touched)) {
        list_push_back(&st->node->touched, &st->touched);
    }
}

void replica_damaged(struct node_stripe *st, const char *why)
{
    if (replica_alone(st)) {
        if (!st->stopped) {
            st->stopped = true;
            log_error("stripe %u is stopped after entry %llu: %s", st->id,
                      (unsigned long long)stripe_applied(st->stripe), why);
        }
        return;
    }
    if (!raft_is_damaged(st->raft)) {
        log_error("stripe %u is damaged here after entry %llu (%s): it is repaired from the other nodes", st->id,
                  (unsigned long long)stripe_applied(st->stripe), why);
        raft_damaged(st->raft);
    }
}

void replica_may_lead(struct node_stripe *st)
{
    raft_shy(st->raft, st->repairing || st->installing || (st->refill != NULL && st->refill->given_up));
}

static void repair(struct node_stripe *st, const char *why)
{
    if (replica_alone(st)) {
        replica_damaged(st, why);
    } else if (!st->repairing) {
        log_error("stripe %u is damaged here (%s): another node leads it until this one has its records back", st->id,
                  why);
        st->repairing = true;
        raft_shy(st->raft, true);
        replica_touch(st);
    }
}

void replica_repair(struct node_stripe *st, const char *why)
{
    st->unreadable = 0;
    repair(st, why);
}

void replica_unreadable(struct node_stripe *st, uint64_t index)
{
    if (!st->repairing || st->unreadable > index) {
        st->unreadable = index;
    }
    repair(st, "an entry of its log cannot be read");
}

void replica_readable(struct node_stripe *st)
{
    st->unreadable = 0;
    st->repairing  = false;
    replica_may_lead(st);
    single_drop(st);
}

/* ---- into the log ---- */

static enum storage_need need_of(struct bytes ops)
{
    struct wire_reader r    = wire_reader_of(ops);
    enum storage_need  need = ops.size > SMALL_ENTRY_BYTES ? STORAGE_DATA : STORAGE_ROOM;
    struct op          op;
    while (op_next(&r, &op) > 0) {
        switch (op.kind) {
        case OP_APPEND:
        case OP_APPEND_RUN:
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

/* Behind the last one; there is room for it. */
static void append(struct node_stripe *st, const struct log_entry *entry)
{
    struct log_slot slot = {
        .wall_ns = entry->wall_ns, .chain = entry->chain, .size = (uint32_t)entry->ops.size, .kind = entry->kind};
    int result = storage_append(st->node->storage, entry, &slot.memory);
    ASSERT(result == 0 && entry->index == st->entries.end);
    entries_push(&st->entries, &slot);
    st->unapplied_bytes += slot.size;
    if (UNLIKELY(entry->kind == LOG_MEMBERS)) {
        changes_appended(st, entry);
    }
    replica_touch(st);
}

/* The leader's next entry. */
static int lead_entry(struct node_stripe *st, enum log_kind kind, struct bytes ops, const struct proposal *origin)
{
    struct node *node = st->node;
    if (block_size_for(ops.size) > BLOCK_MAX_BYTES ||
        block_size_for(ops.size) > node->storage->segments.segment_bytes) {
        return ERR_TOO_BIG;
    }
    if (!wal_roomy(&node->storage->wal, ops.size) || st->unapplied_bytes > UNAPPLIED_MAX_BYTES ||
        (node->storage->wal.flying > 0 && BUGGIFY("propose: no room", 100))) {
        return ERR_FULL;
    }
    uint64_t index = raft_propose(st->raft);
    if (index == 0) { /* it hands its lead over */
        return ERR_FULL;
    }
    struct log_entry entry = {.stripe  = st->id,
                              .kind    = (uint16_t)kind,
                              .index   = index,
                              .term    = raft_term(st->raft),
                              .wall_ns = node_wall_ns(node),
                              .ops     = ops};
    entry.chain            = log_chain(entries_chain(&st->entries, index - 1), &entry);
    append(st, &entry);
    proposal_push(st, index, origin);
    return 0;
}

int propose(struct node *node, struct node_stripe *st, struct bytes ops, const struct proposal *origin)
{
    if (st->stopped) {
        return ERR_UNAVAILABLE;
    }
    if (!st->led) {
        return ERR_NOT_LEADER;
    }
    if (node->storage->prepare.full && !storage_admits(node->storage, need_of(ops))) {
        return ERR_DISK_FULL;
    }
    if (UNLIKELY(ops.size >= STORAGE_LARGE_BYTES) && !storage_places(node->storage, ops.size)) {
        return node->storage->prepare.full ? ERR_DISK_FULL : ERR_FULL;
    }
    int result = lead_entry(st, LOG_OPS, ops, origin);
    if (result == 0 && st->sample_index == 0) {
        sample_begin(st, st->entries.end - 1);
    }
    return result;
}

void propose_members(struct node_stripe *st, const struct raft_members *members)
{
    const struct proposal nobody = {0};
    uint8_t               bytes[4 + 2 * 3 * RAFT_MEMBERS_MAX];
    struct wire_writer    w = wire_writer_fixed(bytes, sizeof bytes);
    members_put(&w, members);
    if (lead_entry(st, LOG_MEMBERS, wire_written(&w), &nobody) == 0) {
        raft_changing(st->raft, raft_last(st->raft));
        log_info("stripe %u: its members change to %u voters, %u of before, %u learners", st->id, members->voter_count,
                 members->outgoing_count, members->learner_count);
    }
}

void replica_take(struct node_stripe *st, const struct log_entry *entries, uint32_t count)
{
    refill_taken(st, &entries[count - 1]);
    if (UNLIKELY(st->unreadable >= entries[0].index)) {
        replica_readable(st); /* it was replaced */
    }
    while (count > 0 && st->entries.end > entries[0].index) {
        entry_drop_last(st);
    }
    changes_cut(st, st->entries.end);
    for (uint32_t i = 0; i < count; i++) {
        append(st, &entries[i]);
    }
}

/* Term and vote, or a note of how far all is committed. False: no room now. */
static bool save(struct node_stripe *st, bool note)
{
    uint8_t            bytes[STATE_BYTES];
    struct wire_writer w     = wire_writer_fixed(bytes, sizeof bytes);
    struct log_entry   entry = {
          .stripe = st->id, .kind = LOG_STATE, .term = raft_term(st->raft), .wall_ns = node_wall_ns(st->node)};
    wire_put_u64(&w, raft_term(st->raft));
    wire_put_u64(&w, raft_commit(st->raft));
    wire_put_u16(&w, raft_vote(st->raft));
    wire_put_u8(&w, note);
    entry.ops = wire_written(&w);
    if (storage_append(st->node->storage, &entry, NULL) < 0) {
        return false;
    }
    st->noted_commit = raft_commit(st->raft);
    return true;
}

/* ---- out of the log ---- */

static void state_durable(struct node_stripe *st, const struct log_entry *entry)
{
    struct wire_reader r    = wire_reader_of(entry->ops);
    uint64_t           term = wire_get_u64(&r);
    (void)wire_get_u64(&r);
    uint16_t vote = wire_get_u16(&r);
    if (wire_get_u8(&r) == 0) {
        raft_saved(st->raft, term, vote);
        replica_touch(st);
    }
}

void entry_durable(void *ctx, const struct log_entry *entry)
{
    struct node        *node = ctx;
    struct node_stripe *st   = stripe_slot(node, entry->stripe);
    ASSERT(st != NULL);
    if (entry->kind == LOG_STATE) {
        state_durable(st, entry);
        return;
    }
    if (entry->kind == LOG_BODY) {
        image_body_durable(st, entry);
        repair_body_durable(st, entry);
        refill_body_durable(st, entry);
        single_body_durable(st, entry);
        return;
    }
    if (entry->kind == LOG_PEER) {
        return;
    }
    if (entry->index < st->entries.first || entry->index >= st->entries.end) {
        return; /* replaced since, and what replaced it is shorter */
    }
    struct log_slot *slot = entries_at(&st->entries, entry->index);
    if (slot->memory != entry->ops.data) {
        return; /* replaced since */
    }
    slot->durable  = true;
    slot->memory   = NULL;
    slot->position = entry->position;
    raft_stable(st->raft, entry->index, entry->term);
    /* Mostly it is committed by that, and next: its ops are at hand. */
    if (LIKELY(raft_commit(st->raft) >= entry->index && stripe_applied(st->stripe) + 1 == entry->index &&
               st->still == 0 && !st->stopped && !st->installing)) {
        apply_entry(st, entry->index, entry->ops);
    } else {
        slot->held = true;
        segments_retain(&node->storage->segments, entry->position);
        if (st->still >
            0) { /* it has to make up for that, and must not wait for the disk then: at most UNAPPLIED_MAX_BYTES */
            slot->memory = ops_copy(entry->ops);
        }
    }
    replica_touch(st);
}

/* ---- the turn ---- */

static void step_down(struct node_stripe *st)
{
    st->led         = false;
    st->lead_wanted = false;
    image_peer_reset(st, 0);
    proposals_drop(st);
    leader_changed(st, true);
}

static void serve(struct node_stripe *st)
{
    st->led             = true;
    st->next_due_ns     = stripe_next_due_ns(st->stripe);
    st->node->due_dirty = true;
    limits_propose(st);
    owners_found(st);
    leader_changed(st, false);
}

static void lead(struct node_stripe *st)
{
    const struct proposal nobody = {0};
    if (lead_entry(st, LOG_EMPTY, (struct bytes){0}, &nobody) == 0) {
        st->lead_wanted = false;
        st->lead_index  = raft_last(st->raft);
    }
}

/* False: it wants another look. *out_more: at once; else when the log has room again. */
static bool settle(struct node_stripe *st, bool *out_more)
{
    struct raft *raft    = st->raft;
    bool         leading = raft_role(raft) == RAFT_LEADER;
    if (st->seen_term != raft_term(raft) || st->seen_leader != raft_leader(raft)) {
        bool led = st->seen_leader == st->node->config->node;
        st->node->counts.elections += st->seen_term != raft_term(raft) && st->seen_term != 0;
        st->seen_term   = raft_term(raft);
        st->seen_leader = raft_leader(raft);
        if (st->seen_leader != balance_preferred(st)) {
            st->node->leaders_ns = io_now_ns(st->node->io);
        }
        if (led) {
            step_down(st);
            st->lead_wanted = leading; /* in another term */
        } else {
            leader_changed(st, false);
        }
    }
    if (st->save_wanted) {
        st->save_wanted = !save(st, false);
    }
    if (st->lead_wanted && leading) {
        lead(st);
    }
    if (UNLIKELY(st->was_damaged !=
                 raft_is_damaged(raft))) { /* whole again: until a checkpoint says so, a restart does not know */
        st->was_damaged = raft_is_damaged(raft);
        st->node->storage->save.wanted |= !st->was_damaged;
    }
    bool loading = image_settle(st);
    if (UNLIKELY(st->repairing) && !st->installing && !single_ask(st)) {
        image_ask(st);
    }
    bool done = apply_committed(st) && !loading;
    entries_forget(st);
    if (!st->led && leading && !st->lead_wanted && !st->stopped && raft_is_settled(raft) &&
        stripe_applied(st->stripe) >= st->lead_index) {
        serve(st);
    }
    if (!replica_alone(st)) {
        if (leading) {
            replicate(st);
        }
        raft_flush(raft);
        if (raft_commit(raft) - st->noted_commit >= NOTE_EVERY) {
            (void)save(st, true);
        }
    }
    uint64_t next = raft_next_ns(raft);
    if (next < st->node->raft_next_ns) {
        st->node->raft_next_ns = next;
    }
    *out_more = *out_more || !done;
    return done && !st->save_wanted && !(st->lead_wanted && leading);
}

bool replicas_turn(struct node *node)
{
    struct list again;
    bool        more = false;
    list_init(&again);
    for (struct list *link; (link = list_pop_front(&node->touched)) != NULL;) {
        struct node_stripe *st = CONTAINER_OF(link, struct node_stripe, touched);
        if (node->opened && !settle(st, &more)) {
            list_remove(&st->touched);
            list_push_back(&again, &st->touched);
        }
    }
    for (struct list *link; (link = list_pop_front(&again)) != NULL;) {
        list_push_back(&node->touched, link);
    }
    if (node->opened) {
        known_turn(node, wal_durable_position(&node->storage->wal));
    }
    return more;
}

void replicas_tick(struct node *node)
{
    uint64_t now_ns = io_now_ns(node->io);
    if (now_ns < node->raft_next_ns) {
        return;
    }
    node->raft_next_ns = UINT64_MAX;
    for (uint32_t i = 0; i < node->stripe_count; i++) {
        struct node_stripe *st = &node->stripes[i];
        if (raft_next_ns(st->raft) <= now_ns) {
            raft_tick(st->raft, now_ns);
            replica_touch(st);
        }
        uint64_t next      = raft_next_ns(st->raft);
        node->raft_next_ns = next < node->raft_next_ns ? next : node->raft_next_ns;
    }
}

uint64_t replicas_next_ns(const struct node *node)
{
    return node->raft_next_ns;
}
