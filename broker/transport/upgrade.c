/* upgrade - see upgrade.h; HTTP itself is parsed by http-parser. */
#include "broker/transport/upgrade.h"

#include <http_parser.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { REQUEST_MAX_BYTES = 8192, FIELD_MAX_BYTES = 32, VALUE_MAX_BYTES = 256, PATH_MAX_BYTES = 256 };

struct upgrade {
    http_parser parser;
    const char *path;
    uint32_t    taken_bytes;
    bool        in_value;
    bool        ended;
    bool        too_long; /* a value that matters */
    bool        wants_websocket;
    bool        wants_mqtt;
    bool        version_13;
    char        url[PATH_MAX_BYTES];
    char        field[FIELD_MAX_BYTES];
    char        value[VALUE_MAX_BYTES];
    char        key[VALUE_MAX_BYTES];
    char        answer[UPGRADE_ANSWER_MAX_BYTES];
    uint32_t    answer_bytes;
};

/* False: it does not fit. */
static bool append(char *text, size_t room, const char *at, size_t size)
{
    size_t used = strlen(text);
    if (used + size >= room) {
        return false;
    }
    memcpy(text + used, at, size);
    text[used + size] = '\0';
    return true;
}

/* Is word one of a list of words with commas between? */
static bool lists(const char *list, const char *word)
{
    for (size_t size = strlen(word); *list != '\0';) {
        list += strspn(list, " \t,");
        size_t length = strcspn(list, " \t,");
        if (length == size && strncasecmp(list, word, size) == 0) {
            return true;
        }
        list += length;
    }
    return false;
}

static void header_ended(struct upgrade *u)
{
    if (strcasecmp(u->field, "Upgrade") == 0) {
        u->wants_websocket |= lists(u->value, "websocket");
    } else if (strcasecmp(u->field, "Sec-WebSocket-Protocol") == 0) {
        u->wants_mqtt |= lists(u->value, "mqtt");
    } else if (strcasecmp(u->field, "Sec-WebSocket-Version") == 0) {
        u->version_13 = strcmp(u->value, "13") == 0;
    } else if (strcasecmp(u->field, "Sec-WebSocket-Key") == 0) {
        memcpy(u->key, u->value, sizeof u->key);
    }
    u->field[0] = '\0';
    u->value[0] = '\0';
    u->in_value = false;
}

static int on_url(http_parser *parser, const char *at, size_t size)
{
    struct upgrade *u = parser->data;
    u->too_long |= !append(u->url, sizeof u->url, at, size);
    return 0;
}

static int on_field(http_parser *parser, const char *at, size_t size)
{
    struct upgrade *u = parser->data;
    if (u->in_value) {
        header_ended(u);
    }
    if (!append(u->field, sizeof u->field, at, size)) {
        u->field[0] = '\x01'; /* longer than any that matters */
        u->field[1] = '\0';
    }
    return 0;
}

static int on_value(http_parser *parser, const char *at, size_t size)
{
    struct upgrade *u = parser->data;
    u->in_value       = true;
    if (!append(u->value, sizeof u->value, at, size) && strncasecmp(u->field, "Sec-WebSocket-", 14) == 0) {
        u->too_long = true;
    }
    return 0;
}

static int on_end(http_parser *parser)
{
    struct upgrade *u = parser->data;
    if (u->in_value) {
        header_ended(u);
    }
    u->ended = true;
    return 1; /* no body is wanted; what follows are frames */
}

static const http_parser_settings settings = {
    .on_url = on_url, .on_header_field = on_field, .on_header_value = on_value, .on_headers_complete = on_end};

struct upgrade *upgrade_new(const char *path)
{
    struct upgrade *u = calloc(1, sizeof *u);
    if (u != NULL) {
        http_parser_init(&u->parser, HTTP_REQUEST);
        u->parser.data = u;
        u->path        = path;
    }
    return u;
}

void upgrade_free(struct upgrade *u)
{
    free(u);
}

static int answer(struct upgrade *u, int status, const char *reason, const char *header, const char *text)
{
    u->answer_bytes = (uint32_t)snprintf(
        u->answer, sizeof u->answer,
        "HTTP/1.1 %d %s\r\n%sContent-Type: text/plain\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s\n", status,
        reason, header, strlen(text) + 1, text);
    return status;
}

/* The answer to the client's key [RFC 6455, 4.2.2]. */
static void accept_key(const char *key, char out[32])
{
    char          text[VALUE_MAX_BYTES + 40];
    unsigned char digest[SHA_DIGEST_LENGTH];
    int           size = snprintf(text, sizeof text, "%s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
    SHA1((const unsigned char *)text, (size_t)size, digest);
    EVP_EncodeBlock((unsigned char *)out, digest, sizeof digest);
}

static bool key_is_valid(const char *key)
{
    unsigned char nonce[32];
    return strlen(key) == 24 && key[22] == '=' && key[23] == '=' &&
           EVP_DecodeBlock(nonce, (const unsigned char *)key, 24) == 18;
}

static bool path_matches(const struct upgrade *u)
{
    size_t size = strcspn(u->url, "?");
    return size == strlen(u->path) && strncmp(u->url, u->path, size) == 0;
}

static int decide(struct upgrade *u)
{
    if (u->too_long) {
        return answer(u, 431, "Request Header Fields Too Large", "", "a header of the request is too long");
    }
    if (u->parser.method != HTTP_GET) {
        return answer(u, 405, "Method Not Allowed", "Allow: GET\r\n", "a WebSocket begins with GET");
    }
    if (!path_matches(u)) {
        return answer(u, 404, "Not Found", "", "MQTT is not at this path; most clients ask for /mqtt");
    }
    if (!u->wants_websocket || !u->parser.upgrade) {
        return answer(u, 426, "Upgrade Required", "Upgrade: websocket\r\n", "this port speaks MQTT over WebSocket");
    }
    if (!u->version_13) {
        return answer(u, 426, "Upgrade Required", "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
                      "only WebSocket version 13 is spoken");
    }
    if (!key_is_valid(u->key)) {
        return answer(u, 400, "Bad Request", "", "Sec-WebSocket-Key is missing or not 16 bytes in base64");
    }
    if (!u->wants_mqtt) {
        return answer(u, 400, "Bad Request", "", "the subprotocol \"mqtt\" is not among Sec-WebSocket-Protocol");
    }
    char accept[32];
    accept_key(u->key, accept);
    u->answer_bytes =
        (uint32_t)snprintf(u->answer, sizeof u->answer,
                           "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                           "Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n",
                           accept);
    return 101;
}

int upgrade_feed(struct upgrade *u, struct bytes in, size_t *used)
{
    size_t room = REQUEST_MAX_BYTES - u->taken_bytes;
    size_t part = in.size < room ? in.size : room;
    *used       = http_parser_execute(&u->parser, &settings, (const char *)in.data, part);
    u->taken_bytes += (uint32_t)*used;
    if (u->ended) {
        return decide(u);
    }
    if (HTTP_PARSER_ERRNO(&u->parser) != HPE_OK) {
        return answer(u, 400, "Bad Request", "", "this is not HTTP: MQTT over WebSocket begins with an HTTP request");
    }
    return u->taken_bytes == REQUEST_MAX_BYTES
               ? answer(u, 431, "Request Header Fields Too Large", "", "the request is too long")
               : 0;
}

struct bytes upgrade_answer(const struct upgrade *u)
{
    return bytes_of(u->answer, u->answer_bytes);
}
