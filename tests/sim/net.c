/* net.c - connections come and go; listeners. */
#include "tests/sim/net_state.h"

#include <errno.h>
#include <stdlib.h>

struct world *net_world_of(const struct end *end)
{
    return end->conn->net->world;
}

struct net *net_new(struct world *world)
{
    struct net *net = calloc(1, sizeof *net);
    ASSERT(net != NULL);
    net->world = world;
    list_init(&net->conns);
    return net;
}

uint32_t net_connection_count(const struct net *net)
{
    return net->conn_count;
}

bool net_held(const struct end *end)
{
    return end->state == END_CONNECTING || end->state == END_OPEN;
}

static void conn_free(struct conn *conn)
{
    struct world *world = conn->net->world;
    for (int i = 0; i < 2; i++) {
        struct pipe *pipe = &conn->end[i].out;
        world_cancel(world, &pipe->arrive);
        world_cancel(world, &pipe->ack);
        net_drop_segments(&pipe->flying);
        net_drop_segments(&pipe->rx);
        list_remove(&conn->end[i].backlog);
    }
    world_cancel(world, &conn->handshake);
    list_remove(&conn->link);
    conn->net->conn_count--;
    free(conn);
}

bool conn_free_unheld(struct conn *conn)
{
    if (net_held(&conn->end[0]) || net_held(&conn->end[1])) {
        return false;
    }
    conn_free(conn);
    return true;
}

void net_free(struct net *net)
{
    if (net == NULL) {
        return;
    }
    LIST_EACH (&net->conns, link) {
        conn_free(CONTAINER_OF(link, struct conn, link));
    }
    free(net);
}

static bool port_taken(struct machine *machine, uint16_t port, bool reuse_port)
{
    LIST_EACH (&machine->listeners, link) {
        const struct listener *listener = CONTAINER_OF(link, struct listener, link);
        if (listener->port == port && !(listener->reuse_port && reuse_port)) {
            return true;
        }
    }
    return false;
}

int net_listen(struct process *process, const char *address, uint16_t port, bool reuse_port, uint32_t backlog,
               struct listener **out)
{
    struct machine *machine  = process->machine;
    bool            any      = strcmp(address, "0.0.0.0") == 0 || strcmp(address, "::") == 0;
    bool            loopback = net_is_loopback(address);
    if (!any && !loopback && machine_find(machine->world, address) != machine) {
        return -EADDRNOTAVAIL;
    }
    while (port == 0) {
        uint16_t candidate = machine->next_port++;
        port               = candidate < FIRST_EPHEMERAL_PORT || port_taken(machine, candidate, false) ? 0 : candidate;
    }
    if (port_taken(machine, port, reuse_port)) {
        return -EADDRINUSE;
    }
    struct listener *listener = calloc(1, sizeof *listener);
    ASSERT(listener != NULL);
    listener->machine       = machine;
    listener->process       = process;
    listener->port          = port;
    listener->backlog       = backlog;
    listener->loopback_only = loopback;
    listener->reuse_port    = reuse_port;
    list_init(&listener->queue);
    list_push_back(&machine->listeners, &listener->link);
    *out = listener;
    return 0;
}

struct end *net_accept(struct listener *listener)
{
    struct list *link = list_pop_front(&listener->queue);
    if (link == NULL) {
        return NULL;
    }
    listener->queued--;
    return CONTAINER_OF(link, struct end, backlog);
}

void net_listener_close(struct listener *listener)
{
    struct end *end;
    while ((end = net_accept(listener)) != NULL) {
        end_close(end, true);
    }
    list_remove(&listener->link);
    free(listener);
}

struct end *net_find_loose(struct process *process, uint64_t id)
{
    LIST_EACH (&process->machine->world->net->conns, link) {
        struct conn *conn = CONTAINER_OF(link, struct conn, link);
        for (int i = 0; i < 2; i++) {
            struct end *end = &conn->end[i];
            if (end->id == id && end->process == process && end->state == END_OPEN && end->owner == NULL) {
                return end;
            }
        }
    }
    return NULL;
}

/* A kernel without power says nothing; one whose process was killed closes what it had, with a reset when input was unread. */
static void end_dies(struct end *end, bool power_lost)
{
    struct world *world = net_world_of(end);
    list_remove(&end->backlog);
    if (power_lost) {
        end->state = END_VANISHED;
        end->owner = NULL;
        world_cancel(world, &end->out.arrive);
        net_drop_segments(&end->out.flying);
        conn_free_unheld(end->conn);
        return;
    }
    bool abort                    = end_readable(end) || rand_chance(world_rand(world, SALT_CRASH), 2);
    end->peer->out.stuck_since_ns = 0;
    end_close(end, abort);
}

void net_process_dies(struct process *process, bool power_lost)
{
    struct machine *machine = process->machine;
    LIST_EACH (&machine->world->net->conns, link) {
        struct conn *conn = CONTAINER_OF(link, struct conn, link);
        /* Both ends may be ours; the connection goes with the second. */
        bool both = conn->end[0].process == process && conn->end[1].process == process && net_held(&conn->end[0]) &&
                    net_held(&conn->end[1]);
        int first = conn->end[0].process == process && net_held(&conn->end[0]) ? 0 : 1;
        if (!both && !(conn->end[first].process == process && net_held(&conn->end[first]))) {
            continue;
        }
        end_dies(&conn->end[first], power_lost);
        if (both) {
            end_dies(&conn->end[1], power_lost);
        }
    }
    LIST_EACH (&machine->listeners, link) {
        struct listener *listener = CONTAINER_OF(link, struct listener, link);
        if (listener->process == process) {
            list_init(&listener->queue);
            list_remove(&listener->link);
            free(listener);
        }
    }
}
