/* session.c - one connection of a broker shard: frames in, frames out.
 *
 *   WAIT_HELLO -> OPEN -> CLOSED        WAIT_HELLO -> REFUSED (the answer says why) -> CLOSED
 *   WAIT_HELLO -> ASKED (does it live? owner.c) -> OPEN, REFUSED, CLOSED
 *   WAIT_HELLO -> MOVING (the HELLO names another shard) -> CLOSED here, WAIT_HELLO there */
#include "segstore/node/state.h"

#include "shared/base/err.h"
#include "shared/rpc/frame.h"
#include "shared/rpc/next.h"
#include "shared/base/sm.h"
#include "shared/loop/mailbox.h"

#include <stdio.h>
#include <stdlib.h>

enum { OUT_LIMIT_BYTES = 64 * 1024 * 1024, OUT_KEEP_BYTES = 1024 * 1024 };
enum { FRAME_SUMMED_BYTES = 16 }; /* of the header, before the checksum */

static const struct sm_state session_states[] = {
    [SESSION_WAIT_HELLO] = {"wait_hello", SM(SESSION_ASKED) | SM(SESSION_OPEN) | SM(SESSION_MOVING) |
                                              SM(SESSION_REFUSED) | SM(SESSION_CLOSED)},
    [SESSION_ASKED]      = {"asked", SM(SESSION_ASKED) | SM(SESSION_OPEN) | SM(SESSION_REFUSED) | SM(SESSION_CLOSED)},
    [SESSION_OPEN]       = {"open", SM(SESSION_CLOSED)},
    [SESSION_MOVING]     = {"moving", SM(SESSION_CLOSED)},
    [SESSION_REFUSED]    = {"refused", SM(SESSION_CLOSED)},
    [SESSION_CLOSED]     = {"closed", 0},
};

/* ---- frames out ---- */

void session_close_records(struct session *s)
{
    struct follower *f = s->open_follower;
    if (f == NULL) {
        return;
    }
    s->open_follower = NULL;
    follow_close_frame(f, s->open_begun, s->open_count);
    session_end(s, s->open_begun);
}

size_t session_begin(struct session *s, uint16_t kind, uint64_t id)
{
    session_close_records(s);
    return frame_begin(&s->out, kind, id);
}

/* Unlike frame_end it leaves the writer bad: session_flush closes the connection then. */
void session_end(struct session *s, size_t begun)
{
    if (!s->dirty && s->state != SESSION_CLOSED) {
        s->dirty = true;
        list_push_back(&s->node->dirty, &s->dirty_link);
    }
    NEXT_FIELDS(&s->out, begun);
    if (s->out.bad) {
        return;
    }
    uint8_t *header = s->out.data + begun;
    uint32_t size   = (uint32_t)(s->out.size - begun - RPC_HEADER_BYTES);
    memcpy(header, &size, sizeof size);
    uint64_t checksum = frame_checksum(header, bytes_of(header + RPC_HEADER_BYTES, size));
    memcpy(header + FRAME_SUMMED_BYTES, &checksum, sizeof checksum);
}

void session_error(struct session *s, uint64_t id, int status, const char *text)
{
    size_t begun = session_begin(s, RPC_ERROR, id);
    wire_put_u32(&s->out, (uint32_t)status);
    wire_put_blob(&s->out, bytes_str(text));
    session_end(s, begun);
}

bool session_roomy(const struct session *s)
{
    return s->state == SESSION_OPEN && s->out.size + s->flying.size < s->node->config->output_bytes;
}

void session_answered(struct session *s, uint32_t request_bytes)
{
    ASSERT(s->unanswered_bytes >= request_bytes);
    s->unanswered_bytes -= request_bytes;
}

static void shrink(struct wire_writer *w)
{
    if (w->capacity > OUT_KEEP_BYTES) {
        size_t limit = w->limit;
        wire_writer_fini(w);
        *w = wire_writer_growing(limit);
    }
    w->size = 0;
}

