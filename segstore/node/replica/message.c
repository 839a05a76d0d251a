/* message.c - there and back. */
#include "segstore/node/replica/message.h"

enum { FLAG_REFUSED = 1, FLAG_PRE = 2, FLAG_TRANSFER = 4, FLAG_DAMAGED = 8 };

void message_put(struct wire_writer *w, uint16_t stripe, const struct raft_message *m, uint64_t chain)
{
    uint8_t flags = (uint8_t)((m->refused ? FLAG_REFUSED : 0) | (m->pre ? FLAG_PRE : 0) |
                              (m->transfer ? FLAG_TRANSFER : 0) | (m->damaged ? FLAG_DAMAGED : 0));
    wire_put_u16(w, stripe);
    wire_put_u8(w, m->kind);
    wire_put_u8(w, flags);
    wire_put_u32(w, m->count);
    wire_put_u64(w, m->term);
    wire_put_u64(w, m->index);
    wire_put_u64(w, m->log_term);
    wire_put_u64(w, m->commit);
    wire_put_u64(w, m->hint);
    wire_put_u64(w, m->clock);
    wire_put_u64(w, chain);
}

void message_put_entry(struct wire_writer *w, const struct log_entry *entry)
{
    wire_put_u32(w, (uint32_t)entry->ops.size);
    wire_put_u16(w, entry->kind);
    wire_put_u16(w, 0);
    wire_put_u64(w, entry->term);
    wire_put_u64(w, entry->wall_ns);
    wire_put_u64(w, entry->chain);
    wire_put_bytes(w, entry->ops);
}

bool message_get(struct wire_reader *r, uint16_t *out_stripe, struct raft_message *out, uint64_t *out_chain)
{
    *out_stripe         = wire_get_u16(r);
    *out                = (struct raft_message){.kind = wire_get_u8(r)};
    const uint8_t flags = wire_get_u8(r);
    out->refused        = (flags & FLAG_REFUSED) != 0;
    out->pre            = (flags & FLAG_PRE) != 0;
    out->transfer       = (flags & FLAG_TRANSFER) != 0;
    out->damaged        = (flags & FLAG_DAMAGED) != 0;
    out->count          = wire_get_u32(r);
    out->term           = wire_get_u64(r);
    out->index          = wire_get_u64(r);
    out->log_term       = wire_get_u64(r);
    out->commit         = wire_get_u64(r);
    out->hint           = wire_get_u64(r);
    out->clock          = wire_get_u64(r);
    *out_chain          = wire_get_u64(r);
    return !r->bad && out->count <= MESSAGE_ENTRIES_MAX && (out->count == 0 || out->kind == RAFT_APPEND);
}

bool message_get_entries(struct wire_reader *r, uint16_t stripe, const struct raft_message *m, uint64_t chain,
                         struct log_entry *out, uint64_t *out_terms)
{
    for (uint32_t i = 0; i < m->count; i++) {
        struct log_entry *e    = &out[i];
        uint32_t          size = wire_get_u32(r);
        *e = (struct log_entry){.stripe = stripe, .index = m->index + 1 + i, .kind = wire_get_u16(r)};
        (void)wire_get_u16(r);
        e->term      = wire_get_u64(r);
        e->wall_ns   = wire_get_u64(r);
        e->chain     = wire_get_u64(r);
        e->ops       = wire_get(r, size);
        out_terms[i] = e->term;
        chain        = r->bad ? 0 : log_chain(chain, e);
        if (r->bad || e->kind > LOG_MEMBERS || e->chain != chain || size > BLOCK_ENTRY_MAX_OPS) {
            return false;
        }
    }
    return true; /* a newer version may add to what is behind them */
}
