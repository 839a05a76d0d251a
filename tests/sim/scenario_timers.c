/* scenario_timers.c - virtual time: turns come at their deadlines, never early, on clocks that drift; an idle day costs nothing. */
#include "tests/sim/io_sim.h"
#include "tests/sim/scenarios.h"

#include <stdlib.h>

enum { TICKS = 200 };

struct sleeper {
    struct world *world;
    struct io    *io;
    uint64_t      deadline_ns;
    uint64_t      period_ns;
    uint32_t      ticks;
    uint32_t      woken_early;
};

static uint64_t sleeper_turn(void *shard)
{
    struct sleeper *s      = shard;
    uint64_t        now_ns = io_now_ns(s->io);
    if (now_ns < s->deadline_ns) {
        s->woken_early++;
        return s->deadline_ns;
    }
    uint64_t late_ns = now_ns - s->deadline_ns;
    sim_check(s->world, s->ticks == 0 || late_ns <= s->world->faults.stall_ns + SIM_MS,
              "a turn came %lu ns after its deadline", (unsigned long)late_ns);
    s->ticks++;
    s->period_ns   = 1 + io_random(s->io) % (900 * SIM_S);
    s->deadline_ns = now_ns + s->period_ns;
    return s->deadline_ns;
}

static int sleeper_start(struct process *process, void *ctx)
{
    struct sleeper  *s      = ctx;
    struct core     *core   = core_new(process);
    struct io_config config = {.sockets_max = 4, .recv_buffers = 4, .recv_buffer_bytes = 4096, .cpu = -1};
    char             why[100];
    int              result = io_open(&config, &s->io, why, sizeof why);
    if (result == 0) {
        core_run(core, s, sleeper_turn);
    }
    return result;
}

static void sleeper_destroy(void *ctx)
{
    (void)ctx;
}

static bool both_ticked(void *ctx)
{
    const struct sleeper *s = ctx;
    return s[0].ticks >= TICKS && s[1].ticks >= TICKS;
}

void scenario_timers(struct world *world)
{
    struct sleeper  s[2] = {{.world = world}, {.world = world}};
    struct process *process[2];
    for (int i = 0; i < 2; i++) {
        const struct process_spec spec = {"sleeper", sleeper_start, sleeper_destroy, NULL, &s[i]};
        struct machine           *m    = machine_new(world, i == 0 ? "a" : "b", 0);
        process[i]                     = process_new(m, &spec);
        sim_check(world, process_start(process[i]) == 0, "a process starts");
    }
    uint64_t wall_ns = io_wall_ns(s[0].io);
    sim_check(world, world_run_until(world, both_ticked, s, UINT64_C(100) * 86400 * SIM_S), "timers stopped coming");
    sim_check(world, s[0].woken_early == 0 && s[1].woken_early == 0,
              "a turn came before its deadline with nothing to do");
    sim_check(world, io_wall_ns(s[0].io) > wall_ns, "the wall clock stands still");
    process_pause(process[0], 3600 * SIM_S);
    uint32_t ticks = s[0].ticks;
    world_run_ns(world, 3599 * SIM_S);
    sim_check(world, s[0].ticks == ticks, "a paused process ran");
    s[0].ticks = 0; /* the next turn may be late: it was paused */
    world_run_ns(world, 1000 * SIM_S);
    sim_check(world, s[0].ticks > 0, "a process did not come back from its pause");
    process_crash(process[0]);
    process_crash(process[1]);
}
