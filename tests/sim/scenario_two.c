/* scenario_two.c - the scenarios of one broker with two of them at one segment store: clients come to either, and either is killed, or both. */
#include "tests/sim/cluster.h"
#include "tests/sim/scenarios.h"

void scenario_two_qos1(struct world *world)
{
    cluster_brokers = 2;
    scenario_mqtt_qos1(world);
}

void scenario_two_qos2(struct world *world)
{
    cluster_brokers = 2;
    scenario_mqtt_qos2(world);
}

void scenario_two_takeover(struct world *world)
{
    cluster_brokers = 2;
    scenario_takeover(world);
}

void scenario_two_will(struct world *world)
{
    cluster_brokers = 2;
    scenario_will(world);
}

void scenario_two_shared(struct world *world)
{
    cluster_brokers = 2;
    scenario_shared(world);
}

void scenario_two_retained(struct world *world)
{
    cluster_brokers = 2;
    scenario_retained(world);
}

void scenario_two_queues(struct world *world)
{
    cluster_brokers = 2;
    scenario_queues_qos2(world);
}
