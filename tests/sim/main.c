/* main.c - runs scenarios with seeds. The same seed and scenario is the same run, always.
 *
 *   sim [--seed=N] [--runs=N] [--scenario=NAME] [--until=EVENT] [--verify] [--first] [--table] [--list]
 *
 * A failing run prints its sentence and the command that replays it, with the trace up to the event at which it failed.
 * --table ends with a line for each scenario: what it simulated, what that cost, and one hash of all its traces, by which two
 * builds can be compared. */
#include "shared/base/hash.h"
#include "shared/base/log.h"
#include "shared/base/rand.h"
#include "tests/sim/scenarios.h"
#include "tests/sim/seeds.h"
#include "tests/sim/world.h"

#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#ifdef KEEL_SLOW_CHECKS
enum { RUN_LIMIT_SECONDS = 2400 }; /* TSan notes every byte of a file that is copied or compared */
#else
enum { RUN_LIMIT_SECONDS = 120 };
#endif

static const struct scenario scenarios[] = {
#define SCENARIO_ENTRY(name, every) {#name, every, scenario_##name},
    SCENARIOS(SCENARIO_ENTRY)
#undef SCENARIO_ENTRY
};

static const struct known_seed known_seeds[] = {
#define SEED_ENTRY(name, seed, found) {#name, seed, found},
    KNOWN_SEEDS(SEED_ENTRY)
#undef SEED_ENTRY
};

enum { KNOWN_COUNT = sizeof known_seeds / sizeof known_seeds[0] };
enum { SCENARIO_COUNT = sizeof scenarios / sizeof scenarios[0], MANY = 10 /* runs */ };

struct options {
    uint64_t    seed;
    uint64_t    runs;
    uint64_t    until;
    const char *scenario;
    const char *program;
    bool        verify;
    bool        first;
    bool        table;
};

struct outcome {
    bool     passed;
    uint64_t hash;
    uint64_t events;
    uint64_t virtual_ns;
};

/* What the runs of a scenario came to. */
struct tally {
    uint64_t runs;
    uint64_t events;
    uint64_t virtual_ns;
    uint64_t hash;
    double   wall_seconds;
    double   cpu_seconds; /* of this process: what the same would take on a core of its own */
};

static struct tally tallies[SCENARIO_COUNT];

static const char *program_name;

/* jemalloc's: worlds come and go, and what one has given back is the next one's. Pages that go to the kernel between two of
 * them, or a few kilobytes that never come out of a large piece, are faulted in again by each world: a tenth of the time. With
 * small pages a large calloc() gives its pages to the kernel and faults zeros in; with huge ones it writes zeros.
 * A slab of the size of a disk's sectors has one of them when it is not told otherwise. */
const char *malloc_conf =
    "narenas:1,dirty_decay_ms:-1,muzzy_decay_ms:-1,oversize_threshold:0,lg_extent_max_active_fit:20,"
    "thp:always,slab_sizes:1024-14336:64";

/* ---- what is told ---- */

static void replay_command(char *out, size_t size, const struct world *world)
{
    snprintf(out, size, "%s --scenario=%s --seed=%" PRIu64 " --until=%" PRIu64, program_name, world->scenario,
             world->seed, world->event_count != 0 ? world->event_count : 1);
}

static void tell_failure(const struct world *world, const char *why)
{
    char command[256];
    replay_command(command, sizeof command, world);
    printf("FAILED %s seed %" PRIu64 " at event %" PRIu64 " (%.6f s): %s\n  replay: %s\n", world->scenario, world->seed,
           world->event_count, (double)world->now_ns / 1e9, why, command);
    fflush(stdout);
}

/* Signals that nothing survives: the code under test wrote where it must not, or runs without end. */
static void on_signal(int number)
{
    if (world_running != NULL) {
        tell_failure(world_running, number == SIGPROF ? "runs for minutes without end" : strsignal(number));
    }
    signal(number == SIGPROF ? SIGABRT : number, SIG_DFL);
    raise(number == SIGPROF ? SIGABRT : number);
}

static void log_to_trace(const char *line)
{
    const struct world *world = world_running;
    if (world == NULL || world->until == 0) {
        return;
    }
    const char *sentence = strchr(line, ' '); /* virtual time instead of real time */
    printf("#%-7" PRIu64 " %12.9f  log%s", world->event_count, (double)world->now_ns / 1e9,
           sentence != NULL ? sentence : line);
}

/* ---- one run ---- */

/* Of a processor's time, 0: none: a machine that has much else to do, or a build that is slow, is no endless run. */
static void limit(time_t seconds)
{
    const struct itimerval timer = {.it_value = {.tv_sec = seconds}};
    setitimer(ITIMER_PROF, &timer, NULL);
}

