/* far_store.c - io.h, as far as a store client uses it. */
#include "tests/unit/broker/store/far_store.h"

#include "shared/base/assert.h"

#include <string.h>

/* ---- io.h ---- */

uint64_t io_now_ns(struct io *io)
{
    return io->now_ns;
}

uint64_t io_random(struct io *io)
{
    return io->random += 0x9e3779b97f4a7c15u;
}

struct io_socket *io_connect(struct io *io, const char *address, uint16_t port, const struct io_handler *handler,
                             void *ctx)
{
    (void)address;
    ASSERT(io->count < FAR_SOCKETS);
    struct io_socket *socket = &io->sockets[io->count++];
    *socket                  = (struct io_socket){.io      = io,
                                                  .handler = handler,
                                                  .ctx     = ctx,
                                                  .port    = port < FAR_NODES ? port : 0,
                                                  .open    = true,
                                                  .sent    = wire_writer_growing(64u << 20)};
    return socket;
}

void io_socket_send(struct io_socket *socket, const struct iovec *iov, int count)
{
    ASSERT(socket->open && !socket->sending && count >= 1 && count <= 64);
    for (int i = 0; i < count; i++) {
        wire_put_bytes(&socket->sent, bytes_of(iov[i].iov_base, iov[i].iov_len));
    }
    socket->sending = true;
}

void io_socket_close(struct io_socket *socket)
{
    ASSERT(socket->open);
    socket->open = false;
}

/* ---- the far end ---- */

void far_init(struct far *far)
{
    far_init_nodes(far, 0, 1);
}

void far_init_nodes(struct far *far, uint32_t nodes, uint32_t seeds)
{
    struct store_client_config config = {.seed_count = seeds, .instance = 2, .owner = 3};
    *far                              = (struct far){.shards = 1, .stripes = 1, .credit = 1 << 20, .node_count = nodes};
    for (uint32_t i = 0; i < seeds; i++) {
        memcpy(config.seeds[i].address, "far", 4);
        config.seeds[i].port = (uint16_t)(i + 1);
    }
    for (uint32_t i = 0; i < FAR_NODES; i++) {
        far->cluster[i] = 77;
    }
    for (uint16_t i = 0; i < FAR_STRIPES; i++) {
        far_lead(far, i, 1, 1);
    }
    far->io.now_ns = 1000000000;
    far->timers    = timer_wheel_new(far->io.now_ns);
    far->taken     = wire_writer_growing(64u << 20);
    far->store     = store_client_new(&far->io, far->timers, &config);
}

void far_lead(struct far *far, uint16_t stripe, uint16_t node, uint64_t term)
{
    far->leaders[stripe].leader = node;
    far->leaders[stripe].term   = term;
}

static void put_leader(const struct far *far, struct wire_writer *w, uint32_t stripe)
{
    wire_put_u16(w, (uint16_t)stripe);
    wire_put_u16(w, far->leaders[stripe % FAR_STRIPES].leader);
    wire_put_u64(w, far->leaders[stripe % FAR_STRIPES].term);
}

void far_tell(struct far *far, uint16_t node, uint16_t stripe)
{
    uint8_t            bytes[16];
    struct wire_writer w = wire_writer_fixed(bytes, sizeof bytes);
    wire_put_u16(&w, 1);
    put_leader(far, &w, stripe);
    far_send(far_socket_of(far, node, stripe % far->shards), RPC_LEADERS, 0, wire_written(&w));
}

void far_store_fini(struct far *far)
{
    store_client_free(far->store);
    timer_wheel_free(far->timers);
    for (uint32_t i = 0; i < far->io.count; i++) {
        wire_writer_fini(&far->io.sockets[i].sent);
    }
    wire_writer_fini(&far->taken);
}

void far_send(struct io_socket *socket, uint16_t kind, uint64_t id, struct bytes body)
{
    struct wire_writer w     = wire_writer_growing(64u << 20);
    size_t             begun = frame_begin(&w, kind, id);
    wire_put_bytes(&w, body);
    int error = frame_end(&w, begun);
    ASSERT(error == 0 && socket->open);
    socket->handler->received(socket->ctx, wire_written(&w));
    wire_writer_fini(&w);
}

