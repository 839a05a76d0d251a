/* client - the smallest MQTT 3.1.1 client that a load generator can do with: one buffer in, one out, written once per loop turn.
 * Packets are recognised by their first byte; nothing but PUBLISH is looked into further.
 * Threads: one. */
#ifndef KEEL_BENCH_LOAD_CLIENT_H
#define KEEL_BENCH_LOAD_CLIENT_H

#include "bench/load/pipe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONNACK = 0x20, PUBLISH = 0x30, PUBACK = 0x40, PUBREC = 0x50, PUBREL = 0x62, PUBCOMP = 0x70, SUBACK = 0x90 };

struct client {
    int            fd;
    SSL           *ssl;   /* NULL: plain TCP */
    struct pipe   *pipe;  /* under ssl, or NULL */
    unsigned       index; /* among all clients of this run */
    bool           publisher, connected, subscribed, dirty, blocked;
    uint16_t       next_id;
    uint32_t       sequence;    /* publishers: of the next message */
    uint32_t       unacked;     /* publishers: QoS 1 and 2 without PUBACK or PUBCOMP */
    int64_t        undelivered; /* publishers: copies sent and not yet seen by a subscriber */
    uint32_t      *expected;    /* subscribers: the next sequence of each publisher */
    uint8_t       *in, *out;
    size_t         in_used, in_room, out_at, out_used, out_room;
    struct client *next_dirty;
};

static inline void put(struct client *c, const void *data, size_t size)
{
    if (c->out_used + size > c->out_room) {
        c->out_room = (c->out_used + size) * 2;
        c->out      = realloc(c->out, c->out_room);
        if (c->out == NULL) {
            abort();
        }
    }
    memcpy(c->out + c->out_used, data, size);
    c->out_used += size;
}

static inline void put_u16(struct client *c, unsigned value)
{
    put(c, (uint8_t[]){(uint8_t)(value >> 8), (uint8_t)value}, 2);
}

static inline void put_head(struct client *c, unsigned first, size_t size)
{
    uint8_t head[5] = {(uint8_t)first};
    size_t  used    = 1;
    do {
        head[used++] = (uint8_t)((size & 127) | (size > 127 ? 128 : 0));
        size >>= 7;
    } while (size != 0);
    put(c, head, used);
}

static inline void put_text(struct client *c, const char *text)
{
    put_u16(c, (unsigned)strlen(text));
    put(c, text, strlen(text));
}

static inline void put_ack(struct client *c, unsigned first, unsigned id)
{
    put(c, (uint8_t[]){(uint8_t)first, 2, (uint8_t)(id >> 8), (uint8_t)id}, 4);
}

static inline void put_connect(struct client *c, const char *client_id, bool clean)
{
    put_head(c, 0x10, 10 + 2 + strlen(client_id));
    put_text(c, "MQTT");
    put(c, (uint8_t[]){4, clean ? 2 : 0, 0, 0}, 4);
    put_text(c, client_id);
}

static inline void put_subscribe(struct client *c, const char *filter, unsigned qos)
{
    put_head(c, 0x82, 2 + 2 + strlen(filter) + 1);
    put_u16(c, 1);
    put_text(c, filter);
    put(c, (uint8_t[]){(uint8_t)qos}, 1);
}

/* Takes the next id at QoS 1 and 2. */
static inline void put_publish(struct client *c, const char *topic, unsigned qos, const void *payload, size_t size)
{
    size_t topic_size = strlen(topic);
    put_head(c, PUBLISH | qos << 1, 2 + topic_size + (qos > 0 ? 2 : 0) + size);
    put_u16(c, (unsigned)topic_size);
    put(c, topic, topic_size);
    if (qos > 0) {
        c->next_id = c->next_id == 65535 ? 1 : (uint16_t)(c->next_id + 1);
        put_u16(c, c->next_id);
    }
    put(c, payload, size);
}

/* A TLS client that believes any certificate: what is measured is the broker. */
static inline bool client_secure(struct client *c, SSL_CTX *tls)
{
    c->ssl = tls == NULL ? NULL : SSL_new(tls);
    if (c->ssl == NULL) {
        return tls == NULL;
    }
    c->pipe = pipe_under(c->ssl, c->fd);
    if (c->pipe == NULL) {
        return false;
    }
    c->pipe->waits = true;
    bool done      = SSL_connect(c->ssl) == 1;
    c->pipe->waits = false;
    return done;
}

static inline void client_close(struct client *c)
{
    SSL_free(c->ssl);
    free(c->pipe);
    close(c->fd);
    c->ssl  = NULL;
    c->pipe = NULL;
}

/* As recv and send without waiting. */
static inline ssize_t client_read(struct client *c, uint8_t *data, size_t size)
{
    if (c->ssl == NULL) {
        return recv(c->fd, data, size, MSG_DONTWAIT);
    }
    size_t used = 0, part = 0;
    while (used < size && SSL_read_ex(c->ssl, data + used, size - used, &part) == 1) {
        used += part;
    }
    if (used != 0 || size == 0) {
        return (ssize_t)used;
    }
    errno = EAGAIN;
    return SSL_get_error(c->ssl, 0) == SSL_ERROR_WANT_READ ? -1 : 0;
}

static inline ssize_t client_write(struct client *c, const uint8_t *data, size_t size)
{
    if (c->ssl == NULL) {
        return send(c->fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    size_t part = 0;
    if (SSL_write_ex(c->ssl, data, size, &part) == 1) {
        return (ssize_t)part;
    }
    errno = SSL_get_error(c->ssl, 0) == SSL_ERROR_WANT_WRITE ? EAGAIN : EPIPE;
    return -1;
}

/* Connects, blocking; small buffers for idle ones. source: which of 127.0.1.x to come from, so that ports do not run out; 0: any.
 * False with errno set. */
static inline bool client_open(struct client *c, const struct sockaddr_in *server, int epoll, size_t in_room,
                               uint8_t source, SSL_CTX *tls)
{
    int                on   = 1;
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000100u + source)};
    c->fd                   = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    c->out_at = c->out_used = c->in_used = 0;
    c->connected = c->subscribed = c->blocked = false;
    if (c->fd >= 0 && source != 0) {
        setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
        if (bind(c->fd, (const void *)&from, sizeof from) != 0) {
            return false;
        }
    }
    if (c->fd < 0 || connect(c->fd, (const void *)server, sizeof *server) != 0) {
        return false;
    }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (!client_secure(c, tls)) {
        errno = EPROTO;
        return false;
    }
    if (c->in == NULL) {
        c->in_room = in_room;
        c->in      = malloc(in_room);
    }
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    return c->in != NULL && epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event) == 0;
}

/* Writes what can be written; watches for room when not all could. False when the connection broke. */
static inline bool client_flush(struct client *c, int epoll)
{
    while (c->out_at < c->out_used) {
        ssize_t sent = client_write(c, c->out + c->out_at, c->out_used - c->out_at);
        if (sent < 0 && errno != EAGAIN) {
            return false;
        }
        if (sent < 0) {
            break;
        }
        c->out_at += (size_t)sent;
    }
    if (c->ssl != NULL && !pipe_flush(c->pipe) && errno != EAGAIN) {
        return false;
    }
    bool all = c->out_at == c->out_used && (c->ssl == NULL || c->pipe->out_used == 0);
    if (c->out_at == c->out_used) {
        c->out_at = c->out_used = 0;
    }
    if (c->blocked == all) {
        struct epoll_event event = {.events = all ? EPOLLIN : EPOLLIN | EPOLLOUT, .data.ptr = c};
        epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &event);
        c->blocked = !all;
    }
    return true;
}

#endif