static struct outcome run_one(const struct scenario *scenario, uint64_t seed, uint64_t until)
{
    jmp_buf stop;
    struct world *volatile world = world_new(seed, scenario->name);
    struct outcome outcome       = {0};
    volatile bool  finished      = false;
    world->until                 = until;
    world->stop_jump             = &stop;
    world_running                = world;
    log_setup(scenario->name, until != 0 ? LOG_DEBUG : LOG_ERROR, log_to_trace);
    limit(RUN_LIMIT_SECONDS);
    if (setjmp(stop) == 0) {
        if (setjmp(world->fail_jump) == 0) {
            scenario->run(world);
            outcome = (struct outcome){.hash = world->hash, .events = world->event_count, .virtual_ns = world->now_ns};
            world_free(world);
            finished = true;
        } else {
            tell_failure(world, world->why);
        }
    }
    limit(0);
    world_running  = NULL;
    outcome.passed = finished;
    return outcome; /* what a failed run allocated is not given back: nothing in it can be trusted */
}

static double seconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void add(struct tally *sum, const struct tally *tally)
{
    sum->runs += tally->runs;
    sum->events += tally->events;
    sum->virtual_ns += tally->virtual_ns;
    sum->hash = hash_u64(rand_rotl(sum->hash, 5) ^ tally->hash);
    sum->wall_seconds += tally->wall_seconds;
    sum->cpu_seconds += tally->cpu_seconds;
}

static void count(struct tally *tally, const struct outcome *outcome)
{
    tally->runs++;
    tally->events += outcome->events;
    tally->virtual_ns += outcome->virtual_ns;
    tally->hash = hash_u64(rand_rotl(tally->hash, 5) ^ outcome->hash);
}

/* A second run to compare with is counted as well: it is as much work. */
static struct outcome run_counted(const struct scenario *scenario, uint64_t seed, uint64_t until)
{
    struct tally  *tally        = &tallies[scenario - scenarios];
    double         wall_seconds = seconds(CLOCK_MONOTONIC);
    double         cpu_seconds  = seconds(CLOCK_PROCESS_CPUTIME_ID);
    struct outcome outcome      = run_one(scenario, seed, until);
    tally->wall_seconds += seconds(CLOCK_MONOTONIC) - wall_seconds;
    tally->cpu_seconds += seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu_seconds;
    count(tally, &outcome);
    return outcome;
}

static bool run_verified(const struct scenario *scenario, uint64_t seed, const struct options *options)
{
    struct outcome first = run_counted(scenario, seed, options->until);
    if (!first.passed || !options->verify) {
        return first.passed;
    }
    struct outcome second = run_counted(scenario, seed, 0);
    if (second.passed && second.hash == first.hash && second.events == first.events) {
        return true;
    }
    printf("FAILED %s seed %" PRIu64 ": two runs differ, %" PRIu64 " events with trace %016" PRIx64 " and %" PRIu64
           " events with trace %016" PRIx64 "\n",
           scenario->name, seed, first.events, first.hash, second.events, second.hash);
    return false;
}

/* ---- options ---- */

static void usage(void)
{
    printf("usage: %s [--seed=N] [--runs=N] [--scenario=NAME] [--until=EVENT] [--verify] [--first] [--table] [--list]\n"
           "  --until prints the trace up to that event of one seed of one scenario; --first ends with the first "
           "failure;\n"
           "  --table tells what each scenario cost, and a hash of its traces\n",
           program_name);
}

static bool parse_number(const char *text, uint64_t *out)
{
    char *end;
    *out = strtoull(text, &end, 10);
    return *text != '\0' && *end == '\0';
}

/* 0 to run, 1 when it has answered, -1 when it was not understood. */
static int parse(int argc, char **argv, struct options *options)
{
    static const struct option names[] = {
        {"seed", required_argument, NULL, 's'},     {"runs", required_argument, NULL, 'r'},
        {"scenario", required_argument, NULL, 'n'}, {"until", required_argument, NULL, 'u'},
        {"verify", no_argument, NULL, 'v'},         {"list", no_argument, NULL, 'l'},
        {"first", no_argument, NULL, 'f'},          {"table", no_argument, NULL, 't'},
        {"help", no_argument, NULL, 'h'},           {NULL, 0, NULL, 0},
    };
    int option;
    while ((option = getopt_long(argc, argv, "h", names, NULL)) != -1) {
        bool understood = true;
        switch (option) {
        case 's':
            understood = parse_number(optarg, &options->seed);
            break;
        case 'r':
            understood = parse_number(optarg, &options->runs);
            break;
        case 'u':
            understood = parse_number(optarg, &options->until) && options->until != 0;
            break;
        case 'n':
            options->scenario = optarg;
            break;
        case 'v':
            options->verify = true;
            break;
        case 'f':
            options->first = true;
            break;
        case 't':
            options->table = true;
            break;
        case 'l':
            for (size_t i = 0; i < SCENARIO_COUNT; i++) {
                printf("%s\n", scenarios[i].name);
            }
            return 1;
        case 'h':
            usage();
            return 1;
        default:
            understood = false;
        }
        if (!understood) {
            return -1;
        }
    }
    bool known = options->scenario == NULL;
    for (size_t i = 0; i < SCENARIO_COUNT; i++) {
        known = known || strcmp(scenarios[i].name, options->scenario) == 0;
    }
    return known && optind == argc && (options->until == 0 || options->scenario != NULL) ? 0 : -1;
}

