/* process.c - lives and deaths of machines and processes, and the schedule of cores. */
#include "tests/sim/process.h"

#include "shared/base/err.h"
#include "tests/sim/disk.h"
#include "tests/sim/io_sim.h"
#include "tests/sim/net.h"
#include "tests/sim/trace.h"

#include <stdio.h>
#include <stdlib.h>

struct core *world_current_core;

/* ---- machines ---- */

static void draw_clock(struct machine *machine)
{
    struct world *world        = machine->world;
    machine->boot_ns           = world->now_ns;
    machine->boot_monotonic_ns = world_between(world, SALT_CLOCK, SIM_S, 1000 * SIM_S);
    int64_t limit              = (int64_t)world->faults.drift_ppm;
    machine->drift_ppm         = (int64_t)world_between(world, SALT_CLOCK, 0, (uint64_t)(2 * limit)) - limit;
}

struct machine *machine_new(struct world *world, const char *name, uint64_t disk_bytes)
{
    struct machine *machine = calloc(1, sizeof *machine);
    ASSERT(machine != NULL && machine_find(world, name) == NULL);
    machine->world   = world;
    machine->index   = world->machine_count++;
    machine->powered = true;
    snprintf(machine->name, sizeof machine->name, "%s", name);
    machine->name_hash = hash_bytes(bytes_str(machine->name));
    snprintf(machine->address, sizeof machine->address, "10.0.%u.%u", (machine->index + 1) / 250 % 250,
             (machine->index + 1) % 250);
    machine->next_port      = 40000;
    machine->wall_offset_ns = (int64_t)world_between(world, SALT_CLOCK, 0, 40 * SIM_MS);
    machine->disk           = disk_new(machine, disk_bytes);
    list_init(&machine->processes);
    list_init(&machine->listeners);
    list_push_back(&world->machines, &machine->link);
    draw_clock(machine);
    return machine;
}

struct machine *machine_find(struct world *world, const char *name_or_address)
{
    LIST_EACH (&world->machines, link) {
        struct machine *machine = CONTAINER_OF(link, struct machine, link);
        if (strcmp(machine->name, name_or_address) == 0 || strcmp(machine->address, name_or_address) == 0) {
            return machine;
        }
    }
    return NULL;
}

static void end_process(struct process *process, bool power_lost);

void machine_power_off(struct machine *machine)
{
    if (!machine->powered) {
        return;
    }
    world_trace(machine->world, "power off", machine->name, 0, 0);
    machine->powered = false;
    LIST_EACH (&machine->processes, link) {
        end_process(CONTAINER_OF(link, struct process, link), true);
    }
    disk_power_failure(machine->disk);
}

void machine_power_on(struct machine *machine)
{
    if (machine->powered) {
        return;
    }
    world_trace(machine->world, "power on", machine->name, 0, 0);
    machine->powered = true;
    draw_clock(machine);
}

void machines_free(struct world *world)
{
    LIST_EACH (&world->machines, link) {
        struct machine *machine = CONTAINER_OF(link, struct machine, link);
        LIST_EACH (&machine->processes, place) {
            end_process(CONTAINER_OF(place, struct process, link), false);
        }
    }
    LIST_EACH (&world->machines, link) {
        struct machine *machine = CONTAINER_OF(link, struct machine, link);
        LIST_EACH (&machine->processes, place) {
            free(CONTAINER_OF(place, struct process, link));
        }
        disk_free(machine->disk);
        list_remove(&machine->link);
        free(machine);
    }
}

uint64_t machine_monotonic_ns(const struct machine *machine)
{
    int64_t up_ns = (int64_t)(machine->world->now_ns - machine->boot_ns);
    int64_t scaled;
    int64_t drift_ns = !__builtin_mul_overflow(up_ns, machine->drift_ppm, &scaled)
                           ? scaled / 1000000
                           : (int64_t)((__int128)up_ns * machine->drift_ppm / 1000000);
    return machine->boot_monotonic_ns + (uint64_t)(up_ns + drift_ns);
}

