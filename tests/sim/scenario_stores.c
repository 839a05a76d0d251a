/* scenario_stores.c - the scenarios of one broker and one store with two brokers at three stores: either broker dies, or both; stores die, lose power, are cut off or
 * stand still, one or all of them, and the lead of stripes goes from one to the other. */
#include "tests/sim/cluster.h"
#include "tests/sim/group_faults.h"
#include "tests/sim/scenarios.h"

static void play(struct world *world, void (*scenario)(struct world *world))
{
    group_tame(world);
    cluster_brokers = 2;
    cluster_stores  = CLUSTER_STORES_MAX;
    scenario(world);
}

void scenario_stores_qos1(struct world *world)
{
    play(world, scenario_mqtt_qos1);
}

void scenario_stores_qos2(struct world *world)
{
    play(world, scenario_mqtt_qos2);
}

void scenario_stores_takeover(struct world *world)
{
    play(world, scenario_takeover);
}

void scenario_stores_will(struct world *world)
{
    play(world, scenario_will);
}

void scenario_stores_shared(struct world *world)
{
    play(world, scenario_shared);
}

void scenario_stores_retained(struct world *world)
{
    play(world, scenario_retained);
}

void scenario_stores_queues(struct world *world)
{
    play(world, scenario_queues_qos2);
}
