/* pulse.c - bitmaps, and what they stand for. */
#include "segstore/node/peers/pulse.h"

#include "shared/base/err.h"

#include <stdlib.h>

static bool bit(struct bytes bitmap, uint32_t slot)
{
    return slot / 8 < bitmap.size && (bitmap.data[slot / 8] & 1u << slot % 8) != 0;
}

/* ---- the leader's end ---- */

void pulse_out_init(struct pulse_out *o, uint32_t slots)
{
    ASSERT(slots <= PULSE_SLOTS_MAX);
    *o = (struct pulse_out){.slots = slots, .beats = calloc(slots + 1, sizeof *o->beats)};
    ASSERT_MEMORY(o->beats != NULL);
}

void pulse_out_fini(struct pulse_out *o)
{
    free(o->beats);
    o->beats = NULL;
}

void pulse_out_begin(struct pulse_out *o, uint64_t random)
{
    memset(o->beats, 0, o->slots * sizeof *o->beats);
    o->generation = random;
    o->serial     = 0;
    o->due_count  = 0;
    o->anew_count = 0;
}

void pulse_beat(struct pulse_out *o, uint32_t slot, uint64_t term, uint64_t commit, uint64_t clock_ns)
{
    struct pulse_beat *b = &o->beats[slot];
    ASSERT(slot < o->slots && term != 0 && o->generation != 0);
    o->clock_ns = o->due_count == 0 || clock_ns < o->clock_ns ? clock_ns : o->clock_ns;
    if (!b->due) {
        b->due = true;
        o->due_count++;
    }
    if (b->term == term && b->commit == commit) {
        return;
    }
    if (b->term != term) {
        b->since = o->serial + 1;
    }
    b->term   = term;
    b->commit = commit;
    if (!b->anew) {
        b->anew = true;
        o->anew_count++;
    }
}

void pulse_put(struct pulse_out *o, uint32_t strain, struct wire_writer *w)
{
    uint8_t  bitmap[PULSE_SLOTS_MAX / 8] = {0};
    uint32_t size                        = 0;
    ASSERT(o->due_count > 0);
    wire_put_u64(w, o->generation);
    wire_put_u32(w, ++o->serial);
    wire_put_u64(w, o->clock_ns);
    wire_put_u16(w, (uint16_t)o->anew_count);
    for (uint32_t slot = 0; slot < o->slots; slot++) {
        struct pulse_beat *b = &o->beats[slot];
        if (b->anew) {
            wire_put_u16(w, (uint16_t)slot);
            wire_put_u64(w, b->term);
            wire_put_u64(w, b->commit);
        } else if (b->due) {
            bitmap[slot / 8] = (uint8_t)(bitmap[slot / 8] | 1u << slot % 8);
            size             = slot / 8 + 1;
        }
        b->due  = false;
        b->anew = false;
    }
    wire_put_u16(w, (uint16_t)size);
    wire_put(w, bitmap, size);
    wire_put_u32(w, strain);
    o->due_count  = 0;
    o->anew_count = 0;
}

bool pulse_ack_get(const struct pulse_out *o, struct wire_reader                                  *r,
                   void (*each)(void *ctx, uint32_t slot, uint64_t term, uint64_t clock_ns), void *ctx)
{
    uint64_t     generation = wire_get_u64(r);
    uint32_t     serial     = wire_get_u32(r);
    uint64_t     clock_ns   = wire_get_u64(r);
    struct bytes bitmap     = wire_get(r, wire_get_u16(r));
    if (r->bad || generation != o->generation) {
        return !r->bad;
    }
    if (serial == 0 || serial > o->serial || bitmap.size > (o->slots + 7) / 8) {
        return false;
    }
    for (uint32_t slot = 0; slot < o->slots; slot++) {
        const struct pulse_beat *b = &o->beats[slot];
        if (bit(bitmap, slot) && b->term != 0 && b->since <= serial) {
            each(ctx, slot, b->term, clock_ns);
        }
    }
    return true;
}

