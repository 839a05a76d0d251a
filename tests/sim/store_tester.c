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

enum { AGAIN_MS = 100 };

/* number: for transactions their round, 16 bits, and 24 bits of what they are. */
static uint64_t id_of(enum what what, uint32_t stripe, uint64_t number)
{
    return (uint64_t)what << 56 | (uint64_t)stripe << 48 | number;
}

static uint64_t txn_id(const struct store_tester *c, enum what what, uint32_t stripe, uint64_t n)
{
    return id_of(what, stripe, (uint64_t)c->stripes[stripe].round << 24 | n);
}

/* The node that leads a stripe when it is connected, else NULL. */
static struct tester_node *leader_of(struct store_tester *c, uint32_t stripe)
{
    for (uint32_t i = 0; i < c->node_count; i++) {
        struct tester_node *node = &c->nodes[i];
        if (node->connected && node->id == c->stripes[stripe].leader) {
            return node;
        }
    }
    return NULL;
}

static void begin(struct tester_node *node, uint16_t kind, uint64_t id, size_t *out_begun)
{
    *out_begun = frame_begin(&node->out, kind, id);
}

static void end(struct tester_node *node, size_t begun)
{
    sim_check(node->client->world, frame_end(&node->out, begun) == 0, "a request fits a frame");
}

/* Byte i of it is 31 * (start + i), for as long as the longest payload from any start: every payload is a piece of it. */
static const uint8_t *the_payload(uint64_t start)
{
    static uint8_t bytes[LARGE_BYTES + 256]; /* the same whenever it is made */
    if (bytes[1] == 0) {
        for (size_t at = 0; at < sizeof bytes; at++) {
            bytes[at] = (uint8_t)(at * 31);
        }
    }
    return bytes + start % 256;
}

/* What record n of a stripe holds: the same at every try. */
static struct record record_of(const struct store_tester *c, uint32_t stripe, uint64_t n)
{
    struct rand random;
    rand_init(&random, c->world->seed, stripe * 1000003u + n);
    bool   large = c->large_one_in != 0 && rand_chance(&random, c->large_one_in);
    size_t size  = large ? LARGE_BYTES : (size_t)rand_below(&random, 3000);
    /* 223 is the inverse of 31 modulo 256: the first byte is 7 * n + stripe. */
    return (struct record){.qos             = 1,
                           .publish_wall_ns = n,
                           .topic           = bytes_str("a/b"),
                           .payload         = bytes_of(the_payload((n * 7 + stripe) * 223), size)};
}

/* ---- requests ---- */

static void txn_begin(struct tester_node *node, uint32_t stripe, uint64_t id, size_t *out_begun)
{
    struct tester_stripe *s = &node->client->stripes[stripe];
    begin(node, RPC_TXN, id, out_begun);
    wire_put_u16(&node->out, (uint16_t)stripe);
    wire_put_u16(&node->out, s->round);
    wire_put_u64(&node->out, s->term);
    s->open++;
}

static void send_create(struct tester_node *node, uint32_t stripe)
{
    struct store_tester *c = node->client;
    size_t               begun;
    txn_begin(node, stripe, txn_id(c, WHAT_CREATE, stripe, 0), &begun);
    struct op op = {.kind  = OP_STREAM_CREATE,
                    .flags = world_chance(c->world, SALT_LIMITS, 2) ? STREAM_QUEUE : 0,
                    .name  = bytes_str("the stream")};
    op_encode(&node->out, &op);
    end(node, begun);
    c->stripes[stripe].creating = true;
}

static void send_txn(struct tester_node *node, uint32_t stripe, uint64_t n)
{
    struct store_tester *c = node->client;
    char                 key[24];
    size_t               begun;
    struct record        record = record_of(c, stripe, n);
    snprintf(key, sizeof key, "%08llu", (unsigned long long)n);
    txn_begin(node, stripe, txn_id(c, WHAT_TXN, stripe, n), &begun);
    size_t append = op_append_begin(&node->out, 1 + stripe, 1, n + 1);
    op_append_target(&node->out, c->stripes[stripe].stream_id, bytes_str(key));
    op_append_end(&node->out, append, 1, &record);
    struct op put = {.kind = OP_TABLE_PUT, .table = TABLE, .name = bytes_str(key), .value = bytes_str("there")};
    op_encode(&node->out, &put);
    end(node, begun);
}

