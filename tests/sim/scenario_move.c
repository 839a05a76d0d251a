/* scenario_move.c - a connection is accepted on one core, says which core it wants, and moves there through a mailbox: no byte is lost,
 * doubled or out of order on the way, and no mail either, however the cores are scheduled. */
#include "shared/loop/mailbox.h"
#include "tests/sim/io_sim.h"
#include "tests/sim/net.h"
#include "tests/sim/scenarios.h"

enum { PORT = 9000, BYTES = 500, MAIL_MOVED = 1, MAIL_NOISE = 2, SLOTS = 4 };

struct server {
    struct world     *world;
    struct io        *io[2];
    struct mailbox   *box; /* core 0 -> core 1 */
    struct io_socket *socket;
    uint64_t          noise_sent;
    uint64_t          noise_got;
    uint32_t          got;
    bool              moving;
    bool              closed;
    struct mail       waiting[2]; /* found the mailbox full */
    int               waiting_count;
};

static uint8_t pattern(uint32_t at)
{
    return (uint8_t)(at * 13 + 5);
}

static void server_received(void *ctx, struct bytes data)
{
    struct server *s = ctx;
    for (size_t i = 0; i < data.size; i++) {
        sim_check(s->world, data.data[i] == pattern(s->got), "byte %u is not the next one", s->got);
        s->got++;
    }
}

static void server_sent(void *ctx, int result)
{
    (void)result;
    sim_fail(((struct server *)ctx)->world, "sent() without a send");
}

static void server_closed(void *ctx, int reason)
{
    struct server *s = ctx;
    sim_check(s->world, reason == 0 && s->got == BYTES, "closed for %d after %u bytes", reason, s->got);
    s->closed = true;
}

static void moved(void *ctx, int64_t handle)
{
    struct server *s               = ctx;
    s->waiting[s->waiting_count++] = (struct mail){.kind = MAIL_MOVED, .value = (uint64_t)handle};
    s->socket                      = NULL;
}

/* On the first core the first bytes decide. */
static void first_received(void *ctx, struct bytes data)
{
    struct server *s = ctx;
    server_received(ctx, data);
    if (!s->moving) {
        s->moving = true;
        io_socket_move(s->socket, moved, s);
    }
}

static const struct io_handler first_handler = {
    .received = first_received, .sent = server_sent, .closed = server_closed};
static const struct io_handler second_handler = {
    .received = server_received, .sent = server_sent, .closed = server_closed};

static void accepted(void *ctx, struct io_socket *socket)
{
    struct server *s = ctx;
    s->socket        = socket;
    io_socket_adopt(socket, &first_handler, s);
}

static uint64_t first_turn(void *shard)
{
    struct server *s    = shard;
    struct mail    mail = {.kind = MAIL_NOISE, .value = s->noise_sent};
    while (s->waiting_count > 0 && mailbox_push(s->box, &s->waiting[0])) {
        s->waiting[0] = s->waiting[1];
        s->waiting_count--;
    }
    if (s->waiting_count == 0 && mailbox_push(s->box, &mail)) {
        s->noise_sent++;
    }
    mailbox_ring(s->box);
    return io_now_ns(s->io[0]) + 200 * SIM_US;
}

static uint64_t second_turn(void *shard)
{
    struct server *s = shard;
    struct mail    mail;
    while (mailbox_pop(s->box, &mail)) {
        if (mail.kind == MAIL_NOISE) {
            sim_check(s->world, mail.value == s->noise_got, "mail %lu comes instead of %lu", (unsigned long)mail.value,
                      (unsigned long)s->noise_got);
            s->noise_got++;
            continue;
        }
        struct io_socket *socket = io_socket_attach(s->io[1], (int64_t)mail.value);
        sim_check(s->world, socket != NULL, "the connection was lost on its way");
        io_socket_adopt(socket, &second_handler, s);
    }
    return UINT64_MAX;
}

static const struct io_config config = {.sockets_max = 2, .recv_buffers = 2, .recv_buffer_bytes = 64, .cpu = -1};

static int server_start(struct process *process, void *ctx)
{
    struct server *s = ctx;
    char           why[100];
    s->box = mailbox_new(SLOTS);
    for (int i = 0; i < 2; i++) {
        struct core *core   = core_new(process);
        int          result = io_open(&config, &s->io[i], why, sizeof why);
        if (result < 0) {
            return result;
        }
        core_run(core, s, i == 0 ? first_turn : second_turn);
    }
    mailbox_reader(s->box, s->io[1]);
    struct io_listener         *listener;
    const struct io_listen_spec spec = {
        .address = "0.0.0.0", .port = PORT, .movable = true, .backlog = 1, .accepted = accepted, .ctx = s};
    return io_listen(s->io[0], &spec, &listener);
}

static void server_destroy(void *ctx)
{
    mailbox_free(((struct server *)ctx)->box);
}

struct client {
    struct io        *io;
    struct io_socket *socket;
    uint8_t           bytes[BYTES];
    uint32_t          sent;
    uint32_t          sending;
    bool              open;
};

static void client_connected(void *ctx, int result)
{
    ((struct client *)ctx)->open = result == 0;
}

static void client_sent(void *ctx, int result)
{
    struct client *c = ctx;
    c->sent += result == 0 ? c->sending : 0;
    c->sending = 0;
}

static const struct io_handler client_handler = {.connected = client_connected, .sent = client_sent};

static uint64_t client_turn(void *shard)
{
    struct client *c = shard;
    if (c->open && c->sending == 0) {
        uint32_t left = BYTES - c->sent;
        if (left == 0) {
            io_socket_close(c->socket);
            c->open = false;
            return UINT64_MAX;
        }
        c->sending       = 1 + (uint32_t)(io_random(c->io) % (left < 40 ? left : 40));
        struct iovec iov = {c->bytes + c->sent, c->sending};
        io_socket_send(c->socket, &iov, 1);
    }
    return UINT64_MAX;
}

static int client_start(struct process *process, void *ctx)
{
    struct client *c = ctx;
    char           why[100];
    struct core   *core   = core_new(process);
    int            result = io_open(&config, &c->io, why, sizeof why);
    if (result == 0) {
        core_run(core, c, client_turn);
        c->socket = io_connect(c->io, "server", PORT, &client_handler, c);
    }
    return result;
}

static void client_destroy(void *ctx)
{
    (void)ctx;
}

static bool is_closed(void *ctx)
{
    return ((const struct server *)ctx)->closed;
}

void scenario_move(struct world *world)
{
    struct server s            = {.world = world};
    struct client c            = {0};
    world->faults.reset_one_in = world->faults.refuse_one_in = 0;
    for (uint32_t i = 0; i < BYTES; i++) {
        c.bytes[i] = pattern(i);
    }
    const struct process_spec server_spec = {"server", server_start, server_destroy, NULL, &s};
    const struct process_spec client_spec = {"client", client_start, client_destroy, NULL, &c};
    struct process           *server      = process_new(machine_new(world, "server", 0), &server_spec);
    struct process           *client      = process_new(machine_new(world, "client", 0), &client_spec);
    sim_check(world, process_start(server) == 0, "the server starts");
    sim_check(world, process_start(client) == 0, "the client starts");
    bool closed = world_run_until(world, is_closed, &s, 600 * SIM_S);
    sim_check(world, closed && s.moving, "the end of the connection is not seen: %u bytes arrived", s.got);
    uint64_t before = s.noise_got;
    world_run_ns(world, SIM_S + 4 * world->faults.stall_ns);
    sim_check(world, s.noise_got > before + 10 * SLOTS, "mail waits and nobody was woken");
    process_crash(client);
    process_crash(server);
}
