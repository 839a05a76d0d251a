/* ask.c - one that misses a record asks the others, checks what they say, and writes it into its own log. */
#include "segstore/node/peers/peers.h"
#include "segstore/node/repair/repair.h"

#include "shared/base/err.h"
#include "shared/record/record.h"

static const uint64_t ANSWER_NS = 1000000000;  /* until another node is asked */
static const uint64_t AGAIN_NS  = 50000000;    /* nobody could be asked, or they said: later */
static const uint64_t LOST_NS   = 30000000000; /* all said no: until they are asked once more */
static const uint64_t UNCLEAR_NS =
    10000000000; /* .. or that nobody can tell: until that is taken for no, when the damage is accepted */
static const uint64_t TELL_NS = 1000000000;
static const uint64_t REMEMBER_NS =
    1000000000; /* so that many that come back one after the other take one checkpoint */

static uint64_t now_of(const struct repairs *r)
{
    return io_now_ns(r->node->io);
}

static void ask_at(struct repairs *r, struct missed *m, uint64_t ns)
{
    r->asked_count -= m->state == REPAIR_ASKED;
    m->state   = REPAIR_ASK;
    m->next_ns = ns;
    r->next_ns = ns < r->next_ns ? ns : r->next_ns;
}

/* ---- the own log ---- */

/* Nothing is wrong, or not any more. */
static void well(struct repairs *r, struct missed *m)
{
    struct storage *storage = r->node->storage;
    chunks_forget(&storage->chunks, segments_number(&storage->segments, m->held.position));
    missed_drop(r, m);
    waiters_wake(r);
}

/* ---- into the own log ---- */

static bool body_fits(struct repairs *r, struct bytes ops)
{
    const struct storage *storage = r->node->storage;
    return block_size_for(ops.size) <= BLOCK_MAX_BYTES && block_size_for(ops.size) <= storage->segments.segment_bytes &&
           storage_admits(storage, STORAGE_DATA) && wal_roomy(&storage->wal, ops.size) &&
           (ops.size < STORAGE_LARGE_BYTES || storage_places(storage, ops.size));
}

static void writing(struct repairs *r, struct missed *m, const uint8_t *memory, uint64_t at)
{
    r->asked_count -= m->state == REPAIR_ASKED;
    m->state  = REPAIR_WRITING;
    m->memory = memory;
    m->at     = at;
}

/* Others that are missed and lie in the same entry here, which begins at base. */
static void take_along(struct repairs *r, struct node_stripe *st, struct bytes ops, uint64_t base,
                       const uint8_t *memory)
{
    LIST_EACH (&r->missed, link) {
        struct missed   *m  = CONTAINER_OF(link, struct missed, link);
        uint64_t         at = m->held.position - base;
        struct op_target target;
        struct record    record;
        if (m->st == st && m->state != REPAIR_WRITING && m->held.stream_id != 0 && m->held.position >= base &&
            at < ops.size &&
            record_at(bytes_of(ops.data + at, ops.size - at), m->held.stream_id, &target, &record) > 0) {
            writing(r, m, memory, at);
        }
    }
}

/* A body of its own. base: where the entry that it is all of lies here, UINT64_MAX: not known, or it is a part. */
static void write_body(struct repairs *r, struct missed *m, struct bytes ops, uint64_t at, uint64_t base)
{
    struct node_stripe *st     = m->st;
    const uint8_t      *memory = NULL;
    if (!body_fits(r, ops)) {
        ask_at(r, m, now_of(r) + AGAIN_NS);
        return;
    }
    const struct log_entry body   = {.stripe  = st->id,
                                     .kind    = LOG_BODY,
                                     .term    = raft_term(st->raft),
                                     .wall_ns = io_wall_ns(r->node->io),
                                     .ops     = ops};
    int                    result = storage_append(r->node->storage, &body, &memory);
    ASSERT(result == 0);
    writing(r, m, memory, at);
    if (base != UINT64_MAX) {
        take_along(r, st, ops, base, memory);
    }
}

