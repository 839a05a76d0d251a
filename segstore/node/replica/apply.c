/* apply.c - what is committed takes effect, in order, and whoever proposed it is answered.
 *
 *   applied  <=  min(commit, durable here)        the ops come from the log's memory, else they are read from disk */
#include "segstore/node/state.h"

#include "shared/base/err.h"

#include <stdlib.h>

enum { APPLIED_PER_TURN = 512, PROPOSALS_AT_FIRST = 16 };

/* ---- who waits ---- */

static struct proposal *proposal_at(const struct node_stripe *st, uint64_t index)
{
    return &st->proposals[index & (st->proposal_capacity - 1)];
}

void proposal_push(struct node_stripe *st, uint64_t index, const struct proposal *origin)
{
    if (st->proposal_first == st->proposal_end) {
        st->proposal_first = index;
        st->proposal_end   = index;
    }
    ASSERT(index == st->proposal_end);
    if (st->proposal_end - st->proposal_first == st->proposal_capacity) {
        uint64_t         capacity = st->proposal_capacity == 0 ? PROPOSALS_AT_FIRST : st->proposal_capacity * 2;
        struct proposal *ring     = malloc(capacity * sizeof *ring);
        ASSERT_MEMORY(ring != NULL);
        for (uint64_t i = st->proposal_first; i < st->proposal_end; i++) {
            ring[i & (capacity - 1)] = *proposal_at(st, i);
        }
        free(st->proposals);
        st->proposals         = ring;
        st->proposal_capacity = capacity;
    }
    st->proposal_end++;
    *proposal_at(st, index) = *origin;
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
    } else {
        wire_put_u8(&s->out, 0);
    }
    session_end(s, begun);
    session_answered(s, origin->request_bytes);
}

void proposals_drop(struct node_stripe *st)
{
    for (; st->proposal_first < st->proposal_end; st->proposal_first++) {
        answer(st->node, proposal_at(st, st->proposal_first), ERR_NOT_LEADER);
    }
    st->due_proposed = false;
    st->sample_index = 0;
}

/* ---- applying ---- */

void apply_entry(struct node_stripe *st, uint64_t index, struct bytes ops)
{
    struct node        *node   = st->node;
    struct log_slot    *slot   = entries_at(&st->entries, index);
    struct proposal     origin = {0};
    struct stripe_entry entry  = {.index = index, .wall_ns = slot->wall_ns, .ops = ops, .position = slot->position};
    ASSERT(slot->durable && index == stripe_applied(st->stripe) + 1);
    if (index >= st->proposal_first && index < st->proposal_end) {
        ASSERT(index == st->proposal_first);
        origin = *proposal_at(st, index);
        st->proposal_first++;
    }
    if (slot->kind != LOG_OPS) {
        entry.ops = (struct bytes){0};
    }
    node->results.size = 0;
    node->results.bad  = false;
    int status         = stripe_apply(st->stripe, &entry, node->opened, &node->results);
    ASSERT(status <= 0);
    if (slot->kind == LOG_MEMBERS) {
        changes_applied(st, index);
    }
    if (slot->memory != NULL) {
        free((void *)slot->memory);
        slot->memory = NULL;
    }
    st->unapplied_bytes -= slot->size;
    if (slot->held) {
        segments_release(&node->storage->segments, slot->position);
        slot->held = false;
    }
    raft_applied(st->raft, index);
    node->known_new++;
    if (index == st->sample_index) {
        sample_end(st);
    }
    if (status == 0 && node->results.bad) { /* it took effect, but what it says does not fit a frame */
        status = ERR_TOO_BIG;
    }
    if (origin.due) {
        st->due_proposed = false;
    }
    if (node->opened) {
        st->next_due_ns = stripe_next_due_ns(st->stripe);
        node->due_dirty = true;
        node->counts.committed++;
        node->counts.transactions += origin.session_serial != 0;
        answer(node, &origin, status);
    }
}

int entry_ops(struct node_stripe *st, uint64_t index, struct bytes *out)
{
    const struct log_slot *slot  = entries_at(&st->entries, index);
    struct fetch          *fetch = &st->node->storage->fetch;
    if (slot->memory != NULL) {
        *out = bytes_of(slot->memory, slot->size);
        return 0;
    }
    if (wal_view(fetch->wal, slot->position, out)) {
        *out = bytes_of(out->data, slot->size);
        return 0;
    }
    int result = fetch_bytes(fetch, slot->position, slot->size, out);
    if (result != 0) {
        return result;
    }
    const struct log_entry entry = {.stripe  = st->id,
                                    .kind    = slot->kind,
                                    .index   = index,
                                    .term    = raft_term_at(st->raft, index),
                                    .wall_ns = slot->wall_ns,
                                    .ops     = *out};
    return log_chain(entries_chain(&st->entries, index - 1), &entry) == slot->chain ? 0 : ERR_CORRUPT;
}

bool apply_committed(struct node_stripe *st)
{
    uint64_t commit = raft_commit(st->raft);
    uint64_t stable = raft_stable_index(st->raft);
    uint64_t until  = commit < stable ? commit : stable;
    for (int i = 0; st->still == 0 && !st->stopped && !st->installing && stripe_applied(st->stripe) < until; i++) {
        uint64_t     index = stripe_applied(st->stripe) + 1;
        struct bytes ops;
        if (i == APPLIED_PER_TURN) {
            return false;
        }
        if (list_linked(&st->applying.link)) {
            return true; /* goes on when what it waits for was read */
        }
        int result = entry_ops(st, index, &ops);
        if (result == 1) {
            read_ahead(st, index + 1, until);
            list_push_back(&st->node->disk_waiters, &st->applying.link);
            return true;
        }
        if (result < 0) {
            replica_unreadable(st, index);
            return true;
        }
        apply_entry(st, index, ops);
        if (UNLIKELY(st->unreadable == index)) {
            replica_readable(st);
        }
    }
    return true;
}