/* The runs that found something once, before all others: with seed 1. */
static void run_known(const struct options *options, uint64_t *passed, uint64_t *failed)
{
    for (size_t k = 0; k < KNOWN_COUNT; k++) {
        for (size_t i = 0; i < SCENARIO_COUNT; i++) {
            if (strcmp(known_seeds[k].scenario, scenarios[i].name) == 0) {
                bool held = run_verified(&scenarios[i], known_seeds[k].seed, options);
                *(held ? passed : failed) += 1;
                if (!held) {
                    printf("  it was once: %s\n", known_seeds[k].found);
                }
            }
        }
    }
}

/* ---- what it cost ---- */

static double ratio(const struct tally *tally, double spent_seconds)
{
    return (double)tally->virtual_ns / 1e9 / (spent_seconds > 0 ? spent_seconds : 1e-9);
}

static void tell_row(const char *name, const struct tally *tally)
{
    printf("%-18s %6" PRIu64 " %12" PRIu64 " %14.1f %10.3f %10.3f %14.0f  %016" PRIx64 "\n", name, tally->runs,
           tally->events, (double)tally->virtual_ns / 1e9, tally->wall_seconds, tally->cpu_seconds,
           ratio(tally, tally->cpu_seconds), tally->hash);
}

/* Scenarios of clocks and timeouts let years pass in which nothing happens: a sum that has them says nothing of the others. */
static bool mostly_waits(const struct tally *tally)
{
    return (double)tally->virtual_ns / 1e9 > (double)tally->events;
}

static void tell_table(void)
{
    struct tally all  = {0};
    struct tally busy = {0};
    printf("%-18s %6s %12s %14s %10s %10s %14s  %s\n", "scenario", "runs", "events", "virtual s", "wall s", "cpu s",
           "virtual / cpu", "traces");
    for (size_t i = 0; i < SCENARIO_COUNT; i++) {
        const struct tally *tally = &tallies[i];
        if (tally->runs == 0) {
            continue;
        }
        tell_row(scenarios[i].name, tally);
        add(&all, tally);
        if (!mostly_waits(tally)) {
            add(&busy, tally);
        }
    }
    tell_row("all", &all);
    tell_row("without idle ones", &busy);
}

int main(int argc, char **argv)
{
    struct options options = {.seed = 1, .runs = 1};
    program_name           = argv[0];
    int parsed             = parse(argc, argv, &options);
    if (parsed != 0) {
        if (parsed < 0) {
            usage();
        }
        return parsed < 0 ? 2 : 0;
    }
    const int caught[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGPROF};
    for (size_t i = 0; i < sizeof caught / sizeof caught[0]; i++) {
        signal(caught[i], on_signal);
    }
    uint64_t passed = 0;
    uint64_t failed = 0;
    if (options.scenario == NULL && options.seed == 1) {
        run_known(&options, &passed, &failed);
    }
    for (uint64_t run = 0; run < (options.until != 0 ? 1 : options.runs); run++) {
        for (size_t i = 0; i < SCENARIO_COUNT && !(options.first && failed > 0); i++) {
            if (options.scenario != NULL ? strcmp(options.scenario, scenarios[i].name) != 0
                                         : options.runs >= MANY && (options.seed + run) % scenarios[i].every != 0) {
                continue;
            }
            if (run_verified(&scenarios[i], options.seed + run, &options)) {
                passed++;
            } else if (options.until != 0) {
                return 1; /* stopped where it was asked to, or failed there */
            } else {
                failed++;
            }
        }
    }
    struct tally total = {0};
    for (size_t i = 0; i < SCENARIO_COUNT; i++) {
        add(&total, &tallies[i]);
    }
    if (options.table) {
        tell_table();
    }
    printf("%" PRIu64 " events, %.1f virtual seconds in %.2f s: %.0f times real time\n", total.events,
           (double)total.virtual_ns / 1e9, total.wall_seconds, ratio(&total, total.wall_seconds));
    printf("%" PRIu64 " passed, %" PRIu64 " failed\n", passed, failed);
    fflush(stdout);
    _exit(failed == 0 ? 0 : 1);
}
