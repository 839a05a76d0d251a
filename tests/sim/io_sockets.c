/* io_sockets.c - the socket half of shared/loop/io.h over the simulated network. */
#include "tests/sim/io_sim.h"
#include "tests/sim/net.h"
#include "tests/sim/trace.h"

#include "shared/base/err.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { PIECES_MAX = 64, CHUNKS_PER_TURN_MAX = 8 };

struct io_socket {
    struct ready             ready;
    struct list              link;    /* in io->sockets */
    struct list              sending; /* in io->sending */
    struct io               *io;
    struct end              *end; /* NULL when the connect failed before there was one */
    const struct io_handler *handler;
    void                    *ctx;
    struct iovec             pieces[PIECES_MAX];
    int                      piece_count; /* 0 while no send is under way */
    int                      piece;
    size_t                   piece_taken;
    bool                     sent_whole; /* told in the next turn */
    bool                     receiving;
    bool                     one_more; /* was under way when receiving stopped */
    bool                     connecting;
    bool                     counted; /* against sockets_max */
    bool                     movable;
    int                      refused; /* the connect failed here */
    void (*moved)(void *ctx, int64_t handle);
    void *moved_ctx;
};

struct io_listener {
    struct ready          ready;
    struct list           link;
    struct io            *io;
    struct listener      *listener;
    struct io_listen_spec spec; /* its address is not kept */
    bool                  accepting;
};

/* ---- making and freeing ---- */

static void socket_release(struct ready *ready)
{
    free(CONTAINER_OF(ready, struct io_socket, ready));
}

static void socket_notify(void *owner)
{
    struct io_socket *socket = owner;
    if (socket->piece_count != 0 && !socket->sent_whole && !list_linked(&socket->sending)) {
        list_push_back(&socket->io->sending, &socket->sending);
    }
    io_sim_ready(socket->io, &socket->ready);
}

static void socket_deliver(struct ready *ready);

static struct io_socket *socket_new(struct io *io, struct end *end)
{
    struct io_socket *socket = calloc(1, sizeof *socket);
    ASSERT(socket != NULL);
    socket->ready.deliver = socket_deliver;
    socket->ready.release = socket_release;
    socket->io            = io;
    socket->receiving     = true;
    list_push_back(&io->sockets, &socket->link);
    if (end != NULL) {
        ASSERT(io->socket_count < io->config.sockets_max);
        io->socket_count++;
        socket->counted = true;
        socket->end     = end;
        end->owner      = socket;
        end->notify     = socket_notify;
    }
    return socket;
}

/* The handle is gone; the end is someone else's business. */
static void socket_forget(struct io_socket *socket)
{
    struct io *io = socket->io;
    list_remove(&socket->link);
    list_remove(&socket->sending);
    io->socket_count -= socket->counted;
    socket->handler = NULL;
    socket->end     = NULL;
    io_sim_bury(io, &socket->ready);
}

static bool table_full(const struct io *io)
{
    return io->socket_count == io->config.sockets_max;
}

/* ---- sending ---- */

static void take_some(struct io_socket *socket)
{
    while (socket->piece < socket->piece_count) {
        const struct iovec *piece = &socket->pieces[socket->piece];
        size_t              left  = piece->iov_len - socket->piece_taken;
        if (left != 0) {
            uint64_t hash;
            size_t   taken = end_take(socket->end, (const uint8_t *)piece->iov_base + socket->piece_taken, left, &hash);
            world_trace_hash(socket->io->world, hash);
            socket->piece_taken += taken;
            if (taken < left) {
                return;
            }
        }
        socket->piece++;
        socket->piece_taken = 0;
    }
    socket->sent_whole = true;
    io_sim_ready(socket->io, &socket->ready);
}

void io_sockets_submit(struct io *io)
{
    struct list *link;
    while ((link = list_pop_front(&io->sending)) != NULL) {
        take_some(CONTAINER_OF(link, struct io_socket, sending));
    }
}

