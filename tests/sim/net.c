/* net.c - connections: handshake, segments, windows, retransmission, resets. */
#include "tests/sim/net.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { MACHINES_MAX = 64, SEGMENT_MAX_BYTES = 32 * 1024, FIRST_EPHEMERAL_PORT = 40000 };

#define RETRY_FIRST_NS     (200 * SIM_MS)
#define RETRY_LAST_NS      (8 * SIM_S)
#define DRAIN_NS           (1 * SIM_S)
#define CONNECT_TIMEOUT_NS (127 * SIM_S)

struct net {
    struct world *world;
    struct list   conns;
    uint32_t      conn_count;
    struct link   links[MACHINES_MAX][MACHINES_MAX];
};

struct conn {
    struct net  *net;
    struct list  link;
    struct end   end[2];    /* who connected, who accepted */
    struct event handshake; /* the next step of it */
    uint16_t     port;
    bool         answered; /* the server's answer is under way to the client */
    int          answer;
    uint64_t     started_ns;
    uint64_t     retry_ns;
};

static struct world *world_of(const struct end *end)
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

/* ---- links ---- */

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

uint32_t net_connection_count(const struct net *net)
{
    return net->conn_count;
}

/* When size bytes that leave now are there. */
static uint64_t arrival_ns(struct end *from, size_t size)
{
    struct world *world = world_of(from);
    struct link  *wire  = net_link(from->machine, from->peer->machine);
    uint64_t      at_ns = world->now_ns;
    if (wire->bytes_per_second != 0) {
        at_ns            = wire->free_at_ns > at_ns ? wire->free_at_ns : at_ns;
        at_ns            = at_ns + size * SIM_S / wire->bytes_per_second;
        wire->free_at_ns = at_ns;
    }
    return at_ns + wire->latency_ns + world_between(world, SALT_NET, 0, wire->jitter_ns);
}

/* Does what leaves now get through? A machine without power hears nothing. */
static bool gets_through(struct end *from)
{
    return from->machine->powered && from->peer->machine->powered && !net_link(from->machine, from->peer->machine)->cut;
}

static uint64_t next_retry_ns(struct world *world, uint64_t *retry_ns)
{
    uint64_t wait_ns = *retry_ns + world_between(world, SALT_NET, 0, *retry_ns / 4);
    *retry_ns        = *retry_ns * 2 > RETRY_LAST_NS ? RETRY_LAST_NS : *retry_ns * 2;
    return world->now_ns + wait_ns;
}

/* ---- connections and their end ---- */

static void drop_segments(struct list *segments)
{
    struct list *link;
    while ((link = list_pop_front(segments)) != NULL) {
        free(CONTAINER_OF(link, struct segment, link));
    }
}

static bool held(const struct end *end)
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
        drop_segments(&pipe->flying);
        drop_segments(&pipe->rx);
        list_remove(&conn->end[i].backlog);
    }
    world_cancel(world, &conn->handshake);
    list_remove(&conn->link);
    conn->net->conn_count--;
    free(conn);
}

