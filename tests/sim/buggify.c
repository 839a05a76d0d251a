/* buggify.c - which places are odd in this run, and when. */
#include "shared/base/buggify.h"

#include "shared/base/hash.h"
#include "tests/sim/world.h"

/* buggify.h declares it for files that are compiled with KEEL_BUGGIFY. */
bool buggify(const char *place, uint32_t one_in);

enum { RUNS_ONE_IN = 2, PLACES_ONE_IN = 3 };

bool buggify(const char *place, uint32_t one_in)
{
    struct world *world = world_running;
    if (world == NULL || world->seed % RUNS_ONE_IN != 0) {
        return false;
    }
    /* By its name: a new place changes nothing for the others. */
    uint64_t lot = hash_bytes_seeded(bytes_str(place), hash_u64(world->seed));
    return lot % PLACES_ONE_IN == 0 && world_chance(world, SALT_BUGGIFY, one_in);
}
