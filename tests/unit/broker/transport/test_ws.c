/* The WebSocket layer, byte by byte. */
#include "broker/transport/ws.h"
#include "shared/base/err.h"
#include "shared/base/list.h"

#include <criterion/criterion.h>
#include <string.h>

static const char request[] = "GET /mqtt HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                              "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
                              "Sec-WebSocket-Protocol: mqtt\r\n\r\n";

struct rig {
    struct list           dirty;
    struct outq_pool     *pool;
    struct outq           plain, out;
    struct ws            *ws;
    struct transport_sink sink;
    char                  got[512];
    size_t                got_bytes;
};

static void on_data(void *ctx, struct bytes data)
{
    struct rig *rig = ctx;
    memcpy(rig->got + rig->got_bytes, data.data, data.size);
    rig->got_bytes += data.size;
}

static void setup(struct rig *rig)
{
    *rig      = (struct rig){.pool = outq_pool_new(1 << 20), .ws = ws_new("/mqtt")};
    rig->sink = (struct transport_sink){.data = on_data, .ctx = rig};
    list_init(&rig->dirty);
    outq_init(&rig->plain, rig->pool, &rig->dirty);
    outq_init(&rig->out, rig->pool, &rig->dirty);
}

static void teardown(struct rig *rig)
{
    outq_fini(&rig->plain);
    outq_fini(&rig->out);
    ws_free(rig->ws);
    outq_pool_free(rig->pool);
}

static int feed(struct rig *rig, const void *data, size_t size)
{
    return ws_receive(rig->ws, bytes_of(data, size), &rig->sink, &rig->out);
}

/* What was put out so far, taken away. */
static size_t said(struct rig *rig, char *text, size_t room)
{
    struct iovec iov[256];
    size_t       size  = 0;
    int          count = outq_gather(&rig->out, iov, 256);
    for (int i = 0; i < count; i++) {
        cr_assert(size + iov[i].iov_len < room);
        memcpy(text + size, iov[i].iov_base, iov[i].iov_len);
        size += iov[i].iov_len;
    }
    outq_consume(&rig->out, size);
    text[size] = '\0';
    return size;
}

static void open_it(struct rig *rig)
{
    char text[600];
    setup(rig);
    cr_assert_eq(feed(rig, request, sizeof request - 1), 0);
    cr_assert(ws_established(rig->ws));
    said(rig, text, sizeof text);
    cr_assert(strstr(text, "\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n") != NULL, "%s", text);
}

Test(transport_ws, a_request_in_single_bytes_is_a_request)
{
    struct rig rig;
    setup(&rig);
    for (size_t i = 0; i < sizeof request - 1; i++) {
        cr_assert_not(ws_established(rig.ws));
        cr_assert_eq(feed(&rig, request + i, 1), 0);
    }
    cr_assert(ws_established(rig.ws));
    teardown(&rig);
}

Test(transport_ws, frames_behind_the_request_in_the_same_bytes_are_not_lost)
{
    struct rig rig;
    char       both[sizeof request + 16];
    /* RFC 6455, 5.7: a masked "Hello", as binary */
    static const uint8_t hello[] = {0x82, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58};
    setup(&rig);
    memcpy(both, request, sizeof request - 1);
    memcpy(both + sizeof request - 1, hello, sizeof hello);
    cr_assert_eq(feed(&rig, both, sizeof request - 1 + sizeof hello), 0);
    cr_assert_eq(rig.got_bytes, 5);
    cr_assert_eq(memcmp(rig.got, "Hello", 5), 0);
    teardown(&rig);
}

