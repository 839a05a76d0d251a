/* image_send.c - the leader's side: which images go together, and what becomes of each.
 *
 *   images_out      made one after the other ──▶ all sorted ──▶ one walk over the log for all of them ──▶ each its image ──▶ images_waiting
 *     │    ▲        others join until then                                                                    for the follower's checkpoint
 *     ▼    │
 *   images_behind   their followers took nothing for a while and held others up: they go on from where they were with the next walk that begins when
 *                   there is room at their followers'. When others want their memory they are given up: raft begins anew, when there is room. */
#include "segstore/node/image/sending.h"
#include "segstore/node/peers/peers.h"

#include "shared/base/log.h"

#include <stdlib.h>

enum { TO_ONE_MAX = 16, TOGETHER_MAX_BYTES = 128 * 1024 * 1024 };
static const uint64_t CHECK_EVERY_NS = 1000000000;
static const uint64_t GATHER_NS      = 20000000;   /* a node that comes back wants images of all its stripes */
static const uint64_t PATIENCE_NS    = 1000000000; /* longer than a connection takes for what it is given ahead */
static const uint64_t TELL_NS        = 60000000000;
static const uint64_t MISSING_NS     = 10000000000; /* nobody gave back what is missing: an operator should know */

static void discard(struct image_out *o)
{
    list_remove(&o->link);
    sending_let_go(o);
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
        ASSERT_MEMORY(w != NULL);
        w->node      = node;
        w->walk.done = on_read;
        w->walk.ctx  = w;
        list_init(&w->over);
        node->image_walk = w;
    }
    return node->image_walk;
}

