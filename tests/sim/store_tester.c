/* store_tester.c - a client that believes nothing. */
#include "tests/sim/store_tester.h"

#include "shared/base/err.h"
#include "shared/loop/io.h"
#include "shared/record/record.h"
#include "shared/rpc/op.h"
#include "shared/rpc/schema.h"

#include <stdio.h>

enum { PORT = 7400, TABLE = 7, LARGE_BYTES = 400000, CREDIT = 16, CHECK_WAIT_S = 60, SILENCE_S = 5 };

/* Ids: what, stripe, number. */
enum what { WHAT_HELLO = 1, WHAT_CREATE, WHAT_TXN, WHAT_TRIM, WHAT_FOLLOW, WHAT_SCAN };

static uint64_t id_of(enum what what, uint32_t stripe, uint64_t number)
{
    return (uint64_t)what << 56 | (uint64_t)stripe << 48 | number;
}

static void begin(struct store_tester *c, uint16_t kind, uint64_t id, size_t *out_begun)
{
    *out_begun = frame_begin(&c->out, kind, id);
}

static void end(struct store_tester *c, size_t begun)
{
    sim_check(c->world, frame_end(&c->out, begun) == 0, "a request fits a frame");
}

/* What record n of a stripe holds: the same at every try. */
static struct record record_of(const struct store_tester *c, uint32_t stripe, uint64_t n, uint8_t *payload)
{
    struct rand random;
    rand_init(&random, c->world->seed, stripe * 1000003u + n);
    bool   large = c->large_one_in != 0 && rand_chance(&random, c->large_one_in);
    size_t size  = large ? LARGE_BYTES : (size_t)rand_below(&random, 3000);
    for (size_t at = 0; at < size; at++) {
        payload[at] = (uint8_t)(at * 31 + n * 7 + stripe);
    }
    return (struct record){
        .qos = 1, .publish_wall_ns = n, .topic = bytes_str("a/b"), .payload = bytes_of(payload, size)};
}

static uint8_t the_payload[LARGE_BYTES];

/* ---- requests ---- */

static void txn_begin(struct store_tester *c, uint32_t stripe, uint64_t id, size_t *out_begun)
{
    begin(c, RPC_TXN, id, out_begun);
    wire_put_u16(&c->out, (uint16_t)stripe);
    wire_put_u16(&c->out, 0);
    wire_put_u64(&c->out, c->stripes[stripe].term);
}

static void send_create(struct store_tester *c, uint32_t stripe)
{
    size_t begun;
    txn_begin(c, stripe, id_of(WHAT_CREATE, stripe, 0), &begun);
    struct op op = {.kind = OP_STREAM_CREATE, .name = bytes_str("the stream")};
    op_encode(&c->out, &op);
    end(c, begun);
}

static void send_txn(struct store_tester *c, uint32_t stripe, uint64_t n)
{
    char          key[24];
    size_t        begun;
    struct record record = record_of(c, stripe, n, the_payload);
    snprintf(key, sizeof key, "%08llu", (unsigned long long)n);
    txn_begin(c, stripe, id_of(WHAT_TXN, stripe, n), &begun);
    size_t append = op_append_begin(&c->out, 1 + stripe, 1, n + 1);
    op_append_target(&c->out, c->stripes[stripe].stream_id, bytes_str(key));
    op_append_end(&c->out, append, 1, &record);
    struct op put = {.kind = OP_TABLE_PUT, .table = TABLE, .name = bytes_str(key), .value = bytes_str("there")};
    op_encode(&c->out, &put);
    end(c, begun);
}

static void send_follow(struct store_tester *c, uint32_t stripe)
{
    struct tester_stripe *s = &c->stripes[stripe];
    size_t                begun;
    if (world_chance(c->world, SALT_SCENARIO, c->again_one_in)) {
        s->next = 0;
    }
    begin(c, RPC_FOLLOW, id_of(WHAT_FOLLOW, stripe, 0), &begun);
    wire_put_u64(&c->out, s->stream_id);
    wire_put_u64(&c->out, 1);
    wire_put_u64(&c->out, s->next);
    wire_put_u32(&c->out, CREDIT);
    end(c, begun);
    s->following = true;
}