void io_socket_send(struct io_socket *socket, const struct iovec *iov, int count)
{
    if (socket->io->dead) {
        return;
    }
    ASSERT(!socket->ready.gone && !socket->connecting && socket->handler != NULL && socket->moved == NULL);
    ASSERT(socket->piece_count == 0); /* one at a time */
    ASSERT(count >= 1 && count <= PIECES_MAX);
    size_t size = 0;
    for (int i = 0; i < count; i++) {
        socket->pieces[i] = iov[i];
        size += iov[i].iov_len;
    }
    ASSERT(size > 0 && size <= INT32_MAX);
    socket->piece_count = count;
    socket->piece       = 0;
    socket->piece_taken = 0;
    socket->sent_whole  = false;
    list_push_back(&socket->io->sending, &socket->sending);
    if (socket->end->broken != 0) {
        io_sim_ready(socket->io, &socket->ready);
    }
}

/* ---- what a turn delivers ---- */

static void deliver_connected(struct io_socket *socket)
{
    const struct io_handler *handler = socket->handler;
    void                    *ctx     = socket->ctx;
    int                      result  = socket->end == NULL ? socket->refused : socket->end->broken;
    if (socket->end != NULL && !socket->end->connected) {
        return;
    }
    socket->connecting = false;
    world_trace(socket->io->world, "connected", socket->io->core->name, socket->end == NULL ? 0 : socket->end->id,
                (uint64_t)-result);
    if (result < 0) {
        if (socket->end != NULL) {
            end_close(socket->end, true);
        }
        socket_forget(socket);
    }
    handler->connected(ctx, result);
}

static void deliver_sent(struct io_socket *socket, int result)
{
    socket->piece_count = 0;
    socket->sent_whole  = false;
    list_remove(&socket->sending);
    socket->handler->sent(socket->ctx, result);
}

static size_t chunk_size(struct io *io)
{
    const struct world *world = io->world;
    size_t              limit = io->config.recv_buffer_bytes;
    if (world->faults.split_bytes != 0 && world->faults.split_bytes < limit && !world_chance(io->world, SALT_NET, 4)) {
        limit = world->faults.split_bytes;
    }
    return world_chance(io->world, SALT_NET, 2) ? limit : (size_t)world_between(io->world, SALT_NET, 1, limit);
}

static bool may_receive(const struct io_socket *socket)
{
    return !socket->ready.gone && socket->handler != NULL && (socket->receiving || socket->one_more) &&
           end_readable(socket->end);
}

/* What size bytes are read into: one segment that they are, or memory of their own. */
static uint8_t *chunk_read(struct io_socket *socket, size_t size, uint64_t *out_hash)
{
    struct io      *io      = socket->io;
    struct segment *segment = end_read_segment(socket->end, size);
    ASSERT(io->chunk == NULL);
    if (segment != NULL) {
        io->chunk = segment;
        *out_hash = segment->hash;
        return segment->data;
    }
    uint8_t *data = malloc(size);
    ASSERT(data != NULL);
    (void)end_read(socket->end, data, size);
    io->chunk = data;
    *out_hash = hash_bytes(bytes_of(data, size));
    return data;
}

static void deliver_received(struct io_socket *socket)
{
    struct io *io     = socket->io;
    uint64_t   chunks = world_between(io->world, SALT_NET, 1, CHUNKS_PER_TURN_MAX);
    while (chunks-- > 0 && may_receive(socket) && io->buffers_left > 0) {
        size_t size      = end_readable_bytes(socket->end, chunk_size(io));
        socket->one_more = false;
        io->buffers_left--;
        uint64_t hash;
        uint8_t *data = chunk_read(socket, size, &hash);
        trace_often(io->world, "received", io->core->name, io->core->name_hash, socket->end->id, size);
        world_trace_hash(io->world, hash);
        socket->handler->received(socket->ctx, bytes_of(data, size));
        memset(data, 0xdd, size);
        free(io->chunk);
        io->chunk = NULL;
    }
}

static void deliver_closed(struct io_socket *socket, int reason)
{
    const struct io_handler *handler = socket->handler;
    void                    *ctx     = socket->ctx;
    struct io               *io      = socket->io;
    /* A send under way is either told its failure first, or it ends untold with the socket: both happen. */
    if (socket->piece_count != 0 && reason != 0 && world_chance(io->world, SALT_NET, 2)) {
        deliver_sent(socket, reason);
        if (socket->ready.gone) {
            return;
        }
    }
    world_trace(io->world, "closed", io->core->name, socket->end->id, (uint64_t)-reason);
    end_close(socket->end, reason != 0);
    socket_forget(socket);
    if (handler->closed != NULL) {
        handler->closed(ctx, reason);
    }
}

