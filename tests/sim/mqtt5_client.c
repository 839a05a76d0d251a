/* mqtt5_client.c - packets by hand; the verbs leave a wish, the next turn grants it. */
#include "tests/sim/mqtt5_client.h"

#include "shared/loop/io.h"
#include "tests/sim/cluster.h"

#include <stdio.h>

enum { CONNECT = 1, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK };
enum { DISCONNECT = 14, DUP = 8, FAILED = 0x80, SAID = 0xff, ID_NOT_FOUND = 0x92, WINDOW = 16, BODY_MAX_BYTES = 8192 };
enum {
    P_MESSAGE_EXPIRY = 0x02,
    P_SESSION_EXPIRY = 0x11,
    P_WILL_DELAY     = 0x18,
    P_RECEIVE_MAX    = 0x21,
};

/* ---- bytes out ---- */

/* One packet while it is made: its size is known at the end. */
struct body {
    uint8_t  bytes[BODY_MAX_BYTES];
    uint32_t size;
};

static void put(struct body *b, const void *data, size_t size)
{
    ASSERT(b->size + size <= sizeof b->bytes);
    memcpy(b->bytes + b->size, data, size);
    b->size += (uint32_t)size;
}

static void put_int(struct body *b, uint32_t value, int size)
{
    for (int i = size - 1; i >= 0; i--) {
        const uint8_t byte = (uint8_t)(value >> 8 * i);
        put(b, &byte, 1);
    }
}

static void put_text(struct body *b, const char *text)
{
    put_int(b, (uint32_t)strlen(text), 2);
    put(b, text, strlen(text));
}

static void put_property(struct body *b, uint32_t id, uint32_t value, int size)
{
    put_int(b, id, 1);
    put_int(b, value, size);
}

static void send_packet(struct mqtt5_client *c, uint8_t type, uint8_t flags, const struct body *b)
{
    uint32_t left = b->size;
    sim_check(c->world, c->out_bytes + left + 5 <= sizeof c->out, "%s: the client's output fits", c->name);
    c->out[c->out_bytes++] = (uint8_t)(type << 4 | flags);
    do {
        c->out[c->out_bytes++] = (uint8_t)((left & 127) | (left > 127 ? 128 : 0));
        left >>= 7;
    } while (left != 0);
    memcpy(c->out + c->out_bytes, b->bytes, b->size);
    c->out_bytes += b->size;
}

static void send_ack(struct mqtt5_client *c, uint8_t type, uint16_t id)
{
    struct body b;
    b.size = 0;
    put_int(&b, id, 2);
    send_packet(c, type, type == PUBREL ? 2 : 0, &b);
}

static void send_connect(struct mqtt5_client *c)
{
    struct body b;
    b.size      = 0;
    bool will   = c->will.topic != NULL;
    bool expiry = c->expiry_s != 0;
    put_text(&b, "MQTT");
    put_int(&b, 5, 1);
    put_int(&b, (uint32_t)((c->clean_start ? 2 : 0) | (will ? 4 | c->will.qos << 3 | (c->will.retain ? 32 : 0) : 0)),
            1);
    put_int(&b, 0, 2); /* no keep alive */
    put_int(&b, (expiry ? 5u : 0u) + (c->receive_max != 0 ? 3u : 0u), 1);
    if (expiry) {
        put_property(&b, P_SESSION_EXPIRY, c->expiry_s, 4);
    }
    if (c->receive_max != 0) {
        put_property(&b, P_RECEIVE_MAX, c->receive_max, 2);
    }
    put_text(&b, c->id);
    if (will) {
        put_int(&b, 5, 1);
        put_property(&b, P_WILL_DELAY, c->will.delay_s, 4);
        put_text(&b, c->will.topic);
        put_text(&b, c->will.text);
    }
    send_packet(c, CONNECT, 0, &b);
}

