/* uring_send.c - sending: one send at a time, of one piece or many. */
#include "shared/loop/uring.h"

#include "shared/mem/pool.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

enum { PIECES_MAX = 64 };

static void send_submit(struct io_socket *socket)
{
    struct io_uring_sqe *sqe = uring_sqe(socket->io);
    if (socket->send_many) {
        io_uring_prep_sendmsg(sqe, socket->fd, &socket->send->header, MSG_WAITALL | MSG_NOSIGNAL);
    } else {
        io_uring_prep_send(sqe, socket->fd, socket->send_data, socket->send_left_bytes, MSG_WAITALL | MSG_NOSIGNAL);
    }
    socket_name_op(socket, sqe, URING_SEND);
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
        ASSERT_MEMORY(socket->send != NULL);
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
            socket_ending(socket);
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
        socket_moving(socket);
    }
}

/* After this the kernel no longer looks at the bytes of a send that is under way: those that it took go out, a send that waits
 * for the peer to read is ended. What was only queued in this turn is submitted first, so that a last packet is sent. */
void socket_send_settle(struct io_socket *socket)
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
