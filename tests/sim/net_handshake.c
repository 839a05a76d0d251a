/* net_handshake.c - how a connection begins. */
#include "tests/sim/net_state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static void end_init(struct conn *conn, int index, struct machine *machine)
{
    struct world *world   = conn->net->world;
    struct end   *end     = &conn->end[index];
    end->conn             = conn;
    end->peer             = &conn->end[1 - index];
    end->machine          = machine;
    end->id               = world->next_id++;
    end->out.from         = end;
    end->out.to           = end->peer;
    end->out.window_bytes = world->faults.window_bytes;
    end->out.arrive.run   = net_pipe_arrive;
    end->out.ack.run      = net_pipe_acked;
    list_init(&end->out.flying);
    list_init(&end->out.rx);
}

bool net_is_loopback(const char *address)
{
    return strncmp(address, "127.", 4) == 0 || strcmp(address, "::1") == 0 || strcmp(address, "localhost") == 0;
}

static struct listener *find_listener(struct machine *machine, uint16_t port, bool from_self, struct world *world)
{
    struct listener *found = NULL;
    uint32_t         count = 0;
    LIST_EACH (&machine->listeners, link) {
        struct listener *listener = CONTAINER_OF(link, struct listener, link);
        if (listener->port != port || (listener->loopback_only && !from_self)) {
            continue;
        }
        if (rand_below(world_rand(world, SALT_NET), ++count) == 0) { /* shared ports: any of them, as likely */
            found = listener;
        }
    }
    return found;
}

static void answer(struct conn *conn, int result)
{
    struct end *server          = &conn->end[1];
    conn->answered              = true;
    conn->answer                = result;
    conn->retry_ns              = RETRY_FIRST_NS;
    uint64_t at_ns              = net_arrival_ns(server, 0);
    server->out.last_arrival_ns = at_ns;
    world_schedule(conn->net->world, &conn->handshake, at_ns);
}

static void handshake_again(struct conn *conn)
{
    struct world *world = conn->net->world;
    if (world->now_ns - conn->started_ns > CONNECT_TIMEOUT_NS) {
        net_break_end(&conn->end[0], -ETIMEDOUT);
        return;
    }
    world_schedule(world, &conn->handshake, net_next_retry_ns(world, &conn->retry_ns));
}

/* The client's first segment is at the server. */
static void handshake_asks(struct conn *conn)
{
    struct world *world  = conn->net->world;
    struct end   *client = &conn->end[0];
    struct end   *server = &conn->end[1];
    if (!net_gets_through(client)) {
        handshake_again(conn);
        return;
    }
    struct listener *listener = find_listener(server->machine, conn->port, client->machine == server->machine, world);
    if (listener == NULL || world_chance(world, SALT_NET, world->faults.refuse_one_in)) {
        answer(conn, -ECONNREFUSED);
        return;
    }
    if (listener->queued > listener->backlog) {
        handshake_again(conn);
        return;
    }
    server->state   = END_OPEN;
    server->process = listener->process;
    list_push_back(&listener->queue, &server->backlog);
    listener->queued++;
    answer(conn, 0);
    listener->notify(listener->owner);
}

/* The client gave up while the server's answer was under way: its kernel knows nothing of the connection any more. */
static void handshake_meets_nobody(struct conn *conn)
{
    if (!conn->answered || conn->answer < 0) {
        return;
    }
    if (net_gets_through(&conn->end[1])) {
        net_fly_reset(&conn->end[0]);
    } else {
        handshake_again(conn);
    }
}

static void handshake_step(struct event *event)
{
    struct conn *conn   = CONTAINER_OF(event, struct conn, handshake);
    struct end  *client = &conn->end[0];
    world_trace(conn->net->world, conn->answered ? "net answer" : "net connect", client->process->name, client->id,
                conn->port);
    if (client->state != END_CONNECTING) {
        handshake_meets_nobody(conn);
    } else if (conn->end[1].machine == NULL) {
        net_break_end(client, -EHOSTUNREACH);
    } else if (!conn->answered) {
        handshake_asks(conn);
    } else if (!net_gets_through(&conn->end[1])) {
        handshake_again(conn);
    } else if (conn->answer < 0) {
        net_break_end(client, conn->answer);
    } else if (client->broken == 0) {
        client->state     = END_OPEN;
        client->connected = true;
        net_notify(client);
    }
}

struct end *net_connect(struct process *process, const char *address, uint16_t port)
{
    struct machine *machine = process->machine;
    struct world   *world   = machine->world;
    struct conn    *conn    = calloc(1, sizeof *conn);
    ASSERT(conn != NULL);
    conn->net           = world->net;
    conn->port          = port;
    conn->started_ns    = world->now_ns;
    conn->retry_ns      = SIM_S; /* what Linux waits before the second SYN */
    conn->handshake.run = handshake_step;
    list_push_back(&conn->net->conns, &conn->link);
    conn->net->conn_count++;
    struct machine *target = net_is_loopback(address) ? machine : machine_find(world, address);
    end_init(conn, 0, machine);
    end_init(conn, 1, target);
    struct end *client = &conn->end[0];
    client->process    = process;
    client->state      = END_CONNECTING;
    client->port       = machine->next_port++;
    conn->end[1].port  = port;
    conn->end[1].state = END_CLOSED;
    machine->next_port = machine->next_port < FIRST_EPHEMERAL_PORT ? FIRST_EPHEMERAL_PORT : machine->next_port;
    world_schedule(world, &conn->handshake, target == NULL ? world->now_ns + 10 * SIM_US : net_arrival_ns(client, 0));
    return client;
}
