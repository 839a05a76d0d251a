/* image_take.c - the follower's side: bodies into the log, the image into memory, then all of it takes the place of what was there, and counts once a
 * checkpoint holds it. */
#include "segstore/node/image/image.h"
#include "segstore/node/refill/refill.h"
#include "segstore/node/replica/members.h"
#include "segstore/node/peers/peers.h"

#include "shared/base/err.h"
#include "shared/base/log.h"

#include <stdlib.h>

/* So long nothing came of an image: its leader may have given it up. */
static const uint64_t SILENT_NS = 1000000000;

void image_drop(struct node_stripe *st)
{
    struct image_in *in = st->image_in;
    if (in == NULL) {
        return;
    }
    if (in->fresh != NULL) {
        bool holds = in->loading == NULL;
        stripe_load_end(in->loading);
        bury(st->node, in->fresh, holds);
    }
    hold_release(&in->hold, &st->node->storage->segments);
    bodies_fini(&in->bodies);
    wire_writer_fini(&in->image);
    XXH3_freeState(in->sum);
    free(in->waiting);
    free(in);
    st->image_in = NULL;
}

/* Tells the leader what became of its image, over this node's own connection to it. */
static void image_answer(struct node_stripe *st, uint16_t to, uint64_t transfer, bool ok)
{
    struct peer *peer = peer_find(st->node, to);
    if (peer != NULL && peer_roomy(peer)) { /* else the leader finds out */
        wire_put_u8(image_frame(st, peer, IMAGE_DONE, raft_term(st->raft), transfer), ok);
        peer_end(peer);
    }
}

/* It is of no use. */
static void image_give_up(struct node_stripe *st, const char *why)
{
    log_warn("stripe %u: the image that node %u sends is of no use: %s", st->id, st->image_in->from, why);
    image_answer(st, st->image_in->from, st->image_in->transfer, false);
    image_drop(st);
}

/* It was taken. */
static void image_finish(struct node_stripe *st)
{
    st->image_last = st->image_in->transfer;
    image_answer(st, st->image_in->from, st->image_in->transfer, true);
    image_drop(st);
    replica_touch(st);
}

/* ---- arriving ---- */

static void begin(struct node_stripe *st, uint16_t from, uint64_t transfer)
{
    image_drop(st);
    struct image_in *in = calloc(1, sizeof *in);
    ASSERT_MEMORY(in != NULL);
    in->transfer = transfer;
    in->from     = from;
    in->image    = wire_writer_growing(SIZE_MAX / 2);
    in->sum      = XXH3_createState();
    ASSERT_MEMORY(in->sum != NULL);
    XXH3_64bits_reset(in->sum);
    bodies_init(&in->bodies);
    in->heard_ns   = io_now_ns(st->node->io);
    st->left_nonce = 0;
    st->image_in   = in;
}

static int body(struct node_stripe *st, struct wire_reader *r)
{
    struct image_in *in   = st->image_in;
    struct node     *node = st->node;
    uint64_t         from = wire_get_u64(r);
    struct bytes     ops  = bytes_of(r->at, wire_left(r));
    if (r->bad || block_size_for(ops.size) > node->storage->segments.segment_bytes ||
        block_size_for(ops.size) > BLOCK_MAX_BYTES) {
        image_give_up(st, "a record is malformed, or too large for the files of this log");
        return 0;
    }
    if (!storage_admits(node->storage, STORAGE_DATA)) {
        image_give_up(st, "the disk is full");
        return 0;
    }
    if (!wal_roomy(&node->storage->wal, ops.size)) {
        return ERR_FULL;
    }
    if (in->waiting_end - in->waiting_first == in->waiting_capacity) {
        uint64_t       capacity = in->waiting_capacity == 0 ? 64 : in->waiting_capacity * 2;
        struct coming *ring     = malloc(capacity * sizeof *ring);
        ASSERT_MEMORY(ring != NULL);
        for (uint64_t i = in->waiting_first; i < in->waiting_end; i++) {
            ring[i & (capacity - 1)] = in->waiting[i & (in->waiting_capacity - 1)];
        }
        free(in->waiting);
        in->waiting          = ring;
        in->waiting_capacity = capacity;
    }
    struct coming   *b     = &in->waiting[in->waiting_end++ & (in->waiting_capacity - 1)];
    struct log_entry entry = {
        .stripe = st->id, .kind = LOG_BODY, .term = raft_term(st->raft), .wall_ns = io_wall_ns(node->io), .ops = ops};
    *b         = (struct coming){.from = from, .size = (uint32_t)ops.size};
    int result = storage_append(node->storage, &entry, &b->memory);
    ASSERT(result == 0);
    return 0;
}

