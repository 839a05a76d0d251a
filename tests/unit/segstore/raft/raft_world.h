/* raft_world - a seeded little world for the consensus of one stripe: asynchronous logs, connections that break, nodes that crash; and what must
 * hold after every step of it.
 *
 * The world plays the edge: raft_wants -> message -> raft_append -> write -> raft_stable -> raft_flush, and applies what is committed.
 * Every entry carries the hash of everything up to it, so that two logs are equal up to an entry exactly when the hashes there are.
 * Threads: one.   Units: a step is a millisecond of the world; each node's clock runs up to 3 % too fast or too slow. */
#ifndef KEEL_TESTS_UNIT_SEGSTORE_RAFT_RAFT_WORLD_H
#define KEEL_TESTS_UNIT_SEGSTORE_RAFT_RAFT_WORLD_H

#include <stddef.h>
#include <stdint.h>

struct raft_world_result {
    char     failure[256]; /* empty: everything held */
    uint64_t step;
    uint64_t steps_to_heal; /* of the liveness phase */
    uint64_t committed;
    uint64_t elections;
    uint64_t crashes, damages, healed, installs, changes, transfers, cuts,
        leases; /* what happened: a run proves only what it meets */
};

struct raft_world_options {
    uint64_t seed;
    uint64_t steps; /* of trouble, before everything is healed */
    int      nodes; /* that vote in the beginning: 3 or 5 */
    int      verbose;
};

void raft_world_run(const struct raft_world_options *options, struct raft_world_result *out);

#endif
