/* peers.c - connections from this node to each of the others: what its replicas say goes out here; what the others say comes in over theirs (peer.c).
 *
 *   DOWN ──(back-off)──▶ CONNECTING ──▶ GREETING ──(PEER_WELCOME)──▶ UP          one per pair of nodes, direction and shard
 *     ▲__________________________________________________│ broken, refused, silent
 *
 * Nothing is repeated over a new connection: replicas are told that what was under way is lost. A machine that answers for a process that is not
 * there (connection refused) says for certain that it is gone. */
#include "segstore/node/peers/peers.h"

#include "shared/base/err.h"
#include "shared/base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static const uint64_t BACKOFF_FIRST_NS  = 2000000;
static const uint64_t BACKOFF_LAST_NS   = 400000000;
static const uint64_t ASK_EVERY_NS      = 500000000;
static const uint64_t GONE_AFTER_NS     = 3000000000;
static const uint64_t COMPLAIN_NS       = 10000000000;
static const uint64_t CLOCK_COMPLAIN_NS = 600000000000;
enum {
    OUT_MAX_BYTES   = 4 * 1024 * 1024,
    OUT_LIMIT_BYTES = 64 * 1024 * 1024,
    OUT_KEEP_BYTES  = 1024 * 1024,
    OUT_KEEP_SENDS  = 256
};

struct peer *peer_find(const struct node *node, uint16_t id)
{
    for (uint32_t i = 0; i < node->peer_count; i++) {
        if (node->peers[i].spec->id == id) {
            return &node->peers[i];
        }
    }
    return NULL;
}

void peers_make(struct node *node)
{
    const struct segstore_config *c = node->config;
    node->peers                     = calloc(SEGSTORE_NODES_MAX, sizeof *node->peers);
    ASSERT_MEMORY(node->peers != NULL);
    for (uint32_t i = 0; i < c->node_count; i++) {
        if (c->nodes[i].id == c->node) {
            continue;
        }
        struct peer *p = &node->peers[node->peer_count++];
        p->node        = node;
        p->spec        = &c->nodes[i];
        p->backoff_ns  = BACKOFF_FIRST_NS;
        p->out         = wire_writer_growing(OUT_LIMIT_BYTES);
        p->flying      = wire_writer_growing(OUT_LIMIT_BYTES);
        pulse_out_init(&p->pulse_out, node->stripe_count);
        pulse_in_init(&p->pulse_in, node->stripe_count);
    }
}

void peers_free(struct node *node)
{
    for (uint32_t i = 0; i < node->peer_count; i++) {
        struct peer *p = &node->peers[i];
        if (p->socket != NULL) {
            io_socket_close(p->socket);
        }
        frame_reader_fini(&p->reader);
        wire_writer_fini(&p->out);
        wire_writer_fini(&p->flying);
        pulse_out_fini(&p->pulse_out);
        pulse_in_fini(&p->pulse_in);
    }
    free(node->peers);
    node->peers      = NULL;
    node->peer_count = 0;
}

bool peer_roomy(struct peer *p)
{
    bool room = p->out.size + p->flying.size < OUT_MAX_BYTES;
    p->full   = p->full || !room;
    return p->state == PEER_UP && room;
}

struct wire_writer *peer_begin(struct peer *p, uint16_t kind)
{
    p->begun = frame_begin(&p->out, kind, 0);
    return &p->out;
}

void peer_cancel(struct peer *p)
{
    p->out.size = p->begun;
}

void peer_end(struct peer *p)
{
    int error = frame_end(&p->out, p->begun);
    ASSERT(error == 0);
}

/* ---- up and down ---- */

static void tell_reset(struct peer *p)
{
    for (uint32_t i = 0; i < p->node->stripe_count; i++) {
        struct node_stripe *st = &p->node->stripes[i];
        raft_peer_reset(st->raft, p->spec->id);
        image_peer_reset(st, p->spec->id);
        replica_touch(st);
    }
}

static void tell_dead(struct peer *p)
{
    uint64_t now_ns = io_now_ns(p->node->io);
    for (uint32_t i = 0; i < p->node->stripe_count; i++) {
        raft_peer_dead(p->node->stripes[i].raft, p->spec->id, now_ns);
        replica_touch(&p->node->stripes[i]);
    }
}

static void complain(struct peer *p, const char *what)
{
    uint64_t suppressed;
    if (log_allowed(&p->complaint, io_now_ns(p->node->io), COMPLAIN_NS, &suppressed)) {
        log_warn("node %u at %s:%u, shard %u: %s; trying again", p->spec->id, p->spec->address, p->spec->port,
                 p->node->shard, what);
    }
}

