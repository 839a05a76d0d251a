/* peer.c - bytes of one socket to its protocol, and the protocol's bytes to the socket. */
#include "broker/shard/peer.h"

#include "broker/protocol/mqtt/conn.h"
#include "broker/shard/shard.h"
#include "shared/loop/io.h"

#include <stdlib.h>

/* A client that does not read its last packet holds a socket this long. */
static const uint64_t linger_ns = 5000000000u;
enum { SEND_IOVECS_MAX = 64 };

static void peer_free(struct peer *peer)
{
    struct shard *shard = peer->shard;
    timer_cancel(shard->timers, &peer->linger);
    list_remove(&peer->link);
    list_remove(&peer->closing_link);
    outq_fini(&peer->out);
    shard->peer_count--;
    free(peer);
}

/* The protocol gives up everything it holds for this client. */
static void peer_detach(struct peer *peer)
{
    struct mqtt_conn *conn = peer->conn;
    peer->conn             = NULL;
    if (conn != NULL) {
        mqtt_conn_closed(conn);
    }
}

static void peer_end(struct peer *peer)
{
    io_socket_close(peer->socket);
    peer_free(peer);
}

static void on_received(void *ctx, struct bytes data)
{
    struct peer *peer = ctx;
    peer->shard->counters.received_bytes += data.size;
    if (LIKELY(!peer->closing)) {
        mqtt_conn_receive(peer->conn, data);
    }
}

static void on_sent(void *ctx, int result)
{
    struct peer  *peer  = ctx;
    struct shard *shard = peer->shard;
    if (result < 0) { /* closed() follows and frees the peer */
        return;
    }
    shard->counters.sent_bytes += peer->sending_bytes;
    outq_consume(&peer->out, peer->sending_bytes);
    peer->sending_bytes = 0;
    if (peer->conn != NULL) {
        mqtt_conn_writable(peer->conn);
    }
    if (peer->out.size_bytes != 0) {
        peer_flush(peer);
    } else if (peer->closing && peer->conn == NULL) {
        peer_end(peer);
    }
}

static void on_closed(void *ctx, int reason)
{
    (void)reason;
    struct peer *peer = ctx;
    peer_detach(peer);
    peer_free(peer);
}

static const struct io_handler peer_handler = {.received = on_received, .sent = on_sent, .closed = on_closed};

/* "192.0.2.1:1234" or "[2001:db8::1]:1234", as io names a peer. */
static void identify(struct peer *peer)
{
    struct peer_identity *identity = &peer->identity;
    const char           *colon    = strrchr(peer->name, ':');
    bool                  six      = peer->name[0] == '[';
    size_t                size     = colon == NULL ? 0 : (size_t)(colon - peer->name) - (six ? 2 : 0);
    if (size > 0 && size < sizeof identity->address) {
        memcpy(identity->address, peer->name + (six ? 1 : 0), size);
        identity->port = (uint16_t)strtoul(colon + 1, NULL, 10);
    }
    identity->loopback = peer->shard->broker->config->mqtt_loopback;
}

void peer_accept(struct shard *shard, struct io_socket *socket)
{
    struct peer *peer = shard->stopping ? NULL : calloc(1, sizeof *peer);
    if (peer == NULL) {
        io_socket_close(socket);
        return;
    }
    peer->shard  = shard;
    peer->socket = socket;
    outq_init(&peer->out, shard->chunks, &shard->dirty);
    list_push_back(&shard->peers, &peer->link);
    shard->peer_count++;
    shard->counters.accepted++;
    io_socket_peer(socket, peer->name, sizeof peer->name);
    peer->conn = mqtt_conn_new(&shard->mqtt, &peer->out, peer, peer->name);
    if (peer->conn == NULL) {
        peer_end(peer);
        return;
    }
    identify(peer);
    mqtt_conn_identify(peer->conn, &peer->identity);
    io_socket_adopt(socket, &peer_handler, peer);
}

void peer_flush(struct peer *peer)
{
    if (peer->sending_bytes != 0) {
        return;
    }
    struct iovec iov[SEND_IOVECS_MAX];
    int          count = outq_gather(&peer->out, iov, SEND_IOVECS_MAX);
    size_t       size  = 0;
    for (int i = 0; i < count; i++) {
        size += iov[i].iov_len;
    }
    if (size == 0) {
        return;
    }
    peer->sending_bytes = (uint32_t)size;
    io_socket_send(peer->socket, iov, count);
}

static void on_linger(struct timer *timer, uint64_t now_ns)
{
    (void)now_ns;
    peer_end(CONTAINER_OF(timer, struct peer, linger));
}

void peer_reap(struct shard *shard)
{
    struct list *link = NULL;
    while ((link = list_pop_front(&shard->closing)) != NULL) {
        struct peer *peer = CONTAINER_OF(link, struct peer, closing_link);
        peer_detach(peer);
        if (peer->out.size_bytes == 0) {
            peer_end(peer);
            continue;
        }
        io_socket_receiving(peer->socket, false);
        timer_arm(shard->timers, &peer->linger, shard->mqtt.now_ns + linger_ns, on_linger);
    }
}

void peer_stop_all(struct shard *shard)
{
    LIST_EACH (&shard->peers, link) {
        struct peer *peer = CONTAINER_OF(link, struct peer, link);
        if (!peer->closing) {
            mqtt_conn_stop(peer->conn);
        }
    }
}

void peer_free_all(struct shard *shard)
{
    LIST_EACH (&shard->peers, link) {
        struct peer *peer = CONTAINER_OF(link, struct peer, link);
        peer_detach(peer);
        peer_free(peer);
    }
}

/* Called by the protocol, perhaps from inside mqtt_conn_receive: it is freed at the end of the turn. */
void peer_close(void *ctx)
{
    struct peer *peer = ctx;
    if (peer->closing) {
        return;
    }
    peer->closing = true; /* what it still sends is thrown away */
    list_push_back(&peer->shard->closing, &peer->closing_link);
}

void peer_receiving(void *ctx, bool on)
{
    struct peer *peer = ctx;
    if (!peer->closing) {
        io_socket_receiving(peer->socket, on);
    }
}