static void send_trim(struct tester_node *node, uint32_t stripe)
{
    struct tester_stripe *s = &node->client->stripes[stripe];
    size_t                begun;
    txn_begin(node, stripe, txn_id(node->client, WHAT_TRIM, stripe, s->trim_sent), &begun);
    struct op op = {.kind = OP_TRIM, .stream_id = s->stream_id, .offset = s->trim_sent};
    op_encode(&node->out, &op);
    end(node, begun);
}

static void send_follow(struct tester_node *node, uint32_t stripe)
{
    struct store_tester  *c = node->client;
    struct tester_stripe *s = &c->stripes[stripe];
    size_t                begun;
    if (world_chance(c->world, SALT_SCENARIO, c->again_one_in)) {
        s->next = 0;
    }
    begin(node, RPC_FOLLOW, id_of(WHAT_FOLLOW, stripe, ++s->follows), &begun);
    wire_put_u64(&node->out, s->stream_id);
    wire_put_u64(&node->out, 1);
    wire_put_u64(&node->out, s->next);
    wire_put_u32(&node->out, CREDIT);
    end(node, begun);
    s->following = true;
}

/* From there on: the stripes left that are led where that one is. */
static void send_scan(struct store_tester *c, uint16_t after_stripe, struct bytes after)
{
    size_t              begun;
    uint32_t            count = 0;
    struct tester_node *node  = leader_of(c, after_stripe);
    sim_check(c->world, after.size <= sizeof c->scan_after, "a key of ours");
    c->scan_stripe     = after_stripe;
    c->scan_after_size = after.size;
    if (after.size != 0) {
        memmove(c->scan_after, after.data, after.size);
    }
    c->scan_again_ns = node == NULL ? io_now_ns(c->io) + AGAIN_MS * SIM_MS : 0;
    c->scan_node     = node;
    if (node == NULL) {
        return;
    }
    c->scan_asked = 0;
    for (uint32_t i = after_stripe; i < c->stripe_count; i++) {
        bool here = (c->scan_left & 1u << i) != 0 && c->stripes[i].leader == node->id;
        c->scan_asked |= here ? 1u << i : 0;
        count += here;
    }
    begin(node, RPC_SCAN, id_of(WHAT_SCAN, 0, c->scan_number), &begun);
    wire_put_u16(&node->out, RPC_STRIPE_ALL);
    wire_put_u8(&node->out, RPC_SCAN_PREFIX);
    wire_put_u8(&node->out, 0);
    wire_put_u32(&node->out, TABLE);
    wire_put_u32(&node->out, 100);
    wire_put_u32(&node->out, 2000);
    wire_put_blob(&node->out, (struct bytes){0});
    wire_put_u16(&node->out, after_stripe);
    wire_put_blob(&node->out, after);
    wire_put_u32(&node->out, 2 * count);
    for (uint32_t i = 0; i < c->stripe_count; i++) {
        if ((c->scan_asked & 1u << i) != 0) {
            wire_put_u16(&node->out, (uint16_t)i);
        }
    }
    end(node, begun);
}

/* ---- leaders ---- */

/* What was under way for a stripe is sent again, in its order; in a new round, as its answers may still come. */
static void start_over(struct tester_stripe *s)
{
    s->sent        = s->answered;
    s->open        = 0;
    s->held        = false;
    s->creating    = false;
    s->following   = false;
    s->unavailable = false;
    s->round++;
}