uint64_t machine_wall_ns(const struct machine *machine)
{
    return machine->world->wall_start_ns + machine->world->now_ns + (uint64_t)machine->wall_offset_ns;
}

uint64_t machine_to_world_ns(const struct machine *machine, uint64_t local_ns)
{
    if (local_ns <= machine_monotonic_ns(machine)) {
        return machine->world->now_ns;
    }
    unsigned __int128 up_ns = local_ns - machine->boot_monotonic_ns;
    up_ns                   = up_ns * 1000000u / (uint64_t)(1000000 + machine->drift_ppm) + 2; /* never early */
    up_ns += machine->boot_ns;
    return up_ns > UINT64_MAX ? UINT64_MAX : (uint64_t)up_ns;
}

/* ---- processes ---- */

struct process *process_new(struct machine *machine, const struct process_spec *spec)
{
    struct process *process = calloc(1, sizeof *process);
    ASSERT(process != NULL && spec->start != NULL && spec->destroy != NULL);
    process->machine = machine;
    process->spec    = *spec;
    snprintf(process->name, sizeof process->name, "%.10s/%.10s", machine->name, spec->name);
    process->name_hash = hash_bytes(bytes_str(process->name));
    list_init(&process->cores);
    list_push_back(&machine->processes, &process->link);
    return process;
}

/* In this order: the kernel keeps what it had and tells the peers; the program's memory goes; the ios go. */
static void end_process(struct process *process, bool power_lost)
{
    if (!process->alive) {
        return;
    }
    struct world *world = process->machine->world;
    process->alive      = false;
    LIST_EACH (&process->cores, link) {
        struct core *core = CONTAINER_OF(link, struct core, link);
        ASSERT(core != world_current_core); /* a process ends itself by fatal() only */
        world_cancel(world, &core->event);
        if (core->io != NULL) {
            io_sim_die(core->io);
        }
    }
    net_process_dies(process, power_lost);
    disk_unlock(process->machine->disk, process);
    process->spec.destroy(process->spec.ctx);
    LIST_EACH (&process->cores, link) {
        struct core *core = CONTAINER_OF(link, struct core, link);
        io_sim_free(core->io);
        list_remove(&core->link);
        free(core);
    }
}

static void after_fatal(struct process *process)
{
    struct world *world = process->machine->world;
    world->fatal_armed  = false;
    world->waiting      = NULL;
    world_current_core  = NULL;
    world_release_held(world);
    end_process(process, false);
}

int process_start(struct process *process)
{
    struct world *world = process->machine->world;
    ASSERT(!process->alive && process->machine->powered && world_current_core == NULL && world->waiting == NULL);
    process->alive = true;
    process->starts++;
    process->paused_until_ns = 0;
    world_trace(world, "process starts", process->name, process->starts, 0);
    world->fatal_armed = true;
    if (setjmp(world->fatal_jump) != 0) {
        after_fatal(process);
        return ERR_CLOSED;
    }
    int result         = process->spec.start(process, process->spec.ctx);
    world->fatal_armed = false;
    world_current_core = NULL;
    if (result < 0) {
        end_process(process, false);
        return result;
    }
    LIST_EACH (&process->cores, link) {
        struct core *core = CONTAINER_OF(link, struct core, link);
        if (core->io != NULL) {
            io_sim_submit(core->io);
        }
        core_ready(core);
    }
    return 0;
}

void process_crash(struct process *process)
{
    if (process->alive) {
        world_trace(process->machine->world, "kill -9", process->name, 0, 0);
    }
    end_process(process, false);
}

void process_pause(struct process *process, uint64_t duration_ns)
{
    struct world *world = process->machine->world;
    world_trace(world, "pause", process->name, duration_ns, 0);
    process->paused_until_ns = world->now_ns + duration_ns;
    LIST_EACH (&process->cores, link) {
        struct core *core = CONTAINER_OF(link, struct core, link);
        if (event_scheduled(&core->event) && core->event.at_ns < process->paused_until_ns) {
            world_schedule(world, &core->event, process->paused_until_ns);
        }
    }
}

