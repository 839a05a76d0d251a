/* client.c - requests, answers, and what they must be. */
#include "tests/crash/client.h"

#include "shared/base/err.h"
#include "shared/base/rand.h"
#include "shared/loop/io.h"
#include "shared/record/record.h"
#include "shared/rpc/op.h"
#include "shared/rpc/schema.h"
#include "tests/crash/trace.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { TABLE = 7, LARGE_BYTES = 200000, TRIM_EVERY = 16, READ_RECORDS = 50 };
enum { INSTANCE = 4711, OWNER = 1, ID_ASKED = 1ull << 62 };

static uint8_t the_payload[LARGE_BYTES];

static void PRINTF_LIKE(2, 3) wrong(struct client *c, const char *format, ...)
{
    if (c->wrong[0] == '\0') {
        va_list args;
        va_start(args, format);
        vsnprintf(c->wrong, sizeof c->wrong, format, args);
        va_end(args);
    }
}

/* What record n of a stripe holds: the same at every try. */
static struct record record_of(const struct client *c, uint32_t stripe, uint64_t n)
{
    struct rand random;
    rand_init(&random, c->seed, stripe * 1000003u + n);
    size_t size = (size_t)rand_below(&random, rand_chance(&random, 40) ? LARGE_BYTES : 5000);
    for (size_t at = 0; at < size; at++) {
        the_payload[at] = (uint8_t)(at * 31 + n * 7 + stripe);
    }
    return (struct record){
        .qos = 1, .publish_wall_ns = n, .topic = bytes_str("a/b"), .payload = bytes_of(the_payload, size)};
}

/* What transactions below n have trimmed. */
static uint64_t trimmed_by(uint64_t n)
{
    uint64_t last =
        n / TRIM_EVERY * TRIM_EVERY; /* the highest multiple that is below n, which is number last - 1 + 1 */
    last = last == n && last != 0 ? last - TRIM_EVERY : last;
    return last > CLIENT_KEEP ? last - CLIENT_KEEP : 0;
}

/* ---- frames ---- */

static size_t txn_begin(struct client *c, uint32_t stripe, uint64_t id)
{
    size_t begun = frame_begin(&c->out, RPC_TXN, id);
    wire_put_u16(&c->out, (uint16_t)stripe);
    wire_put_u16(&c->out, 0);
    wire_put_u64(&c->out, c->stripes[stripe].term);
    return begun;
}

static void end(struct client *c, size_t begun)
{
    int error = frame_end(&c->out, begun);
    ASSERT(error == 0);
}

static void send_txn(struct client *c, uint32_t stripe)
{
    struct client_stripe *s = &c->stripes[stripe];
    uint64_t              n = s->sent++;
    char                  key[24], value[24];
    struct record         record = record_of(c, stripe, n);
    size_t                begun  = txn_begin(c, stripe, (uint64_t)stripe << 40 | n);
    size_t                append = op_append_begin(&c->out, 1 + stripe, 1, n + 1);
    op_append_target(&c->out, s->stream_id, (struct bytes){0});
    op_append_end(&c->out, append, 1, &record);
    snprintf(key, sizeof key, "%llu", (unsigned long long)(n % CLIENT_KEYS));
    snprintf(value, sizeof value, "%llu", (unsigned long long)n);
    op_encode(&c->out,
              &(struct op){.kind = OP_TABLE_PUT, .table = TABLE, .name = bytes_str(key), .value = bytes_str(value)});
    if (n % TRIM_EVERY == 0 && n > CLIENT_KEEP) {
        op_encode(&c->out, &(struct op){.kind = OP_TRIM, .stream_id = s->stream_id, .offset = n - CLIENT_KEEP});
    }
    end(c, begun);
    trace_note(TRACE_SENT, stripe, n);
}

