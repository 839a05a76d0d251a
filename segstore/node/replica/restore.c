/* restore.c - a replica from what the disk holds of it: its part of the checkpoint, then the log behind, entry by entry; and into the next checkpoint.
 *
 *   version u16 (2 with a refill, else 1) | damaged u8 | repairing u8 (1; 2: an entry is unreadable) | vote u16 | zero u16 | term u64 | commit u64 | applied_term u64 | chain u64 (at the applied entry) | members |
 *   known u8 x { node u16, incarnation u64 } |
 *   count u64 | count x { term u64, position u64, wall_ns u64, chain u64, size u32, kind u16 }      entries behind the applied one that were durable |
 *   changes u16 x { index u64, members }                                                                of them
 *   version 2: what lies behind holes, segstore/node/refill/refill.h
 *
 * The replay begins before the image was taken, so it meets some of these entries again: an entry replaces what lies at and behind its index, and the
 * log, read in its order, ends as it was. It may begin in the midst of entries that had been replaced when the image was taken: 135 lies behind no hole, it was
 * written behind entries that are not there any more, and is not, either. (The checkpoint says in which block the log was when the image was taken.)
 *
 *   log    .. 133 134 | 135 .. 140      131 132 ..
 *          replay begins          |
 *                                 a later leader replaces all from 131 on; the image: it ends with 130
 *
 * What the log says to be committed where it says so is applied while its bytes are at hand; what the
 * checkpoint knows of that is younger: it may speak of an entry that is still to come in the place of one that comes now. */
#include "segstore/node/refill/refill.h"
#include "segstore/node/replica/members.h"
#include "segstore/node/state.h"

#include "shared/base/err.h"

#include <stdlib.h>

enum { REPLICA_VERSION = 1, REPLICA_VERSION_REFILL = 2, REPAIRING_IMAGE = 1, REPAIRING_ENTRY = 2 };

static struct raft_members first_members(const struct node_stripe *st)
{
    const struct super *super = &st->node->storage->super;
    struct raft_members m     = {.voter_count = (uint8_t)super->member_count};
    memcpy(m.voters, super->members, sizeof m.voters);
    return m;
}

/* A stripe that no checkpoint knows, or one of a store that stood alone before there were replicas. */
static void restore_plain(struct node_stripe *st, uint64_t applied)
{
    bool               old    = applied > 0;
    struct raft_stored stored = {.term         = old ? 1 : 0,
                                 .vote         = old ? st->node->config->node : RAFT_NONE,
                                 .commit       = applied,
                                 .applied      = applied,
                                 .applied_term = old ? 1 : 0,
                                 .members      = first_members(st)};
    entries_fini(&st->entries);
    entries_init(&st->entries, applied, 0);
    raft_restore(st->raft, &stored);
    st->applied_members = stored.members;
    st->restored        = true;
}

static bool read_entry(struct node_stripe *st, struct wire_reader *r, uint64_t index)
{
    uint64_t        term = wire_get_u64(r);
    struct log_slot slot = {.position = wire_get_u64(r),
                            .wall_ns  = wire_get_u64(r),
                            .chain    = wire_get_u64(r),
                            .durable  = true,
                            .held     = true};
    slot.size            = wire_get_u32(r);
    slot.kind            = wire_get_u16(r);
    if (r->bad || !raft_restore_entry(st->raft, index, term)) {
        return false;
    }
    entries_push(&st->entries, &slot);
    st->unapplied_bytes += slot.size;
    segments_retain(&st->node->storage->segments, slot.position);
    save_needs(&st->node->storage->save, slot.position);
    return true;
}