/* ---- cores ---- */

static void run_turn(struct event *event);

struct core *core_new(struct process *process)
{
    struct world *world = process->machine->world;
    struct core  *core  = calloc(1, sizeof *core);
    ASSERT(core != NULL && process->alive);
    uint32_t index = 0;
    LIST_EACH (&process->cores, link) {
        index++;
    }
    core->process    = process;
    core->id         = world->next_id++;
    core->event.run  = run_turn;
    core->event.kind = EVENT_CORE;
    snprintf(core->name, sizeof core->name, "%s.%u", process->name, index % 1000);
    core->name_hash = hash_bytes(bytes_str(core->name));
    list_push_back(&process->cores, &core->link);
    world_current_core = core;
    return core;
}

void core_run(struct core *core, void *shard, uint64_t (*turn)(void *shard))
{
    core->shard = shard;
    core->turn  = turn;
}

/* The time until a ready core gets the processor: mostly none to speak of, now and then long. */
static uint64_t schedule_delay_ns(struct world *world)
{
    uint64_t delay_ns = world_between(world, SALT_SCHEDULE, 0, 2 * SIM_US);
    if (world_chance(world, SALT_SCHEDULE, 32)) {
        delay_ns += world_between(world, SALT_SCHEDULE, 0, 100 * SIM_US);
    }
    if (world_chance(world, SALT_SCHEDULE, world->faults.stall_one_in)) {
        delay_ns += world_between(world, SALT_SCHEDULE, 0, world->faults.stall_ns);
    }
    return delay_ns;
}

static uint64_t not_before(uint64_t at_ns, uint64_t bound_ns)
{
    return at_ns < bound_ns ? bound_ns : at_ns;
}

void core_ready(struct core *core)
{
    struct world *world = core->process->machine->world;
    if (core->ready || core->running || core->turn == NULL || !core->process->alive) {
        return;
    }
    core->ready    = true;
    uint64_t at_ns = not_before(world->now_ns, core->busy_until_ns) + schedule_delay_ns(world);
    at_ns          = not_before(at_ns, core->process->paused_until_ns);
    if (!event_scheduled(&core->event) || core->event.at_ns > at_ns) {
        world_schedule(world, &core->event, at_ns);
    }
}

static void run_turn(struct event *event)
{
    struct core    *core    = CONTAINER_OF(event, struct core, event);
    struct process *process = core->process;
    struct world   *world   = process->machine->world;
    trace_often(world, "turn", core->name, core->name_hash, 0, 0);
    core->ready        = false;
    core->running      = true;
    world_current_core = core;
    world->fatal_armed = true;
    if (setjmp(world->fatal_jump) != 0) {
        after_fatal(process);
        if (process->spec.died != NULL) {
            process->spec.died(process, process->spec.ctx);
        }
        return;
    }
    if (core->io != NULL) {
        io_sim_turn(core->io);
    }
    uint64_t deadline_ns = core->turn(core->shard);
    world->fatal_armed   = false;
    world_current_core   = NULL;
    core->running        = false;
    /* Work takes time: without it a core that polls would stop the clock. */
    core->busy_until_ns = world->now_ns + world_between(world, SALT_SCHEDULE, 500, 5 * SIM_US);
    if (core->io == NULL) {
        return; /* it closed its io: the thread has ended */
    }
    if (io_sim_submit(core->io)) {
        core_ready(core);
    } else if (deadline_ns != UINT64_MAX) {
        uint64_t at_ns = not_before(machine_to_world_ns(process->machine, deadline_ns), core->busy_until_ns);
        at_ns += world_between(world, SALT_SCHEDULE, 0, 2 * SIM_US);
        world_schedule(world, &core->event, not_before(at_ns, process->paused_until_ns));
    }
}
