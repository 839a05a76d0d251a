/* uring_socket.c - the life of a connection.
 *
 *   accept ─ ACCEPTED ─ adopt ──┐                ┌─ peer closed or broke ──────────────────┐
 *   connect ─ (RESOLVING) ─ CONNECTING ─ OPEN ───┼─ io_socket_close ─ DRAINING ─ end of ───┼─ ENDING ─ GONE ─ freed
 *                                                │                               input     │
 *                                                └─ io_socket_move ─ MOVING ─ (given away) ┘
 *
 * A socket is freed only when none of its operations is under way, so a callback may close the socket it is called for.
 * After closed() or io_socket_close() the caller may free what it was sending: socket_send_settle ends the send first. */
#include "shared/loop/uring.h"

#include "shared/base/sm.h"

#include <sys/socket.h>

/* How long a peer may go on talking after we said goodbye. */
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

void socket_step(struct io_socket *socket, enum socket_state next)
{
    sm_step(socket_states, &socket->state, (uint8_t)next);
}

void socket_name_op(struct io_socket *socket, struct io_uring_sqe *sqe, enum uring_kind kind)
{
    if (socket->fixed) {
        sqe->flags |= IOSQE_FIXED_FILE;
    }
    uring_name_op(sqe, socket, kind);
}

/* ---- the end -------------------------------------------------------------------------------------------------- */

void socket_ending(struct io_socket *socket)
{
    if (socket->recv_pending || socket->send_pending || socket->connect_pending || socket->shutdown_pending) {
        return;
    }
    socket_step(socket, SOCKET_GONE);
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

static void shutdown_settle(struct io_socket *socket)
{
    if (socket->shutdown_wanted) {
        socket->shutdown_wanted = false;
        socket->io->shutdowns_wanted--;
    }
}

void socket_end(struct io_socket *socket)
{
    socket->handler = NULL;
    shutdown_settle(socket);
    list_remove(&socket->link);
    socket_step(socket, SOCKET_ENDING);
    socket_recv_cancel(socket);
    if (socket->connect_pending) {
        uring_cancel(socket->io, socket, URING_CONNECT);
    }
    socket_ending(socket);
}

void socket_break(struct io_socket *socket, int reason)
{
    const struct io_handler *handler = socket->handler;
    void                    *ctx     = socket->ctx;
    socket_send_settle(socket);
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
        socket_ending(socket);
    }
}

/* ---- adopt, close, move --------------------------------------------------------------------------------------- */

void io_socket_adopt(struct io_socket *socket, const struct io_handler *handler, void *ctx)
{
    ASSERT(socket->state == SOCKET_ACCEPTED && handler != NULL);
    socket->handler = handler;
    socket->ctx     = ctx;
    socket_step(socket, SOCKET_OPEN);
    socket_recv_arm(socket);
}

void io_socket_close(struct io_socket *socket)
{
    struct io *io = socket->io;
    ASSERT(socket->state <= SOCKET_MOVING || (socket->state == SOCKET_GONE && socket->handler != NULL));
    socket_send_settle(socket);
    socket->handler = NULL;
    if (socket->state == SOCKET_GONE) { /* a connect that failed at once and is not told yet: now it will not be */
        return;
    }
    if (socket->state == SOCKET_RESOLVING || socket->state == SOCKET_CONNECTING) {
        socket_end(socket);
        return;
    }
    socket_step(socket, SOCKET_DRAINING);
    list_remove(&socket->link);
    socket->receiving         = true;
    socket->shutdown_wanted   = true;
    socket->drain_deadline_ns = io->now_ns + drain_max_ns;
    list_push_back(&io->draining, &socket->link);
    io->shutdowns_wanted++;
    socket_recv_arm(socket);
}

void socket_moving(struct io_socket *socket)
{
    if (!socket->recv_pending && !socket->send_pending && !list_linked(&socket->link)) {
        list_push_back(&socket->io->deferred, &socket->link);
    }
}

static void shutdown_submit(struct io_socket *socket)
{
    struct io_uring_sqe *sqe = uring_sqe(socket->io);
    io_uring_prep_shutdown(sqe, socket->fd, SHUT_WR);
    socket_name_op(socket, sqe, URING_TEARDOWN);
    socket->shutdown_pending = true;
    shutdown_settle(socket);
}

void io_socket_move(struct io_socket *socket, void (*moved)(void *ctx, int64_t handle), void *ctx)
{
    ASSERT(socket->state == SOCKET_OPEN && !socket->fixed); /* accepted by a listener whose sockets are movable */
    socket_step(socket, SOCKET_MOVING);
    socket->move_to   = moved;
    socket->moved_ctx = ctx;
    socket_recv_cancel(socket);
    socket_moving(socket);
}

static void moved_away(struct io_socket *socket)
{
    void (*moved)(void *, int64_t) = socket->move_to;
    void   *ctx                    = socket->moved_ctx;
    int64_t handle                 = socket->fd;
    socket_step(socket, SOCKET_GONE);
    socket_free(socket);
    moved(ctx, handle);
}

struct io_socket *io_socket_attach(struct io *io, int64_t handle)
{
    ASSERT(handle >= 0 && handle <= INT32_MAX);
    return socket_new(io, (int)handle, false);
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
        socket_recv_arm(socket);
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
