/* link.c - one connection to one shard of one node, which comes back by itself. */
#include "broker/store/link.h"

#include "shared/base/buggify.h"
#include "shared/base/err.h"
#include "shared/loop/io.h"
#include "shared/rpc/schema.h"

#include <stdio.h>

/* One send is short, so that a notice (credit of a follower) never waits long behind what publishers store. */
enum { SHARDS_MAX = 4096 }; /* of a segment store */
enum { IOVECS_MAX = 6, GREETING_MAX_BYTES = 64 * 1024 * 1024 };
static const uint64_t backoff_first_ns = 10000000u;
static const uint64_t backoff_last_ns  = 1000000000u;
/* Together less than the segment store waits for a broker after its own restart (owner_grace_ns): or wills of the living are published. */
static const uint64_t ping_after_ns     = 2000000000u;
static const uint64_t dead_after_ns     = 6000000000u;
static const uint64_t complain_every_ns = 10000000000u;

static void on_timer(struct timer *timer, uint64_t now_ns);

void link_init(struct link *link)
{
    queue_init(&link->queue);
    link->greeting         = wire_writer_growing(GREETING_MAX_BYTES);
    link->sending_greeting = wire_writer_growing(GREETING_MAX_BYTES);
    link->backoff_ns       = backoff_first_ns;
    link->state            = LINK_DOWN;
}

void link_fini(struct link *link)
{
    if (link->socket != NULL) {
        io_socket_close(link->socket);
        link->socket = NULL;
    }
    timer_cancel(link->timers, &link->timer);
    frame_reader_fini(&link->reader);
    queue_fini(&link->queue);
    wire_writer_fini(&link->greeting);
    wire_writer_fini(&link->sending_greeting);
}

/* One line per ten seconds: a store that is away is asked many times. */
static void complain(struct link *link, const char *what)
{
    uint64_t suppressed = 0;
    if (log_allowed(&link->complaint, io_now_ns(link->io), complain_every_ns, &suppressed)) {
        log_warn("segment store at %s:%u, shard %u: %s; trying again", link->address, link->port, link->shard, what);
    }
}

/* The connection is gone or of no use: waits a random part of the back-off, then connects again. One that did not last
 * counts as a failed attempt, so that two sides that do not understand each other do not keep themselves busy. */
static void go_down(struct link *link)
{
    bool was_up = link->state == LINK_UP;
    if (was_up && io_now_ns(link->io) - link->up_ns >= backoff_last_ns) {
        link->backoff_ns = backoff_first_ns;
    }
    link->state                 = LINK_DOWN;
    link->socket                = NULL;
    link->broken                = false;
    link->sending               = false;
    link->sending_bytes         = 0;
    link->greeting.size         = 0;
    link->sending_greeting.size = 0;
    frame_reader_fini(&link->reader);
    queue_stop(&link->queue);
    if (was_up) {
        link->handler->down(link->ctx, link);
    }
    if (link->retired) {
        timer_cancel(link->timers, &link->timer);
        return;
    }
    uint64_t wait_ns = link->backoff_ns / 2 + io_random(link->io) % (link->backoff_ns / 2);
    timer_arm(link->timers, &link->timer, io_now_ns(link->io) + wait_ns, on_timer);
    link->backoff_ns = link->backoff_ns * 2 < backoff_last_ns ? link->backoff_ns * 2 : backoff_last_ns;
}

static void give_up(struct link *link, const char *why)
{
    if (!link->retired) {
        complain(link, why);
    }
    io_socket_close(link->socket);
    go_down(link);
}

static void put_greeting(struct link *link, uint16_t kind, uint64_t id)
{
    size_t begun = frame_begin(&link->greeting, kind, id);
    if (kind == RPC_HELLO) {
        wire_put_u32(&link->greeting, RPC_MAGIC);
        wire_put_u16(&link->greeting, RPC_VERSION_MAJOR);
        wire_put_u16(&link->greeting, RPC_VERSION_MINOR);
        wire_put_u64(&link->greeting, link->instance);
        wire_put_u64(&link->greeting, link->owner);
        wire_put_u32(&link->greeting, link->shard);
        wire_put_u64(&link->greeting, link->place);
    }
    int error = frame_end(&link->greeting, begun);
    ASSERT(error == 0);
}

