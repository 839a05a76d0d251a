/* scenarios - what the simulator runs. One line here, one function in a file of its own (scenario_<name>.c):
 *
 *     void scenario_<name>(struct world *world);
 *
 * It builds machines and processes, lets time pass and checks (world.h, process.h, net.h, disk.h). It keeps its state on its own
 * stack or heap and frees it; the world ends processes that are still alive after it has returned, by their destroy(), so what they point to
 * must outlive the scenario or be ended by it (process_crash). Short is good: a few thousand events, virtual seconds to minutes. */
#ifndef KEEL_TESTS_SIM_SCENARIOS_H
#define KEEL_TESTS_SIM_SCENARIOS_H

struct world;

#define SCENARIOS(X)   \
    X(timers)          \
    X(wake)            \
    X(move)            \
    X(echo)            \
    X(partition)       \
    X(torn)            \
    X(full)            \
    X(segstore_crash)  \
    X(segstore_full)   \
    X(segstore_rot)    \
    X(segstore_limits) \
    X(segstore_scrub)  \
    X(segstore_runs)   \
    X(segstore_moldy)  \
    X(group_elections) \
    X(group)           \
    X(group_rot)       \
    X(group_repair)    \
    X(group_lost)      \
    X(group_lost_disk) \
    X(group_members)   \
    X(group_stale)     \
    X(group_votes)     \
    X(group_images)    \
    X(group_tail)      \
    X(group_readback)  \
    X(group_places)    \
    X(group_spare)     \
    X(group_drain)     \
    X(mqtt_qos1)       \
    X(mqtt_qos2)       \
    X(takeover)        \
    X(will)            \
    X(shared)          \
    X(retained)        \
    X(trouble)         \
    X(two_qos1)        \
    X(two_qos2)        \
    X(two_takeover)    \
    X(two_will)        \
    X(two_shared)      \
    X(two_retained)    \
    X(two_live)

struct scenario {
    const char *name;
    void (*run)(struct world *world);
};

#define SCENARIO_DECLARE(name) void scenario_##name(struct world *world);
SCENARIOS(SCENARIO_DECLARE)
#undef SCENARIO_DECLARE

#endif
