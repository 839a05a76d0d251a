/* uring.c - the ring of one thread: everything that is asked for in a turn goes to the kernel in one call, which also sleeps. */
#include "shared/loop/uring.h"

#include "shared/mem/pool.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* A turn rarely asks for more than 1024 things; a burst of multishot completions is four times that. */
enum { SQ_ENTRIES = 1024, CQ_ENTRIES = 4 * SQ_ENTRIES };
/* Descriptors that are not sockets: ring, bell, listeners, files, those of other libraries. */
enum { FILES_RESERVE = 64 };
/* Threads of the ring that carry out what may block without bound (shutdown); they are needed for moments only. */
enum { UNBOUNDED_WORKERS_MAX = 16 };
enum { RECV_GROUP = 0 };

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- open and close ------------------------------------------------------------------------------------------- */

/* From the best set of flags to the oldest, each without one more that the kernel may not know. */
static int ring_init(struct io *io)
{
    static const unsigned wanted[] = {
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL,
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL,
        IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL,
        IORING_SETUP_SUBMIT_ALL,
        0,
    };
    int error = -EINVAL;
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0] && error == -EINVAL; i++) {
        struct io_uring_params params = {
            .flags      = wanted[i] | IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE,
            .cq_entries = CQ_ENTRIES,
        };
        error            = io_uring_queue_init_params(SQ_ENTRIES, &io->ring, &params);
        io->taskrun_flag = (wanted[i] & IORING_SETUP_TASKRUN_FLAG) != 0;
    }
    return error;
}

static uint32_t sockets_allowed(uint32_t wanted, bool quiet)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return wanted;
    }
    if (limit.rlim_cur < limit.rlim_max) {
        struct rlimit raised = {.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};
        if (setrlimit(RLIMIT_NOFILE, &raised) == 0) {
            limit = raised;
        }
    }
    uint64_t most = limit.rlim_cur > 2 * FILES_RESERVE ? limit.rlim_cur - FILES_RESERVE : limit.rlim_cur / 2;
    if (wanted <= most) {
        return wanted;
    }
    if (!quiet) {
        log_warn("connections of one thread are limited to %llu instead of %u, because open files are limited to %llu "
                 "(RLIMIT_NOFILE, LimitNOFILE= in systemd)",
                 (unsigned long long)most, wanted, (unsigned long long)limit.rlim_cur);
    }
    return (uint32_t)most;
}

static int slots_init(struct io *io)
{
    int error = io_uring_register_files_sparse(&io->ring, io->sockets_max);
    if (error != 0) {
        return error;
    }
    io->slots = malloc(io->sockets_max * sizeof io->slots[0]);
    if (io->slots == NULL) {
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < io->sockets_max; i++) {
        io->slots[i] = io->sockets_max - 1 - i; /* the lowest index is on top */
    }
    io->slots_free = io->sockets_max;
    return 0;
}

