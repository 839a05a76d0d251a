/* image_send.c - the leader's side: a walk over the segments that hold live records, then the image. */
#include "segstore/node/image/image.h"
#include "segstore/node/image/walk.h"
#include "segstore/node/replica/members.h"
#include "segstore/node/peers/peers.h"

#include "segstore/log/hold.h"
#include "segstore/log/pick.h"
#include "segstore/log/positions.h"
#include "shared/base/err.h"
#include "shared/base/hash.h"
#include "shared/base/log.h"

#include <stdlib.h>

enum { PART_BYTES = 256 * 1024, WAITING_MAX = 16 };
static const uint64_t CHECK_EVERY_NS = 1000000000;

/* A slice of the image that waits to be sent. */
struct image_part {
    struct list        link;
    struct wire_writer bytes;
};

struct image_out {
    struct list           link; /* node->images_waiting, when all is sent */
    struct node          *node;
    struct node_stripe   *st;
    uint16_t              to;
    uint64_t              transfer;
    uint64_t              index;
    uint64_t              log_term;
    uint64_t              chain;
    uint64_t              term; /* of the lead that sends it */
    struct raft_members   members;
    struct stripe_saving *saving; /* while it is made */
    struct list           parts;
    size_t                part_at; /* of the first: sent */
    uint64_t              image_bytes;
    XXH3_state_t         *sum;
    struct positions      positions; /* of live records */
    struct hold           hold;      /* the segments that they lie in */
    bool                  sorted;
    struct pick           pick;   /* of them, what is sent */
    uint64_t              number; /* of the segment that is walked through; 0: none */
    struct walk           walk;
    uint64_t              check_ns; /* when the follower is asked next what became of it */
    bool                  over;     /* waits for its read only */
    bool                  ended;    /* all is sent */
};

static void put_position(void *ctx, uint64_t position)
{
    struct image_out *o = ctx;
    positions_add(&o->positions, position);
    hold_add(&o->hold, &o->node->storage->segments, position);
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

/* No file that is being read may go. */
static void let_go(struct image_out *o)
{
    hold_release(&o->hold, &o->node->storage->segments);
    walk_fini(&o->walk);
    while (!list_empty(&o->parts)) {
        part_free(part_first(o));
    }
    positions_fini(&o->positions);
}

static void discard(struct image_out *o)
{
    list_remove(&o->link);
    let_go(o);
    XXH3_freeState(o->sum);
    free(o);
}

static void on_read(void *ctx)
{
    struct image_out *o = ctx;
    if (o->over) {
        discard(o);
    }
}

/* The stripe goes on. */
static void made(struct image_out *o)
{
    stripe_save_end(o->saving);
    o->saving = NULL;
    o->st->still--;
    replica_touch(o->st);
}

/* Over, well or not. */
static void finish(struct image_out *o, bool arrived)
{
    if (o->saving != NULL) {
        made(o);
    }
    o->node->counts.images_sent += arrived;
    if (o->ended) {
        list_remove(&o->link);
        o->node->image_waiting--;
    } else {
        o->node->image_out = NULL;
    }
    o->over = true;
    if (raft_role(o->st->raft) == RAFT_LEADER && raft_term(o->st->raft) == o->term) {
        raft_snapshot_end(o->st->raft, o->to, arrived);
    }
    replica_touch(o->st);
    if (!o->walk.busy) {
        discard(o);
    }
}

static struct wire_writer *frame(const struct image_out *o, struct peer *peer, enum image_kind kind)
{
    return image_frame(o->st, peer, kind, o->term, o->transfer);
}

static bool is_waiting(const struct node_stripe *st)
{
    LIST_EACH (&st->node->images_waiting, link) {
        if (CONTAINER_OF(link, struct image_out, link)->st == st) {
            return true;
        }
    }
    return false;
}

void image_send(struct node_stripe *st, uint16_t to)
{
    struct node *node = st->node;
    struct peer *peer = peer_find(node, to);
    if (node->image_out != NULL || node->image_waiting >= WAITING_MAX || is_waiting(st) || st->still > 0 ||
        st->installing || st->missed > 0 || st->surveyed > 0 || !peer_roomy(peer)) {
        return; /* looked at again, as long as it is wanted */
    }
    struct image_out *o = calloc(1, sizeof *o);
    ASSERT(o != NULL); /* out of memory */
    o->node     = node;
    o->st       = st;
    o->to       = to;
    o->transfer = io_random(node->io);
    o->index    = stripe_applied(st->stripe);
    o->log_term = raft_term_at(st->raft, o->index);
    o->chain    = entries_chain(&st->entries, o->index);
    o->term     = raft_term(st->raft);
    o->members  = st->applied_members;
    o->sum      = XXH3_createState();
    ASSERT(o->sum != NULL); /* out of memory */
    XXH3_64bits_reset(o->sum);
    o->walk.done = on_read;
    o->walk.ctx  = o;
    list_init(&o->parts);
    positions_init(&o->positions);
    o->saving = stripe_save_begin(st->stripe);
    stripe_save_tells(o->saving, put_position, o);
    st->still++;
    node->image_out     = o;
    node->image_next_ns = 0;
    st->image_index     = o->index;
    raft_snapshot_begin(st->raft, to, o->index);
    (void)frame(o, peer, IMAGE_BEGIN);
    peer_end(peer);
}

/* ---- making it ---- */

static void make_slice(struct image_out *o)
{
    struct image_part *part = calloc(1, sizeof *part);
    ASSERT(part != NULL); /* out of memory */
    part->bytes = wire_writer_growing(SIZE_MAX / 2);
    list_push_back(&o->parts, &part->link);
    bool more = stripe_save_more(o->saving, &part->bytes, stripe_slice_bytes(o->st));
    ASSERT(!part->bytes.bad); /* out of memory */
    XXH3_64bits_update(o->sum, part->bytes.data, part->bytes.size);
    o->image_bytes += part->bytes.size;
    if (!more) {
        log_info("stripe %u: node %u gets an image as of entry %llu: %zu records and %llu bytes", o->st->id, o->to,
                 (unsigned long long)o->index, o->positions.count, (unsigned long long)o->image_bytes);
        made(o);
    }
}

static void sort_slice(struct image_out *o)
{
    o->sorted = !positions_sort(&o->positions, o->node->config->checkpoint_slice_bytes);
    if (o->sorted) {
        pick_init(&o->pick, o->st->id, o->positions.at, o->positions.count);
    }
}

/* A slice of what comes before anything can be sent; false: all that is done. */
static bool prepare(struct image_out *o)
{
    if (o->saving != NULL) {
        make_slice(o);
    } else if (!o->sorted) {
        sort_slice(o);
    }
    return o->saving != NULL || !o->sorted;
}

/* ---- bodies ---- */

/* To the segment of the next live record, as far as it is durable. */
static bool walk_on(struct image_out *o)
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
    walk_begin(&o->walk, segment->file, segments_position(segments, number), (size_t)bytes);
    return true;
}

