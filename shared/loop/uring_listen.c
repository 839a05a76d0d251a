/* uring_listen.c - listeners: one multishot accept each. A connection for which there is no place is closed at once: who waits in the
 * backlog of the kernel takes itself for connected. */
#include "shared/loop/uring.h"

#include "shared/base/err.h"
#include "shared/base/leftover.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* The kernel has no descriptor or memory for a connection: not again before this. */
static const uint64_t retry_after_ns = 100000000;
static const uint64_t complain_every = 10000000000;
enum { KEPT_MAX = 64 };

static void accept_arm(struct io_listener *listener)
{
    if (listener->pending || !listener->wanted || listener->closing || listener->io->closing) {
        return;
    }
    struct io_uring_sqe *sqe = uring_sqe(listener->io);
    io_uring_prep_multishot_accept(sqe, listener->fd, NULL, NULL, SOCK_CLOEXEC);
    uring_name_op(sqe, listener, URING_ACCEPT);
    listener->pending  = true;
    listener->retry_ns = 0;
}

static void accept_cancel(struct io_listener *listener)
{
    if (listener->pending && !listener->cancelling) {
        listener->cancelling = true;
        uring_cancel(listener->io, listener, URING_ACCEPT);
    }
}

static int listener_open(const struct io_listen_spec *spec, const struct sockaddr_storage *address)
{
    bool      six  = address->ss_family == AF_INET6;
    socklen_t size = six ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    int       on = 1, off = 0;
    int       fd = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (six) { /* "::" takes IPv4 too */
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* accepted sockets inherit it */
    if ((spec->reuse_port && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0) ||
        bind(fd, (const struct sockaddr *)address, size) != 0 || listen(fd, (int)spec->backlog) != 0) {
        int error = -errno;
        close(fd);
        return error;
    }
    return fd;
}

/* 0 once nobody else has the address: only a listener that does not share it can tell. */
static int await_alone(const struct io_listen_spec *spec, const struct sockaddr_storage *address)
{
    struct io_listen_spec alone = *spec;
    alone.reuse_port            = false;
    unsigned looks              = 0;
    char     what[96];
    int      fd;
    snprintf(what, sizeof what, "%s:%u", spec->address, spec->port);
    do {
        fd = listener_open(&alone, address);
    } while (fd == -EADDRINUSE && leftover_wait(&looks, what));
    if (fd >= 0) {
        close(fd);
    }
    return fd < 0 ? fd : 0;
}

static uint16_t bound_port(int fd)
{
    struct sockaddr_storage address = {0};
    socklen_t               size    = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &size) != 0) {
        return 0;
    }
    return ntohs(address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&address)->sin6_port
                                               : ((struct sockaddr_in *)&address)->sin_port);
}

static int listen_on(const struct io_listen_spec *spec)
{
    struct sockaddr_storage address;
    if (unix_path(spec->address) != NULL) {
        unsigned looks = 0;
        int      fd;
        do {
            fd = unix_listen(unix_path(spec->address), spec->backlog, spec->mode);
        } while (fd == -EADDRINUSE && leftover_wait(&looks, spec->address));
        return fd;
    }
    if (!name_parse(spec->address, spec->port, &address)) {
        return -EINVAL;
    }
    int result = spec->first ? await_alone(spec, &address) : 0;
    return result < 0 ? result : listener_open(spec, &address);
}

int io_listen(struct io *io, const struct io_listen_spec *spec, struct io_listener **out)
{
    struct io_listener *listener = calloc(1, sizeof *listener);
    if (listener == NULL) {
        return -ENOMEM;
    }
    int fd = listen_on(spec);
    if (fd < 0) {
        free(listener);
        return fd;
    }
    listener->path     = unix_path(spec->address) != NULL ? strdup(unix_path(spec->address)) : NULL;
    listener->io       = io;
    listener->accepted = spec->accepted;
    listener->ctx      = spec->ctx;
    listener->fd       = fd;
    listener->port     = bound_port(fd);
    listener->movable  = spec->movable;
    listener->wanted   = true;
    list_push_back(&io->listeners, &listener->link);
    accept_arm(listener);
    *out = listener;
    return 0;
}

uint16_t io_listener_port(const struct io_listener *listener)
{
    return listener->port;
}

