/* uring_socket.c - the life of a connection.
 *
 *   accept ─ ACCEPTED ─ adopt ──┐                ┌─ peer closed or broke ──────────────────┐
 *   connect ─ (RESOLVING) ─ CONNECTING ─ OPEN ───┼─ io_socket_close ─ DRAINING ─ end of ───┼─ ENDING ─ GONE ─ freed
 *                                                │                               input     │
 *                                                └─ io_socket_move ─ MOVING ─ (given away) ┘
 *
 * A socket is freed only when none of its operations is under way, so a callback may close the socket it is called for.
 * After closed() or io_socket_close() the caller may free what it was sending: send_settle ends the send first. */
#include "shared/loop/uring.h"

#include "shared/base/err.h"
#include "shared/base/sm.h"
#include "shared/mem/pool.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PIECES_MAX = 64 };
/* How long, and how much, a peer may go on talking after we said goodbye. */
enum { DRAIN_MAX_BYTES = 64 * 1024 };
static const uint64_t drain_max_ns = 2000000000;

static const struct sm_state socket_states[] = {
    [SOCKET_ACCEPTED]   = {"accepted", SM(SOCKET_OPEN) | SM(SOCKET_DRAINING)},
    [SOCKET_RESOLVING]  = {"resolving", SM(SOCKET_CONNECTING) | SM(SOCKET_ENDING) | SM(SOCKET_GONE)},
    [SOCKET_CONNECTING] = {"connecting", SM(SOCKET_OPEN) | SM(SOCKET_ENDING) | SM(SOCKET_GONE)},
    [SOCKET_OPEN]       = {"open", SM(SOCKET_MOVING) | SM(SOCKET_DRAINING) | SM(SOCKET_ENDING)},
    [SOCKET_MOVING]     = {"moving", SM(SOCKET_DRAINING) | SM(SOCKET_ENDING) | SM(SOCKET_GONE)},
    [SOCKET_DRAINING]   = {"draining", SM(SOCKET_ENDING)},
    [SOCKET_ENDING]     = {"ending", SM(SOCKET_GONE)},
    [SOCKET_GONE]       = {"gone", 0},
};

static void step(struct io_socket *socket, enum socket_state next)
{
    sm_step(socket_states, &socket->state, (uint8_t)next);
}

/* ---- places --------------------------------------------------------------------------------------------------- */

static struct io_socket *socket_alloc(struct io *io, enum socket_state state)
{
    struct io_socket *socket = pool_take(io->socket_pool);
    ASSERT(socket != NULL); /* memory is out */
    socket->io        = io;
    socket->fd        = -1;
    socket->state     = (uint8_t)state;
    socket->receiving = true;
    return socket;
}

/* Puts the descriptor into the registered table, where the kernel finds it without locks; a movable one stays a descriptor,
 * for only that can be given to another ring. Takes the descriptor in any case. */
static int socket_place(struct io_socket *socket, int fd, bool movable)
{
    struct io *io = socket->io;
    if (io->slots_free == 0 || io->sockets_open >= io->sockets_max) {
        close(fd);
        return -EMFILE;
    }
    if (movable) {
        socket->fd = fd;
        list_push_back(&io->plain, &socket->plain_link);
    } else {
        uint32_t slot  = io->slots[io->slots_free - 1];
        int      error = io_uring_register_files_update(&io->ring, slot, &fd, 1);
        close(fd);
        if (error < 0) {
            return error;
        }
        io->slots_free--;
        socket->fd    = (int)slot;
        socket->fixed = true;
    }
    io->sockets_open++;
    return 0;
}

static void socket_free(struct io_socket *socket)
{
    struct io *io = socket->io;
    ASSERT(!socket->recv_pending && !socket->send_pending && !socket->connect_pending && !socket->shutdown_pending);
    list_remove(&socket->link);
    list_remove(&socket->starved_link);
    list_remove(&socket->plain_link);
    if (socket->fixed) {
        io->slots[io->slots_free++] = (uint32_t)socket->fd;
    }
    if (socket->fd >= 0) {
        io->sockets_open--;
    }
    pool_give(io->socket_pool, socket);
}