/* Nothing that still flies can matter when nobody holds an end. Returns true when the connection is gone. */
static bool conn_free_unheld(struct conn *conn)
{
    if (held(&conn->end[0]) || held(&conn->end[1])) {
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

static void notify(struct end *end)
{
    if (end->notify != NULL && end->owner != NULL) {
        end->notify(end->owner);
    }
}

/* The end learns that the connection is no more. */
static void break_end(struct end *end, int error)
{
    if (!held(end) || end->broken != 0) {
        return;
    }
    world_trace(world_of(end), "net breaks", end->process->name, end->id, (uint64_t)-error);
    end->broken    = error;
    end->connected = true;
    world_cancel(world_of(end), &end->out.arrive);
    drop_segments(&end->out.flying);
    if (rand_chance(world_rand(world_of(end), SALT_NET), 2)) {
        drop_segments(&end->peer->out.rx);
    }
    notify(end);
}

/* ---- pipes ---- */

static void pipe_arrive(struct event *event);
static void pipe_acked(struct event *event);

static void fly(struct end *from, enum segment_kind kind, const uint8_t *data, uint32_t size)
{
    struct pipe    *pipe    = &from->out;
    struct segment *segment = malloc(sizeof *segment + size);
    ASSERT(segment != NULL);
    *segment = (struct segment){.kind = kind, .size = size};
    if (size != 0) {
        memcpy(segment->data, data, size);
    }
    uint64_t at_ns        = arrival_ns(from, size);
    at_ns                 = at_ns < pipe->last_arrival_ns ? pipe->last_arrival_ns : at_ns;
    segment->arrives_ns   = at_ns;
    pipe->last_arrival_ns = at_ns;
    bool first            = list_empty(&pipe->flying);
    list_push_back(&pipe->flying, &segment->link);
    if (first) {
        world_schedule(world_of(from), &pipe->arrive, at_ns);
    }
}

/* A reset overtakes a random part of what flies before it. */
static void fly_reset(struct end *from)
{
    LIST_EACH (&from->out.flying, link) {
        if (rand_chance(world_rand(world_of(from), SALT_NET), 4)) {
            while (from->out.flying.prev != link) {
                struct list *last = from->out.flying.prev;
                list_remove(last);
                free(CONTAINER_OF(last, struct segment, link));
            }
            break;
        }
    }
    fly(from, SEGMENT_RST, NULL, 0);
}

static void acknowledge(struct pipe *pipe, uint32_t size)
{
    pipe->read_bytes += size;
    pipe->read_total += size;
    if (!event_scheduled(&pipe->ack)) {
        pipe->acking_bytes = pipe->read_bytes;
        pipe->read_bytes   = 0;
        world_schedule(world_of(pipe->to), &pipe->ack, arrival_ns(pipe->to, 0));
    }
}

static void pipe_acked(struct event *event)
{
    struct pipe  *pipe  = CONTAINER_OF(event, struct pipe, ack);
    struct world *world = world_of(pipe->from);
    if (!gets_through(pipe->to)) {
        world_schedule(world, event, world->now_ns + world_between(world, SALT_NET, RETRY_FIRST_NS, SIM_S));
        return;
    }
    ASSERT(pipe->used_bytes >= pipe->acking_bytes);
    pipe->used_bytes -= pipe->acking_bytes;
    pipe->acking_bytes = 0;
    if (pipe->read_bytes != 0) {
        acknowledge(pipe, 0);
    }
    notify(pipe->from);
}

/* What flies to an end that nobody holds: the kernel drains it for a while after an orderly close, then it answers with a reset. */
static void arrive_unheld(struct pipe *pipe, const struct segment *segment)
{
    struct end *to = pipe->to;
    if (segment->kind != SEGMENT_DATA || !held(pipe->from)) {
        return;
    }
    if (to->state == END_CLOSED && world_of(to)->now_ns < to->drain_until_ns) {
        acknowledge(pipe, segment->size);
    } else {
        fly_reset(to);
    }
}

static void arrive_held(struct pipe *pipe, struct segment *segment)
{
    struct end *to = pipe->to;
    switch (segment->kind) {
    case SEGMENT_DATA:
        list_push_back(&pipe->rx, &segment->link);
        notify(to);
        return;
    case SEGMENT_FIN:
        to->fin = true;
        notify(to);
        break;
    case SEGMENT_RST:
        break_end(to, -ECONNRESET);
        break;
    }
    free(segment);
}

/* Sends again later, or gives up. */
static void pipe_stuck(struct pipe *pipe)
{
    struct world *world = world_of(pipe->from);
    if (pipe->stuck_since_ns == 0) {
        pipe->stuck_since_ns = world->now_ns;
        pipe->retry_ns       = RETRY_FIRST_NS;
    }
    if (world->now_ns - pipe->stuck_since_ns > world->faults.tcp_timeout_ns) {
        break_end(pipe->from, -ETIMEDOUT);
        drop_segments(&pipe->flying);
        return;
    }
    world_schedule(world, &pipe->arrive, next_retry_ns(world, &pipe->retry_ns));
}

static void pipe_arrive(struct event *event)
{
    struct pipe    *pipe    = CONTAINER_OF(event, struct pipe, arrive);
    struct world   *world   = world_of(pipe->from);
    struct segment *segment = CONTAINER_OF(pipe->flying.next, struct segment, link);
    ASSERT(!list_empty(&pipe->flying));
    if (!gets_through(pipe->from) || pipe->to->state == END_CONNECTING) {
        pipe_stuck(pipe);
        return;
    }
    pipe->stuck_since_ns = 0;
    world_trace(world, "net arrives", pipe->to->process->name, pipe->to->id, segment->size);
    bool remote = pipe->from->machine != pipe->to->machine;
    if (segment->kind == SEGMENT_DATA && remote && world_chance(world, SALT_NET, world->faults.reset_one_in)) {
        break_end(pipe->to, -ECONNRESET);
        break_end(pipe->from, -ECONNRESET);
        return;
    }
    list_remove(&segment->link);
    if (!list_empty(&pipe->flying)) {
        const struct segment *next = CONTAINER_OF(pipe->flying.next, struct segment, link);
        world_schedule(world, &pipe->arrive, next->arrives_ns);
    }
    if (held(pipe->to) && pipe->to->broken == 0) {
        arrive_held(pipe, segment);
    } else {
        arrive_unheld(pipe, segment);
        free(segment);
    }
}

size_t end_take(struct end *end, const uint8_t *data, size_t size)
{
    struct pipe *pipe = &end->out;
    ASSERT(end->state == END_OPEN);
    if (end->broken != 0) {
        return 0;
    }
    size_t room  = pipe->window_bytes - pipe->used_bytes;
    size_t taken = size < room ? size : room;
    for (size_t done = 0; done < taken;) {
        size_t part = taken - done < SEGMENT_MAX_BYTES ? taken - done : SEGMENT_MAX_BYTES;
        fly(end, SEGMENT_DATA, data + done, (uint32_t)part);
        done += part;
    }
    pipe->used_bytes += (uint32_t)taken;
    pipe->taken_total += taken;
    return taken;
}

bool end_readable(const struct end *end)
{
    return !list_empty(&end->peer->out.rx);
}

size_t end_read(struct end *end, uint8_t *out, size_t size)
{
    struct pipe *pipe = &end->peer->out;
    size_t       done = 0;
    while (done < size && !list_empty(&pipe->rx)) {
        struct segment *segment = CONTAINER_OF(pipe->rx.next, struct segment, link);
        uint32_t        left    = segment->size - segment->read;
        uint32_t        part    = size - done < left ? (uint32_t)(size - done) : left;
        memcpy(out + done, segment->data + segment->read, part);
        segment->read += part;
        done += part;
        if (segment->read == segment->size) {
            list_remove(&segment->link);
            free(segment);
        }
    }
    if (done != 0) {
        ASSERT(pipe->read_total + done <= pipe->taken_total);
        acknowledge(pipe, (uint32_t)done);
    }
    return done;
}

void end_close(struct end *end, bool abort)
{
    struct world *world = world_of(end);
    ASSERT(held(end));
    bool was_open       = end->state == END_OPEN && end->broken == 0;
    end->state          = END_CLOSED;
    end->owner          = NULL;
    end->drain_until_ns = abort || !was_open ? 0 : world->now_ns + DRAIN_NS;
    if (conn_free_unheld(end->conn)) {
        return;
    }
    /* Unread input that was already here is drained too: it takes no part in the window any more. */
    struct pipe *in = &end->peer->out;
    LIST_EACH (&in->rx, link) {
        const struct segment *segment = CONTAINER_OF(link, struct segment, link);
        acknowledge(in, segment->size - segment->read);
    }
    drop_segments(&in->rx);
    if (!was_open) {
        return;
    }
    if (abort) {
        fly_reset(end);
    } else {
        fly(end, SEGMENT_FIN, NULL, 0);
    }
}

/* ---- handshake ---- */

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
    end->out.arrive.run   = pipe_arrive;
    end->out.ack.run      = pipe_acked;
    list_init(&end->out.flying);
    list_init(&end->out.rx);
}

static bool is_loopback(const char *address)
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
    uint64_t at_ns              = arrival_ns(server, 0);
    server->out.last_arrival_ns = at_ns;
    world_schedule(conn->net->world, &conn->handshake, at_ns);
}