static void on_txn_done(struct client *c, uint64_t id, struct wire_reader *r)
{
    uint32_t              stripe = (uint32_t)(id >> 40);
    uint64_t              n      = id & 0xffffffffff;
    struct client_stripe *s      = &c->stripes[stripe];
    int                   status = (int)wire_get_u32(r);
    if (status < 0) {
        wrong(c, "transaction %llu of stripe %u is refused: %s", (unsigned long long)n, stripe, err_name(status));
        return;
    }
    bool duplicate = wire_get_u8(r) != 0;
    (void)wire_get_u32(r);
    uint64_t offset = wire_get_u64(r);
    if (duplicate || offset != n || n != s->acked) {
        wrong(c, "record %llu of stripe %u is acknowledged at offset %llu, behind %llu%s", (unsigned long long)n,
              stripe, (unsigned long long)offset, (unsigned long long)s->acked, duplicate ? ", as a duplicate" : "");
    }
    s->acked = n + 1;
    trace_note(TRACE_ACK, stripe, n);
}

static void on_welcome(struct client *c, struct wire_reader *r)
{
    (void)wire_get(r, 2 + 2 + 8 + 4 + 4 + 4 + 4 + 4);
    (void)wire_get_u16(r); /* it stands alone: no nodes follow */
    (void)wire_get_u16(r);
    for (uint16_t count = wire_get_u16(r); count > 0; count--) {
        uint16_t stripe = wire_get_u16(r);
        (void)wire_get_u16(r);
        uint64_t term = wire_get_u64(r);
        if (stripe < CLIENT_STRIPES) {
            c->stripes[stripe].term = term;
        }
    }
    c->welcome = !r->bad;
}

static void on_frame(struct client *c, const struct frame *frame)
{
    struct wire_reader r = wire_reader_of(frame->body);
    if (frame->kind == RPC_PING) {
        end(c, frame_begin(&c->out, RPC_PONG, frame->id));
    } else if (frame->kind == RPC_WELCOME) {
        on_welcome(c, &r);
    } else if (frame->id == ID_ASKED) {
        c->answered    = true;
        c->answer_kind = frame->kind;
        c->body.size   = 0;
        wire_put_bytes(&c->body, frame->body);
    } else if (frame->kind == RPC_TXN_DONE) {
        on_txn_done(c, frame->id, &r);
    } else if (frame->kind == RPC_ERROR) {
        int status = (int)wire_get_u32(&r);
        wrong(c, "the store answers with an error: %s", err_name(status));
    }
}

/* ---- the connection ---- */

static void on_connected(void *ctx, int result)
{
    struct client *c = ctx;
    if (result < 0) {
        c->socket = NULL;
        wrong(c, "cannot connect: %s", err_name(result));
        return;
    }
    size_t begun = frame_begin(&c->out, RPC_HELLO, 0);
    wire_put_u32(&c->out, RPC_MAGIC);
    wire_put_u16(&c->out, RPC_VERSION_MAJOR);
    wire_put_u16(&c->out, RPC_VERSION_MINOR);
    wire_put_u64(&c->out, INSTANCE);
    wire_put_u64(&c->out, OWNER);
    wire_put_u32(&c->out, 0);
    end(c, begun);
}

static void on_received(void *ctx, struct bytes data)
{
    struct client *c = ctx;
    struct frame   frame;
    int            got;
    frame_reader_feed(&c->reader, data);
    while ((got = frame_reader_next(&c->reader, &frame)) == 1) {
        on_frame(c, &frame);
    }
    if (got < 0) {
        wrong(c, "the store sent a damaged frame");
    }
}

static void on_sent(void *ctx, int result)
{
    struct client *c = ctx;
    (void)result;
    c->sending     = false;
    c->flying.size = 0;
}

static void on_closed(void *ctx, int reason)
{
    struct client *c = ctx;
    (void)reason;
    c->socket = NULL;
    wrong(c, "the store closed the connection");
}

static const struct io_handler handler = {
    .connected = on_connected, .received = on_received, .sent = on_sent, .closed = on_closed};

