/* mqtt_client.c - packets by hand, so that the broker's own encoder is not its judge. */
#include "tests/sim/mqtt_client.h"

#include "shared/loop/io.h"
#include "tests/sim/cluster.h"

#include <string.h>

enum { CONNECT = 1, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBSCRIBE, SUBACK };
enum { DUP = 8, HEADER_MAX = 5, SUBSCRIBE_ID = 65000 };

static void put(struct mqtt_client *c, const void *data, size_t size)
{
    sim_check(c->world, c->out_bytes + size <= sizeof c->out, "the client's output fits");
    memcpy(c->out + c->out_bytes, data, size);
    c->out_bytes += (uint32_t)size;
}

static void put_u8(struct mqtt_client *c, uint32_t value)
{
    const uint8_t byte = (uint8_t)value;
    put(c, &byte, 1);
}

static void put_u16(struct mqtt_client *c, uint32_t value)
{
    put_u8(c, value >> 8);
    put_u8(c, value);
}

static void put_text(struct mqtt_client *c, const char *text)
{
    put_u16(c, (uint32_t)strlen(text));
    put(c, text, strlen(text));
}

static void put_header(struct mqtt_client *c, uint8_t type, uint8_t flags, size_t size)
{
    put_u8(c, (uint32_t)type << 4 | flags);
    do {
        put_u8(c, (uint32_t)((size & 127) | (size > 127 ? 128 : 0)));
        size >>= 7;
    } while (size != 0);
}

static void put_ack(struct mqtt_client *c, uint8_t type, uint16_t id)
{
    put_header(c, type, type == PUBREL ? 2 : 0, 2);
    put_u16(c, id);
}

static void put_publish(struct mqtt_client *c, uint32_t number, bool again)
{
    put_header(c, PUBLISH, (uint8_t)((again ? DUP : 0) | c->qos << 1), 2 + strlen(c->topic) + 2 + c->payload_bytes);
    put_text(c, c->topic);
    put_u16(c, number + 1);
    uint8_t payload[4096] = {c->publisher, (uint8_t)(number >> 8), (uint8_t)number};
    memset(payload + 3, (int)number, sizeof payload - 3);
    put(c, payload, c->payload_bytes);
}

static void on_connack(struct mqtt_client *c, const uint8_t *body)
{
    if (body[1] != 0) { /* the store is away: the connection will be closed */
        return;
    }
    c->connected = true;
    sim_check(c->world, body[0] != 0 || !c->subscribed, "%s: the broker has forgotten the session", c->id);
    /* [MQTT-4.4.0-1]: in their order, before anything new. */
    for (uint32_t number = c->first; number < c->next; number++) {
        if (c->states[number] == PUBLISH_SENT) {
            put_publish(c, number, true);
        } else if (c->states[number] == PUBLISH_RELEASED) {
            put_ack(c, PUBREL, (uint16_t)(number + 1));
        }
    }
    if (c->filter != NULL && !c->subscribed) {
        put_header(c, SUBSCRIBE, 2, 2 + 2 + strlen(c->filter) + 1);
        put_u16(c, SUBSCRIBE_ID);
        put_text(c, c->filter);
        put_u8(c, c->qos);
    }
}

static void on_publish(struct mqtt_client *c, uint8_t flags, const uint8_t *body, uint32_t size)
{
    uint32_t topic = (uint32_t)body[0] << 8 | body[1];
    uint8_t  qos   = flags >> 1 & 3;
    sim_check(c->world, qos == c->qos && topic + 4 + 3 <= size, "%s: a PUBLISH of another shape", c->id);
    uint16_t       id      = (uint16_t)((uint32_t)body[2 + topic] << 8 | body[3 + topic]);
    const uint8_t *payload = body + 4 + topic;
    uint32_t       number  = (uint32_t)payload[1] << 8 | payload[2];
    for (uint32_t i = 3; i < size - 4 - topic; i++) {
        sim_check(c->world, payload[i] == (uint8_t)number, "%s: message %u was altered", c->id, number);
    }
    if (qos == 1) {
        c->message(c, payload[0], number);
        put_ack(c, PUBACK, id);
        return;
    }
    if (!c->received[id]) {
        c->received[id] = true;
        c->message(c, payload[0], number);
    }
    put_ack(c, PUBREC, id);
}

static void on_answer(struct mqtt_client *c, uint8_t type, uint16_t id)
{
    uint32_t number = (uint32_t)id - 1;
    sim_check(c->world, id != 0 && number < c->next, "%s: an answer to packet id %u, which was not sent", c->id, id);
    if (type == PUBREC) {
        if (c->states[number] != PUBLISH_ANSWERED) {
            c->states[number] = PUBLISH_RELEASED;
        }
        put_ack(c, PUBREL, id);
        return;
    }
    c->states[number] = PUBLISH_ANSWERED;
    while (c->first < c->next && c->states[c->first] == PUBLISH_ANSWERED) {
        c->first++;
    }
}

