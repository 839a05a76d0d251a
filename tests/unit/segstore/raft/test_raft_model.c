/* Thousands of short lives of a stripe's replicas under everything that may happen to them; what must hold is in raft_world.c.
 *   RAFT_SEED=n RAFT_VERBOSE=1 build/release/unit --filter test_raft_model   plays one of them again, aloud
 *   RAFT_RUNS=n      more of them */
#include "tests/unit/segstore/raft/raft_world.h"

#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
    const char *value = getenv(name);
    return value == NULL ? otherwise : strtoull(value, NULL, 10);
}

static void run_many(int nodes, uint64_t steps, uint64_t runs, uint64_t base)
{
    struct raft_world_result all = {0};
    uint64_t                 one = from_environment("RAFT_SEED", 0);
    runs                         = from_environment("RAFT_RUNS", runs);
    uint64_t longest             = 0;
    for (uint64_t seed = one != 0 ? one : base; seed < (one != 0 ? one + 1 : base + runs); seed++) {
        struct raft_world_result  result;
        struct raft_world_options options = {
            .seed = seed, .steps = steps, .nodes = nodes, .verbose = from_environment("RAFT_VERBOSE", 0) != 0};
        raft_world_run(&options, &result);
        cr_assert(result.failure[0] == 0, "%d nodes, RAFT_SEED=%llu, step %llu: %s", nodes, (unsigned long long)seed,
                  (unsigned long long)result.step, result.failure);
        all.committed += result.committed;
        all.elections += result.elections;
        all.crashes += result.crashes;
        all.damages += result.damages;
        all.healed += result.healed;
        all.installs += result.installs;
        all.changes += result.changes;
        all.transfers += result.transfers;
        all.cuts += result.cuts;
        all.leases += result.leases;
        longest = longest > result.steps_to_heal ? longest : result.steps_to_heal;
    }
    if (one == 0) { /* it must have met what it is to prove */
        cr_assert(all.committed > 20 * runs && all.elections > runs && all.crashes > runs / 4 &&
                  all.installs > runs / 50 && all.changes > runs / 50 && all.transfers > runs / 50 &&
                  all.cuts > runs / 4 && all.leases > runs);
        cr_assert(all.damages > runs / 10 && all.healed > runs / 20);
    }
    if (getenv("RAFT_TELL") != NULL) {
        printf("%d nodes, %llu runs: committed %llu elections %llu crashes %llu damages %llu healed %llu installs %llu "
               "changes "
               "%llu transfers %llu cuts %llu leases %llu; healed within %llu steps\n",
               nodes, (unsigned long long)runs, (unsigned long long)all.committed, (unsigned long long)all.elections,
               (unsigned long long)all.crashes, (unsigned long long)all.damages, (unsigned long long)all.healed,
               (unsigned long long)all.installs, (unsigned long long)all.changes, (unsigned long long)all.transfers,
               (unsigned long long)all.cuts, (unsigned long long)all.leases, (unsigned long long)longest);
    }
}

Test(raft_model, three_replicas_agree_whatever_happens)
{
    run_many(3, 1200, 2500, 1);
}

Test(raft_model, five_replicas_agree_whatever_happens)
{
    run_many(5, 1200, 1500, 100001);
}