static void send_ask(struct mqtt5_client *c, uint32_t number, bool again)
{
    const struct mqtt5_ask *ask = &c->asks[number];
    struct body             b;
    b.size = 0;
    if (ask->kind != ASK_PUBLISH) {
        bool subscribe = ask->kind == ASK_SUBSCRIBE;
        put_int(&b, number + 1, 2);
        put_int(&b, 0, 1);
        put_text(&b, ask->topic);
        if (subscribe) {
            put_int(&b, ask->qos, 1);
        }
        send_packet(c, subscribe ? SUBSCRIBE : UNSUBSCRIBE, 2, &b);
        return;
    }
    put_text(&b, ask->topic);
    if (ask->qos != 0) {
        put_int(&b, number + 1, 2);
    }
    put_int(&b, ask->expiry_s != MQTT5_NEVER ? 5 : 0, 1);
    if (ask->expiry_s != MQTT5_NEVER) {
        put_property(&b, P_MESSAGE_EXPIRY, ask->expiry_s, 4);
    }
    put(&b, ask->text, strlen(ask->text));
    for (size_t size = strlen(ask->text); size != 0 && size < ask->size; size++) {
        put_int(&b, size == strlen(ask->text) ? ' ' : 'x', 1);
    }
    send_packet(c, PUBLISH, (uint8_t)((again ? DUP : 0) | ask->qos << 1 | ask->retain), &b);
}

/* ---- packets in ---- */

struct view {
    struct mqtt5_client *client;
    const uint8_t       *at;
    const uint8_t       *end;
};

static uint32_t get_int(struct view *v, int size)
{
    uint32_t value = 0;
    sim_check(v->client->world, v->end - v->at >= size, "%s: a packet is cut", v->client->name);
    while (size-- > 0) {
        value = value << 8 | *v->at++;
    }
    return value;
}

static void get_text(struct view *v, size_t size, char out[MQTT5_TEXT_MAX])
{
    sim_check(v->client->world, (size_t)(v->end - v->at) >= size && size < MQTT5_TEXT_MAX, "%s: a text is too long",
              v->client->name);
    memcpy(out, v->at, size);
    out[size] = '\0';
    v->at += size;
}

/* Walks over properties; the message expiry, or MQTT5_NEVER. */
static uint32_t get_properties(struct view *v)
{
    uint32_t expiry_s  = MQTT5_NEVER;
    uint32_t size      = get_int(v, 1);
    size               = size < 128 ? size : (size & 127) | get_int(v, 1) << 7;
    const uint8_t *end = v->at + size;
    while (v->at < end) {
        uint32_t id = get_int(v, 1);
        switch (id) {
        case P_MESSAGE_EXPIRY:
            expiry_s = get_int(v, 4);
            break;
        case 0x11: /* four bytes */
        case 0x18:
        case 0x27:
            (void)get_int(v, 4);
            break;
        case 0x13: /* two */
        case 0x21:
        case 0x22:
        case 0x23:
            (void)get_int(v, 2);
            break;
        case 0x01: /* one */
        case 0x17:
        case 0x19:
        case 0x24:
        case 0x25:
        case 0x28:
        case 0x29:
        case 0x2a:
            (void)get_int(v, 1);
            break;
        default: /* a text */
            v->at += get_int(v, 2);
        }
    }
    sim_check(v->client->world, v->at == end && end <= v->end, "%s: properties are whole", v->client->name);
    return expiry_s;
}

static void answered(struct mqtt5_client *c, uint32_t number, uint8_t reason)
{
    struct mqtt5_ask *ask = &c->asks[number];
    if (ask->state == ASK_ANSWERED) {
        return;
    }
    ask->state       = ASK_ANSWERED;
    ask->reason      = reason;
    ask->answered_ns = c->world->now_ns;
    while (c->first < c->ask_count && c->asks[c->first].state == ASK_ANSWERED) {
        c->first++;
    }
    if (c->answered != NULL) {
        c->answered(c, ask);
    }
}