static void peer_set(struct uring_peer *peer, const struct sockaddr_storage *address)
{
    peer->family = address->ss_family;
    if (address->ss_family == AF_INET6) {
        const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)address;
        memcpy(peer->ip, &six->sin6_addr, 16);
        peer->port  = ntohs(six->sin6_port);
        peer->scope = six->sin6_scope_id;
    } else {
        const struct sockaddr_in *four = (const struct sockaddr_in *)address;
        memcpy(peer->ip, &four->sin_addr, 4);
        peer->port = ntohs(four->sin_port);
    }
}

struct io_socket *socket_new(struct io *io, int fd, bool movable)
{
    struct sockaddr_storage address = {0};
    socklen_t               size    = sizeof address;
    struct io_socket       *socket  = socket_alloc(io, SOCKET_ACCEPTED);
    if (getpeername(fd, (struct sockaddr *)&address, &size) != 0) { /* the peer has gone already */
        close(fd);
        socket_free(socket);
        return NULL;
    }
    peer_set(&socket->peer, &address);
    if (socket_place(socket, fd, movable) != 0) {
        socket_free(socket);
        return NULL;
    }
    return socket;
}

const char *io_socket_peer(const struct io_socket *socket, char *buffer, size_t size)
{
    char ip[INET6_ADDRSTRLEN] = "?";
    if (socket->peer.family == AF_INET || socket->peer.family == AF_INET6) {
        inet_ntop(socket->peer.family, socket->peer.ip, ip, sizeof ip);
    }
    snprintf(buffer, size, socket->peer.family == AF_INET6 ? "[%s]:%u" : "%s:%u", ip, socket->peer.port);
    return buffer;
}

static void on_socket(struct io_socket *socket, struct io_uring_sqe *sqe, enum uring_kind kind)
{
    if (socket->fixed) {
        sqe->flags |= IOSQE_FIXED_FILE;
    }
    uring_name_op(sqe, socket, kind);
}

/* ---- the end -------------------------------------------------------------------------------------------------- */

/* Closes the descriptor once no operation is under way. */
static void ending_continue(struct io_socket *socket)
{
    if (socket->recv_pending || socket->send_pending || socket->connect_pending || socket->shutdown_pending) {
        return;
    }
    step(socket, SOCKET_GONE);
    if (socket->fd < 0 || socket->io->closing) {
        list_push_back(&socket->io->deferred, &socket->link); /* freed there: a callback may be looking at it */
        return;
    }
    struct io_uring_sqe *sqe = uring_sqe(socket->io);
    if (socket->fixed) {
        io_uring_prep_close_direct(sqe, (unsigned)socket->fd);
    } else {
        io_uring_prep_close(sqe, socket->fd);
    }
    uring_name_op(sqe, socket, URING_TEARDOWN);
}

static void recv_cancel(struct io_socket *socket)
{
    list_remove(&socket->starved_link);
    if (socket->recv_pending && !socket->recv_cancelling) {
        socket->recv_cancelling = true;
        uring_cancel(socket->io, socket, URING_RECV);
    }
}

static void shutdown_settle(struct io_socket *socket)
{
    if (socket->shutdown_wanted) {
        socket->shutdown_wanted = false;
        socket->io->shutdowns_wanted--;
    }
}

static void socket_end(struct io_socket *socket)
{
    socket->handler = NULL;
    shutdown_settle(socket);
    list_remove(&socket->link);
    step(socket, SOCKET_ENDING);
    recv_cancel(socket);
    if (socket->connect_pending) {
        uring_cancel(socket->io, socket, URING_CONNECT);
    }
    ending_continue(socket);
}

/* After this the kernel no longer looks at the bytes of a send that is under way: those that it took go out, a send that waits
 * for the peer to read is ended. What was only queued in this turn is submitted first, so that a last packet is sent. */
