/* io_sim.c - a core's turn: clocks, completions in random order, submission. */
#include "tests/sim/io_sim.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static void read_clocks(struct io *io)
{
    const struct machine *machine = io->core->process->machine;
    io->now_ns                    = machine_monotonic_ns(machine);
    io->wall_ns                   = machine_wall_ns(machine);
}

int io_open(const struct io_config *config, struct io **out, char *why, size_t why_size)
{
    struct core *core = world_current_core;
    ASSERT(core != NULL && core->io == NULL); /* core_new comes first; a core has one io */
    if (config->recv_buffers == 0 || (config->recv_buffers & (config->recv_buffers - 1)) != 0 ||
        config->recv_buffer_bytes == 0 || config->sockets_max == 0) {
        snprintf(why, why_size,
                 "recv_buffers must be a power of two, recv_buffer_bytes and sockets_max more than zero");
        return -EINVAL;
    }
    struct io *io = calloc(1, sizeof *io);
    ASSERT(io != NULL);
    io->world  = core->process->machine->world;
    io->core   = core;
    io->config = *config;
    rand_init(&io->rand, io->world->seed, 1000 + core->id);
    list_init(&io->ready);
    list_init(&io->graves);
    list_init(&io->sockets);
    list_init(&io->listeners);
    list_init(&io->files);
    list_init(&io->ops);
    list_init(&io->sending);
    list_init(&io->fresh);
    read_clocks(io);
    core->io = io;
    *out     = io;
    return 0;
}

uint64_t io_now_ns(struct io *io)
{
    return io->now_ns;
}

uint64_t io_wall_ns(struct io *io)
{
    return io->wall_ns;
}

uint64_t io_random(struct io *io)
{
    return rand_u64(&io->rand);
}

void io_on_begin(struct io *io, void (*begin)(void *ctx), void *ctx)
{
    io->begin     = begin;
    io->begin_ctx = ctx;
}

void io_wake(struct io *io)
{
    if (io->dead) {
        return;
    }
    io->woken = true;
    core_ready(io->core);
}

void io_sim_ready(struct io *io, struct ready *ready)
{
    if (io->dead || ready->gone || list_linked(&ready->link)) {
        return;
    }
    list_push_back(&io->ready, &ready->link);
    core_ready(io->core);
}

void io_sim_bury(struct io *io, struct ready *ready)
{
    list_remove(&ready->link);
    ready->gone = true;
    if (io->dispatching) {
        list_push_back(&io->graves, &ready->link);
    } else {
        ready->release(ready);
    }
}

static void dispatch(struct io *io)
{
    size_t count = 0;
    LIST_EACH (&io->ready, link) {
        count++;
    }
    if (count == 0) {
        return;
    }
    if (count > io->batch_room) {
        io->batch_room = count * 2;
        io->batch      = realloc(io->batch, io->batch_room * sizeof *io->batch);
        ASSERT(io->batch != NULL);
    }
    struct ready **batch = io->batch;
    for (size_t i = 0; i < count; i++) {
        batch[i]            = CONTAINER_OF(list_pop_front(&io->ready), struct ready, link);
        size_t        swap  = rand_below(world_rand(io->world, SALT_SCHEDULE), i + 1);
        struct ready *other = batch[swap];
        batch[swap]         = batch[i];
        batch[i]            = other;
    }
    io->dispatching  = true;
    io->buffers_left = io->config.recv_buffers;
    for (size_t i = 0; i < count; i++) {
        if (!batch[i]->gone) {
            batch[i]->deliver(batch[i]);
        }
    }
    io->dispatching = false;
    struct list *link;
    while ((link = list_pop_front(&io->graves)) != NULL) {
        struct ready *buried = CONTAINER_OF(link, struct ready, link);
        buried->release(buried);
    }
}

void io_sim_turn(struct io *io)
{
    io->woken = false;
    read_clocks(io);
    if (io->begin != NULL) {
        io->begin(io->begin_ctx);
    }
    dispatch(io);
}

bool io_sim_submit(struct io *io)
{
    io_sockets_submit(io);
    io_files_submit(io);
    return io->woken || !list_empty(&io->ready);
}

/* The world calls the turns, so a program needs this only to wait in the middle of its start: until then no other core runs. */
void io_turn(struct io *io, uint64_t deadline_ns)
{
    struct world *world = io->world;
    if (io->dead) {
        return;
    }
    ASSERT(world_current_core == io->core && world->waiting == NULL && !io->dispatching);
    uint64_t until_ns =
        deadline_ns == UINT64_MAX ? UINT64_MAX : machine_to_world_ns(io->core->process->machine, deadline_ns);
    world->waiting = io->core;
    while (!io_sim_submit(io) && world->now_ns < until_ns) {
        bool something = world_step(world, until_ns);
        if (!something && until_ns == UINT64_MAX) {
            sim_fail(world, "%s waits in io_turn for something that will never happen", io->core->name);
        }
    }
    world->waiting = NULL;
    world_release_held(world);
    io_sim_turn(io);
}

void io_sim_die(struct io *io)
{
    io->dead = true;
    io_files_die(io);
}

void io_sim_free(struct io *io)
{
    if (io == NULL) {
        return;
    }
    ASSERT(io->dead);
    io->dispatching = false; /* it may have died in one */
    struct list *link;
    while ((link = list_pop_front(&io->graves)) != NULL) {
        struct ready *buried = CONTAINER_OF(link, struct ready, link);
        buried->release(buried);
    }
    io_sockets_free(io);
    io_files_free(io);
    free(io->batch);
    free(io->chunk);
    free(io);
}

void io_close(struct io *io)
{
    if (io == NULL || io->dead) {
        return;
    }
    ASSERT(!io->dispatching && list_empty(&io->ops)); /* operations hold memory of the caller */
    io->core->io = NULL;
    io_sockets_free(io);
    io->dead = true;
    io_sim_free(io);
}
