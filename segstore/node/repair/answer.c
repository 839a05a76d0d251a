/* answer.c - another node misses a record: what this one's log says of it. */
#include "segstore/node/peers/peers.h"
#include "segstore/node/refill/refill.h"
#include "segstore/node/repair/repair.h"

#include "shared/base/err.h"
#include "shared/record/record.h"

enum { ANSWERS_PER_TURN = 16, UNAPPLIED_MAX = 1024 };

void repair_asked(struct session *s, struct wire_reader *reader)
{
    struct repairs     *r  = s->node->repairs;
    struct node_stripe *st = stripe_slot(s->node, wire_get_u16(reader));
    (void)wire_get_u16(reader);
    uint32_t at        = wire_get_u32(reader);
    uint64_t stream_id = wire_get_u64(reader);
    uint64_t offset    = wire_get_u64(reader);

    struct evidence_place place = {.at = at};
    if (wire_left(reader) > 0) {
        place.low   = wire_get_u64(reader);
        place.high  = wire_get_u64(reader);
        place.chain = wire_get_u64(reader);
    }
    if (reader->bad || st == NULL || r->ask_count == REPAIR_ASKS_MAX) {
        return; /* it asks again */
    }
    r->asks[(r->ask_first + r->ask_count++) % REPAIR_ASKS_MAX] =
        (struct asked){.st = st, .stream_id = stream_id, .offset = offset, .place = place, .node = s->peer};
}

static void answer(const struct repairs *r, uint16_t to, const struct node_stripe *st, const struct stripe_held *held,
                   const struct found *found)
{
    struct peer *peer = peer_find(r->node, to);
    if (peer == NULL || !peer_roomy(peer)) {
        return;
    }
    struct wire_writer *w = peer_begin(peer, RPC_REPAIR_ANSWER);
    wire_put_u16(w, st->id);
    wire_put_u8(w, found->kind);
    wire_put_u8(w, 0);
    wire_put_u32(w, (uint32_t)found->at);
    wire_put_u64(w, held->stream_id);
    wire_put_u64(w, held->offset);
    if (found->kind <= REPAIR_DOUBT) {
        wire_put_u64(w, found->entry.index);
        wire_put_u64(w, found->entry.term);
        wire_put_u64(w, found->entry.wall_ns);
        wire_put_u64(w, found->entry.chain);
        wire_put_u16(w, found->entry.kind);
        wire_put_u16(w, 0);
        wire_put_u32(w, 0);
        wire_put_bytes(w, found->entry.ops);
    }
    peer_end(peer);
}

void repair_answer(struct repairs *r, uint16_t to, struct node_stripe *st, const struct stripe_held *held,
                   const struct found *found)
{
    if (found->kind == REPAIR_NONE) {
        (void)missed_add(r, st, held); /* then it is missed here, too */
    }
    answer(r, to, st, held, found);
}

/* Is it in this entry, which is the same as at the asker? */
static bool stands_in(const struct asked *ask, const struct log_entry *entry)
{
    const struct evidence_place *place = &ask->place;
    struct op_target             target;
    struct record                record;
    return place->chain != 0 && place->chain == entry->chain && place->at < entry->ops.size &&
           record_at(bytes_of(entry->ops.data + place->at, entry->ops.size - place->at), ask->stream_id, &target,
                     &record) > 0;
}

/* Of a record that this node does not hold: is it in an entry that waits here to be applied? */
static struct found unapplied(const struct asked *ask)
{
    const struct evidence_place *place   = &ask->place;
    struct node_stripe          *st      = ask->st;
    uint64_t                     applied = stripe_applied(st->stripe);
    uint64_t                     first   = (place->low > applied ? place->low : applied) + 1;
    uint64_t                     end     = refill_end(st);
    struct found                 found   = {.kind = REPAIR_LATER};
    end                                  = place->high < end ? place->high : end;
    if (place->high <= applied + 1 ||
        end > first + UNAPPLIED_MAX) { /* it was applied here and has gone; or too many to look at */
        return found;
    }
    for (uint64_t index = first; index < end; index++) {
        int result = refill_entry_of(st, index, &found.entry);
        if (result < 0 || (result == 0 && found.entry.kind != LOG_OPS)) {
            continue;
        }
        if (result == 0 && stands_in(ask, &found.entry)) {
            found.kind = REPAIR_ENTRY;
            found.at   = place->at;
        }
        return found;
    }
    found.kind = REPAIR_NONE;
    return found;
}

static void answer_next(struct repairs *r)
{
    const struct asked ask  = r->asks[r->ask_first];
    struct stripe_held held = {.stream_id = ask.stream_id, .offset = ask.offset};
    uint64_t           first;
    r->ask_first = (r->ask_first + 1) % REPAIR_ASKS_MAX;
    r->ask_count--;
    if (ask.st->installing || ask.st->stopped ||
        stripe_positions(ask.st->stripe, held.stream_id, held.offset, &held.position, 1, &first) < 1 ||
        first != held.offset || held.position == UINT64_MAX) {
        const struct found later = {.kind = REPAIR_LATER};
        const struct found found = ask.st->installing || ask.st->stopped ? later : unapplied(&ask);
        answer(r, ask.node, ask.st, &held, &found);
        return;
    }
    look_begin(r, ask.st, &held, ask.node);
}

void answers_turn(struct repairs *r)
{
    for (int i = 0; i < ANSWERS_PER_TURN && r->ask_count > 0 && !r->look.busy; i++) {
        answer_next(r);
    }
}