static void send_settle(struct io_socket *socket)
{
    struct io *io = socket->io;
    if (!socket->send_pending) {
        return;
    }
    while (io_uring_sq_ready(&io->ring) > 0) {
        if (io_uring_submit(&io->ring) < 0) {
            break;
        }
    }
    struct io_uring_sync_cancel_reg cancel = {
        .addr    = (uint64_t)(uintptr_t)socket | URING_SEND,
        .fd      = -1,
        .timeout = {.tv_sec = -1, .tv_nsec = -1},
    };
    int error;
    do {
        error = io_uring_register_sync_cancel(&io->ring, &cancel);
    } while (error == -EINTR);
    ASSERT(error >= 0 || error == -ENOENT); /* ENOENT: it had ended */
}

/* The connection is over by the peer's doing. */
static void socket_break(struct io_socket *socket, int reason)
{
    const struct io_handler *handler = socket->handler;
    void                    *ctx     = socket->ctx;
    send_settle(socket);
    socket_end(socket);
    if (handler != NULL && handler->closed != NULL) {
        handler->closed(ctx, reason);
    }
}

void socket_on_teardown(struct io_socket *socket, int result)
{
    (void)result; /* a failed close has closed */
    if (socket->state == SOCKET_GONE) {
        socket_free(socket);
        return;
    }
    socket->shutdown_pending = false;
    if (socket->state == SOCKET_ENDING) {
        ending_continue(socket);
    }
}

/* ---- receive -------------------------------------------------------------------------------------------------- */

static void recv_arm(struct io_socket *socket)
{
    if (socket->recv_pending || list_linked(&socket->starved_link) || socket->io->closing) {
        return;
    }
    struct io_uring_sqe *sqe = uring_sqe(socket->io);
    io_uring_prep_recv_multishot(sqe, socket->fd, NULL, 0, 0);
    on_socket(socket, sqe, URING_RECV);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group       = 0;
    socket->recv_pending = true;
}

static void move_continue(struct io_socket *socket)
{
    if (!socket->recv_pending && !socket->send_pending && !list_linked(&socket->link)) {
        list_push_back(&socket->io->deferred, &socket->link);
    }
}

static void received(struct io_socket *socket, const uint8_t *data, uint32_t size)
{
    switch (socket->state) {
    case SOCKET_OPEN:
    case SOCKET_MOVING:
        socket->handler->received(socket->ctx, bytes_of(data, size));
        break;
    case SOCKET_DRAINING:
        socket->drained_bytes += size;
        if (socket->drained_bytes > DRAIN_MAX_BYTES) {
            socket_end(socket);
        }
        break;
    default:
        break;
    }
}

/* The multishot ended for a reason other than the end of the input. */
static void recv_stopped(struct io_socket *socket, int result)
{
    switch (socket->state) {
    case SOCKET_OPEN:
    case SOCKET_DRAINING:
        if (!socket->receiving) {
            break;
        }
        if (result == -ENOBUFS) { /* asked again when the buffers of this turn are back */
            list_push_back(&socket->io->starved, &socket->starved_link);
        } else {
            recv_arm(socket);
        }
        break;
    case SOCKET_MOVING:
        move_continue(socket);
        break;
    case SOCKET_ENDING:
        ending_continue(socket);
        break;
    default:
        break;
    }
}

static bool recv_goes_on(int result)
{
    return result > 0 || result == -ENOBUFS || result == -ECANCELED || result == -EINTR || result == -EAGAIN;
}

void socket_on_recv(struct io_socket *socket, int result, uint32_t flags)
{
    struct io *io    = socket->io;
    bool       ended = (flags & IORING_CQE_F_MORE) == 0;
    if (ended) {
        socket->recv_pending    = false;
        socket->recv_cancelling = false;
    }
    if ((flags & IORING_CQE_F_BUFFER) != 0) {
        uint32_t index = flags >> IORING_CQE_BUFFER_SHIFT;
        ASSERT(index < io->recv_buffers);
        uint8_t *buffer = io->recv_memory + (size_t)index * io->recv_buffer_bytes;
        if (result > 0 && !io->closing) {
            received(socket, buffer, (uint32_t)result);
        }
        io_uring_buf_ring_add(io->recv_ring, buffer, io->recv_buffer_bytes, (unsigned short)index,
                              io_uring_buf_ring_mask(io->recv_buffers), 0);
        io_uring_buf_ring_advance(io->recv_ring, 1);
    }
    if (!ended || io->closing) {
        return;
    }
    if (recv_goes_on(result)) {
        recv_stopped(socket, result);
    } else if (socket->state == SOCKET_OPEN || socket->state == SOCKET_MOVING) {
        socket_break(socket, result);
    } else if (socket->state == SOCKET_DRAINING) {
        socket_end(socket);
    } else if (socket->state == SOCKET_ENDING) {
        ending_continue(socket);
    }
}