/* Another node's entry that holds the record. What lies beside it there lies beside it here only when it is an entry of the stripe's log that is known here, at this place: a run and
 * an image put records together in another way on each node. */
static void write_entry(struct repairs *r, struct missed *m, const struct log_entry *entry, uint64_t at)
{
    const struct node_stripe *st   = m->st;
    struct bytes              rest = bytes_of(entry->ops.data + at, entry->ops.size - at);
    struct op_target          target;
    struct record             record;
    if (entry->chain != 0 && entry->index >= st->entries.first && entry->index < st->entries.end) {
        const struct log_slot *slot = entries_at(&st->entries, entry->index);
        if (slot->durable && slot->chain == entry->chain && slot->position + at == m->held.position) {
            write_body(r, m, entry->ops, at, slot->position);
            return;
        }
    }
    write_body(r, m, bytes_of(rest.data, record_at(rest, m->held.stream_id, &target, &record)), 0, UINT64_MAX);
}

/* What was damaged here is whole again: a checkpoint says so soon, since a restart goes back to what is damaged until then. */
static void repairs_remember(struct node *node)
{
    struct repairs *r = node->repairs;
    if (r->remember_ns == 0) {
        r->remember_ns = now_of(r) + REMEMBER_NS;
        r->next_ns     = r->remember_ns < r->next_ns ? r->remember_ns : r->next_ns;
    }
}

void repair_body_durable(struct node_stripe *st, const struct log_entry *entry)
{
    struct node    *node  = st->node;
    struct repairs *r     = node->repairs;
    uint64_t        count = 0;
    uint64_t        suppressed;
    if (LIKELY(st->missed == 0)) {
        return;
    }
    LIST_EACH (&r->missed, link) {
        struct missed *m = CONTAINER_OF(link, struct missed, link);
        if (m->st != st || m->state != REPAIR_WRITING || m->memory != entry->ops.data) {
            continue;
        }
        if (record_move(st, m->held.stream_id, m->held.offset, m->held.position, entry->position + m->at)) {
            r->former[r->former_next++ % REPAIR_FORMER_MAX] = (struct former){.st = st, .held = m->held};
            count++;
        }
        missed_drop(r, m);
    }
    if (count == 0) {
        return;
    }
    node->counts.records_repaired += count;
    if (log_allowed(&r->told_repaired, now_of(r), TELL_NS, &suppressed) || st->missed == 0) {
        log_info("stripe %u: records that were damaged here are whole again, %llu so far, %u to come", st->id,
                 (unsigned long long)node->counts.records_repaired, st->missed);
    }
    if (st->missed == 0) {
        repairs_remember(node);
    }
    waiters_wake(r);
}

void missed_looked(struct repairs *r, struct missed *m, const struct found *found)
{
    if (found->kind == REPAIR_ENTRY) {
        well(r, m);
        return;
    }
    m->targets[SEGSTORE_NODES_MAX] = found->target;
    m->place                       = found->place;
    ask_at(r, m, now_of(r));
    if (found->kind == REPAIR_PAGES) { /* it is whole, its block is not */
        write_body(r, m, found->entry.ops, found->at, UINT64_MAX);
    }
}

/* ---- asking ---- */

static void lost(struct repairs *r, struct missed *m)
{
    const struct segments *segments = &r->node->storage->segments;
    uint64_t               number   = segments_number(segments, m->held.position);
    char                   name[SEGMENT_NAME_BYTES];
    segment_name(number, name);
    if (!m->lost) {
        m->lost = true;
        m->st->lost++;
        r->lost_count++;
        log_error("stripe %u: the record at offset %llu of stream %llx is damaged on every node%s, here in %s/%s at "
                  "offset %llu: whoever reads it is told so. Restore that file on one of the nodes from a copy",
                  m->st->id, (unsigned long long)m->held.offset, (unsigned long long)m->held.stream_id,
                  m->unclear == 0 ? "" : ", or nobody can tell where it is on one that has not applied it",
                  segment_is_run(number) ? r->node->storage->run_directory : r->node->storage->wal_directory, name,
                  (unsigned long long)(m->held.position - segments_position(segments, number)));
    }
    m->said_no = 0;
    m->unclear = 0;
    ask_at(r, m, now_of(r) + LOST_NS);
    waiters_wake(r);
}

