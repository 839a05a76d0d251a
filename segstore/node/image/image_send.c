/* image_send.c - the leader's side: a walk over the segments that hold live records, then the image. */
#include "segstore/node/image/image.h"
#include "segstore/node/replica/members.h"
#include "segstore/node/peers/peers.h"

#include "segstore/log/pick.h"
#include "shared/base/bucket.h"
#include "shared/base/err.h"
#include "shared/base/hash.h"
#include "shared/base/log.h"

#include <stdlib.h>

enum { PART_BYTES = 256 * 1024 };
static const uint64_t CHECK_EVERY_NS = 1000000000;

struct image_out {
    struct node        *node;
    struct node_stripe *st;
    uint16_t            to;
    uint64_t            transfer;
    uint64_t            index;
    uint64_t            log_term;
    uint64_t            chain;
    uint64_t            term; /* of the lead that sends it */
    struct raft_members members;
    struct wire_writer  image;
    size_t              image_at;
    uint64_t           *positions; /* of live records, ascending */
    size_t              count;
    size_t              capacity;
    struct pick         pick;   /* of them, what is sent */
    uint64_t            number; /* of the segment that is loaded; 0: none */
    size_t              offset; /* of the next block in it */
    struct load         load;
    bool                over;  /* waits for its read only */
    bool                ended; /* all is sent */
};

static void put_position(void *ctx, uint64_t position)
{
    struct image_out *o = ctx;
    if (o->count == o->capacity) {
        o->capacity  = o->capacity == 0 ? 1024 : o->capacity * 2;
        o->positions = realloc(o->positions, o->capacity * sizeof *o->positions);
        ASSERT(o->positions != NULL); /* out of memory */
    }
    o->positions[o->count++] = position;
    segments_retain(&o->node->storage->segments, position);
}

