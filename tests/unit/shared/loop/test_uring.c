/* test_uring - the turn, the bell and the clock. */
#include "shared/loop/io.h"

#include "shared/loop/mailbox.h"
#include "shared/loop/thread.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static struct io *open_io(void)
{
    char             why[1024];
    struct io       *io     = NULL;
    struct io_config config = {.sockets_max = 16, .recv_buffers = 8, .recv_buffer_bytes = 4096, .cpu = 0};
    cr_assert_eq(io_open(&config, &io, why, sizeof why), 0, "%s", why);
    return io;
}

Test(loop_uring, a_turn_sleeps_until_its_deadline_and_not_longer)
{
    struct io *io = open_io();
    io_turn(io, 0);
    uint64_t start = io_now_ns(io);
    io_turn(io, start + 20000000);
    uint64_t slept = io_now_ns(io) - start;
    cr_assert(slept >= 20000000 && slept < 500000000, "%lu", slept);
    start = io_now_ns(io);
    for (int i = 0; i < 100; i++) {
        io_turn(io, 0);
        io_turn(io, start);
    }
    cr_assert_lt(io_now_ns(io) - start, 500000000u);
    io_close(io);
    io_close(NULL);
}

Test(loop_uring, a_wake_before_the_sleep_ends_the_next_one)
{
    struct io *io = open_io();
    io_turn(io, 0);
    uint64_t start = io_now_ns(io);
    io_wake(io);
    io_wake(io);
    io_turn(io, UINT64_MAX);
    cr_assert_lt(io_now_ns(io) - start, 500000000u);
    start = io_now_ns(io);
    io_turn(io, start + 20000000);
    cr_assert_geq(io_now_ns(io) - start, 20000000u, "two wakes are one");
    io_close(io);
}

static void wake_later(void *ctx)
{
    nanosleep(&(struct timespec){.tv_nsec = 30000000}, NULL);
    io_wake(ctx);
}

Test(loop_uring, another_thread_ends_a_sleep_without_limit)
{
    struct io     *io = open_io();
    struct thread *waker;
    for (int i = 0; i < 3; i++) {
        io_turn(io, 0);
        uint64_t start = io_now_ns(io);
        cr_assert_eq(thread_start(&waker, "waker", -1, wake_later, io), 0);
        io_turn(io, UINT64_MAX);
        uint64_t slept = io_now_ns(io) - start;
        cr_assert(slept >= 20000000 && slept < 2000000000, "%lu", slept);
        thread_join(waker);
    }
    io_close(io);
}

enum { MAILS = 200000 };

struct pair {
    struct mailbox *to_other;
    struct mailbox *to_us;
    _Atomic(bool)   ready;
};

/* Sends every mail back; sleeps without limit, so a lost wake hangs the test. */
static void echo_thread(void *ctx)
{
    struct pair     *pair   = ctx;
    struct io       *io     = NULL;
    struct io_config config = {.sockets_max = 16, .recv_buffers = 8, .recv_buffer_bytes = 4096, .cpu = -1};
    char             why[256];
    if (io_open(&config, &io, why, sizeof why) != 0) {
        abort();
    }
    mailbox_reader(pair->to_other, io);
    struct mail mail;
    bool        full = false; /* then mail is to be pushed once more */
    for (uint32_t echoed = 0; echoed < MAILS;) {
        while ((full || mailbox_pop(pair->to_other, &mail)) && !(full = !mailbox_push(pair->to_us, &mail))) {
            echoed++;
        }
        mailbox_ring(pair->to_us);
        io_turn(io, full || echoed == MAILS ? 0 : UINT64_MAX);
    }
    while (!atomic_load(&pair->ready)) {
        io_turn(io, 0);
    }
    mailbox_reader(pair->to_other, NULL);
    io_close(io);
}

Test(loop_uring, no_wake_between_two_sleeping_shards_is_lost)
{
    struct io     *io   = open_io();
    struct pair    pair = {.to_other = mailbox_new(64), .to_us = mailbox_new(64)};
    struct thread *other;
    uint32_t       sent = 0, got = 0;
    mailbox_reader(pair.to_us, io);
    cr_assert_eq(thread_start(&other, "echo", -1, echo_thread, &pair), 0);
    while (got < MAILS) {
        uint32_t burst = 1 + got % 50;
        while (burst-- > 0 && sent < MAILS && mailbox_push(pair.to_other, &(struct mail){.number = sent})) {
            sent++;
        }
        mailbox_ring(pair.to_other);
        struct mail mail;
        uint32_t    before = got;
        while (mailbox_pop(pair.to_us, &mail)) {
            cr_assert_eq(mail.number, got);
            got++;
        }
        /* when some are on their way, only the other's bell ends the sleep */
        uint64_t give_up_ns = io_now_ns(io) + 5000000000u;
        io_turn(io, got > before || sent == got ? 0 : give_up_ns);
        cr_assert_lt(io_now_ns(io), give_up_ns, "asleep with mail on its way");
    }
    atomic_store(&pair.ready, true);
    thread_join(other);
    io_close(io);
    mailbox_free(pair.to_other);
    mailbox_free(pair.to_us);
}

Test(loop_uring, clocks_go_forward_and_chance_does_not_repeat)
{
    struct io *io  = open_io();
    uint64_t   now = io_now_ns(io);
    cr_assert_eq(io_now_ns(io), now, "read once per turn");
    cr_assert_gt(io_wall_ns(io), 1700000000ull * 1000000000ull);
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    io_turn(io, 0);
    cr_assert_gt(io_now_ns(io), now);
    uint64_t seen[200];
    for (int i = 0; i < 200; i++) {
        seen[i] = io_random(io);
        for (int j = 0; j < i; j++) {
            cr_assert_neq(seen[i], seen[j]);
        }
    }
    io_close(io);
}

/* In a process of its own: limits cannot be raised again by everyone. */
static void with_limits(int resource, rlim_t value, void (*check)(void))
{
    pid_t child = fork();
    if (child == 0) {
        struct rlimit limit = {.rlim_cur = value, .rlim_max = value};
        if (setrlimit((__rlimit_resource_t)resource, &limit) != 0 || setgid(65534) != 0 || setuid(65534) != 0) {
            _exit(2);
        }
        check();
        _exit(0);
    }
    int status = 0;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", (unsigned)status);
}

static void open_as_nobody(void)
{
    char             why[1024];
    struct io       *io     = NULL;
    struct io_config config = {.sockets_max = 4096, .recv_buffers = 64, .recv_buffer_bytes = 16384, .cpu = -1};
    for (int i = 0; i < 4; i++) { /* the shards of one process */
        if (io_open(&config, &io, why, sizeof why) != 0) {
            fprintf(stderr, "%s\n", why);
            _exit(3);
        }
        io_turn(io, 0);
    }
}

Test(loop_uring, opens_for_an_ordinary_user_with_8_MiB_of_locked_memory)
{
    if (getuid() != 0) {
        open_as_nobody();
        return;
    }
    with_limits(RLIMIT_MEMLOCK, 8 << 20, open_as_nobody);
}

Test(loop_uring, opens_with_fewer_sockets_when_open_files_are_limited)
{
    if (getuid() != 0) {
        return;
    }
    with_limits(RLIMIT_NOFILE, 256, open_as_nobody);
}