static void on_packet(struct mqtt_client *c, uint8_t first, const uint8_t *body, uint32_t size)
{
    uint16_t id = size >= 2 ? (uint16_t)((uint32_t)body[0] << 8 | body[1]) : 0;
    switch (first >> 4) {
    case CONNACK:
        on_connack(c, body);
        break;
    case PUBLISH:
        on_publish(c, first & 15, body, size);
        break;
    case PUBACK:
    case PUBREC:
    case PUBCOMP:
        on_answer(c, first >> 4, id);
        break;
    case PUBREL:
        c->received[id] = false;
        put_ack(c, PUBCOMP, id);
        break;
    case SUBACK:
        c->subscribed = body[2] == c->qos;
        break;
    default:
        sim_fail(c->world, "%s: a packet of type %u", c->id, first >> 4);
    }
}

static void on_received(void *ctx, struct bytes data)
{
    struct mqtt_client *c = ctx;
    sim_check(c->world, c->in_bytes + data.size <= sizeof c->in, "the client's input fits");
    memcpy(c->in + c->in_bytes, data.data, data.size);
    c->in_bytes += (uint32_t)data.size;
    for (;;) {
        uint32_t size = 0, header = 1;
        for (;; header++) {
            if (header >= c->in_bytes) {
                return;
            }
            size |= (uint32_t)(c->in[header] & 127) << 7 * (header - 1);
            if ((c->in[header] & 128) == 0) {
                break;
            }
        }
        header++;
        if (c->in_bytes < header + size) {
            return;
        }
        on_packet(c, c->in[0], c->in + header, size);
        c->in_bytes -= header + size;
        memmove(c->in, c->in + header + size, c->in_bytes);
    }
}

static void lost(struct mqtt_client *c)
{
    c->socket    = NULL;
    c->up        = false;
    c->connected = false;
    c->sending   = false;
    c->in_bytes  = 0;
    c->out_bytes = 0;
    c->retry_ns  = io_now_ns(c->io) + 1 + io_random(c->io) % (200 * SIM_MS);
}

static void on_connected(void *ctx, int result)
{
    struct mqtt_client *c = ctx;
    if (result < 0) {
        lost(c);
        return;
    }
    c->up = true;
    c->connects++;
    put_header(c, CONNECT, 0, 10 + 2 + strlen(c->id) + 2 + strlen(c->id) + 2 + strlen(CLUSTER_PASSWORD));
    put_text(c, "MQTT");
    put_u8(c, 4);
    put_u8(c, 0xc0); /* the session is kept; user name and password */
    put_u16(c, 60);  /* keep alive */
    put_text(c, c->id);
    put_text(c, c->id);
    put_text(c, CLUSTER_PASSWORD);
}

static void on_sent(void *ctx, int result)
{
    struct mqtt_client *c = ctx;
    c->sending            = false;
    if (result == 0) {
        c->out_bytes -= c->sending_bytes;
        memmove(c->out, c->out + c->sending_bytes, c->out_bytes);
    }
}

static void on_closed(void *ctx, int reason)
{
    (void)reason;
    lost(ctx);
}

static const struct io_handler handler = {
    .connected = on_connected, .received = on_received, .sent = on_sent, .closed = on_closed};

static uint64_t client_turn(void *shard)
{
    struct mqtt_client *c = shard;
    if (c->socket == NULL) {
        if (io_now_ns(c->io) < c->retry_ns) {
            return c->retry_ns;
        }
        c->socket = io_connect(c->io, cluster_broker_name(c->world), CLUSTER_MQTT_PORT, &handler, c);
        return UINT64_MAX;
    }
    /* Packets may be put behind bytes that are being sent; memory under a send does not move because out only grows. */
    while (c->connected && !c->sending && c->next < c->target && c->next - c->first < MQTT_CLIENT_WINDOW) {
        c->states[c->next] = PUBLISH_SENT;
        put_publish(c, c->next++, false);
    }
    if (c->up && !c->sending && c->out_bytes != 0) {
        c->sending             = true;
        c->sending_bytes       = c->out_bytes;
        const struct iovec iov = {.iov_base = c->out, .iov_len = c->out_bytes};
        io_socket_send(c->socket, &iov, 1);
    }
    return UINT64_MAX;
}

static int client_start(struct process *process, void *ctx)
{
    static const struct io_config config = {.sockets_max = 8, .recv_buffers = 4, .recv_buffer_bytes = 4096, .cpu = -1};
    struct mqtt_client           *c      = ctx;
    char                          why[128];
    struct core                  *core   = core_new(process);
    int                           result = io_open(&config, &c->io, why, sizeof why);
    if (result == 0) {
        core_run(core, c, client_turn);
    }
    return result;
}

static void client_destroy(void *ctx)
{
    (void)ctx;
}

void mqtt_client_start(struct mqtt_client *c)
{
    const struct process_spec spec = {c->id, client_start, client_destroy, NULL, c};
    c->process                     = process_new(machine_new(c->world, c->id, 0), &spec);
    sim_check(c->world, process_start(c->process) == 0, "the client %s starts", c->id);
}

void mqtt_client_end(struct mqtt_client *c)
{
    process_crash(c->process);
}
