/* scenario_wake.c - two cores of one process pass a token by io_wake: no wake-up is lost, whoever runs first, and the busy
 * neighbour that polls does not stop the clock. A fatal() ends the process and not the world. */
#include "tests/sim/io_sim.h"
#include "tests/sim/scenarios.h"

enum { PASSES = 2000 };

struct pair {
    struct world *world;
    struct io    *io[2];
    int           holder;
    uint32_t      passes;
    uint32_t      fatal_at;
    uint32_t      died;
    struct side {
        struct pair *pair;
        int          index;
    } side[2];
};

static uint64_t side_turn(void *shard)
{
    struct side *side = shard;
    struct pair *pair = side->pair;
    if (pair->holder != side->index) {
        return UINT64_MAX; /* only a wake brings it back */
    }
    pair->passes++;
    if (pair->passes == pair->fatal_at) {
        fatal(1, "the disk refused to sync");
    }
    if (pair->passes % 100 != 0) { /* else it wakes itself, in its own turn: the next one comes at once */
        pair->holder = 1 - side->index;
    }
    io_wake(pair->io[pair->holder]);
    return UINT64_MAX;
}

static int pair_start(struct process *process, void *ctx)
{
    struct pair *pair = ctx;
    pair->holder      = 0;
    for (int i = 0; i < 2; i++) {
        struct core     *core   = core_new(process);
        struct io_config config = {.sockets_max = 1, .recv_buffers = 1, .recv_buffer_bytes = 1, .cpu = i};
        char             why[100];
        int              result = io_open(&config, &pair->io[i], why, sizeof why);
        if (result < 0) {
            return result;
        }
        pair->side[i] = (struct side){pair, i};
        core_run(core, &pair->side[i], side_turn);
    }
    return 0;
}

static void pair_destroy(void *ctx)
{
    struct pair *pair = ctx;
    io_wake(pair->io[0]); /* harmless in a dead process */
    io_close(pair->io[0]);
    io_close(pair->io[1]);
}

static void pair_died(struct process *process, void *ctx)
{
    struct pair *pair = ctx;
    pair->died++;
    pair->fatal_at = 0;
    sim_check(pair->world, process_start(process) == 0, "a supervisor starts the process again");
}

static bool passed_enough(void *ctx)
{
    const struct pair *pair = ctx;
    return pair->passes >= PASSES;
}

void scenario_wake(struct world *world)
{
    struct pair               pair    = {.world = world, .fatal_at = PASSES / 2};
    const struct process_spec spec    = {"pair", pair_start, pair_destroy, pair_died, &pair};
    struct process           *process = process_new(machine_new(world, "a", 0), &spec);
    sim_check(world, process_start(process) == 0, "the process starts");
    bool enough = world_run_until(world, passed_enough, &pair, 3600 * SIM_S);
    sim_check(world, enough, "the token stopped after %u passes: a wake was lost", pair.passes);
    sim_check(world, pair.died == 1 && process->starts == 2, "fatal() ends the process once");
    process_crash(process);
    sim_check(world, !world_step(world, UINT64_MAX), "events of a dead process are left");
}
