/* group_link.c - one connection to one node. */
#include "tests/sim/group_link.h"

#include "shared/loop/io.h"
#include "shared/rpc/schema.h"

#include <stdio.h>

enum { SILENCE_S = 4, OUT_MAX_BYTES = 64 << 20 };

void group_link_init(struct group_link *link, struct world *world, uint16_t node, uint64_t instance, uint64_t owner,
                     const struct group_link_hooks *hooks, void *ctx)
{
    *link = (struct group_link){.world      = world,
                                .hooks      = hooks,
                                .ctx        = ctx,
                                .node       = node,
                                .instance   = instance,
                                .owner      = owner,
                                .silence_ns = SILENCE_S * SIM_S,
                                .out        = wire_writer_growing(OUT_MAX_BYTES),
                                .flying     = wire_writer_growing(OUT_MAX_BYTES)};
    snprintf(link->name, sizeof link->name, "store%u", node);
}

void group_link_fini(struct group_link *link)
{
    frame_reader_fini(&link->reader);
    wire_writer_fini(&link->out);
    wire_writer_fini(&link->flying);
}

void group_link_end(struct group_link *link, size_t begun)
{
    sim_check(link->world, frame_end(&link->out, begun) == 0, "a request fits a frame");
}

static void disconnected(struct group_link *link)
{
    link->socket   = NULL;
    link->up       = false;
    link->greeted  = false;
    link->sending  = false;
    link->out.size = 0;
    link->retry_ns = io_now_ns(link->io) + world_between(link->world, SALT_SCENARIO, SIM_MS, 50 * SIM_MS);
    frame_reader_fini(&link->reader);
    link->hooks->down(link->ctx, link);
}

static void leaders(struct group_link *link, struct wire_reader *r)
{
    if (link->hooks->leaders != NULL) {
        link->hooks->leaders(link->ctx, r);
    }
}

static void on_welcome(struct group_link *link, struct wire_reader *r)
{
    (void)wire_get(r, 2 + 2 + 8 + 4 + 4 + 4 + 4 + 4);
    (void)wire_get_u16(r);
    for (uint16_t count = wire_get_u16(r); count > 0; count--) {
        (void)wire_get_u32(r);
        (void)wire_get_blob(r);
    }
    leaders(link, r);
    link->up = true;
}

static void on_received(void *ctx, struct bytes data)
{
    struct group_link *link = ctx;
    struct frame       frame;
    int                result;
    link->heard_ns = io_now_ns(link->io);
    frame_reader_feed(&link->reader, data);
    while ((result = frame_reader_next(&link->reader, &frame)) == 1) {
        struct wire_reader r = wire_reader_of(frame.body);
        switch (frame.kind) {
        case RPC_WELCOME:
            on_welcome(link, &r);
            break;
        case RPC_LEADERS:
            leaders(link, &r);
            break;
        case RPC_PING:
            group_link_end(link, frame_begin(&link->out, RPC_PONG, frame.id));
            break;
        case RPC_PONG:
            break;
        default:
            link->hooks->frame(link->ctx, link, &frame);
        }
    }
    sim_check(link->world, result == 0, "frames arrive whole");
}

static void on_sent(void *ctx, int result)
{
    (void)result;
    ((struct group_link *)ctx)->sending = false;
}

static void on_closed(void *ctx, int reason)
{
    (void)reason;
    disconnected(ctx);
}

static void on_connected(void *ctx, int result)
{
    struct group_link *link = ctx;
    if (result < 0) {
        disconnected(link);
        return;
    }
    link->greeted  = true;
    link->heard_ns = io_now_ns(link->io);
    size_t begun   = frame_begin(&link->out, RPC_HELLO, (uint64_t)1 << 56);
    wire_put_u32(&link->out, RPC_MAGIC);
    wire_put_u16(&link->out, RPC_VERSION_MAJOR);
    wire_put_u16(&link->out, RPC_VERSION_MINOR);
    wire_put_u64(&link->out, link->instance);
    wire_put_u64(&link->out, link->owner);
    wire_put_u32(&link->out, 0);
    wire_put_u64(&link->out, link->place);
    group_link_end(link, begun);
}

static const struct io_handler handler = {
    .connected = on_connected, .received = on_received, .sent = on_sent, .closed = on_closed};

void group_link_break(struct group_link *link)
{
    if (link->socket != NULL) {
        io_socket_close(link->socket);
        disconnected(link);
    }
}

void group_link_turn(struct group_link *link, struct io *io)
{
    uint64_t now = io_now_ns(io);
    link->io     = io;
    if (link->socket == NULL && now >= link->retry_ns) {
        link->socket = io_connect(io, link->name, GROUP_PORT, &handler, link);
    }
    if (link->greeted && now >= link->heard_ns + link->silence_ns) {
        group_link_break(link);
    }
    if (link->greeted && now >= link->ping_ns) {
        group_link_end(link, frame_begin(&link->out, RPC_PING, 0));
        link->ping_ns = now + SIM_S;
    }
    if (link->socket != NULL && !link->sending && link->out.size > 0) {
        struct wire_writer empty = link->flying;
        empty.size               = 0;
        link->flying             = link->out;
        link->out                = empty;
        struct iovec iov         = {link->flying.data, link->flying.size};
        link->sending            = true;
        io_socket_send(link->socket, &iov, 1);
    }
}
