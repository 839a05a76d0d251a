/* fill.c - holes are closed from their ends to their fronts, then the replica counts again. */
#include "segstore/node/peers/peers.h"
#include "segstore/node/refill/refill.h"
#include "segstore/node/replica/members.h"

#include "shared/base/err.h"

#include <stdlib.h>

static const uint64_t ANSWER_NS = 1000000000; /* until another node is asked */
static const uint64_t AGAIN_NS  = 20000000;   /* nobody could be asked, or it has to be read first */
static const uint64_t NO_NS     = 5000000000; /* all said no: until they are asked once more */

/* A node that is alive gives a leader three election timeouts to come. */
enum { QUIET_ELECTIONS = 3 };

/* ---- what stands behind the hole ---- */

static void behind_drop(struct refill *r)
{
    refill_entry_drop(r->st, &r->behind[r->first++]);
    refill_found_drop(r);
}

/* What a leader gave before it went, or what is committed, is not missing. */
static void drop_settled(struct refill *r)
{
    const struct node_stripe *st     = r->st;
    uint64_t                  commit = raft_commit(st->raft);
    while (r->first < r->count) {
        const struct refill_entry *e = &r->behind[r->first];
        if (e->index > commit &&
            (e->index >= st->entries.end || entries_at(&st->entries, e->index)->chain != e->slot.chain)) {
            break;
        }
        behind_drop(r);
    }
    if (r->last_ops != NULL && r->last.index <= commit) { /* what was found goes further back than it has to by now */
        refill_found_drop(r);
    }
}

/* Those that were made one behind the other, and not behind what is committed: they never are. */
static void drop_dead(struct refill *r)
{
    log_info(
        "stripe %u: entry %llu and what lies behind it here was replaced: it was not made behind what is committed",
        r->st->id, (unsigned long long)r->behind[r->first].index);
    do {
        behind_drop(r);
    } while (r->first < r->count && r->behind[r->first].linked);
}

static void last_set(struct refill *r, const struct log_entry *entry)
{
    uint8_t *copy = malloc(entry->ops.size + 1);
    ASSERT_MEMORY(copy != NULL);
    if (entry->ops.size > 0) {
        memcpy(copy, entry->ops.data, entry->ops.size);
    }
    free(r->last_ops);
    r->last_ops = copy;
    r->last     = *entry;
    r->last.ops = bytes_of(copy, entry->ops.size);
    r->said_no  = 0;
}

/* The first entry behind the hole, with its bytes. False: it is being read. */
static bool last_load(struct refill *r)
{
    while (r->last_ops == NULL && r->first < r->count) {
        struct refill_entry *e     = &r->behind[r->first];
        struct log_entry     entry = {.stripe  = r->st->id,
                                      .kind    = e->slot.kind,
                                      .index   = e->index,
                                      .term    = e->term,
                                      .wall_ns = e->slot.wall_ns,
                                      .chain   = e->slot.chain};
        int result = fetch_bytes(&r->st->node->storage->fetch, e->slot.position, e->slot.size, &entry.ops);
        if (result == 1) {
            return false;
        }
        if (result == 0) {
            last_set(r, &entry);
            return true;
        }
        refill_entry_drop(r->st, e); /* the hole is larger */
        if (++r->first < r->count) {
            r->behind[r->first].linked = false;
        } else {
            r->open = true;
        }
    }
    return true;
}

/* Was it made behind an entry that is here? */
static bool is_closed(const struct refill *r)
{
    const struct node_stripe *st     = r->st;
    uint64_t                  before = r->last.index - 1;
    return before >= raft_commit(st->raft) && before + 1 >= st->entries.first && before < st->entries.end &&
           log_chain(entries_chain(&st->entries, before), &r->last) == r->last.chain;
}

/* An entry takes its place behind the last one. */
static void adopt(struct node_stripe *st, struct refill_entry *e)
{
    while (st->entries.end > e->index) {
        entry_drop_last(st);
    }
    changes_cut(st, e->index);
    if (st->unreadable >= e->index) {
        replica_readable(st); /* it was replaced */
    }
    raft_refill(st->raft, e->index, e->term);
    entries_push(&st->entries, &e->slot);
    st->unapplied_bytes += e->slot.size;
    if (e->members != NULL) {
        const struct log_entry entry = {.index = e->index, .ops = bytes_of(e->members, e->slot.size)};
        changes_appended(st, &entry);
        free(e->members);
    }
}