void io_socket_receiving(struct io_socket *socket, bool on)
{
    ASSERT(socket->handler != NULL);
    socket->receiving = on;
    if (socket->state != SOCKET_OPEN) {
        return;
    }
    if (on) {
        recv_arm(socket); /* when a cancel is under way, the end of it arms again */
    } else {
        recv_cancel(socket);
    }
}

/* ---- send ----------------------------------------------------------------------------------------------------- */

static void send_submit(struct io_socket *socket)
{
    struct io_uring_sqe *sqe = uring_sqe(socket->io);
    if (socket->send_many) {
        io_uring_prep_sendmsg(sqe, socket->fd, &socket->send->header, MSG_WAITALL | MSG_NOSIGNAL);
    } else {
        io_uring_prep_send(sqe, socket->fd, socket->send_data, socket->send_left_bytes, MSG_WAITALL | MSG_NOSIGNAL);
    }
    on_socket(socket, sqe, URING_SEND);
    socket->send_pending = true;
}

void io_socket_send(struct io_socket *socket, const struct iovec *iov, int count)
{
    ASSERT(socket->state == SOCKET_OPEN && !socket->send_pending);
    ASSERT(count >= 1 && count <= PIECES_MAX);
    size_t size = 0;
    for (int i = 0; i < count; i++) {
        size += iov[i].iov_len;
    }
    ASSERT(size > 0 && size <= INT32_MAX);
    socket->send_left_bytes = size;
    socket->send_many       = count > 1;
    if (socket->send_many) {
        socket->send = pool_take_raw(socket->io->send_pool);
        ASSERT(socket->send != NULL); /* memory is out */
        memcpy(socket->send->pieces, iov, (size_t)count * sizeof iov[0]);
        socket->send->header = (struct msghdr){.msg_iov = socket->send->pieces, .msg_iovlen = (size_t)count};
    } else {
        socket->send_data = iov[0].iov_base;
    }
    send_submit(socket);
}

/* The kernel took some bytes and stopped (a signal, memory): go on behind them. */
static void send_rest(struct io_socket *socket, size_t taken)
{
    socket->send_left_bytes -= taken;
    if (socket->send_many) {
        struct msghdr *header = &socket->send->header;
        while (taken > 0) {
            struct iovec *piece = header->msg_iov;
            size_t        part  = taken < piece->iov_len ? taken : piece->iov_len;
            piece->iov_base     = (uint8_t *)piece->iov_base + part;
            piece->iov_len -= part;
            taken -= part;
            if (piece->iov_len == 0) {
                header->msg_iov++;
                header->msg_iovlen--;
            }
        }
    } else {
        socket->send_data += taken;
    }
    send_submit(socket);
}

void socket_on_send(struct io_socket *socket, int result)
{
    struct io *io        = socket->io;
    bool       open      = (socket->state == SOCKET_OPEN || socket->state == SOCKET_MOVING) && !io->closing;
    socket->send_pending = false;
    if (open && (result == -EINTR || result == -EAGAIN)) {
        result = 0;
    }
    if (open && result >= 0 && (uint64_t)result < socket->send_left_bytes) {
        send_rest(socket, (size_t)result);
        return;
    }
    if (socket->send_many) {
        pool_give(io->send_pool, socket->send);
        socket->send_many = false;
    }
    socket->send = NULL;
    if (io->closing) {
        return;
    }
    if (!open) {
        if (socket->state == SOCKET_ENDING) {
            ending_continue(socket);
        }
        return;
    }
    socket->handler->sent(socket->ctx, result < 0 ? result : 0);
    if (socket->state != SOCKET_OPEN && socket->state != SOCKET_MOVING) {
        return; /* sent() closed it */
    }
    if (result < 0) {
        socket_break(socket, result);
    } else if (socket->state == SOCKET_MOVING) {
        move_continue(socket);
    }
}