static void on_leaders(struct store_tester *c, struct wire_reader *r)
{
    uint16_t count = wire_get_u16(r);
    for (uint16_t i = 0; i < count; i++) {
        uint16_t stripe = wire_get_u16(r);
        uint16_t leader = wire_get_u16(r);
        uint64_t term   = wire_get_u64(r);
        sim_check(c->world, !r->bad && stripe < c->stripe_count, "a leader of stripe %u", stripe);
        struct tester_stripe *s = &c->stripes[stripe];
        sim_check(c->world, term != s->term || s->leader == 0 || leader == 0 || leader == s->leader,
                  "nodes %u and %u lead stripe %u in term %llu", leader, s->leader, stripe, (unsigned long long)term);
        if (term > s->term || (term == s->term && s->leader == 0 && leader != 0)) {
            s->term   = term;
            s->leader = leader;
            c->changes++;
            start_over(s);
        }
    }
    sim_check(c->world, !r->bad && wire_left(r) == 0, "the list of leaders is whole");
}

static void on_welcome(struct tester_node *node, struct wire_reader *r)
{
    struct store_tester *c = node->client;
    (void)wire_get(r, 2 + 2 + 8 + 4 + 4 + 4 + 4 + 4);
    node->id        = wire_get_u16(r);
    node->connected = true;
    uint16_t count  = wire_get_u16(r);
    for (uint16_t i = 0; i < count && !r->bad; i++) {
        (void)wire_get(r, 2 + 2);
        (void)wire_get_blob(r);
    }
    for (uint32_t i = 0; i < c->stripe_count; i++) { /* what was sent to it before has no answer any more */
        if (c->stripes[i].leader == node->id) {
            start_over(&c->stripes[i]);
        }
    }
    on_leaders(c, r);
}

/* ---- answers ---- */

static void on_txn_refused(struct store_tester *c, struct tester_stripe *s, enum what what, uint64_t n, int status,
                           bool refusing)
{
    if (status == ERR_UNAVAILABLE) {
        s->unavailable = true;
    } else if (status == ERR_NOT_LEADER) {
        start_over(s);
        s->later_ns = io_now_ns(c->io) + AGAIN_MS * SIM_MS;
    } else if (status == ERR_DISK_FULL) {
        s->refused_full++;
        s->held     = s->held || refusing;
        s->later_ns = io_now_ns(c->io) + 400 * SIM_MS;
        s->creating = s->creating && what != WHAT_CREATE;
        if (what == WHAT_TXN && n < s->sent) { /* it and those behind it again, later */
            s->sent = n;
        }
    } else {
        sim_fail(c->world, "transaction %llu is refused: %s", (unsigned long long)n, err_name(status));
    }
}

static void on_txn_done(struct store_tester *c, uint64_t id, struct wire_reader *r)
{
    uint32_t              stripe = (uint32_t)(id >> 48) & 0xff;
    uint64_t              n      = id & 0xffffff;
    struct tester_stripe *s      = &c->stripes[stripe];
    enum what             what   = (enum what)(id >> 56);
    int                   status = (int)wire_get_u32(r);
    if ((uint16_t)(id >> 24) != s->round) {
        return; /* sent again since */
    }
    s->open--;
    if (status < 0) {
        on_txn_refused(c, s, what, n, status, wire_get_u8(r) != 0);
        return;
    }
    switch (what) {
    case WHAT_CREATE:
        s->stream_id = wire_get_u64(r);
        s->creating  = false;
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
        sim_check(c->world, n == s->answered, "answers of one stripe come in order: %llu behind %llu",
                  (unsigned long long)n, (unsigned long long)s->answered);
        s->answered = n + 1;
        break;
    }
    case WHAT_HELLO:
    case WHAT_FOLLOW:
    case WHAT_SCAN:
        sim_fail(c->world, "TXN_DONE for a request that was none");
    }
}