static void on_connack(struct mqtt5_client *c, struct view *v)
{
    bool    present = get_int(v, 1) != 0;
    uint8_t reason  = (uint8_t)get_int(v, 1);
    if (reason >= FAILED) { /* the store is away: the connection will be closed */
        return;
    }
    sim_check(c->world, !c->up && !(present && c->clean_start), "%s: a CONNACK that must not be", c->name);
    c->up           = true;
    c->connected_ns = c->world->now_ns;
    if (!present) {
        memset(c->received, 0, sizeof c->received);
    }
    c->next = c->ask_count;
    for (uint32_t number = c->first; number < c->ask_count; number++) {
        struct mqtt5_ask *ask  = &c->asks[number];
        bool              kept = present && ask->kind == ASK_PUBLISH;
        switch ((enum ask_state)ask->state) {
        case ASK_NEW:
            c->next = number < c->next ? number : c->next;
            break;
        case ASK_SENT: /* [MQTT-4.4.0-1] */
            ask->anew  = ask->anew || !kept;
            ask->again = true;
            send_ask(c, number, kept);
            break;
        case ASK_RELEASED:
            send_ack(c, PUBREL, (uint16_t)(number + 1));
            break;
        case ASK_ANSWERED:
            break;
        }
    }
    if (c->connected != NULL) {
        c->connected(c, present);
    }
}

static void on_publish(struct mqtt5_client *c, uint8_t flags, struct view *v)
{
    struct mqtt5_message m = {.qos = flags >> 1 & 3, .retain = (flags & 1) != 0, .duplicate = (flags & DUP) != 0};
    sim_check(c->world, c->up, "%s: a PUBLISH before CONNACK", c->name);
    get_text(v, get_int(v, 2), m.topic);
    uint16_t id    = m.qos != 0 ? (uint16_t)get_int(v, 2) : 0;
    m.expiry_s     = get_properties(v);
    size_t size    = (size_t)(v->end - v->at);
    size_t meaning = 0;
    while (meaning < size && v->at[meaning] != ' ') {
        meaning++;
    }
    get_text(v, meaning, m.text);
    for (size_t i = 1; i < (size_t)(v->end - v->at); i++) {
        sim_check(c->world, v->at[i] == 'x', "%s: %s %s was altered", c->name, m.topic, m.text);
    }
    bool fresh = m.qos != 2 || !c->received[id];
    bool taken = !fresh || c->message == NULL || c->message(c, &m);
    if (!taken || m.qos == 0) {
        return;
    }
    c->received[id] = m.qos == 2;
    send_ack(c, m.qos == 2 ? PUBREC : PUBACK, id);
}

static void on_answer(struct mqtt5_client *c, uint8_t type, struct view *v)
{
    uint32_t number = get_int(v, 2) - 1;
    uint8_t  reason = 0;
    sim_check(c->world, number < c->ask_count && c->asks[number].state != ASK_NEW,
              "%s: an answer to packet id %u, which was not sent", c->name, number + 1);
    if (type == SUBACK || type == UNSUBACK) {
        (void)get_properties(v);
    }
    if (v->at < v->end) {
        reason = (uint8_t)get_int(v, 1);
    }
    struct mqtt5_ask *ask = &c->asks[number];
    if (type == PUBREC && reason < FAILED) {
        if (ask->state != ASK_ANSWERED) {
            ask->state = ASK_RELEASED;
        }
        send_ack(c, PUBREL, (uint16_t)(number + 1));
        return;
    }
    if (type == PUBCOMP && reason == ID_NOT_FOUND) { /* the session was gone: what PUBREC said holds */
        reason = 0;
    }
    answered(c, number, reason);
}