void far_welcome(struct far *far, struct io_socket *socket, uint32_t shard)
{
    struct wire_writer w = wire_writer_growing(1 << 20);
    wire_put_u16(&w, RPC_VERSION_MAJOR);
    wire_put_u16(&w, RPC_VERSION_MINOR);
    wire_put_u64(&w, far->cluster[socket->port]);
    wire_put_u32(&w, shard);
    wire_put_u32(&w, far->shards);
    wire_put_u32(&w, far->stripes);
    wire_put_u32(&w, far->credit);
    wire_put_u32(&w, 1 << 20);
    if (far->tail.size != 0) {
        wire_put_bytes(&w, far->tail);
        far_send(socket, RPC_WELCOME, 0, wire_written(&w));
        wire_writer_fini(&w);
        return;
    }
    wire_put_u16(&w, far->says[socket->port] != 0 ? far->says[socket->port] : socket->port);
    wire_put_u16(&w, (uint16_t)far->node_count);
    for (uint32_t i = 0; i < far->node_count; i++) {
        wire_put_u16(&w, (uint16_t)(i + 1));
        wire_put_u16(&w, (uint16_t)(i + 1));
        wire_put_blob(&w, bytes_str("far"));
    }
    uint32_t mine = shard < far->shards ? (far->stripes - shard + far->shards - 1) / far->shards : 0;
    wire_put_u16(&w, (uint16_t)mine);
    for (uint32_t i = 0; i < (uint16_t)mine; i++) {
        put_leader(far, &w, shard + i * far->shards);
    }
    far_send(socket, RPC_WELCOME, 0, wire_written(&w));
    wire_writer_fini(&w);
}

void far_turn(struct far *far)
{
    store_client_turn(far->store);
    for (uint32_t i = 0; i < far->io.count; i++) {
        struct io_socket *socket = &far->io.sockets[i];
        while (socket->open && socket->sending) {
            socket->sending = false;
            socket->handler->sent(socket->ctx, 0);
        }
    }
}

/* Connections that wait are accepted; the shard is the one that HELLO names. */
static void accept_all(struct far *far)
{
    for (uint32_t i = 0; i < far->io.count; i++) {
        struct io_socket *socket = &far->io.sockets[i];
        if (!socket->open || socket->connected) {
            continue;
        }
        if (far->down[socket->port]) {
            socket->open = false;
            socket->handler->connected(socket->ctx, -111);
            continue;
        }
        socket->connected = true;
        socket->handler->connected(socket->ctx, 0);
        far_turn(far);
        uint32_t shard;
        ASSERT(socket->sent.size >= RPC_HEADER_BYTES + 28);
        memcpy(&shard, socket->sent.data + RPC_HEADER_BYTES + 24, sizeof shard);
        far_welcome(far, socket, shard);
    }
}

void far_up(struct far *far, uint32_t shards, uint32_t stripes)
{
    far->shards  = shards;
    far->stripes = stripes;
    for (int rounds = 0; rounds < 4; rounds++) { /* the first welcome tells of the other shards */
        accept_all(far);
        far_turn(far);
    }
}

void far_pass(struct far *far, uint64_t ns)
{
    far->io.now_ns += ns;
    timer_expire(far->timers, far->io.now_ns);
}

struct io_socket *far_socket(struct far *far, uint32_t shard)
{
    return far_socket_of(far, 1, shard);
}

struct io_socket *far_socket_of(struct far *far, uint16_t node, uint32_t shard)
{
    for (uint32_t i = far->io.count; i > 0; i--) {
        struct io_socket *socket = &far->io.sockets[i - 1];
        uint32_t          named  = 0;
        if (socket->open && socket->port == node && socket->sent.size >= RPC_HEADER_BYTES + 28) {
            memcpy(&named, socket->sent.data + RPC_HEADER_BYTES + 24, sizeof named);
            if (named == shard) {
                return socket;
            }
        }
    }
    return NULL;
}

/* The HELLO stays at the front, for far_socket. */
bool far_next(struct far *far, struct io_socket *socket, struct frame *out)
{
    static const size_t hello_bytes = RPC_HEADER_BYTES + 36;
    for (;;) {
        struct frame_reader reader = {0};
        struct bytes        rest   = bytes_of(socket->sent.data + hello_bytes, socket->sent.size - hello_bytes);
        frame_reader_feed(&reader, rest);
        if (frame_reader_next(&reader, out) != 1) {
            frame_reader_fini(&reader);
            return false;
        }
        size_t size     = RPC_HEADER_BYTES + out->body.size;
        far->taken.size = 0;
        wire_put_bytes(&far->taken, out->body);
        frame_reader_fini(&reader);
        memmove(socket->sent.data + hello_bytes, socket->sent.data + hello_bytes + size, rest.size - size);
        socket->sent.size -= size;
        out->body = wire_written(&far->taken);
        if (out->kind != RPC_PING && out->kind != RPC_PONG) {
            return true;
        }
    }
}

void far_break(struct io_socket *socket)
{
    socket->open = false;
    socket->handler->closed(socket->ctx, 0);
}
