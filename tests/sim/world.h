/* world - virtual time and everything that happens in it, from one seed.
 *
 *   seed ── salts ──▶ one generator per purpose       an extra draw in one place does not shift the others
 *   queue of events, ordered by (time, sequence)      ── run one ──▶ the trace (hashed, printed on request)
 *
 * A world holds machines (process.h), which hold processes, which hold cores; machines are joined by links (net.h) and
 * keep files (disk.h). A scenario builds them, lets time pass with world_run_*, and states what must hold with sim_check.
 * The same seed and scenario give the same trace hash, always: nothing here depends on addresses, time or threads.
 * Threads: one.   Units: *_ns of virtual time since the world began. */
#ifndef KEEL_TESTS_SIM_WORLD_H
#define KEEL_TESTS_SIM_WORLD_H

#include "shared/base/assert.h"
#include "shared/base/bytes.h"
#include "shared/base/list.h"
#include "shared/base/rand.h"

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIM_US UINT64_C(1000)
#define SIM_MS UINT64_C(1000000)
#define SIM_S  UINT64_C(1000000000)

enum world_salt {
    SALT_SWARM,    /* which faults this seed has, and how often */
    SALT_SCHEDULE, /* who runs when */
    SALT_CLOCK,    /* clocks of machines */
    SALT_NET,      /* latency, splits, resets */
    SALT_DISK,     /* latency, errors */
    SALT_CRASH,    /* what a crash keeps */
    SALT_SCENARIO, /* for scenarios: their own choices */
    SALT_BUGGIFY,  /* unlikely branches of the code under test */
    SALT_LIMITS,   /* what a store may hold */
    SALT_COUNT,
};

enum event_kind {
    EVENT_WORLD,    /* network and disks */
    EVENT_CORE,     /* a core runs a turn */
    EVENT_SCENARIO, /* world_after */
};

/* Something that will happen. Lives inside what it happens to; zeroed = not scheduled. */
struct event {
    void (*run)(struct event *event);
    uint64_t        at_ns;
    uint64_t        seq;
    uint32_t        place; /* in the heap, from 1; 0 when it is in no heap */
    enum event_kind kind;
    struct list     held; /* held back while a core waits inside io_turn */
};

struct net;
struct machine;
struct core;
struct scenario_call;

/* Faults of this seed: drawn at the start, changed by a scenario that needs it otherwise. one_in: 0 is never. */
struct world_faults {
    uint64_t latency_ns;       /* between machines, one way */
    uint64_t jitter_ns;        /* added to it, at most */
    uint64_t bytes_per_second; /* of a link; 0 is unlimited */
    uint32_t window_bytes;     /* taken by the network and not yet read by the receiver, a connection and direction */
    uint32_t split_bytes;      /* received() gets at most this; 0 is the whole buffer */
    uint32_t reset_one_in;     /* segments that break their connection */
    uint32_t refuse_one_in;    /* connects that are refused */
    uint64_t tcp_timeout_ns;   /* unacknowledged bytes break a connection after this */
    uint32_t stall_one_in;     /* turns before which a core does not get the processor for stall_ns at most */
    uint64_t stall_ns;
    uint64_t disk_read_ns; /* an operation takes this, and at times much longer */
    uint64_t disk_write_ns;
    uint64_t disk_sync_ns;
    uint32_t drift_ppm; /* clocks of machines run this much too fast or slow, at most */
};

struct world {
    uint64_t            seed;
    const char         *scenario;
    uint64_t            now_ns;
    uint64_t            wall_start_ns; /* since 1970, when the world began */
    uint64_t            event_count;   /* events run so far: the number of the current one */
    enum event_kind     last_kind;     /* of the event run last */
    uint64_t            event_max;     /* more are taken for a loop without end */
    uint64_t            until;         /* print the trace up to this event and stop there; 0 does not */
    uint64_t            hash;          /* of the trace so far */
    struct world_faults faults;
    struct rand         rand[SALT_COUNT];

    struct event **heap; /* [1 .. heap_count] */
    uint32_t       heap_count;
    uint32_t       heap_room;
    uint64_t       next_seq;
    struct list    held;

    struct list  machines;
    uint32_t     machine_count;
    uint64_t     next_id; /* of cores, connections, files: what the trace calls them */
    struct net  *net;
    struct list  calls;   /* pending world_after */
    struct core *waiting; /* the core inside a waiting io_turn, or NULL */

    bool     failed;
    char     why[512];
    jmp_buf  fail_jump;  /* out of the scenario */
    jmp_buf  fatal_jump; /* out of a simulated process that called fatal() */
    bool     fatal_armed;
    jmp_buf *stop_jump; /* until was reached */
};

/* The world whose turn it is, for handlers that get no argument: assert_failed, fatal, signals, the log. NULL outside a run. */
extern struct world *world_running;

struct world *world_new(uint64_t seed, const char *scenario);
void          world_free(struct world *world);

/* ---- for scenarios ---- */

/* States what must hold. When it does not, the run ends here and is counted as failed with this sentence. */
void sim_check(struct world *world, bool holds, const char *format, ...) PRINTF_LIKE(3, 4);
/* Ends the run as failed. */
__attribute__((noreturn)) PRINTF_LIKE(2, 3) void sim_fail(struct world *world, const char *format, ...);

/* Lets time pass. */
void world_run_ns(struct world *world, uint64_t duration_ns);
/* Until done(ctx) is true after an event: true. Or until limit_ns have passed: false. Programs and scenarios act in events of
 * their own: behind those of networks and disks it is not asked. */
bool world_run_until(struct world *world, bool (*done)(void *ctx), void *ctx, uint64_t limit_ns);
/* Runs call(ctx) delay_ns from now, outside every process: the place to crash, cut and heal. */
void world_after(struct world *world, uint64_t delay_ns, void (*call)(void *ctx), void *ctx);

static inline struct rand *world_rand(struct world *world, enum world_salt salt)
{
    return &world->rand[salt];
}
/* Uniform in [low, high]. */
static inline uint64_t world_between(struct world *world, enum world_salt salt, uint64_t low, uint64_t high)
{
    return low + rand_below(&world->rand[salt], high - low + 1);
}
/* True once in one_in; never when one_in is 0 (no draw is made then). */
static inline bool world_chance(struct world *world, enum world_salt salt, uint32_t one_in)
{
    return one_in != 0 && rand_chance(&world->rand[salt], one_in);
}

/* ---- for the parts of the world ---- */

/* Schedules or moves an event. Times in the past are now. */
void               world_schedule(struct world *world, struct event *event, uint64_t at_ns);
void               world_cancel(struct world *world, struct event *event);
static inline bool event_scheduled(const struct event *event)
{
    return event->place != 0 || list_linked(&event->held);
}
/* Runs the next event not later than limit_ns; false when there is none (time is then at limit_ns, unless that is UINT64_MAX). */
bool world_step(struct world *world, uint64_t limit_ns);
/* What happened: goes into the hash, and to standard output while the trace is printed. */
void world_trace(struct world *world, const char *what, const char *who, uint64_t a, uint64_t b);
/* The same, where hash_bytes() of both texts is known. */
void world_trace_hashed(struct world *world, const char *what, uint64_t what_hash, const char *who, uint64_t who_hash,
                        uint64_t a, uint64_t b);
/* Bytes that cross the port: their content, of which this is hash_bytes(), goes into the hash. */
void world_trace_hash(struct world *world, uint64_t hash);
/* Gives held events back to the queue. */
void world_release_held(struct world *world);

#endif