static void send_scan(struct store_tester *c, uint16_t after_stripe, struct bytes after)
{
    size_t begun;
    begin(c, RPC_SCAN, id_of(WHAT_SCAN, 0, c->scan_number), &begun);
    wire_put_u16(&c->out, RPC_STRIPE_ALL);
    wire_put_u8(&c->out, RPC_SCAN_PREFIX);
    wire_put_u8(&c->out, 0);
    wire_put_u32(&c->out, TABLE);
    wire_put_u32(&c->out, 100);
    wire_put_u32(&c->out, 2000);
    wire_put_blob(&c->out, (struct bytes){0});
    wire_put_u16(&c->out, after_stripe);
    wire_put_blob(&c->out, after);
    wire_put_u32(&c->out, 2 * c->stripe_count);
    for (uint32_t i = 0; i < c->stripe_count; i++) {
        wire_put_u16(&c->out, (uint16_t)i);
    }
    end(c, begun);
}

/* ---- answers ---- */

static void on_txn_done(struct store_tester *c, uint64_t id, struct wire_reader *r)
{
    uint32_t              stripe = (uint32_t)(id >> 48) & 0xff;
    uint64_t              n      = id & 0xffffffffffff;
    struct tester_stripe *s      = &c->stripes[stripe];
    int                   status = (int)wire_get_u32(r);
    if (status < 0 && wire_get_u8(r) != 0) { /* refusing: it may take what comes behind this */
        size_t begun;
        begin(c, RPC_RESUME, 0, &begun);
        end(c, begun);
    }
    if (status == ERR_UNAVAILABLE) {
        s->unavailable = true;
        return;
    }
    if (status == ERR_DISK_FULL) {
        s->refused_full++;
        s->later_ns = io_now_ns(c->io) + 400 * SIM_MS;
        if ((enum what)(id >> 56) == WHAT_TXN && n < s->sent) { /* it and those behind it again, later */
            s->sent = n;
        }
        return;
    }
    sim_check(c->world, status == 0, "transaction %llu of stripe %u is refused: %s", (unsigned long long)n, stripe,
              err_name(status));
    switch ((enum what)(id >> 56)) {
    case WHAT_CREATE:
        s->stream_id = wire_get_u64(r);
        break;
    case WHAT_TRIM:
        s->trimmed = n > s->trimmed ? n : s->trimmed;
        break;
    case WHAT_TXN: {
        bool     duplicate = wire_get_u8(r) != 0;
        uint32_t count     = wire_get_u32(r);
        uint64_t offset    = wire_get_u64(r);
        sim_check(c->world, count == 1, "one stream was appended to");
        sim_check(c->world, offset == n || s->gaps || (duplicate && offset == OP_OFFSET_NONE),
                  "record %llu of stripe %u was acknowledged at offset %llu", (unsigned long long)n, stripe,
                  (unsigned long long)offset);
        if (n >= s->answered) {
            sim_check(c->world, n == s->answered || s->refused_full > 0,
                      "answers of one stripe come in order: %llu behind %llu", (unsigned long long)n,
                      (unsigned long long)s->answered);
            s->answered = n == s->answered ? n + 1 : s->answered;
        }
        break;
    }
    case WHAT_HELLO:
    case WHAT_FOLLOW:
    case WHAT_SCAN:
        sim_fail(c->world, "TXN_DONE for a request that was none");
    }
}

static void on_records(struct store_tester *c, uint64_t id, struct wire_reader *r)
{
    uint32_t              stripe = (uint32_t)(id >> 48) & 0xff;
    struct tester_stripe *s      = &c->stripes[stripe];
    uint32_t              count  = wire_get_u32(r);
    uint64_t              last   = wire_get_u64(r);
    sim_check(c->world, count > 0 && count <= CREDIT, "%u records with a credit of %u", count, CREDIT);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t      offset = wire_get_u64(r);
        struct bytes  tag    = wire_get(r, wire_get_u8(r));
        struct record record;
        int64_t       size = record_decode(bytes_of(r->at, wire_left(r)), &record);
        sim_check(c->world, size > 0, "record %llu of stripe %u is damaged", (unsigned long long)offset, stripe);
        (void)wire_get(r, (size_t)size);
        sim_check(c->world, offset >= s->next && offset < last, "offset %llu of stripe %u comes behind %llu",
                  (unsigned long long)offset, stripe, (unsigned long long)s->next);
        sim_check(c->world, offset == s->next || s->gaps || (offset <= s->trim_sent && s->next < s->trim_sent),
                  "offsets %llu to %llu of stripe %u are left out", (unsigned long long)s->next,
                  (unsigned long long)offset, stripe);
        uint64_t n = record.publish_wall_ns;
        sim_check(c->world, n == offset || s->gaps, "record %llu of stripe %u lies at offset %llu",
                  (unsigned long long)n, stripe, (unsigned long long)offset);
        struct record expected = record_of(c, stripe, n, the_payload);
        char          key[24];
        snprintf(key, sizeof key, "%08llu", (unsigned long long)n);
        sim_check(c->world, bytes_equal(expected.payload, record.payload) && bytes_equal(tag, bytes_str(key)),
                  "record %llu of stripe %u has another content", (unsigned long long)n, stripe);
        s->next = offset + 1;
        s->seen = s->next > s->seen ? s->next : s->seen;
    }
    sim_check(c->world, !r->bad && wire_left(r) == 0, "RECORDS is whole");
    size_t begun;
    begin(c, RPC_CREDIT, id, &begun);
    wire_put_u32(&c->out, count);
    end(c, begun);
}