/* ---- the follower's end ---- */

void pulse_in_init(struct pulse_in *in, uint32_t slots)
{
    ASSERT(slots <= PULSE_SLOTS_MAX);
    *in = (struct pulse_in){
        .slots = slots, .beats = calloc(slots + 1, sizeof *in->beats), .acks = calloc(slots / 8 + 1, 1)};
    ASSERT_MEMORY(in->beats != NULL && in->acks != NULL);
}

void pulse_in_fini(struct pulse_in *in)
{
    free(in->beats);
    free(in->acks);
    in->beats = NULL;
    in->acks  = NULL;
}

/* Takes what is new. False: malformed. */
static bool read_anew(struct pulse_in *in, struct wire_reader *r)
{
    for (uint32_t count = wire_get_u16(r); count > 0; count--) {
        uint32_t slot   = wire_get_u16(r);
        uint64_t term   = wire_get_u64(r);
        uint64_t commit = wire_get_u64(r);
        if (r->bad || slot >= in->slots || term == 0) {
            return false;
        }
        in->beats[slot].term   = term;
        in->beats[slot].commit = commit;
        in->beats[slot].due    = true;
    }
    return true;
}

static bool read_bits(struct pulse_in *in, struct wire_reader *r)
{
    struct bytes bitmap = wire_get(r, wire_get_u16(r));
    if (r->bad || bitmap.size > (in->slots + 7) / 8) {
        return false;
    }
    for (uint32_t slot = 0; slot < bitmap.size * 8; slot++) {
        if (!bit(bitmap, slot)) {
            continue;
        }
        if (slot >= in->slots || in->beats[slot].term == 0) {
            return false;
        }
        in->beats[slot].due = true;
    }
    return true;
}

int pulse_get(struct pulse_in *in, struct wire_reader                                                         *r,
              void (*each)(void *ctx, uint32_t slot, uint64_t term, uint64_t commit, uint64_t clock_ns), void *ctx)
{
    uint64_t generation = wire_get_u64(r);
    uint32_t serial     = wire_get_u32(r);
    uint64_t clock_ns   = wire_get_u64(r);
    if (r->bad || generation == 0) {
        return ERR_MALFORMED;
    }
    if (serial != (generation == in->generation ? in->serial + 1 : 1)) {
        return ERR_CONFLICT;
    }
    if (generation != in->generation) {
        memset(in->beats, 0, in->slots * sizeof *in->beats);
    }
    in->generation = generation;
    in->serial     = serial;
    in->clock_ns   = clock_ns;
    if (!read_anew(in, r) || !read_bits(in, r)) {
        in->generation = 0;
        return ERR_MALFORMED;
    }
    in->strain = wire_left(r) == 0 ? 0 : wire_get_u32(r);
    if (r->bad) {
        in->generation = 0;
        return ERR_MALFORMED;
    }
    memset(in->acks, 0, in->slots / 8 + 1);
    in->ack_count = 0;
    for (uint32_t slot = 0; slot < in->slots; slot++) {
        struct pulse_beat *b = &in->beats[slot];
        if (b->due) {
            b->due = false;
            each(ctx, slot, b->term, b->commit, clock_ns);
        }
    }
    return 0;
}

void pulse_ack_add(struct pulse_in *in, uint32_t slot)
{
    ASSERT(slot < in->slots);
    in->acks[slot / 8] = (uint8_t)(in->acks[slot / 8] | 1u << slot % 8);
    in->ack_count++;
}

void pulse_ack_put(const struct pulse_in *in, struct wire_writer *w)
{
    uint32_t size = (in->slots + 7) / 8;
    ASSERT(in->ack_count > 0);
    while (in->acks[size - 1] == 0) {
        size--;
    }
    wire_put_u64(w, in->generation);
    wire_put_u32(w, in->serial);
    wire_put_u64(w, in->clock_ns);
    wire_put_u16(w, (uint16_t)size);
    wire_put(w, in->acks, size);
}