static void go_down(struct peer *p)
{
    bool was_up    = p->state == PEER_UP;
    p->state       = PEER_DOWN;
    p->socket      = NULL;
    p->sending     = false;
    p->out.size    = 0;
    p->out.bad     = false;
    p->flying.size = 0; /* of the connection that was */
    p->retry_ns    = io_now_ns(p->node->io) + p->backoff_ns / 2 + io_random(p->node->io) % (p->backoff_ns / 2 + 1);
    p->backoff_ns  = p->backoff_ns * 2 < BACKOFF_LAST_NS ? p->backoff_ns * 2 : BACKOFF_LAST_NS;
    frame_reader_fini(&p->reader);
    if (was_up) {
        p->changed_ns = io_now_ns(p->node->io);
        tell_reset(p);
    }
}

static void give_up(struct peer *p, const char *why)
{
    complain(p, why);
    io_socket_close(p->socket);
    go_down(p);
}

static void on_connected(void *ctx, int result)
{
    struct peer                  *p = ctx;
    const struct segstore_config *c = p->node->config;
    if (result < 0) {
        if (result == -ECONNREFUSED) {
            tell_dead(p);
        }
        complain(p, err_sentence(result));
        go_down(p);
        return;
    }
    p->state              = PEER_GREETING;
    p->heard_ns           = io_now_ns(p->node->io);
    p->asked_ns           = p->heard_ns;
    struct wire_writer *w = peer_begin(p, RPC_PEER_HELLO);
    wire_put_u32(w, RPC_MAGIC);
    wire_put_u16(w, RPC_VERSION_MAJOR);
    wire_put_u16(w, RPC_VERSION_MINOR);
    wire_put_u64(w, p->node->storage->super.cluster);
    wire_put_u16(w, c->node);
    wire_put_u16(w, p->spec->id);
    wire_put_u32(w, p->node->shard);
    wire_put_u32(w, c->shards);
    wire_put_u32(w, c->stripes);
    wire_put_u64(w, node_incarnation(p->node));
    peer_end(p);
}

/* ---- clocks ---- */

uint64_t node_wall_ns(const struct node *node)
{
    return io_wall_ns(node->io) + (uint64_t)node->clock_correction_ns;
}

/* Another node says what time it is, asked at this moment. */
static void clock_told(struct peer *p, uint64_t asked_ns, uint64_t wall_ns)
{
    struct node *node   = p->node;
    uint64_t     now_ns = io_now_ns(node->io);
    int64_t      ahead[SEGSTORE_NODES_MAX];
    size_t       count = 0;
    uint64_t     suppressed;
    if (now_ns - asked_ns > CLOCK_ANSWER_NS) {
        return;
    }
    p->clock_known    = true;
    p->clock_ahead_ns = (int64_t)(wall_ns - io_wall_ns(node->io));
    for (uint32_t i = 0; i < node->peer_count; i++) {
        if (node->peers[i].clock_known) {
            ahead[count++] = node->peers[i].clock_ahead_ns;
        }
    }
    node->clock_correction_ns = clock_correction(ahead, count);
    bool sure =
        count >= 2 || count == node->peer_count; /* behind a start the first to answer may be the one that is wrong */
    if (UNLIKELY(node->clock_correction_ns != 0) && sure &&
        log_allowed(&node->clock_limit, now_ns, CLOCK_COMPLAIN_NS, &suppressed)) {
        log_warn(
            "the clock of this machine is %lld s %s those of the other nodes: what it leads is timed by theirs; set "
            "it right",
            (long long)llabs(node->clock_correction_ns / 1000000000),
            node->clock_correction_ns < 0 ? "ahead of" : "behind");
    }
    node->due_dirty = true;
}

static void on_frame(struct peer *p, const struct frame *frame)
{
    struct wire_reader r = wire_reader_of(frame->body);
    if (p->state == PEER_GREETING && frame->kind == RPC_PEER_WELCOME) {
        (void)wire_get_u64(&r);
        uint64_t incarnation = wire_get_u64(&r);
        if (r.bad || !peer_known(p->node, p->spec->id, incarnation)) {
            complain(p, "its data directory is not the one that it had: a node whose disk was lost comes back under a "
                        "new number");
            p->backoff_ns = BACKOFF_LAST_NS;
            p->broken     = true;
            return;
        }
        if (wire_left(&r) >= sizeof(uint64_t)) {
            clock_told(p, p->asked_ns, wire_get_u64(&r));
        }
        p->state      = PEER_UP;
        p->backoff_ns = BACKOFF_FIRST_NS;
        p->changed_ns = io_now_ns(p->node->io);
        p->plan_told  = 0;
        pulse_out_begin(&p->pulse_out, io_random(p->node->io) | 1);
        log_info("node %u at %s:%u, shard %u: connected", p->spec->id, p->spec->address, p->spec->port, p->node->shard);
        tell_reset(p);
    } else if (frame->kind == RPC_ERROR) {
        int          status = (int)wire_get_u32(&r);
        struct bytes text   = wire_get_blob(&r);
        char         why[300];
        snprintf(why, sizeof why, "it refuses this node (%s): %.*s", err_name(status), (int)text.size,
                 (const char *)text.data);
        complain(p, why);
        p->backoff_ns = BACKOFF_LAST_NS;
        p->broken     = true;
    } else if (frame->kind == RPC_PING) {
        (void)peer_begin(p, RPC_PONG);
        peer_end(p);
    } else if (frame->kind == RPC_PONG) {
        uint64_t asked_ns = wire_get_u64(&r);
        uint64_t wall_ns  = wire_get_u64(&r);
        if (!r.bad) {
            clock_told(p, asked_ns, wall_ns);
        }
    }
}

