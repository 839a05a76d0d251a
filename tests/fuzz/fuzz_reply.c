/* fuzz_reply - a broker's kernel and its store client, and a segment store that answers anything: the broker must survive every reply.
 *   the input is a list of commands:  what u8, and what belongs to it (see step)
 * The frames are right, so that what is in them is reached. */
#include "broker/kernel/kernel.h"
#include "broker/kernel/store.h"
#include "shared/base/log.h"
#include "tests/unit/broker/store/far_store.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CLIENTS = 3, IDS = 16, NODES = 3, SOCKETS_SPARE = 20 };

struct play {
    struct far     far;
    struct kernel *kernel;
    struct client  clients[CLIENTS];
    bool           open[CLIENTS];
    uint64_t       ids[IDS]; /* of the last requests, follows and watches */
    uint32_t       id_count;
};

/* ---- clients that take everything ---- */

static struct play *the_play;

static void on_opened(struct client *client, int status, bool present)
{
    (void)present;
    the_play->open[client - the_play->clients] = status == 0;
}
static void on_evicted(struct client *client, enum evict_reason why)
{
    (void)why;
    the_play->open[client - the_play->clients] = false;
}
static void on_published(struct client *client, uint16_t id, uint8_t qos, int status, bool matched)
{
    (void)client;
    (void)id;
    (void)qos;
    (void)status;
    (void)matched;
}
static void on_released(struct client *client, uint16_t id, int status)
{
    (void)client;
    (void)id;
    (void)status;
}
static enum deliver_result on_deliver(struct client *client, struct delivery *delivery)
{
    (void)client;
    return delivery->id % 7 == 3 ? DELIVER_TOO_BIG : DELIVER_OK;
}
static void on_release(struct client *client, uint16_t id)
{
    (void)client;
    (void)id;
}
static void on_subscribed(struct client *client, uint16_t id, const int *results, int count)
{
    (void)client;
    (void)id;
    (void)results;
    (void)count;
}
static void on_pause(struct client *client, bool paused)
{
    (void)client;
    (void)paused;
}
static void on_uncache(void *cache)
{
    (void)cache;
}

static const struct client_ops ops = {.opened           = on_opened,
                                      .evicted          = on_evicted,
                                      .published        = on_published,
                                      .publish_released = on_released,
                                      .deliver          = on_deliver,
                                      .deliver_release  = on_release,
                                      .subscribed       = on_subscribed,
                                      .unsubscribed     = on_subscribed,
                                      .pause            = on_pause,
                                      .uncache          = on_uncache};

static void act(struct play *p, uint8_t what, uint8_t which)
{
    static const char *const ids[CLIENTS] = {"a", "b", "b"}; /* two of them take each other over */
    struct client           *client       = &p->clients[which % CLIENTS];
    bool                     open         = p->open[which % CLIENTS];
    struct message           message      = {.topic = bytes_str("t/x"), .payload = bytes_str("p"), .qos = what % 3};
    message.retain                        = (which & 64) != 0;
    if (client->session == NULL) {
        client->ops                 = &ops;
        struct open_request request = {.client_id   = bytes_str(ids[which % CLIENTS]),
                                       .clean_start = (which & 16) != 0,
                                       .expiry_s    = (which & 32) != 0 ? 0 : 100,
                                       .receive_max = 3,
                                       .told        = (which & 16) == 0};
        request.will.topic          = (which & 128) != 0 ? bytes_str("t/w") : (struct bytes){0};
        kernel_open(p->kernel, client, &request);
        return;
    }
    if (!open) {
        return;
    }
    switch (what % 5) {
    case 0: {
        struct subscription s = {.filter = bytes_str((which & 16) != 0 ? "$share/g/t/#" : "t/#"), .qos = 2};
        kernel_subscribe(p->kernel, client, 9, &s, 1);
        break;
    }
    case 1:
        kernel_publish_release(p->kernel, client, 1 + which % 5);
        break;
    case 2:
        (void)kernel_received(p->kernel, client, which);
        (void)kernel_done(p->kernel, client, which, (enum delivery_end)(which % 3));
        break;
    case 3: {
        struct close_request request = {.discard_will = (which & 16) != 0};
        p->open[which % CLIENTS]     = false;
        kernel_close(p->kernel, client, &request);
        break;
    }
    default:
        kernel_publish(p->kernel, client, &message, message.qos == 0 ? 0 : 1 + which % 5);
    }
}

