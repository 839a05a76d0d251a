/* world.c - the queue of events, the trace and the ways a run ends. */
#include "tests/sim/world.h"

#include "shared/base/hash.h"
#include "tests/sim/net.h"
#include "tests/sim/process.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { EVENTS_MAX = 100 * 1000 * 1000 };

struct world *world_running;

struct scenario_call {
    struct event  event;
    struct list   link; /* in world->calls */
    struct world *world;
    void (*call)(void *ctx);
    void *ctx;
};

/* One of the choices, each as likely. */
#define PICK(world, ...)                                                        \
    ((const uint64_t[]){__VA_ARGS__})[rand_below(world_rand(world, SALT_SWARM), \
                                                 sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))]

/* Swarm: most seeds have some faults, few have all; each has rates of its own. */
static void draw_faults(struct world *world)
{
    world->faults = (struct world_faults){
        .latency_ns       = PICK(world, 30 * SIM_US, 300 * SIM_US, 2 * SIM_MS, 25 * SIM_MS),
        .jitter_ns        = PICK(world, 0, 50 * SIM_US, SIM_MS, 20 * SIM_MS),
        .bytes_per_second = PICK(world, 0, 0, 1250000000, 12500000, 1000000),
        .window_bytes     = (uint32_t)PICK(world, 1024, 16384, 65536, 262144),
        .split_bytes      = (uint32_t)PICK(world, 0, 0, 7, 100, 1500),
        .reset_one_in     = (uint32_t)PICK(world, 0, 0, 20000, 2000, 300),
        .refuse_one_in    = (uint32_t)PICK(world, 0, 0, 50, 5),
        .tcp_timeout_ns   = PICK(world, 20 * SIM_S, 120 * SIM_S, 900 * SIM_S),
        .stall_one_in     = (uint32_t)PICK(world, 0, 0, 100000, 5000),
        .stall_ns         = PICK(world, 20 * SIM_MS, 300 * SIM_MS, 3 * SIM_S),
        .disk_read_ns     = PICK(world, 20 * SIM_US, 90 * SIM_US, 8 * SIM_MS),
        .disk_write_ns    = PICK(world, 10 * SIM_US, 40 * SIM_US, 4 * SIM_MS),
        .disk_sync_ns     = PICK(world, 50 * SIM_US, SIM_MS, 12 * SIM_MS),
        .drift_ppm        = (uint32_t)PICK(world, 0, 50, 500),
    };
}

struct world *world_new(uint64_t seed, const char *scenario)
{
    struct world *world = calloc(1, sizeof *world);
    ASSERT(world != NULL);
    world_current_core = NULL; /* a run that failed may have ended inside a process */
    world->seed        = seed;
    world->scenario    = scenario;
    world->event_max   = EVENTS_MAX;
    world->hash        = hash_u64(seed + 1);
    /* The scenario's name is in the seed, so that two scenarios do not meet the same accidents. */
    uint64_t mixed = hash_bytes_seeded(bytes_str(scenario), seed);
    for (uint64_t salt = 0; salt < SALT_COUNT; salt++) {
        rand_init(&world->rand[salt], mixed, salt + 1);
    }
    list_init(&world->held);
    list_init(&world->machines);
    list_init(&world->calls);
    world->wall_start_ns = UINT64_C(1790000000) * SIM_S + rand_below(world_rand(world, SALT_CLOCK), 100000 * SIM_S);
    draw_faults(world);
    world->net = net_new(world);
    return world;
}

void world_free(struct world *world)
{
    if (world == NULL) {
        return;
    }
    machines_free(world);
    net_free(world->net);
    LIST_EACH (&world->calls, link) {
        list_remove(link);
        free(CONTAINER_OF(link, struct scenario_call, link));
    }
    free(world->heap);
    free(world);
}

/* ---- the queue: a binary heap whose entries know their place, so that any of them can be moved or taken out ---- */

static bool earlier(const struct event *a, const struct event *b)
{
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->seq < b->seq;
}

static void heap_put(struct world *world, uint32_t place, struct event *event)
{
    world->heap[place] = event;
    event->place       = place;
}

static void heap_up(struct world *world, uint32_t place, struct event *event)
{
    while (place > 1 && earlier(event, world->heap[place / 2])) {
        heap_put(world, place, world->heap[place / 2]);
        place /= 2;
    }
    heap_put(world, place, event);
}

static void heap_down(struct world *world, uint32_t place, struct event *event)
{
    for (;;) {
        uint32_t child = place * 2;
        if (child > world->heap_count) {
            break;
        }
        if (child < world->heap_count && earlier(world->heap[child + 1], world->heap[child])) {
            child++;
        }
        if (!earlier(world->heap[child], event)) {
            break;
        }
        heap_put(world, place, world->heap[child]);
        place = child;
    }
    heap_put(world, place, event);
}

static void heap_remove(struct world *world, struct event *event)
{
    uint32_t place = event->place;
    ASSERT(place >= 1 && place <= world->heap_count && world->heap[place] == event);
    struct event *last = world->heap[world->heap_count--];
    event->place       = 0;
    if (last == event) {
        return;
    }
    if (place > 1 && earlier(last, world->heap[place / 2])) {
        heap_up(world, place, last);
    } else {
        heap_down(world, place, last);
    }
}

