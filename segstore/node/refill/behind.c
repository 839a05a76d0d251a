/* behind.c - what the log holds behind its holes, as a restart reads it, or behind an entry that cannot be read any more. */
#include "segstore/node/refill/refill.h"
#include "segstore/node/replica/members.h"

#include "shared/base/err.h"

#include <stdlib.h>

static struct refill *refill_of(struct node_stripe *st)
{
    if (st->refill == NULL) {
        struct refill *r = calloc(1, sizeof *r);
        ASSERT_MEMORY(r != NULL);
        r->st      = st;
        r->led_ns  = io_now_ns(st->node->io);
        r->told_ns = r->led_ns;
        st->refill = r;
        list_push_back(&st->node->refills, &r->link);
    }
    return st->refill;
}

void refill_entry_drop(struct node_stripe *st, struct refill_entry *e)
{
    if (e->slot.held) {
        segments_release(&st->node->storage->segments, e->slot.position);
    }
    free(e->members);
}

static void behind_cut(struct refill *r, uint64_t index)
{
    while (r->count > r->first && r->behind[r->count - 1].index >= index) {
        refill_entry_drop(r->st, &r->behind[--r->count]);
    }
}

static struct refill_entry *behind_push(struct refill *r)
{
    if (r->count == r->capacity) {
        r->capacity = r->capacity == 0 ? 64 : r->capacity * 2;
        r->behind   = realloc(r->behind, r->capacity * sizeof *r->behind);
        ASSERT_MEMORY(r->behind != NULL);
    }
    return &r->behind[r->count++];
}

void refill_found_drop(struct refill *r)
{
    while (r->found_count > 0) {
        refill_entry_drop(r->st, &r->found[--r->found_count]);
    }
    free(r->last_ops);
    r->last_ops = NULL;
    r->said_no  = 0;
}

void refill_drop(struct node_stripe *st)
{
    struct refill *r = st->refill;
    if (r == NULL) {
        return;
    }
    st->refill = NULL;
    replica_may_lead(st);
    refill_found_drop(r);
    behind_cut(r, 0);
    list_remove(&r->link);
    free(r->behind);
    free(r->found);
    free(r);
}

/* ---- as the log is read ---- */

void refill_hole(struct node_stripe *st)
{
    if (st->refill == NULL && raft_is_damaged(st->raft)) {
        return; /* by something that nobody remembers: that is not healed by what is known of this hole */
    }
    struct refill *r = refill_of(st);
    r->open          = true;
    r->voted         = true;
}

void refill_state(struct node_stripe *st)
{
    if (st->refill != NULL && !st->refill->known) {
        st->refill->voted = false;
    }
}

uint64_t refill_term(const struct refill *r)
{
    return r->count > r->first ? r->behind[r->count - 1].term : 0;
}

/* Everything up to the entry that a leader of that term gave is in the log, and nothing else that was here is committed. */
static bool is_covered(const struct refill *r, uint64_t term)
{
    return term > refill_term(r);
}

void refill_taken(struct node_stripe *st, const struct log_entry *entry)
{
    if (!refill_is_open(st)) {
        refill_drop(st);
    } else if (is_covered(st->refill, entry->term)) {
        refill_found_drop(st->refill);
        behind_cut(st->refill, 0);
    }
}

void refill_replaced(struct node_stripe *st, uint64_t index, uint64_t term, bool keeps_log)
{
    struct refill *r    = st->refill;
    uint64_t       last = raft_last(st->raft);
    if (!refill_is_open(st)) {
        refill_drop(st);
        return;
    }
    refill_found_drop(r);
    if (is_covered(r, term)) {
        behind_cut(r, 0);
    }
    while (r->first < r->count && r->behind[r->first].index <= index) {
        refill_entry_drop(st, &r->behind[r->first++]);
    }
    r->open      = r->open || (!keeps_log && last > index && raft_term_at(st->raft, last) >= term);
    r->giving_up = false;
}

static bool follows(const struct node_stripe *st, const struct log_entry *e)
{
    return e->index <= raft_last(st->raft) + 1 && e->index >= st->entries.first &&
           log_chain(entries_chain(&st->entries, e->index - 1), e) == e->chain;
}

static uint8_t *members_copy(struct bytes ops)
{
    uint8_t *copy = malloc(ops.size + 1);
    ASSERT_MEMORY(copy != NULL && ops.size <= REFILL_MEMBERS_BYTES);
    memcpy(copy, ops.data, ops.size);
    return copy;
}

bool refill_replay(struct node_stripe *st, const struct log_entry *e)
{
    struct refill *r = st->refill;
    if (e->chain == 0) { /* of a format that proves nothing */
        refill_drop(st);
        return false;
    }
    if (follows(st, e)) {
        if (!r->known || is_covered(r, e->term)) {
            behind_cut(r, 0);
        }
        r->open = r->open && r->known; /* else nothing that counts was in the hole, or this has replaced it */
        return false;
    }
    if (r->known &&
        (e->term < refill_term(r) || (e->term == refill_term(r) && e->index <= r->behind[r->count - 1].index))) {
        return true; /* it replaces nothing, and whoever leads gives it again */
    }
    behind_cut(r, e->index);
    const struct refill_entry *before = r->count > r->first ? &r->behind[r->count - 1] : NULL;
    bool linked     = before != NULL && before->index + 1 == e->index && log_chain(before->slot.chain, e) == e->chain;
    *behind_push(r) = (struct refill_entry){.index   = e->index,
                                            .term    = e->term,
                                            .slot    = {.position = e->position,
                                                        .wall_ns  = e->wall_ns,
                                                        .chain    = e->chain,
                                                        .size     = (uint32_t)e->ops.size,
                                                        .kind     = e->kind,
                                                        .durable  = true,
                                                        .held     = true},
                                            .members = e->kind == LOG_MEMBERS ? members_copy(e->ops) : NULL,
                                            .linked  = linked};
    segments_retain(&st->node->storage->segments, e->position);
    r->open = r->open && r->known;
    return true;
}