void session_flush(struct session *s)
{
    session_close_records(s);
    if (s->state == SESSION_CLOSED || s->sending || s->out.size == 0) {
        return;
    }
    if (s->out.bad) {
        log_error("a broker does not read what it asked for: its connection is closed");
        session_close(s);
        return;
    }
    if (s->state == SESSION_OPEN) {
        NEXT_FRAME(&s->out);
    }
    struct wire_writer empty = s->flying;
    s->flying                = s->out;
    s->out                   = empty;
    s->sending               = true;
    struct iovec iov         = {s->flying.data, s->flying.size};
    io_socket_send(s->socket, &iov, 1);
}

static void on_sent(void *ctx, int result)
{
    struct session *s = ctx;
    s->sending        = false;
    shrink(&s->flying);
    if (result < 0) {
        return; /* closed() follows */
    }
    if (s->state == SESSION_REFUSED) {
        session_close(s);
        return;
    }
    for (struct list *link; (link = list_pop_front(&s->output_waiters)) != NULL;) {
        list_push_back(&s->node->ready, link);
    }
    if (s->out.size > 0 && !s->dirty) {
        s->dirty = true;
        list_push_back(&s->node->dirty, &s->dirty_link);
    }
}

/* ---- frames in ---- */

static const struct io_handler handler;

static void moved(void *ctx, int64_t handle)
{
    struct session *s     = ctx;
    struct node    *node  = s->node;
    struct moved   *bytes = malloc(sizeof *bytes + s->hello.size);
    ASSERT_MEMORY(bytes != NULL);
    bytes->size = s->hello.size;
    memcpy(bytes->bytes, s->hello.data, s->hello.size);
    struct mail mail = {.kind = NODE_MAIL_SOCKET, .value = (uint64_t)handle, .body = bytes};
    bool        sent = mailbox_push(node->outbox[s->wanted_shard], &mail);
    ASSERT(sent); /* as many slots as connections */
    mailbox_ring(node->outbox[s->wanted_shard]);
    s->socket = NULL;
    session_close(s);
}

static void welcome(struct session *s, uint64_t id)
{
    const struct segstore_config *c = s->node->config;
    sm_step(session_states, &s->state, SESSION_OPEN);
    relay_add(s);
    size_t begun = session_begin(s, RPC_WELCOME, id);
    wire_put_u16(&s->out, RPC_VERSION_MAJOR);
    wire_put_u16(&s->out, RPC_VERSION_MINOR);
    wire_put_u64(&s->out, s->node->storage->super.cluster);
    wire_put_u32(&s->out, s->node->shard);
    wire_put_u32(&s->out, c->shards);
    wire_put_u32(&s->out, c->stripes);
    wire_put_u32(&s->out, c->credit_bytes);
    wire_put_u32(&s->out, c->record_max_bytes);
    wire_put_u16(&s->out, c->node);
    wire_put_u16(&s->out, (uint16_t)c->node_count);
    for (uint32_t i = 0; i < c->node_count; i++) {
        wire_put_u16(&s->out, c->nodes[i].id);
        wire_put_u16(&s->out, c->nodes[i].port);
        wire_put_blob(&s->out, bytes_str(c->nodes[i].address));
    }
    wire_put_u16(&s->out, (uint16_t)s->node->stripe_count);
    for (uint32_t i = 0; i < s->node->stripe_count; i++) {
        leader_put(&s->out, &s->node->stripes[i]);
    }
    session_end(s, begun);
}

/* Answers with an error; on_sent closes. */
static void refuse(struct session *s, uint64_t id, int status, const char *text)
{
    session_error(s, id, status, text);
    sm_step(session_states, &s->state, SESSION_REFUSED);
}

static void move(struct session *s, struct bytes frame_and_rest)
{
    sm_step(session_states, &s->state, SESSION_MOVING);
    wire_put_bytes(&s->hello, frame_and_rest);
    io_socket_move(s->socket, moved, s);
}

/* Another node has one connection at a time. What is left of an older one was said before it broke: behind what comes over the new one it would be taken
 * for new. */
