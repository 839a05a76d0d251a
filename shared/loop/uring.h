/* uring - what the files of the io_uring fulfilment of io.h share; nobody else includes this.
 *
 *   uring.c         the ring: set-up, the turn, wake, the clock
 *   uring_socket.c  sockets: the states of a life, the long goodbye, the move to another shard
 *   uring_place.c   sockets: memory, descriptor, peer
 *   uring_connect.c uring_receive.c uring_send.c    sockets: the operations
 *   uring_listen.c  listeners
 *   uring_name.c    host names, looked up on a thread of their own
 *   uring_file.c    files and directories
 *   uring_probe.c   which limit forbids io_uring
 *
 * An operation under way is named by a pointer and a kind in its low three bits (user_data). What the pointer points to lives until
 * the completion without IORING_CQE_F_MORE has been seen; inflight_count counts those that are missing.
 * Threads: the one that opened the io, but for wake_state, bell_fd and resolved. */
#ifndef KEEL_SHARED_LOOP_URING_H
#define KEEL_SHARED_LOOP_URING_H

#include "shared/base/list.h"
#include "shared/base/log.h"
#include "shared/loop/io.h"

#include <liburing.h>
#include <netinet/in.h>
#include <stdatomic.h>

struct pool;

enum uring_kind {
    URING_IGNORE,   /* no pointer; nobody waits for the result */
    URING_BELL,     /* io: somebody rang */
    URING_ACCEPT,   /* io_listener */
    URING_CONNECT,  /* io_socket */
    URING_RECV,     /* io_socket */
    URING_SEND,     /* io_socket */
    URING_TEARDOWN, /* io_socket: shutdown, then close */
    URING_FILE,     /* io_op */
};
enum { URING_KIND_MASK = 7 };

/* Where the thread of an io is. Every change is an exchange (acquire and release), so that of a waker and a sleeper one is first. */
enum uring_wake { URING_RUNNING, URING_RUNG, URING_ASLEEP };

/* Room for what the kernel reads when an operation is submitted: taken for connects and for sends of several pieces. */
struct uring_send {
    struct msghdr header;
    union {
        struct iovec            pieces[64];
        struct sockaddr_storage address;
    };
};

/* The address of a peer, as small as it can be: there are tens of thousands. */
struct uring_peer {
    uint8_t  ip[16];
    uint32_t scope;
    uint16_t port;
    uint16_t family;
};

enum socket_state {
    SOCKET_ACCEPTED,  /* has no handler yet */
    SOCKET_RESOLVING, /* a name is being looked up */
    SOCKET_CONNECTING,
    SOCKET_OPEN,
    SOCKET_MOVING,   /* waits until receive and send have ended */
    SOCKET_DRAINING, /* closed by us: write side shut, input thrown away */
    SOCKET_ENDING,   /* waits until no operation is under way */
    SOCKET_GONE,     /* its close is under way, or its failure waits to be told */
};

struct io_socket {
    struct io               *io;
    const struct io_handler *handler; /* NULL: no callbacks (any more) */
    void                    *ctx;
    struct list              link;         /* in io->draining or io->deferred */
    struct list              plain_link;   /* in io->plain: those that are descriptors, not in the registered table */
    struct list              starved_link; /* in io->starved: waits for receive buffers */
    union {
        struct uring_send *send;      /* of send_many, and of a connect */
        const uint8_t     *send_data; /* of a send of one piece */
    };
    void (*move_to)(void *ctx, int64_t handle);
    void             *moved_ctx;
    uint64_t          send_left_bytes;
    uint64_t          drain_deadline_ns;
    uint32_t          drained_bytes;
    int32_t           fd;     /* index in the registered table when fixed, else a file descriptor; -1: none */
    int32_t           result; /* of a connect that failed before it began */
    struct uring_peer peer;
    uint8_t           state; /* enum socket_state */
    bool              fixed           : 1;
    bool              send_many       : 1;
    bool              receiving       : 1; /* wanted by the owner */
    bool              recv_pending    : 1; /* a multishot receive is armed */
    bool              recv_cancelling : 1; /* and its cancel is under way */
    bool              send_pending    : 1;
    bool              connect_pending : 1;
    bool shutdown_wanted  : 1; /* in io->draining: if the peer does not end the connection in the next turn */
    bool shutdown_pending : 1;
};
_Static_assert(sizeof(struct io_socket) <= 192, "an idle connection is small");

