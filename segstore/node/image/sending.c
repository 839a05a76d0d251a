/* sending.c - an image: made in slices; the log entries that hold the records that it names, by one walk over the log for all that are sent together; then the image. */
#include "segstore/node/image/sending.h"
#include "segstore/node/peers/peers.h"
#include "segstore/node/replica/members.h"

#include "shared/base/err.h"
#include "shared/base/log.h"
#include "shared/rpc/op.h"

#include <stdlib.h>

enum { PART_BYTES = 256 * 1024 };
_Static_assert((int)PICK_LOST_BYTES == (int)OP_TARGET_HEADER_BYTES, "it reaches no other target, and is no target");

struct wire_writer *sending_frame(const struct image_out *o, struct peer *peer, enum image_kind kind)
{
    return image_frame(o->st, peer, kind, o->term, o->transfer);
}

static struct image_part *part_first(struct image_out *o)
{
    return CONTAINER_OF(o->parts.next, struct image_part, link);
}

static void part_free(struct image_part *part)
{
    list_remove(&part->link);
    wire_writer_fini(&part->bytes);
    free(part);
}

void sending_let_go(struct image_out *o)
{
    hold_release(&o->hold, &o->node->storage->segments);
    while (!list_empty(&o->parts)) {
        part_free(part_first(o));
    }
    positions_fini(&o->positions);
    positions_fini(&o->lost);
}

/* ---- making it ---- */

static void put_position(void *ctx, uint64_t position)
{
    struct image_out *o = ctx;
    positions_add(&o->positions, position);
    hold_add(&o->hold, &o->node->storage->segments, position);
}

void sending_make(struct image_out *o)
{
    o->saving = stripe_save_begin(o->st->stripe);
    stripe_save_tells(o->saving, put_position, o);
    o->st->still++;
}

void sending_made(struct image_out *o)
{
    stripe_save_end(o->saving);
    o->saving = NULL;
    o->st->still--;
    for (uint32_t i = 0; i < o->node->stripe_count; i++) { /* another one may be made */
        replica_touch(&o->node->stripes[i]);
    }
}

static void make_slice(struct image_out *o)
{
    struct image_part *part = calloc(1, sizeof *part);
    ASSERT_MEMORY(part != NULL);
    part->bytes = wire_writer_growing(SIZE_MAX / 2);
    list_push_back(&o->parts, &part->link);
    bool more = stripe_save_more(o->saving, &part->bytes, stripe_slice_bytes(o->st));
    ASSERT_MEMORY(!part->bytes.bad);
    XXH3_64bits_update(o->sum, part->bytes.data, part->bytes.size);
    o->image_bytes += part->bytes.size;
    if (!more) {
        log_info("stripe %u: node %u gets an image as of entry %llu: %zu records and %llu bytes", o->st->id, o->to,
                 (unsigned long long)o->index, o->positions.count, (unsigned long long)o->image_bytes);
        sending_made(o);
    }
}

static void sort_slice(struct image_out *o)
{
    o->sorted = !positions_sort(&o->positions, o->node->config->checkpoint_slice_bytes);
    if (o->sorted) {
        repair_lost(o->st, &o->lost);
        pick_init(&o->pick, o->st->id, o->positions.at, o->positions.count);
        o->pick.lost       = o->lost.at;
        o->pick.lost_count = o->lost.count;
    }
}

bool sending_prepare(struct image_out *o)
{
    if (o->saving != NULL) {
        make_slice(o);
    } else if (!o->sorted) {
        sort_slice(o);
    }
    return o->saving != NULL || !o->sorted;
}

/* ---- bodies ---- */

/* The segment of the next live record. */
static uint64_t segment_next(const struct image_out *o)
{
    return segments_number(&o->node->storage->segments, pick_position(&o->pick));
}

/* To a segment, as far as it is durable. */
static bool walk_on(struct image_walk *w, uint64_t number)
{
    struct storage     *storage  = w->node->storage;
    struct segments    *segments = &storage->segments;
    struct log_segment *segment  = segments_find(segments, number);
    uint64_t            durable  = wal_durable_position(&storage->wal);
    uint64_t            bytes    = segments->segment_bytes;
    if (segments_number(segments, durable) == number) {
        bytes = durable - segments_position(segments, number);
    }
    w->number = number;
    if (segment == NULL || !segment->exists || storage_segment_open(storage, segment) < 0) {
        log_error("images cannot be sent, a file of the log is missing");
        return false;
    }
    walk_begin(&w->walk, segment->file, segments_position(segments, number), (size_t)bytes);
    return true;
}

static void send_body(struct image_out *o, struct peer *peer, const struct log_entry *entry)
{
    struct wire_writer *w = sending_frame(o, peer, IMAGE_BODY);
    wire_put_u64(w, entry->position);
    wire_put_bytes(w, entry->ops);
    peer_end(peer);
    o->node->image_walk->sent += entry->ops.size;
}

/* Sends the entries of a block that hold live records. False: some should have been before it, and were not found. */
static bool send_block(struct image_out *o, struct peer *peer, const uint8_t *image, const struct block_header *header)
{
    struct block_cursor cursor;
    struct log_entry    entry;
    block_entries(&cursor, image, header);
    while (pick_next(&o->pick, &cursor, &entry)) {
        send_body(o, peer, &entry);
    }
    return o->pick.missed == 0;
}

