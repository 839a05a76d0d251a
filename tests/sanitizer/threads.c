/* threads - what crosses between two shards, under the thread sanitizer: mail with bodies, bells, full boxes, names that are looked up.
 *
 * There are more balls than one box has slots, and fewer than both: boxes get full, and never both at once. Each thread has a ring; number n goes to the other side and comes back as n + 1 until LAPS are done. */
#include "shared/loop/io.h"
#include "shared/loop/mailbox.h"
#include "shared/loop/thread.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS = 8, BALLS = 12, LAPS = 20000, BODY_WORDS = 16, LOOKUPS = 4 };

struct side {
    struct mailbox    *in;
    struct mailbox    *out;
    struct io         *io;
    pthread_barrier_t *end; /* nobody rings any more */
    uint64_t           taken;
    unsigned           answers; /* to lookups */
    bool               serves;
};

static struct io *ring(void)
{
    char                   why[512];
    struct io             *io     = NULL;
    const struct io_config config = {.sockets_max = 16, .recv_buffers = 8, .recv_buffer_bytes = 4096, .cpu = -1};
    int                    opened = io_open(&config, &io, why, sizeof why);
    ASSERT(opened == 0);
    return io;
}

static void pass_on(struct side *self, uint64_t *body, uint64_t lap)
{
    for (int i = 0; i < BODY_WORDS; i++) {
        body[i] = lap + (uint64_t)i;
    }
    const struct mail mail = {.kind = 1, .number = BODY_WORDS, .value = lap, .body = body};
    while (!mailbox_push(self->out, &mail)) { /* full: the other side is woken and makes room */
        mailbox_ring(self->out);
        io_turn(self->io, io_now_ns(self->io) + 100000);
    }
}

static void take(struct side *self)
{
    struct mail mail;
    while (mailbox_pop(self->in, &mail)) {
        uint64_t *body = mail.body;
        for (uint32_t i = 0; i < mail.number; i++) {
            ASSERT(body[i] == mail.value + i);
        }
        self->taken++;
        if (mail.value >= LAPS) {
            free(body);
            continue;
        }
        pass_on(self, body, mail.value + 1);
    }
}

static void on_connected(void *ctx, int result)
{
    struct side *self = ctx;
    (void)result; /* nobody listens there, or the name is unknown: the way of the answer is what is looked at */
    self->answers++;
}

static void play(void *ctx)
{
    static const struct io_handler handler = {.connected = on_connected};
    struct side                   *self    = ctx;
    self->io                               = ring();
    mailbox_reader(self->in, self->io);
    for (uint64_t ball = 0; self->serves && ball < BALLS; ball++) {
        uint64_t *body = malloc(BODY_WORDS * sizeof *body);
        ASSERT(body != NULL);
        pass_on(self, body, ball % 2);
    }
    for (int i = 0; i < LOOKUPS; i++) {
        (void)io_connect(self->io, "localhost", 1, &handler, self);
    }
    /* Half of the balls begin at lap 0, half at lap 1: the side that serves sees half of the laps, the other the first serves too. */
    const uint64_t wanted = (uint64_t)BALLS * LAPS / 2 + (self->serves ? 0 : BALLS / 2);
    while (self->taken < wanted || self->answers < LOOKUPS) {
        take(self);
        mailbox_ring(self->out);
        io_turn(self->io, self->taken < wanted ? UINT64_MAX : io_now_ns(self->io) + 1000000);
    }
    pthread_barrier_wait(self->end);
    io_close(self->io); /* a ring belongs to the thread that opened it */
}

static void mail_bodies_and_bells_cross_between_two_rings(void)
{
    struct mailbox   *there = mailbox_new(SLOTS);
    struct mailbox   *back  = mailbox_new(SLOTS);
    pthread_barrier_t end;
    pthread_barrier_init(&end, NULL, 2);
    struct side    one    = {.in = back, .out = there, .end = &end, .serves = true};
    struct side    two    = {.in = there, .out = back, .end = &end};
    struct thread *first  = NULL;
    struct thread *second = NULL;
    int            ok     = thread_start(&first, "one", -1, play, &one);
    ASSERT(ok == 0);
    ok = thread_start(&second, "two", -1, play, &two);
    ASSERT(ok == 0);
    thread_join(first);
    thread_join(second);
    struct side *sides[2] = {&one, &two};
    for (int i = 0; i < 2; i++) {
        struct mail mail;
        while (mailbox_pop(sides[i]->in, &mail)) {
            free(mail.body);
        }
    }
    pthread_barrier_destroy(&end);
    mailbox_free(there);
    mailbox_free(back);
}

int main(void)
{
    mail_bodies_and_bells_cross_between_two_rings();
    puts("threads: 1 passed, 0 failed");
    return 0;
}