static void close_older(const struct session *s)
{
    LIST_EACH (&s->node->sessions, link) {
        struct session *each = CONTAINER_OF(link, struct session, link);
        if (each != s && each->peer == s->peer && each->state == SESSION_OPEN) {
            session_close(each);
        }
    }
}

/* The first frame of another node. */
static void hello_of_peer(struct session *s, uint64_t id, struct bytes body, struct bytes frame_and_rest)
{
    struct wire_reader r      = wire_reader_of(body);
    const char        *why    = "there is no such shard";
    int                result = peer_hello(s, &r, &why);
    char               text[128];
    if (result == ERR_VERSION) {
        struct wire_reader again = wire_reader_of(body);
        (void)wire_get_u32(&again);
        snprintf(
            text, sizeof text,
            "this node speaks version %u of the RPC, yours version %u: nodes of a cluster need the same major version",
            (unsigned)RPC_VERSION_MAJOR, wire_get_u16(&again));
        why = text;
    }
    if (result == 0 && s->wanted_shard >= s->node->config->shards) {
        result = ERR_NOT_FOUND;
    }
    if (result < 0) {
        char peer[64];
        log_warn("another node at %s is turned away: %s", io_socket_peer(s->socket, peer, sizeof peer), why);
        s->peer = 0;
        refuse(s, id, result, why);
    } else if (s->wanted_shard != s->node->shard) {
        move(s, frame_and_rest);
    } else {
        close_older(s);
        sm_step(session_states, &s->state, SESSION_OPEN);
        peer_welcome(s, id);
    }
}

static void let_in(struct session *s)
{
    if (owner_replaced(s->node, s->instance)) {
        refuse(s, s->hello_id, ERR_FENCED,
               "a later process of this broker, with the same name or address, has taken its place");
    } else if (owner_contested(s->node, s->instance, s->place, s->asked)) {
        sm_step(session_states, &s->state, SESSION_ASKED);
        s->asked = ++s->node->greetings;
        session_end(s, session_begin(s, RPC_PING, s->asked));
    } else {
        owner_hello(s->node, s->instance, s->owner, s->place);
        welcome(s, s->hello_id);
    }
}

static void hello(struct session *s, uint16_t kind, uint64_t id, struct bytes body, struct bytes frame_and_rest)
{
    if (kind == RPC_PEER_HELLO) {
        hello_of_peer(s, id, body, frame_and_rest);
        return;
    }
    struct wire_reader r     = wire_reader_of(body);
    uint32_t           magic = wire_get_u32(&r);
    uint16_t           major = wire_get_u16(&r);
    (void)wire_get_u16(&r);
    s->instance     = wire_get_u64(&r);
    s->owner        = wire_get_u64(&r);
    s->wanted_shard = wire_get_u32(&r);
    s->place        = wire_left(&r) >= sizeof s->place ? wire_get_u64(&r) : 0;
    if (r.bad || kind != RPC_HELLO || magic != RPC_MAGIC) {
        refuse(s, id, ERR_MALFORMED, "the first frame must be HELLO");
        return;
    }
    if (major != RPC_VERSION_MAJOR) {
        char text[96];
        snprintf(text, sizeof text, "this store speaks version %u of the RPC, the broker version %u",
                 (unsigned)RPC_VERSION_MAJOR, major);
        refuse(s, id, ERR_VERSION, text);
        return;
    }
    if (s->wanted_shard >= s->node->config->shards) {
        refuse(s, id, ERR_NOT_FOUND, "there is no such shard");
        return;
    }
    if (s->wanted_shard != s->node->shard) {
        move(s, frame_and_rest);
        return;
    }
    s->hello_id = id;
    let_in(s);
}

static bool frame_matches(struct bytes data, uint32_t size, uint64_t checksum)
{
    return frame_checksum(data.data, bytes_of(data.data + RPC_HEADER_BYTES, size)) == checksum;
}

