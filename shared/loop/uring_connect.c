/* uring_connect.c - connecting, by number or by name. */
#include "shared/loop/uring.h"

#include "shared/mem/pool.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

/* Told in the next turn, since the owner does not have the socket yet. */
static void connect_failed(struct io_socket *socket, int error)
{
    socket->result = error;
    socket_step(socket, SOCKET_GONE);
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
    socket_peer_set(&socket->peer, address);
    if (socket->state == SOCKET_RESOLVING) {
        socket_step(socket, SOCKET_CONNECTING);
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
    ASSERT_MEMORY(socket->send != NULL);
    socket->send->address    = *address;
    struct io_uring_sqe *sqe = uring_sqe(io);
    io_uring_prep_connect(sqe, socket->fd, (const struct sockaddr *)&socket->send->address,
                          address->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in));
    socket_name_op(socket, sqe, URING_CONNECT);
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
        socket_ending(socket);
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
        socket_ending(socket);
        return;
    }
    const struct io_handler *handler = socket->handler;
    void                    *ctx     = socket->ctx;
    if (result < 0) {
        socket_end(socket);
        handler->connected(ctx, result);
        return;
    }
    socket_step(socket, SOCKET_OPEN);
    handler->connected(ctx, 0);
    if (socket->state == SOCKET_OPEN && socket->receiving) {
        socket_recv_arm(socket);
    }
}
