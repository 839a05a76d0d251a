/* process - machines, the processes on them and the cores that run their shards.
 *
 *   machine   address, disk, clocks; loses power           10.0.0.1
 *    └ process   started, crashes (kill -9), starts again
 *       └ core   one shard: io_open gives it its struct io; runs turns
 *
 * How a scenario makes a process:
 *
 *     static int store_start(struct process *process, void *ctx)
 *     {
 *         struct store *s   = ctx;
 *         struct core *core = core_new(process);            // becomes the current core
 *         s->shard = shard_open(...);                       // calls io_open: the io of the current core
 *         core_run(core, s->shard, shard_turn);             // from now on the world calls shard_turn
 *         return 0;
 *     }
 *     static void store_destroy(void *ctx) { shard_free(ctx->shard) ... }
 *
 * A core is ready when something completed for it, when it was woken and when the deadline that its turn returned has
 * passed. The world lets ready cores wait for a random time (that is the schedule), calls back what completed, runs one
 * turn, and submits what was asked for.
 *
 * A crash runs none of the program's own clean-up: first the world forgets every socket and operation of the process,
 * then destroy() gives its memory back. Within destroy() every io function may be called and does nothing, so the usual
 * fini functions serve. fatal() in a process is a crash of that process, then spec->died is called.
 * Threads: one. */
#ifndef KEEL_TESTS_SIM_PROCESS_H
#define KEEL_TESTS_SIM_PROCESS_H

#include "tests/sim/world.h"

struct io;
struct disk;
struct process;

struct machine {
    struct world *world;
    struct list   link; /* in world->machines */
    uint32_t      index;
    char          name[16];
    uint64_t      name_hash; /* for the trace, as of processes and cores */
    char          address[16];
    bool          powered;
    struct disk  *disk;
    struct list   processes;
    struct list   listeners; /* net */
    uint16_t      next_port;
    uint64_t      boot_ns;           /* when it got power */
    uint64_t      boot_monotonic_ns; /* what its monotonic clock said then */
    int64_t       drift_ppm;
    int64_t       wall_offset_ns; /* a scenario may make it jump */
};

struct process_spec {
    const char *name;
    /* Makes the shards. An error ends the process, destroy() is called. */
    int (*start)(struct process *process, void *ctx);
    /* Frees all that start() and the turns allocated. Called once for every start. */
    void (*destroy)(void *ctx);
    /* It called fatal() and is gone: the place for a supervisor's restart. May be NULL. */
    void (*died)(struct process *process, void *ctx);
    void *ctx;
};

struct process {
    struct machine     *machine;
    struct list         link;
    struct process_spec spec;
    char                name[24];
    uint64_t            name_hash;
    bool                alive;
    uint32_t            starts;
    uint64_t            paused_until_ns;
    struct list         cores;
};

struct core {
    struct process *process;
    struct list     link;
    struct event    event; /* its next turn */
    uint64_t        id;
    char            name[28];
    uint64_t        name_hash;
    struct io      *io;
    void           *shard;
    uint64_t (*turn)(void *shard);
    uint64_t busy_until_ns;
    bool     ready;
    bool     running;
};

/* A machine with power and an empty disk of disk_bytes. name: up to 15 characters, stays the caller's. */
struct machine *machine_new(struct world *world, const char *name, uint64_t disk_bytes);
struct machine *machine_find(struct world *world, const char *name_or_address);
/* All processes end, nobody is told; the disk keeps what disk_power_failure says. */
void machine_power_off(struct machine *machine);
void machine_power_on(struct machine *machine);
void machines_free(struct world *world);

uint64_t machine_monotonic_ns(const struct machine *machine);
uint64_t machine_wall_ns(const struct machine *machine);
/* When the monotonic clock of the machine says local_ns or more; UINT64_MAX stays. */
uint64_t machine_to_world_ns(const struct machine *machine, uint64_t local_ns);

struct process *process_new(struct machine *machine, const struct process_spec *spec);
/* 0, or what start() returned, or ERR_CLOSED when it called fatal(). */
int  process_start(struct process *process);
void process_crash(struct process *process);
/* None of its cores runs for so long. */
void process_pause(struct process *process, uint64_t duration_ns);

struct core *core_new(struct process *process);
void         core_run(struct core *core, void *shard, uint64_t (*turn)(void *shard));
/* Something is there for it: it will run soon. */
void core_ready(struct core *core);

/* Whose code runs: io_open binds to it. NULL outside processes. */
extern struct core *world_current_core;

#endif
