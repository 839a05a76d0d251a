/* scenario_partition.c - cut links: nothing crosses one, what was sent before it healed arrives after, once and in order; a connect
 * into it times out; a machine that came back from a power failure answers with a reset, until then its peer is half-open. */
#include "shared/base/err.h"
#include "tests/sim/io_sim.h"
#include "tests/sim/net.h"
#include "tests/sim/scenarios.h"

#include <errno.h>

enum { PORT = 7000, NOTES = 64 };

/* One end of one connection: sends a byte when told to, writes down what it gets. */
struct peer {
    struct world     *world;
    struct io        *io;
    struct io_socket *socket;
    const char       *target; /* NULL listens */
    uint8_t           next;   /* byte to send */
    uint32_t          to_send;
    uint32_t          got;
    uint8_t           byte;
    bool              sending;
    bool              told;   /* of the connect or of the end */
    int               result; /* of the connect, or why it closed */
    bool              open;
    bool              ended;
};

static void peer_connected(void *ctx, int result)
{
    struct peer *p = ctx;
    p->told        = true;
    p->result      = result;
    p->open        = result == 0;
}

static void peer_received(void *ctx, struct bytes data)
{
    struct peer *p = ctx;
    for (size_t i = 0; i < data.size; i++) {
        sim_check(p->world, data.data[i] == (uint8_t)p->got, "byte %u arrives as %u", p->got, data.data[i]);
        p->got++;
    }
}

static void peer_sent(void *ctx, int result)
{
    struct peer *p = ctx;
    p->sending     = false;
    p->next        = (uint8_t)(p->next + (result == 0));
    p->to_send -= result == 0;
}

static void peer_closed(void *ctx, int reason)
{
    struct peer *p = ctx;
    p->open        = false;
    p->ended       = true;
    p->result      = reason;
}

static const struct io_handler peer_handler = {peer_connected, peer_received, peer_sent, peer_closed};

static void peer_accepted(void *ctx, struct io_socket *socket)
{
    struct peer *p = ctx;
    p->socket      = socket;
    p->open        = true;
    io_socket_adopt(socket, &peer_handler, p);
}

static uint64_t peer_turn(void *shard)
{
    struct peer *p = shard;
    if (p->open && !p->sending && p->to_send > 0) {
        p->byte          = p->next;
        p->sending       = true;
        struct iovec iov = {&p->byte, 1};
        io_socket_send(p->socket, &iov, 1);
    }
    return UINT64_MAX;
}

static int peer_start(struct process *process, void *ctx)
{
    struct peer     *p      = ctx;
    struct io_config config = {.sockets_max = 4, .recv_buffers = 4, .recv_buffer_bytes = 64, .cpu = -1};
    char             why[100];
    struct core     *core   = core_new(process);
    int              result = io_open(&config, &p->io, why, sizeof why);
    *p                      = (struct peer){.world = p->world, .io = p->io, .target = p->target};
    if (result == 0 && p->target == NULL) {
        struct io_listener         *listener;
        const struct io_listen_spec spec = {
            .address = "::", .port = PORT, .backlog = 8, .accepted = peer_accepted, .ctx = p};
        result = io_listen(p->io, &spec, &listener);
    } else if (result == 0) {
        p->socket = io_connect(p->io, p->target, PORT, &peer_handler, p);
    }
    core_run(core, p, peer_turn);
    return result;
}

static void peer_destroy(void *ctx)
{
    (void)ctx;
}

static void peer_send(struct peer *p, uint32_t bytes)
{
    p->to_send += bytes;
    io_wake(p->io);
}

static bool is_told(void *ctx)
{
    return ((const struct peer *)ctx)->told;
}

static bool has_ended(void *ctx)
{
    return ((const struct peer *)ctx)->ended;
}

struct story {
    struct world   *world;
    struct machine *left, *right;
    struct process *client_process, *server_process;
    struct peer     client, server;
};

static void reconnect(struct story *s)
{
    process_crash(s->client_process);
    sim_check(s->world, process_start(s->client_process) == 0, "the client starts");
    sim_check(s->world, world_run_until(s->world, is_told, &s->client, 3600 * SIM_S) && s->client.result == 0,
              "the client connects");
    world_run_ns(s->world, 2 * SIM_S + 4 * s->world->faults.stall_ns);
    s->server.got  = 0;
    s->server.next = 0;
    sim_check(s->world, s->server.open, "the server has accepted");
}

