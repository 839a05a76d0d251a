/* scenario_heirs.c - broker processes at one place, one after another. What the one before has said comes late, or its machine has lost power and its connection looks
 * alive: its heir is let in at once, and stays. */
#include "segstore/node/state.h"
#include "tests/sim/group_faults.h"
#include "tests/sim/group_link.h"
#include "tests/sim/net.h"
#include "tests/sim/scenarios.h"

#include "shared/loop/io.h"
#include "shared/rpc/schema.h"

#include <stdio.h>
#include <stdlib.h>

enum { HEIRS = 6, PLACE = 7, LET_IN_S = 1, QUIET_S = 15, PATIENCE_S = 60 };

struct broker {
    struct group_link link;
    struct io        *io;
    struct process   *process;
    char              name[16];
    bool              breaks; /* in its next turn */
    bool              let_in;
    bool              sent_away; /* since */
};

struct line {
    struct group  group;
    struct broker brokers[HEIRS];
};

static void on_frame(void *ctx, struct group_link *link, const struct frame *frame)
{
    (void)ctx;
    sim_check(link->world, frame->kind == RPC_ERROR, "a frame of kind %u that nobody asked for", frame->kind);
}

static void on_down(void *ctx, struct group_link *link)
{
    (void)link;
    struct broker *b = ctx;
    b->sent_away     = b->let_in;
}

static const struct group_link_hooks hooks = {.frame = on_frame, .down = on_down};

static uint64_t turn(void *ctx)
{
    struct broker *b = ctx;
    if (b->breaks) {
        b->breaks = false;
        group_link_break(&b->link);
    }
    group_link_turn(&b->link, b->io);
    b->let_in = b->let_in || b->link.up;
    return io_now_ns(b->io) + SIM_MS;
}

static int start(struct process *process, void *ctx)
{
    static const struct io_config config = {.sockets_max = 4, .recv_buffers = 4, .recv_buffer_bytes = 4096, .cpu = -1};
    struct broker                *b      = ctx;
    char                          why[128];
    struct core                  *core   = core_new(process);
    int                           result = io_open(&config, &b->io, why, sizeof why);
    if (result == 0) {
        core_run(core, b, turn);
    }
    return result;
}

static void destroy(void *ctx)
{
    group_link_fini(&((struct broker *)ctx)->link);
}

static bool is_let_in(void *ctx)
{
    return ((const struct broker *)ctx)->let_in;
}

static bool is_ready(void *ctx)
{
    return ((const struct group *)ctx)->members[0].ready;
}

static struct broker *begin(struct line *line, uint32_t number)
{
    struct broker *b = &line->brokers[number];
    struct world  *w = line->group.world;
    snprintf(b->name, sizeof b->name, "broker%u", number);
    group_link_init(&b->link, w, 1, 100 + number, 200 + number, &hooks, b);
    b->link.place                  = PLACE;
    const struct process_spec spec = {b->name, start, destroy, NULL, b};
    b->process                     = process_new(machine_new(w, b->name, 0), &spec);
    sim_check(w, process_start(b->process) == 0, "%s starts", b->name);
    return b;
}

/* What it says is on its way for long when it dies: a HELLO, or the answer to the store's question. Whoever only stands still says nothing more, and has an open connection. */
static void die(struct line *line, struct broker *b)
{
    struct world *w    = line->group.world;
    struct link  *slow = net_link(b->process->machine, line->group.members[0].machine);
    slow->latency_ns   = world_between(w, SALT_SCENARIO, SIM_MS, SIM_S);
    group_run_ns(&line->group, world_between(w, SALT_SCENARIO, 0, 4 * slow->latency_ns));
    if (world_chance(w, SALT_SCENARIO, 2)) {
        process_pause(b->process, UINT64_MAX / 2);
    } else {
        process_crash(b->process);
    }
}

static uint32_t let_in_count(const struct node *node)
{
    uint32_t count = 0;
    LIST_EACH (&node->sessions, link) {
        count += CONTAINER_OF(link, const struct session, link)->state == SESSION_OPEN;
    }
    return count;
}

static void live(struct line *line, struct broker *b)
{
    struct world *w      = line->group.world;
    uint64_t      stalls = w->faults.stall_one_in == 0 ? 0 : 2 * w->faults.stall_ns; /* the store's core and its own */
    sim_check(w, group_run_until(&line->group, is_let_in, b, LET_IN_S * SIM_S + stalls), "%s is not let in", b->name);
    sim_check(w, let_in_count(line->group.members[0].node) == 1, "%s is let in beside another one", b->name);
    group_run_ns(&line->group, world_between(w, SALT_SCENARIO, SIM_MS, QUIET_S * SIM_S));
    sim_check(w, !b->sent_away, "%s, which is the last one, was sent away", b->name);
    b->breaks = !world_chance(w, SALT_SCENARIO, 4);
}

void scenario_group_heirs(struct world *world)
{
    struct line *line = calloc(1, sizeof *line);
    ASSERT(line != NULL);
    group_tame(world);
    world->faults.reset_one_in = 0; /* a connection that breaks is nobody's doing here */
    group_start(&line->group, world, 1, 1);
    sim_check(world, group_run_until(&line->group, is_ready, &line->group, PATIENCE_S * SIM_S), "the store serves");
    for (uint32_t i = 0; i < HEIRS; i++) {
        struct broker *b    = begin(line, i);
        bool           last = i + 1 == HEIRS;
        if (last || !world_chance(world, SALT_SCENARIO, 3)) {
            live(line, b);
        }
        if (!last) {
            die(line, b);
        }
    }
    for (uint32_t i = 0; i < HEIRS; i++) {
        process_crash(line->brokers[i].process);
    }
    group_end(&line->group);
    free(line);
}
