/* io - the port between a shard and the world: sockets, files, the clock.
 * Two fulfilments, chosen at link time: shared/loop/uring*.c (io_uring; each verb in the file of its section, sockets one file for
 * each part of their life) and tests/sim/ (a seeded world of virtual time, network and disks).
 * While it serves, a shard touches the world through here only; start-up, the operators' HTTP and workers have system calls of their own.
 *
 *   one thread:   for (;;) { deadline = shard_turn(shard); io_turn(io, deadline); }
 *   io_turn       submits what was asked for, sleeps until something completes, the deadline passes or io_wake rings,
 *                 then calls the callbacks of all that completed; callbacks may ask for more.
 *
 * Nothing is submitted to the kernel before the turn ends: one system call per turn.
 * Threads: a struct io belongs to the thread that runs it; io_wake alone may be called by others.
 * Units: _ns on a monotonic clock unless the name says wall; sizes in bytes.   Errors: negative, err.h. */
#ifndef KEEL_SHARED_LOOP_IO_H
#define KEEL_SHARED_LOOP_IO_H

#include "shared/base/assert.h"
#include "shared/base/bytes.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct io;

struct io_config {
    uint32_t sockets_max;       /* open at once on this shard; one that comes beyond is closed at once */
    uint32_t recv_buffers;      /* provided buffers, a power of two (64) */
    uint32_t recv_buffer_bytes; /* each (16 KiB); all of them should fit the L2 cache */
    int      cpu;               /* core to pin the worker threads of the ring to, or -1 */
    bool     quiet;             /* another io of this process has told of the limits that they share */
};

/* What a forbidden or missing io_uring looks like to a user: one sentence naming the limit and how to lift it is
 * written into why. Returns 0 and *out, or -errno. */
MUST_CHECK int io_open(const struct io_config *config, struct io **out, char *why, size_t why_size);
void           io_close(struct io *io);

uint64_t io_now_ns(struct io *io);  /* monotonic, read once per turn */
uint64_t io_wall_ns(struct io *io); /* since 1970, read once per turn */
uint64_t io_random(struct io *io);

/* Runs one turn; sleeps at most until deadline_ns (0: does not sleep, UINT64_MAX: no limit). */
void io_turn(struct io *io, uint64_t deadline_ns);
/* Called in every turn once the clock has been read, before any callback of the turn. One per io. */
void io_on_begin(struct io *io, void (*begin)(void *ctx), void *ctx);
/* Ends the sleep of another thread's io_turn, now or the next one. Cheap when it does not sleep. Any thread. */
void io_wake(struct io *io);

/* ---- sockets ------------------------------------------------------------------------------------------------- */

struct io_socket;

/* Callbacks of one socket. After closed(), or after io_socket_close(), none is called again. */
struct io_handler {
    void (*connected)(void *ctx, int result);       /* of io_connect only: 0 or an error (then it is closed already) */
    void (*received)(void *ctx, struct bytes data); /* borrowed until it returns; may be many per turn */
    void (*sent)(void *ctx, int result);            /* all bytes of io_socket_send were taken (0), or an error */
    void (*closed)(void *ctx, int reason); /* the peer closed (0) or the connection broke (error); the socket is gone */
};

struct io_listener;

struct io_listen_spec {
    /* "127.0.0.1", "0.0.0.0", "::", or "unix:/path" (port and the two flags below mean nothing then). */
    const char *address;
    uint32_t    mode;       /* of that path: who may connect, as chmod has it */
    uint16_t    port;       /* 0 picks a free one */
    bool        reuse_port; /* several shards listen on the same port */
    bool        first;      /* of this process: -EADDRINUSE when somebody listens there already (tried for 5 s) */
    bool        movable;    /* accepted sockets may be passed to another shard (io_socket_move) */
    uint32_t    backlog;
    /* A new connection: give it a handler at once with io_socket_adopt or close it. */
    void (*accepted)(void *ctx, struct io_socket *socket);
    void *ctx;
};

MUST_CHECK int io_listen(struct io *io, const struct io_listen_spec *spec, struct io_listener **out);
uint16_t       io_listener_port(const struct io_listener *listener);
/* Stops and starts accepting (the backlog waits in the kernel). */
void io_listener_accepting(struct io_listener *listener, bool on);
void io_listener_close(struct io_listener *listener);
/* Connections that were closed at once, for there was no place (sockets_max). */
uint64_t io_turned_away(const struct io *io);

