/* net_link.c - the way from one machine to another: how long it takes, whether it is cut. */
#include "tests/sim/net_state.h"

struct link *net_link(struct machine *from, struct machine *to)
{
    struct world *world = from->world;
    ASSERT(from->index < MACHINES_MAX && to->index < MACHINES_MAX);
    struct link *wire = &world->net->links[from->index][to->index];
    if (!wire->drawn) {
        const struct world_faults *faults = &world->faults;
        bool                       local  = from == to;
        wire->drawn                       = true;
        wire->latency_ns =
            local ? 10 * SIM_US : world_between(world, SALT_NET, faults->latency_ns / 2, faults->latency_ns * 3 / 2);
        wire->jitter_ns        = local ? 10 * SIM_US : faults->jitter_ns;
        wire->bytes_per_second = local ? 0 : faults->bytes_per_second;
    }
    return wire;
}

void net_cut(struct machine *a, struct machine *b, bool cut)
{
    ASSERT(a != b);
    world_trace(a->world, cut ? "cut" : "heal", a->name, a->index, b->index);
    net_link(a, b)->cut = cut;
    net_link(b, a)->cut = cut;
}

void net_isolate(struct machine *machine, bool cut)
{
    LIST_EACH (&machine->world->machines, link) {
        struct machine *other = CONTAINER_OF(link, struct machine, link);
        if (other != machine) {
            net_cut(machine, other, cut);
        }
    }
}

uint64_t net_arrival_ns(struct end *from, size_t size)
{
    struct world *world = net_world_of(from);
    struct link  *wire  = net_link(from->machine, from->peer->machine);
    uint64_t      at_ns = world->now_ns;
    if (wire->bytes_per_second != 0) {
        at_ns            = wire->free_at_ns > at_ns ? wire->free_at_ns : at_ns;
        at_ns            = at_ns + size * SIM_S / wire->bytes_per_second;
        wire->free_at_ns = at_ns;
    }
    return at_ns + wire->latency_ns + world_between(world, SALT_NET, 0, wire->jitter_ns);
}

bool net_gets_through(struct end *from)
{
    return from->machine->powered && from->peer->machine->powered && !net_link(from->machine, from->peer->machine)->cut;
}

uint64_t net_next_retry_ns(struct world *world, uint64_t *retry_ns)
{
    uint64_t wait_ns = *retry_ns + world_between(world, SALT_NET, 0, *retry_ns / 4);
    *retry_ns        = *retry_ns * 2 > RETRY_LAST_NS ? RETRY_LAST_NS : *retry_ns * 2;
    return world->now_ns + wait_ns;
}
