/* scenario_echo.c - clients send numbered streams to a server that sends them back, over a slow network that splits, stalls,
 * refuses and resets, while server and machines crash. Every byte that arrives is the next of its stream; windows bound what is
 * under way; callbacks come only while they may; at the end nothing is held. */
#include "shared/base/err.h"
#include "tests/sim/io_sim.h"
#include "tests/sim/net.h"
#include "tests/sim/scenarios.h"

#include <errno.h>
#include <stdlib.h>

enum { CLIENTS = 4, PORT = 1883, ECHO_ROOM = 4096, GOAL_BYTES = 60000, CRASHES = 4 };

/* The byte at a place of a stream. */
static uint8_t pattern(uint64_t stream, uint64_t at)
{
    return (uint8_t)((stream * 131 + at * 7 + (at >> 8)) & 0xff);
}

/* ---- the server: echoes, and stops reading while its reply is not taken ---- */

struct server;

struct session {
    struct list       link;
    struct server    *server;
    struct io_socket *socket;
    uint8_t           room[ECHO_ROOM * 4];
    size_t            used;
    size_t            sending;
    bool              reading;
};

struct server {
    struct world       *world;
    struct io          *io;
    struct io_listener *listener;
    struct list         sessions;
    uint64_t            slow_until_ns;
    uint64_t            closes; /* of connections, by itself */
};

static void session_pump(struct session *s)
{
    if (s->sending == 0 && s->used > 0) {
        s->sending       = s->used;
        struct iovec iov = {s->room, s->used};
        if (s->used > 2) { /* several pieces */
            struct iovec two[2] = {{s->room, s->used / 2}, {s->room + s->used / 2, s->used - s->used / 2}};
            io_socket_send(s->socket, two, 2);
        } else {
            io_socket_send(s->socket, &iov, 1);
        }
    }
    bool read = s->used < ECHO_ROOM;
    if (read != s->reading) {
        s->reading = read;
        io_socket_receiving(s->socket, read);
    }
}

static void session_free(struct session *s)
{
    list_remove(&s->link);
    free(s);
}

static void close_some(struct server *server, const struct session *but)
{
    LIST_EACH (&server->sessions, link) {
        struct session *s = CONTAINER_OF(link, struct session, link);
        if (s != but && io_random(server->io) % 2 == 0) {
            io_socket_close(s->socket);
            session_free(s);
            server->closes++;
        }
    }
}

static void session_received(void *ctx, struct bytes data)
{
    struct session *s = ctx;
    sim_check(s->server->world, s->used + data.size <= sizeof s->room, "%zu bytes arrive while receiving is off",
              data.size);
    memcpy(s->room + s->used, data.data, data.size);
    s->used += data.size;
    session_pump(s);
    if (io_random(s->server->io) % 100 == 0) { /* a callback may close others, whose turn may be next */
        close_some(s->server, s);
    }
}

static void session_sent(void *ctx, int result)
{
    struct session *s = ctx;
    sim_check(s->server->world, s->sending > 0, "sent() came without a send");
    memmove(s->room, s->room + s->sending, s->used - s->sending);
    s->used -= s->sending;
    s->sending = 0;
    if (result == 0) {
        session_pump(s);
    }
}

static void session_closed(void *ctx, int reason)
{
    struct session *s = ctx;
    (void)reason;
    session_free(s);
}

static const struct io_handler session_handler = {
    .received = session_received, .sent = session_sent, .closed = session_closed};

static void server_accepted(void *ctx, struct io_socket *socket)
{
    struct server *server = ctx;
    if (io_random(server->io) % 16 == 0) {
        io_socket_close(socket);
        server->closes++;
        return;
    }
    struct session *s = calloc(1, sizeof *s);
    s->server         = server;
    s->socket         = socket;
    s->reading        = true;
    list_push_back(&server->sessions, &s->link);
    io_socket_adopt(socket, &session_handler, s);
}

static uint64_t server_turn(void *shard)
{
    struct server *server = shard;
    if (io_random(server->io) % 3000 == 0) { /* it may close at any time, with a send under way too */
        close_some(server, NULL);
    }
    return UINT64_MAX;
}

static const struct io_config small_config = {
    .sockets_max = 16, .recv_buffers = 4, .recv_buffer_bytes = 1024, .cpu = -1};

