/* main.c - runs scenarios with seeds. The same seed and scenario is the same run, always.
 *
 *   sim [--seed=N] [--runs=N] [--scenario=NAME] [--until=EVENT] [--verify] [--first] [--list]
 *
 * A failing run prints its sentence and the command that replays it, with the trace up to the event at which it failed. */
#include "shared/base/log.h"
#include "tests/sim/scenarios.h"
#include "tests/sim/seeds.h"
#include "tests/sim/world.h"

#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { RUN_LIMIT_SECONDS = 120 };

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
};

struct outcome {
    bool     passed;
    uint64_t hash;
    uint64_t events;
    uint64_t virtual_ns;
};

static const char *program_name;

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
        tell_failure(world_running, number == SIGALRM ? "runs for minutes without end" : strsignal(number));
    }
    signal(number == SIGALRM ? SIGABRT : number, SIG_DFL);
    raise(number == SIGALRM ? SIGABRT : number);
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
    alarm(RUN_LIMIT_SECONDS);
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
    alarm(0);
    world_running  = NULL;
    outcome.passed = finished;
    return outcome; /* what a failed run allocated is not given back: nothing in it can be trusted */
}

static bool run_verified(const struct scenario *scenario, uint64_t seed, const struct options *options,
                         struct outcome *total)
{
    struct outcome first = run_one(scenario, seed, options->until);
    total->events += first.events;
    total->virtual_ns += first.virtual_ns;
    if (!first.passed || !options->verify) {
        return first.passed;
    }
    struct outcome second = run_one(scenario, seed, 0);
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
    printf("usage: %s [--seed=N] [--runs=N] [--scenario=NAME] [--until=EVENT] [--verify] [--first] [--list]\n"
           "  --until prints the trace up to that event of one seed of one scenario; --first ends with the first "
           "failure\n",
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
        {"seed", required_argument, NULL, 's'},
        {"runs", required_argument, NULL, 'r'},
        {"scenario", required_argument, NULL, 'n'},
        {"until", required_argument, NULL, 'u'},
        {"verify", no_argument, NULL, 'v'},
        {"list", no_argument, NULL, 'l'},
        {"first", no_argument, NULL, 'f'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
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
static void run_known(const struct options *options, struct outcome *total, uint64_t *passed, uint64_t *failed)
{
    for (size_t k = 0; k < KNOWN_COUNT; k++) {
        for (size_t i = 0; i < SCENARIO_COUNT; i++) {
            if (strcmp(known_seeds[k].scenario, scenarios[i].name) == 0) {
                bool held = run_verified(&scenarios[i], known_seeds[k].seed, options, total);
                *(held ? passed : failed) += 1;
                if (!held) {
                    printf("  it was once: %s\n", known_seeds[k].found);
                }
            }
        }
    }
}

static double real_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
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
    const int caught[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGALRM};
    for (size_t i = 0; i < sizeof caught / sizeof caught[0]; i++) {
        signal(caught[i], on_signal);
    }
    uint64_t       passed  = 0;
    uint64_t       failed  = 0;
    struct outcome total   = {0};
    double         started = real_seconds();
    if (options.scenario == NULL && options.seed == 1) {
        run_known(&options, &total, &passed, &failed);
    }
    for (uint64_t run = 0; run < (options.until != 0 ? 1 : options.runs); run++) {
        for (size_t i = 0; i < SCENARIO_COUNT && !(options.first && failed > 0); i++) {
            if (options.scenario != NULL ? strcmp(options.scenario, scenarios[i].name) != 0
                                         : options.runs >= MANY && (options.seed + run) % scenarios[i].every != 0) {
                continue;
            }
            if (run_verified(&scenarios[i], options.seed + run, &options, &total)) {
                passed++;
            } else if (options.until != 0) {
                return 1; /* stopped where it was asked to, or failed there */
            } else {
                failed++;
            }
        }
    }
    double real = real_seconds() - started;
    printf("%" PRIu64 " events, %.1f virtual seconds in %.2f s: %.0f times real time\n", total.events,
           (double)total.virtual_ns / 1e9, real, (double)total.virtual_ns / 1e9 / (real > 0 ? real : 1e-9));
    printf("%" PRIu64 " passed, %" PRIu64 " failed\n", passed, failed);
    fflush(stdout);
    _exit(failed == 0 ? 0 : 1);
}
