/* image_send.c - the leader's side: a walk over the segments that hold live records, then the image.
 *
 *   images_out   made one after the other ──▶ all sorted ──▶ one walk over the log for all of them ──▶ each its image ──▶ images_waiting
 *                others join until then */
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

enum { PART_BYTES = 256 * 1024, WAITING_MAX = 16, TOGETHER_MAX_BYTES = 128 * 1024 * 1024 };
static const uint64_t CHECK_EVERY_NS = 1000000000;
static const uint64_t GATHER_NS      = 20000000; /* a node that comes back wants images of all its stripes */

/* A slice of the image that waits to be sent. */
struct image_part {
    struct list        link;
    struct wire_writer bytes;
};

struct image_out {
    struct list           link; /* node->images_out; when all is sent images_waiting; image_walk->over */
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
    struct pick           pick;     /* of them, what is sent */
    uint64_t              check_ns; /* when the follower is asked next what became of it */
    bool                  ended;    /* all is sent */
};

/* Of all images that are sent. */
struct image_walk {
    struct node *node;
    struct walk  walk;
    uint64_t     number;    /* of the segment that is walked through; 0: none */
    uint64_t     joined_ns; /* when the last image came */
    uint64_t     sent;      /* bytes, since it was asked */
    bool         begun;     /* no other image joins */
    struct list  over;      /* images that came to an end during a read: their files stay until it ends */
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

/* Not during a read: no file that is being read may go. */
static void let_go(struct image_out *o)
{
    hold_release(&o->hold, &o->node->storage->segments);
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

/* No image is sent any more: the next ones begin a walk of their own. */
static void rest(struct image_walk *w)
{
    if (list_empty(&w->node->images_out)) {
        w->begun  = false;
        w->number = 0;
        if (!w->walk.busy) {
            walk_fini(&w->walk);
        }
    }
}

static void on_read(void *ctx)
{
    struct image_walk *w = ctx;
    while (!list_empty(&w->over)) {
        discard(CONTAINER_OF(w->over.next, struct image_out, link));
    }
    rest(w);
}

static struct image_walk *walk_of(struct node *node)
{
    if (node->image_walk == NULL) {
        struct image_walk *w = calloc(1, sizeof *w);
        ASSERT(w != NULL); /* out of memory */
        w->node      = node;
        w->walk.done = on_read;
        w->walk.ctx  = w;
        list_init(&w->over);
        node->image_walk = w;
    }
    return node->image_walk;
}

/* The stripe goes on. */
static void made(struct image_out *o)
{
    stripe_save_end(o->saving);
    o->saving = NULL;
    o->st->still--;
    for (uint32_t i = 0; i < o->node->stripe_count; i++) { /* another one may be made */
        replica_touch(&o->node->stripes[i]);
    }
}

/* Over, well or not. */
static void finish(struct image_out *o, bool arrived)
{
    if (o->saving != NULL) {
        made(o);
    }
    o->node->counts.images_sent += arrived;
    list_remove(&o->link);
    o->node->image_waiting -= o->ended;
    if (raft_role(o->st->raft) == RAFT_LEADER && raft_term(o->st->raft) == o->term) {
        raft_snapshot_end(o->st->raft, o->to, arrived);
    }
    replica_touch(o->st);
    struct image_walk *w = o->node->image_walk;
    if (w->walk.busy) {
        list_push_back(&w->over, &o->link);
    } else {
        discard(o);
    }
    rest(w);
}

static struct wire_writer *frame(const struct image_out *o, struct peer *peer, enum image_kind kind)
{
    return image_frame(o->st, peer, kind, o->term, o->transfer);
}

static bool is_in(const struct list *list, const struct node_stripe *st)
{
    LIST_EACH (list, link) {
        if (CONTAINER_OF(link, struct image_out, link)->st == st) {
            return true;
        }
    }
    return false;
}

/* Is there room for one more, and none being made? */
static bool may_join(const struct node *node)
{
    uint32_t count = node->image_waiting;
    uint64_t bytes = 0;
    LIST_EACH (&node->images_out, link) {
        const struct image_out *o = CONTAINER_OF(link, struct image_out, link);
        if (o->saving != NULL) {
            return false;
        }
        bytes += o->image_bytes + o->positions.count * sizeof *o->positions.at;
        count++;
    }
    return count < WAITING_MAX && bytes < TOGETHER_MAX_BYTES && (node->image_walk == NULL || !node->image_walk->begun);
}

void image_send(struct node_stripe *st, uint16_t to)
{
    struct node *node = st->node;
    struct peer *peer = peer_find(node, to);
    if (!may_join(node) || is_in(&node->images_out, st) || is_in(&node->images_waiting, st) || st->still > 0 ||
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
    list_init(&o->parts);
    positions_init(&o->positions);
    o->saving = stripe_save_begin(st->stripe);
    stripe_save_tells(o->saving, put_position, o);
    st->still++;
    list_push_back(&node->images_out, &o->link);
    node->image_next_ns      = 0;
    walk_of(node)->joined_ns = io_now_ns(node->io);
    st->image_index          = o->index;
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
        o->node->image_walk->sent += entry.ops.size;
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
    finish(o, false);
    repair_survey(st, from, to);
}

/* A file of its log cannot be read. */
static void unreadable(struct image_out *o, int result)
{
    const struct segments *segments = &o->node->storage->segments;
    struct node_stripe    *st       = o->st;
    uint64_t               from     = segments_position(segments, segment_next(o));
    log_error("stripe %u: its image cannot be sent, the log cannot be read: %s", st->id, err_sentence(result));
    finish(o, false);
    repair_survey(st, from, from + segments->segment_bytes);
}

/* What they want of the segment is not to be had. */
static void segment_failed(struct image_walk *w, int result)
{
    LIST_EACH (&w->node->images_out, link) {
        struct image_out *o = CONTAINER_OF(link, struct image_out, link);
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
    struct wire_writer *w = frame(o, peer, IMAGE_END);
    wire_put_u64(w, o->index);
    wire_put_u64(w, o->log_term);
    wire_put_u64(w, o->chain);
    wire_put_u64(w, o->image_bytes);
    wire_put_u64(w, XXH3_64bits_digest(o->sum));
    members_put(w, &o->members);
    peer_end(peer);
    o->ended    = true; /* others are sent while this waits for the follower's checkpoint */
    o->check_ns = io_now_ns(o->node->io) + CHECK_EVERY_NS;
    o->node->image_waiting++;
    list_remove(&o->link);
    list_push_back(&o->node->images_waiting, &o->link);
    let_go(o);
    rest(o->node->image_walk);
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

/* The followers take what the next block may hold. */
static bool roomy(const struct node *node)
{
    LIST_EACH (&node->images_out, link) {
        if (!peer_roomy(peer_find(node, CONTAINER_OF(link, struct image_out, link)->to))) {
            return false;
        }
    }
    return true;
}

/* Bodies, then the images, as fast as they may go. How long to wait for the next. */
static uint64_t send(struct node *node)
{
    struct image_walk *w    = node->image_walk;
    uint64_t           wait = pace_wait_ns(node->transfer, io_now_ns(node->io));
    while (wait == 0 && !list_empty(&node->images_out) && roomy(node)) {
        size_t            offset = w->walk.offset;
        bool              goes   = true;
        struct image_out *o      = image_next(node);
        w->sent                  = 0;
        if (o != NULL) {
            step_image(o, peer_find(node, o->to));
        } else {
            goes = step_bodies(w);
        }
        uint64_t walked = w->walk.offset > offset ? w->walk.offset - offset : 0; /* reading counts, too */
        wait            = pace_take(node->transfer, w->sent > walked / 2 ? w->sent : walked / 2, io_now_ns(node->io));
        if (!goes) {
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

/* A slice of what comes before anything can be sent; false: all of them are ready. */
static bool prepare_one(struct node *node)
{
    LIST_EACH (&node->images_out, link) {
        if (prepare(CONTAINER_OF(link, struct image_out, link))) {
            return true;
        }
    }
    return false;
}

void images_turn(struct node *node)
{
    uint64_t now_ns     = io_now_ns(node->io);
    uint64_t next_ns    = UINT64_MAX;
    node->image_next_ns = UINT64_MAX;
    if (!list_empty(&node->images_out)) {
        struct image_walk *w = node->image_walk;
        if (prepare_one(node)) {
            next_ns = now_ns;
        } else if (!w->begun && now_ns < w->joined_ns + GATHER_NS) {
            next_ns = w->joined_ns + GATHER_NS;
        } else {
            w->begun      = true;
            uint64_t wait = send(node);
            next_ns       = wait > 0 ? now_ns + wait : UINT64_MAX;
        }
    }
    node->image_next_ns = next_ns;
    ask(node, now_ns);
}

/* ---- its end ---- */

void image_done(struct node_stripe *st, uint16_t from, uint64_t transfer, bool ok)
{
    struct image_out *done    = NULL;
    struct list      *lists[] = {&st->node->images_out, &st->node->images_waiting};
    for (int i = 0; i < 2; i++) {
        LIST_EACH (lists[i], link) {
            struct image_out *o = CONTAINER_OF(link, struct image_out, link);
            done                = o->st == st && o->to == from && o->transfer == transfer ? o : done;
        }
    }
    if (done != NULL) {
        finish(done, ok && done->ended);
    }
}

void image_peer_reset(struct node_stripe *st, uint16_t node)
{
    struct list *lists[] = {&st->node->images_out, &st->node->images_waiting};
    for (int i = 0; i < 2; i++) {
        LIST_EACH (lists[i], link) {
            struct image_out *o = CONTAINER_OF(link, struct image_out, link);
            if (o->st == st && (o->to == node || node == 0)) {
                finish(o, false);
            }
        }
    }
}

static void discard_all(struct list *list)
{
    while (!list_empty(list)) {
        struct image_out *o = CONTAINER_OF(list->next, struct image_out, link);
        if (o->saving != NULL) {
            made(o);
        }
        discard(o);
    }
}

void images_free(struct node *node)
{
    struct image_walk *w = node->image_walk;
    discard_all(&node->images_out);
    discard_all(&node->images_waiting);
    if (w != NULL) {
        w->walk.busy = false; /* nothing completes any more */
        discard_all(&w->over);
        walk_fini(&w->walk);
        free(w);
        node->image_walk = NULL;
    }
}