/* ---- connect -------------------------------------------------------------------------------------------------- */

/* Told in the next turn, since the owner does not have the socket yet. */
static void connect_failed(struct io_socket *socket, int error)
{
    socket->result = error;
    step(socket, SOCKET_GONE);
    list_push_back(&socket->io->deferred, &socket->link);
}

static int tcp_socket(int family)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return fd < 0 ? -errno : fd;
}

static void connect_to(struct io_socket *socket, const struct sockaddr_storage *address)
{
    struct io *io = socket->io;
    int        on = 1;
    int        fd = tcp_socket(address->ss_family);
    peer_set(&socket->peer, address);
    if (socket->state == SOCKET_RESOLVING) {
        step(socket, SOCKET_CONNECTING);
    }
    if (fd < 0) {
        connect_failed(socket, fd);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    int error = socket_place(socket, fd, false);
    if (error != 0) {
        connect_failed(socket, error);
        return;
    }
    socket->send = pool_take_raw(io->send_pool);
    ASSERT(socket->send != NULL); /* memory is out */
    socket->send->address    = *address;
    struct io_uring_sqe *sqe = uring_sqe(io);
    io_uring_prep_connect(sqe, socket->fd, (const struct sockaddr *)&socket->send->address,
                          address->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in));
    on_socket(socket, sqe, URING_CONNECT);
    socket->connect_pending = true;
}

struct io_socket *io_connect(struct io *io, const char *address, uint16_t port, const struct io_handler *handler,
                             void *ctx)
{
    struct sockaddr_storage numeric;
    bool                    is_numeric = name_parse(address, port, &numeric);
    struct io_socket       *socket     = socket_alloc(io, is_numeric ? SOCKET_CONNECTING : SOCKET_RESOLVING);
    socket->handler                    = handler;
    socket->ctx                        = ctx;
    if (is_numeric) {
        connect_to(socket, &numeric);
        return socket;
    }
    int error = name_lookup(socket, address, port);
    if (error != 0) {
        connect_failed(socket, error);
    }
    return socket;
}

void socket_resolved(struct io_socket *socket, const struct sockaddr_storage *address, int error)
{
    if (socket->state == SOCKET_ENDING) { /* closed while the name was looked up */
        socket->connect_pending = false;
        ending_continue(socket);
    } else if (error != 0) {
        socket->connect_pending = false;
        connect_failed(socket, error);
    } else {
        socket->connect_pending = false;
        connect_to(socket, address);
    }
}

void socket_on_connect(struct io_socket *socket, int result)
{
    socket->connect_pending = false;
    pool_give(socket->io->send_pool, socket->send);
    socket->send = NULL;
    if (socket->io->closing) {
        return;
    }
    if (socket->state == SOCKET_ENDING) {
        ending_continue(socket);
        return;
    }
    const struct io_handler *handler = socket->handler;
    void                    *ctx     = socket->ctx;
    if (result < 0) {
        socket_end(socket);
        handler->connected(ctx, result);
        return;
    }
    step(socket, SOCKET_OPEN);
    handler->connected(ctx, 0);
    if (socket->state == SOCKET_OPEN && socket->receiving) {
        recv_arm(socket);
    }
}

/* ---- adopt, close, move --------------------------------------------------------------------------------------- */

void io_socket_adopt(struct io_socket *socket, const struct io_handler *handler, void *ctx)
{
    ASSERT(socket->state == SOCKET_ACCEPTED && handler != NULL);
    socket->handler = handler;
    socket->ctx     = ctx;
    step(socket, SOCKET_OPEN);
    recv_arm(socket);
}