/* False: what was found is not durable yet. */
static bool close_hole(struct refill *r)
{
    for (size_t i = 0; i < r->found_count; i++) {
        if (!r->found[i].slot.durable) {
            return false;
        }
    }
    log_info("stripe %u: entries up to %llu, that damage had taken here, are back from the other nodes", r->st->id,
             (unsigned long long)r->last.index - 1);
    while (r->found_count > 0) {
        adopt(r->st, &r->found[--r->found_count]);
    }
    do {
        adopt(r->st, &r->behind[r->first++]);
    } while (r->first < r->count && r->behind[r->first].linked);
    refill_found_drop(r);
    return true;
}

/* ---- whom to ask ---- */

static bool is_voter(const struct refill *r, const struct peer *peer)
{
    return raft_members_voter(raft_members(r->st->raft), peer->spec->id);
}

/* The terms of all voters are known. */
static bool all_told(const struct refill *r)
{
    const struct node         *node = r->st->node;
    const struct raft_members *m    = raft_members(r->st->raft);
    uint16_t                   nodes[3 * RAFT_MEMBERS_MAX];
    size_t                     count = raft_members_list(m, nodes);
    for (size_t i = 0; i < count; i++) {
        const struct peer *peer = peer_find(node, nodes[i]);
        if (nodes[i] != node->config->node && raft_members_voter(m, nodes[i]) &&
            (peer == NULL || (r->terms & 1ull << (peer - node->peers)) == 0)) {
            return false;
        }
    }
    return true;
}

void refill_ask(const struct node_stripe *st, struct peer *peer, uint64_t index, uint16_t flags)
{
    struct wire_writer *w = peer_begin(peer, RPC_REFILL_ASK);
    wire_put_u16(w, st->id);
    wire_put_u16(w, flags);
    wire_put_u32(w, 0);
    wire_put_u64(w, index);
    peer_end(peer);
}

/* Asks the next one of those whose bits are not set. False: there is none. */
static bool ask(struct refill *r, uint64_t index, uint64_t without, bool voters, uint64_t now_ns)
{
    const struct node *node  = r->st->node;
    bool               there = false;
    for (uint32_t i = 0; i < node->peer_count; i++) {
        uint32_t     n    = (r->turn + i) % node->peer_count;
        struct peer *peer = &node->peers[n];
        if ((without & 1ull << n) != 0 || !raft_members_any(raft_members(r->st->raft), peer->spec->id) ||
            (voters && !is_voter(r, peer))) {
            continue;
        }
        there = true;
        if (!peer_roomy(peer)) {
            continue;
        }
        refill_ask(r->st, peer, index, 0);
        r->turn    = n + 1;
        r->next_ns = now_ns + ANSWER_NS;
        return true;
    }
    r->next_ns = now_ns + AGAIN_NS;
    return there;
}

/* ---- the end ---- */

static void mend(struct refill *r)
{
    struct node_stripe *st = r->st;
    raft_mend(st->raft, r->voted ? r->term + 1 : 0);
    log_info("stripe %u: its log is whole here up to entry %llu, this node votes again", st->id,
             (unsigned long long)raft_last(st->raft));
    refill_drop(st);
    replica_touch(st);
}

static void tell(struct refill *r)
{
    refill_tell(r->st, raft_last(r->st->raft), r->terms, r->led_ns, &r->told_ns);
}

/* The log says of the history that is given up what was committed of it, and a restart must not take that for what takes its place: it begins behind a
 * checkpoint that knows of the damage. */
static bool is_held(struct refill *r)
{
    struct save *save = &r->st->node->storage->save;
    if (r->held_by == 0) {
        r->held_by   = save_holding(save);
        save->wanted = true;
    }
    return save->newest.number >= r->held_by;
}

static bool has_more(const struct refill *r)
{
    uint64_t last = raft_last(r->st->raft);
    uint64_t term = raft_term_at(r->st->raft, last);
    return r->best_term > term || (r->best_term == term && r->best_last > last);
}