/* ---- while it runs ---- */

/* Of a change of members that is not applied, as its entry has them. */
static uint8_t *members_at(const struct node_stripe *st, uint64_t index)
{
    uint8_t            bytes[REFILL_MEMBERS_BYTES];
    struct wire_writer w = wire_writer_fixed(bytes, sizeof bytes);
    for (uint32_t i = 0; i < st->change_count && w.size == 0; i++) {
        if (st->changes[i].index == index) {
            members_put(&w, &st->changes[i].members);
        }
    }
    ASSERT(w.size > 0 && w.size == entries_at(&st->entries, index)->size);
    return members_copy(wire_written(&w));
}

bool refill_cut(struct node_stripe *st, uint64_t index)
{
    if (st->refill != NULL || st->installing || st->still > 0 || raft_role(st->raft) != RAFT_FOLLOWER ||
        raft_stable_index(st->raft) != raft_last(st->raft)) {
        return false;
    }
    log_warn(
        "stripe %u: entry %llu cannot be read here and no other node has it: as damage is accepted, it is a hole in "
        "the log from now on",
        st->id, (unsigned long long)index);
    struct refill *r = refill_of(st);
    r->open          = index + 1 == st->entries.end;
    for (uint64_t i = index + 1; i < st->entries.end; i++) {
        struct log_slot slot = *entries_at(&st->entries, i);
        slot.memory          = NULL;
        slot.held            = true;
        segments_retain(&st->node->storage->segments, slot.position);
        *behind_push(r) = (struct refill_entry){.index   = i,
                                                .term    = raft_term_at(st->raft, i),
                                                .slot    = slot,
                                                .members = slot.kind == LOG_MEMBERS ? members_at(st, i) : NULL,
                                                .linked  = i > index + 1};
    }
    while (st->entries.end > index) {
        entry_drop_last(st);
    }
    changes_cut(st, index);
    raft_cut(st->raft, index);
    st->noted_commit = raft_commit(st->raft);
    replica_readable(st);
    st->node->storage->save.wanted = true;
    return true;
}

const struct refill_entry *refill_find(const struct refill *r, uint64_t index)
{
    if (r->found_count > 0 && index <= r->found[0].index && index >= r->found[r->found_count - 1].index) {
        return &r->found[r->found[0].index - index];
    }
    size_t low  = r->first;
    size_t high = r->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (r->behind[middle].index < index) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < r->count && r->behind[low].index == index ? &r->behind[low] : NULL;
}

/* ---- checkpoints ---- */

bool refill_is_open(const struct node_stripe *st)
{
    return st->refill != NULL && (raft_is_damaged(st->raft) || st->refill->given_up);
}

void refill_put(const struct node_stripe *st, struct wire_writer *w)
{
    const struct refill *r = st->refill;
    wire_put_u8(w, r->open);
    wire_put_u8(w, r->voted);
    wire_put_u16(w, 0);
    wire_put_u32(w, 0);
    wire_put_u64(w, r->count - r->first);
    for (size_t i = r->first; i < r->count; i++) {
        const struct refill_entry *e = &r->behind[i];
        save_needs(&st->node->storage->save, e->slot.position);
        wire_put_u64(w, e->index);
        wire_put_u64(w, e->term);
        wire_put_u64(w, e->slot.position);
        wire_put_u64(w, e->slot.wall_ns);
        wire_put_u64(w, e->slot.chain);
        wire_put_u32(w, e->slot.size);
        wire_put_u16(w, e->slot.kind);
        wire_put_u8(w, e->linked);
        wire_put_u8(w, e->members != NULL ? (uint8_t)e->slot.size : 0);
        wire_put_bytes(w, bytes_of(e->members, e->members != NULL ? e->slot.size : 0));
    }
}

bool refill_get(struct node_stripe *st, struct wire_reader *reader)
{
    struct refill *r      = refill_of(st);
    uint64_t       before = 0;
    r->open               = wire_get_u8(reader) != 0;
    r->voted              = wire_get_u8(reader) != 0;
    r->known              = true;
    (void)wire_get_u16(reader);
    (void)wire_get_u32(reader);
    for (uint64_t count = wire_get_u64(reader); count > 0 && !reader->bad; count--) {
        struct refill_entry e = {.index = wire_get_u64(reader), .slot = {.durable = true}};
        e.term                = wire_get_u64(reader);
        e.slot.position       = wire_get_u64(reader);
        e.slot.wall_ns        = wire_get_u64(reader);
        e.slot.chain          = wire_get_u64(reader);
        e.slot.size           = wire_get_u32(reader);
        e.slot.kind           = wire_get_u16(reader);
        e.linked              = wire_get_u8(reader) != 0;
        uint8_t      size     = wire_get_u8(reader);
        struct bytes members  = wire_get(reader, size);
        bool         fits     = size == (e.slot.kind == LOG_MEMBERS ? e.slot.size : 0) && size <= REFILL_MEMBERS_BYTES;
        if (reader->bad || e.index <= before || !fits || (e.slot.kind == LOG_MEMBERS && size == 0)) {
            return false;
        }
        e.slot.held = true;
        e.members   = size > 0 ? members_copy(members) : NULL;
        segments_retain(&st->node->storage->segments, e.slot.position);
        save_needs(&st->node->storage->save, e.slot.position);
        *behind_push(r) = e;
        before          = e.index;
    }
    return !reader->bad;
}