struct io_listener {
    struct io       *io;
    struct list      link; /* in io->listeners */
    struct log_limit complaint;
    void (*accepted)(void *ctx, struct io_socket *socket);
    void    *ctx;
    uint64_t retry_ns; /* after a failed accept: not before; 0: now */
    char    *path;     /* of a Unix socket: removed at the end; else NULL */
    int      fd;
    uint16_t port;
    bool     movable;
    bool     wanted;
    bool     pending;    /* a multishot accept is armed */
    bool     cancelling; /* and its cancel is under way */
    bool     closing;
};

struct io {
    struct io_uring ring;
    uint64_t        now_ns;
    uint64_t        wall_ns;  /* 0: not read in this turn */
    void (*begin)(void *ctx); /* of each turn, or NULL */
    void    *begin_ctx;
    uint32_t inflight_count;
    bool     closing;      /* io_close: no more callbacks */
    bool     taskrun_flag; /* the kernel says in the ring when it has something for us */

    /* receive buffers */
    struct io_uring_buf_ring *recv_ring;
    uint8_t                  *recv_memory;
    uint32_t                  recv_buffers;
    uint32_t                  recv_buffer_bytes;
    struct list               starved;

    /* sockets */
    struct pool *socket_pool;
    struct pool *send_pool;
    uint32_t    *slots; /* free indices of the registered table, a stack */
    uint32_t     slots_free;
    uint32_t     sockets_max;
    uint32_t     sockets_open;
    struct list  draining; /* by deadline */
    uint32_t     shutdowns_wanted;
    struct list  plain;
    struct list  deferred; /* sockets that have something to tell in the next turn */
    struct list  listeners;
    uint64_t     turned_away; /* connections closed at once, for there was no place */

    /* files */
    struct list ops_failed; /* operations that failed before they began */

    uint64_t random[32];
    uint32_t random_left;

    /* other threads */
    _Alignas(128) _Atomic(int) wake_state;        /* enum uring_wake */
    int                          bell_fd;         /* eventfd, polled by the ring */
    _Atomic(struct uring_name *) resolved;        /* names that were looked up: a stack, pushed by their threads */
    _Atomic(uint32_t)            resolving_count; /* threads that look up names */
};

/* ---- uring.c ---- */

/* A submission entry; submits what is queued when the ring is full. The completion will be counted. */
struct io_uring_sqe *uring_sqe(struct io *io);
static inline void   uring_name_op(struct io_uring_sqe *sqe, void *pointer, enum uring_kind kind)
{
    sqe->user_data = (uint64_t)(uintptr_t)pointer | (uint64_t)kind;
}
/* Asks the kernel to end an operation; its own completion still comes. */
void uring_cancel(struct io *io, void *pointer, enum uring_kind kind);

/* ---- uring_socket.c ---- */

/* Into the next state; the table of what may follow what is there. */
void socket_step(struct io_socket *socket, enum socket_state next);
/* The submission entry is one on this socket. */
void socket_name_op(struct io_socket *socket, struct io_uring_sqe *sqe, enum uring_kind kind);
/* No more callbacks, and nothing more is wanted: it ends what is under way. */
void socket_end(struct io_socket *socket);
/* The connection is over by the peer's doing. */
void socket_break(struct io_socket *socket, int reason);
/* Closes the descriptor once no operation is under way. */
void socket_ending(struct io_socket *socket);
/* Gives it away once no operation is under way. */
void socket_moving(struct io_socket *socket);
void socket_on_teardown(struct io_socket *socket, int result);
/* After the completions of a turn: starved receivers, goodbyes that took too long, what waits to be told. */
void sockets_after_turn(struct io *io);
/* When sockets_after_turn wants to be called again; UINT64_MAX: no need. */
uint64_t sockets_deadline_ns(const struct io *io);