void io_socket_close(struct io_socket *socket)
{
    struct io *io = socket->io;
    ASSERT(socket->state <= SOCKET_MOVING || (socket->state == SOCKET_GONE && socket->handler != NULL));
    send_settle(socket);
    socket->handler = NULL;
    if (socket->state == SOCKET_GONE) { /* a connect that failed at once and is not told yet: now it will not be */
        return;
    }
    if (socket->state == SOCKET_RESOLVING || socket->state == SOCKET_CONNECTING) {
        socket_end(socket);
        return;
    }
    step(socket, SOCKET_DRAINING);
    list_remove(&socket->link);
    socket->receiving         = true;
    socket->shutdown_wanted   = true;
    socket->drain_deadline_ns = io->now_ns + drain_max_ns;
    list_push_back(&io->draining, &socket->link);
    io->shutdowns_wanted++;
    recv_arm(socket);
}

static void shutdown_submit(struct io_socket *socket)
{
    struct io_uring_sqe *sqe = uring_sqe(socket->io);
    io_uring_prep_shutdown(sqe, socket->fd, SHUT_WR);
    on_socket(socket, sqe, URING_TEARDOWN);
    socket->shutdown_pending = true;
    shutdown_settle(socket);
}

void io_socket_move(struct io_socket *socket, void (*moved)(void *ctx, int64_t handle), void *ctx)
{
    ASSERT(socket->state == SOCKET_OPEN && !socket->fixed); /* accepted by a listener whose sockets are movable */
    step(socket, SOCKET_MOVING);
    socket->move_to   = moved;
    socket->moved_ctx = ctx;
    recv_cancel(socket);
    move_continue(socket);
}

static void moved_away(struct io_socket *socket)
{
    void (*moved)(void *, int64_t) = socket->move_to;
    void   *ctx                    = socket->moved_ctx;
    int64_t handle                 = socket->fd;
    step(socket, SOCKET_GONE);
    socket_free(socket);
    moved(ctx, handle);
}

struct io_socket *io_socket_attach(struct io *io, int64_t handle)
{
    ASSERT(handle >= 0 && handle <= INT32_MAX);
    return socket_new(io, (int)handle, false);
}

void sockets_free(struct io *io)
{
    for (struct list *link; (link = list_pop_front(&io->plain)) != NULL;) {
        close(CONTAINER_OF(link, struct io_socket, plain_link)->fd);
    }
}

/* ---- once per turn -------------------------------------------------------------------------------------------- */

static void deferred_tell(struct io_socket *socket)
{
    const struct io_handler *handler = socket->handler;
    void                    *ctx     = socket->ctx;
    int                      error   = socket->result;
    if (socket->state == SOCKET_MOVING) {
        moved_away(socket);
        return;
    }
    socket_free(socket);
    if (handler != NULL) {
        handler->connected(ctx, error);
    }
}

void sockets_after_turn(struct io *io)
{
    while (!list_empty(&io->starved)) {
        struct io_socket *socket = CONTAINER_OF(list_pop_front(&io->starved), struct io_socket, starved_link);
        recv_arm(socket);
    }
    while (!list_empty(&io->draining)) {
        struct io_socket *socket = CONTAINER_OF(io->draining.next, struct io_socket, link);
        if (socket->drain_deadline_ns > io->now_ns) {
            break;
        }
        socket_end(socket);
    }
    /* A shutdown is carried out by a worker thread of the ring, which costs more than a whole short connection. Most clients close
     * right behind their last packet: those have been heard in this turn, and no longer need one. The newest are at the end. */
    for (struct list *link = io->draining.prev; io->shutdowns_wanted > 0; link = link->prev) {
        struct io_socket *socket = CONTAINER_OF(link, struct io_socket, link);
        if (socket->shutdown_wanted) {
            shutdown_submit(socket);
        }
    }
    /* Only those that are here now: what they cause is for the next turn. */
    struct list now;
    list_init(&now);
    for (struct list *link; (link = list_pop_front(&io->deferred)) != NULL;) {
        list_push_back(&now, link);
    }
    for (struct list *link; (link = list_pop_front(&now)) != NULL;) {
        deferred_tell(CONTAINER_OF(link, struct io_socket, link));
    }
}

uint64_t sockets_deadline_ns(const struct io *io)
{
    if (list_empty(&io->draining)) {
        return UINT64_MAX;
    }
    return CONTAINER_OF(io->draining.next, const struct io_socket, link)->drain_deadline_ns;
}