static void on_records(struct tester_node *node, uint64_t id, struct wire_reader *r)
{
    struct store_tester  *c      = node->client;
    uint32_t              stripe = (uint32_t)(id >> 48) & 0xff;
    struct tester_stripe *s      = &c->stripes[stripe];
    uint32_t              count  = wire_get_u32(r);
    uint64_t              last   = wire_get_u64(r);
    if ((id & 0xffffffffffff) != s->follows || !s->following) {
        return; /* followed elsewhere since */
    }
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
        struct record expected = record_of(c, stripe, n);
        char          key[24];
        snprintf(key, sizeof key, "%08llu", (unsigned long long)n);
        sim_check(c->world, bytes_equal(expected.payload, record.payload) && bytes_equal(tag, bytes_str(key)),
                  "record %llu of stripe %u has another content", (unsigned long long)n, stripe);
        s->next = offset + 1;
        s->seen = s->next > s->seen ? s->next : s->seen;
    }
    sim_check(c->world, !r->bad && wire_left(r) == 0, "RECORDS is whole");
    size_t begun;
    begin(node, RPC_CREDIT, id, &begun);
    wire_put_u32(&node->out, count);
    end(node, begun);
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
    uint16_t     after_stripe = more ? wire_get_u16(r) : (uint16_t)c->stripe_count;
    struct bytes after        = more ? wire_get_blob(r) : (struct bytes){0};
    sim_check(c->world, !r->bad && wire_left(r) == 0, "SCAN_DONE is whole");
    c->scan_left &= ~(c->scan_asked & ((1u << after_stripe) - 1));
    if (after.size != 0) {
        send_scan(c, after_stripe, after);
    } else if (c->scan_left != 0) {
        send_scan(c, (uint16_t)__builtin_ctz(c->scan_left), after);
    } else {
        c->scanned_all = true;
    }
}

static void follow_refused(struct store_tester *c, struct tester_stripe *s)
{
    s->following = false;
    s->follow_ns = io_now_ns(c->io) + AGAIN_MS * SIM_MS;
}