Test(transport_ws, a_fragmented_message_with_a_ping_between_comes_through_in_single_bytes)
{
    struct rig           rig;
    char                 text[64];
    static const uint8_t in[] = {0x02, 0x83, 0,   0,   0,    0,    'a', 'b', 'c', 0x89, 0x82,    0,      0,
                                 0,    0,    'h', 'i', 0x80, 0x82, 1,   1,   1,   1,    'd' ^ 1, 'e' ^ 1};
    open_it(&rig);
    for (size_t i = 0; i < sizeof in; i++) {
        cr_assert_eq(feed(&rig, in + i, 1), 0);
    }
    cr_assert_eq(rig.got_bytes, 5);
    cr_assert_eq(memcmp(rig.got, "abcde", 5), 0);
    cr_assert_eq(said(&rig, text, sizeof text), 4);
    cr_assert_eq(memcmp(text, "\x8a\x02hi", 4), 0);
    teardown(&rig);
}

Test(transport_ws, each_packet_becomes_a_binary_frame)
{
    struct rig rig;
    char       text[700];
    char       body[303] = {0x30, (char)0xac, 2};
    open_it(&rig);
    cr_assert_eq(outq_put(&rig.plain, bytes_of("\xd0\0\x40\2\0\1\xd0\0", 8)), 0);
    cr_assert_eq(ws_send(rig.ws, &rig.plain, &rig.out), 0);
    cr_assert_eq(said(&rig, text, sizeof text), 14);
    cr_assert_eq(memcmp(text, "\x82\2\xd0\0\x82\4\x40\2\0\1\x82\2\xd0\0", 14), 0);
    cr_assert_eq(outq_put(&rig.plain, bytes_of(body, sizeof body)), 0);
    cr_assert_eq(ws_send(rig.ws, &rig.plain, &rig.out), 0);
    cr_assert_eq(said(&rig, text, sizeof text), 307);
    cr_assert_eq(memcmp(text, "\x82\x7e\x01\x2f\x30", 5), 0);
    for (size_t i = 0; i < 4; i++) { /* a packet that is queued byte by byte */
        cr_assert_eq(outq_put(&rig.plain, bytes_of("\x40\2\0\1" + i, 1)), 0);
        cr_assert_eq(ws_send(rig.ws, &rig.plain, &rig.out), 0);
    }
    cr_assert_eq(said(&rig, text, sizeof text), 6);
    cr_assert_eq(memcmp(text, "\x82\4\x40\2\0\1", 6), 0);
    teardown(&rig);
}

Test(transport_ws, nothing_stands_inside_of_a_frame_that_is_larger_than_one_send)
{
    static const uint8_t ping[]  = {0x89, 0x82, 0, 0, 0, 0, 'h', 'i'};
    static const uint8_t close[] = {0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8};
    static uint8_t       packet[600000];
    static char          text[700000];
    for (int closing = 0; closing < 2; closing++) {
        struct rig rig;
        size_t     size = 0;
        open_it(&rig);
        memcpy(packet, "\x30\xbc\xcf\x24", 4); /* 599,996 bytes follow */
        cr_assert_eq(outq_put(&rig.plain, bytes_of(packet, sizeof packet)), 0);
        for (int turn = 0; turn < 5; turn++) {
            cr_assert_eq(ws_send(rig.ws, &rig.plain, &rig.out), 0);
            cr_assert_leq(rig.out.size_bytes, 300000, "no more than a send is copied");
            if (turn == 0) {
                int result = closing ? feed(&rig, close, sizeof close) : feed(&rig, ping, sizeof ping);
                cr_assert_eq(result, closing ? ERR_CLOSED : 0);
            }
            size += said(&rig, text + size, sizeof text - size);
        }
        if (closing) { /* half a frame and the end: the client sees that something is missing */
            cr_assert_lt(size, sizeof packet);
        } else {
            cr_assert_eq(size, 10 + sizeof packet + 4);
            cr_assert_eq(memcmp(text, "\x82\x7f\0\0\0\0\0\x09\x27\xc0", 10), 0);
            cr_assert_eq(memcmp(text + 10 + sizeof packet, "\x8a\2hi", 4), 0);
        }
        teardown(&rig);
    }
}

