/* uring_receive.c - receiving: one multishot operation that fills provided buffers. */
#include "shared/loop/uring.h"

#include <errno.h>

/* How much a peer may go on talking after we said goodbye. */
enum { DRAIN_MAX_BYTES = 64 * 1024 };

void socket_recv_cancel(struct io_socket *socket)
{
    list_remove(&socket->starved_link);
    if (socket->recv_pending && !socket->recv_cancelling) {
        socket->recv_cancelling = true;
        uring_cancel(socket->io, socket, URING_RECV);
    }
}

void socket_recv_arm(struct io_socket *socket)
{
    if (socket->recv_pending || list_linked(&socket->starved_link) || socket->io->closing) {
        return;
    }
    struct io_uring_sqe *sqe = uring_sqe(socket->io);
    io_uring_prep_recv_multishot(sqe, socket->fd, NULL, 0, 0);
    socket_name_op(socket, sqe, URING_RECV);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group       = 0;
    socket->recv_pending = true;
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
            socket_recv_arm(socket);
        }
        break;
    case SOCKET_MOVING:
        socket_moving(socket);
        break;
    case SOCKET_ENDING:
        socket_ending(socket);
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
        socket_ending(socket);
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
        socket_recv_arm(socket); /* when a cancel is under way, the end of it arms again */
    } else {
        socket_recv_cancel(socket);
    }
}