/* Some of the live records from `from` on are not in the log any more. They are given back by others, and then it is tried again. */
static void records_missing(struct image_out *o, uint64_t from)
{
    struct node_stripe *st = o->st;
    uint64_t            to = pick_position(&o->pick);
    log_error("stripe %u: records are not in the log any more: its image is sent to node %u when they were repaired",
              st->id, o->to);
    if (to == from) { /* a whole segment */
        const struct segments *segments = &o->node->storage->segments;
        to                              = segments_position(segments, segments_number(segments, from) + 1);
    }
    sending_over(o, false);
    repair_survey(st, from, to);
}

/* A file of its log cannot be read. */
static void unreadable(struct image_out *o, int result)
{
    const struct segments *segments = &o->node->storage->segments;
    struct node_stripe    *st       = o->st;
    uint64_t               from     = segments_position(segments, segment_next(o));
    log_error("stripe %u: its image cannot be sent, the log cannot be read: %s", st->id, err_sentence(result));
    sending_over(o, false);
    repair_survey(st, from, from + segments->segment_bytes);
}

/* What they want of the segment is not to be had; but for what is lost, which nobody waits for. */
static void segment_failed(struct image_walk *w, int result)
{
    const struct segments *segments = &w->node->storage->segments;
    LIST_EACH (&w->node->images_out, link) {
        struct image_out *o    = CONTAINER_OF(link, struct image_out, link);
        struct peer      *peer = peer_find(w->node, o->to);
        uint64_t          end  = segments_position(segments, w->number + 1);
        struct log_entry  lost = {0};
        while (peer_roomy(peer) && pick_lost(&o->pick, end, &lost)) {
            send_body(o, peer, &lost);
        }
        if (segment_next(o) == w->number && !peer_roomy(peer)) {
            continue; /* it goes on when the follower has taken that */
        }
        if (segment_next(o) == w->number && result == ERR_NOT_FOUND) {
            records_missing(o, pick_position(&o->pick));
        } else if (segment_next(o) == w->number) {
            unreadable(o, result);
        }
    }
}

/* One block, to all that want something of it. False: it is being read. */
static bool step_bodies(struct image_walk *w)
{
    struct node        *node    = w->node;
    struct storage     *storage = node->storage;
    uint64_t            next    = UINT64_MAX;
    struct block_header header;
    const uint8_t      *image;
    LIST_EACH (&node->images_out, link) {
        uint64_t number = segment_next(CONTAINER_OF(link, struct image_out, link));
        next            = number < next ? number : next;
    }
    if (w->number != next) {
        if (w->walk.busy) { /* what is read ahead is not wanted */
            return false;
        }
        if (!walk_on(w, next)) {
            segment_failed(w, ERR_NOT_FOUND);
            w->number = 0; /* it is not walked through */
        }
        return true;
    }
    int result = walk_next(&w->walk, &storage->super.id, storage->config.sector_bytes, &header, &image);
    if (result < 0) {
        segment_failed(w, result);
        return true;
    }
    if (result == 0) {
        return false;
    }
    LIST_EACH (&node->images_out, link) {
        struct image_out *o    = CONTAINER_OF(link, struct image_out, link);
        uint64_t          from = pick_position(&o->pick);
        if (from != UINT64_MAX && segment_next(o) == w->number &&
            !send_block(o, peer_find(node, o->to), image, &header)) {
            records_missing(o, from);
        }
    }
    return true;
}

/* ---- the image ---- */

static void end(struct image_out *o, struct peer *peer)
{
    struct wire_writer *w = sending_frame(o, peer, IMAGE_END);
    wire_put_u64(w, o->index);
    wire_put_u64(w, o->log_term);
    wire_put_u64(w, o->chain);
    wire_put_u64(w, o->image_bytes);
    wire_put_u64(w, XXH3_64bits_digest(o->sum));
    members_put(w, &o->members);
    peer_end(peer);
    sending_ended(o);
}

static void step_image(struct image_out *o, struct peer *peer)
{
    if (list_empty(&o->parts)) {
        end(o, peer);
        return;
    }
    struct image_part  *part = part_first(o);
    size_t              left = part->bytes.size - o->part_at;
    size_t              size = left < PART_BYTES ? left : PART_BYTES;
    struct wire_writer *w    = sending_frame(o, peer, IMAGE_PART);
    wire_put(w, part->bytes.data + o->part_at, size);
    peer_end(peer);
    o->part_at += size;
    o->node->image_walk->sent += size;
    if (o->part_at == part->bytes.size) {
        part_free(part);
        o->part_at = 0;
    }
}

/* One whose bodies are all sent. It ends between two reads. */
static struct image_out *image_next(struct node *node)
{
    LIST_EACH (&node->images_out, link) {
        struct image_out *o = CONTAINER_OF(link, struct image_out, link);
        if (pick_position(&o->pick) == UINT64_MAX && !(list_empty(&o->parts) && node->image_walk->walk.busy)) {
            return o;
        }
    }
    return NULL;
}

bool sending_step(struct node *node)
{
    struct image_out *o = image_next(node);
    if (o != NULL) {
        step_image(o, peer_find(node, o->to));
        return true;
    }
    return step_bodies(node->image_walk);
}