/* All are asked once more what they have. */
static void look_again(struct refill *r, uint64_t now_ns)
{
    r->terms     = 0;
    r->best_term = 0;
    r->best_last = 0;
    r->next_ns   = now_ns + ANSWER_NS;
}

/* The damage is accepted. What nobody has is given up, but nothing that is in one piece with what lies before it on any node: entry by entry, what was written there
 * in the latest term. */
static void give_up(struct refill *r, uint64_t now_ns)
{
    struct node_stripe *st = r->st;
    r->giving_up           = true;
    if (ask(r, raft_last(st->raft) + 1, r->said_no, true, now_ns)) {
        return;
    }
    if (r->found_count > 0) {
        if (r->found[0].slot.durable) {
            adopt(st, &r->found[--r->found_count]);
            r->said_no = 0;
            r->next_ns = now_ns;
        }
        return;
    }
    if (!is_held(r)) {
        r->next_ns = now_ns + AGAIN_NS;
        return;
    }
    log_warn("stripe %u: what lay behind entry %llu here is given up, as damage is accepted", st->id,
             (unsigned long long)raft_last(st->raft));
    r->voted    = true;
    r->given_up = has_more(r);
    if (!r->given_up) {
        mend(r);
        return;
    }
    while (r->first < r->count) {
        behind_drop(r);
    }
    r->open = true;
    raft_mend(st->raft, r->term + 1);
    r->given_up_term = raft_term(st->raft);
    replica_may_lead(st); /* what the other one has more of cannot be asked for, it lies behind its checkpoint */
    replica_touch(st);
    look_again(r, now_ns);
}

static void give_way_no_more(struct refill *r)
{
    struct node_stripe *st         = r->st;
    st->node->storage->save.wanted = true;
    refill_drop(st);
}

/* It gave way to another node's log and votes for that one. Two such could lead without it, so none does until it has all that there is, by a leader's entry, and until then
 * checkpoints call it damaged. The other one may find that it cannot read what it has more of: then it has no more. */
static void step_given_up(struct refill *r, uint64_t now_ns)
{
    const struct raft *raft   = r->st->raft;
    uint64_t           commit = raft_commit(raft);
    uint64_t           here   = commit < raft_stable_index(raft) ? commit : raft_stable_index(raft);
    if (raft_is_damaged(raft)) {
        refill_drop(r->st);
    } else if (raft_term_at(raft, here) >= r->given_up_term) {
        give_way_no_more(r);
    } else if (raft_leader(raft) != RAFT_NONE) {
        look_again(r, now_ns);
    } else if (now_ns >= r->next_ns && !ask(r, 0, r->terms, true, now_ns)) {
        if (has_more(r)) {
            look_again(r, now_ns);
        } else {
            give_way_no_more(r);
        }
    }
}

/* Nobody who can be asked has what is missing. */
static void stuck(struct refill *r, uint64_t now_ns)
{
    tell(r);
    if (!all_told(r)) {
        (void)ask(r, 0, r->terms, true, now_ns);
        return;
    }
    r->said_no = 0;
    r->next_ns = now_ns + NO_NS;
    if (r->st->node->config->accept_damage) {
        r->next_ns = r->led_ns + REFILL_ACCEPT_NS;
        if (now_ns >= r->next_ns) {
            refill_found_drop(r);
            give_up(r, now_ns);
        }
    }
}

