/* fuzz_request - a segment store as it runs, in a simulated world, and a broker that asks for anything: the store must survive every request.
 *   the input is a list of frames:  kind u8 (an index into the table below), id u8, size u16, body
 * The frames are right and the greeting is, and where a transaction goes, so that what is in them is reached. A store serves many inputs; then a new one is made. */
#include "segstore/node/node.h"
#include "shared/base/log.h"
#include "shared/base/wire.h"
#include "shared/loop/io.h"
#include "shared/rpc/frame.h"
#include "shared/rpc/schema.h"
#include "tests/sim/process.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INPUTS = 200, PORT = 7400 };

static struct world          *world;
static struct segstore_config config;
static struct node           *node;
static struct process        *store;
static struct process        *broker;
static struct io             *broker_io;
static struct io_socket      *broker_socket;
static struct wire_writer     out;
static uint64_t               inputs;

static void mute(const char *line)
{
    (void)line;
}

/* ---- the store ---- */

static void on_ready(void *ctx, const char *address, uint16_t port)
{
    (void)ctx;
    (void)address;
    (void)port;
}

static void on_refused(void *ctx, int error, const char *why)
{
    (void)ctx;
    (void)error;
    (void)why;
    abort();
}

static int store_start(struct process *process, void *ctx)
{
    static const struct io_config io_config = {
        .sockets_max = 8, .recv_buffers = 8, .recv_buffer_bytes = 4096, .cpu = -1};
    const struct node_hooks hooks = {.ctx = ctx, .ready = on_ready, .refused = on_refused};
    struct core            *core  = core_new(process);
    struct io              *io;
    char                    why[128];
    int                     result = io_open(&io_config, &io, why, sizeof why);
    if (result == 0) {
        node = node_new(io, &config, 0, NULL, NULL, &hooks);
        core_run(core, node, node_turn);
    }
    return result;
}

static void store_destroy(void *ctx)
{
    (void)ctx;
    node_free(node);
}

/* ---- the broker ---- */

static void on_connected(void *ctx, int result)
{
    (void)ctx;
    broker_socket = result < 0 ? NULL : broker_socket;
    if (result == 0) {
        const struct iovec iov = {out.data, out.size};
        io_socket_send(broker_socket, &iov, 1);
    }
}

static void on_received(void *ctx, struct bytes data)
{
    (void)ctx;
    (void)data;
}

static void on_sent(void *ctx, int result)
{
    (void)ctx;
    (void)result;
}

static void on_closed(void *ctx, int reason)
{
    (void)ctx;
    (void)reason;
    broker_socket = NULL;
}

static uint64_t broker_turn(void *shard)
{
    (void)shard;
    return UINT64_MAX;
}

static int broker_start(struct process *process, void *ctx)
{
    static const struct io_config io_config = {
        .sockets_max = 4, .recv_buffers = 8, .recv_buffer_bytes = 4096, .cpu = -1};
    static const struct io_handler handler = {
        .connected = on_connected, .received = on_received, .sent = on_sent, .closed = on_closed};
    struct core *core = core_new(process);
    char         why[128];
    int          result = io_open(&io_config, &broker_io, why, sizeof why);
    if (result == 0) {
        core_run(core, ctx, broker_turn);
        broker_socket = io_connect(broker_io, "store", PORT, &handler, ctx);
    }
    return result;
}

static void broker_destroy(void *ctx)
{
    (void)ctx;
}

/* ---- inputs ---- */

static void make_world(void)
{
    if (world != NULL) {
        process_crash(store);
        world_free(world);
    }
    world                                 = world_new(7, "fuzz");
    world_running                         = world;
    world->event_max                      = UINT64_MAX;
    world->faults                         = (struct world_faults){.window_bytes = 1 << 18, .tcp_timeout_ns = SIM_S};
    config                                = segstore_config_default();
    config.data_directory                 = "/data";
    config.listen_address                 = "0.0.0.0";
    config.stripes                        = 2;
    config.segment_bytes                  = 4u << 20;
    config.segments_ready                 = 1;
    config.tail_bytes                     = 0;
    config.disk_reserve_bytes             = 0;
    config.streams_max                    = 100;
    config.table_bytes_max                = 1 << 20;
    const struct process_spec store_spec  = {"store", store_start, store_destroy, NULL, NULL};
    const struct process_spec broker_spec = {"broker", broker_start, broker_destroy, NULL, NULL};
    store                                 = process_new(machine_new(world, "store", 1u << 30), &store_spec);
    broker                                = process_new(machine_new(world, "broker", 0), &broker_spec);
    int result                            = process_start(store);
    ASSERT(result == 0);
    world_run_ns(world, SIM_S);
}

static void put_frame(uint16_t kind, uint64_t id, struct bytes body)
{
    size_t begun = frame_begin(&out, kind, id);
    if (kind == RPC_TXN) { /* a stripe, a round, mostly the right term: so that the ops are reached */
        wire_put_u16(&out, id & 1);
        wire_put_u16(&out, (uint16_t)(id >> 6));
        wire_put_u64(&out, (id & 0x3e) == 0x3e ? 2 : 1);
    }
    wire_put_bytes(&out, body);
    int error = frame_end(&out, begun);
    ASSERT(error == 0);
}

static void put_hello(void)
{
    uint8_t            bytes[64];
    struct wire_writer w = wire_writer_fixed(bytes, sizeof bytes);
    wire_put_u32(&w, RPC_MAGIC);
    wire_put_u16(&w, RPC_VERSION_MAJOR);
    wire_put_u16(&w, RPC_VERSION_MINOR);
    wire_put_u64(&w, 1);
    wire_put_u64(&w, 1);
    wire_put_u32(&w, 0);
    put_frame(RPC_HELLO, 0, wire_written(&w));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint16_t kinds[] = {RPC_TXN,  RPC_TXN,  RPC_SCAN,    RPC_WATCH, RPC_CREDIT, RPC_CANCEL, RPC_FOLLOW,
                                     RPC_READ, RPC_TAKE, RPC_RELEASE, RPC_PING,  RPC_HELLO,  99};
    struct wire_reader    r       = wire_reader_of(bytes_of(data, size));
    log_setup("fuzz", LOG_ERROR, mute);
    if (inputs++ % INPUTS == 0) {
        make_world();
    }
    if (out.limit == 0) {
        out = wire_writer_growing(16u << 20);
    }
    out.size = 0;
    put_hello();
    while (!r.bad && wire_left(&r) >= 4) {
        uint8_t  kind  = wire_get_u8(&r);
        uint8_t  id    = wire_get_u8(&r);
        uint16_t bytes = wire_get_u16(&r);
        put_frame(kinds[kind % (sizeof kinds / sizeof kinds[0])], id,
                  wire_get(&r, bytes < wire_left(&r) ? bytes : wire_left(&r)));
    }
    int result = process_start(broker);
    ASSERT(result == 0);
    world_run_ns(world, 20 * SIM_MS);
    process_crash(broker);
    world_run_ns(world, SIM_MS);
    return 0;
}