static void on_received(void *ctx, struct bytes data)
{
    struct peer *p = ctx;
    struct frame frame;
    int          got = 0;
    p->heard_ns      = io_now_ns(p->node->io);
    p->broken        = false;
    frame_reader_feed(&p->reader, data);
    while (!p->broken && (got = frame_reader_next(&p->reader, &frame)) == 1) {
        on_frame(p, &frame);
    }
    if (p->broken || got < 0) {
        give_up(p, got < 0 ? "it sent a damaged frame" : "the connection is given up");
    }
}

static void on_sent(void *ctx, int result)
{
    struct peer *p = ctx;
    if (result < 0) {
        return; /* closed() follows */
    }
    p->sending     = false;
    p->small_sends = p->flying.size > OUT_KEEP_BYTES ? 0 : p->small_sends + 1;
    if (p->flying.capacity > OUT_KEEP_BYTES && p->small_sends >= OUT_KEEP_SENDS) { /* the large ones are over */
        wire_writer_fini(&p->flying);
        p->flying = wire_writer_growing(OUT_LIMIT_BYTES);
    }
    p->flying.size = 0;
    for (uint32_t i = 0; p->full && i < p->node->stripe_count; i++) { /* what waited for room */
        if (raft_role(p->node->stripes[i].raft) == RAFT_LEADER) {
            replica_touch(&p->node->stripes[i]);
        }
    }
    p->full = false;
}

static void on_closed(void *ctx, int reason)
{
    struct peer *p = ctx;
    complain(p, reason == 0 ? "it closed the connection" : err_sentence(reason));
    go_down(p);
}

static const struct io_handler handler = {
    .connected = on_connected, .received = on_received, .sent = on_sent, .closed = on_closed};

/* ---- the turn ---- */

void peers_turn(struct node *node)
{
    uint64_t now_ns = io_now_ns(node->io);
    for (uint32_t i = 0; i < node->peer_count; i++) {
        struct peer *p = &node->peers[i];
        if (p->state == PEER_DOWN && now_ns >= p->retry_ns && !node->stopping) {
            p->state  = PEER_CONNECTING;
            p->socket = io_connect(node->io, p->spec->address, p->spec->port, &handler, p);
        } else if (p->state == PEER_UP || p->state == PEER_GREETING) {
            bool late =
                now_ns >
                p->asked_ns + 2 * ASK_EVERY_NS; /* this thread did not run: what was said meanwhile is not read yet */
            if (now_ns >= p->asked_ns + ASK_EVERY_NS) {
                p->asked_ns = now_ns;
                p->heard_ns = late ? now_ns : p->heard_ns;
                if (now_ns - p->heard_ns >= GONE_AFTER_NS) {
                    give_up(p, "no sign of life for 3 s");
                    continue;
                }
                if (p->state == PEER_UP && p->out.size < OUT_MAX_BYTES) {
                    wire_put_u64(peer_begin(p, RPC_PING), now_ns);
                    peer_end(p);
                }
            }
        }
    }
}

void peers_flush(struct node *node)
{
    pulses_flush(node);
    for (uint32_t i = 0; i < node->peer_count; i++) {
        struct peer *p = &node->peers[i];
        if (p->sending || p->out.size == 0 || (p->state != PEER_UP && p->state != PEER_GREETING)) {
            continue;
        }
        struct wire_writer empty = p->flying;
        p->flying                = p->out;
        p->out                   = empty;
        p->sending               = true;
        struct iovec iov         = {p->flying.data, p->flying.size};
        io_socket_send(p->socket, &iov, 1);
    }
}

uint64_t peers_next_ns(const struct node *node)
{
    uint64_t next = UINT64_MAX;
    for (uint32_t i = 0; i < node->peer_count; i++) {
        const struct peer *p  = &node->peers[i];
        uint64_t           at = p->state == PEER_DOWN         ? p->retry_ns
                                : p->state == PEER_CONNECTING ? UINT64_MAX
                                                              : p->asked_ns + ASK_EVERY_NS;
        next                  = at < next ? at : next;
    }
    return next;
}