static void broken(struct session *s, const char *what)
{
    char     peer[64];
    uint64_t suppressed;
    if (log_allowed(&s->node->refused_limit, io_now_ns(s->node->io), 1000000000, &suppressed)) {
        log_warn("%s from %s: its connection is closed", what, io_socket_peer(s->socket, peer, sizeof peer));
    }
    session_close(s);
}

/* From one that was asked. */
static void asked_frame(struct session *s, uint16_t kind, uint64_t id)
{
    if (kind == RPC_PING) {
        session_end(s, session_begin(s, RPC_PONG, id));
    } else if (kind != RPC_PONG) {
        broken(s, "a request before the answer to HELLO");
    } else if (id == s->asked) {
        let_in(s);
    }
}

/* Takes whole frames from data; returns how many bytes were taken. Stops where a request has to wait. */
static size_t frames(struct session *s, struct bytes data)
{
    size_t taken = 0;
    while (s->state <= SESSION_OPEN && data.size - taken >= RPC_HEADER_BYTES) {
        struct bytes       rest = bytes_of(data.data + taken, data.size - taken);
        struct wire_reader r    = wire_reader_of(rest);
        uint32_t           size = wire_get_u32(&r);
        uint16_t           kind = wire_get_u16(&r);
        (void)wire_get_u16(&r);
        uint64_t id       = wire_get_u64(&r);
        uint64_t checksum = wire_get_u64(&r);
        if (size > RPC_BODY_MAX_BYTES) {
            broken(s, "a frame larger than the limit");
            break;
        }
        if (wire_left(&r) < size) {
            break;
        }
        if (!frame_matches(rest, size, checksum)) {
            broken(s, "a frame whose checksum does not match");
            break;
        }
        struct bytes body = wire_get(&r, size);
        if (s->state == SESSION_WAIT_HELLO) {
            hello(s, kind, id, body, rest);
            if (s->state == SESSION_MOVING) {
                return data.size;
            }
        } else if (UNLIKELY(s->state == SESSION_ASKED)) {
            asked_frame(s, kind, id);
        } else {
            if (s->unanswered_bytes > (uint64_t)s->node->config->credit_bytes + RPC_BODY_MAX_BYTES) {
                broken(s, "more requests than were granted");
                break;
            }
            s->node->counts.requests++;
            int result = s->peer != 0 ? peer_frame(s, kind, id, body) : request_handle(s, kind, id, body);
            if (result == ERR_FULL) {
                list_push_back(&s->node->stalled, &s->stalled_link);
                io_socket_receiving(s->socket, false);
                break;
            }
        }
        taken += RPC_HEADER_BYTES + size;
    }
    return taken;
}

static void on_received(void *ctx, struct bytes data)
{
    struct session *s = ctx;
    s->heard_ns       = io_now_ns(s->node->io);
    if (s->node->stopping || s->state == SESSION_REFUSED) {
        return;
    }
    if (s->state == SESSION_MOVING) {
        wire_put_bytes(&s->hello, data);
        return;
    }
    if (s->in.size == 0) {
        size_t taken = frames(s, data);
        data         = bytes_of(data.data + taken, data.size - taken);
        if (data.size > 0 && s->state != SESSION_CLOSED) {
            wire_put_bytes(&s->in, data);
        }
        return;
    }
    wire_put_bytes(&s->in, data);
    if (s->in.bad) {
        broken(s, "more than fits");
        return;
    }
    if (!list_linked(&s->stalled_link)) {
        size_t taken = frames(s, wire_written(&s->in));
        if (s->state != SESSION_CLOSED) {
            memmove(s->in.data, s->in.data + taken, s->in.size - taken);
            s->in.size -= taken;
        }
    }
}

void sessions_resume(struct node *node)
{
    struct list again;
    if (list_empty(&node->stalled)) {
        return;
    }
    list_init(&again);
    for (struct list *link; (link = list_pop_front(&node->stalled)) != NULL;) {
        list_push_back(&again, link);
    }
    for (struct list *link; (link = list_pop_front(&again)) != NULL;) {
        struct session *s     = CONTAINER_OF(link, struct session, stalled_link);
        size_t          taken = frames(s, wire_written(&s->in));
        if (s->state == SESSION_CLOSED) {
            continue;
        }
        memmove(s->in.data, s->in.data + taken, s->in.size - taken);
        s->in.size -= taken;
        if (!list_linked(&s->stalled_link)) {
            io_socket_receiving(s->socket, true);
        }
    }
}