static void cut_and_heal(struct story *s)
{
    struct world *world = s->world;
    net_cut(s->left, s->right, true);
    peer_send(&s->client, NOTES);
    peer_send(&s->server, NOTES);
    world_run_ns(world, 15 * SIM_S);
    sim_check(world, s->client.got == 0 && s->server.got == 0, "bytes crossed a cut");
    sim_check(world, s->client.open && s->server.open, "a cut shorter than the timeout broke a connection");
    net_cut(s->left, s->right, false);
    world_run_ns(world, 60 * SIM_S);
    sim_check(world, s->client.got == NOTES && s->server.got == NOTES, "%u and %u bytes arrived after the cut healed",
              s->client.got, s->server.got);
}

static void one_way(struct story *s)
{
    struct world *world              = s->world;
    net_link(s->right, s->left)->cut = true;
    peer_send(&s->client, 1);
    peer_send(&s->server, 1);
    world_run_ns(world, 10 * SIM_S);
    sim_check(world, s->server.got == NOTES + 1, "the open direction is cut too");
    sim_check(world, s->client.got == NOTES, "the cut direction is open");
    net_link(s->right, s->left)->cut = false;
    world_run_ns(world, 60 * SIM_S);
    sim_check(world, s->client.got == NOTES + 1, "the byte was lost");
}

static void half_open(struct story *s)
{
    struct world *world = s->world;
    machine_power_off(s->right);
    world_run_ns(world, 2 * SIM_S);
    machine_power_on(s->right);
    world_run_ns(world, 3600 * SIM_S);
    sim_check(world, s->client.open && !s->client.ended, "an idle end noticed that its peer lost power");
    sim_check(world, process_start(s->server_process) == 0, "the server starts again");
    world_run_ns(world, 3600 * SIM_S);
    sim_check(world, s->client.open, "an idle end noticed that its peer came back");
    peer_send(&s->client, 1);
    bool ended = world_run_until(world, has_ended, &s->client, 60 * SIM_S);
    sim_check(world, ended && s->client.result == -ECONNRESET,
              "a byte to a machine that forgot the connection ends with %s", err_name(s->client.result));
}

static void time_out(struct story *s)
{
    struct world *world = s->world;
    net_isolate(s->right, true);
    peer_send(&s->client, 1);
    sim_check(world, world_run_until(world, has_ended, &s->client, world->faults.tcp_timeout_ns + 60 * SIM_S),
              "no timeout came");
    sim_check(world, s->client.result == -ETIMEDOUT, "the end is %s", err_name(s->client.result));
    process_crash(s->client_process);
    sim_check(world, process_start(s->client_process) == 0, "the client starts");
    bool told = world_run_until(world, is_told, &s->client, 600 * SIM_S);
    sim_check(world, told && s->client.result == -ETIMEDOUT, "a connect into a cut gives %s",
              err_name(s->client.result));
    net_isolate(s->right, false);
}

void scenario_partition(struct world *world)
{
    struct story s             = {.world = world};
    world->faults.reset_one_in = world->faults.refuse_one_in = 0; /* only what this story does */
    world->faults.stall_ns                                   = 20 * SIM_MS;
    s.left                                                   = machine_new(world, "left", 0);
    s.right                                                  = machine_new(world, "right", 0);
    s.client                                                 = (struct peer){.world = world, .target = "10.0.0.2"};
    s.server                                                 = (struct peer){.world = world};
    const struct process_spec client_spec                    = {"client", peer_start, peer_destroy, NULL, &s.client};
    const struct process_spec server_spec                    = {"server", peer_start, peer_destroy, NULL, &s.server};
    s.client_process                                         = process_new(s.left, &client_spec);
    s.server_process                                         = process_new(s.right, &server_spec);
    sim_check(world, process_start(s.client_process) == 0, "the client starts");
    bool told = world_run_until(world, is_told, &s.client, 60 * SIM_S);
    sim_check(world, told && s.client.result == -ECONNREFUSED, "a connect to no listener gives %s",
              err_name(s.client.result));
    sim_check(world, process_start(s.server_process) == 0, "the server starts");
    reconnect(&s);
    cut_and_heal(&s);
    one_way(&s);
    half_open(&s);
    reconnect(&s);
    time_out(&s);
    process_crash(s.client_process);
    process_crash(s.server_process);
}