/* Never fails here: a failure is reported by handler->connected. handler must outlive the socket. */
struct io_socket *io_connect(struct io *io, const char *address, uint16_t port, const struct io_handler *handler,
                             void *ctx);
/* Gives an accepted socket its handler and starts receiving. */
void io_socket_adopt(struct io_socket *socket, const struct io_handler *handler, void *ctx);
/* Back-pressure: while off, at most what is under way arrives still. */
void io_socket_receiving(struct io_socket *socket, bool on);
/* Sends all of iov (1 to 64), copied here; the memory behind it lives until sent(). One at a time per socket. */
void io_socket_send(struct io_socket *socket, const struct iovec *iov, int count);
/* Closes without further callbacks. Bytes handed to the kernel earlier still go out; unread input does not turn
 * them into a reset (the write side is shut first and input is drained for a bounded time). */
void io_socket_close(struct io_socket *socket);
/* "address:port" of the peer, for logs. Returns buffer. */
const char *io_socket_peer(const struct io_socket *socket, char *buffer, size_t size);
/* Passes an accepted movable socket to another shard: receiving stops, then moved(ctx, handle) is called, the socket is gone here
 * and handle goes through a mailbox to the other thread, which calls io_socket_attach. Bytes already received stay with the caller. */
void io_socket_move(struct io_socket *socket, void (*moved)(void *ctx, int64_t handle), void *ctx);
/* The socket in its new home; NULL when the table is full (the connection is then closed). Adopt it at once. */
struct io_socket *io_socket_attach(struct io *io, int64_t handle);

/* ---- files ---------------------------------------------------------------------------------------------------- */

struct io_file;

/* A file operation under way. The caller owns it and the memory it moves, until done() is called, once. */
struct io_op {
    void (*done)(struct io_op *op, int result); /* bytes moved (never short but at end of file), 0, or an error */
    void *ctx;
    uint64_t private[12];
};

enum io_open_flags {
    IO_OPEN_CREATE    = 1, /* make it when it is missing */
    IO_OPEN_EXCLUSIVE = 2, /* fail with -EEXIST when it is there */
    IO_OPEN_DIRECT    = 4, /* O_DIRECT: buffers, offsets and sizes are multiples of IO_ALIGN_BYTES. Falls back to a
                              buffered file with durable writes where the file system (tmpfs) has none, and logs it once */
    IO_OPEN_READ_ONLY = 8,
};

enum { IO_ALIGN_BYTES = 4096 };

/* Synchronous: for start-up, and for rare steps whose cost is a path look-up. */
MUST_CHECK int io_mkdir(struct io *io, const char *path); /* parents too; 0 when it exists */
MUST_CHECK int io_file_open(struct io *io, const char *path, unsigned flags, struct io_file **out);
void           io_file_close(struct io_file *file);
int64_t        io_file_size(struct io_file *file); /* bytes, or an error */
/* An exclusive lock held until the process dies; -EBUSY when another process has it (tried for 5 s). name: for the log. */
MUST_CHECK int io_file_lock(struct io_file *file, const char *name);
/* Calls each(ctx, name) for every entry but "." and "..", in name order. */
MUST_CHECK int io_list(struct io *io, const char *directory, void (*each)(void *ctx, const char *name), void *ctx);

void io_read(struct io_file *file, struct io_op *op, void *memory, size_t size, uint64_t offset);
void io_write(struct io_file *file, struct io_op *op, const void *memory, size_t size, uint64_t offset);
/* Done when the bytes would survive a power failure (RWF_DSYNC). */
void io_write_durable(struct io_file *file, struct io_op *op, const void *memory, size_t size, uint64_t offset);
/* Room for the first size bytes of a file, which read as zeros where nothing was written; without writing them. -EOPNOTSUPP where the file system cannot.
 * Lasts when the file was synced. */
void io_allocate(struct io_file *file, struct io_op *op, uint64_t size);
/* File contents and size. A failure is final: never call it again for the same data. */
void io_sync(struct io_file *file, struct io_op *op);
void io_sync_directory(struct io *io, struct io_op *op, const char *path);
/* Paths are copied. */
void io_rename(struct io *io, struct io_op *op, const char *from, const char *to);
void io_unlink(struct io *io, struct io_op *op, const char *path);

/* Bytes free for us on the file system of path, or an error. Synchronous. */
int64_t io_free_bytes(struct io *io, const char *path);

#endif