/* ---- the store ---- */

static bool post(void *ctx, unsigned shard, const struct kernel_mail *mail)
{
    (void)ctx;
    (void)shard;
    free(mail->body);
    return true;
}

static uint64_t port_random(void *ctx)
{
    struct play *p = ctx;
    return io_random(&p->far.io);
}

static void turn(struct play *p)
{
    struct frame frame;
    kernel_begin(p->kernel, p->far.io.now_ns, p->far.io.now_ns + 1);
    (void)kernel_end(p->kernel);
    far_turn(&p->far);
    for (uint16_t node = 1; node <= NODES; node++) {
        struct io_socket *socket = far_socket_of(&p->far, node, 0);
        while (socket != NULL && socket->open && far_next(&p->far, socket, &frame)) {
            if (frame.kind != RPC_CREDIT && frame.kind != RPC_CANCEL) {
                p->ids[p->id_count++ % IDS] = frame.id;
            }
        }
    }
}

/* It comes back, and says this of nodes and leaders. */
static void return_with(struct play *p, struct io_socket *socket, struct bytes tail)
{
    p->far.tail = tail;
    far_break(socket);
    far_pass(&p->far, 2000000000);
    far_up(&p->far, 1, 2);
    p->far.tail = (struct bytes){0};
}

static void step(struct play *p, struct wire_reader *r)
{
    static const uint16_t kinds[] = {RPC_TXN_DONE, RPC_LEADERS, RPC_SCAN_DONE, RPC_RECORDS, RPC_CHANGES,
                                     RPC_ENDED,    RPC_ERROR,   RPC_WELCOME,   RPC_PONG,    99};
    uint8_t               what    = wire_get_u8(r);
    uint8_t               more    = wire_get_u8(r);
    struct io_socket     *socket  = far_socket_of(&p->far, (uint16_t)(1 + (more >> 4) % NODES), 0);
    switch (what % 8) {
    case 0:
        act(p, what / 8, more);
        break;
    case 1:
        far_pass(&p->far, (uint64_t)more << 24);
        break;
    case 2:
        if (socket != NULL && (more & 15) == 0) {
            far_break(socket);
        }
        break;
    default: { /* kind, which request, body */
        size_t       size = wire_get_u8(r);
        struct bytes body = wire_get(r, size < wire_left(r) ? size : wire_left(r));
        if (socket == NULL || r->bad) {
            break;
        }
        if (kinds[(what / 8) % 10] == RPC_WELCOME && body.size != 0) {
            return_with(p, socket, body);
        } else {
            far_send(socket, kinds[(what / 8) % 10], p->ids[more % IDS], body);
        }
    }
    }
    if (far_socket(&p->far, 0) == NULL) {
        far_pass(&p->far, 2000000000);
        far_up(&p->far, 1, 2);
    }
    turn(p);
}

static void mute(const char *line)
{
    (void)line;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct kernel_limits limits = {.subscriptions_max    = 10,
                                                .inflight_max         = 5,
                                                .publish_pending_max  = 10,
                                                .live_queue_bytes     = 10000,
                                                .overrun_after_ns     = 1000000000,
                                                .session_expiry_max_s = EXPIRY_NEVER,
                                                .retain_available     = true};
    struct play                      *p      = calloc(1, sizeof *p);
    struct wire_reader                r      = wire_reader_of(bytes_of(data, size));
    ASSERT(p != NULL);
    log_setup("fuzz", LOG_ERROR, mute);
    the_play                      = p;
    const struct kernel_port port = {.ctx = p, .post = post, .random = port_random};
    far_init_nodes(&p->far, NODES, 1);
    far_lead(&p->far, 1, 2, 1);
    far_up(&p->far, 1, 2);
    p->kernel = kernel_new(0, 1, &limits, &port, p->far.store, p->far.timers);
    turn(p);
    while (!r.bad && wire_left(&r) != 0 && p->far.io.count < FAR_SOCKETS - SOCKETS_SPARE) {
        step(p, &r);
    }
    kernel_free(p->kernel);
    far_store_fini(&p->far);
    free(p);
    return 0;
}