static void put_held(struct wire_writer *w, const struct stripe_held *held)
{
    wire_put_u64(w, held->position);
    wire_put_u64(w, held->stream_id);
    wire_put_u64(w, held->offset);
}

static bool lies_near(const struct missed *wanted, const struct node_stripe *st, const struct stripe_held *held)
{
    return st == wanted->st && held->stream_id != 0 && held->position >= wanted->place.from &&
           held->position < wanted->place.to;
}

/* It, and others that lie where it does, or did. */
static void put_near(const struct repairs *r, const struct missed *wanted, struct wire_writer *w)
{
    size_t   count_at = w->size;
    uint32_t count    = 1;
    wire_put_u32(w, 0);
    wire_put_u32(w, 0);
    put_held(w, &wanted->held);
    LIST_EACH (&r->missed, link) {
        const struct missed *m = CONTAINER_OF(link, struct missed, link);
        if (m != wanted && lies_near(wanted, m->st, &m->held) && count < REPAIR_NEAR_MAX) {
            put_held(w, &m->held);
            count++;
        }
    }
    for (size_t i = 0; i < REPAIR_FORMER_MAX && count < REPAIR_NEAR_MAX; i++) {
        if (lies_near(wanted, r->former[i].st, &r->former[i].held)) {
            put_held(w, &r->former[i].held);
            count++;
        }
    }
    if (!w->bad) {
        memcpy(w->data + count_at, &count, sizeof count);
    }
}

static void ask(struct repairs *r, struct missed *m, uint64_t now_ns)
{
    const struct node *node = r->node;
    uint16_t           nodes[3 * RAFT_MEMBERS_MAX];
    size_t             count = raft_members_list(raft_members(m->st->raft), nodes);
    uint64_t           said  = m->said_no;
    size_t             left  = 0; /* who have not said no */
    if (node->config->accept_damage && m->unclear != 0 && now_ns >= m->unclear_ns + UNCLEAR_NS) {
        said |= m->unclear;
    }
    for (size_t i = 0; i < count; i++) {
        const struct peer *peer = peer_find(node, nodes[i]);
        left += nodes[i] != node->config->node && (peer == NULL || (said & 1ull << (peer - node->peers)) == 0);
    }
    if (left == 0) {
        lost(r, m);
        return;
    }
    for (uint32_t i = 0; i < node->peer_count; i++) {
        uint32_t     n    = (m->turn + i) % node->peer_count;
        struct peer *peer = &node->peers[n];
        if ((m->said_no & 1ull << n) != 0 || !raft_members_any(raft_members(m->st->raft), peer->spec->id) ||
            !peer_roomy(peer)) {
            continue;
        }
        struct wire_writer *w = peer_begin(peer, RPC_REPAIR_ASK);
        wire_put_u16(w, m->st->id);
        wire_put_u16(w, 0);
        wire_put_u32(w, m->place.at);
        wire_put_u64(w, m->held.stream_id);
        wire_put_u64(w, m->held.offset);
        wire_put_u64(w, m->place.low);
        wire_put_u64(w, m->place.high != 0 ? m->place.high : stripe_applied(m->st->stripe) + 1);
        wire_put_u64(w, m->place.chain);
        wire_put_u64(w, m->place.from);
        wire_put_u64(w, m->place.to);
        wire_put_u64(w, m->place.sealed);
        wire_put_u64(w, m->place.term);
        put_near(r, m, w);
        peer_end(peer);
        m->turn    = (uint8_t)n;
        m->state   = REPAIR_ASKED;
        m->next_ns = now_ns + ANSWER_NS;
        r->asked_count++;
        return;
    }
    m->next_ns = now_ns + AGAIN_NS;
}