int replica_restore(struct node_stripe *st, struct bytes image, uint64_t applied, uint64_t seq)
{
    struct wire_reader r      = wire_reader_of(image);
    struct raft_stored stored = {.applied = applied};
    if (image.size == 0) {
        restore_plain(st, applied);
        return 0;
    }
    st->image_seq     = seq;
    uint16_t version  = wire_get_u16(&r);
    stored.damaged    = wire_get_u8(&r) != 0;
    uint8_t repairing = wire_get_u8(&r);
    st->repairing     = repairing == REPAIRING_IMAGE; /* an entry: that is found out anew */
    stored.vote       = wire_get_u16(&r);
    (void)wire_get_u16(&r);
    stored.term         = wire_get_u64(&r);
    stored.commit       = wire_get_u64(&r);
    stored.applied_term = wire_get_u64(&r);
    uint64_t chain      = wire_get_u64(&r);
    if (r.bad || version < REPLICA_VERSION || version > REPLICA_VERSION_REFILL || !members_read(&r, &stored.members)) {
        return ERR_MALFORMED;
    }
    peers_known_get(st->node, &r);
    st->applied_members = stored.members;
    uint64_t count      = wire_get_u64(&r);
    entries_fini(&st->entries);
    entries_init(&st->entries, applied, chain);
    raft_restore(st->raft, &stored);
    st->restored = true;
    st->stale    = applied == 0 && stored.damaged && stored.members.voter_count == 0; /* it has left: leave.c */
    for (uint64_t i = 0; i < count && !r.bad; i++) {
        if (!read_entry(st, &r, applied + 1 + i)) {
            return ERR_MALFORMED;
        }
    }
    changes_get(st, &r);
    if (version == REPLICA_VERSION_REFILL && !refill_get(st, &r)) {
        return ERR_MALFORMED;
    }
    st->unproved = version == REPLICA_VERSION_REFILL; /* a hole of before: what filled it lies in no log */
    return r.bad || wire_left(&r) != 0 ? ERR_MALFORMED : 0;
}

void replica_put(struct node_stripe *st, struct wire_writer *w)
{
    uint64_t           applied = stripe_applied(st->stripe);
    uint64_t           last    = raft_stable_index(st->raft);
    uint64_t           chain   = 0;
    struct raft_stored stored  = {.commit = raft_commit(st->raft)};
    if (st->installing) {
        last = applied;
        image_put(st, &stored, &chain);
    } else {
        stored.applied_term = raft_term_at(st->raft, applied);
        stored.members      = st->applied_members;
        chain               = entries_chain(&st->entries, applied);
    }
    last        = last < applied ? applied : last;
    bool refill = refill_is_open(st);
    wire_put_u16(w, refill ? REPLICA_VERSION_REFILL : REPLICA_VERSION);
    wire_put_u8(w, refill || raft_is_damaged(st->raft));
    wire_put_u8(w, st->installing || !st->repairing ? 0 : st->unreadable ? REPAIRING_ENTRY : REPAIRING_IMAGE);
    wire_put_u16(w, raft_vote(st->raft));
    wire_put_u16(w, 0);
    wire_put_u64(w, raft_term(st->raft));
    wire_put_u64(w, stored.commit);
    wire_put_u64(w, stored.applied_term);
    wire_put_u64(w, chain);
    members_put(w, &stored.members);
    peers_known_put(st->node, w);
    wire_put_u64(w, last - applied);
    for (uint64_t index = applied + 1; index <= last; index++) {
        const struct log_slot *slot = entries_at(&st->entries, index);
        ASSERT(slot->durable);
        save_needs(&st->node->storage->save, slot->position);
        wire_put_u64(w, raft_term_at(st->raft, index));
        wire_put_u64(w, slot->position);
        wire_put_u64(w, slot->wall_ns);
        wire_put_u64(w, slot->chain);
        wire_put_u32(w, slot->size);
        wire_put_u16(w, slot->kind);
    }
    changes_put(st, last, w);
    if (refill) {
        refill_put(st, w);
    }
}

/* ---- replay ---- */

/* Applies what is known to be committed, from the copies made below. */
static void apply_replayed(struct node_stripe *st)
{
    uint64_t commit = st->replay_commit;
    while (stripe_applied(st->stripe) < commit && stripe_applied(st->stripe) < raft_stable_index(st->raft)) {
        uint64_t               index = stripe_applied(st->stripe) + 1;
        const struct log_slot *slot  = entries_at(&st->entries, index);
        if (slot->memory == NULL) {
            return; /* from the checkpoint: its bytes are read when the log is open */
        }
        apply_entry(st, index, bytes_of(slot->memory, slot->size));
    }
}

/* What stands here was committed, as far as the log says so. */
static void restore_commit(struct node_stripe *st)
{
    st->unproved      = false;
    st->replay_commit = st->said_commit;
    raft_restore_commit(st->raft, st->replay_commit);
}

/* Entries are missing from here on: among them may be those that have replaced the last ones that were read. What is said behind the hole to be committed is
 * not known to be these, until an entry comes that was made behind them. */
static void replay_hole(struct node_stripe *st)
{
    st->unproved = true;
    replica_damaged(st, "entries may be missing from the damaged log");
}

static void replay_state(struct node_stripe *st, const struct log_entry *entry)
{
    struct wire_reader r      = wire_reader_of(entry->ops);
    uint64_t           term   = wire_get_u64(&r);
    uint64_t           commit = wire_get_u64(&r);
    uint16_t           vote   = wire_get_u16(&r);
    if (!r.bad) {
        refill_state(st);
        raft_restore_state(st->raft, term, vote);
        st->said_commit = commit > st->said_commit ? commit : st->said_commit;
        if (LIKELY(!st->unproved)) {
            restore_commit(st);
            apply_replayed(st);
        }
    }
}