static void on_scan(struct store_tester *c, struct wire_reader *r)
{
    bool     more   = wire_get_u8(r) != 0;
    uint32_t count  = wire_get_u32(r);
    uint16_t stripe = 0;
    for (uint32_t i = 0; i < count; i++) {
        char expected[24];
        stripe = wire_get_u16(r);
        (void)wire_get_u64(r);
        (void)wire_get_u64(r);
        struct bytes key = wire_get_blob(r);
        sim_check(c->world, bytes_equal(wire_get_blob(r), bytes_str("there")), "a value comes back");
        sim_check(c->world, stripe < c->stripe_count, "stripe %u is known", stripe);
        if (!c->stripes[stripe].gaps) {
            snprintf(expected, sizeof expected, "%08llu", (unsigned long long)c->scanned[stripe]);
            sim_check(c->world, bytes_equal(key, bytes_str(expected)), "key %s of stripe %u is missing", expected,
                      stripe);
        }
        c->scanned[stripe]++;
    }
    uint16_t     after_stripe = more ? wire_get_u16(r) : 0;
    struct bytes after        = more ? wire_get_blob(r) : (struct bytes){0};
    sim_check(c->world, !r->bad && wire_left(r) == 0, "SCAN_DONE is whole");
    if (more) {
        send_scan(c, after_stripe, after);
    } else {
        c->scanned_all = true;
    }
}

static void on_error(struct store_tester *c, uint64_t id, struct wire_reader *r)
{
    int                   status = (int)wire_get_u32(r);
    struct tester_stripe *s      = &c->stripes[(uint32_t)(id >> 48) & 0xff];
    switch ((enum what)(id >> 56)) {
    case WHAT_FOLLOW:
        if (status == ERR_UNAVAILABLE) {
            s->unavailable = true;
            return;
        }
        if (status == ERR_NOT_FOUND && s->gaps) {
            s->stream_id = 0;
            s->following = false;
            return;
        }
        break;
    case WHAT_SCAN:
        if (status == ERR_UNAVAILABLE) {
            c->scanned_all = true;
            return;
        }
        break;
    case WHAT_HELLO:
    case WHAT_CREATE:
    case WHAT_TXN:
    case WHAT_TRIM:
        break;
    }
    sim_fail(c->world, "request %llx is answered with %s", (unsigned long long)id, err_name(status));
}

static void disconnected(struct store_tester *c)
{
    c->socket    = NULL;
    c->connected = false;
    c->greeted   = false;
    c->sending   = false;
    c->out.size  = 0;
    c->retry_ns  = io_now_ns(c->io) + world_between(c->world, SALT_SCENARIO, SIM_MS, 50 * SIM_MS);
    frame_reader_fini(&c->reader);
    for (uint32_t i = 0; i < c->stripe_count; i++) {
        struct tester_stripe *s = &c->stripes[i];
        s->sent                 = s->answered;
        s->following            = false;
        s->unavailable          = false;
    }
}