static int recv_buffers_init(struct io *io)
{
    size_t memory_bytes = (size_t)io->recv_buffers * io->recv_buffer_bytes;
    size_t ring_bytes   = io->recv_buffers * sizeof(struct io_uring_buf);
    void  *memory       = mmap(NULL, memory_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        return -errno;
    }
    io->recv_memory = memory;
    void *entries   = mmap(NULL, ring_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (entries == MAP_FAILED) {
        return -errno;
    }
    io->recv_ring                  = entries;
    struct io_uring_buf_reg region = {
        .ring_addr = (uintptr_t)entries, .ring_entries = io->recv_buffers, .bgid = RECV_GROUP};
    int error = io_uring_register_buf_ring(&io->ring, &region, 0);
    if (error != 0) {
        return error;
    }
    io_uring_buf_ring_init(io->recv_ring);
    for (uint32_t i = 0; i < io->recv_buffers; i++) {
        io_uring_buf_ring_add(io->recv_ring, io->recv_memory + (size_t)i * io->recv_buffer_bytes, io->recv_buffer_bytes,
                              (unsigned short)i, io_uring_buf_ring_mask(io->recv_buffers), (int)i);
    }
    io_uring_buf_ring_advance(io->recv_ring, (int)io->recv_buffers);
    return 0;
}

/* The bell is polled, never read: every write to an eventfd is a completion of its own, and its counter does not fill up in a lifetime. */
static void bell_arm(struct io *io)
{
    struct io_uring_sqe *sqe = uring_sqe(io);
    io_uring_prep_poll_multishot(sqe, io->bell_fd, POLLIN);
    uring_name_op(sqe, io, URING_BELL);
}

static void workers_pin(struct io *io, int cpu)
{
    unsigned most[2] = {0, UNBOUNDED_WORKERS_MAX}; /* 0: as it is */
    io_uring_register_iowq_max_workers(&io->ring, most);
    if (cpu >= 0 && cpu < CPU_SETSIZE) {
        cpu_set_t cpus;
        CPU_ZERO(&cpus);
        CPU_SET((size_t)cpu, &cpus);
        int error = io_uring_register_iowq_aff(&io->ring, sizeof cpus, &cpus);
        if (error != 0) {
            log_warn("the worker threads of the ring cannot be pinned to core %d: %s", cpu, strerror(-error));
        }
    }
}

static void io_free(struct io *io)
{
    if (io->bell_fd >= 0) {
        close(io->bell_fd);
    }
    if (io->recv_ring != NULL) {
        munmap(io->recv_ring, io->recv_buffers * sizeof(struct io_uring_buf));
    }
    if (io->recv_memory != NULL) {
        munmap(io->recv_memory, (size_t)io->recv_buffers * io->recv_buffer_bytes);
    }
    pool_free(io->socket_pool);
    pool_free(io->send_pool);
    free(io->slots);
    free(io);
}

int io_open(const struct io_config *config, struct io **out, char *why, size_t why_size)
{
    ASSERT(config->sockets_max > 0 && config->recv_buffer_bytes > 0);
    ASSERT(config->recv_buffers > 0 && (config->recv_buffers & (config->recv_buffers - 1)) == 0 &&
           config->recv_buffers <= 32768);
    struct io *io = aligned_alloc(_Alignof(struct io), sizeof *io);
    if (io == NULL) {
        snprintf(why, why_size, "memory is out");
        return -ENOMEM;
    }
    *io                   = (struct io){.bell_fd = -1};
    io->sockets_max       = sockets_allowed(config->sockets_max, config->quiet);
    io->recv_buffers      = config->recv_buffers;
    io->recv_buffer_bytes = config->recv_buffer_bytes;
    list_init(&io->starved);
    list_init(&io->draining);
    list_init(&io->deferred);
    list_init(&io->plain);
    list_init(&io->listeners);
    list_init(&io->ops_failed);

    const char *call  = "io_uring_setup";
    int         error = ring_init(io);
    if (error != 0) {
        goto fail;
    }
    error = uring_probe_operations(&io->ring, &call);
    if (error != 0) {
        goto fail_ring;
    }
    call  = "io_uring_register of a file table";
    error = slots_init(io);
    if (error != 0) {
        goto fail_ring;
    }
    call  = "io_uring_register of receive buffers";
    error = recv_buffers_init(io);
    if (error != 0) {
        goto fail_ring;
    }
    call        = "eventfd";
    io->bell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (io->bell_fd < 0) {
        error = -errno;
        goto fail_ring;
    }
    call = "malloc";
    io->socket_pool =
        pool_new(sizeof(struct io_socket), UINT32_MAX); /* bounded by sockets_max, but for connects that fail at once */
    io->send_pool = pool_new(sizeof(struct uring_send), UINT32_MAX);
    if (io->socket_pool == NULL || io->send_pool == NULL) {
        error = -ENOMEM;
        goto fail_ring;
    }
    io_uring_ring_dontfork(&io->ring);
    io_uring_register_ring_fd(&io->ring); /* cheaper to enter; a kernel that refuses is used without */
    workers_pin(io, config->cpu);
    io->now_ns = clock_ns(CLOCK_MONOTONIC);
    bell_arm(io);
    *out = io;
    return 0;

fail_ring:
    io_uring_queue_exit(&io->ring);
fail:;
    struct uring_limits limits;
    uring_limits_read(&limits);
    uring_explain(call, error, &limits, why, why_size);
    io_free(io);
    return error;
}

static void dispatch(struct io *io, uint64_t user_data, int result, uint32_t flags);

/* Takes up to the completions that are there now, so that a turn ends. */
static void reap(struct io *io)
{
    for (unsigned ready = io_uring_cq_ready(&io->ring); ready > 0; ready--) {
        struct io_uring_cqe *cqe = NULL;
        if (io_uring_peek_cqe(&io->ring, &cqe) != 0 || cqe == NULL) {
            break;
        }
        /* Taken before the callback: what it does may look for completions itself. */
        uint64_t user_data = cqe->user_data;
        int      result    = cqe->res;
        uint32_t flags     = cqe->flags;
        io_uring_cqe_seen(&io->ring, cqe);
        dispatch(io, user_data, result, flags);
    }
}

void io_close(struct io *io)
{
    if (io == NULL) {
        return;
    }
    io->closing = true;
    names_wait(io);
    /* The kernel may still write into memory of ours and of our callers: wait for the last completion. */
    struct io_uring_sqe *sqe = uring_sqe(io);
    io_uring_prep_cancel64(sqe, 0, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
    uring_name_op(sqe, NULL, URING_IGNORE);
    while (io->inflight_count > 0) {
        struct io_uring_cqe     *cqe  = NULL;
        struct __kernel_timespec wait = {.tv_nsec = 100000000};
        io_uring_submit_and_wait_timeout(&io->ring, &cqe, 1, &wait, NULL);
        reap(io);
    }
    listeners_free(io);
    sockets_free(io);
    io_uring_unregister_files(&io->ring);
    io_uring_queue_exit(&io->ring);
    io_free(io);
}

/* ---- the turn ------------------------------------------------------------------------------------------------- */

struct io_uring_sqe *uring_sqe(struct io *io)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&io->ring);
    while (UNLIKELY(sqe == NULL)) {
        int submitted = io_uring_submit(&io->ring);
        ASSERT(submitted >= 0 || submitted == -EINTR || submitted == -EAGAIN || submitted == -EBUSY);
        sqe = io_uring_get_sqe(&io->ring);
    }
    io->inflight_count++;
    return sqe;
}