/* ---- uring_place.c ---- */

struct io_socket *socket_alloc(struct io *io, enum socket_state state);
/* Puts the descriptor into the registered table, where the kernel finds it without locks; a movable one stays a descriptor,
 * for only that can be given to another ring. Takes the descriptor in any case. */
MUST_CHECK int socket_place(struct io_socket *socket, int fd, bool movable);
/* None of its operations is under way. */
void socket_free(struct io_socket *socket);
void socket_peer_set(struct uring_peer *peer, const struct sockaddr_storage *address);
/* A socket for a connected descriptor, which it owns from here; NULL when there is no place (the descriptor is closed then). */
struct io_socket *socket_new(struct io *io, int fd, bool movable);
void              sockets_free(struct io *io);

/* ---- uring_receive.c ---- */

/* Unless it is armed, or waits for buffers. */
void socket_recv_arm(struct io_socket *socket);
void socket_recv_cancel(struct io_socket *socket);
void socket_on_recv(struct io_socket *socket, int result, uint32_t flags);

/* ---- uring_send.c ---- */

/* After this the kernel no longer looks at the bytes of a send that is under way. */
void socket_send_settle(struct io_socket *socket);
void socket_on_send(struct io_socket *socket, int result);

/* ---- uring_connect.c ---- */

void socket_on_connect(struct io_socket *socket, int result);
/* A name was looked up: connect, or tell that there is none (error). */
void socket_resolved(struct io_socket *socket, const struct sockaddr_storage *address, int error);

/* ---- uring_listen.c ---- */

void     listener_on_accept(struct io_listener *listener, int result, uint32_t flags);
void     listeners_after_turn(struct io *io);
uint64_t listeners_deadline_ns(const struct io *io);
void     listeners_free(struct io *io);

/* ---- uring_name.c ---- */

/* Looks up host on a thread of its own; the answer comes by socket_resolved in a later turn. 0 or -errno. */
MUST_CHECK int name_lookup(struct io_socket *socket, const char *host, uint16_t port);
void           names_after_turn(struct io *io);
/* Waits for the threads and forgets their answers. */
void names_wait(struct io *io);
/* A numeric address; false when it is a name. */
/* The path of "unix:/path", or NULL. */
const char *unix_path(const char *address);
/* A listening socket there, or -errno: -EADDRINUSE when somebody listens. What a killed process left there is removed. */
int  unix_listen(const char *path, uint32_t backlog, uint32_t mode);
bool name_parse(const char *text, uint16_t port, struct sockaddr_storage *out);

/* ---- uring_file.c ---- */

void file_on_done(struct io_op *op, int result);
void files_after_turn(struct io *io);

/* ---- uring_probe.c ---- */

/* What was found on this machine when io_uring_setup or a registration said no. -1: not known. */
struct uring_limits {
    int     disabled;      /* /proc/sys/kernel/io_uring_disabled */
    int64_t memlock_bytes; /* RLIMIT_MEMLOCK: now, and how far it may be raised; INT64_MAX: no limit */
    int64_t memlock_max_bytes;
    int64_t files; /* RLIMIT_NOFILE */
    int64_t files_max;
    char    kernel[65]; /* "6.18.44" */
};

void uring_limits_read(struct uring_limits *limits);
/* One sentence: what call failed with -error, which limit is the reason, how to lift it. */
void uring_explain(const char *call, int error, const struct uring_limits *limits, char *why, size_t why_size);
/* 0, or -ENOSYS when the ring lacks operations that are needed; missing then says which, for uring_explain. */
int uring_probe_operations(struct io_uring *ring, const char **missing);

#endif