/* Sends the entries of a block that hold live records. False: some should have been before it, and were not found. */
static bool send_block(struct image_out *o, struct peer *peer, const uint8_t *image, const struct block_header *header)
{
    struct block_cursor cursor;
    struct log_entry    entry;
    block_entries(&cursor, image, header);
    while (pick_next(&o->pick, &cursor, &entry)) {
        struct wire_writer *w = frame(o, peer, IMAGE_BODY);
        wire_put_u64(w, entry.position);
        wire_put_bytes(w, entry.ops);
        peer_end(peer);
    }
    return o->pick.missed == 0;
}

/* One block. 1: go on; 0: it is being read; ERR_NOT_FOUND: records are missing; another error of a read. */
static int step_bodies(struct image_out *o, struct peer *peer)
{
    struct storage     *storage = o->node->storage;
    struct block_header header;
    const uint8_t      *image;
    uint64_t            next = segments_number(&storage->segments, pick_position(&o->pick));
    if (o->number != next) {
        return o->walk.busy ? 0 : walk_on(o) ? 1 : ERR_NOT_FOUND;
    }
    int result = walk_next(&o->walk, &storage->super.id, storage->config.sector_bytes, &header, &image);
    return result != 1 || send_block(o, peer, image, &header) ? result : ERR_NOT_FOUND;
}

/* ---- the image ---- */