static void handshake_again(struct conn *conn)
{
    struct world *world = conn->net->world;
    if (world->now_ns - conn->started_ns > CONNECT_TIMEOUT_NS) {
        break_end(&conn->end[0], -ETIMEDOUT);
        return;
    }
    world_schedule(world, &conn->handshake, next_retry_ns(world, &conn->retry_ns));
}

/* The client's first segment is at the server. */
static void handshake_asks(struct conn *conn)
{
    struct world *world  = conn->net->world;
    struct end   *client = &conn->end[0];
    struct end   *server = &conn->end[1];
    if (!gets_through(client)) {
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
    if (gets_through(&conn->end[1])) {
        fly_reset(&conn->end[0]);
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
        break_end(client, -EHOSTUNREACH);
    } else if (!conn->answered) {
        handshake_asks(conn);
    } else if (!gets_through(&conn->end[1])) {
        handshake_again(conn);
    } else if (conn->answer < 0) {
        break_end(client, conn->answer);
    } else if (client->broken == 0) {
        client->state     = END_OPEN;
        client->connected = true;
        notify(client);
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
    struct machine *target = is_loopback(address) ? machine : machine_find(world, address);
    end_init(conn, 0, machine);
    end_init(conn, 1, target);
    struct end *client = &conn->end[0];
    client->process    = process;
    client->state      = END_CONNECTING;
    client->port       = machine->next_port++;
    conn->end[1].port  = port;
    conn->end[1].state = END_CLOSED;
    machine->next_port = machine->next_port < FIRST_EPHEMERAL_PORT ? FIRST_EPHEMERAL_PORT : machine->next_port;
    world_schedule(world, &conn->handshake, target == NULL ? world->now_ns + 10 * SIM_US : arrival_ns(client, 0));
    return client;
}

/* ---- listeners ---- */

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
    bool            loopback = is_loopback(address);
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
    struct world *world = world_of(end);
    list_remove(&end->backlog);
    if (power_lost) {
        end->state = END_VANISHED;
        end->owner = NULL;
        world_cancel(world, &end->out.arrive);
        drop_segments(&end->out.flying);
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
        bool both = conn->end[0].process == process && conn->end[1].process == process && held(&conn->end[0]) &&
                    held(&conn->end[1]);
        int first = conn->end[0].process == process && held(&conn->end[0]) ? 0 : 1;
        if (!both && !(conn->end[first].process == process && held(&conn->end[first]))) {
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
