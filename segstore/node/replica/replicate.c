/* replicate.c - a leader sends its followers the entries that they want: those being written from the log's memory, later ones from its tail or
 * from disk. Its own write runs beside. */
#include "segstore/node/replica/message.h"
#include "segstore/node/state.h"

#include "shared/base/buggify.h"
#include "shared/base/err.h"

enum {
    FRAME_BYTES        = 512 * 1024,
    AHEAD_BYTES        = 1024 * 1024,
    AHEAD_ENTRY_BYTES  = 1024,
    CATCHES_UP_ENTRIES = 4096 /* so far behind, it is not the traffic of the moment */
};

/* Is what it wants next in the log's files only? */
static bool is_cold(const struct node_stripe *st, const struct log_slot *slot)
{
    struct bytes unused;
    return slot->memory == NULL && !wal_view(st->node->storage->fetch.wal, slot->position, &unused);
}

/* Nor is what must be read from there, however few entries it is. */
static bool catches_up(const struct node_stripe *st, const struct raft_want *want, bool cold)
{
    return want->first <= want->last && (cold || want->first + CATCHES_UP_ENTRIES < raft_commit(st->raft));
}

/* Entries [first, last] into w, until enough are there. Returns how many, or 0 when the first has to wait or cannot be read (*out_error). */
static uint32_t put_entries(struct node_stripe *st, struct wire_writer *w, const struct raft_want *want,
                            uint64_t *out_bytes, int *out_error)
{
    uint32_t count = 0;
    *out_bytes     = 0;
    *out_error     = 0;
    for (uint64_t index = want->first; index <= want->last && count < MESSAGE_ENTRIES_MAX; index++, count++) {
        const struct log_slot *slot = entries_at(&st->entries, index);
        struct log_entry       entry;
        if (count > 0 && (*out_bytes + slot->size > want->bytes_max || *out_bytes + slot->size > FRAME_BYTES)) {
            break;
        }
        int result = entry_ops(st, index, &entry.ops);
        if (result != 0) {
            *out_error = result;
            break;
        }
        entry.kind    = slot->kind;
        entry.wall_ns = slot->wall_ns;
        entry.chain   = slot->chain;
        entry.term    = raft_term_at(st->raft, index);
        message_put_entry(w, &entry);
        *out_bytes += slot->size;
    }
    return count;
}

void read_ahead(struct node_stripe *st, uint64_t index, uint64_t last)
{
    struct fetch *fetch = &st->node->storage->fetch;
    uint64_t      until = 0;
    for (; index <= last; index++) {
        const struct log_slot *slot = entries_at(&st->entries, index);
        until                       = until == 0 ? slot->position + AHEAD_BYTES : until;
        if (slot->memory != NULL || slot->position > until || !fetch_ahead(fetch, slot->position, slot->size)) {
            return;
        }
    }
}

/* One message. False: no more for this follower now. */
static bool send_one(struct node_stripe *st, struct peer *peer, uint16_t id)
{
    struct raft_want want;
    if (!peer_roomy(peer) || !raft_wants(st->raft, id, &want)) {
        return false;
    }
    if (want.snapshot) {
        image_send(st, id);
        return false;
    }
    const struct log_slot *slot   = want.first <= want.last ? entries_at(&st->entries, want.first) : NULL;
    bool                   cold   = slot != NULL && is_cold(st, slot);
    bool                   behind = catches_up(st, &want, cold);
    if ((cold && !pacing_together(st, slot->position)) ||
        (behind && pace_wait_ns(st->node->transfer, io_now_ns(st->node->io)) > 0)) {
        pacing_wait(st);
        return false;
    }
    struct raft_message message = {.kind     = RAFT_APPEND,
                                   .to       = id,
                                   .term     = raft_term(st->raft),
                                   .index    = want.first - 1,
                                   .log_term = want.log_term,
                                   .commit   = raft_commit(st->raft)};
    uint64_t            bytes   = 0;
    int                 error   = 0;
    struct wire_writer *w =
        peer_begin(peer, RPC_RAFT); /* straight into the output: it is known at the end how many fit */
    size_t head = w->size;
    message_put(w, st->id, &message, entries_chain(&st->entries, message.index));
    uint32_t count = put_entries(st, w, &want, &bytes, &error);
    message_set_count(w->data + head, count);
    if (behind) { /* while this is on its way */
        read_ahead(st, want.first + count, want.last);
    }
    if (count == 0 && error != 0) {
        peer_cancel(peer);
    }
    if (count == 0 && error == 1) {
        if (!list_linked(&st->sending.link)) {
            list_push_back(&st->node->disk_waiters, &st->sending.link);
        }
        return false;
    }
    if (count == 0 && error < 0 && want.first > stripe_applied(st->stripe)) { /* no image holds it: it cannot lead */
        replica_unreadable(st, want.first);
        return false;
    }
    if (count == 0 && error < 0) { /* its file has gone, or is damaged: an image serves instead */
        while (st->entries.first <= want.first && st->entries.first <= stripe_applied(st->stripe)) {
            entry_drop_first(st);
        }
        raft_compact(st->raft, st->entries.first - 1);
        return false;
    }
    peer_end(peer);
    raft_sent(st->raft, id, want.first, count, bytes);
    if (behind) {
        (void)pace_take(st->node->transfer, bytes, io_now_ns(st->node->io));
    }
    return true;
}

void replicate(struct node_stripe *st)
{
    uint16_t nodes[3 * RAFT_MEMBERS_MAX];
    size_t   count = raft_members_list(raft_members(st->raft), nodes);
    for (size_t i = 0; i < count; i++) {
        struct peer *peer = nodes[i] == st->node->config->node ? NULL : peer_find(st->node, nodes[i]);
        while (peer != NULL && send_one(st, peer, nodes[i])) {
        }
    }
}
