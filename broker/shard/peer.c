/* peer.c - bytes of one socket to its protocol, and the protocol's bytes to the socket. */
#include "broker/shard/peer.h"

#include "broker/protocol/mqtt/conn.h"
#include "broker/shard/shard.h"
#include "broker/transport/proxy.h"
#include "shared/base/err.h"
#include "shared/base/log.h"
#include "shared/loop/io.h"

#include <stdio.h>
#include <stdlib.h>

/* A client that does not read its last packet holds a socket this long. */
static const uint64_t linger_ns         = 5000000000u;
static const uint64_t complain_every_ns = 1000000000u;
enum { SEND_IOVECS_MAX = 64 };
/* A handshake signs with the private key, which takes up to a millisecond: so many a turn, the others wait. */
enum { HANDSHAKE_STEPS = 8, POSTPONED_MAX_BYTES = 64 * 1024 };

/* Room for one more: who waits to be accepted may come. */
static void shaken(struct peer *peer)
{
    struct shard *shard = peer->shard;
    if (!peer->shaking) {
        return;
    }
    peer->shaking = false;
    if (shard->handshakes-- != shard->broker->config->handshakes_max) {
        return;
    }
    for (int kind = 0; kind < TRANSPORT_KINDS; kind++) {
        if (shard->doors[kind].listener != NULL) {
            io_listener_accepting(shard->doors[kind].listener, true);
        }
    }
}

static void shaking(struct peer *peer)
{
    struct shard *shard = peer->shard;
    peer->shaking       = true;
    if (++shard->handshakes < shard->broker->config->handshakes_max) {
        return;
    }
    static const enum transport_kind secure[] = {TRANSPORT_TLS, TRANSPORT_WSS};
    for (int i = 0; i < 2; i++) {
        if (shard->doors[secure[i]].listener != NULL) {
            io_listener_accepting(shard->doors[secure[i]].listener, false);
        }
    }
}