static void on_packet(struct mqtt5_client *c, uint8_t first, const uint8_t *body, uint32_t size)
{
    struct view v = {c, body, body + size};
    switch (first >> 4) {
    case CONNACK:
        on_connack(c, &v);
        break;
    case PUBLISH:
        on_publish(c, first & 15, &v);
        break;
    case PUBACK:
    case PUBREC:
    case PUBCOMP:
    case SUBACK:
    case UNSUBACK:
        on_answer(c, first >> 4, &v);
        break;
    case PUBREL: {
        uint16_t id     = (uint16_t)get_int(&v, 2);
        c->received[id] = false;
        send_ack(c, PUBCOMP, id);
        break;
    }
    case DISCONNECT:
        c->sent_away   = true;
        c->away_reason = size > 0 ? body[0] : 0;
        break;
    default:
        sim_fail(c->world, "%s: a packet of type %u", c->name, first >> 4);
    }
}

static void on_received(void *ctx, struct bytes data)
{
    struct mqtt5_client *c = ctx;
    sim_check(c->world, c->in_bytes + data.size <= sizeof c->in, "%s: the client's input fits", c->name);
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

/* ---- the connection ---- */

static void over(struct mqtt5_client *c, enum mqtt5_end how)
{
    bool was_up = c->up;
    how         = how == MQTT5_LOST && c->sent_away ? MQTT5_SENT_AWAY : how;
    c->socket   = NULL;
    c->up = c->said = c->sending = c->leaving = c->dropping = c->sent_away = false;
    c->in_bytes                                                            = 0;
    c->out_bytes                                                           = 0;
    c->retry_ns = io_now_ns(c->io) + 1 + io_random(c->io) % (200 * SIM_MS);
    c->wanted   = c->wanted && !c->once;
    if (c->ended != NULL) {
        c->ended(c, how, c->away_reason, was_up);
    }
}

static void on_connected(void *ctx, int result)
{
    struct mqtt5_client *c = ctx;
    if (result < 0) {
        over(c, MQTT5_LOST);
        return;
    }
    c->connects++;
    if (c->connecting != NULL) {
        c->connecting(c);
    }
    c->said = true;
    send_connect(c);
}

static void on_sent(void *ctx, int result)
{
    struct mqtt5_client *c = ctx;
    c->sending             = false;
    if (result == 0) {
        c->out_bytes -= c->sending_bytes;
        memmove(c->out, c->out + c->sending_bytes, c->out_bytes);
    }
}

static void on_closed(void *ctx, int reason)
{
    struct mqtt5_client *c            = ctx;
    bool                 said_goodbye = c->leaving && c->leave_reason == SAID && c->out_bytes == 0;
    over(c, said_goodbye && reason == 0 ? MQTT5_LEFT : MQTT5_LOST);
}

static const struct io_handler handler = {
    .connected = on_connected, .received = on_received, .sent = on_sent, .closed = on_closed};

static void send_asks(struct mqtt5_client *c)
{
    uint32_t window = c->window != 0 ? c->window : WINDOW;
    while (c->next < c->ask_count && c->next - c->first < window) {
        struct mqtt5_ask *ask = &c->asks[c->next];
        ask->state            = ASK_SENT;
        ask->sent_ns          = c->world->now_ns;
        send_ask(c, c->next, false);
        if (ask->kind == ASK_PUBLISH && ask->qos == 0) {
            answered(c, c->next, 0);
        }
        c->next++;
    }
}

static uint64_t client_turn(void *shard)
{
    struct mqtt5_client *c = shard;
    if (c->socket == NULL) {
        if (!c->wanted) {
            return UINT64_MAX;
        }
        if (io_now_ns(c->io) < c->retry_ns) {
            return c->retry_ns;
        }
        c->socket =
            io_connect(c->io, c->at != NULL ? c->at : cluster_broker_name(c->world), CLUSTER_MQTT_PORT, &handler, c);
        return UINT64_MAX;
    }
    if (c->dropping) {
        io_socket_close(c->socket);
        over(c, MQTT5_LEFT);
        return c->wanted ? c->retry_ns : UINT64_MAX; /* it may be wanted again before it got its turn */
    }
    if (c->sending) { /* memory under a send does not move */
        return UINT64_MAX;
    }
    if (c->leaving && c->up && c->leave_reason != SAID) {
        struct body b = {.bytes = {c->leave_reason}, .size = 1};
        send_packet(c, DISCONNECT, 0, &b);
        c->leave_reason = SAID;
    } else if (c->up && !c->leaving) {
        send_asks(c);
    }
    if (c->said && c->out_bytes != 0) {
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
    struct mqtt5_client          *c      = ctx;
    char                          why[128];
    c->core    = core_new(process);
    int result = io_open(&config, &c->io, why, sizeof why);
    if (result == 0) {
        core_run(c->core, c, client_turn);
    }
    return result;
}

static void client_destroy(void *ctx)
{
    (void)ctx;
}

void mqtt5_start(struct mqtt5_client *c)
{
    const struct process_spec spec = {"client", client_start, client_destroy, NULL, c};
    c->process                     = process_new(machine_new(c->world, c->name, 0), &spec);
    sim_check(c->world, process_start(c->process) == 0, "the client %s starts", c->name);
}

void mqtt5_end(struct mqtt5_client *c)
{
    process_crash(c->process);
}

void mqtt5_connect(struct mqtt5_client *c)
{
    c->wanted = true;
    core_ready(c->core);
}

void mqtt5_leave(struct mqtt5_client *c, uint8_t reason)
{
    c->wanted = false;
    if (!c->up) {
        mqtt5_drop(c);
        return;
    }
    c->leaving      = true;
    c->leave_reason = reason;
    core_ready(c->core);
}

void mqtt5_drop(struct mqtt5_client *c)
{
    c->wanted   = false;
    c->dropping = c->socket != NULL;
    core_ready(c->core);
}

static struct mqtt5_ask *ask_new(struct mqtt5_client *c, enum ask_kind kind, const char *topic, uint8_t qos)
{
    ASSERT(c->ask_count < MQTT5_ASKS_MAX && strlen(topic) < MQTT5_TEXT_MAX);
    struct mqtt5_ask *ask = &c->asks[c->ask_count++];
    *ask                  = (struct mqtt5_ask){.kind = (uint8_t)kind, .qos = qos, .expiry_s = MQTT5_NEVER};
    snprintf(ask->topic, sizeof ask->topic, "%s", topic);
    core_ready(c->core);
    return ask;
}

struct mqtt5_ask *mqtt5_publish(struct mqtt5_client *c, const char *topic, const char *text, uint8_t qos)
{
    struct mqtt5_ask *ask = ask_new(c, ASK_PUBLISH, topic, qos);
    snprintf(ask->text, sizeof ask->text, "%s", text);
    return ask;
}

struct mqtt5_ask *mqtt5_subscribe(struct mqtt5_client *c, const char *filter, uint8_t qos)
{
    return ask_new(c, ASK_SUBSCRIBE, filter, qos);
}

struct mqtt5_ask *mqtt5_unsubscribe(struct mqtt5_client *c, const char *filter)
{
    return ask_new(c, ASK_UNSUBSCRIBE, filter, 0);
}

/* ---- several ---- */

bool mqtt5_all_idle(const struct mqtt5_client *clients, uint32_t count, uint32_t least)
{
    for (uint32_t i = 0; i < count; i++) {
        if (clients[i].ask_count < least || !mqtt5_idle(&clients[i])) {
            return false;
        }
    }
    return true;
}

void mqtt5_publish_count(struct mqtt5_client publishers[2], uint32_t most)
{
    struct world        *world = publishers[0].world;
    uint64_t             which = world_between(world, SALT_SCENARIO, 0, 1);
    struct mqtt5_client *c     = &publishers[which];
    char                 text[MQTT5_TEXT_MAX];
    if (c->ask_count < most) {
        snprintf(text, sizeof text, "%u", c->ask_count);
        mqtt5_publish(c, which == 0 ? "t/0" : "t/1", text, (uint8_t)world_between(world, SALT_SCENARIO, 1, 2));
    }
}