static void on_connected(void *ctx, int result)
{
    struct link *link = ctx;
    if (result < 0) {
        complain(link, err_sentence(result));
        go_down(link);
        return;
    }
    link->state    = LINK_GREETING;
    link->heard_ns = io_now_ns(link->io);
    timer_arm(link->timers, &link->timer, link->heard_ns + ping_after_ns, on_timer);
    put_greeting(link, RPC_HELLO, 0);
    link_flush(link);
}

static void on_welcome(struct link *link, const struct frame *frame)
{
    struct wire_reader r     = wire_reader_of(frame->body);
    uint16_t           major = wire_get_u16(&r);
    (void)wire_get_u16(&r); /* minor: newer ones add fields behind those we know */
    struct link_welcome welcome = {.cluster = wire_get_u64(&r)};
    uint32_t            shard   = wire_get_u32(&r);
    welcome.shard_count         = wire_get_u32(&r);
    welcome.stripe_count        = wire_get_u32(&r);
    uint32_t credit             = wire_get_u32(&r);
    welcome.record_max_bytes    = wire_get_u32(&r);
    welcome.node                = wire_get_u16(&r);
    welcome.nodes               = r;
    if (r.bad || major != RPC_VERSION_MAJOR || shard != link->shard || welcome.node == 0 ||
        shard >= welcome.shard_count || welcome.shard_count > SHARDS_MAX || welcome.stripe_count == 0 ||
        welcome.stripe_count >= RPC_STRIPE_ALL) {
        link->broken = true;
        return;
    }
    link->state = LINK_UP;
    link->up_ns = io_now_ns(link->io);
    link->reconnects++;
    log_info("segment store at %s:%u, shard %u: connected", link->address, link->port, link->shard);
    link->handler->up(link->ctx, link, &welcome);
    if (!link->broken) {
        queue_restart(&link->queue, credit);
    }
}

static void on_refused(struct link *link, const struct frame *frame)
{
    struct wire_reader r      = wire_reader_of(frame->body);
    int                status = (int)wire_get_u32(&r);
    struct bytes       text   = wire_get_blob(&r);
    char               why[300];
    snprintf(why, sizeof why, "it refuses this broker (%s): %.*s", err_name(status), (int)text.size,
             (const char *)text.data);
    complain(link, why);
    link->broken = true;
}

static void on_answer(struct link *link, const struct frame *frame)
{
    const struct queue_request *request = queue_find(&link->queue, frame->id);
    struct wire_reader          r       = wire_reader_of(frame->body);
    if (request == NULL) { /* a shell's */
        queue_answered(&link->queue, frame->id);
        return;
    }
    if (UNLIKELY((int)wire_get_u32(&r) == ERR_NOT_LEADER && frame->kind == RPC_TXN_DONE && request->kind == RPC_TXN)) {
        link->handler->refused(link->ctx, link, request->stripe);
        queue_answered(&link->queue, frame->id);
        return;
    }
    const struct queue_request answered = *request;
    queue_answered(&link->queue, frame->id);
    link->handler->answered(link->ctx, link, &answered, frame);
}

static void on_frame(struct link *link, const struct frame *frame)
{
    if (frame->kind == RPC_PING) {
        put_greeting(link, RPC_PONG, frame->id);
        return;
    }
    if (frame->kind == RPC_PONG) {
        return;
    }
    if (link->state == LINK_GREETING) {
        if (frame->kind == RPC_WELCOME) {
            on_welcome(link, frame);
        } else if (frame->kind == RPC_ERROR) {
            on_refused(link, frame);
        } else {
            link->broken = true;
        }
        return;
    }
    if (frame->kind == RPC_LEADERS) {
        struct wire_reader r = wire_reader_of(frame->body);
        link->broken         = !link->handler->leaders(link->ctx, link, &r);
        return;
    }
    if (frame->kind == RPC_RELAY) {
        link->broken = !link->handler->relayed(link->ctx, link, frame);
        return;
    }
    if ((frame->id & LINK_PUSH_ID) != 0) {
        link->broken = !link->handler->pushed(link->ctx, link, frame);
        return;
    }
    on_answer(link, frame);
}