/* Alone, with the damage accepted: what follows the hole takes the place of what was lost. */
static void close_hole(struct node_stripe *st, struct log_entry *entry)
{
    entry->index = raft_last(st->raft) + 1;
    bool taken   = raft_restore_entry(st->raft, entry->index, entry->term);
    ASSERT(taken);
}

void stripes_replay(void *ctx, const struct log_entry *logged, uint64_t seq)
{
    struct node        *node = ctx;
    struct node_stripe *st   = stripe_slot(node, logged->stripe);
    struct log_entry    e    = *logged;
    if (st == NULL || st->stopped) {
        return;
    }
    if (!st->restored) {
        restore_plain(st, 0);
    }
    if (e.kind == LOG_STATE) {
        replay_state(st, &e);
        return;
    }
    if (e.kind == LOG_PEER) {
        struct wire_reader r  = wire_reader_of(e.ops);
        uint16_t           id = wire_get_u16(&r);
        peer_remember(node, id, wire_get_u64(&r));
        return;
    }
    if (e.kind == LOG_BODY || e.index <= stripe_applied(st->stripe)) {
        return;
    }
    bool alone = replica_alone(st);
    if (st->refill != NULL && !alone && refill_replay(st, &e)) {
        return;
    }
    if (e.index <= raft_last(st->raft) + 1 && e.chain != 0 &&
        log_chain(entries_chain(&st->entries, e.index - 1), &e) != e.chain) {
        st->stale = true; /* of a history that an image has replaced: it was longer than what the image holds */
    }
    if (st->stale &&
        (e.index > raft_last(st->raft) + 1 || log_chain(entries_chain(&st->entries, e.index - 1), &e) != e.chain)) {
        return;
    }
    st->stale = false;
    if (!raft_restore_entry(st->raft, e.index, e.term)) {
        if (seq <= st->image_seq && !st->log_damaged) {
            return; /* it was replaced */
        }
        if (!alone || !node->config->accept_damage) {
            replay_hole(st);
            return;
        }
        close_hole(st, &e);
    }
    while (st->entries.end > e.index) {
        entry_drop_last(st);
    }
    changes_cut(st, e.index);
    if (UNLIKELY(st->unproved) && e.chain != 0 && (st->refill == NULL || refill_term(st->refill) == 0)) {
        /* it was made behind what stands here: that is looked at above; and nothing else is known to have stood here since */
        restore_commit(st);
    }
    if (alone) {
        raft_restore_commit(st->raft, e.index);
    }
    bool            now  = e.index == stripe_applied(st->stripe) + 1 && (alone || st->replay_commit >= e.index);
    struct log_slot slot = {.position = e.position,
                            .memory   = now ? NULL : ops_copy(e.ops), /* for when it is known to be committed */
                            .wall_ns  = e.wall_ns,
                            .chain   = e.chain != 0 ? e.chain : log_chain(entries_chain(&st->entries, e.index - 1), &e),
                            .size    = (uint32_t)e.ops.size,
                            .kind    = e.kind,
                            .durable = true,
                            .held    = true};
    entries_push(&st->entries, &slot);
    st->unapplied_bytes += slot.size;
    segments_retain(&node->storage->segments, slot.position);
    if (e.kind == LOG_MEMBERS) {
        changes_appended(st, &e);
    }
    if (now) {
        apply_entry(st, e.index, e.ops);
    } else {
        apply_replayed(st);
    }
    entries_forget(st);
    known_turn(node, e.position);
}

void stripes_damaged(void *ctx, uint64_t stripes)
{
    struct node *node = ctx;
    for (uint32_t i = 0; i < node->stripe_count; i++) {
        struct node_stripe *st = &node->stripes[i];
        if ((stripes & BLOCK_STRIPE_BIT(st->id)) == 0) {
            continue;
        }
        st->log_damaged = true;
        if (!st->restored) { /* its first entry may be in there */
            restore_plain(st, 0);
        }
        if (!replica_alone(st)) {
            refill_hole(st);
        }
        if (!replica_alone(st) || !node->config->accept_damage) {
            replay_hole(st);
        }
    }
}

void replicas_restored(struct node *node)
{
    for (uint32_t i = 0; i < node->stripe_count; i++) {
        if (!node->stripes[i].restored) {
            restore_plain(&node->stripes[i], 0);
        }
    }
}