static int server_start(struct process *process, void *ctx)
{
    struct server *server = ctx;
    char           why[100];
    struct core   *core = core_new(process);
    list_init(&server->sessions);
    int result = io_open(&small_config, &server->io, why, sizeof why);
    if (result < 0) {
        return result;
    }
    const struct io_listen_spec spec = {
        .address = "0.0.0.0", .port = PORT, .backlog = 2, .accepted = server_accepted, .ctx = server};
    result = io_listen(server->io, &spec, &server->listener);
    if (result < 0) {
        return result;
    }
    core_run(core, server, server_turn);
    return 0;
}

static void server_destroy(void *ctx)
{
    struct server *server = ctx;
    LIST_EACH (&server->sessions, link) {
        struct session *s = CONTAINER_OF(link, struct session, link);
        io_socket_close(s->socket); /* as fini functions do; nobody hears it */
        server->closes++;
        session_free(s);
    }
    io_listener_close(server->listener);
    io_close(server->io);
}

/* ---- a client: one stream per connection ---- */

struct client {
    struct world     *world;
    struct server    *server;
    struct io        *io;
    struct io_socket *socket;
    uint64_t          closes; /* of the server, when this connection began */
    uint64_t          stream;
    uint64_t          sent;
    uint64_t          taken;
    uint64_t          echoed;
    uint64_t          total;
    uint64_t          retry_ns;
    uint64_t          quiet_since_ns;
    uint8_t          *piece; /* of the send under way */
    bool              open;
    uint32_t          connects;
    uint32_t          refused;
    uint32_t          gave_up; /* on a connection that said nothing for a minute */
};

static void client_send(struct client *c)
{
    if (c->piece != NULL || !c->open || c->total >= GOAL_BYTES) {
        return;
    }
    size_t size = 1 + (size_t)(io_random(c->io) % 6000);
    c->piece    = malloc(size);
    for (size_t i = 0; i < size; i++) {
        c->piece[i] = pattern(c->stream, c->sent + i);
    }
    c->sent += size;
    struct iovec iov = {c->piece, size};
    io_socket_send(c->socket, &iov, 1);
}

static void client_gone(struct client *c)
{
    free(c->piece); /* after the end nobody looks at it */
    c->piece    = NULL;
    c->open     = false;
    c->socket   = NULL;
    c->retry_ns = io_now_ns(c->io) + io_random(c->io) % (100 * SIM_MS);
}

static void client_connected(void *ctx, int result)
{
    struct client *c = ctx;
    sim_check(c->world, !c->open, "connected() came twice");
    if (result < 0) {
        c->refused++;
        sim_check(c->world, result == -ECONNREFUSED || result == -ETIMEDOUT || result == -ECONNRESET,
                  "connect failed with %s, which this world has no reason for", err_name(result));
        client_gone(c);
        return;
    }
    c->connects++;
    c->open           = true;
    c->quiet_since_ns = io_now_ns(c->io);
    client_send(c);
}

static void client_received(void *ctx, struct bytes data)
{
    struct client *c = ctx;
    sim_check(c->world, c->open, "received() came outside a connection");
    sim_check(c->world, c->echoed + data.size <= c->sent, "more bytes came back than were sent");
    sim_check(c->world, data.size > 0 && data.size <= small_config.recv_buffer_bytes, "received() of %zu bytes",
              data.size);
    for (size_t i = 0; i < data.size; i++) {
        sim_check(c->world, data.data[i] == pattern(c->stream, c->echoed + i),
                  "byte %lu of a stream is not the one that was sent", (unsigned long)(c->echoed + i));
    }
    c->echoed += data.size;
    c->total += data.size;
    c->quiet_since_ns = io_now_ns(c->io);
}

static void client_sent(void *ctx, int result)
{
    struct client *c = ctx;
    sim_check(c->world, c->piece != NULL, "sent() came without a send");
    free(c->piece);
    c->piece = NULL;
    if (result == 0) {
        c->taken = c->sent;
        /* Both windows, the server's room and what its last send may hold twice. A server that has closed drains what comes: no bound. */
        uint64_t bound = 2 * (uint64_t)c->world->faults.window_bytes + 5 * ECHO_ROOM;
        sim_check(c->world, c->taken - c->echoed <= bound || c->closes != c->server->closes,
                  "%lu bytes are under way: there is no back-pressure", (unsigned long)(c->taken - c->echoed));
        client_send(c);
    }
}

