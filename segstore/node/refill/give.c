/* give.c - another node misses an entry: what this one has of it. Nothing is promised by that, so it makes no difference whether this one is damaged itself. */
#include "segstore/node/peers/peers.h"
#include "segstore/node/refill/refill.h"
#include "segstore/node/replica/message.h"

#include "shared/base/err.h"

enum { ENTRIES_MAX = 256, FRAME_BYTES = 256 * 1024 };

int refill_entry_of(struct node_stripe *st, uint64_t index, struct log_entry *out)
{
    const struct refill_entry *e = st->refill == NULL ? NULL : refill_find(st->refill, index);
    *out                         = (struct log_entry){.index = index};
    if (e != NULL) { /* younger than what may lie in that place in front of the hole */
        out->term    = e->term;
        out->kind    = e->slot.kind;
        out->wall_ns = e->slot.wall_ns;
        out->chain   = e->slot.chain;
        return e->slot.durable ? fetch_bytes(&st->node->storage->fetch, e->slot.position, e->slot.size, &out->ops) : 1;
    }
    if (index < st->entries.first || index >= st->entries.end) {
        return ERR_NOT_FOUND;
    }
    const struct log_slot *slot = entries_at(&st->entries, index);
    out->term                   = raft_term_at(st->raft, index);
    out->kind                   = slot->kind;
    out->wall_ns                = slot->wall_ns;
    out->chain                  = slot->chain;
    return entry_ops(st, index, &out->ops);
}

const struct log_slot *refill_slot_of(const struct node_stripe *st, uint64_t index)
{
    const struct refill_entry *e = st->refill == NULL ? NULL : refill_find(st->refill, index);
    if (e != NULL) {
        return &e->slot;
    }
    return index < st->entries.first || index >= st->entries.end ? NULL : entries_at(&st->entries, index);
}

uint64_t refill_end(const struct node_stripe *st)
{
    const struct refill *r   = st->refill;
    uint64_t             end = st->entries.end;
    if (r != NULL && r->first < r->count && r->behind[r->count - 1].index >= end) {
        end = r->behind[r->count - 1].index + 1;
    }
    return end;
}

void refill_asked(struct session *s, struct wire_reader *reader)
{
    struct node_stripe *st    = stripe_slot(s->node, wire_get_u16(reader));
    uint16_t            flags = wire_get_u16(reader);
    (void)wire_get_u32(reader);
    uint64_t     index = wire_get_u64(reader);
    bool         one   = (flags & REFILL_LED_OR_NOT) != 0;
    struct peer *peer  = peer_find(s->node, s->peer);
    if (reader->bad || st == NULL || peer == NULL || !peer_roomy(peer)) {
        return; /* it asks again */
    }
    enum { KIND_AT = 2, COUNT_AT = 4 };
    struct wire_writer *w     = peer_begin(peer, RPC_REFILL);
    size_t              head  = w->size;
    uint64_t            last  = raft_term_at(st->raft, raft_last(st->raft));
    uint32_t            count = 0;
    uint8_t             kind  = !one && raft_leader(st->raft) != RAFT_NONE ? REFILL_LED : REFILL_NONE;
    wire_put_u16(w, st->id);
    wire_put_u8(w, kind);
    wire_put_u8(w, 0);
    wire_put_u32(w, 0);
    wire_put_u64(w, index);
    wire_put_u64(w, raft_term(st->raft) > last ? raft_term(st->raft) : last);
    wire_put_u64(w, raft_last(st->raft));
    wire_put_u64(w, last);
    while (kind != REFILL_LED && index > count && count < (one ? 1 : ENTRIES_MAX) && w->size - head < FRAME_BYTES) {
        struct log_entry entry;
        int              result = refill_entry_of(st, index - count, &entry);
        if (result != 0) {
            kind = count == 0 && result == 1 ? REFILL_LATER : kind;
            break;
        }
        message_put_entry(w, &entry);
        kind = REFILL_ENTRIES;
        count++;
    }
    if (!w->bad) {
        w->data[head + KIND_AT] = kind;
        memcpy(w->data + head + COUNT_AT, &count, sizeof count);
    }
    peer_end(peer);
}