Test(transport_ws, nothing_is_said_before_the_upgrade_and_after_the_close)
{
    struct rig           rig;
    char                 text[64];
    static const uint8_t close[] = {0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8};
    setup(&rig);
    cr_assert_eq(outq_put(&rig.plain, bytes_of("\xd0\0", 2)), 0);
    cr_assert_eq(ws_send(rig.ws, &rig.plain, &rig.out), 0);
    cr_assert_eq(rig.out.size_bytes, 0);
    outq_consume(&rig.plain, 2);
    teardown(&rig);
    open_it(&rig);
    cr_assert_eq(feed(&rig, close, sizeof close), ERR_CLOSED);
    cr_assert_eq(said(&rig, text, sizeof text), 4);
    cr_assert_eq(memcmp(text, "\x88\x02\x03\xe8", 4), 0);
    cr_assert_eq(outq_put(&rig.plain, bytes_of("\xd0\0", 2)), 0);
    cr_assert_eq(ws_send(rig.ws, &rig.plain, &rig.out), 0);
    ws_end(rig.ws, &rig.out);
    cr_assert_eq(rig.out.size_bytes, 0);
    teardown(&rig);
}

/* What comes back for a close frame with this payload, which is masked with zeros; at once and in single bytes. */
static void expect_close(const char *payload, size_t size, uint16_t code, int result)
{
    for (int split = 0; split < 2; split++) {
        struct rig rig;
        char       text[64];
        uint8_t    in[6 + 125] = {0x88, (uint8_t)(0x80 | size)};
        size_t     step        = split == 0 ? 6 + size : 1;
        int        got         = 0;
        open_it(&rig);
        memcpy(in + 6, payload, size);
        for (size_t at = 0; at < 6 + size; at += step) {
            cr_assert_eq(got, 0);
            got = feed(&rig, in + at, step);
        }
        cr_assert_eq(got, result);
        cr_assert_eq(said(&rig, text, sizeof text), 4);
        cr_assert_eq(memcmp(text, "\x88\x02", 2), 0);
        cr_assert_eq((uint8_t)text[2] << 8 | (uint8_t)text[3], code);
        teardown(&rig);
    }
}

Test(transport_ws, a_close_code_that_may_be_sent_comes_back)
{
    static const uint16_t codes[] = {1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010,
                                     1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        const char payload[] = {(char)(codes[i] >> 8), (char)codes[i], 'b', 'y', 'e'};
        expect_close(payload, 2, codes[i], ERR_CLOSED);
        expect_close(payload, sizeof payload, codes[i], ERR_CLOSED);
    }
    expect_close("", 0, 1000, ERR_CLOSED);
}

Test(transport_ws, a_close_code_that_may_not_be_sent_is_a_protocol_error)
{
    static const uint16_t codes[] = {0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        const char payload[] = {(char)(codes[i] >> 8), (char)codes[i]};
        expect_close(payload, sizeof payload, 1002, ERR_MALFORMED);
    }
    expect_close("\x03", 1, 1002, ERR_MALFORMED);
}

Test(transport_ws, a_reason_for_the_close_is_well_formed_utf8)
{
    char longest[125] = "\x03\xe8";
    memset(longest + 2, 'x', sizeof longest - 2);
    expect_close(longest, sizeof longest, 1000, ERR_CLOSED);
    expect_close("\x03\xe8gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80", 17, 1000, ERR_CLOSED);
    expect_close("\x03\xe8\xff", 3, 1007, ERR_MALFORMED);
    expect_close("\x03\xe8gr\xc3", 5, 1007, ERR_MALFORMED);
    expect_close("\x03\xe8\xed\xa0\x80", 5, 1007, ERR_MALFORMED);
    expect_close("\x03\xe8\xc0\xaf", 4, 1007, ERR_MALFORMED);
    expect_close("\x03\xed\xff", 3, 1002, ERR_MALFORMED);
}