static void step(struct refill *r, uint64_t now_ns)
{
    struct node_stripe *st       = r->st;
    uint64_t            quiet_ns = QUIET_ELECTIONS * st->node->config->election_ns;
    if (r->given_up) {
        step_given_up(r, now_ns);
        return;
    }
    if (!raft_is_damaged(st->raft)) {
        refill_drop(st);
        return;
    }
    if (raft_leader(st->raft) != RAFT_NONE || st->installing || st->stopped) {
        r->led_ns = now_ns;
        if (r->giving_up) {
            r->giving_up = false;
            refill_found_drop(r);
        }
    }
    if (now_ns < r->led_ns + quiet_ns) {
        r->next_ns = r->led_ns + quiet_ns;
    }
    if (now_ns < r->next_ns) {
        return;
    }
    if (r->giving_up) {
        give_up(r, now_ns);
        return;
    }
    drop_settled(r);
    while (last_load(r) && r->last_ops != NULL) {
        if (is_closed(r)) {
            if (!close_hole(r)) {
                r->next_ns = now_ns + AGAIN_NS;
                return;
            }
        } else if (r->last.index == raft_commit(st->raft) + 1) {
            drop_dead(r);
        } else {
            break;
        }
    }
    if (r->first < r->count) {
        if (r->last_ops == NULL) {
            r->next_ns = now_ns + AGAIN_NS;
        } else if (!ask(r, r->last.index - 1, r->said_no, false, now_ns)) {
            stuck(r, now_ns);
        }
        return;
    }
    if (r->open) {
        stuck(r, now_ns);
    } else if (!r->voted || all_told(r)) {
        mend(r);
    } else if (!ask(r, 0, r->terms, true, now_ns) || now_ns > r->led_ns + REFILL_ACCEPT_NS) {
        tell(r);
    }
}

void refills_turn(struct node *node)
{
    uint64_t now_ns = io_now_ns(node->io);
    LIST_EACH (&node->refills, link) {
        step(CONTAINER_OF(link, struct refill, link), now_ns);
    }
}

uint64_t refills_next_ns(const struct node *node)
{
    uint64_t next_ns = UINT64_MAX;
    LIST_EACH (&node->refills, link) {
        const struct refill *r = CONTAINER_OF(link, struct refill, link);
        next_ns                = r->next_ns < next_ns ? r->next_ns : next_ns;
    }
    return next_ns;
}

/* ---- answers ---- */

bool refill_fits(const struct storage *storage, struct bytes ops)
{
    return block_size_for(ops.size) <= BLOCK_MAX_BYTES && block_size_for(ops.size) <= storage->segments.segment_bytes &&
           storage_admits(storage, STORAGE_DATA) && wal_roomy(&storage->wal, ops.size) &&
           (ops.size < STORAGE_LARGE_BYTES || storage_places(storage, ops.size));
}

void refill_write(struct node_stripe *st, struct bytes ops, const uint8_t **out_memory)
{
    const struct log_entry body   = {.stripe  = st->id,
                                     .kind    = LOG_BODY,
                                     .term    = raft_term(st->raft),
                                     .wall_ns = io_wall_ns(st->node->io),
                                     .ops     = ops};
    int                    result = storage_append(st->node->storage, &body, out_memory);
    ASSERT(result == 0); /* there is room for it */
}

static void found_add(struct refill *r, const struct log_entry *entry)
{
    struct node_stripe *st = r->st;
    struct refill_entry e  = {
         .index = entry->index,
         .term  = entry->term,
         .slot  = {
              .wall_ns = entry->wall_ns, .chain = entry->chain, .size = (uint32_t)entry->ops.size, .kind = entry->kind}};
    refill_write(st, entry->ops, &e.slot.memory);
    if (entry->kind == LOG_MEMBERS) {
        e.members = malloc(entry->ops.size + 1);
        ASSERT_MEMORY(e.members != NULL);
        memcpy(e.members, entry->ops.data, entry->ops.size);
    }
    if (r->found_count == r->found_capacity) {
        r->found_capacity = r->found_capacity == 0 ? 64 : r->found_capacity * 2;
        r->found          = realloc(r->found, r->found_capacity * sizeof *r->found);
        ASSERT_MEMORY(r->found != NULL);
    }
    r->found[r->found_count++] = e;
}

void refill_body_durable(struct node_stripe *st, const struct log_entry *entry)
{
    struct refill *r = st->refill;
    for (size_t i = r == NULL ? 0 : r->found_count; i-- > 0;) { /* those on their way to the disk came last */
        struct log_slot *slot = &r->found[i].slot;
        if (slot->memory == entry->ops.data) {
            slot->memory   = NULL;
            slot->position = entry->position;
            slot->durable  = true;
            slot->held     = true;
            segments_retain(&st->node->storage->segments, entry->position);
            r->next_ns = 0;
            return;
        }
    }
}