/* ---- life ---- */

static void on_closed(void *ctx, int reason)
{
    struct session *s = ctx;
    (void)reason;
    s->socket = NULL;
    session_close(s);
}

static const struct io_handler handler = {.received = on_received, .sent = on_sent, .closed = on_closed};

static struct session *session_new(struct node *node, struct io_socket *socket)
{
    struct session *s = calloc(1, sizeof *s);
    if (s == NULL) {
        return NULL;
    }
    uint32_t slot = 0;
    while (slot < node->slot_count && node->slots[slot] != NULL) {
        slot++;
    }
    if (slot == node->slot_count) {
        uint32_t         count = node->slot_count == 0 ? 64 : node->slot_count * 2;
        struct session **slots = realloc(node->slots, count * sizeof *slots);
        if (slots == NULL) {
            free(s);
            return NULL;
        }
        memset(slots + node->slot_count, 0, (count - node->slot_count) * sizeof *slots);
        node->slots      = slots;
        node->slot_count = count;
    }
    node->slots[slot] = s;
    s->node           = node;
    s->socket         = socket;
    s->slot           = slot;
    s->serial         = ++node->next_serial;
    s->in             = wire_writer_growing((size_t)node->config->credit_bytes + 4 * RPC_BODY_MAX_BYTES);
    s->out            = wire_writer_growing(OUT_LIMIT_BYTES);
    s->flying         = wire_writer_growing(OUT_LIMIT_BYTES);
    s->hello          = wire_writer_growing(RPC_BODY_MAX_BYTES);
    list_init(&s->subscriptions);
    list_init(&s->output_waiters);
    list_push_back(&node->sessions, &s->link);
    s->heard_ns = io_now_ns(node->io);
    io_socket_adopt(socket, &handler, s);
    return s;
}

void session_accept(struct node *node, struct io_socket *socket)
{
    if (node->stopping || session_new(node, socket) == NULL) {
        io_socket_close(socket);
    }
}

void session_attach(struct node *node, int64_t handle, struct moved *moved_bytes)
{
    struct io_socket *socket = io_socket_attach(node->io, handle);
    struct session   *s      = socket == NULL ? NULL : session_new(node, socket);
    if (s != NULL) {
        on_received(s, bytes_of(moved_bytes->bytes, moved_bytes->size));
    } else if (socket != NULL) {
        io_socket_close(socket);
    }
    free(moved_bytes);
}

/* The memory stays until the turn ends: callers up the stack still look at it. */
void session_close(struct session *s)
{
    if (s->state == SESSION_CLOSED) {
        return;
    }
    struct node *node     = s->node;
    bool         was_open = s->state == SESSION_OPEN;
    sm_step(session_states, &s->state, SESSION_CLOSED);
    s->open_follower = NULL;
    if (s->socket != NULL) {
        io_socket_close(s->socket);
        s->socket = NULL;
    }
    LIST_EACH (&s->subscriptions, link) {
        subscription_free(CONTAINER_OF(link, struct subscription, link));
    }
    jobs_drop(node, s);
    list_remove(&s->stalled_link);
    list_remove(&s->dirty_link);
    list_remove(&s->link);
    list_push_back(&node->graves, &s->link);
    node->slots[s->slot] = NULL;
    if (was_open && s->peer == 0) {
        relay_remove(s);
        owner_gone(node, s->instance, s->owner);
    }
}

void session_discard(struct session *s)
{
    wire_writer_fini(&s->in);
    wire_writer_fini(&s->out);
    wire_writer_fini(&s->flying);
    wire_writer_fini(&s->hello);
    free(s->refusals);
    free(s);
}