static void deliver_moved(struct io_socket *socket)
{
    void (*moved)(void *, int64_t) = socket->moved;
    void       *ctx                = socket->moved_ctx;
    struct end *end                = socket->end;
    end->owner                     = NULL;
    socket_forget(socket);
    moved(ctx, (int64_t)end->id);
}

static void socket_deliver(struct ready *ready)
{
    struct io_socket *socket = CONTAINER_OF(ready, struct io_socket, ready);
    if (socket->connecting) {
        deliver_connected(socket);
        return;
    }
    ASSERT(socket->handler != NULL); /* adopted at once */
    bool sent_first = world_chance(socket->io->world, SALT_SCHEDULE, 2);
    if (socket->sent_whole && sent_first) {
        deliver_sent(socket, 0);
    }
    if (may_receive(socket)) {
        deliver_received(socket);
    }
    if (!socket->ready.gone && socket->sent_whole) {
        deliver_sent(socket, 0);
    }
    if (socket->ready.gone) {
        return;
    }
    /* A program that neither receives nor sends does not notice the end. */
    bool looks = socket->receiving || socket->piece_count != 0;
    if (may_receive(socket)) {
        io_sim_ready(socket->io, &socket->ready);
    } else if (socket->end->broken != 0 && looks) {
        deliver_closed(socket, socket->end->broken);
    } else if (socket->end->fin && socket->receiving && !end_readable(socket->end)) {
        deliver_closed(socket, 0);
    } else if (socket->moved != NULL && socket->piece_count == 0) {
        deliver_moved(socket);
    }
}

/* ---- verbs of a socket ---- */

struct io_socket *io_connect(struct io *io, const char *address, uint16_t port, const struct io_handler *handler,
                             void *ctx)
{
    ASSERT(handler != NULL && handler->connected != NULL);
    bool              here   = !io->dead && !table_full(io);
    struct end       *end    = here ? net_connect(io->core->process, address, port) : NULL;
    struct io_socket *socket = socket_new(io, end);
    socket->handler          = handler;
    socket->ctx              = ctx;
    socket->connecting       = true;
    if (end == NULL) {
        socket->refused = -EMFILE;
        io_sim_ready(io, &socket->ready);
    }
    return socket;
}

void io_socket_adopt(struct io_socket *socket, const struct io_handler *handler, void *ctx)
{
    ASSERT(socket->handler == NULL && handler != NULL && !socket->ready.gone);
    socket->handler = handler;
    socket->ctx     = ctx;
    io_sim_ready(socket->io, &socket->ready);
}

void io_socket_receiving(struct io_socket *socket, bool on)
{
    if (socket->io->dead) {
        return;
    }
    ASSERT(!socket->ready.gone && socket->handler != NULL);
    if (on) {
        io_sim_ready(socket->io, &socket->ready);
    } else if (socket->receiving) {
        socket->one_more = world_chance(socket->io->world, SALT_NET, 3);
        if (socket->one_more) {
            io_sim_ready(socket->io, &socket->ready);
        }
    }
    socket->receiving = on;
}

void io_socket_close(struct io_socket *socket)
{
    if (socket->io->dead) {
        return;
    }
    ASSERT(!socket->ready.gone);
    if (socket->end != NULL) {
        /* Of a send under way goes out what the network has room for. */
        if (socket->piece_count != 0 && !socket->sent_whole) {
            take_some(socket);
        }
        world_trace(socket->io->world, "close", socket->io->core->name, socket->end->id, 0);
        end_close(socket->end, false);
    }
    socket_forget(socket);
}

const char *io_socket_peer(const struct io_socket *socket, char *buffer, size_t size)
{
    const struct end *peer = socket->end == NULL ? NULL : socket->end->peer;
    if (socket->io->dead || peer == NULL || peer->machine == NULL) {
        snprintf(buffer, size, "?:0");
    } else {
        bool local = peer->machine == socket->end->machine;
        snprintf(buffer, size, "%s:%u", local ? "127.0.0.1" : peer->machine->address, peer->port);
    }
    return buffer;
}

