#include "broker/transport/proxy.h"
#include "shared/base/err.h"

#include <criterion/criterion.h>
#include <string.h>

#define S(text)   bytes_of("" text, sizeof(text) - 1)
#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"

/* Fed in pieces of every size: the answer is the same, and what follows the header is left. */
static struct proxy fed(struct bytes header, struct bytes behind, int expected)
{
    static uint8_t all[4096];
    struct proxy   first = {0};
    cr_assert(header.size + behind.size <= sizeof all);
    memcpy(all, header.data, header.size);
    if (behind.size > 0) {
        memcpy(all + header.size, behind.data, behind.size);
    }
    for (size_t piece = 1; piece <= header.size + behind.size; piece++) {
        struct proxy p      = {0};
        int          result = 0;
        size_t       at     = 0;
        while (result == 0 && at < header.size + behind.size) {
            size_t       left  = header.size + behind.size - at;
            size_t       given = left < piece ? left : piece;
            struct bytes part  = bytes_of(all + at, given);
            result             = proxy_feed(&p, &part);
            at += given - part.size;
        }
        cr_assert_eq(result, expected, "in pieces of %zu", piece);
        cr_assert(expected != 1 || at == header.size, "%zu of %zu bytes taken", at, header.size);
        first = p;
    }
    return first;
}

Test(transport_proxy, version_1_says_where_the_client_is)
{
    struct proxy p = fed(S("PROXY TCP4 192.0.2.1 198.51.100.7 56324 1883\r\n"), S("\x10\x0c"), 1);
    cr_expect_str_eq(p.address, "192.0.2.1");
    cr_expect_eq(p.port, 56324);
    p = fed(S("PROXY TCP6 2001:DB8::0:1 ::1 1 65535\r\n"), S("x"), 1);
    cr_expect_str_eq(p.address, "2001:db8::1");
    p = fed(S("PROXY UNKNOWN\r\n"), S("x"), 1);
    cr_expect_str_empty(p.address);
    p = fed(S("PROXY UNKNOWN ffff:f:f:f ffff:f 65535 65535\r\n"), S("x"), 1);
    cr_expect_str_empty(p.address);
}

Test(transport_proxy, version_2_says_it_in_bytes)
{
    struct proxy p = fed(S(SIGNATURE "\x21\x11\x00\x0c\xc0\x00\x02\x01\xc6\x33\x64\x07\xdc\x04\x07\x5b"), S("MQTT"), 1);
    cr_expect_str_eq(p.address, "192.0.2.1");
    cr_expect_eq(p.port, 56324);
    p = fed(S(SIGNATURE "\x21\x21\x00\x28"
                        "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"
                        "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x00\x07\x00\x08"
                        "\x04\x00\x01x"),
            S("x"), 1);
    cr_expect_str_eq(p.address, "2001:db8::1");
    cr_expect_eq(p.port, 7);
    p = fed(S(SIGNATURE "\x20\x00\x00\x00"), S("x"), 1); /* LOCAL: a health check */
    cr_expect_str_empty(p.address);
    p = fed(S(SIGNATURE "\x20\x11\x00\x0c\xc0\x00\x02\x01\xc6\x33\x64\x07\xdc\x04\x07\x5b"), S("x"), 1);
    cr_expect_str_empty(p.address, "what LOCAL says of addresses is passed over");
    p = fed(S(SIGNATURE "\x21\x00\x00\x02xx"), S("x"), 1);
    cr_expect_str_empty(p.address);
}

Test(transport_proxy, what_is_no_header_is_refused)
{
    static const struct {
        const char *text;
        size_t      size;
    } wrong[] = {
#define WRONG(text) {text, sizeof(text) - 1}
        WRONG("\x10\x0c\x00\x04MQTT"),
        WRONG("GET / HTTP/1.1\r\n"),
        WRONG("PROXX TCP4"),
        WRONG("PROXY TCP4 192.0.2.1 198.51.100.7 56324\r\n"),
        WRONG("PROXY TCP4 192.0.2.1 198.51.100.7 56324 1883 1\r\n"),
        WRONG("PROXY TCP4 192.0.2.1  198.51.100.7 56324 1883\r\n"),
        WRONG("PROXY TCP4 192.0.2.1 198.51.100.7 56324 1883 \r\n"),
        WRONG("PROXY TCP4 192.0.2.256 198.51.100.7 56324 1883\r\n"),
        WRONG("PROXY TCP4 ::1 ::1 1 1\r\n"),
        WRONG("PROXY TCP6 192.0.2.1 198.51.100.7 1 1\r\n"),
        WRONG("PROXY TCP4 192.0.2.1 198.51.100.7 65536 1883\r\n"),
        WRONG("PROXY TCP4 192.0.2.1 198.51.100.7 01 1883\r\n"),
        WRONG("PROXY TCP4 192.0.2.1 198.51.100.7 -1 1883\r\n"),
        WRONG("PROXY UDP4 192.0.2.1 198.51.100.7 1 1\r\n"),
        WRONG("PROXY UNKNOWNX\r\n"),
        WRONG("PROXY UNKNOWN\n"),
        WRONG("PROXY TCP4 192.0.2.1\0 198.51.100.7 1 1\r\n"),
        WRONG("PROXY UNKNOWN "
              "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n"),
        WRONG(SIGNATURE "\x11\x11\x00\x0c"),
        WRONG(SIGNATURE "\x22\x11\x00\x00"),
        WRONG(SIGNATURE "\x21\x12\x00\x0c\xc0\x00\x02\x01\xc6\x33\x64\x07\xdc\x04\x07\x5b"),
        WRONG(SIGNATURE "\x21\x11\x00\x0b\xc0\x00\x02\x01\xc6\x33\x64\x07\xdc\x04\x07"),
        WRONG(SIGNATURE "\x21\x11\x00\x0f\xc0\x00\x02\x01\xc6\x33\x64\x07\xdc\x04\x07\x5b\x04\x00\x01"),
        WRONG(SIGNATURE "\x21\x11\x00\x0d\xc0\x00\x02\x01\xc6\x33\x64\x07\xdc\x04\x07\x5b\x04"),
        WRONG(SIGNATURE "\x21\x11\xff\xff"),
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct proxy p  = {0};
        struct bytes in = bytes_of(wrong[i].text, wrong[i].size);
        cr_expect_eq(proxy_feed(&p, &in), ERR_MALFORMED, "%zu", i);
    }
}