static void on_received(void *ctx, struct bytes data)
{
    struct store_tester *c = ctx;
    struct frame         frame;
    int                  result;
    c->heard_ns = io_now_ns(c->io);
    frame_reader_feed(&c->reader, data);
    while ((result = frame_reader_next(&c->reader, &frame)) == 1) {
        struct wire_reader r = wire_reader_of(frame.body);
        switch (frame.kind) {
        case RPC_WELCOME:
            c->connected = true;
            for (uint32_t i = 0; i < c->stripe_count; i++) {
                c->stripes[i].term = 1;
            }
            for (uint32_t i = 0; i < c->stripe_count; i++) {
                send_create(c, i);
            }
            break;
        case RPC_TXN_DONE:
            on_txn_done(c, frame.id, &r);
            break;
        case RPC_RECORDS:
            on_records(c, frame.id, &r);
            break;
        case RPC_SCAN_DONE:
            if (frame.id == id_of(WHAT_SCAN, 0, c->scan_number)) {
                on_scan(c, &r);
            }
            break;
        case RPC_ERROR:
            on_error(c, frame.id, &r);
            break;
        case RPC_PING: {
            size_t begun;
            begin(c, RPC_PONG, frame.id, &begun);
            end(c, begun);
            break;
        }
        case RPC_ENDED: { /* a record that it wanted to read has rotted */
            struct tester_stripe *s = &c->stripes[(uint32_t)(frame.id >> 48) & 0xff];
            sim_check(c->world, (int)wire_get_u32(&r) == ERR_CORRUPT && c->may_rot, "a follow ended");
            s->unavailable = true;
            c->rotten      = true;
            break;
        }
        case RPC_PONG:
            break;
        default:
            sim_fail(c->world, "an answer of kind %u", frame.kind);
        }
    }
    sim_check(c->world, result == 0, "frames arrive whole");
}

static void on_sent(void *ctx, int result)
{
    struct store_tester *c = ctx;
    (void)result;
    c->sending = false;
}

static void on_closed(void *ctx, int reason)
{
    (void)reason;
    disconnected(ctx);
}

static void on_connected(void *ctx, int result)
{
    struct store_tester *c = ctx;
    if (result < 0) {
        disconnected(c);
        return;
    }
    size_t begun;
    c->greeted  = true;
    c->heard_ns = io_now_ns(c->io);
    begin(c, RPC_HELLO, id_of(WHAT_HELLO, 0, 0), &begun);
    wire_put_u32(&c->out, RPC_MAGIC);
    wire_put_u16(&c->out, RPC_VERSION_MAJOR);
    wire_put_u16(&c->out, RPC_VERSION_MINOR);
    wire_put_u64(&c->out, c->instance);
    wire_put_u64(&c->out, 1);
    wire_put_u32(&c->out, 0);
    end(c, begun);
}

static const struct io_handler handler = {
    .connected = on_connected, .received = on_received, .sent = on_sent, .closed = on_closed};

/* ---- the process ---- */

static void pump(struct store_tester *c, uint32_t stripe)
{
    struct tester_stripe *s = &c->stripes[stripe];
    if (s->stream_id == 0 || s->unavailable) {
        return;
    }
    if (!s->following) {
        send_follow(c, stripe);
    }
    while (!c->stop && io_now_ns(c->io) >= s->later_ns && s->sent < s->wanted && s->sent < s->answered + c->window) {
        send_txn(c, stripe, s->sent++);
    }
    if (s->trim_sent > s->trimmed && io_now_ns(c->io) >= s->trim_ns) {
        s->trim_ns = io_now_ns(c->io) + 100 * SIM_MS;
        size_t begun;
        txn_begin(c, stripe, id_of(WHAT_TRIM, stripe, s->trim_sent), &begun);
        struct op op = {.kind = OP_TRIM, .stream_id = s->stream_id, .offset = s->trim_sent};
        op_encode(&c->out, &op);
        end(c, begun);
    }
}

static uint64_t turn(void *ctx)
{
    struct store_tester *c   = ctx;
    uint64_t             now = io_now_ns(c->io);
    if (c->socket == NULL && now >= c->retry_ns) {
        c->socket = io_connect(c->io, "store", PORT, &handler, c);
    }
    for (uint32_t i = 0; c->connected && i < c->stripe_count; i++) {
        pump(c, i);
    }
    if (c->greeted && now >= c->heard_ns + SILENCE_S * SIM_S) { /* nor does it when it does not take what is sent */
        io_socket_close(c->socket);
        disconnected(c);
    }
    if (c->greeted && now >= c->ping_ns) { /* a store that lost power says nothing until it is asked */
        size_t begun;
        begin(c, RPC_PING, 0, &begun);
        end(c, begun);
        c->ping_ns = now + SIM_S;
    }
    if (c->socket != NULL && !c->sending && c->out.size > 0) {
        struct wire_writer empty = c->flying;
        empty.size               = 0;
        c->flying                = c->out;
        c->out                   = empty;
        struct iovec iov         = {c->flying.data, c->flying.size};
        c->sending               = true;
        io_socket_send(c->socket, &iov, 1);
    }
    return c->socket == NULL ? c->retry_ns : now + 20 * SIM_MS;
}

