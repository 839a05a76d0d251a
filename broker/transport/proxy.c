/* proxy - see proxy.h. */
#include "broker/transport/proxy.h"

#include "shared/base/err.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char    text_begins[] = "PROXY ";
static const uint8_t signature[12] = "\r\n\r\n\0\r\nQUIT\n";

enum {
    TEXT_MAX_BYTES = 107,
    HEADER_BYTES   = 16,
    VERSION_2      = 0x20,
    LOCAL          = 0x20,
    PROXIED        = 0x21,
    UNKNOWN        = 0x00,
    TCP_4          = 0x11,
    TCP_6          = 0x21,
    UNIX_STREAM    = 0x31,
};

static uint16_t u16_at(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

/* The address as it is always written, so that "::FFFF" and "::ffff" are one. */
static bool take_address(struct proxy *p, int family, const void *binary, uint16_t port)
{
    p->port = port;
    return inet_ntop(family, binary, p->address, sizeof p->address) != NULL;
}

/* ---- version 1 ---------------------------------------------------------------------------------------------------------------------- */

/* 0 to 65535 without leading zeros. */
static bool read_port(const char *word, uint16_t *out)
{
    char         *end  = NULL;
    unsigned long port = strtoul(word, &end, 10);
    *out               = (uint16_t)port;
    return *word >= '0' && *word <= '9' && (word[0] != '0' || word[1] == '\0') && *end == '\0' && port <= 65535;
}

static int read_text(struct proxy *p)
{
    char            line[TEXT_MAX_BYTES + 1];
    char           *rest = NULL;
    char           *words[6];
    int             count = 0;
    struct in6_addr from, to;
    uint16_t        port, other;
    memcpy(line, p->data, p->size - 2u);
    line[p->size - 2] = '\0';
    if (strlen(line) != p->size - 2u || strstr(line, "  ") != NULL) {
        return ERR_MALFORMED;
    }
    if (strncmp(line, "PROXY UNKNOWN", 13) == 0 && (line[13] == '\0' || line[13] == ' ')) {
        return 1;
    }
    for (char *word = strtok_r(line, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
        if (count == 6) {
            return ERR_MALFORMED;
        }
        words[count++] = word;
    }
    if (count != 6 || p->data[p->size - 3] == ' ') {
        return ERR_MALFORMED;
    }
    int family = strcmp(words[1], "TCP4") == 0 ? AF_INET : strcmp(words[1], "TCP6") == 0 ? AF_INET6 : 0;
    if (family == 0 || inet_pton(family, words[2], &from) != 1 || inet_pton(family, words[3], &to) != 1 ||
        !read_port(words[4], &port) || !read_port(words[5], &other) || !take_address(p, family, &from, port)) {
        return ERR_MALFORMED;
    }
    return 1;
}

static int text_byte(struct proxy *p)
{
    size_t known = sizeof text_begins - 1;
    if (p->size <= known) {
        return memcmp(p->data, text_begins, p->size) == 0 ? 0 : ERR_MALFORMED;
    }
    if (p->data[p->size - 1] == '\n') {
        return p->data[p->size - 2] == '\r' ? read_text(p) : ERR_MALFORMED;
    }
    return p->size < TEXT_MAX_BYTES ? 0 : ERR_MALFORMED;
}

/* ---- version 2 ---------------------------------------------------------------------------------------------------------------------- */

/* What lies behind the addresses: type u8, length u16, value, until the end. */
static bool tlvs_valid(const uint8_t *at, size_t size)
{
    while (size >= 3) {
        size_t whole = 3u + u16_at(at + 1);
        if (whole > size) {
            return false;
        }
        at += whole;
        size -= whole;
    }
    return size == 0;
}

static int read_binary(struct proxy *p)
{
    static const struct {
        uint8_t family;
        uint8_t bytes;
    } sizes[]              = {{UNKNOWN, 0}, {TCP_4, 12}, {TCP_6, 36}, {UNIX_STREAM, 216}};
    const uint8_t *at      = p->data + HEADER_BYTES;
    size_t         length  = p->size - HEADER_BYTES;
    uint8_t        command = p->data[12], family = p->data[13];
    if (command == LOCAL || (command == PROXIED && family == UNKNOWN)) {
        return 1; /* what is said of addresses then is to be passed over */
    }
    for (size_t i = 1; i < sizeof sizes / sizeof *sizes; i++) {
        if (command != PROXIED || family != sizes[i].family || length < sizes[i].bytes ||
            !tlvs_valid(at + sizes[i].bytes, length - sizes[i].bytes)) {
            continue;
        }
        if (family == UNIX_STREAM) {
            return 1;
        }
        int    kind  = family == TCP_4 ? AF_INET : AF_INET6;
        size_t bytes = family == TCP_4 ? 4 : 16;
        return take_address(p, kind, at, u16_at(at + 2 * bytes)) ? 1 : ERR_MALFORMED;
    }
    return ERR_MALFORMED;
}

static int binary_byte(struct proxy *p)
{
    if (p->size <= sizeof signature) {
        return memcmp(p->data, signature, p->size) == 0 ? 0 : ERR_MALFORMED;
    }
    if ((p->data[12] & 0xf0) != VERSION_2) {
        return ERR_MALFORMED;
    }
    if (p->size < HEADER_BYTES) {
        return 0;
    }
    size_t whole = HEADER_BYTES + (size_t)u16_at(p->data + 14);
    if (whole > PROXY_MAX_BYTES) {
        return ERR_MALFORMED;
    }
    return p->size < whole ? 0 : read_binary(p);
}

int proxy_feed(struct proxy *p, struct bytes *in)
{
    while (in->size > 0) {
        p->data[p->size++] = in->data[0];
        *in                = bytes_of(in->data + 1, in->size - 1);
        int result         = p->data[0] == (uint8_t)text_begins[0] ? text_byte(p) : binary_byte(p);
        if (result != 0) {
            return result;
        }
    }
    return 0;
}