static void peer_free(struct peer *peer)
{
    struct shard *shard = peer->shard;
    shaken(peer);
    free(peer->proxy);
    transport_free(peer->transport);
    list_remove(&peer->postponed_link);
    free(peer->postponed);
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

/* The handshake is through: now it is known whom the client's certificate names. */
static void established(struct peer *peer)
{
    const char *user = transport_user(peer->transport);
    shaken(peer);
    peer->shard->counters.handshakes_done++;
    peer->identity.certificate_user = *user == '\0' ? NULL : user;
}

static void on_data(void *ctx, struct bytes data)
{
    struct peer *peer = ctx;
    if (UNLIKELY(peer->shaking)) {
        established(peer);
    }
    if (LIKELY(!peer->closing)) {
        mqtt_conn_receive(peer->conn, data);
    }
}

static struct outq *wire_of(struct peer *peer)
{
    return peer->transport == NULL ? &peer->out : transport_wire(peer->transport);
}

/* Bytes that the client has no more use of, because the transport cannot carry them. */
static void mute(struct peer *peer)
{
    peer->mute = true;
    peer->shard->counters.transport_faults++;
    uint64_t suppressed = 0;
    if (log_allowed(&peer->shard->transport_complaint, peer->shard->mqtt.now_ns, complain_every_ns, &suppressed)) {
        log_info("client at %s: %s", peer->name, transport_why(peer->transport));
    }
    peer_close(peer);
}

static void carry(struct peer *peer, struct bytes data)
{
    const struct transport_sink sink   = {.data = on_data, .ctx = peer};
    int                         result = transport_receive(peer->transport, data, &sink);
    if (peer->shaking && transport_established(peer->transport)) {
        established(peer);
    }
    if (result == ERR_CLOSED) {
        peer->mute = true;
        peer_close(peer);
    } else if (result < 0) {
        mute(peer);
    }
    peer_flush(peer);
}

static void postpone(struct peer *peer, struct bytes data)
{
    uint8_t *all = peer->postponed_bytes + data.size > POSTPONED_MAX_BYTES
                       ? NULL
                       : realloc(peer->postponed, peer->postponed_bytes + data.size);
    if (all == NULL) {
        mute(peer);
        return;
    }
    memcpy(all + peer->postponed_bytes, data.data, data.size);
    peer->postponed = all;
    peer->postponed_bytes += (uint32_t)data.size;
    if (!list_linked(&peer->postponed_link)) {
        list_push_back(&peer->shard->postponed, &peer->postponed_link);
    }
}

void peer_handshakes(struct shard *shard)
{
    shard->steps_left = HANDSHAKE_STEPS;
    while (shard->steps_left > 0 && !list_empty(&shard->postponed)) {
        struct peer *peer     = CONTAINER_OF(list_pop_front(&shard->postponed), struct peer, postponed_link);
        uint8_t     *data     = peer->postponed;
        uint32_t     size     = peer->postponed_bytes;
        peer->postponed       = NULL;
        peer->postponed_bytes = 0;
        shard->steps_left--;
        if (!peer->mute) {
            carry(peer, bytes_of(data, size));
        }
        free(data);
    }
}

static void be_at(struct peer *peer, enum transport_kind kind);

/* It is not one of those who may say where clients are, or what it says is not understood. */
static void turn_away(struct peer *peer, const char *why)
{
    struct shard *shard      = peer->shard;
    uint64_t      suppressed = 0;
    shard->counters.proxy_faults++;
    if (log_allowed(&shard->transport_complaint, shard->mqtt.now_ns, complain_every_ns, &suppressed)) {
        log_warn("connection from %s closed: %s", peer->name, why);
    }
    peer->mute = true;
    peer_close(peer);
}

/* The header of a load balancer: where the client really is. True: it is through, *data is what follows it. */
static bool proxied(struct peer *peer, struct bytes *data)
{
    struct proxy *proxy = peer->proxy;
    if (peer->mute) {
        return false;
    }
    if (!networks_have(&peer->shard->broker->config->proxies, peer->identity.address)) {
        turn_away(peer, "its address is not among those that may send a PROXY header (proxy.trusted)");
        return false;
    }
    int result = proxy_feed(proxy, data);
    if (result < 0) {
        turn_away(peer, "it does not begin with a PROXY header, which this listener expects");
    }
    if (result != 1) {
        return false;
    }
    if (proxy->address[0] != '\0') {
        bool six = strchr(proxy->address, ':') != NULL;
        snprintf(peer->name, sizeof peer->name, six ? "[%s]:%u" : "%s:%u", proxy->address, proxy->port);
        be_at(peer, peer->kind);
    }
    peer->proxy = NULL;
    free(proxy);
    return data->size > 0;
}

static void on_received(void *ctx, struct bytes data)
{
    struct peer  *peer  = ctx;
    struct shard *shard = peer->shard;
    shard->counters.received_bytes += data.size;
    if (UNLIKELY(peer->proxy != NULL) && !proxied(peer, &data)) {
        return;
    }
    if (LIKELY(peer->transport == NULL)) {
        on_data(peer, data);
        return;
    }
    if (peer->mute) {
        return;
    }
    if (peer->postponed_bytes != 0 || (peer->shaking && shard->steps_left == 0)) {
        postpone(peer, data);
        return;
    }
    shard->steps_left -= peer->shaking;
    carry(peer, data);
}

/* Everything was said that can be. */
static bool finished(struct peer *peer)
{
    return peer->sending_bytes == 0 && wire_of(peer)->size_bytes == 0 && (peer->out.size_bytes == 0 || peer->mute);
}

/* The protocol's last words are on the wire: the transport's own follow. */
static void goodbye(struct peer *peer)
{
    if (peer->transport != NULL && !peer->mute &&
        (peer->out.size_bytes == 0 || !transport_established(peer->transport))) {
        transport_end(peer->transport);
        peer->mute = true;
        peer_flush(peer);
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
    outq_consume(wire_of(peer), peer->sending_bytes);
    peer->sending_bytes = 0;
    if (peer->conn != NULL) {
        mqtt_conn_writable(peer->conn);
    }
    peer_flush(peer);
    if (peer->closing && peer->conn == NULL) {
        goodbye(peer);
        if (finished(peer)) {
            peer_end(peer);
        }
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
static void be_at(struct peer *peer, enum transport_kind kind)
{
    struct peer_identity *identity = &peer->identity;
    const char           *colon    = strrchr(peer->name, ':');
    bool                  six      = peer->name[0] == '[';
    size_t                size     = colon == NULL ? 0 : (size_t)(colon - peer->name) - (six ? 2 : 0);
    if (size > 0 && size < sizeof identity->address) {
        memcpy(identity->address, peer->name + (six ? 1 : 0), size);
        identity->port = (uint16_t)strtoul(colon + 1, NULL, 10);
    }
    identity->loopback = kind == TRANSPORT_UNIX ||
                         (peer->shard->broker->config->loopback[kind] && network_is_loopback(identity->address));
}

void peer_accept(struct shard *shard, struct io_socket *socket, enum transport_kind kind)
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
    shard->counters.accepted_by[kind]++;
    io_socket_peer(socket, peer->name, sizeof peer->name);
    peer->kind = kind;
    if (shard->broker->config->proxied[kind]) {
        peer->proxy = calloc(1, sizeof *peer->proxy);
    }
    if (!transport_plain(kind)) {
        peer->transport = transport_new(&shard->transport, kind);
    }
    peer->conn = mqtt_conn_new(&shard->mqtt, &peer->out, peer, peer->name);
    if (peer->conn == NULL || (!transport_plain(kind) && peer->transport == NULL) ||
        (shard->broker->config->proxied[kind] && peer->proxy == NULL)) {
        peer_detach(peer);
        peer_end(peer);
        return;
    }
    be_at(peer, kind);
    mqtt_conn_identify(peer->conn, &peer->identity);
    if (kind == TRANSPORT_TLS || kind == TRANSPORT_WSS) {
        shaking(peer);
    }
    io_socket_adopt(socket, &peer_handler, peer);
}

void peer_flush(struct peer *peer)
{
    if (peer->sending_bytes != 0) {
        return;
    }
    if (peer->transport != NULL && !peer->mute && transport_send(peer->transport, &peer->out) < 0) {
        mute(peer);
    }
    struct iovec iov[SEND_IOVECS_MAX];
    int          count = outq_gather(wire_of(peer), iov, SEND_IOVECS_MAX);
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
        peer_flush(peer);
        goodbye(peer);
        if (finished(peer)) {
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

uint32_t peers_move(struct shard *shard, uint32_t most)
{
    uint32_t moved = 0;
    LIST_EACH (&shard->peers, link) {
        struct peer *peer = CONTAINER_OF(link, struct peer, link);
        if (moved == most) {
            break;
        }
        moved += peer->conn != NULL && !peer->closing && mqtt_conn_move(peer->conn);
    }
    return moved;
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