void io_socket_move(struct io_socket *socket, void (*moved)(void *ctx, int64_t handle), void *ctx)
{
    if (socket->io->dead) {
        return;
    }
    ASSERT(socket->movable && !socket->ready.gone && socket->handler != NULL && socket->moved == NULL);
    socket->one_more  = socket->receiving && world_chance(socket->io->world, SALT_NET, 3);
    socket->receiving = false;
    socket->moved     = moved;
    socket->moved_ctx = ctx;
    io_sim_ready(socket->io, &socket->ready);
}

struct io_socket *io_socket_attach(struct io *io, int64_t handle)
{
    if (io->dead) {
        return NULL;
    }
    struct end *end = net_find_loose(io->core->process, (uint64_t)handle);
    ASSERT(end != NULL); /* a handle from moved(), used once */
    if (table_full(io) || end->broken != 0) {
        end_close(end, true);
        return NULL;
    }
    return socket_new(io, end);
}

/* ---- listeners ---- */

static void listener_release(struct ready *ready)
{
    free(CONTAINER_OF(ready, struct io_listener, ready));
}

static void listener_notify(void *owner)
{
    struct io_listener *listener = owner;
    if (listener->accepting) {
        io_sim_ready(listener->io, &listener->ready);
    }
}

static void listener_deliver(struct ready *ready)
{
    struct io_listener *listener = CONTAINER_OF(ready, struct io_listener, ready);
    struct io          *io       = listener->io;
    struct end         *end;
    while (!ready->gone && listener->accepting && (end = net_accept(listener->listener)) != NULL) {
        world_trace(io->world, "accepted", io->core->name, end->id, end->peer->port);
        if (table_full(io) || end->broken != 0) {
            end_close(end, true);
            continue;
        }
        struct io_socket *socket = socket_new(io, end);
        socket->movable          = listener->spec.movable;
        listener->spec.accepted(listener->spec.ctx, socket);
        ASSERT(socket->ready.gone || socket->handler != NULL); /* adopted or closed, at once */
    }
}

int io_listen(struct io *io, const struct io_listen_spec *spec, struct io_listener **out)
{
    ASSERT(spec->accepted != NULL && !io->dead);
    struct io_listener *listener = calloc(1, sizeof *listener);
    ASSERT(listener != NULL);
    int result =
        net_listen(io->core->process, spec->address, spec->port, spec->reuse_port, spec->backlog, &listener->listener);
    if (result < 0) {
        free(listener);
        return result;
    }
    listener->listener->owner  = listener;
    listener->listener->notify = listener_notify;
    listener->io               = io;
    listener->spec             = *spec;
    listener->spec.address     = NULL;
    listener->accepting        = true;
    listener->ready.deliver    = listener_deliver;
    listener->ready.release    = listener_release;
    list_push_back(&io->listeners, &listener->link);
    *out = listener;
    return 0;
}

uint16_t io_listener_port(const struct io_listener *listener)
{
    return listener->listener->port;
}

void io_listener_accepting(struct io_listener *listener, bool on)
{
    listener->accepting = on;
    if (on) {
        io_sim_ready(listener->io, &listener->ready);
    }
}

/* Places have no end here. */
uint64_t io_turned_away(const struct io *io)
{
    (void)io;
    return 0;
}

void io_listener_close(struct io_listener *listener)
{
    if (listener == NULL || listener->io->dead) {
        return;
    }
    net_listener_close(listener->listener);
    list_remove(&listener->link);
    io_sim_bury(listener->io, &listener->ready);
}

/* Of a dead io: network and peers know already. Of a closing one: as a process that ends. */
void io_sockets_free(struct io *io)
{
    LIST_EACH (&io->sockets, link) {
        struct io_socket *socket = CONTAINER_OF(link, struct io_socket, link);
        if (!io->dead && socket->end != NULL) {
            end_close(socket->end, false);
        }
        socket_forget(socket);
    }
    LIST_EACH (&io->listeners, link) {
        struct io_listener *listener = CONTAINER_OF(link, struct io_listener, link);
        if (!io->dead) {
            net_listener_close(listener->listener);
        }
        list_remove(&listener->link);
        listener_release(&listener->ready);
    }
}
