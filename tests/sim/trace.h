/* trace - what happens at nearly every event goes into the trace without a text being hashed again.
 * Threads: one. */
#ifndef KEEL_TESTS_SIM_TRACE_H
#define KEEL_TESTS_SIM_TRACE_H

#include "shared/base/hash.h"
#include "tests/sim/world.h"

/* As world_trace. what is a literal, whose hash the compiler makes; who_hash is hash_bytes() of who. */
static inline __attribute__((always_inline)) void trace_often(struct world *world, const char *what, const char *who,
                                                              uint64_t who_hash, uint64_t a, uint64_t b)
{
    world_trace_hashed(world, what, hash_bytes(bytes_str(what)), who, who_hash, a, b);
}

#endif