static int start(struct process *process, void *ctx)
{
    static const struct io_config config = {.sockets_max = 4, .recv_buffers = 8, .recv_buffer_bytes = 4096, .cpu = -1};
    struct store_tester          *c      = ctx;
    char                          why[128];
    struct core                  *core   = core_new(process);
    int                           result = io_open(&config, &c->io, why, sizeof why);
    if (result == 0) {
        core_run(core, c, turn);
    }
    return result;
}

static void destroy(void *ctx)
{
    struct store_tester *c = ctx;
    frame_reader_fini(&c->reader);
    wire_writer_fini(&c->out);
    wire_writer_fini(&c->flying);
}

void store_tester_start(struct store_tester *c, struct world *world, uint32_t stripe_count)
{
    *c                             = (struct store_tester){.world        = world,
                                                           .stripe_count = stripe_count,
                                                           .window       = (uint32_t)world_between(world, SALT_SCENARIO, 1, 12),
                                                           .large_one_in = (uint32_t)world_between(world, SALT_SCENARIO, 10, 60),
                                                           .again_one_in = 2,
                                                           .instance     = rand_u64(world_rand(world, SALT_SCENARIO)) | 1,
                                                           .out          = wire_writer_growing(64u << 20),
                                                           .flying       = wire_writer_growing(64u << 20)};
    const struct process_spec spec = {"client", start, destroy, NULL, c};
    c->process                     = process_new(machine_new(world, "client", 0), &spec);
    sim_check(world, process_start(c->process) == 0, "the client starts");
}

void store_tester_want(struct store_tester *c, uint32_t stripe, uint64_t count)
{
    c->stripes[stripe].wanted = count;
}

void store_tester_trim(struct store_tester *c, uint32_t stripe, uint64_t offset)
{
    struct tester_stripe *s = &c->stripes[stripe];
    s->trim_sent            = offset > s->trim_sent ? offset : s->trim_sent;
}

bool store_tester_answered(void *ctx)
{
    const struct store_tester *c = ctx;
    for (uint32_t i = 0; i < c->stripe_count; i++) {
        const struct tester_stripe *s = &c->stripes[i];
        if (!s->unavailable && (s->answered < s->wanted || s->trimmed < s->trim_sent)) {
            return false;
        }
    }
    return true;
}

bool store_tester_done(void *ctx)
{
    const struct store_tester *c = ctx;
    for (uint32_t i = 0; i < c->stripe_count; i++) {
        const struct tester_stripe *s = &c->stripes[i];
        if (!s->unavailable && (!s->following || (s->next < s->answered && !s->gaps && s->trim_sent < s->answered))) {
            return false;
        }
    }
    return c->connected && store_tester_answered(ctx);
}

static bool scan_done(void *ctx)
{
    return ((struct store_tester *)ctx)->scanned_all;
}

static bool is_connected(void *ctx)
{
    return ((struct store_tester *)ctx)->connected;
}

void store_tester_check_tables(struct store_tester *c)
{
    c->stop = true;
    for (int tries = 0; tries < 20; tries++) { /* a connection may break in between */
        sim_check(c->world, world_run_until(c->world, is_connected, c, CHECK_WAIT_S * SIM_S),
                  "the client is connected");
        c->scanned_all = false;
        c->scan_number++;
        memset(c->scanned, 0, sizeof c->scanned);
        send_scan(c, 0, (struct bytes){0});
        if (world_run_until(c->world, scan_done, c, 10 * SIM_S)) {
            break;
        }
    }
    sim_check(c->world, c->scanned_all, "the tables are read");
    for (uint32_t i = 0; i < c->stripe_count; i++) {
        const struct tester_stripe *s = &c->stripes[i];
        sim_check(c->world, s->unavailable || s->gaps || c->scanned[i] >= s->answered,
                  "stripe %u has %llu keys, %llu were acknowledged", i, (unsigned long long)c->scanned[i],
                  (unsigned long long)s->answered);
    }
    c->stop = false;
}

void store_tester_end(struct store_tester *c)
{
    process_crash(c->process);
}