static int ascending(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void discard(struct image_out *o)
{
    load_fini(&o->load);
    wire_writer_fini(&o->image);
    free(o->positions);
    free(o);
}

/* Over, well or not. */
static void finish(struct image_out *o, bool arrived)
{
    for (size_t i = 0; i < o->count; i++) {
        segments_release(&o->node->storage->segments, o->positions[i]);
    }
    o->node->counts.images_sent += arrived;
    o->count           = 0;
    o->node->image_out = NULL;
    o->over            = true;
    if (raft_role(o->st->raft) == RAFT_LEADER && raft_term(o->st->raft) == o->term) {
        raft_snapshot_end(o->st->raft, o->to, arrived);
    }
    replica_touch(o->st);
    if (!o->load.busy) {
        discard(o);
    }
}

static struct wire_writer *begin_frame(struct image_out *o, struct peer *peer, enum image_kind kind)
{
    struct wire_writer *w = peer_begin(peer, RPC_IMAGE);
    wire_put_u16(w, o->st->id);
    wire_put_u8(w, (uint8_t)kind);
    wire_put_u8(w, 0);
    wire_put_u64(w, o->term);
    wire_put_u64(w, o->transfer);
    return w;
}

void image_send(struct node_stripe *st, uint16_t to)
{
    struct node *node = st->node;
    struct peer *peer = peer_find(node, to);
    if (node->image_out != NULL || st->saving != NULL || st->installing || !peer_roomy(peer)) {
        return; /* looked at again, as long as it is wanted */
    }
    struct image_out *o = calloc(1, sizeof *o);
    ASSERT(o != NULL); /* out of memory */
    o->node         = node;
    o->st           = st;
    o->to           = to;
    o->transfer     = io_random(node->io);
    o->index        = stripe_applied(st->stripe);
    o->log_term     = raft_term_at(st->raft, o->index);
    o->chain        = entries_chain(&st->entries, o->index);
    o->term         = raft_term(st->raft);
    o->members      = st->applied_members;
    o->image        = wire_writer_growing(SIZE_MAX / 2);
    node->image_out = o;
    stripe_save(st->stripe, &o->image);
    stripe_live_positions(st->stripe, put_position, o);
    if (o->count > 0) {
        qsort(o->positions, o->count, sizeof *o->positions, ascending);
    }
    pick_init(&o->pick, st->id, o->positions, o->count);
    raft_snapshot_begin(st->raft, to, o->index);
    (void)begin_frame(o, peer, IMAGE_BEGIN);
    peer_end(peer);
    log_info("stripe %u: node %u gets an image as of entry %llu: %zu records and %zu bytes", st->id, to,
             (unsigned long long)o->index, o->count, o->image.size);
}

/* ---- bodies ---- */

static void loaded(void *ctx, struct load *load, int result)
{
    struct image_out *o = ctx;
    (void)load;
    if (o->over) {
        discard(o);
    } else if (result < 0) {
        log_error("stripe %u: its image cannot be sent, the log cannot be read: %s", o->st->id, err_sentence(result));
        finish(o, false);
    }
}

/* The segment of the next live record into memory, as far as it is durable. */
static bool load_next(struct image_out *o)
{
    struct storage     *storage  = o->node->storage;
    struct segments    *segments = &storage->segments;
    uint64_t            number   = segments_number(segments, pick_position(&o->pick));
    struct log_segment *segment  = segments_find(segments, number);
    uint64_t            durable  = wal_durable_position(&storage->wal);
    uint64_t            bytes    = segments->segment_bytes;
    if (segments_number(segments, durable) == number) {
        bytes = durable - segments_position(segments, number);
    }
    if (segment == NULL || !segment->exists || storage_segment_open(storage, segment) < 0) {
        log_error("stripe %u: its image cannot be sent, a file of its log is missing", o->st->id);
        return false;
    }
    o->number = number;
    o->offset = 0;
    load_begin(&o->load, segment->file, (size_t)bytes, loaded, o);
    return true;
}

/* Sends the entries of a block that hold live records. False: some should have been before it, and were not found. */
static bool send_block(struct image_out *o, struct peer *peer, const uint8_t *image, const struct block_header *header)
{
    struct block_cursor cursor;
    struct log_entry    entry;
    block_entries(&cursor, image, header);
    while (pick_next(&o->pick, &cursor, &entry)) {
        struct wire_writer *w = begin_frame(o, peer, IMAGE_BODY);
        wire_put_u64(w, entry.position);
        wire_put_bytes(w, entry.ops);
        peer_end(peer);
    }
    return o->pick.missed == 0;
}

/* One block of the segment that is loaded. False: records are missing. */
static bool step_bodies(struct image_out *o, struct peer *peer)
{
    struct segments    *segments = &o->node->storage->segments;
    uint64_t            base     = segments_position(segments, o->number);
    struct block_header header;
    if (o->number == 0 || segments_number(segments, pick_position(&o->pick)) != o->number) {
        return load_next(o);
    }
    struct recover_segment look = {.image        = bytes_of(o->load.memory, o->load.size_bytes),
                                   .position     = base,
                                   .id           = &o->node->storage->super.id,
                                   .sector_bytes = o->node->storage->config.sector_bytes};
    size_t                 at;
    if (o->offset >= o->load.size_bytes || !recover_resume(&look, o->offset, 0, &header, &at)) {
        return false;
    }
    o->offset = at + header.length;
    return send_block(o, peer, look.image.data + at, &header);
}

/* ---- the image ---- */

static void step_image(struct image_out *o, struct peer *peer)
{
    size_t              left = o->image.size - o->image_at;
    size_t              size = left < PART_BYTES ? left : PART_BYTES;
    struct wire_writer *w;
    if (size > 0) {
        w = begin_frame(o, peer, IMAGE_PART);
        wire_put(w, o->image.data + o->image_at, size);
        peer_end(peer);
        o->image_at += size;
        return;
    }
    w = begin_frame(o, peer, IMAGE_END);
    wire_put_u64(w, o->index);
    wire_put_u64(w, o->log_term);
    wire_put_u64(w, o->chain);
    wire_put_u64(w, o->image.size);
    wire_put_u64(w, hash_bytes(wire_written(&o->image)));
    members_put(w, &o->members);
    peer_end(peer);
    o->ended               = true;
    o->node->image_next_ns = io_now_ns(o->node->io) + CHECK_EVERY_NS;
}

void images_turn(struct node *node)
{
    struct image_out *o = node->image_out;
    if (o != NULL && node->image_next_ns != UINT64_MAX && io_now_ns(node->io) < node->image_next_ns) {
        return;
    }
    node->image_next_ns = UINT64_MAX;
    if (o == NULL) {
        return;
    }
    struct peer *peer = peer_find(node, o->to);
    uint64_t     wait = 0;
    if (o->ended) {
        if (peer_roomy(peer)) {
            (void)begin_frame(o, peer, IMAGE_CHECK);
            peer_end(peer);
        }
        wait = CHECK_EVERY_NS;
    }
    while (wait == 0 && !o->over && !o->load.busy && !o->ended && peer_roomy(peer)) {
        size_t begun = peer->out.size;
        if (pick_position(&o->pick) == UINT64_MAX) {
            step_image(o, peer);
        } else if (!step_bodies(o, peer)) {
            struct node_stripe *st = o->st;
            log_error("stripe %u: %zu of its records are not in the log any more: its image cannot be sent", st->id,
                      o->count - o->pick.at + o->pick.missed);
            finish(o, false);
            replica_repair(st, "records are missing from its log");
            return;
        }
        wait = bucket_take(&node->image_bucket, node->config->image_rate / node->config->shards + 1,
                           peer->out.size - begun, io_now_ns(node->io));
    }
    if (wait > 0) {
        node->image_next_ns = io_now_ns(node->io) + wait;
    }
}

/* ---- its end ---- */

void image_done(struct node_stripe *st, uint16_t from, uint64_t transfer, bool ok)
{
    struct image_out *o = st->node->image_out;
    if (o != NULL && o->st == st && o->to == from && o->transfer == transfer) {
        finish(o, ok && o->ended);
    }
}

void image_peer_reset(struct node_stripe *st, uint16_t node)
{
    struct image_out *o = st->node->image_out;
    if (o != NULL && o->st == st && (o->to == node || node == 0)) {
        finish(o, false);
    }
}

void images_free(struct node *node)
{
    struct image_out *o = node->image_out;
    if (o != NULL) {
        node->image_out = NULL;
        o->count        = 0;
        discard(o);
    }
}