/* Nothing has to be asked: it is in memory. */
static void write_action(struct repairs *r, struct missed *m)
{
    struct bytes action;
    if (!stripe_action(m->st->stripe, m->held.offset, m->held.position, &action) || action.size == 0) {
        missed_drop(r, m);
        return;
    }
    write_body(r, m, action, 0, UINT64_MAX);
}

static void step(struct repairs *r, struct missed *m, uint64_t now_ns)
{
    bool due = m->state == REPAIR_LOOK ? !r->look.busy
                                       : (m->state == REPAIR_ASK || m->state == REPAIR_ASKED) && now_ns >= m->next_ns;
    if (!due || (m->state == REPAIR_ASK && r->asked_count >= REPAIR_ASKED_MAX)) {
        return;
    }
    if (m->st->installing || !stripe_holds(m->st->stripe, &m->held)) { /* trimmed, fired, moved */
        missed_drop(r, m);
        waiters_wake(r);
        return;
    }
    if (m->held.stream_id == 0) {
        write_action(r, m);
        return;
    }
    switch ((enum repair_state)m->state) {
    case REPAIR_LOOK:
        m->state = REPAIR_LOOKING;
        look_begin(r, m->st, &m->held, 0);
        return;
    case REPAIR_ASKED: /* it does not answer */
        m->turn++;
        ask_at(r, m, now_ns);
        return;
    case REPAIR_ASK:
        ask(r, m, now_ns);
        return;
    case REPAIR_LOOKING:
    case REPAIR_WRITING:
        return;
    }
}

/* Looks, asks, asks again; sets r->next_ns. */
static void asks_turn(struct repairs *r, uint64_t now_ns)
{
    r->next_ns = UINT64_MAX;
    LIST_EACH (&r->missed, link) {
        step(r, CONTAINER_OF(link, struct missed, link), now_ns);
    }
    LIST_EACH (&r->missed, link) {
        const struct missed *m  = CONTAINER_OF(link, struct missed, link);
        uint64_t             at = m->state == REPAIR_LOOK    ? r->look.busy ? UINT64_MAX : 0
                                  : m->state == REPAIR_ASKED ? m->next_ns
                                  : m->state == REPAIR_ASK && r->asked_count < REPAIR_ASKED_MAX ? m->next_ns
                                                                                                : UINT64_MAX;
        r->next_ns              = at < r->next_ns ? at : r->next_ns;
    }
}

/* ---- answers ---- */

/* The record that was asked for, in an entry that is what this node knows of that entry. */
static bool is_right(const struct missed *m, const struct log_entry *entry, uint64_t at, struct op_target *target)
{
    const struct node_stripe *st = m->st;
    struct record             record;
    if (at >= entry->ops.size ||
        record_at(bytes_of(entry->ops.data + at, entry->ops.size - at), m->held.stream_id, target, &record) == 0) {
        return false;
    }
    bool known = entry->chain != 0 && entry->index >= st->entries.first && entry->index < st->entries.end;
    return !known || (entries_at(&st->entries, entry->index)->chain == entry->chain &&
                      log_chain(entries_chain(&st->entries, entry->index - 1), entry) == entry->chain);
}

/* Two nodes have said so. */
static bool is_sure(struct missed *m, size_t peer, uint64_t target)
{
    m->targets[peer] = target;
    for (size_t i = 0; i <= SEGSTORE_NODES_MAX; i++) {
        if (i != peer && target != 0 && m->targets[i] == target) {
            return true;
        }
    }
    return false;
}