void image_body_durable(struct node_stripe *st, const struct log_entry *entry)
{
    struct image_in *in = st->image_in;
    if (in == NULL || in->waiting_first == in->waiting_end) {
        return;
    }
    const struct coming *b = &in->waiting[in->waiting_first & (in->waiting_capacity - 1)];
    if (b->memory != entry->ops.data) {
        return; /* of a transfer that was given up */
    }
    in->waiting_first++;
    if (bodies_add(&in->bodies, b->from, b->size, entry->position) < 0) {
        image_give_up(st, "its records are not in order");
        return;
    }
    hold_add(&in->hold, &st->node->storage->segments, entry->position);
    replica_touch(st);
}

static int part(struct node_stripe *st, struct bytes data)
{
    struct image_in *in = st->image_in;
    if (in->image.size - in->image_at >= LOAD_AHEAD_BYTES) {
        return ERR_FULL;
    }
    wire_put_bytes(&in->image, data);
    ASSERT_MEMORY(!in->image.bad);
    XXH3_64bits_update(in->sum, data.data, data.size);
    in->image_bytes += data.size;
    replica_touch(st);
    return 0;
}

static void end(struct node_stripe *st, struct wire_reader *r)
{
    struct image_in *in = st->image_in;
    in->index           = wire_get_u64(r);
    in->term            = wire_get_u64(r);
    in->chain           = wire_get_u64(r);
    uint64_t size       = wire_get_u64(r);
    uint64_t sum        = wire_get_u64(r);
    bool     known      = members_read(r, &in->members);
    if (!known || r->bad || in->image_bytes != size || XXH3_64bits_digest(in->sum) != sum) {
        image_give_up(st, "it is not whole");
        return;
    }
    in->ended = true;
    replica_touch(st);
}

int image_receive(struct session *s, struct wire_reader *r)
{
    struct node_stripe *st   = stripe_slot(s->node, wire_get_u16(r));
    uint8_t             kind = wire_get_u8(r);
    (void)wire_get_u8(r);
    uint64_t term     = wire_get_u64(r);
    uint64_t transfer = wire_get_u64(r);
    if (r->bad || st == NULL) {
        return 0;
    }
    if (kind == IMAGE_ASK) {
        if (st->led) {
            image_send(st, s->peer);
        }
        return 0;
    }
    if (kind == IMAGE_DONE) {
        image_done(st, s->peer, transfer, wire_get_u8(r) == 1);
        return 0;
    }
    if (kind == IMAGE_CHECK) {
        if (transfer == st->image_last || st->image_in == NULL || st->image_in->transfer != transfer) {
            image_answer(st, s->peer, transfer, transfer == st->image_last);
        }
        return 0;
    }
    /* A term has one leader, and nobody else sends images in it. While a slow load holds its connection up nothing is heard of it, heartbeats neither: what
     * it begins, or has begun, is taken. */
    bool coming = st->image_in != NULL && st->image_in->transfer == transfer;
    bool leads =
        raft_leader(st->raft) == s->peer || ((coming || kind == IMAGE_BEGIN) && raft_leader(st->raft) == RAFT_NONE);
    if (term != raft_term(st->raft) || !leads || st->installing) {
        if (!st->installing && coming) {
            image_drop(st); /* what is passed over now would be missing */
        }
        return 0; /* of a leader that was deposed, or that is not known yet: it hears of it when it asks what became of its image */
    }
    if (kind == IMAGE_BEGIN) {
        begin(st, s->peer, transfer);
        return 0;
    }
    if (st->image_in == NULL || st->image_in->transfer != transfer || st->image_in->ended) {
        return 0;
    }
    st->image_in->heard_ns = io_now_ns(st->node->io);
    switch ((enum image_kind)kind) {
    case IMAGE_BODY:
        return body(st, r);
    case IMAGE_PART:
        return part(st, bytes_of(r->at, wire_left(r)));
    case IMAGE_END:
        end(st, r);
        return 0;
    case IMAGE_BEGIN:
    case IMAGE_DONE:
    case IMAGE_ASK:
    case IMAGE_CHECK:
        break;
    }
    return 0;
}

/* ---- taking its place ---- */

/* What both hold is held all the time: what was there lets go of it afterwards. */
static void replace(struct node_stripe *st, bool keeps_log)
{
    repairs_clear(st);
    refill_replaced(st, st->image_in->index, st->image_in->term, keeps_log);
    bury(st->node, st->stripe, true);
    st->stripe          = st->image_in->fresh;
    st->image_in->fresh = NULL;
}

/* This log holds what the image ends with, and goes on from there: what lies behind is applied once more, or now. */
static void graft(struct node_stripe *st)
{
    struct image_in *in      = st->image_in;
    uint64_t         applied = stripe_applied(st->stripe);
    save_keep(&st->node->storage->save); /* until then a restart goes back to the records that are damaged */
    while (st->entries.first <= in->index) {
        entry_drop_first(st);
    }
    for (uint64_t index = st->entries.first; index <= applied; index++) {
        struct log_slot *slot = entries_at(&st->entries, index);
        st->unapplied_bytes += slot->size;
        slot->held = true;
        segments_retain(&st->node->storage->segments, slot->position);
    }
    replace(st, true);
    changes_skip(st, in->index, &in->members);
    raft_applied(st->raft, in->index);
    raft_compact(st->raft, in->index);
    st->repairing = false;
    replica_may_lead(st);
    st->node->counts.images_taken++;
    log_info("stripe %u: its records are back, as of entry %llu from node %u", st->id, (unsigned long long)in->index,
             in->from);
    image_finish(st);
}