static void client_closed(void *ctx, int reason)
{
    struct client *c = ctx;
    sim_check(c->world, c->open, "closed() came outside a connection");
    sim_check(c->world, reason == 0 || reason == -ECONNRESET || reason == -ETIMEDOUT, "closed for %s",
              err_name(reason));
    client_gone(c);
}

static const struct io_handler client_handler = {
    .connected = client_connected, .received = client_received, .sent = client_sent, .closed = client_closed};

static uint64_t client_turn(void *shard)
{
    struct client *c      = shard;
    uint64_t       now_ns = io_now_ns(c->io);
    if (c->open && c->total >= GOAL_BYTES) {
        io_socket_close(c->socket);
        client_gone(c);
    }
    /* A half-open connection says nothing for ever; only the program's own patience ends it. */
    if (c->open && now_ns - c->quiet_since_ns > 60 * SIM_S) {
        c->gave_up++;
        io_socket_close(c->socket);
        client_gone(c);
    }
    if (c->total >= GOAL_BYTES) {
        return UINT64_MAX;
    }
    if (c->socket == NULL && now_ns >= c->retry_ns) {
        c->stream = io_random(c->io);
        c->sent = c->taken = c->echoed = 0;
        c->quiet_since_ns              = now_ns;
        c->closes                      = c->server->closes;
        c->socket                      = io_connect(c->io, "server", PORT, &client_handler, c);
    }
    return c->socket == NULL ? c->retry_ns : c->open ? c->quiet_since_ns + 61 * SIM_S : UINT64_MAX;
}

static int client_start(struct process *process, void *ctx)
{
    struct client *c = ctx;
    char           why[100];
    struct core   *core   = core_new(process);
    int            result = io_open(&small_config, &c->io, why, sizeof why);
    if (result == 0) {
        core_run(core, c, client_turn);
    }
    return result;
}

static void client_destroy(void *ctx)
{
    struct client *c = ctx;
    free(c->piece);
    c->piece  = NULL;
    c->socket = NULL;
    c->open   = false;
}

/* ---- the story ---- */

static bool all_echoed(void *ctx)
{
    const struct client *clients = ctx;
    for (int i = 0; i < CLIENTS; i++) {
        if (clients[i].total < GOAL_BYTES) {
            return false;
        }
    }
    return true;
}

void scenario_echo(struct world *world)
{
    struct server             server           = {.world = world};
    struct client             clients[CLIENTS] = {0};
    struct machine           *home             = machine_new(world, "server", 0);
    struct machine           *away             = machine_new(world, "clients", 0);
    const struct process_spec server_spec      = {"echo", server_start, server_destroy, NULL, &server};
    struct process           *server_process   = process_new(home, &server_spec);
    struct process           *process[CLIENTS];
    sim_check(world, process_start(server_process) == 0, "the server starts");
    for (int i = 0; i < CLIENTS; i++) {
        const struct process_spec spec = {"client", client_start, client_destroy, NULL, &clients[i]};
        clients[i].world               = world;
        clients[i].server              = &server;
        process[i]                     = process_new(away, &spec);
        sim_check(world, process_start(process[i]) == 0, "a client starts");
    }
    uint32_t power_failures = 0;
    for (int i = 0; i < CRASHES; i++) {
        world_run_ns(world, world_between(world, SALT_SCENARIO, 0, 3 * SIM_S));
        bool power = world_chance(world, SALT_SCENARIO, 2);
        if (power) {
            power_failures++;
            machine_power_off(home);
            world_run_ns(world, world_between(world, SALT_SCENARIO, 0, 3 * SIM_S));
            machine_power_on(home);
        } else {
            process_crash(server_process);
        }
        world_run_ns(world, world_between(world, SALT_SCENARIO, 0, SIM_S));
        sim_check(world, process_start(server_process) == 0, "the server starts again");
    }
    sim_check(world, world_run_until(world, all_echoed, clients, 24 * 3600 * SIM_S),
              "the clients are not through after a day");
    world_run_ns(world, 200 * SIM_S);

    for (int i = 0; i < CLIENTS; i++) {
        sim_check(world, clients[i].gave_up <= power_failures, "%u connections fell silent, %u times the power failed",
                  clients[i].gave_up, power_failures);
        process_crash(process[i]);
    }
    process_crash(server_process);
    sim_check(world, net_connection_count(world->net) == 0, "%u connections are held by nobody",
              net_connection_count(world->net));
}