bool refill_entry_read(const struct node_stripe *st, struct wire_reader *reader, uint64_t index, struct log_entry *out)
{
    struct raft_members members;
    uint32_t            size = wire_get_u32(reader);
    *out                     = (struct log_entry){.stripe = st->id, .index = index, .kind = wire_get_u16(reader)};
    (void)wire_get_u16(reader);
    out->term    = wire_get_u64(reader);
    out->wall_ns = wire_get_u64(reader);
    out->chain   = wire_get_u64(reader);
    out->ops     = wire_get(reader, size);
    return !reader->bad && out->kind <= LOG_MEMBERS && (out->kind != LOG_MEMBERS || members_get(out->ops, &members));
}

static void entries_take(struct refill *r, struct wire_reader *reader, uint32_t count, uint64_t from_bit)
{
    for (; count > 0 && !is_closed(r) && r->last.index > raft_commit(r->st->raft) + 1; count--) {
        struct log_entry entry;
        if (!refill_entry_read(r->st, reader, r->last.index - 1, &entry) || entry.term > r->last.term ||
            log_chain(entry.chain, &r->last) != r->last.chain) {
            r->said_no |= from_bit; /* it has another in that place, one that was replaced */
            return;
        }
        if (!refill_fits(r->st->node->storage, entry.ops)) {
            r->next_ns = io_now_ns(r->st->node->io) + AGAIN_NS;
            return;
        }
        found_add(r, &entry);
        last_set(r, &entry);
    }
}

/* The one behind the last one here, as another node has it. */
static void next_take(struct refill *r, struct wire_reader *reader)
{
    const struct node_stripe *st = r->st;
    struct log_entry          entry;
    if (!refill_entry_read(st, reader, raft_last(st->raft) + 1, &entry) ||
        log_chain(entries_chain(&st->entries, entry.index - 1), &entry) != entry.chain ||
        (r->found_count > 0 && r->found[0].term >= entry.term) || !refill_fits(st->node->storage, entry.ops)) {
        return;
    }
    if (r->found_count > 0) {
        refill_entry_drop(r->st, &r->found[--r->found_count]);
    }
    found_add(r, &entry);
}

void refill_answered(struct session *s, struct wire_reader *reader)
{
    struct node        *node = s->node;
    struct node_stripe *st   = stripe_slot(node, wire_get_u16(reader));
    uint8_t             kind = wire_get_u8(reader);
    (void)wire_get_u8(reader);
    uint32_t       count     = wire_get_u32(reader);
    uint64_t       index     = wire_get_u64(reader);
    uint64_t       term      = wire_get_u64(reader);
    uint64_t       last      = wire_get_u64(reader);
    uint64_t       last_term = wire_get_u64(reader);
    struct refill *r         = reader->bad || st == NULL ? NULL : st->refill;
    struct peer   *peer      = peer_find(node, s->peer);
    if (reader->bad || st == NULL || peer == NULL) {
        return;
    }
    if (st->single != NULL) {
        struct wire_reader entries = *reader;
        single_answered(st, (uint32_t)(peer - node->peers), kind, index, &entries);
    }
    if (r == NULL) {
        return;
    }
    uint64_t bit    = 1ull << (peer - node->peers);
    uint64_t now_ns = io_now_ns(node->io);
    r->terms |= bit;
    r->term    = term > r->term ? term : r->term;
    r->next_ns = now_ns;
    if (last_term > r->best_term || (last_term == r->best_term && last > r->best_last)) {
        r->best_term = last_term;
        r->best_last = last;
    }
    if (kind == REFILL_LED) {
        r->led_ns = now_ns;
    } else if (kind == REFILL_LATER) {
        r->next_ns = now_ns + AGAIN_NS;
    } else if (r->giving_up) {
        if (index == raft_last(st->raft) + 1) {
            r->said_no |= bit;
            if (kind == REFILL_ENTRIES) {
                next_take(r, reader);
            }
        }
    } else if (r->last_ops != NULL && index == r->last.index - 1) {
        if (kind == REFILL_ENTRIES) {
            entries_take(r, reader, count, bit);
        } else {
            r->said_no |= bit;
        }
    }
}