static void end(struct image_out *o, struct peer *peer)
{
    struct wire_writer *w = frame(o, peer, IMAGE_END);
    wire_put_u64(w, o->index);
    wire_put_u64(w, o->log_term);
    wire_put_u64(w, o->chain);
    wire_put_u64(w, o->image_bytes);
    wire_put_u64(w, XXH3_64bits_digest(o->sum));
    members_put(w, &o->members);
    peer_end(peer);
    o->ended           = true; /* the next one is sent while this waits for the follower's checkpoint */
    o->check_ns        = io_now_ns(o->node->io) + CHECK_EVERY_NS;
    o->node->image_out = NULL;
    o->node->image_waiting++;
    list_push_back(&o->node->images_waiting, &o->link);
    let_go(o);
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
    struct wire_writer *w    = frame(o, peer, IMAGE_PART);
    wire_put(w, part->bytes.data + o->part_at, size);
    peer_end(peer);
    o->part_at += size;
    if (o->part_at == part->bytes.size) {
        part_free(part);
        o->part_at = 0;
    }
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
    finish(o, false);
    repair_survey(st, from, to);
}

/* A file of its log cannot be read. */
static void unreadable(struct image_out *o, int result)
{
    const struct segments *segments = &o->node->storage->segments;
    struct node_stripe    *st       = o->st;
    uint64_t               from     = segments_position(segments, o->number);
    log_error("stripe %u: its image cannot be sent, the log cannot be read: %s", st->id, err_sentence(result));
    finish(o, false);
    repair_survey(st, from, from + segments->segment_bytes);
}

/* Bodies, then the image, as fast as they may go. How long to wait for the next. */
static uint64_t send(struct image_out *o, struct peer *peer)
{
    struct node *node = o->node;
    uint64_t     wait = pace_wait_ns(node->transfer, io_now_ns(node->io));
    while (wait == 0 && node->image_out == o && peer_roomy(peer)) {
        size_t   begun  = peer->out.size;
        uint64_t from   = pick_position(&o->pick);
        int      result = 1;
        if (from == UINT64_MAX) {
            if (o->walk.busy) { /* what is read ahead is not wanted */
                return 0;
            }
            step_image(o, peer);
        } else {
            result = step_bodies(o, peer);
        }
        wait = pace_take(node->transfer, peer->out.size - begun, io_now_ns(node->io));
        if (result == ERR_NOT_FOUND) {
            records_missing(o, from);
        } else if (result < 0) {
            unreadable(o, result);
        }
        if (result != 1) {
            return 0;
        }
    }
    return wait;
}

/* What became of those that wait for the follower? */
static void ask(struct node *node, uint64_t now_ns)
{
    LIST_EACH (&node->images_waiting, link) {
        struct image_out *o    = CONTAINER_OF(link, struct image_out, link);
        struct peer      *peer = peer_find(node, o->to);
        if (now_ns >= o->check_ns) {
            o->check_ns = now_ns + CHECK_EVERY_NS;
            if (peer_roomy(peer)) {
                (void)frame(o, peer, IMAGE_CHECK);
                peer_end(peer);
            }
        }
        node->image_next_ns = o->check_ns < node->image_next_ns ? o->check_ns : node->image_next_ns;
    }
}

void images_turn(struct node *node)
{
    struct image_out *o      = node->image_out;
    uint64_t          now_ns = io_now_ns(node->io);
    uint64_t          wait   = 0;
    if (o == NULL && list_empty(&node->images_waiting)) {
        node->image_next_ns = UINT64_MAX;
        return;
    }
    node->image_next_ns = UINT64_MAX;
    if (o != NULL && prepare(o)) {
        node->image_next_ns = now_ns;
    } else if (o != NULL) {
        wait = send(o, peer_find(node, o->to));
    }
    if (wait > 0) {
        node->image_next_ns = now_ns + wait;
    }
    ask(node, now_ns);
}

/* ---- its end ---- */

void image_done(struct node_stripe *st, uint16_t from, uint64_t transfer, bool ok)
{
    struct image_out *o = st->node->image_out;
    LIST_EACH (&st->node->images_waiting, link) {
        struct image_out *waiting = CONTAINER_OF(link, struct image_out, link);
        o                         = waiting->transfer == transfer ? waiting : o;
    }
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
    LIST_EACH (&st->node->images_waiting, link) {
        o = CONTAINER_OF(link, struct image_out, link);
        if (o->st == st && (o->to == node || node == 0)) {
            finish(o, false);
        }
    }
}

void images_free(struct node *node)
{
    struct image_out *o = node->image_out;
    if (o != NULL) {
        node->image_out = NULL;
        if (o->saving != NULL) {
            made(o);
        }
        o->walk.busy = false; /* nothing completes any more */
        discard(o);
    }
    while (!list_empty(&node->images_waiting)) {
        discard(CONTAINER_OF(node->images_waiting.next, struct image_out, link));
    }
}
