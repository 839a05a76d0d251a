/* scenarios - what the simulator runs. One line here, one function in a file of its own (scenario_<name>.c):
 *
 *     void scenario_<name>(struct world *world);
 *
 * It builds machines and processes, lets time pass and checks (world.h, process.h, net.h, disk.h). It keeps its state on its own
 * stack or heap and frees it; the world ends processes that are still alive after it has returned, by their destroy(), so what they point to
 * must outlive the scenario or be ended by it (process_crash). Short is good: a few thousand events, virtual seconds to minutes. */
#ifndef KEEL_TESTS_SIM_SCENARIOS_H
#define KEEL_TESTS_SIM_SCENARIOS_H

#include <stdint.h>

struct world;

#define SCENARIOS(X)       \
    X(timers, 1)           \
    X(wake, 1)             \
    X(move, 1)             \
    X(echo, 1)             \
    X(partition, 1)        \
    X(torn, 1)             \
    X(full, 1)             \
    X(segstore_crash, 1)   \
    X(segstore_full, 4)    \
    X(segstore_rot, 1)     \
    X(segstore_limits, 1)  \
    X(segstore_scrub, 4)   \
    X(segstore_runs, 4)    \
    X(segstore_packed, 4)  \
    X(segstore_moldy, 5)   \
    X(group_elections, 1)  \
    X(group, 1)            \
    X(group_rot, 1)        \
    X(group_runs, 4)       \
    X(group_repair, 2)     \
    X(group_lost, 1)       \
    X(group_lost_disk, 1)  \
    X(group_members, 1)    \
    X(group_stale, 1)      \
    X(group_votes, 1)      \
    X(group_images, 1)     \
    X(group_tail, 1)       \
    X(group_holes, 1)      \
    X(group_mending, 1)    \
    X(group_given_up, 1)   \
    X(group_unreadable, 1) \
    X(group_unplaced, 1)   \
    X(group_readback, 2)   \
    X(group_places, 4)     \
    X(group_spare, 4)      \
    X(group_drain, 4)      \
    X(group_unknown, 4)    \
    X(group_leave, 2)      \
    X(group_heirs, 1)      \
    X(mqtt_qos1, 1)        \
    X(mqtt_qos2, 1)        \
    X(takeover, 1)         \
    X(will, 1)             \
    X(shared, 1)           \
    X(retained, 1)         \
    X(queues_qos1, 1)      \
    X(queues_qos2, 1)      \
    X(trouble, 1)          \
    X(two_qos1, 1)         \
    X(two_qos2, 1)         \
    X(two_takeover, 1)     \
    X(two_will, 1)         \
    X(two_shared, 1)       \
    X(two_retained, 1)     \
    X(two_queues, 1)       \
    X(two_live, 1)         \
    X(two_members, 1)      \
    X(stores_qos1, 4)      \
    X(stores_qos2, 4)      \
    X(stores_takeover, 5)  \
    X(stores_will, 5)      \
    X(stores_shared, 5)    \
    X(stores_retained, 5)  \
    X(stores_queues, 5)

struct scenario {
    const char *name;
    /* A run of all scenarios over ten seeds or more plays it with each so many-th: long ones leave room for the others. */
    uint64_t every;
    void (*run)(struct world *world);
};

#define SCENARIO_DECLARE(name, every) void scenario_##name(struct world *world);
SCENARIOS(SCENARIO_DECLARE)
#undef SCENARIO_DECLARE

#endif