static void heap_add(struct world *world, struct event *event)
{
    if (world->heap_count + 2 > world->heap_room) {
        world->heap_room = world->heap_room == 0 ? 256 : world->heap_room * 2;
        world->heap      = realloc(world->heap, world->heap_room * sizeof *world->heap);
        ASSERT(world->heap != NULL);
    }
    heap_up(world, ++world->heap_count, event);
}

void world_cancel(struct world *world, struct event *event)
{
    list_remove(&event->held);
    if (event->place != 0) {
        heap_remove(world, event);
    }
}

void world_schedule(struct world *world, struct event *event, uint64_t at_ns)
{
    ASSERT(event->run != NULL);
    world_cancel(world, event);
    event->at_ns = at_ns > world->now_ns ? at_ns : world->now_ns;
    event->seq   = world->next_seq++;
    heap_add(world, event);
}

void world_release_held(struct world *world)
{
    struct list *link;
    while ((link = list_pop_front(&world->held)) != NULL) {
        struct event *event = CONTAINER_OF(link, struct event, held);
        world_schedule(world, event, event->at_ns);
    }
}

/* ---- time passes ---- */

bool world_step(struct world *world, uint64_t limit_ns)
{
    while (world->heap_count != 0 && world->heap[1]->at_ns <= limit_ns) {
        struct event *event = world->heap[1];
        heap_remove(world, event);
        /* A core that waits inside io_turn holds the stack: others get no processor until it is through. */
        if (world->waiting != NULL && event->kind != EVENT_WORLD) {
            list_push_back(&world->held, &event->held);
            continue;
        }
        ASSERT(event->at_ns >= world->now_ns);
        world->now_ns = event->at_ns;
        if (world->until != 0 && world->event_count == world->until) {
            printf("stopped after event %lu\n", (unsigned long)world->until);
            longjmp(*world->stop_jump, 1);
        }
        world->event_count++;
        if (world->event_count > world->event_max) {
            sim_fail(world, "more than %lu events: something runs without end", (unsigned long)world->event_max);
        }
        world->last_kind = event->kind;
        event->run(event);
        return true;
    }
    if (limit_ns != UINT64_MAX && limit_ns > world->now_ns) {
        world->now_ns = limit_ns;
    }
    return false;
}

void world_run_ns(struct world *world, uint64_t duration_ns)
{
    uint64_t end_ns = world->now_ns + duration_ns;
    while (world_step(world, end_ns)) {
    }
}

bool world_run_until(struct world *world, bool (*done)(void *ctx), void *ctx, uint64_t limit_ns)
{
    uint64_t end_ns  = world->now_ns + limit_ns;
    bool     is_done = done(ctx);
    while (!is_done) {
        if (!world_step(world, end_ns)) {
            return done(ctx);
        }
        is_done = world->last_kind != EVENT_WORLD && done(ctx);
    }
    return true;
}

static void run_call(struct event *event)
{
    struct scenario_call *call = CONTAINER_OF(event, struct scenario_call, event);
    void (*function)(void *)   = call->call;
    void *ctx                  = call->ctx;
    world_trace(call->world, "scenario acts", "", 0, 0);
    list_remove(&call->link);
    free(call);
    function(ctx);
}

void world_after(struct world *world, uint64_t delay_ns, void (*function)(void *ctx), void *ctx)
{
    struct scenario_call *call = calloc(1, sizeof *call);
    ASSERT(call != NULL);
    call->event.run  = run_call;
    call->event.kind = EVENT_SCENARIO;
    call->world      = world;
    call->call       = function;
    call->ctx        = ctx;
    list_push_back(&world->calls, &call->link);
    world_schedule(world, &call->event, world->now_ns + delay_ns);
}

/* ---- the trace ---- */

static void mix(struct world *world, uint64_t value)
{
    world->hash = hash_u64(rand_rotl(world->hash, 5) ^ value);
}

void world_trace(struct world *world, const char *what, const char *who, uint64_t a, uint64_t b)
{
    world_trace_hashed(world, what, hash_bytes(bytes_str(what)), who, hash_bytes(bytes_str(who)), a, b);
}

void world_trace_hashed(struct world *world, const char *what, uint64_t what_hash, const char *who, uint64_t who_hash,
                        uint64_t a, uint64_t b)
{
    mix(world, world->now_ns);
    mix(world, what_hash);
    mix(world, who_hash);
    mix(world, a);
    mix(world, b);
    if (world->until != 0) {
        printf("#%-7lu %5lu.%09lu  %-24s %-22s %lu %lu\n", (unsigned long)world->event_count,
               (unsigned long)(world->now_ns / SIM_S), (unsigned long)(world->now_ns % SIM_S), what, who,
               (unsigned long)a, (unsigned long)b);
    }
}

void world_trace_hash(struct world *world, uint64_t hash)
{
    mix(world, hash);
}

/* ---- the ends ---- */

static void fail(struct world *world, const char *format, va_list args)
{
    world->failed = true;
    vsnprintf(world->why, sizeof world->why, format, args);
}

void sim_fail(struct world *world, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fail(world, format, args);
    va_end(args);
    longjmp(world->fail_jump, 1);
}

void sim_check(struct world *world, bool holds, const char *format, ...)
{
    if (LIKELY(holds)) {
        return;
    }
    va_list args;
    va_start(args, format);
    fail(world, format, args);
    va_end(args);
    longjmp(world->fail_jump, 1);
}