void client_open(struct client *c, struct io *io, uint16_t port)
{
    c->io      = io;
    c->out     = wire_writer_growing(64u << 20);
    c->flying  = wire_writer_growing(64u << 20);
    c->body    = wire_writer_growing(64u << 20);
    c->welcome = false;
    c->socket  = io_connect(io, "127.0.0.1", port, &handler, c);
}

void client_turn(struct client *c)
{
    if (c->socket == NULL || c->sending || c->out.size == 0) {
        return;
    }
    struct wire_writer empty = c->flying;
    c->flying                = c->out;
    c->out                   = empty;
    c->sending               = true;
    struct iovec iov         = {c->flying.data, c->flying.size};
    io_socket_send(c->socket, &iov, 1);
}

void client_fini(struct client *c)
{
    if (c->socket != NULL) {
        io_socket_close(c->socket);
        c->socket = NULL;
    }
    c->sending = false;
    frame_reader_fini(&c->reader);
    wire_writer_fini(&c->out);
    wire_writer_fini(&c->flying);
    wire_writer_fini(&c->body);
}

/* ---- writing ---- */

/* The answer's body, of this kind; a bad reader when there is none. */
static struct wire_reader ask(struct client *c, uint16_t kind, void (*turn)(void *ctx), void *ctx)
{
    c->answered = false;
    while (c->wrong[0] == '\0' && !c->answered) {
        turn(ctx);
    }
    struct wire_reader r = wire_reader_of(wire_written(&c->body));
    if (c->answered && c->answer_kind != kind) {
        int status = (int)wire_get_u32(&r);
        wrong(c, "it is refused: %s", err_name(status));
    }
    r.bad = c->wrong[0] != '\0';
    return r;
}

/* STREAM_CREATE and one TABLE_GET per key, as one transaction. */
static struct wire_reader ask_all(struct client *c, uint32_t stripe, void (*turn)(void *ctx), void *ctx)
{
    size_t begun = txn_begin(c, stripe, ID_ASKED);
    op_encode(&c->out, &(struct op){.kind = OP_STREAM_CREATE, .name = bytes_str("the stream")});
    for (unsigned i = 0; i < CLIENT_KEYS; i++) {
        char key[24];
        snprintf(key, sizeof key, "%u", i);
        op_encode(&c->out, &(struct op){.kind = OP_TABLE_GET, .table = TABLE, .name = bytes_str(key)});
    }
    end(c, begun);
    struct wire_reader r      = ask(c, RPC_TXN_DONE, turn, ctx);
    int                status = r.bad ? 0 : (int)wire_get_u32(&r);
    if (status < 0) {
        wrong(c, "stripe %u cannot be read: %s", stripe, err_name(status));
        r.bad = true;
    }
    return r;
}

static bool window_open(const struct client *c)
{
    for (uint32_t i = 0; i < CLIENT_STRIPES; i++) {
        if (c->stripes[i].acked < c->want) {
            return true;
        }
    }
    return false;
}

void client_write(struct client *c, uint64_t want, void (*turn)(void *ctx), void *ctx)
{
    c->want = want;
    while (!c->welcome && c->wrong[0] == '\0') {
        turn(ctx);
    }
    for (uint32_t i = 0; i < CLIENT_STRIPES && c->wrong[0] == '\0'; i++) {
        struct wire_reader r    = ask_all(c, i, turn, ctx);
        c->stripes[i].stream_id = wire_get_u64(&r);
    }
    while (c->wrong[0] == '\0' && window_open(c)) {
        for (uint32_t i = 0; i < CLIENT_STRIPES; i++) {
            while (c->stripes[i].sent < want && c->stripes[i].sent < c->stripes[i].acked + CLIENT_WINDOW) {
                send_txn(c, i);
            }
        }
        turn(ctx);
    }
}

/* ---- checking ---- */

