/* answer.c - another node misses a record: what this one's log says of it. */
#include "segstore/node/peers/peers.h"
#include "segstore/node/repair/repair.h"

enum { ANSWERS_PER_TURN = 16 };

/* What else is missed there. */
static void get_near(struct wire_reader *reader, struct asked *ask)
{
    ask->place.from   = wire_get_u64(reader);
    ask->place.to     = wire_get_u64(reader);
    ask->place.sealed = wire_get_u64(reader);
    ask->place.term   = wire_get_u64(reader);
    uint32_t count    = wire_get_u32(reader);
    (void)wire_get_u32(reader);
    for (uint32_t i = 0; i < count && i < REPAIR_NEAR_MAX; i++) {
        ask->near[i].position  = wire_get_u64(reader);
        ask->near[i].stream_id = wire_get_u64(reader);
        ask->near[i].offset    = wire_get_u64(reader);
        ask->near_count++;
    }
}

void repair_asked(struct session *s, struct wire_reader *reader)
{
    struct repairs     *r  = s->node->repairs;
    struct node_stripe *st = stripe_slot(s->node, wire_get_u16(reader));
    (void)wire_get_u16(reader);
    uint32_t at        = wire_get_u32(reader);
    uint64_t stream_id = wire_get_u64(reader);
    uint64_t offset    = wire_get_u64(reader);

    if (reader->bad || st == NULL || r->ask_count == REPAIR_ASKS_MAX) {
        return; /* it asks again */
    }
    struct asked *ask = &r->asks[(r->ask_first + r->ask_count) % REPAIR_ASKS_MAX];
    *ask = (struct asked){.st = st, .stream_id = stream_id, .offset = offset, .place = {.at = at}, .node = s->peer};
    if (wire_left(reader) > 0) {
        ask->place.low   = wire_get_u64(reader);
        ask->place.high  = wire_get_u64(reader);
        ask->place.chain = wire_get_u64(reader);
    }
    if (wire_left(reader) > 0) {
        get_near(reader, ask);
    }
    r->ask_count += !reader->bad;
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
        const struct found found = ask.st->installing || ask.st->stopped ? later : found_among(&ask);
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