void uring_cancel(struct io *io, void *pointer, enum uring_kind kind)
{
    struct io_uring_sqe *sqe = uring_sqe(io);
    io_uring_prep_cancel64(sqe, (uint64_t)(uintptr_t)pointer | (uint64_t)kind, 0);
    uring_name_op(sqe, NULL, URING_IGNORE);
}

static void dispatch(struct io *io, uint64_t user_data, int result, uint32_t flags)
{
    void *pointer = (void *)(uintptr_t)(user_data & ~(uint64_t)URING_KIND_MASK);
    if ((flags & IORING_CQE_F_MORE) == 0) {
        ASSERT(io->inflight_count > 0);
        io->inflight_count--;
    }
    switch ((enum uring_kind)(user_data & URING_KIND_MASK)) {
    case URING_RECV:
        socket_on_recv(pointer, result, flags);
        break;
    case URING_SEND:
        socket_on_send(pointer, result);
        break;
    case URING_FILE:
        file_on_done(pointer, result);
        break;
    case URING_ACCEPT:
        listener_on_accept(pointer, result, flags);
        break;
    case URING_CONNECT:
        socket_on_connect(pointer, result);
        break;
    case URING_TEARDOWN:
        socket_on_teardown(pointer, result);
        break;
    case URING_BELL:
        if ((flags & IORING_CQE_F_MORE) == 0 && !io->closing) {
            bell_arm(io);
        }
        break;
    case URING_IGNORE:
        break;
    }
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Submits; with nothing to submit and nothing waiting in the kernel, stays out of it. */
static void turn_without_sleep(struct io *io)
{
    unsigned waiting = IO_URING_READ_ONCE(*io->ring.sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
    if (io_uring_sq_ready(&io->ring) > 0 || waiting != 0 || !io->taskrun_flag) {
        io_uring_submit_and_get_events(&io->ring);
    }
}

/* Submits and sleeps. Whoever rang before we lay down, or rings from now on, ends the sleep. */
static void turn_with_sleep(struct io *io, uint64_t deadline_ns)
{
    struct io_uring_cqe     *cqe  = NULL;
    struct __kernel_timespec wait = {0};
    if (deadline_ns != UINT64_MAX) {
        uint64_t now_ns = clock_ns(CLOCK_MONOTONIC); /* the turn before took its time */
        if (deadline_ns <= now_ns) {
            turn_without_sleep(io);
            return;
        }
        wait.tv_sec  = (long long)((deadline_ns - now_ns) / 1000000000u);
        wait.tv_nsec = (long long)((deadline_ns - now_ns) % 1000000000u);
    }
    int running = URING_RUNNING;
    if (!atomic_compare_exchange_strong_explicit(&io->wake_state, &running, URING_ASLEEP, memory_order_acq_rel,
                                                 memory_order_acquire)) {
        turn_without_sleep(io);
        return;
    }
    io_uring_submit_and_wait_timeout(&io->ring, &cqe, 1, deadline_ns == UINT64_MAX ? NULL : &wait, NULL);
}

void io_turn(struct io *io, uint64_t deadline_ns)
{
    bool told = io->shutdowns_wanted > 0 || !list_empty(&io->deferred) || !list_empty(&io->ops_failed) ||
                io_uring_cq_ready(&io->ring) > 0;
    if (told || deadline_ns == 0) {
        turn_without_sleep(io);
    } else {
        deadline_ns = earlier(deadline_ns, earlier(sockets_deadline_ns(io), listeners_deadline_ns(io)));
        turn_with_sleep(io, deadline_ns);
    }
    /* From here on a ring of the bell is for the next turn: mailboxes are read after this. */
    if (atomic_load_explicit(&io->wake_state, memory_order_relaxed) != URING_RUNNING) {
        atomic_exchange_explicit(&io->wake_state, URING_RUNNING, memory_order_acq_rel);
    }
    io->now_ns  = clock_ns(CLOCK_MONOTONIC);
    io->wall_ns = 0;
    if (io->begin != NULL) {
        io->begin(io->begin_ctx);
    }
    reap(io);
    names_after_turn(io);
    files_after_turn(io);
    sockets_after_turn(io);
    listeners_after_turn(io);
}

void io_on_begin(struct io *io, void (*begin)(void *ctx), void *ctx)
{
    io->begin     = begin;
    io->begin_ctx = ctx;
}

void io_wake(struct io *io)
{
    if (atomic_exchange_explicit(&io->wake_state, URING_RUNG, memory_order_acq_rel) == URING_ASLEEP) {
        uint64_t one     = 1;
        ssize_t  ignored = write(io->bell_fd, &one, sizeof one);
        (void)ignored;
    }
}

/* ---- clock and chance ----------------------------------------------------------------------------------------- */

uint64_t io_now_ns(struct io *io)
{
    return io->now_ns;
}

uint64_t io_wall_ns(struct io *io)
{
    if (io->wall_ns == 0) {
        io->wall_ns = clock_ns(CLOCK_REALTIME);
    }
    return io->wall_ns;
}

uint64_t io_random(struct io *io)
{
    if (io->random_left == 0) {
        ssize_t got = getrandom(io->random, sizeof io->random, 0); /* up to 256 bytes are never short */
        ASSERT(got == (ssize_t)sizeof io->random);
        io->random_left = sizeof io->random / sizeof io->random[0];
    }
    return io->random[--io->random_left];
}