/* Was a change of members applied behind this entry? Its ops are not at hand any more. */
static bool changed_since(const struct node_stripe *st, uint64_t index)
{
    for (uint64_t i = index + 1; i <= stripe_applied(st->stripe); i++) {
        if (entries_at(&st->entries, i)->kind == LOG_MEMBERS) {
            return true;
        }
    }
    return false;
}

/* All is here. What the stripe was goes, and what came is; raft hears of it when it is durable. */
static void take(struct node_stripe *st)
{
    struct image_in *in   = st->image_in;
    bool             here = raft_holds(st->raft, in->index, in->term);
    if (here) { /* then it is committed: the image says so */
        (void)raft_install(st->raft, in->index, in->term, &in->members);
    }
    if (here && raft_stable_index(st->raft) < in->index) {
        return; /* what it ends with is being written: the log can be cut there once it is durable */
    }
    if (here && in->index + 1 >= st->entries.first && !changed_since(st, in->index)) {
        graft(st);
        return;
    }
    if (in->index < raft_commit(st->raft) || here) {
        image_give_up(st, "it is older than what is here");
        return;
    }
    save_keep(&st->node->storage->save);
    while (st->entries.end > st->entries.first) {
        entry_drop_last(st);
    }
    replace(st, false);
    entries_fini(&st->entries);
    entries_init(&st->entries, in->index, in->chain);
    wire_writer_fini(&in->image);
    in->taken      = true;
    st->installing = true;
    raft_shy(st->raft, true);
}

bool image_settle(struct node_stripe *st)
{
    struct image_in *in = st->image_in;
    if (in == NULL || in->taken) {
        return false;
    }
    if (in->ended && !st->repairing && raft_holds(st->raft, in->index, in->term)) { /* entries came in time after all */
        (void)raft_install(st->raft, in->index, in->term, &in->members);
        image_finish(st);
        return false;
    }
    int result = image_load(st);
    if (result < 0 || (result == 0 && in->ended && stripe_applied(in->fresh) != in->index)) {
        image_give_up(st, "this version does not understand it");
    } else if (result == 0 && in->ended && st->still == 0) {
        take(st);
    }
    return result == 1;
}

void image_put(struct node_stripe *st, struct raft_stored *out, uint64_t *out_chain)
{
    struct image_in *in = st->image_in;
    out->applied_term   = in->term;
    out->members        = in->members;
    out->commit         = in->index;
    *out_chain          = in->chain;
    in->saved           = true;
}

void images_saved(struct node *node)
{
    for (uint32_t i = 0; i < node->stripe_count; i++) {
        struct node_stripe *st = &node->stripes[i];
        struct image_in    *in = st->image_in;
        if (!st->installing || !in->saved) {
            continue;
        }
        st->installing = false;
        st->repairing  = false;
        replica_may_lead(st);
        bool installed = raft_install(st->raft, in->index, in->term, &in->members);
        ASSERT(installed);
        changes_cut(st, 0);
        changes_skip(st, in->index, &in->members);
        node->counts.images_taken++;
        log_info("stripe %u: the image as of entry %llu from node %u is in its place", st->id,
                 (unsigned long long)in->index, in->from);
        image_finish(st);
    }
}

struct wire_writer *image_frame(const struct node_stripe *st, struct peer *peer, enum image_kind kind, uint64_t term,
                                uint64_t transfer)
{
    struct wire_writer *w = peer_begin(peer, RPC_IMAGE);
    wire_put_u16(w, st->id);
    wire_put_u8(w, (uint8_t)kind);
    wire_put_u8(w, 0);
    wire_put_u64(w, term);
    wire_put_u64(w, transfer);
    return w;
}

/* One that is under way was perhaps given up, or came from a leader of before: a leader that still sends it goes on with it, another one begins anew. */
void image_ask(struct node_stripe *st)
{
    struct peer     *peer   = peer_find(st->node, raft_leader(st->raft));
    struct image_in *in     = st->image_in;
    uint64_t         now_ns = io_now_ns(st->node->io);
    if (peer != NULL && peer_roomy(peer) && (in == NULL || now_ns >= in->heard_ns + SILENT_NS)) {
        if (in != NULL) {
            in->heard_ns = now_ns; /* once in so long */
        }
        (void)image_frame(st, peer, IMAGE_ASK, raft_term(st->raft), 0);
        peer_end(peer);
    }
}