static void on_error(struct store_tester *c, uint64_t id, struct wire_reader *r)
{
    int                   status = (int)wire_get_u32(r);
    struct tester_stripe *s      = &c->stripes[(uint32_t)(id >> 48) & 0xff];
    switch ((enum what)(id >> 56)) {
    case WHAT_FOLLOW:
        if ((id & 0xffffffffffff) != s->follows) {
            return;
        }
        if (status == ERR_NOT_LEADER) {
            follow_refused(c, s);
            return;
        }
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
        if (status == ERR_NOT_LEADER) {
            bool awaited     = id == id_of(WHAT_SCAN, 0, c->scan_number);
            c->scan_again_ns = awaited ? io_now_ns(c->io) + AGAIN_MS * SIM_MS : c->scan_again_ns;
            c->scan_node     = awaited ? NULL : c->scan_node;
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

static void on_ended(struct store_tester *c, uint64_t id, struct wire_reader *r)
{
    struct tester_stripe *s      = &c->stripes[(uint32_t)(id >> 48) & 0xff];
    int                   status = (int)wire_get_u32(r);
    if ((id & 0xffffffffffff) != s->follows) {
        return;
    }
    if (status == ERR_NOT_LEADER) {
        follow_refused(c, s);
        return;
    }
    sim_check(c->world, status == ERR_CORRUPT && c->may_rot, "a follow ended"); /* a record has rotted */
    s->unavailable = true;
    c->rotten      = true;
}

static void disconnected(struct tester_node *node)
{
    struct store_tester *c = node->client;
    node->socket           = NULL;
    node->connected        = false;
    node->greeted          = false;
    node->sending          = false;
    node->out.size         = 0;
    node->retry_ns         = io_now_ns(c->io) + world_between(c->world, SALT_SCENARIO, SIM_MS, 50 * SIM_MS);
    frame_reader_fini(&node->reader);
    for (uint32_t i = 0; i < c->stripe_count; i++) {
        if (c->stripes[i].leader == node->id) {
            start_over(&c->stripes[i]);
        }
    }
    if (c->scan_node == node) {
        c->scan_node     = NULL;
        c->scan_again_ns = io_now_ns(c->io) + AGAIN_MS * SIM_MS;
    }
}

static void on_frame(struct tester_node *node, const struct frame *frame)
{
    struct store_tester *c = node->client;
    struct wire_reader   r = wire_reader_of(frame->body);
    switch (frame->kind) {
    case RPC_WELCOME:
        on_welcome(node, &r);
        break;
    case RPC_LEADERS:
        on_leaders(c, &r);
        break;
    case RPC_TXN_DONE:
        on_txn_done(c, frame->id, &r);
        break;
    case RPC_RECORDS:
        on_records(node, frame->id, &r);
        break;
    case RPC_SCAN_DONE:
        if (frame->id == id_of(WHAT_SCAN, 0, c->scan_number)) {
            c->scan_node = NULL;
            on_scan(c, &r);
        }
        break;
    case RPC_ERROR:
        on_error(c, frame->id, &r);
        break;
    case RPC_ENDED:
        on_ended(c, frame->id, &r);
        break;
    case RPC_PING: {
        size_t begun;
        begin(node, RPC_PONG, frame->id, &begun);
        end(node, begun);
        break;
    }
    case RPC_PONG:
        break;
    default:
        sim_fail(c->world, "an answer of kind %u", frame->kind);
    }
}

static void on_received(void *ctx, struct bytes data)
{
    struct tester_node *node = ctx;
    struct frame        frame;
    int                 result;
    node->heard_ns = io_now_ns(node->client->io);
    frame_reader_feed(&node->reader, data);
    while ((result = frame_reader_next(&node->reader, &frame)) == 1) {
        on_frame(node, &frame);
    }
    sim_check(node->client->world, result == 0, "frames arrive whole");
}

static void on_sent(void *ctx, int result)
{
    struct tester_node *node = ctx;
    (void)result;
    node->sending = false;
}

static void on_closed(void *ctx, int reason)
{
    (void)reason;
    disconnected(ctx);
}

static void on_connected(void *ctx, int result)
{
    struct tester_node *node = ctx;
    if (result < 0) {
        disconnected(node);
        return;
    }
    size_t begun;
    node->greeted  = true;
    node->heard_ns = io_now_ns(node->client->io);
    begin(node, RPC_HELLO, id_of(WHAT_HELLO, 0, 0), &begun);
    wire_put_u32(&node->out, RPC_MAGIC);
    wire_put_u16(&node->out, RPC_VERSION_MAJOR);
    wire_put_u16(&node->out, RPC_VERSION_MINOR);
    wire_put_u64(&node->out, node->client->instance);
    wire_put_u64(&node->out, 1);
    wire_put_u32(&node->out, 0);
    end(node, begun);
}

static const struct io_handler handler = {
    .connected = on_connected, .received = on_received, .sent = on_sent, .closed = on_closed};

/* ---- the process ---- */

static void pump(struct store_tester *c, uint32_t stripe)
{
    struct tester_stripe *s    = &c->stripes[stripe];
    struct tester_node   *node = leader_of(c, stripe);
    uint64_t              now  = io_now_ns(c->io);
    if (node == NULL || s->unavailable || (s->held && s->open != 0)) {
        return;
    }
    s->round += s->held;
    s->held = false;
    if (s->stream_id == 0) {
        if (!s->creating && now >= s->later_ns) {
            send_create(node, stripe);
        }
        return;
    }
    if (!s->following && now >= s->follow_ns) {
        send_follow(node, stripe);
    }
    while (!c->stop && now >= s->later_ns && s->sent < s->wanted && s->sent < s->answered + c->window) {
        send_txn(node, stripe, s->sent++);
    }
    if (s->trim_sent > s->trimmed && now >= s->trim_ns && now >= s->later_ns) {
        s->trim_ns = now + 100 * SIM_MS;
        send_trim(node, stripe);
    }
}

static void node_turn_of(struct tester_node *node)
{
    struct store_tester *c   = node->client;
    uint64_t             now = io_now_ns(c->io);
    if (node->socket == NULL && now >= node->retry_ns) {
        node->socket = io_connect(c->io, node->name, PORT, &handler, node);
    }
    if (node->greeted &&
        now >= node->heard_ns + SILENCE_S * SIM_S) { /* nor does it when it does not take what is sent */
        io_socket_close(node->socket);
        disconnected(node);
    }
    if (node->greeted && now >= node->ping_ns) { /* a store that lost power says nothing until it is asked */
        size_t begun;
        begin(node, RPC_PING, 0, &begun);
        end(node, begun);
        node->ping_ns = now + SIM_S;
    }
    if (node->socket != NULL && !node->sending && node->out.size > 0) {
        struct wire_writer empty = node->flying;
        empty.size               = 0;
        node->flying             = node->out;
        node->out                = empty;
        struct iovec iov         = {node->flying.data, node->flying.size};
        node->sending            = true;
        io_socket_send(node->socket, &iov, 1);
    }
}

static uint64_t turn(void *ctx)
{
    struct store_tester *c    = ctx;
    uint64_t             next = io_now_ns(c->io) + 20 * SIM_MS;
    for (uint32_t i = 0; i < c->stripe_count; i++) {
        pump(c, i);
    }
    if (c->scan_again_ns != 0 && io_now_ns(c->io) >= c->scan_again_ns) {
        send_scan(c, c->scan_stripe, bytes_of(c->scan_after, c->scan_after_size));
    }
    for (uint32_t i = 0; i < c->node_count; i++) {
        struct tester_node *node = &c->nodes[i];
        node_turn_of(node);
        next = node->socket == NULL && node->retry_ns < next ? node->retry_ns : next;
    }
    return next;
}

static int start(struct process *process, void *ctx)
{
    static const struct io_config config = {
        .sockets_max = 4 * STORE_TESTER_NODES_MAX, .recv_buffers = 8, .recv_buffer_bytes = 4096, .cpu = -1};
    struct store_tester *c = ctx;
    char                 why[128];
    struct core         *core   = core_new(process);
    int                  result = io_open(&config, &c->io, why, sizeof why);
    if (result == 0) {
        core_run(core, c, turn);
    }
    return result;
}

static void destroy(void *ctx)
{
    struct store_tester *c = ctx;
    for (uint32_t i = 0; i < c->node_count; i++) {
        frame_reader_fini(&c->nodes[i].reader);
        wire_writer_fini(&c->nodes[i].out);
        wire_writer_fini(&c->nodes[i].flying);
    }
}

void store_tester_start(struct store_tester *c, struct world *world, uint32_t stripe_count)
{
    static const char *const alone[] = {"store"};
    store_tester_start_nodes(c, world, alone, 1, stripe_count);
}

void store_tester_start_nodes(struct store_tester *c, struct world *world, const char *const *names, uint32_t count,
                              uint32_t stripe_count)
{
    sim_check(world, count <= STORE_TESTER_NODES_MAX && stripe_count <= STORE_TESTER_STRIPES_MAX,
              "so many are possible");
    *c = (struct store_tester){.world        = world,
                               .node_count   = count,
                               .stripe_count = stripe_count,
                               .window       = (uint32_t)world_between(world, SALT_SCENARIO, 1, 12),
                               .large_one_in = (uint32_t)world_between(world, SALT_SCENARIO, 10, 60),
                               .again_one_in = 2,
                               .instance     = rand_u64(world_rand(world, SALT_SCENARIO)) | 1};
    for (uint32_t i = 0; i < count; i++) {
        c->nodes[i] = (struct tester_node){.client = c,
                                           .name   = names[i],
                                           .out    = wire_writer_growing(64u << 20),
                                           .flying = wire_writer_growing(64u << 20)};
    }
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

bool store_tester_connected(void *ctx)
{
    struct store_tester *c = ctx;
    for (uint32_t i = 0; i < c->stripe_count; i++) {
        if (leader_of(c, i) == NULL) {
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
    return store_tester_connected(ctx) && store_tester_answered(ctx);
}

static bool scan_done(void *ctx)
{
    const struct store_tester *c = ctx;
    return c->scanned_all;
}

void store_tester_check_tables(struct store_tester *c)
{
    c->stop        = true;
    c->scanned_all = false;
    uint64_t until = c->world->now_ns + 2 * CHECK_WAIT_S * SIM_S;
    while (!c->scanned_all && c->world->now_ns < until) { /* a connection may break in between, a leader may change */
        sim_check(c->world, world_run_until(c->world, store_tester_connected, c, CHECK_WAIT_S * SIM_S),
                  "the client is connected");
        c->scan_left = (1u << c->stripe_count) - 1;
        c->scan_number++;
        memset(c->scanned, 0, sizeof c->scanned);
        send_scan(c, 0, (struct bytes){0});
        (void)world_run_until(c->world, scan_done, c, 20 * SIM_S);
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