void repair_answered(struct session *s, struct wire_reader *reader)
{
    struct node        *node = s->node;
    struct repairs     *r    = node->repairs;
    struct node_stripe *st   = stripe_slot(node, wire_get_u16(reader));
    uint8_t             kind = wire_get_u8(reader);
    (void)wire_get_u8(reader);
    uint64_t       at        = wire_get_u32(reader);
    uint64_t       stream_id = wire_get_u64(reader);
    uint64_t       offset    = wire_get_u64(reader);
    struct missed *m         = reader->bad || st == NULL ? NULL : missed_find(r, st, stream_id, offset);
    struct peer   *peer      = peer_find(node, s->peer);
    if (m == NULL || peer == NULL || (m->state != REPAIR_ASK && m->state != REPAIR_ASKED)) {
        return;
    }
    m->turn = (uint8_t)(peer - node->peers + 1);
    log_debug("stripe %u: node %u says %u of the record at offset %llu of stream %llx", st->id, s->peer, kind,
              (unsigned long long)offset, (unsigned long long)stream_id);
    m->unclear &= ~(1ull << (peer - node->peers));
    if (kind == REPAIR_UNCLEAR) {
        m->unclear_ns = m->unclear_ns == 0 ? now_of(r) : m->unclear_ns;
        m->unclear |= 1ull << (peer - node->peers);
        ask_at(r, m, now_of(r) + ANSWER_NS);
        return;
    }
    if (kind == REPAIR_LATER) {
        ask_at(r, m, now_of(r) + AGAIN_NS);
        return;
    }
    ask_at(r, m, now_of(r));
    if (kind == REPAIR_NONE) {
        m->said_no |= 1ull << (peer - node->peers);
        return;
    }
    struct log_entry entry = {.stripe = st->id, .index = wire_get_u64(reader)};
    entry.term             = wire_get_u64(reader);
    entry.wall_ns          = wire_get_u64(reader);
    entry.chain            = wire_get_u64(reader);
    entry.kind             = wire_get_u16(reader);
    (void)wire_get_u16(reader);
    (void)wire_get_u32(reader);
    entry.ops = bytes_of(reader->at, wire_left(reader));
    struct op_target target;
    if (reader->bad || kind < REPAIR_ENTRY || !is_right(m, &entry, at, &target)) {
        log_error("stripe %u: what node %u says of the record at offset %llu of stream %llx is not that record", st->id,
                  s->peer, (unsigned long long)offset, (unsigned long long)stream_id);
        m->said_no |= 1ull << (peer - node->peers);
        return;
    }
    if (kind == REPAIR_DOUBT && !is_sure(m, (size_t)(peer - node->peers), entry.index)) {
        m->said_no |= 1ull << (peer - node->peers);
        return;
    }
    if (kind == REPAIR_ENTRY) {
        write_entry(r, m, &entry, at);
    } else {
        write_body(r, m, entry.ops, at, UINT64_MAX);
    }
}

/* ---- the turn ---- */

static void remember(struct repairs *r, uint64_t now_ns)
{
    if (r->remember_ns == 0) {
        return;
    }
    if (now_ns >= r->remember_ns) {
        r->node->storage->save.wanted = true;
        r->remember_ns                = 0;
    } else if (r->remember_ns < r->next_ns) {
        r->next_ns = r->remember_ns;
    }
}

bool repairs_turn(struct node *node)
{
    struct repairs *r = node->repairs;
    if (LIKELY(r->next_ns == UINT64_MAX && r->ask_count == 0 && list_empty(&r->surveys))) {
        return false;
    }
    uint64_t now_ns = io_now_ns(node->io);
    bool     more   = survey_turn(r);
    answers_turn(r);
    if (now_ns >= r->next_ns) {
        asks_turn(r, now_ns);
        uint64_t rest_ns = look_rest(r, now_ns);
        r->next_ns       = rest_ns < r->next_ns ? rest_ns : r->next_ns;
        remember(r, now_ns);
    }
    return more || (r->ask_count > 0 && !r->look.busy);
}

uint64_t repairs_next_ns(const struct node *node)
{
    return node->repairs->next_ns;
}
