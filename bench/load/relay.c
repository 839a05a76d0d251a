/* relay - no broker at all: copies the bytes of every PUBLISH to whoever subscribed, and answers what a client must have answered.
 * The floor of a measurement: what sockets alone cost here, and how fast the load generator can be. QoS 0 only, one topic, MQTT 3.1.1.
 *   relay         prints "relay PORT"; runs until it is killed */
#include "bench/load/client.h"

enum { EVENTS = 256, ROOM = 256 * 1024 };

static int            epoll;
static struct client *subscriber; /* the last that subscribed */

static void take(struct client *c, const uint8_t *packet, size_t size)
{
    switch (packet[0] & 0xf0) {
    case 0x10:
        put(c, "\x20\x02\0\0", 4);
        break;
    case 0x80:
        put(c, (uint8_t[]){SUBACK, 3, packet[2], packet[3], 0}, 5);
        subscriber = c;
        break;
    case PUBLISH:
        if (subscriber != NULL) {
            put(subscriber, packet, size);
        }
        break;
    default:
        break;
    }
}

static void received(struct client *c)
{
    ssize_t got = recv(c->fd, c->in + c->in_used, c->in_room - c->in_used, MSG_DONTWAIT);
    if (got <= 0) {
        subscriber = subscriber == c ? NULL : subscriber;
        close(c->fd);
        free(c->in);
        free(c->out);
        free(c);
        return;
    }
    c->in_used += (size_t)got;
    size_t at = 0;
    while (at + 5 <= c->in_used || (at + 2 <= c->in_used && c->in[at + 1] < 4)) {
        size_t size = c->in[at + 1] & 127, head = 2;
        if (c->in[at + 1] > 127) {
            size |= (size_t)(c->in[at + 2] & 127) << 7;
            head = 3;
        }
        if (at + head + size > c->in_used) {
            break;
        }
        take(c, c->in + at, head + size);
        at += head + size;
    }
    memmove(c->in, c->in + at, c->in_used - at);
    c->in_used -= at;
    client_flush(c, epoll);
    if (subscriber != NULL && subscriber != c) {
        client_flush(subscriber, epoll);
    }
}

static void accepted(int listener)
{
    struct client *c  = calloc(1, sizeof *c);
    int            on = 1;
    if (c == NULL) {
        abort();
    }
    c->fd      = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    c->in_room = ROOM;
    c->in      = malloc(ROOM);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event);
}

int main(void)
{
    struct sockaddr_in name     = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t          size     = sizeof name;
    int                listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    epoll                       = epoll_create1(EPOLL_CLOEXEC);
    if (bind(listener, (void *)&name, size) != 0 || listen(listener, 128) != 0 ||
        getsockname(listener, (void *)&name, &size) != 0) {
        perror("relay");
        return 1;
    }
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    printf("relay %u\n", ntohs(name.sin_port));
    fflush(stdout);
    for (;;) {
        struct epoll_event events[EVENTS];
        int                count = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr == NULL) {
                accepted(listener);
            } else if ((events[i].events & EPOLLOUT) != 0) {
                client_flush(events[i].data.ptr, epoll);
            } else {
                received(events[i].data.ptr);
            }
        }
    }
}
