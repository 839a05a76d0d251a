/* uring_place.c - the place of a socket: its memory, its descriptor or index in the registered table, the address of its peer. */
#include "shared/loop/uring.h"

#include "shared/mem/pool.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct io_socket *socket_alloc(struct io *io, enum socket_state state)
{
    struct io_socket *socket = pool_take(io->socket_pool);
    ASSERT_MEMORY(socket != NULL);
    socket->io        = io;
    socket->fd        = -1;
    socket->state     = (uint8_t)state;
    socket->receiving = true;
    return socket;
}

int socket_place(struct io_socket *socket, int fd, bool movable)
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

void socket_free(struct io_socket *socket)
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

void socket_peer_set(struct uring_peer *peer, const struct sockaddr_storage *address)
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
    socket_peer_set(&socket->peer, &address);
    if (socket_place(socket, fd, movable) != 0) {
        socket_free(socket);
        return NULL;
    }
    return socket;
}

const char *io_socket_peer(const struct io_socket *socket, char *buffer, size_t size)
{
    char ip[INET6_ADDRSTRLEN] = "?";
    if (socket->peer.family == AF_UNIX) {
        snprintf(buffer, size, "unix");
        return buffer;
    }
    if (socket->peer.family == AF_INET || socket->peer.family == AF_INET6) {
        inet_ntop(socket->peer.family, socket->peer.ip, ip, sizeof ip);
    }
    snprintf(buffer, size, socket->peer.family == AF_INET6 ? "[%s]:%u" : "%s:%u", ip, socket->peer.port);
    return buffer;
}

void sockets_free(struct io *io)
{
    for (struct list *link; (link = list_pop_front(&io->plain)) != NULL;) {
        close(CONTAINER_OF(link, struct io_socket, plain_link)->fd);
    }
}
