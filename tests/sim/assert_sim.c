/* assert_sim.c - shared/base/assert.h inside the simulator. Defined here, so the linker leaves assert.c in its archive:
 * an assertion fails the run of this seed and not the program; fatal() ends the simulated process and not ours. */
#include "shared/base/assert.h"
#include "tests/sim/world.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void assert_failed(const char *condition, const char *file, int line)
{
    if (world_running == NULL) {
        fprintf(stderr, "keel: assertion failed: %s (%s:%d)\n", condition, file, line);
        abort();
    }
    sim_fail(world_running, "assertion failed: %s (%s:%d)", condition, file, line);
}

void assert_memory(const char *file, int line)
{
    assert_failed("memory is out", file, line);
}

void fatal(int exit_status, const char *format, ...)
{
    char    sentence[256];
    va_list args;
    va_start(args, format);
    vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    struct world *world = world_running;
    if (world == NULL || !world->fatal_armed) {
        fprintf(stderr, "keel: %s\n", sentence);
        exit(exit_status);
    }
    world_trace(world, "fatal", sentence, (uint64_t)exit_status, 0);
    longjmp(world->fatal_jump, 1);
}