void io_listener_accepting(struct io_listener *listener, bool on)
{
    listener->wanted = on;
    if (on) {
        accept_arm(listener);
    } else {
        accept_cancel(listener);
    }
}

static void listener_free(struct io_listener *listener)
{
    list_remove(&listener->link);
    close(listener->fd);
    if (listener->path != NULL) {
        unlink(listener->path);
        free(listener->path);
    }
    free(listener);
}

void io_listener_close(struct io_listener *listener)
{
    listener->closing = true;
    if (listener->pending) {
        accept_cancel(listener);
    } else {
        listener_free(listener);
    }
}

void listeners_free(struct io *io)
{
    LIST_EACH (&io->listeners, link) {
        listener_free(CONTAINER_OF(link, struct io_listener, link));
    }
}

/* Some are kept for what this side connects to: a broker full of clients has to find its store again. */
static bool has_place(const struct io *io)
{
    uint32_t kept = io->sockets_max / 16 < KEPT_MAX ? io->sockets_max / 16 : KEPT_MAX;
    return io->slots_free > kept && io->sockets_open + kept < io->sockets_max;
}

static void turn_away(struct io_listener *listener, int fd)
{
    uint64_t suppressed = 0;
    close(fd);
    listener->io->turned_away++;
    if (log_allowed(&listener->complaint, listener->io->now_ns, complain_every, &suppressed)) {
        log_warn(
            "a connection to port %u was closed at once: one thread has as many as it may, %u (%llu more of these)",
            listener->port, listener->io->sockets_max, (unsigned long long)suppressed);
    }
}

static void accept_failed(struct io_listener *listener, int error)
{
    uint64_t suppressed = 0;
    listener->retry_ns  = listener->io->now_ns + retry_after_ns;
    if (log_allowed(&listener->complaint, listener->io->now_ns, complain_every, &suppressed)) {
        log_warn("connections to port %u cannot be accepted now: %s: %s (%llu more of these)", listener->port,
                 err_name(error), err_sentence(error), (unsigned long long)suppressed);
    }
}

/* A connection is here, but nobody may have it. */
static bool accept_unwanted(const struct io_listener *listener)
{
    return listener->closing || listener->io->closing;
}

static void accept_one(struct io_listener *listener, int fd)
{
    struct io *io = listener->io;
    if (accept_unwanted(listener)) {
        close(fd);
        return;
    }
    if (!has_place(io)) {
        turn_away(listener, fd);
        return;
    }
    struct io_socket *socket = socket_new(io, fd, listener->movable);
    if (socket != NULL) {
        listener->accepted(listener->ctx, socket);
    }
}

uint64_t io_turned_away(const struct io *io)
{
    return io->turned_away;
}

void listener_on_accept(struct io_listener *listener, int result, uint32_t flags)
{
    if ((flags & IORING_CQE_F_MORE) == 0) {
        listener->pending    = false;
        listener->cancelling = false;
    }
    if (result >= 0) {
        accept_one(listener, result);
    } else if (result != -ECANCELED && result != -ECONNABORTED && result != -EINTR && result != -EAGAIN &&
               !accept_unwanted(listener)) {
        accept_failed(listener, result);
    }
    if (listener->pending || listener->io->closing) {
        return;
    }
    if (listener->closing) {
        listener_free(listener);
    } else if (listener->retry_ns == 0) {
        accept_arm(listener);
    }
}

void listeners_after_turn(struct io *io)
{
    LIST_EACH (&io->listeners, link) {
        struct io_listener *listener = CONTAINER_OF(link, struct io_listener, link);
        if (listener->retry_ns != 0 && listener->retry_ns <= io->now_ns) {
            listener->retry_ns = 0;
            accept_arm(listener);
        }
    }
}

uint64_t listeners_deadline_ns(const struct io *io)
{
    uint64_t deadline_ns = UINT64_MAX;
    LIST_EACH (&io->listeners, link) {
        const struct io_listener *listener = CONTAINER_OF(link, const struct io_listener, link);
        if (listener->retry_ns != 0 && listener->retry_ns < deadline_ns) {
            deadline_ns = listener->retry_ns;
        }
    }
    return deadline_ns;
}