static void check_keys(struct client *c, uint32_t stripe, uint64_t n, struct wire_reader *r)
{
    for (uint64_t i = 0; i < CLIENT_KEYS; i++) {
        uint64_t     version = wire_get_u64(r);
        struct bytes value   = wire_get_blob(r);
        char         expected[24];
        uint64_t last = n == 0 ? 0 : (n - 1) - (n - 1 + CLIENT_KEYS - i) % CLIENT_KEYS; /* the newest put of the key */
        bool     none = n <= i;
        snprintf(expected, sizeof expected, "%llu", (unsigned long long)last);
        if (none ? version != 0 : !bytes_equal(value, bytes_str(expected))) {
            wrong(c, "stripe %u holds %llu transactions, but key %llu is \"%.*s\" and not \"%s\"", stripe,
                  (unsigned long long)n, (unsigned long long)i, (int)value.size, (const char *)value.data,
                  none ? "" : expected);
        }
    }
}

/* One record of READ_DONE. */
static void check_record(struct client *c, uint32_t stripe, uint64_t expected_offset, struct wire_reader *r)
{
    uint64_t offset = wire_get_u64(r);
    (void)wire_get(r, wire_get_u8(r));
    struct record record;
    int64_t       size = r->bad ? -1 : record_decode(bytes_of(r->at, wire_left(r)), &record);
    if (size < 0 || offset != expected_offset) {
        wrong(c, "where record %llu of stripe %u should be is %llu%s", (unsigned long long)expected_offset, stripe,
              (unsigned long long)offset, size < 0 ? ", damaged" : "");
        return;
    }
    (void)wire_get(r, (size_t)size);
    if (record.publish_wall_ns != offset || !bytes_equal(record_of(c, stripe, offset).payload, record.payload)) {
        wrong(c, "record %llu of stripe %u has another content", (unsigned long long)offset, stripe);
    }
}

static void check_records(struct client *c, uint32_t stripe, uint64_t from, uint64_t n, void (*turn)(void *ctx),
                          void *ctx)
{
    while (from < n && c->wrong[0] == '\0') {
        size_t begun = frame_begin(&c->out, RPC_READ, ID_ASKED);
        wire_put_u64(&c->out, c->stripes[stripe].stream_id);
        wire_put_u64(&c->out, from);
        wire_put_u32(&c->out, READ_RECORDS);
        wire_put_u32(&c->out, 1u << 20);
        end(c, begun);
        struct wire_reader r = ask(c, RPC_READ_DONE, turn, ctx);
        (void)wire_get(&r, 8 + 8);
        uint32_t count = wire_get_u32(&r);
        if (count == 0) {
            wrong(c, "record %llu of stripe %u is not there, of %llu", (unsigned long long)from, stripe,
                  (unsigned long long)n);
        }
        for (; count > 0 && c->wrong[0] == '\0'; count--) {
            check_record(c, stripe, from++, &r);
        }
    }
}

bool client_check(struct client *c, void (*turn)(void *ctx), void *ctx)
{
    while (!c->welcome && c->wrong[0] == '\0') {
        turn(ctx);
    }
    for (uint32_t i = 0; i < CLIENT_STRIPES && c->wrong[0] == '\0'; i++) {
        struct client_stripe *s = &c->stripes[i];
        struct wire_reader    r = ask_all(c, i, turn, ctx);
        s->stream_id            = wire_get_u64(&r);
        (void)wire_get_u8(&r);
        uint64_t start = wire_get_u64(&r);
        uint64_t n     = wire_get_u64(&r);
        (void)wire_get_u64(&r);
        if (r.bad || c->wrong[0] != '\0') {
            wrong(c, "stripe %u does not answer as it should", i);
            return false;
        }
        if (n < s->acked || n > s->sent) {
            wrong(c, "stripe %u holds %llu transactions: %llu were acknowledged and %llu asked for", i,
                  (unsigned long long)n, (unsigned long long)s->acked, (unsigned long long)s->sent);
        }
        if (start != trimmed_by(n)) {
            wrong(c, "the stream of stripe %u begins at %llu and not at %llu", i, (unsigned long long)start,
                  (unsigned long long)trimmed_by(n));
        }
        check_keys(c, i, n, &r);
        check_records(c, i, start, n, turn, ctx);
        s->acked = s->sent = n;
    }
    return c->wrong[0] == '\0';
}