static void on_received(void *ctx, struct bytes data)
{
    struct link *link = ctx;
    struct frame frame;
    int          got = 0;
    link->heard_ns   = io_now_ns(link->io);
    frame_reader_feed(&link->reader, data);
    while (!link->broken && (got = frame_reader_next(&link->reader, &frame)) == 1) {
        on_frame(link, &frame);
    }
    if (got < 0) {
        link->corrupt_frames++;
        log_error("segment store at %s:%u sent a damaged frame (%s): closing the connection", link->address, link->port,
                  err_name(got));
    }
    if (link->broken || got < 0) {
        give_up(link, "the connection is given up");
    }
}

static void on_sent(void *ctx, int result)
{
    struct link *link = ctx;
    if (result < 0) { /* closed() follows */
        return;
    }
    link->sending               = false;
    link->sending_greeting.size = 0;
    queue_sent(&link->queue, link->sending_bytes);
    link->sending_bytes = 0;
    link_flush(link);
}

static void on_closed(void *ctx, int reason)
{
    struct link *link = ctx;
    complain(link, reason == 0 ? "it closed the connection" : err_sentence(reason));
    go_down(link);
}

static const struct io_handler link_io = {
    .connected = on_connected, .received = on_received, .sent = on_sent, .closed = on_closed};

static void on_timer(struct timer *timer, uint64_t now_ns)
{
    struct link *link = CONTAINER_OF(timer, struct link, timer);
    if (link->state == LINK_DOWN) {
        link_start(link);
        return;
    }
    if (now_ns - link->heard_ns >= dead_after_ns || BUGGIFY("link: dead early", 20)) {
        give_up(link, "no sign of life for 6 s");
        return;
    }
    /* Also when it talks all the time: it waits for a sign of life, too, and what it asked for that may lie behind a long frame on a slow network. */
    bool silent = now_ns - link->heard_ns >= ping_after_ns || now_ns - link->said_ns >= ping_after_ns;
    if (link->state == LINK_UP && silent) {
        put_greeting(link, RPC_PING, 0);
        link_flush(link);
    }
    timer_arm(link->timers, &link->timer, now_ns + ping_after_ns, on_timer);
}

void link_start(struct link *link)
{
    link->state  = LINK_CONNECTING;
    link->socket = io_connect(link->io, link->address, link->port, &link_io, link);
}

void link_request(struct link *link, struct bytes frame, uint16_t kind, uint16_t stripe, void *owner)
{
    queue_request(&link->queue, frame, kind, stripe, owner);
}

void link_notice(struct link *link, struct bytes frame)
{
    if (link->state == LINK_UP) {
        wire_put_bytes(&link->greeting, frame);
        ASSERT(!link->greeting.bad);
    }
}

void link_flush(struct link *link)
{
    if (link->sending || (link->state != LINK_UP && link->state != LINK_GREETING)) {
        return;
    }
    struct iovec iov[IOVECS_MAX];
    int          count = 0;
    if (link->greeting.size != 0) {
        struct wire_writer out = link->greeting;
        link->greeting         = link->sending_greeting;
        link->sending_greeting = out;
        iov[count++]           = (struct iovec){.iov_base = out.data, .iov_len = out.size};
    }
    if (link->state == LINK_UP) {
        count += queue_gather(&link->queue, iov + count, IOVECS_MAX - count, &link->sending_bytes);
    }
    if (count != 0) {
        link->sending = true;
        link->said_ns = io_now_ns(link->io);
        io_socket_send(link->socket, iov, count);
    }
}