void sending_over(struct image_out *o, bool arrived)
{
    if (o->saving != NULL) {
        sending_made(o);
    }
    o->node->counts.images_sent += arrived;
    list_remove(&o->link);
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

void sending_ended(struct image_out *o)
{
    o->ended    = true;
    o->check_ns = io_now_ns(o->node->io) + CHECK_EVERY_NS;
    list_remove(&o->link);
    list_push_back(&o->node->images_waiting, &o->link);
    sending_let_go(o);
    rest(o->node->image_walk);
}

/* ---- who goes together ---- */

static bool takes(const struct image_out *o)
{
    return peer_roomy(peer_find(o->node, o->to));
}

/* Those of a list: how many go to one node. false: it is sent this stripe already. */
static bool count_in(const struct list *list, const struct node_stripe *st, uint16_t to, uint32_t *count)
{
    LIST_EACH (list, link) {
        const struct image_out *o = CONTAINER_OF(link, struct image_out, link);
        if (o->to == to && o->st == st) {
            return false;
        }
        *count += o->to == to;
    }
    return true;
}

static uint64_t bytes_in(const struct list *list)
{
    uint64_t bytes = 0;
    LIST_EACH (list, link) {
        const struct image_out *o = CONTAINER_OF(link, struct image_out, link);
        bytes += o->image_bytes + o->positions.count * sizeof *o->positions.at;
    }
    return bytes;
}

static bool is_made(const struct list *list)
{
    LIST_EACH (list, link) {
        if (CONTAINER_OF(link, struct image_out, link)->saving != NULL) {
            return true;
        }
    }
    return false;
}

/* Is there memory for one more? What is left behind gives its own. */
static bool has_memory(const struct node *node)
{
    uint64_t bytes = bytes_in(&node->images_out);
    LIST_EACH (&node->images_behind, link) {
        struct image_out *o = CONTAINER_OF(link, struct image_out, link);
        if (bytes + bytes_in(&node->images_behind) >= TOGETHER_MAX_BYTES && !takes(o)) {
            log_info("stripe %u: its image to node %u is given up for others: that node takes nothing of it", o->st->id,
                     o->to);
            sending_over(o, false);
        }
    }
    return bytes + bytes_in(&node->images_behind) < TOGETHER_MAX_BYTES;
}

/* Records are lost, or do not come back from anybody, and whether the follower goes on without them is for the operator to say: while their places here are known, a copy of
 * the log can bring them back. */
static void withhold(struct node_stripe *st, uint16_t to)
{
    uint64_t now_ns = io_now_ns(st->node->io);
    uint64_t suppressed;
    st->withheld_ns = now_ns;
    if (log_allowed(&st->withheld_told, now_ns, TELL_NS, &suppressed)) {
        log_error(
            "stripe %u: node %u needs an image of it, and %u records that it would hold are damaged, %u of them on "
            "every node: it is not sent. Restore the log file that is named above on one of the nodes from a copy "
            "and start it again; or start all nodes with segstore.accept_damage=yes, and the image is sent without "
            "what no node has",
            st->id, to, st->missed, st->lost);
    }
}

/* Some may come back. */
static bool is_missing(struct node_stripe *st)
{
    if (st->missed == st->lost) {
        st->missing_ns = 0;
    } else if (st->missing_ns == 0) {
        st->missing_ns = io_now_ns(st->node->io);
    }
    return st->missed > st->lost;
}

void image_send(struct node_stripe *st, uint16_t to)
{
    struct node *node  = st->node;
    struct peer *peer  = peer_find(node, to);
    uint32_t     count = 0;
    if (!count_in(&node->images_out, st, to, &count) || !count_in(&node->images_behind, st, to, &count) ||
        !count_in(&node->images_waiting, st, to, &count) || count >= TO_ONE_MAX || is_made(&node->images_out) ||
        st->still > 0 || st->installing || st->surveyed > 0 || !peer_roomy(peer)) {
        return; /* looked at again, as long as it is wanted */
    }
    if (is_missing(st)) { /* others give it back */
        if (io_now_ns(node->io) > st->missing_ns + MISSING_NS) {
            withhold(st, to);
        }
        return;
    }
    if (st->lost > 0 && !node->config->accept_damage) {
        withhold(st, to);
        return;
    }
    struct image_walk *w = walk_of(node);
    if (w->begun) {
        w->wanted_ns = io_now_ns(node->io);
        return;
    }
    if (!has_memory(node)) {
        return;
    }
    struct image_out *o = calloc(1, sizeof *o);
    ASSERT_MEMORY(o != NULL);
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
    ASSERT_MEMORY(o->sum != NULL);
    XXH3_64bits_reset(o->sum);
    list_init(&o->parts);
    positions_init(&o->positions);
    positions_init(&o->lost);
    sending_make(o);
    list_push_back(&node->images_out, &o->link);
    node->image_next_ns = 0;
    w->joined_ns        = io_now_ns(node->io);
    raft_snapshot_begin(st->raft, to, o->index);
    (void)sending_frame(o, peer, IMAGE_BEGIN);
    peer_end(peer);
}

/* Somebody could go on without it. */
static bool holds_up(const struct image_out *o, uint64_t now_ns)
{
    const struct node *node = o->node;
    LIST_EACH (&node->images_out, link) {
        if (takes(CONTAINER_OF(link, struct image_out, link))) {
            return true;
        }
    }
    LIST_EACH (&node->images_behind, link) {
        if (takes(CONTAINER_OF(link, struct image_out, link))) {
            return true;
        }
    }
    return now_ns < node->image_walk->wanted_ns + PATIENCE_NS;
}

/* All followers take what the next block may hold. One that does not is waited for, but not for long when it holds others up. */
static bool all_take(struct node *node, uint64_t now_ns, uint64_t *out_next_ns)
{
    bool all = true;
    LIST_EACH (&node->images_out, link) {
        struct image_out *o = CONTAINER_OF(link, struct image_out, link);
        if (takes(o)) {
            o->full_ns = 0;
            continue;
        }
        o->full_ns = o->full_ns == 0 ? now_ns : o->full_ns;
        if (now_ns >= o->full_ns + PATIENCE_NS && holds_up(o, now_ns)) {
            log_info("stripe %u: node %u takes nothing of its image: others are sent theirs before it", o->st->id,
                     o->to);
            list_remove(&o->link);
            list_push_back(&node->images_behind, &o->link);
            continue;
        }
        all           = false;
        uint64_t next = now_ns < o->full_ns + PATIENCE_NS ? o->full_ns + PATIENCE_NS : now_ns + PATIENCE_NS;
        *out_next_ns  = next < *out_next_ns ? next : *out_next_ns;
    }
    rest(node->image_walk);
    return all;
}

/* With the next walk; at once, when there is none. */
static void take_along(struct node *node)
{
    struct image_walk *w = node->image_walk;
    LIST_EACH (&node->images_behind, link) {
        struct image_out *o = CONTAINER_OF(link, struct image_out, link);
        if (!w->begun && takes(o)) {
            list_remove(&o->link);
            list_push_back(&node->images_out, &o->link);
            w->joined_ns = io_now_ns(node->io);
        }
    }
}

/* ---- the turn ---- */

/* Bodies, then the images, as fast as they may go. When to go on. */
static uint64_t send(struct node *node)
{
    struct image_walk *w       = node->image_walk;
    uint64_t           now_ns  = io_now_ns(node->io);
    uint64_t           next_ns = UINT64_MAX;
    uint64_t           wait    = pace_wait_ns(node->transfer, now_ns);
    bool               goes    = true;
    while (all_take(node, now_ns, &next_ns) && goes && wait == 0 && !list_empty(&node->images_out)) {
        size_t offset   = w->walk.offset;
        w->sent         = 0;
        goes            = sending_step(node);
        uint64_t walked = w->walk.offset > offset ? w->walk.offset - offset : 0; /* reading counts, too */
        wait            = pace_take(node->transfer, w->sent > walked / 2 ? w->sent : walked / 2, now_ns);
    }
    return !goes || wait == 0 ? next_ns : now_ns + wait;
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
                (void)sending_frame(o, peer, IMAGE_CHECK);
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
        if (sending_prepare(CONTAINER_OF(link, struct image_out, link))) {
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
    if (!list_empty(&node->images_behind)) {
        take_along(node);
    }
    if (!list_empty(&node->images_out)) {
        struct image_walk *w = node->image_walk;
        if (prepare_one(node)) {
            next_ns = now_ns;
        } else if (!w->begun && now_ns < w->joined_ns + GATHER_NS) {
            next_ns = w->joined_ns + GATHER_NS;
        } else {
            w->begun = true;
            next_ns  = send(node);
        }
    }
    if (list_empty(&node->images_out) && !list_empty(&node->images_behind)) {
        take_along(node);
        next_ns = list_empty(&node->images_out) ? UINT64_MAX : now_ns;
    }
    node->image_next_ns = next_ns;
    ask(node, now_ns);
}

/* ---- its end ---- */

void image_done(struct node_stripe *st, uint16_t from, uint64_t transfer, bool ok)
{
    struct image_out *done    = NULL;
    struct list      *lists[] = {&st->node->images_out, &st->node->images_behind, &st->node->images_waiting};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        LIST_EACH (lists[i], link) {
            struct image_out *o = CONTAINER_OF(link, struct image_out, link);
            done                = o->st == st && o->to == from && o->transfer == transfer ? o : done;
        }
    }
    if (done != NULL) {
        sending_over(done, ok && done->ended);
    }
}

void image_peer_reset(struct node_stripe *st, uint16_t node)
{
    struct list *lists[] = {&st->node->images_out, &st->node->images_behind, &st->node->images_waiting};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        LIST_EACH (lists[i], link) {
            struct image_out *o = CONTAINER_OF(link, struct image_out, link);
            if (o->st == st && (o->to == node || node == 0)) {
                sending_over(o, false);
            }
        }
    }
}

static void discard_all(struct list *list)
{
    while (!list_empty(list)) {
        struct image_out *o = CONTAINER_OF(list->next, struct image_out, link);
        if (o->saving != NULL) {
            sending_made(o);
        }
        discard(o);
    }
}

void images_free(struct node *node)
{
    struct image_walk *w = node->image_walk;
    discard_all(&node->images_out);
    discard_all(&node->images_behind);
    discard_all(&node->images_waiting);
    if (w != NULL) {
        w->walk.busy = false; /* nothing completes any more */
        discard_all(&w->over);
        walk_fini(&w->walk);
        free(w);
        node->image_walk = NULL;
    }
}
